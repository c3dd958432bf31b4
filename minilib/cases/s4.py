"""What the definitions of s4 and their twins are tried on."""

import numpy as np

from minilib.naive import s4 as naive


def legs_memory(rng):
    for H, L, N in [(1, 1, 1), (2, 9, 4), (3, 40, 7)]:
        yield rng.normal(size=(H, L)), N


def legs_rebuild(rng):
    for H, N, L in [(1, 1, 1), (2, 2, 3), (3, 7, 10)]:
        yield rng.normal(size=(H, N)), L


def _system(rng, N):
    return rng.normal(size=(N, N)) - 2 * np.sqrt(N) * np.eye(N), rng.normal(
        size=N
    )  # stable: the diagonal outweighs the rest


def discretize(rng):
    for N, dt in [(1, 0.3), (4, 0.1), (7, 2.0)]:
        for method in ("bilinear", "zoh"):
            yield *_system(rng, N), rng.uniform(dt, 2 * dt, size=()), method
    yield *naive.hippo_legs(8), rng.uniform(size=()), "zoh"
    yield np.zeros((3, 3)), rng.normal(size=3), rng.uniform(size=()), "zoh"  # A⁻¹ does not exist


def causal_conv(rng):
    """One sample; kernels shorter than, as long as and longer than the signal; odd lengths."""
    for B, H, L, taps in [(1, 1, 1, 1), (2, 3, 7, 7), (1, 2, 9, 4), (3, 1, 5, 8), (1, 1, 1, 3)]:
        yield rng.normal(size=(H, taps)), rng.normal(size=(B, H, L))


def _complex(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def _modes(rng, *shape):
    """log z of decaying modes."""
    return -rng.uniform(0.01, 1, size=shape) + 1j * rng.uniform(-3, 3, size=shape)


def vandermonde(rng):
    """One tap; odd and square lengths; no decay, near the unit circle; decay that underflows; shared modes."""
    for shape, L in [((1, 1), 1), ((2, 3), 2), ((2, 1, 5), 17), ((3, 4), 49)]:
        yield _complex(rng, *shape), _modes(rng, *shape), L
    yield _complex(rng, 1, 3), np.array([[3j, -1e-9 + 0.1j, 0j]]), 300
    yield _complex(rng, 2, 2), np.array([[-1e3 + 1j, -40 + 0j], [-800 + 2j, -1e-3 + 0j]]), 11
    yield _complex(rng, 2, 3, 4), _modes(rng, 3, 4), 8


def _s4d_systems(rng):
    """(A, C, dt, L): random; one tap; the three initialisations; A = 0, and a pole near the unit circle; forgotten at once."""
    for H, M, L in [(1, 1, 1), (2, 3, 7), (3, 2, 32)]:
        yield (
            -rng.uniform(0.1, 1, size=(H, M)) + 1j * rng.uniform(-9, 9, size=(H, M)),
            _complex(rng, H, M),
            rng.uniform(0.01, 0.3, size=H),
            L,
        )
    for init in ("legs", "inv", "lin"):
        yield naive.s4d_init(init, 8)[None], _complex(rng, 1, 4), np.array([0.05]), 20
    yield np.array([[0j, -1e-7 + 0.9j]]), _complex(rng, 1, 2), np.array([1.0]), 200
    yield np.array([[-1e4 + 3j, -60 + 0j]]), _complex(rng, 1, 2), np.array([0.9]), 5


def s4d_kernel(rng):
    return ((C, A, dt, L) for A, C, dt, L in _s4d_systems(rng))


def s4d(rng):
    for B, (A, C, dt, L) in zip((1, 2, 3, 1, 2, 1, 1, 1), _s4d_systems(rng), strict=True):
        yield (
            rng.normal(size=(B, len(A), L)),
            A,
            C,
            dt,
            rng.normal(size=len(A)),
            _complex(rng, B, *A.shape),
        )


def dplr_kernel(rng):
    """(Lam, P, B, Ct, dt, L): HiPPO at odd and even lengths; one tap; random; a pole near the unit circle."""
    for N, H, L in [(2, 1, 1), (4, 1, 7), (8, 2, 16)]:
        Lam, P, B, _ = naive.nplr(N)
        yield (
            *(np.stack([v] * H) for v in (Lam, P, B)),
            _complex(rng, H, N // 2),
            rng.uniform(0.02, 0.3, size=H),
            L,
        )
    Lam = -rng.uniform(0.1, 1, size=(3, 2)) + 1j * rng.uniform(-9, 9, size=(3, 2))
    yield (
        Lam,
        _complex(rng, 3, 2),
        _complex(rng, 3, 2),
        _complex(rng, 3, 2),
        rng.uniform(0.02, 0.3, size=3),
        9,
    )
    yield (
        np.array([[-1e-4 + 0.5j, -0.5 + 3j]]),
        0.1 * _complex(rng, 1, 2),
        *(_complex(rng, 1, 2) for _ in range(2)),
        np.array([0.7]),
        24,
    )


def dplr_output(rng):
    return ((Lam, P, Ct, dt, L) for Lam, P, _, Ct, dt, L in dplr_kernel(rng))


def dplr(rng):
    for B, (Lam, P, b, C, dt, L) in zip((1, 2, 3, 1, 2), dplr_kernel(rng), strict=True):
        yield (
            rng.normal(size=(B, len(dt), L)),
            Lam,
            P,
            b,
            C,
            dt,
            rng.normal(size=len(dt)),
            _complex(rng, B, *Lam.shape),
        )


def s4d_layer(rng):
    for H, N, init, B, L in [
        (1, 2, "lin", 1, 1),
        (3, 4, "legs", 2, 5),
        (2, 6, "inv", 1, 20),
        (2, 4, "real", 3, 8),
    ]:
        yield {"width": H, "state": N, "init": init}, rng.normal(size=(B, H, L))


def s4_layer(rng):
    """Shorter than, as long as and longer than the length that C̃ is for."""
    for H, N, length, B, L in [(1, 2, 2, 1, 1), (3, 4, 8, 2, 5), (2, 6, 7, 1, 7), (2, 4, 4, 3, 11)]:
        yield {"width": H, "state": N, "length": length}, rng.normal(size=(B, H, L))


def s4d_lm(rng):
    for V, H, N, layers, init, B, T in [
        (2, 3, 2, 1, "lin", 1, 1),
        (5, 3, 4, 2, "inv", 2, 7),
        (7, 2, 6, 1, "legs", 3, 4),
    ]:
        yield (
            {"vocab_size": V, "width": H, "state": N, "layers": layers, "init": init},
            rng.integers(V, size=(B, T)),
        )


def s4_lm(rng):
    for V, H, N, layers, length, B, T in [
        (2, 3, 2, 1, 2, 1, 1),
        (5, 3, 4, 2, 8, 2, 6),
        (7, 2, 4, 1, 3, 3, 5),
    ]:
        yield (
            {"vocab_size": V, "width": H, "state": N, "layers": layers, "length": length},
            rng.integers(V, size=(B, T)),
        )
