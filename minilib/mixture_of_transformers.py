"""A mixture of Transformers: one attention for all, weights of its own for each modality.

Names and symbols are those of minilib/naive/mixture_of_transformers.py, which lists the departures
from the paper. With one modality it is the Transformer of lesson 13. Not here: dropout.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.attention import attention, kept, rope
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import mixture_of_transformers as naive
from minilib.shapes import check_shapes, check_size
from minilib.transformer import Block

# -- groups ----------------------------------------------------------------------------------------


@twin(naive.group_by_modality, differentiable=False)
def group_by_modality(modality: Tensor, M: int) -> list[Tensor]:
    """Where the tokens of each modality are: M lists of places in modality.flatten(), ascending.

    Raises TypeError unless modality is int64, ValueError for one outside [0, M).
    """
    check_size("M", M)
    if modality.dtype != torch.int64:
        raise TypeError(f"modality must be int64, got {modality.dtype}")
    if modality.numel():
        low, high = modality.aminmax()
        if low < 0 or high >= M:
            raise ValueError(f"modality must lie in [0, {M}), got {int(low)} to {int(high)}")
    flat = modality.flatten()
    return [(flat == m).nonzero()[:, 0] for m in range(M)]


@twin(naive.scatter_back)
def scatter_back(parts: Sequence[Tensor], groups: Sequence[Tensor]) -> Tensor:
    """Rows of each group, back in the order of the sequence: (N_m, C) each -> (N, C).

    One gather: the groups, one after another, are a permutation of the N places, and argsort is its
    inverse. Memory N C. Raises ValueError unless each place stands in one group, once.
    """
    _check_parts(parts, groups)
    places = torch.cat(list(groups)).sort().values
    if not torch.equal(places, torch.arange(len(places), device=places.device)):
        raise ValueError(f"groups must name each of {len(places)} places once")
    return _back(parts, groups)


def _back(parts, groups):
    """scatter_back of groups that are known to be a permutation: no check, nothing to wait for."""
    return torch.cat(list(parts))[torch.cat(list(groups)).argsort()]


def _check_parts(parts, groups):
    if len(parts) != len(groups) or not len(parts):
        raise ValueError(f"parts must be one for each of {len(groups)} groups, got {len(parts)}")
    for m, (part, group) in enumerate(zip(parts, groups, strict=True)):
        if part.dim() != 2 or len(part) != len(group):
            wanted = f"({len(group)}, C), a row for each of its group"
            raise ValueError(f"parts[{m}] must have shape {wanted}, got {tuple(part.shape)}")


# -- the layer -------------------------------------------------------------------------------------


class Expert(Block):
    """The weights of one modality: those of a Transformer's block, used in two halves."""

    def forward(self, x: Tensor, found: Tensor | None = None) -> Tensor:
        """Rows x (N, C) -> their queries, keys and values (N, 3C).

        found  (N, C), what the heads found for them -> x after both sublayers, (N, C)
        """
        if found is None:
            return self.norm1(x) @ self.qkv.t()
        return self.feed_forward(x + found @ self.out.t())


