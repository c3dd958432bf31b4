"""What the definitions of mamba and their twins are tried on."""


def selective_scan(rng):
    """One step; odd sizes; several blocks; states forgotten at once, and never."""
    for B, L, D, N, size in [
        (1, 1, 1, 1, 1),
        (2, 7, 5, 3, 1),
        (1, 70, 3, 2, 1),
        (1, 6, 2, 2, 200),
        (1, 6, 2, 2, 1e-9),
    ]:
        noise = lambda *shape: rng.normal(size=shape)
        x, dt, A = noise(B, L, D), size * rng.random((B, L, D)), -rng.random((D, N)) - 0.1
        yield x, dt, A, noise(B, L, N), noise(B, L, N), noise(D), noise(B, D, N)


def causal_conv1d(rng):
    """One tap, which looks back at nothing; a text shorter than the taps; sizes all different."""
    for B, L, D, K in [(1, 1, 1, 1), (2, 1, 3, 4), (2, 7, 3, 4)]:
        noise = lambda *shape: rng.normal(size=shape)
        yield noise(B, L, D), noise(D, 1, K), noise(D), noise(B, K - 1, D)


def mamba(rng):
    """One symbol; two layers; a width whose 16th part is no integer; Mamba-2; its smallest size."""
    for V, width, layers, N, heads, B, T in [
        (2, 3, 1, 1, None, 1, 1),
        (5, 4, 2, 3, None, 2, 7),
        (7, 17, 1, 2, None, 1, 5),
        (5, 4, 2, 3, 2, 2, 7),
        (2, 2, 1, 1, 1, 1, 1),
    ]:
        sizes = {"vocab_size": V, "width": width, "layers": layers, "state": N, "heads": heads}
        yield sizes, rng.integers(V, size=(B, T))
