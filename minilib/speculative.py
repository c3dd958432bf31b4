"""Speculative sampling over the interface of every language model: chains, trees, staged, batches.

Names and symbols are those of minilib/naive/speculative.py. Not here: drafts in another alphabet
than the target's.
"""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from minilib import twin
from minilib.acceptance import verify, verify_tree
from minilib.language_model import (
    LanguageModel,
    check_ids,
    check_sampling,
    fan,
    probabilities,
    sample,
    tree_paths,
)
from minilib.naive import speculative as naive

# who wrote a symbol: the draft; the target after a refusal, or after the whole draft was accepted
DRAFT, CORRECTION, BONUS = 0, 1, 2


class Staged(NamedTuple):
    """A draft with a draft of its own: `model` verifies what `draft` offers (Spector & Ré 2023).

    What both write is offered to the target. gamma and widths as in `speculative`. Where the outer
    tree branches, `model` draws the siblings itself, and the pair writes on from each of them.
    """

    model: LanguageModel
    draft: "LanguageModel | Staged"
    gamma: int | None = None
    widths: tuple[int, ...] | None = None


class Written(NamedTuple):
    """What `speculative` wrote."""

    ids: Tensor  # (batch, time + length)
    writer: Tensor  # (batch, length): DRAFT, CORRECTION or BONUS
    calls: int  # of the target

    @property
    def alpha(self) -> float:
        """Accepted over examined symbols of a chain. Drafts after a refusal do not count."""
        kept, refused = (self.writer == DRAFT).sum(), (self.writer == CORRECTION).sum()
        return (kept / (kept + refused).clamp(min=1)).item()


