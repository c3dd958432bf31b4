"""Solutions to the exercises of lesson 23."""

import math
import tracemalloc

import numpy as np

import minilib
from minilib import naive


def my_bilinear(A, B, dt):
    # (1 + a) / (1 - a) is below 1 in size wherever Re a < 0: stable for every dt
    left, right = np.eye(len(A)) - dt / 2 * A, np.eye(len(A)) + dt / 2 * A
    return np.linalg.solve(left, right), np.linalg.solve(left, dt * B)


def bilinear_cases(rng):
    for N, dt in [(1, 0.5), (4, 0.01), (7, 1.0), (16, 30.0)]:
        yield *naive.hippo.hippo_legs(N), dt


def my_step(x, u, A, C, dt, D):
    x = np.exp(dt * A) * x + np.expm1(dt * A) / A * u
    return 2 * (C * x).real.sum() + D * u, x


def step_cases(rng):
    for M in (1, 2, 9):
        x, C = rng.normal(size=(2, M)) + 1j * rng.normal(size=(2, M))
        A = -rng.uniform(0.1, 1, size=M) + 1j * rng.normal(size=M)
        yield x, rng.normal(), A, C, rng.uniform(0.1, 0.5), rng.normal()


def my_vandermonde(w, log_z, L, exp):
    Q = math.isqrt(L - 1) + 1
    rows = exp(Q * np.arange(Q)[:, None] * log_z[..., None, :])  # j = aQ + b
    columns = exp(np.arange(Q) * log_z[..., :, None])
    product = (w[..., None, :] * rows) @ columns
    return 2 * product.real.reshape(*product.shape[:-2], Q * Q)[..., :L]


def vandermonde_wanted(w, log_z, L):
    K = naive.s4d.vandermonde(w, log_z, L)
    return {"K": K, "about 2 sqrt(L) powers a mode": True, "little memory": True}


def vandermonde_judged(w, log_z, L):
    sizes, root = [], math.isqrt(L - 1) + 1
    exp = lambda x: sizes.append(np.size(x)) or np.exp(x)
    tracemalloc.start()
    try:
        K = my_vandermonde(w, log_z, L, exp)
        small = tracemalloc.get_traced_memory()[1] < 100_000 + 8 * w.size * L
    finally:
        tracemalloc.stop()
    few = root <= sum(sizes) / w.size <= 2 * root + 2
    return {"K": K, "about 2 sqrt(L) powers a mode": few, "little memory": small}


def vandermonde_cases(rng):
    for shape, L in [((3, 4), 49), ((1, 1), 1), ((1, 2), 2), ((32,), 1600)]:
        w = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        yield w, -rng.uniform(0.001, 0.1, shape) + 1j * rng.uniform(-3, 3, shape), L
