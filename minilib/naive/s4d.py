"""S4D, diagonal linear systems with a long memory: the definition.

Source: Gu, Gupta, Goel & Ré 2022 (arXiv:2206.11893).

    code   paper   shape
    A, C   A, C    (H, M) complex   in each mode x' = A x + u; y = 2 Re Σ_n C_n x_n + D u
    dt, D  Δ, D    (H,)             time between two samples; the skip
    K      K̄       (H, L)           K_j = 2 Re Σ_n C_n B̄_n Ā_nʲ

A layer holds H such systems, one for each channel, each of N real numbers: M = N / 2 modes, one of
each conjugate pair.
"""

import math

import numpy as np

from minilib.naive.hippo import nplr
from minilib.naive.transformer import layer_norm


def s4d_init(init, N):
    """The M = N / 2 modes A that a system starts from (sec. 4).

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


def diagonal_kernel(C, A, dt, L):
    """K_j = 2 Re Σ_n C_n B̄_n Ā_nʲ (sec. 3). A, C (H, M) complex, dt (H,) -> (H, L)."""
    K = np.zeros((len(A), L))
    for h, n in np.ndindex(A.shape):
        Ab, Bb = zoh(A[h, n], dt[h])
        for j in range(L):
            K[h, j] += 2 * (C[h, n] * Bb * Ab**j).real
    return K


def diagonal_step(x, u, A, C, dt, D):
    """One step of one channel: x_n ← Ā_n x_n + B̄_n u, then y = 2 Re Σ_n C_n x_n + D u.

    x, A, C  (M,) complex; u, dt, D numbers
    returns  y, the new x
    """
    y, after = D * u, np.zeros(len(x), complex)
    for n in range(len(x)):
        Ab, Bb = zoh(A[n], dt)
        after[n] = Ab * x[n] + Bb * u
        y = y + 2 * (C[n] * after[n]).real
    return y, after


def diagonal_ssm(u, A, C, dt, D, x):
    """H diagonal systems as recurrences, from a given state.

    u (batch, H, L); A, C (H, M) complex; dt, D (H,); x (batch, H, M) complex
    returns  y (batch, H, L), the state after the last sample
    """
    y, x = np.zeros(u.shape), x.copy()
    for b, h, t in np.ndindex(u.shape):
        y[b, h, t], x[b, h] = diagonal_step(x[b, h], u[b, h, t], A[h], C[h], dt[h], D[h])
    return y, x


# -- layer and language model ----------------------------------------------------------------------


def as_complex(v):
    """Complex numbers from (..., 2): real part, imaginary part."""
    return v[..., 0] + 1j * v[..., 1]


def s4d_layer(params, u):
    """The parameters of minilib.s4d.S4DLayer and u -> y (batch, H, L), from state 0."""
    A = -np.exp(params["log_decay"]) + 1j * params["frequency"]  # whatever is trained, it decays
    C, dt, D = as_complex(params["C"]), np.exp(params["log_dt"]), params["D"]
    return diagonal_ssm(u, A, C, dt, D, np.zeros((len(u), *A.shape), complex))[0]


def part(params, prefix):
    """The parameters of one module: those whose names start with its prefix, without it."""
    return {name[len(prefix) :]: v for name, v in params.items() if name.startswith(prefix)}


def block(params, x, layer):
    """Norm, systems, GELU, gated linear unit and residual: x (batch, time, H) -> the same."""
    u = layer_norm(x, params["norm.weight"], params["norm.bias"]).swapaxes(1, 2)
    y = layer(part(params, "systems."), u).swapaxes(1, 2)
    normal = np.vectorize(lambda v: 0.5 * (1 + math.erf(v / 2**0.5)), otypes=[float])
    y = (y * normal(y)) @ params["mix.weight"].T + params["mix.bias"]
    value, gate = np.split(y, 2, axis=-1)
    return x + value / (1 + np.exp(-gate))


def blocks_lm(params, ids, layers, layer):
    """Logits (batch, time, vocab) of a stack of blocks; layer(params, u) -> y are their systems."""
    x = np.array([[params["embed"][i] for i in row] for row in ids])  # (batch, time, H)
    for k in range(layers):
        x = block(part(params, f"blocks.{k}."), x, layer)
    return layer_norm(x, params["norm.weight"], params["norm.bias"]) @ params["output"].T


def s4d_lm(params, ids, *, layers):
    """Logits (batch, time, vocab) of minilib.s4d.S4D for ids (batch, time), symbol by symbol."""
    return blocks_lm(params, ids, layers, s4d_layer)
