"""Speculative sampling over the interface of every language model: chains, trees, staged drafts, batches.

Names and symbols are those of minilib/naive/speculative.py. Not here: drafts in another alphabet than the target's.
"""

from typing import NamedTuple

import torch

from minilib import twin
from minilib.compare import map_leaves
from minilib.language_model import LanguageModel, check_ids, probabilities, sample, tree_paths
from minilib.naive import speculative as naive

DRAFT, CORRECTION, BONUS = (
    0,
    1,
    2,
)  # who wrote a symbol: the draft; the target after a refusal, or after the whole draft was kept


def _check_distribution(**named):
    for name, p in named.items():
        sums = p.sum(-1)
        if not bool(
            ((sums - 1).abs() < 1e-3).all() & (p >= 0).all()
        ):  # written so that nan fails too
            raise ValueError(
                f"{name} must have rows ≥ 0 that sum to 1, got sums from {sums.min():.4g} to {sums.max():.4g} and least value {p.min():.4g}"
            )


def _check_shapes(shapes, **named):
    for (name, value), shape in zip(named.items(), shapes, strict=True):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")


@twin(naive.residual)
def residual(p, q):
    """norm(max(0, p - q)), Leviathan et al. 2022 (arXiv:2211.17192), sec. 2.3; p where nothing is left. p, q (…, vocab)."""
    left = (p - q).clamp(min=0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / torch.where(total > 0, total, 1), p)


@twin(naive.verify, differentiable=False)
def verify(p, q, ids, u):
    """How many drafted symbols are kept, and what the next one is drawn from; all places at once (alg. 1).

    p        (batch, gamma + 1, vocab) the target's distributions; q (batch, gamma, vocab) the draft's
    ids, u   (batch, gamma): the draft, and a uniform in [0, 1) for each symbol of it
    returns  kept (batch,) int64; rest (batch, vocab)
    Raises ValueError for shapes that do not fit and rows that are no distribution.
    """
    B, gamma, V = q.shape
    _check_shapes([(B, gamma + 1, V), (B, gamma), (B, gamma)], p=p, ids=ids, u=u)
    _check_distribution(p=p, q=q)
    own = lambda rows: rows.gather(-1, ids[..., None])[..., 0]
    kept = (u * own(q) < own(p[:, :-1])).long().cumprod(1).sum(1)
    at = kept[:, None, None].expand(B, 1, V)
    q = torch.cat([q, torch.zeros_like(p[:, :1])], dim=1)  # nothing was offered after the last one
    return kept, residual(p.gather(1, at), q.gather(1, at))[:, 0]


@twin(naive.verify_tree, differentiable=False)
def verify_tree(p, q, ids, parents, u):
    """Where in a tree of drafts the walk ends, and what the next symbol is drawn from; one pass over the nodes, all rows at once.

    p        (batch, nodes, vocab) the target's distribution after each node, node 0 being the last certain symbol
    q        (batch, nodes, vocab) what each node was drawn from, given its earlier siblings; row 0 is not read
    ids, u   (batch, nodes); parents: for each node an earlier one, -1 for node 0
    returns  end (batch,) int64, the last node kept; rest (batch, vocab). Exact for siblings drawn alone, without replacement, or
             chosen (q all on one symbol). Raises ValueError for shapes that do not fit and rows that are no distribution.
    """
    B, N, V = p.shape
    _check_shapes([(B, N, V), (B, N), (B, N)], q=q, ids=ids, u=u)
    tree_paths(parents, N)
    _check_distribution(p=p, q=q[:, 1:])
    end, rest = torch.zeros_like(ids[:, 0]), p[:, 0]
    for i in range(
        1, N
    ):  # a parent stands before its children, so that a walk down passes its nodes in this order
        x = ids[:, i : i + 1]
        asked = end == parents[i]
        kept = asked & (u[:, i] * q[:, i].gather(1, x)[:, 0] < rest.gather(1, x)[:, 0])
        rest = torch.where(
            kept[:, None], p[:, i], torch.where(asked[:, None], residual(rest, q[:, i]), rest)
        )
        end = torch.where(kept, i, end)
    return end, rest


@twin(naive.acceptance_rate)
def acceptance_rate(p, q):
    """alpha, the mean over rows of the sum of min(p, q): 1 - total variation (theorem 3.5). p, q (rows, vocab), where the target wrote."""
    _check_distribution(p=p, q=q)
    return torch.minimum(p, q).sum(-1).mean()


