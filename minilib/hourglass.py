"""The hourglass: a causal language model whose deep middle runs on every k-th step.

Names and symbols are those of minilib/naive/hourglass.py. Not here: nested factors, dropout,
padding of unequal sequences.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.cross_attention import ShortenAttention, UpAttention
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import hourglass as naive
from minilib.shapes import check_sizes
from minilib.transformer import Block

# -- groups, down and up ---------------------------------------------------------------------------


@twin(naive.group)
def group(x: Tensor, k: int, shift: int) -> Tensor:
    """Steps in groups of k after a shift to the right: (batch, T, C) -> (batch, ceil(T / k), k, C).

    Group j holds steps jk - shift … jk - shift + k - 1, zeros where there are none (Nawrot et al.
    2021, sec. 2.1). For a causal model shift = k - 1; for an encoder 0. A view of a padded copy.
    Raises ValueError unless k ≥ 1 and 0 ≤ shift < k.
    """
    _check_shape("x", x, ("batch", "T", "C"))
    if k < 1 or not 0 <= shift < k:
        raise ValueError(f"k must be 1 or more and shift lie in [0, k), got {k} and {shift}")
    B, T, C = x.shape
    G = math.ceil(T / k)
    padded = nn.functional.pad(x, (0, 0, shift, max(0, G * k - T - shift)))
    return padded[:, : G * k].reshape(B, G, k, C)


@twin(naive.shorten_average)
def shorten_average(groups: Tensor) -> Tensor:
    """The mean of each group: (batch, G, k, C) -> (batch, G, C)."""
    _check_shape("groups", groups, ("batch", "G", "k", "C"))
    return groups.mean(2)


@twin(naive.shorten_linear)
def shorten_linear(groups: Tensor, W: Tensor) -> Tensor:
    """One matrix W (C, kC) reads the whole group: (batch, G, k, C) -> (batch, G, C)."""
    _check_shape("groups", groups, ("batch", "G", "k", "C"))
    _, _, k, C = groups.shape
    if tuple(W.shape) != (C, k * C):
        raise ValueError(f"W must have shape {(C, k * C)} for this k, got {tuple(W.shape)}")
    return groups.flatten(2) @ W.t()


@twin(naive.up_repeat)
def up_repeat(y: Tensor, k: int, T: int, phase: int = 0) -> Tensor:
    """Each step gets the vector of its group: (batch, G, C) -> (batch, T, C).

    Step t belongs to group (t + phase) // k of y.
    """
    _check_up(y, k, T, phase)
    return y.repeat_interleave(k, dim=1)[:, phase : phase + T]


@twin(naive.up_linear)
def up_linear(y: Tensor, W: Tensor, k: int, T: int, phase: int = 0) -> Tensor:
    """Each of a group's k steps gets its own linear function of the group's vector.

    W (kC, C): a matrix for each place in the group. The rest is as in up_repeat.
    """
    _check_up(y, k, T, phase)
    B, G, C = y.shape
    if tuple(W.shape) != (k * C, C):
        raise ValueError(f"W must have shape {(k * C, C)} for k={k}, got {tuple(W.shape)}")
    return (y @ W.t()).view(B, G * k, C)[:, phase : phase + T]


def _check_up(y, k, T, phase):
    _check_shape("y", y, ("batch", "G", "C"))
    if k < 1 or not 0 <= phase < k or T < 1 or y.shape[1] * k < phase + T:
        raise ValueError(
            f"y must have a group for each of T={T} steps from phase={phase} in [0, k={k}), "
            f"got {y.shape[1]} groups"
        )


def _check_shape(name, x, dims):
    if x.dim() != len(dims):
        raise ValueError(f"{name} must have shape ({', '.join(dims)}), got {tuple(x.shape)}")


# -- the language model ----------------------------------------------------------------------------


class HourglassState(NamedTuple):
    """Where an Hourglass stands after `position` symbols. A cache is (keys, values)."""

    position: int
    open_group: Tensor  # (batch, (position - 1) mod k, C): the steps of a group not closed yet
    last: Tensor  # (batch, 1, C): the middle's output for the last group that is closed
    before: tuple  # a cache for each block, like the next two
    middle: tuple
    after: tuple
    spread: tuple  # the cache of the attention on the way up


WAYS = {"shorten": ("average", "linear", "attention"), "up": ("repeat", "linear", "attention")}


@twin(naive.hourglass)
class Hourglass(LanguageModel):
    """Fine layers, a middle on groups of k steps, fine layers (Nawrot et al. 2021).

    vocab_size             symbols
    width, heads           C, channels, of every layer; heads must divide it into even parts
    k                      steps that one step of the middle stands for
    before, middle, after  layers on steps, on groups, and on steps again
    context                steps that a fine layer sees, and groups that a middle layer sees
    shorten                "average", "linear" or "attention" turns a group into one vector
    up                     "repeat", "linear" or "attention" turns it back
    What goes up is added to the steps that went down: the skip connection that joins both ways.
    Departure: the paper's attention is followed by a feed-forward; here the next block brings it.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        k: int = 3,
        before: int = 1,
        middle: int = 4,
        after: int = 1,
        heads: int = 4,
        context: int = 64,
        shorten: str = "average",
        up: str = "repeat",
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, k=k, middle=middle, context=context)
        check_sizes(0, before=before, after=after)
        for name, value in (("shorten", shorten), ("up", up)):
            if value not in WAYS[name]:
                raise ValueError(f"{name} must be one of {', '.join(WAYS[name])}, got {value!r}")
        self.vocab_size, self.k, self.heads, self.context = vocab_size, k, heads, context
        residual = (2 * (before + middle + after)) ** -0.5  # as in Block: keeps the sum near 1
        normal = lambda std, *shape: nn.Parameter(std * torch.randn(shape))
        stack = lambda layers: nn.ModuleList(
            Block(width, heads, window=context, residual=residual) for _ in range(layers)
        )
        self.embed = normal(1, vocab_size, width)
        self.before, self.middle, self.after = stack(before), stack(middle), stack(after)
        self.W_shorten = self.gather = self.W_up = self.spread = None
        if shorten == "linear":
            self.W_shorten = normal((k * width) ** -0.5, width, k * width)
        if shorten == "attention":
            self.gather = ShortenAttention(width, heads, residual)
        if up != "repeat":
            self.W_up = normal(width**-0.5, k * width, width)
        if up == "attention":
            self.spread = UpAttention(width, heads, residual)
        self.norm = nn.LayerNorm(width)
        self.output = normal(0.1 * width**-0.5, vocab_size, width)  # small: a near uniform start

    def init_state(self, batch_size: int) -> HourglassState:
        """The open group begins with k - 1 zeros: that is the shift by which nothing leaks.

        Group j then closes with step jk, the first step that gets its vector.
        """
        C, heads = self.embed.shape[1], self.heads
        steps = lambda n: self.embed.new_zeros(batch_size, n, C)
        no_past = (self.embed.new_zeros(batch_size, heads, 0, C // heads),) * 2
        caches = ((no_past,) * len(blocks) for blocks in (self.before, self.middle, self.after))
        return HourglassState(0, steps(self.k - 1), steps(1), *caches, no_past)

    def extend(self, ids: Tensor, state: HourglassState) -> tuple[Tensor, HourglassState]:
        check_ids(ids, self.vocab_size, dims=2)
        position, open_group, last, *caches, spread = state
        (B, T), k, C = ids.shape, self.k, self.embed.shape[1]
        if open_group.shape != (B, (position - 1) % k, C):
            raise ValueError(
                f"state must be this model's after {position} symbols of {B} rows, its open group "
                f"of shape {(B, (position - 1) % k, C)}, got {tuple(open_group.shape)}"
            )
        x = nn.functional.embedding(ids, self.embed)
        x, before = run_blocks(self.before, x, caches[0], position)

        steps = torch.cat([open_group, x], dim=1)
        G = steps.shape[1] // k  # groups that these symbols close
        closed, open_group = steps[:, : G * k], steps[:, G * k :].clone()
        y, middle = last[:, :0], caches[1]
        if G:
            y = self.shortened(closed.reshape(B, G, k, C))
            y, middle = run_blocks(self.middle, y, middle, math.ceil(position / k))

        phase = position % k  # unless 0, the first steps still belong to the last group
        known = torch.cat([last, y], dim=1) if phase else y
        if self.W_up is None:
            x = x + up_repeat(known, k, T, phase)
        else:
            x = x + up_linear(known, self.W_up, k, T, phase)
        if self.spread is not None:
            x, spread = self.spread(x, y, k, spread, position, self.context)

        x, after = run_blocks(self.after, x, caches[2], position)
        last = known[:, -1:].clone()
        state = HourglassState(position + T, open_group, last, before, middle, after, spread)
        return self.norm(x) @ self.output.t(), state

    def shortened(self, groups: Tensor) -> Tensor:
        """One vector for each group: (batch, G, k, C) -> (batch, G, C)."""
        if self.W_shorten is not None:
            return shorten_linear(groups, self.W_shorten)
        y = shorten_average(groups)
        return y if self.gather is None else self.gather(y, groups)


def run_blocks(blocks, x: Tensor, caches: tuple, *where) -> tuple[Tensor, tuple]:
    """Blocks one after another over new steps x: (x, caches) after them.

    where  the steps stand, as the blocks want it: `position`, or a SegmentBlock's `seen` and `new`
    """
    after = []
    for block, (past_k, past_v) in zip(blocks, caches, strict=True):
        x, k, v = block(x, past_k, past_v, *where)
        after.append((k, v))
    return x, tuple(after)


# -- cost ------------------------------------------------------------------------------------------


@twin(naive.multiply_adds)
def multiply_adds(
    T: int, C: int, V: int, k: int, before: int, middle: int, after: int, context: int
) -> int:
    """Products of one forward pass of Hourglass over T symbols, with averages and repeats.

    C channels, V symbols; layers and context as in Hourglass. Counted are matrices, scores and
    weighted sums. A Transformer is k = 1, before = after = 0.
    """
    check_sizes(T=T, C=C, V=V, k=k, context=context)
    check_sizes(0, before=before, middle=middle, after=after)

    def layer(steps):
        full = min(steps, context)  # steps that see fewer than `context`: 1, 2, … full
        seen = full * (full + 1) // 2 + (steps - full) * context
        return steps * 12 * C * C + 2 * C * seen

    return (before + after) * layer(T) + middle * layer(math.ceil(T / k)) + T * C * V
