"""Kneser-Ney n-grams as a language model, without a loop over the text; frequencies for a coder.

Names and symbols are those of minilib/naive/compression.py. The coder and the mixer have no twin:
each symbol's interval needs the one before, so that a fast version would be the same loop. Only the
probabilities come in bulk.
"""

import torch
from torch import nn

from minilib import twin
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import compression as naive


@twin(naive.quantize)
def quantize(p: torch.Tensor, total: int = naive.TOTAL) -> torch.Tensor:
    """Probabilities (..., symbols) as int64 frequencies ≥ 1 that sum to `total` exactly.

    Each step is one correctly rounded operation in float64: equal p gives equal integers
    everywhere, which a decoder needs. Raises ValueError if there are more symbols than `total` or a
    row is no distribution.
    """
    V = p.shape[-1]
    if total < V:
        raise ValueError(f"total must be at least the number of symbols, {V}, got {total}")
    p = p.double()
    sums = p.sum(-1)
    if not ((p >= 0).all() and ((sums - 1).abs() < 1e-3).all()):
        got = f"sums from {sums.min():.4g} to {sums.max():.4g} and least value {p.min():.4g}"
        raise ValueError(f"p must have rows ≥ 0 that sum to 1, got {got}")
    out = 1 + (p * (total - V)).floor().long()
    return out.scatter_add(-1, p.argmax(-1, keepdim=True), total - out.sum(-1, keepdim=True))


class _Level(nn.Module):
    """One order n of the interpolation: p_(n-1) -> p_n (naive.kn_prob), for many contexts at once.

    The n-grams are sorted integers, context · 2^bits + symbol, so that the successors of a context
    stand side by side. Of "abracadabra" and n = 2, written with letters:

    grams     ab ac ad br ca da ra   (n-grams,) int64
    share     (c(h, w) - D) / c(h)   (n-grams,)
    contexts  a b c d r              (contexts,) int64
    start     0 3 4 5 6 7            (contexts + 1,) int64, where each context's successors begin
    rest      (sum of all D) / c(h)  (contexts,), the weight of the shorter context
    """

    def __init__(self, grams, counts, modified, bits):
        super().__init__()
        self.bits = bits
        device = grams.device
        counts_of_counts = counts.clamp(max=5).bincount(minlength=6)[:5].tolist()
        discounts = torch.tensor(
            naive.discounts(counts_of_counts, modified), dtype=torch.float64, device=device
        )
        contexts, kinds = (grams >> bits).unique_consecutive(return_counts=True)
        of = torch.arange(len(contexts), device=device).repeat_interleave(kinds)  # of each n-gram
        taken = discounts[counts.clamp(max=3) - 1]
        total = torch.zeros_like(contexts).index_add_(0, of, counts)
        all_taken = torch.zeros(len(contexts), dtype=torch.float64, device=device)
        all_taken.index_add_(0, of, taken)
        self.table("grams", grams)
        self.table("contexts", contexts)
        self.table("start", nn.functional.pad(kinds.cumsum(0), (1, 0)))
        self.table("share", (counts - taken) / total[of])
        self.table("rest", all_taken / total)

    def table(self, name, values):
        self.register_buffer(name, values, persistent=False)

    def forward(self, context, p, symbols=None):
        """p_(n-1) after the contexts (M,) -> p_n, of the given symbols (M,) or of all.

        p  (M,) beside symbols, else (M, vocab_size), which is changed in place
        A context that was never seen, or lacks symbols and is negative, leaves p as it is.
        """
        contexts, grams, share = self.contexts, self.grams, self.share
        i = torch.searchsorted(contexts, context).clamp(max=len(contexts) - 1)
        seen, rest = contexts[i] == context, self.rest[i]
        if symbols is not None:
            gram = context << self.bits | symbols
            j = torch.searchsorted(grams, gram).clamp(max=len(grams) - 1)
            own = torch.where(grams[j] == gram, share[j], 0)
            return torch.where(seen, own + rest * p, p)
        p *= torch.where(seen, rest, 1)[:, None]
        start, stop = self.start[i], self.start[i + 1]
        size = torch.where(seen, stop - start, 0)  # successors to add
        row = torch.repeat_interleave(size)  # 0 size[0] times, 1 size[1] times, …
        first = start - (size.cumsum(0) - size)
        entry = torch.arange(row.shape[0], device=row.device) + first[row]  # its successors
        p.view(-1).index_add_(
            0, row * p.shape[1] + (grams[entry] & (1 << self.bits) - 1), share[entry]
        )
        return p


