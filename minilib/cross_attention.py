"""Attention between two lengths: down to groups, up to steps again, with a cache of groups.

Names and symbols are those of minilib/naive/cross_attention.py. Not here: dropout, biases, masks.
"""

import math

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.attention import attention, rope
from minilib.naive import cross_attention as naive


@twin(naive.keys_and_values)
def keys_and_values(
    source: Tensor, W_kv: Tensor, heads: int, position: int | Tensor = 0
) -> tuple[Tensor, Tensor]:
    """Rotated keys, and values, of the sequence that is looked at.

    source    (batch, S, C); W_kv (2C, C), keys then values
    position  of the first row of source, or of each, (S,) int64
    returns   both (batch, heads, S, C / heads)
    """
    _check_shape("source", source, ("batch", "S", "C"))
    _check_matrices(source.shape[2], heads, W_kv=W_kv)
    kv = (source @ W_kv.t()).unflatten(2, (2, heads, -1))
    keys, values = kv.permute(2, 0, 3, 1, 4)
    return rope(keys, position), values


@twin(naive.cross_attention)
def cross_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    W_q: Tensor,
    W_out: Tensor,
    position: int | Tensor = 0,
) -> Tensor:
    """Steps of one sequence look at all keys and values of another: (batch, T, C) -> (batch, T, C).

    keys, values  as keys_and_values gives them; W_q, W_out (C, C)
    position      of the first row of query, or of each, (T,) int64
    """
    _check_shape("query", query, ("batch", "T", "C"))
    _check_shape("keys", keys, ("batch", "heads", "S", "C / heads"))
    heads = keys.shape[1]
    _check_matrices(query.shape[2], heads, W_q=W_q, W_out=W_out)
    q = (query @ W_q.t()).unflatten(2, (heads, -1)).transpose(1, 2)
    context = attention(rope(q, position), keys, values)
    return context.transpose(1, 2).flatten(2) @ W_out.t()


@twin(naive.shorten_attention)
def shorten_attention(
    query: Tensor, groups: Tensor, W_q: Tensor, W_kv: Tensor, W_out: Tensor, heads: int
) -> Tensor:
    """Each group's query looks at the k steps of its own group.

    query (batch, G, C); groups (batch, G, k, C); W_q, W_out (C, C); W_kv (2C, C), keys then values
    returns (batch, G, C). All groups are rows of one batch of attentions with one query each.
    """
    _check_shape("groups", groups, ("batch", "G", "k", "C"))
    B, G, _, C = groups.shape
    if tuple(query.shape) != (B, G, C):
        raise ValueError(f"query must have shape {(B, G, C)}, got {tuple(query.shape)}")
    keys, values = keys_and_values(groups.flatten(0, 1), W_kv, heads)
    out = cross_attention(query.reshape(B * G, 1, C), keys, values, W_q, W_out)
    return out.view(B, G, C)


