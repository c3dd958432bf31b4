"""Mamba: a state space whose step size, input and output depend on what it reads. The definition.

code ↔ paper (Gu & Dao 2023, arXiv:2312.00752)
    u            what a block reads, (batch, L, width); width = the model dimension
    D (a size)   E · width, the channels inside a block; D (a vector) is the skip
    x, z         the two halves of a block: what is remembered, and the gate
    N            numbers in the state of a channel
    K            taps of the convolution, 4: a channel sees its last K inputs
    A, B, C, dt  A = -exp(A_log); B_t, C_t and dt_t = Δ_t are read off x_t
    low, R       dt_t is made from R = ⌈width / 16⌉ numbers, `low`: fewer parameters than from D
Names and shapes of parameters are those of the checkpoints that transformers reads.
"""

import numpy as np

from minilib.naive.scan import ssd


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def softplus(x):
    return np.logaddexp(0, x)


def selective_scan(x, dt, A, B, C, D, h):
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t, y_t = C_t h_t + D x_t.

    Source: alg. 2, one number at a time. Zero-order hold for A; for B Euler's dt B, as
    the published code does.

    x, dt    (batch, L, D); A (D, N), negative; B, C (batch, L, N); D (D,)
    h        (batch, D, N), the state before the first step
    returns  y (batch, L, D) and the state after the last step
    """
    y, h = np.zeros(x.shape), h.copy()
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            for d in range(x.shape[2]):
                for n in range(A.shape[1]):
                    decay = np.exp(dt[b, t, d] * A[d, n])
                    added = dt[b, t, d] * B[b, t, n] * x[b, t, d]
                    h[b, d, n] = decay * h[b, d, n] + added
                y[b, t, d] = C[b, t] @ h[b, d] + D[d] * x[b, t, d]
    return y, h


def causal_conv1d(x, weight, bias, before):
    """Each channel convolved with its own K taps; the last tap meets the step itself.

    x        (batch, L, D); weight (D, 1, K); bias (D,)
    before   (batch, K - 1, D), the inputs before x
    returns  (batch, L, D)
    """
    K = weight.shape[2]
    seen = np.concatenate([before, x], axis=1)
    out = np.zeros(x.shape)
    for t in range(x.shape[1]):
        for k in range(K):
            out[:, t] += weight[:, 0, k] * seen[:, t + k]
    return out + bias


def rms_norm(x, weight):
    """Each row divided by its root mean square (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4)."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight


def mixer(params, u):
    """Mamba's block without norm and residual (fig. 3), from an empty state.

    u (batch, L, width) -> the same. Shapes in the comments leave out batch and L.
    """
    D, N = params["A_log"].shape
    K = params["conv1d.weight"].shape[2]
    R = params["dt_proj.weight"].shape[1]
    xz = u @ params["in_proj.weight"].T  # (2 D,)
    x, z = xz[..., :D], xz[..., D:]  # (D,), (D,)
    before = np.zeros((len(u), K - 1, D))
    x = causal_conv1d(x, params["conv1d.weight"], params["conv1d.bias"], before)
    x = x * sigmoid(x)  # SiLU
    selected = x @ params["x_proj.weight"].T  # (R + 2 N,)
    low, B, C = np.split(selected, [R, R + N], axis=-1)  # (R,), (N,), (N,)
    dt = low @ params["dt_proj.weight"].T + params["dt_proj.bias"]  # (D,)
    dt = softplus(dt)  # positive
    A, h = -np.exp(params["A_log"]), np.zeros((len(u), D, N))
    y, _ = selective_scan(x, dt, A, B, C, params["D"], h)  # (D,)
    y = y * z * sigmoid(z)  # gated by SiLU(z)
    return y @ params["out_proj.weight"].T  # (width,)


def mixer2(params, u):
    """Mamba-2's block (Dao & Gu 2024, arXiv:2405.21060, fig. 6), from an empty state.

    One decay per head, and B and C go through the convolution beside x.
    u (batch, L, width) -> the same. Shapes in the comments leave out batch and L.
    """
    heads, D = len(params["A_log"]), params["out_proj.weight"].shape[1]
    channels, _, K = params["conv1d.weight"].shape  # D + 2 N
    N = (channels - D) // 2
    zxBCdt = u @ params["in_proj.weight"].T
    z, xBC, dt = np.split(zxBCdt, [D, D + channels], axis=-1)  # (D,), (D + 2 N,), (heads,)
    before = np.zeros((len(u), K - 1, channels))
    xBC = causal_conv1d(xBC, params["conv1d.weight"], params["conv1d.bias"], before)
    x, B, C = np.split(xBC * sigmoid(xBC), [D, D + N], axis=-1)  # (D,), (N,), (N,)
    x = x.reshape(*x.shape[:2], heads, D // heads)
    dt = softplus(dt + params["dt_bias"])  # (heads,), positive
    S = np.zeros((len(u), heads, N, D // heads))
    y, _ = ssd(x * dt[..., None], -dt * np.exp(params["A_log"]), B, C, S)
    y = (y + params["D"][:, None] * x).reshape(*u.shape[:2], D)
    return rms_norm(y * z * sigmoid(z), params["norm.weight"]) @ params["out_proj.weight"].T


def below(params, prefix):
    """The parameters whose names begin with prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}


def mamba(params, ids, *, layers, heads=None):
    """Logits of the language model: (batch, L) int -> (batch, L, vocab).

    With heads, the blocks are Mamba-2's.
    """
    E = params["backbone.embeddings.weight"]
    block = mixer2 if heads else mixer
    u = E[ids]
    for n in range(layers):
        own = below(params, f"backbone.layers.{n}.")
        u = u + block(below(own, "mixer."), rms_norm(u, own["norm.weight"]))
    return rms_norm(u, params["backbone.norm_f.weight"]) @ E.T
