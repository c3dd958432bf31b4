"""Pictures of crowded letters, with every letter known; the font is matplotlib's DejaVu Sans."""

import functools
import itertools
from typing import NamedTuple

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

# without i and j, which are in two pieces, and without I, which looks like l; of a letter whose
# capital has its shape, such as o, the small one alone: no shape is in two parts of the split
ALPHABET = "abcdefghklmnopqrstuvwxyzABDEFGHJLMNQRT"
PARTS = ("train", "validation", "test")


class Glyphs(NamedTuple):
    """Pictures, and which pixel belongs to which letter.

    images     (count, size, size) float32, lines about 1 on paper about 0
    instances  (count, size, size) int64; 0 is paper, k the k-th letter
    """

    images: np.ndarray
    instances: np.ndarray


def letters(part: str) -> str:
    """The letters of one part, which no other part has.

    Of every five in ALPHABET the fourth is for validation and the fifth for testing.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    number = PARTS.index(part)
    return "".join(letter for k, letter in enumerate(ALPHABET) if max(0, k % 5 - 2) == number)


def glyphs(
    part: str = "train", count: int = 32, size: int = 92, seed: int = 0, noise: float = 0.25
) -> Glyphs:
    """Pictures of outlined letters in crowded lines, and which pixel belongs to which letter.

    part     "train", "validation" or "test": each has letters of its own (see `letters`)
    count    number of pictures, size × size pixels. Picture k depends on part, size, seed, noise
             and k alone
    noise    standard deviation of the noise on the paper; the line of a letter is its outermost
             pixels, raised by 1
    returns  Glyphs(images, instances), NumPy arrays. Letters are turned a little, 19 to 25 pixels
             tall (capitals), and pushed together until a single pixel parts them, often at more
             than one place. Those at the edge are cut
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
            letter, height = random.choice(list(alphabet)), random.uniform(26, 34)
            rows, columns = ink(letter, height, random.uniform(-0.25, 0.25))
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


def ink(letter: str, height: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a letter's pixels, the baseline row 0, the leftmost pixel column 0."""
    path = _outline(letter).transformed(Affine2D().scale(height, -height).rotate(angle))
    y, x = np.mgrid[-40:20, -20:50]
    places, inside = np.stack([x.ravel(), y.ravel()], 1), np.zeros(y.size, bool)
    for ring in path.to_polygons():
        inside ^= Path(ring).contains_points(places)  # a ring within a ring is a hole
    columns, rows = places[inside].T
    return rows, columns - columns.min()


def pieces(mask: np.ndarray) -> np.ndarray:
    """Number the connected pieces of each picture: pixels that share a side are one piece.

    mask     (count, height, width) bool
    returns  (count, height, width) int64; 0 outside of the mask

    Each pixel starts with a number of its own. Then the largest number among neighbours spreads
    until nothing changes. A number is the place of a pixel, whose own number may be larger by now:
    the last line takes that one.
    """
    names = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        wide = np.pad(names, ((0, 0), (1, 1), (1, 1)))
        below, above = wide[:, 2:, 1:-1], wide[:, :-2, 1:-1]
        right, left = wide[:, 1:-1, 2:], wide[:, 1:-1, :-2]
        spread = np.maximum.reduce([names, below, above, right, left]) * mask
        if (spread == names).all():
            return names
        names = np.where(mask, spread.ravel()[spread - 1], 0)


def alone(mask: np.ndarray, instances: np.ndarray, least: int = 40) -> float:
    """Fraction of letters of at least `least` pixels that are a piece of their own.

    A piece and a letter must share more than half of the pixels that they have together.

    mask       (count, height, width) bool, the pixels that are called a letter
    instances  (count, height, width) int; 0 is paper, k the k-th letter
    """
    found = []
    for names, picture in zip(pieces(mask), instances, strict=True):
        for k in np.unique(picture[picture > 0]):
            letter = picture == k
            if letter.sum() < least:
                continue
            inside = names[letter & (names > 0)]
            if not len(inside):
                found.append(False)
                continue
            numbers, counts = np.unique(inside, return_counts=True)
            piece = names == numbers[counts.argmax()]  # the one that shares most
            found.append((piece & letter).sum() > (piece | letter).sum() / 2)
    return float(np.mean(found))


def tell_apart(names: np.ndarray, reach: int = 6) -> np.ndarray:
    """Numbers 1, 2, … for the names of a picture, for its colours: near names never share one.

    names    (height, width) int; 0 is paper, each other number a name
    reach    names with at most so many pixels between them are near
    returns  (height, width) int64; 0 stays 0, each name gets the smallest number that is free
    """
    numbers = np.zeros(names.shape, np.int64)
    for name in np.unique(names[names > 0]):
        near = names == name
        for _ in range(reach + 1):
            near = _grow(near)
        taken = set(numbers[near])
        free = (number for number in itertools.count(1) if number not in taken)
        numbers[names == name] = next(free)
    return numbers


@functools.cache
def _outline(letter):
    font = FontProperties(family="DejaVu Sans", weight="bold")
    return TextPath((0, 0), letter, size=1.0, prop=font)


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
    above, below, left, right = paper[:-2, 1:-1], paper[2:, 1:-1], paper[1:-1, :-2], paper[1:-1, 2:]
    return (page > 0) & (above | below | left | right)
