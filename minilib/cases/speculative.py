"""What the definition of speculative and its twin are tried on."""

import numpy as np


def siblings(rng):
    """One symbol of two; all symbols; greedy; cut to the likeliest; a bet on one symbol alone.

    With u = 0 the first symbol that is possible is drawn, here the last and then the one before it.
    With even odds and u = 0.5 the second: the first one's cumulative probability must exceed u.
    """
    yield rng.normal(size=(1, 2)), rng.random((1, 1))
    yield 3 * rng.normal(size=(5, 4)), rng.random((5, 4))
    yield rng.normal(size=(3, 5)), rng.random((3, 3)), 0.0
    yield rng.normal(size=(9, 6)), rng.random((9, 2)), 0.7, 2
    yield rng.normal(size=(9, 6)), rng.random((9, 3)), 1.5, 4, 0.6
    yield np.array([[0.0, -1e9, -1e9]]), np.array([[0.4, 0.6, 0.9]])
    yield np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 2)), 0.0
    yield np.zeros((1, 2)), np.array([[0.5, 0.0]])
