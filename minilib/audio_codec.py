"""Symbols for sound on torch: causal convolutions that stream, residual codes, and their training.

Names and symbols are those of minilib/naive/audio_codec.py. Not here, of EnCodec: strides in
several steps, the LSTM, weight normalisation, discriminators.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.audio_losses import Balancer, check_wave, spectral_distance
from minilib.naive import audio_codec as naive
from minilib.residual_vq import ResidualVQ, check_codes, encode
from minilib.shapes import check_shapes, check_size, check_sizes

# -- convolutions along time -----------------------------------------------------------------------


def _checked(x, w, b, stride, dilation=1, out=0):
    check_shapes(x=(x, (None, w.shape[1 - out], None)), w=(w, (None, None, None)))
    check_shapes(b=(b, (w.shape[out],)))
    check_size("stride", stride)
    check_size("dilation", dilation)
    if not x.numel():
        raise ValueError(f"x must not be empty, got shape {tuple(x.shape)}")
    if (w.shape[2] - 1) * dilation + 1 < stride:
        raise ValueError(f"w must reach over a stride of {stride}, got {w.shape[2]} taps")


@twin(naive.causal_conv1d)
def causal_conv1d(x: Tensor, w: Tensor, b: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Looks back only: x (B, in, T), w (out, in, K), b (out,) -> (B, out, T / stride)."""
    _checked(x, w, b, stride, dilation)
    if x.shape[2] % stride:
        raise ValueError(f"T of x must be a multiple of its stride {stride}, got {x.shape[2]}")
    zeros = (w.shape[2] - 1) * dilation + 1 - stride
    return F.conv1d(F.pad(x, (zeros, 0)), w, b, stride, dilation=dilation)


@twin(naive.causal_conv_transpose1d)
def causal_conv_transpose1d(y: Tensor, w: Tensor, b: Tensor, stride: int) -> Tensor:
    """The way back: y (B, in, frames), w (in, out, K), b (out,) -> (B, out, frames · stride)."""
    _checked(y, w, b, stride, out=1)
    return F.conv_transpose1d(y, w, b, stride)[:, :, : y.shape[2] * stride]


class Conv(nn.Conv1d):
    """A causal convolution that can go on from the inputs that it has seen.

    past   None: a whole sound, zeros before it. Else a list of tensors, one for each layer: this
           layer takes the first, its last inputs, and appends its new ones
    """

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__(inside, outside, kernel, stride, dilation=dilation)
        self.keep = (kernel - 1) * dilation + 1 - stride

    def no_past(self, B: int) -> Tensor:
        return self.weight.new_zeros(B, self.in_channels, self.keep)

    def forward(self, x: Tensor, past: list | None = None) -> Tensor:
        if past is None:
            return causal_conv1d(x, self.weight, self.bias, self.stride[0], self.dilation[0])
        x = torch.cat([past.pop(0), x], 2)
        past.append(x[:, :, x.shape[2] - self.keep :].clone())  # no view of the whole piece
        return F.conv1d(x, self.weight, self.bias, self.stride, dilation=self.dilation)


