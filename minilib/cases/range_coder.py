"""What the definitions of range_coder and their twins are tried on."""

import numpy as np

from minilib.naive import range_coder as naive


def cuts_of(rng):
    """One symbol; odd sizes, more axes; a certainty, impossible ones; equal ones; few bits; another
    least width; a coarse grid, on which p lies between two steps."""
    yield (np.ones((1, 1)),)
    yield (rng.dirichlet([0.3] * 7, size=(2, 3)),)
    yield (np.eye(4)[:2],)
    yield (np.full((1, 3), 1 / 3),)
    yield rng.dirichlet([1.0] * 5, size=2), 8, 3
    yield np.array([[0.26, 0.49, 0.25]]), 12, 1, 0.1
    yield np.array([[0.625, 0.375]]), 6, 2, 0.25


def _coded(rng, N, K, bits, sharp=1.0):
    cuts = naive.cuts_of(rng.dirichlet([sharp] * K, size=N), bits)
    return np.array([rng.integers(K) for _ in range(N)], np.int64).reshape(N), cuts, bits


def _lists(rng):
    """No symbol; one; one of one; many; sharp and flat; intervals that straddle the middle for
    long; symbols that cost nothing; the widest cuts and the narrowest; intervals of few numbers."""
    yield _coded(rng, 0, 3, 24)
    yield _coded(rng, 1, 5, 24)
    yield _coded(rng, 3, 1, 24)
    yield _coded(rng, 40, 7, 24)
    yield _coded(rng, 40, 7, 24, 0.05)
    yield _coded(rng, 25, 4, 8)
    yield np.ones(30, np.int64), np.array([[0, 5, 11, 16]] * 30), 4  # around the middle
    yield np.array([0, 1, 0, 0, 2, 2, 1, 0]), np.array([[0, 2, 254, 256]] * 8), 8
    yield np.array([2, 2, 2, 2, 2, 2, 2, 2, 2]), np.array([[0, 2, 4, 16]] * 9), 4
    yield np.array([0, 0, 0, 0, 0]), np.array([[0, 2, 6]] * 5), 3
    yield np.array([1, 0]), np.array([[0, 15, 16], [0, 1, 16]]), 4  # one number is left
    yield np.array([1]), np.array([[0, 1, 3, 4]]), 2
    many = np.array([[0, 1, 3, 4], [0, 1, 2, 4], [0, 2, 3, 4], [0, 1, 2, 3]] * 16)
    yield rng.integers(3, size=64), many, 2  # few numbers: every rounding shows
    yield rng.integers(2, size=64), np.array([[0, 7, 8], [0, 1, 8], [0, 6, 8], [0, 2, 8]] * 16), 3
    yield np.tile([0, 1, 0, 0, 1, 1], 9), np.array([[0, 7, 8], [0, 1, 8], [0, 6, 8]] * 18), 3


def encode(rng):
    """No symbol; one; one of one; many; sharp and flat; intervals that straddle the middle for
    long; symbols that cost nothing; the widest cuts and the narrowest; intervals of few
    numbers; the usual number of bits."""
    yield from _lists(rng)
    yield _coded(rng, 9, 3, 24)[:2]


def decode(rng):
    """The bytes of all that is there for encode."""
    for symbols, cuts, bits in _lists(rng):
        yield naive.encode(symbols, cuts, bits), cuts, bits
    symbols, cuts, _ = _coded(rng, 9, 3, 24)
    yield naive.encode(symbols, cuts), cuts
