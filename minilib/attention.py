"""Attention on torch's fused kernels, and streamed by our own; positions; many heads with a cache.

Names and symbols are those of minilib/naive/attention.py. Not here: dropout, biases, grouped-query heads.
"""

import torch
from torch import nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.naive import attention as naive


@twin(naive.attention)
def attention(q, k, v, visible=None, causal=False, window=None):
    """Scaled dot-product attention, Vaswani et al. 2017 (arXiv:1706.03762), eq. 1; one fused kernel, no T × S weights in memory.

    q        (batch, heads, T, D); k (batch, heads, S, D); v (batch, heads, S, E)
    visible  bool, (T, S) or (batch or 1, heads or 1, T, S): True where query t may see key s
    causal   the queries are the last T of S steps: query t, at step t + S - T, sees no later key
    window   with causal: the number of steps seen, its own among them. Costs O(T window) time
    returns  (batch, heads, T, E); 0 where a query sees nothing
    Raises TypeError for a mask that is not bool and for whole numbers, ValueError for shapes that do not fit or a window without causal.
    """
    T, S = _check_attention(q, k, v, visible, causal, window)
    if causal and window and T > 2 * window:  # a block of queries sees two blocks of keys at most
        blocks = []
        for start in range(0, T, window):
            end = min(start + window, T)
            keys = slice(max(0, start + S - T - window + 1), max(0, end + S - T))
            seen = None if visible is None else visible[..., start:end, keys]
            blocks.append(
                attention(
                    q[..., start:end, :], k[..., keys, :], v[..., keys, :], seen, True, window
                )
            )
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
    sees = visible.any(
        -1, keepdim=True
    )  # kernels differ on a row that sees nothing: let it see all, then blank it
    out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible | ~sees)
    return out * sees


def _check_attention(q, k, v, visible, causal, window):
    """(T, S), or an error that names the argument."""
    if q.dim() != 4:
        raise ValueError(f"q must have shape (batch, heads, T, D), got {tuple(q.shape)}")
    (B, H, T, D), S = q.shape, k.shape[-2] if k.dim() > 1 else "S"
    for name, x, wanted in (
        ("k", k, (B, H, S, D)),
        ("v", v, (B, H, S, v.shape[-1] if v.dim() else "E")),
    ):
        if tuple(x.shape) != wanted:
            raise ValueError(
                f"{name} must have shape {wanted} beside q {tuple(q.shape)}, got {tuple(x.shape)}"
            )
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not x.is_floating_point():
            raise TypeError(f"{name} must be floating, got {x.dtype}")
    if visible is not None:
        if visible.dtype != torch.bool:
            raise TypeError(
                f"visible must be a bool tensor, True where a query may look, got {visible.dtype}"
            )
        if (
            visible.dim() not in (2, 4)
            or visible.shape[-2:] != (T, S)
            or any(n not in (1, m) for n, m in zip(visible.shape[:-2], (B, H), strict=False))
        ):
            raise ValueError(
                f"visible must have shape {(T, S)} or {(B, H, T, S)}, got {tuple(visible.shape)}"
            )
    if window is not None and not (causal and window >= 1):
        raise ValueError(
            f"window must be 1 or more and needs causal=True, got {window} and causal={causal}"
        )
    return T, S


class _Online(torch.autograd.Function):
    """Tiles of all queries by `block` keys; backward computes the weights of a tile again from the log-sum-exp of its rows.

    With P = exp(S - lse), what arrives at out as dO and at lse as dL gives dS = P (dO Vᵀ - D + dL), D the rows' sums of dO · O
    (Dao et al. 2022, appendix B, where lse is no output).
    """

    @staticmethod
    def forward(ctx, q, k, v, block, causal):
        out = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype, device=q.device)
        m, l = q.new_full(q.shape[:-1], -torch.inf), q.new_zeros(q.shape[:-1])
        for rows, keys, future in _tiles(q, k, block, causal):
            score = _scores(q, k, rows, keys, future)
            larger = torch.maximum(m[..., rows], score.amax(-1))
            weight, shrink = score.sub_(larger[..., None]).exp_(), (m[..., rows] - larger).exp_()
            l[..., rows] = l[..., rows] * shrink + weight.sum(-1)
            out[..., rows, :].mul_(shrink[..., None]).add_(weight @ v[..., keys, :])
            m[..., rows] = larger
        sees = l > 0  # the others are in no tile: out stays 0, lse -inf
        out /= torch.where(sees, l, 1.0)[..., None]
        lse = m + torch.where(sees, l, 1.0).log()
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.block, ctx.causal = block, causal
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_lse):
        q, k, v, out, lse = ctx.saved_tensors
        d_q, d_k, d_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        D, scale = (d_out * out).sum(-1) - d_lse, q.shape[-1] ** -0.5
        for rows, keys, future in _tiles(q, k, ctx.block, ctx.causal):
            P = _scores(q, k, rows, keys, future).sub_(lse[..., rows, None]).exp_()
            d_v[..., keys, :] = P.mT @ d_out[..., rows, :]
            d_score = (
                (d_out[..., rows, :] @ v[..., keys, :].mT)
                .sub_(D[..., rows, None])
                .mul_(P)
                .mul_(scale)
            )
            d_q[..., rows, :] += d_score @ k[..., keys, :]
            d_k[..., keys, :] = d_score.mT @ q[..., rows, :]
        return d_q, d_k, d_v, None, None


