"""What the definitions of acceptance and their twins are tried on."""

import numpy as np


def _distributions(rng, *shape, zeros=0.3):
    p = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]) * (rng.random(shape) >= zeros)
    p[..., 0] += 1e-3
    return p / p.sum(-1, keepdims=True)


def residual(rng):
    """Two symbols; three; a byte's. Where p = q there is no derivative: that is for `verify`."""
    for V in (2, 3, 256):
        yield _distributions(rng, V, zeros=0), _distributions(rng, V, zeros=0)


def verify(rng):
    """One symbol; odd sizes; a draft equal to the target; greedy ones, agreeing and not.

    Some symbols have probability 0 in the target's distribution, the draft's or both.
    """
    for B, gamma, V in [(1, 1, 2), (3, 4, 5), (50, 3, 3), (2, 7, 256)]:
        p, q = _distributions(rng, B, gamma + 1, V), _distributions(rng, B, gamma, V)
        yield p, q, rng.integers(V, size=(B, gamma)), rng.random((B, gamma))
    p = _distributions(rng, 2, 4, 5)
    yield p, p[:, :3], rng.integers(5, size=(2, 3)), rng.random((2, 3))
    ids = rng.integers(3, size=(20, 4))
    yield np.eye(3)[rng.integers(3, size=(20, 5))], np.eye(3)[ids], ids, rng.random((20, 4))


def verify_tree(rng):
    """A root alone; a chain; a fan; bushy trees, depth first and breadth first; as in `verify`.

    The greedy one has some siblings twice.
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


def acceptance_rate(rng):
    """One row; several."""
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
    """Any rates; 0 and 1, where the smallest and the limit are best; a draft that costs nothing."""
    yield rng.random(9), 0.05, 20
    yield np.array([0.0, 0.5, 1.0]), 0.5, 7
    yield np.array([0.9]), 0.0, 3
