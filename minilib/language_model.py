"""The one interface of every language model, with loss, sampling and trees of symbols."""

from typing import Any

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.compare import map_leaves
from minilib.naive import language_model as naive
from minilib.naive.language_model import tree_paths


class LanguageModel(nn.Module):
    """Predicts the next symbol. logits[:, t] predicts ids[:, t + 1] and sees ids[:, :t + 1] only.

    A model defines `vocab_size`, `init_state` and at least one of
        extend(ids, state)  (batch, time) int64, state -> (batch, time, vocab), state
        forward(ids) and step(ids, state)
    A state is a nested tuple of tensors, rows of the batch first, and of numbers. It is made from
    shapes, holds no memory but its own numbers, and no call changes the state that it was given:
    to go back it is enough to keep an old one. Parameters of a layer are touched only in its own
    forward, so that sharding, checkpointing of activations and compilation work on every model.
    """

    vocab_size: int

    def init_state(self, batch_size: int) -> Any:
        """The state before any symbol, on the device and in the dtype of the parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define init_state")

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, time) int64 -> logits (batch, time, vocab), from the initial state."""
        check_ids(ids, self.vocab_size, dims=2)
        return self.extend(ids, self.init_state(len(ids)))[0]

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One symbol: (batch,) int64, state -> logits (batch, vocab), state."""
        check_ids(ids, self.vocab_size, dims=1)
        logits, state = self.extend(ids[:, None], state)
        return logits[:, 0], state

    def extend(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Several symbols from a given state; here step by step, overridden where that is slow."""
        check_ids(ids, self.vocab_size, dims=2)
        if type(self).step is LanguageModel.step:
            raise NotImplementedError(f"{type(self).__name__} must define extend or step")
        rows = []
        for t in range(ids.shape[1]):
            logits, state = self.step(ids[:, t], state)
            rows.append(logits)
        return torch.stack(rows, dim=1), state

    def extend_tree(self, ids: Tensor, parents: list[int], state: Any) -> tuple[Tensor, Any]:
        """Symbols that branch: each sees what came before the state, its ancestors and itself.

        ids      (batch, nodes) int64
        parents  for each node the index of the one before it, which is smaller; -1 for none
        returns  logits (batch, nodes, vocab) after each node, and what `follow` needs
        Here each path to a leaf is a row of a batch. Overridden where a mask does with one row.
        """
        check_ids(ids, self.vocab_size, dims=2)
        paths = tree_paths(parents, ids.shape[1])
        leaves = [node for node in range(len(paths)) if node not in parents]
        if len(leaves) == 1:  # a chain
            return self.extend(ids, state)
        longest = max(len(path) for path in paths)
        padded = [(paths[leaf] + [leaf] * longest)[:longest] for leaf in leaves]
        index = torch.tensor(padded, device=ids.device)
        logits, _ = self.extend(ids[:, index].flatten(0, 1), fan(state, len(leaves)))
        spots = {
            node: (row, t) for row, leaf in enumerate(leaves) for t, node in enumerate(paths[leaf])
        }
        row, t = torch.tensor([spots[node] for node in range(len(paths))], device=ids.device).t()
        return logits.unflatten(0, (len(ids), -1))[:, row, t], None

    def follow(self, ids: Tensor, path: Tensor, before: Any, after: Any) -> Any:
        """The state at the end of a path of the tree.

        path           (batch, length >= 1), the nodes of each row from its root
        before, after  what `extend_tree` of ids was given and returned
        Here the path is read again, unless it is the whole tree. Overridden where that is slow.
        """
        if path.shape[1] == ids.shape[1]:
            return after
        return self.extend(ids.gather(1, path), before)[1]


def fan(state: Any, width: int) -> Any:
    """A state in which each row of the batch stands `width` times."""

    def repeat(leaf):
        return leaf.repeat_interleave(width, 0) if isinstance(leaf, Tensor) else leaf

    return map_leaves(repeat, state)


@twin(naive.tree_mask)
def tree_mask(parents: list[int]) -> Tensor:
    """Who sees whom in a tree: mask[i, j] where j is i or an ancestor of i; (nodes, nodes) bool.

    Raises ValueError for parents that make no tree.
    """
    mask = torch.zeros(len(parents), len(parents), dtype=torch.bool)
    for i, path in enumerate(tree_paths(parents, len(parents))):
        mask[i, path] = True
    return mask


def check_ids(ids: Tensor, vocab_size: int, dims: int) -> None:
    """Raise unless ids is an int64 tensor of that many dimensions, all in [0, vocab_size)."""
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64:
        got = getattr(ids, "dtype", type(ids).__name__)
        raise TypeError(f"ids must be an int64 tensor, got {got}")
    if ids.dim() != dims or 0 in ids.shape:
        shape = "(batch, time)" if dims == 2 else "(batch,)"
        raise ValueError(f"ids must have shape {shape} and not be empty, got {tuple(ids.shape)}")
    if torch.compiler.is_compiling():  # a graph cannot depend on values
        return
    low, high = ids.aminmax()  # an unknown id would crash inside an embedding kernel
    if low < 0 or high >= vocab_size:
        raise ValueError(f"ids must lie in [0, {vocab_size}), got {int(low)} to {int(high)}")


@twin(naive.next_symbol_loss)
def next_symbol_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean nats per predicted symbol; logits (batch, time, vocab), ids (batch, time)."""
    if ids.shape != logits.shape[:2] or ids.shape[1] < 2:
        raise ValueError(
            f"ids must have the shape (batch, time >= 2) of logits {tuple(logits.shape)}, "
            f"got {tuple(ids.shape)}"
        )
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


# -- sampling --------------------------------------------------------------------------------------


@twin(naive.probabilities)
def probabilities(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """What is sampled from: softmax(logits / temperature) cut to the likeliest symbols.

    logits   (batch, vocab); -inf in a row is a symbol that never comes
    returns  (batch, vocab), rows that sum to 1
    temperature 0 is greedy. top_k >= 1 keeps that many symbols, top_p in (0, 1] the shortest list
    with that mass (of what top_k left).
    Raises ValueError for values outside these ranges, and for rows with nan, +inf or -inf alone.
    """
    check_sampling(temperature, top_k, top_p)
    if logits.dim() != 2:
        raise ValueError(f"logits must have shape (batch, vocab), got {tuple(logits.shape)}")
    if not torch.compiler.is_compiling():
        top = logits.amax(-1)  # nan if there is one in the row
        if not torch.isfinite(top).all():
            row = int((~torch.isfinite(top)).nonzero()[0])
            raise ValueError(f"logits must have a finite maximum, got {top[row]:g} in row {row}")
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


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for a temperature, top_k or top_p that `probabilities` does not take."""
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k is not None and not top_k >= 1:
        raise ValueError(f"top_k must be 1 or more, or None, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], or be None, got {top_p}")


@twin(naive.sample)
def sample(
    logits: Tensor,
    u: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """One id per row of logits (batch, vocab), by inverting the cumulative distribution.

    u        (batch,) uniforms in [0, 1); the rest as in `probabilities`
    returns  (batch,) int64
    """
    if u.shape != logits.shape[:1]:
        raise ValueError(f"u must have shape ({len(logits)},), got {tuple(u.shape)}")
    p = probabilities(logits, temperature, top_k, top_p)
    ids = (p.cumsum(-1) <= u[:, None]).sum(-1)
    last = (
        p.shape[-1] - 1 - (p.flip(-1) > 0).int().argmax(-1)
    )  # should rounding keep the sum below u
    return torch.minimum(ids, last)
