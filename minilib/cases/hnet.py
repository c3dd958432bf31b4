"""What the definitions of hnet and their twins are tried on."""

import numpy as np

from minilib.cases.dynamic_pooling import ENDS, _closes


def spread(rng):
    """No chunk, one at each step, first and last steps; more values than the row has chunks."""
    for rows in ENDS:
        begins = _closes(rows)
        for more in (0, 2):
            yield rng.normal(size=(len(rows), begins.sum(1).max() + more)), begins


def multiply_adds(rng):
    """One stage and two; texts beyond the context, and short of it; no layers outside."""
    yield [1, 1], 4, 7, 1, 1, 3
    yield [9, 4], 4, 7, 1, 2, 3
    yield [12, 5, 2], 6, 3, 2, 1, 4
    yield [30, 11, 5], 2, 5, 0, 3, 64


def hnet(rng):
    """One symbol; one stage, two and three; no layers outside; texts beyond the context.

    Rows of one batch that are cut into unlike numbers of chunks, repeated symbols among them.
    """
    sizes = dict(vocab_size=19, width=4, heads=1, layers=1, middle=1, context=64)
    wide = sizes | dict(width=8, heads=2, context=3)
    text = rng.integers(19, size=(3, 14))
    text[0, 3:] = 5
    yield sizes | dict(stages=1), np.array([[7]])
    yield sizes | dict(stages=2), rng.integers(19, size=(2, 5))
    yield wide | dict(stages=1, middle=2), text
    yield wide | dict(stages=2, layers=2), text
    yield wide | dict(stages=3, layers=0), rng.integers(19, size=(2, 24))
