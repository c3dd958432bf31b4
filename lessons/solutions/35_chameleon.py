"""Solutions to the exercises of lesson 35.

Exercise 4, measured. All 50 logits are equal, so each p is 1/50 and one step multiplies
log Z by 1 - 2 η c / V = 1 - 2 · 100 · 0.001 / 50 = 0.996. Half is reached when
0.996^n ≤ 1/2, n = ln 2 / 0.004008 = 172.9: after 173 steps, on paper and in the count
below. A tenth of the steps, 17, needs 1 - 2 η c / V = 2^(-1/17), so c = 0.0100: ten
times the weight, since for small steps the product n · c decides.
"""

import math

import numpy as np

import minilib
from minilib.naive import chameleon as naive


def my_interleave(captions, pictures, image_first, words, codes):
    start, begin, finish, stop = range(words + codes, words + codes + 4)
    L, G = captions.shape[1], pictures.shape[1]
    rows = np.zeros((len(captions), L + G + 4), np.int64)
    for row, caption, picture, first in zip(
        rows, captions, pictures, image_first, strict=True
    ):
        text = list(caption[caption > 0])
        drawn = [begin, *(picture + words), finish]
        whole = [start, *(drawn + text if first else text + drawn), stop]
        row[: len(whole)] = whole
    return rows


def my_gradient(logits, counted, weight):
    top = logits.max(-1, keepdims=True)
    z = top + np.log(np.exp(logits - top).sum(-1, keepdims=True))
    gradient = 2 * weight * z * np.exp(logits - z) / counted.sum()
    return gradient * counted[..., None]


def my_bounds():
    # Lengths are √64 = 8 at most. Gains of 3 make queries three times as long; one gain
    # of -5 makes them five times as long at most, if all length is in that number.
    # Without the division the bound is 8 · 8.
    return [8.0, 24.0, 40.0, 64.0]


def bounds():
    one, none = np.ones((1, 64)), np.zeros((1, 64))
    sharp = one.copy()
    sharp[0, 7] = -5
    three = [
        naive.logit_bound(gain, none, one, none)[0] for gain in (one, 3 * one, sharp)
    ]
    return [*three, 8 * three[0]]


def steps_to_half(weight, rate=100.0, V=50):
    logits, counted = np.full((1, 1, V), 100.0), np.ones((1, 1), bool)
    begin, steps = naive.log_z(logits)[0, 0], 0
    while naive.log_z(logits)[0, 0] > begin / 2:
        logits = logits - rate * naive.z_loss_gradient(logits, counted, weight)
        steps += 1
    return steps


assert minilib.check(my_interleave, like=naive.interleave)
assert minilib.check(my_gradient, like=naive.z_loss_gradient)
assert np.allclose(my_bounds(), bounds())
assert steps_to_half(1e-3) == 173 == math.ceil(math.log(0.5) / math.log(0.996))
needed = (1 - 2 ** (-1 / 17)) * 50 / (2 * 100)
assert round(needed, 4) == 0.01 and steps_to_half(1.0001 * needed) == 17
