"""Lookahead decoding: greedy text as a fixed point, and the n-grams on the way to it as guesses.

Sources: Fu et al. 2024 (arXiv:2402.02057). Jacobi iteration of models: Song et al. 2020
(arXiv:2002.03629), Santilli et al. 2023 (arXiv:2305.10427). What is kept of several guesses is
decided by the rules of minilib/naive/acceptance.py.

Letters of the paper: a window of W columns and N - 1 rows; G guesses, n-grams of N symbols that
begin with the last symbol of the text.
"""

import numpy as np

from minilib.naive.evabyte import accept_prefix


def jacobi(predict, prefix, guess):
    """All symbols of a block guessed at once, again and again, each from its left neighbours.

    predict  a list of symbols -> (vocab,), the scores of the next one
    guess    a list of symbols, anything
    returns  the guesses in order, a list of lists; the last one is the greedy text
    Symbol i is right after iteration i + 1 at the latest: len(guess) iterations are enough.
    """
    guesses = [list(guess)]
    for _ in guess:
        y = guesses[-1]
        new = [int(np.argmax(predict(list(prefix) + y[:i]))) for i in range(len(y))]
        if new == y:
            break
        guesses.append(new)
    return guesses


def window_parents(rows, columns):
    """Who stands before whom in a window, as a tree: row 0 is a chain, each column hangs from it.

    returns  a list of rows · columns numbers, row by row; -1 for the first
    """
    parents = []
    for row in range(rows):
        for column in range(columns):
            if row == 0:
                parents.append(column - 1)
            else:
                parents.append((row - 1) * columns + column)
    return parents


def slide(window, new, root):
    """The n-grams of a window that got its last row, and the window of the next step.

    window   (N - 1, W) int; window[0, 0] is the last symbol of the text
    new      (W,) int, what followed each column
    root     the last symbol of the text of the next step
    returns  keys (W,), grams (W, N - 1), the window (N - 1, W). Column i says: after window[0, i]
             may come window[1, i], window[2, i], …, new[i]
    """
    rows, columns = window.shape
    grams = np.zeros((columns, rows), dtype=np.int64)
    after = np.zeros((rows, columns), dtype=np.int64)
    for i in range(columns):
        column = [*window[:, i], new[i]]
        grams[i] = column[1:]
        after[:, i] = column[1:]
    after[0, 0] = root
    return window[0].copy(), grams, after


def remember(grams, gram, limit):
    """The n-grams that are kept for a symbol, oldest first, with one more: `limit` at most."""
    others = [old for old in grams if old != gram]
    return [*others, gram][-limit:]


def trie(grams):
    """Guesses as a tree, beginnings that are alike only once: (symbols, parents) without the root.

    grams    lists of symbols, what is to be tried first comes first
    returns  parents count the root as node 0: [a b, a c] -> [a, b, c] and [0, 1, 1]
    """
    symbols, parents, places = [], [], {}
    for gram in grams:
        node = 0
        for symbol in gram:
            if (node, symbol) not in places:
                symbols.append(symbol)
                parents.append(node)
                places[node, symbol] = len(symbols)
            node = places[node, symbol]
    return symbols, parents


def lookahead(predict, prefix, length, window, limit):
    """Write greedily; n-grams that a window of guesses brings up are checked, and kept if right.

    predict  a list of symbols -> (vocab,), the scores of the next one
    window   (N - 1, W) int, anything
    limit    G, how many n-grams are kept for each symbol
    returns  the text with at least `length` more symbols, and how many each call brought
    """
    text, taken, pool, window = list(prefix), [], {}, window.copy()
    best = lambda more: int(np.argmax(predict(text + more)))
    root = best([])
    while len(text) < len(prefix) + length:
        window[0, 0] = root
        # all of this in one call of a parallel model
        new = [best([*window[0, : i + 1], *window[1:, i]]) for i in range(window.shape[1])]
        longest = []
        for gram in pool.get(root, []):
            right = [best([root, *gram[:i]]) for i in range(len(gram))]
            kept = accept_prefix([gram], [right])[0]
            longest = max(longest, list(gram[:kept]), key=len)
        text += [root, *longest]
        taken.append(1 + len(longest))
        root = best([])  # known from the same call
        keys, grams, window = slide(window, np.array(new), root)
        for key, gram in zip(keys.tolist(), grams.tolist(), strict=True):
            pool[key] = remember(pool.get(key, []), gram, limit)
    return text, taken


def compression(alpha, gamma, b, f):
    """Symbols from one call, if one step in f has b guesses of gamma symbols (Fu et al., sec. 4).

    alpha    (n,), the chance that a guessed symbol is right; returns (n,)
    E = (gamma + 1) - sum over i = 1 … gamma of (1 - alpha^i)^b;  S = (f - 1 + E) / f
    For b = 1, E is acceptance.expected_symbols.
    """
    E = np.full(len(alpha), gamma + 1.0)
    for i in range(1, gamma + 1):
        E -= (1 - alpha**i) ** b  # the chance that no guess has its first i symbols right
    return (f - 1 + E) / f
