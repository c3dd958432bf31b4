"""What the definitions of lookahead and their twins are tried on."""

import numpy as np


def slide(rng):
    """One column of one row; one row, so that an n-gram is the new symbol alone; odd sizes.

    Then all symbols different, the root among them, so that any other order shows.
    """
    for rows, columns in [(1, 1), (1, 4), (3, 1), (4, 3), (2, 5)]:
        window = rng.integers(9, size=(rows, columns))
        yield window, rng.integers(9, size=columns), 7
    yield np.arange(12).reshape(4, 3), np.array([20, 21, 22]), 30


def compression(rng):
    """Nothing and everything right; one guess of one symbol; several of several; one step in f."""
    yield np.array([0.0, 0.3, 1.0]), 1, 1, 1.0
    yield rng.random(4), 4, 1, 1.0
    yield rng.random(3), 3, 5, 1.0
    yield rng.random(3), 2, 2, 2.5
