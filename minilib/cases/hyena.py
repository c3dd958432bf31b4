"""What the definitions of hyena and their twins are tried on."""

import numpy as np


def implicit_filter(rng):
    """One channel, one unit, one tap; fewer taps than the context, all of them, more."""
    for D, F, bands, context, L in [
        (1, 1, 1, 1, 1),
        (3, 5, 2, 9, 4),
        (2, 4, 3, 6, 6),
        (5, 2, 2, 3, 7),
    ]:
        yield {"width": D, "context": context, "hidden": F, "bands": bands}, L


def gated_conv(rng):
    """One sample; fewer taps than samples, as many, more; a skip of 0; an impulse far back."""
    for B, D, L, taps in [(1, 1, 1, 1), (2, 3, 7, 3), (3, 2, 5, 5), (1, 4, 3, 8)]:
        x0, x1, v = rng.normal(size=(3, B, D, L))
        yield x0, x1, v, rng.normal(size=(D, taps)), rng.normal(size=D)
    x0, x1, v = rng.normal(size=(3, 2, 1, 6))
    yield x0, x1, v, rng.normal(size=(1, 6)), np.zeros(1)
    v = np.zeros((1, 2, 33))
    v[:, :, 0] = 1e3  # all later outputs come from the first sample alone
    x0, x1 = rng.normal(size=(2, 1, 2, 33))
    yield x0, x1, v, rng.normal(size=(2, 33)), rng.normal(size=2)


def hyena_operator(rng):
    """One symbol; a text within the context, one beyond it; sizes all different."""
    for D, F, bands, context, shape in [
        (1, 1, 1, 1, (1, 1)),
        (3, 4, 2, 9, (2, 5)),
        (2, 5, 3, 3, (1, 7)),
    ]:
        made = {"width": D, "context": context, "hidden": F, "bands": bands}
        yield made, rng.normal(size=(*shape, D))


def hyena_lm(rng):
    """One symbol; two layers within the context; one beyond it."""
    for V, D, layers, context, F, bands, shape in [
        (2, 3, 1, 4, 2, 1, (1, 1)),
        (5, 3, 2, 8, 4, 2, (2, 6)),
        (7, 2, 1, 3, 3, 3, (3, 5)),
    ]:
        made = {"vocab_size": V, "width": D, "layers": layers, "context": context}
        yield made | {"hidden": F, "bands": bands}, rng.integers(V, size=shape)