@torch.no_grad()
def speculative(
    target: LanguageModel,
    draft: LanguageModel | Staged,
    ids: Tensor,
    length: int,
    *,
    gamma: int | None = None,
    widths: tuple[int, ...] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Written:
    """Continue ids (batch, time) by `length` symbols, distributed as if the target wrote alone.

    target, draft  two models of one alphabet, or Staged as the draft
    gamma          symbols drafted in a chain for each call of the target; 4 if no widths are given
    widths         in place of gamma, a tree: (3, 1, 1) offers three first symbols and two more
                   after each. Siblings are drawn without replacement
    temperature, top_k, top_p   as in `probabilities`, for both models; 0 gives the greedy text
    seed           the distribution is that of plain decoding, the text is another one

    All rows of a batch advance together, each round by the least number of symbols that a row has
    got. That is exact (naive.speculative says why) but slower than one row alone: expect
    alpha^batch in place of alpha.
    Raises ValueError for alphabets that differ, an empty prompt, length < 0, gamma or a width
    below 1, gamma and widths together, and for a model whose probabilities do not sum to 1;
    TypeError for ids that are not int64.
    """
    check_ids(ids, target.vocab_size, dims=2)
    check_sampling(temperature, top_k, top_p)
    if length < 0:
        raise ValueError(f"length must be 0 or more, got {length}")
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    widths = _tree_shape(gamma, widths, target.vocab_size)
    decoder = _Decoder(target, draft, widths, how, torch.Generator().manual_seed(seed))
    decoder.start(ids)
    news, writers, written = [ids], [ids[:, :0]], 0
    while written < length:
        new, writer, _ = decoder.round()
        news.append(new)
        writers.append(writer)
        written += new.shape[1]
    text = torch.cat(news, 1)[:, : ids.shape[1] + length]
    return Written(text, torch.cat(writers, 1)[:, :length], calls=len(writers) - 1)


def _tree_shape(gamma, widths, vocab_size):
    """The widths of the tree that is asked for: a chain is a tree of ones."""
    if gamma is not None and widths is not None:
        raise ValueError(f"gamma or widths must be given, not both, got {gamma} and {widths}")
    if widths is None:
        gamma = 4 if gamma is None else gamma
        if not isinstance(gamma, int) or gamma < 1:
            raise ValueError(f"gamma must be a whole number from 1 on, got {gamma!r}")
        return (1,) * gamma
    legal = lambda width: isinstance(width, int) and 1 <= width <= vocab_size
    if not isinstance(widths, tuple) or not widths or not all(map(legal, widths)):
        raise ValueError(
            f"widths must be a tuple of numbers from 1 to {vocab_size}, got {widths!r}"
        )
    return widths


class _Reader:
    """A model and how far it has read: `state` is the one before `pending`, what is yet to read."""

    def __init__(self, model):
        self.model = model

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
        self.pending, self.state = fan(self.pending, width), fan(self.state, width)


class _Drafter(_Reader):
    """Offers the symbols of a tree, level by level.

    After a round it is back where it was before it drafted, and reads what was accepted in the call
    that it makes next anyway: right for any kind of state, with no more calls than levels.
    """

    def __init__(self, model, widths, how):
        super().__init__(model)
        self.widths, self.how = widths, how

    def offer(self, u):
        """u (batch, nodes), the root left out -> ids (batch, nodes), q (batch, nodes, vocab)."""
        logits, self.state = self.model.extend(self.pending, self.state)
        self.pending = self.pending[:, :0]
        logits, state, levels = logits[:, -1], self.state, []
        for width, noise in zip(self.widths, u.split(_level_sizes(self.widths), 1), strict=True):
            if levels:
                ids, _ = levels[-1]
                logits, state = self.model.step(ids.flatten(), state)
            levels.append(siblings(logits.double(), noise.reshape(-1, width), **self.how))
            state = fan(state, width) if width > 1 else state
        return _breadth_first(levels, len(u))


def _level_sizes(widths):
    """Nodes of each level: (3, 1, 2) -> 3, 3, 6."""
    return list(itertools.accumulate(widths, lambda size, width: size * width))


@twin(naive.siblings, differentiable=False)
def siblings(
    logits: Tensor,
    u: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Symbols drawn for one place without replacement; all rows at once.

    logits   (rows, vocab); u (rows, width) uniform in [0, 1), width ≤ vocab
    returns  ids (rows, width) int64; q (rows, width, vocab), what each was drawn from
    """
    if u.dim() != 2 or len(u) != len(logits) or not 1 <= u.shape[1] <= logits.shape[-1]:
        wanted = f"({len(logits)}, 1 to {logits.shape[-1]})"
        raise ValueError(f"u must have shape {wanted}, got {tuple(u.shape)}")
    ids, q = [], []
    for noise in u.unbind(1):
        q.append(probabilities(logits, temperature, top_k, top_p))
        ids.append(sample(q[-1].log(), noise))
        # finite, so that a row always has something to offer
        logits = logits.scatter(1, ids[-1][:, None], -1e30)
    return torch.stack(ids, 1), torch.stack(q, 1)


def _breadth_first(levels, B):
    """ids and q of `siblings`, level by level -> ids (B, nodes), q (B, nodes, vocab)."""
    ids = torch.cat([x.reshape(B, -1) for x, _ in levels], 1)
    return ids, torch.cat([q.reshape(B, -1, q.shape[-1]) for _, q in levels], 1)


class _Decoder(_Reader):
    """A target and what drafts for it."""

    def __init__(self, target, draft, widths, how, generator):
        super().__init__(target)
        self.how, self.generator, self.chain = how, generator, max(widths) == 1
        model = draft.model if isinstance(draft, Staged) else draft
        if model.vocab_size != target.vocab_size:
            raise ValueError(
                f"draft must have the target's alphabet of {target.vocab_size} symbols, "
                f"got one of {model.vocab_size}"
            )
        if isinstance(draft, Staged):
            self.drafter = _StagedDrafter(draft, widths, how, generator)
        else:
            self.drafter = _Drafter(draft, widths, how)
        self.parents = naive.tree_parents(widths)
        paths = tree_paths(self.parents, len(self.parents))
        longest = len(widths) + 2  # the root, a node of each level, and one that is never kept
        self.depth = torch.tensor([len(path) - 1 for path in paths])
        self.paths = torch.tensor([(path + path[-1:] * longest)[:longest] for path in paths])

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
        own, drafters = mark
        super().back(own)
        self.drafter.back(drafters)

    def fan(self, width):
        super().fan(width)
        self.drafter.fan(width)

    def round(self):
        """One call of the target: new symbols, who wrote them, what the target expected there.

        Returns ids and writer (batch, n), p (batch, n, vocab).
        """
        before, root = _Reader.mark(self)
        B, N = len(root), len(self.parents)
        u = torch.rand(B, 2 * N - 1, generator=self.generator, dtype=torch.float64).to(root.device)
        u_draft, u_accept, u_last = u.split([N - 1, N - 1, 1], dim=1)
        drafted, q = self.drafter.offer(u_draft)
        ids = torch.cat([root, drafted], 1)
        logits, after = self.model.extend_tree(ids, self.parents, before)
        p = probabilities(logits.double().flatten(0, 1), **self.how).view(B, N, -1)
        if self.chain:
            end, rest = verify(p, q, drafted, u_accept)
        else:
            no_root = lambda x: torch.cat([x[:, :1], x], dim=1)  # row 0 is not read
            end, rest = verify_tree(p, no_root(q), ids, self.parents, no_root(u_accept))

        depth, path = self.depth[end], self.paths[end]
        least = int(depth.min())  # all rows advance by as many symbols as the shortest
        new = ids.gather(1, path[:, 1 : least + 2])  # of rows that keep more, one more than that
        stops = depth == least
        new[:, -1] = torch.where(stops, sample(rest.log(), u_last[:, 0]), new[:, -1])
        writer = torch.full_like(new, DRAFT)
        last_writer = torch.where(depth == self.depth[-1], BONUS, CORRECTION)
        writer[:, -1] = torch.where(stops, last_writer, DRAFT)

        path = path[:, : least + 1]
        self.state, self.pending = self.model.follow(ids, path, before, after), new[:, -1:]
        self.drafter.read(new)
        return new, writer, p.gather(1, path[:, :, None].expand(-1, -1, p.shape[-1]))


class _StagedDrafter(_Decoder):
    """Offers what a smaller pair of target and draft writes."""

    def __init__(self, staged, widths, how, generator):
        inner = _tree_shape(staged.gamma, staged.widths, staged.model.vocab_size)
        super().__init__(staged.model, staged.draft, inner, how, generator)
        self.widths = widths

    def offer(self, u):
        """As _Drafter.offer. Levels of width 1 are written in rounds, the others by the target."""
        before, levels = self.mark(), []
        noise = u.split(_level_sizes(self.widths), 1)
        alike = itertools.groupby(zip(self.widths, noise, strict=True), lambda level: level[0])
        for width, run in alike:
            if width == 1:
                levels += self._write(len(list(run)))
            else:
                levels += [self._branch(u_level.reshape(-1, width)) for _, u_level in run]
        self.back(before)
        return _breadth_first(levels, len(u))

    def _branch(self, u):
        logits, self.state = self.model.extend(self.pending, self.state)
        ids, q = siblings(logits[:, -1].double(), u, **self.how)
        self.fan(u.shape[1])
        self.pending = ids.view(-1, 1)
        self.drafter.read(self.pending)
        return ids, q

    def _write(self, length):
        """That many symbols after each row, one a level."""
        ids, q, missing = [], [], length
        while missing > 0:
            before = self.mark()
            new, _, p = self.round()
            ids.append(new[:, :missing])
            q.append(p[:, :missing])
            missing -= new.shape[1]
        if missing < 0:  # it wrote further than it was asked to
            self.back(before)
            self.read(ids[-1])
        return list(zip(torch.cat(ids, 1).split(1, 1), torch.cat(q, 1).split(1, 1), strict=True))
