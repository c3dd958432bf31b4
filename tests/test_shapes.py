"""Sizes are whole numbers; shapes are named."""

import math

import numpy as np
import pytest
import torch

from minilib.shapes import check_shapes, check_size, check_sizes


@pytest.mark.parametrize("value", [1, 7, np.int8(3), np.int64(2), np.array(4), torch.tensor(5)])
def test_whole_numbers_pass(value):
    check_size("T", value)
    check_sizes(T=value, S=2)


@pytest.mark.parametrize(
    "value",
    [2.0, 2.5, math.nan, math.inf, True, np.True_, np.float64(2), torch.tensor(2.0), "2", None],
)
def test_what_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match="T must be a whole number, got "):
        check_size("T", value)
    with pytest.raises(ValueError, match="S must be a whole number, got "):
        check_sizes(0, T=0, S=value)


def test_what_is_too_small_is_refused_by_name():
    check_size("layers", 0, 0)
    with pytest.raises(ValueError, match="T must be 1 or more, got 0"):
        check_size("T", 0)
    with pytest.raises(ValueError, match="before must be 0 or more, got -1"):
        check_sizes(0, after=0, before=-1)


def test_a_shape_is_refused_by_name():
    check_shapes(u=(torch.zeros(2, 3), (None, 3)))
    with pytest.raises(ValueError, match=r"u must have shape \(any, 4\), got \(2, 3\)"):
        check_shapes(u=(torch.zeros(2, 3), (None, 4)))
