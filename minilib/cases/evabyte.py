"""What the definitions of evabyte and their twins are tried on."""

import numpy as np


def chunk_summaries(rng):
    """Nothing to summarise; chunks of one, which are themselves; several chunks, heads and rows.

    In the last, keys are long: ‖k‖² decides, and exp without the row's maximum overflows.
    """
    for B, H, T, D, chunk, size in [
        (1, 2, 0, 2, 4, 1),
        (2, 1, 3, 2, 1, 1),
        (2, 3, 12, 4, 3, 1),
        (1, 1, 4, 6, 4, 1),
        (1, 2, 8, 2, 4, 60),
    ]:
        k, v = rng.normal(size=(2, B, H, T, D))
        mu, phi = rng.normal(size=(2, H, D))
        yield size * k, v, mu, phi, chunk


def eva_attention(rng):
    """One step; a text in one window; windows that end with it and that do not; windows of a chunk.

    Then chunks of one, where all is exact; one has scores far apart; in the last
    they are so large that exp without the row's maximum fails.
    """
    for B, H, T, D, window, chunk, size in [
        (1, 1, 1, 2, 4, 2, 1),
        (2, 1, 5, 2, 6, 3, 1),
        (1, 2, 8, 4, 4, 2, 1),
        (2, 3, 11, 2, 4, 2, 1),
        (1, 1, 7, 3, 3, 3, 1),
        (2, 1, 6, 2, 2, 1, 1),
        (1, 2, 9, 4, 4, 4, 30),
    ]:
        q, k, v = rng.normal(size=(3, B, H, T, D))
        mu, phi = rng.normal(size=(2, H, D))
        yield size * q, k, v, mu, phi, window, chunk
    q, v = np.array([1.0, 45, 0, 45, 0.5]).reshape(1, 1, 5, 1), rng.normal(size=(1, 1, 5, 1))
    yield q, q, v, *rng.normal(size=(2, 1, 1)), 6, 2  # scores up to 2,025


def eva_cost(rng):
    """One step; inside, at the end and at the start of a window; chunks of one; a long text."""
    yield 0, 4, 2
    yield 1, 4, 2
    for T in (7, 8, 9, 13):
        yield T, 4, 2
    yield 10, 3, 1
    yield 300, 64, 8


def evabyte(rng):
    """One symbol; a text in one window; one that ends with a window; windows and a rest.

    Then chunks of one, and windows of one chunk; one head for the next byte alone.
    """
    names = "vocab_size width layers heads window chunk ahead"
    for *sizes, B, T in [
        (2, 4, 1, 1, 4, 2, 3, 1, 1),
        (5, 8, 2, 2, 16, 4, 2, 2, 9),
        (7, 4, 1, 2, 4, 2, 1, 1, 8),
        (5, 8, 2, 2, 6, 3, 4, 2, 14),
        (3, 4, 2, 1, 4, 1, 2, 1, 11),
        (5, 4, 1, 1, 8, 8, 2, 2, 19),
    ]:
        shape = dict(zip(names.split(), sizes, strict=True))
        yield shape, rng.integers(shape["vocab_size"], size=(B, T))


def multibyte_loss(rng):
    """One head is the loss of the next byte; heads without a target at the end, and at all.

    Then large logits that differ by head, whose exp overflows.
    """
    for B, T, ahead, V, size in [
        (1, 1, 1, 2, 1),
        (2, 5, 1, 3, 1),
        (2, 6, 3, 5, 1),
        (1, 2, 4, 3, 1),
        (2, 4, 2, 4, 900),
    ]:
        yield size * rng.normal(size=(B, T, ahead, V)), rng.integers(V, size=(B, T + 1))


def accept_prefix(rng):
    """Nothing drafted; all right; the first, a middle one, the last wrong; right after wrong."""
    yield rng.integers(5, size=(2, 0)), rng.integers(5, size=(2, 0))
    right = rng.integers(5, size=(5, 4))
    drafts = right.copy()
    for row, place in enumerate([0, 2, 3]):
        drafts[row, place] += 1
    drafts[4, [1, 2]] += 1
    yield drafts, right
    yield rng.integers(2, size=(40, 6)), rng.integers(2, size=(40, 6))
