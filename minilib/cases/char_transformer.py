"""What the definitions of char_transformer and their twins are tried on."""


def post_norm_block(rng):
    """One step; several on a cache, which a triangle aligned top left gets wrong; no cache."""
    for B, T, H, C, S in [(1, 1, 1, 4, 0), (2, 3, 2, 6, 4), (2, 5, 1, 3, 0), (1, 1, 3, 6, 2)]:
        x, past = rng.normal(size=(B, T, C)), rng.normal(size=(2, B, H, S, C // H))
        yield {"width": C, "heads": H}, x, *past


def char_transformer(rng):
    """One symbol; texts shorter than, as long as and longer than a window; windows of one symbol.

    The last two have whole windows and a rest, where places start again and nothing is seen.
    """
    for V, C, layers, H, context, B, T in [
        (2, 4, 1, 1, 3, 1, 1),
        (5, 6, 2, 2, 8, 2, 4),
        (5, 3, 3, 1, 4, 1, 4),
        (3, 4, 1, 2, 1, 2, 3),
        (7, 4, 2, 2, 3, 2, 8),
    ]:
        sizes = {"vocab_size": V, "width": C, "layers": layers, "heads": H, "context": context}
        yield sizes, rng.integers(V, size=(B, T))


def active_layers(rng):
    """One layer; start, end and every edge l / (2n), where layer l has just stopped paying.

    Between two edges, too; n = 3 has edges that no float holds exactly.
    """
    for n in (1, 2, 3, 4, 8):
        for progress in [0.0, 0.3, 0.5, 1.0, *(l / (2 * n) for l in range(1, n + 1))]:
            yield n, progress


def auxiliary_loss(rng):
    """All layers, some, the top one alone; one place, some, all; no weight and other weights.

    T = 1 has no second target at all. A logit of 2,000 overflows without the row's maximum.
    """
    for n, B, T, C, V, progress, second, places in [
        (1, 1, 1, 1, 2, 0.0, 0.5, None),
        (3, 2, 4, 2, 5, 0.0, 0.5, None),
        (3, 2, 4, 2, 5, 0.25, 0.5, None),
        (2, 2, 3, 3, 4, 0.25, 0.25, None),
        (2, 1, 3, 3, 4, 1.0, 0.0, None),
        (2, 3, 4, 2, 3, 0.0, 2.0, 1),
        (2, 2, 5, 2, 3, 0.0, 0.5, 3),
    ]:
        ids = rng.integers(V, size=(B, T + 1))
        states, classifiers = rng.normal(size=(n, B, T, C)), rng.normal(size=(n, 2, V, C))
        yield states, classifiers, ids, progress, second, places
    states, classifiers = 40 + rng.normal(size=(1, 1, 2, 1)), 45 + rng.normal(size=(1, 2, 3, 1))
    yield states, classifiers, rng.integers(3, size=(1, 3)), 0.0


def count_parameters(rng):
    """One of everything; sizes all different; the two models of the paper."""
    yield 1, 1, 1, 1
    yield 7, 6, 3, 5
    yield 256, 512, 12, 512
    yield 256, 512, 64, 512
