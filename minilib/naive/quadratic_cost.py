"""What attention costs, why it must, and what is cheaper. The definition.

code ↔ paper: m, l, o = running maximum, sum and output of a query; phi(x) = features of a query or
key; A, z = running sums of phi(k) vᵀ and of phi(k). Sources: Rabe & Staats 2021 (arXiv:2112.05682)
for the streamed output; Keles, Wijewardena & Hegde 2022 (arXiv:2209.04881) for the bound and the
Taylor features; Katharopoulos et al. 2020 (arXiv:2006.16236) for the recurrent form.
"""

import itertools
import math

import numpy as np


def multiplications(kind, T, D, E, M=0, window=0):
    """Multiplications of one causal head, counted query by query; the softmax itself is left out.

    kind     "dense" and "window" meet each key: D for the score, E for the value; "linear" goes
             once through a state of M rows: M E to write, M E to read, M for the denominator
    T, D, E  steps, width of a key, width of a value; M features; window: the steps seen
    """
    count = 0
    for t in range(T):
        if kind == "linear":
            count += M * E + M * E + M
        else:
            first = max(0, t + 1 - window) if kind == "window" else 0
            for _ in range(first, t + 1):
                count += D + E
    return count


def online_attention(q, k, v, block, causal=False):
    """Softmax attention without a row of weights: keys come in blocks, running sums are rescaled.

    After any number of blocks m is the largest score seen, l the sum of exp(score - m),
    o the sum of exp(score - m) v. Sources: m and l, Milakov & Gimelshein 2018 (arXiv:1805.02867);
    o, Rabe & Staats 2021 (arXiv:2112.05682); in tiles, Dao et al. 2022 (arXiv:2205.14135), alg. 1.

    block    keys per block; shapes and causal as in `attention` of minilib/naive/attention.py
    returns  out (batch, heads, T, E); lse (batch, heads, T), the log of the sum of exponentials,
             -inf where nothing is seen
    """
    B, H, T, D = q.shape
    S = k.shape[2]
    out, lse = np.zeros((B, H, T, v.shape[3])), np.full((B, H, T), -np.inf)
    for b in range(B):
        for h in range(H):
            for t in range(T):
                m, l, o = -np.inf, 0.0, np.zeros(v.shape[3])
                end = t + S - T + 1 if causal else S
                for start in range(0, max(end, 0), block):
                    keys = slice(start, min(start + block, end))
                    score = k[b, h, keys] @ q[b, h, t] / np.sqrt(D)
                    larger = max(m, score.max())
                    weight, shrink = np.exp(score - larger), np.exp(m - larger)
                    l = l * shrink + weight.sum()
                    o = o * shrink + weight @ v[b, h, keys]
                    m = larger
                if l > 0:
                    out[b, h, t], lse[b, h, t] = o / l, m + np.log(l)
    return out, lse


def has_orthogonal_pair(a, b):
    """Is there a row of a and a row of b that have no 1 in common? Pair by pair, O(n m D).

    a (n, D), b (m, D)   of 0 and 1
    """
    for one in a:
        for other in b:
            if not any(one * other):
                return True
    return False


def taylor_features(x, degree):
    """Features phi with phi(x) · phi(y) = sum of (x · y)^t / t! over t = 0 ... degree, near exp.

    One feature for each product of at most `degree` channels, whatever their order; a product that
    holds channel i n_i times is divided by the root of n_0! n_1! ...

    x        (..., D)
    degree   even, as an odd one has negative values, and a sum of weights may then be 0
    returns  (..., M), M = C(D + degree, degree); degree by degree, in lexical order
    """
    D, features = x.shape[-1], []
    for t in range(degree + 1):
        for channels in itertools.combinations_with_replacement(range(D), t):
            product = np.ones(x.shape[:-1])
            for i in channels:
                product = product * x[..., i]
            repeats = math.prod(math.factorial(channels.count(i)) for i in range(D))
            features.append(product / math.sqrt(repeats))
    return np.stack(features, axis=-1)


def linear_attention(q, k, v, A=None, z=None, chunk=64):
    """Causal attention whose weight is q_t · k_s, as a recurrent net: its state is A and z.

    q, k     (batch, heads, T, M), features already: positive products
    v        (batch, heads, T, E)
    A, z     (batch, heads, M, E), (batch, heads, M), the state before; None is 0
    chunk    steps at once in the twin; it changes nothing
    returns  out (batch, heads, T, E), and A and z after the last step
    """
    B, H, T, M = q.shape
    A = np.zeros((B, H, M, v.shape[3])) if A is None else A.copy()
    z = np.zeros((B, H, M)) if z is None else z.copy()
    out = np.zeros(v.shape)
    for b in range(B):
        for h in range(H):
            for t in range(T):
                A[b, h] += np.outer(k[b, h, t], v[b, h, t])
                z[b, h] += k[b, h, t]
                out[b, h, t] = q[b, h, t] @ A[b, h] / (q[b, h, t] @ z[b, h])
    return out, A, z
