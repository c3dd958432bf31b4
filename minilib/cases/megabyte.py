"""What the definitions of megabyte and their twins are tried on."""


def patch_block(rng):
    """One step; patches of one; inside a patch; from the middle over several patches.

    Then with a reach: from the middle on, from the start of the text, where the first patch has
    none before it (keys of padding would be seen), and from the middle of that first patch.
    """
    for B, T, H, C, P, reach, position in [
        (1, 1, 1, 2, 1, 0, 0),
        (2, 3, 1, 4, 1, 1, 2),
        (1, 2, 2, 4, 5, 2, 6),
        (2, 9, 2, 8, 4, 0, 3),
        (1, 8, 1, 4, 3, 2, 5),
        (2, 7, 1, 2, 3, 2, 0),
        (1, 4, 1, 2, 2, 2, 1),
    ]:
        cached = position % P + (reach if position >= P else 0)
        x, past = rng.normal(size=(B, T, C)), rng.normal(size=(2, B, H, cached, C // H))
        yield {"width": C, "heads": H, "patch": P, "reach": reach}, x, *past, position


def megabyte(rng):
    """One symbol; texts shorter than a patch, of whole patches, of broken ones; every option.

    The third has a context that slides, the fourth a reach, the fifth convolutions, the last no
    planner layers.
    """
    names = "vocab_size patch global_width global_layers local_width local_layers heads context"
    for *sizes, conv, reach, B, T in [
        (2, 1, 4, 1, 4, 1, 1, 1, False, 0, 1, 1),
        (5, 4, 8, 1, 4, 1, 2, 8, False, 0, 2, 1),
        (5, 4, 8, 2, 4, 1, 2, 2, False, 0, 2, 11),
        (7, 3, 12, 1, 8, 2, 1, 3, False, 2, 2, 9),
        (5, 2, 4, 1, 4, 2, 1, 4, True, 2, 2, 9),
        (3, 5, 10, 0, 4, 1, 1, 4, True, 0, 1, 12),
    ]:
        shape = dict(zip(names.split(), sizes, strict=True))
        yield (
            {**shape, "conv": conv, "reach": reach},
            rng.integers(shape["vocab_size"], size=(B, T)),
        )


def merge_strides(rng):
    """Nothing to take from the second run but one; even and odd patches; a text of half a patch."""
    for B, P, T in [(1, 2, 2), (2, 4, 11), (1, 5, 13), (2, 1, 3), (1, 8, 5)]:
        h = (P + 1) // 2
        yield rng.normal(size=(B, T, 3)), rng.normal(size=(B, T - h, 3)), P


def attention_cost(rng):
    """One byte; a last patch that is not whole; whole patches; a reach; a patch longer than all."""
    yield 1, 1
    yield 7, 3
    yield 12, 4
    yield 12, 4, 2
    yield 5, 9
    yield 64, 1, 1


def multiply_adds(rng):
    """One byte; unequal widths and layers; a reach and a small alphabet; no planner."""
    yield 1, 1, 2, 1, 2, 1
    yield 12, 4, 8, 2, 6, 1, 256
    yield 12, 4, 8, 2, 6, 3, 7, 3
    yield 8, 2, 2, 0, 4, 1
