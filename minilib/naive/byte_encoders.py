"""Encoders that read raw text: ByT5's bytes, CANINE's hashed characters, Charformer's soft blocks.

Sources: ByT5, Xue et al. 2021 (arXiv:2105.13626); CANINE, Clark et al. 2021 (arXiv:2103.06874);
Charformer, Tay et al. 2021 (arXiv:2106.12672); the layers: T5, Raffel et al. 2019
(arXiv:1910.10683). B strings of T symbols, C channels; present (B, T) bool: no padding there.
Departures: mean of the last states for CANINE's [CLS]; a bias table of its own in each layer, not
one that all share; scores divided by the root of the width, as in lesson 13; no dropout.
"""

import math

import numpy as np

from minilib.naive.transformer import own

PRIMES = 31, 43, 59, 61, 73, 97, 103, 113
PAD, END, FIRST_BYTE, LAST = 0, 1, 3, 258  # 2 is "unknown", which bytes never need

# -- ByT5: bytes, and spans that are cut out -------------------------------------------------------


def byt5_encode(text):
    """UTF-8 bytes + 3, then the end symbol: "é" -> [198, 172, 1]."""
    ids = []
    for byte in text.encode():
        ids.append(byte + FIRST_BYTE)
    return [*ids, END]


def byt5_decode(ids):
    """The text of ids; what is no byte, and bytes that are no whole character, are skipped."""
    found = []
    for i in ids:
        if FIRST_BYTE <= i <= LAST:
            found.append(i - FIRST_BYTE)
    return bytes(found).decode(errors="ignore")


def span_corrupt(ids, starts, lengths):
    """T5's task: (input with spans cut out, target with the spans); both end with the end symbol.

    ids              list of symbols without the end; span n is ids[starts[n] : starts[n] + its
                     length]; spans are in order and do not touch
    Span n leaves the sentinel 258 - n behind, and in the target stands after it (T5, sec. 3.1.4).
    """
    inputs, target, last = [], [], 0
    for n, start in enumerate(starts):
        inputs += [*ids[last:start], LAST - n]
        last = start + lengths[n]
        target += [LAST - n, *ids[start:last]]
    return [*inputs, *ids[last:], END], [*target, END]


# -- CANINE: hashing, and convolutions down and up -------------------------------------------------


def canine_buckets(codes, size=16384):
    """Row of each of the 8 tables for each code point: (…,) -> (…, 8) (CANINE, sec. 3)."""
    out = np.zeros((*codes.shape, len(PRIMES)), int)
    for place in np.ndindex(codes.shape):
        for k, prime in enumerate(PRIMES):
            out[place][k] = (int(codes[place]) + 1) * prime % size
    return out


def conv(x, W, b, stride=1):
    """Output j is a weighted sum of the K steps around stride · j: (B, T, C) -> (B, S, E).

    W (E, C, K), b (E,); S = ceil(T / stride). The window of output j begins (K - stride) // 2
    before step stride · j; there are zeros outside of the text.
    """
    B, T, _ = x.shape
    E, _, K = W.shape
    out = np.zeros((B, math.ceil(T / stride), E)) + b
    for j in range(out.shape[1]):
        for k in range(K):
            t = stride * j - (K - stride) // 2 + k
            if 0 <= t < T:
                out[:, j] += x[:, t] @ W[:, :, k].T
    return out


