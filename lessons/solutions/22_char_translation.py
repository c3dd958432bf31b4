"""Solutions to the exercises of lesson 22.

Exercise 3, the smallest number of layers at which two-step needs fewer multiply-adds:

    s            2   3   4   5
    width 32     2   2   2   2
    width 64     2   2   2   2

It does not depend on the width: what each layer saves and what filters and LSTM add are
all products of two widths. Only the output layer, with its 90 symbols, is not.
"""

import numpy as np

import minilib
from minilib.char_translation import START
from minilib.naive import char_translation as naive


def my_shift(y, s):
    before = np.full((len(y), s), START)
    return np.concatenate([before, y], axis=1)[:, : y.shape[1]]


def my_causal_pool(x, F, b, s):
    B, T, E = x.shape
    C, _, k = F.shape
    padded = np.concatenate([np.zeros((B, k - 1, E)), x], axis=1)
    found = b + sum(padded[:, j : j + T] @ F[:, :, j].T for j in range(k))
    groups = -(-T // s)
    whole = np.zeros((B, groups * s, C))
    whole[:, :T] = np.maximum(found, 0)
    return whole.reshape(B, groups, s, C).max(2)


assert minilib.check(my_shift, like=naive.shift)
assert minilib.check(my_causal_pool, like=naive.causal_pool)