@twin(naive.up_attention)
def up_attention(
    x: Tensor,
    y: Tensor,
    W_q: Tensor,
    W_kv: Tensor,
    W_out: Tensor,
    heads: int,
    k: int,
    past_k: Tensor,
    past_v: Tensor,
    position: int = 0,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps look at groups: step t at groups ≤ t // k.

    x               (batch, T, C), the queries: steps position … position + T - 1
    y               (batch, G, C), the groups that begin at these steps; G may be 0
    W_q, W_out      (C, C); W_kv (2C, C), keys then values
    past_k, past_v  (batch, heads, S, C / heads), rotated keys and values of the S groups before y
    returns         (batch, T, C); keys and values to keep: of the last `window` groups, or of all

    The k steps of a group become k times as many heads of one causal attention over groups, with
    zeros to make the first and the last group whole. E.g. k = 3, position 4, T = 4: the steps are
    the rows ·45 67· of two groups, and the second third of the heads has the queries 4 and 7.
    Raises ValueError if y does not hold exactly the groups that begin, or the past those before y.
    """
    _check_shape("x", x, ("batch", "T", "C"))
    B, T, C = x.shape
    _check_matrices(C, heads, W_q=W_q, W_kv=W_kv, W_out=W_out)
    _check_groups(x, y, heads, k, past_k, past_v, position, window)
    keys, values = keys_and_values(y, W_kv, heads, math.ceil(position / k))
    keys = torch.cat([past_k, keys], dim=2)
    values = torch.cat([past_v, values], dim=2)

    phase = position % k
    G = math.ceil((phase + T) / k)  # groups that the steps belong to
    q = nn.functional.pad(x @ W_q.t(), (0, 0, phase, G * k - phase - T))
    q = rope(q.view(B, G, k * heads, C // heads).transpose(1, 2), position // k)
    every_k, every_v = keys.repeat(1, k, 1, 1), values.repeat(1, k, 1, 1)
    context = attention(q, every_k, every_v, None, True, window)
    context = context.transpose(1, 2).reshape(B, G * k, C)[:, phase : phase + T]
    return context @ W_out.t(), _newest(keys, window), _newest(values, window)


def _newest(x, window):
    """The last `window` steps of x (batch, heads, S, D), in memory of their own."""
    return x[:, :, -window:].clone() if window and x.shape[2] > window else x


class CrossAttention(nn.Module):
    """The weights of an attention between two lengths, and a norm for each side.

    width, heads  C, channels of both sides; heads must divide it into even parts
    residual      initial size of what it adds, as in Block
    """

    def __init__(self, width: int, heads: int, residual: float = 1.0):
        super().__init__()
        self.heads = heads
        matrix = lambda rows, size=1.0: nn.Parameter(size * width**-0.5 * torch.randn(rows, width))
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = matrix(width), matrix(2 * width), matrix(width, residual)


class ShortenAttention(CrossAttention):
    """y (batch, G, C) plus what each vector of it sees in its group, (batch, G, k, C)."""

    def forward(self, y: Tensor, groups: Tensor) -> Tensor:
        query, source = self.norm_q(y), self.norm_kv(groups)
        return y + shorten_attention(query, source, self.q, self.kv, self.out, self.heads)


class UpAttention(CrossAttention):
    """x (batch, T, C) plus what each step sees in the groups, and the cache after them."""

    def forward(
        self, x: Tensor, y: Tensor, k: int, cache: tuple, position: int, window: int | None
    ) -> tuple[Tensor, tuple]:
        query, source, matrices = self.norm_q(x), self.norm_kv(y), (self.q, self.kv, self.out)
        seen, *cache = up_attention(
            query, source, *matrices, self.heads, k, *cache, position, window
        )
        return x + seen, tuple(cache)


# -- checks ----------------------------------------------------------------------------------------


def _check_shape(name, x, dims):
    if x.dim() != len(dims):
        raise ValueError(f"{name} must have shape ({', '.join(dims)}), got {tuple(x.shape)}")


def _check_matrices(C, heads, **matrices):
    if heads < 1 or C % (2 * heads):
        raise ValueError(f"heads must divide the {C} channels into even parts, got {heads}")
    for name, W in matrices.items():
        shape = (2 * C if name == "W_kv" else C, C)
        if tuple(W.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(W.shape)}")


def _check_groups(x, y, heads, k, past_k, past_v, position, window):
    B, T, C = x.shape
    first, end = math.ceil(position / k), math.ceil((position + T) / k)
    if y.shape != (B, end - first, C):
        raise ValueError(
            f"y must have shape {(B, end - first, C)}: the groups that begin at steps {position} "
            f"to {position + T - 1}, got {tuple(y.shape)}"
        )
    past = (B, heads, min(first, window or first), C // heads)
    if past_k.shape != past or past_v.shape != past:
        raise ValueError(
            f"past_k and past_v must have shape {past}: the last groups before y, "
            f"got {tuple(past_k.shape)} and {tuple(past_v.shape)}"
        )
