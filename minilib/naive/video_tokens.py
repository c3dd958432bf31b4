"""A causal autoencoder of moving pictures: the definition. Its quantiser: minilib/naive/fsq.py.

Source: Tang et al. 2024, "VidTok: A Versatile and Open-Source Video Tokenizer" (arXiv:2412.13061),
the net in small, its blending as in the authors' code.

    code       meaning                                         shape
    clip       moving picture of T = 4 n + 1 frames            (B, channels, T, H, W)
    z, codes   one vector for each 4 frames × 4 × 4 pixels     (B, d, n + 1, H / 4, W / 4)
    w, b       kernels and biases of a convolution             (out, in, K, k, l), (out,)
    m          of a blender: α = sigmoid(m)                    (1,)
"""

import math

import numpy as np

# -- space and time --------------------------------------------------------------------------------


def conv3d(x, w, b, stride=(1, 1, 1), causal=True):
    """Convolution over time, height and width. A causal one never sees a later frame.

    A kernel (1, k, l) is a 2-D convolution of each frame, a kernel (K, 1, 1) a 1-D one
    along the time of each pixel. Along each axis k - stride zeros stand around x: half
    of them before and half behind, an odd one behind; in time, if causal, all before.

    x        (B, in, T, H, W), each a multiple of its stride
    w, b     (out, in, K, k, l), (out,)
    returns  (B, out, T / stride, H / stride, W / stride)
    """
    margins = [(0, 0), (0, 0)]
    for axis in range(3):
        zeros = w.shape[2 + axis] - stride[axis]
        before = zeros if axis == 0 and causal else zeros // 2
        margins.append((before, zeros - before))
    wide = np.pad(x, margins)
    size = [n // s for n, s in zip(x.shape[2:], stride, strict=True)]
    y = np.zeros((len(x), len(w), *size))
    for n, *place in np.ndindex(len(x), *size):
        window = wide[n]
        for axis in range(3):
            first = place[axis] * stride[axis]
            window = window.take(range(first, first + w.shape[2 + axis]), axis + 1)
        y[n, :, place[0], place[1], place[2]] = (w * window).sum((1, 2, 3, 4)) + b
    return y


def time_down(x, w, b, m, causal=True):
    """Half as many frames: the mean of three blended with a learned convolution (AlphaBlender).

    α · mean + (1 - α) · convolution, both three frames wide with stride 2 and padded alike, so the
    first mean counts a frame of zeros if causal.

    x        (B, C, T, H, W), T even
    w, b, m  (C, C, 3, 1, 1), (C,), (1,)
    """
    mean = np.zeros(w.shape)
    for c in range(len(w)):
        mean[c, c] = 1 / 3
    fixed = conv3d(x, mean, np.zeros(len(w)), (2, 1, 1), causal)
    return _blend(m, fixed, conv3d(x, w, b, (2, 1, 1), causal))


def time_up(x, w, b, m, causal=True):
    """Twice as many frames: each one twice, blended with a learned convolution of these.

    x        (B, C, T, H, W)
    w, b, m  (C, C, 3, 1, 1), (C,), (1,)
    """
    twice = np.repeat(x, 2, axis=2)
    return _blend(m, twice, conv3d(twice, w, b, causal=causal))


def _blend(m, fixed, learned):
    alpha = 1 / (1 + np.exp(-m))
    return alpha * fixed + (1 - alpha) * learned


def receptive_field(layers, frames, causal=True):
    """Which input frames each of the output frames reads, beyond the ends of the input included.

    layers   from input to output, each (K, stride): a convolution K frames wide; or (0, 2): each
             frame twice
    frames   (n,) int, numbers of output frames
    returns  (first, last), each (n,) int64
    """
    first, last = [], []
    for frame in frames:
        reads = {int(frame)}
        for K, stride in reversed(layers):
            below = set()
            for t in reads:
                if K == 0:
                    below.add(t // stride)
                    continue
                start = t * stride - (K - stride if causal else (K - stride) // 2)
                below |= set(range(start, start + K))
            reads = below
        first.append(min(reads))
        last.append(max(reads))
    return np.array(first, np.int64), np.array(last, np.int64)


# -- the net ---------------------------------------------------------------------------------------


def encoder(params, clip, causal=True):
    """A clip -> a vector for each 4 frames × 4 × 4 pixels; the first frame has its own.

    Frame 0 is put three times in front, so that 4 n + 1 frames become n + 1.

    params   the state_dict of minilib.video_tokens.Encoder
    clip     (B, channels, 4 n + 1, H, W), H and W multiples of 4
    returns  (B, d, n + 1, H / 4, W / 4)
    """
    x = np.concatenate([clip[:, :, :1]] * 3 + [clip], axis=2)
    x = _conv(params, "input", x, causal, (1, 2, 2))
    x = _conv(params, "shrink", silu(x), causal, (1, 2, 2))
    x = _block(params, "blocks.0", x, causal)
    for k in range(2):
        x = time_down(x, *_weights(params, f"down.{k}"), params[f"down.{k}.m"], causal)
        x = _block(params, f"blocks.{k + 1}", x, causal)
    return _conv(params, "output", silu(x), causal)


def decoder(params, codes, causal=True):
    """Codes -> the clip: the way back, step for step. The first three frames are dropped.

    codes    (B, d, n + 1, h, w)
    returns  (B, channels, 4 n + 1, 4 h, 4 w)
    """
    x = _conv(params, "input", codes, causal)
    x = _block(params, "blocks.0", x, causal)
    for k in range(2):
        x = time_up(x, *_weights(params, f"up.{k}"), params[f"up.{k}.m"], causal)
        x = _block(params, f"blocks.{k + 1}", x, causal)
    x = _conv(params, "grow", _twice_as_large(silu(x)), causal)
    four = _conv(params, "output", silu(x), causal)
    channels = len(four[0]) // 4  # pixel (2 i + p, 2 j + q) is channel 4 c + 2 p + q of (i, j)
    x = _twice_as_large(four[:, :channels])
    for c, p, q in np.ndindex(channels, 2, 2):
        x[:, c, :, p::2, q::2] = four[:, 4 * c + 2 * p + q]
    return x[:, :, 3:]


def _twice_as_large(x):
    return np.repeat(np.repeat(x, 2, axis=3), 2, axis=4)


def _block(params, name, x, causal):
    """A 2-D convolution of each frame, then a 1-D one along time, each added to x."""
    x = x + _conv(params, f"{name}.space", silu(x), causal)
    return x + _conv(params, f"{name}.time", silu(x), causal)


def silu(x):
    """x · sigmoid(x): a ReLU without the corner."""
    return x / (1 + np.exp(-x))


def _conv(params, name, x, causal, stride=(1, 1, 1)):
    return conv3d(x, *_weights(params, name), stride, causal)


def _weights(params, name):
    return params[f"{name}.weight"], params[f"{name}.bias"]


def psnr(clip, other):
    """Peak signal-to-noise ratio in decibels: 10 log₁₀(1 / mean squared error), values in [0, 1].

    One mean over all pixels of all frames and clips. (A mean of each frame's decibels would reward
    a single perfect frame without end.)
    """
    return -10 * math.log10(((clip - other) ** 2).mean())
