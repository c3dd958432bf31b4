"""Mamba and Mamba-2 as language models, with parallel and step mode; the selective scan in blocks
that fit the cache.

Names and symbols are those of minilib/naive/mamba.py. Names of parameters are those of the Mamba
checkpoints that transformers reads (the files called -hf), less `lm_head.weight`, which is the
embedding again. `lab.load(Mamba, folder)` reads these and those of state-spaces/mamba, which call
the embedding `backbone.embedding.weight`.
"""

import math

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import mamba as naive
from minilib.scan import ssd
from minilib.shapes import check_sizes

try:
    from minilib.cuda import mamba as cuda  # Triton comes with torch's CUDA builds for Linux
except ImportError:
    cuda = None

K = 4  # taps of the models' convolution, as published


class _Block:
    """Memory for the states of Q steps and the decays that make them, written block after block.

    It is taken once: fresh memory for every block would cost more than the arithmetic in it.
    Time comes first, channels last: states (1 + Q, batch, N, D) with the state before the block in
    front, decays (Q, batch, N, D).
    """

    def __init__(self, Q, h):
        self.states, self.decays = h.new_empty(1 + Q, *h.shape), h.new_empty(Q, *h.shape)
        self.states_at, self.decays_at = self.states.unbind(), self.decays.unbind()

    def run(self, dt, At, B, dt_x, h):
        """As many steps as dt has, from h on: states, decays."""
        q = len(dt)
        states, decays = self.states[: 1 + q], self.decays[:q]
        torch.mul(dt, At, out=decays).exp_()
        torch.mul(B.mT, dt_x, out=states[1:])
        before = self.states_at[0].copy_(h)
        for now, decay in zip(self.states_at[1 : 1 + q], self.decays_at[:q], strict=True):
            before = now.addcmul_(decay, before)
        return states, decays


def _rows(t):
    """(batch, L, numbers) as (L, batch, 1, numbers): steps, each a stack of row vectors."""
    return t.transpose(0, 1)[:, :, None]


