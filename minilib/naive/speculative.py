"""Speculative sampling: a small model drafts, a big one keeps what it could have written itself. The definition.

Source: Leviathan, Kalman & Matias 2022 (arXiv:2211.17192). Their letters: p is the target's distribution, q the draft's, gamma the
symbols drafted in a round, alpha the chance that one is kept, c the time of a draft's step over the time of the target's.
(Chen et al. 2023, arXiv:2302.01318, call the target q and the draft p.) Trees: Spector & Ré 2023 (arXiv:2308.04623).
"""

import numpy as np


def residual(p, q):
    """What the target still has to say after the draft's offer was turned down: norm(max(0, p - q)), sec. 2.3.

    p, q     (vocab,); returns (vocab,). Where nothing is left, as rounding may have it when p = q, p itself
    """
    left = np.maximum(p - q, 0)
    return left / left.sum() if left.sum() > 0 else p.copy()


def verify(p, q, ids, u):
    """How many drafted symbols are kept, and what the next one is drawn from (alg. 1).

    p        (batch, gamma + 1, vocab), row i the target's distribution after i drafted symbols
    q        (batch, gamma, vocab), row i what symbol i was drawn from
    ids      (batch, gamma) int, the draft; u (batch, gamma) uniform in [0, 1)
    returns  kept (batch,) int64; rest (batch, vocab)
    """
    B, gamma = ids.shape
    kept, rest = np.zeros(B, dtype=np.int64), p[:, 0].copy()
    for b in range(B):
        for i in range(gamma):
            x = ids[b, i]
            if u[b, i] * q[b, i, x] < p[b, i, x]:  # with probability min(1, p(x) / q(x))
                kept[b], rest[b] = i + 1, p[b, i + 1]
            else:
                rest[b] = residual(p[b, i], q[b, i])
                break
    return kept, rest


def verify_tree(p, q, ids, parents, u):
    """Where in a tree of drafts the walk ends, and what the next symbol is drawn from.

    Node 0 is the root, the last symbol that is certain. The children of a node are candidates for one place. They are offered in
    turn; each one that is turned down leaves its residual to the next.

    p        (batch, nodes, vocab), row i the target's distribution after node i
    q        (batch, nodes, vocab), row i what node i was drawn from, given the symbols of its earlier siblings; row 0 means nothing
    ids      (batch, nodes) int; parents: a list, parents[0] = -1; u (batch, nodes) uniform in [0, 1), u[:, 0] means nothing
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
            else:  # no child, or none was kept
                break
        end[b], rest[b] = node, wanted
    return end, rest


def draw(p, u):
    """The first symbol whose cumulative probability exceeds u; of probability 0 never, should rounding keep the sum below u."""
    return min(int((np.cumsum(p) <= u).sum()), int(np.flatnonzero(p).max()))


def speculative(target, draft, rows, length, gamma, uniforms):
    """Write `length` symbols after each of several texts, all rows advancing together (alg. 1, repeated).

    After a round every row keeps as many symbols as the shortest of them. That is exact: whether a row keeps its symbol number
    j + 1 depends on what happened before that symbol, in this row and the others, and not on which symbol it is.

    target, draft  functions of a list of symbols -> (vocab,) the distribution of the next one
    rows           lists of symbols, the texts so far
    uniforms       (rounds, batch, 2 gamma + 1): to draw the drafts, to accept them, to draw the last symbol
    returns        (batch, length) int64
    """
    B, texts = len(rows), [list(row) for row in rows]
    start = [len(row) for row in rows]
    for u in uniforms:
        if len(texts[0]) - start[0] >= length:
            break
        news = []
        for b in range(B):
            ids, q = [], []
            for i in range(gamma):
                q.append(draft(texts[b] + ids))
                ids.append(draw(q[-1], u[b, i]))
            p = [
                target(texts[b] + ids[:i]) for i in range(gamma + 1)
            ]  # the one call of a parallel target
            kept, rest = verify(
                np.array([p]), np.array([q]), np.array([ids]), u[b : b + 1, gamma : 2 * gamma]
            )
            news.append([*ids[: kept[0]], draw(rest[0], u[b, -1])])
        shortest = min(len(new) for new in news)
        for text, new in zip(texts, news, strict=True):
            text += new[:shortest]
    return np.array([text[s : s + length] for text, s in zip(texts, start, strict=True)])


def acceptance_rate(p, q):
    """alpha: the mean over rows of sum_x min(p(x), q(x)), which is 1 - their total variation distance (theorem 3.5).

    p, q     (rows, vocab), at prefixes that the target wrote; returns a scalar
    """
    total = 0.0
    for p_row, q_row in zip(p, q, strict=True):
        total += np.minimum(p_row, q_row).sum()
    return total / len(p)


def expected_symbols(alpha, gamma):
    """Symbols from one call of the target: 1 + alpha + … + alpha^gamma, of which eq. 1 is the closed form.

    alpha    (n,) each in [0, 1], as if symbols were kept independently of one another; returns (n,)
    """
    total = np.zeros(len(alpha))
    for kept in range(gamma + 1):
        total += alpha**kept  # the chance that at least so many are kept
    return total


def speedup(alpha, gamma, c):
    """By what factor decoding gets faster, if verifying takes one step's time (theorem 3.8). alpha (n,); returns (n,)."""
    return expected_symbols(alpha, gamma) / (gamma * c + 1)


def best_gamma(alpha, c, limit):
    """The gamma in 0 … limit of the largest speed-up, the smallest of equals; 0 is plain decoding. alpha (n,); returns (n,) int64."""
    out = np.zeros(len(alpha), dtype=np.int64)
    for n in range(len(alpha)):
        for gamma in range(1, limit + 1):
            if speedup(alpha[n : n + 1], gamma, c)[0] > speedup(alpha[n : n + 1], out[n], c)[0]:
                out[n] = gamma
    return out
