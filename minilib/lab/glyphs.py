"""Pictures of letters that touch, with every letter known: drawn from the DejaVu Sans Bold that comes with matplotlib."""

import functools
from typing import NamedTuple

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

ALPHABET = "abcdefghklmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"  # no i and j, which are in two pieces, no I and O, which look like l and o
PARTS = ("train", "validation", "test")


class Glyphs(NamedTuple):
    """images (count, size, size) float32, lines about 1 on paper about 0; instances likewise, int64, 0 is paper, k the k-th letter."""

    images: np.ndarray
    instances: np.ndarray


def letters(part):
    """The letters of one part, which no other part has: of every five in ALPHABET the fourth is for validation, the fifth for testing."""
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    return "".join(
        letter for k, letter in enumerate(ALPHABET) if PARTS.index(part) == max(0, k % 5 - 2)
    )


def glyphs(part="train", count=32, size=92, seed=0, noise=0.25):
    """Pictures of outlined letters in crowded lines, and which pixel belongs to which letter.

    part     "train", "validation" or "test": each has letters of its own (see `letters`)
    count    number of pictures, size × size pixels. Picture k depends on part, size, seed, noise and k alone
    noise    standard deviation of the noise on the paper; the line of a letter is its outermost pixels, raised by 1
    returns  Glyphs(images, instances), NumPy arrays. Letters are turned a little, 19 to 25 pixels tall (capitals), and pushed together
             until a single pixel parts them, often at more than one place. Those at the edge are cut
    Raises ValueError for another part, or count or size below 1.
    """
    alphabet = letters(part)
    if count < 1 or size < 1:
        raise ValueError(f"count and size must be 1 or more, got {count} and {size}")
    instances = np.zeros((count, size, size), np.int64)
    images = np.zeros((count, size, size), np.float32)
    for k in range(count):
        random = np.random.default_rng([seed, PARTS.index(part), k])
        page = _page(random, alphabet, size)
        instances[k] = page[1:-1, 1:-1]
        images[k] = _line(page)[1:-1, 1:-1] + noise * random.normal(size=(size, size))
    return Glyphs(images, instances)


def _page(random, alphabet, size, edge=40):
    """(size + 2, size + 2) instances: lines of letters on a larger page, its edge cut off."""
    page = np.zeros((size + 2 * edge,) * 2, np.int64)
    name, baseline = 0, edge + random.integers(0, 26)
    while baseline < len(page) - 24:
        left = random.integers(0, 16)
        while left < len(page) - edge:
            rows, columns = _ink(
                random.choice(list(alphabet)), random.uniform(26, 34), random.uniform(-0.25, 0.25)
            )
            rows = rows + baseline + random.integers(-2, 3)
            near = _grow(page > 0)
            while left + columns.max() < len(page) and near[rows, left + columns].any():
                left += 1
            if left + columns.max() >= len(page):
                break
            name += 1
            page[rows, left + columns] = name
            left += columns.max() // 2  # from here the next letter is pushed right until it is free
        baseline += random.integers(23, 29)
    return page[edge - 1 : 1 - edge, edge - 1 : 1 - edge]


def _ink(letter, height, angle):
    """Rows and columns of a letter's pixels, its baseline at row 0 and its leftmost pixel at column 0."""
    path = _outline(letter).transformed(Affine2D().scale(height, -height).rotate(angle))
    y, x = np.mgrid[-40:20, -20:50]
    inside = np.zeros(y.size, bool)
    for ring in path.to_polygons():
        inside ^= Path(ring).contains_points(
            np.stack([x.ravel(), y.ravel()], 1)
        )  # a ring within a ring is a hole
    return y.ravel()[inside], x.ravel()[inside] - x.ravel()[inside].min()


@functools.cache
def _outline(letter):
    return TextPath(
        (0, 0), letter, size=1.0, prop=FontProperties(family="DejaVu Sans", weight="bold")
    )


def _grow(mask):
    """A mask and the eight neighbours of its every pixel."""
    tall = mask.copy()
    tall[1:] |= mask[:-1]
    tall[:-1] |= mask[1:]
    wide = tall.copy()
    wide[:, 1:] |= tall[:, :-1]
    wide[:, :-1] |= tall[:, 1:]
    return wide


def _line(page):
    """The pixels of letters that have paper above, below, left or right of them."""
    paper = np.pad(page == 0, 1)
    return (page > 0) & (paper[2:, 1:-1] | paper[:-2, 1:-1] | paper[1:-1, 2:] | paper[1:-1, :-2])
