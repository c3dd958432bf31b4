import math

import numpy as np
import pytest
import torch

import minilib
from minilib import start_here
from minilib.naive import start_here as naive


def test_by_hand():
    # odds 1 : 2 : 5 are probabilities 1/8, 2/8, 5/8
    np.testing.assert_allclose(naive.softmax(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])


def test_log_two_doubles_the_odds():
    p = start_here.softmax(torch.tensor([[0.0, math.log(2)]], dtype=torch.float64))
    torch.testing.assert_close(p[0, 1], 2 * p[0, 0])


def test_large_scores_do_not_overflow():
    assert start_here.softmax(torch.tensor([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]
    assert naive.softmax(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]


def test_a_softmax_that_subtracts_the_maximum_of_all_is_refused():
    def careless(x):
        weight = np.exp(x - x.max())
        return weight / weight.sum(axis=1, keepdims=True)

    with np.errstate(all="ignore"):
        assert not minilib.check(careless, like=naive.softmax)


@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="x must have shape"):
        naive.softmax(np.zeros(shape))
    with pytest.raises(ValueError, match="x must have shape"):
        start_here.softmax(torch.zeros(shape))
