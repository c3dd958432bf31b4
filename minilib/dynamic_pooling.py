"""Dynamic pooling: a causal language model whose middle runs once a segment, of whatever length.

Names and symbols are those of minilib/naive/dynamic_pooling.py, which names the papers and the
departures. Not here: dropout, and H-Net of two stages, which is in minilib/hnet.py.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.attention import attention, join_heads, rope, split_heads
from minilib.hourglass import run_blocks
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import dynamic_pooling as naive
from minilib.shapes import check_sizes
from minilib.transformer import Block

# -- segments --------------------------------------------------------------------------------------


@twin(naive.pool)
def pool(x: Tensor, closes: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of each segment that is closed: (batch, T, C) -> (batch, S, C).

    closes  (batch, T) bool, True at the last step of a segment: the open rest is left out
    weight  (batch, T) float, not all 0 in a segment
    S is that of the row with most, T if compiled; behind the segments of the others stand zeros.
    Every step is added to the sum of its segment: O(T C), no T × S matrix.
    """
    _check_closes(closes, x.shape[:2])
    (B, T, C), ends = x.shape, closes.cumsum(1)
    S = T if torch.compiler.is_compiling() else int(ends[:, -1].max())
    segment = ends - closes.long()
    segment = segment.where(segment < ends[:, -1:], S)  # S: the open rest
    row = torch.arange(B, device=x.device)[:, None] * (S + 1) + segment
    both = torch.cat([x * weight[..., None], weight[..., None]], dim=2).flatten(0, 1)
    sums = both.new_zeros(B * (S + 1), C + 1).index_add(0, row.flatten(), both)
    sums = sums.view(B, S + 1, C + 1)[:, :S]
    there = torch.arange(S, device=x.device) < ends[:, -1:]
    return sums[..., :C] / torch.where(there, sums[..., C], 1)[..., None]


@twin(naive.unpool)
def unpool(s: Tensor, closes: Tensor) -> Tensor:
    """Each step gets the vector of the last segment that is closed: (batch, S, C) -> (batch, T, C).

    s[:, 0] is the null vector, for the steps before the first end; a step that closes a segment
    gets its own. Raises ValueError if there are not enough vectors.
    """
    _check_closes(closes, (len(s), closes.shape[-1]))
    segment, S = closes.cumsum(1), s.shape[1]
    if not torch.compiler.is_compiling() and (most := int(segment.max())) >= S:
        raise ValueError(f"s must hold a vector for null and each of {most} ends, got {S}")
    return s.gather(1, segment[..., None].expand(-1, -1, s.shape[2]))


def _check_closes(closes, shape):
    if closes.dtype != torch.bool:
        raise TypeError(f"closes must be a bool tensor, got {closes.dtype}")
    if tuple(closes.shape) != tuple(shape):
        raise ValueError(f"closes must have shape {tuple(shape)}, got {tuple(closes.shape)}")


# -- who decides -----------------------------------------------------------------------------------


@twin(naive.space_ends)
def space_ends(ids: Tensor) -> Tensor:
    """A segment closes with each byte of white space: (batch, T) bytes -> (batch, T) bool."""
    return (ids == 32) | ((ids >= 9) & (ids <= 13))


@twin(naive.token_ends)
def token_ends(tokens: list[bytes]) -> Tensor:
    """A tokenizer's cuts, for a predictor to learn: (T,) bool. To pool with them would leak.

    Raises ValueError if there are no tokens, or one is empty.
    """
    if not tokens or not all(tokens):
        raise ValueError(f"tokens must be some, none of them empty, got {tokens[:8]}")
    ends = torch.tensor([len(token) for token in tokens]).cumsum(0)
    return torch.zeros(int(ends[-1]), dtype=torch.bool).index_fill(0, ends - 1, True)


@twin(naive.entropy_spikes)
def entropy_spikes(H: Tensor, k: int = 2) -> Tensor:
    """Where entropy H (batch, T) exceeds that of each of the k ≥ 1 steps before: bool like H."""
    if H.dim() != 2 or k < 1:
        raise ValueError(f"H must be (batch, T), k 1 or more, got {tuple(H.shape)} and {k}")
    before = functional.pad(H, (k, 0), value=-math.inf).unfold(1, k, 1)[:, :-1]
    return H > before.amax(2)


