"""Handwriting prediction and synthesis: the definition.

Source: Graves 2013, "Generating Sequences With Recurrent Neural Networks" (arXiv:1308.0850),
sections 4 and 5. The soft window over the text is in minilib/naive/soft_window.py.

    code             paper                          shape
    x                x_t = (Δx, Δy, end of stroke)  (3,)
    y                ŷ_t: ê, π̂, μ1, μ2, σ̂1, σ̂2, ρ̂   (1 + 6M,)     M mixture components
    text             c, as indices; -1 is padding   (U,)         U letters of an alphabet of A
    w, kappa, phi    w_t, κ_t, φ(t, u)              (A,), (K,), (U + 1,)
"""

import numpy as np

from minilib.naive.lstm import lstm_step
from minilib.naive.soft_window import window_step


def log_density(y, x):
    """ln p(x) of points under the mixtures that y describes (Graves 2013, eq. 18-25).

    With u = (Δx - μ1) / σ1, v = (Δy - μ2) / σ2 and q = ln cosh ρ̂, so that 1 - ρ² = exp(-2q), the
    density of a component (eq. 24, 25) is

        ln N = -ln 2π - σ̂1 - σ̂2 + q - ½ (v² + ((u - ρv) exp q)²)

    Nothing is lost when ρ rounds to ±1.

    y        (..., 1 + 6M)
    x        (..., 3)
    returns  (...), nats; a density, so it may be positive
    """
    out = np.zeros(x.shape[:-1])
    for at in np.ndindex(out.shape):
        e_hat, pi_hat, *components = _split(y[at])
        log_pi = pi_hat - _logsumexp(pi_hat)  # eq. 19
        terms = [
            lp + _log_normal(x[at], *one) for lp, *one in zip(log_pi, *components, strict=True)
        ]
        end = x[at][2]  # e = 1 / (1 + exp(ê)): mind the sign, eq. 18
        pen = -end * np.logaddexp(0, e_hat) - (1 - end) * np.logaddexp(0, -e_hat)
        out[at] = _logsumexp(np.array(terms)) + pen
    return out


def log_density_gradient(y, x):
    """Gradient of log_density in y, by hand; section 4.1 has it for the loss, with the sign turned.

    y (..., 1 + 6M), x (..., 3) -> (..., 1 + 6M)
    """
    out = np.zeros(y.shape)
    for at in np.ndindex(y.shape[:-1]):
        e_hat, pi_hat, *components = _split(y[at])
        logs = pi_hat + [_log_normal(x[at], *one) for one in zip(*components, strict=True)]
        pi, gamma = np.exp(pi_hat - _logsumexp(pi_hat)), np.exp(logs - _logsumexp(logs))
        d = np.zeros((6, len(pi)))
        for j, (mu1, mu2, s1, s2, rho_hat) in enumerate(zip(*components, strict=True)):
            u, v = (x[at][0] - mu1) / np.exp(s1), (x[at][1] - mu2) / np.exp(s2)
            rho, C = np.tanh(rho_hat), np.cosh(rho_hat) ** 2  # C = 1 / (1 - ρ²)
            ur, vr = _residual(u, v, rho_hat), _residual(v, u, rho_hat)  # u - ρv and v - ρu
            d[0, j] = gamma[j] - pi[j]
            d[1, j] = gamma[j] * C * ur / np.exp(s1)
            d[2, j] = gamma[j] * C * vr / np.exp(s2)
            d[3, j] = gamma[j] * (C * u * ur - 1)
            d[4, j] = gamma[j] * (C * v * vr - 1)
            # the paper's uv + ρ (1 - C Z), rearranged so that nothing cancels
            d[5, j] = gamma[j] * (C * ur * vr + rho)
        out[at] = np.concatenate([[1 / (1 + np.exp(e_hat)) - x[at][2]], d.ravel()])
    return out


def _split(y):
    """ê, then π̂, μ1, μ2, σ̂1, σ̂2, ρ̂, each (M,)."""
    M = (len(y) - 1) // 6
    return y[0], *y[1:].reshape(6, M)


def _logsumexp(a):
    return a.max() + np.log(np.exp(a - a.max()).sum())


def _residual(u, v, rho_hat):
    """u - ρv for ρ = tanh ρ̂ without loss of digits when |ρ| is near 1.

    There 1 - |ρ| = 2 / (1 + exp 2|ρ̂|) keeps its digits.
    """
    sign = 1.0 if rho_hat >= 0 else -1.0
    return (u - sign * v) + sign * v * 2 / (1 + np.exp(2 * abs(rho_hat)))


