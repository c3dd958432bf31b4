"""Every declared pair agrees; and the mechanism that says so catches what it should."""

import numpy as np
import pytest
import torch

import minilib
from minilib import twins
from minilib.compare import leaves_of
from minilib.examine import Case
from minilib.naive import start_here as naive
from minilib.start_here import softmax

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
PAIRS = twins.load()
CASES = [
    (pair, number)
    for pair in PAIRS
    for number, _ in enumerate(pair.cases(np.random.default_rng(0)), 1)
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pair,number", CASES, ids=lambda value: getattr(value, "name", value))
def test_twin_agrees_with_its_definition(pair, number, dtype, device):
    case = list(pair.cases(np.random.default_rng(0)))[number - 1]
    _, _, problem = twins.examine(pair, number=number, case=case, dtype=dtype, device=device)
    assert problem is None


def differentiated_twice(pair, number, case):
    """(v · gradient's derivative along w, the same by a central difference of the gradient)."""
    one = Case(pair, number, case, "float64")
    tensors = one.tensors("cpu", grad=True)
    leaves = [x for _, x in leaves_of(tensors) if getattr(x, "requires_grad", False) and x.numel()]

    def gradient(**how):
        out = [y for _, y in leaves_of(one.call_torch(pair.fast, *tensors, "cpu"))]
        out = [y for y in out if isinstance(y, torch.Tensor) and y.requires_grad]
        if not out:
            return [None]
        total = sum(torch.where(y.abs() < 1e30, (y * y.conj()).real + y.real, 0.0).sum() for y in out)
        return torch.autograd.grad(total, leaves, allow_unused=True, **how)

    noise = np.random.default_rng(number)
    v, w = ([torch.tensor(noise.normal(size=x.shape)) for x in leaves] for _ in "vw")

    def dot(a, b):
        return sum((x.conj() * y).real.sum() for x, y in zip(a, b, strict=True) if x is not None)

    first = gradient(create_graph=True)
    if all(g is None or not g.requires_grad for g in first):
        return None, None
    got = dot(torch.autograd.grad(dot(first, v), leaves, allow_unused=True), w)
    ends = []
    for step in (1e-5, -2e-5):
        for x, move in zip(leaves, w, strict=True):
            x.data += step * move
        ends.append(dot(gradient(), v))
    return got, (ends[0] - ends[1]) / 2e-5


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.differentiable], ids=lambda pair: pair.name)
def test_a_second_derivative_is_right_or_refused(pair):
    for number, case in enumerate(pair.cases(np.random.default_rng(0)), 1):
        try:
            got, expected = differentiated_twice(pair, number, case)
        except RuntimeError:
            return  # refused
        except ValueError:
            continue  # the step leads out of the domain, say of probabilities
        if got is not None:
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


# -- planted faults: each must be caught, and said in words ----------------------------------------


def rows(rng):
    yield (rng.normal(size=(3, 5)),)
    yield (np.abs(rng.normal(size=(4, 4))),)


def log_sum(x):
    """The definition used below: log of the sum of exponentials of each row, and the row centred on it."""
    total = np.array([np.log(sum(np.exp(v) for v in row)) for row in x])
    return total, x - total[:, None]


def right(x):
    total = x.logsumexp(1)
    return total, x - total[:, None]


def right_in_numpy(x):
    total = np.log(np.exp(x).sum(1))
    return total, x - total[:, None]


def wrong_scale(x):
    total, centred = right(x)
    return total, 0.5 * centred


def transposed(x):
    total, centred = right(x)
    return total, centred.T


def dropped_gradient(x):
    total, centred = right(x)
    return total.detach(), centred


def off_by_one(x):
    total, centred = right(x)
    return total, centred.roll(1, dims=1)


def wrong_dtype(x):
    total, centred = right(x)
    return total, centred.float()


def in_place(x):
    total = x.logsumexp(1)
    x -= total[:, None]
    return total, x


def in_place_in_numpy(x):
    total = np.log(np.exp(x).sum(1))
    x -= total[:, None]
    return total, x


def not_a_number(x):
    total, centred = right(x)
    return total, torch.where(centred < -2, torch.nan, centred)


def half_the_outputs(x):
    return right(x)[0]


def stub(x):
    raise NotImplementedError


def empty(x):
    pass


def raises(x):
    return torch.nothing(x)


