"""Solutions to the exercises of lesson 28.

Exercise 4: characters in a patch, with the rule of the lesson and with the new one.

    English 6.1, 6.1    German 6.5, 7.2    French 5.4, 6.3    Polish 5.3, 7.3
    Turkish 4.6, 7.5    Vietnamese 2.4, 4.6    Russian 1.2, 7.8    Greek 1.2, 7.1
    Hebrew 1.3, 5.4    Arabic 1.3, 5.7    Hindi 1.3, 5.3    Korean 1.5, 4.5
    Thai 1.1, 19.8    Chinese 1.2, 11.0    Japanese 1.2, 15.4

Every language that writes spaces between words now has patches of about a word. Thai,
Chinese and Japanese do not write them, and the last two have marks of their own,
outside of ASCII: a patch there is a phrase, a sentence or more. A model for all fifteen
needs another rule: letters of alphabets as letters, but a boundary at each character of
Chinese and Japanese; Thai, which writes its words without spaces, needs a rule that
knows words, or one that is learned.
"""

import numpy as np

import minilib
from minilib.naive import spacebyte as naive
from minilib.spacebyte import boundaries


def my_patches(w, n, k):
    return w if k == 1 else w * n


def counted_patches(w, n, k):
    text = " ".join([" aдย"[k] * n] * w)
    return len(naive.patch_lengths(np.array([*text.encode()])))


def some_texts(rng):
    yield from [(1, 1, 1), (1, 5, 1), (4, 3, 1), (1, 4, 2), (3, 2, 2), (5, 1, 2)]
    yield 2, 7, 3


def my_boundaries(ids):
    space = naive.is_spacelike(ids)
    starts = space.copy()
    starts[:, 1:] &= ~space[:, :-1]
    starts[:, :1] = True
    return starts


def my_boundary_before(x, starts):
    S = starts.sum(1).max()
    if S == 0:
        return x
    places = np.argsort(~starts, axis=1, kind="stable")[:, :S, None]
    y = np.take_along_axis(x, places, axis=1)
    y = np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)
    rank = np.maximum(np.cumsum(starts, axis=1) - 1, 0)[:, :, None]
    back = np.take_along_axis(y, rank, axis=1)
    return x + np.where(starts[:, :, None], back, 0)


def add_boundary_before(x, starts):
    out = x.copy()
    for row in range(len(x)):
        places = np.flatnonzero(starts[row])
        for j in range(1, len(places)):
            out[row, places[j]] += x[row, places[j - 1]]
    return out


def ragged_rows(rng):
    yield np.ones((1, 1, 1)), np.array([[True]])
    yield rng.normal(size=(2, 5, 3)), np.array([[False] * 5, [False] * 5])
    for _ in range(3):
        starts = rng.random((4, 9)) < np.array([[0.0], [0.2], [0.6], [1.0]])
        yield rng.normal(size=(4, 9, 2)), starts
