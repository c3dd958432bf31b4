"""What the definitions of learned_segmentation and their twins are tried on."""

import numpy as np


def weights(rng):
    """One segmentation; lists of several lengths; lam on both sides of 1; scores far below 0."""
    yield (np.array([[-3.0]]),)
    for lam in (1.0, 0.2, 3.0):
        scores = -5 * rng.uniform(size=(3, 4))
        scores[1, 2:] = scores[2, 1:] = -np.inf
        yield scores, lam
    yield np.array([[-2000.0, -2001.0, -2000.5], [-1.0, -900.0, -2.0]]), 1.0


def optok(rng):
    """One text of one byte; texts of several lengths, two classes and three; a piece twice."""
    pieces = [b"a", b"b", b"ab", b"ba", b"c", b"cab"]
    yield {"pieces": [b"a"], "classes": 1, "width": 1}, [b"a"]
    yield {"pieces": pieces, "classes": 2, "width": 3}, [b"abcab", b"c", b"abab"]
    yield {"pieces": pieces[:3], "classes": 3, "width": 2}, [b"aab", b"bbbabab"]
