"""Scaling laws: torch's count of FLOPs, grids against closed forms, known constants, refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minilib.lab.train import language_loss
from minilib.naive import scaling_laws as naive
from minilib.scaling_laws import (
    affordable,
    fit_parametric,
    flops,
    flops_6nd,
    huber,
    kaplan_loss,
    loss_hat,
    optimal,
    parabola_vertex,
    parameters,
)
from minilib.transformer import Transformer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.parameters: edited(
        naive.parameters,
        table_of_inputs_too=("total + vocab_size * width", "total + 2 * vocab_size * width"),
        no_output_layer=("total + vocab_size * width", "total"),
    ),
    naive.flops: edited(
        naive.flops,
        multiply_adds=("2 * rows * inner", "rows * inner"),
        forward_only=("forward + backward", "forward"),
        backward_as_forward=("backward = 2 * forward", "backward = forward"),
        no_attention=("        products.append((context, width, context))", "        pass"),
        half_the_scores=("(context, context, width)", "(context, context // 2, width)"),
    ),
    naive.flops_6nd: edited(naive.flops_6nd, forward_only=("6 * N * D", "2 * N * D")),
    naive.affordable: edited(
        naive.affordable,
        rounded=("int(C // price)", "round(C / price)"),
        one_more=("int(C // price)", "int(C // price) + 1"),
    ),
    naive.loss_hat: edited(
        naive.loss_hat,
        exponents_swapped=("A / n**alpha + B / d**beta", "A / n**beta + B / d**alpha"),
        no_floor=("[E + A", "[A"),
    ),
    naive.kaplan_loss: edited(
        naive.kaplan_loss,
        sum_of_two_laws=("(alpha_N / alpha_D)", "alpha_N"),
        upside_down=("D_c / d", "d / D_c"),
    ),
    naive.optimal: edited(
        naive.optimal,
        exponents_swapped=("G * (c / 6) ** (beta", "G * (c / 6) ** (alpha"),
        no_six=("sizes.append(G * (c / 6)", "sizes.append(G * c"),
        G_upside_down=("(alpha * A / (beta * B))", "(beta * B / (alpha * A))"),
    ),
    naive.parabola_vertex: edited(
        naive.parabola_vertex,
        not_moved_back=("middle - c1", "-c1"),
        slope_not_halved=("(2 * c2)", "c2"),
        mean_loss=("c0 - c1**2 / (4 * c2)", "c0"),
    ),
    naive.huber: edited(
        naive.huber,
        all_squares=("abs(x) <= delta", "True"),
        absolute=("delta * (abs(x) - delta / 2)", "abs(x) - delta / 2"),
        a_jump=("(abs(x) - delta / 2)", "abs(x)"),
        no_half=("x**2 / 2", "x**2"),
    ),
    naive.fit_parametric: edited(
        naive.fit_parametric,
        last_start=("value < least", "True"),
        logs_returned=("[*np.exp(best[:3]), *best[3:]]", "best"),
        delta_ignored=("at - step, delta)", "at - step, 1.0)"),
    ),
}

# -- right -----------------------------------------------------------------------------------------

ROUNDED = (1.69, 406.4, 410.7, 0.34, 0.28)
UNROUNDED = (
    math.exp(0.5267228),
    math.exp(6.0073404),
    math.exp(6.0179186),
    0.33917084,
    0.2849083,
)
REFIT = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)


def numbers(*x):
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize("sizes", [(7, 4, 1, 1, 5), (78, 24, 2, 3, 32), (5, 16, 3, 2, 9)])
def test_torch_counts_the_same_flops(sizes):
    V, width, layers, heads, T = sizes
    model = Transformer(V, width, layers, heads, T)
    ids = torch.randint(V, (3, T + 1))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        language_loss(model, ids).backward()
    assert counter.get_total_flops() == 3 * flops(V, width, layers, T)
    assert counter.get_total_flops() == 3 * naive.flops(V, width, layers, T)


def test_N_is_the_weights_of_the_products():
    model = Transformer(78, 24, layers=2, heads=3)
    matrices = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    del matrices["embed"]
    assert sum(p.numel() for p in matrices.values()) == parameters(78, 24, 2) == 15_696


def test_flops_by_hand():
    # one layer, width 2, 3 symbols of context, 5 in the vocabulary: N = 48 + 10, forward and back
    assert naive.parameters(5, 2, 1) == 58
    assert naive.flops(5, 2, 1, 3) == 6 * 58 * 3 + 12 * 3 * 2 * 3 == flops_6nd(58, 3) + 216


def test_a_budget_pays_for_whole_windows():
    price = flops(5, 2, 1, 3)
    assert affordable(2.99 * price, 5, 2, 1, 3) == 2 and affordable(price, 5, 2, 1, 3) == 1


def test_laws_by_hand():
    N, D = numbers(4), numbers(9)
    assert loss_hat(N, D, numbers(1, 6, 9, 0.5, 0.5)).item() == 1 + 3 + 3
    # ((16 / 4)^2 + 18 / 9)^(1/2): the exponents' ratio is 2
    assert kaplan_loss(N, D, numbers(16, 18, 1, 0.5)).item() == pytest.approx(math.sqrt(18))


def test_huber_by_hand_and_as_a_function():
    assert naive.huber([0, 0.5, 1, -3], 1).tolist() == [0, 0.125, 0.5, 2.5]
    r = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(huber(r, 0.7).sum(), r)
    assert torch.allclose(slope, r.clamp(-0.7, 0.7))


@pytest.mark.parametrize("theta", [ROUNDED, UNROUNDED, REFIT])
def test_no_other_size_is_better(theta):
    C = numbers(1e18, 5.76e23)
    N, D = optimal(C, numbers(*theta))
    assert torch.allclose(6 * N * D, C)
    for c, n, d in zip(C, N, D, strict=True):
        sizes = n * torch.logspace(-2, 2, 4001, dtype=torch.float64)
        losses = loss_hat(sizes, c / (6 * sizes), numbers(*theta))
        assert losses.min() >= loss_hat(n, d, numbers(*theta)) - 1e-12
        assert sizes[losses.argmin()].item() == pytest.approx(n.item(), rel=3e-3)


def test_rounded_exponents_move_the_best_ratio_by_more_than_30_per_cent():
    ratio = {}
    for name, theta in (("rounded", ROUNDED), ("unrounded", UNROUNDED), ("refit", REFIT)):
        N, D = optimal(numbers(5.76e23), numbers(*theta))
        ratio[name] = round((D / N).item(), 1)
    assert ratio == {"rounded": 92.6, "unrounded": 58.9, "refit": 18.4}
    assert ratio["rounded"] > 1.3 * ratio["unrounded"]


def test_vertex_of_a_parabola_and_of_polyfit():
    x = numbers(1, 2, 4, 7)
    place, low = parabola_vertex(x, 3 + 0.5 * (x - 2.5) ** 2)
    assert place.item() == pytest.approx(2.5) and low.item() == pytest.approx(3)
    rng = np.random.default_rng(0)
    x = rng.uniform(6, 12, size=18)
    y = (x - 9) ** 2 / 20 + 2 + 0.01 * rng.normal(size=18)
    c2, c1, c0 = np.polyfit(x, y, 2)
    place, low = naive.parabola_vertex(x, y)
    assert place == pytest.approx(-c1 / (2 * c2)) and low == pytest.approx(c0 - c1**2 / c2 / 4)


# -- the fit ---------------------------------------------------------------------------------------

SIZES = np.geomspace(4e7, 1.6e10, 6).repeat(6)
SYMBOLS = np.tile(np.geomspace(1e9, 5e11, 6), 6)
STARTS = np.array([[e, a, a, x, x] for e in (0, 1) for a in (5, 10) for x in (0.25, 0.5)], float)


@pytest.mark.parametrize("start", [[1, 10, 10, 1, 1], [0, 5, 5, 1, 1]])
def test_a_start_far_away_arrives(start):
    """A sum that is averaged, or not divided by delta², ends elsewhere from here."""
    exact = naive.loss_hat(SIZES, SYMBOLS, REFIT)
    starts = np.array([start], float)
    found = fit_parametric(*map(torch.from_numpy, (SIZES, SYMBOLS, exact, starts)))
    assert torch.allclose(found, numbers(*REFIT), rtol=1e-6)


@pytest.mark.parametrize("theta", [ROUNDED, REFIT])
def test_known_constants_come_back(theta):
    exact = naive.loss_hat(SIZES, SYMBOLS, theta)
    found = fit_parametric(*map(torch.from_numpy, (SIZES, SYMBOLS, exact, STARTS)))
    assert torch.allclose(found, numbers(*theta), rtol=1e-6)
    assert np.allclose(naive.fit_parametric(SIZES, SYMBOLS, exact, STARTS[:2]), theta, rtol=1e-6)


def noisy(seed=0):
    rng = np.random.default_rng(seed)
    exact = naive.loss_hat(SIZES, SYMBOLS, REFIT)
    return exact * np.exp(5e-4 * rng.normal(size=len(exact)))


def test_one_outlier_hardly_moves_the_fit():
    loss = noisy()
    clean = fit_parametric(*map(torch.from_numpy, (SIZES, SYMBOLS, loss, STARTS)))
    loss[7] *= 1.1
    robust, squares = (
        fit_parametric(*map(torch.from_numpy, (SIZES, SYMBOLS, loss, STARTS)), delta=delta)
        for delta in (1e-3, 10.0)
    )
    assert abs(robust[4] - clean[4]) < 0.002 and abs(squares[4] - clean[4]) > 0.015


def test_the_scale_of_the_sum_does_not_end_the_fit():
    """Averaged residuals of a thousandth squared are 1e-7: torch's default tolerance stops there"""
    N, D, loss, starts = map(torch.from_numpy, (SIZES, SYMBOLS, noisy(), STARTS))
    ours = fit_parametric(N, D, loss, starts)

    def mean(at):
        law = at[:3].exp()
        r = loss_hat(N, D, torch.cat([law, at[3:]])).log() - loss.log()
        return huber(r, 1e-3).mean()

    ends = []
    for start in starts:
        at = start.clone().requires_grad_()
        averaged = torch.optim.LBFGS([at], max_iter=500, line_search_fn="strong_wolfe")

        def closure(at=at, averaged=averaged):
            averaged.zero_grad()
            value = mean(at)
            value.backward()
            return value

        averaged.step(closure)
        ends.append((mean(at).item(), at[4].item()))
    stopped, beta = min(ends)
    reached = mean(torch.cat([ours[:3].log(), ours[3:]])).item()
    assert stopped > 1.2 * reached and abs(beta - ours[4].item()) > 0.01


