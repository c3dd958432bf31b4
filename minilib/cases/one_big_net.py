"""What the definitions of one_big_net and their twins are tried on."""

import numpy as np

from minilib.naive import one_big_net as naive
from minilib.naive.one_big_net import POLICY

_ALL = np.array([[row, column] for row in range(5) for column in range(5)])
_WEIGHTS = 750


def _theta(rng):
    return 0.5 * rng.normal(size=_WEIGHTS)


def move(rng):
    """Every action on every place: each wall stops, nothing else does. One walker."""
    for action in range(4):
        yield _ALL, np.full(25, action)
    yield np.array([[2, 3]]), np.array([0])


def rollout(rng):
    """All starts, each goal; one start and one step; another goal shown; a net whose actions are
    all equally likely, so that the first is taken."""
    for goal in range(4):
        yield _theta(rng), goal, _ALL
    yield _theta(rng), 1, _ALL[7:8], None, 1
    yield _theta(rng), 1, _ALL, 2, 4
    yield np.zeros(_WEIGHTS), 3, _ALL[::6], None, 3


def scores(rng):
    """Several members, one member; each goal."""
    for goal in range(4):
        yield np.stack([_theta(rng) for _ in range(3)]), goal, _ALL[::3]
    yield _theta(rng)[None], 0, _ALL[:1]


def evolve(rng):
    """A pair; pairs; other sizes of trial and step; no spread, so that nothing moves."""
    for pairs, goal in [(2, 0), (5, 3)]:
        yield _theta(rng), rng.normal(size=(pairs, POLICY)), goal, _ALL[::4]
    yield _theta(rng), rng.normal(size=(4, POLICY)), 1, _ALL[::4], 0.7, 0.3
    yield _theta(rng), rng.normal(size=(1, POLICY)), 2, _ALL[::4]


def search(rng):
    """Noise that is used up; a net that needs no search; one that is done before the noise ends; a
    single pair, which has no spread, so that nothing moves."""
    starts = np.array([[0, 1], [1, 0]])
    yield _theta(rng), rng.normal(size=(2, 3, POLICY)), 3, _ALL[::4]
    yield _walks_up_and_left(), rng.normal(size=(2, 3, POLICY)), 0, np.array([[3, 0], [0, 0]])
    yield _theta(rng), rng.normal(size=(12, 16, POLICY)), 0, starts, 1.0, 2.0
    yield _theta(rng), rng.normal(size=(2, 1, POLICY)), 2, starts


def _walks_up_and_left():
    """Always up: the bias of action 0 decides."""
    theta = np.zeros(_WEIGHTS)
    theta[POLICY - 4] = 1.0
    return theta


def losses(rng):
    """All solved, some, none; one start and one step; a net far from the one that walked."""
    for solved in ([True] * 5, [True, False, False, True, False], [False] * 5):
        traces = naive.rollout(_theta(rng), 1, _ALL[::5])
        yield _theta(rng), *traces, np.array(solved)
    yield _theta(rng), *naive.rollout(_theta(rng), 2, _ALL[:1], None, 1), np.array([True])


def consolidate(rng):
    """One task, several; other rates and weights of prediction; no trace that solved its task; no
    step at all."""
    traces = [
        (*naive.rollout(_theta(rng), goal, _ALL[::6], None, 3), np.arange(5) % 2 == goal % 2)
        for goal in range(3)
    ]
    yield _theta(rng), traces[:1], 1
    yield _theta(rng), traces, 3
    yield _theta(rng), traces, 2, 0.005, 1.0
    yield _theta(rng), [(*traces[0][:3], np.zeros(5, bool))], 1
    yield _theta(rng), traces, 0


def accepts(rng):
    """Learned and kept; known before; not learned; one lost; one lost that was not there; a task
    that is just solved, and one that just is not."""
    yield np.array([1.0, 0.0]), np.array([1.0, 1.0]), 1
    yield np.array([1.0, 0.95]), np.array([1.0, 1.0]), 1
    yield np.array([1.0, 0.0]), np.array([1.0, 0.5]), 1
    yield np.array([1.0, 1.0, 0.0]), np.array([1.0, 0.2, 1.0]), 2
    yield np.array([1.0, 0.3, 0.0]), np.array([1.0, 0.2, 1.0]), 2
    yield np.array([0.75, 0.5]), np.array([0.75, 0.75]), 1, 0.75
    yield np.array([0.75, 0.5]), np.array([0.5, 0.75]), 1, 0.75
    yield np.array([1.0, 0.75]), np.array([1.0, 1.0]), 1, 0.75
    yield np.array([1.0, 0.5]), np.array([0.875, 0.875]), 1  # 7/8 is not enough unless one says so
    yield np.array([1.0, 0.5]), np.array([0.9375, 0.9375]), 1
