"""Solutions to the exercises of lesson 27.

Exercise 1: among the divisors of a million, patches of 125 bytes are the cheapest, near
(2 T)^(1/3) = 126.

Exercise 4: bits per byte at equal time (150 steps with patches of 4, 160 with patches
of 8), 20,000 bytes of the test plays, seeds 0, 1, 2:

                                  patch 4               patch 8
    all places                    3.40  3.37  3.47      3.41  3.39  3.48
    first byte less the others    0.35  0.28  0.46      1.15  1.07  1.42

With patches of 8 the first byte stands out three times as much, but there are half as
many first bytes, and the two models are equally good. Only the first byte has no
neighbour in its patch: at place 1 the curve of patches of 8 has already fallen by 0.8
to 1.1 bits, close to the places after it.
"""

import weakref

import numpy as np

import minilib
from minilib.megabyte import attention_cost


def my_attention_cost(T, patch, reach=0):
    K = (T + patch - 1) // patch
    return K * K, K * patch * (reach + patch)


def my_sight(T, P, a, b):
    n, s = np.indices((T, T))
    start = n // P * P
    by_plan = s < start + P - a  # places up to start + P - 1 were read, shifted by a
    by_speller = (s >= start) & (s <= n - b)
    return by_plan | by_speller


def sight_by_marks(T, P, a, b):
    marks = np.eye(T)  # byte s carries mark s
    read = np.concatenate([np.zeros((a, T)), marks])[:T].reshape(-1, P, T)
    planned = read.sum(1).cumsum(0)
    near = np.concatenate([np.zeros((b, T)), marks])[:T]
    near = near * (np.arange(T) % P >= b)[:, None]
    spelled = near.reshape(-1, P, T).cumsum(1).reshape(T, T)
    return spelled + np.repeat(planned, P, axis=0) > 0


def my_stream(vectors, pad, M):
    (P, D), rows = pad.shape, []
    # all that is kept: a sum, how many patches are in it, the patch begun
    total, count, partial = pad.ravel(), 1, []
    current = (total @ M).reshape(P, D)
    for vector in vectors:
        rows.append(current[len(partial)])
        partial.append(vector)
        if len(partial) == P:
            total, count, partial = total + np.concatenate(partial), count + 1, []
            current = (total / count @ M).reshape(P, D)
    return np.array([*rows, current[len(partial)]])


def all_at_once(vectors, pad, M):
    (P, D), T = pad.shape, len(vectors)
    read = np.concatenate([pad, vectors[: T // P * P]]).reshape(-1, P * D)
    means = np.cumsum(read, axis=0) / np.arange(1, len(read) + 1)[:, None]
    return (means @ M).reshape(-1, D)[: T + 1], "a patch is held"


def watched(vectors, held):
    """Hands out copies, and counts how many of them are held, the next one included."""
    alive = []
    for vector in map(np.copy, vectors):
        alive.append(weakref.ref(vector))
        held.append(sum(one() is not None for one in alive))
        yield vector


def stream_and_memory(vectors, pad, M):
    held = [0]
    rows = my_stream(watched(vectors, held), pad, M)
    much = max(held) > len(pad) + 2  # a patch, the one that arrives, the one before
    return rows, f"{'more than ' * much}a patch is held"


def stream_cases(rng):
    for T, P in [(1, 4), (12, 4), (7, 3), (3, 1)]:
        vectors, pad = rng.normal(size=(T, 2)), rng.normal(size=(P, 2))
        yield vectors, pad, rng.normal(size=(2 * P, 2 * P))


def shifts(rng):
    yield from [(12, 4, 4, 1), (12, 4, 1, 1), (12, 4, 0, 1), (12, 4, 4, 0)]
    yield from [(15, 5, 3, 2), (3, 1, 1, 1)]
