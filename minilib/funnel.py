"""Funnel: an encoder that sees both ways and gets shorter by half from level to level.

Names and symbols are those of minilib/naive/funnel.py. Not here: the decoder, unequal sequences.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.cross_attention import CrossAttention, cross_attention, keys_and_values
from minilib.hourglass import group, run_blocks, shorten_average
from minilib.language_model import check_ids
from minilib.naive import funnel as naive
from minilib.shapes import check_sizes
from minilib.transformer import Block


@twin(naive.pool)
class Pool(CrossAttention):
    """Half as many steps, which look at all: (batch, 1 + n, C) -> (batch, 1 + ceil(n / 2), C).

    The first step, [CLS], stays apart. The others are averaged in pairs, and these are the queries.
    """

    def forward(self, x: Tensor) -> Tensor:
        cls, steps = x[:, :1], x[:, 1:]
        if steps.shape[1] % 2:  # a last step without a partner is its own mean
            steps = torch.cat([steps, steps[:, -1:]], dim=1)
        pooled = cls
        if steps.shape[1]:
            pooled = torch.cat([cls, shorten_average(group(steps, 2, 0))], dim=1)
        S = pooled.shape[1]
        position = (2 * torch.arange(S, device=x.device) - 1).clamp(min=0)  # 0, 1, 3, 5, …
        keys, values = keys_and_values(self.norm_kv(x), self.kv, self.heads)
        query = self.norm_q(pooled)
        return pooled + cross_attention(query, keys, values, self.q, self.out, position)


@twin(naive.funnel)
class Funnel(nn.Module):
    """Encoder: ids (batch, T) -> one vector for each sequence, (batch, width) (Dai et al. 2020).

    vocab_size      symbols; width, heads as in Hourglass
    layers, levels  blocks of a level, and levels; on entering a level the sequence is halved
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        layers: int = 1,
        levels: int = 3,
        heads: int = 4,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, layers=layers, levels=levels)
        self.vocab_size, self.heads = vocab_size, heads
        residual = (2 * levels * layers) ** -0.5
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.cls = nn.Parameter(torch.randn(width))
        block = lambda: Block(width, heads, causal=False, residual=residual)
        self.levels = nn.ModuleList(
            nn.ModuleList(block() for _ in range(layers)) for _ in range(levels)
        )
        self.pools = nn.ModuleList(Pool(width, heads, residual) for _ in range(levels - 1))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        check_ids(ids, self.vocab_size, dims=2)
        B, C = len(ids), self.embed.shape[1]
        x = nn.functional.embedding(ids, self.embed)
        x = torch.cat([self.cls.expand(B, 1, C), x], dim=1)
        no_past = (x.new_zeros(B, self.heads, 0, C // self.heads),) * 2
        for level, blocks in enumerate(self.levels):
            if level:
                x = self.pools[level - 1](x)
            x, _ = run_blocks(blocks, x, (no_past,) * len(blocks), 0)
        return self.norm(x[:, 0])
