"""What the definitions of handwriting and their twins are tried on."""

import numpy as np


def log_density(rng):
    """One point; several axes; numbers of size 4; components that are nearly lines; two tiny ones.

    The fourth case has |ρ̂| up to 30, where 1 - ρ² is 0 in floating point. In its last row the
    component with ρ̂ = 30 has γ = 0: its huge 1 / (1 - ρ²) must not reach the gradient.
    """
    for shape, M, scale in [((1,), 1, 1), ((2, 3), 4, 1), ((5,), 3, 4)]:
        yield scale * rng.normal(size=(*shape, 1 + 6 * M)), rng.normal(size=(*shape, 3))
    y, x = rng.normal(size=(4, 13)), rng.normal(size=(4, 3))
    y[:, 11:] = [[9.2, -9.2], [15.0, 0.0], [-15.0, 1.0], [0.0, 30.0]]  # ρ̂
    y[3, 2] = -1000.0  # π̂
    yield y, x
    y, x = np.zeros((2, 7)), rng.normal(size=(2, 3))
    y[:, 4:6], x[:, :2] = -12.0, 1e-5 * x[:, :2]  # σ = e⁻¹²
    yield y, x


def prediction(rng):
    """All sizes 1; two layers and odd sizes that differ."""
    for n, layers, M, B, T in [(1, 1, 1, 1, 1), (3, 2, 2, 2, 4)]:
        yield {"width": n, "layers": layers, "mixtures": M}, rng.normal(size=(B, T, 3))


def synthesis(rng):
    """All sizes 1; padding in the text, and more than one of everything; three layers."""
    for A, n, layers, M, K, T, text in [
        (1, 1, 1, 1, 1, 1, [[0]]),
        (4, 3, 2, 2, 2, 5, [[3, 0, 1], [2, -1, -1]]),
        (3, 2, 3, 1, 1, 2, [[1, 2]]),
    ]:
        net = {"alphabet": A, "width": n, "layers": layers, "mixtures": M, "gaussians": K}
        text = np.array(text)
        yield net, rng.normal(size=(len(text), T, 3)), text


def write(rng):
    """One letter; a net that stops and one that is cut off; bias; a prime of unequal lengths."""
    for pace, text, T, bias, led in [
        (1.0, [[0]], 4, 0.0, None),
        (0.4, [[1, 2, 0], [2, -1, -1]], 12, 0.5, None),
        (0.3, [[1, 2, 0], [0, 2, -1]], 9, 2.0, [5, 2]),
    ]:
        params, text, B = _params(rng, pace), np.array(text), len(text)
        uniform, normal = rng.uniform(size=(B, T, 1)), rng.normal(size=(B, T, 2))
        noise = np.concatenate([uniform, normal, rng.uniform(size=(B, T, 1))], -1)
        prime = None if led is None else (rng.normal(size=(B, max(led), 3)), np.array(led))
        yield params, text, noise, bias, prime


def _params(rng, pace, n=3, A=3, M=2, K=2):
    """A random net of two layers whose window moves by `pace` letters a step, give or take."""
    shapes = {"W_y": (1 + 6 * M, 2 * n), "b_y": (1 + 6 * M,), "W_p": (3 * K, n)}
    for k in range(2):
        shapes[f"layers.{k}.W_x"] = (4 * n, 3 + n * k + A)
        shapes[f"layers.{k}.W_h"] = (4 * n, n)
        shapes[f"layers.{k}.peep"] = (3, n)
        shapes[f"layers.{k}.b"] = (4 * n,)
    params = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    return params | {"b_p": np.concatenate([np.zeros(2 * K), np.full(K, np.log(pace))])}
