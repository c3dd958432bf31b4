"""One differentiable linear recurrence, and its matrix form for scalar decay.

Names and symbols are those of minilib/naive/scan.py. Nothing here divides by a product of decays, so nothing overflows:
products of decays only ever shrink, and one that underflows to 0 is what it should be.
"""

import itertools
import math

import numpy as np
import torch

from minilib import twin
from minilib.naive import scan as naive


def _recur(a, b, h):
    """h_t = a_t h_{t-1} + b_t, time first: a, b (T, ...), h (...) -> (T, ...).

    Small states: √T chunks side by side, so that 2√T small operations do instead of T. Large ones: step by step, one pass over memory.
    """
    T = len(b)
    chunks = 1 if b[0].numel() > 4096 and b.device.type == "cpu" else math.isqrt(T)
    Q = -(-T // chunks)
    chunks = -(-T // Q)
    if pad := chunks * Q - T:
        a = torch.cat([a, a.new_ones(pad, *a.shape[1:])])
        b = torch.cat([b, b.new_zeros(pad, *b.shape[1:])])
    out = b.clone().view(chunks, Q, *b.shape[1:])
    out[0, 0] += a[0] * h
    a = a.view(out.shape)
    steps = list(zip(a.unbind(1), out.unbind(1), strict=True))
    for (_, before), (decay, now) in itertools.pairwise(steps):
        now.addcmul_(decay, before)
    if chunks > 1:
        left = a.cumprod(1)  # what is left of the state before the chunk
        for c in range(1, chunks):
            out[c].addcmul_(left[c], out[c - 1, -1].clone())
    return out.view(chunks * Q, *b.shape[1:])[:T]


class _Scan(torch.autograd.Function):
    """Kept for backward: a and h. The gradient is the same recurrence run backwards: G_t = dh_t + a*_{t+1} G_{t+1}."""

    @staticmethod
    def forward(ctx, a, b, h):
        out = _recur(a.transpose(0, 1), b.transpose(0, 1), h).transpose(0, 1)
        ctx.save_for_backward(a, h, out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out):
        a, h, out = ctx.saved_tensors
        back = a.conj().transpose(0, 1).flip(0)
        decay = torch.cat([torch.ones_like(back[:1]), back[:-1]])
        G = _recur(decay, d_out.transpose(0, 1).flip(0), torch.zeros_like(h)).flip(0).transpose(0, 1)
        before = torch.cat([h[:, None], out[:, :-1]], dim=1)
        return G * before.conj(), G, a[:, 0].conj() * G[:, 0]


def _scan_cases(rng):
    """One step; odd lengths; states large enough to go step by step; decays of 0 and 1; complex poles near the unit circle."""
    for shape in [(1, 1), (2, 7, 3), (1, 64, 2), (3, 101), (1, 3, 4099)]:
        yield rng.uniform(size=shape), rng.normal(size=shape), rng.normal(size=(shape[0], *shape[2:]))
    yield rng.integers(2, size=(2, 9, 3)).astype(float), rng.normal(size=(2, 9, 3)), rng.normal(size=(2, 3))
    noise = lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)
    yield 0.999 * np.exp(1j * rng.uniform(0, 6, size=(2, 50, 3))), noise(2, 50, 3), noise(2, 3)


@twin(naive.scan, cases=_scan_cases)
def scan(a, b, h):
    """h_t = a_t h_{t-1} + b_t along axis 1, with a backward of its own.

    a, b     (batch, time ≥ 1, ...) of one shape, real or complex; h (batch, ...) is the state before the first step
    returns  (batch, time, ...), the state after each step. Memory: a, h and nothing else is kept for backward
    Raises ValueError for shapes that do not fit and TypeError for dtypes that differ.
    """
    if a.shape != b.shape or b.dim() < 2 or b.shape[1] == 0 or h.shape != b[:, 0].shape:
        raise ValueError(f"a and b must have one shape (batch, time ≥ 1, ...) and h that shape without time, got {tuple(a.shape)}, {tuple(b.shape)}, {tuple(h.shape)}")
    if not a.dtype == b.dtype == h.dtype:
        raise TypeError(f"a, b and h must have one dtype, got {a.dtype}, {b.dtype}, {h.dtype}")
    return _Scan.apply(a, b, h)


@twin(naive.segsum, cases=lambda rng: [(-rng.random(1),), (-rng.random(7),), (-1e4 * rng.random(5),)])
def segsum(log_a):
    """(..., L) -> (..., L, L): sums of log_a[j + 1 .. i], -inf above the diagonal.

    Each column is summed on its own. A difference of two running sums would cancel: at 1e4 nothing of a small decay is left in float32.
    """
    L = log_a.shape[-1]
    lower = torch.ones(L, L, dtype=torch.bool, device=log_a.device).tril(-1)
    steps = log_a[..., :, None].expand(*log_a.shape, L).masked_fill(~lower, 0.0)
    return steps.cumsum(-2).masked_fill(~lower.logical_or(torch.eye(L, dtype=torch.bool, device=log_a.device)), -torch.inf)


def _ssd_cases(rng):
    """One step; shorter than a chunk; several chunks with a rest; decays that forget at once and never."""
    for B, L, H, P, N, Q, size in [(1, 1, 1, 1, 1, 4, 1), (2, 5, 2, 3, 4, 8, 1), (2, 11, 3, 2, 4, 4, 1), (1, 6, 2, 2, 3, 2, 300), (1, 8, 1, 2, 2, 4, 0)]:
        yield rng.normal(size=(B, L, H, P)), -size * rng.random(size=(B, L, H)), rng.normal(size=(B, L, N)), rng.normal(size=(B, L, N)), rng.normal(size=(B, H, N, P)), Q


@twin(lambda x, log_a, B, C, S, chunk: naive.ssd(x, log_a, B, C, S), cases=_ssd_cases)
def ssd(x, log_a, B, C, S, chunk=64):
    """Recurrence with one decay per head as matmuls: inside chunks by the matrix, between chunks by their states (arXiv:2405.21060, sec. 6).

    x (batch, L, heads, P); log_a (batch, L, heads) ≤ 0; B, C (batch, L, N); S (batch, heads, N, P), the state before
    returns y (batch, L, heads, P) and the state after the last step.
    Time O(L (chunk (N + P) + N P)) per head; states of chunk borders are kept, not of steps.
    Raises ValueError for shapes that do not fit.
    """
    b, L, H, P = x.shape
    N = B.shape[-1]
    wanted = {"log_a": (b, L, H), "B": (b, L, N), "C": (b, L, N), "S": (b, H, N, P)}
    for (name, shape), value in zip(wanted.items(), (log_a, B, C, S), strict=True):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape} beside x {tuple(x.shape)}, got {tuple(value.shape)}")
    Q = min(chunk, L)
    if pad := -L % Q:  # identities: no decay, no input
        x, log_a, B, C = (torch.nn.functional.pad(t, (0, 0) * (t.dim() - 2) + (0, pad)) for t in (x, log_a, B, C))
    x, log_a, B, C = (t.unflatten(1, (-1, Q)) for t in (x, log_a, B, C))  # (b, chunks, Q, ...)
    log_a = log_a.transpose(2, 3)  # (b, chunks, H, Q)
    M = segsum(log_a).exp() * (C @ B.transpose(2, 3))[:, :, None]  # (b, chunks, H, Q, Q)
    x = x.transpose(2, 3)  # (b, chunks, H, Q, P)
    since_start = log_a.cumsum(-1)
    to_end = log_a.flip(-1).cumsum(-1).flip(-1) - log_a  # the decays after step q
    made = ((B[:, :, None] * to_end.exp()[..., None]).transpose(3, 4) @ x).to(S)  # (b, chunks, H, N, P), what a chunk adds
    total = since_start[..., -1].exp()[..., None, None].expand(made.shape)
    states = scan(total.contiguous(), made, S)
    before = torch.cat([S[:, None], states[:, :-1]], dim=1)
    y = M @ x + since_start.exp()[..., None] * (C[:, :, None] @ before)
    return y.transpose(2, 3).flatten(1, 2)[:, :L], states[:, -1]
