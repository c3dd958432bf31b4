"""The causal Transformer: a pre-norm block and a language model with a cache that slides.

Names and symbols are those of minilib/naive/transformer.py, which lists the departures from the paper. Not here: dropout.
"""

import torch
from torch import nn

from minilib import twin
from minilib.attention import attention, multi_head, rope
from minilib.language_model import LanguageModel, check_ids, tree_mask
from minilib.naive import transformer as naive


@twin(naive.block)
class Block(nn.Module):
    """x + attention(norm(x)), then + feed-forward(norm(x)), four times as wide inside.

    width, heads    C, and how many parts of it look things up on their own
    causal, window  as in `attention`
    residual        initial size of what a sublayer adds; 1 / √(2 · layers) keeps the sum of all near 1
    """

    def __init__(self, width, heads, causal=True, window=None, residual=1.0):
        super().__init__()
        if heads < 1 or width < 1 or width % (2 * heads):
            raise ValueError(
                f"heads must divide width into even parts, got heads={heads} and width={width}"
            )
        self.heads, self.causal, self.window = heads, causal, window
        matrix = lambda rows, columns, size=1.0: nn.Parameter(
            size * columns**-0.5 * torch.randn(rows, columns)
        )
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = matrix(3 * width, width), matrix(width, width, residual)
        self.up, self.down = matrix(4 * width, width), matrix(width, 4 * width, residual)

    def forward(self, x, past_k, past_v, position=0):
        """x (batch, T, C), cache (batch, heads, S, C / heads) twice -> the same for the step after x."""
        heard, k, v = multi_head(
            self.norm1(x),
            self.qkv,
            self.out,
            self.heads,
            past_k,
            past_v,
            position,
            self.causal,
            self.window,
        )
        x = x + heard
        return x + (self.norm2(x) @ self.up.t()).relu().square() @ self.down.t(), k, v

    def branch(self, x, past_k, past_v, steps, visible):
        """`forward` for nodes x (batch, nodes, C) of a tree: steps (nodes,) their positions, visible (nodes, S + nodes); caches grow by all nodes."""
        q, k, v = (
            (self.norm1(x) @ self.qkv.t()).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        k, v = torch.cat([past_k, rope(k, steps)], dim=2), torch.cat([past_v, v], dim=2)
        x = x + attention(rope(q, steps), k, v, visible).transpose(1, 2).flatten(2) @ self.out.t()
        return x + (self.norm2(x) @ self.up.t()).relu().square() @ self.down.t(), k, v

    def maps(self, x):
        """Who looks at whom in x (batch, T, C), nothing before it: weights (batch, heads, T, T), row t of step t. O(T²) memory."""
        B, T, C = x.shape
        q, k, _ = (
            (self.norm1(x) @ self.qkv.t())
            .view(B, T, 3, self.heads, C // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        one_hot = torch.eye(T, dtype=x.dtype, device=x.device).expand(
            B, self.heads, T, T
        )  # values that tell the steps apart
        return attention(rope(q), rope(k), one_hot, None, self.causal, self.window)

    def no_past(self, batch_size):
        """An empty cache: keys and values, each (batch, heads, 0, C / heads)."""
        width = self.out.shape[0]
        return (self.out.new_zeros(batch_size, self.heads, 0, width // self.heads),) * 2


@twin(naive.transformer)
class Transformer(LanguageModel):
    """A stack of blocks between a table of symbols and an output layer.

    vocab_size  symbols
    width       C, channels; heads must divide it into even parts
    layers      blocks
    context     steps that a step sees in each layer. Positions are relative, so a text may be of any length
    """

    def __init__(self, vocab_size=256, width=128, layers=4, heads=4, context=256):
        super().__init__()
        if min(vocab_size, width, layers, context) < 1:
            raise ValueError(
                f"vocab_size, width, layers and context must be 1 or more, got {vocab_size}, {width}, {layers}, {context}"
            )
        self.vocab_size, self.context = vocab_size, context
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, window=context, residual=(2 * layers) ** -0.5)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Parameter(
            0.1 * width**-0.5 * torch.randn(vocab_size, width)
        )  # small: the first bet is near uniform

    def init_state(self, batch_size):
        """(steps so far, (keys, values) of each layer); the keys and values of the last `context` steps are kept."""
        return 0, tuple(block.no_past(batch_size) for block in self.blocks)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        position, caches = state
        x, after = nn.functional.embedding(ids, self.embed), []
        for block, (k, v) in zip(self.blocks, caches, strict=True):
            x, k, v = block(x, k, v, position)
            after.append((k, v))
        return self.norm(x) @ self.output.t(), (position + ids.shape[1], tuple(after))

    def extend_tree(self, ids, parents, state):
        """One pass over all nodes with a mask, a node's position being its depth. `after` holds the keys and values of every node."""
        check_ids(ids, self.vocab_size, dims=2)
        position, caches = state
        mask = tree_mask(parents).to(ids.device)
        steps = position + mask.sum(1) - 1
        S = caches[0][0].shape[2]
        every_step = torch.cat([torch.arange(position - S, position, device=ids.device), steps])
        visible = torch.cat([mask.new_ones(len(mask), S), mask], dim=1) & (
            every_step > steps[:, None] - self.context
        )
        x, after = nn.functional.embedding(ids, self.embed), []
        for block, (k, v) in zip(self.blocks, caches, strict=True):
            x, k, v = block.branch(x, k, v, steps, visible)
            after.append((k, v))
        return self.norm(x) @ self.output.t(), tuple(after)

    def follow(self, ids, path, before, after):
        """The cache of before and, of the new keys and values, those on the path; the last `context` of them."""
        position, caches = before
        S = caches[0][0].shape[2]
        keep = torch.cat(
            [torch.arange(S, device=path.device).expand(len(path), S), S + path], dim=1
        )[:, -self.context :, None]
        cut = lambda x: x.gather(2, keep[:, None].expand(-1, x.shape[1], -1, x.shape[3]))
        return position + path.shape[1], tuple((cut(k), cut(v)) for k, v in after)

    def maps(self, ids):
        """Who looks at whom in every layer: weights (layers, batch, heads, T, T) of ids (batch, T)."""
        check_ids(ids, self.vocab_size, dims=2)
        x, found = nn.functional.embedding(ids, self.embed), []
        for block in self.blocks:
            found.append(block.maps(x))
            x, _, _ = block(x, *block.no_past(len(ids)))
        return torch.stack(found)
