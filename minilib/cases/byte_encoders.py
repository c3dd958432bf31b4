"""What the definitions of byte_encoders and their twins are tried on."""

import numpy as np


def byt5_encode(rng):
    """Nothing; one byte a character, two, three, four; the last byte value that UTF-8 has."""
    for text in ("", "a", "é", "日本 語", "🙂~", "\x00\x7f", "\U0010ffff\u07ff"):
        yield (text,)


def byt5_decode(rng):
    """Nothing; text; end, padding and unknown between; a sentinel past the bytes; characters cut.

    A character is cut at its end, at its start and in its middle; bytes that UTF-8 never has.
    """
    for ids in (
        [],
        [100, 101, 1],
        [0, 198, 172, 1, 100, 2, 0],
        [3, 258, 259, 300, 100],
        [229, 230, 100],
        [154, 168, 100, 198],
        [233, 100, 154, 168],
    ):
        yield (ids,)


def span_corrupt(rng):
    """No span; one at the start, inside, at the end; three, with one symbol between two of them."""
    ids = [int(i) for i in rng.integers(3, 200, size=12)]
    for starts, lengths in (
        ([], []),
        ([0], [2]),
        ([4], [1]),
        ([9], [3]),
        ([0], [12]),
        ([1, 4, 8], [2, 3, 1]),
    ):
        yield ids, starts, lengths
    yield [], [], []


def canine_buckets(rng):
    """Code points at both ends of Unicode, and those that collide; small tables; two dimensions."""
    yield (np.array([0, 1, 64, 65, 65 + 16384, 16383, 0x10FFFF]),)
    yield rng.integers(0x110000, size=(2, 3)), 16
    yield np.array([5, 30, 30 + 7, 33]), 7


def conv(rng):
    """CANINE's way down and up, Charformer's; lengths that are no multiple; one step; all odd."""
    for B, T, C, E, K, stride in [
        (1, 1, 1, 1, 1, 1),
        (2, 8, 3, 2, 4, 4),
        (2, 6, 3, 2, 4, 4),
        (1, 7, 2, 3, 4, 1),
        (1, 7, 2, 3, 5, 1),
        (1, 1, 2, 3, 5, 1),
        (2, 9, 2, 2, 3, 2),
        (1, 10, 1, 2, 6, 3),
    ]:
        yield rng.normal(size=(B, T, C)), rng.normal(size=(E, C, K)), rng.normal(size=E), stride


def upsample(rng):
    """Whole groups; a last one that is not whole; one molecule for all; as many as characters."""
    for B, S, T, C, K in [(1, 2, 8, 2, 4), (2, 3, 7, 3, 4), (1, 1, 5, 2, 3), (2, 3, 3, 1, 1)]:
        x, y = rng.normal(size=(B, S, C)), rng.normal(size=(B, T, C))
        yield x, y, rng.normal(size=(C, 2 * C, K)), rng.normal(size=C)


def gbst(rng):
    """One step; whole blocks; blocks cut by the end or by padding; steps that are all padding.

    With consensus and without. The last two have scores hundreds apart, which overflow without the
    maximum of their own row.
    """
    for B, T, C, sizes, shorten, consensus in [
        (1, 1, 2, 1, 1, False),
        (1, 12, 3, 4, 3, False),
        (2, 7, 3, 4, 2, False),
        (1, 1, 2, 3, 2, True),
        (2, 7, 3, 3, 4, True),
    ]:
        present = np.ones((B, T), bool)
        present[-1, T - T // 3 :] = False
        x, w = rng.normal(size=(B, T, C)), 2 * rng.normal(size=C)
        yield x, w, present, sizes, shorten, consensus
    yield rng.normal(size=(2, 5, 2)), rng.normal(size=2), np.array([5 * [True], 5 * [False]])
    yield (
        rng.normal(size=(2, 5, 2)),
        rng.normal(size=2),
        np.array([5 * [True], 5 * [False]]),
        2,
        2,
        True,
    )
    x = np.array([400.0, 500, -300, 0, 800, -100])[None, :, None]
    for sign in (1.0, -2.0):
        yield x, np.array([sign]), np.ones((1, 6), bool), 3, 2, sign < 0


def t5_buckets(rng):
    """Every distance to both ends and past them, edges that are exact powers among them."""
    yield (np.arange(-140, 141),)
    yield np.arange(-40, 40).reshape(2, 40), 8, 16
    yield np.arange(-70, 71), 12, 64
    yield np.array([0]), 4, 2


def layer(rng):
    """One step; all see all; padding; blocks, the last cut short; a block of one; nobody there.

    One text is longer than the exact buckets; the last one reaches past the furthest.
    """
    for B, T, C, H, block, padding in [
        (1, 1, 2, 1, None, 0),
        (2, 5, 6, 2, None, 0),
        (2, 21, 4, 1, None, 4),
        (1, 7, 4, 2, 3, 0),
        (2, 8, 4, 1, 4, 5),
        (1, 3, 2, 1, 1, 1),
        (1, 3, 2, 1, 9, 1),
        (2, 3, 4, 2, None, 3),
        (1, 135, 2, 1, None, 0),
    ]:
        present = np.ones((B, T), bool)
        present[-1, T - padding :] = False
        yield {"width": C, "heads": H, "block": block}, rng.normal(size=(B, T, C)), present


def encoder(rng):
    """All readers; one symbol; padding; lengths that are no multiple; local blocks; a long text."""
    for reader, T, layers, shorten, padding in [
        ("bytes", 1, 1, 4, 0),
        ("bytes", 5, 2, 4, 2),
        ("bytes", 135, 1, 4, 0),
        ("canine", 1, 1, 4, 0),
        ("canine", 10, 2, 4, 3),
        ("canine", 6, 1, 3, 4),
        ("gbst", 1, 1, 4, 0),
        ("gbst", 10, 2, 3, 4),
        ("gbst", 8, 1, 2, 3),
    ]:
        B, heads = (1, 1) if T > 100 else (2, 2)
        sizes = {"classes": 3, "reader": reader, "width": 8, "layers": layers, "heads": heads}
        sizes |= {"shorten": shorten, "block": 4, "size": 16}
        ids = rng.integers(3, 0x3000 if reader == "canine" else 259, size=(B, T))
        ids[-1, T - padding :] = 0
        yield sizes, ids
