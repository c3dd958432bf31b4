"""Attention on torch's fused kernels; positions; many heads with a cache.

Names and symbols are those of minilib/naive/attention.py.
Not here: dropout, biases, grouped-query heads.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.naive import attention as naive


@twin(naive.attention)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor | None = None,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """Scaled dot-product attention in one fused kernel, with no T × S weights in memory.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 1.
    q        (batch, heads, T, D); k (batch, heads, S, D); v (batch, heads, S, E)
    visible  bool, (T, S) or (batch or 1, heads or 1, T, S): True where query t may see key s
    causal   the queries are the last T of S steps: query t, at step t + S - T, sees no later key
    window   with causal: the number of steps seen, its own among them. Costs O(T window) time
    returns  (batch, heads, T, E); 0 where a query sees nothing
    Raises TypeError for a mask that is not bool and for whole numbers, ValueError for shapes that
    do not fit or a window without causal.
    """
    T, S = _check_attention(q, k, v, visible, causal, window)
    if window and T > 2 * window:
        return _in_blocks(q, k, v, visible, window)
    slides = window is not None and window < S
    triangle = causal and T == S and not slides and visible is None
    if causal and not triangle and (T > 1 or slides):
        mask = _causal_mask(T, S, window, q.device)
        visible = mask if visible is None else visible & mask
    if visible is None:  # the kernel has a triangle of its own, which is right for T = S only
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=triangle)
    # kernels differ on a row that sees nothing: let it see all, then blank it
    sees = visible.any(-1, keepdim=True)
    out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible | ~sees)
    return out * sees


def _causal_mask(T, S, window, device):
    """Who sees whom if the queries are the last T of S steps: (T, S) bool."""
    now = torch.arange(S - T, S, device=device)[:, None]
    s = torch.arange(S, device=device)
    return s <= now if window is None else (s <= now) & (s > now - window)


def _in_blocks(q, k, v, visible, window):
    """Causal attention, `window` queries at a time: a block sees two blocks of keys at most."""
    T, S = q.shape[2], k.shape[2]
    blocks = []
    for start in range(0, T, window):
        end = min(start + window, T)
        first = max(0, start + S - T - window + 1)  # the first key that query `start` sees
        keys = slice(first, max(0, end + S - T))
        seen = None if visible is None else visible[..., start:end, keys]
        part = attention(q[:, :, start:end], k[:, :, keys], v[:, :, keys], seen, True, window)
        blocks.append(part)
    return torch.cat(blocks, dim=2)


def _check_attention(q, k, v, visible, causal, window):
    """(T, S), or an error that names the argument."""
    if q.dim() != 4:
        raise ValueError(f"q must have shape (batch, heads, T, D), got {tuple(q.shape)}")
    B, H, T, D = q.shape
    S = k.shape[-2] if k.dim() > 1 else "S"
    E = v.shape[-1] if v.dim() else "E"
    for name, x, wanted in (("k", k, (B, H, S, D)), ("v", v, (B, H, S, E))):
        if tuple(x.shape) != wanted:
            beside = f"beside q {tuple(q.shape)}, got {tuple(x.shape)}"
            raise ValueError(f"{name} must have shape {wanted} {beside}")
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not x.is_floating_point():
            raise TypeError(f"{name} must be floating, got {x.dtype}")
    if visible is not None:
        _check_mask(visible, B, H, T, S)
    if window is not None and not (causal and window >= 1):
        given = f"{window} and causal={causal}"
        raise ValueError(f"window must be 1 or more and needs causal=True, got {given}")
    return T, S


def _check_mask(visible, B, H, T, S):
    if visible.dtype != torch.bool:
        meaning = "True where a query may look"
        raise TypeError(f"visible must be a bool tensor, {meaning}, got {visible.dtype}")
    shape = tuple(visible.shape)
    if shape != (T, S) and not (
        len(shape) == 4 and shape[0] in (1, B) and shape[1] in (1, H) and shape[2:] == (T, S)
    ):
        raise ValueError(f"visible must have shape {(T, S)} or {(B, H, T, S)}, got {shape}")


@twin(naive.sinusoid)
def sinusoid(position: Tensor, C: int) -> Tensor:
    """Positions (T,) float as waves, sin and cos by turns (Vaswani et al. 2017, sec. 3.5): (T, C).

    Raises ValueError for odd C or positions that are not (T,), TypeError for whole numbers,
    to which the slow waves would be cut.
    """
    if position.dim() != 1:
        raise ValueError(f"position must have shape (T,), got {tuple(position.shape)}")
    if not position.is_floating_point():
        raise TypeError(f"position must be floating, got {position.dtype}")
    if C % 2:
        raise ValueError(f"C must be even, got {C}")
    angle = position[:, None] * _speeds(C, 10000.0, position.device).to(position)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def _speeds(D, base, device):
    """Angle per step of each of the D / 2 pairs, from 1 down to nearly 1 / base; float64."""
    return base ** (-torch.arange(0, D, 2, dtype=torch.float64, device=device) / D)


@twin(naive.rope)
def rope(x: Tensor, position: int | Tensor = 0, base: float = 10000.0) -> Tensor:
    """Rotary positions, Su et al. 2021 (arXiv:2104.09864), eq. 34, with x_i paired to x_{i + D/2}.

    x (..., T, D), D even; position: of the first step, or of each, (T,) int64. Angles in float64,
    for positions beyond a million in float32. Raises ValueError for shapes that do not fit,
    TypeError for an x of whole numbers.
    """
    if x.dim() < 2:
        raise ValueError(f"x must have shape (..., T, D), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"x must be floating, got {x.dtype}")
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"x must have an even last axis (it turns in pairs), got {tuple(x.shape)}")
    steps = position if isinstance(position, Tensor) else torch.arange(position, position + T)
    if steps.shape != (T,):
        raise ValueError(f"position must be an int or have shape {(T,)}, got {tuple(steps.shape)}")
    angle = steps[:, None] * _speeds(D, base, steps.device)
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@twin(naive.multi_head)
def multi_head(
    x: Tensor,
    W_qkv: Tensor,
    W_out: Tensor,
    heads: int,
    past_k: Tensor,
    past_v: Tensor,
    position: int = 0,
    causal: bool = True,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Many heads with rotary positions and a cache: matmul in, one fused attention, matmul out.

    x               (batch, T, C), the new steps; position: how many came before
    W_qkv           (3C, C): queries, keys, values, heads one after another; W_out (C, C)
    past_k, past_v  (batch, heads, S, C / heads): turned keys, and values, of the
                    S = min(position, window) steps just before x
    returns         y (batch, T, C); keys and values to keep: of the last `window` steps, or of all
    Raises ValueError if heads do not divide C into even parts, for shapes that do not fit, and for
    a cache fed out of order: one that does not hold the last min(position, window) steps.
    """
    _check_multi_head(x, W_qkv, W_out, heads, past_k, past_v, position, window)
    q, k, v = split_heads(x, W_qkv, heads)
    k = _appended(past_k, rope(k, position), window)
    v = _appended(past_v, v, window)
    y = attention(rope(q, position), k, v, None, causal, window)
    return join_heads(y, W_out), kept(k, window), kept(v, window)


