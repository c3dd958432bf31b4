"""The causal convolution by FFT: a kernel as long as the signal costs L log L.

Names and symbols are those of minilib/naive/convolution.py.
"""

import torch
from torch import Tensor

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.naive import convolution as naive
from minilib.shapes import check_shapes


@twin(naive.causal_conv)
def causal_conv(K: Tensor, u: Tensor) -> Tensor:
    """y_t = Σ_{s ≤ t} K_{t-s} u_s in each channel: K (H, taps), u (batch, H, L) -> (batch, H, L).

    An FFT multiplies on a circle; zeros behind the signal keep its end from wrapping around into
    its start. Time L log L. An FFT mixes all positions: the future moves the past by its rounding.
    """
    check_shapes(u=(u, (None, None, None)))
    check_shapes(K=(K, (u.shape[1], None)))
    return _CausalConv.apply(K, u)


class _CausalConv(torch.autograd.Function):
    """y = irfft(rfft(K) · rfft(u)); the backward transforms again, so only K and u are kept."""

    @staticmethod
    def forward(ctx, K, u):
        L = u.shape[-1]
        ctx.size = fast_length(L + K.shape[-1] - 1)
        ctx.save_for_backward(K, u)
        spectrum = _rfft(u, ctx.size).mul_(_rfft(K, ctx.size))
        return torch.fft.irfft(spectrum, ctx.size)[..., :L]

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        K, u = ctx.saved_tensors
        dy, dK = _rfft(dy, ctx.size), None
        if ctx.needs_input_grad[0]:
            dK = torch.einsum("bhf,bhf->hf", dy, _rfft(u, ctx.size).conj())
            dK = torch.fft.irfft(dK, ctx.size)[..., : K.shape[-1]]
        du = torch.fft.irfft(dy.mul_(_rfft(K, ctx.size).conj()), ctx.size)[..., : u.shape[-1]]
        return dK, du


def _rfft(x, size):
    return torch.fft.rfft(x.contiguous(), size)  # the MKL of torch 2.6 refuses strides of 0


def fast_length(least: int) -> int:
    """The smallest of 2ⁿ, 3·2ⁿ, 5·2ⁿ, 9·2ⁿ and 15·2ⁿ that reaches `least`: FFTs like these.

    fast_length(37) is 40 = 5 · 8; the next power of two is 64.
    """
    sizes = []
    for size in (1, 3, 5, 9, 15):
        while size < least:
            size *= 2
        sizes.append(size)
    return min(sizes)
