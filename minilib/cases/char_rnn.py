"""What the definitions of char_rnn and their twins are tried on."""

import numpy as np


def char_rnn(rng):
    """One symbol, unit, row and step; one of some of them; sizes all different."""
    for V, H, B, T in [(1, 1, 1, 1), (2, 1, 1, 3), (5, 3, 2, 1), (7, 4, 3, 6)]:
        yield {"vocab_size": V, "width": H}, rng.integers(V, size=(B, T))


def _random_net(rng, V, H):
    """Weights that keep tanh off its ends, where float32 cannot tell 1 - h² from 0."""
    shapes = {"Wxh": (H, V), "Whh": (H, H), "Why": (V, H), "bh": (H,), "by": (V,)}
    return {name: rng.uniform(-0.5, 0.5, size=shape) for name, shape in shapes.items()}


def rnn_loss(rng):
    """One step; a toy; one symbol; logits near a thousand.

    Each truncated, and with a gradient from later steps. Last, targets 1,000 nats and more away:
    their probability is 0 in floats, and the logarithm of 0 inf.
    """
    for V, H, T, scale in [(2, 1, 1, 1), (5, 3, 7, 1), (1, 2, 3, 1), (3, 4, 5, 1000)]:
        for dh_next in (0.0, rng.normal(size=H)):
            P = _random_net(rng, V, H)
            P["Why"] *= scale
            yield rng.integers(V, size=T), rng.integers(V, size=T), rng.normal(size=H), P, dh_next
    P = _random_net(rng, 3, 4) | {"by": np.array([1000.0, 0.0, -1000.0])}
    yield np.array([0, 1, 2]), np.array([1, 2, 0]), rng.normal(size=4), P, 0.0


def sample(rng):
    """One symbol; several; cold, hot and greedy; nothing to write."""
    for V, H, n, temperature in [
        (1, 1, 1, 1.0),
        (6, 3, 9, 1.0),
        (6, 3, 9, 0.3),
        (6, 3, 9, 5.0),
        (6, 3, 9, 0),
        (6, 3, 0, 1.0),
    ]:
        h, seed, u = rng.normal(size=H), int(rng.integers(V)), rng.uniform(size=n)
        yield h, seed, u, _random_net(rng, V, H), temperature


def adagrad(rng):
    """A name in grads that P lacks; a rate of 0, which still moves the cache.

    Last, a gradient so small that the 1e-8 counts, and that it stands under the root.
    """
    for lr in (0.1, 0.0):
        shapes = {"W": (3, 2), "b": (1,)}
        P = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        grads = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        cache = {name: rng.uniform(0.1, 1, size=shape) for name, shape in shapes.items()}
        yield P, grads | {"h": np.ones(2)}, cache, lr
    small = 0.1 * rng.choice([-1.0, 1.0], size=4)
    yield {"W": rng.normal(size=4)}, {"W": small}, {"W": np.full(4, 0.01)}, 1.0


def sign_accuracy(rng):
    """A unit that is always right; a state of 0, which is not positive; many that say nothing."""
    yield np.array([[0.5], [-0.5]]), np.array([True, False])
    yield np.array([[0.5, 0.0], [-0.5, 1.0], [0.2, 0.3]]), np.array([False, True, True])
    yield rng.normal(size=(50, 7)), np.arange(50) % 9 == 0
