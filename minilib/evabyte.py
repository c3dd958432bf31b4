"""EvaByte: exact attention nearby, summaries far away, and eight bytes predicted at once.

Names and symbols are those of minilib/naive/evabyte.py, which lists the departures from the paper.
Not here: several random features, special symbols, sampling (`self_verified` is greedy).
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.attention import attention, join_heads, rope, split_heads
from minilib.language_model import LanguageModel, check_ids, tree_mask, tree_paths
from minilib.naive import evabyte as naive
from minilib.shapes import check_shapes, check_size, check_sizes
from minilib.transformer import Block


def _check_window(window, chunk):
    check_size("chunk", chunk)
    if window < 1 or window % chunk:
        given = f"chunk={chunk} and window={window}"
        raise ValueError(f"chunk must divide window, 1 or more, got {given}")


@twin(naive.chunk_summaries)
def chunk_summaries(
    k: Tensor, v: Tensor, mu: Tensor, phi: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """One key and one value for each chunk, all chunks at once; cost and memory O(T D).

    k, v     (batch, heads, T, D), T a multiple of chunk; mu, phi (heads, D)
    returns  (batch, heads, T / chunk, D) twice
    Raises ValueError for a T that is no multiple, and for shapes that do not fit.
    """
    check_size("chunk", chunk)
    check_shapes(k=(k, (None,) * 4))
    B, H, T, D = k.shape
    check_shapes(v=(v, (B, H, T, D)), mu=(mu, (H, D)), phi=(phi, (H, D)))
    if T % chunk:
        raise ValueError(f"k must hold whole chunks of {chunk} steps, got {T} steps")
    k, v = (x.unflatten(2, (T // chunk, chunk)) for x in (k, v))  # (B, H, chunks, chunk, D)
    by_key = torch.einsum("bhncd,hd->bhnc", k, mu)
    by_value = torch.einsum("bhncd,hd->bhnc", k, phi) - k.square().sum(-1) / 2
    summary = lambda weight, x: (weight.softmax(-1)[..., None] * x).sum(3)
    return summary(by_key, k), summary(by_value / math.sqrt(D), v)


class Cache(NamedTuple):
    """What a layer remembers, each (batch, heads, n, D): summaries, and the steps of a window."""

    far_k: Tensor
    far_v: Tensor
    near_k: Tensor
    near_v: Tensor


def _far(cache, mu, phi, window, chunk):
    """The cache before a step: a window that is full becomes summaries."""
    if cache.near_k.shape[2] < window:
        return cache
    k, v = chunk_summaries(cache.near_k, cache.near_v, mu, phi, chunk)
    far_k, far_v = torch.cat([cache.far_k, k], 2), torch.cat([cache.far_v, v], 2)
    return Cache(far_k, far_v, cache.near_k[:, :, :0].clone(), cache.near_v[:, :, :0].clone())


def _near(cache, k, v, q, visible=None):
    """Attention of steps that fit into the window, and the cache with them."""
    near_k, near_v = torch.cat([cache.near_k, k], 2), torch.cat([cache.near_v, v], 2)
    keys, values = torch.cat([cache.far_k, near_k], 2), torch.cat([cache.far_v, near_v], 2)
    # the queries are the last of all keys, so that causal is right for both kinds of them
    y = attention(q, keys, values, visible, visible is None)
    return y, cache._replace(near_k=near_k, near_v=near_v)


def _extend(cache, q, k, v, mu, phi, window, chunk):
    """Attention of any number of steps, window by window, and the cache after them."""
    rows, t = [], 0
    while t < q.shape[2]:
        cache = _far(cache, mu, phi, window, chunk)
        piece = slice(t, t + window - cache.near_k.shape[2])
        y, cache = _near(cache, k[:, :, piece], v[:, :, piece], q[:, :, piece])
        rows.append(y)
        t = piece.stop
    return torch.cat(rows, 2), cache


@twin(naive.eva_attention)
def eva_attention(
    q: Tensor, k: Tensor, v: Tensor, mu: Tensor, phi: Tensor, window: int, chunk: int
) -> Tensor:
    """Exact in a window, summarised before it; a fused kernel for each window, with no mask.

    A window and all summaries before it are the keys of one call: T / w calls, and as many scores
    as `eva_cost` says. Peak memory is that of one window.

    q, k, v  (batch, heads, T, D), T ≥ 1; mu, phi (heads, D); chunk must divide window
    """
    _check_window(window, chunk)
    check_shapes(q=(q, (None,) * 4))
    check_shapes(k=(k, tuple(q.shape)), v=(v, tuple(q.shape)))
    nothing = Cache(*(x[:, :, :0] for x in (k, v, k, v)))
    return _extend(nothing, q, k, v, mu, phi, window, chunk)[0]


@twin(naive.eva_cost, differentiable=False)
def eva_cost(T: int, window: int, chunk: int) -> tuple[int, int]:
    """(scores of a head for T steps, keys that its cache holds after them), in closed form."""
    _check_window(window, chunk)
    if T < 1:
        return 0, 0
    whole, rest = divmod(T, window)
    triangle = lambda n: n * (n + 1) // 2
    near = whole * triangle(window) + triangle(rest)
    far = window // chunk * (window * triangle(whole - 1) + whole * rest)
    before, last = divmod(T - 1, window)
    return near + far, before * (window // chunk) + last + 1


class EvaBlock(Block):
    """A Block with eva_attention and a cache of at most `window` steps and T / chunk summaries."""

    def __init__(self, width: int, heads: int, window: int, chunk: int, residual: float = 1.0):
        super().__init__(width, heads, residual=residual)
        _check_window(window, chunk)
        self.steps, self.chunk = window, chunk
        D = width // heads
        start = lambda: nn.Parameter(torch.randn(heads, D).clamp(-1, 1) * D**-0.5)
        self.mu, self.phi = start(), start()

    def forward(
        self,
        x: Tensor,
        cache: Cache,
        position: int | Tensor = 0,
        visible: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """x (batch, T, C) and the cache before it -> the same after it.

        visible  x are nodes of a tree that fits into the window, this (T, T) is who sees whom, and
                 position (T,) their steps
        """
        q, k, v = split_heads(self.norm1(x), self.qkv, self.heads)
        q, k = rope(q, position), rope(k, position)
        summaries = self.mu, self.phi, self.steps, self.chunk
        if visible is None:
            y, cache = _extend(cache, q, k, v, *summaries)
        else:
            cache = _far(cache, *summaries)
            before = cache.far_k.shape[2] + cache.near_k.shape[2]
            visible = nn.functional.pad(visible, (before, 0), value=True)
            y, cache = _near(cache, k, v, q, visible)
        return self.feed_forward(x + join_heads(y, self.out)), cache

    def empty(self, batch_size: int, like: Tensor) -> Cache:
        """A cache of nothing, of the dtype and on the device of `like`."""
        return Cache(*self.no_past(batch_size, like), *self.no_past(batch_size, like))


@twin(naive.multibyte_loss)
def multibyte_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """Nats: the mean over heads of the mean over the places where a head has a target.

    logits  (batch, T, ahead, V); ids (batch, T + 1). One call of the softmax for all heads
    """
    check_shapes(logits=(logits, (None,) * 4))
    B, T, ahead, V = logits.shape
    check_ids(ids, V, dims=2)
    check_shapes(ids=(ids, (B, T + 1)))
    heads = min(ahead, T)
    late = nn.functional.pad(ids[:, 1:], (0, heads - 1), value=-100)  # -100: not counted
    targets = late.unfold(1, heads, 1)  # (B, T, heads)
    logits = logits[:, :, :heads].reshape(-1, V)
    nats = nn.functional.cross_entropy(logits, targets.flatten(), reduction="none")
    places = T - torch.arange(heads, device=ids.device)
    return (nats.view(-1, heads).sum(0) / (B * places)).mean()


@twin(naive.accept_prefix, differentiable=False)
def accept_prefix(drafts: Tensor, verified: Tensor) -> Tensor:
    """How many drafts come before the first that is not as verified: (rows, n) twice -> (rows,).

    A running product of "right here" is 1 up to the first difference, and its sum is the answer.
    """
    check_shapes(drafts=(drafts, (None, None)), verified=(verified, tuple(drafts.shape)))
    return (drafts == verified).long().cumprod(1).sum(1)


class Tree(NamedTuple):
    """What `EvaByte.follow` needs: hidden states of all nodes, and caches that hold all of them."""

    x: Tensor
    caches: tuple


@twin(naive.evabyte)
class EvaByte(LanguageModel):
    """EvaByte, Zheng et al. 2025: a stack of EVA blocks and a head for each of the bytes ahead.

    vocab_size  symbols
    width       C, channels; heads must divide it into even parts
    layers      blocks
    window      w, steps that are seen exactly: of the window only that a step stands in
    chunk       c, steps of a summary; must divide window
    ahead       heads of the output; head j, from 0, predicts ids[:, t + 1 + j]

    The logits are those of head 0. `loss` trains all heads; `self_verified` uses them.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        window: int = 64,
        chunk: int = 8,
        ahead: int = 8,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, layers=layers, ahead=ahead)
        self.vocab_size, self.window, self.ahead = vocab_size, window, ahead
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.blocks = nn.ModuleList(
            EvaBlock(width, heads, window, chunk, residual=(2 * layers) ** -0.5)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        # small: the first bet is near uniform
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(ahead, vocab_size, width))

    def init_state(self, batch_size: int) -> tuple:
        """(steps so far, the Cache of each layer)."""
        return 0, tuple(block.empty(batch_size, self.embed) for block in self.blocks)

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        x, state = self.hidden(ids, state)
        return x @ self.output[0].t(), state

    def hidden(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        """What all heads read after each of ids (batch, T): (batch, T, C), and the state."""
        check_ids(ids, self.vocab_size, dims=2)
        position, caches = state
        x, caches = self._run(ids, caches, position)
        return x, (position + ids.shape[1], caches)

    def _run(self, ids, caches, *where):
        """Hidden states and caches after ids; `where` they stand is said as to EvaBlock."""
        x, after = nn.functional.embedding(ids, self.embed), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block(x, cache, *where)
            after.append(cache)
        return self.norm(x), tuple(after)

    def multibyte(self, x: Tensor) -> Tensor:
        """Hidden states (…, C) -> the logits of all heads, (…, ahead, V)."""
        return (x @ self.output.flatten(0, 1).t()).unflatten(-1, (self.ahead, -1))

    def loss(self, ids: Tensor) -> Tensor:
        """`multibyte_loss` of rows of T + 1 symbols, for `lab.fit(loss=...)`."""
        x, _ = self.hidden(ids[:, :-1], self.init_state(len(ids)))
        return multibyte_loss(self.multibyte(x), ids)

    # -- trees of symbols --------------------------------------------------------------------------

    def room(self, state: tuple) -> int:
        """How many steps the window has left for what comes next; a full window is closed first."""
        return self.window - state[0] % self.window

    def extend_tree(self, ids: Tensor, parents: list[int], state: tuple) -> tuple[Tensor, object]:
        """One pass with a mask if the tree fits into the window; else each path is read alone."""
        check_ids(ids, self.vocab_size, dims=2)
        mask = tree_mask(parents).to(ids.device)
        depth = mask.sum(1)
        if depth.max() > self.room(state):
            return super().extend_tree(ids, parents, state)
        position, caches = state
        x, caches = self._run(ids, caches, position + depth - 1, mask)
        return x @ self.output[0].t(), Tree(x, caches)

    def follow(self, ids: Tensor, path: Tensor, before: tuple, after: object) -> tuple:
        """The cache of before and the new keys and values on the path."""
        if not isinstance(after, Tree):
            return super().follow(ids, path, before, after)
        S = after.caches[0].near_k.shape[2] - ids.shape[1]
        old = torch.arange(S, device=path.device).expand(len(path), S)
        keep = torch.cat([old, S + path], dim=1)[:, None, :, None]
        cut = lambda x: x.gather(2, keep.expand(-1, x.shape[1], -1, x.shape[3]))
        caches = (c._replace(near_k=cut(c.near_k), near_v=cut(c.near_v)) for c in after.caches)
        return before[0] + path.shape[1], tuple(caches)


# -- decoding that verifies itself -----------------------------------------------------------------


class SelfWritten(NamedTuple):
    """What `self_verified` wrote."""

    ids: Tensor  # (1, time + length)
    taken: tuple[int, ...]  # bytes that each call of the model brought; the prompt is not counted


@torch.no_grad()
def self_verified(
    model: EvaByte, ids: Tensor, length: int, widths: tuple[int, ...] | None = None
) -> SelfWritten:
    """Continue ids (1, time) greedily; later heads draft, the first head verifies, in one call.

    widths  children that head 1, head 2, … offer to each node; None is a chain of all heads. A
            draft ends with the window, so that it is one pass with a mask
    The text is that of greedy decoding byte by byte, but for ties within rounding.
    Raises ValueError for more than one row, an empty prompt, length < 0, widths that the model has
    no heads for.
    """
    check_ids(ids, model.vocab_size, dims=2)
    if len(ids) != 1 or length < 0:
        given = f"{len(ids)} rows and length={length}"
        raise ValueError(f"ids must be one row and length 0 or more, got {given}")
    widths = (1,) * (model.ahead - 1) if widths is None else widths
    if len(widths) >= model.ahead or not all(1 <= n <= model.vocab_size for n in widths):
        wanted = f"at most {model.ahead - 1} numbers from 1 to {model.vocab_size}"
        raise ValueError(f"widths must be {wanted}, got {widths!r}")
    x, state = model.hidden(ids, model.init_state(1))
    heads, start, taken = model.multibyte(x[0, -1]), ids.shape[1], []
    while ids.shape[1] < start + length:
        parents, paths = _tree(widths[: model.room(state) - 1], ids.device)
        tree = _candidates(heads, parents)
        _, after = model.extend_tree(tree, parents, state)
        logits = model.multibyte(after.x[0])  # (nodes, ahead, V)
        best = logits[:, 0].argmax(-1)  # what the first head says after each node
        kept = accept_prefix(tree[0, paths[:, 1:]], best[paths[:, :-1]])
        path = paths[kept.argmax()][: kept.max() + 1]
        state = model.follow(tree, path[None], state, after)
        heads, ids = logits[path[-1]], torch.cat([ids, tree[:, path]], 1)
        taken.append(len(path))
    surplus = ids.shape[1] - start - length
    if taken:
        taken[-1] -= surplus
    return SelfWritten(ids[:, : start + length], tuple(taken))


@functools.cache
def _tree(widths, device):
    """Parents of all nodes, level by level, and the paths to the leaves, (leaves, levels)."""
    parents, level = [-1], [0]
    for width in widths:
        new = [node for node in level for _ in range(width)]
        level = list(range(len(parents), len(parents) + len(new)))
        parents += new
    paths = tree_paths(parents, len(parents))
    return parents, torch.tensor([paths[leaf] for leaf in level], device=device)


def _candidates(heads, parents):
    """Bytes of all nodes, (1, nodes): the n-th child of a node of level l is head l's n-th best."""
    order = heads.sort(dim=-1, descending=True, stable=True).indices
    depth, children, ids = [], [0] * len(parents), []
    for parent in parents:
        depth.append(depth[parent] + 1 if depth else 0)
        nth = 0
        if parent >= 0:
            nth, children[parent] = children[parent], children[parent] + 1
        ids.append(order[depth[-1], nth])
    return torch.stack(ids)[None]
