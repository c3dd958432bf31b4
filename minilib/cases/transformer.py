"""What the definitions of transformer and their twins are tried on."""


def block(rng):
    """One step; several on a cache, some of it dropped; both ways.

    The second stands at step 7 with 4 steps in its cache: to count from the cache is no good.
    """
    for B, T, H, C, position, causal, window in [
        (1, 1, 1, 4, 0, True, None),
        (2, 5, 2, 8, 7, True, 4),
        (2, 3, 1, 4, 0, False, None),
    ]:
        S = min(position, window or position)
        x, past = rng.normal(size=(B, T, C)), rng.normal(size=(2, B, H, S, C // H))
        yield {"width": C, "heads": H, "causal": causal, "window": window}, x, *past, position


def transformer(rng):
    """One symbol; texts shorter than, as long as and longer than the context."""
    for V, C, layers, H, context, B, T in [
        (2, 4, 1, 1, 1, 1, 1),
        (5, 4, 1, 2, 8, 2, 4),
        (7, 8, 2, 2, 4, 2, 4),
        (5, 4, 3, 1, 3, 2, 9),
    ]:
        sizes = {"vocab_size": V, "width": C, "layers": layers, "heads": H, "context": context}
        yield sizes, rng.integers(V, size=(B, T))
