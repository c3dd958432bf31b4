"""What the definitions of funnel and their twins are tried on."""


def pool(rng):
    """[CLS] alone; one step; an even and an odd number of steps."""
    for heads, B, S in [(1, 1, 1), (2, 2, 2), (2, 3, 5), (1, 1, 8)]:
        yield {"width": 4, "heads": heads}, rng.normal(size=(B, S, 4))


def funnel(rng):
    """One symbol; lengths that are odd at one level or another; one level."""
    for levels, layers, heads, B, T in [
        (1, 1, 1, 1, 1),
        (3, 1, 2, 2, 1),
        (3, 2, 1, 2, 6),
        (2, 1, 2, 3, 5),
    ]:
        sizes = {"vocab_size": 5, "width": 8, "layers": layers, "levels": levels, "heads": heads}
        yield sizes, rng.integers(5, size=(B, T))
