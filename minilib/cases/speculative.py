"""What the definition of speculative and its twin are tried on."""

import numpy as np


def siblings(rng):
    """One symbol of two; all symbols; greedy; cut to the likeliest; a bet on one symbol alone."""
    yield rng.normal(size=(1, 2)), rng.random((1, 1))
    yield 3 * rng.normal(size=(5, 4)), rng.random((5, 4))
    yield rng.normal(size=(3, 5)), rng.random((3, 3)), 0.0
    yield rng.normal(size=(9, 6)), rng.random((9, 2)), 0.7, 2
    yield rng.normal(size=(9, 6)), rng.random((9, 3)), 1.5, 4, 0.6
    yield np.array([[0.0, -1e9, -1e9]]), np.array([[0.4, 0.6, 0.9]])
