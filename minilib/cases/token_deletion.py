"""What the definitions of token_deletion and their twins are tried on."""

import numpy as np


def gate(rng):
    """Steps that are all kept, all deleted, between; other kappa; a step 100 times as large."""
    x = rng.normal(size=(2, 4, 3)) * [[[1], [100], [0.1], [1]]]
    yield x, np.array([0.5, -1, 2]), np.array([1.0])
    yield x, np.array([0.5, -1, 2]), np.array([-0.5]), -10.0
    yield x[:1, :1], np.array([9.0, 0, 0]), np.array([0.0])


def gated_attention(rng):
    """One key; open, half-open and shut gates; all shut, so that there is nothing to see; S ≠ T."""
    yield *(rng.normal(size=(1, 1, 1, 2)) for _ in "qkv"), np.array([[0.0]])
    q, k, v = rng.normal(size=(2, 2, 3, 4)), rng.normal(size=(2, 2, 5, 4)), None
    v = rng.normal(size=(2, 2, 5, 4))
    yield q, k, v, np.zeros((2, 5))
    yield 2 * q, k, v, np.array([[0.0, -1, -30, -3, 0], [-30, 0, 0, -15, -0.1]])
    yield q, 3 * k, v, np.full((2, 5), -30.0)


def controller(rng):
    """Too little is deleted; too much, so that the weight stops at 0; a state; other gains."""
    yield 0.1, 0.3
    yield 0.6, 0.3
    yield 0.2, 0.5, (0.03, 0.2)
    yield 0.9, 0.5, (-0.4, 0.1)
    yield 0.2, 0.5, (0.1, 0.02), 2.0, 0.01
