"""What the definitions of compression and their twins are tried on."""

import numpy as np


def quantize(rng):
    """One symbol; two; odd sizes, more axes; a certainty; equal values; no room to spare."""
    yield _rows(rng, (1, 1)), 1
    yield _rows(rng, (3, 2)), 1 << 16
    yield _rows(rng, (2, 3, 257)), 1 << 12
    certain = _rows(rng, (2, 5)) * 0
    certain[:, 3] = 1
    yield certain, 1 << 16
    yield certain * 0 + 0.2, 101
    yield _rows(rng, (4, 7)), 7


def _rows(rng, shape):
    """Rows that sum to 1 and are mostly small, as a model's are."""
    return rng.dirichlet([0.1] * shape[-1], size=shape[:-1])


def kneser_ney(rng):
    """Orders 2 to 7, both kinds of discount, contexts seen and unseen; length 1.

    Every byte occurs, so that every change shows. Order 1 and texts too short for their order,
    where nothing depends on the input, are compared in the tests. Last, a text of which no pair
    occurs once, three twice and four three times: n1 is 0, so that D is 1/2, and D2 would be
    2 - 3/2 · 4/3 = 0.
    """
    text = (
        bytes(range(256))
        + b"the theory is that the thin thief thought of the other thing; o that the then"
        + bytes(range(255, -1, -2))
    )
    for order, modified in [(2, False), (3, True), (4, False), (4, True)]:
        ids = rng.choice([*text[256:], 0, 255], size=(2, 5))
        yield {"text": text, "order": order, "modified": modified}, ids
    yield {"text": text, "order": 7}, _ids(b"1he then")
    yield {"text": text}, _ids(b"t")
    for modified in (False, True):
        yield {"text": b"abcabcadefadefadefa", "order": 2, "modified": modified}, _ids(b"abfz")


def _ids(text):
    return np.array([list(text)])
