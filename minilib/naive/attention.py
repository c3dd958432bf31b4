"""Attention: every step looks things up in all steps that it may see. The definition.

code ↔ paper (Vaswani et al. 2017, arXiv:1706.03762): q, k, v = Q, K, V of one head;
weight = softmax(QKᵀ/√d_k); W_qkv = W^Q, W^K, W^V of all heads, stacked; W_out = W^O.
"""

import numpy as np


def attention(q, k, v, visible=None, causal=False, window=None):
    """Scaled dot-product attention, one query at a time (eq. 1; mask as in sec. 3.2.3).

    q        (batch, heads, T, D); k (batch, heads, S, D); v (batch, heads, S, E)
    visible  where query t may see key s: (T, S) bool, or (batch, heads, T, S) with
             either of the first two 1; None is everywhere
    causal   the queries are the last T of S steps: query t, at step t + S - T,
             sees no later key
    window   with causal: the number of steps seen, its own among them; None is all
    returns  (batch, heads, T, E); row t is a weighted mean of the rows of v that
             it sees, and 0 if it sees none
    """
    B, H, T, D = q.shape
    S = k.shape[2]
    allowed = np.broadcast_to(True if visible is None else visible, (B, H, T, S))

    def sees(t, s):
        if not causal:
            return True
        now = t + S - T  # the step of query t
        return s <= now and (not window or s > now - window)

    out = np.zeros((B, H, T, v.shape[3]))
    for b in range(B):
        for h in range(H):
            for t in range(T):
                seen = [s for s in range(S) if sees(t, s) and allowed[b, h, t, s]]
                if seen:
                    score = np.array([q[b, h, t] @ k[b, h, s] for s in seen])
                    score = score / np.sqrt(D)  # keeps the variance near 1 for any D
                    weight = np.exp(score - score.max())
                    out[b, h, t] = weight / weight.sum() @ v[b, h, seen]
    return out


def sinusoid(position, C):
    """Positions as waves: PE[t, 2i] = sin(p_t / 10000^(2i/C)), PE[t, 2i+1] = cos of it (sec. 3.5).

    position (T,) float, C even; returns (T, C)
    """
    PE = np.zeros((len(position), C))
    for t, p in enumerate(position):
        for i in range(C // 2):
            angle = p / 10000 ** (2 * i / C)
            PE[t, 2 * i], PE[t, 2 * i + 1] = np.sin(angle), np.cos(angle)
    return PE


def rope(x, position, base=10000.0):
    """Rotary positions: turn (x_i, x_{i + D/2}) of step t by the angle (position + t) base^(-2i/D).

    Then q_m · k_n depends on m - n alone. Source: Su et al. 2021 (arXiv:2104.09864), eq. 34, which
    pairs neighbours (x_2i, x_2i+1); pairing the halves is the same up to the order of the columns.

    x         (..., T, D), D even; position: of the first step, int, or of each, (T,) int
    """
    T, D = x.shape[-2:]
    out = np.zeros(x.shape)
    for t in range(T):
        step = position[t] if np.ndim(position) else position + t
        for i in range(D // 2):
            angle = step * base ** (-2 * i / D)
            a, b = x[..., t, i], x[..., t, i + D // 2]
            out[..., t, i] = a * np.cos(angle) - b * np.sin(angle)
            out[..., t, i + D // 2] = a * np.sin(angle) + b * np.cos(angle)
    return out


def multi_head(x, W_qkv, W_out, heads, past_k, past_v, position=0, causal=True, window=None):
    """Several attentions side by side, each in D = C / heads channels (sec. 3.2.2), with a cache.

    Positions are rotary, so keys are cached as they were turned.

    x               (batch, T, C), the new steps; position: how many came before
    W_qkv           (3C, C): rows of W^Q, then W^K, then W^V, heads one after another
    W_out           (C, C)
    past_k, past_v  (batch, heads, S, D): turned keys, and values, of the S = min(position, window)
                    steps just before x
    returns         y (batch, T, C); keys and values to keep: of the last `window` steps, or of all
    """
    B, T, C = x.shape
    D = C // heads
    q, k, v = (np.zeros((B, heads, T, D)) for _ in range(3))
    for h in range(heads):
        for i, projected in enumerate((q, k, v)):
            rows = W_qkv[i * C + h * D : i * C + (h + 1) * D]
            projected[:, h] = x @ rows.T
    k = np.concatenate([past_k, rope(k, position)], axis=2)
    v = np.concatenate([past_v, v], axis=2)
    out = attention(rope(q, position), k, v, None, causal, window)
    y = np.zeros((B, T, C))
    for h in range(heads):
        y += out[:, h] @ W_out[:, h * D : (h + 1) * D].T
    keep = slice(-window, None) if window else slice(None)
    return y, k[:, :, keep], v[:, :, keep]
