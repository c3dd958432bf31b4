"""Attention between two lengths: steps look at another sequence, or at groups; the definition.

Every query is a step of one sequence, every key and value a step of another (Vaswani et al. 2017,
arXiv:1706.03762, sec. 3.2.3). On the way down of an hourglass a group looks at its steps, on the
way up a step looks at the groups before it (Nawrot et al. 2021, arXiv:2110.13711).
"""

import math

import numpy as np

from minilib.naive.attention import attention, rope


def keys_and_values(source, W_kv, heads, position=0):
    """Rotated keys, and values, of the sequence that is looked at.

    source    (batch, S, C); W_kv (2C, C), keys then values
    position  of the first row of source, or of each
    returns   both (batch, heads, S, C / heads)
    """
    C = source.shape[2]
    parts = [slice(n, n + C // heads) for n in range(0, C, C // heads)]  # a head's channels
    keys = [rope(source @ W_kv[:C][part].T, position) for part in parts]
    values = [source @ W_kv[C:][part].T for part in parts]
    return np.stack(keys, axis=1), np.stack(values, axis=1)


def cross_attention(query, keys, values, W_q, W_out, position=0):
    """Steps of one sequence look at all keys and values of another: (batch, T, C) -> (batch, T, C).

    W_q, W_out  (C, C); position: of the first row of query, or of each
    """
    out, (heads, D) = np.zeros(query.shape), (keys.shape[1], keys.shape[3])
    for h in range(heads):
        part = slice(h * D, (h + 1) * D)
        q = rope(query @ W_q[part].T, position)
        context = attention(q[:, None], keys[:, h : h + 1], values[:, h : h + 1])[:, 0]
        out += context @ W_out[:, part].T
    return out


def shorten_attention(query, groups, W_q, W_kv, W_out, heads):
    """Each group's query looks at the k steps of its own group.

    query (batch, G, C); groups (batch, G, k, C); W_q, W_out (C, C); W_kv (2C, C), keys then values
    returns (batch, G, C). Keys carry the rotary position 0 … k - 1 in their group.
    Departure: the paper's query sees all steps.
    """
    out = np.zeros(query.shape)
    for j in range(groups.shape[1]):
        keys, values = keys_and_values(groups[:, j], W_kv, heads)
        out[:, j : j + 1] = cross_attention(query[:, j : j + 1], keys, values, W_q, W_out)
    return out


def up_attention(x, y, W_q, W_kv, W_out, heads, k, past_k, past_v, position=0, window=None):
    """Steps look at groups: step t at groups ≤ t // k.

    x               (batch, T, C), the queries: steps position … position + T - 1
    y               (batch, G, C), the groups that begin at these steps; G may be 0
    W_q, W_out      (C, C); W_kv (2C, C); a query stands at the rotary position of its group
    past_k, past_v  (batch, heads, S, C / heads), rotated keys and values of the S groups before y
    returns         (batch, T, C); keys and values to keep: of the last `window` groups, or of all
    """
    first = math.ceil(position / k)  # the first group of y
    oldest = first - past_k.shape[2]  # the group of keys[:, :, 0]
    keys, values = keys_and_values(y, W_kv, heads, first)
    keys = np.concatenate([past_k, keys], axis=2)
    values = np.concatenate([past_v, values], axis=2)
    out = np.zeros(x.shape)
    for t in range(x.shape[1]):
        j = (position + t) // k
        end = j + 1 - oldest
        seen = slice(max(0, end - window) if window else 0, end)
        query = x[:, t : t + 1]
        out[:, t : t + 1] = cross_attention(
            query, keys[:, :, seen], values[:, :, seen], W_q, W_out, j
        )
    keep = slice(-window, None) if window else slice(None)
    return out, keys[:, :, keep], values[:, :, keep]