@twin(naive.gumbel_sigmoid)
def gumbel_sigmoid(logits: Tensor, u: Tensor, tau: float = 0.5) -> Tensor:
    """A coin of probability sigmoid(logits), softened: above ½ just as often as the coin says.

    u uniforms in [0, 1), shaped like logits; tau > 0, the temperature
    """
    if not tau > 0 or u.shape != logits.shape:
        raise ValueError(f"tau must be positive, u shaped like logits, got {tau}, {tuple(u.shape)}")
    return ((logits + u.log() - (-u).log1p()) / tau).sigmoid()


@twin(naive.binomial_loss)
def binomial_loss(b: Tensor, alpha: float) -> Tensor:
    """-log Binomial(number of ends; T, alpha) / T: the prior on how many ends there are; a mean.

    b (batch, T) of 0.0 and 1.0, summed: their gradient is that of the number, wherever they are.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    T, k = b.shape[1], b.sum(1)
    ways = math.lgamma(T + 1) - (k + 1).lgamma() - (T - k + 1).lgamma()
    return -(ways + k * math.log(alpha) + (T - k) * math.log1p(-alpha)).mean() / T


@twin(naive.route)
def route(x: Tensor, W_q: Tensor, W_k: Tensor) -> Tensor:
    """How unlike the step before is each step of x (batch, T, C)? H-Net's probability of an end.

    (1 - cosine) / 2 of W_q x_t and W_k x_{t-1}; 1 at step 0. A step that W turns to 0 gives ½.
    """
    q, k = functional.normalize(x[:, 1:] @ W_q.t(), dim=2), functional.normalize(x @ W_k.t(), dim=2)
    return functional.pad((1 - (q * k[:, :-1]).sum(2)) / 2, (1, 0), value=1.0)


@twin(naive.smooth)
def smooth(z: Tensor, p: Tensor) -> Tensor:
    """An unsure segment leans on those before: z̄_j = p_j z_j + (1 - p_j) z̄_{j-1}.

    z (batch, S, C), p (batch, S). After round n each place holds the last 2^n segments: log S
    rounds, O(S C log S), and no division.
    """
    if p.shape != z.shape[:2]:
        raise ValueError(f"p must have shape {tuple(z.shape[:2])}, got {tuple(p.shape)}")
    left, out, stride = 1 - p[..., None], p[..., None] * z, 1
    while stride < z.shape[1]:
        earlier = functional.pad(out, (0, 0, stride, 0))[:, :-stride]
        out = out + left * earlier
        left = left * functional.pad(left, (0, 0, stride, 0))[:, :-stride]
        stride *= 2
    return out


@twin(naive.ratio_loss)
def ratio_loss(p: Tensor, closes: Tensor, N: float) -> Tensor:
    """H-Net's loss on the rate of ends, which shall be 1 / N: 1 at F = G = 1 / N.

    p, closes (batch, T). F, the share of ends, has no gradient: G, the mean of p, moves where F
    tells it.
    """
    _check_closes(closes, p.shape)
    if not N > 1:
        raise ValueError(f"N must be above 1, got {N}")
    F, G = closes.to(p).mean(), p.mean()
    return N / (N - 1) * ((N - 1) * F * G + (1 - F) * (1 - G))


# -- Toucan ----------------------------------------------------------------------------------------


@twin(naive.insert_ends)
def insert_ends(ids: Tensor, closes: Tensor, end: int) -> Tensor:
    """Toucan: the symbol `end` after each step that closes a segment: (T,) -> (T + number,)."""
    _check_closes(closes, ids.shape)
    place = torch.arange(len(ids), device=ids.device) + closes.cumsum(0) - closes.long()
    out = ids.new_full((len(ids) + int(closes.sum()),), end)
    return out.index_copy(0, place, ids)


# -- the language model ----------------------------------------------------------------------------


class PoolingState(NamedTuple):
    """Where a DynamicPooling stands after `position` symbols. Each row has closed its own number.

    A cache is (keys, values); those of the middle end with the last segment of each row.
    """

    position: int
    seen: Tensor  # (batch,): segments of each row so far, the null vector among them
    open_mean: Tensor  # (batch, 1, C): mean of the steps whose segment is still open
    open_steps: Tensor  # (batch, 1): how many they are
    previous: Tensor  # (batch, 1, C): the last fine state, which the router compares
    last: Tensor  # (batch, 1, C): what goes up to the steps until a segment closes
    before: tuple  # a cache for each block, like the next two
    middle: tuple
    after: tuple


class SegmentBlock(Block):
    """A Block of the middle: rows take in segments at their own pace."""

    def forward(
        self, x: Tensor, past_k: Tensor, past_v: Tensor, seen: Tensor, new: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, S, C), of which row r holds new[r], after seen[r] earlier ones.

        Cached keys are not turned yet: only how far a key lies behind counts, and that is the same
        in every row, as the newest key stands last.
        """
        q, k, v = split_heads(self.norm1(x), self.qkv, self.heads)
        k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
        P, (B, S, _) = past_k.shape[2], x.shape
        visible = None
        if P:  # a row that has seen fewer has blanks in front
            there = torch.arange(P + S, device=x.device) >= P - seen[:, None]
            visible = there[:, None, None].expand(B, 1, S, P + S)
        y = attention(rope(q, P), rope(k), v, visible, True, self.window)
        x = self.feed_forward(x + join_heads(y, self.out))
        return x, self._latest(k, P + new), self._latest(v, P + new)

    def _latest(self, cache, end):
        """The last `window` of the first end[r] entries of each row, blanks in front."""
        index = end[:, None] + torch.arange(self.window, device=cache.device)
        padded = functional.pad(cache, (0, 0, self.window, 0))
        index = index[:, None, :, None].expand(-1, cache.shape[1], -1, cache.shape[3])
        return padded.gather(2, index)


