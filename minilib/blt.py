"""BLT, a byte latent Transformer: a language model whose patches start where a byte surprises.

Names and symbols are those of minilib/naive/blt.py, which lists the departures from the paper.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.cross_attention import CrossAttention
from minilib.dynamic_pooling import SegmentBlock
from minilib.hourglass import run_blocks
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import blt as naive
from minilib.shapes import check_shapes, check_sizes
from minilib.transformer import Block, Transformer

RULES = "global", "monotonic"


# -- where a patch starts --------------------------------------------------------------------------


@twin(naive.entropies)
def entropies(logits: Tensor) -> Tensor:
    """How unsure a model is: -Σ p ln p in nats, of p = softmax(logits): (…, V) -> (…)."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.where(log_p > -torch.inf, 0)).sum(-1)  # p ln p is 0 at p = 0


@twin(naive.patch_starts)
def patch_starts(
    H: Tensor, threshold: float | Tensor, rule: str = "global", longest: int = 64
) -> Tensor:
    """Which bytes start a patch: (batch, T) -> (batch, T + 1) bool, the byte to come with them.

    H[:, i - 1] is the entropy of byte i. "global": it exceeds the threshold; "monotonic": its rise
    does. longest: bytes of a patch; one that would be longer is cut.
    Byte 0 is a patch of its own, so byte 1 starts one; for "monotonic" byte 2 as well.
    """
    check_shapes(H=(H, (None, None)))
    _check_rule(rule)
    check_sizes(longest=longest)
    none = H.new_zeros(len(H)).long()  # before byte 0: no entropy, and no byte of a patch
    closes = _closes(H, threshold, rule, longest, 0, none, none)
    return functional.pad(closes, (1, 0), value=True)


def _closes(H, threshold, rule, longest, position, before, length):
    """Which bytes end a patch, as the next starts one: (batch, T) bool, T bytes after `position`.

    before, length  (batch,): the entropy that came last, and how many bytes the open patch has
    """
    rise = H
    if rule == "monotonic":
        rise = H - torch.cat([before[:, None], H[:, :-1]], dim=1)
    read = torch.arange(1, H.shape[1] + 1, device=H.device)
    forced = 1 if rule == "global" else 2
    closes = (rise > threshold) | (position + read <= forced)
    last = torch.where(closes, read, -length[:, None]).cummax(1).values  # where it closed last
    last = torch.cat([-length[:, None], last[:, :-1]], dim=1)
    return closes | ((read - last) % longest == 0)


@twin(naive.find_threshold, differentiable=False)
def find_threshold(H: Tensor, size: float, rule: str = "global", longest: int = 64) -> float:
    """The threshold at which patches have `size` bytes on average, by bisection.

    H, rule, longest as in patch_starts. 20 times the interval from -max H to max H is halved.
    Raises ValueError for a size that no threshold gives: below 1, or above that of the highest.
    """
    if not H.numel() or not H.isfinite().all():
        raise ValueError(f"H must be finite and not empty, got {tuple(H.shape)}")

    def mean_size(threshold):
        starts = patch_starts(H, threshold, rule, longest)
        return starts.numel() / int(starts.sum())

    high = H.max().item()
    low, most = -high, mean_size(high)
    if not 1 <= size <= most:
        raise ValueError(f"size must lie in [1, {most:.4g}] for these entropies, got {size}")
    for _ in range(20):
        middle = (low + high) / 2
        if mean_size(middle) < size:
            low = middle
        else:
            high = middle
    return high


def _check_rule(rule):
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")


# -- what a byte is --------------------------------------------------------------------------------


@twin(naive.hash_ngrams)
def hash_ngrams(ids: Tensor, n: int, buckets: int) -> Tensor:
    """The bucket of the n bytes that end at each byte: (batch, T) -> (batch, T) int64.

    Σ_j a^j byte_j, j = 0 the oldest, in int64, which wraps around by itself; then modulo buckets.
    Zeros stand before the text.
    """
    check_shapes(ids=(ids, (None, None)))
    check_sizes(n=n, buckets=buckets)
    return _hashes(functional.pad(ids, (n, 0)), n, buckets)[:, 1:]  # one more, as T may be 0


def _hashes(read, n, buckets):
    """Of every n in a row of read (batch, T + n - 1)."""
    powers = [naive.BASE**j for j in range(n)]
    powers = [(power + 2**63) % 2**64 - 2**63 for power in powers]
    windows = read.unfold(1, n, 1)
    return (windows * torch.tensor(powers, device=read.device)).sum(2) % buckets


