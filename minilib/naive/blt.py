"""BLT, a byte latent Transformer: surprise decides where a patch starts. The definitions.

Source: Pagnoni et al. 2024 (arXiv:2412.09871) and the released code, facebookresearch/blt.

    code                paper                                                       shape
    H                   H(x_i), entropy of the entropy model, in nats               (batch, T)
    starts              where a patch starts                                        (batch, T + 1)
    patch               the number of the patch of each byte
    slots, k            parts of a patch, each as wide as a byte: k = h_G / h_E     (batch, K, k, C)
    tables              E_n^hash, one for each n                                    (n, buckets, C)
    before, gather      local encoder: blocks, then patches look at their bytes
    middle              latent Transformer, one step for each patch                 width k C
    spread, after       local decoder: bytes look at a patch, then a block

Departures: the blocks are those of `transformer`; the n-grams are of bytes 0 … 255 (the released
code adds 4 to each) and use one hash function; patches look at bytes once, after the last block.
"""

import numpy as np

from minilib.naive.attention import attention
from minilib.naive.hourglass import normed, part_of, stack
from minilib.naive.transformer import block, transformer

BASE = 1000000007  # of the hash, the first of the released code

# -- where a patch starts --------------------------------------------------------------------------


def entropies(logits):
    """How unsure a model is: -Σ p ln p in nats, of p = softmax(logits): (…, V) -> (…)."""
    out = np.zeros(logits.shape[:-1])
    for place in np.ndindex(out.shape):
        weight = np.exp(logits[place] - logits[place].max())
        p = weight / weight.sum()
        out[place] = -sum(x * np.log(x) for x in p if x > 0)
    return out


def patch_starts(H, threshold, rule="global", longest=64):
    """Which bytes start a patch: (batch, T) -> (batch, T + 1) bool, the byte to come with them.

    H        H[:, i - 1] is the entropy of byte i, known when the i bytes before it are
    rule     "global": H of byte i exceeds the threshold; "monotonic": it exceeds H of byte i - 1
             by more than the threshold
    longest  bytes of a patch; one that would be longer is cut
    As released, byte 0 is a patch of its own, so byte 1 starts one; for "monotonic" byte 2 as well,
    since there is nothing to compare its entropy with.
    """
    B, T = H.shape
    starts = np.zeros((B, T + 1), dtype=bool)
    for row in range(B):
        last = 0  # where the open patch starts
        for i in range(T + 1):
            if rule == "global":
                surprising = i < 2 or H[row, i - 1] > threshold
            else:
                surprising = i < 3 or H[row, i - 1] - H[row, i - 2] > threshold
            if surprising or i - last == longest:
                starts[row, i] = True
                last = i
    return starts


def find_threshold(H, size, rule="global", longest=64):
    """The threshold at which patches have `size` bytes on average, by bisection; a float.

    The higher the threshold, the fewer the patches. At -max H every byte starts one (but for
    "monotonic" a fall of max H), at max H none that need not. 20 times the interval is halved.
    """
    if not H.size or not np.isfinite(H).all():
        raise ValueError(f"H must be finite and not empty, got {H.shape}")
    low, high = -H.max(), H.max()
    for _ in range(20):
        middle = (low + high) / 2
        starts = patch_starts(H, middle, rule, longest)
        if starts.size / starts.sum() < size:
            low = middle
        else:
            high = middle
    return high


# -- what a byte is --------------------------------------------------------------------------------


def hash_ngrams(ids, n, buckets):
    """The bucket of the n bytes that end at each byte: (batch, T) -> (batch, T) int.

    Σ_j a^j byte_j modulo 2^64, read as a number with a sign, modulo buckets; a = 1000000007, and
    j = 0 is the oldest of the n. Zeros stand before the text.
    """
    out = np.zeros(ids.shape, dtype=np.int64)
    for row, t in np.ndindex(ids.shape):
        total = 0
        for j in range(n):
            place = t - n + 1 + j
            byte = int(ids[row, place]) if place >= 0 else 0
            total += byte * BASE**j
        total = (total + 2**63) % 2**64 - 2**63
        out[row, t] = total % buckets
    return out


