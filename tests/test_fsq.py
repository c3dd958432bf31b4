"""Finite scalar quantisation: all codes counted, a published vector, its gradient."""

import itertools
import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.fsq import bound, digits_of, index_of, quantise
from minilib.naive import fsq as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def half_of_all(z, levels):  # the scale that even levels do not have
    whole = np.round(naive.bound(z, levels))
    return whole / [(L - 1) / 2 for L in levels]


def codes_as_signs(z, levels):
    return np.sign(naive.bound(z, levels))


WRONG = {
    naive.bound: edited(
        naive.bound,
        no_shift=("z[..., i] + shift", "z[..., i]"),
        never_off=("0.5 if L % 2 == 0 else 0.0", "0.0"),
        always_off=("0.5 if L % 2 == 0 else 0.0", "0.5"),
        off_the_other_way=("* half - off", "* half + off"),
        tan_for_artanh=("np.arctanh(off / half)", "np.tan(off / half)"),
        narrower_range=("(1 + EPS)", "(1 - EPS)"),
        range_of_all_levels=("half = (L - 1)", "half = L"),
    ),
    naive.quantise: [
        *edited(
            naive.quantise,
            cut_off=("np.round(bound", "np.trunc(bound"),
            rounded_down=("np.round(bound", "np.floor(bound"),
            not_rounded=("np.round(bound(z, levels))", "bound(z, levels)"),
            not_scaled=("[L // 2 for L in levels]", "1"),
            no_shift=("z[..., i] + shift", "z[..., i]"),
        ),
        half_of_all,
        codes_as_signs,
    ],
    naive.index_of: edited(
        naive.index_of,
        last_channel_first=(
            "for i, L in enumerate(levels):\n        digit = ",
            "for i, L in [*enumerate(levels)][::-1]:\n        digit = ",
        ),
        not_scaled_back=("codes[..., i] * (L // 2)", "codes[..., i]"),
        digits_from_the_middle=(" + L // 2\n", "\n"),
        basis_of_the_first=("basis *= L", "basis *= levels[0]"),
        one_more=("basis *= L", "basis *= L + 1"),
    ),
    naive.digits_of: edited(
        naive.digits_of,
        last_channel_first=("digits[..., i] =", "digits[..., -1 - i] ="),
        from_the_middle=("index % L", "index % L - L // 2"),
        basis_of_the_first=("index // L", "index // levels[0]"),
        in_32_bits=(
            "    for i, L in enumerate(levels):\n        digits",
            "    index = np.int32(index)\n    for i, L in enumerate(levels):\n        digits",
        ),
    ),
}

LEVELS = [(2,), (3,), (8, 5, 4), (8, 5, 5, 5), (2, 7, 6), (8,) * 4]
double = lambda *rows: torch.tensor(rows, dtype=torch.float64)


def test_the_published_vector():
    """Levels (8, 5, 4), as an independent library gives them, too."""
    z = double([0, 0, 0], [1, 1, 1], [-1, -1, -1], [3, 3, 3], [-3, -3, -3], [0.2, -0.2, 0.6])
    codes = quantise(z, (8, 5, 4))
    whole = (codes * torch.tensor([4, 2, 2])).tolist()
    assert whole == [[0, 0, 0], [2, 2, 1], [-3, -2, -1], [3, 2, 1], [-4, -2, -2], [1, 0, 1]]
    assert index_of(codes, (8, 5, 4)).tolist() == [100, 158, 41, 159, 0, 141]


