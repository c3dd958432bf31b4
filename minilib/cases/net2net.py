"""What the definition of net2net and its twin are tried on."""


def widen(rng):
    """One channel pair; no copy; sizes all different; a part of the names, in another order."""
    for V, C, layers, times in [(2, 2, 1, 2), (3, 4, 1, 1), (5, 6, 2, 3)]:
        norms = [f"{norm}.{kind}" for norm in ("norm1", "norm2") for kind in ("weight", "bias")]
        shapes = {"embed": (V, C), "norm.weight": (C,), "norm.bias": (C,), "output": (V, C)}
        for n in range(layers):
            shapes |= {f"blocks.{n}.{name}": (C,) for name in norms}
            shapes |= {f"blocks.{n}.qkv": (3 * C, C), f"blocks.{n}.out": (C, C)}
            shapes |= {f"blocks.{n}.up": (4 * C, C), f"blocks.{n}.down": (C, 4 * C)}
        yield {name: rng.normal(size=shape) for name, shape in shapes.items()}, times
    yield {"output": rng.normal(size=(3, 2)), "embed": rng.normal(size=(3, 2))}, 4
