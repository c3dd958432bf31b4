"""What every language model here shares, by definition: loss, sampling, trees of symbols."""

import numpy as np


def next_symbol_loss(logits, ids):
    """Mean cross-entropy of predicting each symbol from those before it.

    logits  (batch, time, vocab); logits[b, t] predicts ids[b, t + 1], the last row nothing known
    ids     (batch, time) int
    returns nats per predicted symbol, a scalar
    """
    B, T, V = logits.shape
    total = 0.0
    for b in range(B):
        for t in range(T - 1):
            z = logits[b, t]
            top = z.max()
            total += top + np.log(np.exp(z - top).sum()) - z[ids[b, t + 1]]
    return total / (B * (T - 1))


def probabilities(logits, temperature, top_k, top_p):
    """What is sampled from: softmax of logits / temperature, cut to its likeliest symbols.

    logits       (batch, vocab)
    temperature  above 1 flattens, below 1 sharpens; 0 puts everything on the likeliest symbol
    top_k        keep the k likeliest symbols, or None for all
    top_p        keep the shortest list of likeliest symbols with that mass, or None for all
    returns      (batch, vocab), rows sum to 1

    Source: top-p is nucleus sampling, Holtzman et al. 2019 (arXiv:1904.09751), eq. 2-3.
    Equal logits are ordered by id, the smaller first.
    Raises ValueError for a row with nan or +inf, or with nothing but -inf.
    """
    B, V = logits.shape
    out = np.zeros((B, V))
    for b in range(B):
        if not np.isfinite(logits[b].max()):
            raise ValueError(f"logits must have a finite maximum, got {logits[b].max()} in row {b}")
        order = sorted(range(V), key=lambda v: (-logits[b, v], v))
        if temperature == 0:
            out[b, order[0]] = 1.0
            continue
        z = logits[b] / temperature
        weight = np.exp(z - z.max())
        order = order[: top_k or V]
        kept, mass = [], 0.0
        for v in order:
            if top_p is not None and kept and mass >= top_p * weight[order].sum():
                break
            kept.append(v)
            mass += weight[v]
        for v in kept:
            out[b, v] = weight[v] / mass
    return out


def sample(logits, u, temperature, top_k, top_p):
    """One symbol per row: the first whose cumulative probability exceeds u.

    u        (batch,) uniform in [0, 1)
    returns  (batch,) int64
    """
    p = probabilities(logits, temperature, top_k, top_p)
    out = np.zeros(len(p), dtype=np.int64)
    for b in range(len(p)):
        cumulative = 0.0
        for v in range(p.shape[1]):
            if p[b, v] > 0:
                out[b] = v  # the last possible symbol, should rounding keep the sum below u
                cumulative += p[b, v]
                if cumulative > u[b]:
                    break
    return out


def tree_paths(parents, nodes):
    """For each node the list of nodes from its root to itself.

    parents  for each node the index of an earlier one, or -1 for a root
    Raises ValueError for parents that make no tree of that size.
    """
    if len(parents) != nodes or not all(-1 <= parent < i for i, parent in enumerate(parents)):
        raise ValueError(
            f"parents must hold, for each of {nodes} nodes, the index of an earlier node or -1, "
            f"got {list(parents)}"
        )
    paths = []
    for i, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), i])
    return paths


def tree_mask(parents):
    """Who sees whom in a tree: mask[i, j] where j is i or an ancestor of i; (nodes, nodes) bool.

    parents  parents[i] < i, -1 for a root. The depth of a node is mask[i].sum() - 1.
    """
    mask = np.zeros((len(parents), len(parents)), dtype=bool)
    for i in range(len(parents)):
        j = i
        while j >= 0:
            mask[i, j] = True
            j = parents[j]
    return mask