def _appended(past, new, window):
    """A cache and the new steps, without what even the first new step no longer sees."""
    surplus = past.shape[2] + min(new.shape[2], 1) - window if window else 0
    return torch.cat([past[:, :, surplus:] if surplus > 0 else past, new], dim=2)


def kept(cache: Tensor, steps: int | None) -> Tensor:
    """The last steps of a cache (batch, heads, S, D), or all; a view would keep S steps alive."""
    S = cache.shape[2]
    return cache if steps is None or S <= steps else cache[:, :, S - steps :].clone()


def split_heads(x: Tensor, W_qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """x (batch, T, C) -> queries, keys and values, each (batch, heads, T, C / heads)."""
    B, T, C = x.shape
    return (x @ W_qkv.t()).view(B, T, 3, heads, C // heads).permute(2, 0, 3, 1, 4).unbind()


def join_heads(y: Tensor, W_out: Tensor) -> Tensor:
    """What the heads found, (batch, heads, T, D), side by side and mixed: (batch, T, heads · D)."""
    return y.transpose(1, 2).flatten(2) @ W_out.t()


def _check_multi_head(x, W_qkv, W_out, heads, past_k, past_v, position, window):
    """An error that names the argument."""
    if x.dim() != 3:
        raise ValueError(f"x must have shape (batch, T, C), got {tuple(x.shape)}")
    B, _, C = x.shape
    if heads < 1 or C % (2 * heads):
        raise ValueError(f"heads must divide the {C} channels into even parts, got {heads}")
    cache = (B, heads, min(position, window or position), C // heads)
    order = "a cache holds the steps just before x, each once and in order"
    for name, value, shape, why in (
        ("W_qkv", W_qkv, (3 * C, C), ""),
        ("W_out", W_out, (C, C), ""),
        ("past_k", past_k, cache, f" at position {position}: {order}"),
        ("past_v", past_v, cache, f" at position {position}: {order}"),
    ):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}{why}, got {tuple(value.shape)}")
