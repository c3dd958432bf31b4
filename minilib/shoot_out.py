"""What lesson 39 says of many models at once, in torch.

Names and symbols are those of minilib/naive/shoot_out.py.
"""

import torch
from torch import Tensor

from minilib import twin
from minilib.naive import shoot_out as naive
from minilib.naive.shoot_out import STUDENT


@twin(naive.frontier, differentiable=False)
def frontier(cost: Tensor, score: Tensor) -> Tensor:
    """Which entries (n,) are on the frontier: sorted by cost, then score, a running minimum.

    O(n log n) instead of all pairs. Of a group with one cost those with its least score are on it,
    if that is below every score of a lower cost.
    Raises ValueError for lengths that differ, and for nan.
    """
    if cost.dim() != 1 or cost.shape != score.shape:
        shapes = f"{tuple(cost.shape)}, {tuple(score.shape)}"
        raise ValueError(f"cost and score must have one shape (n,), got {shapes}")
    if cost.isnan().any() or score.isnan().any():
        raise ValueError("cost and score must not be nan")
    order = score.argsort(stable=True)
    order = order[cost[order].argsort(stable=True)]
    cost, score = cost[order], score[order]
    group = torch.unique_consecutive(cost, return_inverse=True)[1]
    first = torch.searchsorted(group, group)  # the least score of a group stands first
    before = torch.cat([score.new_full((1,), torch.inf), score.cummin(0).values])[first]
    on = (score == score[first]) & ((score < before) | (first == 0))
    return torch.empty_like(on).scatter(0, order, on)


@twin(naive.over_plays, differentiable=False)
def over_plays(bits: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bits per byte over several texts (n,), with a 95 % interval: (mean, low, high).

    A ratio estimator with Student's t; 2 to 11 texts. For two models side by side give the
    difference of their bits.
    Raises ValueError for another number of texts, lengths that differ, and sizes below 1.
    """
    if bits.shape != sizes.shape or bits.dim() != 1:
        shapes = f"{tuple(bits.shape)}, {tuple(sizes.shape)}"
        raise ValueError(f"bits and sizes must have one shape, got {shapes}")
    n = len(bits)
    if not 2 <= n <= len(STUDENT) + 1:
        raise ValueError(f"bits must be of 2 to {len(STUDENT) + 1} texts, got {n}")
    if not (sizes >= 1).all():
        raise ValueError(f"sizes must be 1 or more, got {sizes.min()}")
    total = sizes.sum()
    ratio = bits.sum() / total
    spread = (bits - ratio * sizes).square().sum() * n / (n - 1)
    half = STUDENT[n - 2] * spread.sqrt() / total
    return ratio, ratio - half, ratio + half
