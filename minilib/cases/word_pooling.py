"""What the definitions of word_pooling and their twins are tried on."""

import numpy as np


def word_ends(rng):
    """One byte; words and what is between them; a character of several bytes, cut in two; blanks.

    Every byte between a letter and a blank, one a row; rows that begin with a blank below rows that
    end with a letter, for who runs them together or rolls them round.
    """
    for text in (
        b"a",
        b"don't stop,  now\n\n",
        "na\u00efve \u2013 caf\u00e9".encode()[:-1],
        b"   ",
    ):
        yield (np.array([list(text)]),)
    yield (np.array([[97, b, 32] for b in range(256)]),)
    yield (np.array([list(b" to"), list(b" be")]),)


def select(rng):
    """No end at all; one; none in one row and all in another."""
    for T, rate in [(1, 0), (1, 1), (7, 0.4), (9, 0)]:
        ends = rng.random((2, T)) < rate
        yield rng.normal(size=(2, T, 3)), ends
    yield rng.normal(size=(2, 4, 3)), np.array([[False] * 4, [True] * 4])


def expand(rng):
    """One step; ends at the first and last step; a row without; stretches longer than the table."""
    for T, N, rate in [(1, 1, 0), (1, 2, 1), (9, 3, 0.3), (20, 4, 0.1)]:
        ends = rng.random((2, T)) < rate
        ends[0, -1] = True
        y = rng.normal(size=(2, ends.sum(1).max(), 3))
        yield y, ends, rng.normal(size=(3, 3)), rng.normal(size=(N, 3, 3))
    ends = np.zeros((2, 11), dtype=bool)
    ends[0, [0, 7, 10]] = True
    yield rng.normal(size=(2, 3, 2)), ends, rng.normal(size=(2, 2)), rng.normal(size=(3, 2, 2))
