"""Funnel: an encoder that sees both ways and gets shorter level by level; the definition.

Source: Dai et al. 2020 (arXiv:2006.03236), sec. 2.2.
"""

import numpy as np

from minilib.naive.cross_attention import cross_attention, keys_and_values
from minilib.naive.hourglass import normed, part_of, stack


def pool(params, x, heads):
    """Half as many steps, which look at all: (batch, 1 + n, C) -> (batch, 1 + ceil(n / 2), C).

    Step 0, [CLS], stays apart; the others are averaged in pairs, a last one without a partner
    alone. The pooled steps are the queries, each at the position of the first of its pair; keys and
    values are those of the full length.
    """
    P, pairs = params, range(1, x.shape[1], 2)
    pooled = np.stack([x[:, 0], *(x[:, t : t + 2].mean(1) for t in pairs)], axis=1)
    keys, values = keys_and_values(normed(P, "norm_kv", x), P["kv"], heads)
    query, position = normed(P, "norm_q", pooled), np.array([0, *pairs])
    return pooled + cross_attention(query, keys, values, P["q"], P["out"], position)


def funnel(params, ids, *, layers, levels, heads):
    """One vector for each sequence, from blocks that see both ways and get shorter by half.

    params   the state_dict of minilib.funnel.Funnel; ids (batch, T) int
    returns  (batch, C): the last state of step 0, a learned one ([CLS])
    """
    P = params
    x = np.array([[P["cls"], *(P["embed"][i] for i in row)] for row in ids])
    for level in range(levels):
        if level:
            x = pool(part_of(P, f"pools.{level - 1}"), x, heads)
        x = stack(P, f"levels.{level}", x, layers, heads, causal=False)
    return normed(P, "norm", x[:, 0])