# -- bytes to patches and back ---------------------------------------------------------------------


@twin(naive.encoder_attention)
def encoder_attention(
    slots: Tensor, x: Tensor, patch: Tensor, W_q: Tensor, W_kv: Tensor, W_out: Tensor, heads: int
) -> Tensor:
    """The slots of each patch look at the bytes of this patch: like slots (batch, K, k, C).

    x (batch, T, C); patch (batch, T) int64, the patch of each byte, none if not in 0 … K - 1;
    W_q, W_out (C, C); W_kv (2C, C), keys then values. A patch without bytes sees 0.
    Each byte adds its weight to the sums of its own patch: O(T k C), no T × K matrix.
    """
    B, K, k, C = slots.shape
    check_shapes(x=(x, (B, None, C)), patch=(patch, (B, x.shape[1])))
    patch = patch.where((patch >= 0) & (patch < K), K)  # K: the bytes of no patch
    at = (torch.arange(B, device=x.device)[:, None] * (K + 1) + patch).flatten()
    q = functional.pad((slots @ W_q.t()), (0, 0, 0, 0, 0, 1)).flatten(0, 1)
    q = q.unflatten(2, (heads, -1))[at]  # (B T, k, heads, D)
    key, value = (x @ W_kv.t()).flatten(0, 1).unflatten(1, (2, 1, heads, -1)).unbind(1)
    score = (q * key).sum(3) * q.shape[3] ** -0.5
    highest = _highest(score.detach(), at, B * (K + 1))
    weight = (score - highest[at]).exp()[..., None]
    both = torch.cat([weight * value, weight], dim=3)
    sums = both.new_zeros(B * (K + 1), *both.shape[1:]).index_add(0, at, both)
    seen, total = sums[..., :-1], sums[..., -1:]
    seen = seen / torch.where(total > 0, total, 1)
    return seen.unflatten(0, (B, K + 1))[:, :K].flatten(3) @ W_out.t()


def _highest(x, at, rows):
    """The maximum of the rows of x (N, ...) that go to each of so many; 0 where none goes."""
    index = at.view(-1, *[1] * (x.dim() - 1)).expand_as(x)
    return x.new_zeros(rows, *x.shape[1:]).scatter_reduce(0, index, x, "amax", include_self=False)


@twin(naive.decoder_attention)
def decoder_attention(
    x: Tensor, slots: Tensor, patch: Tensor, W_q: Tensor, W_kv: Tensor, W_out: Tensor, heads: int
) -> Tensor:
    """Each byte looks at the slots of one patch: like x (batch, T, C).

    patch (batch, T) int64, which one: the last that is complete. The rest as in encoder_attention.
    """
    B, K, k, C = slots.shape
    check_shapes(x=(x, (B, None, C)), patch=(patch, (B, x.shape[1])))
    q = (x @ W_q.t()).unflatten(2, (1, heads, -1))
    row = torch.arange(B, device=x.device)[:, None]
    key, value = (slots @ W_kv.t()).unflatten(3, (2, heads, -1))[row, patch].unbind(3)
    score = (q * key).sum(4) * q.shape[4] ** -0.5  # (B, T, k, heads)
    return (score.softmax(2)[..., None] * value).sum(2).flatten(2) @ W_out.t()


class _Gather(CrossAttention):
    def forward(self, slots, x, patch):
        where = self.norm_q(slots), self.norm_kv(x), patch
        return slots + encoder_attention(*where, self.q, self.kv, self.out, self.heads)


class _Spread(CrossAttention):
    def forward(self, x, slots, patch):
        where = self.norm_q(x), self.norm_kv(slots), patch
        return x + decoder_attention(*where, self.q, self.kv, self.out, self.heads)


# -- the language model ----------------------------------------------------------------------------


class Patcher(nn.Module):
    """The entropy model: parts and names of a Transformer, whose state_dict it can load.

    Called like a block, so that its parameters are used within a call: sharding needs that.
    """

    def __init__(self, model: Transformer):
        super().__init__()
        self.embed, self.output = model.embed, model.output
        self.blocks, self.norm = model.blocks, model.norm

    def forward(self, ids: Tensor, caches: tuple, position: int) -> tuple[Tensor, tuple]:
        return Transformer._run(self, ids, caches, position)


