"""Hyena: a convolution as long as the text between two gates, and a language model of it.

Names and symbols are those of minilib/naive/hyena.py. Not here: operators of order above 2, filters
that look both ways.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.convolution import fast_length
from minilib.naive import hyena as naive
from minilib.s4d import Stack
from minilib.shapes import check_shapes, check_size


def _features(L, context, bands):
    """naive.filter_features in float64: 2πft of a long context keeps no digits in float32."""
    t = torch.arange(L, dtype=torch.float64)[:, None] / context
    f = torch.linspace(1e-4, bands - 1, bands, dtype=torch.float64)
    w = 2 * math.pi * t * f
    return torch.cat([t, w.cos(), -w.sin()], dim=1)


@twin(naive.implicit_filter, float32=1e-4)  # three sines of ω x, ω ≈ 10, one inside the other
class ImplicitFilter(nn.Module):
    """A filter that a network makes of the lag: L -> the first L taps, (width, L).

    width    D, channels; hidden: F, units of its layers
    context  the lag that features and window take as 1
    bands    waves in the features of a lag
    The number of weights does not grow with the context. Time and memory: L F and L D.
    """

    def __init__(self, width: int, context: int, hidden: int = 64, bands: int = 2):
        super().__init__()
        check_size("width", width)
        check_size("hidden", hidden)
        check_size("context", context)
        check_size("bands", bands)
        self.context, self.bands = context, bands
        self.first = nn.Linear(1 + 2 * bands, hidden)
        self.middle = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.last = nn.Linear(hidden, width, bias=False)
        self.frequency = nn.Parameter(torch.full((hidden,), 10.0))

    def forward(self, L: int) -> Tensor:
        check_size("L", L)
        features = _features(L, self.context, self.bands)
        D = self.last.out_features
        rates = torch.linspace(math.log(100) / 1.5, math.log(100) / 0.3, D, dtype=torch.float64)
        window = (-rates * features[:, :1]).exp().to(self.frequency)
        features = features.to(self.frequency)
        x = (self.frequency * self.first(features)).sin()
        for layer in self.middle:
            x = (self.frequency * layer(x)).sin()
        return (self.last(x) * window).mT.contiguous()


@twin(naive.gated_conv)
def gated_conv(x0: Tensor, x1: Tensor, v: Tensor, h: Tensor, skip: Tensor) -> Tensor:
    """y = x0 ⊙ (h ∗ (x1 ⊙ v) + skip ⊙ (x1 ⊙ v)): x0, x1, v (batch, D, L), h (D, taps), skip (D,).

    By FFT, in time D L log L; nothing is L × L. Only the inputs are kept for the backward.
    """
    check_shapes(x0=(x0, (None, None, None)))
    B, D, L = x0.shape
    check_shapes(x1=(x1, (B, D, L)), v=(v, (B, D, L)), h=(h, (D, None)), skip=(skip, (D,)))
    return _GatedConv.apply(x0, x1, v, h, skip)


class _GatedConv(torch.autograd.Function):
    """c = h ∗ (x1 ⊙ v) by FFT. The backward transforms again: as fast as to keep the spectra, which
    are four times as large as an input.
    """

    @staticmethod
    def forward(ctx, x0, x1, v, h, skip):
        ctx.save_for_backward(x0, x1, v, h, skip)
        ctx.size = fast_length(v.shape[-1] + h.shape[-1] - 1)
        gated = x1 * v
        spectrum = torch.fft.rfft(gated, ctx.size).mul_(torch.fft.rfft(h, ctx.size))
        c = torch.fft.irfft(spectrum, ctx.size)[..., : v.shape[-1]]
        return torch.addcmul(c, skip[:, None], gated).mul_(x0)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x0, x1, v, h, skip = ctx.saved_tensors
        L, gated, dc = v.shape[-1], x1 * v, dy * x0
        spectrum, spectrum_h = (torch.fft.rfft(x, ctx.size) for x in (gated, h))
        spectrum_dc = torch.fft.rfft(dc, ctx.size)
        dh = torch.einsum("bdf,bdf->df", spectrum_dc, spectrum.conj())
        dh = torch.fft.irfft(dh, ctx.size)[..., : h.shape[-1]]
        c = torch.fft.irfft(spectrum.mul_(spectrum_h), ctx.size)[..., :L]
        dx0 = torch.addcmul(c, skip[:, None], gated).mul_(dy)
        d_gated = torch.fft.irfft(spectrum_dc.mul_(spectrum_h.conj()), ctx.size)[..., :L]
        d_gated = torch.addcmul(d_gated, skip[:, None], dc)
        return dx0, d_gated * v, d_gated * x1, dh, dc.mul_(gated).sum((0, 2))


@twin(naive.hyena_operator, float32=1e-4)  # as its filter
class HyenaOperator(nn.Module):
    """u (batch, L, D) -> the same; u, state -> the same, state. See naive.hyena_operator.

    width, context, hidden, bands  as in ImplicitFilter
    The state is (the last two symbols' projections (batch, 3D, 2), the gated past (batch, D, n)), n
    up to context - 1. No finite state can stand for a filter that is free: a step costs n D.
    """

    def __init__(self, width: int, context: int, hidden: int = 64, bands: int = 2):
        super().__init__()
        self.width = width
        self.filter = ImplicitFilter(width, context, hidden, bands)
        self.into = nn.Linear(width, 3 * width)
        self.short = nn.Parameter(torch.randn(3 * width, 3) / 3**0.5)
        self.short_bias = nn.Parameter(torch.zeros(3 * width))
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, width)

    def init_state(self, batch_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """No past, on the device and in the precision of a tensor."""
        short, past = (batch_size, 3 * self.width, 2), (batch_size, self.width, 0)
        return like.new_zeros(short), like.new_zeros(past)

    def forward(self, u: Tensor, state=None):
        check_shapes(u=(u, (None, None, self.width)))
        check_size("L", u.shape[1])
        before = None if state is None else state[0]
        projected = self.into(u).mT
        with torch.autocast(u.device.type, enabled=False):
            y, state = self._mix(projected, before, None if state is None else state[1])
        y = self.out(y.to(projected.dtype).mT)
        return y if before is None else (y, state)

    def _mix(self, projected, before, past):
        """x0, x1 and v from projections (batch, 3D, L), and their gated convolution."""
        wide = torch.promote_types(projected.dtype, torch.float32)  # no FFT in bfloat16
        L, weight = projected.shape[-1], self.short[:, None].to(wide)
        grown = projected.to(wide)
        grown = pad(grown, (2, 0)) if before is None else torch.cat([before, grown], dim=-1)
        bias = self.short_bias.to(wide)
        x0, x1, v = nn.functional.conv1d(grown, weight, bias, groups=len(bias)).chunk(3, dim=1)
        skip, context = self.skip.to(wide), self.filter.context
        if past is None:
            return gated_conv(x0, x1, v, self.filter(min(L, context)).to(wide), skip), None
        gated = torch.cat([past, x1 * v], dim=-1)
        h = self.filter(min(gated.shape[-1], context)).to(wide)
        if L == 1:
            c = (gated[..., -h.shape[-1] :] * h.flip(-1)).sum(-1, keepdim=True)
            y = x0 * (c + skip[:, None] * gated[..., -1:])
        else:
            ones, gates = torch.ones_like(gated), pad(x0, (past.shape[-1], 0))
            y = gated_conv(gates, ones, gated, h, skip)[..., -L:]
        kept = min(gated.shape[-1], context - 1)
        return y, (grown[..., -2:].clone(), gated[..., gated.shape[-1] - kept :].clone())


class _Block(nn.Module):
    """x + operator(norm(x)), then x + feed-forward(norm(x)): x (batch, L, D), state -> x, state."""

    def __init__(self, width, context, hidden, bands):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = HyenaOperator(width, context, hidden, bands)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def init_state(self, batch_size, like):
        return self.mix.init_state(batch_size, like)

    def forward(self, x, state=None):
        u = self.norm1(x)
        y, state = (self.mix(u), None) if state is None else self.mix(u, state)
        x = x + y
        return x + self.down(gelu(self.up(self.norm2(x)))), state


@twin(naive.hyena_lm, float32=1e-4)  # as its filters
class Hyena(Stack):
    """A stack of Hyena blocks: trained by FFT, written with the gated past of every layer.

    vocab_size  symbols
    width       D, channels
    layers      blocks
    context     taps of the filters: in a longer text a layer looks no further back
    hidden      F, units of the filters' networks; bands: waves of a lag
    Training costs L log L. Symbol t costs min(t, context) D in each layer: as long as the state.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 96,
        layers: int = 2,
        context: int = 1024,
        hidden: int = 64,
        bands: int = 2,
    ):
        make = lambda: _Block(width, context, hidden, bands)
        super().__init__(vocab_size, width, layers, make)
