"""What the definitions of char_aware and their twins are tried on."""

import numpy as np


def pad_words(rng):
    """One letter; a word that fills its row; words of all lengths; no word at all."""
    yield [[3]], 1
    yield [[0, 1, 2]], 3
    yield [[5, 0], [7], [1, 2, 3, 4], [0]], 5
    yield [], 4


def _cnn(rng, rows, A, d, shapes, scale=1.0):
    filters = [scale * rng.normal(size=(h, d, w)) for h, w in shapes]
    return rows, rng.normal(size=(A + 2, d)), filters, [rng.normal(size=h) for h, _ in shapes]


def char_cnn(rng):
    """One of everything; widths 1 to 6, in an order of their own; words shorter than a filter.

    Then rows with no letter at all; answers that are all negative, where a padded place, or a ReLU,
    would win with its 0; large ones, where tanh is 1 and ReLU is not.
    """
    one = np.array([[0]])
    some = np.array([[2, 0, 1, 3, -1], [1, -1, -1, -1, -1], [3, 3, 3, 0, 2], [2, 1, -1, -1, -1]])
    for squash in ("tanh", "relu"):
        yield *_cnn(rng, one, 1, 1, [(1, 1)]), squash
        yield *_cnn(rng, some, 4, 3, [(2, 1), (1, 4), (3, 2), (2, 6)]), squash
        yield *_cnn(rng, np.full((2, 3), -1), 2, 2, [(2, 2), (1, 3)]), squash
        rows, C, filters, biases = _cnn(rng, some, 4, 2, [(2, 3), (2, 6)], scale=0.1)
        yield rows, C, filters, [b - 5 for b in biases], squash
    yield *_cnn(rng, some, 4, 3, [(2, 3)], scale=20), "relu"
    yield _cnn(rng, some, 4, 3, [(3, 2), (1, 3)])


def _layer(rng, N, F, scale=1.0, gate=0.0):
    y, W_H, W_T = (scale * rng.normal(size=shape) for shape in ((N, F), (F, F), (F, F)))
    return y, W_H, rng.normal(size=F), W_T, rng.normal(size=F) + gate


def highway(rng):
    """One number; several rows; a gate that is shut, one that is open; gates at a thousand."""
    yield _layer(rng, 1, 1)
    yield _layer(rng, 3, 5)
    yield _layer(rng, 2, 3, gate=-8)
    yield _layer(rng, 2, 3, gate=8)
    yield _layer(rng, 2, 4, scale=30)
    yield np.ones((1, 2)), np.eye(2), np.zeros(2), np.diag([1000.0, -1000.0]), np.zeros(2)


def highway_carry(rng):
    """As for highway."""
    yield from highway(rng)


def char_aware_lm(rng):
    """Ids of all kinds at random: spellings that are interrupted, too long, empty, never begun.

    Filters wider than a word; no highway; a table for rival; no known word. Ids that are legal.
    """
    small = {"width": 3, "letter": 2, "filters": 2, "speller": 2, "vector": 4}
    words = [[0], [1, 0, 1], [0, 1]]
    base = {"words": words, "alphabet": 2, "longest": 3, "widths": [1, 2, 6], **small}
    legal = np.array([[4, 2, 1, 1, 0, 3, 0, 6, 2, 0, 3, 5], [2, 0, 1, 3, 1, 1, 4, 4, 5, 2, 1, 1]])
    odd = [[2, 0, 1, 1, 0, 0, 3, 1, 4], [2, 1, 2, 0, 5, 0, 3, 3, 1], [3, 1, 2, 0, 2, 1, 1, 3, 2]]
    for inputs in ("letters", "table"):
        yield {**base, "inputs": inputs}, legal
        yield {**base, "inputs": inputs}, np.array(odd)
    yield {**base, "highway": False}, rng.integers(7, size=(2, 9))
    one = {"words": [], "alphabet": 1, "longest": 1, "widths": [1], **small}
    yield {**one, "width": 1, "speller": 1}, np.array([[0]])
    yield one, rng.integers(3, size=(2, 8))