def gelu(x):
    """x · Φ(x), with the usual tanh for Φ (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def upsample(molecules, characters, W, b):
    """A state for each character again (CANINE, sec. 3): (B, S, C) and (B, T, C) -> (B, T, C).

    Each molecule is repeated ceil(T / S) times, put behind its characters' own channels, and a
    convolution W (C, 2C, K) with a GELU reads both.
    """
    T = characters.shape[1]
    repeats = math.ceil(T / molecules.shape[1])
    both = []
    for t in range(T):
        both.append(np.concatenate([characters[:, t], molecules[:, t // repeats]], 1))
    return gelu(conv(np.stack(both, axis=1), W, b))


# -- Charformer: blocks of all sizes at once, weighted ---------------------------------------------


def gbst(x, w, present, sizes=4, shorten=2, consensus=False):
    """Gradient-based subword tokenization (Charformer, sec. 2.1): a soft choice of block sizes.

    x         (B, T, C); w (C,), which scores a block
    sizes     M: blocks of 1, 2, …, M symbols
    shorten   the result is averaged over so many steps
    returns   (B, ceil(T / shorten), C) and the weights of the sizes at each step, (B, T, M)
    Means are over symbols that are present; where there are none, all is 0.
    """
    B, T, C = x.shape
    means = np.zeros((B, T, sizes, C))
    for m in range(1, sizes + 1):
        for t in range(T):
            start = t // m * m  # of the block of size m that t is in
            means[:, t, m - 1] = present_mean(x, present, start, start + m)
    score = means @ w
    P = np.exp(score - score.max(2, keepdims=True))
    P = P / P.sum(2, keepdims=True)
    if consensus:  # steps of like weights move towards each other
        for b in range(B):
            e = np.exp(P[b] @ P[b].T) * present[b]  # products of weights lie in [0, 1]
            if present[b].any():
                P[b] = e / e.sum(1, keepdims=True) @ P[b]
    mixed = np.zeros(x.shape)
    for m in range(sizes):
        mixed += P[:, :, m, None] * means[:, :, m]
    starts = range(0, T, shorten)
    short = [present_mean(mixed, present, start, start + shorten) for start in starts]
    return np.stack(short, axis=1), P * present[..., None]


def present_mean(x, present, start, stop):
    """The mean of the steps start … stop - 1 that are present: (B, T, C) -> (B, C)."""
    weight = present[:, start:stop, None].astype(float)
    return (x[:, start:stop] * weight).sum(1) / np.maximum(weight.sum(1), 1)


# -- T5: layers that see both ways -----------------------------------------------------------------


def t5_buckets(distance, buckets=32, furthest=128):
    """A number for each distance s - t, int (…,): exact when near, shared when far (T5, sec. 2.1).

    Half of the buckets are for keys that come later. In each half the first half holds one distance
    each, the others grow in equal ratios up to `furthest`.
    """
    half = buckets // 2
    exact = half // 2
    out = np.zeros(distance.shape, int)
    for place in np.ndindex(distance.shape):
        far = abs(int(distance[place]))
        if far >= exact:
            share = math.log(far / exact) / math.log(furthest / exact)
            # 1e-9: the logarithm of an exact power must not fall short of it
            far = min(exact + int(share * (half - exact) + 1e-9), half - 1)
        out[place] = far + (half if distance[place] > 0 else 0)
    return out


def rms_norm(x, weight):
    """Each row of channels divided by its root mean square, then scaled."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight


def layer(params, x, present, *, heads, block=None):
    """x + attention(norm(x)), then + gated GELU(norm(x)), as in T5.1.1: (B, T, C) -> the same.

    Query t sees key s if s is present, and in the same block of `block` steps (None: anywhere).
    Where a query sees nothing, attention adds 0. Padding comes out as 0.
    """
    P, (B, T, C) = params, x.shape
    D = C // heads
    z = rms_norm(x, P["norm1"])
    q, k, v = (z @ P["qkv"][i * C : (i + 1) * C].T for i in range(3))
    found = np.zeros((B, T, C))
    for b, h, t in np.ndindex(B, heads, T):
        part = slice(h * D, (h + 1) * D)
        same = range(T) if block is None else range(t // block * block, T)[:block]
        seen = [s for s in same if present[b, s]]
        if seen:
            score = k[b, seen, part] @ q[b, t, part] / math.sqrt(D)
            score = score + P["bias"][h, t5_buckets(np.array(seen) - t)]
            weight = np.exp(score - score.max())
            found[b, t, part] = weight / weight.sum() @ v[b, seen, part]
    x = x + found @ P["out"].T
    z = rms_norm(x, P["norm2"])
    x = x + (gelu(z @ P["gate"].T) * (z @ P["up"].T)) @ P["down"].T
    return x * present[..., None]


# -- three encoders that differ in how they read ---------------------------------------------------


def encoder(params, ids, *, reader, layers, heads, shorten, block=128):
    """Scores of classes: ids (B, T), bytes + 3 or code points, 0 after the end -> (B, classes).

    reader   "bytes", "canine" or "gbst"; the deep layers and what follows them are the same
    """
    P, present = params, ids != 0
    if reader == "canine":
        rows = canine_buckets(ids, P["tables"].shape[1])
        parts = [P["tables"][k, rows[..., k]] for k in range(len(PRIMES))]
        x = np.concatenate(parts, axis=2) * present[..., None]
        x = layer(own(P, "local."), x, present, heads=heads, block=block)
        x = gelu(conv(x, P["W"], P["b"], shorten))
    else:
        x = P["embed"][ids] * present[..., None]
    if reader == "gbst":
        x, _ = gbst(conv(x, P["W"], P["b"]), P["score"], present, 4, shorten)
    if reader != "bytes":
        starts = range(0, ids.shape[1], shorten)
        present = np.stack([present[:, t : t + shorten].any(1) for t in starts], axis=1)
    for n in range(layers):
        x = layer(own(P, f"layers.{n}."), x, present, heads=heads)
    mean = present_mean(x, present, 0, x.shape[1])
    return rms_norm(mean, P["norm"]) @ P["classes"].T