@twin(naive.mixture_layer)
class MixtureLayer(nn.Module):
    """Each modality its own weights, one attention over all tokens: a causal layer with a cache.

    width, heads  C, and how many parts of it look things up on their own
    experts       modalities, each with a copy of all weights
    window        steps that a step sees, its own among them
    residual      as in `Block`

    Gather the rows of a modality, one matrix product for each weight, scatter back: twice, before
    and after the attention. A token costs what it costs in a layer with one expert.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        experts: int,
        window: int | None = None,
        residual: float = 1.0,
    ):
        super().__init__()
        check_size("experts", experts)
        self.heads, self.window = heads, window
        self.experts = nn.ModuleList(
            Expert(width, heads, residual=residual) for _ in range(experts)
        )

    def forward(
        self,
        x: Tensor,
        modality: Tensor,
        past_k: Tensor,
        past_v: Tensor,
        position: int | Tensor = 0,
        visible: Tensor | None = None,
        groups: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, T, C), modality (batch, T), cache -> x, keys, values.

        position  of the first step, or of each, (T,)
        visible   who sees whom, (T, S + T) or (batch, 1, T, S + T); None is causal
        groups    those of modality, if they are known: a model finds them once for all its layers
        """
        check_shapes(x=(x, (None, None, None)), modality=(modality, tuple(x.shape[:2])))
        check_shapes(past_v=(past_v, tuple(past_k.shape)))
        if groups is None and not torch.compiler.is_compiling():
            groups = group_by_modality(modality, len(self.experts))
        rows, modality = x.flatten(0, 1), modality.flatten()
        q, k, v = self._heads(self._apart(modality, groups, rows), x.shape[:2])
        k = torch.cat([past_k, rope(k, position)], dim=2)
        v = torch.cat([past_v, v], dim=2)
        causal = visible is None
        window = self.window if causal else None
        found = attention(rope(q, position), k, v, visible, causal, window)
        found = found.transpose(1, 2).flatten(2).flatten(0, 1)  # (batch · T, C)
        y = self._apart(modality, groups, rows, found).view(x.shape)
        return y, kept(k, self.window), kept(v, self.window)

    def _apart(self, modality, groups, *rows):
        """Each expert on its rows; the answers in the order of the sequence."""
        if len(self.experts) == 1:
            return self.experts[0](*rows)
        if groups is None:  # a compiled graph knows no sizes of groups: all experts on all rows
            mine = [(modality == m)[:, None] for m in range(len(self.experts))]
            return sum(e(*rows).where(m, 0) for e, m in zip(self.experts, mine, strict=True))
        pairs = zip(self.experts, groups, strict=True)
        parts = [expert(*(row[group] for row in rows)) for expert, group in pairs]
        return _back(parts, groups)

    def _heads(self, qkv, shape):
        D = qkv.shape[1] // (3 * self.heads)
        return qkv.view(*shape, 3, self.heads, D).permute(2, 0, 3, 1, 4).unbind()


# -- the language model ----------------------------------------------------------------------------


@twin(naive.mixture_of_transformers)
class MixtureOfTransformers(LanguageModel):
    """A language model of several kinds of symbols, with weights of its own for each kind.

    sizes    symbols of each modality: the first sizes[0] numbers are of modality 0, and so on. One
             size is the dense model
    width, layers, heads, context  as in minilib.transformer.Transformer

    The modality is that of the symbol that is read, not of the one to come: it is known, so no
    router is needed, and nothing looks ahead.
    """

    # a matrix product over another number of rows may round in another order: when a symbol
    # changes its modality, earlier ones move by a few roundings
    rounding = 1e-12

    def __init__(
        self,
        sizes: Sequence[int],
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        context: int = 64,
    ):
        super().__init__()
        if not len(sizes):
            raise ValueError(f"sizes must name one modality or more, got {sizes}")
        named = [(f"sizes[{m}]", size) for m, size in enumerate(sizes)]
        for name, size in [*named, ("width", width), ("layers", layers), ("context", context)]:
            check_size(name, size)
        self.sizes, self.vocab_size, self.heads = tuple(sizes), sum(sizes), heads
        self.embed = nn.Parameter(torch.randn(self.vocab_size, width))
        residual = (2 * layers) ** -0.5
        self.layers = nn.ModuleList(
            MixtureLayer(width, heads, len(sizes), context, residual) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(self.vocab_size, width))

    def init_state(self, batch_size: int) -> tuple:
        """(steps so far, (keys, values) of each layer), those of the last `context` steps."""
        D = self.embed.shape[1] // self.heads
        empty = self.embed.new_zeros(batch_size, self.heads, 0, D)
        return 0, ((empty, empty),) * len(self.layers)

    def modality(self, ids: Tensor) -> Tensor:
        """The modality of each symbol, int64 like ids."""
        ends = [sum(self.sizes[:m]) for m in range(1, len(self.sizes))]
        return sum(((ids >= end).long() for end in ends), torch.zeros_like(ids))

    def forward(self, ids: Tensor, visible: Tensor | None = None) -> Tensor:
        """(batch, T) int64 -> logits (batch, T, vocab).

        visible  (T, T) or (batch, 1, T, T), who sees whom in every layer; None is causal
        """
        check_ids(ids, self.vocab_size, dims=2)
        return self._run(ids, self.init_state(len(ids)), visible)[0]

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        check_ids(ids, self.vocab_size, dims=2)
        return self._run(ids, state)

    def _run(self, ids, state, visible=None):
        position, caches = state
        x, modality, after = nn.functional.embedding(ids, self.embed), self.modality(ids), []
        known = not torch.compiler.is_compiling()
        groups = group_by_modality(modality, len(self.sizes)) if known else None
        for layer, cache in zip(self.layers, caches, strict=True):
            x, *cache = layer(x, modality, *cache, position, visible, groups)
            after.append(tuple(cache))
        return self.norm(x) @ self.output.t(), (position + ids.shape[1], tuple(after))


