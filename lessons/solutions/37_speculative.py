"""Solutions to the exercises of lesson 37.

Exercise 3, `one_round` for the right rule with gamma = 2, all outcomes listed. The
draft draws from q^(1 / T), renormalised, and says that it drew from q:

    T      worst error of a text of 3 symbols   symbols per round
    1.0    1e-17                                2.200
    0.7    0.0139                               2.075
    1.5    0.0128                               2.310

The speed changes by 5 or 6 %; with the flatter draft it even rises, so that a user
would be pleased. The probabilities of the texts are wrong in both cases, and nobody
sees it without a test. Step 1 of the proof needs that x comes with probability q(x).
The draft may be any model, but the q that the rule divides by must be the one that was
drawn from.
"""

import itertools
import math

import numpy as np

import minilib
from minilib.cases import acceptance as cases
from minilib.naive import acceptance as naive


def my_numbers():
    # 0.2 + 0.2 + 0.1; (0.3, 0.2, 0) / 0.5; 1 + 0.5 + 0.25
    return 0.5, 0.6, 0.4, 0.0, 1.75


def numbers():
    p, q = np.array([0.5, 0.4, 0.1]), np.array([0.2, 0.2, 0.6])
    alpha = naive.acceptance_rate(p[None], q[None])
    E = naive.expected_symbols(np.array([alpha]), 2)[0]
    return tuple(float(x) for x in (alpha, *naive.residual(p, q), E))


def my_verify(p, q, ids, u, less):
    B, gamma = ids.shape
    row = np.arange(B)

    def own(rows):
        return np.take_along_axis(rows, ids[:, :, None], axis=2)[:, :, 0]

    accepted = less(u * own(q), own(p[:, :-1]))
    kept = np.cumprod(accepted, axis=1).sum(axis=1)  # 1 up to the first refusal, then 0
    nothing = np.zeros_like(p[:, :1])  # is offered after the last place
    q = np.concatenate([q, nothing], axis=1)
    left = np.maximum(p[row, kept] - q[row, kept], 0)
    total = left.sum(axis=1, keepdims=True)
    return kept, np.where(total > 0, left / np.where(total > 0, total, 1), p[row, kept])


def verify_judged(p, q, ids, u):
    calls = []

    def less(a, b):
        calls.append(1)
        return a < b

    return my_verify(p, q, ids, u, less), {"calls of less": len(calls)}


def verify_wanted(p, q, ids, u):
    return naive.verify(p, q, ids, u), {"calls of less": 1}


# exercise 3: the lie, measured

P = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]])
Q = np.array([[0.2, 0.6, 0.2], [0.2, 0.2, 0.6], [0.3, 0.5, 0.2]])


def sharper(q, temperature):
    weight = q ** (1 / temperature)
    return weight / weight.sum()


def worst_error(temperature, gamma=2):
    """Of the probabilities of texts of gamma + 1 symbols; and the symbols per round."""
    found, length = np.zeros((3,) * (gamma + 1)), 0.0
    for draft in np.ndindex(*(3,) * gamma):
        before = (0, *draft)
        drawn = math.prod(
            sharper(Q[a], temperature)[x]
            for a, x in zip(before[:-1], draft, strict=True)
        )
        for i, x in enumerate(draft):
            accept = min(1, P[before[i], x] / Q[before[i], x])
            refused = drawn * (1 - accept)
            length += refused * (i + 1)
            for y, part in enumerate(naive.residual(P[before[i]], Q[before[i]])):
                found += refused * part * goes_on((*draft[:i], y), gamma + 1)
            drawn *= accept
        length += drawn * (gamma + 1)
        for y, part in enumerate(P[before[-1]]):
            found += drawn * part * goes_on((*draft, y), gamma + 1)
    return np.abs(found - goes_on((), gamma + 1)).max(), length


def goes_on(text, length):
    """Probabilities of the texts of this length that begin so and are the target's."""
    p = np.zeros((3,) * length)
    for rest in np.ndindex(*(3,) * (length - len(text))):
        whole = (0, *text, *rest)
        pairs = list(itertools.pairwise(whole))[len(text) :]
        p[whole[1:]] = math.prod(P[pair] for pair in pairs)
    return p


honest, sharp, flat = (worst_error(temperature) for temperature in (1.0, 0.7, 1.5))
assert honest[0] < 1e-15 and round(honest[1], 3) == 2.2
assert round(sharp[0], 4) == 0.0139 and round(sharp[1], 3) == 2.075
assert round(flat[0], 4) == 0.0128 and round(flat[1], 3) == 2.31
