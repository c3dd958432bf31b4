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
    return [(rng.normal(size=shape),) for shape in [(1, 1, 1, 2), (2, 3, 4, 5)]]


def shorten_linear(rng):
    return [
        (rng.normal(size=(B, G, k, C)), rng.normal(size=(C, k * C)))
        for B, G, k, C in [(1, 1, 1, 2), (2, 3, 4, 5)]
    ]


def shorten_attention(rng):
    for B, G, k, heads, D in [(1, 1, 1, 1, 2), (2, 3, 4, 2, 2), (1, 2, 3, 1, 6)]:
        C = heads * D
        yield (
            rng.normal(size=(B, G, C)),
            rng.normal(size=(B, G, k, C)),
            rng.normal(size=(C, C)),
            rng.normal(size=(2 * C, C)),
            rng.normal(size=(C, C)),
            heads,
        )


def _up_cases(rng):
    """One step; whole groups; a group cut at either end; k = 1. (G, k, T, phase)"""
    yield from [
        (1, 1, 1, 0),
        (1, 4, 1, 2),
        (3, 1, 3, 0),
        (2, 4, 8, 0),
        (2, 4, 7, 0),
        (3, 4, 7, 3),
        (2, 3, 3, 1),
    ]


def up_repeat(rng):
    return [(rng.normal(size=(2, G, 3)), k, T, phase) for G, k, T, phase in _up_cases(rng)]


def up_linear(rng):
    return [
        (rng.normal(size=(2, G, 3)), rng.normal(size=(3 * k, 3)), k, T, phase)
        for G, k, T, phase in _up_cases(rng)
    ]


def up_attention(rng):
    """One step; whole groups; pieces that begin or end inside a group, with a past; no new group; windows. (B, T, G, S, heads, D, k, position, window)"""
    for B, T, G, S, heads, D, k, position, window in [
        (1, 1, 1, 0, 1, 2, 1, 0, None),
        (2, 7, 2, 0, 2, 2, 4, 0, None),
        (2, 9, 3, 0, 1, 4, 4, 0, 2),
        (1, 5, 1, 2, 2, 2, 4, 6, None),
        (1, 2, 0, 2, 1, 2, 4, 5, 2),
        (2, 6, 2, 3, 1, 2, 3, 9, 3),
        (1, 11, 5, 2, 1, 2, 2, 5, 2),
    ]:
        C = heads * D
        weights = [rng.normal(size=shape) for shape in ((C, C), (2 * C, C), (C, C))]
        past = rng.normal(size=(2, B, heads, S, D))
        yield (
            rng.normal(size=(B, T, C)),
            rng.normal(size=(B, G, C)),
            *weights,
            heads,
            k,
            past[0],
            past[1],
            position,
            window,
        )


def hourglass(rng):
    """One symbol; k = 1; texts shorter than, as long as and longer than a group and the context; every way to shorten and to go up."""
    sizes = dict(vocab_size=5, width=4, heads=1, before=1, middle=1, after=1)
    yield sizes | dict(k=1, context=3, shorten="average", up="repeat"), rng.integers(5, size=(1, 1))
    yield sizes | dict(k=4, context=8, shorten="average", up="repeat"), rng.integers(5, size=(2, 3))
    for k, T, context, shorten, up in [
        (3, 9, 8, "average", "linear"),
        (2, 7, 2, "linear", "repeat"),
        (4, 9, 3, "attention", "attention"),
    ]:
        yield (
            sizes | dict(heads=2, width=8, k=k, context=context, shorten=shorten, up=up),
            rng.integers(5, size=(2, T)),
        )
    yield (
        sizes | dict(before=0, middle=2, after=0, k=3, context=2, shorten="linear", up="attention"),
        rng.integers(5, size=(2, 10)),
    )


def multiply_adds(rng):
    yield from [
        (1, 1, 1, 1, 0, 1, 0, 1),
        (9, 4, 5, 3, 1, 2, 1, 100),
        (10, 4, 5, 4, 2, 3, 0, 3),
        (33, 6, 2, 2, 1, 1, 1, 16),
    ]


def funnel(rng):
    """One symbol; lengths that are odd at one level or another; one level."""
    for levels, layers, heads, B, T in [
        (1, 1, 1, 1, 1),
        (3, 1, 2, 2, 1),
        (3, 2, 1, 2, 6),
        (2, 1, 2, 3, 5),
    ]:
        yield (
            {"vocab_size": 5, "width": 8, "layers": layers, "levels": levels, "heads": heads},
            rng.integers(5, size=(B, T)),
        )


def word_ends(rng):
    """One byte; words and what is between them; a character of several bytes, cut in two; any bytes."""
    for text in (
        b"a",
        b"don't stop,  now\n\n",
        "na\u00efve \u2013 caf\u00e9".encode()[:-1],
        b"   ",
    ):
        yield (np.array([list(text)]),)
    yield (rng.integers(256, size=(3, 40)),)


def select(rng):
    """No end at all; one; none in one row and all in another."""
    for T, rate in [(1, 0), (1, 1), (7, 0.4), (9, 0)]:
        ends = rng.random((2, T)) < rate
        yield rng.normal(size=(2, T, 3)), ends
    yield rng.normal(size=(2, 4, 3)), np.array([[False] * 4, [True] * 4])


def expand(rng):
    """No end; ends at the first and last step; stretches longer than the table of offsets."""
    for T, N, rate in [(1, 1, 0), (1, 2, 1), (9, 3, 0.3), (20, 4, 0.1)]:
        ends = rng.random((2, T)) < rate
        ends[0, -1] = True
        yield (
            rng.normal(size=(2, ends.sum(1).max(), 3)),
            ends,
            rng.normal(size=(3, 3)),
            rng.normal(size=(N, 3, 3)),
        )
