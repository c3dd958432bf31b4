"""What the loss, sampling and trees of every language model are tried on."""

import numpy as np


def tree_mask(rng):
    """A root alone; a chain; depth mixed with breadth; two roots."""
    for parents in [[-1], [-1, 0, 1, 2], [-1, 0, 0, 1, 1, 2], [-1, -1, 0, 2, 1, 3, 0]]:
        yield (parents,)


def next_symbol_loss(rng):
    """One prediction; an alphabet of one symbol; odd sizes; rows whose maxima lie 2,000 apart.

    Last, targets 1,000 nats away, whose probability is 0 in floats, and the logarithm of that inf.
    """
    for B, T, V in [(1, 2, 2), (1, 2, 1), (3, 5, 7)]:
        yield rng.normal(size=(B, T, V)), rng.integers(V, size=(B, T))
    height = 1000.0 * np.array([[-1, 1, 0], [1, 0, -1]])[..., None]
    yield height + rng.normal(size=(2, 3, 4)), rng.integers(4, size=(2, 3))
    yield np.array([[[1000.0, 0.0], [-1.0, 999.0], [0.0, 0.0]]]), np.array([[0, 1, 0]])


def probabilities(rng):
    """One symbol; two; odd sizes; bytes; each with every cut; a symbol that never comes.

    Last, so hot that each of four has 1/4: two of them are a mass of exactly 1/2, and enough.
    """
    cuts = [(1.0, None, None), (0.5, 3, None), (2.0, None, 0.7), (1.0, 1, 0.1), (1.0, 5, 0.9)]
    for B, V in [(1, 1), (1, 2), (4, 7), (2, 256)]:
        for temperature, top_k, top_p in [*cuts, (0, None, None)]:
            yield 3 * rng.normal(size=(B, V)), temperature, top_k, top_p
    yield np.array([[0.0, -np.inf, 1000.0], [-1000.0, -np.inf, -999.0]]), 1.0, None, None
    yield np.array([[3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]]), 1e20, None, 0.5


def sample(rng):
    """All of the above; ties, the smaller id is kept.

    A mass of exactly top_p is enough; a sum of exactly u is not. Ten times 0.1 is below the
    largest u: the last that is possible comes, not the eleventh.
    """
    for logits, *how in probabilities(rng):
        yield logits, rng.uniform(size=len(logits)), *how
    ties = np.array([[1.0, 2.0, 2.0, 2.0]] * 2)
    yield ties, np.array([0.4, 0.9]), 1.0, 2, None
    yield ties, np.array([0.1, 0.6]), 0, None, None
    yield rng.normal(size=(2, 5)), np.full(2, 1 - 1e-16), 1.0, 2, None
    four = np.zeros((2, 4))
    yield four, np.array([0.9, 0.4]), 1.0, None, 0.5
    yield four, np.array([0.5, 0.0]), 1.0, None, None
    yield np.array([[0.0] * 10 + [-np.inf]]), np.array([1 - 2.0**-53]), 1.0, None, None