def _log_normal(x, mu1, mu2, s1, s2, rho_hat):
    u, v = (x[0] - mu1) / np.exp(s1), (x[1] - mu2) / np.exp(s2)
    q = abs(rho_hat) + np.log1p(np.exp(-2 * abs(rho_hat))) - np.log(2)  # ln cosh ρ̂
    squares = v**2 + (_residual(u, v, rho_hat) * np.exp(q)) ** 2
    return -np.log(2 * np.pi) - s1 - s2 + q - 0.5 * squares


def prediction(params, points, *, layers=1):
    """ŷ of each point given those before it (section 4): a layer reads x and the layer below.

    params   state_dict of minilib.handwriting.PredictionNet
    points   (batch, time, 3)
    returns  (batch, time, 1 + 6M); y[:, t] is the density of points[:, t]
    """
    return _stack(params, points, None, layers)


def synthesis(params, points, text, *, layers=1):
    """The same given a text (section 5), through the window: layer 1 reads that of the step before.

    params   state_dict of minilib.handwriting.SynthesisNet
    points   (batch, time, 3)
    text     (batch, letters) int, -1 where there is none
    """
    return _stack(params, points, text, layers)


def _stack(params, points, text, layers):
    B, T, _ = points.shape
    y = np.zeros((B, T, len(params["b_y"])))
    for b in range(B):
        state, x = start(params, layers), np.zeros(3)  # the first input is the zero vector
        for t in range(T):
            y[b, t], state, _ = step(params, x, None if text is None else text[b], state, layers)
            x = points[b, t]
    return y


def start(params, layers):
    """The state before the first point: (h, c) of each layer, w, kappa; all zero."""
    n = params["layers.0.W_h"].shape[1]
    A = params["layers.0.W_x"].shape[1] - 3
    K = len(params.get("b_p", ())) // 3
    return [(np.zeros(n), np.zeros(n)) for _ in range(layers)], np.zeros(A), np.zeros(K)


def step(params, x, text, state, layers):
    """One point further: y, state, phi (None without a text)."""
    cells, w, kappa = state
    below, after, phi = np.zeros(0), [], None
    for k in range(layers):
        W_x, W_h, peep, b = (params[f"layers.{k}.{name}"] for name in ("W_x", "W_h", "peep", "b"))
        h, c, _ = lstm_step(np.concatenate([x, below, w]), *cells[k], W_x, W_h, peep, b)
        after.append((h, c))
        if k == 0 and text is not None:
            w, kappa, phi = window_step(params["W_p"] @ h + params["b_p"], kappa, text, len(w))
        below = h
    y = params["W_y"] @ np.concatenate([h for h, _ in after]) + params["b_y"]
    return y, (after, w, kappa), phi


def draw(y, noise, bias):
    """One point of the mixture y, from noise (4,): a uniform, two normals, a uniform (section 5.4).

    A bias b ≥ 0 shrinks σ to exp(σ̂ - b) and sharpens π to softmax(π̂ (1 + b)).
    """
    e_hat, pi_hat, mu1, mu2, s1, s2, rho_hat = _split(y)
    pi = np.exp((pi_hat - pi_hat.max()) * (1 + bias))
    j = min(int(np.sum(np.cumsum(pi) / pi.sum() <= noise[0])), len(pi) - 1)
    # noise of variance 1 that correlates by ρ with noise[1]; sqrt(1 - ρ²) = 1 / cosh ρ̂
    correlated = np.tanh(rho_hat[j]) * noise[1] + noise[2] / np.cosh(rho_hat[j])
    dx = mu1[j] + np.exp(s1[j] - bias) * noise[1]
    dy = mu2[j] + np.exp(s2[j] - bias) * correlated
    return np.array([dx, dy, float(noise[3] < 1 / (1 + np.exp(e_hat)))])


def write(params, text, noise, bias=0.0, prime=None):
    """Let the synthesis net write: section 5.3 to 5.5.

    text     (batch, letters) int, -1 after the end
    noise    (batch, time, 4): per point a uniform, two normals, a uniform; at most `time` points
    prime    None, or points (batch, time', 3) and their lengths (batch,): the pen is led through
             these first, and the text starts with what they say
    returns  points (batch, time, 3), zero from a line's end on, and the lines' lengths (batch,). A
             line ends before the first point at which phi(U + 1) > phi(u) for all letters u ≤ U
    """
    B, T, _ = noise.shape
    layers = sum(name.endswith("W_h") for name in params)
    points, lengths = np.zeros((B, T, 3)), np.full(B, T)
    for b in range(B):
        letters = text[b][text[b] >= 0]
        state, x = start(params, layers), np.zeros(3)
        for t in range(T):
            y, state, phi = step(params, x, letters, state, layers)
            led = prime is not None and t < prime[1][b]
            if not led and phi[-1] > phi[:-1].max():
                lengths[b] = t
                break
            x = prime[0][b, t] if led else draw(y, noise[b, t], bias)
            points[b, t] = x
    return points, lengths
