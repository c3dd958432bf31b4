"""What the definitions of handwriting and their twins are tried on."""

import numpy as np


def log_density(rng):
    """One point; several axes; far away; a component that is nearly a line; one that nothing comes near."""
    for shape, M, scale in [((1,), 1, 1), ((2, 3), 4, 1), ((5,), 3, 4)]:
        yield scale * rng.normal(size=(*shape, 1 + 6 * M)), rng.normal(size=(*shape, 3))
    y, x = rng.normal(size=(4, 13)), rng.normal(size=(4, 3))
    y[:, 11:] = [
        [9.2, -9.2],
        [15.0, 0.0],
        [-15.0, 1.0],
        [0.0, 30.0],
    ]  # the last: no gradient is large where γ is 0
    y[3, 2] = -1000.0
    yield y, x
    y, x = np.zeros((2, 7)), rng.normal(size=(2, 3))
    y[:, 4:6], x[:, :2] = -12.0, 1e-5 * x[:, :2]
    yield y, x


def window(rng):
    """One step, one letter; odd sizes with padding; a window that leaps past the text; a row of padding alone."""
    for B, T, K, text in [
        (1, 1, 1, [[0]]),
        (3, 5, 2, [[2, 0, 1, 3], [1, -1, -1, -1], [3, 3, -1, -1]]),
        (2, 3, 3, [[0, 1], [-1, -1]]),
    ]:
        yield rng.normal(size=(B, T, 3 * K)), rng.uniform(size=(B, K)), np.array(text), 4
    yield 3.0 + rng.normal(size=(1, 4, 3)), np.zeros((1, 1)), np.array([[1, 0, 1]]), 2


def windowed_lstm(rng):
    """One step; odd sizes with padding; saturated gates."""
    for B, T, n, A, K, text, scale in [
        (1, 1, 1, 1, 1, [[0]], 1),
        (2, 5, 3, 4, 2, [[2, 0, 3], [1, -1, -1]], 1),
        (2, 4, 2, 3, 1, [[0, 1], [2, 2]], 20),
    ]:
        shapes = [
            (B, n),
            (B, n),
            (B, A),
            (B, K),
            (4 * n, n),
            (4 * n, A),
            (3, n),
            (3 * K, n),
            (3 * K,),
        ]
        yield (
            scale * rng.normal(size=(B, T, 4 * n)),
            np.array(text),
            *[rng.normal(size=shape) for shape in shapes],
        )


def prediction(rng):
    for n, layers, M, B, T in [(1, 1, 1, 1, 1), (3, 2, 2, 2, 4)]:
        yield {"width": n, "layers": layers, "mixtures": M}, rng.normal(size=(B, T, 3))


def synthesis(rng):
    for A, n, layers, M, K, T, text in [
        (1, 1, 1, 1, 1, 1, [[0]]),
        (4, 3, 2, 2, 2, 5, [[3, 0, 1], [2, -1, -1]]),
        (3, 2, 3, 1, 1, 2, [[1, 2]]),
    ]:
        text = np.array(text)
        yield (
            {"alphabet": A, "width": n, "layers": layers, "mixtures": M, "gaussians": K},
            rng.normal(size=(len(text), T, 3)),
            text,
        )


def write(rng):
    """One letter; a net that stops and one that is cut off; bias; a prime of unequal lengths."""
    for pace, text, T, bias, prime in [
        (1.0, [[0]], 4, 0.0, None),
        (0.4, [[1, 2, 0], [2, -1, -1]], 12, 0.5, None),
        (0.3, [[1, 2, 0], [0, 2, -1]], 9, 2.0, [5, 2]),
    ]:
        text, B, n, A, M, K = np.array(text), len(text), 3, 3, 2, 2
        shapes = {"W_y": (1 + 6 * M, 2 * n), "b_y": (1 + 6 * M,), "W_p": (3 * K, n)}
        for k in range(2):
            shapes |= {
                f"layers.{k}.W_x": (4 * n, 3 + n * k + A),
                f"layers.{k}.W_h": (4 * n, n),
                f"layers.{k}.peep": (3, n),
                f"layers.{k}.b": (4 * n,),
            }
        params = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
        params["b_p"] = np.concatenate([np.zeros(2 * K), np.full(K, np.log(pace))])
        noise = np.concatenate(
            [rng.uniform(size=(B, T, 1)), rng.normal(size=(B, T, 2)), rng.uniform(size=(B, T, 1))],
            -1,
        )
        yield (
            params,
            text,
            noise,
            bias,
            None if prime is None else (rng.normal(size=(B, max(prime), 3)), np.array(prime)),
        )
