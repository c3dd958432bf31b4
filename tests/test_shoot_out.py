"""Frontiers and intervals: by hand, against simulation, and bad input."""

import numpy as np
import pytest
import torch

import minilib
from minilib.naive import shoot_out as naive
from minilib.shoot_out import STUDENT, frontier, over_plays


def wrong_frontiers():
    def strict(cost, score):  # equal entries beat each other
        better = lambda i, j: cost[j] <= cost[i] and score[j] <= score[i] and i != j
        n = range(len(cost))
        return np.array([not any(better(i, j) for j in n) for i in n])

    def both(cost, score):  # only who is worse in both is beaten
        n = range(len(cost))
        worse = lambda i, j: cost[j] < cost[i] and score[j] < score[i]
        return np.array([not any(worse(i, j) for j in n) for i in n])

    def upper(cost, score):  # more is better
        return naive.frontier(-cost, -score)

    def swapped(cost, score):  # in the order of the costs
        return naive.frontier(np.sort(cost), score[np.argsort(cost)])

    return [strict, both, upper, swapped]


def wrong_intervals():
    def mean_of_ratios(bits, sizes):
        r = bits / sizes
        half = STUDENT[len(r) - 2] * r.std(ddof=1) / np.sqrt(len(r))
        return r.mean(), r.mean() - half, r.mean() + half

    def with_t(t):
        def wrong(bits, sizes):
            r, low, _ = naive.over_plays(bits, sizes)
            half = (r - low) * t(len(bits)) / STUDENT[len(bits) - 2]
            return r, r - half, r + half

        return wrong

    def without_correction(bits, sizes):
        r, low, _ = naive.over_plays(bits, sizes)
        half = (r - low) * np.sqrt((len(bits) - 1) / len(bits))
        return r, r - half, r + half

    normal, one_more = with_t(lambda n: 1.96), with_t(lambda n: STUDENT[min(n - 1, 9)])
    return [mean_of_ratios, normal, one_more, without_correction]


WRONG = {naive.frontier: wrong_frontiers(), naive.over_plays: wrong_intervals()}


@pytest.mark.parametrize("definition", WRONG, ids=lambda f: f.__name__)
def test_typical_wrong_answers_are_refused(definition):
    for wrong in WRONG[definition]:
        assert not minilib.check(wrong, like=definition), wrong


def test_a_frontier_by_hand():
    # b is beaten by a (same score, cheaper); d by c (same cost, better score)
    cost, score = torch.tensor([1.0, 2, 3, 3, 4]), torch.tensor([5.0, 5, 2, 3, 1])
    assert frontier(cost, score).tolist() == [True, False, True, False, True]
    assert frontier(torch.ones(3), torch.ones(3)).all()


def test_who_is_on_the_frontier_is_best_for_some_budget():
    draw = torch.Generator().manual_seed(0)
    cost, score = torch.rand(2, 40, generator=draw).mul(12).floor()
    on = frontier(cost, score)
    for k in range(40):
        affordable = cost <= cost[k]
        best = score[affordable].min()
        cheapest = cost[affordable & (score == best)].min()
        assert on[k] == bool(score[k] == best and cost[k] == cheapest)


def test_an_interval_by_hand():
    # r = 30 / 14; residuals 20 - 10 r = -10 / 7 and 10 - 4 r = 10 / 7
    bits, sizes = torch.tensor([20.0, 10.0]).double(), torch.tensor([10.0, 4.0]).double()
    mean, low, high = over_plays(bits, sizes)
    half = 12.71 * (2 * 2 * (10 / 7) ** 2) ** 0.5 / 14
    assert mean == pytest.approx(30 / 14) and high - mean == pytest.approx(half)
    assert mean - low == pytest.approx(half)


def test_equal_texts_give_the_usual_interval_of_a_mean():
    bits, n = torch.tensor([2.0, 2.5, 1.5, 3.0, 2.0, 2.2]).double(), 6
    mean, low, _ = over_plays(bits, torch.ones(n).double())
    assert mean == pytest.approx(bits.mean().item())
    assert mean - low == pytest.approx(2.571 * bits.std().item() / n**0.5)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """4,000 draws of six texts: 95 % within three and a half standard errors."""
    rng = np.random.default_rng(0)
    inside = 0
    sizes = torch.tensor(rng.uniform(0.8, 1.2, (4000, 6)))
    rates = torch.tensor(rng.normal(2.2, 0.1, (4000, 6)))
    for size, rate in zip(sizes, rates, strict=True):
        _, low, high = over_plays(10 * size * rate, 10 * size)
        inside += bool(low <= 2.2 <= high)
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)


def test_student_points_are_those_of_the_distribution():
    """Each point leaves 2.5 % above it: the density, summed."""
    for k, point in enumerate(STUDENT):
        x = np.linspace(0, point, 200_001)
        freedom = k + 1
        density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        far = np.linspace(0, np.pi / 2 - 1e-9, 400_001)  # x = tan: the whole half
        whole = (1 + np.tan(far) ** 2 / freedom) ** (-(freedom + 1) / 2) / np.cos(far) ** 2
        area = lambda y, x: float(torch.trapezoid(torch.tensor(y), torch.tensor(x)))
        share = area(density, x) / area(whole, far)
        assert (1 - share) / 2 == pytest.approx(0.025, abs=2e-5)


ONE, TWO = torch.ones(1), torch.ones(2)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: frontier(ONE, TWO), r"must have one shape \(n,\), got \(1,\), \(2,\)"),
        (lambda: frontier(TWO / 0 * 0, TWO), "cost and score must not be nan"),
        (lambda: over_plays(ONE, ONE), "bits must be of 2 to 11 texts, got 1"),
        (lambda: over_plays(TWO, ONE), r"one shape, got \(2,\), \(1,\)"),
        (
            lambda: over_plays(torch.ones(12), torch.ones(12)),
            "bits must be of 2 to 11 texts, got 12",
        ),
        (lambda: over_plays(TWO, TWO * 0), "sizes must be 1 or more, got 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