class ConvTranspose(nn.ConvTranspose1d):
    """The way back, which can go on: `past` holds what earlier frames add to samples to come."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int):
        super().__init__(inside, outside, kernel, stride)
        self.keep = kernel - stride

    def no_past(self, B: int) -> Tensor:
        return self.weight.new_zeros(B, self.out_channels, self.keep)

    def forward(self, y: Tensor, past: list | None = None) -> Tensor:
        if past is None:
            return causal_conv_transpose1d(y, self.weight, self.bias, self.stride[0])
        x = F.conv_transpose1d(y, self.weight, None, self.stride)
        x[:, :, : self.keep] += past.pop(0)
        ready = y.shape[2] * self.stride[0]
        past.append(x[:, :, ready:].clone())
        return x[:, :, :ready] + self.bias[:, None]


# -- the net ---------------------------------------------------------------------------------------


class Unit(nn.Module):
    """x + narrow(ELU(wide(ELU(x)))); narrow starts at zero, so the unit starts as the identity."""

    def __init__(self, width: int, hidden: int, dilation: int):
        super().__init__()
        self.wide = Conv(width, hidden, 3, dilation=dilation)
        self.narrow = Conv(hidden, width, 1)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, past: list | None = None) -> Tensor:
        return x + self.narrow(F.elu(self.wide(F.elu(x), past)), past)


def dct(n: int) -> Tensor:
    """The orthonormal DCT-II: row k is a cosine of k half-turns in n samples. (n, n), float32"""
    k, t = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = (2 / n) ** 0.5 * torch.cos(math.pi * k * (t + 0.5) / n)
    rows[0] /= 2**0.5
    return rows.float()


class _Stack(nn.Module):
    """What encoder and decoder share: units, and layers that remember."""

    def __init__(self, hop, hidden, units):
        super().__init__()
        check_sizes(hop=hop, hidden=hidden)
        self.hop = hop
        self.units = nn.ModuleList(Unit(hop, hidden, 2**k) for k in range(units))

    def init_state(self, batch_size: int) -> list[Tensor]:
        """What each layer remembers before a sound: zeros, one tensor a layer, in their order."""
        return [layer.no_past(batch_size) for layer in self._layers()]

    def _layers(self):
        """All that remember, in the order in which a sound passes them."""
        return [layer for unit in self.units for layer in (unit.wide, unit.narrow)]

    def _along(self, x, past):
        for unit in self.units:
            x = unit(x, past)
        return x


@twin(naive.encoder)
class Encoder(_Stack):
    """A sound -> one vector of `hop` numbers for each hop samples.

    The first convolution sees two frames; it starts as a DCT of the last one.
    """

    def __init__(self, hop: int = 32, hidden: int = 64, units: int = 2):
        super().__init__(hop, hidden, units)
        first = Conv(1, hop, 2 * hop, hop)
        first.weight.data = F.pad(dct(hop), (hop, 0))[:, None]
        nn.init.zeros_(first.bias)
        self.input = first

    def _layers(self):
        return [self.input, *super()._layers()]

    def forward(self, wave: Tensor, past: list | None = None) -> Tensor:
        """(B, T), T a multiple of hop -> (B, T / hop, hop)"""
        check_wave("wave", wave)
        if wave.shape[1] % self.hop:
            raise ValueError(
                f"wave must be a multiple of {self.hop} samples long, got {wave.shape[1]}"
            )
        return self._along(self.input(wave[:, None], past), past).transpose(1, 2)


@twin(naive.decoder)
class Decoder(_Stack):
    """Vectors -> the sound. The last, transposed convolution starts as the DCT's inverse."""

    def __init__(self, hop: int = 32, hidden: int = 64, units: int = 2):
        super().__init__(hop, hidden, units)
        self.output = ConvTranspose(hop, 1, 2 * hop, hop)
        self.output.weight.data = F.pad(dct(hop), (0, hop))[:, None]
        nn.init.zeros_(self.output.bias)

    def _layers(self):
        return [*super()._layers(), self.output]

    def forward(self, z: Tensor, past: list | None = None) -> Tensor:
        """(B, frames, hop) -> (B, frames · hop)"""
        check_shapes(z=(z, (None, None, self.hop)))
        return self.output(self._along(z.transpose(1, 2), past), past)[:, 0]


