"""Cases of minilib/naive/shoot_out.py."""

import numpy as np


def frontier(rng):
    """One entry; equal entries, which do not beat each other; ties in one of the two; entries in
    no order; an infinite cost."""
    yield np.array([1.0]), np.array([2.0])
    yield np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 3.0])
    yield np.array([1.0, 1.0, 3.0, 2.0]), np.array([2.0, 1.0, 0.5, 1.0])
    yield np.array([4.0, 2.0, 3.0, 1.0, 2.5]), np.array([1.0, 3.0, 2.0, 4.0, 3.5])
    yield np.array([np.inf, 1.0, np.inf]), np.array([0.5, 1.0, 0.7])
    yield rng.permutation(12).astype(float), rng.permutation(12).astype(float)


def over_plays(rng):
    """Two texts, and eleven; sizes that differ, so that a mean of ratios fails; equal ratios, whose
    interval has no width; a difference that is below 0."""
    yield np.array([20.0, 10.0]), np.array([10.0, 4.0])
    yield np.array([200.0, 10.0, 31.0]), np.array([100.0, 4.0, 9.0])
    yield np.array([3.0, 6.0, 9.0]), np.array([1.0, 2.0, 3.0])
    yield -np.array([7.0, 1.0, 2.0, 8.0]), np.array([5.0, 1.0, 1.0, 9.0])
    yield 10 * rng.random(6), 1 + 9 * rng.random(6)
    yield 10 * rng.random(11), 1 + 9 * rng.random(11)
