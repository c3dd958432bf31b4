"""SpaceByte: wide blocks run only where a word is about to begin. The definition.

Source: Slagle 2024 (arXiv:2404.14408), sec. 2. code ↔ paper: width, global_width = D_local, D;
before, after = initial and final local blocks; middle = global blocks; window = W.

Departures: a text has no symbol BOS before it, so its first byte takes that place and is always a
boundary; no row has a most of patches, as every byte must be predicted; the blocks are those of
`transformer`, with rotary positions alone, and a global block sees the `context` last patches.
"""

import numpy as np

from minilib.naive.hourglass import normed, stack

# -- where a patch starts --------------------------------------------------------------------------


def is_spacelike(ids):
    """Which bytes are no digit, no letter of ASCII and do not continue a character of UTF-8?

    ids (any shape) of 0 … 255; returns bool of that shape. White space and punctuation of ASCII
    are spacelike, and so is the first byte of every other character: é, д, 中.
    """
    digit = (48 <= ids) & (ids <= 57)
    upper = (65 <= ids) & (ids <= 90)
    lower = (97 <= ids) & (ids <= 122)
    continues = (128 <= ids) & (ids <= 191)
    return ~(digit | upper | lower | continues)


def boundaries(ids):
    """Where global blocks run: at the first byte, and at the first of each run of spacelike bytes.

    ids (batch, T) of 0 … 255; returns (batch, T) bool. Byte t and the one before it decide.
    """
    out = np.zeros(ids.shape, dtype=bool)
    for row in range(len(ids)):
        for t in range(ids.shape[1]):
            inside = not is_spacelike(ids[row, t - 1])  # a word so far
            out[row, t] = t == 0 or (inside and is_spacelike(ids[row, t]))
    return out


def patch_lengths(ids):
    """Bytes from each boundary to the byte before the next: (T,) -> (number of patches,), sum T."""
    lengths = []
    for starts in boundaries(ids[None])[0]:
        if starts:
            lengths.append(0)
        lengths[-1] += 1
    return np.array(lengths, dtype=np.int64)


# -- the language model ----------------------------------------------------------------------------


def spacebyte(
    params,
    ids,
    *,
    global_width,
    before,
    middle,
    after,
    heads,
    window,
    context,
    patch=None,
):
    """Logits of the language model: ids (batch, T) -> (batch, T, vocab).

    params   the state_dict of minilib.spacebyte.SpaceByte
    window   bytes that a local block sees; context: patches that a global block sees
    patch    None: patches start at `boundaries`; P: at every P-th byte (the paper's control)
    """
    x = params["embed"][ids]
    x = stack(params, "before", x, before, heads, True, window)
    B, T, d = x.shape
    starts = boundaries(ids)
    if patch is not None:
        starts = np.array([np.arange(T) % patch == 0] * B)
    for row in range(B):
        places = [t for t in range(T) if starts[row, t]]
        y = np.zeros((1, len(places), global_width))
        for j, t in enumerate(places):
            y[0, j, global_width - d :] = x[row, t]  # zeros stand to the left
        y = stack(params, "middle", y, middle, heads, True, context)
        for j, t in enumerate(places):
            x[row, t] += y[0, j, global_width - d :]
    x = stack(params, "after", x, after, heads, True, window)
    return normed(params, "norm", x) @ params["output"].T


# -- cost ------------------------------------------------------------------------------------------


def multiply_adds(
    T, patches, width, global_width, before, middle, after, window, context, vocab_size=256
):
    """Multiply-adds of T bytes in so many patches: (local blocks', global blocks', the output's).

    Counted are matrices, the scores that are seen, and the sums that they weight.
    """

    def block(steps, C, most):
        seen = sum(min(t + 1, most) for t in range(steps))
        return steps * C * C * (3 + 1 + 4 + 4) + seen * C + seen * C  # qkv, out, up, down

    local = (before + after) * block(T, width, window)
    return local, middle * block(patches, global_width, context), T * width * vocab_size
