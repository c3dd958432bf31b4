"""What the loss, sampling and trees of every language model are tried on."""

import numpy as np


def tree_mask(rng):
    """A root alone; a chain; depth mixed with breadth; two roots."""
    for parents in [[-1], [-1, 0, 1, 2], [-1, 0, 0, 1, 1, 2], [-1, -1, 0, 2, 1, 3, 0]]:
        yield (parents,)


def next_symbol_loss(rng):
    """One prediction; an alphabet of one symbol; odd sizes; rows whose maxima lie 2,000 apart."""
    for B, T, V in [(1, 2, 2), (1, 2, 1), (3, 5, 7)]:
        yield rng.normal(size=(B, T, V)), rng.integers(V, size=(B, T))
    height = 1000.0 * np.array([[-1, 1, 0], [1, 0, -1]])[..., None]
    yield height + rng.normal(size=(2, 3, 4)), rng.integers(4, size=(2, 3))


def probabilities(rng):
    """One symbol; two; odd sizes; bytes; each with every cut; a symbol that never comes."""
    cuts = [(1.0, None, None), (0.5, 3, None), (2.0, None, 0.7), (1.0, 1, 0.1), (1.0, 5, 0.9)]
    for B, V in [(1, 1), (1, 2), (4, 7), (2, 256)]:
        for temperature, top_k, top_p in [*cuts, (0, None, None)]:
            yield 3 * rng.normal(size=(B, V)), temperature, top_k, top_p
    yield np.array([[0.0, -np.inf, 1000.0], [-1000.0, -np.inf, -999.0]]), 1.0, None, None


def sample(rng):
    """All of the above; ties, the smaller id is kept; a sum that rounding keeps below u."""
    for logits, *how in probabilities(rng):
        yield logits, rng.uniform(size=len(logits)), *how
    ties = np.array([[1.0, 2.0, 2.0, 2.0]])
    yield ties, np.array([0.4]), 1.0, 2, None
    yield ties, np.array([0.6]), 0, None, None
    yield rng.normal(size=(2, 5)), np.full(2, 1 - 1e-16), 1.0, 2, None
