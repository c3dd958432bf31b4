"""Solutions to the exercises of lesson 12.

Exercise 3, how many are enough: version 2, 100 steps, 32 texts, cosine of the gradient
from the N best with the gradient from all 610 segmentations:

    N        2       5      30     100     300
    seed 0   0.59    0.62   0.71   0.89    0.99
    seed 1  -0.27   -0.02   0.81   0.98    1.00
    seed 2   0.49    0.81   0.90   0.98    1.00

The cosine grows to 1, but five are few once training is under way: with seed 1 the
gradient of five points nowhere near the exact one, and yet the accuracy is 0.97. What
the list decides is only what may become more probable among its members. At step 0 five
give 0.97, 0.96 and 0.92.

Exercise 4, one sample instead: at step 0, 32 texts, 400 draws; squared length of the
exact gradient, variance of REINFORCE, and squared error of the gradient of the 5 best:

             exact    b = 0    b = mean loss    5 best, error
    seed 0   0.0020   0.111    0.0079           0.0013
    seed 1   0.0105   0.110    0.0063           0.0079
    seed 2   0.0021   0.061    0.0011           0.0015

Without a baseline the variance is ten times the squared length of the gradient or more:
one draw says next to nothing. The mean loss takes nine tenths of it away, and more. The
five best draw nothing and have no variance, but an error of their own: they compare
a few segmentations that are much alike, and their gradient is five to seven times
shorter than the exact one. REINFORCE is right on average. Who leaves out log Z, and
takes the counts of s alone, gets a mean that is wrong: with b = 0 the squared error of
the mean of 400 draws is 0.46, 0.27 and 0.16, more than any number in the table.

Exercise 5, another label: accuracy 0.977, 0.968, 0.966 (version 2, 300 steps, seeds 0,
1, 2). The best segmentations of one text each:

    cb|a|cb|a|cb|a|cb|a|bc     b|ca|b|ca|b|ca|b|ca|bc     cb|a|b|ca|b|ca|bc|ac|b

Not all seeds find the blocks themselves: ca, with the a behind a block, tells that
the block ended with c just as well.
"""

import numpy as np
import torch

import minilib
from minilib.naive import unigram as naive
from minilib.unigram import forward_sums


def my_ways(text, pieces):
    ways = [1]
    for end in range(1, len(text) + 1):
        fits = [w for w in pieces if text[:end].endswith(w)]
        ways.append(sum(ways[end - len(w)] for w in fits))
    return ways[-1]


def ways_by_recursion(text, pieces, known=None):
    known = {b"": 1} if known is None else known
    if text not in known:
        rests = [text[len(w) :] for w in pieces if text.startswith(w)]
        known[text] = sum(ways_by_recursion(rest, pieces, known) for rest in rests)
    return known[text]


def ways_cases(rng):
    yield b"abcab", [b"a", b"b", b"c", b"ab", b"ca", b"bc"]
    yield b"aaaa", [b"a", b"aa", b"aaa"]
    yield b"ab", [b"b", b"ab"]
    yield b"ba", [b"b", b"ab"]
    yield b"ab" * 30, [b"a", b"b", b"ab", b"ba", b"aba"]


def my_expected_counts(text, pieces, logp):
    backwards = [w[::-1] for w in pieces]
    A = naive.forward_sums([text], pieces, logp)[0]
    R = naive.forward_sums([text[::-1]], backwards, logp)[0][::-1]
    counts = np.zeros(len(pieces))
    for w, piece in enumerate(pieces):
        for begin in range(len(text)):
            end = begin + len(piece)
            if text[begin:end] == piece:
                counts[w] += np.exp(A[begin] + logp[w] + R[end] - A[-1])
    return counts


def expected_counts_by_autograd(text, pieces, logp):
    leaf = torch.tensor(logp, requires_grad=True)
    last = forward_sums([text], pieces, leaf)[0, -1]
    return torch.autograd.grad(last, leaf)[0].numpy()


def counts_cases(rng):
    some = [b"a", b"b", b"c", b"ab", b"ca", b"abc"]
    for text in (b"a", b"abcab", b"ccabcabcab"):
        yield text, some, -3 * rng.random(6)
