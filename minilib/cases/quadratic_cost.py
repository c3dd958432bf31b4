"""What the definitions of quadratic_cost and their twins are tried on."""

import numpy as np

from minilib.cases.attention import _far_apart, _qkv


def multiplications(rng):
    """No step, one; all sizes different; windows of 1, inside, of T and beyond it."""
    for T in (0, 1, 7, 12):
        yield "dense", T, 3, 5
        yield "linear", T, 3, 5, 11
        for window in (1, 4, 7, 20):
            yield "window", T, 3, 5, 0, window


def online_attention(rng):
    """Blocks that fit, leave a rest or are longer than all keys; sums that must be rescaled.

    One step; blocks of 1, of a divisor of S and of no divisor, more than S; queries on a cache and
    queries before any key; no key at all; scores 2,000 apart, so that a block's maximum is neither
    the first nor the last one's, and so that the sums of some rows are rescaled to nothing.
    """
    sizes = [(1, 1, 1, True), (7, 7, 3, True), (7, 7, 7, True), (6, 6, 2, False)]
    sizes += [(5, 5, 128, True), (2, 7, 3, True), (5, 3, 2, True), (1, 6, 4, True)]
    sizes += [(3, 8, 5, False), (2, 0, 4, True)]
    for T, S, block, causal in sizes:
        yield *_qkv(rng, 2, 1, T, S, 3, 2), block, causal
    for block, causal in [(1, True), (2, False)]:
        yield *_far_apart(), rng.normal(size=(1, 1, 4, 2)), block, causal


def has_orthogonal_pair(rng):
    """No row; rows of 0, of 1; the only pair first, last, and in a corner each way; all but one
    product 1; many keys with one 1 in common, where weights too weak to tell would add up."""
    full = np.ones((5, 6), int)
    yield np.zeros((0, 3), int), np.ones((2, 3), int)
    yield np.ones((2, 3), int), np.zeros((0, 3), int)
    yield np.zeros((1, 1), int), np.ones((1, 1), int)
    yield full, full[:3]
    for i, j in [(0, 0), (4, 2), (0, 2), (4, 0)]:
        a, b = full.copy(), full[:3].copy()
        a[i, 3:] = 0
        b[j, :3] = 0
        yield a, b
        b[j, 2] = 1
        yield a, b
    yield np.eye(6, dtype=int)[:1], np.tile(np.eye(6, dtype=int)[0], (200, 1))
    yield np.eye(6, dtype=int)[:1], np.eye(6, dtype=int)[:1]
    for _ in range(6):
        yield rng.integers(2, size=(9, 8)), rng.integers(2, size=(7, 8))


def taylor_features(rng):
    """Degree 0, 2 and 4; one channel and several; one row, and axes before it."""
    for shape, degree in [((3,), 0), ((2, 1), 2), ((4,), 2), ((2, 3, 3), 4), ((5, 1), 4)]:
        yield rng.normal(size=shape), degree


def linear_attention(rng):
    """One step; none; chunks of 1, of a divisor of T, of no divisor, longer than T; a state that
    came before, which a chunk must read and must hand on."""
    for T, M, E, chunk, past in [
        (1, 2, 3, 4, False),
        (0, 3, 2, 4, True),
        (6, 3, 2, 1, False),
        (6, 4, 5, 3, True),
        (7, 3, 2, 3, True),
        (5, 3, 4, 64, True),
        (1, 3, 2, 64, True),
    ]:
        q, k = 0.1 + rng.random((2, 2, 3, T, M))
        A, z = rng.normal(size=(2, 3, M, E)), 0.1 + rng.random((2, 3, M))
        yield q, k, rng.normal(size=(2, 3, T, E)), *((A, z) if past else (None, None)), chunk
