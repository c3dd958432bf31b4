"""S4 and S4D, linear systems with a long memory: the definition.

Sources: HiPPO, Gu et al. 2020 (arXiv:2008.07669); S4, Gu, Goel & Ré 2021 (arXiv:2111.00396); S4D, Gu et al. 2022
(arXiv:2206.11893).

    code          paper        shape
    A, B, C, D    A, B, C, D   (N, N), (N,), (N,), ()   one system: x' = A x + B u, y = C x + D u
    dt            Δ            ()                       time between two samples
    Ab, Bb        Ā, B̄         (N, N), (N,)             x_k = Ā x_{k-1} + B̄ u_k, y_k = C x_k + D u_k
    K             K̄            (L,)                     K_j = C Āʲ B̄
    Lam, P        Λ, P         (M,), (M,)               A = Λ - P P* in another basis: diagonal plus rank one
    Ct            C̃            (M,)                     C (I - Āᴸ): what S4 trains in place of C

A layer holds H such systems, one a channel. A real system's modes come in conjugate pairs, so only M = N / 2 of them are
kept: one with positive frequency of each pair, and every sum over modes is twice its real part.
"""

import math

import numpy as np

from minilib.naive.transformer import layer_norm


def hippo_legs(N):
    """The matrices A (N, N) and B (N,) whose state holds the past in Legendre polynomials (HiPPO, theorem 2)."""
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
    """Ā and B̄ for samples dt apart (S4, eq. 3; "zoh" as in S4D, sec. 3).

    "bilinear"  the trapezoid rule
    "zoh"       exact if u stands still between samples (zero-order hold): Ā = e^{ΔA}, B̄ = ∫ e^{sA} ds B over one Δ
    Raises ValueError for another method.
    """
    N = len(A)
    if method == "bilinear":
        left = np.eye(N) - dt / 2 * A
        return np.linalg.solve(left, np.eye(N) + dt / 2 * A), np.linalg.solve(left, dt * B)
    if (
        method == "zoh"
    ):  # A⁻¹(e^{ΔA} - I)B without A⁻¹: u as one more coordinate, which stands still
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
    """The past that a state (channels, N) remembers, at L times: u(s) ≈ Σ_n x_n √(2n+1) P_n(2s/t - 1), P_n Legendre.

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


def ssm(u, Ab, Bb, C, D):
    """One system as a recurrence: u (L,) -> y (L,), from state 0 (S4, eq. 3)."""
    x, y = np.zeros(len(Bb)), np.zeros(len(u))
    for k in range(len(u)):
        x = np.array(
            [sum(Ab[n, m] * x[m] for m in range(len(x))) + Bb[n] * u[k] for n in range(len(x))]
        )
        y[k] = sum(C[n] * x[n] for n in range(len(x))) + D * u[k]
    return y


def kernel_by_powers(Ab, Bb, C, L):
    """K_j = C Āʲ B̄, j < L (S4, eq. 5): one matrix-vector product for each tap."""
    K, x = np.zeros(L), Bb
    for j in range(L):
        K[j] = C @ x
        x = Ab @ x
    return K


def causal_conv(K, u):
    """y_t = Σ_{s ≤ t} K_{t-s} u_s (S4, eq. 4) in each channel; taps beyond the kernel's end are 0.

    K  (H, taps); u (batch, H, L) -> (batch, H, L)
    """
    y = np.zeros(u.shape)
    for b, h, t in np.ndindex(u.shape):
        for s in range(max(0, t - K.shape[1] + 1), t + 1):
            y[b, h, t] += K[h, t - s] * u[b, h, s]
    return y


# -- diagonal: S4D ---------------------------------------------------------------------------------


def s4d_init(init, N):
    """The M = N / 2 modes A that a system starts from (S4D, sec. 4).

    "legs"  those of HiPPO-LegS without its rank one    "inv"  -½ + i (N/π)(N/(2n+1) - 1)
    "lin"   -½ + iπn                                    "real" -(n + 1), without oscillation
    Raises ValueError for another init and an odd N.
    """
    if N < 2 or N % 2:
        raise ValueError(f"N must be even and at least 2, got {N}")
    n = np.arange(N // 2)
    if init == "legs":
        return nplr(N)[0]
    if init == "inv":
        return -0.5 + 1j * N / np.pi * (N / (2 * n + 1) - 1)
    if init == "lin":
        return -0.5 + 1j * np.pi * n
    if init == "real":
        return -(n + 1) + 0j
    raise ValueError(f"init must be 'legs', 'inv', 'lin' or 'real', got {init!r}")


def vandermonde(w, log_z, L):
    """K_j = 2 Re Σ_n w_n z_nʲ, j < L, for w, log_z (..., M) -> (..., L)."""
    K = np.zeros((*w.shape[:-1], L))
    for j in range(L):
        for n in range(w.shape[-1]):
            K[..., j] += 2 * (w[..., n] * np.exp(j * log_z[..., n])).real
    return K


def zoh(A, dt):
    """Ā = e^{ΔA} and B̄ = (e^{ΔA} - 1) / A of one mode with B = 1; B̄ is Δ where A is 0."""
    return np.exp(dt * A), np.expm1(dt * A) / A if A else dt


def s4d_kernel(C, A, dt, L):
    """K_j = 2 Re Σ_n C_n B̄_n Ā_nʲ (S4D, sec. 3). A, C (H, M) complex, dt (H,) -> (H, L)."""
    K = np.zeros((len(A), L))
    for h, n in np.ndindex(A.shape):
        Ab, Bb = zoh(A[h, n], dt[h])
        for j in range(L):
            K[h, j] += 2 * (C[h, n] * Bb * Ab**j).real
    return K


def s4d_step(x, u, A, C, dt, D):
    """One step of one channel: x_n ← Ā_n x_n + B̄_n u, y = 2 Re Σ_n C_n x_n + D u. x, A, C (M,); returns y, x."""
    y, after = D * u, np.zeros(len(x), complex)
    for n in range(len(x)):
        Ab, Bb = zoh(A[n], dt)
        after[n] = Ab * x[n] + Bb * u
        y = y + 2 * (C[n] * after[n]).real
    return y, after


def s4d(u, A, C, dt, D, x):
    """H diagonal systems as recurrences, from a given state.

    u (batch, H, L); A, C (H, M) complex; dt, D (H,); x (batch, H, M) complex
    returns  y (batch, H, L), the state after the last sample
    """
    y, x = np.zeros(u.shape), x.copy()
    for b, h, t in np.ndindex(u.shape):
        y[b, h, t], x[b, h] = s4d_step(x[b, h], u[b, h, t], A[h], C[h], dt[h], D[h])
    return y, x


# -- diagonal plus rank one: S4 --------------------------------------------------------------------


def nplr(N):
    """HiPPO-LegS as diagonal plus rank one, in the basis V of its normal part (S4, theorem 1).

    returns  Lam (M,), P (M,), B (M,), V (N, M): with both of each conjugate pair, A = V (Λ - P P*) V*. V's columns are
             turned so that P is positive, which makes them unique. Raises ValueError for an odd N.
    """
    if N < 2 or N % 2:
        raise ValueError(f"N must be even and at least 2, got {N}")
    A, B = hippo_legs(N)
    P = np.sqrt(np.arange(N) + 0.5)
    skew = A + np.outer(P, P) + 0.5 * np.eye(N)
    omega, V = np.linalg.eigh(
        -1j * skew
    )  # Hermitian, so that V is unitary: nothing is lost on the way there and back
    omega, V = omega[N // 2 :], V[:, N // 2 :]
    P = V.conj().T @ P
    V = V * (P / np.abs(P))
    return -0.5 + 1j * omega, np.abs(P) + 0j, V.conj().T @ B, V


def both(v):
    """A vector over one mode of each pair, then over the other."""
    return np.concatenate([v, v.conj()])


def dplr_discretize(Lam, P, B, dt):
    """Bilinear Ā (N, N) and B̄ (N,) of A = Λ - P P*, over both modes of each pair (S4, appendix C.2)."""
    Lam, P, B = both(Lam), both(P), both(B)
    A = np.diag(Lam) - np.outer(P, P.conj())
    left = np.eye(len(Lam)) - dt / 2 * A
    return np.linalg.solve(left, np.eye(len(Lam)) + dt / 2 * A), np.linalg.solve(left, dt * B)


def dplr_kernel(Lam, P, B, Ct, dt, L):
    """K_j = C Āʲ B̄, j < L, without a power of Ā (S4, algorithm 1). Lam, P, B, Ct (H, M); dt (H,) -> (H, L)

    At the L-th roots of unity z the generating function Σ_j K_j zʲ is C̃ (I - Āz)⁻¹ B̄, and with g = (2/Δ)(1 - z)/(1 + z)
    that is 2/(1 + z) · C̃ (g - Λ + P P*)⁻¹ B, which Woodbury's identity takes apart into four sums over modes.
    """
    K = np.zeros((len(Lam), L))
    for h in range(len(Lam)):
        lam, p, b, c = both(Lam[h]), both(P[h]), both(B[h]), both(Ct[h])
        spectrum = np.zeros(L, complex)
        for k in range(L):
            z = np.exp(-2j * np.pi * k / L)
            if 2 * k == L:  # z = -1: g is infinite, and 2/(1 + z) / (g - λ) tends to Δ/2
                spectrum[k] = dt[h] / 2 * (c @ b)
                continue
            poles = 2 / dt[h] * (1 - z) / (1 + z) - lam
            cauchy = lambda v, poles=poles: sum(v[n] / poles[n] for n in range(len(v)))
            spectrum[k] = (
                2
                / (1 + z)
                * (
                    cauchy(c * b)
                    - cauchy(c * p) * cauchy(p.conj() * b) / (1 + cauchy(p.conj() * p))
                )
            )
        for j in range(L):
            K[h, j] = sum(spectrum[k] * np.exp(2j * np.pi * j * k / L) for k in range(L)).real / L
    return K


def dplr_output(Lam, P, Ct, dt, L):
    """C = C̃ (I - Āᴸ)⁻¹, which the recurrence needs. Lam, P, Ct (H, M); dt (H,) -> (H, M)"""
    C = np.zeros(Ct.shape, complex)
    for h in range(len(Lam)):
        Ab, _ = dplr_discretize(Lam[h], P[h], P[h], dt[h])
        whole = np.eye(len(Ab)) - np.linalg.matrix_power(Ab, L)
        C[h] = np.linalg.solve(whole.T, both(Ct[h]))[: Ct.shape[1]]
    return C


def dplr(u, Lam, P, B, C, dt, D, x):
    """H systems diagonal plus rank one as recurrences; shapes as in `s4d`, P and B (H, M)."""
    y, x = np.zeros(u.shape), x.copy()
    for h in range(len(Lam)):
        Ab, Bb = dplr_discretize(Lam[h], P[h], B[h], dt[h])
        for b in range(len(u)):
            state = both(x[b, h])
            for t in range(u.shape[2]):
                state = Ab @ state + Bb * u[b, h, t]
                y[b, h, t] = (both(C[h]) @ state).real + D[h] * u[b, h, t]
            x[b, h] = state[: Lam.shape[1]]
    return y, x


# -- layers and language models --------------------------------------------------------------------


def pairs(v):
    """Complex numbers from (..., 2): real part, imaginary part."""
    return v[..., 0] + 1j * v[..., 1]


def s4d_layer(params, u):
    """`s4d` from state 0 with the parameters of minilib.s4.S4DLayer: u (batch, H, L) -> (batch, H, L)."""
    P = params
    A = -np.exp(P["log_decay"]) + 1j * P["frequency"]  # whatever is trained, it decays
    return s4d(
        u, A, pairs(P["C"]), np.exp(P["log_dt"]), P["D"], np.zeros((len(u), *A.shape), complex)
    )[0]


def s4_layer(params, u, *, length):
    """`dplr` from state 0 with the parameters of minilib.s4.S4Layer: u (batch, H, L) -> (batch, H, L)."""
    P = params
    Lam, dt = -np.exp(P["log_decay"]) + 1j * P["frequency"], np.exp(P["log_dt"])
    C = dplr_output(Lam, pairs(P["P"]), pairs(P["Ct"]), dt, length)
    return dplr(
        u, Lam, pairs(P["P"]), pairs(P["B"]), C, dt, P["D"], np.zeros((len(u), *Lam.shape), complex)
    )[0]


def _stack(params, ids, layers, layer):
    """Symbols, then blocks of norm, systems, GELU, gated linear unit and residual, then norm and logits."""
    x = np.array([[params["embed"][i] for i in row] for row in ids])  # (batch, time, H)
    normal = np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))), otypes=[float])
    for k in range(layers):
        P = {
            name.removeprefix(f"blocks.{k}."): value
            for name, value in params.items()
            if name.startswith(f"blocks.{k}.")
        }
        u = layer_norm(x, P["norm.weight"], P["norm.bias"]).swapaxes(1, 2)  # (batch, H, time)
        y = layer({name.removeprefix("systems."): value for name, value in P.items()}, u).swapaxes(
            1, 2
        )
        value, gate = np.split((y * normal(y)) @ P["mix.weight"].T + P["mix.bias"], 2, axis=-1)
        x = x + value / (1 + np.exp(-gate))
    return layer_norm(x, params["norm.weight"], params["norm.bias"]) @ params["output"].T


def s4d_lm(params, ids, *, layers):
    """Logits (batch, time, vocab) of minilib.s4.S4D for ids (batch, time), symbol by symbol."""
    return _stack(params, ids, layers, s4d_layer)


def s4_lm(params, ids, *, layers, length):
    """Logits of minilib.s4.S4, likewise."""
    return _stack(params, ids, layers, lambda P, u: s4_layer(P, u, length=length))
