"""S4, linear systems diagonal plus rank one: the definition.

Source: Gu, Goel & Ré 2021 (arXiv:2111.00396).

    code          paper        shape
    A, B, C, D    A, B, C, D   (N, N), (N,), (N,), ()   one system: x' = A x + B u, y = C x + D u
    dt            Δ            ()                       time between two samples
    Ab, Bb        Ā, B̄         (N, N), (N,)             x_k = Ā x_{k-1} + B̄ u_k, y = C x + D u
    K             K̄            (L,)                     K_j = C Āʲ B̄
    Lam, P        Λ, P         (M,), (M,)               A = Λ - P P*: diagonal plus rank one (DPLR)
    Ct            C̃            (M,)                     C (I - Āᴸ): what S4 trains in place of C

A layer holds H such systems, one for each channel. Of each conjugate pair of modes one is kept:
M = N / 2. What a system starts from is in minilib/naive/hippo.py.
"""

import numpy as np

from minilib.naive.hippo import with_conjugates
from minilib.naive.s4d import as_complex, blocks_lm

# -- one system, as a recurrence and as a kernel ---------------------------------------------------


def ssm(u, Ab, Bb, C, D):
    """One system as a recurrence: u (L,) -> y (L,), from state 0 (eq. 3)."""
    N, x, y = len(Bb), np.zeros(len(Bb)), np.zeros(len(u))
    for k in range(len(u)):
        x = np.array([sum(Ab[n, m] * x[m] for m in range(N)) + Bb[n] * u[k] for n in range(N)])
        y[k] = sum(C[n] * x[n] for n in range(N)) + D * u[k]
    return y


def kernel_by_powers(Ab, Bb, C, L):
    """K_j = C Āʲ B̄, j < L (eq. 5): one matrix-vector product for each tap."""
    K, x = np.zeros(L), Bb
    for j in range(L):
        K[j] = C @ x
        x = Ab @ x
    return K


# -- diagonal plus rank one ------------------------------------------------------------------------


def dplr_discretize(Lam, P, B, dt):
    """Bilinear Ā (N, N) and B̄ (N,) of A = Λ - P P*, over all N modes (appendix C.2)."""
    Lam, P, B = with_conjugates(Lam), with_conjugates(P), with_conjugates(B)
    A = np.diag(Lam) - np.outer(P, P.conj())
    left = np.eye(len(Lam)) - dt / 2 * A
    return np.linalg.solve(left, np.eye(len(Lam)) + dt / 2 * A), np.linalg.solve(left, dt * B)


def dplr_kernel(Lam, P, B, Ct, dt, L):
    """K_j = C Āʲ B̄, j < L, without a power of Ā (algorithm 1).

    Lam, P, B, Ct  (H, M) complex; dt (H,)
    returns        (H, L)
    The generating function Σ_j K_j zʲ at the L-th roots of unity z is C̃ (I - Āz)⁻¹ B̄. With
    g = (2/Δ)(1 - z)/(1 + z) that is 2/(1 + z) · C̃ (g - Λ + P P*)⁻¹ B, which Woodbury's identity
    takes apart into four sums over modes, "Cauchy products" Σ_n v_n / (g - λ_n).
    """
    K = np.zeros((len(Lam), L))
    for h in range(len(Lam)):
        lam, p, b, c = (with_conjugates(v[h]) for v in (Lam, P, B, Ct))
        spectrum = np.zeros(L, complex)
        for k in range(L):
            z = np.exp(-2j * np.pi * k / L)
            if 2 * k == L:  # z = -1: g is infinite; 2/(1 + z) / (g - λ) tends to Δ/2
                spectrum[k] = dt[h] / 2 * (c @ b)
                continue
            poles = 2 / dt[h] * (1 - z) / (1 + z) - lam
            CB, CP = cauchy(c * b, poles), cauchy(c * p, poles)
            PB, PP = cauchy(p.conj() * b, poles), cauchy(p.conj() * p, poles)
            spectrum[k] = 2 / (1 + z) * (CB - CP * PB / (1 + PP))
        for j in range(L):
            waves = [np.exp(2j * np.pi * j * k / L) for k in range(L)]
            K[h, j] = (spectrum @ waves).real / L
    return K


def cauchy(v, poles):
    """Σ_n v_n / (g - λ_n), with poles g - λ_n (N,)."""
    return sum(v[n] / poles[n] for n in range(len(v)))


def dplr_output(Lam, P, Ct, dt, L):
    """C = C̃ (I - Āᴸ)⁻¹, which the recurrence needs. Lam, P, Ct (H, M); dt (H,) -> (H, M)"""
    C = np.zeros(Ct.shape, complex)
    for h in range(len(Lam)):
        Ab, _ = dplr_discretize(Lam[h], P[h], P[h], dt[h])
        whole = np.eye(len(Ab)) - np.linalg.matrix_power(Ab, L)
        C[h] = np.linalg.solve(whole.T, with_conjugates(Ct[h]))[: Ct.shape[1]]
    return C


def dplr_ssm(u, Lam, P, B, C, dt, D, x):
    """H systems diagonal plus rank one as recurrences, from a given state.

    u (batch, H, L); Lam, P, B, C (H, M) complex; dt, D (H,); x (batch, H, M) complex
    returns  y (batch, H, L), the state after the last sample
    """
    y, x = np.zeros(u.shape), x.copy()
    for h in range(len(Lam)):
        Ab, Bb = dplr_discretize(Lam[h], P[h], B[h], dt[h])
        for b in range(len(u)):
            state = with_conjugates(x[b, h])
            for t in range(u.shape[2]):
                state = Ab @ state + Bb * u[b, h, t]
                y[b, h, t] = (with_conjugates(C[h]) @ state).real + D[h] * u[b, h, t]
            x[b, h] = state[: Lam.shape[1]]
    return y, x


# -- layer and language model ----------------------------------------------------------------------


def s4_layer(params, u, *, length):
    """The parameters of minilib.s4.S4Layer and u -> y (batch, H, L), from state 0."""
    Lam, dt = -np.exp(params["log_decay"]) + 1j * params["frequency"], np.exp(params["log_dt"])
    P, B, Ct = as_complex(params["P"]), as_complex(params["B"]), as_complex(params["Ct"])
    C = dplr_output(Lam, P, Ct, dt, length)
    return dplr_ssm(u, Lam, P, B, C, dt, params["D"], np.zeros((len(u), *Lam.shape), complex))[0]


def s4_lm(params, ids, *, layers, length):
    """Logits (batch, time, vocab) of minilib.s4.S4 for ids (batch, time), symbol by symbol."""
    return blocks_lm(params, ids, layers, lambda part, u: s4_layer(part, u, length=length))