# -- bytes to patches and back ---------------------------------------------------------------------


def look(query, source, W_q, W_kv, W_out, heads):
    """Attention without positions: each of query (N, C) looks at all of source (S, C): (N, C)."""
    C = query.shape[1]
    split = lambda x: x.reshape(1, len(x), heads, C // heads).transpose(0, 2, 1, 3)
    q, k, v = query @ W_q.T, source @ W_kv[:C].T, source @ W_kv[C:].T
    seen = attention(split(q), split(k), split(v))
    return seen.transpose(0, 2, 1, 3).reshape(query.shape) @ W_out.T


def encoder_attention(slots, x, patch, W_q, W_kv, W_out, heads):
    """The slots of each patch look at the bytes of this patch: like slots (batch, K, k, C).

    x (batch, T, C); patch (batch, T) int, the patch of each byte, none of these if it is not in
    0 … K - 1; W_q, W_out (C, C); W_kv (2C, C), keys then values. A patch without bytes sees 0.
    """
    out = np.zeros(slots.shape)
    for row, j in np.ndindex(slots.shape[:2]):
        own = x[row][patch[row] == j]
        out[row, j] = look(slots[row, j], own, W_q, W_kv, W_out, heads)
    return out


def decoder_attention(x, slots, patch, W_q, W_kv, W_out, heads):
    """Each byte looks at the slots of one patch: like x (batch, T, C).

    patch (batch, T) int, which one: the last that is complete. The rest as in encoder_attention.
    """
    out = np.zeros(x.shape)
    for row, t in np.ndindex(patch.shape):
        own = slots[row, patch[row, t]]
        out[row, t] = look(x[row, t][None], own, W_q, W_kv, W_out, heads)[0]
    return out


# -- the language model ----------------------------------------------------------------------------


def blt(
    params,
    ids,
    *,
    slots,
    before,
    middle,
    after,
    heads,
    context,
    ngram,
    buckets,
    entropy_layers,
    rule="global",
    longest=64,
):
    """Logits of the language model: ids (batch, T) -> (batch, T, vocab).

    params  the state_dict of minilib.blt.BLT, that of the entropy model under "patcher"
    Byte t is predicted with the last patch that is complete when byte t + 1 is about to come:
    with the patch before the one that byte t + 1 belongs to. That is the lag.
    """

    def look_in(name, query, source, patch, how):
        P = part_of(params, name)
        query, source = normed(P, "norm_q", query), normed(P, "norm_kv", source)
        return how(query, source, patch, P["q"], P["kv"], P["out"], heads)

    rows = []
    for text in ids[:, None]:  # each row has patches of its own
        judge = {"layers": entropy_layers, "heads": heads, "context": context}
        H = entropies(transformer(part_of(params, "patcher"), text, **judge))
        starts = patch_starts(H, params["threshold"], rule, longest)
        patch = np.cumsum(starts, axis=1) - 1  # of bytes 0 … T, the one to come too
        x = params["embed"][text]
        for n in range(3, ngram + 1):
            x = x + params["tables"][n - 3][hash_ngrams(text, n, buckets)]
        x = stack(params, "before", x, before, heads, True, context)

        no_past = np.zeros((1, heads, 0, x.shape[2] // heads))
        complete = range(patch[0, -1])  # the patch of the byte to come is not
        highest = np.array([[x[0][patch[0, :-1] == j].max(axis=0) for j in complete]])
        z = (highest @ params["to_slots"].T).reshape(1, len(complete), slots, -1)
        z = z + look_in("gather", z, x, patch[:, :-1], encoder_attention)
        wide = z.reshape(*z.shape[:2], -1)
        wide = stack(params, "middle", wide, middle, heads, True, context)
        z = wide.reshape(z.shape)
        for n in range(after):
            x = x + look_in(f"spread.{n}", x, z, patch[:, 1:] - 1, decoder_attention)
            block_n = part_of(params, f"after.{n}")
            x, _, _ = block(block_n, x, no_past, no_past, 0, heads, True, context)
        rows.append(x[0])
    return normed(params, "norm", np.array(rows)) @ params["output"].T
