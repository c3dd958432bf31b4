"""The one interface of every language model, and what all of them share: loss, sampling, trees of symbols."""

import torch
from torch import nn

from minilib import twin
from minilib.compare import map_leaves
from minilib.naive import language_model as naive


class LanguageModel(nn.Module):
    """Predicts the next symbol. logits[:, t] predicts ids[:, t + 1] and sees ids[:, :t + 1] only.

    A model defines `vocab_size`, `init_state` and at least one of
        extend(ids, state)  (batch, time) int64, state -> (batch, time, vocab), state    recurrent models
        forward(ids) and step(ids, state)                                                the others
    A state is a nested tuple of tensors, rows of the batch first, and of numbers. No call changes the state that it was
    given, so that keeping an old state is enough to go back to it.
    """

    vocab_size: int

    def init_state(self, batch_size):
        """The state before any symbol, on the device and in the dtype of the parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define init_state")

    def forward(self, ids):
        """(batch, time) int64 -> logits (batch, time, vocab), from the initial state."""
        check_ids(ids, self.vocab_size, dims=2)
        return self.extend(ids, self.init_state(len(ids)))[0]

    def step(self, ids, state):
        """One symbol: (batch,) int64, state -> logits (batch, vocab), state."""
        check_ids(ids, self.vocab_size, dims=1)
        logits, state = self.extend(ids[:, None], state)
        return logits[:, 0], state

    def extend(self, ids, state):
        """Several symbols from a given state; here one step at a time, overridden where there is a faster way."""
        check_ids(ids, self.vocab_size, dims=2)
        if type(self).step is LanguageModel.step:
            raise NotImplementedError(f"{type(self).__name__} must define extend or step")
        rows = []
        for t in range(ids.shape[1]):
            logits, state = self.step(ids[:, t], state)
            rows.append(logits)
        return torch.stack(rows, dim=1), state

    def extend_tree(self, ids, parents, state):
        """Symbols that branch: each sees what came before the state, its ancestors and itself.

        ids      (batch, nodes) int64
        parents  for each node the index of the one before it, which is smaller; -1 if nothing but the state is
        returns  logits (batch, nodes, vocab) after each node, and what `follow` needs
        Here each path to a leaf is a row of a batch. Overridden where a mask does with one row.
        """
        check_ids(ids, self.vocab_size, dims=2)
        paths = tree_paths(parents, ids.shape[1])
        ends = [i for i in range(len(paths)) if i not in parents]
        if len(ends) == 1:  # a chain
            return self.extend(ids, state)
        longest = max(len(path) for path in paths)
        index = torch.tensor(
            [(paths[i] + [i] * longest)[:longest] for i in ends], device=ids.device
        )
        state = map_leaves(
            lambda leaf: (
                leaf.repeat_interleave(len(ends), 0) if isinstance(leaf, torch.Tensor) else leaf
            ),
            state,
        )
        logits, _ = self.extend(ids[:, index].flatten(0, 1), state)
        spots = {node: (row, t) for row, i in enumerate(ends) for t, node in enumerate(paths[i])}
        row, t = torch.tensor([spots[node] for node in range(len(paths))], device=ids.device).t()
        return logits.unflatten(0, (len(ids), -1))[:, row, t], None

    def follow(self, ids, path, before, after):
        """The state at the end of a path of the tree; path (batch, length ≥ 1), the nodes of each row from its root.

        before, after  what `extend_tree` of ids was given and returned
        Here the path is read again, unless it is the whole tree. Overridden where parts of `after` can be kept.
        """
        return (
            after if path.shape[1] == ids.shape[1] else self.extend(ids.gather(1, path), before)[1]
        )


def tree_paths(parents, nodes):
    """For each node the list of nodes from its root to itself. Raises ValueError for parents that make no tree of that size."""
    if len(parents) != nodes or not all(-1 <= parent < i for i, parent in enumerate(parents)):
        raise ValueError(
            f"parents must hold, for each of {nodes} nodes, the index of an earlier node or -1, got {list(parents)}"
        )
    paths = []
    for i, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), i])
    return paths


@twin(naive.tree_mask)
def tree_mask(parents):
    """Who sees whom in a tree: mask[i, j] where j is i or one of its ancestors; (nodes, nodes) bool. Raises ValueError for parents that make no tree."""
    mask = torch.zeros(len(parents), len(parents), dtype=torch.bool)
    for i, path in enumerate(tree_paths(parents, len(parents))):
        mask[i, path] = True
    return mask


def check_ids(ids, vocab_size, dims):
    """Raise unless ids is an int64 tensor of that many dimensions with entries in [0, vocab_size)."""
    if not isinstance(ids, torch.Tensor) or ids.dtype != torch.int64:
        raise TypeError(
            f"ids must be an int64 tensor, got {getattr(ids, 'dtype', type(ids).__name__)}"
        )
    if ids.dim() != dims or 0 in ids.shape:
        raise ValueError(
            f"ids must have shape {'(batch, time)' if dims == 2 else '(batch,)'} and not be empty, got {tuple(ids.shape)}"
        )
    low, high = ids.aminmax()  # an unknown id would crash inside an embedding kernel
    if low < 0 or high >= vocab_size:
        raise ValueError(f"ids must lie in [0, {vocab_size}), got {int(low)} to {int(high)}")


@twin(naive.next_symbol_loss)
def next_symbol_loss(logits, ids):
    """Mean nats per predicted symbol; logits (batch, time, vocab), ids (batch, time)."""
    if ids.shape != logits.shape[:2] or ids.shape[1] < 2:
        raise ValueError(
            f"ids must have the shape (batch, time ≥ 2) of logits {tuple(logits.shape)}, got {tuple(ids.shape)}"
        )
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


@twin(naive.probabilities)
def probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    """What is sampled from: softmax(logits / temperature) cut to the likeliest symbols; (batch, vocab) both.

    temperature 0 is greedy. top_k ≥ 1 keeps that many symbols, top_p in (0, 1] the shortest list with that mass
    (of what top_k left). Raises ValueError for values outside these ranges or logits that are not (batch, vocab).
    """
    if logits.dim() != 2:
        raise ValueError(f"logits must have shape (batch, vocab), got {tuple(logits.shape)}")
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k is not None and not top_k >= 1:
        raise ValueError(f"top_k must be 1 or more, or None, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], or be None, got {top_p}")
    if temperature == 0:
        top_k, top_p, temperature = 1, None, 1.0
    p = (logits / temperature).softmax(-1)
    if top_k is None and top_p is None:
        return p
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    ordered = p.gather(-1, order)
    if top_k is not None:
        ordered = ordered * (torch.arange(p.shape[-1], device=p.device) < top_k)
        ordered = ordered / ordered.sum(-1, keepdim=True)
    if top_p is not None:
        before = ordered.cumsum(-1) - ordered  # the mass of what is likelier
        ordered = ordered * (before < top_p)
        ordered = ordered / ordered.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, ordered)


@twin(naive.sample)
def sample(logits, u, temperature=1.0, top_k=None, top_p=None):
    """One id per row of logits (batch, vocab), by inverting the cumulative distribution at u (batch,) in [0, 1)."""
    if u.shape != logits.shape[:1]:
        raise ValueError(
            f"u must have shape ({len(logits)},), one uniform per row of logits, got {tuple(u.shape)}"
        )
    p = probabilities(logits, temperature, top_k, top_p)
    ids = (p.cumsum(-1) <= u[:, None]).sum(-1)
    last = (
        p.shape[-1] - 1 - (p.flip(-1) > 0).int().argmax(-1)
    )  # should rounding keep the sum below u
    return torch.minimum(ids, last)
