"""What the definitions of fsq and their twins are tried on."""

import numpy as np

LEVELS = [(8, 5, 4), (2,), (3, 2, 7, 6), (8, 5, 5, 5)]


def _away_from_ties(rng, shape, levels):
    """z whose bounded value lies within 0.45 of an integer; each integer of a channel may come."""
    z = np.zeros((*shape, len(levels)))
    for i, L in enumerate(levels):
        half, off = (L - 1) * 1.001 / 2, 0.5 * (L % 2 == 0)
        q = rng.integers(-(L // 2), (L + 1) // 2, size=shape)
        edge = np.where(q == -(L // 2), 0, -0.45), np.where(q == (L - 1) // 2, 0, 0.45)
        bounded = q + rng.uniform(*edge)
        z[..., i] = np.arctanh((bounded + off) / half) - np.arctanh(off / half)
    return z


def bound(rng):
    """Even and odd levels, two of them; no batch axis; zeros; values where tanh is flat."""
    for levels, shape in zip(LEVELS, [(3,), (), (2, 3), (4,)], strict=True):
        yield rng.normal(size=(*shape, len(levels))), levels
    yield np.zeros((2, 3)), (8, 5, 2)
    yield np.array([[50.0, -50.0, 4.0]]), (8, 5, 4)


def quantise(rng):
    """Every integer of each channel; away from ties; far beyond the range; the published vector."""
    for levels in LEVELS:
        yield _away_from_ties(rng, (40,), levels), levels
    yield _away_from_ties(rng, (2, 3, 2), (6, 9)), (6, 9)
    yield np.array([[60.0, 60, 60], [-60, -60, -60], [0, 0, 0]]), (8, 5, 2)
    z = [[0, 0, 0], [1, 1, 1], [-1, -1, -1], [3, 3, 3], [-3, -3, -3], [0.2, -0.2, 0.6]]
    yield np.array(z, float), (8, 5, 4)


def _all_codes(levels):
    """The codes of every index, made by counting, the first channel fastest."""
    digits = np.stack(np.meshgrid(*[range(L) for L in levels[::-1]], indexing="ij"), -1)
    half = np.array([L // 2 for L in levels])
    return ((digits.reshape(-1, len(levels))[:, ::-1] - half) / half).copy()


def index_of(rng):
    """All codes in order; one vector alone; two axes of them; none."""
    for levels in LEVELS[:3]:
        yield _all_codes(levels), levels
    yield _all_codes((8, 5, 4))[77], (8, 5, 4)
    yield rng.permutation(_all_codes((3, 4))).reshape(2, 6, 2), (3, 4)
    yield np.zeros((0, 3)), (8, 5, 4)


def digits_of(rng):
    """All indices in order; one alone; two axes of them; more than 2³¹ codes."""
    for levels in LEVELS[:3]:
        yield np.arange(np.prod(levels)), levels
    yield np.array(77), (8, 5, 4)
    yield rng.integers(60, size=(2, 3)), (3, 4, 5)
    yield np.array([0, 2**33 + 7, 8**12 - 1]), (8,) * 12
