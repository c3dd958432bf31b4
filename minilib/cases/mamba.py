"""What the definitions of mamba and their twins are tried on."""


def selective_scan(rng):
    """One step; odd sizes; several blocks; a state that is forgotten at once, and one that is never."""
    for B, L, D, N, size in [
        (1, 1, 1, 1, 1),
        (2, 7, 5, 3, 1),
        (1, 70, 3, 2, 1),
        (1, 6, 2, 2, 200),
        (1, 6, 2, 2, 1e-9),
    ]:
        noise = lambda *shape: rng.normal(size=shape)
        yield (
            noise(B, L, D),
            size * rng.random((B, L, D)),
            -rng.random((D, N)) - 0.1,
            noise(B, L, N),
            noise(B, L, N),
            noise(D),
            noise(B, D, N),
        )


def causal_conv1d(rng):
    for B, L, D, K in [(1, 1, 1, 1), (2, 1, 3, 4), (2, 7, 3, 4)]:
        yield (
            rng.normal(size=(B, L, D)),
            rng.normal(size=(D, 1, K)),
            rng.normal(size=D),
            rng.normal(size=(B, K - 1, D)),
        )


def mamba(rng):
    for V, width, layers, N, heads, B, T in [
        (2, 3, 1, 1, None, 1, 1),
        (5, 4, 2, 3, None, 2, 7),
        (7, 17, 1, 2, None, 1, 5),
        (5, 4, 2, 3, 2, 2, 7),
        (2, 2, 1, 1, 1, 1, 1),
    ]:
        yield (
            {"vocab_size": V, "width": width, "layers": layers, "state": N, "heads": heads},
            rng.integers(V, size=(B, T)),
        )
