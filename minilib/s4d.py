"""S4D: the kernel of a diagonal system, a layer that convolves or steps, and a language model.

Names and symbols are those of minilib/naive/s4d.py, which also holds where modes start: s4d_init.
Whatever has the size of the parameters is computed in float64: a phase of many turns keeps no
digits in float32. What has the size of the sequence keeps the dtype of the parameters.
Not here: two-sided and two-dimensional kernels, dropout.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, glu, pad

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.convolution import causal_conv
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import s4d as naive
from minilib.shapes import check_shapes, check_size

# -- sums of powers --------------------------------------------------------------------------------


@twin(naive.vandermonde)
def vandermonde(w: Tensor, log_z: Tensor, L: int) -> Tensor:
    """K_j = 2 Re Σ_n w_n z_nʲ, j < L.

    w, log_z  (..., M) complex, or broadcastable; log_z may be complex128 beside a complex64 w
    returns   (..., L)
    With j = aQ + b and Q ≈ √L, zʲ = (z^Q)ᵃ zᵇ: two thin tables and one matrix product, instead of a
    number for each mode and tap. L = 9 has Q = 3, the tables are z⁰ z³ z⁶ and z⁰ z¹ z², and
    z⁷ = z⁶ z¹. Time M L, memory M √L, forward and backward.
    """
    check_size("L", L)
    for name, value in (("w", w), ("log_z", log_z)):
        if not value.is_complex() or value.shape[-1:] != w.shape[-1:]:
            raise ValueError(
                f"{name} must be complex with {w.shape[-1] if w.dim() else 0} modes last, "
                f"got {value.dtype} {tuple(value.shape)}"
            )
    return _Vandermonde.apply(w, log_z, L)


class _Vandermonde(torch.autograd.Function):
    """Σ_n (w_n z_n^aQ) (z_n^b) as one real matrix product; only w and log z are kept."""

    @staticmethod
    def forward(ctx, w, log_z, L):
        ctx.save_for_backward(w, log_z)
        ctx.L = L
        rows, columns = (_powers(log_z, e, w.dtype) for e in _split(L, w.device))
        product = _real(w.unsqueeze(-2) * rows) @ _real(columns.conj()).mT  # (..., L / Q, Q)
        return 2 * product.flatten(-2)[..., :L]

    @staticmethod
    @once_differentiable
    def backward(ctx, dK):
        w, log_z = ctx.saved_tensors
        a, b = _split(ctx.L, w.device)
        rows, columns = _powers(log_z, a, w.dtype), _powers(log_z, b, w.dtype)
        weighted = w.unsqueeze(-2) * rows
        dK = 2 * pad(dK, (0, len(a) * len(b) - ctx.L)).unflatten(-1, (len(a), len(b)))
        d_weighted = _complex(dK @ _real(columns.conj()))
        d_columns = _complex(dK.mT @ _real(weighted.conj()))
        d_w = (d_weighted * rows.conj()).sum(-2)
        d_log_z = (a[:, None] * d_weighted * weighted.conj()).sum(-2)
        d_log_z = d_log_z + (b[:, None] * d_columns * columns.conj()).sum(-2)
        return d_w.sum_to_size(w.shape), d_log_z.sum_to_size(log_z.shape).to(log_z.dtype), None


def _split(L, device):
    """Exponents aQ and b whose sums are 0 … L - 1 and a bit more, Q ≈ √L. 9 -> 0 3 6 and 0 1 2"""
    Q = math.isqrt(L - 1) + 1
    return Q * torch.arange(-(-L // Q), device=device), torch.arange(Q, device=device)


def _powers(log_z, exponents, dtype):
    """z^e: log_z (..., M) complex128, exponents (E,) in equal steps from 0 -> (..., E, M) of dtype.

    Again products of two shorter lists, as a product costs less than an exponential. What comes
    near the smallest number of the dtype becomes 0: a CPU takes a hundred times longer over
    denormal numbers.
    """
    Q = math.isqrt(len(exponents) - 1) + 1
    coarse = (exponents[::Q, None] * log_z.unsqueeze(-2)).unsqueeze(-2)
    fine = (exponents[:Q, None] * log_z.unsqueeze(-2)).unsqueeze(-3)
    tiny = coarse.real + fine.real < math.log(torch.finfo(dtype).tiny) + 20
    powers = (coarse.exp() * fine.exp()).to(dtype).masked_fill_(tiny, 0)
    return powers.flatten(-3, -2)[..., : len(exponents), :]


def _real(z):
    """Complex (..., M) as real (..., 2M): real part, imaginary part, mode by mode."""
    return torch.view_as_real(z.resolve_conj()).flatten(-2)


def _complex(x):
    """The way back from `_real`."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


