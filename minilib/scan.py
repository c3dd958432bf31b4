"""One differentiable linear recurrence, and its matrix form for scalar decay.

Names and symbols are those of minilib/naive/scan.py. Nothing here divides by a product of decays. With |a| ≤ 1 products only ever
shrink, and one that underflows to 0 is what it should be; with |a| > 1 they overflow where a state of 1, left alone, would as well.
"""

import itertools
import math

import numpy as np
import torch

from minilib import twin
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
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out):
        a, h, out = ctx.saved_tensors
        G = d_out.clone(memory_format=torch.contiguous_format)
        _recur(a[:, 1:].conj().transpose(0, 1), G[:, :-1].transpose(0, 1), G[:, -1], back=True)
        da = torch.empty_like(G)
        torch.mul(G[:, 0], h.conj(), out=da[:, 0])
        torch.mul(G[:, 1:], out[:, :-1].conj(), out=da[:, 1:])
        return da, G, a[:, 0].conj() * G[:, 0]


def _scan_cases(rng):
    """One step; odd lengths; states large enough to go step by step; decays of 0 and 1; complex poles near the unit circle."""
    for shape in [(1, 1), (2, 7, 3), (1, 64, 2), (3, 101), (1, 3, 4099)]:
        yield (
            rng.uniform(size=shape),
            rng.normal(size=shape),
            rng.normal(size=(shape[0], *shape[2:])),
        )
    yield (
        rng.integers(2, size=(2, 9, 3)).astype(float),
        rng.normal(size=(2, 9, 3)),
        rng.normal(size=(2, 3)),
    )
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
        raise ValueError(
            f"a and b must have one shape (batch, time ≥ 1, ...) and h that shape without time, got {tuple(a.shape)}, {tuple(b.shape)}, {tuple(h.shape)}"
        )
    if not a.dtype == b.dtype == h.dtype:
        raise TypeError(f"a, b and h must have one dtype, got {a.dtype}, {b.dtype}, {h.dtype}")
    return _Scan.apply(a, b, h)


@twin(
    naive.segsum, cases=lambda rng: [(-rng.random(1),), (-rng.random(7),), (-1e4 * rng.random(5),)]
)
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


def _ssd_cases(rng):
    """One step; shorter than a chunk; several chunks with a rest; decays that forget at once and never."""
    for B, L, H, P, N, Q, size in [
        (1, 1, 1, 1, 1, 4, 1),
        (2, 5, 2, 3, 4, 8, 1),
        (2, 11, 3, 2, 4, 4, 1),
        (1, 6, 2, 2, 3, 2, 300),
        (1, 8, 1, 2, 2, 4, 0),
    ]:
        yield (
            rng.normal(size=(B, L, H, P)),
            -size * rng.random(size=(B, L, H)),
            rng.normal(size=(B, L, N)),
            rng.normal(size=(B, L, N)),
            rng.normal(size=(B, H, N, P)),
            Q,
        )


@twin(lambda x, log_a, B, C, S, chunk: naive.ssd(x, log_a, B, C, S), cases=_ssd_cases)
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


def bench(device):
    """The scan of Mamba's states, forward and backward, beside loops that people write and a peer where it is installed; batch 2, D 256, N 16. Then SSD's matmuls."""
    from minilib.lab.measure import peak_bytes, seconds

    def loop(a, b, h, index=False):
        rows = []
        for decay, put in zip(
            *([t[:, k] for k in range(t.shape[1])] if index else t.unbind(1) for t in (a, b)),
            strict=True,
        ):
            h = decay * h + put
            rows.append(h)
        return torch.stack(rows, 1)

    def by_scan(x, log_a, B, C, S):
        decay = log_a.exp()[..., None, None].expand(*log_a.shape, *S.shape[2:])
        return torch.einsum(
            "bln,blhnp->blhp", C, scan(decay, torch.einsum("bln,blhp->blhnp", B, x), S)
        )

    try:
        from mambapy.pscan import pscan
    except ImportError:
        pscan = None
    for L in (256, 1024, 4096):
        inputs = [
            t.requires_grad_()
            for t in (
                torch.rand(2, L, 256, 16, device=device),
                torch.randn(2, L, 256, 16, device=device),
                torch.zeros(2, 256, 16, device=device),
            )
        ]
        ways = {
            "ours": scan,
            "loop over unbind": loop,
            "mambapy's pscan": pscan and (lambda a, b, h: pscan(a, b)),
        }
        if L == 256:  # quadratic in L: 1,024 steps take half a minute
            ways["loop that indexes"] = lambda *inputs: loop(*inputs, index=True)
        runs = {
            name: way
            and (lambda way=way, inputs=inputs: torch.autograd.grad(way(*inputs).sum(), inputs[:2]))
            for name, way in ways.items()
        }
        yield (
            f"scan, time, {L:,} steps",
            {
                name: run and seconds(run, 3 if L < 4096 else 1, device)
                for name, run in runs.items()
            },
        )
        yield (
            f"scan, peak memory, {L:,} steps",
            {name: run and peak_bytes(run, device) for name, run in runs.items()},
        )
    x, log_a, B, C, S = (
        torch.randn(*shape, device=device)
        for shape in [(2, 1024, 4, 64), (2, 1024, 4), (2, 1024, 64), (2, 1024, 64), (2, 4, 64, 64)]
    )
    inputs = [t.requires_grad_() for t in (x, -log_a.abs() / 10, B, C, S)]
    ways = {
        "ours": lambda *i: ssd(*i)[0],
        "one matrix, no chunks": lambda *i: ssd(*i, chunk=1024)[0],
        "scan of all states": by_scan,
    }
    runs = {
        name: (lambda way=way: torch.autograd.grad(way(*inputs).sum(), inputs[:4]))
        for name, way in ways.items()
    }
    yield "SSD, time, 1,024 steps", {name: seconds(run, 3, device) for name, run in runs.items()}
    yield (
        "SSD, peak memory, 1,024 steps",
        {name: peak_bytes(run, device) for name, run in runs.items()},
    )
