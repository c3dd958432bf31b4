"""What the definitions of vq and their twins are tried on. No vector lies between two codes."""

import numpy as np


def _apart(rng, N, K, D, gap=0.05):
    """Vectors and codes: no vector is almost as near to a second code as to its nearest."""
    codes = rng.normal(size=(K, D))
    found = []
    while len(found) < N:
        z = rng.normal(size=D)
        distances = np.sort(((z - codes) ** 2).sum(1))
        if K == 1 or distances[1] - distances[0] > gap:
            found.append(z)
    return np.array(found).reshape(N, D), codes


def nearest(rng):
    """One of each; sizes all different; one number a vector; ties, exact in binary: the first; long
    codes, which a product without their length would choose; far from 0, where squares cancel."""
    for N, K, D in [(1, 1, 1), (7, 5, 3), (11, 4, 1), (3, 9, 6)]:
        yield _apart(rng, N, K, D)
    grid = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    yield np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]), grid
    yield np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([[9.0, 9.0], [1.0, 0.5], [-7.0, -8.0]])
    z, codes = _apart(rng, 6, 5, 2)
    yield z + 100.0, codes + 100.0


def quantize(rng):
    """One of each; sizes all different; a code that none chooses; another beta, and none."""
    yield _apart(rng, 1, 1, 1)
    yield _apart(rng, 6, 4, 3)
    yield *_apart(rng, 5, 3, 2), 0.5
    yield *_apart(rng, 2, 6, 4), 0.0


def quantize_gradients(rng):
    """As above, with gradients to be handed on; several vectors of one code."""
    for (N, K, D), more in [
        ((1, 1, 1), ()),
        ((9, 3, 4), ()),
        ((5, 4, 2), (1.5,)),
        ((2, 5, 3), (0,)),
    ]:
        yield rng.normal(size=(N, D)), *_apart(rng, N, K, D), *more


def ema_update(rng):
    """One of each; a code with several vectors, one with one, one with none; another gamma."""
    yield np.ones(1), np.array([[2.0]]), np.array([[3.0]]), np.array([0])
    indices = np.array([2, 0, 2, 2, 0, 4])
    yield 0.5 + rng.random(5), rng.normal(size=(5, 3)), rng.normal(size=(6, 3)), indices
    yield 0.5 + rng.random(5), rng.normal(size=(5, 2)), rng.normal(size=(6, 2)), indices, 0.5


def kmeans(rng):
    """One of each; one step, several; three clusters; a code that is nearest to nothing; vectors
    whose nearest code changes after a step."""
    yield np.array([[3.0]]), np.array([[1.0]]), 1
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]])
    x = np.concatenate(
        [c + rng.uniform(-1, 1, size=(n, 2)) for c, n in zip(centres, (3, 5, 4), strict=True)]
    )
    yield x, centres + 1.5, 1
    yield x, centres + 1.5, 3
    yield x, np.concatenate([[[-90.0, -90.0]], centres]), 2
    line = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [15.0]])
    yield line, np.array([[0.0], [1.4]]), 1
    yield line, np.array([[0.0], [1.4]]), 2
    yield line, np.array([[0.0], [1.4]]), 4


def reservoir(rng):
    """Empty before, and filled; filled exactly; first places, last ones, none; a place twice; a
    later start; a single place; nothing new."""
    D = 2
    empty = np.zeros((0, D))
    yield empty, 0, rng.normal(size=(3, D)), rng.random(3), 5
    yield empty, 0, rng.normal(size=(4, D)), rng.random(4), 4
    yield empty, 0, rng.normal(size=(12, D)), rng.random(12), 4
    yield rng.normal(size=(3, D)), 3, rng.normal(size=(9, D)), rng.random(9), 5
    u = np.array([0.01, 0.999, 0.02, 0.65, 0.49, 0.3])
    yield rng.normal(size=(3, D)), 3, rng.normal(size=(6, D)), u, 3
    yield rng.normal(size=(3, D)), 40, rng.normal(size=(6, D)), u, 3
    yield rng.normal(size=(1, D)), 1, rng.normal(size=(2, D)), np.array([0.4999, 0.5]), 1
    yield rng.normal(size=(2, D)), 9, rng.normal(size=(0, D)), np.zeros(0), 2
    # i = 3 and r = 2 of 0 ... 3, of 4 places three are kept: one more or less goes elsewhere
    yield rng.normal(size=(3, D)), 3, rng.normal(size=(1, D)), np.array([0.74]), 3
    yield rng.normal(size=(3, D)), 3, rng.normal(size=(1, D)), np.array([0.76]), 3


def usage(rng):
    """One code; all equally often; half of them; unequal; a grid of symbols."""
    yield np.zeros(3, np.int64), 1
    yield np.arange(4), 4
    yield np.array([5, 1, 5, 1]), 6
    yield rng.integers(3, 9, size=20), 12
    yield rng.integers(5, size=(2, 3, 3)), 5


def vqvae(rng):
    """One symbol; sides that differ; without normalisation; another beta. The codes reach as far
    as the vectors, once they are moved off their start."""
    for channels, dim, size, normalise, beta, B, H, W in [
        (1, 1, 1, True, 0.25, 1, 4, 4),
        (2, 3, 5, True, 0.25, 2, 8, 12),
        (3, 2, 4, False, 0.5, 1, 12, 8),
    ]:
        net = {"channels": channels, "dim": dim, "size": size, "normalise": normalise}
        yield net | {"beta": beta}, rng.normal(size=(B, 1, H, W))
