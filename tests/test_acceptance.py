"""The rule of speculative sampling: by hand, the paper's figures, refusals."""

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.acceptance import (
    Pace,
    acceptance_rate,
    expected_symbols,
    residual,
    speedup,
    verify,
    verify_tree,
)
from minilib.naive import acceptance as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def all_accepted_count(p, q, ids, u):  # those behind a refusal too
    B, gamma = ids.shape
    at = lambda x: np.take_along_axis(x, ids[..., None], 2)[..., 0]
    kept = (u * at(q) < at(p[:, :gamma])).sum(1)
    return kept, naive.verify(p, q, ids, u)[1]


def expected_without_the_last(alpha, gamma):  # the bonus symbol
    return naive.expected_symbols(alpha, gamma) - 1


def closed_form_without_care(alpha, gamma):  # 0 / 0 where alpha is 1
    return (1 - alpha ** (gamma + 1)) / (1 - alpha)


def closed_form_of_gamma(alpha, gamma):
    one = alpha == 1
    return np.where(one, gamma, (1 - alpha**gamma) / np.where(one, 1, 1 - alpha))


WRONG = {
    naive.residual: edited(
        naive.residual,
        not_normalised=("left / left.sum() if", "left if"),
        absolute_difference=("np.maximum(p - q, 0)", "np.abs(p - q)"),
        negative_kept=("np.maximum(p - q, 0)", "p - q"),
        q_minus_p=("np.maximum(p - q, 0)", "np.maximum(q - p, 0)"),
        smaller_of_both=("np.maximum(p - q, 0)", "np.minimum(p, q)"),
        nothing_left_is_nan=(
            "left / left.sum() if left.sum() > 0 else p.copy()",
            "left / left.sum()",
        ),
        nothing_left_is_zero=("else p.copy()", "else left"),
    ),
    naive.verify: [
        *edited(
            naive.verify,
            corrected_from_p=("rest[b] = residual(p[b, i], q[b, i])", "rest[b] = p[b, i]"),
            corrected_from_the_next_p=(
                "= residual(p[b, i], q[b, i])",
                "= residual(p[b, i + 1], q[b, i])",
            ),
            goes_on_after_a_refusal=(
                "                break\n    return kept",
                "                continue\n    return kept",
            ),
            ratio_upside_down=(
                "u[b, i] * q[b, i, x] < p[b, i, x]:",
                "u[b, i] * p[b, i, x] < q[b, i, x]:",
            ),
            p_alone=("u[b, i] * q[b, i, x] < p[b, i, x]:", "u[b, i] < p[b, i, x]:"),
            the_likelier_wins=("u[b, i] * q[b, i, x] < p[b, i, x]:", "q[b, i, x] <= p[b, i, x]:"),
            greedy=("u[b, i] * q[b, i, x] < p[b, i, x]:", "x == p[b, i].argmax():"),
            target_one_place_ahead=(
                "u[b, i] * q[b, i, x] < p[b, i, x]:",
                "u[b, i] * q[b, i, x] < p[b, i + 1, x]:",
            ),
            bonus_from_the_last_place=("= i + 1, p[b, i + 1]", "= i + 1, p[b, i]"),
            refused_symbol_kept=(
                "            else:\n                rest[b]",
                "            else:\n                kept[b] = i + 1\n                rest[b]",
            ),
            what_is_impossible_for_u_0=(
                "u[b, i] * q[b, i, x] < p[b, i, x]:",
                "u[b, i] * q[b, i, x] <= p[b, i, x]:",
            ),
        ),
        all_accepted_count,
    ],
    naive.verify_tree: edited(
        naive.verify_tree,
        every_sibling_against_p=("q[b, i, x] < wanted[x]", "q[b, i, x] < p[b, node, x]"),
        siblings_without_residual=("wanted = residual(wanted, q[b, i])", "pass"),
        residual_of_p=("residual(wanted, q[b, i])", "residual(p[b, node], q[b, i])"),
        first_child_alone=(
            "in (i for i in range(len(parents)) if parents[i] == node):",
            "in [i for i in range(len(parents)) if parents[i] == node][:1]:",
        ),
        last_child_first=("range(len(parents)) if parents", "range(len(parents))[::-1] if parents"),
        rest_is_p_of_the_end=("rest[b] = node, wanted", "rest[b] = node, p[b, node]"),
        ratio_upside_down=("u[b, i] * q[b, i, x] < wanted[x]", "u[b, i] * wanted[x] < q[b, i, x]"),
    ),
    naive.acceptance_rate: edited(
        naive.acceptance_rate,
        sum_of_rows=("total / len(p)", "total"),
        mean_over_symbols=("np.minimum(p_row, q_row).sum()", "np.minimum(p_row, q_row).mean()"),
        distance_twice=("np.minimum(p_row, q_row).sum()", "1 - np.abs(p_row - q_row).sum()"),
        the_distance=("np.minimum(p_row, q_row).sum()", "np.abs(p_row - q_row).sum() / 2"),
        chance_to_agree=("np.minimum(p_row, q_row).sum()", "p_row @ q_row"),
        share_of_equal_favourites=(
            "np.minimum(p_row, q_row).sum()",
            "p_row.argmax() == q_row.argmax()",
        ),
    ),
    naive.expected_symbols: [
        expected_without_the_last,
        closed_form_without_care,
        closed_form_of_gamma,
        *edited(naive.expected_symbols, one_too_many=("range(gamma + 1)", "range(gamma + 2)")),
    ],
    naive.speedup: edited(
        naive.speedup,
        target_not_counted=("(gamma * c + 1)", "max(gamma * c, 1e-9)"),
        target_for_each_symbol=("(gamma * c + 1)", "(gamma * (c + 1))"),
        draft_for_one_symbol=("(gamma * c + 1)", "(c + 1)"),
        draft_reads_the_last_too=("(gamma * c + 1)", "((gamma + 1) * c + 1)"),
        upside_down=(
            "expected_symbols(alpha, gamma) / (gamma * c + 1)",
            "(gamma * c + 1) / expected_symbols(alpha, gamma)",
        ),
    ),
    naive.best_gamma: edited(
        naive.best_gamma,
        never_plain=("out = np.zeros(len(alpha), dtype", "out = np.ones(len(alpha), dtype"),
        limit_left_out=("range(1, limit + 1)", "range(1, limit)"),
        beyond_the_limit=("range(1, limit + 1)", "range(1, limit + 2)"),
        largest_of_equals=("[0] > speedup", "[0] >= speedup"),
        most_symbols=("speedup(alpha[n : n + 1], gamma, c)[0] >", "gamma >"),
    ),
}


