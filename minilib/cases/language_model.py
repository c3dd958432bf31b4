"""What the definitions of language_model and their twins are tried on."""

import numpy as np


def tree_mask(rng):
    return [
        ([-1],),
        ([-1, 0, 1, 2],),
        ([-1, 0, 0, 1, 1, 2],),
        ([-1, -1, 0, 2, 1, 3, 0],),
    ]


def next_symbol_loss(rng):
    for B, T, V in [(1, 2, 2), (1, 2, 1), (3, 5, 7)]:
        yield rng.normal(size=(B, T, V)), rng.integers(V, size=(B, T))
    yield 300 * rng.normal(size=(2, 3, 4)), rng.integers(4, size=(2, 3))


def probabilities(rng):
    for B, V in [(1, 1), (1, 2), (4, 7), (2, 256)]:
        for temperature, top_k, top_p in [
            (1.0, None, None),
            (0.5, 3, None),
            (2.0, None, 0.7),
            (1.0, 1, 0.1),
            (1.0, 5, 0.9),
            (0, None, None),
        ]:
            yield 3 * rng.normal(size=(B, V)), temperature, top_k, top_p


def sample(rng):
    for logits, *how in probabilities(rng):
        yield logits, rng.uniform(size=len(logits)), *how
    ties = np.array(
        [[1.0, 2.0, 2.0, 2.0]]
    )  # equal logits: the smaller id is kept (and no gradient exists)
    yield ties, np.array([0.4]), 1.0, 2, None
    yield ties, np.array([0.6]), 0, None, None
    yield (
        rng.normal(size=(2, 5)),
        np.full(2, 1 - 1e-16),
        1.0,
        2,
        None,
    )  # a sum that rounding keeps below u
