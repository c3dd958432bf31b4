"""What the definitions of lstm and their twins are tried on."""

import numpy as np


def lstm(rng):
    """One step; odd sizes; saturated gates; gates at 1,000, whose exp is no number."""
    for B, T, n, scale in [(1, 1, 1, 1), (1, 3, 2, 1), (3, 7, 5, 1), (2, 4, 3, 20)]:
        yield (
            scale * rng.normal(size=(B, T, 4 * n)),
            rng.normal(size=(B, n)),
            rng.normal(size=(B, n)),
            rng.normal(size=(4 * n, n)),
            rng.normal(size=(3, n)),
        )
    x = np.array([[[1000.0, 1000.0, 1.0, -1000.0], [-1000.0, 1000.0, -1.0, 1000.0]]])
    yield x, np.array([[0.5]]), np.array([[2.0]]), rng.normal(size=(4, 1)), rng.normal(size=(3, 1))


def lstm_lm(rng):
    """One of everything; one layer; three layers, each with the one below; a gate at 1,000."""
    for V, n, layers, B, T in [(2, 1, 1, 1, 1), (5, 3, 1, 2, 4), (7, 4, 3, 3, 5)]:
        yield {"vocab_size": V, "width": n, "layers": layers}, rng.integers(V, size=(B, T))
    yield {"vocab_size": 3, "width": 2, "forget_bias": 1000.0}, rng.integers(3, size=(1, 3))


def dynamic_evaluation(rng):
    """One prediction; a last chunk that is cut short, whole, longer than the text; no learning.

    Last, forget gates and logits near a thousand, whose exp is no number.
    """
    V, n = 5, 3
    shapes = {
        "layers.0.symbol": (V, 4 * n),
        "layers.0.below": (4 * n, 0),
        "layers.0.recurrent": (4 * n, n),
        "layers.0.peep": (3, n),
        "layers.0.bias": (4 * n,),
        "output": (V, n),
        "output_bias": (V,),
    }
    for T, chunk, lr in [(2, 1, 0.5), (9, 4, 1.0), (9, 8, 0.1), (5, 100, 1.0), (7, 3, 0.0)]:
        params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        yield params, rng.integers(V, size=T), chunk, lr
    large = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    large["layers.0.bias"][n : 2 * n] = 1000
    large["output_bias"] = np.array([1000.0, 0.0, -1000.0, 500.0, 999.0])
    yield large, np.array([0, 1, 4, 2, 0, 3]), 2, 0.5
