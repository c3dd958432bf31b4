"""The selective scan as two Triton kernels: states live in registers and never reach memory, but for one in every BACK_Q.

Triton comes with torch's CUDA builds. Names and symbols are those of minilib/mamba.py, whose twin calls these and says what they compute.
A program takes BLOCK_D channels of one text through all steps, in tiles of Q steps × N states × BLOCK_D channels.
"""

import torch
import triton
import triton.language as tl

from minilib.autograd import once_differentiable

# Powers of two; of thirteen combinations the fastest on an H200
Q, BLOCK_D = 16, 8  # forward
BACK_Q, BACK_BLOCK_D = 8, 8  # backward
LOG2_E = tl.constexpr(
    1.4426950408889634
)  # 2**(x · LOG2_E) = exp(x), and powers of two are what the hardware knows


@triton.jit
def _compose(decay, state, later_decay, later_state):
    return decay * later_decay, later_decay * state + later_state


@triton.jit
def _compose_both(decay, state, kept, later_decay, later_state, later_kept):
    """As above, and what is left of the state before: the state less what the last step added, without the subtraction."""
    return decay * later_decay, later_decay * state + later_state, later_decay * state + later_kept


@triton.jit
def _forward(
    x,
    dt,
    A,
    B,
    C,
    D,
    h,
    y,
    last,
    borders,
    L,
    width,
    N,
    apart,
    Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    text, d, n, q = (
        tl.program_id(0).to(tl.int64),
        tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D),
        tl.arange(0, BLOCK_N),
        tl.arange(0, Q),
    )
    is_d, is_n = (d < width)[None, :], (n < N)[None, :]
    at, is_at = d[None, :] * N + n[:, None], (d < width)[None, :] & (n < N)[:, None]
    rate = tl.load(A + at, is_at, 0.0) * LOG2_E
    skip = tl.load(D + d, d < width, 0.0)
    state = tl.load(h + text * width * N + at, is_at, 0.0)
    for tile in tl.range(
        0, tl.cdiv(L, Q), num_stages=3
    ):  # the next tiles are on their way while one is worked on
        if tile * Q % apart == 0:
            tl.store(
                borders + (text * tl.cdiv(L, apart) + tile * Q // apart) * width * N + at,
                state,
                is_at,
            )
        t = tile * Q + q
        here, row = (t < L)[:, None], (text * L + t)[:, None]
        x_t = tl.load(x + row * width + d[None, :], here & is_d, 0.0).to(rate.dtype)  # (Q, BLOCK_D)
        dt_t = tl.load(dt + row * width + d[None, :], here & is_d, 0.0).to(
            rate.dtype
        )  # 0 behind the end: nothing changes there
        B_t = tl.load(B + row * N + n[None, :], here & is_n, 0.0).to(rate.dtype)  # (Q, BLOCK_N)
        C_t = tl.load(C + row * N + n[None, :], here & is_n, 0.0).to(rate.dtype)
        decay = tl.exp2(dt_t[:, None, :] * rate[None])
        came = tl.where(q[:, None, None] == 0, decay * state[None], 0.0)
        _, states = tl.associative_scan(
            (decay, came + (dt_t * x_t)[:, None, :] * B_t[:, :, None]), 0, _compose
        )
        tl.store(
            y + row * width + d[None, :],
            tl.sum(states * C_t[:, :, None], 1) + skip[None, :] * x_t,
            here & is_d,
        )
        state = tl.sum(tl.where(q[:, None, None] == Q - 1, states, 0.0), 0)
    tl.store(last + text * width * N + at, state, is_at)


@triton.jit
def _backward(
    x,
    dt,
    A,
    B,
    C,
    D,
    borders,
    dy,
    dlast,
    dx,
    ddt,
    dA,
    dB,
    dC,
    dD,
    dh,
    L,
    width,
    N,
    Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """From the last tile to the first: the states again, then G_t = dy_t C_t + exp(dt_{t+1} A) G_{t+1}."""
    text, d, n, q = (
        tl.program_id(0).to(tl.int64),
        tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D),
        tl.arange(0, BLOCK_N),
        tl.arange(0, Q),
    )
    is_d, is_n = (d < width)[None, :], (n < N)[None, :]
    at, is_at = d[None, :] * N + n[:, None], (d < width)[None, :] & (n < N)[:, None]
    a = tl.load(A + at, is_at, 0.0)
    rate = a * LOG2_E
    skip = tl.load(D + d, d < width, 0.0)
    G_after = tl.load(dlast + text * width * N + at, is_at, 0.0)
    sum_A, sum_D = tl.zeros_like(a), tl.zeros_like(skip)
    tiles = tl.cdiv(L, Q)
    for back in tl.range(0, tiles, num_stages=3):
        tile = tiles - 1 - back
        state = tl.load(borders + (text * tiles + tile) * width * N + at, is_at, 0.0)
        t = tile * Q + q
        here, row = (t < L)[:, None], (text * L + t)[:, None]
        x_t = tl.load(x + row * width + d[None, :], here & is_d, 0.0).to(a.dtype)
        dt_t = tl.load(dt + row * width + d[None, :], here & is_d, 0.0).to(a.dtype)
        dt_after = tl.load(
            dt + (row + 1) * width + d[None, :], (t + 1 < L)[:, None] & is_d, 0.0
        ).to(a.dtype)
        dy_t = tl.load(dy + row * width + d[None, :], here & is_d, 0.0).to(a.dtype)
        B_t = tl.load(B + row * N + n[None, :], here & is_n, 0.0).to(a.dtype)
        C_t = tl.load(C + row * N + n[None, :], here & is_n, 0.0).to(a.dtype)
        decay = tl.exp2(dt_t[:, None, :] * rate[None])
        added = (dt_t * x_t)[:, None, :] * B_t[:, :, None]
        came = tl.where(q[:, None, None] == 0, decay * state[None], 0.0)
        _, states, kept = tl.associative_scan((decay, came + added, came), 0, _compose_both)
        tl.atomic_add(
            dC + row * N + n[None, :],
            tl.sum(states * dy_t[:, None, :], 2),
            here & is_n,
            sem="relaxed",
        )
        decay_after = tl.exp2(dt_after[:, None, :] * rate[None])
        sent = tl.where(q[:, None, None] == Q - 1, decay_after * G_after[None], 0.0)
        _, G = tl.associative_scan(
            (decay_after, sent + dy_t[:, None, :] * C_t[:, :, None]), 0, _compose, reverse=True
        )
        G_after = tl.sum(tl.where(q[:, None, None] == 0, G, 0.0), 0)
        through = tl.sum(G * B_t[:, :, None], 1)  # gradient of dt x
        W = G * kept  # gradient of dt A
        sum_A += tl.sum(W * dt_t[:, None, :], 0)
        sum_D += tl.sum(dy_t * x_t, 0)
        tl.store(dx + row * width + d[None, :], through * dt_t + skip[None, :] * dy_t, here & is_d)
        tl.store(
            ddt + row * width + d[None, :], tl.sum(W * a[None], 1) + through * x_t, here & is_d
        )
        tl.atomic_add(
            dB + row * N + n[None, :],
            tl.sum(G * (dt_t * x_t)[:, None, :], 2),
            here & is_n,
            sem="relaxed",
        )
    tl.atomic_add(dA + at, sum_A, is_at, sem="relaxed")
    tl.atomic_add(dD + d, sum_D, d < width, sem="relaxed")
    first = tl.load(dt + text * L * width + d, d < width, 0.0).to(a.dtype)
    tl.store(dh + text * width * N + at, tl.exp2(first[None, :] * rate) * G_after, is_at)


def _launch(kernel, *arguments, batch, width, N, Q, BLOCK_D):
    kernel[(batch, triton.cdiv(width, BLOCK_D))](
        *arguments, Q=Q, BLOCK_N=triton.next_power_of_2(N), BLOCK_D=BLOCK_D, num_warps=1
    )


class SelectiveScan(torch.autograd.Function):
    """Kept for backward: the inputs and every BACK_Q-th state. Sums over channels and texts are atomic additions, so their last bits vary."""

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h):
        x, dt, A, B, C, D, h = (t.contiguous() for t in (x, dt, A, B, C, D, h))
        (batch, L, width), N = x.shape, A.shape[1]
        apart = (
            BACK_Q if any(ctx.needs_input_grad) else triton.cdiv(L, Q) * Q
        )  # without backward only the first
        y, last, borders = (
            torch.empty_like(x),
            torch.empty_like(h),
            h.new_empty(batch, triton.cdiv(L, apart), width, N),
        )
        _launch(
            _forward,
            x,
            dt,
            A,
            B,
            C,
            D,
            h,
            y,
            last,
            borders,
            L,
            width,
            N,
            apart,
            batch=batch,
            width=width,
            N=N,
            Q=min(Q, apart),
            BLOCK_D=BLOCK_D,
        )
        ctx.save_for_backward(x, dt, A, B, C, D, borders)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dlast):
        x, dt, A, B, C, D, borders = ctx.saved_tensors
        (batch, L, width), N = x.shape, A.shape[1]
        dx, ddt, dh = torch.empty_like(x), torch.empty_like(dt), A.new_empty(batch, width, N)
        dA, dD = torch.zeros_like(A), torch.zeros_like(D)
        dB, dC = (torch.zeros_like(t, dtype=A.dtype) for t in (B, C))
        tensors = (
            x,
            dt,
            A,
            B,
            C,
            D,
            borders,
            dy.contiguous(),
            dlast.contiguous(),
            dx,
            ddt,
            dA,
            dB,
            dC,
            dD,
            dh,
        )
        _launch(
            _backward,
            *tensors,
            L,
            width,
            N,
            batch=batch,
            width=width,
            N=N,
            Q=BACK_Q,
            BLOCK_D=BACK_BLOCK_D,
        )
        return dx, ddt, dA, dB.to(B), dC.to(C), dD, dh