# -- what it costs, and how soon it pays -----------------------------------------------------------


@twin(naive.parameters, differentiable=False)
def parameters(sizes: Sequence[int], C: int, layers: int) -> int:
    """Weights of MixtureOfTransformers: 12 C² + 4 C for each layer and modality, and the tables."""
    for name, size in [("sizes", min(sizes, default=0)), ("C", C), ("layers", layers)]:
        check_size(name, size)
    return layers * len(sizes) * (12 * C * C + 4 * C) + 2 * (sum(sizes) + 1) * C


@twin(naive.multiply_adds, differentiable=False)
def multiply_adds(counts: Sequence[int], V: int, C: int, layers: int) -> int:
    """Products of one forward pass: the counts of the modalities enter by their sum alone."""
    if not len(counts) or min(counts) < 0:
        raise ValueError(f"counts must be 0 or more, one for each modality, got {list(counts)}")
    for name, size in {"V": V, "C": C, "layers": layers}.items():
        check_size(name, size)
    T = sum(counts)
    return T * V * C + layers * (12 * T * C * C + C * T * (T + 1))


@twin(naive.steps_to_match, differentiable=False)
def steps_to_match(steps: Tensor, loss: Tensor, rival: Tensor) -> float:
    """What share of its rival's steps a model takes to reach the same losses: a slope through 0.

    steps, loss, rival (N,). Losses of the rival that are never reached do not count: look at both
    curves, too. Raises ValueError if none is reached after the first measurement.
    """
    check_shapes(steps=(steps, (None,)), loss=(loss, (len(steps),)), rival=(rival, (len(steps),)))
    for name, curve in {"loss": loss, "rival": rival}.items():
        if not len(curve) or not curve.isfinite().all():
            raise ValueError(f"{name} must be finite numbers, one or more, got {curve.tolist()}")
    if not (steps.diff() > 0).all() or not (steps > 0).all():
        raise ValueError(f"steps must ascend from above 0, got {steps.tolist()}")
    best, wanted = loss.cummin(0).values, rival.cummin(0).values
    reached = (best[-1] <= wanted) & (wanted < best[0])
    if not reached.any():
        raise ValueError("loss must reach a loss of rival after its first measurement")
    steps, wanted, theirs = steps.to(best), wanted[reached], steps[reached].to(best)
    k = torch.searchsorted(-best, -wanted)  # the first that is as low
    part = (best[k - 1] - wanted) / (best[k - 1] - best[k])
    ours = steps[k - 1] + part * (steps[k] - steps[k - 1])
    return float((theirs * ours).sum() / (theirs * theirs).sum())
