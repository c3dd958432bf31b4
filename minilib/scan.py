"""One differentiable linear recurrence, and its matrix form for scalar decay.

Names and symbols are those of minilib/naive/scan.py. Nothing here divides by a product of decays.
With |a| ≤ 1 products only shrink, and one that underflows to 0 is what it should be; with |a| > 1
they overflow where a state of 1, left alone, would as well.
"""

import math

import torch
from torch import Tensor

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.naive import scan as naive

# On a CPU a large state goes step by step: what one step reads and writes is still in the cache for
# all that is done with it. Anything else goes in √T chunks of Q steps side by side, which takes 3√T
# operations in place of T:
#
#     10 steps, 3 chunks of Q = 3     0 1 2     3 4 5     6 7 8     9
#     1. step by step in each chunk   0→1→2     3→4→5     6→7→8           as if nothing came before
#     2. from chunk to chunk              2 ──→ 3 4 5
#                                                   5 ──→ 6 7 8           each step adds its share
#     3. the steps left over                                    8 ──→ 9


def _is_large(h):
    """Whether states (batch, T, ...) go step by step. A compiler takes no `out` that is a view."""
    large = h[:, 0].numel() > 512 and h.device.type == "cpu"
    return large and not torch.compiler.is_compiling()


def _forward_by_steps(a, b, first):
    h, before = torch.empty_like(b, memory_format=torch.contiguous_format), first
    for decay, put, now in zip(*(t.unbind(1) for t in (a, b, h)), strict=True):
        before = torch.addcmul(put, decay, before, out=now)
    return h


def _backward_by_steps(a, first, h, d):
    da, G = torch.empty_like(h), torch.empty_like(h)
    a_at, d_at, h_at, da_at, G_at = (t.unbind(1) for t in (a.conj(), d, h.conj(), da, G))
    now = G_at[-1].copy_(d_at[-1])
    for t in range(len(h_at) - 1, 0, -1):
        torch.mul(now, h_at[t - 1], out=da_at[t])
        now = torch.addcmul(d_at[t - 1], a_at[t], now, out=G_at[t - 1])
    torch.mul(now, first.conj(), out=da_at[0])
    return da, G


def _chunks(rows):
    """(number of chunks, steps Q of each) for rows (T, ...) of states."""
    chunks = math.isqrt(len(rows))
    return chunks, len(rows) // chunks


def _step_by_step(a, h):
    """h_t ← h_t + a_t h_{t-1} for all rows but the first, in the order in which they come."""
    before = h[0]
    for decay, now in zip(a[1:], h[1:], strict=True):
        before = now.addcmul_(decay, before)


def _forward(a, h, first):
    """h_t ← h_t + a_t h_{t-1}, time first; `first` is the state before step 0."""
    chunks, Q = _chunks(h)
    end = chunks * Q
    h[0].addcmul_(a[0], first)
    a_chunks, h_chunks = (t[:end].unflatten(0, (chunks, Q)) for t in (a, h))
    _step_by_step(a_chunks.unbind(1), h_chunks.unbind(1))
    for c in range(1, chunks):
        left = a_chunks[c].cumprod(0)  # what each leaves of the state before the chunk
        h_chunks[c].addcmul_(left, h_chunks[c - 1, -1])
    _step_by_step(a[end - 1 :].unbind(), h[end - 1 :].unbind())


def _backward(a, G, last):
    """G_t ← G_t + a_t G_{t+1}, time first; `last` comes from behind the last step.

    The same from right to left; what is left over is at the beginning.
    """
    chunks, Q = _chunks(G)
    start = len(G) - chunks * Q
    G[-1].addcmul_(a[-1], last)
    a_chunks, G_chunks = (t[start:].unflatten(0, (chunks, Q)) for t in (a, G))
    _step_by_step(a_chunks.unbind(1)[::-1], G_chunks.unbind(1)[::-1])
    for c in reversed(range(chunks - 1)):
        left = a_chunks[c].flip(0).cumprod(0).flip(0)
        G_chunks[c].addcmul_(left, G_chunks[c + 1, 0])
    _step_by_step(a[: start + 1].unbind()[::-1], G[: start + 1].unbind()[::-1])


class _Scan(torch.autograd.Function):
    """Kept for backward: a and the states h_t.

    G_t, the gradient in h_t and so in b_t, is what arrives there and what h_{t+1} sends back:
    G_t = d_t + a*_{t+1} G_{t+1}. From it follows the gradient in a_t, G_t h*_{t-1}.
    """

    @staticmethod
    def forward(ctx, a, b, first):
        if _is_large(b):
            h = _forward_by_steps(a, b, first)
        else:
            h = b.clone(memory_format=torch.contiguous_format)
            _forward(a.transpose(0, 1), h.transpose(0, 1), first)
        ctx.save_for_backward(a, first, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, d):
        a, first, h = ctx.saved_tensors
        if _is_large(h):
            da, G = _backward_by_steps(a, first, h, d)
        else:
            G = d.clone(memory_format=torch.contiguous_format)
            if a.shape[1] > 1:
                after = a[:, 1:].conj().transpose(0, 1)
                _backward(after, G[:, :-1].transpose(0, 1), G[:, -1])
            da = G.clone()
            da[:, 0].mul_(first.conj())
            da[:, 1:].mul_(h[:, :-1].conj())
        return da, G, a[:, 0].conj() * G[:, 0]