@twin(naive.expected_symbols)
def expected_symbols(alpha, gamma):
    """Symbols from one call of the target, 1 + alpha + … + alpha^gamma (eq. 1), for alpha (n,) in [0, 1] and gamma ≥ 0."""
    if gamma < 0 or not ((alpha >= 0) & (alpha <= 1)).all():
        raise ValueError(
            f"alpha must lie in [0, 1] and gamma be 0 or more, got {alpha.tolist()} and {gamma}"
        )
    return (alpha[:, None] ** torch.arange(gamma + 1, device=alpha.device)).sum(1)


@twin(naive.speedup)
def speedup(alpha, gamma, c):
    """By what factor decoding gets faster, if verifying takes one step's time and a draft's step c of it (theorem 3.8)."""
    if not c >= 0:
        raise ValueError(f"c must be 0 or more, got {c}")
    return expected_symbols(alpha, gamma) / (gamma * c + 1)


@twin(naive.best_gamma, differentiable=False)
def best_gamma(alpha, c, limit=20):
    """The gamma in 0 … limit of the largest speed-up, 0 being plain decoding: alpha (n,) -> (n,) int64."""
    return torch.stack([speedup(alpha, gamma, c) for gamma in range(limit + 1)]).argmax(0)


# -- decoding --------------------------------------------------------------------------------------


class Staged(NamedTuple):
    """A draft with a draft of its own: what `draft` offers `model` verifies, and what that writes is offered to the target.

    Both offers may be trees. In the outer one `model` draws the siblings itself, and the pair writes on from each of them.
    """

    model: LanguageModel
    draft: object  # a LanguageModel, or Staged again
    gamma: object = 4


class Written(NamedTuple):
    """What `speculative` wrote: ids (batch, time + length); writer (batch, length), DRAFT, CORRECTION or BONUS; calls of the target."""

    ids: torch.Tensor
    writer: torch.Tensor
    calls: int

    @property
    def alpha(self):
        """Kept over examined symbols of a chain. Drafts after a refusal were not examined, and do not count."""
        kept, refused = (self.writer == DRAFT).sum(), (self.writer == CORRECTION).sum()
        return (kept / (kept + refused).clamp(min=1)).item()


@torch.no_grad()
def speculative(
    target, draft, ids, length, *, gamma=4, temperature=1.0, top_k=None, top_p=None, seed=0
):
    """Continue ids (batch, time) by `length` symbols, distributed as if the target had written alone.

    target       a LanguageModel; draft: a LanguageModel of the same alphabet, or Staged(model, its draft, its gamma)
    gamma        symbols drafted for each call of the target, or the widths of a tree: (3, 1, 1) offers three first symbols and
                 one after each. Siblings are drawn without replacement
    temperature, top_k, top_p   as in `probabilities`, applied to both models; at temperature 0 the text is the greedy one
    seed         with sampling, the same distribution as plain decoding, not the same text
    returns      Written

    All rows of a batch advance together, each round by the least number of symbols that a row has won, which is exact
    (naive.speculative says why) but slower than one row alone: expect alpha^batch in place of alpha.
    Raises ValueError for alphabets that differ, an empty prompt, length < 0, gamma or a width below 1, and for a model whose
    probabilities do not sum to 1; TypeError for ids that are not int64.
    """
    check_ids(ids, target.vocab_size, dims=2)
    if length < 0:
        raise ValueError(f"length must be 0 or more, got {length}")
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    probabilities(torch.zeros(1, 1), **how)  # refuses impossible settings before any work
    decoder = _Decoder(target, draft, gamma, how, torch.Generator().manual_seed(seed))
    decoder.start(ids)
    news, writers = [ids], [ids[:, :0]]
    while sum(new.shape[1] for new in writers) < length:
        new, writer, _ = decoder.round()
        news.append(new)
        writers.append(writer)
    return Written(
        torch.cat(news, 1)[:, : ids.shape[1] + length],
        torch.cat(writers, 1)[:, :length],
        len(writers) - 1,
    )


class _Reader:
    """A model and how far it has read: `state` is the one before `pending` (batch, time), the symbols that it has yet to read."""

    def start(self, ids):
        self.state, self.pending = self.model.init_state(len(ids)), ids

    def read(self, ids):
        self.pending = torch.cat([self.pending, ids], 1)

    def mark(self):
        """A place to come back to, just before the last symbol."""
        if self.pending.shape[1] > 1:
            _, self.state = self.model.extend(self.pending[:, :-1], self.state)
            self.pending = self.pending[:, -1:]
        return self.state, self.pending

    def back(self, mark):
        self.state, self.pending = mark

    def fan(self, width):
        """Each row `width` times."""
        self.pending, self.state = _fan(self.pending, width), _fan(self.state, width)