# -- refused ---------------------------------------------------------------------------------------

FIVE = torch.ones(5, dtype=torch.float64)
NAN = torch.tensor([1.0, math.nan, 2.0, 3.0, 4.0], dtype=torch.float64)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: affordable(-1, 5, 2, 1, 3), "C must be above 0, got -1"),
        (lambda: affordable(math.nan, 5, 2, 1, 3), "C must be above 0, got nan"),
        (lambda: affordable(100, 5, 2, 1, 3), "C must pay for one window, 1260 FLOPs, got 100"),
        (lambda: naive.affordable(100, 5, 2, 1, 3), "C must pay for one window, 1260 FLOPs"),
        (lambda: naive.affordable(-1, 5, 2, 1, 3), "C must be above 0, got -1"),
        (lambda: flops(5, 0, 1, 3), "width must be 1 or more, got 0"),
        (lambda: optimal(numbers(1, -2), numbers(*ROUNDED)), "C must be above 0, got -2"),
        (lambda: naive.optimal([-2], ROUNDED), "C must be above 0, got -2"),
        (lambda: parabola_vertex(NAN, NAN), "loss must be finite, got NaN"),
        (lambda: parabola_vertex(FIVE, FIVE), "three different sizes or more, got 1"),
        (lambda: parabola_vertex(numbers(1, 2, 3), numbers(1, 2, 1)), "must bend upwards"),
        (lambda: naive.parabola_vertex([1, 2, 3], [1, 2, 1]), "must bend upwards"),
        (lambda: fit_parametric(FIVE, FIVE, NAN, numbers([0.0] * 5)), "loss must be finite"),
        (lambda: fit_parametric(FIVE, -FIVE, FIVE, numbers([0.0] * 5)), "D must be finite and abo"),
        (lambda: fit_parametric(FIVE[:4], FIVE, FIVE, numbers([0.0] * 5)), "N must have five"),
        (lambda: fit_parametric(FIVE, FIVE, FIVE, FIVE), "starts must be .starts, 5., got .5,."),
        (lambda: naive.fit_parametric(FIVE, FIVE, FIVE, []), "starts must be .starts, 5., got .0,"),
        (lambda: naive.fit_parametric(FIVE, FIVE, NAN, []), "loss must be finite and above 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
