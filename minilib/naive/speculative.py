"""Speculative sampling: a small model drafts, a big one keeps what it could have written itself.

Source: Leviathan, Kalman & Matias 2022 (arXiv:2211.17192); the letters are those of
minilib/naive/acceptance.py, the rule of what is kept. Trees of drafts: SpecInfer (Miao et al. 2023,
arXiv:2305.09781), SpecTr (Sun et al. 2023); staged drafts: Spector & Ré 2023 (arXiv:2308.04623).
"""

import numpy as np

from minilib.naive.acceptance import verify
from minilib.naive.language_model import probabilities


def draw(p, u):
    """The first symbol whose cumulative probability exceeds u.

    Never one of probability 0, should rounding keep the sum below u.
    """
    return min(int((np.cumsum(p) <= u).sum()), int(np.flatnonzero(p).max()))


def speculative(target, draft, rows, length, gamma, uniforms):
    """Write `length` symbols after each of several texts, all rows advancing together (alg. 1).

    After a round every row keeps as many symbols as the shortest of them. That is exact: whether a
    row keeps its symbol number j + 1 depends on what happened before that symbol, in this row and
    the others, and not on which symbol it is.

    target, draft  functions of a list of symbols -> (vocab,) the distribution of the next one
    rows           lists of symbols, the texts so far
    uniforms       (rounds, batch, 2 gamma + 1): to draw drafts, to accept them, to draw the last
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
            # the one call of a parallel target
            p = [target(texts[b] + ids[:i]) for i in range(gamma + 1)]
            u_accept = u[b : b + 1, gamma : 2 * gamma]
            kept, rest = verify(np.array([p]), np.array([q]), np.array([ids]), u_accept)
            news.append([*ids[: kept[0]], draw(rest[0], u[b, -1])])
        shortest = min(len(new) for new in news)
        for text, new in zip(texts, news, strict=True):
            text += new[:shortest]
    written = [text[s : s + length] for text, s in zip(texts, start, strict=True)]
    return np.array(written)


def tree_parents(widths):
    """The parent of each node of a tree, level by level: (2, 1, 1) -> [-1, 0, 0, 1, 2, 3, 4].

    widths   children of each node of level 0, the root, of level 1, …
    """
    parents, level = [-1], [0]
    for width in widths:
        children = []
        for node in level:
            for _ in range(width):
                children.append(len(parents))
                parents.append(node)
        level = children
    return parents


def siblings(logits, u, temperature=1.0, top_k=None, top_p=None):
    """Symbols drawn for one place without replacement: what was drawn leaves the others its odds.

    logits   (rows, vocab) of a draft; u (rows, width) uniform in [0, 1), width ≤ vocab
    returns  ids (rows, width) int64; q (rows, width, vocab), what each was drawn from
    """
    rows, width = u.shape
    ids, q = np.zeros((rows, width), dtype=np.int64), np.zeros((rows, width, logits.shape[1]))
    for r in range(rows):
        left = logits[r].copy()
        for n in range(width):
            q[r, n] = probabilities(left[None], temperature, top_k, top_p)[0]
            ids[r, n] = draw(q[r, n], u[r, n])
            left[ids[r, n]] = -1e30  # finite, so that a row always has something to offer
    return ids, q
