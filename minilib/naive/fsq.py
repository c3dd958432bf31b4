"""Finite scalar quantisation: a codebook without a table. The definition.

Source: Mentzer, Minnen, Agustsson, Tschannen 2023, "Finite Scalar Quantization: VQ-VAE Made Simple"
(arXiv:2309.15505), with the bound of the libraries that use it: artanh where the paper's own
listing has tan, and a range that is wider by EPS where that one's is narrower.

    code      meaning                                       shape
    z         what an encoder says, d channels              (..., d)
    levels    L_1 … L_d, how many values each one keeps     d numbers, 2 or more
    codes     what the decoder gets, in [-1, 1]             (..., d)
    index     one whole number for each vector of codes     (...)
"""

import numpy as np

EPS = 1e-3  # the range is wider by this share: without it artanh is infinite for two levels


def bound(z, levels):
    """Squash channel i into a range that holds exactly levels[i] integers.

    An even number of integers has no middle: the range is shifted by half a step, and
    the input by as much, so that 0 stays 0.

    z        (..., d)
    levels   (L_1, …, L_d), each 2 or more
    returns  (..., d), from -floor(L / 2) to floor((L - 1) / 2), and EPS or so beyond
    """
    out = np.zeros(z.shape)
    for i, L in enumerate(levels):
        half = (L - 1) * (1 + EPS) / 2
        off = 0.5 if L % 2 == 0 else 0.0
        shift = np.arctanh(off / half)
        out[..., i] = np.tanh(z[..., i] + shift) * half - off
    return out


def quantise(z, levels):
    """Round the bounded vector, and scale it into [-1, 1]: the codes that the decoder gets.

    Backwards the rounding counts as the identity (straight-through): the gradient is that of
    bound(z, levels) / floor(L / 2).
    """
    return np.round(bound(z, levels)) / [L // 2 for L in levels]


def index_of(codes, levels):
    """One whole number for each vector of codes: its digits to the base of the levels.

    codes    (..., d), as quantise gives them
    returns  (...) int64 in [0, L_1 L_2 … L_d); the first channel counts ones
    """
    index, basis = np.zeros(codes.shape[:-1], np.int64), 1
    for i, L in enumerate(levels):
        digit = np.round(codes[..., i] * (L // 2)).astype(np.int64) + L // 2
        index += digit * basis
        basis *= L
    return index


def digits_of(index, levels):
    """The digits of an index, each from 0 to L - 1. Digit g stands for the code g / (L // 2) - 1.

    returns  (..., d) int64
    """
    digits = np.zeros((*index.shape, len(levels)), np.int64)
    for i, L in enumerate(levels):
        digits[..., i] = index % L
        index = index // L
    return digits
