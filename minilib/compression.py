"""Kneser-Ney n-grams as a language model, without a loop over the text; integer frequencies for a coder.

Names and symbols are those of minilib/naive/compression.py. The coder and the mixer have no twin: each symbol's
interval needs the one before, so that a fast version would be the same loop. Only the probabilities come in bulk.
"""

import torch
from torch import nn

from minilib import twin
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import compression as naive


@twin(naive.quantize)
def quantize(p, total=naive.TOTAL):
    """Probabilities (..., symbols) as int64 frequencies ≥ 1 that sum to `total` exactly.

    Each step is one correctly rounded operation in float64: equal p gives equal integers everywhere, which a decoder needs.
    Raises ValueError if there are more symbols than `total` or a row is no distribution.
    """
    V = p.shape[-1]
    if total < V:
        raise ValueError(f"total must be at least the number of symbols, {V}, got {total}")
    p = p.double()
    sums = p.sum(-1)
    if not ((p >= 0).all() and ((sums - 1).abs() < 1e-3).all()):
        raise ValueError(
            f"p must have rows ≥ 0 that sum to 1, got sums from {sums.min():.4g} to {sums.max():.4g} and least value {p.min():.4g}"
        )
    out = 1 + (p * (total - V)).floor().long()
    return out.scatter_add(-1, p.argmax(-1, keepdim=True), total - out.sum(-1, keepdim=True))


