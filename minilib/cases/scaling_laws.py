"""What scaling laws are tried on."""

import numpy as np

from minilib.naive import scaling_laws as naive


def parameters(rng):
    """All sizes different; no two terms equal."""
    yield 1, 1, 1
    yield 5, 2, 3
    yield 78, 24, 2


def flops(rng):
    """A context longer than the model is wide, one shorter, a single symbol."""
    yield 1, 1, 1, 1
    yield 5, 2, 3, 7
    yield 78, 24, 2, 5
    yield 11, 6, 1, 4


def flops_6nd(rng):
    """Whole numbers; arrays."""
    yield 70_001, 1_400_003
    yield np.array([2.0, 3.5]), np.array([7.0, 1.25])


def affordable(rng):
    """The budget of exactly one window, of one FLOP less than three, of many."""
    price = naive.flops(5, 2, 3, 7)
    yield price, 5, 2, 3, 7
    yield 3 * price - 1, 5, 2, 3, 7
    yield 3 * price, 5, 2, 3, 7
    yield 1e9, 78, 24, 2, 5


def loss_hat(rng):
    """A toy with exponents 1 and 2; the published law; a run with one parameter and symbol."""
    yield np.array([2.0, 4.0]), np.array([3.0, 1.0]), np.array([0.5, 6.0, 9.0, 1.0, 2.0])
    theta = np.array([1.69, 406.4, 410.7, 0.34, 0.28])
    yield np.array([1.0, 3e8, 7e10]), np.array([1.0, 2e10, 1.4e12]), theta


def kaplan_loss(rng):
    """A toy with exponents whose ratio is 2; the published law."""
    yield np.array([2.0, 4.0]), np.array([3.0, 1.0]), np.array([6.0, 9.0, 2.0, 1.0])
    theta = np.array([6.4e13, 1.8e13, 0.076, 0.103])
    yield np.array([3e8, 7e10]), np.array([2e10, 1.4e12]), theta


def optimal(rng):
    """Unequal exponents, each the larger once; several budgets; the published law."""
    yield np.array([6.0]), np.array([0.5, 6.0, 9.0, 1.0, 2.0])
    yield np.array([48.0, 1e5]), np.array([1.5, 9.0, 4.0, 1.5, 0.5])
    yield np.array([1e19, 5.76e23]), np.array([1.69, 406.4, 410.7, 0.34, 0.28])


def parabola_vertex(rng):
    """Three points, on a parabola; four that are not; sizes far from zero, in no order, twice."""
    yield np.array([0.0, 1.0, 3.0]), np.array([3.0, 1.0, 3.5])
    yield np.array([-1.0, 0.0, 2.0, 5.0]), np.array([2.0, 0.5, 0.75, 9.0])
    x = np.array([26.0, 21.0, 24.0, 21.0, 22.5])
    yield x, 2.0 + 0.3 * (x - 23.2) ** 2 + 0.1 * rng.normal(size=5)


def huber(rng):
    """Inside, beyond, on both sides; two widths; none at all."""
    yield np.array([-3.0, -0.5, 0.25, 0.0, 2.0]), 1.0
    yield np.array([-0.5, 0.125, 1.0]), 0.25
    yield np.array([]), 1.0


def fit_parametric(rng):
    """A law met exactly; noise inside and beyond delta, and an outlier; starts far away, which
    need damping; a start that ends in a worse place, first and last; other deltas."""
    N = np.repeat([1e3, 4e3, 2e4, 1e5], 3)
    D = np.tile([3e4, 4e5, 6e6], 4)
    theta = np.array([1.5, 40.0, 300.0, 0.5, 0.4])
    near = np.array([0.3, 3.5, 5.5, 0.45, 0.42])
    exact = naive.loss_hat(N, D, theta)
    yield N, D, exact, near[None]
    noise = np.array([1, -1, 2, -2, 1, 0.5, -0.5, 5, -1, 2, -6, 1])
    noisy = exact * np.exp(6e-4 * noise)
    noisy[4] *= 1.05
    yield N, D, noisy, near[None]
    yield N, D, noisy, np.array([[-1.0, 0, 0, 0, 0]])
    yield N, D, noisy, np.array([[0.3, 20, 20, 2, 2]])
    worse = np.array([0.8, -10, 5, -0.5, 0.4])
    yield N, D, noisy, np.stack([worse, near])
    yield N, D, noisy, np.stack([near, worse]), 2e-3
    yield N, D, noisy, near[None], 1.0