def test_two_levels_by_hand():
    """Whole numbers -1 and 0: what is above the middle, shifted so that 0 belongs to it, is 0."""
    codes = quantise(double([-9.0], [0.0], [9.0]), (2,))
    assert codes.flatten().tolist() == [-1, 0, 0]
    assert bound(double([0.0]), (2,)).abs().item() < 1e-12


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_every_index_is_one_code_and_every_code_one_index(levels):
    """All of them: the digits of a product of ranges, in order."""
    count = math.prod(levels)
    digits = digits_of(torch.arange(count), levels)
    counted = list(itertools.product(*[range(L) for L in levels[::-1]]))
    assert digits.flip(-1).tolist() == [list(row) for row in counted]
    half = torch.tensor([L // 2 for L in levels])
    codes = (digits - half).double() / half
    assert len({tuple(row) for row in codes.tolist()}) == count
    assert torch.equal(index_of(codes, levels), torch.arange(count))


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_every_level_is_reached_and_none_beyond(levels):
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None].expand(-1, len(levels))
    whole = quantise(z, levels) * torch.tensor([L // 2 for L in levels])
    for column, L in zip(whole.T, levels, strict=True):
        assert column.unique().tolist() == list(range(-(L // 2), (L + 1) // 2))
        assert (column.diff() >= 0).all()


def test_a_code_in_front_of_the_rounding_stays():
    """What was quantised and is put through the bound's inverse is quantised alike."""
    levels = (8, 5, 5, 5)
    digits = digits_of(torch.arange(1000), levels).double()
    half = torch.tensor([(L - 1) * 1.001 / 2 for L in levels], dtype=torch.float64)
    off = torch.tensor([0.5 * (L % 2 == 0) for L in levels], dtype=torch.float64)
    whole = digits - torch.tensor([L // 2 for L in levels])
    z = torch.atanh((whole + off) / half) - torch.atanh(off / half)
    assert torch.equal(index_of(quantise(z, levels), levels), torch.arange(1000))


def test_the_gradient_passes_the_rounding_and_not_the_bound():
    levels, z = (8, 5, 4), torch.randn(50, 3, dtype=torch.float64).requires_grad_()
    out = torch.randn(50, 3, dtype=torch.float64)
    (got,) = torch.autograd.grad((quantise(z, levels) * out).sum(), z)
    smooth = bound(z, levels) / torch.tensor([4, 2, 2])
    (want,) = torch.autograd.grad((smooth * out).sum(), z)
    assert torch.equal(got, want) and (got != 0).all()
    far = torch.full((1, 3), 9.0, dtype=torch.float64).requires_grad_()
    (none,) = torch.autograd.grad(quantise(far, levels).sum(), far)
    assert none.abs().max() < 1e-6  # tanh is flat there: what is far out learns nothing


def test_shares_of_the_levels_of_a_normal_z():
    """L = 8, z from N(0, 1): measured once with 10⁶ draws; 10⁵ draws err by 0.0013 at most (1σ)."""
    z = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    digits = digits_of(index_of(quantise(z, (8,)), (8,)), (8,))
    share = torch.bincount(digits.flatten(), minlength=8) / 1e5
    want = torch.tensor([0.077, 0.137, 0.117, 0.112, 0.117, 0.135, 0.178, 0.127])
    assert (share - want).abs().max() < 0.01


NAN = torch.tensor([[0.0, torch.nan, 1.0]])
REFUSED = [
    (
        lambda: quantise(torch.zeros(2, 3), (8, 5)),
        r"z must have shape \(\.\.\., 2\), .* got \(2, 3\)",
    ),
    (lambda: bound(torch.tensor(1.0), (8,)), r"z must have shape \(\.\.\., 1\), .* got \(\)"),
    (lambda: quantise(NAN, (8, 5, 4)), "z must be finite, got nan"),
    (lambda: quantise(NAN / 0, (8, 5, 4)), "z must be finite, got nan"),
    (lambda: quantise(torch.zeros(1, 2), (8, 1)), r"levels must be .* ≥ 2, got \(8, 1\)"),
    (lambda: digits_of(torch.tensor([0]), ()), r"levels must be one or more numbers"),
    (lambda: digits_of(torch.tensor([0]), (8,) * 22), "levels must make at most 2⁶³ codes"),
    (lambda: digits_of(torch.tensor([160]), (8, 5, 4)), r"index must lie in \[0, 160\), got 160"),
    (lambda: digits_of(torch.tensor([3, -1]), (8, 5, 4)), r"index must lie in \[0, 160\), got -1"),
    (
        lambda: digits_of(torch.tensor([1.0]), (8,)),
        "index must be of torch.int64, got torch.float32",
    ),
    (lambda: index_of(torch.tensor([[1.0]]), (8,)), "codes must lie on the grid"),  # 8: -1 to 0.75
    (lambda: index_of(torch.tensor([[0.3]]), (8,)), "codes must lie on the grid"),
    (lambda: index_of(torch.tensor([[-1.25]]), (8,)), "codes must lie on the grid"),
    (lambda: index_of(NAN, (8, 5, 4)), "codes must be finite"),
]


@pytest.mark.parametrize("call,words", REFUSED, ids=range(len(REFUSED)))
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_nothing_gives_nothing():
    assert quantise(torch.zeros(0, 3), (8, 5, 4)).shape == (0, 3)
    assert index_of(torch.zeros(0, 3), (8, 5, 4)).shape == (0,)
    assert digits_of(torch.zeros(0, 2, dtype=torch.int64), (8, 5)).shape == (0, 2, 2)
