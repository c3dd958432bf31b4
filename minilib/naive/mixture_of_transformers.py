"""A mixture of Transformers: one attention for all, weights of its own for each modality.

Source: Liang et al. 2024, "Mixture-of-Transformers: A Sparse and Scalable Architecture for
Multi-Modal Foundation Models" (arXiv:2411.04996), algorithm 1.

    code       paper                                               shape
    modality   m_i, the kind of token i: word, piece of a picture  (batch, T) int
    groups     I_m, where the tokens of each modality are
    experts.m  the weights θ^m: norms, W_Q W_K W_V, W_O, feed-forward

Departures: the layer is that of lesson 13 (normalisation before a sublayer, rotary positions,
squared ReLU, no biases); without normalised queries and keys.
"""

import numpy as np

from minilib.naive.attention import attention, rope
from minilib.naive.transformer import layer_norm, own


def group_by_modality(modality, M):
    """Where the tokens of each modality are: M lists of places in modality.flatten(), ascending.

    modality  whole numbers in [0, M), of any shape; a modality may have no token
    """
    groups = [[] for _ in range(M)]
    for place, m in enumerate(modality.flatten()):
        groups[m].append(place)
    return [np.array(group, np.int64) for group in groups]


def scatter_back(parts, groups):
    """Rows of each group, back in the order of the sequence: the inverse of taking x[group].

    parts    for each modality (N_m, C), its rows in the order of its group
    groups   as from `group_by_modality`; each place of N stands in one of them
    returns  (N, C)
    """
    out = np.zeros((sum(len(group) for group in groups), parts[0].shape[1]))
    for part, group in zip(parts, groups, strict=True):
        for row, place in zip(part, group, strict=True):
            out[place] = row
    return out


def mixture_layer(
    params, x, modality, past_k, past_v, position=0, visible=None, *, heads, window=None
):
    """One layer, token by token: each is multiplied by the weights of its modality alone.

    params    the state_dict of minilib.mixture_of_transformers.MixtureLayer
    x         (batch, T, C); modality (batch, T)
    past_k, past_v, position  a cache of earlier steps and where x stands, as in `multi_head`;
              position may be one for each step, (T,)
    visible   (T, S + T) or (batch, 1, T, S + T): who sees whom. None is causal, `window` steps
    returns   x (batch, T, C); keys and values to keep
    """
    B, T, C = x.shape
    qkv = np.zeros((B, T, 3, heads, C // heads))
    for b, t in np.ndindex(B, T):
        mine = own(params, f"experts.{modality[b, t]}.")
        normed = layer_norm(x[b, t], mine["norm1.weight"], mine["norm1.bias"])
        qkv[b, t] = (mine["qkv"] @ normed).reshape(3, heads, C // heads)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each (B, heads, T, D)
    k = np.concatenate([past_k, rope(k, position)], axis=2)
    v = np.concatenate([past_v, v], axis=2)
    causal = visible is None
    found = attention(rope(q, position), k, v, visible, causal, window if causal else None)
    out = np.zeros(x.shape)
    for b, t in np.ndindex(B, T):
        mine = own(params, f"experts.{modality[b, t]}.")
        y = x[b, t] + mine["out"] @ found[b, :, t].flatten()
        normed = layer_norm(y, mine["norm2.weight"], mine["norm2.bias"])
        out[b, t] = y + mine["down"] @ np.maximum(mine["up"] @ normed, 0) ** 2
    keep = slice(-window, None) if window else slice(None)
    return out, k[:, :, keep], v[:, :, keep]


def mixture_of_transformers(params, ids, *, sizes, layers, heads, context):
    """Logits of the language model. The modality of a token is that of its symbol.

    params   the state_dict of minilib.mixture_of_transformers.MixtureOfTransformers
    ids      (batch, T) int
    sizes    symbols of each modality: the first sizes[0] numbers are of modality 0, and so on
    returns  (batch, T, vocab); the table, the last norm and the output layer are shared by all
    """
    modality = np.zeros(ids.shape, np.int64)
    for b, t in np.ndindex(ids.shape):
        while ids[b, t] >= sum(sizes[: modality[b, t] + 1]):
            modality[b, t] += 1
    x = params["embed"][ids]
    none = np.zeros((len(ids), heads, 0, x.shape[-1] // heads))
    for n in range(layers):
        layer = own(params, f"layers.{n}.")
        x, _, _ = mixture_layer(layer, x, modality, none, none, 0, heads=heads, window=context)
    return layer_norm(x, params["norm.weight"], params["norm.bias"]) @ params["output"].T


# -- what it costs, and how soon it pays -----------------------------------------------------------


def parameters(sizes, C, layers):
    """Weights of `mixture_of_transformers`: a layer has a copy for each modality."""
    expert = 3 * C * C + C * C + 2 * 4 * C * C + 4 * C  # qkv, out, up and down, two norms
    return layers * len(sizes) * expert + 2 * sum(sizes) * C + 2 * C


def multiply_adds(counts, V, C, layers):
    """Products of one forward pass over sum(counts) tokens, counts[m] of them of modality m.

    Counted are matrices, scores and weighted sums; V symbols, C channels.
    """
    T = sum(counts)
    total = T * V * C  # the output layer
    for _ in range(layers):
        for count in counts:
            total += count * 12 * C * C
        for t in range(T):
            total += 2 * (t + 1) * C  # token t looks at t + 1
    return total


def steps_to_match(steps, loss, rival):
    """What share of its rival's steps a model takes to reach the same losses (sec. 3.1).

    steps    (N,) ascending, above 0: when both were measured
    loss, rival  (N,) each; a curve counts as its lowest value so far
    returns  the slope through 0 of "steps of the model" against "steps of the rival", over the
             rival's losses that the model has reached; between two measurements it is linear
    Raises ValueError if none is reached after the first measurement.
    """
    best = [min(loss[: n + 1]) for n in range(len(loss))]
    wanted = [min(rival[: n + 1]) for n in range(len(rival))]
    above = below = 0.0
    for n in range(len(steps)):
        if not best[-1] <= wanted[n] < best[0]:
            continue
        k = next(k for k in range(len(best)) if best[k] <= wanted[n])
        part = (best[k - 1] - wanted[n]) / (best[k - 1] - best[k])
        above += steps[n] * (steps[k - 1] + part * (steps[k] - steps[k - 1]))
        below += steps[n] ** 2
    if below == 0:
        raise ValueError("loss must reach a loss of rival after its first measurement")
    return above / below
