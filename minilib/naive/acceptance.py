"""What a target keeps of a draft, and how much that brings: the rule of speculative sampling.

Source: Leviathan, Kalman & Matias 2022 (arXiv:2211.17192). Their letters: p is the target's
distribution, q the draft's, gamma the symbols drafted in a round, alpha the chance that one is
accepted, c the time of a draft's step over the time of the target's. (Chen et al. 2023,
arXiv:2302.01318, call the target q and the draft p.) The rule for trees is that of SpecInfer (Miao
et al. 2023, arXiv:2305.09781) and SpecTr (Sun et al. 2023).
"""

import numpy as np


def residual(p, q):
    """What the target still has to say after it refused the draft's offer: norm(max(0, p - q)).

    p, q     (vocab,); returns (vocab,). Where nothing is left, as rounding may have it if p = q: p
    E.g. p = .5 .3 .2 and q = .2 .2 .6: left are .3 .1 0, so .75 .25 0 (sec. 2.3)
    """
    left = np.maximum(p - q, 0)
    return left / left.sum() if left.sum() > 0 else p.copy()


def verify(p, q, ids, u):
    """How many drafted symbols are kept, and what the next one is drawn from (alg. 1).

    p        (batch, gamma + 1, vocab), row i the target's, after i drafted symbols
    q        (batch, gamma, vocab), row i what symbol i was drawn from
    ids      (batch, gamma) int, the draft; u (batch, gamma) uniform in [0, 1)
    returns  kept (batch,) int64; rest (batch, vocab)
    """
    B, gamma = ids.shape
    kept, rest = np.zeros(B, dtype=np.int64), p[:, 0].copy()
    for b in range(B):
        for i in range(gamma):
            x = ids[b, i]
            if u[b, i] * q[b, i, x] < p[b, i, x]:  # with chance min(1, p(x) / q(x))
                kept[b], rest[b] = i + 1, p[b, i + 1]
            else:
                rest[b] = residual(p[b, i], q[b, i])
                break
    return kept, rest


def verify_tree(p, q, ids, parents, u):
    """Where in a tree of drafts the walk ends, and what the next symbol is drawn from.

    Node 0 is the root, the last symbol that is certain. The children of a node are candidates for
    one place. They are offered in turn; each refused one leaves its residual to the next.

    p        (batch, nodes, vocab), row i the target's distribution after node i
    q        (batch, nodes, vocab), row i what node i was drawn from, given the symbols of its
             earlier siblings; row 0 means nothing
    ids      (batch, nodes) int; u (batch, nodes) uniform in [0, 1), u[:, 0] means nothing
    parents  a list, parents[0] = -1
    returns  end (batch,) int64, the last node kept; rest (batch, vocab)
    """
    B = len(ids)
    end, rest = np.zeros(B, dtype=np.int64), p[:, 0].copy()
    for b in range(B):
        node, wanted = 0, p[b, 0]
        while True:
            for i in (i for i in range(len(parents)) if parents[i] == node):
                x = ids[b, i]
                if u[b, i] * q[b, i, x] < wanted[x]:
                    node, wanted = i, p[b, i]
                    break
                wanted = residual(wanted, q[b, i])
            else:  # no child, or none was accepted
                break
        end[b], rest[b] = node, wanted
    return end, rest


def acceptance_rate(p, q):
    """alpha: the mean over rows of sum_x min(p(x), q(x)), 1 - their total variation distance.

    p, q     (rows, vocab), at prefixes that the target wrote; returns a scalar (theorem 3.5)
    """
    total = 0.0
    for p_row, q_row in zip(p, q, strict=True):
        total += np.minimum(p_row, q_row).sum()
    return total / len(p)


def expected_symbols(alpha, gamma):
    """Symbols from one call of the target: 1 + alpha + … + alpha^gamma; eq. 1 is the closed form.

    alpha    (n,) each in [0, 1], as if symbols were accepted independently; returns (n,)
    """
    total = np.zeros(len(alpha))
    for kept in range(gamma + 1):
        total += alpha**kept  # the chance that at least so many are accepted
    return total


def speedup(alpha, gamma, c):
    """By what factor decoding gets faster, if verifying takes one step's time (theorem 3.8).

    alpha    (n,); returns (n,)
    """
    return expected_symbols(alpha, gamma) / (gamma * c + 1)


def best_gamma(alpha, c, limit):
    """The gamma in 0 … limit of the largest speed-up, the smallest of equals; 0 is plain decoding.

    alpha    (n,); returns (n,) int64
    """
    out = np.zeros(len(alpha), dtype=np.int64)
    for n in range(len(alpha)):
        for gamma in range(1, limit + 1):
            if speedup(alpha[n : n + 1], gamma, c)[0] > speedup(alpha[n : n + 1], out[n], c)[0]:
                out[n] = gamma
    return out
