"""What the definitions of handwriting and their twins are tried on."""

import numpy as np


def log_density(rng):
    """One point; several axes; numbers of size 4; components that are nearly lines; two tiny ones.

    Every other point ends its stroke. Cases 4 to 7 have |ρ̂| up to 30, where 1 - ρ² is 0 in
    floating point, each alone: beside -10⁶ nats no others are seen. In the seventh the component
    with ρ̂ = 30 has γ = 0: its huge 1 / (1 - ρ²) must not reach the gradient. In the last case the
    points are so far from all components, 60 σ, that every density underflows.
    """
    for shape, M, scale in [((1,), 1, 1), ((2, 3), 4, 1), ((5,), 3, 4)]:
        yield scale * rng.normal(size=(*shape, 1 + 6 * M)), _points(rng, *shape)
    y, x = rng.normal(size=(4, 13)), _points(rng, 4)
    y[:, 11:] = [[9.2, -9.2], [15.0, 0.0], [-15.0, 1.0], [0.0, 30.0]]  # ρ̂
    y[3, 2] = -1000.0  # π̂
    yield from zip(y[:, None], x[:, None], strict=True)
    y, x = np.zeros((2, 7)), _points(rng, 2)
    y[:, 4:6], x[:, :2] = -12.0, 1e-5 * x[:, :2]  # σ = e⁻¹²
    yield y, x
    y, x = rng.normal(size=(2, 13)), _points(rng, 2)
    y[:, 7:11], x[:, :2] = 0.0, x[:, :2] + [[60.0, -60.0], [-60.0, 60.0]]  # σ = 1
    yield y, x


def _points(rng, *shape):
    """(*shape, 3) points; the pen is lifted after the second, the fourth ..."""
    x = rng.normal(size=(*shape, 3))
    x[..., 2] = np.arange(x[..., 2].size).reshape(shape) % 2
    return x


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
    """What a line's end, its prime and the mixture's edges depend on.

    1 one letter                           2 a net that stops and one that is cut off; padding, bias
    3 a prime of unequal lengths: none; one that lasts longer than the window is on the text
    4 one Gaussian of three stays at the first letter and outweighs the one that reaches the end
    5 a window of β = 0, the same everywhere: behind the text is never *more* than on it; and the
      edges of `_edges`
    """
    slow_is_heavy = [2.0, 0.0, 0.0, 0.3, 1.0, 1.5]
    for pace, text, T, bias, led in [
        (1.0, [[0]], 4, 0.0, None),
        (0.4, [[1, 2, 0], [2, -1, -1]], 12, 0.5, None),
        (0.4, [[1, 2, 0], [0, 2, -1], [1, -1, -1]], 9, 2.0, [2, 0, 6]),
        (slow_is_heavy, [[1, 0, 2]], 14, 0.0, None),
    ]:
        params, text, B = _params(rng, pace), np.array(text), len(text)
        uniform, normal = rng.uniform(size=(B, T, 1)), rng.normal(size=(B, T, 2))
        noise = np.concatenate([uniform, normal, rng.uniform(size=(B, T, 1))], -1)
        prime = None if led is None else (rng.normal(size=(B, max(led), 3)), np.array(led))
        yield params, text, noise, bias, prime
    yield _edges(rng)


def _edges(rng):
    """A net that always says the same, and uniforms on the edges of what it says.

    π̂ = 0, 1001, 1000 overflows an exponential, and under a bias of 2 the weights are 0, 0.95 and
    0.05: a uniform of 0 does not draw what weighs nothing, 0.85 draws the second (the third without
    the bias), and 1, to which a uniform may be rounded, the last. The stroke ends where the last
    uniform is less than 1/2, not where it is 1/2.
    """
    params = _params(rng, 1.0, M=3, K=2)
    params["W_y"] = 0 * params["W_y"]
    params["b_y"] = np.concatenate([[0.0, 0.0, 1001.0, 1000.0], rng.normal(size=15)])
    params["b_p"] = np.array([0.0, 0.0, -1000.0, -1000.0, 0.0, 0.0])  # α̂, β̂, κ̂
    noise = rng.normal(size=(1, 3, 4))
    noise[0, :, 0], noise[0, :, 3] = [0.0, 0.85, 1.0], [0.5, 0.25, 0.75]
    return params, np.array([[0, 1]]), noise, 2.0, None


def _params(rng, pace, n=3, A=3, M=2, K=3):
    """A random net of two layers whose window moves by `pace` letters a step, give or take.

    For K Gaussians of different weights, `pace` is K values of α̂ and then the K paces.
    """
    if np.ndim(pace) == 0:
        pace = [0.0] * K + [pace] * K
    shapes = {"W_y": (1 + 6 * M, 2 * n), "b_y": (1 + 6 * M,), "W_p": (3 * K, n)}
    for k in range(2):
        shapes[f"layers.{k}.W_x"] = (4 * n, 3 + n * k + A)
        shapes[f"layers.{k}.W_h"] = (4 * n, n)
        shapes[f"layers.{k}.peep"] = (3, n)
        shapes[f"layers.{k}.b"] = (4 * n,)
    params = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    weights, paces = pace[:K], np.log(pace[K:])
    return params | {"b_p": np.concatenate([weights, np.zeros(K), paces])}
