"""S4 and S4D: kernels, layers that run as a convolution or step by step, and language models.

Names and symbols are those of minilib/naive/s4.py, which also holds what a system starts from: hippo_legs, nplr, s4d_init.
Whatever has the size of the parameters is computed in float64: a phase of many turns keeps no digits in float32. What has
the size of the sequence keeps the dtype of the parameters. Not here: two-sided and two-dimensional kernels, dropout.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn.functional import embedding, gelu, glu, pad

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import s4 as naive


def _check(L=1, **values):
    """Raise ValueError unless L ≥ 1 and each (tensor, shape) agrees; None in a shape stands for any size."""
    if L < 1:
        raise ValueError(f"L must be 1 or more, got {L}")
    for name, (value, shape) in values.items():
        if value.dim() != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, value.shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"{name} must have shape ({wanted}), got {tuple(value.shape)}")


# -- the memory ------------------------------------------------------------------------------------


@twin(naive.legs_memory)
def legs_memory(u, N):
    """Read samples u (channels, time) one by one with HiPPO-LegS; returns the state (channels, N) after the last.

    The steps differ, but none depends on the state: all triangular systems are solved at once, in time · N² numbers.
    """
    _check(N, u=(u, (None, None)))
    A, B = (torch.tensor(m, device=u.device) for m in naive.hippo_legs(N))
    k, eye = (
        torch.arange(1, u.shape[1] + 1, device=u.device)[:, None, None],
        torch.eye(N, device=u.device, dtype=A.dtype),
    )
    right = torch.cat([eye + A / (2 * k), B[:, None] / k], -1)
    steps = torch.linalg.solve_triangular(eye - A / (2 * k), right, upper=False).to(
        u.dtype
    )  # (time, N, N + 1)
    x = u.new_zeros(len(u), N)
    for Ab, Bb, sample in zip(
        steps[..., :N].mT.unbind(), steps[..., N].unbind(), u.unbind(1), strict=True
    ):
        x = torch.addmm(sample[:, None] * Bb, x, Ab)
    return x


@twin(naive.legs_rebuild)
def legs_rebuild(x, L):
    """The past that a LegS state (channels, N) remembers, at the middles of L equal parts of the time so far: (channels, L)."""
    _check(L, x=(x, (None, None)))
    r = 2 * (torch.arange(L, device=x.device, dtype=torch.float64) + 0.5) / L - 1
    rows = [torch.ones_like(r), r]
    for n in range(1, x.shape[1] - 1):
        rows.append(((2 * n + 1) * r * rows[n] - n * rows[n - 1]) / (n + 1))
    size = (2 * torch.arange(x.shape[1], device=x.device).to(x.dtype) + 1).sqrt()
    return (x * size) @ torch.stack(rows[: x.shape[1]]).to(x.dtype)


@twin(naive.discretize)
def discretize(A, B, dt, method="bilinear"):
    """Ā (N, N) and B̄ (N,) of one system for samples dt apart, "bilinear" or "zoh"; dt a number or a tensor ()."""
    N = len(A)
    _check(A=(A, (N, N)), B=(B, (N,)))
    both = torch.cat([A, B[:, None]], 1) * dt
    if method == "bilinear":
        eye = torch.eye(N, device=A.device, dtype=A.dtype)
        both = torch.linalg.solve(
            eye - both[:, :N] / 2, torch.cat([eye + both[:, :N] / 2, both[:, N:]], 1)
        )
    elif method == "zoh":
        both = torch.linalg.matrix_exp(pad(both, (0, 0, 0, 1)))[:N]
    else:
        raise ValueError(f"method must be 'bilinear' or 'zoh', got {method!r}")
    return both[:, :N], both[:, N]


# -- the convolution -------------------------------------------------------------------------------


class _CausalConv(torch.autograd.Function):
    """y = irfft(rfft(K) · rfft(u)), zero-padded; backward transforms again, so that only K and u are kept."""

    @staticmethod
    def forward(ctx, K, u):
        L, least = u.shape[-1], u.shape[-1] + K.shape[-1] - 1
        ctx.size = min(
            odd << max(0, math.ceil(math.log2(least / odd))) for odd in (1, 3, 5, 9, 15)
        )  # lengths that FFTs like
        ctx.save_for_backward(K, u)
        spectrum = torch.fft.rfft(u, ctx.size)
        return torch.fft.irfft(spectrum.mul_(torch.fft.rfft(K, ctx.size)), ctx.size)[..., :L]

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        K, u = ctx.saved_tensors
        dy, dK = torch.fft.rfft(dy, ctx.size), None
        if ctx.needs_input_grad[0]:
            dK = torch.einsum("bhf,bhf->hf", dy, torch.fft.rfft(u, ctx.size).conj())
            dK = torch.fft.irfft(dK, ctx.size)[..., : K.shape[-1]]
        return dK, torch.fft.irfft(dy.mul_(torch.fft.rfft(K, ctx.size).conj()), ctx.size)[
            ..., : u.shape[-1]
        ]


@twin(naive.causal_conv)
def causal_conv(K, u):
    """y_t = Σ_{s ≤ t} K_{t-s} u_s in each channel: K (H, taps), u (batch, H, L) -> (batch, H, L), by FFT.

    The padding keeps the end of the signal from wrapping around into its start. Time L log L; an FFT mixes all
    positions, so that the future moves the past, by its rounding.
    """
    _check(K=(K, (u.shape[1] if u.dim() == 3 else "channels", None)), u=(u, (None, None, None)))
    return _CausalConv.apply(K, u)


# -- diagonal: S4D ---------------------------------------------------------------------------------


def _powers(log_z, exponents, dtype):
    """z^e: log_z (..., M) complex128, exponents (E,) in equal steps from 0 -> (..., E, M) of dtype.

    Again the product of two shorter lists, as a product costs less than an exponential. What comes near the smallest number of
    the dtype is made 0: a CPU takes a hundred times longer over denormal numbers.
    """
    Q = math.isqrt(len(exponents) - 1) + 1
    coarse, fine = (e[:, None] * log_z.unsqueeze(-2) for e in (exponents[::Q], exponents[:Q]))
    coarse, fine = coarse.unsqueeze(-2), fine.unsqueeze(-3)
    tiny = coarse.real + fine.real < math.log(torch.finfo(dtype).tiny) + 20
    return (
        (coarse.exp() * fine.exp())
        .to(dtype)
        .masked_fill_(tiny, 0)
        .flatten(-3, -2)[..., : len(exponents), :]
    )


def _halves(L, device):
    """Exponents aQ and b, so that their sums are 0 … L - 1 and a bit more: Q ≈ √L."""
    Q = math.isqrt(L - 1) + 1
    return Q * torch.arange(-(-L // Q), device=device), torch.arange(Q, device=device)


def _real(z):
    """Complex (..., M) as real (..., 2M)."""
    return torch.view_as_real(z.resolve_conj()).flatten(-2)


class _Vandermonde(torch.autograd.Function):
    """Σ_n w_n z_n^(aQ+b) = Σ_n (w_n z_n^(aQ)) (z_n^b): two thin factors and one real matmul; only w and log z are kept."""

    @staticmethod
    def forward(ctx, w, log_z, L):
        ctx.save_for_backward(w, log_z)
        ctx.L = L
        a, b = _halves(L, w.device)
        left = w.unsqueeze(-2) * _powers(log_z, a, w.dtype)  # (..., L / Q, M)
        return 2 * (_real(left) @ _real(_powers(log_z, b, w.dtype).conj()).mT).flatten(-2)[..., :L]

    @staticmethod
    @once_differentiable
    def backward(ctx, dK):
        w, log_z = ctx.saved_tensors
        a, b = _halves(ctx.L, w.device)
        dK = 2 * pad(dK, (0, len(a) * len(b) - ctx.L)).unflatten(-1, (len(a), len(b)))
        rows, columns = _powers(log_z, a, w.dtype), _powers(log_z, b, w.dtype)
        left = w.unsqueeze(-2) * rows
        d_left = torch.view_as_complex((dK @ _real(columns.conj())).unflatten(-1, (-1, 2)))
        d_columns = torch.view_as_complex((dK.mT @ _real(left.conj())).unflatten(-1, (-1, 2)))
        d_w = (d_left * rows.conj()).sum(-2).sum_to_size(w.shape)
        d_log_z = (a[:, None] * d_left * left.conj()).sum(-2) + (
            b[:, None] * d_columns * columns.conj()
        ).sum(-2)
        return d_w, d_log_z.sum_to_size(log_z.shape).to(log_z.dtype), None


@twin(naive.vandermonde)
def vandermonde(w, log_z, L):
    """K_j = 2 Re Σ_n w_n z_nʲ, j < L: w (..., M) complex, log_z likewise or broadcastable -> (..., L).

    Instead of M · L powers two factors of about M √L each, and a matrix product of them. log_z may be complex128 beside
    a complex64 w: a phase of many turns keeps no digits in float32.
    """
    _check(L)
    for name, value in (("w", w), ("log_z", log_z)):
        if not value.is_complex() or value.shape[-1:] != w.shape[-1:]:
            raise ValueError(
                f"{name} must be complex with {w.shape[-1] if w.dim() else 0} modes last, got {value.dtype} {tuple(value.shape)}"
            )
    return _Vandermonde.apply(w, log_z, L)


def _zoh(A, dt):
    """log Ā and B̄ of modes A (H, M) with B = 1 and dt (H,), in complex128. (e^z - 1)/z keeps its digits near z = 0."""
    z = A.to(torch.complex128) * dt.double()[:, None]
    small = z.abs() < 1e-4
    safe = torch.where(small, 1.0, z)
    x, y = safe.real, safe.imag
    expm1 = torch.complex(x.expm1() * y.cos() - 2 * (y / 2).sin() ** 2, x.exp() * y.sin())
    return z, dt.double()[:, None] * torch.where(
        small, 1 + z / 2 + z**2 / 6 + z**3 / 24, expm1 / safe
    )


@twin(naive.s4d_kernel)
def s4d_kernel(C, A, dt, L):
    """K_j = 2 Re Σ_n C_n B̄_n Ā_nʲ with zero-order hold and B = 1. A, C (H, M) complex, dt (H,) -> (H, L)"""
    _check(L, A=(A, (len(dt), None)), C=(C, A.shape))
    log_z, Bb = _zoh(A, dt)
    return vandermonde((C * Bb).to(C.dtype), log_z, L)


# float32: 200 steps of a mode that forgets nothing add up 200 roundings of sums that cancel
@twin(naive.s4d, float32=5e-05)
def s4d(u, A, C, dt, D, x):
    """H diagonal systems from a given state: u (batch, H, L), A, C (H, M), dt, D (H,), x (batch, H, M) -> y, last state.

    One sample is a step of the recurrence. Several are a convolution, plus what x still says, 2 Re Σ_n C_n Ā_n^(j+1) x_n;
    the last state is a sum of powers too. Both use the two thin factors of `vandermonde`.
    """
    B, H, L = u.shape if u.dim() == 3 else (None, len(A), 1)
    _check(
        L,
        u=(u, (None, None, None)),
        A=(A, (H, None)),
        C=(C, A.shape),
        dt=(dt, (H,)),
        D=(D, (H,)),
        x=(x, (B, *A.shape)),
    )
    log_z, Bb = _zoh(A, dt)
    Bb = Bb.to(C.dtype)
    if L == 1:
        x = log_z.exp().to(C.dtype) * x + Bb * u
        return 2 * (C * x).real.sum(-1, keepdim=True) + D[:, None] * u, x
    y = causal_conv(vandermonde(C * Bb, log_z, L), u) + D[:, None] * u
    y = y + vandermonde(C * log_z.exp().to(C.dtype) * x, log_z, L)
    a, b = _halves(L, u.device)
    parts = pad(u.flip(-1), (0, len(a) * len(b) - L)).unflatten(
        -1, (len(a), len(b))
    )  # the last sample has power 0
    sums = torch.view_as_complex((parts @ _real(_powers(log_z, b, C.dtype))).unflatten(-1, (-1, 2)))
    return y, Bb * (sums * _powers(log_z, a, C.dtype)).sum(-2) + (L * log_z).exp().to(C.dtype) * x


# -- diagonal plus rank one: S4 --------------------------------------------------------------------


# float32 parameters; the arithmetic is in float64, and what is left is the rounding of the result
@twin(naive.dplr_kernel)
def dplr_kernel(Lam, P, B, Ct, dt, L):
    """K_j = C Āʲ B̄, j < L, of A = Λ - P P*, bilinear. Lam, P, B, Ct (H, M) complex, dt (H,) -> (H, L)

    A Cauchy product at the roots of unity, 2/(1 + z) Σ v/(g - λ), is the DFT of a diagonal system's kernel, Σ_n w_n λ̄_nʲ with
    λ̄ = (1 + Δλ/2)/(1 - Δλ/2) and w = v Δ/(1 - Δλ/2)/(1 - λ̄ᴸ). So the four products are four calls of `vandermonde`, and
    nothing of size M · L exists. z = -1 is no special case: both sides are finite there.
    """
    _check(L, Lam=(Lam, (len(dt), None)), P=(P, Lam.shape), B=(B, Lam.shape), Ct=(Ct, Lam.shape))
    wide = lambda v: v.to(torch.complex128)
    half, P, B, Ct64 = wide(Lam) * dt.double()[:, None] / 2, wide(P), wide(B), wide(Ct)
    log_z = ((1 + half) / (1 - half)).log()
    share = dt.double()[:, None] / (1 - half) / (1 - (L * log_z).exp())
    products = torch.stack([Ct64 * B, Ct64 * P, P.conj() * B, P.conj() * P]) * share
    CB, CP, PB, PP = torch.fft.rfft(vandermonde(products, log_z, L))  # (H, L // 2 + 1) each
    turn = -2 * math.pi / L * torch.arange(L // 2 + 1, device=dt.device, dtype=torch.float64)
    s = (1 + torch.polar(torch.ones_like(turn), turn)) / 2
    return torch.fft.irfft(CB - s * CP * PB / (1 + s * PP), L).to(dt.dtype)


def _step_matrix(Lam, P, dt):
    """Ā over both modes of each pair, (H, 2M, 2M) complex128."""
    both = lambda v: torch.cat([v, v.conj()], -1).to(torch.complex128)
    Lam, P = both(Lam), both(P)
    A = (
        (torch.diag_embed(Lam) - P.unsqueeze(-1) * P.conj().unsqueeze(-2))
        * dt.double()[:, None, None]
        / 2
    )
    eye = torch.eye(Lam.shape[-1], device=Lam.device, dtype=Lam.dtype)
    return torch.linalg.solve(eye - A, eye + A)


@twin(naive.dplr_output)
def dplr_output(Lam, P, Ct, dt, L, back=None):
    """C = C̃ (I - Āᴸ)⁻¹, which the recurrence needs; with `back`, C̃ for that length instead. Costs N³ log L a channel."""
    _check(L, Lam=(Lam, (len(dt), None)), P=(P, Lam.shape), Ct=(Ct, Lam.shape))
    Ab = _step_matrix(Lam, P, dt)
    eye, row = (
        torch.eye(Ab.shape[-1], device=Ab.device, dtype=Ab.dtype),
        torch.cat([Ct, Ct.conj()], -1).to(Ab.dtype),
    )
    row = torch.linalg.solve(eye - torch.linalg.matrix_power(Ab, L), row.unsqueeze(-2), left=False)
    row = row if back is None else row - row @ torch.linalg.matrix_power(Ab, back)
    return row[:, 0, : Ct.shape[1]].resolve_conj().to(Ct.dtype)


@twin(naive.dplr)
def dplr(u, Lam, P, B, C, dt, D, x):
    """H systems diagonal plus rank one as recurrences from a given state; shapes as in `s4d`. O(M) a step and channel.

    Ā = A₁A₀, B̄ = 2A₁B with A₀ = 2/Δ + Λ - P P* and A₁ = (2/Δ - Λ + P P*)⁻¹ by Woodbury (S4, appendix C.2).
    """
    _check(
        u.shape[-1],
        u=(u, (None, len(dt), None)),
        Lam=(Lam, (len(dt), None)),
        P=(P, Lam.shape),
        B=(B, Lam.shape),
        C=(C, Lam.shape),
        x=(x, (len(u), *Lam.shape)),
    )
    rate, wide = 2 / dt.double()[:, None], Lam.to(torch.complex128)
    R = 1 / (rate - wide)
    RP = R * P
    share = (RP / (1 + 2 * (P.conj() * RP).real.sum(-1, keepdim=True))).to(P.dtype)
    keep, R, RB, back = (v.to(P.dtype) for v in (R * (rate + wide), R, 2 * R * B, 2 * P.conj()))
    dot = lambda row, v: (row * v).real.sum(
        -1, keepdim=True
    )  # both modes of each pair: `back` and C carry the 2
    rows, C = [], 2 * C
    for sample in u.split(1, -1):
        fed = keep * x + RB * sample - R * P * dot(back, x)
        x = fed - share * dot(back, fed)
        rows.append(dot(C, x))
    return torch.cat(rows, -1) + D[:, None] * u, x


# -- layers ----------------------------------------------------------------------------------------


class _Layer(nn.Module):
    """What both layers share: H systems of N / 2 modes, with complex parameters as pairs (…, 2) of real ones."""

    def __init__(self, width, A):
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be 1 or more, got {width}")
        A = torch.tensor(np.array([A] * width))
        self.log_decay = nn.Parameter(
            (-A.real).log().float()
        )  # the decay keeps its sign: a kernel must not grow
        self.frequency = nn.Parameter(A.imag.float())
        self.log_dt = nn.Parameter(
            torch.empty(width).uniform_(math.log(1e-3), math.log(1e-1))
        )  # memories of 10 to 1000 steps
        self.D = nn.Parameter(torch.ones(width))

    def _noise(self):
        return nn.Parameter(
            torch.randn(*self.log_decay.shape, 2) / 2**0.5
        )  # complex, of variance 1

    def modes(self):
        return torch.complex(-self.log_decay.exp(), self.frequency)

    def init_state(self, batch_size):
        return self.modes().new_zeros(batch_size, *self.log_decay.shape)


@twin(naive.s4d_layer)
class S4DLayer(_Layer):
    """A diagonal system for each channel: u (batch, H, L) -> y.

    width, state  H, and N real numbers of state a channel
    init          where the modes start: "legs", "inv", "lin" or "real" (see naive.s4d_init)
    """

    def __init__(self, width, state=64, init="lin"):
        super().__init__(width, naive.s4d_init(init, state))
        self.C = self._noise()

    def _system(self):
        return self.modes(), torch.view_as_complex(self.C), self.log_dt.exp()

    def forward(self, u):
        """The convolution, from state 0."""
        A, C, dt = self._system()
        _check(u.shape[-1], u=(u, (None, len(dt), None)))
        return causal_conv(s4d_kernel(C, A, dt, u.shape[-1]), u) + self.D[:, None] * u

    def extend(self, u, state):
        """From a given state: u (batch, H, L), state (batch, H, N / 2) -> y, state."""
        return s4d(u, *self._system(), self.D, state)


@twin(naive.s4_layer)
class S4Layer(_Layer):
    """A system diagonal plus rank one for each channel, started at HiPPO-LegS: u (batch, H, L) -> y.

    width, state  H, and N real numbers of state a channel
    length        L of C̃ = C (I - Āᴸ): train on this length. Other lengths work too, longer ones at N³ log L a channel
    As Λ - P P* with Re Λ < 0 it is stable whatever is learned.
    """

    def __init__(self, width, state=64, length=128):
        Lam, P, B, _ = naive.nplr(state)
        super().__init__(width, Lam)
        _check(length)
        self.length = length
        start = lambda v: nn.Parameter(
            torch.view_as_real(torch.tensor(np.array([v] * width), dtype=torch.complex64))
        )
        self.P, self.B, self.Ct = start(P), start(B), self._noise()

    def _system(self):
        return (
            self.modes(),
            *map(torch.view_as_complex, (self.P, self.B, self.Ct)),
            self.log_dt.exp(),
        )

    def forward(self, u):
        """The convolution, from state 0."""
        Lam, P, B, Ct, dt = self._system()
        L, length = u.shape[-1], self.length
        _check(L, u=(u, (None, len(dt), None)))
        if L > length:
            Ct, length = dplr_output(Lam, P, Ct, dt, length, back=L), L
        return causal_conv(dplr_kernel(Lam, P, B, Ct, dt, length)[:, :L], u) + self.D[:, None] * u

    def init_state(self, batch_size):
        """The state 0 and, in every row, the recurrence's C, which is costly enough to be computed once a text."""
        Lam, P, _, Ct, dt = self._system()
        return super().init_state(batch_size), dplr_output(Lam, P, Ct, dt, self.length).expand(
            batch_size, -1, -1
        )

    def extend(self, u, state):
        """The recurrence from a given state: u, state -> y, state."""
        Lam, P, B, _, dt = self._system()
        y, x = dplr(u, Lam, P, B, state[1][0], dt, self.D, state[0])
        return y, (x, state[1])