SOURCES = "space", "gumbel", "supervised", "route"


@twin(naive.dynamic_pooling)
class DynamicPooling(LanguageModel):
    """Fine layers, a middle on segments, fine layers (Nawrot et al. 2022).

    vocab_size             symbols
    width, heads           C, channels, of every layer; heads must divide it into even parts
    before, middle, after  layers on steps, on segments, and on steps again
    context                steps that a fine layer sees, and segments that a middle layer sees
    source                 who closes a segment: white "space"; a predictor that draws its ends,
                           "gumbel", or copies given ones, "supervised"; or H-Net's "route", which
                           takes the closing step in place of the mean, and smooths
    shorten                steps of a segment that the loss of "gumbel" and "route" asks for
    """

    rounding = 1e-12  # how many segments there are decides the shape of matrix products

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        before: int = 1,
        middle: int = 2,
        after: int = 1,
        heads: int = 4,
        context: int = 64,
        source: str = "space",
        shorten: float = 5.0,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, middle=middle, context=context)
        if before < 0 or after < 0 or not shorten > 1:
            given = f"{before}, {after} and {shorten}"
            raise ValueError(f"before and after must be 0 or more, shorten above 1, got {given}")
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
        self.vocab_size, self.source, self.shorten = vocab_size, source, shorten
        options = {"window": context, "residual": (2 * (before + middle + after)) ** -0.5}
        stack = lambda kind, n: nn.ModuleList(kind(width, heads, **options) for _ in range(n))
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.null = nn.Parameter(torch.randn(width))
        self.before, self.after = stack(Block, before), stack(Block, after)
        self.middle = stack(SegmentBlock, middle)
        if source in ("gumbel", "supervised"):
            layers = nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 1)
            self.predictor = nn.Sequential(*layers)
        if source == "route":  # every step is compared as it is, at first
            self.W_q, self.W_k = (nn.Parameter(torch.eye(width)) for _ in "qk")
        self.norm = nn.LayerNorm(width)
        # small: the first bet is near uniform
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(vocab_size, width))

    def init_state(self, batch_size: int) -> PoolingState:
        blank = self.embed.new_zeros(batch_size, 1, self.embed.shape[1])
        no_past = lambda blocks: tuple(b.no_past(batch_size, self.embed) for b in blocks)
        seen = torch.zeros(batch_size, dtype=torch.int64, device=blank.device)
        caches = map(no_past, (self.before, self.middle, self.after))
        return PoolingState(0, seen, blank, blank[..., 0].clone(), blank, blank, *caches)

    def extend(self, ids: Tensor, state: PoolingState) -> tuple[Tensor, PoolingState]:
        return self._run(ids, state)[:2]

    def boundaries(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(closes bool, probability of an end), both (batch, T), of ids (batch, T).

        For "gumbel" the second is the softened coin, drawn with the uniforms of every test.
        """
        return self._run(ids, self.init_state(len(ids)))[2][:2]

    def loss(self, ids: Tensor, ends: Tensor | None = None) -> Tensor:
        """Nats per symbol of ids (batch, time + 1), and what its source must learn.

        ends  (batch, time + 1) bool, where each segment shall close, for "supervised" alone
        "gumbel" draws with torch.rand. "gumbel" and "route" are held to the rate 1 / shorten.
        """
        if (ends is None) == (self.source == "supervised"):
            raise ValueError(f"ends must be given for supervised alone, not for {self.source}")
        x = ids[:, :-1]
        logits, _, (closes, p, b) = self._run(x, self.init_state(len(x)), learn=True)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        if self.source == "gumbel":
            loss = loss + binomial_loss(b, 1 / self.shorten)
        if self.source == "supervised":
            loss = loss + functional.binary_cross_entropy(p, ends[:, :-1].to(p))
        if self.source == "route":
            loss = loss + 0.03 * ratio_loss(p, closes, self.shorten)
        return loss

    def _run(self, ids, state, learn=False):
        """Logits, state and (closes, probability, ends with a gradient) after ids.

        learn  ends are drawn anew and hand their gradient straight through
        """
        check_ids(ids, self.vocab_size, dims=2)
        x = functional.embedding(ids, self.embed)
        x, before = run_blocks(self.before, x, state.before, state.position)
        p = self._ends(ids, x, state, learn)
        closes = p >= 0.5
        b = closes.to(p) + p - p.detach()
        earlier = b.cumsum(1) - b  # the number of each step's segment
        weight = 1 + earlier - earlier.detach() if learn else torch.ones_like(p)
        if self.source == "route":
            weight = closes.to(p)

        # the open segment comes first, as one step of its weight
        steps, shut = torch.cat([state.open_mean, x], dim=1), functional.pad(closes, (1, 0))
        weight = torch.cat([state.open_steps, weight], dim=1)
        sure = functional.pad(p, (1, 0))[..., None]
        s, new = pool(steps, shut, weight), closes.sum(1)
        known, new, middle = self._middle(s, new, pool(sure, shut, shut.to(p))[..., 0], state)
        up = unpool(known, closes)
        weight = weight * (shut.flip(1).cumsum(1).flip(1) == 0)  # of what is open now
        open_steps = weight.sum(1, keepdim=True)
        open_mean = (weight / open_steps.clamp(min=1))[:, None] @ steps
        # cut from something longer, which a view would keep alive
        ends = open_mean, open_steps, x[:, -1:].clone(), up[:, -1:].clone()

        if self.source == "route" and learn:
            sure = torch.where(closes, p, 1 - p)
            up = up * (1 + sure - sure.detach())[..., None]
        x, after = run_blocks(self.after, x + up, state.after, state.position)
        position, seen = state.position + ids.shape[1], state.seen + new
        state = PoolingState(position, seen, *ends, before, middle, after)
        return self.norm(x) @ self.output.t(), state, (closes, p, b)

    def _middle(self, s, new, sure, state):
        """What may go up, (batch, segments, C), the last known one first; new with null; caches.

        s (batch, S, C), of which row r has new[r], closed with probability sure (batch, S)
        """
        fresh, middle = state.position == 0, state.middle
        if fresh:
            s, new = torch.cat([self.null.expand(len(s), 1, -1), s], dim=1), new + 1
        if s.shape[1]:
            s, middle = run_blocks(self.middle, s, state.middle, state.seen, new)
        known = s if fresh else torch.cat([state.last, s], dim=1)
        if self.source == "route":
            known = smooth(known, functional.pad(sure, (1, 0), value=1.0))
        return known, new, middle

    def _ends(self, ids, x, state, learn):
        """How likely each step closes a segment (batch, T); those at ½ or more do."""
        T = ids.shape[1]
        if self.source == "space":
            return space_ends(ids).to(x)
        if self.source == "route":
            known = torch.cat([state.previous, x], dim=1) if state.position else x
            return route(known, self.W_q, self.W_k)[:, -T:]
        logits = self.predictor(x)[..., 0]
        if self.source == "supervised":
            return logits.sigmoid()
        steps = torch.arange(1, T + 1, dtype=torch.float64, device=x.device) + state.position
        u = (steps * naive.GOLDEN % 1).to(x).expand(len(x), T)
        return gumbel_sigmoid(logits, torch.rand_like(logits) if learn else u)
