"""What the definitions of soft_window and their twins are tried on."""

import numpy as np


def window(rng):
    """One step, one letter; odd sizes with padding; a row of padding alone; a leap past the text.

    In the last case a step is about e³ = 20 letters: phi underflows, and must not become nan.
    """
    for B, T, K, text in [
        (1, 1, 1, [[0]]),
        (3, 5, 2, [[2, 0, 1, 3], [1, -1, -1, -1], [3, 3, -1, -1]]),
        (2, 3, 3, [[0, 1], [-1, -1]]),
    ]:
        yield rng.normal(size=(B, T, 3 * K)), rng.uniform(size=(B, K)), np.array(text), 4
    yield 3.0 + rng.normal(size=(1, 4, 3)), np.zeros((1, 1)), np.array([[1, 0, 1]]), 2


def windowed_lstm(rng):
    """One step; odd sizes with padding; gates that inputs of size 20 saturate."""
    for B, T, n, A, K, text, scale in [
        (1, 1, 1, 1, 1, [[0]], 1),
        (2, 5, 3, 4, 2, [[2, 0, 3], [1, -1, -1]], 1),
        (2, 4, 2, 3, 1, [[0, 1], [2, 2]], 20),
    ]:
        x = scale * rng.normal(size=(B, T, 4 * n))
        state = [rng.normal(size=(B, size)) for size in (n, n, A, K)]
        shapes = [(4 * n, n), (4 * n, A), (3, n), (3 * K, n), (3 * K,)]
        yield x, np.array(text), *state, *[rng.normal(size=shape) for shape in shapes]
