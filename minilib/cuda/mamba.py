"""The selective scan as two Triton kernels: states live in registers and never reach memory, but
for one in every BACK_Q.

Names and symbols are those of minilib/mamba.py, whose twin calls these and says what they compute.
How to read a kernel:

- It is one *program* of many that run side by side. `tl.program_id` tells a program which part is
  its own: here one text of the batch, and BLOCK_D of its channels, through all steps.
- An argument such as x is the address of a tensor's first number. `tl.load(x + places, mask, 0.0)`
  reads the numbers at those places into registers, and 0 where the mask is false.
- Time goes in *tiles* of Q steps, N states and BLOCK_D channels: blocks with sizes that are powers
  of two and known when the kernel is compiled. BLOCK_N is the power of two from N upwards.
- `tl.associative_scan` makes all states of a tile in log Q rounds, like lesson 25's doubling, from
  the pairs (decay, what is added) of its steps. A tile starts from nothing, so its first step adds
  what has come from the tile before as well. Backward is the same from the last tile to the first.
"""

import torch
import triton
import triton.language as tl

from minilib.autograd import once_differentiable

# Powers of two; of thirteen combinations the fastest on an H200
Q, BLOCK_D = 16, 8  # forward
BACK_Q, BACK_BLOCK_D = 8, 8  # backward
LOG2_E = tl.constexpr(1.4426950408889634)  # exp(x) = 2**(x · LOG2_E): hardware has powers of two


@triton.jit
def _compose(decay, state, later_decay, later_state):
    """Two spans of steps in a row, each h -> decay h + state, as one span."""
    return decay * later_decay, later_decay * state + later_state


@triton.jit
def _compose_both(decay, state, kept, later_decay, later_state, later_kept):
    """`_compose`, and the state at the end less what the last step added: decay_t h_{t-1}.

    Backward needs it as a factor. Kept as a number of its own, it is exact where a subtraction
    of the two would cancel. A span of one step has kept nothing, unless from the tile before.
    """
    return decay * later_decay, later_decay * state + later_state, later_decay * state + later_kept


@triton.jit
def _read(x, dt, B, C, at_d, here_d, at_n, here_n, like):
    """A tile of each input; behind the end dt is 0, so that the state stays as it is."""
    x_t = tl.load(x + at_d, here_d, 0.0).to(like.dtype)  # (Q, BLOCK_D)
    dt_t = tl.load(dt + at_d, here_d, 0.0).to(like.dtype)
    B_t = tl.load(B + at_n, here_n, 0.0).to(like.dtype)  # (Q, BLOCK_N)
    C_t = tl.load(C + at_n, here_n, 0.0).to(like.dtype)
    return x_t, dt_t, B_t, C_t


@triton.jit
def _steps(x_t, dt_t, B_t, rate, state, q):
    """(Q, BLOCK_N, BLOCK_D) of each step: decay, what is added, what comes from the tile before."""
    decay = tl.exp2(dt_t[:, None, :] * rate[None])
    added = (dt_t * x_t)[:, None, :] * B_t[:, :, None]
    came = tl.where(q[:, None, None] == 0, decay * state[None], 0.0)
    return decay, added, came


@triton.jit
def _row(tile, q, wanted):
    """One of the Q rows of a tile: numbers in registers have no index, a sum takes its place."""
    return tl.sum(tl.where(q[:, None, None] == wanted, tile, 0.0), 0)


