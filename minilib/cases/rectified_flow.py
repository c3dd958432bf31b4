"""What the definitions of rectified_flow and their twins are tried on."""

import numpy as np


class Swirl:
    """A velocity that depends on place and time: a x + b t x² - c."""

    def __init__(self, a, b, c):
        self.a, self.b, self.c = a, b, c

    def __call__(self, x, t):
        return self.a * x + self.b * t * x * x - self.c

    def __repr__(self):
        return f"the function {self.a} x + {self.b} t x² - {self.c}"


def rf_pair(rng):
    """One number; rows of pictures, each with its own time, noise and data alone among them."""
    yield np.array([2.0]), np.array([-1.0]), np.array([0.25])
    yield rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2)), np.array([0.0, 1.0, 0.3, 0.9])


def shift_t(rng):
    """No shift; towards the noise and towards the data; the ends; a Python number."""
    t = np.array([0.0, 0.1, 0.5, 0.8, 1.0])
    for s in (1.0, 4.0, 0.5):
        yield t, s
    yield 0.25, 3.0


def euler(rng):
    """One step; several, with and without shift; a velocity that changes with x and with t."""
    yield Swirl(1.0, 0.0, 0.5), np.array([2.0]), 1
    yield Swirl(0.7, 0.2, 0.1), rng.normal(size=(2, 3)), 3
    yield Swirl(0.3, -0.4, 0.2), rng.normal(size=(2, 1, 2)), 4, 3.0


def gaussian_velocity(rng):
    """Noise, data, between; a single datum, s = 0; wide data far from 0."""
    x = np.array([-2.0, 0.5, 3.0])
    for t, mu, s in [(1.0, 1.5, 0.4), (0.0, 1.5, 0.4), (0.3, 1.5, 0.4), (0.5, 1.0, 0.0)]:
        yield x, t, mu, s
    yield rng.normal(size=(2, 3)), 0.7, -4.0, 3.0


def guide(rng):
    """No guidance; guidance; without caption; renormalised where the guided row is longer, shorter
    and longer than the least factor may mend; rows of several axes."""
    a, b = rng.normal(size=(2, 3, 2, 2))
    for scale in (1.0, 4.0, 0.0):
        yield a, b, scale
    c = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]])
    u = np.array([[1.0, 4.0], [9.0, 9.0], [-9.0, 2.0]])
    yield c, u, 2.0, 0.5
    yield c, u, 2.0, 0.0
    yield a, b, 3.0, 0.25


def generalised_causal_mask(rng):
    """One token; the paper's kinds, a noised copy before a clean one; two noised pictures; a
    picture first; text alone."""
    yield [1], ["text"]
    yield [2, 2, 2, 1], ["text", "noised", "clean", "text"]
    yield [3, 1, 2], ["noised", "text", "noised"]
    yield [2, 3, 1], ["clean", "text", "clean"]
    yield [4], ["text"]


def flow_net(rng):
    """One word, one patch; two experts and one, patches of several pixels, several words."""
    for words, side, patch, C, layers, heads, experts, B, W in [
        (1, 1, 1, 4, 1, 1, 1, 1, 1),
        (4, 4, 2, 4, 1, 2, 2, 2, 3),
        (3, 6, 2, 8, 2, 2, 2, 1, 2),
        (3, 2, 1, 4, 2, 1, 1, 2, 2),
    ]:
        size = {"words": words, "side": side, "patch": patch, "width": C, "layers": layers}
        net = size | {"heads": heads, "experts": experts}
        t = np.linspace(0.2, 0.9, B)
        yield net, rng.normal(size=(B, side, side)), t, rng.integers(words, size=(B, W))
