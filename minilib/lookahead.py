"""Lookahead decoding for every language model, and the loop around a tree of guesses.

Names and symbols are those of minilib/naive/lookahead.py. Guesses are a tree, which the model reads
in one call (`extend_tree`): one pass with a mask where the model has one, else each path on its
own. The window of lookahead is a tree, too. Not here: several texts at once.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib import twin
from minilib.acceptance import verify_tree
from minilib.language_model import LanguageModel, check_ids, check_sampling, probabilities, sample
from minilib.naive import lookahead as naive
from minilib.naive.language_model import tree_paths
from minilib.shapes import check_shapes, check_sizes


class Written(NamedTuple):
    """What `lookahead` or `medusa` wrote."""

    ids: Tensor  # (1, time + length)
    taken: tuple[int, ...]  # symbols that each call of the model brought; the prompt is not counted
    scored: tuple[int, ...]  # positions that each of these calls scored, plain decoding's is 1

    @property
    def symbols_per_call(self) -> float:
        return sum(self.taken) / max(1, len(self.taken))

    @property
    def scored_per_symbol(self) -> float:
        """Positions scored for each symbol written: what the fewer calls are paid with."""
        return sum(self.scored) / max(1, sum(self.taken))


class TreeWriter:
    """A text, the model's state after it, and `root`, its next symbol, which is not read yet."""

    def __init__(self, model, ids, length, how, seed, rule=None):
        check_ids(ids, model.vocab_size, dims=2)
        if len(ids) != 1 or length < 0:
            given = f"{len(ids)} rows and length={length}"
            raise ValueError(f"ids must be one row and length 0 or more, got {given}")
        check_sampling(**how)
        greedy = how["temperature"] == 0 or how["top_k"] == 1
        self.rule = rule or (self.greedy if greedy else self.exact)
        self.model, self.how = model, how
        self.generator = torch.Generator().manual_seed(seed)
        self.text, self.end = ids[0].tolist(), ids.shape[1] + length
        self.device, self.taken, self.scored = ids.device, [], []
        logits, self.state = model.extend(ids, model.init_state(1))
        self.expect(logits[:, -1])

    def expect(self, logits, rest=None):
        """Draw the next symbol, from `rest` or as the model expects; the heads read the logits."""
        self.logits = logits
        rest = probabilities(logits.double(), **self.how) if rest is None else rest
        self.root = int(sample(rest.log(), self.uniforms(1, 1)[0]))

    def uniforms(self, *shape):
        u = torch.rand(*shape, generator=self.generator, dtype=torch.float64)
        return u.to(self.device)

    def call(self, tree, parents, offered):
        """One call of the model on a tree; of its first `offered` nodes the accepted path is kept.

        tree     a list of symbols, the root first; parents as in `extend_tree`
        returns  the logits of all nodes, (nodes, vocab)
        """
        ids = torch.tensor([tree], device=self.device)
        logits, after = self.model.extend_tree(ids, parents, self.state)
        p = probabilities(logits[0, :offered].double(), **self.how)
        end, rest = self.rule(p, ids[:, :offered], parents[:offered])
        path = tree_paths(parents, len(tree))[end]
        self.text += [tree[node] for node in path]
        self.taken.append(len(path))
        self.scored.append(len(tree))
        index = torch.tensor([path], device=self.device)
        self.state = self.model.follow(ids, index, self.state, after)
        self.expect(logits[:, end], rest)
        return logits[0]

    def greedy(self, p, ids, parents):
        """A guess is right if it is what its parent expects: one walk down."""
        best, symbols, end = p.argmax(1).tolist(), ids[0].tolist(), 0
        for i in range(1, len(symbols)):
            if parents[i] == end and symbols[i] == best[end]:
                end = i
        return end, p[end : end + 1]

    def exact(self, p, ids, parents):
        """Lesson 37's rule for trees. A guess is offered for certain: q is 1 at it, 0 elsewhere."""
        q = F.one_hot(ids, p.shape[1]).to(p)
        end, rest = verify_tree(p[None], q, ids, parents, self.uniforms(1, len(parents)))
        return int(end), rest

    def written(self):
        ids = torch.tensor([self.text[: self.end]], device=self.device)
        return Written(ids, tuple(self.taken), tuple(self.scored))


# -- lookahead -------------------------------------------------------------------------------------