@triton.jit
def _forward(
    x, dt, A, B, C, D, h, y, last, borders, L, width, N, apart,
    Q: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """y, the last state, and in borders (batch, tiles, D, N) the state before every `apart` steps.

    at …: places in memory of a tile's numbers; is …, here …: the mask of those that exist.
    """
    text = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    n, q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    is_d, is_n = (d < width)[None, :], (n < N)[None, :]
    at, is_at = d[None, :] * N + n[:, None], is_d & (n < N)[:, None]  # (BLOCK_N, BLOCK_D)
    rate = tl.load(A + at, is_at, 0.0) * LOG2_E
    skip = tl.load(D + d, d < width, 0.0)
    state = tl.load(h + text * width * N + at, is_at, 0.0)
    # num_stages: the next tiles are on their way from memory while one is worked on
    for tile in tl.range(0, tl.cdiv(L, Q), num_stages=3):
        if tile * Q % apart == 0:
            border = text * tl.cdiv(L, apart) + tile * Q // apart
            tl.store(borders + border * width * N + at, state, is_at)
        t = tile * Q + q
        here, row = (t < L)[:, None], (text * L + t)[:, None]
        at_d, here_d = row * width + d[None, :], here & is_d  # (Q, BLOCK_D)
        at_n, here_n = row * N + n[None, :], here & is_n  # (Q, BLOCK_N)
        x_t, dt_t, B_t, C_t = _read(x, dt, B, C, at_d, here_d, at_n, here_n, rate)
        decay, added, came = _steps(x_t, dt_t, B_t, rate, state, q)
        _, states = tl.associative_scan((decay, came + added), 0, _compose)
        y_t = tl.sum(states * C_t[:, :, None], 1) + skip[None, :] * x_t
        tl.store(y + at_d, y_t, here_d)
        state = _row(states, q, Q - 1)
    tl.store(last + text * width * N + at, state, is_at)


@triton.jit
def _backward(
    x, dt, A, B, C, D, borders, dy, dlast, dx, ddt, dA, dB, dC, dD, dh, L, width, N,
    Q: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """G_t = dy_t C_t + exp(dt_{t+1} A) G_{t+1} from the last tile to the first, states again.

    Programs share A, B, C and D: their gradients are sums, added up in memory by `tl.atomic_add`.
    """
    text = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    n, q = tl.arange(0, BLOCK_N), tl.arange(0, Q)
    is_d, is_n = (d < width)[None, :], (n < N)[None, :]
    at, is_at = d[None, :] * N + n[:, None], is_d & (n < N)[:, None]
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
        at_d, here_d = row * width + d[None, :], here & is_d
        at_n, here_n = row * N + n[None, :], here & is_n
        x_t, dt_t, B_t, C_t = _read(x, dt, B, C, at_d, here_d, at_n, here_n, a)
        dt_after = tl.load(dt + at_d + width, (t + 1 < L)[:, None] & is_d, 0.0).to(a.dtype)
        dy_t = tl.load(dy + at_d, here_d, 0.0).to(a.dtype)

        decay, added, came = _steps(x_t, dt_t, B_t, rate, state, q)
        _, states, kept = tl.associative_scan((decay, came + added, came), 0, _compose_both)
        tl.atomic_add(dC + at_n, tl.sum(states * dy_t[:, None, :], 2), here_n, sem="relaxed")

        # `sent` is to backward what `came` is to forward: the tile's last step adds what comes back
        # from the tile behind it
        decay_after = tl.exp2(dt_after[:, None, :] * rate[None])
        sent = tl.where(q[:, None, None] == Q - 1, decay_after * G_after[None], 0.0)
        added = dy_t[:, None, :] * C_t[:, :, None]
        _, G = tl.associative_scan((decay_after, sent + added), 0, _compose, reverse=True)
        G_after = _row(G, q, 0)

        through = tl.sum(G * B_t[:, :, None], 1)  # gradient in dt x
        in_exponent = G * kept  # gradient in dt A
        sum_A += tl.sum(in_exponent * dt_t[:, None, :], 0)
        sum_D += tl.sum(dy_t * x_t, 0)
        tl.store(dx + at_d, through * dt_t + skip[None, :] * dy_t, here_d)
        tl.store(ddt + at_d, tl.sum(in_exponent * a[None], 1) + through * x_t, here_d)
        dB_t = tl.sum(G * (dt_t * x_t)[:, None, :], 2)
        tl.atomic_add(dB + at_n, dB_t, here_n, sem="relaxed")
    tl.atomic_add(dA + at, sum_A, is_at, sem="relaxed")
    tl.atomic_add(dD + d, sum_D, d < width, sem="relaxed")
    first = tl.load(dt + text * L * width + d, d < width, 0.0).to(a.dtype)
    tl.store(dh + text * width * N + at, tl.exp2(first[None, :] * rate) * G_after, is_at)


def _launch(kernel, tensors, shape, *numbers, Q, BLOCK_D):
    """Start a program for each text and each BLOCK_D channels; shape is (batch, L, width, N)."""
    batch, L, width, N = shape
    grid = batch, triton.cdiv(width, BLOCK_D)
    blocks = {"Q": Q, "BLOCK_N": triton.next_power_of_2(N), "BLOCK_D": BLOCK_D}
    kernel[grid](*tensors, L, width, N, *numbers, **blocks, num_warps=1)


class SelectiveScan(torch.autograd.Function):
    """Kept for backward: the inputs and every BACK_Q-th state.

    Sums over channels and texts are atomic additions in any order, so their last bits vary.
    """

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h):
        inputs = [t.contiguous() for t in (x, dt, A, B, C, D, h)]
        (batch, L, width), N = x.shape, A.shape[1]
        # without a backward the first state alone is written
        apart = BACK_Q if any(ctx.needs_input_grad) else triton.cdiv(L, Q) * Q
        borders = h.new_empty(batch, triton.cdiv(L, apart), width, N)
        y, last = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, h))
        tensors = *inputs, y, last, borders
        shape = batch, L, width, N
        _launch(_forward, tensors, shape, apart, Q=min(Q, apart), BLOCK_D=BLOCK_D)
        ctx.save_for_backward(*inputs[:-1], borders)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dlast):
        x, dt, A, B, C, D, borders = ctx.saved_tensors
        shape = *x.shape, A.shape[1]
        dx, ddt, dh = torch.empty_like(x), torch.empty_like(dt), torch.empty_like(borders[:, 0])
        dA, dB, dC, dD = (torch.zeros_like(t, dtype=A.dtype) for t in (A, B, C, D))
        gradients = dx, ddt, dA, dB, dC, dD, dh
        tensors = *ctx.saved_tensors, dy.contiguous(), dlast.contiguous(), *gradients
        _launch(_backward, tensors, shape, Q=BACK_Q, BLOCK_D=BACK_BLOCK_D)
        return dx, ddt, dA, dB.to(B), dC.to(C), dD, dh
