"""Tokens that a model was hardly trained on, found without its training text: the definition.

Source: Land & Bartolo 2024, "Fishing for Magikarp: Automatically Detecting Under-trained Tokens in
Large Language Models" (arXiv:2405.05417). Their released code says what the paper leaves open.

    code         meaning                                                       shape
    U            output matrix (unembedding): row i makes the logit of id i    (ids, dim)
    E            input matrix (embedding): row i is what the model reads       (ids, dim)
    reference    ids that are known to be unused                               (some,) int
    h            hidden states: the logits of a context are U @ h              (contexts, dim)

A small indicator makes an id suspicious.
"""

import numpy as np

from minilib.naive import tokenizer

# -- what the tokenizer alone tells ----------------------------------------------------------------


def categories(vocabulary):
    """What becomes of each id when it is written out and read again.

    vocabulary  a dictionary as in minilib.naive.tokenizer
    returns     {id: category}, the first that fits:
                "special"          a special token
                "undecodable"      its bytes are no UTF-8: a part of a character
                "unreachable"      its text is encoded as other ids
                "special-looking"  <…> or […] with a letter in it
                "ok"               all others
    """
    found = {}
    tokens = vocabulary["tokens"]
    for i, token in zip(vocabulary.get("ids", range(len(tokens))), tokens, strict=True):
        try:
            text = token.decode("utf-8")
        except UnicodeDecodeError:
            found[i] = "undecodable"
            continue
        if tokenizer.encode(text, vocabulary) != [i]:
            found[i] = "unreachable"
        elif looks_special(text):
            found[i] = "special-looking"
        else:
            found[i] = "ok"
    for i in vocabulary.get("specials", {}).values():
        found[i] = "special"
    return found


def looks_special(text):
    """<…> or […] with a letter in it."""
    return text[0] + text[-1] in ("<>", "[]") and any(map(str.isalpha, text))


# -- what the weights tell -------------------------------------------------------------------------


def cosine_distance(U, reference, centre=False, drop_first=False):
    """1 - cos(U_i, u) of every row, where u is the mean of the reference rows.

    centre      subtract the mean of all rows first
    drop_first  take the first principal component out of every row first
    returns     (ids,), in [0, 2]
    Raises ValueError for a row without a direction.
    """
    U = np.array(U, float)
    if drop_first:
        v = first_component(U)
        for i in range(len(U)):
            U[i] -= (U[i] @ v) * v
    if centre:
        U = U - U.mean(0)
    u = U[reference].mean(0)
    if not u.any() or not U.any(axis=1).all():
        raise ValueError("U must have no row of zeros: it has no direction")
    found = [1 - row @ u / (np.linalg.norm(row) * np.linalg.norm(u)) for row in U]
    return np.array(found)


def first_component(U):
    """The unit vector along which the rows vary most; its largest entry is positive.  (dim,)"""
    _, _, directions = np.linalg.svd(U - U.mean(0), full_matrices=False)
    v = directions[0]
    return v * np.sign(v[np.abs(v).argmax()])


def distance(U, reference):
    """|U_i - u| of every row, where u is the mean of the reference rows.  (ids,)"""
    u = U[reference].mean(0)
    return np.array([np.linalg.norm(row - u) for row in U])


def norms(E):
    """|E_i| of every row: rows that get no gradient keep their size, or shrink.  (ids,)"""
    return np.array([np.linalg.norm(row) for row in E])


# -- how well, and is it true? ---------------------------------------------------------------------


def auc(indicator, unseen):
    """The area under the ROC curve: is the indicator of unseen ids the smaller one?

    indicator  (ids,)
    unseen     (ids,) bool
    returns    the probability that an unseen id has a smaller indicator than a seen one, if both
               are drawn at random; equal ones count half. 1: all found, 0.5: by chance
    """
    wins = 0.0
    for a in indicator[unseen]:
        for b in indicator[~unseen]:
            wins += 1.0 if a < b else 0.5 if a == b else 0.0
    return wins / (unseen.sum() * (~unseen).sum())


def max_probability(h, U):
    """The largest probability that each id gets after any of these contexts.

    h        (contexts, dim)
    U        (ids, dim)
    returns  (ids,)
    """
    largest = np.zeros(len(U))
    for state in h:
        logits = U @ state
        p = np.exp(logits - logits.max())
        largest = np.maximum(largest, p / p.sum())
    return largest
