import ast
import functools
import math
import pathlib

import numpy as np
import pytest
import torch

from minilib import exercises, start_here
from minilib.naive import start_here as naive

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def one_maximum(x):
    weight = np.exp(x - x.max())
    return weight / weight.sum(axis=1, keepdims=True)


def no_maximum(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def wrong_axis(x):
    weight = np.exp(x - x.max(axis=0))
    return weight / weight.sum(axis=0)


def one_sum(x):
    weight = np.exp(x - x.max(axis=1, keepdims=True))
    return weight / weight.sum()


def guarded_division(x):
    weight = np.exp(x - x.max(axis=1, keepdims=True))
    return weight / (weight.sum(axis=1, keepdims=True) + 1e-8)


def logarithm_of_it(x):
    z = x - x.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


WRONG = {
    naive.softmax: [
        one_maximum, no_maximum, wrong_axis, one_sum, guarded_division, logarithm_of_it,
    ],
}  # fmt: skip


def the_other_first():
    return [0.25, 0.75]


def log_three_for_three():
    return [math.log(3) / (1 + math.log(3)), 1 / (1 + math.log(3))]


def logarithm_of_a_probability(x, j):
    p = naive.softmax(x[None])[0]
    return -np.log2(p[j])


def guarded_logarithm(x, j):
    p = naive.softmax(x[None])[0]
    return -np.log2(p[j] + 1e-30)


def no_largest_score(x, j):
    return (np.log(np.exp(x).sum()) - x[j]) / math.log(2)


def nats(x, j):
    top = x.max()
    return np.log(np.exp(x - top).sum()) - (x[j] - top)


def surprise_of_the_likeliest(x, j):
    return np.log2(np.exp(x - x.max()).sum())


# what the lesson's exercises must refuse, beyond that
ASKED = {
    "my_prediction": [the_other_first, log_three_for_three],
    "my_bits": [
        logarithm_of_a_probability,
        guarded_logarithm,
        no_largest_score,
        nats,
        surprise_of_the_likeliest,
    ],
}


@functools.cache
def asked(topic):
    """{name: Exercise} of the lesson on a topic."""
    (lesson,) = (pathlib.Path(__file__).parents[1] / "lessons").glob(f"??_{topic}.ipynb")
    return {exercise.names[-1]: exercise for exercise in exercises.exercises(lesson)}


def report_of(topic, name, answer):
    """What the exercise's check says of an answer in the place of its stub."""
    exercise = asked(topic)[name]
    exercise.namespace[name] = answer
    return eval(compile(ast.Expression(exercise.check), name, "eval"), exercise.namespace)


def answers(wrong):
    """(name of the exercise, wrong answer) for a test of each."""
    return [
        pytest.param(name, answer, id=f"{name}-{answer.__name__}")
        for name, many in wrong.items()
        for answer in many
    ]


@pytest.mark.parametrize("name,answer", answers(ASKED))
def test_the_lesson_refuses(name, answer):
    report = report_of("start_here", name, answer)
    assert not report and "raises" not in report.text


# -- the definition and its twin -------------------------------------------------------------------


def test_by_hand():
    # odds 1 : 2 : 5 are probabilities 1/8, 2/8, 5/8
    np.testing.assert_allclose(naive.softmax(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])


def test_log_two_doubles_the_odds():
    p = start_here.softmax(torch.tensor([[0.0, math.log(2)]], dtype=torch.float64))
    torch.testing.assert_close(p[0, 1], 2 * p[0, 0])


def test_large_scores_do_not_overflow():
    assert start_here.softmax(torch.tensor([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]
    assert naive.softmax(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="x must have shape"):
        naive.softmax(np.zeros(shape))
    with pytest.raises(ValueError, match="x must have shape"):
        start_here.softmax(torch.zeros(shape))
