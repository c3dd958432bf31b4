"""What the definitions of residual_vq and their twins are tried on. No residual lies between codes.

Vectors are made, not found: coarse codes lie 8 apart, finer ones 2, and so on, on a grid.
"""

import numpy as np


def _made(rng, N, Q, K, D):
    """(z, books): each z is a sum of codes and a little more; every stage has a clear nearest."""
    books = np.zeros((Q, K, D))
    for q in range(Q):
        for k in range(K):
            books[q, k] = rng.uniform(-0.2, 0.2, size=D) * 4.0**-q
            books[q, k, (k + q) % D] += 4.0**-q * (k - K // 2) * 2
    chosen = rng.integers(K, size=(N, Q))
    z = np.zeros((N, D))
    for q in range(Q):
        z += books[q][chosen[:, q]]
    return z + rng.normal(size=(N, D)) * 0.1 * 4.0**-Q, books


SIZES = [(1, 1, 1, 1), (7, 1, 5, 3), (6, 3, 4, 2), (3, 5, 2, 4)]


def encode(rng):
    """One of each; one stage; sizes all different; more stages than codes; the order of books."""
    for sizes in SIZES:
        yield _made(rng, *sizes)
    z, books = _made(rng, 5, 2, 3, 2)
    yield z, books[::-1].copy()
    yield np.array([[1.0, 1.0]]), np.array([[[0.0, 0.0], [2.0, 2.0]], [[3.0, 3.0], [1.0, 1.0]]])


def decode(rng):
    """One of each; all stages; the last ones dropped; another code in every place."""
    for N, Q, K, D in SIZES:
        books = rng.normal(size=(Q, K, D))
        yield rng.integers(K, size=(N, Q)), books
        yield rng.integers(K, size=(N, (Q + 1) // 2)), books


def quantize(rng):
    """As for encode; a vector that is its code, which leaves nothing."""
    for sizes in SIZES:
        yield _made(rng, *sizes)
    yield np.array([[2.0, 0.0]]), np.array([[[2.0, 0.0], [9.0, 9.0]], [[0.0, 0.0], [5.0, 5.0]]])


def quantize_gradients(rng):
    """One stage; several, whose commitments add up; gradients to be handed on."""
    for sizes in SIZES:
        z, books = _made(rng, *sizes)
        yield rng.normal(size=z.shape), z, books


def start(rng):
    """One of each; two stages, with clear clusters; one step and several; a stage of one code."""
    yield np.array([[3.0]]), np.array([[0]]), 1
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]])
    inner = np.array([[1.0, 0.2], [-0.9, 0.1], [0.1, 1.1], [0.2, -1.0]])
    z = (centres[:, None] + inner).reshape(-1, 2) + rng.uniform(-0.05, 0.05, size=(12, 2))
    yield z, np.array([[0, 4, 8], [1, 2, 3]]), 1
    yield z, np.array([[0, 1, 8], [1, 2, 3]]), 3
    yield z, np.array([[5], [2], [7]]), 2


def follow(rng):
    """One of each; a code with several residuals, one, none; fewer stages than books; another
    gamma; an idle code in the first and in the second stage, and one just above the limit."""
    yield (
        np.ones((1, 1)),
        np.ones((1, 1, 1)),
        np.ones((2, 1)),
        np.zeros((2, 1), np.int64),
        *(
            np.ones((1, 1, 1)),
            np.zeros((1, 1), np.int64),
        ),
    )
    N, Q, K, D = 6, 3, 4, 2
    books = rng.normal(size=(Q, K, D))
    codes = np.array([[2, 0, 1], [0, 3, 1], [2, 3, 1], [2, 1, 3], [0, 1, 3], [3, 1, 3]])
    for stages, more in [(3, ()), (2, (0.5,)), (3, (0.9, 0.45)), (1, (0.9, 0.45))]:
        counts = 0.5 + rng.random((Q, K))
        counts[0, 1] = 0.3  # idle in stage 1
        counts[1, 2] = 0.51  # 0.459, just above the limit
        counts[2, 0], counts[2, 2] = 0.49, 3.0  # idle in stage 3
        sums, rows = rng.normal(size=(Q, K, D)), rng.integers(N, size=(Q, K))
        yield counts, sums, rng.normal(size=(N, D)), codes[:, :stages], books, rows, *more
    # 0.9 · 0.5 is 0.45: not below it
    yield (
        np.array([[0.5, 2.0]]), np.ones((1, 2, 1)), np.array([[3.0]]), np.array([[1]]),
        np.array([[[0.0], [1.0]]]), np.array([[0, 0]]), 0.5, 0.25,
    )  # fmt: skip
