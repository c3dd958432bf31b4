"""What the definitions of acceptance and their twins are tried on."""

import numpy as np


def _distributions(rng, *shape, zeros=0.3):
    p = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]) * (rng.random(shape) >= zeros)
    p[..., 0] += 1e-3
    return p / p.sum(-1, keepdims=True)


def residual(rng):
    """Two symbols; three; a byte's; nothing left.

    Where p = q there is no derivative: that is for `verify`. Here q exceeds p at every symbol, as
    rounding may have it, only by more: a sum of 0, and p itself is what to return.
    """
    for V in (2, 3, 256):
        yield _distributions(rng, V, zeros=0), _distributions(rng, V, zeros=0)
    p = np.array([0.5, 0.3, 0.2])
    yield p, p + 0.1


def verify(rng):
    """One symbol; odd sizes; a draft equal to the target; greedy ones, agreeing and not.

    Some symbols have probability 0 in the target's distribution, the draft's or both.
    No draft at all: what comes next is drawn from the first row. A long draft that is kept to its
    end: who walks from place to place walks far. One by hand: what the target never writes is
    refused for u = 0 too, and the next symbol counts for nothing, though it would be accepted.
    """
    for B, gamma, V in [(1, 1, 2), (3, 4, 5), (50, 3, 3), (2, 7, 256)]:
        p, q = _distributions(rng, B, gamma + 1, V), _distributions(rng, B, gamma, V)
        yield p, q, rng.integers(V, size=(B, gamma)), rng.random((B, gamma))
    p = _distributions(rng, 2, 4, 5)
    yield p, p[:, :3], rng.integers(5, size=(2, 3)), rng.random((2, 3))
    ids = rng.integers(3, size=(20, 4))
    yield np.eye(3)[rng.integers(3, size=(20, 5))], np.eye(3)[ids], ids, rng.random((20, 4))
    p = _distributions(rng, 2, 101, 2)
    yield p[:, :1], p[:, :0], ids[:2, :0], p[:, :0, 0]
    yield p, p[:, :100], p[:, :100].argmax(2), rng.random((2, 100))
    p, q = np.array([[[0, 1], [0.75, 0.25], [0.4, 0.6]]]), np.full((1, 2, 2), 0.5)
    yield p, q, np.array([[0, 1]]), np.array([[0.0, 0.25]])


def verify_tree(rng):
    """A root alone; a chain; a fan; bushy trees, depth first and breadth first; as in `verify`.

    The greedy one has some siblings twice. One by hand: what the target never writes is refused for
    u = 0 too; its child is not asked; its sibling is, by what is left, and not by p.
    """
    for parents in [
        [-1],
        [-1, 0, 1, 2],
        [-1, 0, 0, 0],
        [-1, 0, 0, 1, 1, 2],
        [-1, 0, 1, 2, 1, 0, 5, 5],
    ]:
        N = len(parents)
        for B, V in [(1, 2), (40, 3)]:
            p, q = _distributions(rng, B, N, V), _distributions(rng, B, N, V)
            yield p, q, rng.integers(V, size=(B, N)), parents, rng.random((B, N))
    p, parents = _distributions(rng, 3, 6, 4), [-1, 0, 0, 1, 1, 2]
    yield p, p[:, [0, *parents[1:]]], rng.integers(4, size=(3, 6)), parents, rng.random((3, 6))
    p, ids = np.eye(3)[rng.integers(3, size=(30, 6))], rng.integers(3, size=(30, 6))
    yield p, np.eye(3)[ids], ids, parents, rng.random((30, 6))
    p, q = (
        np.array([[[0, 0.4, 0.6], *[[0.5, 0.3, 0.2]] * 3]]),
        np.array([[0.5, 0.3, 0.2]] * 4)[None],
    )
    yield p, q, np.array([[0, 0, 1, 1]]), [-1, 0, 1, 0], np.array([[0.5, 0, 0.5, 0.9]])


def acceptance_rate(rng):
    """One row; several, so that a sum is no mean."""
    for n, V in [(1, 2), (7, 5)]:
        yield _distributions(rng, n, V, zeros=0), _distributions(rng, n, V, zeros=0)


def expected_symbols(rng):
    """Nothing and everything accepted; a long draft; no draft."""
    yield np.array([0.0, 0.3, 1.0]), 1
    yield rng.random(4), 5
    yield np.array([0.5]), 0


def speedup(rng):
    """Nothing and everything accepted; a draft that costs nothing; one dearer than the target."""
    yield np.array([0.0, 0.3, 1.0]), 1, 0.1
    yield rng.random(4), 5, 0.0
    yield rng.random(1), 2, 3.0


def best_gamma(rng):
    """Any rates; 0 and 1, where the smallest and the limit are best; a draft that costs nothing.

    Of equal speeds (0.5 at a cost of 0.5) the smallest is best; one symbol is best; limits of 0, 1.
    """
    yield rng.random(9), 0.05, 20
    yield np.array([0.0, 0.5, 1.0]), 0.5, 7
    yield np.array([0.9]), 0.0, 3
    yield np.array([0.3, 0.5, 0.8]), 0.4, 9
    yield np.array([0.2, 1.0]), 0.3, 0
    yield np.array([0.2, 1.0]), 0.3, 1
