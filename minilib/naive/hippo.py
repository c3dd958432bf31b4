"""HiPPO-LegS, a linear system whose state holds the past in Legendre polynomials: the definition.

Sources: HiPPO, Gu et al. 2020 (arXiv:2008.07669); S4, Gu, Goel & Ré 2021 (arXiv:2111.00396).

    code     paper     shape
    A, B     A, B      (N, N), (N,)   one system: x' = A x + B u
    dt       Δ         ()             time between two samples
    Ab, Bb   Ā, B̄      (N, N), (N,)   x_k = Ā x_{k-1} + B̄ u_k
    Lam, P   Λ, P      (M,), (M,)     A = Λ - P P* in another basis: diagonal plus rank one

A real system's modes come in conjugate pairs. Only M = N / 2 of them are kept, of each pair the one
with positive frequency, and every sum over all modes is twice the real part of the sum over these.
"""

import math

import numpy as np


def hippo_legs(N):
    """The matrices A (N, N) and B (N,) of HiPPO-LegS (HiPPO, theorem 2)."""
    A, B = np.zeros((N, N)), np.zeros(N)
    for n in range(N):
        B[n] = np.sqrt(2 * n + 1)
        for k in range(n):
            A[n, k] = -np.sqrt((2 * n + 1) * (2 * k + 1))
        A[n, n] = -(n + 1)
    return A, B


def expm(M):
    """e^M: its series at M / 2^s, small enough to converge fast, then squared s times."""
    s = max(0, math.ceil(np.log2(np.abs(M).sum() + 1e-300))) + 1
    term = total = np.eye(len(M))
    for k in range(1, 20):
        term = term @ M / 2**s / k
        total = total + term
    for _ in range(s):
        total = total @ total
    return total


def discretize(A, B, dt, method="bilinear"):
    """Ā (N, N) and B̄ (N,) for samples dt apart (S4, eq. 3; "zoh" as in S4D, sec. 3).

    "bilinear"  the trapezoid rule
    "zoh"       exact if u stands still between samples (zero-order hold):
                Ā = e^{ΔA}, B̄ = ∫ e^{sA} ds B over one Δ
    Raises ValueError for another method.
    """
    N = len(A)
    if method == "bilinear":
        left = np.eye(N) - dt / 2 * A
        return np.linalg.solve(left, np.eye(N) + dt / 2 * A), np.linalg.solve(left, dt * B)
    if method == "zoh":
        # A⁻¹ (e^{ΔA} - I) B without A⁻¹: u is one more coordinate, which stands still
        block = np.zeros((N + 1, N + 1))
        block[:N, :N], block[:N, N] = dt * A, dt * B
        block = expm(block)
        return block[:N, :N], block[:N, N]
    raise ValueError(f"method must be 'bilinear' or 'zoh', got {method!r}")


def legs_memory(u, N):
    """Read samples u (channels, time) one by one; returns the state (channels, N) after the last.

    HiPPO-LegS, x' = (A x + B u) / t: bilinear steps of length 1, with t = k at the k-th sample.
    """
    A, B = hippo_legs(N)
    x = np.zeros((len(u), N))
    for c in range(len(u)):
        for k in range(1, u.shape[1] + 1):
            Ab, Bb = discretize(A / k, B / k, 1.0)
            x[c] = Ab @ x[c] + Bb * u[c, k - 1]
    return x


def legs_rebuild(x, L):
    """The past that a state x (channels, N) remembers, at L times.

    u(s) ≈ Σ_n x_n √(2n+1) P_n(2s/t - 1) with Legendre's polynomials P_n.
    returns  (channels, L); column i is the middle of the i-th of L equal parts of the time so far
    """
    out = np.zeros((len(x), L))
    for i in range(L):
        r = 2 * (i + 0.5) / L - 1
        P, before = 1.0, 0.0
        for n in range(x.shape[1]):
            out[:, i] += x[:, n] * np.sqrt(2 * n + 1) * P
            P, before = ((2 * n + 1) * r * P - n * before) / (n + 1), P  # Bonnet's recurrence
    return out


def nplr(N):
    """HiPPO-LegS as diagonal plus rank one, in the basis V of its normal part (S4, theorem 1).

    returns  Lam (M,), P (M,), B (M,), V (N, M), one of each conjugate pair: with both of each,
             A = V (Λ - P P*) V*. V's columns are turned so that P is positive, which makes them
             unique.
    Raises ValueError for an odd N.
    """
    if N < 2 or N % 2:
        raise ValueError(f"N must be even and at least 2, got {N}")
    A, B = hippo_legs(N)
    P = np.sqrt(np.arange(N) + 0.5)
    skew = A + np.outer(P, P) + 0.5 * np.eye(N)
    omega, V = np.linalg.eigh(-1j * skew)  # of a Hermitian matrix, so V is unitary
    omega, V = omega[N // 2 :], V[:, N // 2 :]
    P = V.conj().T @ P
    V = V * (P / np.abs(P))
    return -0.5 + 1j * omega, np.abs(P) + 0j, V.conj().T @ B, V


def with_conjugates(v):
    """From one of each conjugate pair to all: (..., M) -> (..., 2M)."""
    return np.concatenate([v, v.conj()], axis=-1)
