"""What the definitions of scan and their twins are tried on."""

import numpy as np


def scan(rng):
    """One step; odd lengths, with and without a rest behind √T chunks; decays of 0 and 1.

    3 × 4,099 states are large enough to go step by step. Every fourth decay is 0, the others 1:
    nothing can be divided by a product of decays. Complex poles near the unit circle turn: a
    backward without conjugates goes wrong there.
    """
    for shape in [(1, 1), (2, 7, 3), (1, 64, 2), (3, 101), (1, 3, 4099)]:
        a, b = rng.uniform(size=shape), rng.normal(size=shape)
        yield a, b, rng.normal(size=b[:, 0].shape)
    zeros_and_ones = (np.arange(54).reshape(2, 9, 3) % 4 > 0).astype(float)
    yield zeros_and_ones, rng.normal(size=(2, 9, 3)), rng.normal(size=(2, 3))
    noise = lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)
    poles = 0.999 * np.exp(1j * rng.uniform(0, 6, size=(2, 50, 3)))
    yield poles, noise(2, 50, 3), noise(2, 3)


def segsum(rng):
    """One step; several; strong decays; and a first one, part of no sum, of 1e12.

    A difference of running sums has that in both and loses the digits of all others.
    """
    yield (-rng.random(1),)
    yield (-rng.random(7),)
    yield (-1e4 * rng.random(5),)
    yield (np.append(-1e12, -rng.random(4)),)


def ssd(rng):
    """One step; shorter than a chunk of 64; several chunks with a rest; decays of 0 and of 1.

    One text begins by forgetting all: log_a is -1e12 at its first step, whose digits a difference
    of running sums would take from all later ones.
    """
    for B, L, H, P, N, size in [
        (1, 1, 1, 1, 1, 1),
        (2, 5, 2, 3, 4, 1),
        (1, 135, 2, 2, 3, 1),
        (1, 6, 2, 2, 3, 300),
        (1, 70, 1, 2, 2, 0),
    ]:
        noise = lambda *shape: rng.normal(size=shape)
        log_a = -size * rng.random(size=(B, L, H))
        log_a[1:, 0] = -1e12
        yield noise(B, L, H, P), log_a, noise(B, L, N), noise(B, L, N), noise(B, H, N, P)
