"""Solutions to the exercises of lesson 23."""

import math

import numpy as np

import minilib
from minilib.naive import s4 as naive


def my_bilinear(A, B, dt):
    left = (
        np.eye(len(A)) - dt / 2 * A
    )  # (1 + a) / (1 - a) is below 1 in size wherever Re a < 0: stable for every dt
    return np.linalg.solve(left, np.eye(len(A)) + dt / 2 * A), np.linalg.solve(
        left, dt * B
    )


bilinear_cases = lambda rng: [
    (*naive.hippo_legs(N), dt) for N, dt in [(1, 0.5), (4, 0.01), (7, 1.0), (16, 30.0)]
]


def my_step(x, u, A, C, dt, D):
    x = np.exp(dt * A) * x + np.expm1(dt * A) / A * u
    return 2 * (C * x).real.sum() + D * u, x


some = lambda rng, M: rng.normal(size=M) + 1j * rng.normal(size=M)
step_cases = lambda rng: [
    (
        some(rng, M),
        0.7,
        -rng.uniform(0.1, 1, size=M) + 1j * rng.normal(size=M),
        some(rng, M),
        0.2,
        0.5,
    )
    for M in (1, 2, 9)
]


def my_vandermonde(w, log_z, L):
    Q = math.isqrt(L - 1) + 1
    rows = np.exp(Q * np.arange(Q)[:, None] * log_z[..., None, :])  # j = aQ + b
    columns = np.exp(np.arange(Q) * log_z[..., :, None])
    product = (w[..., None, :] * rows) @ columns
    return 2 * product.real.reshape(*product.shape[:-2], Q * Q)[..., :L]
