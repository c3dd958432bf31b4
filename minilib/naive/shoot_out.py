"""What lesson 39 says of many models at once: who is on the frontier, and how sure a score is.

frontier     which entries no other beats in cost and in score
over_plays   bits per byte over several texts, with an interval
"""

import numpy as np


def frontier(cost, score):
    """Which entries are on the frontier of low cost and low score (Pareto).

    cost, score  (n,) each; less is better in both
    returns      (n,) bool. An entry is beaten by another that is no worse in both and better in one
    Raises ValueError for lengths that differ, and for nan.
    """
    if cost.ndim != 1 or cost.shape != score.shape:
        raise ValueError(
            f"cost and score must have one shape (n,), got {cost.shape}, {score.shape}"
        )
    if np.isnan(cost).any() or np.isnan(score).any():
        raise ValueError("cost and score must not be nan")
    on = np.ones(len(cost), bool)
    for i in range(len(cost)):
        for j in range(len(cost)):
            no_worse = cost[j] <= cost[i] and score[j] <= score[i]
            if no_worse and (cost[j] < cost[i] or score[j] < score[i]):
                on[i] = False
    return on


# 97.5 % points of Student's t for 1, 2, … 10 degrees of freedom, to four digits
STUDENT = 12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228


def over_plays(bits, sizes):
    """Bits per byte over several texts, with a 95 % interval: (mean, low, high).

    bits   (n,) total bits of each text; of two models, the difference of theirs: both read the same
           texts, and what makes one hard for both cancels: the interval is mostly narrower
    sizes  (n,) bytes of each text
    The texts are taken as drawn at random from many such texts: a ratio estimator, r = Σ bits / Σ
    sizes, whose residuals bits - r sizes give the variance n / (n - 1) Σ residual² / (Σ sizes)²,
    and Student's t of n - 1 degrees of freedom (Cochran, Sampling Techniques, chapter 6, for a
    sample from a large population).
    Raises ValueError for other than 2 to 11 texts, lengths that differ, and sizes below 1.
    """
    if bits.shape != sizes.shape or bits.ndim != 1:
        raise ValueError(f"bits and sizes must have one shape, got {bits.shape}, {sizes.shape}")
    if not 2 <= len(bits) <= len(STUDENT) + 1:
        raise ValueError(f"bits must be of 2 to {len(STUDENT) + 1} texts, got {len(bits)}")
    if not (sizes >= 1).all():
        raise ValueError(f"sizes must be 1 or more, got {sizes.min()}")
    n, total = len(bits), 0.0
    ratio = sum(bits) / sum(sizes)
    for i in range(n):
        total += (bits[i] - ratio * sizes[i]) ** 2
    half = STUDENT[n - 2] * np.sqrt(n / (n - 1) * total) / sum(sizes)
    return ratio, ratio - half, ratio + half
