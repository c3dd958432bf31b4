"""What the definitions of dynamic_pooling and their twins are tried on."""

import numpy as np

ENDS = [  # rows that close different numbers of segments; which steps is plain to see
    ["0"],
    ["1"],
    ["0000", "0100"],
    ["01001", "11111", "00000"],
    ["10110010", "00000001"],
]


def _closes(rows):
    return np.array([[mark == "1" for mark in row] for row in rows])


def pool(rng):
    """No end, all ends, an open rest, one more in one row than in another; weights not 1, and 0."""
    for rows in ENDS:
        closes = _closes(rows)
        x = rng.normal(size=(*closes.shape, 3))
        yield x, closes, np.ones(closes.shape)
        yield x, closes, rng.uniform(0.5, 2, size=closes.shape)
        yield x, closes, closes * 1.0


def unpool(rng):
    """As many vectors as segments and null; more than that, as in a row beside a longer one."""
    for rows in ENDS:
        closes = _closes(rows)
        for more in (0, 2):
            yield rng.normal(size=(len(rows), closes.sum(1).max() + 1 + more, 3)), closes


def space_ends(rng):
    """Every byte: space, tab, line feed, carriage return; 8 and 14, 31 and 33 are none."""
    yield (np.arange(256)[None],)
    yield (np.array([list(b"to be"), list(b" or\tn"), list(b"ot\n\r ")]),)


def token_ends(rng):
    """One byte; longer and shorter; a letter of two bytes."""
    yield ([b"a"],)
    yield ([b"to", b" be", b" ", b"or", b"n"],)
    yield (["é".encode(), b"abc"],)


def entropy_spikes(rng):
    """Rising, falling, equal: which is no spike; a peak two steps back; one step; other k."""
    H = [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [2, 2, 2, 2, 2, 2], [5, 1, 3, 4, 2, 3]]
    yield (np.array(H) * 1.0,)
    yield np.array(H) * 1.0, 1
    yield np.array(H) * 1.0, 3
    yield np.array([[4.0]]), 5
    yield (rng.normal(size=(2, 9)),)


def gumbel_sigmoid(rng):
    """Draws on either side of what they are compared to; a sure predictor; other temperatures."""
    logits = np.array([[-3.0, 0.0, 0.5, 2.0, -1.0]])
    u = np.array([[0.9, 0.5, 0.2, 0.1, 0.75]])
    yield logits, u
    yield logits, u, 1.0
    yield rng.normal(size=(2, 3)), rng.uniform(0.1, 0.9, size=(2, 3)), 2.0
    yield np.array([[20.0, -20.0]]), np.array([[0.3, 0.6]])


def binomial_loss(rng):
    """No end, all ends, some, of one step and of several; rates below and above a half."""
    yield np.array([[1.0]]), 0.3
    for alpha in (0.2, 0.7):
        yield np.array([[0, 0, 0, 0.0], [1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]]), alpha


def route(rng):
    """One step; unlike, alike and opposite neighbours; matrices that differ and are not square."""
    one = np.eye(2)
    yield rng.normal(size=(2, 1, 2)), one, one
    yield np.array([[[1.0, 0.2], [2, 0.4], [-1, 0], [0, 3], [0.1, -3]]]), one, one
    yield rng.normal(size=(2, 6, 3)), rng.normal(size=(3, 3)), rng.normal(size=(3, 3))


def smooth(rng):
    """One segment; a sure one, after which nothing is left of those before; none sure."""
    yield rng.normal(size=(1, 1, 2)), np.array([[0.7]])
    p = np.array([[1, 0.6, 0.5, 1, 0.8], [0.9, 0.0, 0.3, 0.5, 0.7]])
    yield rng.normal(size=(2, 5, 3)), p
    yield rng.normal(size=(1, 12, 1)), rng.uniform(0.1, 0.9, size=(1, 12))


def ratio_loss(rng):
    """Too many ends and too few, none, all; ends where p is low; N that is no whole number."""
    p = np.array([[1, 0.9, 0.1, 0.8], [1, 0.2, 0.1, 0.3]])
    for rows, N in [(["1101", "1000"], 5.0), (["0010", "0000"], 2.5), (["1111"] * 2, 3.0)]:
        yield p, _closes(rows), N
    yield p, _closes(["0000"] * 2), 1.5


def insert_ends(rng):
    """No end, all, at the last step and before."""
    for rows in (["0"], ["1"], ["0000"], ["111"], ["01001"], ["10110010"]):
        closes = _closes(rows)[0]
        yield rng.integers(9, size=len(closes)), closes, 9


def dynamic_pooling(rng):
    """One symbol; all sources; no end at all; an end at each step; texts beyond the context."""
    sizes = dict(vocab_size=33, width=4, heads=1, before=1, middle=1, after=1, context=64)
    wide = sizes | dict(width=8, heads=2, context=3)
    text = rng.integers(15, 32, size=(4, 12))
    text[0, [1, 4, 5, 8, 10]], text[1], text[2, 11], text[3, ::2] = 32, 9, 10, [8, 14, 13, 8, 14, 9]
    yield sizes | dict(source="space"), np.array([[7]])
    yield sizes | dict(source="space"), np.array([[32, 1, 2], [3, 4, 5]])
    yield wide | dict(source="space", middle=2), text
    yield wide | dict(source="space", before=0, after=0), text
    for source in ("gumbel", "supervised", "route"):
        yield sizes | dict(source=source), rng.integers(33, size=(1, 1))
        yield wide | dict(source=source, middle=2), rng.integers(33, size=(2, 12))
