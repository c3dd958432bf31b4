"""What the definitions of start_here and their twins are tried on."""

import numpy as np


def softmax(rng):
    """One number; a row by hand; odd sizes; scores that overflow; minus infinity.

    Last, two rows 1,000 apart: the maximum of both would leave the first no weight.
    """
    yield (np.array([[3.0]]),)
    yield (np.log([[1.0, 2.0, 5.0]]),)
    yield (rng.normal(size=(3, 5)),)
    yield (800 * rng.normal(size=(2, 7)),)
    yield (np.array([[0.0, -np.inf, 1.0]]),)
    yield (np.array([[0.0, 1.0], [1000.0, 999.0]]),)
