"""What the definitions of blt and their twins are tried on."""

import numpy as np


def entropies(rng):
    """Sure, torn between two, uniform; a shift of all; logits 2,000 apart, and -inf; other axes."""
    yield (np.array([[0.0, 0, 0, 0], [50, 0, 0, 0], [40, 40, 0, 0], [1000, 1000, -1000, 1000]]),)
    yield (rng.normal(size=(2, 3, 5)),)
    yield (np.array([[[-2000.0, 0, 1], [-np.inf, 0, 1]]]),)


def patch_starts(rng):
    """No patch but the forced ones, all, some; equal to the threshold; cut at `longest`.

    A fall that is not steep enough; a rise to what is still low; no byte before the one to come.
    """
    H = np.array([[9.0, 2, 3, 3, 1, 1.5, 0.25, 1, 2, 3], [0, 0, 0, 0, 4, 0, 4, 4.5, 5, 0]])
    for rule in ("global", "monotonic"):
        yield H, 2.0, rule
        yield H, 0.5, rule, 3
        yield H, 9.5, rule, 4
        yield H, 9.5, rule
        yield H, -1.0, rule
        yield H, -9.5, rule
        yield H[:, :1], 9.5, rule
        yield H[:, :2], 9.5, rule
        yield H, 9.5, rule, 1
        yield H[:, :0], 2.0, rule
    yield H, 2.5
    yield np.zeros((1, 130)), 1.0


def find_threshold(rng):
    """Both rules; long and short patches; a cap that counts; a size that is met exactly."""
    H = rng.gamma(2, size=(2, 60))
    for rule in ("global", "monotonic"):
        yield H, 4.0, rule
        yield H, 1.5, rule, 9
        yield H, 2.5, rule, 3
    yield H, 6.0
    yield np.array([[9.0, 1, 1, 1, 5, 5, 1]]), 2.0  # exactly 2 bytes, whatever lies between 1 and 5
    yield rng.gamma(2, size=(1, 140)), 30.0


def hash_ngrams(rng):
    """One byte, none; order counts; sums that wrap around, to both signs; zeros before the text."""
    ids = np.array([[1, 0, 0, 0, 255, 254, 253, 252], [2, 1, 0, 3, 0, 0, 0, 9]])
    yield ids, 1, 7
    yield ids, 3, 1000
    yield ids, 8, 30000
    yield rng.integers(256, size=(2, 40)), 5, 997
    yield rng.integers(256, size=(1, 2)), 8, 2
    yield ids[:, :0], 3, 7


def _attention(rng, B, K, k, T, C):
    slots, x = rng.normal(size=(B, K, k, C)), rng.normal(size=(B, T, C))
    return slots, x, rng.normal(size=(C, C)), rng.normal(size=(2 * C, C)), rng.normal(size=(C, C))


def encoder_attention(rng):
    """One byte; ragged patches; one without bytes; bytes of no patch; scores 2,000 apart."""
    for B, K, k, T, C, heads in [(1, 1, 1, 1, 2, 1), (2, 3, 2, 7, 4, 2)]:
        slots, x, *W = _attention(rng, B, K, k, T, C)
        patch = np.array([[0] * T, [0, 2, 2, 2, 3, 3, -1][:T]])[:B]
        yield slots, x, patch, *W, heads
    one, x = np.ones((1, 1)), np.array([1.0, 45, 0, 45]).reshape(1, 4, 1)
    slots = np.array([45.0, 1]).reshape(1, 1, 2, 1)
    yield slots, x, np.zeros((1, 4), int), one, np.ones((2, 1)), one, 1


def decoder_attention(rng):
    """One byte and one slot; a patch that nobody looks at; bytes that look back and forth."""
    for B, K, k, T, C, heads in [(1, 1, 1, 1, 2, 1), (2, 3, 2, 7, 4, 2)]:
        slots, x, *W = _attention(rng, B, K, k, T, C)
        patch = np.array([[0] * T, [0, 0, 2, 2, 2, 0, 2][:T]])[:B]
        yield x, slots, patch, *W, heads
    one, slots = np.ones((1, 1)), np.array([1.0, 45, 0, 45]).reshape(1, 1, 4, 1)
    x = np.array([45.0, 1]).reshape(1, 2, 1)
    yield x, slots, np.zeros((1, 2), int), one, np.ones((2, 1)), one, 1


def blt(rng):
    """One byte, two; both rules; a cap; every part twice; texts beyond the context; no n-grams.

    A fresh model is as unsure of every byte; an entropy model of many channels is so the least, and
    its threshold lies in the middle of what it says.
    """
    sizes = dict(vocab_size=11, width=4, slots=1, before=1, middle=1, after=1, heads=1, context=64)
    sizes |= dict(ngram=2, buckets=5, entropy_width=4, entropy_layers=1)
    wide = sizes | dict(width=8, slots=2, heads=2, context=3, ngram=5, entropy_width=128)
    twice = dict(before=2, middle=2, after=2, entropy_layers=2)
    yield sizes, rng.integers(11, size=(1, 1))
    yield sizes | dict(ngram=3), rng.integers(11, size=(2, 2))
    yield wide | dict(longest=3, threshold=1.9), rng.integers(11, size=(2, 9))
    yield wide | twice | dict(threshold=2.05), rng.integers(11, size=(2, 8))
    yield (
        wide | dict(rule="monotonic", threshold=0.1, before=0, context=64),
        rng.integers(11, size=(2, 8)),
    )
