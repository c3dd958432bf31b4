"""The rule of speculative sampling: by hand, the paper's figures, refusals."""

import numpy as np
import pytest
import torch

from minilib.acceptance import (
    acceptance_rate,
    expected_symbols,
    residual,
    speedup,
    verify,
    verify_tree,
)
from minilib.naive import acceptance as naive


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
