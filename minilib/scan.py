"""One differentiable linear recurrence, and its matrix form for scalar decay.

Names and symbols are those of minilib/naive/scan.py. Nothing here divides by a product of decays. With |a| ≤ 1 products only ever
shrink, and one that underflows to 0 is what it should be; with |a| > 1 they overflow where a state of 1, left alone, would as well.
"""

import itertools
import math

import torch

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.naive import scan as naive


def _recur(a, out, h, back=False):
    """In place: out_t ← out_t + a_t out_{t-1}, time first, h before the first step; back: out_t ← out_t + a_t out_{t+1}, h behind the last.

    Small states: √T chunks side by side, so that 2√T small operations do instead of T. Large ones: step by step, one pass over memory.
    """
    T = len(out)
    if T == 0:
        return
    first, turn = (-1, lambda steps: list(steps)[::-1]) if back else (0, list)
    flip = (lambda t: t.flip(0)) if back else (lambda t: t)
    chunks = 1 if out[0].numel() > 512 and out.device.type == "cpu" else math.isqrt(T)
    Q = T // chunks
    cut = (
        T - chunks * Q if back else chunks * Q
    )  # fewer than `chunks` steps are left over, on the far side of the cut
    inside, left_over = (slice(cut, T), slice(0, cut)) if back else (slice(0, cut), slice(cut, T))
    out[first].addcmul_(a[first], h)
    a_chunks, out_chunks = (t[inside].unflatten(0, (chunks, Q)) for t in (a, out))
    for (_, before), (decay, now) in itertools.pairwise(
        turn(zip(a_chunks.unbind(1), out_chunks.unbind(1), strict=True))
    ):
        now.addcmul_(decay, before)
    for (_, before), (decay, now) in itertools.pairwise(
        turn(zip(a_chunks, out_chunks, strict=True))
    ):
        now.addcmul_(
            flip(flip(decay).cumprod(0)), before[-1 - first]
        )  # what is left of the state before the chunk
    h = out_chunks[-1 - first, -1 - first]
    for decay, now in turn(zip(a[left_over], out[left_over], strict=True)):
        h = now.addcmul_(decay, h)


class _Scan(torch.autograd.Function):
    """Kept for backward: a and the states. The gradient is the same recurrence run backwards: G_t = dh_t + a*_{t+1} G_{t+1}."""

    @staticmethod
    def forward(ctx, a, b, h):
        out = b.clone(memory_format=torch.contiguous_format)
        _recur(a.transpose(0, 1), out.transpose(0, 1), h)
        ctx.save_for_backward(a, h, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        a, h, out = ctx.saved_tensors
        G = d_out.clone(memory_format=torch.contiguous_format)
        _recur(a[:, 1:].conj().transpose(0, 1), G[:, :-1].transpose(0, 1), G[:, -1], back=True)
        da = torch.empty_like(G)
        torch.mul(G[:, 0], h.conj(), out=da[:, 0])
        torch.mul(G[:, 1:], out[:, :-1].conj(), out=da[:, 1:])
        return da, G, a[:, 0].conj() * G[:, 0]


@twin(naive.scan)
def scan(a, b, h):
    """h_t = a_t h_{t-1} + b_t along axis 1, with a backward of its own.

    a, b     (batch, time ≥ 1, ...) of one shape, real or complex; h (batch, ...) is the state before the first step
    returns  (batch, time, ...), the state after each step. Memory: a, h and nothing else is kept for backward
    Raises ValueError for shapes that do not fit and TypeError for dtypes that differ.
    """
    if a.shape != b.shape or b.dim() < 2 or b.shape[1] == 0 or h.shape != b[:, 0].shape:
        raise ValueError(
            f"a and b must have one shape (batch, time ≥ 1, ...) and h that shape without time, got {tuple(a.shape)}, {tuple(b.shape)}, {tuple(h.shape)}"
        )
    if not a.dtype == b.dtype == h.dtype:
        raise TypeError(f"a, b and h must have one dtype, got {a.dtype}, {b.dtype}, {h.dtype}")
    return _Scan.apply(a, b, h)


@twin(naive.segsum)
def segsum(log_a):
    """(..., L) -> (..., L, L): sums of log_a[j + 1 .. i], -inf above the diagonal.

    Each column is summed on its own. A difference of two running sums would cancel: at 1e4 nothing of a small decay is left in float32.
    """
    L = log_a.shape[-1]
    lower = torch.ones(L, L, dtype=torch.bool, device=log_a.device).tril(-1)
    steps = log_a[..., :, None].expand(*log_a.shape, L).masked_fill(~lower, 0.0)
    return steps.cumsum(-2).masked_fill(
        ~lower.logical_or(torch.eye(L, dtype=torch.bool, device=log_a.device)), -torch.inf
    )


@twin(naive.ssd)
def ssd(x, log_a, B, C, S, chunk=64):
    """Recurrence with one decay per head as matmuls: inside chunks by the matrix, between chunks by their states (arXiv:2405.21060, sec. 6).

    x (batch, L, heads, P); log_a (batch, L, heads) ≤ 0; B, C (batch, L, N); S (batch, heads, N, P), the state before
    returns y (batch, L, heads, P) and the state after the last step.
    Time O(L (chunk (N + P) + N P)) per head; states of chunk borders are kept, not of steps.
    Raises ValueError for shapes that do not fit, no step, or a chunk below 1.
    """
    if x.dim() != 4 or x.shape[1] == 0 or chunk < 1:
        raise ValueError(
            f"x must have shape (batch, L ≥ 1, heads, P) and chunk be at least 1, got {tuple(x.shape)} and {chunk}"
        )
    b, L, H, P = x.shape
    N = B.shape[-1]
    wanted = {"log_a": (b, L, H), "B": (b, L, N), "C": (b, L, N), "S": (b, H, N, P)}
    for (name, shape), value in zip(wanted.items(), (log_a, B, C, S), strict=True):
        if tuple(value.shape) != shape:
            raise ValueError(
                f"{name} must have shape {shape} beside x {tuple(x.shape)}, got {tuple(value.shape)}"
            )
    Q = min(chunk, L)
    if pad := -L % Q:  # identities: no decay, no input
        x, log_a, B, C = (
            torch.nn.functional.pad(t, (0, 0) * (t.dim() - 2) + (0, pad)) for t in (x, log_a, B, C)
        )
    x, log_a, B, C = (t.unflatten(1, (-1, Q)) for t in (x, log_a, B, C))  # (b, chunks, Q, ...)
    log_a = log_a.transpose(2, 3)  # (b, chunks, H, Q)
    M = segsum(log_a).exp() * (C @ B.transpose(2, 3))[:, :, None]  # (b, chunks, H, Q, Q)
    x = x.transpose(2, 3)  # (b, chunks, H, Q, P)
    since_start = log_a.cumsum(-1)
    to_end = log_a.flip(-1).cumsum(-1).flip(-1) - log_a  # the decays after step q
    made = ((B[:, :, None] * to_end.exp()[..., None]).transpose(3, 4) @ x).to(
        S
    )  # (b, chunks, H, N, P), what a chunk adds
    total = since_start[..., -1].exp()[..., None, None].expand(made.shape)
    states = scan(total.contiguous(), made, S)
    before = torch.cat([S[:, None], states[:, :-1]], dim=1)
    y = M @ x + since_start.exp()[..., None] * (C[:, :, None] @ before)
    return y.transpose(2, 3).flatten(1, 2)[:, :L], states[:, -1]
