"""Rectified flow: pictures from noise along straight lines, and words and pictures in one sequence.

Source: Liu, Gong & Liu 2022, "Flow Straight and Fast" (arXiv:2209.03003), with the time of Deng et
al. 2025, "Emerging Properties in Unified Multimodal Pretraining" (BAGEL, arXiv:2505.14683): here
t = 1 is noise, t = 0 is data.

    code       paper                                        shape
    x0, n      data, and noise from N(0, I)                 any, the same
    t          time; the part of noise in x_t               a number, or one for each row
    v          the velocity n - x0, the net's target        as x0
    captions   numbers of words; 0 is "no word"             (batch, W) int

Departures of the net: the layers are those of lesson 13; no picture is read, so there are no
features of an encoder; pixels are painted, not the codes of an autoencoder.
"""

import numpy as np

from minilib.naive.attention import sinusoid
from minilib.naive.mixture_of_transformers import mixture_layer
from minilib.naive.transformer import layer_norm, own


def rf_pair(x0, n, t):
    """What the net is shown at time t, and what it should say: (x_t, v).

    x0, n  (batch, ...), data and noise; t (batch,), each in [0, 1]
    x_t = (1 - t) x0 + t n lies on the straight line from data to noise; v = n - x0 leads along it.
    """
    x_t = np.zeros(x0.shape)
    for b in range(len(x0)):
        x_t[b] = (1 - t[b]) * x0[b] + t[b] * n[b]
    return x_t, n - x0


def shift_t(t, s):
    """Times moved towards the noise (s > 1) or the data: s t / (1 + (s - 1) t). 0 and 1 stay."""
    return s * t / (1 + (s - 1) * t)


def euler(v, x1, steps, s=1.0):
    """From noise to data: steps of size Δt against the velocity, from t = 1 down to t = 0.

    v        function (x, t) -> velocity of the shape of x; t is a Python number
    x1       noise, any shape
    s        the shift of the times
    returns  the whole path, (steps + 1, *shape): path[0] is the noise, path[-1] the picture
    """
    t = [shift_t(1 - k / steps, s) for k in range(steps + 1)]
    path = [x1]
    for k in range(steps):
        path.append(path[k] - (t[k] - t[k + 1]) * v(path[k], t[k]))
    return np.array(path)


def gaussian_velocity(x, t, mu, s):
    """The best velocity, E[n - x0 | x_t = x], if each number of the data is from N(mu, s²).

    x any shape; t in [0, 1] and s numbers, not t = 0 with s = 0
    Data and noise are Gaussian, so the mean given x_t is linear: covariance over variance.
    """
    covariance = t - (1 - t) * s**2
    variance = (1 - t) ** 2 * s**2 + t**2
    return -mu + covariance / variance * (x - (1 - t) * mu)


def guide(conditional, unconditional, scale, renorm_min=None):
    """Guidance: v_u + scale (v_c - v_u), away from what the net paints without the caption.

    conditional, unconditional  (batch, ...), velocities with and without the caption
    renorm_min  None, or a number: each row is made as short as the conditional one, but at most
                by this factor, and never longer
    Source: Ho & Salimans 2021 (arXiv:2207.12598); the renormalisation is BAGEL's.
    """
    v = unconditional + scale * (conditional - unconditional)
    if renorm_min is None:
        return v
    for b in range(len(v)):
        length = np.sqrt((v[b] ** 2).sum())
        ratio = np.sqrt((conditional[b] ** 2).sum()) / length
        v[b] = v[b] * min(max(ratio, renorm_min), 1.0)
    return v


def generalised_causal_mask(splits, kinds):
    """Who sees whom among tokens that come in splits of one kind each: (N, N) bool.

    splits   how many tokens each split has
    kinds    for each "text", "clean" (a picture to be read) or "noised" (one being painted)
    Token i sees token j if j comes no later, or both are in one picture; but what is noised is seen
    by its own split alone (BAGEL, sec. 2.2).
    """
    for k, length in enumerate(splits):
        if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1:
            raise ValueError(f"splits[{k}] must be a whole number, 1 or more, got {length!r}")
    split_of = [k for k, length in enumerate(splits) for _ in range(length)]
    N = len(split_of)
    seen = np.zeros((N, N), bool)
    for i in range(N):
        for j in range(N):
            same = split_of[i] == split_of[j]
            picture = kinds[split_of[j]] != "text"
            hidden = kinds[split_of[j]] == "noised" and not same
            seen[i, j] = (j <= i or (same and picture)) and not hidden
    return seen


# -- the net ---------------------------------------------------------------------------------------


def flow_net(params, x, t, captions, *, width, patch, layers, heads, experts):
    """Velocity of noised pictures, given their captions; and logits of the captions' next words.

    params    the state_dict of minilib.rectified_flow.FlowNet
    x         (batch, S, S); t (batch,); captions (batch, W) int
    experts   2: words and patches have weights of their own; 1: one set of weights for both
    returns   velocity (batch, S, S), logits (batch, W, words)
    One sequence: W words, then (S / patch)² patches, which share one position of the words' line.
    """
    B, W = captions.shape
    side = x.shape[1] // patch
    N = side * side
    tokens = np.zeros((B, W + N, width))
    for b in range(B):
        wave = sinusoid(1000 * t[b : b + 1], width)[0]
        hidden = params["time1.weight"] @ wave + params["time1.bias"]
        hidden = hidden / (1 + np.exp(-hidden))  # silu
        time = params["time2.weight"] @ hidden + params["time2.bias"]
        for w in range(W):
            tokens[b, w] = params["words"][captions[b, w]]
        for p in range(N):
            pixels = x[b][_patch(p, side, patch)].flatten()
            tokens[b, W + p] = params["paint_in"] @ pixels + params["places"][p] + time
    kind = np.zeros((B, W + N), np.int64)
    kind[:, W:] = experts - 1
    position = np.array([*range(W), *[W] * N])
    visible = generalised_causal_mask([W, N], ["text", "noised"])
    none = np.zeros((B, heads, 0, width // heads))
    for k in range(layers):
        layer = own(params, f"layers.{k}.")
        tokens, _, _ = mixture_layer(
            layer, tokens, kind, none, none, position, visible, heads=heads
        )
    said = layer_norm(tokens[:, :W], params["norm_words.weight"], params["norm_words.bias"])
    drawn = layer_norm(tokens[:, W:], params["norm_patches.weight"], params["norm_patches.bias"])
    velocity = np.zeros(x.shape)
    for b, p in np.ndindex(B, N):
        pixels = params["paint_out"] @ drawn[b, p]
        velocity[b][_patch(p, side, patch)] = pixels.reshape(patch, patch)
    return velocity, said @ params["next_word"].T


def _patch(p, side, patch):
    """The pixels of patch p, line by line: two slices."""
    row, column = p // side * patch, p % side * patch
    return slice(row, row + patch), slice(column, column + patch)