# -- language models -------------------------------------------------------------------------------


class _Block(nn.Module):
    """Norm, systems, GELU, gated linear unit, residual: x (batch, time, H) -> the same, and the state if one is given."""

    def __init__(self, systems, width):
        super().__init__()
        self.norm, self.systems, self.mix = (
            nn.LayerNorm(width),
            systems,
            nn.Linear(width, 2 * width),
        )

    def forward(self, x, state=None):
        u = self.norm(x).mT
        with torch.autocast(
            u.device.type, enabled=False
        ):  # there are no FFTs in bfloat16, and kernels need the digits
            y, state = (self.systems(u), None) if state is None else self.systems.extend(u, state)
        y = gelu(
            y.mT.contiguous()
        )  # made whole first: across a transposed tensor its backward is several times slower
        return x + glu(self.mix(y)), state


@twin(naive.s4d_lm)
class S4D(LanguageModel):
    """A stack of S4D layers as a language model: trained as a convolution, read and sampled from a state of constant size.

    vocab_size    symbols
    width, state  H, channels, and N, real numbers of state in each
    layers        blocks
    init          "legs", "inv", "lin" or "real" (see naive.s4d_init)
    The state is a tuple with (batch, H, N / 2) complex numbers for each layer.
    """

    rounding = 1e-12  # of the FFTs in float64: how far a symbol may move the logits before it

    def __init__(self, vocab_size=256, width=96, state=64, layers=2, init="lin"):
        super().__init__()
        self._build(vocab_size, width, layers, lambda: S4DLayer(width, state, init))

    def _build(self, vocab_size, width, layers, systems):
        if min(vocab_size, width, layers) < 1:
            raise ValueError(
                f"vocab_size, width and layers must be 1 or more, got {vocab_size}, {width} and {layers}"
            )
        self.vocab_size = vocab_size
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.blocks = nn.ModuleList(_Block(systems(), width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Parameter(
            0.1 * width**-0.5 * torch.randn(vocab_size, width)
        )  # small: the first bet is near uniform

    def init_state(self, batch_size):
        return tuple(block.systems.init_state(batch_size) for block in self.blocks)

    def forward(self, ids):
        check_ids(ids, self.vocab_size, dims=2)
        x = embedding(ids, self.embed)
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x) @ self.output.t()

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        x, after = embedding(ids, self.embed), []
        for block, old in zip(self.blocks, state, strict=True):
            x, new = block(x, old)
            after.append(new)
        return self.norm(x) @ self.output.t(), tuple(after)


@twin(naive.s4_lm)
class S4(S4D):
    """A stack of S4 layers as a language model; arguments as in S4D, and `length` as in S4Layer.

    The state is, for each layer, (batch, H, N / 2) complex numbers, twice: the systems' state and the recurrence's C.
    """

    def __init__(self, vocab_size=256, width=96, state=64, layers=2, length=128):
        LanguageModel.__init__(self)
        self._build(vocab_size, width, layers, lambda: S4Layer(width, state, length))
