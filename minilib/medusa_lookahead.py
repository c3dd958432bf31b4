"""Medusa over the interface of every language model: heads, trees of guesses, and the decoder.

Names and symbols are those of minilib/naive/medusa_lookahead.py. The loop around a tree is that
of minilib/lookahead.py. Not here: a trunk that is trained along with its heads (Medusa-2).
"""

import functools
import heapq
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.language_model import LanguageModel, check_ids
from minilib.lookahead import TreeWriter, Written
from minilib.naive import medusa_lookahead as naive
from minilib.naive.language_model import tree_paths
from minilib.shapes import check_shapes, check_size, check_sizes


@twin(naive.medusa_heads)
class Heads(nn.Module):
    """Heads that guess further ahead: head k = 1 … `ahead` guesses the symbol k behind the next.

    vocab_size  symbols of the trunk
    ahead       K, how many heads
    width       C, numbers of a hidden state; None is one for each symbol, R and W2 the identity

    Medusa's heads read the trunk's last hidden state h. These read its logits z, which every
    language model has, and take h = R z. `heads_on` makes R and W2 of the trunk's output layer.
    """

    def __init__(self, vocab_size: int = 256, ahead: int = 4, width: int | None = None):
        super().__init__()
        V, C = vocab_size, width or vocab_size
        check_sizes(vocab_size=V, ahead=ahead, width=C)
        self.vocab_size, self.ahead = vocab_size, ahead
        self.register_buffer("R", torch.eye(C, V))
        self.W1 = nn.Parameter(torch.zeros(ahead, C, C))
        self.b = nn.Parameter(torch.zeros(ahead, C))
        self.W2 = nn.Parameter(torch.eye(V, C).repeat(ahead, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Logits of the trunk, (rows, V) or (batch, T, V) -> those of the heads, (…, ahead, V)."""
        if z.dim() < 2 or z.shape[-1] != self.vocab_size:
            raise ValueError(f"z must have shape (…, {self.vocab_size}), got {tuple(z.shape)}")
        h = z.to(self.R.dtype) @ self.R.t()
        inner = (h @ self.W1.flatten(0, 1).t()).unflatten(-1, self.b.shape) + self.b
        return torch.einsum("...kc,kvc->...kv", h[..., None, :] + F.silu(inner), self.W2)


@torch.no_grad()
def heads_on(output: Tensor, ahead: int = 4) -> Heads:
    """Heads that start as copies of an output layer U = `output` (V, C), R its pseudo-inverse.

    If U has rank C, R z is the hidden state h of z = U h: nothing is lost. R is rounded to
    float16, as it will be on disk, so that a head reads the same h before and after.
    Raises ValueError for an output whose pseudo-inverse float16 cannot hold.
    """
    check_shapes(output=(output, (None, None)))
    finite = bool(output.isfinite().all())
    R = torch.linalg.pinv(output.double()).half() if finite else output
    if not R.isfinite().all():
        wanted = "numbers whose pseudo-inverse stays below 65,504"
        raise ValueError(f"output must hold {wanted}, got up to {output.abs().max()}")
    V, C = output.shape
    heads = Heads(V, ahead, C).to(output)
    heads.R.copy_(R)
    heads.W2.copy_(output.expand(ahead, V, C))
    return heads


def _targets(logits, ids):
    """For each head its logits (B, n, V), n = T - 1 - k, and what it should have guessed (B, n)."""
    check_shapes(logits=(logits, (None,) * 4))
    B, T, K, V = logits.shape
    check_ids(ids, V, dims=2)
    check_shapes(ids=(ids, (B, T)))
    if T < K + 2:
        raise ValueError(f"ids must be {K + 2} symbols or more for {K} heads, got {T}")
    for k in range(1, K + 1):
        yield logits[:, : T - 1 - k, k - 1], ids[:, 1 + k :]


@twin(naive.medusa_loss)
def medusa_loss(logits: Tensor, ids: Tensor, decay: float = 0.8) -> Tensor:
    """Nats of all heads, head k weighed by decay^k.

    logits (batch, T, K, V), of the heads after each of ids (batch, T); T ≥ K + 2
    """
    total = 0.0
    for k, (z, target) in enumerate(_targets(logits, ids), 1):
        total = total + decay**k * F.cross_entropy(z.flatten(0, 1), target.flatten())
    return total


@twin(naive.rank_accuracy, differentiable=False)
def rank_accuracy(logits: Tensor, ids: Tensor, ranks: int) -> Tensor:
    """How often the likeliest symbol of a head is right, its second, …: (K, ranks).

    The rank of a target is the number of symbols before it: nothing is sorted.
    """
    check_size("ranks", ranks)
    if logits.isnan().any():  # no number is before it: it would be right always
        raise ValueError("logits must be numbers, got NaN")
    rows = []
    for z, target in _targets(logits, ids):
        own = z.gather(2, target[..., None])
        smaller = torch.arange(z.shape[2], device=z.device) < target[..., None]
        rank = ((z > own) | ((z == own) & smaller)).sum(2)
        count = torch.bincount(rank.flatten(), minlength=ranks)[:ranks]
        rows.append(count.to(z) / rank.numel())
    return torch.stack(rows)


@twin(naive.best_tree, differentiable=False)
def best_tree(accuracy: Tensor, nodes: int) -> list[tuple[int, ...]]:
    """The paths with most symbols to be expected, in the order in which they are added.

    accuracy (K, ranks) in [0, 1]; a heap of the paths that could come next
    """
    check_size("nodes", nodes)
    check_shapes(accuracy=(accuracy, (None, None)))
    if not accuracy.numel() or not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy.tolist()}")
    rows, tree = accuracy.double().tolist(), []
    heap = [(-x, 1, (r,)) for r, x in enumerate(rows[0])]
    heapq.heapify(heap)
    while heap and len(tree) < nodes:
        value, depth, path = heapq.heappop(heap)
        tree.append(path)
        if depth < len(rows):
            for r, x in enumerate(rows[depth]):
                heapq.heappush(heap, (value * x, depth + 1, (*path, r)))
    return tree


@twin(naive.choice_parents, differentiable=False)
def choice_parents(choices: list[tuple[int, ...]]) -> list[int]:
    """The parent of each node of a tree of paths; node 0 is the root, node i is choices[i - 1].

    Raises ValueError for a path that comes twice, or before its own beginning.
    """
    nodes, parents = {(): 0}, [-1]
    for path in map(tuple, choices):
        if path in nodes or path[:-1] not in nodes:
            wanted = "paths of ranks, each once and after its beginning"
            raise ValueError(f"choices must hold {wanted}, got {path} out of turn")
        parents.append(nodes[path[:-1]])
        nodes[path] = len(nodes)
    return parents


@twin(naive.tree_symbols)
def tree_symbols(accuracy: Tensor, choices: list[tuple[int, ...]]) -> Tensor:
    """Symbols to be expected from one call, the root among them; accuracy (K, ranks)."""
    products = [accuracy[range(len(path)), path].prod() for path in choices]
    return 1 + sum(products, accuracy.new_zeros(()))


@twin(naive.typical_accept, differentiable=False)
def typical_accept(p: Tensor, ids: Tensor, epsilon: float, delta: float) -> Tensor:
    """Which symbols are typical, (rows,) bool: p(x) > min(epsilon, delta · exp(-entropy of p)).

    p (rows, vocab), ids (rows,)
    """
    check_shapes(p=(p, (None, None)), ids=(ids, (len(p),)))
    threshold = (delta * (-torch.special.entr(p).sum(1)).exp()).clamp(max=epsilon)
    return p.gather(1, ids[:, None])[:, 0] > threshold


def _longest_typical(typical, p, ids, parents):
    """A rule for TreeWriter: the longest path of typical symbols, of equal ones the likeliest."""
    fine = typical_accept(p[parents], ids[0], *typical).tolist()  # node 0 is not read
    chance = p[parents].gather(1, ids.t())[:, 0].log().tolist()
    paths = [path[1:] for path in tree_paths(parents, len(parents))]
    kept = [path for path in paths if all(fine[i] for i in path)]
    best = max(kept, key=lambda path: (len(path), sum(chance[i] for i in path)))
    end = best[-1] if best else 0
    return end, p[end : end + 1]


@torch.no_grad()
def medusa(
    model: LanguageModel,
    heads: Heads,
    ids: Tensor,
    length: int,
    *,
    choices: list[tuple[int, ...]] | None = None,
    typical: tuple[float, float] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Written:
    """Continue ids (1, time) by `length` symbols, distributed as if the model wrote step by step.

    choices  the tree of guesses, as `best_tree` gives it; None is a chain of likeliest symbols
    typical  (epsilon, delta): keep the longest path of typical symbols. NOT the distribution of
             the model; None is exact
    temperature, top_k, top_p  as in `probabilities`; 0 gives the greedy text, but for ties within
             rounding
    Raises ValueError for more than one row, an empty prompt, settings out of range, heads of
    another alphabet, and choices that are no tree or that the heads cannot make; TypeError for ids
    that are not int64.
    """
    if heads.vocab_size != model.vocab_size:
        wanted = f"the alphabet of the model, {model.vocab_size} symbols"
        raise ValueError(f"heads must have {wanted}, got {heads.vocab_size}")
    if choices is None:
        choices = [(0,) * k for k in range(1, heads.ahead + 1)]
    parents = choice_parents(choices)
    for path in choices:
        ranks = all(isinstance(r, Integral) and 0 <= r < model.vocab_size for r in path)
        if len(path) > heads.ahead or not ranks:
            wanted = f"paths of 1 to {heads.ahead} ranks below {model.vocab_size}"
            raise ValueError(f"choices must be {wanted}, got {path}")
    pair = isinstance(typical, (tuple, list)) and len(typical) == 2
    if typical is not None and not (pair and all(x > 0 for x in typical)):
        wanted = "None or (epsilon, delta), both positive"
        raise ValueError(f"typical must be {wanted}, got {typical!r}")
    rule = None if typical is None else functools.partial(_longest_typical, typical)
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    writer = TreeWriter(model, ids, length, how, seed, rule)
    head, rank = [len(path) - 1 for path in choices], [path[-1] for path in choices]
    while len(writer.text) < writer.end:
        order = heads(writer.logits)[0].argsort(dim=-1, descending=True, stable=True)
        writer.call([writer.root, *order[head, rank].tolist()], parents, len(parents))
    return writer.written()
