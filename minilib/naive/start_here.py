"""Softmax: the definition."""

import math

import numpy as np


def softmax(x):
    """Turn each row of scores into probabilities: p_j = exp(x_j) / Σ_k exp(x_k).

    x        (rows, columns); scores, where log 2 more doubles the odds
    returns  (rows, columns); every row sums to 1, and nothing is negative
    A score of -inf gets probability 0.
    Raises ValueError unless x has two dimensions and columns.
    """
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"x must have shape (rows, columns ≥ 1), got {x.shape}")
    out = np.zeros(x.shape)
    for row in range(x.shape[0]):
        top = max(x[row])  # exp(top) divides both sides of the fraction: no overflow
        total = 0.0
        for score in x[row]:
            total += math.exp(score - top)
        for column in range(x.shape[1]):
            out[row, column] = math.exp(x[row, column] - top) / total
    return out
