"""Solutions to the exercises of lesson 33.

Exercise 4, seeds 0, 1 and 2 (they agree within 0.02 bits), L = 8:

    gain g                  0.3   0.5   0.7   0.9   1.0   1.1   1.2   1.5   2.0   3.0
    entropy (bits)         2.03  2.55  2.82  2.94  2.97  2.97  2.97  2.89  2.72  2.41
    share of level 0        0 %   0 %   2 %   6 %   8 %  10 %  12 %  17 %  24 %  32 %
    share of level 7        0 %   1 %   5 %  10 %  13 %  15 %  17 %  23 %  29 %  35 %

The entropy is largest, 2.97 of 3 bits, at a gain of about 1.1, and flat around it. With
a larger gain more and more numbers end at both ends, where tanh is flat and hardly any
gradient comes through; with a smaller one the ends are seldom or never reached.
"""

import numpy as np

import minilib
from minilib.naive import fsq as naive_fsq
from minilib.naive import video_tokens as naive
from minilib.video_tokens import Encoder


def my_index(codes, levels):
    half = np.array(levels) // 2
    basis = np.cumprod([1, *levels[:-1]])
    digits = np.round(codes * half).astype(np.int64) + half
    return (digits * basis).sum(-1)


def my_field(layers, t):
    first = last = t
    for K, stride in reversed(layers):
        first = first * stride - (K - stride)
        last = last * stride + stride - 1
    return first, last


def field_by_sets(layers, t):
    first, last = naive.receptive_field(layers, [t])
    return int(first[0]), int(last[0])


stacks = [[(3, 1)], [(3, 2)], [(3, 1), (3, 2), (5, 1)], list(Encoder.LAYERS)]
questions = [(stack, t) for stack in stacks for t in (0, 1, 7)]


def film_bits(frames, height, width, side, levels):
    places = (height // side) * (width // side)
    return (1 + (frames - 1) // 4) * places * float(np.log2(levels).sum())


def bits_by_counting(frames, height, width, side, levels):
    maps = 1 + len(range(1, frames, 4))
    places = len(range(0, height, side)) * len(range(0, width, side))
    return maps * places * sum(float(np.log2(L)) for L in levels)


films = [(17, 256, 256, 8, (8,) * 6), (9, 16, 16, 4, (8, 5, 5, 5)), (1, 8, 16, 8, (2,))]

assert minilib.check(my_index, like=naive_fsq.index_of)
assert minilib.check(my_field, like=field_by_sets, cases=lambda rng: questions)
assert minilib.check(film_bits, like=bits_by_counting, cases=lambda rng: films)