@twin(naive.scan)
def scan(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t along axis 1, with a backward of its own.

    a, b     (batch, time ≥ 1, ...) of one shape, real or complex
    h        (batch, ...), the state before the first step
    returns  (batch, time, ...), the state after each step
    Memory for backward: a, h and what is returned, nothing else.
    Raises ValueError for shapes that do not fit and TypeError for dtypes that differ.
    """
    if a.shape != b.shape or b.dim() < 2 or b.shape[1] == 0 or h.shape != b[:, 0].shape:
        raise ValueError(
            "a and b must have one shape (batch, time ≥ 1, ...) and h that shape without time, "
            f"got {tuple(a.shape)}, {tuple(b.shape)}, {tuple(h.shape)}"
        )
    if not a.dtype == b.dtype == h.dtype:
        raise TypeError(f"a, b and h must have one dtype, got {a.dtype}, {b.dtype}, {h.dtype}")
    return _Scan.apply(a, b, h)


@twin(naive.segsum)
def segsum(log_a: Tensor) -> Tensor:
    """(..., L) -> (..., L, L): sums of log_a[j + 1 .. i], -inf above the diagonal.

    Each column is summed on its own. A difference of two running sums would cancel: at 1e4
    nothing of a small decay is left in float32.
    """
    L = log_a.shape[-1]
    seen = torch.ones(L, L, dtype=torch.bool, device=log_a.device).tril()  # j ≤ i
    steps = log_a[..., :, None].expand(*log_a.shape, L).masked_fill(~seen.tril(-1), 0.0)
    return steps.cumsum(-2).masked_fill(~seen, -torch.inf)


@twin(naive.ssd)
def ssd(
    x: Tensor, log_a: Tensor, B: Tensor, C: Tensor, S: Tensor, chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """The recurrence with one decay per head as matmuls (arXiv:2405.21060, sec. 6).

    Inside a chunk by the lower-triangular matrix, from chunk to chunk by the states between them.

    x        (batch, L, heads, P); log_a (batch, L, heads) ≤ 0; B, C (batch, L, N)
    S        (batch, heads, N, P), the state before the first step
    returns  y (batch, L, heads, P) and the state after the last step
    Time O(L (chunk (N + P) + N P)) per head; states are kept between chunks, not of every step.
    Raises ValueError for shapes that do not fit, no step, or a chunk below 1.
    """
    _check_ssd(x, log_a, B, C, S, chunk)
    L = x.shape[1]
    Q = min(chunk, L)
    if pad := -L % Q:  # steps that do nothing: no decay, no input
        x, log_a, B, C = (
            torch.nn.functional.pad(t, (0, 0) * (t.dim() - 2) + (0, pad)) for t in (x, log_a, B, C)
        )
    x, log_a, B, C = (t.unflatten(1, (-1, Q)) for t in (x, log_a, B, C))  # (batch, chunks, Q, ...)
    x, log_a = x.transpose(2, 3), log_a.transpose(2, 3)  # (b, chunks, H, Q, P), (b, chunks, H, Q)
    left = segsum(log_a).exp()  # (b, chunks, H, Q, Q): of step j at step i
    M = left * (C @ B.transpose(2, 3))[:, :, None]
    since_start = log_a.cumsum(-1)  # log of what step q leaves of the state before the chunk
    writes = B[:, :, None] * left[..., -1, :, None]  # (b, chunks, H, Q, N), what the end has of it
    added = (writes.transpose(3, 4) @ x).to(S)  # (b, chunks, H, N, P), by each chunk
    kept = since_start[..., -1].exp()[..., None, None].expand(added.shape).contiguous()
    states = scan(kept, added, S)  # after each chunk
    before = torch.cat([S[:, None], states[:, :-1]], dim=1)
    y = M @ x + since_start.exp()[..., None] * (C[:, :, None] @ before)
    return y.transpose(2, 3).flatten(1, 2)[:, :L], states[:, -1].clone()


def _check_ssd(x, log_a, B, C, S, chunk):
    """Raise ValueError unless these are arguments of `ssd`."""
    if x.dim() != 4 or x.shape[1] == 0 or chunk < 1:
        raise ValueError(
            "x must have shape (batch, L ≥ 1, heads, P) and chunk be at least 1, "
            f"got {tuple(x.shape)} and {chunk}"
        )
    batch, L, heads, P = x.shape
    N = B.shape[-1]
    wanted = {
        "log_a": (log_a, (batch, L, heads)),
        "B": (B, (batch, L, N)),
        "C": (C, (batch, L, N)),
        "S": (S, (batch, heads, N, P)),
    }
    for name, (value, shape) in wanted.items():
        got = tuple(value.shape)
        if got != shape:
            raise ValueError(f"{name} must have shape {shape} beside x {tuple(x.shape)}, got {got}")