def _fan(tree, width):
    return map_leaves(
        lambda leaf: leaf.repeat_interleave(width, 0) if isinstance(leaf, torch.Tensor) else leaf,
        tree,
    )


def _siblings(logits, u, how):
    """As many symbols as u (rows, width) has columns, none twice: (rows, width), and what each was drawn from (rows, width, vocab)."""
    ids, q = [], []
    for noise in u.unbind(1):
        q.append(probabilities(logits, **how))
        ids.append(sample(q[-1].log(), noise))
        logits = logits.scatter(
            1, ids[-1][:, None], -1e30
        )  # finite, so that a row always has something to offer
    return torch.stack(ids, 1), torch.stack(q, 1)


def _breadth_first(levels, B):
    """[(ids (rows, width), q (rows, width, vocab)) of each level] -> ids (B, nodes), q (B, nodes, vocab)."""
    ids, q = zip(*levels, strict=True)
    return torch.cat([x.reshape(B, -1) for x in ids], 1), torch.cat(
        [rows.reshape(B, -1, rows.shape[-1]) for rows in q], 1
    )


class _Drafter(_Reader):
    """Offers the symbols of a tree, level by level.

    After a round it is back where it was before it drafted, and reads what was kept in the call that it makes next anyway: right
    for any kind of state, with no more calls than levels.
    """

    def __init__(self, model, widths, how):
        self.model, self.widths, self.how = model, widths, how

    def offer(self, u):
        """u (batch, nodes) -> ids (batch, nodes), the root left out, and what they were drawn from, q (batch, nodes, vocab)."""
        logits, self.state = self.model.extend(self.pending, self.state)
        self.pending = self.pending[:, :0]
        logits, state, levels, start = logits[:, -1], self.state, [], 0
        for width in self.widths:
            if levels:
                logits, state = self.model.step(levels[-1][0].flatten(), state)
            size = len(logits) // len(u) * width
            levels.append(
                _siblings(logits.double(), u[:, start : start + size].reshape(-1, width), self.how)
            )
            start += size
            state = _fan(state, width) if width > 1 else state
        return _breadth_first(levels, len(u))


class _StagedDrafter:
    """Offers what a smaller pair of target and draft writes. Where the tree fans out the smaller target draws siblings itself."""

    def __init__(self, staged, widths, how, generator):
        self.widths, self.how, self.pair = (
            widths,
            how,
            _Decoder(staged.model, staged.draft, staged.gamma, how, generator),
        )
        self.start, self.read, self.mark, self.back, self.fan = (
            self.pair.start,
            self.pair.read,
            self.pair.mark,
            self.pair.back,
            self.pair.fan,
        )

    def offer(self, u):
        before, levels, start, rows = self.mark(), [], 0, len(u)
        while len(levels) < len(self.widths):
            width = self.widths[len(levels)]
            if width > 1:
                size = rows // len(u) * width
                levels.append(self._branch(u[:, start : start + size].reshape(rows, width)))
                rows *= width
            else:
                ones = next(
                    (n for n, other in enumerate(self.widths[len(levels) :]) if other > 1),
                    len(self.widths) - len(levels),
                )
                size = rows // len(u) * ones
                levels += self._run(ones)
            start += size
        self.back(before)
        return _breadth_first(levels, len(u))

    def _branch(self, u):
        pair = self.pair
        logits, pair.state = pair.model.extend(pair.pending, pair.state)
        ids, q = _siblings(logits[:, -1].double(), u, self.how)
        pair.fan(u.shape[1])
        pair.pending = ids.view(-1, 1)
        pair.drafter.read(pair.pending)
        return ids, q

    def _run(self, length):
        """That many symbols after each row, one a level."""
        ids, q, missing = [], [], length
        while missing > 0:
            before = self.mark()
            new, _, p = self.pair.round()
            ids.append(new[:, :missing])
            q.append(p[:, :missing])
            missing -= new.shape[1]
        if missing < 0:  # it wrote further than it was asked to
            self.back(before)
            self.read(ids[-1])
        return list(zip(torch.cat(ids, 1).split(1, 1), torch.cat(q, 1).split(1, 1), strict=True))


