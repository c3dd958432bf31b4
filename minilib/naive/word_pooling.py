"""Pooling at the ends of words, as AU-Net does it; the definition.

Source: Videau et al. 2025 (arXiv:2506.14761). A unit is what one vector of the next level stands
for: the bytes from one end of a word to the next.
"""

import numpy as np


def word_byte(b):
    """Letters, digits, the apostrophe, and every byte of a character beyond ASCII."""
    return 48 <= b <= 57 or 65 <= b <= 90 or 97 <= b <= 122 or b == 39 or b >= 128


def word_ends(ids):
    """(batch, T) bytes -> (batch, T) bool: True at the first byte after a word.

    There a unit ends. Whether t is an end is known from bytes ≤ t: more text never moves an end.
    A rule that put the end on the last letter would have to know the next byte. E.g.
        T o · b e , · o r
        0 0 1 0 0 1 0 0 0
    """
    B, T = ids.shape
    out = np.zeros((B, T), dtype=bool)
    for b in range(B):
        for t in range(1, T):
            out[b, t] = word_byte(ids[b, t - 1]) and not word_byte(ids[b, t])
    return out


def select(x, ends):
    """The steps of x where `ends` is True, in order: one vector for each unit.

    x (batch, T, C), ends (batch, T) bool; returns (batch, S, C), S units of the row with most,
    zeros behind those of a row with fewer
    """
    rows = [x[b, ends[b]] for b in range(len(x))]
    out = np.zeros((len(x), max(len(row) for row in rows), x.shape[2]))
    for b, row in enumerate(rows):
        out[b, : len(row)] = row
    return out


def expand(y, ends, shared, own):
    """Each step gets the last unit that is closed, its own end included (sec. 2.2).

    y        (batch, S, C), one vector for each unit
    ends     (batch, T) bool
    shared   (C, C); own (N, C, C), the n-th for steps n, n + N, … after an end
    returns  (batch, T, C), 0 before the first end
    """
    B, T = ends.shape
    out = np.zeros((B, T, y.shape[2]))
    for b in range(B):
        unit, end = -1, 0
        for t in range(T):
            if ends[b, t]:
                unit, end = unit + 1, t
            if unit >= 0:
                out[b, t] = (shared + own[(t - end) % len(own)]) @ y[b, unit]
    return out
