"""H-Net of one stage or more: each routes, takes the first row of each chunk, runs what lies inside
on these, smooths, and hands back up.

Names and symbols are those of minilib/naive/hnet.py. Not here: dropout, wider rows inside, learning
rates of each stage.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.dynamic_pooling import SegmentBlock, pool, ratio_loss, route, smooth, unpool
from minilib.hourglass import run_blocks
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import hnet as naive
from minilib.shapes import check_sizes


@twin(naive.spread)
def spread(values: Tensor, begins: Tensor) -> Tensor:
    """What belongs to the chunks, put where they begin: (batch, S), (batch, T) -> (batch, T).

    0 elsewhere. A gather, no loop. Raises ValueError if there are not enough values.
    """
    if begins.dtype != torch.bool:
        raise TypeError(f"begins must be a bool tensor, got {begins.dtype}")
    if (most := int(begins.sum(1).max())) > values.shape[1] or len(values) != len(begins):
        need, got = (len(begins), most), tuple(values.shape)
        raise ValueError(f"values must have shape {need} or wider, got {got}")
    if not most:
        return values.new_zeros(begins.shape)
    chunk = (begins.cumsum(1) - 1).clamp(min=0)
    return values.gather(1, chunk).where(begins, 0)


@twin(naive.multiply_adds)
def multiply_adds(rows: list[int], C: int, V: int, layers: int, middle: int, context: int) -> int:
    """Products of one forward pass over one text, in closed form.

    rows  how many rows there are at each stage, and in the main stack at last: bytes, chunks, …
    """
    if len(rows) < 2 or min(rows) < 1:
        raise ValueError(f"rows must be of a stage and of what lies inside, got {rows}")

    def block(n):
        full = min(n, context)  # rows that see fewer than `context`: 1, 2, … full
        seen = full * (full + 1) // 2 + (n - full) * context
        return n * 12 * C * C + 2 * C * seen

    stages = sum(2 * layers * block(n) + (3 * n - 1) * C * C for n in rows[:-1])
    return rows[0] * C * V + stages + middle * block(rows[-1])


# -- the language model ----------------------------------------------------------------------------


class Level(NamedTuple):
    """Where one stage stands, or the stack inside. Each row of the batch has its own pace.

    A cache is (keys, values), those of the last `context` rows of the stage, blanks in front.
    """

    seen: Tensor  # (batch,): rows of this stage so far
    previous: Tensor  # (batch, 1, C): the last of them, which the router compares
    last: Tensor  # (batch, 1, C): what goes up until a chunk begins
    before: tuple  # a cache for each block, like the next
    after: tuple


class HNetState(NamedTuple):
    """Where an HNet stands after `position` symbols."""

    position: int
    levels: tuple  # a Level for each stage and for the main stack, whose blocks are `before`


@twin(naive.hnet)
class HNet(LanguageModel):
    """Stages that cut, one inside the other, around a main stack (Hwang et al. 2025).

    vocab_size    symbols
    width, heads  C, channels, of every layer; heads must divide it into even parts
    stages        how often rows are cut into chunks
    layers        blocks of each stage before its rows are cut, and again after
    middle        blocks inside, on the chunks of the last stage
    context       rows that a layer sees
    shorten       N, rows of a chunk that the loss asks each stage for
    """

    rounding = 1e-12  # how many chunks there are decides the shape of matrix products

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        stages: int = 2,
        layers: int = 1,
        middle: int = 2,
        heads: int = 4,
        context: int = 64,
        shorten: float = 3.0,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, stages=stages)
        check_sizes(middle=middle, context=context)
        if layers < 0 or not shorten > 1:
            given = f"{layers} and {shorten}"
            raise ValueError(f"layers must be 0 or more, shorten above 1, got {given}")
        self.vocab_size, self.stages, self.shorten = vocab_size, stages, shorten
        options = {"window": context, "residual": (2 * (2 * stages * layers + middle)) ** -0.5}
        stack = lambda n: nn.ModuleList(SegmentBlock(width, heads, **options) for _ in range(n))
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.before = nn.ModuleList(stack(layers) for _ in range(stages))
        self.main = stack(middle)
        self.after = nn.ModuleList(stack(layers) for _ in range(stages))
        # rows are compared, and skip what lies inside, as they are at first
        one = torch.eye(width).expand(stages, -1, -1)
        self.W_q, self.W_k, self.W_skip = (nn.Parameter(one.clone()) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        # small: the first bet is near uniform
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(vocab_size, width))

    def init_state(self, batch_size: int) -> HNetState:
        seen = torch.zeros(batch_size, dtype=torch.int64, device=self.embed.device)
        blank = self.embed.new_zeros(batch_size, 1, self.embed.shape[1])
        no_past = lambda blocks: tuple(b.no_past(batch_size, self.embed) for b in blocks)
        pairs = [*zip(self.before, self.after, strict=True), (self.main, ())]
        levels = (Level(seen, blank, blank, *map(no_past, pair)) for pair in pairs)
        return HNetState(0, tuple(levels))

    def extend(self, ids: Tensor, state: HNetState) -> tuple[Tensor, HNetState]:
        return self._run(ids, state)[:2]

    def boundaries(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(begins bool, p), both (stages, batch, T): where each stage begins a chunk of ids.

        p is its router's, at the symbols that it has a row for, and 0 at all others.
        """
        cuts = self._run(ids, self.init_state(len(ids)))[2]
        chances = []
        for s, (_, p, _) in enumerate(cuts):
            for begins, _, _ in reversed(cuts[:s]):
                p = spread(p, begins)
            chances.append(p)
        chances = torch.stack(chances)
        return chances >= 0.5, chances

    def loss(self, ids: Tensor) -> Tensor:
        """Nats per symbol of ids (batch, time + 1), and 0.03 times the ratio loss of each stage."""
        x = ids[:, :-1]
        logits, _, cuts = self._run(x, self.init_state(len(x)), learn=True)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        for begins, p, there in cuts:
            loss = loss + 0.03 * ratio_loss(p[there][None], begins[there][None], self.shorten)
        return loss

    def _run(self, ids, state, learn=False):
        """Logits, state and what each stage cut: (begins, p, there), all (batch, its rows).

        learn  what goes up hands the routers a gradient, straight through
        """
        check_ids(ids, self.vocab_size, dims=2)
        x, new = functional.embedding(ids, self.embed), ids.new_full((len(ids),), ids.shape[1])
        fresh = state.position == 0
        x, levels, cuts = self._stage(x, new, state.levels, fresh, learn)
        state = HNetState(state.position + ids.shape[1], levels)
        return self.norm(x) @ self.output.t(), state, cuts

    def _stage(self, x, new, levels, fresh, learn):
        """The stage of levels[0] on x (batch, S, C), of which row r holds new[r].

        Returns what it hands out, as x, the levels after it, and the cuts.
        """
        level, *inside = levels
        s, there = self.stages - len(inside), torch.arange(x.shape[1], device=x.device)
        there, seen = there < new[:, None], level.seen + new
        if not inside:
            x, before = run_blocks(self.main, x, level.before, level.seen, new)
            return x, (level._replace(seen=seen, before=before),), ()
        x, before = run_blocks(self.before[s], x, level.before, level.seen, new)
        steps = torch.cat([level.previous, x], dim=1)
        p = route(x if fresh else steps, self.W_q[s], self.W_k[s])[:, -x.shape[1] :]
        begins = (p >= 0.5) & there
        z, sure = pool(torch.cat([x, p[..., None]], dim=2), begins, begins.to(p)).split(
            [x.shape[2], 1], dim=2
        )
        chunks, cuts = begins.sum(1), ()
        if z.shape[1]:
            z, inside, cuts = self._stage(z, chunks, inside, fresh, learn)
        sure = functional.pad(sure[..., 0], (1, 0), value=1.0)
        known = smooth(torch.cat([level.last, z], dim=1), sure)
        up = unpool(known, begins)
        if learn:
            c = torch.where(begins, p, 1 - p)
            up = up * (1 + c - c.detach())[..., None]
        y = x @ self.W_skip[s].t() + up
        y, after = run_blocks(self.after[s], y, level.after, level.seen, new)
        level = Level(seen, _at(steps, new), _at(known, chunks), before, after)
        return y, (level, *inside), ((begins, p, there), *cuts)


def _at(x, index):
    """Of each row the one step: (batch, S, C), (batch,) -> (batch, 1, C)."""
    return x.gather(1, index[:, None, None].expand(-1, 1, x.shape[2]))
