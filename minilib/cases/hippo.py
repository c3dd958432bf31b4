"""What the definitions of hippo and their twins are tried on."""

import numpy as np

from minilib.naive import hippo as naive


def legs_memory(rng):
    """One number, which is the mean so far; an even and an odd N; more samples than numbers."""
    for H, L, N in [(1, 1, 1), (2, 9, 4), (3, 40, 7)]:
        yield rng.normal(size=(H, L)), N


def legs_rebuild(rng):
    """A constant; a line; polynomials up to degree 6, at more and at fewer times than numbers."""
    for H, N, L in [(1, 1, 1), (2, 2, 3), (3, 7, 10)]:
        yield rng.normal(size=(H, N)), L


def _system(rng, N):
    """A random A, stable as its diagonal outweighs the rest, and B."""
    return rng.normal(size=(N, N)) - 2 * np.sqrt(N) * np.eye(N), rng.normal(size=N)


def discretize(rng):
    """Both methods, small and large steps; HiPPO's matrix; A = 0, for which A⁻¹ does not exist.

    A step so small that a series of e^M needs no halving; M = 0, which has no logarithm.
    """
    for N, dt in [(1, 0.3), (4, 0.1), (7, 2.0)]:
        for method in ("bilinear", "zoh"):
            yield *_system(rng, N), rng.uniform(dt, 2 * dt, size=()), method
    yield *naive.hippo_legs(8), rng.uniform(size=()), "zoh"
    yield np.zeros((3, 3)), rng.normal(size=3), rng.uniform(size=()), "zoh"
    yield *_system(rng, 2), np.array(1e-3), "zoh"
    yield np.zeros((1, 1)), np.zeros(1), np.array(0.5), "zoh"
