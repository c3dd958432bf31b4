"""H-Net: a net that cuts bytes into chunks, and chunks into chunks of chunks; the definitions.

code ↔ paper (Hwang et al. 2025, arXiv:2507.07955): before, main, after = encoder, main network,
decoder; begins = b, p = p (eq. 4), smooth is eq. 5; N = the ratio that each stage is held to.
Departures: blocks are this course's at every stage (the paper has Mamba layers outside, and
wider rows inside), and every stage has as many of them.
"""

import numpy as np

from minilib.naive.dynamic_pooling import route, smooth
from minilib.naive.hourglass import normed, stack


def stage(params, x, s, stages, layers, middle, heads, context):
    """Stage s of the net and all that lies inside it, on one text: (1, S, C) -> (1, S, C)."""
    options = heads, True, context
    if s == stages:  # inside the last stage lies a stack of blocks
        return stack(params, "main", x, middle, *options)
    x = stack(params, f"before.{s}", x, layers, *options)
    p = route(x, params["W_q"][s], params["W_k"][s])
    begins = p[0] >= 0.5
    z = x[:, begins]  # one row for each chunk: its first
    z = stage(params, z, s + 1, stages, layers, middle, heads, context)
    z = smooth(z, p[:, begins])
    chunk = np.cumsum(begins) - 1  # the chunk of each row: row 0 always begins one
    x = x @ params["W_skip"][s].T + z[:, chunk]
    return stack(params, f"after.{s}", x, layers, *options)


def hnet(params, ids, *, stages, layers, middle, heads, context):
    """Logits of the language model: ids (batch, T) -> (batch, T, vocab).

    params   the state_dict of minilib.hnet.HNet
    context  rows that a layer sees: bytes, chunks of bytes, chunks of chunks
    """
    rows = []
    for text in ids:  # each is cut into its own number of chunks
        x = np.array([[params["embed"][i] for i in text]])
        rows.append(stage(params, x, 0, stages, layers, middle, heads, context)[0])
    return normed(params, "norm", np.array(rows)) @ params["output"].T


def spread(values, begins):
    """What belongs to the chunks, put where they begin: (batch, S), (batch, T) -> (batch, T).

    0 elsewhere. So the cuts of an inner stage are seen on the rows of the stage around it.
    """
    out = np.zeros(begins.shape)
    for row in range(len(begins)):
        chunk = 0
        for t in range(begins.shape[1]):
            if begins[row, t]:
                out[row, t] = values[row, chunk]
                chunk += 1
    return out


def multiply_adds(rows, C, V, layers, middle, context):
    """Products of one forward pass over one text, row by row, as hourglass.multiply_adds counts.

    rows  how many rows there are at each stage, and in the main stack at last: bytes, chunks, …
    """
    total = rows[0] * C * V
    for s, n in enumerate(rows):
        inside = s == len(rows) - 1
        for t in range(n):
            block = 12 * C * C + 2 * C * min(t + 1, context)
            router_and_skip = (3 if t else 2) * C * C  # row 0 is compared to none
            total += middle * block if inside else 2 * layers * block + router_and_skip
    return total
