"""EvaByte: exact attention nearby, summaries far away, and eight bytes predicted at once.

Source: Zheng et al. 2025, the EvaByte post and its code; the attention is EVA (Zheng, Yuan, Wang &
Kong 2023, arXiv:2302.04542) with one learned feature. Windows of `window` steps start at
0, w, 2w, … and chunks of `chunk` steps divide them.

    code        paper or released code           shape
    mu, phi     adaptive_mu_k, adaptive_phi      (heads, D)
    summary_k   k̃ of a chunk                     (batch, heads, chunks, D)
    summary_v   ṽ of a chunk (β̂)                 (batch, heads, chunks, D)
    output      the heads of all bytes ahead     (ahead, V, C)

Departures: the other parts of a block are those of `transformer` (layer norm, squared ReLU), rotary
positions have its base, and the alphabet has no special symbols.
"""

import numpy as np

from minilib.naive.attention import rope
from minilib.naive.transformer import layer_norm, own


def softmax(x):
    weight = np.exp(x - x.max())
    return weight / weight.sum()


def chunk_summaries(k, v, mu, phi, chunk):
    """One key and one value for each chunk: two weighted means, with weights of their own.

    k, v     (batch, heads, T, D), T a multiple of chunk; mu, phi (heads, D)
    returns  (batch, heads, T / chunk, D) twice; a chunk of one step is its own summary
    """
    B, H, T, D = k.shape
    summary_k, summary_v = np.zeros((2, B, H, T // chunk, D))
    for b, h, n in np.ndindex(B, H, T // chunk):
        keys = k[b, h, n * chunk : (n + 1) * chunk]
        values = v[b, h, n * chunk : (n + 1) * chunk]
        summary_k[b, h, n] = softmax(keys @ mu[h]) @ keys
        score = keys @ phi[h] - (keys**2).sum(1) / 2
        summary_v[b, h, n] = softmax(score / np.sqrt(D)) @ values
    return summary_k, summary_v


def eva_attention(q, k, v, mu, phi, window, chunk):
    """Causal attention that is exact in a window and summarised before it, in one softmax.

    Query t sees the keys of its own window up to t, and the summaries of all chunks of earlier
    windows. It sees no summary of its own window, which would tell it of steps to come.

    q, k, v  (batch, heads, T, D), keys with their positions; window is a multiple of chunk
    returns  (batch, heads, T, D)
    """
    B, H, T, D = q.shape
    ended = T // window * window  # steps in whole windows
    far_k, far_v = chunk_summaries(k[:, :, :ended], v[:, :, :ended], mu, phi, chunk)
    out = np.zeros((B, H, T, D))
    for b, h, t in np.ndindex(B, H, T):
        start = t // window * window  # of the window of t
        keys = np.concatenate([far_k[b, h, : start // chunk], k[b, h, start : t + 1]])
        values = np.concatenate([far_v[b, h, : start // chunk], v[b, h, start : t + 1]])
        out[b, h, t] = softmax(keys @ q[b, h, t] / np.sqrt(D)) @ values
    return out


def eva_cost(T, window, chunk):
    """(scores of a head for T steps, keys that its cache holds after them).

    The last window is summarised when the next one begins, so the cache may hold all of it.
    """
    scores = keys = 0
    for t in range(T):
        start = t // window * window
        keys = start // chunk + t - start + 1
        scores += keys
    return scores, keys


def eva_block(params, x, heads, window, chunk):
    """The block of `transformer` with eva_attention; x (batch, T, C), from step 0 on."""
    B, T, C = x.shape
    D = C // heads
    normed = layer_norm(x, params["norm1.weight"], params["norm1.bias"])
    q, k, v = (normed @ params["qkv"].T).reshape(B, T, 3, heads, D).transpose(2, 0, 3, 1, 4)
    found = eva_attention(rope(q, 0), rope(k, 0), v, params["mu"], params["phi"], window, chunk)
    x = x + np.concatenate([found[:, h] for h in range(heads)], axis=2) @ params["out"].T
    normed = layer_norm(x, params["norm2.weight"], params["norm2.bias"])
    return x + np.maximum(normed @ params["up"].T, 0) ** 2 @ params["down"].T


def multibyte_logits(params, ids, *, layers, heads, window, chunk):
    """ids (batch, T) -> (batch, T, ahead, V); head j, from 0, predicts ids[:, t + 1 + j] at t."""
    x = params["embed"][ids]
    for n in range(layers):
        x = eva_block(own(params, f"blocks.{n}."), x, heads, window, chunk)
    x = layer_norm(x, params["norm.weight"], params["norm.bias"])
    return np.stack([x @ head.T for head in params["output"]], axis=2)


def evabyte(params, ids, *, layers, heads, window, chunk):
    """Logits of the next byte, those of the first head: (batch, T) -> (batch, T, V)."""
    shape = {"layers": layers, "heads": heads, "window": window, "chunk": chunk}
    return multibyte_logits(params, ids, **shape)[:, :, 0]


def multibyte_loss(logits, ids):
    """Nats: the mean over heads of the mean over the places where a head has a target.

    logits  (batch, T, ahead, V); ids (batch, T + 1), place t reads ids[:, t]
    Head j has its target at t + 1 + j, and none at the last j places. A head without any target
    (j ≥ T) does not count.
    """
    B, T, ahead, _ = logits.shape
    means = []
    for j in range(min(ahead, T)):
        nats = []
        for b in range(B):
            for t in range(T - j):
                z = logits[b, t, j] - logits[b, t, j].max()
                nats.append(np.log(np.exp(z).sum()) - z[ids[b, t + 1 + j]])
        means.append(np.mean(nats))
    return np.mean(means)


def accept_prefix(drafts, verified):
    """How many drafts are kept: those before the first that differs from what the model verifies.

    drafts, verified  (rows, n) ids; returns (rows,) int64, 0 … n
    """
    kept = np.zeros(len(drafts), dtype=np.int64)
    for row in range(len(drafts)):
        for draft, right in zip(drafts[row], verified[row], strict=True):
            if draft != right:
                break
            kept[row] += 1
    return kept


def self_verified(predict, ids, length, widths):
    """Write greedily; the later heads draft what the first head verifies in one call.

    predict  a list of bytes -> (ahead, V), the logits of all heads after them
    ids      a list of bytes, the text so far
    widths   how many of their likeliest bytes head 1, head 2, … offer; (1, 1, …) is a chain
    returns  the text with at least `length` more bytes, and how many each call brought
    """
    text, taken = list(ids), []
    best = predict(text)
    while len(text) < len(ids) + length:
        paths = [[best[0].argmax()]]  # certain: it is what the first head says
        for head, width in zip(best[1:], widths, strict=False):
            offers = np.argsort(-head, kind="stable")[:width]
            paths = [[*path, offer] for path in paths for offer in offers]
        longest = []
        for path in paths:  # all of them in one call of a parallel model
            read = [text + path[:i] for i in range(1, len(path))]
            verified = [predict(so_far)[0].argmax() for so_far in read]
            kept = accept_prefix([path[1:]], [verified])[0]
            if 1 + kept > len(longest):
                longest = path[: 1 + kept]
        text += longest
        taken.append(len(longest))
        best = predict(text)  # known from the same call
    return text, taken
