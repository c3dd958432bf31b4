"""What the definitions of megabyte and their twins are tried on."""


def patch_block(rng):
    """One step; patches of one; inside a patch; from the middle over many patches; a text that starts with a sight of the patch before."""
    for B, T, H, C, P, reach, position in [
        (1, 1, 1, 2, 1, 0, 0),
        (2, 3, 1, 4, 1, 1, 2),
        (1, 2, 2, 4, 5, 2, 6),
        (2, 9, 2, 8, 4, 0, 3),
        (1, 8, 1, 4, 3, 2, 5),
        (2, 7, 1, 2, 3, 2, 0),
        (1, 4, 1, 2, 2, 2, 1),
    ]:
        past = rng.normal(size=(2, B, H, position % P + (reach if position >= P else 0), C // H))
        yield (
            {"width": C, "heads": H, "patch": P, "reach": reach},
            rng.normal(size=(B, T, C)),
            past[0],
            past[1],
            position,
        )


def megabyte(rng):
    """One symbol; texts shorter than, of and longer than a patch; whole and broken patches; a context that slides; every option."""
    for V, P, G, n, d, m, H, context, conv, reach, B, T in [
        (2, 1, 4, 1, 4, 1, 1, 1, False, 0, 1, 1),
        (5, 4, 8, 1, 4, 1, 2, 8, False, 0, 2, 1),
        (5, 4, 8, 2, 4, 1, 2, 2, False, 0, 2, 11),
        (7, 3, 12, 1, 8, 2, 1, 3, False, 2, 2, 9),
        (5, 2, 4, 1, 4, 2, 1, 4, True, 2, 2, 9),
        (3, 5, 10, 0, 4, 1, 1, 4, True, 0, 1, 12),
    ]:
        shape = {
            "vocab_size": V,
            "patch": P,
            "global_width": G,
            "global_layers": n,
            "local_width": d,
            "local_layers": m,
            "heads": H,
        }
        yield (
            shape | {"context": context, "conv": conv, "reach": reach},
            rng.integers(V, size=(B, T)),
        )


def merge_strides(rng):
    for B, P, T in [(1, 2, 2), (2, 4, 11), (1, 5, 13), (2, 1, 3), (1, 8, 5)]:
        h = (P + 1) // 2
        yield rng.normal(size=(B, T, 3)), rng.normal(size=(B, T - h, 3)), P


def attention_cost(rng):
    return [(1, 1), (7, 3), (12, 4), (12, 4, 2), (5, 9), (64, 1, 1)]


def multiply_adds(rng):
    return [
        (1, 1, 2, 1, 2, 1),
        (12, 4, 8, 2, 6, 1, 256),
        (12, 4, 8, 2, 6, 3, 7, 3),
        (8, 2, 2, 0, 4, 1),
    ]
