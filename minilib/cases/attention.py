"""What the definitions of attention and their twins are tried on."""

import numpy as np


def attention(rng):
    """One step; odd sizes; one query on a cache; windows; scores in the thousands; rows that see nothing."""
    qkv = lambda B, H, T, S, D, E: (
        rng.normal(size=(B, H, T, D)),
        rng.normal(size=(B, H, S, D)),
        rng.normal(size=(B, H, S, E)),
    )
    yield *qkv(1, 1, 1, 1, 2, 2), None, True, None
    yield *qkv(2, 3, 7, 7, 5, 4), None, True, None
    yield *qkv(2, 3, 4, 7, 5, 4), None, False, None
    yield (
        *qkv(2, 1, 1, 6, 3, 3),
        None,
        True,
        None,
    )  # a fused kernel that aligns its triangle top left sees v[0] only
    yield *qkv(1, 2, 3, 8, 4, 4), None, True, None
    yield (
        *qkv(1, 2, 5, 3, 4, 4),
        None,
        True,
        None,
    )  # more queries than keys: the first two see nothing
    for T, S, window in [
        (9, 9, 1),
        (9, 9, 3),
        (8, 8, 4),
        (1, 6, 4),
        (3, 8, 2),
        (7, 9, 20),
        (7, 2, 3),
        (3, 0, 1),
    ]:
        yield *qkv(1, 2, T, S, 4, 4), None, True, window
    visible = rng.random((5, 6)) < 0.5
    visible[2], visible[3] = False, True
    yield *qkv(2, 2, 5, 6, 3, 3), visible, False, None
    yield *qkv(2, 2, 6, 6, 3, 3), rng.random((2, 1, 6, 6)) < 0.5, True, 3
    q, _, v = qkv(1, 1, 5, 5, 4, 1)
    yield 40 * q, 40 * q, v, None, True, None


def online_attention(rng):
    """One step; blocks of one, of some that divide S and some that do not, of more than S; a cache; queries before any key; large scores."""
    for T, S, block, causal in [
        (1, 1, 1, True),
        (7, 7, 3, True),
        (7, 7, 7, True),
        (6, 6, 2, False),
        (5, 5, 128, True),
        (2, 7, 3, True),
        (5, 3, 2, True),
        (1, 6, 4, True),
        (3, 8, 5, False),
        (2, 0, 4, True),
    ]:
        yield (
            rng.normal(size=(2, 1, T, 3)),
            rng.normal(size=(2, 1, S, 3)),
            rng.normal(size=(2, 1, S, 2)),
            block,
            causal,
        )
    yield (
        40 * rng.normal(size=(1, 2, 6, 4)),
        40 * rng.normal(size=(1, 2, 6, 4)),
        rng.normal(size=(1, 2, 6, 1)),
        2,
        True,
    )


def sinusoid(rng):
    return [(np.zeros(1), 2), (np.arange(7.0), 6), (100 * rng.random(3), 16)]


def rope(rng):
    for shape, position in [
        ((2, 1, 1, 2), 0),
        ((2, 3, 7, 6), 5),
        ((4, 4), 10**6),
        ((1, 3, 5, 4), np.array([7, 8, 8, 9, 9])),
    ]:
        yield rng.normal(size=shape), position


def multi_head(rng):
    """One step; one on a cache; several on a cache that they slide out of; a window that drops some; no window; nothing new; both ways."""
    for B, T, H, D, position, causal, window in [
        (1, 1, 1, 2, 0, True, None),
        (2, 5, 2, 4, 0, True, None),
        (2, 1, 3, 2, 4, True, 5),
        (1, 4, 2, 2, 9, True, 4),
        (2, 7, 2, 2, 0, True, 3),
        (1, 3, 1, 4, 2, True, None),
        (1, 0, 1, 2, 3, True, 2),
        (2, 3, 2, 2, 0, False, None),
    ]:
        C = H * D
        past = rng.normal(size=(2, B, H, min(position, window or position), D))
        yield (
            rng.normal(size=(B, T, C)),
            rng.normal(size=(3 * C, C)),
            rng.normal(size=(C, C)),
            H,
            past[0],
            past[1],
            position,
            causal,
            window,
        )