def test_figures_of_the_paper():
    """Leviathan et al., table 1 in part: the speed of alpha with gamma, c near 0."""
    found = [
        naive.speedup(np.array([alpha]), gamma, 0.0)[0]
        for alpha, gamma in [(0.6, 2), (0.7, 3), (0.8, 2), (0.8, 5), (0.9, 2), (0.9, 10)]
    ]
    assert found == pytest.approx([1.96, 2.53, 2.44, 3.69, 2.71, 6.86], abs=0.005)


def test_it_pays_exactly_where_alpha_exceeds_c():
    alpha = np.linspace(0.05, 0.95, 19)
    for c in (0.1, 0.32, 0.61, 2.0):
        assert ((naive.best_gamma(alpha, c, 30) > 0) == (alpha > c)).all()


def paced(alpha, step, costs, rounds, held_up=0.0):
    """The gammas chosen where these are true, and the seconds for each symbol.

    held_up  the share of calls that another program makes five times as long
    """
    pace, rng, p = Pace(), np.random.default_rng(1), torch.tensor([[[1.0, 0.0]]])
    gammas, seconds, symbols = [], 0.0, 0
    for _ in range(rounds):
        gammas.append(gamma := pace.gamma())
        drafting, call = gamma * step, costs[gamma] * (5 if rng.random() < held_up else 1)
        kept = np.append(rng.random(gamma) < alpha, False).argmin()
        pace.compared(p.expand(1, 4, 2), torch.tensor([[alpha, 1 - alpha]]).expand(1, 4, 2))
        pace.took(gamma, drafting, call)
        seconds, symbols = seconds + drafting + call, symbols + kept + 1
    return gammas, seconds / symbols


@pytest.mark.parametrize("alpha", [0.2, 0.55, 0.8, 0.95])
@pytest.mark.parametrize("c", [0.02, 0.1, 0.3, 0.7, 1.5])
def test_the_pace_is_the_best_gamma_where_checking_costs_nothing(alpha, c, monkeypatch):
    monkeypatch.setattr(Pace, "SPARE", 0.0)  # or neighbours, about as good, are tried again
    gammas, _ = paced(alpha, c, [1.0] * 9, rounds=40)
    want = naive.best_gamma(np.array([alpha]), c, 8)[0]
    assert gammas[:2] == [0, 0] and set(gammas[20:]) == {want}


