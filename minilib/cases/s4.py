"""What the definitions of s4 and their twins are tried on."""

import numpy as np

from minilib.naive.hippo import nplr


def _complex(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def dplr_kernel(rng):
    """HiPPO at odd lengths and at even ones, with z = -1; one tap; random; near the unit circle."""
    for N, H, L in [(2, 1, 1), (4, 1, 7), (8, 2, 16)]:
        Lam, P, B = (np.stack([v] * H) for v in nplr(N)[:3])
        yield Lam, P, B, _complex(rng, H, N // 2), rng.uniform(0.02, 0.3, size=H), L
    Lam = -rng.uniform(0.1, 1, size=(3, 2)) + 1j * rng.uniform(-9, 9, size=(3, 2))
    P, B, Ct = (_complex(rng, 3, 2) for _ in range(3))
    yield Lam, P, B, Ct, rng.uniform(0.02, 0.3, size=3), 9
    Lam = np.array([[-1e-4 + 0.5j, -0.5 + 3j]])
    P, B, Ct = (_complex(rng, 1, 2) for _ in range(3))
    yield Lam, 0.1 * P, B, Ct, np.array([0.7]), 24


def dplr_output(rng):
    """The systems of dplr_kernel: a length of 1, odd and even ones."""
    for Lam, P, _, Ct, dt, L in dplr_kernel(rng):
        yield Lam, P, Ct, dt, L


def dplr_ssm(rng):
    """The systems of dplr_kernel, each from a state that is not 0; P of both signs and complex."""
    for batch, (Lam, P, B, C, dt, L) in zip((1, 2, 3, 1, 2), dplr_kernel(rng), strict=True):
        H = len(dt)
        u, D, x = rng.normal(size=(batch, H, L)), rng.normal(size=H), _complex(rng, batch, *P.shape)
        yield u, Lam, P, B, C, dt, D, x


def s4_layer(rng):
    """Inputs shorter than, as long as and longer than the length that C̃ is for."""
    for H, N, length, B, L in [(1, 2, 2, 1, 1), (3, 4, 8, 2, 5), (2, 6, 7, 1, 7), (2, 4, 4, 3, 11)]:
        yield {"width": H, "state": N, "length": length}, rng.normal(size=(B, H, L))


def s4_lm(rng):
    """One symbol; two layers; a text longer than `length`; sizes all different."""
    for V, H, N, layers, length, shape in [
        (2, 3, 2, 1, 2, (1, 1)),
        (5, 3, 4, 2, 8, (2, 6)),
        (7, 2, 4, 1, 3, (3, 5)),
    ]:
        made = {"vocab_size": V, "width": H, "state": N, "layers": layers, "length": length}
        yield made, rng.integers(V, size=shape)
