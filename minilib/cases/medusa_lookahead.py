"""What the definitions of medusa_lookahead and their twins are tried on."""

import numpy as np


def medusa_heads(rng):
    """One head; several, with a hidden state smaller than the alphabet; a row alone."""
    for rows, V, ahead, C in [(3, 4, 1, None), (5, 7, 3, 2), (1, 3, 2, 3)]:
        sizes = {"vocab_size": V, "ahead": ahead, "width": C}
        yield sizes, rng.normal(size=(rows, V))


def _logits_and_ids(rng, B, T, K, V):
    return 2 * rng.normal(size=(B, T, K, V)), rng.integers(V, size=(B, T))


def medusa_loss(rng):
    """One place for the last head; odd sizes; weights that grow; heads whose logits lie
    1,000 apart, so that each needs its own maximum.
    """
    yield *_logits_and_ids(rng, 1, 3, 1, 2), 0.8
    yield *_logits_and_ids(rng, 3, 9, 4, 5), 0.8
    yield *_logits_and_ids(rng, 2, 5, 2, 3), 1.5
    logits = rng.normal(size=(1, 6, 3, 2)) + np.array([1000.0, -1000.0, 0.0])[:, None]
    yield logits, rng.integers(2, size=(1, 6)), 0.5


def rank_accuracy(rng):
    """One rank; all ranks; equal logits, where the smaller id comes first; heads right by design.

    The last: head k is sure of the symbol k + 1 places on, so that any other label shows.
    """
    yield *_logits_and_ids(rng, 1, 3, 1, 2), 1
    yield *_logits_and_ids(rng, 3, 9, 4, 5), 5
    yield np.zeros((2, 8, 2, 4)), rng.integers(4, size=(2, 8)), 3
    ids = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8]])
    logits = np.zeros((1, 9, 2, 12))
    for t in range(9):
        for k in (1, 2):
            logits[0, t, k - 1, t + 1 + k], logits[0, t, k - 1, t + k] = 2.0, 1.0
    yield logits, ids, 2


def best_tree(rng):
    """One node; a chain, as nothing else is right; a fan; ties; more nodes than there are paths.

    Ties: of equal products the shorter path, then the smaller ranks. Ranks need not fall.
    """
    yield np.array([[0.6, 0.3], [0.5, 0.2]]), 1
    yield np.array([[0.9, 0.01], [0.9, 0.01], [0.9, 0.01]]), 3
    yield np.array([[0.3, 0.25, 0.2], [0.1, 0.05, 0.01]]), 4
    yield np.array([[0.5, 0.5, 0.25], [0.5, 0.5, 0.5]]), 9
    yield np.array([[1.0, 0.0], [1.0, 0.0]]), 5
    yield np.array([[0.2, 0.6]]), 7
    yield rng.dirichlet(np.ones(6), size=4)[:, :4], 20


def choice_parents(rng):
    """The root alone; a chain; a fan; two levels; deeper ones."""
    yield ([],)
    yield ([(0,), (0, 0), (0, 0, 0)],)
    yield ([(2,), (0,), (1,)],)
    yield ([(0,), (1,), (0, 0), (0, 1), (1, 0)],)
    yield ([(1,), (1, 3), (0,), (1, 3, 0), (0, 3), (0, 3, 1)],)


def tree_symbols(rng):
    """The root alone; a chain, where entries multiply; a fan, where they add; both."""
    accuracy = rng.dirichlet(np.ones(5), size=3)[:, :4]
    yield accuracy, []
    yield accuracy, [(0,), (0, 2), (0, 2, 3)]
    yield accuracy, [(0,), (3,), (1,)]
    yield accuracy, [(1,), (1, 3), (0,), (1, 3, 0), (0, 3), (0, 3, 1)]


def typical_accept(rng):
    """Sure of one symbol, of entropy 0; even odds; each of the two limits in turn; zeros.

    By design: p = 1/4 four times has delta · exp(-entropy) = delta / 4. With delta = 1 it is p
    itself, and a symbol must exceed it. Just above and just below epsilon;
    epsilon itself.
    """
    p = rng.dirichlet(np.ones(5) / 2, size=12)
    ids = rng.integers(5, size=12)
    for epsilon, delta in [(0.09, 0.3), (0.5, 0.3), (0.05, 3.0)]:
        yield p, ids, epsilon, delta
    yield np.eye(3), np.array([0, 1, 0]), 0.09, 0.3
    even = np.full((2, 4), 0.25)
    yield even, np.array([0, 3]), 0.9, 0.99
    yield even, np.array([0, 3]), 0.9, 1.01
    sure = np.array([[0.91, 0.09, 0.0], [0.9, 0.1, 0.0], [0.5, 0.5, 0.0]])
    yield sure, np.array([1, 1, 2]), 0.095, 5.0
    yield np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]), np.array([1, 0]), 0.9, 0.8
    yield np.array([[0.75, 0.25]]), np.array([1]), 0.25, 5.0
