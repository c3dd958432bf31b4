"""Speculative sampling over the interface of every language model: chains, trees, staged, batches.

Names and symbols are those of minilib/naive/speculative.py. Not here: a draft's own alphabet.
"""

import functools
import itertools
from collections import deque
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from minilib import twin
from minilib.acceptance import Pace, verify, verify_tree
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
REST = 32  # symbols that a draft reads when it is tried again


class Staged(NamedTuple):
    """A draft with a draft of its own: `model` verifies what `draft` offers (Spector & Ré 2023).

    What both write is offered to the target. gamma, 4 if neither is given, and widths as below.
    Where the outer tree branches, `model` draws the siblings, and the pair writes on from each.
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
    gamma          symbols drafted in a chain for each call of the target. If neither it nor widths
                   is given, each round takes what pays best, 0 to 8, by what rounds before it took
                   and won (`acceptance.Pace`): never much slower than plain decoding, which is 0
    widths         in place of gamma, a tree: (3, 1, 1) offers three first symbols and two more
                   after each. Siblings are drawn without replacement
    temperature, top_k, top_p   as in `probabilities`, for both models; 0 gives the greedy text
    seed           the distribution is that of plain decoding, the text is another one. Where gamma
                   is chosen the text depends on the clock too, but its distribution does not: a
                   choice sees past rounds, never the noise of the symbols that it is about

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
    generator = torch.Generator().manual_seed(seed)
    chosen = gamma is None and widths is None
    widths = (1,) if chosen else _tree_shape(gamma, widths, target.vocab_size)
    decoder = (_Paced if chosen else _Decoder)(target, draft, widths, how, generator)
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
        wanted = f"a tuple of numbers from 1 to {vocab_size}"
        raise ValueError(f"widths must be {wanted}, got {widths!r}")
    return widths


class _Reader:
    """A model and how far it has read: `state` is the one before `pending`, what is yet to read."""

    def __init__(self, model):
        self.model = model

    def start(self, ids):
        self.state, self.pending = self.model.init_state(len(ids)), ids

    def read(self, ids):
        self.pending = torch.cat([self.pending, ids], 1)

    def catch_up(self):
        """Read all but the last symbol; the logits after each."""
        logits, self.state = self.model.extend(self.pending[:, :-1], self.state)
        self.pending = self.pending[:, -1:]
        return logits

    def mark(self):
        """A place to come back to, just before the last symbol."""
        if self.pending.shape[1] > 1:
            self.catch_up()
        return self.state, self.pending

    def back(self, mark):
        self.state, self.pending = mark

    def fan(self, width):
        """Each row `width` times."""
        self.pending, self.state = fan(self.pending, width), fan(self.state, width)


class _Drafter(_Reader):
    """Offers the symbols of a tree of `widths`, level by level.

    After a round it is back where it was before it drafted, and reads what was accepted in the call
    that it makes next anyway: right for any kind of state, with no more calls than levels.
    """

    def __init__(self, model, how):
        super().__init__(model)
        self.how = how

    def offer(self, u):
        """u (batch, nodes), the root left out -> what `siblings` gives, of each level."""
        logits, self.state = self.model.extend(self.pending, self.state)
        self.pending = self.pending[:, :0]
        logits, state, levels = logits[:, -1], self.state, []
        for width, noise in zip(self.widths, u.split(_level_sizes(self.widths), 1), strict=True):
            if levels:
                ids, _ = levels[-1]
                logits, state = self.model.step(ids.flatten(), state)
            levels.append(siblings(logits.double(), noise.reshape(-1, width), **self.how))
            state = fan(state, width) if width > 1 else state
        return levels


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
        if ids:  # finite, so that a row always has something to offer
            logits = logits.scatter(1, ids[-1][:, None], -1e30)
        q.append(probabilities(logits, temperature, top_k, top_p))
        ids.append(sample(q[-1].log(), noise))
    return torch.stack(ids, 1), torch.stack(q, 1)


class _Decoder(_Reader):
    """A target and what drafts for it."""

    def __init__(self, target, draft, widths, how, generator):
        super().__init__(target)
        self.how, self.generator, self.tree, self.began = how, generator, widths, 0.0
        staged = isinstance(draft, Staged)
        model = draft.model if staged else draft
        if model.vocab_size != target.vocab_size:
            wanted = f"the target's alphabet of {target.vocab_size} symbols"
            raise ValueError(f"draft must have {wanted}, got one of {model.vocab_size}")
        self.drafter = _StagedDrafter(draft, how, generator) if staged else _Drafter(draft, how)

    def start(self, ids):
        super().start(ids)
        self.drafter.start(ids)
        self.grow(self.tree)
        self.lap()

    def grow(self, widths):
        """Draft trees of these widths from now on."""
        self.drafter.widths, self.chain = widths, max(widths) == 1
        self.parents, self.paths = _tree(widths, self.pending.device)

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

    def lap(self):
        """Seconds since the last lap."""
        if self.pending.is_cuda:
            torch.cuda.synchronize()
        before, self.began = self.began, perf_counter()
        return self.began - before

    def round(self):
        """One call of the target: new symbols, who wrote them, what the target expected there.

        Returns ids and writer (batch, n), p (batch, n, vocab).
        """
        before, root = _Reader.mark(self)
        B, N = len(root), len(self.parents)
        u = torch.rand(B, 2 * N - 1, generator=self.generator, dtype=torch.float64).to(root.device)
        u_draft, u_accept, u_last = u.split([N - 1, N - 1, 1], dim=1)
        self.before = self.lap()
        levels = self.drafter.offer(u_draft)
        self.drafting = self.lap()
        drafted = torch.cat([x.reshape(B, -1) for x, _ in levels], 1)
        self.q = q = torch.cat([q.reshape(B, -1, q.shape[-1]) for _, q in levels], 1)
        ids = torch.cat([root, drafted], 1)
        logits, after = self.model.extend_tree(ids, self.parents, before)
        p = probabilities(logits.double().flatten(0, 1), **self.how).view(B, N, -1)
        if self.chain:
            end, rest = verify(p, q, drafted, u_accept)
        else:
            no_root = lambda x: torch.cat([x[:, :1], x], dim=1)  # row 0 is not read
            end, rest = verify_tree(p, no_root(q), ids, self.parents, no_root(u_accept))

        depth, path = (self.paths[end] != end[:, None]).sum(1), self.paths[end]
        least = int(depth.min())  # all rows advance by as many symbols as the shortest
        new = ids.gather(1, path[:, 1 : least + 2])  # of rows that keep more, one more than that
        stops = depth == least
        new[:, -1] = torch.where(stops, sample(rest.log(), u_last[:, 0]), new[:, -1])
        writer = torch.full_like(new, DRAFT)
        last_writer = torch.where(depth == len(levels), BONUS, CORRECTION)
        writer[:, -1] = torch.where(stops, last_writer, DRAFT)

        path = path[:, : least + 1]
        self.state, self.pending = self.model.follow(ids, path, before, after), new[:, -1:]
        self.drafter.read(new)
        return new, writer, p.gather(1, path[:, :, None].expand(-1, -1, p.shape[-1]))


@functools.cache
def _tree(widths, device):
    """The parent of each node, a list, and its path from the root, filled up with the node."""
    parents = naive.tree_parents(widths)
    longest = len(widths) + 2  # the root, a node of each level, and one that is never kept
    paths = [(path + path[-1:] * longest)[:longest] for path in tree_paths(parents, len(parents))]
    return parents, torch.tensor(paths, device=device)


class _Paced(_Decoder):
    """A decoder that drafts chains as long as pays.

    While that is none, the draft rests. When it is tried again it reads on at the last REST
    symbols, as if there were none between: its q is what it drew from all the same.
    """

    def start(self, ids):
        super().start(ids)
        self.pace, self.reading = Pace(), 0.0  # seconds to read a symbol
        self.alone = deque(maxlen=REST)  # the target's logits where the draft rested

    def round(self):
        behind = min(self.drafter.pending.shape[1], REST) if self.alone else 0
        gamma = self.pace.gamma(behind * self.reading)
        if gamma == 0:
            return self.write()
        if self.alone:
            self.wake()
        self.grow((1,) * gamma)
        new, writer, p = super().round()
        self.pace.took(gamma, self.drafting, self.before + self.lap())
        self.pace.compared(p[:, :gamma], self.q[:, : p.shape[1]])  # what was examined
        return new, writer, p

    def write(self):
        """A symbol of the target alone."""
        read = self.pending.shape[1]
        logits, self.state = self.model.extend(self.pending, self.state)
        self.alone.extend(logits[:, -REST:].split(1, 1))
        u = torch.rand(len(logits), generator=self.generator, dtype=torch.float64)
        self.pending = sample(logits[:, -1].double(), u.to(logits.device), **self.how)[:, None]
        self.drafter.read(new := self.pending)
        seconds = self.lap()
        if read == 1:  # a prompt is not what a symbol costs
            self.pace.took(0, 0.0, seconds)
        return new, torch.full_like(new, BONUS), None

    def wake(self):
        """The draft reads what was written without it, and is compared with the target there."""
        if self.pace.steps:  # it has read the prompt
            self.drafter.pending = self.drafter.pending[:, -REST - 1 :]
        logits, places = self.drafter.catch_up(), len(self.alone)
        both = torch.cat([*self.alone, logits[:, -places:]], 1).double()
        p, q = probabilities(both.flatten(0, 1), **self.how).view(both.shape).split(places, 1)
        self.pace.compared(p, q)
        self.alone.clear()
        self.reading = self.lap() / logits.shape[1]


class _StagedDrafter(_Decoder):
    """Offers what a smaller pair of target and draft writes."""

    def __init__(self, staged, how, generator):
        inner = _tree_shape(staged.gamma, staged.widths, staged.model.vocab_size)
        super().__init__(staged.model, staged.draft, inner, how, generator)

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
        return levels

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