# -- diagonal systems ------------------------------------------------------------------------------


def _zoh(A, dt):
    """log Ā and B̄ of modes A (H, M) with B = 1 and dt (H,), in complex128.

    (e^z - 1) / z keeps its digits near z = 0: there by its series, elsewhere without a difference
    of nearly equal numbers, e^(x+iy) - 1 = (e^x - 1) cos y - 2 sin²(y/2) + i e^x sin y.
    """
    dt = dt.double()[:, None]
    z = A.to(torch.complex128) * dt
    small = z.abs() < 1e-4
    safe = torch.where(small, 1.0, z)  # a gradient through 0 / 0 would be nan, though not chosen
    x, y = safe.real, safe.imag
    expm1 = torch.complex(x.expm1() * y.cos() - 2 * (y / 2).sin() ** 2, x.exp() * y.sin())
    series = 1 + z / 2 + z**2 / 6 + z**3 / 24
    return z, dt * torch.where(small, series, expm1 / safe)


@twin(naive.diagonal_kernel)
def diagonal_kernel(C: Tensor, A: Tensor, dt: Tensor, L: int) -> Tensor:
    """K_j = 2 Re Σ_n C_n B̄_n Ā_nʲ, zero-order hold, B = 1. A, C (H, M), dt (H,) -> (H, L)"""
    check_size("L", L)
    check_shapes(A=(A, (len(dt), None)), C=(C, A.shape))
    log_z, Bb = _zoh(A, dt)
    return vandermonde((C * Bb).to(C.dtype), log_z, L)