class _Decoder(_Reader):
    """A target and what drafts for it."""

    def __init__(self, target, draft, gamma, how, generator):
        self.model, self.how, self.generator = target, how, generator
        other = draft.model if isinstance(draft, Staged) else draft
        if other.vocab_size != target.vocab_size:
            raise ValueError(
                f"draft must have the target's alphabet of {target.vocab_size} symbols, got one of {other.vocab_size}"
            )
        widths = (
            gamma if isinstance(gamma, tuple) else (1,) * gamma if isinstance(gamma, int) else ()
        )
        if not widths or not all(
            isinstance(width, int) and 1 <= width <= target.vocab_size for width in widths
        ):
            raise ValueError(
                f"gamma must be 1 or more, or a tuple of widths from 1 to the {target.vocab_size} symbols there are, got {gamma}"
            )
        self.chain = max(widths) == 1
        self.drafter = (
            _StagedDrafter(draft, widths, how, generator)
            if isinstance(draft, Staged)
            else _Drafter(draft, widths, how)
        )
        self.parents, level = [-1], [0]
        for width in widths:
            self.parents += [parent for parent in level for _ in range(width)]
            level = list(range(len(self.parents) - len(level) * width, len(self.parents)))
        paths = tree_paths(self.parents, len(self.parents))
        self.depth = torch.tensor([len(path) - 1 for path in paths])
        self.paths = torch.tensor(
            [(path + path[-1:] * len(paths))[: len(widths) + 2] for path in paths]
        )

    def start(self, ids):
        super().start(ids)
        self.drafter.start(ids)
        self.depth, self.paths = self.depth.to(ids.device), self.paths.to(ids.device)

    def read(self, ids):
        super().read(ids)
        self.drafter.read(ids)

    def mark(self):
        return super().mark(), self.drafter.mark()

    def back(self, mark):
        super().back(mark[0])
        self.drafter.back(mark[1])

    def fan(self, width):
        super().fan(width)
        self.drafter.fan(width)

    def round(self):
        """One call of the target: symbols (batch, won), who wrote them, and what they were drawn from (batch, won, vocab)."""
        before, root = super().mark()
        B, N = len(root), len(self.parents)
        u = torch.rand(B, 2 * N - 1, generator=self.generator, dtype=torch.float64).to(root.device)
        drafted, q = self.drafter.offer(u[:, : N - 1])
        ids = torch.cat([root, drafted], 1)
        logits, after = self.model.extend_tree(ids, self.parents, before)
        p = probabilities(logits.double().flatten(0, 1), **self.how).view(B, N, -1)
        if self.chain:
            end, rest = verify(p, q, drafted, u[:, N - 1 : -1])
        else:  # row 0 of q and u[:, 0] are not read
            end, rest = verify_tree(
                p, torch.cat([p[:, :1], q], 1), ids, self.parents, u[:, N - 2 : -1]
            )
        depth, least = self.depth[end], int(self.depth[end].min())
        path = self.paths[end]
        new = ids.gather(1, path[:, 1 : least + 2])  # right for the rows of which more was kept
        stops = depth == least
        new[:, -1] = torch.where(stops, sample(rest.log(), u[:, -1]), new[:, -1])
        writer = torch.full_like(new, DRAFT)
        writer[:, -1] = torch.where(
            stops, torch.where(depth == self.depth[-1], BONUS, CORRECTION), DRAFT
        )
        path = path[:, : least + 1]
        self.state, self.pending = self.model.follow(ids, path, before, after), new[:, -1:]
        self.drafter.read(new)
        return new, writer, p.gather(1, path[:, :, None].expand(-1, -1, p.shape[-1]))


# -- a larger target, and bench --------------------------------------------------------------------


def widened(model, times):
    """A Transformer's function in a Transformer with times² the weights in its blocks: every channel and head `times` over (Net2Net, arXiv:1511.05641).

    The copies share the work: weights that read them are divided by their number. Raises ValueError for times below 1.
    """
    if times < 1:
        raise ValueError(f"times must be 1 or more, got {times}")
    C, heads = model.embed.shape[1], model.blocks[0].heads
    wide = type(model)(
        model.vocab_size, times * C, len(model.blocks), times * heads, model.context
    ).to(model.embed)
    values = {}
    for name, value in model.state_dict().items():
        kind = name.rpartition(".")[2]
        if kind == "qkv":
            value = (
                value.view(3, heads, C // heads, C).repeat(1, times, 1, times).flatten(0, 2) / times
            )
        elif kind in ("out", "up", "down"):
            value = value.repeat(times, times) / times
        else:  # embed, output: (vocab, C); of a norm: (C,)
            value = value.repeat(*[1] * (value.dim() - 1), times) / (
                times if kind == "output" else 1
            )
        values[name] = value
    wide.load_state_dict(values)
    return wide
