import math

import numpy as np
import pytest
import torch

from minilib.hippo import discretize, legs_memory, legs_rebuild
from minilib.naive import hippo as naive

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def remember(u, N, step):
    """legs_memory with another Ā and B̄ of the k-th sample: step(A, B, k)."""
    x = np.zeros((len(u), N))
    for k in range(1, u.shape[1] + 1):
        Ab, Bb = step(*naive.hippo_legs(N), k)
        x = x @ Ab.T + u[:, k - 1 : k] * Bb
    return x


def without_a_clock(u, N):
    return remember(u, N, lambda A, B, k: naive.discretize(A, B, 1.0))


def clock_one_ahead(u, N):
    return remember(u, N, lambda A, B, k: naive.discretize(A / (k + 1), B / (k + 1), 1.0))


def clock_in_A_only(u, N):
    return remember(u, N, lambda A, B, k: naive.discretize(A / k, B, 1.0))


def A_transposed(u, N):
    return remember(u, N, lambda A, B, k: naive.discretize(A.T / k, B / k, 1.0))


def euler_memory(u, N):
    return remember(u, N, lambda A, B, k: (np.eye(N) + A / k, B / k))


def zero_order_hold_memory(u, N):
    return remember(u, N, lambda A, B, k: naive.discretize(A / k, B / k, 1.0, "zoh"))


def polynomials_of_norm_one_forgotten(x, L):
    return naive.legs_rebuild(x / np.sqrt(2 * np.arange(x.shape[1]) + 1), L)


def time_reversed(x, L):
    return naive.legs_rebuild(x, L)[:, ::-1]


def from_end_to_end(x, L):
    weights = x * np.sqrt(2 * np.arange(x.shape[1]) + 1)
    return np.polynomial.legendre.legval(np.linspace(-1, 1, L), weights.T)


def powers_for_polynomials(x, L):
    r = 2 * (np.arange(L) + 0.5) / L - 1
    return x * np.sqrt(2 * np.arange(x.shape[1]) + 1) @ np.vander(r, x.shape[1], increasing=True).T


def euler(A, B, dt, method="bilinear"):
    return np.eye(len(A)) + dt * A, dt * B


def euler_backward(A, B, dt, method="bilinear"):
    left = np.eye(len(A)) - dt * A
    return np.linalg.inv(left), np.linalg.solve(left, dt * B)


def halves_forgotten(A, B, dt, method="bilinear"):
    Ab, Bb = naive.discretize(A, B, 2 * dt, method)
    return Ab, Bb / 2


def step_size_forgotten_in_B(A, B, dt, method="bilinear"):
    Ab, Bb = naive.discretize(A, B, dt, method)
    return Ab, Bb / dt


def B_times_step_size(A, B, dt, method="bilinear"):
    return naive.discretize(A, B, dt, method)[0], dt * B


def bilinear_for_both(A, B, dt, method="bilinear"):
    return naive.discretize(A, B, dt)


def exponential_of_each_number(A, B, dt, method="bilinear"):
    Ab, Bb = naive.discretize(A, B, dt, method)
    return np.exp(dt * A) if method == "zoh" else Ab, Bb


WRONG = {
    naive.legs_memory: [
        without_a_clock,
        clock_one_ahead,
        clock_in_A_only,
        A_transposed,
        euler_memory,
        zero_order_hold_memory,
    ],
    naive.legs_rebuild: [
        polynomials_of_norm_one_forgotten,
        time_reversed,
        from_end_to_end,
        powers_for_polynomials,
    ],
    naive.discretize: [
        euler,
        euler_backward,
        halves_forgotten,
        step_size_forgotten_in_B,
        B_times_step_size,
        bilinear_for_both,
        exponential_of_each_number,
    ],
}


# -- tests -----------------------------------------------------------------------------------------


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
