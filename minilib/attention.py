"""Attention on torch's fused kernels; rotary positions; many heads with a cache.

Names and symbols are those of minilib/naive/attention.py. Not here: dropout, biases, grouped-query heads.
"""

import numpy as np
import torch
from torch import nn

from minilib import twin
from minilib.naive import attention as naive


def _attention_cases(rng):
    """One step; odd sizes; one query on a cache; windows; scores in the thousands; rows that see nothing."""
    qkv = lambda B, H, T, S, D, E: (rng.normal(size=(B, H, T, D)), rng.normal(size=(B, H, S, D)), rng.normal(size=(B, H, S, E)))
    yield *qkv(1, 1, 1, 1, 2, 2), None, True, None
    yield *qkv(2, 3, 7, 7, 5, 4), None, True, None
    yield *qkv(2, 3, 4, 7, 5, 4), None, False, None
    yield *qkv(2, 1, 1, 6, 3, 3), None, True, None  # a fused kernel that aligns its triangle top left sees v[0] only
    yield *qkv(1, 2, 3, 8, 4, 4), None, True, None
    yield *qkv(1, 2, 5, 3, 4, 4), None, True, None  # more queries than keys: the first two see nothing
    for T, S, window in [(9, 9, 1), (9, 9, 3), (8, 8, 4), (1, 6, 4), (3, 8, 2), (7, 9, 20)]:
        yield *qkv(1, 2, T, S, 4, 4), None, True, window
    visible = rng.random((5, 6)) < 0.5
    visible[2], visible[3] = False, True
    yield *qkv(2, 2, 5, 6, 3, 3), visible, False, None
    yield *qkv(2, 2, 6, 6, 3, 3), rng.random((2, 1, 6, 6)) < 0.5, True, 3
    q, _, v = qkv(1, 1, 5, 5, 4, 1)
    yield 40 * q, 40 * q, v, None, True, None


@twin(naive.attention, cases=_attention_cases)
def attention(q, k, v, visible=None, causal=False, window=None):
    """Scaled dot-product attention, Vaswani et al. 2017 (arXiv:1706.03762), eq. 1; one fused kernel, no T × S weights in memory.

    q        (batch, heads, T, D); k (batch, heads, S, D); v (batch, heads, S, E)
    visible  bool, (T, S) or (batch or 1, heads or 1, T, S): True where query t may see key s
    causal   the queries are the last T of S steps: query t, at step t + S - T, sees no later key
    window   with causal: the number of steps seen, its own among them. Costs O(T window) time
    returns  (batch, heads, T, E); 0 where a query sees nothing
    Raises TypeError for a mask that is not bool, ValueError for shapes that do not fit or a window without causal.
    """
    T, S = _check_attention(q, k, v, visible, causal, window)
    if causal and window and T > 2 * window:  # a block of queries sees two blocks of keys at most
        blocks = []
        for start in range(0, T, window):
            end = min(start + window, T)
            keys = slice(max(0, start + S - T - window + 1), max(0, end + S - T))
            seen = None if visible is None else visible[..., start:end, keys]
            blocks.append(attention(q[..., start:end, :], k[..., keys, :], v[..., keys, :], seen, True, window))
        return torch.cat(blocks, dim=-2)
    limited = bool(window) and S > window
    if causal and T == S and not limited and visible is None:
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    if causal and (T > 1 or limited):
        now = torch.arange(S - T, S, device=q.device)[:, None]
        s = torch.arange(S, device=q.device)
        allowed = (s <= now) & (s > now - window) if limited else s <= now
        visible = allowed if visible is None else visible & allowed
    if visible is None:
        return nn.functional.scaled_dot_product_attention(q, k, v)
    sees = visible.any(-1, keepdim=True)  # kernels differ on a row that sees nothing: let it see all, then blank it
    out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible | ~sees)
    return out * sees


