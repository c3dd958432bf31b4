"""What the definitions of attention and their twins are tried on."""

import numpy as np


def _qkv(rng, B, H, T, S, D, E):
    """Random queries, keys and values."""
    sizes = (T, D), (S, D), (S, E)
    return tuple(rng.normal(size=(B, H, *size)) for size in sizes)


def _far_apart():
    """Queries and keys (1, 1, 4, 1) whose scores lie at 2,000, at 0 and at -2,000.

    exp overflows without a maximum, and underflows with the maximum of all rows instead of each.
    The last key is hidden from query 1 by causality: with its 4,000 as the maximum all the rest of
    the row underflows.
    """
    q, k = np.array([[1.0, 45, 0, -45], [45.0, 45, 44, 90]])
    return q.reshape(1, 1, 4, 1), k.reshape(1, 1, 4, 1)


def attention(rng):
    """All kinds of sights, and what goes wrong most often in each.

    One step; sizes all different and odd; more keys than queries, with and without causality, down
    to one query on a cache (a triangle aligned top left sees v[0] only); more queries than keys,
    of which the first see nothing; windows that are 1, divide T, exceed it, meet a cache, meet no
    key at all; masks with an empty and a full row, one for each head, one for each text and beside
    a window (its first row is empty only by mask and causality together); scores 2,000 apart.
    """
    yield *_qkv(rng, 1, 1, 1, 1, 2, 2), None, True, None
    yield *_qkv(rng, 2, 3, 7, 7, 5, 4), None, True, None
    yield *_qkv(rng, 2, 3, 4, 7, 5, 4), None, False, None
    yield *_qkv(rng, 2, 1, 1, 6, 3, 3), None, True, None
    yield *_qkv(rng, 1, 2, 3, 8, 4, 4), None, True, None
    yield *_qkv(rng, 1, 2, 5, 3, 4, 4), None, True, None
    windows = [(9, 9, 1), (9, 9, 3), (8, 8, 4), (1, 6, 4), (3, 8, 2), (7, 9, 20), (7, 2, 3)]
    for T, S, window in [*windows, (3, 0, 1)]:
        yield *_qkv(rng, 1, 2, T, S, 4, 4), None, True, window
    visible = rng.random((5, 6)) < 0.5
    visible[2], visible[3] = False, True
    yield *_qkv(rng, 2, 2, 5, 6, 3, 3), visible, False, None
    yield *_qkv(rng, 2, 3, 2, 3, 3, 3), np.indices((1, 3, 2, 3)).sum(0) % 3 > 0, False, None
    visible = rng.random((2, 1, 6, 6)) < 0.5
    visible[0, 0, 0] = np.arange(6) > 0
    yield *_qkv(rng, 2, 2, 6, 6, 3, 3), visible, True, 3
    yield *_far_apart(), rng.normal(size=(1, 1, 4, 2)), None, True, None


def sinusoid(rng):
    """Step 0 (every wave begins with 0, 1); whole steps; positions between steps."""
    yield np.zeros(1), 2
    yield np.arange(7.0), 6
    yield 100 * rng.random(3), 16


def rope(rng):
    """One step; a start in the middle; a million steps on, where float32 angles fail; given steps.

    Steps that repeat, as in a tree, catch a twin that counts on from the first; another base one
    that has 10,000 built in.
    """
    yield rng.normal(size=(2, 1, 1, 2)), 0
    yield rng.normal(size=(2, 3, 7, 6)), 5
    yield rng.normal(size=(4, 4)), 10**6
    yield rng.normal(size=(1, 3, 5, 4)), np.array([7, 8, 8, 9, 9])
    yield rng.normal(size=(2, 3, 6)), 4, 50.0


def multi_head(rng):
    """One step; one on a full and on an unfilled cache; several that slide out of it.

    A window that drops new steps too; no window; nothing new (the cache stays); both ways; scores
    at 1,400 in one head and at -1,400 in the other, where only the maximum of each row will do.
    """
    for B, T, H, D, position, causal, window in [
        (1, 1, 1, 2, 0, True, None),
        (2, 5, 2, 4, 0, True, None),
        (2, 1, 3, 2, 4, True, 5),
        (2, 1, 1, 2, 7, True, 3),
        (1, 4, 2, 2, 9, True, 4),
        (2, 7, 2, 2, 0, True, 3),
        (1, 3, 1, 4, 2, True, None),
        (1, 0, 1, 2, 3, True, 2),
        (2, 3, 2, 2, 0, False, None),
    ]:
        C = H * D
        x, W_qkv, W_out = (rng.normal(size=size) for size in [(B, T, C), (3 * C, C), (C, C)])
        past_k, past_v = rng.normal(size=(2, B, H, min(position, window or position), D))
        yield x, W_qkv, W_out, H, past_k, past_v, position, causal, window
    # two heads of two channels: q = 45 x, k = 45 x and -45 x, and steps much alike
    x = np.array([1.0, 0.0, 1.0, 0.0]) + 0.1 * rng.normal(size=(1, 3, 4))
    turned = np.diag([45.0, 45.0, -45.0, -45.0])
    W_qkv = np.concatenate([45 * np.eye(4), turned, rng.normal(size=(4, 4))])
    yield x, W_qkv, rng.normal(size=(4, 4)), 2, *np.zeros((2, 1, 2, 0, 2)), 0, True, None
