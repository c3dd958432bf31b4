"""What the definitions of cross_attention and their twins are tried on."""

import numpy as np


def _weights(rng, C):
    """W_q, W_kv, W_out."""
    return [rng.normal(size=shape) for shape in ((C, C), (2 * C, C), (C, C))]


def keys_and_values(rng):
    """One step; a position; one for each step, not in order; all sizes different."""
    for B, S, heads, D, position in [
        (1, 1, 1, 2, 0),
        (2, 3, 3, 4, 5),
        (3, 4, 2, 6, np.array([0, 7, 2, 2])),
    ]:
        source, W_kv = rng.normal(size=(B, S, heads * D)), _weights(rng, heads * D)[1]
        yield source, W_kv, heads, position


def cross_attention(rng):
    """One query and one key; more of either; positions; scores that lie hundreds apart.

    Two queries whose largest scores lie 1,000 apart: one maximum for all leaves 0 / 0 to the other.
    """
    for B, T, S, heads, D, position, size in [
        (1, 1, 1, 1, 2, 0, 1),
        (2, 5, 3, 2, 4, 1, 1),
        (2, 3, 7, 1, 2, np.array([4, 0, 1]), 1),
        (1, 2, 4, 3, 2, 0, 30),
    ]:
        W_q, _, W_out = _weights(rng, heads * D)
        keys, values = rng.normal(size=(2, B, heads, S, D))
        yield size * rng.normal(size=(B, T, heads * D)), size * keys, values, W_q, W_out, position
    query, keys = np.array([[[1000.0, 0.0], [0.5, 0.25]]]), np.array([[[[1.5, 0.5], [-1.0, 0.7]]]])
    yield query, keys, rng.normal(size=(1, 1, 2, 2)), np.eye(2), np.eye(2), np.array([0, 0])


def shorten_attention(rng):
    """One step of one group; all sizes different; one head of many channels."""
    for B, G, k, heads, D in [(1, 1, 1, 1, 2), (2, 3, 4, 2, 2), (1, 2, 3, 1, 6)]:
        C = heads * D
        query, groups = rng.normal(size=(B, G, C)), rng.normal(size=(B, G, k, C))
        yield query, groups, *_weights(rng, C), heads


def up_attention(rng):
    """One step; whole groups; pieces that begin or end in a group; no new group; windows."""
    for B, T, G, S, heads, D, k, position, window in [
        (1, 1, 1, 0, 1, 2, 1, 0, None),
        (2, 7, 2, 0, 2, 2, 4, 0, None),
        (2, 9, 3, 0, 1, 4, 4, 0, 2),
        (1, 5, 1, 2, 2, 2, 4, 6, None),
        (1, 2, 0, 2, 1, 2, 4, 5, 2),
        (2, 6, 2, 3, 1, 2, 3, 9, 3),
        (1, 11, 5, 2, 1, 2, 2, 5, 2),
    ]:
        C = heads * D
        weights, past = _weights(rng, C), rng.normal(size=(2, B, heads, S, D))
        x, y = rng.normal(size=(B, T, C)), rng.normal(size=(B, G, C))
        yield x, y, *weights, heads, k, *past, position, window
