"""Solutions to the exercises of lesson 24."""

import numpy as np
import torch

import minilib
from minilib.hyena import Hyena
from minilib.naive import convolution as by_sums
from minilib.naive import hyena as naive


def my_long_conv(K, u):
    # of L + taps - 1 numbers none wraps around
    L, n = u.shape[-1], u.shape[-1] + K.shape[-1] - 1
    return np.fft.irfft(np.fft.rfft(K, n) * np.fft.rfft(u, n), n)[..., :L]


def signals(rng):
    for L, taps in [(1, 1), (2, 5), (7, 7), (7, 3), (64, 64)]:
        yield rng.normal(size=(3, taps)), rng.normal(size=(2, 3, L))


def my_step(x0, x1, v, past, h, skip):
    z = x1 * v
    past = np.concatenate([past, z[:, None]], axis=1)
    reach = min(past.shape[1], h.shape[1])
    # newest first, as the taps are
    recent = past[:, ::-1][:, :reach]
    return x0 * ((h[:, :reach] * recent).sum(1) + skip * z), past


def step_by_definition(x0, x1, v, past, h, skip):
    past = np.concatenate([past, (x1 * v)[:, None]], axis=1)
    ones = np.ones((1, *past.shape))
    y = naive.gated_conv(ones, ones, past[None], h, skip)
    return x0 * y[0, :, -1], past


def pasts(rng):
    for n, taps in [(0, 1), (0, 4), (5, 3), (5, 6), (5, 9)]:
        x0, x1, v, skip = rng.normal(size=(4, 3))
        yield x0, x1, v, rng.normal(size=(3, n)), rng.normal(size=(3, taps)), skip


NETS = [(1, 1), (1, 5), (2, 6)]  # layers, context


def my_reaches():
    # in each layer, context - 1 by the long filter and two by the short one
    return [2, 6, 14]


def reaches_of_the_twin():
    found = []
    for layers, taps in NETS:
        net = Hyena(5, width=6, layers=layers, context=taps, hidden=4).double()
        ids = torch.arange(60)[None] % 5
        other = (ids + (torch.arange(60) == 0)) % 5  # another first symbol
        with torch.no_grad():
            moved = (net(ids) - net(other)).abs().amax(-1)[0] > 1e-14
        found.append(int(moved.nonzero().max()))
    return found


assert minilib.check(my_long_conv, like=by_sums.causal_conv, cases=signals)
assert minilib.check(my_step, like=step_by_definition, cases=pasts)
assert reaches_of_the_twin() == my_reaches()
