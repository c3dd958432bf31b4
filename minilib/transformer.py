"""The causal Transformer: a pre-norm block and a language model with a cache that slides.

Names and symbols are those of minilib/naive/transformer.py, which lists the departures from the
paper. Not here: dropout.
"""

import math

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.attention import attention, join_heads, multi_head, rope, split_heads
from minilib.language_model import LanguageModel, check_ids, tree_mask
from minilib.naive import transformer as naive
from minilib.shapes import check_sizes


@twin(naive.block)
class Block(nn.Module):
    """x + attention(norm(x)), then + feed-forward(norm(x)), four times as wide inside.

    width, heads    C, and how many parts of it look things up on their own
    causal, window  as in `attention`
    residual        initial size of what a sublayer adds; 1 / √(2 · layers) keeps the sum near 1
    """

    def __init__(
        self,
        width: int,
        heads: int,
        causal: bool = True,
        window: int | None = None,
        residual: float = 1.0,
    ):
        super().__init__()
        if heads < 1 or width < 1 or width % (2 * heads):
            given = f"heads={heads} and width={width}"
            raise ValueError(f"heads must divide width into even parts, got {given}")
        self.width, self.heads, self.causal, self.window = width, heads, causal, window
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = matrix(3 * width, width), matrix(width, width, size=residual)
        self.up, self.down = matrix(4 * width, width), matrix(width, 4 * width, size=residual)

    def forward(
        self,
        x: Tensor,
        past_k: Tensor,
        past_v: Tensor,
        position: int | Tensor = 0,
        visible: Tensor | None = None,
        maps: bool = False,
    ) -> tuple[Tensor, ...]:
        """x (batch, T, C), cache (batch, heads, S, C / heads) twice -> the same after x.

        visible  x are nodes of a tree, this (T, S + T) is who sees whom, position (T,) their steps
        maps     return the weights too, (batch, heads, T, T); x begins the text. O(T²) memory
        """
        z = self.norm1(x)
        if visible is None:
            matrices = self.qkv, self.out
            y, k, v = multi_head(
                z, *matrices, self.heads, past_k, past_v, position, self.causal, self.window
            )
        else:
            y, k, v = self._tree(z, past_k, past_v, position, visible)
        weights = (self._maps(z),) if maps else ()
        return self.feed_forward(x + y), k, v, *weights

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second sublayer, with what it adds to."""
        return x + (self.norm2(x) @ self.up.t()).relu().square() @ self.down.t()

    def no_past(self, batch_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """An empty cache of the dtype and on the device of `like`: keys and values."""
        shape = batch_size, self.heads, 0, self.width // self.heads
        empty = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return empty, empty

    def _maps(self, z):
        q, k, v = split_heads(z, self.qkv, self.heads)
        # one-hot values tell the steps apart, so that the mean of the values is the weights
        one_hot = torch.eye(z.shape[1], dtype=z.dtype, device=z.device).expand(*v.shape[:3], -1)
        return attention(rope(q), rope(k), one_hot, None, self.causal, self.window)

    # -- trees of symbols, which lesson 37 drafts ----------------------------------------------

    def _tree(self, z, past_k, past_v, steps, visible):
        """`multi_head` with a mask and a step for each node; the cache grows by all nodes."""
        q, k, v = split_heads(z, self.qkv, self.heads)
        k = torch.cat([past_k, rope(k, steps)], dim=2)
        v = torch.cat([past_v, v], dim=2)
        return join_heads(attention(rope(q, steps), k, v, visible), self.out), k, v


def matrix(*shape: int, size: float = 1.0) -> nn.Parameter:
    """Weights to begin with, (rows, columns, …): rows of random numbers with a norm near `size`."""
    return nn.Parameter(size * math.prod(shape[1:]) ** -0.5 * torch.randn(shape))


@twin(naive.transformer)
class Transformer(LanguageModel):
    """A stack of blocks between a table of symbols and an output layer.

    vocab_size  symbols
    width       C, channels; heads must divide it into even parts
    layers      blocks
    context     steps that a step sees in each layer. Positions are relative: any length will do
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        context: int = 256,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, layers=layers, context=context)
        self.vocab_size, self.context = vocab_size, context
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, window=context, residual=(2 * layers) ** -0.5)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = matrix(vocab_size, width, size=0.1)  # small: the first bet is near uniform

    def init_state(self, batch_size: int) -> tuple:
        """(steps so far, (keys, values) of each layer), those of the last `context` steps."""
        return 0, tuple(block.no_past(batch_size, self.embed) for block in self.blocks)

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        check_ids(ids, self.vocab_size, dims=2)
        position, caches = state
        logits, caches = self._run(ids, caches, position)
        return logits, (position + ids.shape[1], caches)

    def _run(self, ids, caches, *where):
        """Logits and caches after ids; `where` they stand is said as to `Block`."""
        x, after = nn.functional.embedding(ids, self.embed), []
        for block, (k, v) in zip(self.blocks, caches, strict=True):
            x, k, v = block(x, k, v, *where)
            after.append((k, v))
        return self.norm(x) @ self.output.t(), tuple(after)

    def maps(self, ids: Tensor) -> Tensor:
        """The weights of every layer: (layers, batch, heads, T, T) of ids (batch, T)."""
        check_ids(ids, self.vocab_size, dims=2)
        x, found = nn.functional.embedding(ids, self.embed), []
        for block in self.blocks:
            x, _, _, weights = block(x, *block.no_past(len(ids), x), maps=True)
            found.append(weights)
        return torch.stack(found)

    # -- trees of symbols, which lesson 37 drafts ----------------------------------------------

    def extend_tree(self, ids: Tensor, parents: list[int], state: tuple) -> tuple[Tensor, tuple]:
        """One pass over all nodes with a mask, a node's position being its depth.

        What `follow` needs are the keys and values of every node.
        """
        check_ids(ids, self.vocab_size, dims=2)
        position, caches = state
        mask = tree_mask(parents).to(ids.device)
        steps = position + mask.sum(1) - 1
        S = caches[0][0].shape[2]
        every_step = torch.cat([torch.arange(position - S, position, device=ids.device), steps])
        visible = torch.cat([mask.new_ones(len(mask), S), mask], dim=1)
        visible &= every_step > steps[:, None] - self.context
        return self._run(ids, caches, steps, visible)

    def follow(self, ids: Tensor, path: Tensor, before: tuple, after: tuple) -> tuple:
        """The cache of before and the new keys and values on the path; of the last `context`."""
        position, caches = before
        S = caches[0][0].shape[2]
        old = torch.arange(S, device=path.device).expand(len(path), S)
        keep = torch.cat([old, S + path], dim=1)[:, None, -self.context :, None]
        cut = lambda x: x.gather(2, keep.expand(-1, x.shape[1], -1, x.shape[3]))
        return position + path.shape[1], tuple((cut(k), cut(v)) for k, v in after)
