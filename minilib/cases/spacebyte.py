"""What the definitions of spacebyte and their twins are tried on."""

import numpy as np

TEXTS = [
    "To be, or not to be -- that is",
    "naïve café, Москва и Нева, 中文没有空格, ไทย",
    "  x =  3.14;\n\tif (a_1!=B2) {}\n\n",
    "@[`{/:09AZaz",
]
EVERY = np.array([[98, byte] for byte in range(256)])  # each byte after a letter
EDGES = [*b"/09:@AZ[`az{\x7f\x80\xbf\xc0\xff"]  # where one kind of byte ends and another begins


def is_spacelike(rng):
    """Every byte, in order; then in two axes; none."""
    yield (np.arange(256),)
    yield (np.arange(255, -1, -1).reshape(16, 16),)
    yield (np.zeros(0, dtype=np.int64),)


def boundaries(rng):
    """No byte, one of each kind, two of each kind, every byte after a letter; texts that start in a
    run; bytes that are no UTF-8; rows that differ in their numbers."""
    yield (np.zeros((2, 0), dtype=np.int64),)
    yield (np.array([[32], [97], [0x80], [0xE4]]),)
    yield (np.array([[a, b] for a in b" a\x80\xe4" for b in b" a\x80\xe4"]),)
    yield (EVERY,)
    for text in TEXTS:
        ids = np.array([*text.encode()])
        yield (np.array([ids, ids[::-1]]),)
    yield (rng.integers(256, size=(3, 70)),)


def patch_lengths(rng):
    """No byte; one; a run of spaces; one patch alone; texts of many scripts, backwards too; every
    byte after a letter."""
    for text in [b"", b" ", b"a", b"    ", b"abcdefgh", b"a a  a"]:
        yield (np.array([*text], dtype=np.int64),)
    for text in TEXTS:
        yield (np.array([*text.encode()]),)
        yield (np.array([*text.encode()[::-1]]),)
    yield (EVERY.ravel(),)


def spacebyte(rng):
    """One byte; rows with one patch, few and many; windows that slide; both widths the same.

    Then no block of each kind in turn, fixed patches (of one, and of three that end in between),
    and each byte at the edge of its kind, after a letter.
    """
    rows = [
        b"to be, or not to be",
        b"aaaaaaaaaaaaaaaaaaa",
        b" a b c d e f g h i ",
        b"a  \n\n  b\x80\xe4\xb8\xad\xe6\x96\x87\xff,; z",
    ]
    text = np.array([[*row[:19]] for row in rows])
    names = "width global_width before middle after heads window context patch"
    for *sizes, ids in [
        (2, 2, 1, 1, 1, 1, 1, 1, None, text[:1, :1]),
        (4, 12, 1, 2, 1, 2, 4, 2, None, text),
        (4, 6, 2, 1, 1, 1, 32, 32, None, text[2:, :9]),
        (4, 4, 0, 1, 2, 1, 8, 3, None, text[:2]),
        (4, 8, 1, 0, 0, 2, 3, 3, None, text[:1]),
        (4, 8, 1, 1, 1, 2, 4, 4, 1, text[:1, :7]),
        (4, 8, 1, 2, 1, 1, 5, 3, 3, text[:2]),
        (4, 4, 0, 1, 1, 1, 4, 4, None, EVERY[EDGES].reshape(1, -1)),
    ]:
        yield {"vocab_size": 256, **dict(zip(names.split(), sizes, strict=True))}, ids


def multiply_adds(rng):
    """One byte; windows longer and shorter than the text; no global block; no patch; 7 symbols."""
    yield 1, 1, 2, 4, 1, 1, 1, 1, 1
    yield 12, 3, 8, 10, 1, 3, 2, 5, 2
    yield 12, 7, 8, 10, 2, 3, 2, 50, 20, 7
    yield 9, 0, 4, 6, 1, 2, 0, 3, 3
    yield 9, 4, 4, 6, 0, 0, 3, 9, 4
