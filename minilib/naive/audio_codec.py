"""A causal autoencoder of sound around residual codebooks: the definition.

Source: Défossez et al. 2022, "High Fidelity Neural Audio Compression" (EnCodec, arXiv:2210.13438),
sec. 3, and the padding of the authors' code, here with zeros. The net is a small one of our own:
one transform of `hop` samples at a time, which begins as a DCT, and residual units at the rate of
frames.

    code        meaning                                           shape
    wave        a sound, `rate` samples a second                  (B, T), T a multiple of hop
    z           one vector for each hop samples, a frame          (B, frames, D), D = hop
    codes       q symbols for each frame, see residual_vq         (B, frames, q)
    w, b        kernels and biases of a convolution               (out, in, K), (out,)
"""

import math

import numpy as np

from minilib.naive.residual_vq import quantize

# -- convolutions along time -----------------------------------------------------------------------


def causal_conv1d(x, w, b, stride=1, dilation=1):
    """A convolution that never looks ahead: output j ends at input (j + 1) · stride - 1.

    (K - 1) · dilation + 1 - stride zeros stand before x, and none behind.

    x        (B, in, T), T a multiple of stride
    w, b     (out, in, K), (out,), with (K - 1) · dilation + 1 >= stride
    returns  (B, out, T / stride)
    """
    K = w.shape[2]
    zeros = (K - 1) * dilation + 1 - stride
    wide = np.pad(x, ((0, 0), (0, 0), (zeros, 0)))
    y = np.zeros((len(x), len(w), x.shape[2] // stride))
    for j in range(y.shape[2]):
        y[:, :, j] = b
        for k in range(K):
            y[:, :, j] += wide[:, :, j * stride + k * dilation] @ w[:, :, k].T
    return y


def causal_conv_transpose1d(y, w, b, stride):
    """The way back: frame j adds K samples from j · stride on. The last K - stride are dropped.

    y (B, in, frames), w (in, out, K) with K >= stride, b (out,) -> (B, out, frames · stride)
    """
    B, _, frames = y.shape
    K = w.shape[2]
    x = np.zeros((B, w.shape[1], frames * stride + K - stride))
    for j in range(frames):
        for k in range(K):
            x[:, :, j * stride + k] += y[:, :, j] @ w[:, :, k]
    return x[:, :, : frames * stride] + b[:, None]


# -- the net ---------------------------------------------------------------------------------------


def encoder(params, wave):
    """A sound -> one vector a frame: a strided convolution, then residual units.

    params   the state_dict of minilib.audio_codec.Encoder
    wave     (B, T), T a multiple of hop -> (B, frames, D)
    """
    hop = params["input.weight"].shape[2] // 2
    x = causal_conv1d(wave[:, None], *_weights(params, "input"), hop)
    return _units(params, x).transpose(0, 2, 1)


def decoder(params, z):
    """Vectors -> the sound: units, then a transposed convolution: (B, frames, D) -> (B, T)"""
    x = _units(params, z.transpose(0, 2, 1))
    hop = params["output.weight"].shape[2] // 2
    return causal_conv_transpose1d(x, *_weights(params, "output"), hop)[:, 0]


def _units(params, x):
    """x + narrow(ELU(wide(ELU(x)))), again and again, each twice as dilated as the last."""
    count = sum(name.endswith("wide.weight") for name in params)
    for k in range(count):
        inner = causal_conv1d(elu(x), *_weights(params, f"units.{k}.wide"), dilation=2**k)
        x = x + causal_conv1d(elu(inner), *_weights(params, f"units.{k}.narrow"))
    return x


def elu(x):
    """x above 0, exp(x) - 1 below: a ReLU without the corner."""
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def _weights(params, name):
    return params[f"{name}.weight"], params[f"{name}.bias"]


def audio_codec(params, wave, used):
    """A sound through the first `used` codebooks and back: (wave, codes, commitment).

    params   the state_dict of minilib.audio_codec.AudioCodec
    """
    inside = {"encoder": {}, "decoder": {}, "quantiser": {}}
    for name, value in params.items():
        part, _, rest = name.partition(".")
        inside[part][rest] = value
    z = encoder(inside["encoder"], wave)
    books = inside["quantiser"]["books"][:used]
    quantized, codes, commitment = quantize(z.reshape(-1, z.shape[2]), books)
    heard = decoder(inside["decoder"], quantized.reshape(z.shape))
    return heard, codes.reshape(*z.shape[:2], used), commitment


# -- numbers ---------------------------------------------------------------------------------------


def kbps(frame_rate, stages, size):
    """Thousands of bits a second: each stage of each frame is one of `size` symbols."""
    return frame_rate * stages * math.log2(size) / 1000


def stages_for(rate, frame_rate, size):
    """How many stages a rate in kbps has room for."""
    stages = 0
    while kbps(frame_rate, stages + 1, size) <= rate:
        stages += 1
    return stages


def si_snr(x, y):
    """Scale-invariant signal-to-noise ratio of y in decibels: how much of y is x, however loud.

    Means are taken off both. What y has along x is signal, the rest is noise.
    x, y     (B, T), the sound and its reconstruction -> (B,)
    """
    out = np.zeros(len(x))
    for n in range(len(x)):
        a, b = x[n] - x[n].mean(), y[n] - y[n].mean()
        signal = (a @ b) / (a @ a) * a
        noise = b - signal
        out[n] = 10 * math.log10((signal @ signal) / (noise @ noise))
    return out
