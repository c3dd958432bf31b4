"""What the definitions of hourglass and their twins are tried on."""

import numpy as np


def group(rng):
    """One step; lengths that are and are not multiples of k; every shift; k = 1."""
    for T, k, shift in [
        (1, 1, 0),
        (1, 4, 3),
        (7, 1, 0),
        *((T, 4, shift) for T in (7, 8, 9) for shift in range(4)),
        (5, 2, 1),
    ]:
        yield rng.normal(size=(2, T, 3)), k, shift


def shorten_average(rng):
    """One step of one group; all sizes different; a group that begins with zeros, which count."""
    for shape in [(1, 1, 1, 2), (2, 3, 4, 5)]:
        yield (rng.normal(size=shape),)
    yield (np.concatenate([np.zeros((1, 1, 2, 2)), rng.normal(size=(1, 1, 1, 2))], axis=2),)


def shorten_linear(rng):
    """One step of one group; all sizes different."""
    for B, G, k, C in [(1, 1, 1, 2), (2, 3, 4, 5)]:
        yield rng.normal(size=(B, G, k, C)), rng.normal(size=(C, k * C))


UP = [  # G, k, T, phase: one step; whole groups; a group cut at either end; k = 1
    (1, 1, 1, 0),
    (1, 4, 1, 2),
    (3, 1, 3, 0),
    (2, 4, 8, 0),
    (2, 4, 7, 0),
    (3, 4, 7, 3),
    (2, 3, 3, 1),
]


def up_repeat(rng):
    """One step; whole groups; a group cut at either end; k = 1."""
    for G, k, T, phase in UP:
        yield rng.normal(size=(2, G, 3)), k, T, phase


def up_linear(rng):
    """One step; whole groups; a group cut at either end; k = 1."""
    for G, k, T, phase in UP:
        yield rng.normal(size=(2, G, 3)), rng.normal(size=(3 * k, 3)), k, T, phase


def hourglass(rng):
    """One symbol; k = 1; texts around the length of a group and of the context; all ways."""
    sizes = dict(vocab_size=5, width=4, heads=1, before=1, middle=1, after=1)
    plain = sizes | dict(shorten="average", up="repeat")
    yield plain | dict(k=1, context=3), rng.integers(5, size=(1, 1))
    yield plain | dict(k=4, context=8), rng.integers(5, size=(2, 3))
    for k, T, context, shorten, up in [
        (3, 9, 8, "average", "linear"),
        (2, 7, 2, "linear", "repeat"),
        (4, 9, 3, "attention", "attention"),
    ]:
        ways = dict(k=k, context=context, shorten=shorten, up=up)
        yield sizes | dict(heads=2, width=8) | ways, rng.integers(5, size=(2, T))
    ways = dict(k=3, context=2, shorten="linear", up="attention")
    yield sizes | dict(before=0, middle=2, after=0) | ways, rng.integers(5, size=(2, 10))


def multiply_adds(rng):
    """All ones; a text shorter than the context; one longer; layers left out."""
    yield 1, 1, 1, 1, 0, 1, 0, 1
    yield 9, 4, 5, 3, 1, 2, 1, 100
    yield 10, 4, 5, 4, 2, 3, 0, 3
    yield 33, 6, 2, 2, 1, 1, 1, 16
