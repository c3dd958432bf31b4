"""Translation by characters or by tokens: an encoder and a decoder with attention, and a beam.

Names and symbols are those of minilib/naive/char_translation.py. Not here: dropout,
label smoothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.attention import attention, rope
from minilib.byte_encoders import conv, gbst
from minilib.char_aware import highway
from minilib.compare import map_leaves
from minilib.language_model import check_ids
from minilib.lstm import lstm
from minilib.naive import char_translation as naive
from minilib.naive.char_translation import END, PAD, START
from minilib.shapes import check_shapes
from minilib.transformer import Block, matrix

# -- shorter sequences -----------------------------------------------------------------------------


@twin(naive.shift, differentiable=False)
def shift(y: Tensor, s: int) -> Tensor:
    """The last s symbols of each row make room for s start symbols: (batch, T) -> (batch, T).

    Raises ValueError for s below 1.
    """
    check_shapes(y=(y, (None, None)))
    if s < 1:
        raise ValueError(f"s must be at least 1, got {s}")
    return functional.pad(y, (s, 0), value=START)[:, : y.shape[1]]


@twin(naive.causal_pool)
def causal_pool(x: Tensor, F: Tensor, b: Tensor, s: int) -> Tensor:
    """A causal convolution, ReLU, and the maximum of every s steps: (batch, ceil(T / s), C).

    x (batch, T, E); F (C, E, k); b (C,). One convolution, k - 1 zeros before the first step; after
    ReLU zeros behind the last step never are the only maximum. Raises ValueError for s below 1.
    """
    check_shapes(x=(x, (None, None, None)))
    check_shapes(F=(F, (None, x.shape[2], None)), b=(b, (F.shape[0],)))
    if s < 1:
        raise ValueError(f"s must be at least 1, got {s}")
    found = functional.conv1d(functional.pad(x.transpose(1, 2), (F.shape[2] - 1, 0)), F, b).relu()
    return _maxima(found, s)


@twin(naive.lee_pool)
def lee_pool(
    x: Tensor, lengths: Tensor, filters: Sequence[Tensor], biases: Sequence[Tensor], s: int
) -> Tensor:
    """Filters of several widths, ReLU, and the maximum of every s steps (Lee et al. 2017).

    x        (batch, S, E); row b has lengths[b] steps, what follows them is not looked at
    filters  (h, E, w) each, w odd; biases (h,) each
    returns  (batch, ceil(S / s), sum of h), 0 behind a row's last group
    Raises ValueError for shapes that do not fit, even widths and lengths outside 1 to S.
    """
    check_shapes(x=(x, (None, None, None)))
    check_shapes(lengths=(lengths, (len(x),)))
    if s < 1 or not filters or len(filters) != len(biases):
        got = f"{s}, {len(filters)} filters and {len(biases)} biases"
        raise ValueError(f"s must be at least 1, and each filter have its bias, got s = {got}")
    if len(lengths) and (lengths.min() < 1 or lengths.max() > x.shape[1]):
        got = f"{int(lengths.min())} to {int(lengths.max())}"
        raise ValueError(f"lengths must lie in 1 to {x.shape[1]}, got {got}")
    inside = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, None]
    columns, found = x.transpose(1, 2) * inside, []
    for F, b in zip(filters, biases, strict=True):
        check_shapes(F=(F, (None, x.shape[2], None)), b=(b, (F.shape[0],)))
        if F.shape[2] % 2 == 0:
            raise ValueError(f"filters must have odd widths, got {F.shape[2]}")
        found.append(functional.conv1d(columns, F, b, padding=F.shape[2] // 2))
    return _maxima(torch.cat(found, 1).relu() * inside, s)


def _maxima(found, s):
    """(batch, C, T), nowhere below 0 -> the maximum of every s steps, (batch, ceil(T / s), C)."""
    found = functional.pad(found, (0, -found.shape[2] % s))
    return found.unflatten(2, (-1, s)).max(3).values.transpose(1, 2)


# -- encoder and decoder ---------------------------------------------------------------------------


class _Lookup(nn.Module):
    """Decoder steps look at the source: x + cross-attention(norm(x))."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.W_q, self.W_kv = matrix(width, width), matrix(2 * width, width)
        self.W_out = matrix(width, width)

    def read(self, source):
        """Keys and values of the source (batch, S, C), once for all decoder steps."""
        keys, values = (
            (source @ self.W_kv.t()).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        return rope(keys), values

    def queries(self, x, position):
        q = (self.norm(x) @ self.W_q.t()).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return rope(q, position)

    def forward(self, x, keys, values, visible, position=0):
        found = attention(self.queries(x, position), keys, values, visible)
        return x + found.transpose(1, 2).flatten(2) @ self.W_out.t()


@twin(naive.translator)
class Translator(nn.Module):
    """An encoder and a decoder with attention between them, one step for one or more symbols.

    source_size, target_size  symbols of each side; 0, 1, 2 are PAD, START and END
    width, heads, layers      C, heads, and blocks of encoder and decoder each
    pool                      source symbols in one step of the encoder: above 1 it is Lee's, with
                              filters of the widths 1, 3 and 5 and a highway layer
    soft                      the pool is GBST's of lesson 21: a filter of width 5, soft blocks of
                              1 to 4 symbols
    s                         target symbols in one step of the decoder: above 1 it is two-step,
                              with an LSTM that writes the s symbols of a step
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        pool: int = 1,
        s: int = 1,
        soft: bool = False,
    ):
        super().__init__()
        if min(source_size, target_size) < 4 or min(layers, pool, s) < 1:
            got = f"{source_size}, {target_size}, {layers}, {pool}, {s}"
            raise ValueError(f"sizes must be at least 4; layers, pool and s at least 1; got {got}")
        C, self.width, self.layers = width, width, layers
        self.pool, self.s, self.soft = pool, s, soft
        self.embed_source = nn.Parameter(torch.randn(source_size, C) * 0.5)
        self.embed_target = nn.Parameter(torch.randn(target_size, C) * 0.5)
        self.encoder = nn.ModuleList(Block(C, heads, causal=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(C, heads) for _ in range(layers))
        self.lookup = nn.ModuleList(_Lookup(C, heads) for _ in range(layers))
        self.norm_source, self.norm_target = nn.LayerNorm(C), nn.LayerNorm(C)
        if soft:
            self.F_5, self.b_5 = matrix(C, C, 5), nn.Parameter(torch.zeros(C))
            self.score = matrix(1, C)
        elif pool > 1:
            for w in (1, 3, 5):
                self.register_parameter(f"F_{w}", matrix(C, C, w))
                self.register_parameter(f"b_{w}", nn.Parameter(torch.zeros(C)))
            self.project = matrix(C, 3 * C)
            self.W_H, self.b_H = matrix(C, C), nn.Parameter(torch.zeros(C))
            self.W_T, self.b_T = matrix(C, C), nn.Parameter(torch.full((C,), -2.0))
        if s > 1:
            self.F, self.b = matrix(C, C, 5), nn.Parameter(torch.zeros(C))
            self.unpool = matrix(s * C // 2, C)
            self.embed_written = nn.Parameter(torch.randn(target_size, 4 * C))
            self.W_c, self.W_h = matrix(4 * C, C // 2), matrix(4 * C, C)
            self.peep, self.bias = nn.Parameter(torch.zeros(3, C)), nn.Parameter(torch.zeros(4 * C))
        self.output = matrix(target_size, C + C // 2 if s > 1 else C)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """source (batch, S) ids -> vectors (batch, steps, C), which of them are (batch, steps)."""
        if source.dim() != 2 or not source.shape[1] or (source[:, 0] == PAD).any():
            raise ValueError(f"source must be (batch, S) ids, each row with some, got {source}")
        check_ids(source, len(self.embed_source), dims=2)
        present = source != PAD
        lengths = present.sum(1)
        x = functional.embedding(source, self.embed_source)
        if self.soft:
            x = conv(x * present[..., None], self.F_5, self.b_5)
            x, _ = gbst(x, self.score[0], present, 4, self.pool)
        elif self.pool > 1:
            filters = [getattr(self, f"F_{w}") for w in (1, 3, 5)]
            biases = [getattr(self, f"b_{w}") for w in (1, 3, 5)]
            x = lee_pool(x, lengths, filters, biases, self.pool) @ self.project.t()
            x = highway(x.flatten(0, 1), self.W_H, self.b_H, self.W_T, self.b_T).view_as(x)
        steps = torch.arange(x.shape[1], device=x.device)
        real = steps < (lengths[:, None] + self.pool - 1) // self.pool
        visible = real[:, None, None].expand(-1, 1, len(steps), -1)
        for block in self.encoder:
            x = block(x, *block.no_past(len(x), x), steps, visible)[0]
        return self.norm_source(x), real

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities (batch, T, target_size): at t those of target[:, t], after its past.

        source (batch, S) ids, PAD behind shorter rows; target (batch, T) ids. The shift is inside.
        """
        x, real = self.encode(source)
        visible = real[:, None, None]
        check_ids(target, len(self.embed_target), dims=2)
        T = target.shape[1]
        target = functional.pad(target, (0, -T % self.s))  # the shift drops what was added
        y = functional.embedding(shift(target, self.s), self.embed_target)
        if self.s > 1:
            y = causal_pool(y, self.F, self.b, self.s)
        for block, look in zip(self.decoder, self.lookup, strict=True):
            y = block(y, *block.no_past(len(y), y))[0]
            y = look(y, *look.read(x), visible.expand(-1, 1, y.shape[1], -1))
        c = self._unpooled(y)
        if self.s > 1:
            zero = y.new_zeros(len(y), self.width)
            c, _, _ = self._written(shift(target, 1), c, zero, zero)
        return (c[:, :T] @ self.output.t()).log_softmax(-1)

    def _unpooled(self, y):
        """The decoder's steps (batch, steps, C), each as what it says of its s symbols."""
        y = self.norm_target(y)
        return y if self.s == 1 else (y @ self.unpool.t()).view(len(y), -1, self.width // 2)

    def _written(self, last, c, h, cell):
        """The LSTM reads the symbols before, last (batch, T), and c; what the output layer gets."""
        fed = functional.embedding(last, self.embed_written) + c @ self.W_c.t() + self.bias
        found, h, cell = lstm(fed, h, cell, self.W_h, self.peep)
        return torch.cat([found, c], 2), h, cell

    def alignment(self, source: Tensor, target: Tensor) -> Tensor:
        """How much each decoder step looks at each encoder step: (batch, steps, S), rows sum to 1.

        The mean over the heads of the last layer. O(steps S) memory.
        """
        seen = []
        look = self.lookup[-1]

        def keep(module, inputs):
            x, keys, values, visible = inputs
            one_hot = torch.eye(keys.shape[2], dtype=x.dtype, device=x.device)
            one_hot = one_hot.expand(*keys.shape[:2], -1, -1)
            seen.append(attention(look.queries(x, 0), keys, one_hot, visible).mean(1))

        hook = look.register_forward_pre_hook(keep)
        try:
            self(source, target)
        finally:
            hook.remove()
        return seen[0]

    # -- one symbol at a time ----------------------------------------------------------------------

    def init_state(self, source: Tensor) -> tuple:
        """What `step` needs to begin: keys and values of the source are computed once, here."""
        x, real = self.encode(source)
        B, C = len(x), self.width
        reads = tuple(look.read(x) for look in self.lookup)
        pasts = tuple(block.no_past(B, x) for block in self.decoder)
        if self.s == 1:
            return 0, reads, real[:, None, None], pasts, ()
        recent = x.new_zeros(B, self.F.shape[2] - 1 + self.s, C)
        recent[:, -self.s :] = self.embed_target[START]
        zero = x.new_zeros(B, C)
        small = recent, x.new_zeros(B, self.s, C // 2), zero, zero
        return 0, reads, real[:, None, None], pasts, small

    def step(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        """Read the symbol before, ids (batch,), at first START; log-probabilities of the next one.

        Two-step: the blocks run only where a new group of s symbols begins.
        """
        t, reads, visible, pasts, small = state
        if self.s == 1:
            y = functional.embedding(ids[:, None], self.embed_target)
            c, pasts = self._large(y, t, reads, visible, pasts)
        else:
            recent, c, h, cell = small
            if t:
                new = functional.embedding(ids[:, None], self.embed_target)
                recent = torch.cat([recent[:, 1:], new], 1)
            if t % self.s == 0:
                y = functional.conv1d(recent.transpose(1, 2), self.F, self.b).relu()
                c, pasts = self._large(y.max(2).values[:, None], t // self.s, reads, visible, pasts)
            now = c[:, t % self.s : t % self.s + 1]
            small_c = c
            c, h, cell = self._written(ids[:, None], now, h, cell)
            small = recent, small_c, h, cell
        log_p = (c[:, 0] @ self.output.t()).log_softmax(-1)
        return log_p, (t + 1, reads, visible, pasts, small)

    def _large(self, y, position, reads, visible, pasts):
        """One step of the decoder's blocks."""
        after = []
        for block, look, read, past in zip(self.decoder, self.lookup, reads, pasts, strict=True):
            y, *past = block(y, *past, position)
            after.append(tuple(past))
            y = look(y, *read, visible, position)
        return self._unpooled(y), tuple(after)


# -- decoding, and noise ---------------------------------------------------------------------------


@twin(naive.beam_search, differentiable=False)
def beam_search(
    step: Callable, state: Any, start: Tensor, width: int, longest: int
) -> tuple[Tensor, Tensor]:
    """Write with a beam, all sources and all their beginnings in one batch.

    step     function (ids (n,), state) -> log-probabilities (n, V), state; as Translator.step
    state    nested tuples of tensors, a row for each source, e.g. Translator.init_state(source)
    start    (batch,) ids; width, longest: beginnings that are kept, symbols at most
    returns  ids (batch, width, longest), END behind the end; their totals, best first

    Each source has `width` rows. A stable sort over (width · V) totals keeps the order of equals:
    by beginning, then by symbol. An ended beginning goes on with END alone, at no cost. The state
    follows by index. Time: `longest` calls of step, whatever the batch.
    Raises ValueError for a width or a length below 1.
    """
    if width < 1 or longest < 1:
        raise ValueError(f"width and longest must be at least 1, got {width} and {longest}")
    B, device = len(start), start.device
    pick = lambda rows: lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf
    rows = torch.arange(B, device=device).repeat_interleave(width)
    state, last = map_leaves(pick(rows), state), start[rows]
    first = rows[::width, None] * width  # of each source
    totals = torch.full((B, width), -torch.inf, device=device)
    totals[:, 0] = 0  # one beginning for all: nothing
    ids = torch.full((B, width, longest), END, device=device)
    ended = torch.zeros(B, width, dtype=torch.bool, device=device)
    for t in range(longest):
        log_p, state = step(last, state)
        log_p = torch.as_tensor(log_p, device=device).view(B, width, -1)
        V = log_p.shape[2]
        found = totals[:, :, None] + log_p.masked_fill(ended[:, :, None], -torch.inf)
        found[:, :, END] = torch.where(ended, totals, found[:, :, END])
        totals, order = torch.sort(found.flatten(1), dim=1, descending=True, stable=True)
        totals, order = totals[:, :width], order[:, :width]
        if order.shape[1] < width:
            raise ValueError(f"width must be at most {order.shape[1]}, got {width}")
        parent, symbol = order // V, order % V
        symbol = torch.where(totals > -torch.inf, symbol, END)
        ids = ids.gather(1, parent[:, :, None].expand_as(ids))
        ids[:, :, t] = symbol
        ended = symbol == END
        if ended.all():
            break
        state = map_leaves(pick((first + parent).flatten()), state)
        last = symbol.flatten()
    return torch.where(totals[:, :, None] > -torch.inf, ids, END), totals


@twin(naive.noise, differentiable=False)
def noise(text: str, rate: float, u: Sequence[float]) -> str:
    """Swap neighbouring letters where u (len(text),) says so; only these places are visited.

    Raises ValueError unless 0 <= rate <= 1 and u has a number for each character.
    """
    u = torch.as_tensor(u)
    check_shapes(u=(u, (len(text),)))
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")
    written, free = list(text), 0
    for i in (u < rate).nonzero()[:, 0].tolist():
        if i >= free and text[i : i + 2].isalpha() and i + 1 < len(text):
            written[i : i + 2] = text[i + 1], text[i]
            free = i + 2
    return "".join(written)


# -- training and translating ---------------------------------------------------------------------


@twin(naive.translation_loss)
def translation_loss(log_p: Tensor, target: Tensor) -> Tensor:
    """Mean nats per target symbol, END among them and PAD not; log_p (batch, T, V)."""
    check_shapes(target=(target, log_p.shape[:2]))
    return functional.nll_loss(log_p.flatten(0, 1), target.flatten(), ignore_index=PAD)


@torch.no_grad()
def translate(
    model: Translator, sources: Sequence[Sequence[int]], width: int = 1, longest: int = 80
) -> list[list[int]]:
    """The likeliest ids that a beam finds for each source; of width 1 the search is greedy."""
    longest_source = max(map(len, sources))
    rows = [[*row, *[PAD] * (longest_source - len(row))] for row in sources]
    source = torch.tensor(rows, device=model.embed_source.device)
    start = torch.full_like(source[:, 0], START)
    ids, _ = beam_search(model.step, model.init_state(source), start, width, longest)
    return ids[:, 0].tolist()
