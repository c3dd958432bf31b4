"""Mamba: a state space whose step size, input and output depend on what it reads. The definition.

code ↔ paper (Gu & Dao 2023, arXiv:2312.00752): width = model dimension; D (size) = E · width, channels; N = state per channel;
dt = Δ; A = -exp(A_log); B, C, D = B, C and the skip. Parameter names and shapes are those of the published checkpoints.
"""

import numpy as np

from minilib.naive.scan import ssd


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def softplus(x):
    return np.logaddexp(0, x)


def selective_scan(x, dt, A, B, C, D, h):
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t, y_t = C_t h_t + D x_t: alg. 2, one number at a time.

    Zero-order hold for A and, as the published code does, Euler's dt B in place of its zero-order hold.

    x, dt    (batch, L, D); A (D, N), negative; B, C (batch, L, N); D (D,)
    h        (batch, D, N), the state before the first step
    returns  y (batch, L, D) and the state after the last step
    """
    y, h = np.zeros(x.shape), h.copy()
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            for d in range(x.shape[2]):
                for n in range(A.shape[1]):
                    h[b, d, n] = (
                        np.exp(dt[b, t, d] * A[d, n]) * h[b, d, n]
                        + dt[b, t, d] * B[b, t, n] * x[b, t, d]
                    )
                y[b, t, d] = C[b, t] @ h[b, d] + D[d] * x[b, t, d]
    return y, h


def causal_conv1d(x, weight, bias, before):
    """Each channel convolved with its own K taps; the last tap meets the step itself.

    x (batch, L, D); weight (D, 1, K); bias (D,); before (batch, K - 1, D), the inputs before x -> (batch, L, D)
    """
    K = weight.shape[2]
    seen = np.concatenate([before, x], axis=1)
    out = np.zeros(x.shape)
    for t in range(x.shape[1]):
        for k in range(K):
            out[:, t] += weight[:, 0, k] * seen[:, t + k]
    return out + bias


def rms_norm(x, weight):
    """Each row of channels divided by its root mean square (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4)."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight


def mixer(params, u):
    """Mamba's block without norm and residual (fig. 3), from an empty state: u (batch, L, width) -> the same."""
    P = params
    D, N = P["A_log"].shape
    xz = u @ P["in_proj.weight"].T
    x, z = xz[..., :D], xz[..., D:]
    x = causal_conv1d(
        x,
        P["conv1d.weight"],
        P["conv1d.bias"],
        np.zeros((len(u), P["conv1d.weight"].shape[2] - 1, D)),
    )
    x = x * sigmoid(x)
    low, B, C = np.split(
        x @ P["x_proj.weight"].T,
        [P["dt_proj.weight"].shape[1], P["dt_proj.weight"].shape[1] + N],
        axis=-1,
    )
    dt = softplus(low @ P["dt_proj.weight"].T + P["dt_proj.bias"])
    y, _ = selective_scan(x, dt, -np.exp(P["A_log"]), B, C, P["D"], np.zeros((len(u), D, N)))
    return (y * z * sigmoid(z)) @ P["out_proj.weight"].T


def mixer2(params, u):
    """Mamba-2's block (Dao & Gu 2024, arXiv:2405.21060, fig. 6): one decay per head, B and C beside x through the convolution."""
    P = params
    heads, D = len(P["A_log"]), P["out_proj.weight"].shape[1]
    N = (P["conv1d.weight"].shape[0] - D) // 2
    z, xBC, dt = np.split(u @ P["in_proj.weight"].T, [D, 2 * D + 2 * N], axis=-1)
    xBC = causal_conv1d(
        xBC,
        P["conv1d.weight"],
        P["conv1d.bias"],
        np.zeros((len(u), P["conv1d.weight"].shape[2] - 1, D + 2 * N)),
    )
    x, B, C = np.split(xBC * sigmoid(xBC), [D, D + N], axis=-1)
    dt = softplus(dt + P["dt_bias"])
    x = x.reshape(*x.shape[:2], heads, D // heads)
    y, _ = ssd(
        x * dt[..., None], -dt * np.exp(P["A_log"]), B, C, np.zeros((len(u), heads, N, D // heads))
    )
    y = (y + P["D"][:, None] * x).reshape(*u.shape[:2], D)
    return rms_norm(y * z * sigmoid(z), P["norm.weight"]) @ P["out_proj.weight"].T


def mamba(params, ids, *, layers, heads=None):
    """Logits of the language model: (batch, L) int -> (batch, L, vocab). With heads, the blocks are Mamba-2's."""
    E = params["backbone.embeddings.weight"]
    u = E[ids]
    for n in range(layers):
        start = f"backbone.layers.{n}."
        own = {
            name.removeprefix(start): value
            for name, value in params.items()
            if name.startswith(start)
        }
        inner = {
            name.removeprefix("mixer."): value
            for name, value in own.items()
            if name.startswith("mixer.")
        }
        u = u + (mixer2 if heads else mixer)(inner, rms_norm(u, own["norm.weight"]))
    return rms_norm(u, params["backbone.norm_f.weight"]) @ E.T
