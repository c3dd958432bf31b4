"""What a target keeps of a draft, and how much that brings: the rule of speculative sampling.

Names and symbols are those of minilib/naive/acceptance.py. Not here: the decoder (speculative.py).
"""

import math
from collections import deque

import torch
from torch import Tensor

from minilib import twin
from minilib.language_model import tree_paths
from minilib.naive import acceptance as naive


@twin(naive.residual)
def residual(p: Tensor, q: Tensor) -> Tensor:
    """norm(max(0, p - q)), p where nothing is left; p and q (…, vocab).

    Source: Leviathan et al. 2022 (arXiv:2211.17192), sec. 2.3.
    """
    left = (p - q).clamp(min=0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / torch.where(total > 0, total, 1), p)


@twin(naive.verify, differentiable=False)
def verify(p: Tensor, q: Tensor, ids: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """How many drafted symbols are accepted, and what the next one is drawn from (alg. 1).

    p        (batch, gamma + 1, vocab), the target's distributions
    q        (batch, gamma, vocab), the draft's
    ids, u   (batch, gamma): the draft, and a uniform in [0, 1) for each symbol of it
    returns  kept (batch,) int64; rest (batch, vocab). All places at once
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
def verify_tree(
    p: Tensor, q: Tensor, ids: Tensor, parents: list[int], u: Tensor
) -> tuple[Tensor, Tensor]:
    """Where in a tree of drafts the walk ends, and what the next symbol is drawn from.

    p        (batch, nodes, vocab) the target's distribution after each node; node 0 is the last
             certain symbol
    q        (batch, nodes, vocab) what each node was drawn from, given its earlier siblings; row 0
             is not read
    ids, u   (batch, nodes); parents: for each node an earlier one, -1 for node 0
    returns  end (batch,) int64, the last node kept; rest (batch, vocab)
    One pass over the nodes, all rows at once. Exact for siblings drawn alone, without replacement,
    or chosen (q all on one symbol): SpecInfer (Miao et al. 2023, arXiv:2305.09781), SpecTr (Sun et
    al. 2023).
    Raises ValueError for shapes that do not fit and rows that are no distribution.
    """
    B, N, V = p.shape
    _check_shapes([(B, N, V), (B, N), (B, N)], q=q, ids=ids, u=u)
    tree_paths(parents, N)
    _check_distribution(p=p, q=q[:, 1:])
    end, rest = torch.zeros_like(ids[:, 0]), p[:, 0]
    for i in range(1, N):  # parents before children: a walk down passes its nodes in this order
        x = ids[:, i : i + 1]
        offered = end == parents[i]
        accepted = u[:, i] * q[:, i].gather(1, x)[:, 0] < rest.gather(1, x)[:, 0]
        left = torch.where(accepted[:, None], p[:, i], residual(rest, q[:, i]))
        rest = torch.where(offered[:, None], left, rest)
        end = torch.where(offered & accepted, i, end)
    return end, rest


def _check_distribution(**named):
    for name, p in named.items():
        sums = p.sum(-1)
        # nan fails this too
        if not bool(((sums - 1).abs() < 1e-3).all() & (p >= 0).all()):
            raise ValueError(
                f"{name} must have rows ≥ 0 that sum to 1, got sums from {sums.min():.4g} to "
                f"{sums.max():.4g} and least value {p.min():.4g}"
            )


def _check_shapes(shapes, **named):
    for (name, value), shape in zip(named.items(), shapes, strict=True):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")


# -- what it brings --------------------------------------------------------------------------------


@twin(naive.acceptance_rate)
def acceptance_rate(p: Tensor, q: Tensor) -> Tensor:
    """alpha, the mean over rows of the sum of min(p, q): 1 - total variation (theorem 3.5).

    p, q  (rows, vocab), at places of a text that the target wrote
    """
    _check_distribution(p=p, q=q)
    return torch.minimum(p, q).sum(-1).mean()


@twin(naive.expected_symbols)
def expected_symbols(alpha: Tensor, gamma: int) -> Tensor:
    """Symbols from one call of the target, 1 + alpha + … + alpha^gamma (eq. 1).

    alpha  (n,) in [0, 1]; gamma 0 or more; returns (n,)
    """
    if gamma < 0 or not ((alpha >= 0) & (alpha <= 1)).all():
        given = f"{alpha.tolist()} and {gamma}"
        raise ValueError(f"alpha must lie in [0, 1] and gamma be 0 or more, got {given}")
    return (alpha[:, None] ** torch.arange(gamma + 1, device=alpha.device)).sum(1)


@twin(naive.speedup)
def speedup(alpha: Tensor, gamma: int, c: float) -> Tensor:
    """By what factor decoding gets faster, if verifying takes one step's time (theorem 3.8).

    alpha, gamma  as in expected_symbols; c: the time of a draft's step over that of the target's
    """
    if not c >= 0:
        raise ValueError(f"c must be 0 or more, got {c}")
    return expected_symbols(alpha, gamma) / (gamma * c + 1)


@twin(naive.best_gamma, differentiable=False)
def best_gamma(alpha: Tensor, c: float, limit: int = 20) -> Tensor:
    """The gamma in 0 … limit of the largest speed-up, 0 for plain decoding: (n,) -> (n,) int64."""
    return torch.stack([speedup(alpha, gamma, c) for gamma in range(limit + 1)]).argmax(0)


class Pace:
    """How many symbols to draft next, 0 to `longest`: what promises most symbols for each second.

    A round of gamma drafted symbols should bring `expected_symbols` of alpha. It takes gamma times
    `step` seconds, and `costs[gamma]` for the target's call and all that is done once a round.
    Drafts get longer one by one, as long as a call would pay that is no dearer than the
    one before; a loser has a second try, as it may have been held up.

    What lost then may win later, so it is tried again when there is time to lose: each gamma saves
    SPARE of all seconds until it is tried, and counts as so much cheaper. So they never lose more
    than (longest + 1) * SPARE, all together.
    """

    SPARE = 0.002

    def __init__(self, longest: int = 8):
        self.alpha, self.places = 1.0, 0
        self.steps, self.step = deque(maxlen=16), 0.0
        self.calls = [deque(maxlen=16) for _ in range(longest + 1)]
        self.costs, self.saved = [math.inf] * (longest + 1), [0.0] * (longest + 1)

    def gamma(self, behind: float = 0.0) -> int:
        """The next gamma, if the draft has to read for `behind` seconds before it can write."""
        if len(self.calls[0]) < 2:
            return 0
        best, most, symbols = 0, 0.0, 0.0
        for gamma, (cost, saved) in enumerate(zip(self.costs, self.saved, strict=True)):
            symbols += self.alpha**gamma
            owed = behind if gamma else 0.0  # once for many rounds, but what was saved must pay it
            extra = owed / 8 - max(0.0, saved - owed)
            speed = symbols / max(gamma * self.step + cost + extra, 1e-9)
            if speed > most:
                best, most = gamma, speed
            elif len(self.calls[gamma]) < 2:
                step = self.step if len(self.steps) > 1 else 0.0
                hoped = symbols / max(gamma * step + self.costs[gamma - 1] + extra, 1e-9)
                return gamma if hoped > most else best
        return best

    def took(self, gamma: int, drafting: float, call: float) -> None:
        """A round of gamma took so many seconds to draft, and `call` for all else."""
        if gamma:
            self.steps.append(drafting / gamma)
            self.step = _usual(self.steps)
        self.calls[gamma].append(call)
        self.costs[gamma] = _usual(self.calls[gamma])
        self.saved = [saved + self.SPARE * (drafting + call) for saved in self.saved]
        self.saved[gamma] = 0.0

    def compared(self, p: Tensor, q: Tensor) -> None:
        """What both expected at some places, (batch, places, vocab): alpha is the mean of about 64.

        A batch goes on where all its rows do.
        """
        for share in torch.minimum(p, q).sum(-1).prod(0).tolist():
            self.places = min(self.places + 1, 64)
            self.alpha += (share - self.alpha) / self.places


def _usual(seconds):
    """The mean. What other programs held up counts as twice the least at most."""
    limit = 2 * min(seconds)
    return sum(min(x, limit) for x in seconds) / len(seconds)