class BLTState(NamedTuple):
    """Where a BLT stands after `position` bytes. Each row has completed its own number of patches.

    A cache is (keys, values); that of the middle ends with the last patch of each row.
    """

    position: int
    recent: Tensor  # (batch, ngram - 1): the last ids, zeros before the text
    entropy: Tensor  # (batch,): of the byte to come
    open: Tensor  # (batch, longest - 1, C): the bytes of the open patch, blanks in front
    length: Tensor  # (batch,): how many they are
    seen: Tensor  # (batch,): patches that are complete
    last: Tensor  # (batch, 1, k, C): the slots of the last of them
    patcher: tuple  # a cache for each block, like the next three
    before: tuple
    middle: tuple
    after: tuple


@twin(naive.blt)
class BLT(LanguageModel):
    """Byte latent Transformer, Pagnoni et al. 2024 (arXiv:2412.09871), with its entropy model.

    vocab_size, width      symbols, and C, channels of a byte; heads divide it into even parts
    slots                  k: a patch has k C channels
    before, middle, after  layers of the encoder, of the latent Transformer, of the decoder
    context                bytes that a layer on bytes sees, and patches that one on patches sees
    ngram, buckets         n-grams of 3 … ngram bytes are hashed to so many buckets each; 2: none
    entropy_width, entropy_layers  of the entropy model
    rule, threshold, longest       as in patch_starts; the threshold is stored with the weights
    patch                  mean bytes of a patch to which `loss` and `scheduled` put the threshold
    """

    rounding = 1e-12  # how many patches there are decides the shape of matrix products

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 64,
        slots: int = 2,
        before: int = 1,
        middle: int = 2,
        after: int = 1,
        heads: int = 4,
        context: int = 128,
        ngram: int = 6,
        buckets: int = 1000,
        entropy_width: int = 32,
        entropy_layers: int = 1,
        rule: str = "global",
        threshold: float = 1.3354,
        longest: int = 64,
        patch: float = 4.5,
    ):
        super().__init__()
        _check_rule(rule)
        check_sizes(vocab_size=vocab_size, slots=slots, middle=middle, after=after)
        check_sizes(context=context, buckets=buckets, longest=longest)
        check_sizes(0, before=before)
        check_sizes(2, ngram=ngram)
        if not patch >= 1:
            raise ValueError(f"patch must be 1 or more, got {patch}")
        self.vocab_size, self.context, self.longest = vocab_size, context, longest
        self.slots, self.ngram, self.rule, self.patch = slots, ngram, rule, patch
        self.register_buffer("threshold", torch.tensor([float(threshold)]))
        judge = Transformer(vocab_size, entropy_width, entropy_layers, heads, context)
        self.patcher = Patcher(judge)
        options = {"window": context, "residual": (2 * (before + middle + after)) ** -0.5}
        layers = lambda kind, n, C: nn.ModuleList(kind(C, heads, **options) for _ in range(n))
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.tables = nn.Parameter(0.3 * torch.randn(ngram - 2, buckets, width))
        self.before = layers(Block, before, width)
        self.to_slots = nn.Parameter(width**-0.5 * torch.randn(slots * width, width))
        self.gather = _Gather(width, heads, options["residual"])
        self.middle = layers(SegmentBlock, middle, slots * width)
        looks = (_Spread(width, heads, options["residual"]) for _ in range(after))
        self.spread, self.after = nn.ModuleList(looks), layers(Block, after, width)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(vocab_size, width))  # all alike

    def init_state(self, batch_size: int) -> BLTState:
        B, C = batch_size, self.embed.shape[1]
        blank = lambda *shape: self.embed.new_zeros(B, *shape)
        no_past = lambda blocks: tuple(block.no_past(B, self.embed) for block in blocks)
        return BLTState(
            position=0,
            recent=blank(self.ngram - 1).long(),
            entropy=blank(),
            open=blank(self.longest - 1, C),
            length=blank().long(),
            seen=blank().long(),
            last=blank(1, self.slots, C),
            patcher=no_past(self.patcher.blocks),
            before=no_past(self.before),
            middle=no_past(self.middle),
            after=no_past(self.after),
        )

    def extend(self, ids: Tensor, state: BLTState) -> tuple[Tensor, BLTState]:
        check_ids(ids, self.vocab_size, dims=2)
        T, position = ids.shape[1], state.position
        with torch.no_grad():
            judged, patcher = self.patcher(ids, state.patcher, position)
            H = entropies(judged)
            where = position, state.entropy, state.length
            closes = _closes(H, self.threshold, self.rule, self.longest, *where)
        read = torch.cat([state.recent, ids], dim=1)
        x, before = run_blocks(self.before, self._embed(read, T), state.before, position)
        slots, new, open_bytes, length = self._patches(x, closes, state)
        slots, middle = self._middle(slots, new, state)
        patch = closes.long().cumsum(1)  # the last that is complete; 0 is state.last
        after, rows = [], torch.arange(len(ids), device=ids.device)
        for look, block, past in zip(self.spread, self.after, state.after, strict=True):
            x, k, v = block(look(x, slots, patch), *past, position)
            after.append((k, v))
        recent, entropy = read[:, T:].clone(), H[:, -1].clone()  # a view would keep all alive
        bytes_and_patches = open_bytes, length, state.seen + new, slots[rows, new][:, None]
        caches = patcher, before, middle, tuple(after)
        state = BLTState(position + T, recent, entropy, *bytes_and_patches, *caches)
        return self.norm(x) @ self.output.t(), state

    def boundaries(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Of ids (batch, T): (starts (batch, T + 1) bool, H (batch, T)), as in patch_starts."""
        with torch.no_grad():
            H = entropies(self.judge(ids))
        return patch_starts(H, self.threshold, self.rule, self.longest), H

    def judge(self, ids: Tensor) -> Tensor:
        """Logits of the entropy model: ids (batch, T) -> (batch, T, vocab)."""
        check_ids(ids, self.vocab_size, dims=2)
        return self.patcher(ids, self.init_state(len(ids)).patcher, 0)[0]

    def _embed(self, read, T):
        """The vectors of the last T of read: a byte, and the n-grams that end with it."""
        x = functional.embedding(read[:, -T:], self.embed)
        for n in range(3, self.ngram + 1):
            bucket = _hashes(read[:, -(T + n - 1) :], n, self.tables.shape[1])
            x = x + functional.embedding(bucket, self.tables[n - 3])
        return x

    def _patches(self, x, closes, state):
        """Slots of what closes here (batch, K, k, C) and how many; what is open and its length."""
        (B, T, C), L = x.shape, self.longest - 1
        # the open patch stands before the new bytes, blanks in front of it
        steps, closes = torch.cat([state.open, x], dim=1), functional.pad(closes, (L, 0))
        there = torch.arange(L + T, device=x.device) >= L - state.length[:, None]
        ends = closes.long().cumsum(1)
        new = ends[:, -1]
        patch = ends - closes.long()
        is_open = there & (patch == new[:, None])
        open_bytes = (steps * is_open[..., None])[:, T:].clone()
        K = T if torch.compiler.is_compiling() else int(new.max())
        if K == 0:
            return x.new_zeros(B, 0, self.slots, C), new, open_bytes, is_open.sum(1)
        patch = patch.where(there & ~is_open, K)
        at = (torch.arange(B, device=x.device)[:, None] * (K + 1) + patch).flatten()
        highest = _highest(steps.flatten(0, 1), at, B * (K + 1)).view(B, K + 1, C)[:, :K]
        slots = self.gather((highest @ self.to_slots.t()).unflatten(2, (-1, C)), steps, patch)
        return slots, new, open_bytes, is_open.sum(1)

    def _middle(self, slots, new, state):
        """Slots after the latent Transformer, those of the last call in front; its caches."""
        if slots.shape[1] == 0:
            return state.last, state.middle
        s, after = run_blocks(self.middle, slots.flatten(2), state.middle, state.seen, new)
        return torch.cat([state.last, s.view(slots.shape)], dim=1), after

    def set_threshold(self, ids: Tensor) -> None:
        """Put the threshold where patches of ids (batch, T) have `patch` bytes on average."""
        _, H = self.boundaries(ids)
        self.threshold.fill_(find_threshold(H, self.patch, self.rule, self.longest))

    def loss(self, batch: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """Nats per symbol of ids (batch, time + 1), for `lab.fit(loss=BLT.loss)`.

        batch  ids, or (ids, stage) as `scheduled` gives it, stage (batch,): 0, of the entropy model
               alone; 1, set the threshold by these ids; 1 or 2, of the rest, its cuts being fixed
        """
        ids, stage = batch if isinstance(batch, tuple) else (batch, [2])
        x = ids[:, :-1]
        if stage[0] == 1:
            self.set_threshold(x)
        logits = self.judge(x) if stage[0] == 0 else self(x)
        return functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    def scheduled(self, batches: Callable, steps: int) -> Callable:
        """Batches of (ids, stage) for `loss`: a quarter of the steps is the entropy model's."""
        first = steps // 4

        def with_stage(step):
            ids = batches(step)
            return ids, torch.full((len(ids),), int(step >= first) + int(step > first))

        return with_stage