class _SelectiveScan(torch.autograd.Function):
    """The recurrence in blocks of Q steps; the states of one block exist at a time.

    Kept for backward: the inputs and the state before each block. Backward makes the states of a
    block again and runs the recurrence through it from behind. G_t, the gradient in h_t, is what
    y_t and h_{t+1} send back: G_t = dy_t C_t + exp(dt_{t+1} A) G_{t+1}.
    """

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h):
        L, h = x.shape[1], h.transpose(1, 2)
        # half a megabyte of float32 stays in the cache
        Q = min(L, 64, max(8, 2**17 // h.numel()))
        y = (x * D).contiguous()
        At, borders, memory = A.t().contiguous(), h.new_empty(-(-L // Q), *h.shape), _Block(Q, h)
        blocks = zip(borders, *(_rows(t).split(Q) for t in (x, dt, B, C, y)), strict=True)
        for border, x_n, dt_n, B_n, C_n, y_n in blocks:
            border.copy_(h)
            states, _ = memory.run(dt_n, At, B_n, dt_n * x_n, border)
            y_n += C_n @ states[1:]  # Σ over n
            h = states[-1]
        ctx.save_for_backward(x, dt, At, B, C, D, borders)
        ctx.Q = Q
        return y, h.clone().transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dh):
        x, dt, At, B, C, D, borders = ctx.saved_tensors
        dy = dy.contiguous()
        dx = dy * D  # the way by the skip; that through the states is added below
        ddt, dB, dC = (
            torch.empty_like(t, memory_format=torch.contiguous_format) for t in (x, B, C)
        )
        dA, dD = torch.zeros_like(At), (dy * x).sum((0, 1))
        memory = _Block(ctx.Q, borders[0])
        G_of_block = torch.empty_like(memory.decays)
        G_at, decay_at = G_of_block.unbind(), memory.decays_at
        from_later = dh.transpose(1, 2)  # what the steps behind a block send back to its last state
        rows = (_rows(t).split(ctx.Q) for t in (x, dt, B, C, dy, dx, ddt, dB, dC))
        blocks = [*zip(borders, *rows, strict=True)]
        for h, x_n, dt_n, B_n, C_n, dy_n, dx_n, ddt_n, dB_n, dC_n in reversed(blocks):
            dt_x = dt_n * x_n
            states, decay = memory.run(dt_n, At, B_n, dt_x, h)

            G = torch.mul(C_n.mT, dy_n, out=G_of_block[: len(x_n)])
            G[-1] += from_later
            for t in reversed(range(len(G) - 1)):
                G_at[t].addcmul_(decay_at[t + 1], G_at[t + 1])

            # y_t = Σ_n C_t h_t and h_t = … + B_t (dt_t x_t): sums over n and d are matrix products
            dC_n.copy_(dy_n @ states[1:].mT)  # Σ over d
            dB_n.copy_(dt_x @ G.mT)  # Σ over d
            through = B_n @ G  # gradient in dt_t x_t, Σ over n
            dx_n.addcmul_(through, dt_n)

            # h_t = exp(dt_t A) h_{t-1} + …: the decays are read for the last time and overwritten
            sent = decay.mul_(G)  # gradient in h_{t-1}
            from_later = sent[0].clone()
            in_exponent = sent.mul_(states[:-1])  # gradient in dt_t A
            dA += torch.mul(in_exponent, dt_n, out=G).sum((0, 1))
            ddt_n.copy_(in_exponent.mul_(At).sum(2, keepdim=True).addcmul_(through, x_n))
        return dx, ddt, dA.t(), dB, dC, dD, from_later.transpose(1, 2)


@twin(naive.selective_scan)
def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t, y_t = C_t h_t + D x_t (arXiv:2312.00752, alg. 2).

    x, dt    (batch, L, D); A (D, N), negative; B, C (batch, L, N); D (D,); no size is 0
    h        (batch, D, N), the state before the first step
    returns  y (batch, L, D) and the state after the last step
    All of one dtype; on a GPU x, dt, B and C may be of 16 bits beside A, D and h of 32.
    Memory for backward: the inputs and one state per block; autograd on a loop keeps every state.
    Raises ValueError for shapes that do not fit and TypeError for dtypes that do not.
    """
    _check_scan(x, dt, A, B, C, D, h)
    scan = cuda.SelectiveScan if cuda and x.is_cuda else _SelectiveScan
    return scan.apply(x, dt, A, B, C, D, h)


def _check_scan(x, dt, A, B, C, D, h):
    """Raise unless these are arguments of `selective_scan`."""
    if x.dim() != 3 or 0 in x.shape or 0 in A.shape:
        raise ValueError(
            "x must have shape (batch, L, D) and A (D, N), all at least 1, "
            f"got {tuple(x.shape)} and {tuple(A.shape)}"
        )
    batch, L, width = x.shape
    N = A.shape[-1]
    wanted = {
        "dt": (dt, (batch, L, width)),
        "A": (A, (width, N)),
        "B": (B, (batch, L, N)),
        "C": (C, (batch, L, N)),
        "D": (D, (width,)),
        "h": (h, (batch, width, N)),
    }
    for name, (value, shape) in wanted.items():
        got = tuple(value.shape)
        if got != shape:
            raise ValueError(f"{name} must have shape {shape} beside x {tuple(x.shape)}, got {got}")
    read, state = {t.dtype for t in (x, dt, B, C)}, {t.dtype for t in (A, D, h)}
    if len(read) > 1 or len(state) > 1 or (read != state and not x.is_cuda):
        kinds = {name: value.dtype for name, (value, _) in {"x": (x, ()), **wanted}.items()}
        raise TypeError(f"x, dt, A, B, C, D and h must have one dtype, got {kinds}")


@twin(naive.causal_conv1d)
def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor, before: Tensor) -> Tensor:
    """Each channel convolved with its own K taps.

    x        (batch, L, D); weight (D, 1, K); bias (D,)
    before   (batch, K - 1, D), the inputs before x
    returns  (batch, L, D)
    K multiplications of whole sequences: on a CPU they beat a depthwise convolution.
    """
    K, L = weight.shape[2], x.shape[1]
    seen = torch.cat([before, x], dim=1)
    out = bias + weight[:, 0, 0] * seen[:, :L]
    for k in range(1, K):
        out = torch.addcmul(out, weight[:, 0, k], seen[:, k : k + L])
    return out


class CausalConv1d(nn.Conv1d):
    """`causal_conv1d` with a state: the last K - 1 inputs, (batch, K - 1, channels)."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, K, groups=channels)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        last = torch.cat([before, x[:, 1 - K :]], dim=1)[:, 1 - K :]
        return causal_conv1d(x, self.weight, self.bias, before), last.clone()


class TiedEmbedding(nn.Embedding):
    """A table of symbols that is used twice: ids -> rows, and channels -> a logit for each row."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() if x.is_floating_point() else super().forward(x)


def _log_uniform_steps(n):
    """Biases whose softplus is a step size, log-uniform from 0.001 to 0.1 (the paper, sec. 3.6)."""
    dt = torch.exp(torch.rand(n) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
    return dt + torch.log(-torch.expm1(-dt))  # the inverse of softplus


# Under autocast the Linear layers answer in 16 bits. `.to(before)` brings their answers back to the
# dtype of the state: a recurrence of 16 bits would lose what it adds up over many steps.


class Mixer(nn.Module):
    """Mamba's block without norm and residual.

    State: (inputs of the convolution (batch, K - 1, D), h (batch, D, N)).
    """

    def __init__(self, width: int, state: int, layers: int):
        super().__init__()
        D, R = 2 * width, -(-width // 16)
        self.in_proj = nn.Linear(width, 2 * D, bias=False)
        self.conv1d = CausalConv1d(D)
        self.x_proj = nn.Linear(D, R + 2 * state, bias=False)
        self.dt_proj = nn.Linear(R, D)
        self.A_log = nn.Parameter(torch.arange(1, state + 1).log().repeat(D, 1))
        self.D = nn.Parameter(torch.ones(D))
        self.out_proj = nn.Linear(D, width, bias=False)
        self.sizes = D, state, R
        with torch.no_grad():
            self.dt_proj.bias.copy_(_log_uniform_steps(D))
            self.out_proj.weight.div_(math.sqrt(layers))

    def init_state(self, batch_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros on the device and in the dtype of `like`."""
        D, N, _ = self.sizes
        return like.new_zeros(batch_size, K - 1, D), like.new_zeros(batch_size, D, N)

    def forward(self, u: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        """u (batch, L, width), state -> (batch, L, width), state."""
        before, h = state
        D, N, R = self.sizes
        x, z = self.in_proj(u).to(before).chunk(2, dim=-1)
        x, before = self.conv1d(x, before)
        x = nn.functional.silu(x)
        low, B, C = self.x_proj(x).to(before).split([R, N, N], dim=-1)
        dt = nn.functional.softplus(self.dt_proj(low).to(before))
        y, h = selective_scan(x, dt, -self.A_log.exp(), B, C, self.D, h)
        return self.out_proj(y * nn.functional.silu(z)), (before, h)


class Mixer2(nn.Module):
    """Mamba-2's block: one decay per head.

    State: (inputs of the convolution (batch, K - 1, D + 2N), S (batch, heads, N, D / heads)).
    """

    def __init__(self, width: int, state: int, layers: int, heads: int):
        super().__init__()
        D = 2 * width
        if D % heads:
            raise ValueError(f"heads must divide the {D} channels, got {heads}")
        self.sizes = D, state, heads
        self.in_proj = nn.Linear(width, 2 * D + 2 * state + heads, bias=False)
        self.conv1d = CausalConv1d(D + 2 * state)
        self.dt_bias = nn.Parameter(_log_uniform_steps(heads))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(D, eps=1e-5)
        self.out_proj = nn.Linear(D, width, bias=False)
        with torch.no_grad():
            self.out_proj.weight.div_(math.sqrt(layers))

    def init_state(self, batch_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros on the device and in the dtype of `like`."""
        D, N, heads = self.sizes
        S = like.new_zeros(batch_size, heads, N, D // heads)
        return like.new_zeros(batch_size, K - 1, D + 2 * N), S

    def forward(self, u: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        """u (batch, L, width), state -> (batch, L, width), state."""
        before, S = state
        D, N, heads = self.sizes
        z, xBC, dt = self.in_proj(u).to(before).split([D, D + 2 * N, heads], dim=-1)
        xBC, before = self.conv1d(xBC, before)
        x, B, C = nn.functional.silu(xBC).split([D, N, N], dim=-1)
        x = x.unflatten(-1, (heads, -1))
        dt = nn.functional.softplus(dt + self.dt_bias)
        y, S = ssd(x * dt[..., None], -dt * self.A_log.exp(), B, C, S)
        y = (y + self.D[:, None] * x).flatten(2)
        return self.out_proj(self.norm(y * nn.functional.silu(z))), (before, S)


@twin(naive.mamba)
class Mamba(LanguageModel):
    """Embedding (again as output), blocks with RMS norm and residual; the state never grows.

    vocab_size  symbols; MambaByte is this model with 256
    width       channels between blocks, twice as many inside
    layers      blocks
    state       N, numbers that a channel remembers
    heads       None: Mamba's selective scan. A number that divides 2 · width: Mamba-2's blocks with
                as many decays
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        layers: int = 4,
        state: int = 16,
        heads: int | None = None,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, layers=layers, state=state)
        self.vocab_size = vocab_size
        make = lambda: Mixer2(width, state, layers, heads) if heads else Mixer(width, state, layers)
        norm = lambda: nn.RMSNorm(width, eps=1e-5)
        self.backbone = nn.Module()
        self.backbone.embeddings = TiedEmbedding(vocab_size, width)
        self.backbone.layers = nn.ModuleList(
            nn.ModuleDict({"norm": norm(), "mixer": make()}) for _ in range(layers)
        )
        self.backbone.norm_f = norm()
        # tied: the first logits are near 0, the first bet is near uniform
        nn.init.normal_(self.backbone.embeddings.weight, std=0.02)
        # knows device and dtype of a fresh state; no part of the checkpoint
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def init_state(self, batch_size: int) -> tuple:
        """(inputs of the convolution, state of the recurrence) of each layer, all zero."""
        layers = self.backbone.layers
        return tuple(layer["mixer"].init_state(batch_size, self.like) for layer in layers)

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        check_ids(ids, self.vocab_size, dims=2)
        u, after = self.backbone.embeddings(ids), []
        for layer, before in zip(self.backbone.layers, state, strict=True):
            y, new = layer["mixer"](layer["norm"](u), before)
            u = u + y
            after.append(new)
        return self.backbone.embeddings(self.backbone.norm_f(u)), tuple(after)