def _check_attention(q, k, v, visible, causal, window):
    """(T, S), or an error that names the argument."""
    if q.dim() != 4:
        raise ValueError(f"q must have shape (batch, heads, T, D), got {tuple(q.shape)}")
    (B, H, T, D), S = q.shape, k.shape[-2]
    for name, x, wanted in (("k", k, (B, H, S, D)), ("v", v, (B, H, S, v.shape[-1]))):
        if tuple(x.shape) != wanted:
            raise ValueError(f"{name} must have shape {wanted} beside q {tuple(q.shape)}, got {tuple(x.shape)}")
    if visible is not None:
        if visible.dtype != torch.bool:
            raise TypeError(f"visible must be a bool tensor, True where a query may look, got {visible.dtype}")
        if visible.dim() not in (2, 4) or visible.shape[-2:] != (T, S) or any(n not in (1, m) for n, m in zip(visible.shape[:-2], (B, H), strict=False)):
            raise ValueError(f"visible must have shape {(T, S)} or {(B, H, T, S)}, got {tuple(visible.shape)}")
    if window is not None and not (causal and window >= 1):
        raise ValueError(f"window must be 1 or more and needs causal=True, got {window} and causal={causal}")
    return T, S


@twin(naive.sinusoid, cases=lambda rng: [(np.zeros(1), 2), (np.arange(7.0), 6), (100 * rng.random(3), 16)])
def sinusoid(position, C):
    """Positions (T,) float as waves, sin and cos by turns (Vaswani et al. 2017, sec. 3.5): (T, C). Raises ValueError for odd C."""
    if C % 2:
        raise ValueError(f"C must be even, got {C}")
    angle = position[:, None] * 10000 ** (-torch.arange(0, C, 2, dtype=torch.float64, device=position.device) / C).to(position)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@twin(naive.rope, cases=lambda rng: [(rng.normal(size=(2, 1, 1, 2)), 0), (rng.normal(size=(2, 3, 7, 6)), 5), (rng.normal(size=(4, 4)), 10**6)])
def rope(x, position=0, base=10000.0):
    """Rotary positions, Su et al. 2021 (arXiv:2104.09864), eq. 34, with x_i paired to x_{i + D/2}.

    x (..., T, D), D even; position: of the first step. Angles in float64, for positions beyond a million in float32.
    """
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"x must have an even last axis to be turned in pairs, got shape {tuple(x.shape)}")
    angle = torch.arange(position, position + T, dtype=torch.float64)[:, None] * base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _multi_head_cases(rng):
    """One step; one on a cache; several on a cache; a window that drops some; no window; both ways."""
    for B, T, H, D, S, causal, window in [
        (1, 1, 1, 2, 0, True, None),
        (2, 5, 2, 4, 0, True, None),
        (2, 1, 3, 2, 4, True, 5),
        (1, 4, 2, 2, 3, True, 4),
        (2, 7, 2, 2, 0, True, 3),
        (2, 3, 2, 2, 0, False, None),
    ]:
        C = H * D
        past = rng.normal(size=(2, B, H, S, D))
        yield rng.normal(size=(B, T, C)), rng.normal(size=(3 * C, C)), rng.normal(size=(C, C)), H, past[0], past[1], S + 2, causal, window


@twin(naive.multi_head, cases=_multi_head_cases)
def multi_head(x, W_qkv, W_out, heads, past_k, past_v, position=0, causal=True, window=None):
    """Many heads with rotary positions and a cache: one matmul in, one fused attention, one matmul out.

    x               (batch, T, C), the new steps; position: how many came before
    W_qkv           (3C, C): queries, keys, values, heads one after another; W_out (C, C)
    past_k, past_v  (batch, heads, S, C / heads): rotated keys, and values, of the S steps before; S may be 0
    returns         y (batch, T, C); keys and values to keep: of the last `window` steps, or of all
    Raises ValueError if heads do not divide C into even parts, or a cache is not of the last min(position, window) steps.
    """
    B, T, C = x.shape
    if C % (2 * heads):
        raise ValueError(f"heads must divide the {C} channels into even parts, got {heads}")
    if past_k.shape != past_v.shape or past_k.shape[:2] != (B, heads) or past_k.shape[3] != C // heads:
        raise ValueError(f"past_k and past_v must have shape {(B, heads, 'S', C // heads)}, got {tuple(past_k.shape)} and {tuple(past_v.shape)}")
    q, k, v = (x @ W_qkv.t()).view(B, T, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    k = torch.cat([past_k, rope(k, position)], dim=2)
    v = torch.cat([past_v, v], dim=2)
    y = attention(rope(q, position), k, v, None, causal, window)
    y = y.transpose(1, 2).reshape(B, T, C) @ W_out.t()
    return (y, k[:, :, -window:], v[:, :, -window:]) if window else (y, k, v)