@twin(naive.kneser_ney)
class KneserNey(LanguageModel):
    """Interpolated Kneser-Ney counts of a text's bytes or tokens (Chen & Goodman 1998).

    text      bytes (or str, taken as UTF-8) to count; or a tensor of a tokenizer's ids, (time,)
    order     N: predicts from N - 1 symbols; 1 to 7, since context and symbol are packed into 63
              bits; fewer where a symbol needs more than 8 bits: 4 with 8,192 tokens
    modified  three discounts instead of one

    There is nothing to train: the tables are buffers, rebuilt from the text and not saved. The
    logits are log-probabilities. Built in float64, since a coder wants the precision; `.float()`
    halves the memory. Counting sorts the text once; a prediction then is one binary search a level.
    Memory: about 40 bytes per distinct n-gram, and for `forward` vocab_size numbers per position.
    """

    def __init__(self, text, order: int = 5, modified: bool = False, vocab_size: int = 256):
        super().__init__()
        text = text.encode() if isinstance(text, str) else text
        if not isinstance(text, (bytes, bytearray, torch.Tensor)):
            raise TypeError(f"text must be bytes or str, got {type(text).__name__}")
        if not len(text):
            raise ValueError("text must have at least one byte, got an empty one")
        self.vocab_size, self.bits = vocab_size, max(8, (vocab_size - 1).bit_length())
        if not 1 <= order <= 63 // self.bits:
            raise ValueError(f"order must lie in [1, {63 // self.bits}], got {order}")
        self.order = order
        if isinstance(text, torch.Tensor):
            ids = text
        else:
            ids = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
        check_ids(ids, vocab_size, dims=1)
        levels = _levels(ids, order, modified, self.bits)
        self.levels = nn.ModuleList(levels[1:])
        unigram = torch.full((vocab_size,), 1 / vocab_size, dtype=torch.float64)
        if levels:
            unigram *= levels[0].rest
            unigram[levels[0].grams] += levels[0].share
        self.register_buffer("unigram", unigram, persistent=False)

    def predict(self, context: torch.Tensor) -> torch.Tensor:
        """Probabilities of the next symbol: (batch, order - 1) int64, oldest first -> (batch, V).

        -1 stands for a symbol that is not there, before the text's start. Products and sums of
        single numbers only, so that a row does not depend on its company, to the bit: what is coded
        in bulk can be decoded one by one.
        """
        shape = tuple(context.shape)
        if context.dtype != torch.int64 or len(shape) != 2 or shape[1] != self.order - 1:
            wanted, got = f"int64 of shape (batch, {self.order - 1})", f"{context.dtype} of {shape}"
            raise ValueError(f"context must be {wanted}, got {got}")
        p = self.unigram.repeat(len(context), 1)
        for level, key in zip(self.levels, self._keys(context), strict=False):
            p = level(key, p)
        return p

    def log_prob(self, ids: torch.Tensor) -> torch.Tensor:
        """log p of each symbol of ids given those before it, from the first on; (batch, time) both.

        In nats. Looks up the actual symbols only: vocab_size times less memory than `forward`.
        """
        check_ids(ids, self.vocab_size, dims=2)
        context = self._contexts(ids, self.init_state(len(ids)))[:, :-1].flatten(0, 1)
        shape, ids = ids.shape, ids.flatten()
        p = self.unigram[ids]
        for level, key in zip(self.levels, self._keys(context), strict=False):
            p = level(key, p, symbols=ids)
        return p.log().view(shape)

    def _keys(self, context):
        """The last 1, 2, … symbols of each context as one integer; negative where one lacks."""
        key = 0
        for n in range(1, self.order):
            key = key + (context[:, -n] << self.bits * (n - 1))
            yield key

    def _contexts(self, ids, state):
        """The order - 1 symbols before each of ids and at the end: (batch, time + 1, order - 1)."""
        return torch.cat([state, ids], 1).unfold(1, self.order - 1, 1)

    def init_state(self, batch_size):
        """The last order - 1 symbols: none yet, (batch, order - 1) of -1."""
        return torch.full((batch_size, self.order - 1), -1, device=self.unigram.device)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        contexts = self._contexts(ids, state)
        p = self.predict(contexts[:, 1:].flatten(0, 1))
        return p.log().view(*ids.shape, -1), contexts[:, -1].clone()


def _levels(ids, order, modified, bits):
    """The levels n = 1 … order of a text's ids (time,); a text shorter than n has none for n.

    Top down. `whole` holds the distinct n-grams of the text. Cutting their first symbol off
    leaves those of length n - 1, each as often as it has different symbols to its left: what a
    lower level counts. "abab": ab 2, ba 1 at n = 2; its whole is ab ba, so that n = 1 counts b 1
    and a 1.
    """
    grams, counts = _count(_pack(ids, order, bits))
    whole, levels = grams, []
    for n in range(order, 0, -1):
        if n < order:
            grams, counts = _count(whole & (1 << bits * n) - 1)
            # every n-gram is the beginning of a longer one, but the one that ends the text
            whole, _ = _count(torch.cat([whole >> bits, _pack(ids[-n:], n, bits)]))
        if len(grams):
            levels.insert(0, _Level(grams, counts, modified, bits))
    return levels


def _count(keys):
    """Distinct integers in order, and how often each occurs."""
    return keys.sort()[0].unique_consecutive(return_counts=True)  # three times as fast as unique


def _pack(ids, n, bits):
    """Every n-gram of ids (time,) as one integer, the first symbol in the highest place."""
    key = ids[: max(0, len(ids) - n + 1)]
    for j in range(1, n):
        key = key << bits | ids[j : j + len(key)]
    return key
