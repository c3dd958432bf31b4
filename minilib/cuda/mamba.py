"""The selective scan as two Triton kernels, for CUDA: states live in registers and never reach memory, but for one in Q.

Triton comes with torch's CUDA builds. Names and symbols are those of minilib/mamba.py, whose twin calls these and says what they compute.
"""

import torch
import triton
import triton.language as tl

Q = 16  # steps between the states that are kept; a program holds the states of Q steps in registers on its way back
BLOCK_D = 8  # channels of a program, one warp


@triton.jit
def _forward(x, dt, A, B, C, D, h, y, last, borders, L, width, N, Q: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr):
    """One program: BLOCK_D channels of one text, from its first step to its last."""
    text, d, n = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    is_d, is_n = d < width, n < N
    tile, at = is_d[:, None] & is_n[None, :], d[:, None] * N + n[None, :]
    rate = tl.load(A + at, tile, 0.0) * 1.4426950408889634  # 2**(dt · rate) = exp(dt A)
    skip = tl.load(D + d, is_d, 0.0)
    state = tl.load(h + text * width * N + at, tile, 0.0)
    for block in range(tl.cdiv(L, Q)):
        tl.store(borders + (text * tl.cdiv(L, Q) + block) * width * N + at, state, tile)
        steps = ()
        for q in tl.static_range(Q):  # all loads first, so that their waits overlap. Steps behind the end have dt = 0 and change nothing
            row = text * L + block * Q + q
            here = block * Q + q < L
            x_t, dt_t = tl.load(x + row * width + d, is_d & here, 0.0).to(state.dtype), tl.load(dt + row * width + d, is_d & here, 0.0).to(state.dtype)
            B_t, C_t = tl.load(B + row * N + n, is_n & here, 0.0).to(state.dtype), tl.load(C + row * N + n, is_n & here, 0.0).to(state.dtype)
            steps += ((x_t, dt_t, B_t, C_t),)
        rows = ()
        for q in tl.static_range(Q):
            x_t, dt_t, B_t, C_t = steps[q]
            state = tl.exp2(dt_t[:, None] * rate) * state + (dt_t * x_t)[:, None] * B_t[None, :]
            rows += (tl.sum(state * C_t[None, :], 1) + skip * x_t,)
        for q in tl.static_range(Q):
            tl.store(y + (text * L + block * Q + q) * width + d, rows[q], is_d & (block * Q + q < L))
    tl.store(last + text * width * N + at, state, tile)


@triton.jit
def _backward(x, dt, A, B, C, D, borders, dy, dlast, dx, ddt, dA, dB, dC, dD, dh, L, width, N, Q: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr):
    """The same channels from the last step to the first: G_t = dy_t C_t + exp(dt_{t+1} A) G_{t+1}."""
    text, d, n = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    is_d, is_n = d < width, n < N
    tile, at = is_d[:, None] & is_n[None, :], d[:, None] * N + n[None, :]
    a = tl.load(A + at, tile, 0.0)
    rate = a * 1.4426950408889634
    skip = tl.load(D + d, is_d, 0.0)
    carry = tl.load(dlast + text * width * N + at, tile, 0.0)
    sum_A, sum_D = tl.zeros_like(a), tl.zeros_like(skip)
    blocks = tl.cdiv(L, Q)
    for back in range(blocks):
        block = blocks - 1 - back
        state = tl.load(borders + (text * blocks + block) * width * N + at, tile, 0.0)
        steps = ()
        for q in tl.static_range(Q):
            row = text * L + block * Q + q
            here = block * Q + q < L
            x_t, dt_t = tl.load(x + row * width + d, is_d & here, 0.0).to(a.dtype), tl.load(dt + row * width + d, is_d & here, 0.0).to(a.dtype)
            B_t, dy_t = tl.load(B + row * N + n, is_n & here, 0.0).to(a.dtype), tl.load(dy + row * width + d, is_d & here, 0.0).to(a.dtype)
            steps += ((x_t, dt_t, B_t, dy_t),)
        states, decays = (state,), ()
        for q in tl.static_range(Q):
            x_t, dt_t, B_t, dy_t = steps[q]
            decay = tl.exp2(dt_t[:, None] * rate)
            state = decay * state + (dt_t * x_t)[:, None] * B_t[None, :]
            states += (state,)
            decays += (decay,)
        for p in tl.static_range(Q):
            row = text * L + block * Q + (Q - 1 - p)
            here = block * Q + (Q - 1 - p) < L
            x_t, dt_t, B_t, dy_t = steps[Q - 1 - p]
            C_t = tl.load(C + row * N + n, is_n & here, 0.0).to(a.dtype)
            G = carry + dy_t[:, None] * C_t[None, :]
            carry = decays[Q - 1 - p] * G
            W = carry * states[Q - 1 - p]  # gradient of dt A
            through = tl.sum(G * B_t[None, :], 1)  # gradient of dt x
            sum_A += W * dt_t[:, None]
            sum_D += dy_t * x_t
            tl.store(dx + row * width + d, through * dt_t + skip * dy_t, is_d & here)
            tl.store(ddt + row * width + d, tl.sum(W * a, 1) + through * x_t, is_d & here)
            tl.atomic_add(dB + row * N + n, tl.sum(G * (dt_t * x_t)[:, None], 0), is_n & here, sem="relaxed")
            tl.atomic_add(dC + row * N + n, tl.sum(states[Q - p] * dy_t[:, None], 0), is_n & here, sem="relaxed")
    tl.atomic_add(dA + at, sum_A, tile, sem="relaxed")
    tl.atomic_add(dD + d, sum_D, is_d, sem="relaxed")
    tl.store(dh + text * width * N + at, carry, tile)


def _launch(kernel, tensors, batch, L, width, N):
    kernel[(batch, triton.cdiv(width, BLOCK_D))](*tensors, L, width, N, Q=Q, BLOCK_D=BLOCK_D, BLOCK_N=triton.next_power_of_2(N), num_warps=1)


class SelectiveScan(torch.autograd.Function):
    """Kept for backward: the inputs and every Q-th state. Sums over channels and texts are made by atomic additions, so their last bits vary."""

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h):
        x, dt, A, B, C, D, h = (t.contiguous() for t in (x, dt, A, B, C, D, h))
        (batch, L, width), N = x.shape, A.shape[1]
        y, last, borders = torch.empty_like(x), torch.empty_like(h), h.new_empty(batch, triton.cdiv(L, Q), width, N)
        _launch(_forward, (x, dt, A, B, C, D, h, y, last, borders), batch, L, width, N)
        ctx.save_for_backward(x, dt, A, B, C, D, borders)
        return y, last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy, dlast):
        x, dt, A, B, C, D, borders = ctx.saved_tensors
        (batch, L, width), N = x.shape, A.shape[1]
        dx, ddt, dh = torch.empty_like(x), torch.empty_like(dt), A.new_empty(batch, width, N)
        dA, dD = torch.zeros_like(A), torch.zeros_like(D)
        dB, dC = (torch.zeros_like(t, dtype=A.dtype) for t in (B, C))
        _launch(_backward, (x, dt, A, B, C, D, borders, dy.contiguous(), dlast.contiguous(), dx, ddt, dA, dB, dC, dD, dh), batch, L, width, N)
        return dx, ddt, dA, dB.to(B), dC.to(C), dD, dh