# float32: 200 steps of a mode that forgets nothing add up 200 roundings of sums that cancel
@twin(naive.diagonal_ssm, float32=5e-05)
def diagonal_ssm(
    u: Tensor, A: Tensor, C: Tensor, dt: Tensor, D: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """H diagonal systems from a given state.

    u (batch, H, L), A, C (H, M) complex, dt, D (H,), x (batch, H, M) complex
    returns  y (batch, H, L), the state after the last sample
    One sample is a step of the recurrence. Several are a convolution, plus what x still says,
    2 Re Σ_n C_n Ā_n^(j+1) x_n. The last state, Ā^L x + Σ_j Ā^j B̄ u_(L-1-j), is a sum of powers.
    """
    check_shapes(u=(u, (None, None, None)))
    B, H, L = u.shape
    check_shapes(A=(A, (H, None)), C=(C, A.shape), dt=(dt, (H,)), D=(D, (H,)))
    check_shapes(x=(x, (B, *A.shape)))
    check_size("L", L)
    log_z, Bb = _zoh(A, dt)
    Ab, Bb = log_z.exp().to(C.dtype), Bb.to(C.dtype)
    if L == 1:
        x = Ab * x + Bb * u
        return 2 * (C * x).real.sum(-1, keepdim=True) + D[:, None] * u, x
    y = causal_conv(vandermonde(C * Bb, log_z, L), u) + D[:, None] * u
    y = y + vandermonde(C * Ab * x, log_z, L)
    a, b = _split(L, u.device)
    parts = pad(u.flip(-1), (0, len(a) * len(b) - L))  # the last sample has power 0
    sums = parts.unflatten(-1, (len(a), len(b))) @ _real(_powers(log_z, b, C.dtype))
    fed = (_complex(sums) * _powers(log_z, a, C.dtype)).sum(-2)
    return y, (L * log_z).exp().to(C.dtype) * x + Bb * fed


# -- layer -----------------------------------------------------------------------------------------


def at_least_float32(x: Tensor) -> Tensor:
    """There are no complex numbers and no FFTs in bfloat16, and kernels need the digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Systems(nn.Module):
    """What S4DLayer and S4Layer share: H systems, in modes that decay whatever is learned.

    A (M,) is where the modes of every channel start. Complex parameters are stored as (..., 2) real
    ones. A subclass defines `convolve(u) -> y` and `recur(u, state) -> y, state`.
    """

    def __init__(self, width: int, A: np.ndarray):
        super().__init__()
        check_size("width", width)
        self.shape = (width, len(A))
        real = lambda v: torch.tensor(np.array([v] * width), dtype=torch.get_default_dtype())
        self.log_decay = nn.Parameter(real(np.log(-A.real)))  # a decay keeps its sign
        self.frequency = nn.Parameter(real(A.imag))
        dt = torch.empty(width).uniform_(math.log(1e-3), math.log(1e-1))
        self.log_dt = nn.Parameter(dt)  # memories of 10 to 1000 steps
        self.D = nn.Parameter(torch.ones(width))

    def noise(self) -> nn.Parameter:
        """A complex parameter (H, M) of variance 1."""
        return nn.Parameter(torch.randn(*self.shape, 2) / 2**0.5)

    def modes(self) -> Tensor:
        decay, frequency = at_least_float32(self.log_decay).exp(), at_least_float32(self.frequency)
        return torch.complex(-decay, frequency)

    def init_state(self, batch_size: int, like: Tensor):
        """State 0 on the device and in the precision of a tensor."""
        dtype = torch.promote_types(like.dtype, torch.complex64)
        return torch.zeros(batch_size, *self.shape, dtype=dtype, device=like.device)

    def forward(self, u: Tensor, state=None):
        """u (batch, H, L) -> y, a convolution from state 0; u, state -> y, state, a recurrence."""
        check_shapes(u=(u, (None, self.shape[0], None)))
        check_size("L", u.shape[-1])
        with torch.autocast(u.device.type, enabled=False):
            wide = at_least_float32(u)
            if state is None:
                return self.convolve(wide).to(u.dtype)
            y, state = self.recur(wide, state)
            return y.to(u.dtype), state


@twin(naive.s4d_layer)
class S4DLayer(Systems):
    """A diagonal system for each channel: u (batch, H, L) -> y, or u, state -> y, state.

    width, state  H, and N real numbers of state a channel
    init          where the modes start: "legs", "inv", "lin" or "real" (see naive.s4d_init)
    The state is (batch, H, N / 2) complex numbers.
    """

    def __init__(self, width: int, state: int = 64, init: str = "lin"):
        super().__init__(width, naive.s4d_init(init, state))
        self.C = self.noise()

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, C (H, M) complex and dt (H,)."""
        C = torch.view_as_complex(at_least_float32(self.C))
        return self.modes(), C, at_least_float32(self.log_dt).exp()

    def convolve(self, u: Tensor) -> Tensor:
        A, C, dt = self.system()
        return causal_conv(diagonal_kernel(C, A, dt, u.shape[-1]), u) + self.D[:, None] * u

    def recur(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return diagonal_ssm(u, *self.system(), self.D, state)


# -- language model --------------------------------------------------------------------------------


class Block(nn.Module):
    """Norm, systems, GELU, gated linear unit, residual: x (batch, time, H) -> x, state."""

    def __init__(self, systems: Systems, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.systems = systems
        self.mix = nn.Linear(width, 2 * width)

    def init_state(self, batch_size: int, like: Tensor):
        return self.systems.init_state(batch_size, like)

    def forward(self, x, state=None):
        u = self.norm(x).mT
        y, state = (self.systems(u), None) if state is None else self.systems(u, state)
        y = y.mT.contiguous()  # across a transposed tensor GELU's backward is several times slower
        return x + glu(self.mix(gelu(y))), state


class Stack(LanguageModel):
    """Embedding, blocks, norm and output: what S4D, S4 and Hyena share.

    make  called once for each of the layers. A block takes x (batch, time, H) to x and None by FFT,
          or x and a state to x and a state, and its init_state is like that of Systems
    """

    rounding = 1e-12  # of the FFTs in float64: how far a symbol may move the logits before it

    def __init__(self, vocab_size: int, width: int, layers: int, make: Callable[[], nn.Module]):
        super().__init__()
        check_size("vocab_size", vocab_size)
        check_size("width", width)
        check_size("layers", layers)
        self.vocab_size = vocab_size
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.blocks = nn.ModuleList(make() for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        small = 0.1 * width**-0.5  # so that the first guess is near uniform
        self.output = nn.Parameter(small * torch.randn(vocab_size, width))

    def init_state(self, batch_size: int) -> tuple:
        return tuple(block.init_state(batch_size, like=self.embed) for block in self.blocks)

    def forward(self, ids: Tensor) -> Tensor:
        check_ids(ids, self.vocab_size, dims=2)
        x = embedding(ids, self.embed)
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x) @ self.output.t()

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        check_ids(ids, self.vocab_size, dims=2)
        x, after = embedding(ids, self.embed), []
        for block, old in zip(self.blocks, state, strict=True):
            x, new = block(x, old)
            after.append(new)
        return self.norm(x) @ self.output.t(), tuple(after)


@twin(naive.s4d_lm)
class S4D(Stack):
    """A stack of S4D layers: trained as a convolution, sampled from a state of constant size.

    vocab_size    symbols
    width, state  H, channels, and N, real numbers of state in each
    layers        blocks
    init          "legs", "inv", "lin" or "real" (see naive.s4d_init)
    The state is a tuple with (batch, H, N / 2) complex numbers for each layer.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 96,
        state: int = 64,
        layers: int = 2,
        init: str = "lin",
    ):
        make = lambda: Block(S4DLayer(width, state, init), width)
        super().__init__(vocab_size, width, layers, make)
