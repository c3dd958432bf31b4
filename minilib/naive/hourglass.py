"""Hourglass: fine layers, a shorter and deeper middle, fine layers again; the definition.

code ↔ paper (Nawrot et al. 2021, arXiv:2110.13711): k = shorten factor; before, middle, after = the
vanilla layers, the shortened ones, the vanilla layers again, so that "2@1 4@3 2@1" is 2, 4, 2 with
k = 3; group = the k steps that one shortened step stands for.
"""

import math

import numpy as np

from minilib.naive.cross_attention import shorten_attention, up_attention
from minilib.naive.transformer import block, layer_norm


def group(x, k, shift):
    """Steps in groups of k, after a shift: (batch, T, C) -> (batch, ceil(T / k), k, C).

    Group j holds steps jk - shift … jk - shift + k - 1, zeros where there are none. E.g. steps
    abcdefg with k = 3 and shift 2: ··a bcd efg. Group j is used at steps jk … jk + k - 1, so its
    last step must not come after jk: a shift of k - 1 is the least that leaks nothing (sec. 2.1).
    No step is cut off: shift, crop to T, then pad, and more text would change the last group.
    """
    B, T, C = x.shape
    out = np.zeros((B, math.ceil(T / k), k, C))
    for j in range(out.shape[1]):
        for i in range(k):
            if 0 <= j * k - shift + i < T:
                out[:, j, i] = x[:, j * k - shift + i]
    return out


def shorten_average(groups):
    """The mean of each group: (batch, G, k, C) -> (batch, G, C)."""
    B, G, k, C = groups.shape
    out = np.zeros((B, G, C))
    for i in range(k):
        out += groups[:, :, i] / k
    return out


def shorten_linear(groups, W):
    """One matrix (C, kC) reads the whole group: (batch, G, k, C) -> (batch, G, C)."""
    B, G, k, C = groups.shape
    out = np.zeros((B, G, C))
    for i in range(k):
        out += groups[:, :, i] @ W[:, i * C : (i + 1) * C].T
    return out


def up_repeat(y, k, T, phase=0):
    """Each step gets the vector of its group: (batch, G, C) -> (batch, T, C).

    Step t belongs to group (t + phase) // k of y.
    """
    out = np.zeros((len(y), T, y.shape[2]))
    for t in range(T):
        out[:, t] = y[:, (t + phase) // k]
    return out


def up_linear(y, W, k, T, phase=0):
    """Each of a group's k steps gets its own linear function of the group's vector.

    W (kC, C): a matrix for each place in the group. The rest is as in up_repeat.
    """
    B, _, C = y.shape
    out = np.zeros((B, T, C))
    for t in range(T):
        j, i = divmod(t + phase, k)
        out[:, t] = y[:, j] @ W[i * C : (i + 1) * C].T
    return out


# -- the language model ----------------------------------------------------------------------------


def part_of(params, prefix):
    """The parameters of one submodule, under its own names."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in params.items()
        if name.startswith(f"{prefix}.")
    }


def stack(params, name, x, layers, heads, causal=True, window=None):
    """The blocks name.0, name.1, … of a state_dict, one after another, without a past."""
    no_past = np.zeros((len(x), heads, 0, x.shape[2] // heads))
    for n in range(layers):
        own = part_of(params, f"{name}.{n}")
        x, _, _ = block(own, x, no_past, no_past, 0, heads, causal, window)
    return x


def normed(params, name, x):
    return layer_norm(x, params[f"{name}.weight"], params[f"{name}.bias"])


def hourglass(params, ids, *, k, before, middle, after, heads, context, shorten, up):
    """Logits of the language model (alg. 1 of the paper, one level).

    params   the state_dict of minilib.hourglass.Hourglass
    ids      (batch, T) int, T of any length
    context  steps that a fine layer sees, and groups that a middle layer sees
    returns  (batch, T, vocab)
    """
    P, T = params, ids.shape[1]
    x = np.array([[P["embed"][i] for i in row] for row in ids])
    x = stack(P, "before", x, before, heads, True, context)

    groups = group(x, k, k - 1)
    if shorten == "linear":
        y = shorten_linear(groups, P["W_shorten"])
    else:
        y = shorten_average(groups)
    if shorten == "attention":
        G = part_of(P, "gather")
        query, source = normed(G, "norm_q", y), normed(G, "norm_kv", groups)
        y = y + shorten_attention(query, source, G["q"], G["kv"], G["out"], heads)
    y = stack(P, "middle", y, middle, heads, True, context)

    x = x + (up_repeat(y, k, T) if up == "repeat" else up_linear(y, P["W_up"], k, T))
    if up == "attention":
        S = part_of(P, "spread")
        query, source = normed(S, "norm_q", x), normed(S, "norm_kv", y)
        past = [np.zeros((len(x), heads, 0, x.shape[2] // heads))] * 2
        seen, _, _ = up_attention(
            query, source, S["q"], S["kv"], S["out"], heads, k, *past, 0, context
        )
        x = x + seen
    x = stack(P, "after", x, after, heads, True, context)
    return normed(P, "norm", x) @ P["output"].T


def multiply_adds(T, C, V, k, before, middle, after, context):
    """Products of one forward pass over T symbols, with averages and repeats, row by row.

    A block multiplies each row by matrices of 3C², C², 4C² and 4C² entries; a row that sees s keys
    takes 2sC for their scores and the weighted sum. Tables, norms and averages multiply no matrix
    and are not counted.
    """
    total = 0
    for layers, steps in ((before + after, T), (middle, math.ceil(T / k))):
        for _ in range(layers):
            for t in range(steps):
                total += 12 * C * C + 2 * C * min(t + 1, context)
    return total + T * C * V