def _tiles(q, k, block, causal):
    """(slice of queries, slice of keys, which of the scores lie in the future or None) for each tile that anyone sees."""
    T, S = q.shape[-2], k.shape[-2]
    for start in range(0, S if T else 0, block):
        end = min(start + block, S)
        first = (
            max(0, start - (S - T)) if causal else 0
        )  # the query whose last key is the first of the tile
        hidden = end - 1 - (first + S - T)  # keys of the tile that it does not see
        future = (
            torch.ones(T - first, end - start, dtype=torch.bool, device=q.device).triu(
                end - start - hidden
            )
            if causal and hidden > 0
            else None
        )
        yield slice(first, T), slice(start, end), future


def _scores(q, k, rows, keys, future):
    score = (q[..., rows, :] * q.shape[-1] ** -0.5) @ k[..., keys, :].mT
    return score if future is None else score.masked_fill_(future, -torch.inf)


@twin(naive.online_attention)
def online_attention(q, k, v, block=128, causal=False):
    """`attention` and the log-sum-exp of its scores from keys that arrive in blocks: no (T, S) weights, neither forward nor backward.

    Source: Milakov & Gimelshein 2018 (arXiv:1805.02867), alg. 3; kept for backward is what Dao et al. 2022 (arXiv:2205.14135) keep,
    inputs, out and lse. Memory O((T + S) D + T block), time O(T S D), half of it if causal; backward does the scores once more.

    shapes   as in `attention`, causal too; block 1 or more
    returns  out (batch, heads, T, E); lse (batch, heads, T), -inf where nothing is seen
    Raises ValueError for shapes that do not fit or a block below 1.
    """
    _check_attention(q, k, v, None, causal, None)
    if block < 1:
        raise ValueError(f"block must be 1 or more, got {block}")
    return _Online.apply(q, k, v, block, causal)


@twin(naive.sinusoid)
def sinusoid(position, C):
    """Positions (T,) float as waves, sin and cos by turns (Vaswani et al. 2017, sec. 3.5): (T, C).

    Raises ValueError for odd C or positions that are not (T,), TypeError for whole numbers, to which the slow waves would be cut.
    """
    if position.dim() != 1:
        raise ValueError(f"position must have shape (T,), got {tuple(position.shape)}")
    if not position.is_floating_point():
        raise TypeError(f"position must be floating, got {position.dtype}")
    if C % 2:
        raise ValueError(f"C must be even, got {C}")
    angle = position[:, None] * 10000 ** (
        -torch.arange(0, C, 2, dtype=torch.float64, device=position.device) / C
    ).to(position)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@twin(naive.rope)
def rope(x, position=0, base=10000.0):
    """Rotary positions, Su et al. 2021 (arXiv:2104.09864), eq. 34, with x_i paired to x_{i + D/2}.

    x (..., T, D), D even; position: of the first step, or of each, (T,) int64. Angles in float64, for positions beyond a
    million in float32. Raises ValueError for shapes that do not fit, TypeError for an x of whole numbers.
    """
    if x.dim() < 2:
        raise ValueError(f"x must have shape (..., T, D), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"x must be floating, got {x.dtype}")
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(
            f"x must have an even last axis to be turned in pairs, got shape {tuple(x.shape)}"
        )
    steps = position if isinstance(position, torch.Tensor) else torch.arange(position, position + T)
    if steps.shape != (T,):
        raise ValueError(f"position must be an int or have shape {(T,)}, got {tuple(steps.shape)}")
    angle = steps[:, None] * base ** (
        -torch.arange(0, D, 2, dtype=torch.float64, device=steps.device) / D
    )
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@twin(naive.multi_head)
def multi_head(x, W_qkv, W_out, heads, past_k, past_v, position=0, causal=True, window=None):
    """Many heads with rotary positions and a cache: one matmul in, one fused attention, one matmul out.

    x               (batch, T, C), the new steps; position: how many came before
    W_qkv           (3C, C): queries, keys, values, heads one after another; W_out (C, C)
    past_k, past_v  (batch, heads, S, C / heads): rotated keys, and values, of the S = min(position, window) steps just before x
    returns         y (batch, T, C); keys and values to keep: of the last `window` steps, or of all
    Raises ValueError if heads do not divide C into even parts, for shapes that do not fit, and for a cache fed out of order:
    one that does not hold the last min(position, window) steps.
    """
    B, T, C = _check_multi_head(x, W_qkv, W_out, heads, past_k, past_v, position, window)
    q, k, v = (x @ W_qkv.t()).view(B, T, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
    k = torch.cat([past_k, rope(k, position)], dim=2)
    v = torch.cat([past_v, v], dim=2)
    y = attention(rope(q, position), k, v, None, causal, window)
    y = y.transpose(1, 2).reshape(B, T, C) @ W_out.t()
    return (y, k[:, :, -window:], v[:, :, -window:]) if window else (y, k, v)


def _check_multi_head(x, W_qkv, W_out, heads, past_k, past_v, position, window):
    """(B, T, C), or an error that names the argument."""
    if x.dim() != 3:
        raise ValueError(f"x must have shape (batch, T, C), got {tuple(x.shape)}")
    B, T, C = x.shape
    if heads < 1 or C % (2 * heads):
        raise ValueError(f"heads must divide the {C} channels into even parts, got {heads}")
    S = min(position, window or position)
    wanted = {
        "W_qkv": (3 * C, C),
        "W_out": (C, C),
        "past_k": (B, heads, S, C // heads),
        "past_v": (B, heads, S, C // heads),
    }
    for (name, shape), value in zip(wanted.items(), (W_qkv, W_out, past_k, past_v), strict=True):
        if tuple(value.shape) != shape:
            why = (
                f" at position {position}: a cache holds the steps just before x, each once and in order"
                if name.startswith("past")
                else ""
            )
            raise ValueError(f"{name} must have shape {shape}{why}, got {tuple(value.shape)}")
    return B, T, C
