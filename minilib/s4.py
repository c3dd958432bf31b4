"""S4: the kernel of a system diagonal plus rank one, a layer that convolves or steps, and a model.

Names and symbols are those of minilib/naive/s4.py; what a system starts from is in naive/hippo.py.
What has the size of the parameters is computed in float64, as in minilib/s4d.py.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from minilib import twin
from minilib.convolution import causal_conv
from minilib.naive import s4 as naive
from minilib.naive.hippo import nplr
from minilib.s4d import Block, Stack, Systems, at_least_float32, vandermonde
from minilib.shapes import check_shapes, check_size


# float32 parameters; the arithmetic is in float64, and what is left is the rounding of the result
@twin(naive.dplr_kernel)
def dplr_kernel(Lam: Tensor, P: Tensor, B: Tensor, Ct: Tensor, dt: Tensor, L: int) -> Tensor:
    """K_j = C Āʲ B̄, j < L, of A = Λ - P P*, bilinear.

    Lam, P, B, Ct  (H, M) complex; dt (H,)
    returns        (H, L)
    A Cauchy product at the roots of unity, 2/(1 + z) Σ_n v_n/(g - λ_n), is the DFT of the kernel of
    a diagonal system, Σ_n w_n λ̄_nʲ with λ̄ = (1 + Δλ/2)/(1 - Δλ/2), w = v Δ/(1 - Δλ/2)/(1 - λ̄ᴸ).
    So the four products are four calls of `vandermonde`, and nothing of size M · L exists. z = -1
    is no special case: both sides are finite there.
    """
    check_size("L", L)
    check_shapes(Lam=(Lam, (len(dt), None)), P=(P, Lam.shape), B=(B, Lam.shape), Ct=(Ct, Lam.shape))
    Lam, P, B, Ct = (v.to(torch.complex128) for v in (Lam, P, B, Ct))
    step = dt.double()[:, None]
    half = step * Lam / 2
    log_z = ((1 + half) / (1 - half)).log()
    share = step / (1 - half) / (1 - (L * log_z).exp())
    products = torch.stack([Ct * B, Ct * P, P.conj() * B, P.conj() * P]) * share
    CB, CP, PB, PP = torch.fft.rfft(vandermonde(products, log_z, L))  # (H, L // 2 + 1) each
    turn = -2 * math.pi / L * torch.arange(L // 2 + 1, device=dt.device, dtype=torch.float64)
    s = (1 + torch.polar(torch.ones_like(turn), turn)) / 2
    K = torch.fft.irfft(CB - s * CP * PB / (1 + s * PP), L)
    # times 1: the gradient of a sum has stride 0, which the MKL of torch 2.6 refuses in an FFT
    return (1.0 * K).to(dt.dtype)


# -- between the kernel and the recurrence ---------------------------------------------------------


def _with_conjugates(v):
    return torch.cat([v, v.conj()], -1).to(torch.complex128)


def _step_matrix(Lam, P, dt):
    """Ā over both modes of each pair, (H, 2M, 2M) complex128."""
    Lam, P = _with_conjugates(Lam), _with_conjugates(P)
    A = torch.diag_embed(Lam) - P.unsqueeze(-1) * P.conj().unsqueeze(-2)
    half = A * dt.double()[:, None, None] / 2
    eye = torch.eye(Lam.shape[-1], device=Lam.device, dtype=Lam.dtype)
    return torch.linalg.solve(eye - half, eye + half)


def _output_row(Ab, Ct, L):
    """C = C̃ (I - Āᴸ)⁻¹ over both modes of each pair, (H, 1, 2M) complex128."""
    eye = torch.eye(Ab.shape[-1], device=Ab.device, dtype=Ab.dtype)
    row = _with_conjugates(Ct).unsqueeze(-2)
    return torch.linalg.solve(eye - torch.linalg.matrix_power(Ab, L), row, left=False)


@twin(naive.dplr_output)
def dplr_output(Lam: Tensor, P: Tensor, Ct: Tensor, dt: Tensor, L: int) -> Tensor:
    """C = C̃ (I - Āᴸ)⁻¹, which the recurrence needs: (H, M). Costs N³ log L a channel."""
    check_size("L", L)
    check_shapes(Lam=(Lam, (len(dt), None)), P=(P, Lam.shape), Ct=(Ct, Lam.shape))
    row = _output_row(_step_matrix(Lam, P, dt), Ct, L)
    return row[:, 0, : Ct.shape[1]].resolve_conj().to(Ct.dtype)


def _lengthen(Lam, P, Ct, dt, L, longer):
    """From C̃ = C (I - Āᴸ) to C (I - Ā^longer), which a kernel of `longer` taps needs."""
    Ab = _step_matrix(Lam, P, dt)
    row = _output_row(Ab, Ct, L)
    row = row - row @ torch.linalg.matrix_power(Ab, longer)
    return row[:, 0, : Ct.shape[1]].resolve_conj().to(Ct.dtype)


@twin(naive.dplr_ssm)
def dplr_ssm(
    u: Tensor, Lam: Tensor, P: Tensor, B: Tensor, C: Tensor, dt: Tensor, D: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """H systems diagonal plus rank one as recurrences from a given state: O(M) a step and channel.

    u (batch, H, L); Lam, P, B, C (H, M) complex; dt, D (H,); x (batch, H, M) complex
    returns  y (batch, H, L), the state after the last sample
    Ā = A₁A₀, B̄ = 2A₁B with A₀ = 2/Δ + Λ - P P* and, by Woodbury's identity, A₁ = R - share P* R,
    where R = (2/Δ - Λ)⁻¹ and share = R P / (1 + P* R P) (appendix C.2). P* R x is a number.
    """
    check_shapes(u=(u, (None, None, None)))
    batch, H, L = u.shape
    check_shapes(Lam=(Lam, (H, None)), P=(P, Lam.shape), B=(B, Lam.shape), C=(C, Lam.shape))
    check_shapes(dt=(dt, (H,)), D=(D, (H,)), x=(x, (batch, *Lam.shape)))
    check_size("L", L)
    rate, wide = 2 / dt.double()[:, None], Lam.to(torch.complex128)
    R = 1 / (rate - wide)
    RP = R * P
    share = (RP / (1 + 2 * (P.conj() * RP).real.sum(-1, keepdim=True))).to(P.dtype)
    keep, RP, RB = (v.to(P.dtype) for v in (R * (rate + wide), RP, 2 * R * B))
    P2, C2 = 2 * P.conj(), 2 * C  # the 2 stands for the other mode of each pair
    dot = lambda row, v: (row * v).real.sum(-1, keepdim=True)
    rows = []
    for sample in u.split(1, -1):
        x = keep * x + RB * sample - RP * dot(P2, x)  # R (A₀ x + 2 B u)
        x = x - share * dot(P2, x)
        rows.append(dot(C2, x))
    return torch.cat(rows, -1) + D[:, None] * u, x


# -- layer and language model ----------------------------------------------------------------------


@twin(naive.s4_layer)
class S4Layer(Systems):
    """A system diagonal plus rank one for each channel, started at HiPPO-LegS.

    u (batch, H, L) -> y, or u, state -> y, state
    width, state  H, and N real numbers of state a channel
    length        L of C̃ = C (I - Āᴸ): train on this length. Other lengths work too, longer ones at
                  N³ log L a channel
    The state is (batch, H, N / 2) complex numbers, twice: the systems' state, and in every row the
    recurrence's C, which is so costly that the first call of a text computes it for all others.
    As Λ - P P* with Re Λ < 0 it is stable whatever is learned.
    """

    def __init__(self, width: int, state: int = 64, length: int = 128):
        Lam, P, B, _ = nplr(state)
        super().__init__(width, Lam)
        check_size("length", length)
        self.length = length
        self.P, self.B, self.Ct = self._start(P), self._start(B), self.noise()

    def _start(self, v):
        pairs = np.stack([v.real, v.imag], axis=-1)
        rows = torch.tensor(np.array([pairs] * self.shape[0]), dtype=torch.get_default_dtype())
        return nn.Parameter(rows)

    def system(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Lam, P, B, Ct (H, M) complex and dt (H,)."""
        pairs = (at_least_float32(v) for v in (self.P, self.B, self.Ct))
        return self.modes(), *map(torch.view_as_complex, pairs), at_least_float32(self.log_dt).exp()

    def convolve(self, u: Tensor) -> Tensor:
        Lam, P, B, Ct, dt = self.system()
        L, length = u.shape[-1], self.length
        if L > length:
            Ct, length = _lengthen(Lam, P, Ct, dt, length, longer=L), L
        return causal_conv(dplr_kernel(Lam, P, B, Ct, dt, length)[:, :L], u) + self.D[:, None] * u

    def init_state(self, batch_size: int, like: Tensor):
        """State 0 and no C yet, (batch, H, 0): a state is made from shapes, not from parameters."""
        x = super().init_state(batch_size, like)
        return x, x[..., :0].clone()

    def recur(self, u: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        Lam, P, B, Ct, dt = self.system()
        x, C = state
        if not C.shape[-1]:
            C = dplr_output(Lam, P, Ct, dt, self.length).expand(len(u), -1, -1)
        y, x = dplr_ssm(u, Lam, P, B, C[0], dt, self.D, x)
        return y, (x, C)


@twin(naive.s4_lm)
class S4(Stack):
    """A stack of S4 layers as a language model; arguments as in S4D, and `length` as in S4Layer.

    The state is a tuple with the state of each S4Layer.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 96,
        state: int = 64,
        layers: int = 2,
        length: int = 128,
    ):
        make = lambda: Block(S4Layer(width, state, length), width)
        super().__init__(vocab_size, width, layers, make)