@twin(naive.audio_codec, differentiable=False)  # the definition's codes are steps
class AudioCodec(nn.Module):
    """Sound -> q symbols for each frame of `hop` samples -> sound.

    hop, hidden, units   of encoder and decoder
    stages, size         codebooks, and codes in each
    rate                 samples a second that it is made for

    Untrained it is a codec already: a DCT of each frame, once `quantiser.start` has found codes.
    """

    def __init__(
        self,
        hop: int = 32,
        hidden: int = 64,
        units: int = 2,
        stages: int = 8,
        size: int = 64,
        rate: int = 8000,
    ):
        super().__init__()
        check_size("rate", rate)
        self.hop, self.rate = hop, rate
        self.encoder, self.decoder = Encoder(hop, hidden, units), Decoder(hop, hidden, units)
        self.quantiser = ResidualVQ(stages, size, hop)

    def forward(self, wave: Tensor, used: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(wave (B, T), codes (B, frames, used), commitment), through the first `used` books."""
        quantized, codes, commitment = self.quantiser(self.encoder(wave), used)
        return self.decoder(quantized), codes, commitment

    @torch.no_grad()
    def encode(self, wave: Tensor, used: int | None = None, rate: int | None = None) -> Tensor:
        """(B, T) -> int64 (B, T / hop, used); with `rate`, of the wave, another one is refused."""
        if rate not in (None, self.rate):
            raise ValueError(f"rate must be {self.rate} samples a second, got {rate}")
        return self.quantiser(self.encoder(wave), used)[1]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(B, frames, q) -> (B, frames · hop), with q <= stages: the last ones may be dropped."""
        self._check(codes)
        return self.decoder(self.quantiser.decode(codes))

    @torch.no_grad()
    def extend_codes(
        self, wave: Tensor, state: list | None = None, used: int | None = None
    ) -> tuple[Tensor, list]:
        """The next samples, a multiple of hop -> (their codes, state). None to begin."""
        state = self._state(self.encoder, len(wave), state)
        return self.quantiser(self.encoder(wave, state), used)[1], state

    @torch.no_grad()
    def extend_wave(self, codes: Tensor, state: list | None = None) -> tuple[Tensor, list]:
        """The next frames' codes -> (their samples, state). None to begin."""
        self._check(codes)
        state = self._state(self.decoder, len(codes), state)
        return self.decoder(self.quantiser.decode(codes), state), state

    def _state(self, part, B, state):
        if state is not None and len(state[0]) != B:
            raise ValueError(f"state must be one of {B} sounds, got one of {len(state[0])}")
        return part.init_state(B) if state is None else list(state)

    def _check(self, codes):
        check_shapes(codes=(codes, (None, None, None)))
        check_codes(codes, self.quantiser.stages, self.quantiser.size)


# -- numbers ---------------------------------------------------------------------------------------


@twin(naive.kbps)
def kbps(frame_rate: float, stages: int, size: int) -> float:
    """Thousands of bits a second: frames · stages · log2(size)."""
    for name, value in {"frame_rate": frame_rate, "stages": stages, "size": size}.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    return frame_rate * stages * math.log2(size) / 1000


@twin(naive.stages_for)
def stages_for(rate: float, frame_rate: float, size: int) -> int:
    """How many stages `rate` kbps have room for; none of less than one stage's rate."""
    one = kbps(frame_rate, 1, size)
    if not one > 0 or not 0 <= rate < math.inf:
        raise ValueError(f"rate must be 0 or more and size 2 or more, got {rate} and {size}")
    stages = max(0, round(rate / one) - 1)  # the quotient is rounded: one below, then up
    while kbps(frame_rate, stages + 1, size) <= rate:
        stages += 1
    return stages


@twin(naive.si_snr)
def si_snr(x: Tensor, y: Tensor) -> Tensor:
    """Signal-to-noise ratio of y in decibels, whatever its loudness: (B, T) twice -> (B,)."""
    check_wave("x", x)
    check_wave("y", y)
    check_shapes(y=(y, tuple(x.shape)))
    a, b = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    power = a.square().sum(1, keepdim=True)
    if not (power > 0).all():
        raise ValueError("x must not be silent: nothing is to be found in y")
    if not (b.square().sum(1) > 0).all():
        raise ValueError("y must not be silent: it holds neither signal nor noise")
    signal = (a * b).sum(1, keepdim=True) / power * a
    return 10 * (signal.square().sum(1) / (b - signal).square().sum(1)).log10()


# -- training --------------------------------------------------------------------------------------


class Trainer:
    """Adam on two balanced losses and the commitment; codes follow by moving averages.

    model       an AudioCodec, trained in place
    weights     λ of the losses "time" (mean |x - x̂|) and "spectrum"
    commitment  its weight; it bypasses the balancer, as it is no function of the sound alone
    choices     numbers of codebooks, one of which is drawn for each step
    """

    def __init__(
        self,
        model: AudioCodec,
        lr: float = 1e-3,
        weights: dict | None = None,
        commitment: float = 1.0,
        choices: tuple = (1, 2, 4, 8),
        seed: int = 0,
    ):
        if not lr > 0 or not choices or not 1 <= min(choices) <= max(choices):
            raise ValueError(f"lr and choices must be positive, got {lr} and {choices}")
        if max(choices) > model.quantiser.stages:
            raise ValueError(
                f"choices must be at most {model.quantiser.stages} stages, got {max(choices)}"
            )
        self.model, self.commitment, self.choices = model, commitment, choices
        self.balancer = Balancer(weights or {"time": 1.0, "spectrum": 1.0})
        self.optimizer = torch.optim.Adam(model.parameters(), lr, betas=(0.5, 0.9))
        self.draw = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def start(self, wave: Tensor) -> None:
        """Codebooks by k-means on the vectors of these sounds."""
        self.model.quantiser.start(self.model.encoder(wave).flatten(0, 1), self.draw)

    def step(self, wave: Tensor) -> dict[str, float]:
        """One step on sounds (B, T); returns the losses by name."""
        model, quantiser = self.model, self.model.quantiser
        used = self.choices[int(torch.randint(len(self.choices), (), generator=self.draw))]
        z = model.encoder(wave)
        quantized, _, commitment = quantiser(z, used)
        sound = model.decoder(quantized)
        losses = {
            "time": (sound - wave).abs().mean(),
            "spectrum": spectral_distance(wave, sound, model.rate),
        }
        gradient = self.balancer.gradient(losses, sound)
        self.optimizer.zero_grad()
        torch.autograd.backward([sound, self.commitment * commitment], [gradient, None])
        self.optimizer.step()
        vectors = z.detach().flatten(0, 1)  # every book follows, whether it was used or not
        quantiser.follow(vectors, encode(vectors, quantiser.books), self.draw)
        return {name: loss.item() for name, loss in losses.items()} | {"used": used}
