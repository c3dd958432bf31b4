"""Mamba and Mamba-2 as language models, with parallel and step mode; the selective scan in blocks that fit the cache.

Names and symbols are those of minilib/naive/mamba.py. Parameter names are those of the published checkpoints, so that
`load_state_dict` takes their weights (without `lm_head.weight`, which is the embedding again).
"""

import math

import torch
from torch import nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import mamba as naive
from minilib.scan import ssd

try:
    from minilib.cuda import mamba as cuda  # Triton comes with torch's CUDA builds for Linux
except ImportError:
    cuda = None


class _SelectiveScan(torch.autograd.Function):
    """The recurrence in blocks of time; the L × D × N states exist for one block at a time only.

    Kept for backward: the inputs and the state at each block's start. Backward computes a block's states again, then runs the
    reversed recurrence G_t = dy_t C_t + exp(dt_{t+1} A) G_{t+1} through it. Inside, time comes first and channels last: (Q, B, N, D).
    """

    @staticmethod
    def _block(x, dt, At, B, h):
        """States (Q, batch, N, D) of one block and the decays that made them."""
        decay = (dt[:, :, None] * At).exp_()
        states = B[..., None] * (dt * x)[:, :, None]
        for now, d in zip(states.unbind(), decay.unbind(), strict=True):
            h = now.addcmul_(d, h)
        return states, decay

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h):
        x, dt, B, C = (t.transpose(0, 1).contiguous() for t in (x, dt, B, C))
        At, h = A.t().contiguous(), h.transpose(1, 2)
        L, batch, width = x.shape
        Q = min(
            64, max(8, 2**17 // (batch * width * len(At)))
        )  # half a megabyte of float32 states stays in the cache
        y, borders = torch.empty_like(x), x.new_empty(-(-L // Q), *h.shape)
        for n, s in enumerate(range(0, L, Q)):
            borders[n] = h
            e = min(s + Q, L)
            states, _ = _SelectiveScan._block(x[s:e], dt[s:e], At, B[s:e], h)
            y[s:e] = (C[s:e, :, None] @ states).squeeze(2)
            h = states[-1].clone()
        ctx.save_for_backward(x, dt, At, B, C, D, borders)
        ctx.Q = Q
        return y.addcmul_(x, D).transpose(0, 1), h.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dh):
        x, dt, At, B, C, D, borders = ctx.saved_tensors
        dy = dy.transpose(0, 1).contiguous()
        dx, ddt, dB, dC, dA = (
            dy * D,
            torch.empty_like(dt),
            torch.empty_like(B),
            torch.empty_like(C),
            torch.zeros_like(At),
        )
        carry = dh.transpose(
            1, 2
        ).contiguous()  # what later steps send back to a block's last state
        over_n = x.new_ones(1, len(At))
        for n in reversed(range(len(borders))):
            part = slice(n * ctx.Q, (n + 1) * ctx.Q)
            states, decay = _SelectiveScan._block(x[part], dt[part], At, B[part], borders[n])
            dC[part] = (states @ dy[part][..., None]).squeeze(-1)
            G = C[part][..., None] * dy[part][:, :, None]
            G[-1] += carry
            steps = list(zip(G.unbind(), decay.unbind(), strict=True))
            for (now, _), (later, d) in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
                now.addcmul_(d, later)
            carry = decay[0] * G[0]
            dB[part] = (G @ (dt[part] * x[part])[..., None]).squeeze(-1)
            through = (B[part][:, :, None] @ G).squeeze(2)  # gradient of dt x
            dx[part].addcmul_(through, dt[part])
            decay[1:].mul_(states[:-1])
            decay[0].mul_(borders[n])
            W = decay.mul_(G)  # gradient of dt A
            dA += (W * dt[part][:, :, None]).sum((0, 1))
            ddt[part] = (over_n @ W.mul_(At)).squeeze(2).addcmul_(through, x[part])
        dD = (dy * x).sum((0, 1))
        return (
            dx.transpose(0, 1),
            ddt.transpose(0, 1),
            dA.t(),
            dB.transpose(0, 1),
            dC.transpose(0, 1),
            dD,
            carry.transpose(1, 2),
        )


@twin(naive.selective_scan)
def selective_scan(x, dt, A, B, C, D, h):
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t, y_t = C_t h_t + D x_t (Gu & Dao 2023, arXiv:2312.00752, alg. 2).

    x, dt    (batch, L, D); A (D, N), negative; B, C (batch, L, N); D (D,)
    h        (batch, D, N), the state before the first step
    returns  y (batch, L, D) and the state after the last step
    Memory for backward: the inputs and one state per block, where autograd on a loop keeps every state.
    Raises ValueError for shapes that do not fit.
    """
    batch, L, width = x.shape
    N = A.shape[-1]
    wanted = {
        "dt": (batch, L, width),
        "A": (width, N),
        "B": (batch, L, N),
        "C": (batch, L, N),
        "D": (width,),
        "h": (batch, width, N),
    }
    for (name, shape), value in zip(wanted.items(), (dt, A, B, C, D, h), strict=True):
        if tuple(value.shape) != shape:
            raise ValueError(
                f"{name} must have shape {shape} beside x {tuple(x.shape)}, got {tuple(value.shape)}"
            )
    return (cuda.SelectiveScan if cuda and x.is_cuda else _SelectiveScan).apply(
        x, dt, A, B, C, D, h
    )


@twin(naive.causal_conv1d)
def causal_conv1d(x, weight, bias, before):
    """Each channel with its own K taps: x (batch, L, D), weight (D, 1, K), before (batch, K - 1, D) the inputs before x -> (batch, L, D)."""
    K, L = weight.shape[2], x.shape[1]
    seen = torch.cat([before, x], dim=1)
    out = bias + weight[:, 0, 0] * seen[:, :L]
    for k in range(
        1, K
    ):  # K multiplications of whole sequences beat a depthwise convolution on CPU
        out = torch.addcmul(out, weight[:, 0, k], seen[:, k : k + L])
    return out


def _log_uniform_steps(n):
    """Biases whose softplus is a step size drawn log-uniformly from 0.001 to 0.1, as the paper starts (sec. 3.6)."""
    dt = torch.exp(torch.rand(n) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
    return dt + torch.log(-torch.expm1(-dt))  # the inverse of softplus


class Mixer(nn.Module):
    """Mamba's block without norm and residual. State: (inputs of the convolution (batch, K - 1, D), h (batch, D, N))."""

    def __init__(self, width, state, layers):
        super().__init__()
        D, R = 2 * width, -(-width // 16)
        self.in_proj = nn.Linear(width, 2 * D, bias=False)
        self.conv1d = nn.Conv1d(D, D, 4, groups=D)
        self.x_proj = nn.Linear(D, R + 2 * state, bias=False)
        self.dt_proj = nn.Linear(R, D)
        self.A_log = nn.Parameter(torch.arange(1, state + 1).log().repeat(D, 1))
        self.D = nn.Parameter(torch.ones(D))
        self.out_proj = nn.Linear(D, width, bias=False)
        with torch.no_grad():
            self.dt_proj.bias.copy_(_log_uniform_steps(D))
            self.out_proj.weight.div_(math.sqrt(layers))

    def init_state(self, batch_size):
        D, N = self.A_log.shape
        return self.D.new_zeros(batch_size, 3, D), self.D.new_zeros(batch_size, D, N)

    def forward(self, u, state):
        before, h = state
        D, N = self.A_log.shape
        x, z = self.in_proj(u).to(before).chunk(2, dim=-1)
        after = torch.cat([before, x], dim=1)[:, -3:]
        x = nn.functional.silu(causal_conv1d(x, self.conv1d.weight, self.conv1d.bias, before))
        low, B, C = self.x_proj(x).to(x).split([self.dt_proj.in_features, N, N], dim=-1)
        dt = nn.functional.softplus(self.dt_proj(low).to(x))
        y, h = selective_scan(x, dt, -self.A_log.exp(), B, C, self.D, h)
        return self.out_proj(y * nn.functional.silu(z)), (after, h)


class Mixer2(nn.Module):
    """Mamba-2's block: one decay per head. State: (inputs of the convolution (batch, K - 1, D + 2N), S (batch, heads, N, D / heads))."""

    def __init__(self, width, state, layers, heads):
        super().__init__()
        D = 2 * width
        if D % heads:
            raise ValueError(f"heads must divide the {D} channels, got {heads}")
        self.sizes = D, state, heads
        self.in_proj = nn.Linear(width, 2 * D + 2 * state + heads, bias=False)
        self.conv1d = nn.Conv1d(D + 2 * state, D + 2 * state, 4, groups=D + 2 * state)
        self.dt_bias = nn.Parameter(_log_uniform_steps(heads))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(D, eps=1e-5)
        self.out_proj = nn.Linear(D, width, bias=False)
        with torch.no_grad():
            self.out_proj.weight.div_(math.sqrt(layers))

    def init_state(self, batch_size):
        D, N, heads = self.sizes
        return self.D.new_zeros(batch_size, 3, D + 2 * N), self.D.new_zeros(
            batch_size, heads, N, D // heads
        )

    def forward(self, u, state):
        before, S = state
        D, N, heads = self.sizes
        z, xBC, dt = self.in_proj(u).to(before).split([D, D + 2 * N, heads], dim=-1)
        after = torch.cat([before, xBC], dim=1)[:, -3:]
        x, B, C = nn.functional.silu(
            causal_conv1d(xBC, self.conv1d.weight, self.conv1d.bias, before)
        ).split([D, N, N], dim=-1)
        dt = nn.functional.softplus(dt + self.dt_bias)
        x = x.unflatten(-1, (heads, -1))
        y, S = ssd(x * dt[..., None], -dt * self.A_log.exp(), B, C, S)
        y = (y + self.D[:, None] * x).flatten(2)
        return self.out_proj(self.norm(y * nn.functional.silu(z))), (after, S)


@twin(naive.mamba)
class Mamba(LanguageModel):
    """Embedding (used again as output), blocks with RMS norm and residual; the state has one size however long the text.

    vocab_size  symbols; MambaByte is this model with 256
    width       channels between blocks, twice as many inside
    layers      blocks
    state       N, numbers a channel remembers
    heads       None: Mamba's selective scan. A number that divides 2 · width: Mamba-2's blocks with as many decays
    """

    def __init__(self, vocab_size=256, width=128, layers=4, state=16, heads=None):
        super().__init__()
        if min(vocab_size, width, layers, state) < 1:
            raise ValueError(
                f"vocab_size, width, layers and state must be 1 or more, got {vocab_size}, {width}, {layers}, {state}"
            )
        self.vocab_size = vocab_size
        make = lambda: Mixer2(width, state, layers, heads) if heads else Mixer(width, state, layers)
        self.backbone = nn.Module()
        self.backbone.embeddings = nn.Embedding(vocab_size, width)
        self.backbone.layers = nn.ModuleList(
            nn.ModuleDict({"norm": nn.RMSNorm(width, eps=1e-5), "mixer": make()})
            for _ in range(layers)
        )
        self.backbone.norm_f = nn.RMSNorm(width, eps=1e-5)
        nn.init.normal_(
            self.backbone.embeddings.weight, std=0.02
        )  # tied: the first logits are near 0, the first bet near uniform

    def init_state(self, batch_size):
        """(inputs of the convolution, state of the recurrence) of each layer, all zero."""
        return tuple(layer["mixer"].init_state(batch_size) for layer in self.backbone.layers)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        u, after = self.backbone.embeddings(ids), []
        for layer, old in zip(self.backbone.layers, state, strict=True):
            y, new = layer["mixer"](layer["norm"](u), old)
            u = u + y
            after.append(new)
        return self.backbone.norm_f(u) @ self.backbone.embeddings.weight.t(), tuple(after)
