"""What the definitions of scan and their twins are tried on."""

import numpy as np


def scan(rng):
    """One step; odd lengths; states large enough to go step by step; decays of 0 and 1; complex poles near the unit circle."""
    for shape in [(1, 1), (2, 7, 3), (1, 64, 2), (3, 101), (1, 3, 4099)]:
        yield (
            rng.uniform(size=shape),
            rng.normal(size=shape),
            rng.normal(size=(shape[0], *shape[2:])),
        )
    yield (
        rng.integers(2, size=(2, 9, 3)).astype(float),
        rng.normal(size=(2, 9, 3)),
        rng.normal(size=(2, 3)),
    )
    noise = lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)
    yield 0.999 * np.exp(1j * rng.uniform(0, 6, size=(2, 50, 3))), noise(2, 50, 3), noise(2, 3)


def segsum(rng):
    return [(-rng.random(1),), (-rng.random(7),), (-1e4 * rng.random(5),)]


def ssd(rng):
    """One step; shorter than a chunk of 64; several chunks with a rest; decays of 0 and of 1."""
    sizes = [(1, 1, 1, 1, 1, 1), (2, 5, 2, 3, 4, 1), (1, 135, 2, 2, 3, 1)]
    for B, L, H, P, N, size in [*sizes, (1, 6, 2, 2, 3, 300), (1, 70, 1, 2, 2, 0)]:
        noise = lambda *shape: rng.normal(size=shape)
        log_a = -size * rng.random(size=(B, L, H))
        yield noise(B, L, H, P), log_a, noise(B, L, N), noise(B, L, N), noise(B, H, N, P)
