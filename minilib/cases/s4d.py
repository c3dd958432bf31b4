"""What the definitions of s4d and their twins are tried on."""

import numpy as np

from minilib.naive import s4d as naive


def _complex(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def _log_z(rng, *shape):
    """log z of modes that decay."""
    return -rng.uniform(0.01, 1, size=shape) + 1j * rng.uniform(-3, 3, size=shape)


def vandermonde(rng):
    """Lengths 1, odd and square; no decay, near the unit circle; an underflow; shared modes."""
    for shape, L in [((1, 1), 1), ((2, 3), 2), ((2, 1, 5), 17), ((3, 4), 49)]:
        yield _complex(rng, *shape), _log_z(rng, *shape), L
    yield _complex(rng, 1, 3), np.array([[3j, -1e-9 + 0.1j, 0j]]), 300
    yield _complex(rng, 2, 2), np.array([[-1e3 + 1j, -40 + 0j], [-800 + 2j, -1e-3 + 0j]]), 11
    yield _complex(rng, 2, 3, 4), _log_z(rng, 3, 4), 8


def _systems(rng):
    """(A, C, dt, L), eight of them: see diagonal_kernel."""
    for H, M, L in [(1, 1, 1), (2, 3, 7), (3, 2, 32)]:
        A = -rng.uniform(0.1, 1, size=(H, M)) + 1j * rng.uniform(-9, 9, size=(H, M))
        yield A, _complex(rng, H, M), rng.uniform(0.01, 0.3, size=H), L
    for init in ("legs", "inv", "lin"):
        yield naive.s4d_init(init, 8)[None], _complex(rng, 1, 4), np.array([0.05]), 20
    yield np.array([[0j, -1e-7 + 0.9j]]), _complex(rng, 1, 2), np.array([1.0]), 200
    yield np.array([[-1e4 + 3j, -60 + 0j]]), _complex(rng, 1, 2), np.array([0.9]), 5


def diagonal_kernel(rng):
    """One tap; random modes; three starts; A = 0, where (e^z - 1)/z is 0/0; forgotten at once."""
    for A, C, dt, L in _systems(rng):
        yield C, A, dt, L


def diagonal_ssm(rng):
    """The same systems, each from a state that is not 0; one sample takes the path of a step."""
    for B, (A, C, dt, L) in zip((1, 2, 3, 1, 2, 1, 1, 1), _systems(rng), strict=True):
        H = len(A)
        u, D, x = rng.normal(size=(B, H, L)), rng.normal(size=H), _complex(rng, B, *A.shape)
        yield u, A, C, dt, D, x


def s4d_layer(rng):
    """Each start of the modes; one sample; sizes all different."""
    for H, N, init, shape in [
        (1, 2, "lin", (1, 1, 1)),
        (3, 4, "legs", (2, 3, 5)),
        (2, 6, "inv", (1, 2, 20)),
        (2, 4, "real", (3, 2, 8)),
    ]:
        yield {"width": H, "state": N, "init": init}, rng.normal(size=shape)


def s4d_lm(rng):
    """One symbol; two layers; sizes all different and odd."""
    for V, H, N, layers, init, shape in [
        (2, 3, 2, 1, "lin", (1, 1)),
        (5, 3, 4, 2, "inv", (2, 7)),
        (7, 2, 6, 1, "legs", (3, 4)),
    ]:
        made = {"vocab_size": V, "width": H, "state": N, "layers": layers, "init": init}
        yield made, rng.integers(V, size=shape)
