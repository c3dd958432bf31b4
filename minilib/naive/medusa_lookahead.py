"""Medusa: heads on a model guess further ahead, and the model checks a tree of their guesses.

Source: Cai et al. 2024 (arXiv:2401.10774); heads that guess ahead, for greedy text: Stern et al.
2018 (arXiv:1811.03115). What is kept of a tree is decided by the rules of
minilib/naive/acceptance.py, or by the paper's typical acceptance.

The trunk is the model that is there already. It gives the next symbol; head k, from 1, guesses the
symbol k places behind the next one.
"""

import numpy as np


def medusa_heads(params, z):
    """What each head expects: W2 (h + SiLU(W1 h + b)), the logits of a symbol further ahead.

    params   R (C, V), W1 (heads, C, C), b (heads, C), W2 (heads, V, C)
    z        (rows, V), logits of the trunk. h = R z is its last hidden state, if z = U h and R U
             is the identity. With W1 and b zero and W2 = U a head says what the trunk says
    returns  (rows, heads, V)
    """
    rows, heads = len(z), len(params["W1"])
    out = np.zeros((rows, heads, params["W2"].shape[1]))
    for n in range(rows):
        h = params["R"] @ z[n]
        for k in range(heads):
            inner = params["W1"][k] @ h + params["b"][k]
            out[n, k] = params["W2"][k] @ (h + inner / (1 + np.exp(-inner)))
    return out


def medusa_loss(logits, ids, decay):
    """Nats of all heads: the sum over heads k = 1 … K of decay^k times the mean of head k.

    logits   (batch, T, K, V), of the heads after each of ids
    ids      (batch, T), T ≥ K + 2. After ids[t] the next symbol is ids[t + 1], which is the
             trunk's; head k has the target ids[t + 1 + k], and none at the last 1 + k places
    """
    B, T, K, _ = logits.shape
    total = 0.0
    for k in range(1, K + 1):
        nats = []
        for b in range(B):
            for t in range(T - 1 - k):
                z = logits[b, t, k - 1] - logits[b, t, k - 1].max()
                nats.append(np.log(np.exp(z).sum()) - z[ids[b, t + 1 + k]])
        total += decay**k * np.mean(nats)
    return total


def rank_accuracy(logits, ids, ranks):
    """How often the likeliest symbol of a head is right, its second, …: (K, ranks).

    logits, ids  as in medusa_loss. Of equal logits the smaller id comes first
    """
    B, T, K, _ = logits.shape
    right = np.zeros((K, ranks))
    for k in range(1, K + 1):
        for b in range(B):
            for t in range(T - 1 - k):
                order = np.argsort(-logits[b, t, k - 1], kind="stable")
                for r in range(ranks):
                    right[k - 1, r] += order[r] == ids[b, t + 1 + k]
        right[k - 1] /= B * (T - 1 - k)
    return right


def best_tree(accuracy, nodes):
    """The tree with most symbols to be expected: the likeliest path is added, again and again.

    accuracy  (K, ranks), as rank_accuracy gives it; a path counts the product of its entries
    nodes     how many to add below the root, fewer if there are no more paths
    returns   a list of paths: (0, 2) is the likeliest symbol of head 1, the third of head 2. Of
              equal ones the shorter is added first, then the smaller ranks
    """
    K, ranks = accuracy.shape
    tree, value = [], {(): 1.0}
    while len(tree) < nodes:
        offers = []
        for path in value:
            for r in range(ranks):
                longer = (*path, r)
                if len(path) < K and longer not in value:
                    product = value[path] * accuracy[len(path), r]
                    offers.append((-product, len(longer), longer))
        if not offers:
            break
        negative, _, path = min(offers)
        tree.append(path)
        value[path] = -negative
    return tree


def choice_parents(choices):
    """The parent of each node of a tree of paths; node 0 is the root, node i is choices[i - 1].

    E.g. [(0,), (1,), (0, 0)] -> [-1, 0, 0, 1]
    """
    parents = [-1]
    for path in choices:
        parents.append(0 if len(path) == 1 else 1 + choices.index(path[:-1]))
    return parents


def tree_symbols(accuracy, choices):
    """Symbols to be expected from one call: 1 for the root, and for each path its product.

    As if a head's luck did not depend on that of the heads before it.
    """
    total = 1.0
    for path in choices:
        product = 1.0
        for k, r in enumerate(path):
            product *= accuracy[k, r]
        total += product
    return total


def typical_accept(p, ids, epsilon, delta):
    """Which symbols are typical: p(x) > min(epsilon, delta · exp(-entropy of p)).

    p        (rows, vocab); ids (rows,); returns (rows,) bool. Cai et al., sec. 2.3.1
    """
    out = np.zeros(len(ids), dtype=bool)
    for n in range(len(ids)):
        entropy = 0.0
        for x in p[n]:
            if x > 0:
                entropy -= x * np.log(x)
        out[n] = p[n, ids[n]] > min(epsilon, delta * np.exp(-entropy))
    return out


def medusa(predict, prefix, length, choices):
    """Write greedily; heads guess a tree of paths, the trunk keeps the longest that is right.

    predict  a list of symbols -> (1 + K, vocab), the scores of the trunk and of each head
    choices  paths of ranks, as best_tree gives them
    returns  the text with at least `length` more symbols, and how many each call brought
    """
    text, taken = list(prefix), []
    scores = predict(text)
    while len(text) < len(prefix) + length:
        root = int(np.argmax(scores[0]))  # certain
        order = np.argsort(-scores[1:], axis=1, kind="stable")
        longest = []
        for choice in choices:  # all of them in one call of a parallel model
            path = [int(order[k, r]) for k, r in enumerate(choice)]
            seen = [[*text, root, *path[:i]] for i in range(len(path))]
            right = [int(np.argmax(predict(so_far)[0])) for so_far in seen]
            longest = max(longest, path if path == right else [], key=len)
        text += [root, *longest]
        taken.append(1 + len(longest))
        scores = predict(text)  # known from the same call
    return text, taken