FAULTS = [
    (wrong_scale, "every value is 0.5 times what it should be"),
    (transposed, "shape (5, 3), expected (3, 5); the last two axes are swapped"),
    (dropped_gradient, "values agree, but the gradient in input 1 is wrong"),
    (off_by_one, "at (0, 0) got"),
    (wrong_dtype, "dtype float32, expected float64"),
    (in_place, "it changes its input in place"),
    (in_place_in_numpy, "it changes its input in place"),
    (not_a_number, "got nan, expected"),
    (half_the_outputs, "expected 2 values"),
    (stub, "not attempted yet"),
    (empty, "not attempted yet"),
    (raises, "case 1: raises AttributeError: module 'torch' has no attribute 'nothing'"),
]


@pytest.mark.parametrize("fault,words", FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_planted_fault_is_caught(fault, words):
    report = minilib.check(fault, like=log_sum, cases=rows)
    assert not report
    assert words in repr(report)
    assert repr(report) == repr(
        minilib.check(fault, like=log_sum, cases=rows)
    )  # nbval compares the text


def test_a_lost_gradient_is_named():
    report = minilib.check(lambda x: tuple(y.detach() for y in right(x)), like=log_sum, cases=rows)
    assert "no gradient reaches input 1" in repr(report)


@pytest.mark.parametrize(
    "answer,graded", [(right, "values and gradients"), (right_in_numpy, "values")]
)
def test_right_answers_pass(answer, graded):
    report = minilib.check(answer, like=log_sum, cases=rows)
    assert report
    assert repr(report) == f"{answer.__name__}: correct, 2 cases ({graded})"


@pytest.mark.parametrize("shift", [1e-6, -1e-7])
def test_small_errors_count(shift):
    assert not minilib.check(lambda x: naive.softmax(x) * (1 + shift), like=softmax)
    assert minilib.check(lambda x: naive.softmax(x) * (1 + 1e-12), like=softmax)


def test_like_may_be_the_definition_or_the_twin():
    assert minilib.check(naive.softmax, like=naive.softmax)
    assert minilib.check(softmax, like=softmax)
    with pytest.raises(TypeError, match="like must be a twin"):
        minilib.check(softmax, like=print)


def scaled(params, x, *, power):
    return x**power @ params["weight"].T + params["bias"]


class Scaled(torch.nn.Linear):
    def __init__(self, inputs, outputs, power):
        super().__init__(inputs, outputs)
        self.power = power

    def forward(self, x):
        return super().forward(x**self.power)


class NoBias(Scaled):
    def __init__(self, inputs, outputs, power):
        super().__init__(inputs, outputs, power)
        self.bias = None


class FrozenBias(Scaled):
    def forward(self, x):
        return x**self.power @ self.weight.T + self.bias.detach()


def scaled_cases(rng):
    yield {"inputs": 3, "outputs": 2, "power": 2}, rng.normal(size=(4, 3))


def test_modules_are_compared_through_their_state_dict():
    pair = twins.Pair(scaled, Scaled, scaled_cases)
    case = next(scaled_cases(np.random.default_rng(0)))
    assert twins.examine(pair, number=1, case=case)[2] is None
    assert twins.examine(pair, scaled, number=1, case=case, mode="numpy")[2] is None
    assert (
        "no gradient reaches parameter bias"
        in twins.examine(pair, FrozenBias, number=1, case=case)[2]
    )


def test_a_class_with_other_parameters_is_told_which(monkeypatch):
    monkeypatch.setitem(twins.PAIRS, ("here", "Scaled"), twins.Pair(scaled, Scaled, scaled_cases))
    assert "state_dict lacks ['bias']" in repr(minilib.check(NoBias, like=scaled))
    assert minilib.check(Scaled, like=scaled)


def integers(x):
    return [int(v) for v in x], bytes(int(v) % 256 for v in x)


def test_exact_results_agree_exactly():
    cases = lambda rng: [(rng.integers(100, size=5),)]
    assert minilib.check(lambda x: (x.tolist(), bytes(x.tolist())), like=integers, cases=cases)
    assert "got 1, expected" in repr(
        minilib.check(lambda x: ([1] * 5, bytes(5)), like=integers, cases=cases)
    )
    assert "output[1]: got b" in repr(
        minilib.check(lambda x: (x.tolist(), bytes(5)), like=integers, cases=cases)
    )


def test_complex_gradients_follow_torch():
    definition = lambda z: z * z.conj() + z**2
    cases = lambda rng: [(rng.normal(size=3) + 1j * rng.normal(size=3),)]
    assert minilib.check(lambda z: torch.abs(z) ** 2 + z * z, like=definition, cases=cases)
    assert not minilib.check(
        lambda z: torch.abs(z.detach()) ** 2 + z * z, like=definition, cases=cases
    )