@torch.no_grad()
def jacobi(model: LanguageModel, ids: Tensor, guess: Tensor) -> Tensor:
    """All symbols of a block guessed at once, again and again: the guesses, (iterations + 1, m).

    ids      (1, time); guess (1, m) int64, any symbols. Each iteration is one call on m positions
    returns  the guess first; the last row is the greedy text, but for ties within rounding
    Raises ValueError for more than one row and symbols that the model does not have, TypeError for
    what is not int64.
    """
    check_ids(ids, model.vocab_size, dims=2)
    if not isinstance(guess, Tensor) or guess.dtype != torch.int64:
        got = getattr(guess, "dtype", type(guess).__name__)
        raise TypeError(f"guess must be an int64 tensor, got {got}")
    check_shapes(ids=(ids, (1, None)), guess=(guess, (1, None)))
    if ((guess < 0) | (guess >= model.vocab_size)).any():
        raise ValueError(f"guess must lie in [0, {model.vocab_size}), got {guess.tolist()}")
    before = model.init_state(1)
    if ids.shape[1] > 1:
        _, before = model.extend(ids[:, :-1], before)
    guesses = [guess]
    for _ in range(guess.shape[1]):
        logits, _ = model.extend(torch.cat([ids[:, -1:], guesses[-1][:, :-1]], 1), before)
        new = logits.argmax(-1)
        if torch.equal(new, guesses[-1]):
            break
        guesses.append(new)
    return torch.cat(guesses)


@twin(naive.slide, differentiable=False)
def slide(window: Tensor, new: Tensor, root: int) -> tuple[Tensor, Tensor, Tensor]:
    """(keys, grams, the next window) of a window that got its last row; all columns at once.

    window (N - 1, W), new (W,) -> (W,), (W, N - 1), (N - 1, W), all int64
    """
    check_shapes(window=(window, (None, None)), new=(new, (window.shape[1],)))
    after = torch.cat([window[1:], new[None]])
    grams = after.t().clone()
    if after.numel():
        after[0, 0] = root
    return window[0].clone(), grams, after


@twin(naive.compression)
def compression(alpha: Tensor, gamma: int, b: int, f: float = 1.0) -> Tensor:
    """Symbols from one call, if one in f has b guesses of gamma symbols: (n,) -> (n,).

    Source: Fu et al. 2024 (arXiv:2402.02057), sec. 4. alpha in [0, 1]
    """
    check_shapes(alpha=(alpha, (None,)))
    check_sizes(gamma=gamma, b=b)
    if not f >= 1 or not ((alpha >= 0) & (alpha <= 1)).all():
        given = f"{f} and {alpha.tolist()}"
        raise ValueError(f"f must be 1 or more and alpha lie in [0, 1], got {given}")
    i = torch.arange(1, gamma + 1, device=alpha.device)
    none_right = (1 - alpha[:, None] ** i) ** b
    return (f - 1 + gamma + 1 - none_right.sum(1)) / f


@torch.no_grad()
def lookahead(
    model: LanguageModel,
    ids: Tensor,
    length: int,
    *,
    ngram: int = 5,
    columns: int = 8,
    guesses: int = 8,
    copy: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Written:
    """Continue ids (1, time) by `length` symbols, distributed as if the model wrote step by step.

    ngram    N: a window of N - 1 rows, and guesses of N - 1 symbols
    columns  W of the window; 0 for none. Each call scores the last symbol, the window and at most
             `guesses` paths of guesses: 1 + (W + G) (N - 1) positions at most
    guesses  G, n-grams that are kept for each symbol, the last ones that came up
    copy     the n-grams of the text itself are guesses too (prompt lookup, Saxena 2023)
    temperature, top_k, top_p  as in `probabilities`; 0 gives the greedy text, but for ties within
             rounding. The window is always greedy: what is guessed is no matter of chance
    seed     of the first window, which is made of symbols of ids, and of sampling
    Raises ValueError for more than one row, an empty prompt, settings out of range, and no source
    of guesses at all; TypeError for ids that are not int64.
    """
    check_sizes(2, ngram=ngram)
    check_sizes(0, columns=columns)
    check_sizes(guesses=guesses)
    if not columns and not copy:
        raise ValueError("columns must be 1 or more where nothing is copied, got 0")
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    writer = TreeWriter(model, ids, length, how, seed)
    places = torch.randint(ids.shape[1], (ngram - 1, columns), generator=writer.generator)
    window, pool = ids[0].cpu()[places], {}
    below = naive.window_parents(ngram - 1, columns)[1:]
    copied = 0  # n-grams of the text that are guesses already

    def keep(key, gram):
        pool[key] = naive.remember(pool.get(key, []), gram, guesses)

    while len(writer.text) < writer.end:
        text = [*writer.text, writer.root]
        while copy and copied + ngram <= len(text):  # what the last call completed
            keep(text[copied], text[copied + 1 : copied + ngram])
            copied += 1
        guessed, parents = naive.trie(pool.get(text[-1], [])[::-1])  # the latest first
        offered = 1 + len(guessed)
        tree = [text[-1], *guessed, *window.flatten().tolist()[1:]]
        moved = [node and node + len(guessed) for node in below]  # node 0 is the root of both
        logits = writer.call(tree, [-1, *parents, *moved], offered)
        if columns:
            window[0, 0] = tree[0]
            spine = [0, *range(offered, offered + columns - 1)]  # the nodes of row 0
            last = logits[-columns:] if ngram > 2 else logits[spine]
            keys, grams, window = slide(window, last.argmax(1).cpu(), writer.root)
            for key, gram in zip(keys.tolist(), grams.tolist(), strict=True):
                keep(key, gram)
    return writer.written()