@pytest.mark.parametrize("held_up", [0.0, 0.05])
@pytest.mark.parametrize("alpha,step", [(0.05, 0.1), (0.6, 0.3), (0.8, 0.9), (0.9, 3.0)])
def test_the_pace_loses_little_where_no_draft_pays(alpha, step, held_up):
    _, seconds = paced(alpha, step, [1.0] + [1.5] * 8, 2000, held_up)
    _, plain = paced(alpha, 99.0, [1.0] + [99.0] * 8, 2000, held_up)  # as good as never drafted
    assert seconds < 1.04 * plain


def test_the_pace_passes_over_a_length_that_is_dear_to_check():
    """As of matrix products that come in sizes: 4 places cost twice what 3 do."""
    gammas, _ = paced(0.8, 0.05, [1.0, 1.05, 1.15, 1.9, 2.0, 2.1, 2.5, 2.6, 2.6], 100)
    assert gammas[20:].count(2) > 60


def test_what_was_saved_must_pay_for_what_the_draft_has_to_read():
    pace = Pace()
    p, q = torch.tensor([[[1.0, 0]]] * 2), torch.tensor([[[0.5, 0.5]], [[1.0, 0]]])
    pace.compared(p, q)  # both rows agree half of the time
    for gamma in [0, 0, 1, 1] + [0] * 200:  # half a second saved; a draft loses a tenth
        pace.took(gamma, 0.6 * gamma, 1.0)
    assert (pace.gamma(), pace.gamma(behind=0.2), pace.gamma(behind=0.6)) == (1, 1, 0)


def test_a_draft_that_starts_slowly_has_a_second_try():
    pace = Pace()
    for gamma, drafting, then in [(0, 0, 0), (0, 0, 1), (1, 50.0, 1), (1, 50.0, 0)]:
        pace.took(gamma, drafting, 1.0)
        assert pace.gamma() == then


def test_alpha_is_the_mean_of_few_and_forgets_many():
    pace, one, other = Pace(), torch.eye(2)[None, :1], torch.eye(2)[None, 1:]
    pace.compared(one.expand(1, 4, 2), torch.cat([one, other.expand(1, 3, 2)], 1))
    assert pace.alpha == pytest.approx(1 / 4)
    pace.compared(one.expand(1, 500, 2), other.expand(1, 500, 2))
    pace.compared(one.expand(1, 64, 2), one.expand(1, 64, 2))
    assert 0.6 < pace.alpha < 0.66  # 1 - 1 / e


def test_acceptance_rate_is_one_minus_total_variation():
    p = torch.tensor([[0.5, 0.3, 0.2], [1, 0, 0]]).double()
    q = torch.tensor([[0.2, 0.3, 0.5], [0, 0, 1]]).double()
    assert acceptance_rate(p, q).item() == pytest.approx((0.7 + 0) / 2)


def test_residual_by_hand():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    torch.testing.assert_close(residual(p, q), torch.tensor([0.75, 0.25, 0]).double())
    assert torch.equal(residual(p, p), p)


def test_rows_that_do_not_sum_to_one_are_refused():
    p, q = torch.full((1, 3, 4), 0.25), torch.full((1, 2, 4), 0.25)
    ids, u = torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2)
    assert verify(p, q, ids, u)[0].tolist() == [2]
    for bad in (1.1 * p, p - 0.5, p * torch.nan):
        with pytest.raises(ValueError, match="p must have rows ≥ 0 that sum to 1"):
            verify(bad, q, ids, u)
        with pytest.raises(ValueError, match="q must have rows"):
            verify(p, bad[:, :2], ids, u)
        with pytest.raises(ValueError, match="p must have rows"):
            verify_tree(bad, p, ids.new_zeros(1, 3), [-1, 0, 0], torch.zeros(1, 3))
        with pytest.raises(ValueError, match="q must have rows"):
            acceptance_rate(p[0], bad[0])
    with pytest.raises(ValueError, match=r"p must have shape \(1, 3, 4\), got \(1, 2, 4\)"):
        verify(q, q, ids, u)
    with pytest.raises(ValueError, match="parents must hold"):
        verify_tree(p, p, ids.new_zeros(1, 3), [-1, 2, 0], torch.zeros(1, 3))
    with pytest.raises(ValueError, match="alpha must lie in"):
        expected_symbols(torch.tensor([1.5]), 3)
    with pytest.raises(ValueError, match="c must be 0 or more"):
        speedup(torch.tensor([0.5]), 3, -1)
