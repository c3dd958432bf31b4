"""Hyena: gates around a convolution as long as the text, whose filter a small network makes.

Sources: Poli et al. 2023 (arXiv:2302.10866); Nguyen et al. 2023, HyenaDNA (arXiv:2306.15794). The
paper's operator of order M has M long filters. This is the operator of order 2 as HyenaDNA writes
it, D_x0 T_h D_x1: one long filter between two gates.
"""

import math

import numpy as np

from minilib.naive.convolution import causal_conv
from minilib.naive.transformer import layer_norm


def filter_features(L, context, bands):
    """What the filter's network knows of a lag k < L: the lag itself, and waves over the context.

    t = k / context, w = 2πk / context; f_b goes in equal steps from 1e-4 to bands - 1.
    returns  (L, 1 + 2 bands): t, then cos(f_b w) of each band, then -sin(f_b w) of each
    More taps are more rows: a lag has the same features in a short text and in a long one.
    """
    out = np.zeros((L, 1 + 2 * bands))
    for k in range(L):
        out[k, 0] = k / context
        for b in range(bands):
            f = 1e-4 + (bands - 1 - 1e-4) * b / max(bands - 1, 1)
            w = 2 * math.pi * k / context
            out[k, 1 + b], out[k, 1 + bands + b] = math.cos(f * w), -math.sin(f * w)
    return out


def implicit_filter(params, L, *, context, bands):
    """The first L taps of each channel's filter: a network of the lag, times a window that decays.

    params   first.weight (F, 1 + 2 bands), first.bias; middle.0 and middle.1 alike, (F, F);
             last.weight (D, F), no bias; frequency (F,), ω of all sines
    returns  h (D, L)
    """
    h, D = [], len(params["last.weight"])
    for features in filter_features(L, context, bands):
        x = params["first.weight"] @ features + params["first.bias"]
        x = np.sin(params["frequency"] * x)
        for n in range(2):
            x = params[f"middle.{n}.weight"] @ x + params[f"middle.{n}.bias"]
            x = np.sin(params["frequency"] * x)
        # the slowest channel is down to 0.01 at 1.5 contexts, the fastest at 0.3
        rates = np.linspace(math.log(100) / 1.5, math.log(100) / 0.3, D)
        h.append(params["last.weight"] @ x * np.exp(-rates * features[0]))
    return np.array(h).T


def gated_conv(x0, x1, v, h, skip):
    """y = x0 ⊙ (h ∗ (x1 ⊙ v) + skip ⊙ (x1 ⊙ v)), ∗ causal, in each channel.

    x0, x1, v  (batch, D, L); h (D, taps); skip (D,)
    returns    (batch, D, L)
    """
    gated = x1 * v
    return x0 * (causal_conv(h, gated) + skip[:, None] * gated)


def part(params, prefix):
    """The parameters of one module: those whose names start with its prefix, without it."""
    return {name[len(prefix) :]: v for name, v in params.items() if name.startswith(prefix)}


def hyena_operator(params, u, *, context, bands):
    """u (batch, L, D) -> the same: three projections, a short filter over each, the long one.

    params   into.weight (3D, D), into.bias: x0, x1 and v; short (3D, 3), the newest symbol last;
             short_bias; filter.…: see implicit_filter; skip (D,); out.weight (D, D), out.bias
    """
    projected = (u @ params["into.weight"].T + params["into.bias"]).swapaxes(1, 2)
    short = causal_conv(params["short"][:, ::-1], projected)
    short = short + params["short_bias"][:, None]
    x0, x1, v = np.split(short, 3, axis=1)
    taps = min(u.shape[1], context)
    h = implicit_filter(part(params, "filter."), taps, context=context, bands=bands)
    y = gated_conv(x0, x1, v, h, params["skip"]).swapaxes(1, 2)
    return y @ params["out.weight"].T + params["out.bias"]


def hyena_lm(params, ids, *, layers, context, bands):
    """Logits (batch, time, vocab) of minilib.hyena.Hyena for ids (batch, time).

    A block is x + operator(norm(x)), then x + feed-forward(norm(x)). No position is added: the
    filter knows the distance.
    """
    normal = np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))), otypes=[float])
    x = params["embed"][ids]
    for k in range(layers):
        p = part(params, f"blocks.{k}.")
        u = layer_norm(x, p["norm1.weight"], p["norm1.bias"])
        x = x + hyena_operator(part(p, "mix."), u, context=context, bands=bands)
        z = layer_norm(x, p["norm2.weight"], p["norm2.bias"]) @ p["up.weight"].T + p["up.bias"]
        x = x + (z * normal(z)) @ p["down.weight"].T + p["down.bias"]
    return layer_norm(x, params["norm.weight"], params["norm.bias"]) @ params["output"].T
