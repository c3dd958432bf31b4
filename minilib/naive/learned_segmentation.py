"""OpTok: a unigram model cuts texts, and the loss of a task moves it.

Texts, pieces, segmentations and scores are those of minilib/naive/unigram.py.
Sources: Hiraoka et al. 2020, "Optimizing Word Segmentation for Downstream Task"; Hiraoka et al.
2021 (arXiv:2105.12410), "Joint Optimization of Tokenization and Downstream Model".
Not here: the restricted vocabulary, a part of the pieces drawn for each training step.
"""

import numpy as np

from minilib.naive.unigram import nbest


def weights(scores, lam=1.0):
    """a_n: how much each of the N best segmentations counts, p(s_n)^lam over the sum of the list.

    scores   (B, N) log p(s_n); -inf where a list is shorter
    returns  (B, N), rows sum to 1
    """
    a = np.zeros(scores.shape)
    for b, row in enumerate(scores):
        a[b] = np.exp(lam * (row - row.max()))
        a[b] /= a[b].sum()
    return a


def optok(params, texts, pieces):
    """Logits of OpTok at test: the mean vector of the pieces of the best segmentation, then linear.

    params   unigram (V,): log p is its log-softmax; embed (V, width); W (classes, width); b
    returns  (B, classes)
    """
    logp = params["unigram"] - np.log(np.exp(params["unigram"]).sum())
    logits = []
    for (ids,) in nbest(texts, pieces, logp, 1):
        h = np.mean([params["embed"][w] for w in ids], axis=0)
        logits.append(params["W"] @ h + params["b"])
    return np.array(logits)