class _Level(nn.Module):
    """The n-grams of one length, sorted. Context and symbol are packed into one integer, context · 256 + symbol,
    so that the successors of a context stand side by side.

    grams    (n-grams,) int64      share  (n-grams,)   (c(h, w) - D) / c(h)
    contexts (contexts,) int64     rest   (contexts,)  (sum of D) / c(h): the weight of the shorter context
    start    (contexts + 1,) int64, where each context's successors begin in grams
    """

    def __init__(self, grams, counts, modified):
        super().__init__()
        discounts = naive.discounts(
            counts.clamp(max=5).bincount(minlength=6)[:5].tolist(), modified
        )
        contexts, kinds = (grams >> 8).unique_consecutive(return_counts=True)
        of = torch.arange(len(contexts), device=grams.device).repeat_interleave(
            kinds
        )  # the context of each n-gram
        taken = torch.tensor(discounts, dtype=torch.float64, device=grams.device)[
            counts.clamp(max=3) - 1
        ]
        total = torch.zeros_like(contexts).index_add_(0, of, counts)
        rest = (
            torch.zeros(len(contexts), dtype=torch.float64, device=grams.device).index_add_(
                0, of, taken
            )
            / total
        )
        start = nn.functional.pad(kinds.cumsum(0), (1, 0))
        tables = {
            "grams": grams,
            "contexts": contexts,
            "start": start,
            "share": (counts - taken) / total[of],
            "rest": rest,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def find(self, context):
        """For contexts (M,): (index, found). Where a context was never seen, or lacks bytes, found is False."""
        i = torch.searchsorted(self.contexts, context).clamp(max=len(self.contexts) - 1)
        return i, self.contexts[i] == context


@twin(naive.kneser_ney)
class KneserNey(LanguageModel):
    """Interpolated Kneser-Ney counts of the bytes of a text (Chen & Goodman 1998).

    text      bytes (or str, taken as UTF-8) to count
    order     N: predicts from N - 1 bytes; 1 to 7, since context and symbol are packed into 63 bits
    modified  three discounts instead of one

    There is nothing to train: the tables are buffers, rebuilt from the text and not saved. The logits are
    log-probabilities. Built in float64, since a coder wants the precision; `.float()` halves the memory.
    Counting sorts the text once; a prediction then is one binary search a level. Memory: about 40 bytes per
    distinct n-gram, and for `forward` 256 numbers per position.
    """

    vocab_size = 256

    def __init__(self, text, order=5, modified=False):
        super().__init__()
        text = text.encode() if isinstance(text, str) else text
        if not isinstance(text, (bytes, bytearray)):
            raise TypeError(f"text must be bytes or str, got {type(text).__name__}")
        if not text:
            raise ValueError("text must have at least one byte, got an empty one")
        if not 1 <= order <= 7:
            raise ValueError(f"order must lie in [1, 7], got {order}")
        self.order = order
        ids = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
        grams, counts = _count(_pack(ids, order))
        whole, levels = grams, []  # whole: the distinct n-grams of the text
        for n in range(order, 0, -1):
            if n < order:
                grams, counts = _count(
                    whole & (1 << 8 * n) - 1
                )  # how many different bytes stand to the left of it
                whole, _ = _count(
                    torch.cat([whole >> 8, _pack(ids[-n:], n)])
                )  # every n-gram but the text's last goes on
            if len(grams):  # a text shorter than n has none
                levels.insert(0, _Level(grams, counts, modified))
        self.levels = nn.ModuleList(levels[1:])
        unigram = torch.full((256,), 1 / 256, dtype=torch.float64)
        if levels:
            unigram *= levels[0].rest
            unigram[levels[0].grams] += levels[0].share
        self.register_buffer("unigram", unigram, persistent=False)

    def predict(self, context):
        """Probabilities of the next byte: (batch, order - 1) int64, oldest first -> (batch, 256).

        -1 stands for a byte that is not there, before the text's start. Products and sums of single numbers only, so
        that a row does not depend on its company, to the bit: what is coded in bulk can be decoded one by one.
        """
        if context.dtype != torch.int64 or context.dim() != 2 or context.shape[1] != self.order - 1:
            raise ValueError(
                f"context must be int64 of shape (batch, {self.order - 1}), got {context.dtype} of {tuple(context.shape)}"
            )
        p = self.unigram.repeat(len(context), 1)
        for level, key in zip(self.levels, self._keys(context), strict=False):
            i, seen = level.find(key)
            p *= torch.where(seen, level.rest[i], 1)[:, None]
            size = torch.where(seen, level.start[i + 1] - level.start[i], 0)  # successors to add
            row = torch.repeat_interleave(size)  # 0 size[0] times, 1 size[1] times, …
            first = level.start[i] - (size.cumsum(0) - size)
            entry = (
                torch.arange(len(row), device=key.device) + first[row]
            )  # row by row, start … start + size
            p.view(-1).index_add_(0, row * 256 + (level.grams[entry] & 255), level.share[entry])
        return p

    def log_prob(self, ids):
        """log p of each symbol of ids (batch, time) given those before it, the first included: (batch, time), nats.

        Looks up the actual symbols only: 256 times less memory than `forward`.
        """
        check_ids(ids, self.vocab_size, dims=2)
        context = self._contexts(ids, self.init_state(len(ids)))[:, :-1].flatten(0, 1)
        shape, ids = ids.shape, ids.flatten()
        p = self.unigram[ids]
        for level, key in zip(self.levels, self._keys(context), strict=False):
            i, seen = level.find(key)
            gram = key << 8 | ids
            j = torch.searchsorted(level.grams, gram).clamp(max=len(level.grams) - 1)
            share = torch.where(level.grams[j] == gram, level.share[j], 0)
            p = torch.where(seen, share + level.rest[i] * p, p)
        return p.log().view(shape)

    def _keys(self, context):
        """The last 1, 2, … bytes of each context as one integer; negative where one of them is -1."""
        key = 0
        for n in range(1, self.order):
            key = key + (context[:, -n] << 8 * (n - 1))
            yield key

    def _contexts(self, ids, state):
        """The order - 1 bytes before each of ids and after the last: (batch, time + 1, order - 1)."""
        return torch.cat([state, ids], 1).unfold(1, self.order - 1, 1)

    def init_state(self, batch_size):
        """The last order - 1 bytes: none yet, (batch, order - 1) of -1."""
        return torch.full((batch_size, self.order - 1), -1, device=self.unigram.device)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        contexts = self._contexts(ids, state)
        p = self.predict(contexts[:, 1:].flatten(0, 1))
        return p.log().view(*ids.shape, 256), contexts[:, -1]


def _count(keys):
    """Distinct integers in order, and how often each occurs."""
    return keys.sort()[0].unique_consecutive(return_counts=True)  # three times as fast as unique


def _pack(ids, n):
    """Every n-gram of ids (time,) as one integer, the first byte in the highest place."""
    key = ids[: max(0, len(ids) - n + 1)]
    for j in range(1, n):
        key = key << 8 | ids[j : j + len(key)]
    return key
