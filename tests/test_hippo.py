import math

import numpy as np
import pytest
import torch

from minilib.hippo import discretize, legs_memory, legs_rebuild
from minilib.naive import hippo as naive

double = lambda *values: torch.tensor(values, dtype=torch.float64)


def test_hippo_by_hand():
    A, B = naive.hippo_legs(3)
    want = [[-1, 0, 0], [-math.sqrt(3), -2, 0], [-math.sqrt(5), -math.sqrt(15), -3]]
    np.testing.assert_allclose(A, want)
    np.testing.assert_allclose(B, [1, math.sqrt(3), math.sqrt(5)])


def test_the_memory_of_a_constant_and_of_a_ramp():
    """u = 1 is √1 P_0; u(s) = s on [0, 1] is ½ P_0 + ½ P_1, and x_n √(2n+1) is the weight of P_n.

    Steps of 1/L leave errors of that order.
    """
    L = 4000
    x = legs_memory(torch.stack([torch.ones(L), (torch.arange(L) + 0.5) / L]).double(), 4)
    torch.testing.assert_close(x[0], double(1, 0, 0, 0), atol=5 / L, rtol=0)
    weights = x[1] * double(1, 3, 5, 7).sqrt()
    torch.testing.assert_close(weights, double(0.5, 0.5, 0, 0), atol=5 / L, rtol=0)
    ramp = legs_rebuild(x, 5)[1]
    torch.testing.assert_close(ramp, double(0.1, 0.3, 0.5, 0.7, 0.9), atol=20 / L, rtol=0)


def test_one_decaying_number():
    """Bilinear at Δ = 2: (1 - 1) / (1 + 1) and 2 / (1 + 1). Zero-order hold: e⁻² and 1 - e⁻²."""
    A, B = double(-1.0)[None], double(1.0)
    torch.testing.assert_close(discretize(A, B, 2.0), (double(0.0)[None], double(1.0)))
    want = double(math.exp(-2))[None], double(1 - math.exp(-2))
    torch.testing.assert_close(discretize(A, B, 2.0, "zoh"), want)


def test_an_oscillator_turns():
    """x'' = -x turns by Δ, by the bilinear rule by 2 atan(Δ/2). Neither shrinks nor grows."""
    A, B, dt = double([0, 1], [-1, 0]), double(0, 1), 0.7
    for method, angle in (("zoh", dt), ("bilinear", 2 * math.atan(dt / 2))):
        turn = double([math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)])
        torch.testing.assert_close(discretize(A, B, dt, method)[0], turn)


@pytest.mark.parametrize("N", [2, 64])
def test_hippo_is_diagonal_plus_rank_one(N):
    half, p, b, V = naive.nplr(N)
    Lam, P, V = naive.with_conjugates(half), naive.with_conjugates(p), naive.with_conjugates(V)
    assert np.abs(V.conj().T @ V - np.eye(N)).max() < 1e-12
    A, B = naive.hippo_legs(N)
    rebuilt = V @ (np.diag(Lam) - np.outer(P, P.conj())) @ V.conj().T
    np.testing.assert_allclose(rebuilt, A, atol=1e-11)
    np.testing.assert_allclose(V @ naive.with_conjugates(b), B, atol=1e-12)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: discretize(torch.eye(2), torch.ones(2), 0.1, "euler"), "method must be"),
        (lambda: discretize(torch.eye(2), torch.ones(3), 0.1), "B must have shape"),
        (lambda: legs_memory(torch.ones(3), 2), "u must have shape"),
        (lambda: legs_memory(torch.ones(3, 2), 0), "N must be 1 or more"),
        (lambda: legs_rebuild(torch.ones(3, 2), 0), "L must be 1 or more"),
        (lambda: naive.discretize(np.eye(2), np.ones(2), 0.1, "euler"), "method must be"),
        (lambda: naive.nplr(3), "N must be even"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
