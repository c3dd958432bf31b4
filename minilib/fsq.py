"""Finite scalar quantisation on torch: round a few bounded channels, read them as one number.

Names and symbols are those of minilib/naive/fsq.py.
"""

import math

import torch
from torch import Tensor

from minilib import twin
from minilib.naive import fsq as naive
from minilib.naive.fsq import EPS


def checked_levels(levels: tuple[int, ...]) -> tuple[int, ...]:
    """The levels as a tuple. Raises ValueError for none, and for a level below 2."""
    levels = tuple(levels)
    if not levels or min(levels) < 2:
        raise ValueError(f"levels must be one or more numbers ≥ 2, got {levels}")
    if math.prod(levels) > 2**63:
        raise ValueError(f"levels must make at most 2⁶³ codes, got {levels}")
    return levels


def _vectors(name, value, levels):
    if value.dim() == 0 or value.shape[-1] != len(levels):
        wanted = f"(..., {len(levels)}), a channel for each level"
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(value.shape)}")
    if not value.isfinite().all():
        raise ValueError(f"{name} must be finite, got {first_bad(value)}")


def first_bad(value: Tensor) -> float:
    """The first number that is not finite, to be named."""
    return value[~value.isfinite()][0].item()


@twin(naive.bound)
def bound(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Squash channel i of z (..., d) into a range that holds exactly levels[i] integers.

    Raises ValueError for another number of channels, a level below 2, and z that is not finite.
    """
    levels = checked_levels(levels)
    _vectors("z", z, levels)
    half = [(L - 1) * (1 + EPS) / 2 for L in levels]
    off = [0.5 * (L % 2 == 0) for L in levels]
    shift = [math.atanh(o / h) for o, h in zip(off, half, strict=True)]
    half, off, shift = (z.new_tensor(numbers) for numbers in (half, off, shift))
    return (z + shift).tanh() * half - off


@twin(naive.quantise, differentiable=False)
def quantise(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """z (..., d) -> codes (..., d) in [-1, 1].

    Backwards the rounding counts as the identity: what is rounded is detached, so that the gradient
    is that of bound(z, levels) / floor(L / 2).
    """
    bounded = bound(z, levels)
    whole = bounded + (bounded.round() - bounded).detach()
    return whole / z.new_tensor([L // 2 for L in levels])


@twin(naive.index_of, differentiable=False)
def index_of(codes: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Codes (..., d) -> int64 (...), digits to the mixed base of the levels, the first the ones.

    Raises ValueError for codes that are not on the grid, or outside of it.
    """
    levels = checked_levels(levels)
    _vectors("codes", codes, levels)
    steps = codes * codes.new_tensor([L // 2 for L in levels])
    digits = steps.round().long() + _row([L // 2 for L in levels], codes)
    inside = (digits >= 0) & (digits < _row(levels, codes))
    if not (inside & ((steps - steps.round()).abs() < 0.01)).all():
        raise ValueError("codes must lie on the grid of the levels, as quantise gives them")
    return (digits * _row(_basis(levels), codes)).sum(-1)


@twin(naive.digits_of, differentiable=False)
def digits_of(index: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Indices (...) -> their digits (..., d), from 0 to L - 1; code g / (L // 2) - 1 for digit g.

    Raises ValueError for an index outside of [0, L_1 L_2 … L_d).
    """
    levels = checked_levels(levels)
    if index.dtype != torch.int64:
        raise ValueError(f"index must be of torch.int64, got {index.dtype}")
    outside = index[(index < 0) | (index >= math.prod(levels))]
    if len(outside):
        raise ValueError(f"index must lie in [0, {math.prod(levels)}), got {outside[0].item()}")
    return index[..., None] // _row(_basis(levels), index) % _row(levels, index)


def _row(numbers, like):
    return torch.tensor(list(numbers), device=like.device)


def _basis(levels):
    return [math.prod(levels[:i]) for i in range(len(levels))]
