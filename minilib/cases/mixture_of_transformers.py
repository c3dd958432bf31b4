"""What the definitions of mixture_of_transformers and their twins are tried on."""

import numpy as np


def group_by_modality(rng):
    """One token; a grid of three kinds, none sorted; a modality without a token, first and last;
    all of one kind; no token at all."""
    yield np.array([0]), 1
    yield np.array([[2, 0, 1, 0], [0, 2, 2, 1]]), 3
    yield np.array([1, 2, 1, 2, 2]), 4
    yield np.zeros((2, 3), np.int64), 1
    yield np.zeros(0, np.int64), 2


def scatter_back(rng):
    """One row; two groups that take turns by 2, 1, 1, 2, so that no order is its own inverse; three
    groups, the middle one empty."""
    yield [rng.normal(size=(1, 1))], [np.array([0])]
    groups = [np.array([1, 2, 4]), np.array([0, 3, 5])]
    yield [rng.normal(size=(3, 2)) for _ in groups], groups
    groups = [np.array([3, 4]), np.zeros(0, np.int64), np.array([0, 1, 2])]
    yield [rng.normal(size=(len(group), 4)) for group in groups], groups


def mixture_layer(rng):
    """One step; three kinds on a cache, standing at step 7 with 4 steps kept; a modality without a
    token; a mask for each row, positions that two steps share."""
    for B, T, H, C, M, position, window in [
        (1, 1, 1, 2, 1, 0, None),
        (2, 5, 2, 8, 3, 7, 4),
        (2, 3, 1, 4, 2, 2, None),
    ]:
        S = min(position, window or position)
        x, past = rng.normal(size=(B, T, C)), rng.normal(size=(2, B, H, S, C // H))
        modality = (np.arange(B)[:, None] + np.arange(T) ** 2) % M
        yield (
            {"width": C, "heads": H, "experts": M, "window": window},
            *(x, modality, *past, position),
        )
    x, past = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 2, 2, 1, 2))
    visible = np.array([[[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]], [[1, 1, 0, 0]] * 3]) == 1
    size = {"width": 4, "heads": 2, "experts": 2}
    yield size, x, np.array([[1, 1, 1], [0, 1, 1]]), *past, np.array([1, 2, 2]), visible[:, None]


def mixture_of_transformers(rng):
    """One symbol; a dense model; two kinds by turns, at the borders of their numbers; three kinds,
    one with a single symbol, texts longer than the context."""
    for sizes, C, layers, H, context, ids in [
        ((2,), 4, 1, 1, 1, [[1]]),
        ((5,), 4, 1, 2, 8, [[0, 4, 2, 2]]),
        ((3, 4), 4, 2, 1, 8, [[2, 3, 0, 6, 3], [3, 2, 2, 5, 0]]),
        ((2, 1, 3), 4, 2, 2, 3, [[2, 1, 3, 5, 0]]),
    ]:
        how = {"sizes": sizes, "width": C, "layers": layers, "heads": H, "context": context}
        yield how, np.array(ids)


def parameters(rng):
    """One of each; several modalities; sizes all different."""
    yield [1], 2, 1
    yield [60, 257], 64, 3
    yield [3, 5, 2], 10, 4


def multiply_adds(rng):
    """One token; modalities of unequal counts, one without a token."""
    yield [1], 1, 2, 1
    yield [7, 0, 37], 314, 8, 3
    yield [5, 4], 11, 6, 2


def steps_to_match(rng):
    """Twice as fast, exact; between measurements; a curve that rises in between; losses that the
    model never reaches, and one that it has from the start; a tie with its last loss and with its
    first; steps that are not evenly apart."""
    steps = np.array([1.0, 2.0, 3.0, 4.0])
    yield steps, np.array([9.0, 7.0, 5.0, 3.0]), np.array([9.5, 8.0, 7.5, 7.0])
    yield steps, np.array([9.0, 6.0, 5.5, 2.0]), np.array([8.0, 7.0, 5.0, 4.0])
    yield steps, np.array([9.0, 6.0, 8.0, 2.0]), np.array([8.0, 5.0, 7.0, 4.0])
    yield steps, np.array([9.0, 6.0, 5.0, 4.0]), np.array([9.0, 7.0, 4.0, 3.0])
    yield np.array([1.0, 2.0, 4.0, 9.0]), np.array([9.0, 8.0, 5.0, 1.0]), np.array([9, 8, 7, 5.5])
