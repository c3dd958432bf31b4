"""Letters of eight faces, each with its Unicode name; the fonts come with matplotlib (DejaVu)."""

import functools
import os
import unicodedata
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font

FACES = (
    *("Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "SansMono-Bold"),
    *("Serif", "Serif-Bold", "Serif-Italic"),
)
SCRIPTS = "LATIN ", "GREEK ", "CYRILLIC "
LAST = 0x2000  # letters come before this code point
LONGEST = 7  # words in a caption, at most
PARTS = ("train", "validation", "test")


class Letters(NamedTuple):
    """Pictures of letters; names[k], letters[k] and faces[k] say what images[k] shows.

    images   (count, side, side) float32 in [0, 1]; 0 is paper
    """

    images: np.ndarray
    names: list[str]
    letters: list[str]
    faces: list[str]


def named_letters(part: str = "train", side: int = 24) -> Letters:
    """Letters of the Latin, Greek and Cyrillic scripts in eight faces, one in each picture.

    part     "train", "validation" or "test". The split is by name: a name is in one part alone, in
             all its faces. Names with a picture in common, such as those of the Latin and the Greek
             A, stay together. A tenth of them are for validation, a tenth for testing
    side     pixels; a letter is drawn at 3/4 of it. Those that do not fit are left out
    Raises ValueError for another part, or a side below 8.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if side < 8:
        raise ValueError(f"side must be 8 or more, got {side}")
    images, names, letters, faces = _all(side)
    part_of = _split(side)
    rows = [k for k, name in enumerate(names) if part_of[name] == part]
    pick = lambda values: [values[k] for k in rows]
    return Letters(images[rows], pick(names), pick(letters), pick(faces))


class Captioned(NamedTuple):
    """Latin letters with their names as captions, and the words that captions are made of.

    images    (count, side, side) float32 in [0, 1]; 0 is paper
    captions  (count, 7) int64: numbers of words, 0 behind the last one
    words     words[k] is the word of number k; words[0] stands for "no word"
    names, letters, faces  as in `Letters`
    """

    images: np.ndarray
    captions: np.ndarray
    words: list[str]
    names: list[str]
    letters: list[str]
    faces: list[str]


def captioned_letters(part: str = "train", side: int = 24) -> Captioned:
    """Latin letters before U+0180, such as é, captioned with the words of their names.

    The parts are those of `named_letters`, so that what was trained on its training letters has
    seen no name of the other two. The words are those of the training names; a name with another
    word is left out of the other parts, so that every caption there is new and every word known.
    Raises ValueError for another part, or a side below 8.
    """
    inside = {p: _latin(named_letters(p, side)) for p in {part, "train"}}
    words = ["", *sorted({word for name in inside["train"].names for word in name.split()})]
    number = {word: k for k, word in enumerate(words)}
    found = inside[part]
    rows = [k for k, name in enumerate(found.names) if all(w in number for w in name.split())]
    captions = np.zeros((len(rows), LONGEST), np.int64)
    for row, k in enumerate(rows):
        numbers = [number[word] for word in found.names[k].split()]
        captions[row, : len(numbers)] = numbers
    pick = lambda values: [values[k] for k in rows]
    texts = pick(found.names), pick(found.letters), pick(found.faces)
    return Captioned(found.images[rows], captions, words, *texts)


def _latin(letters):
    rows = [
        k for k, c in enumerate(letters.letters) if ord(c) < 0x180 and "LATIN" in letters.names[k]
    ]
    pick = lambda values: [values[k] for k in rows]
    return Letters(
        letters.images[rows], pick(letters.names), pick(letters.letters), pick(letters.faces)
    )


@functools.cache
def _all(side):
    """Every letter of every face that has it."""
    found = {}
    for code in range(LAST):
        name = unicodedata.name(chr(code), "")
        if name.startswith(SCRIPTS) and unicodedata.category(chr(code)).startswith("L"):
            found[chr(code)] = name
    images, names, letters, faces = [], [], [], []
    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    for face in FACES:
        font = FT2Font(os.path.join(folder, f"DejaVu{face}.ttf"))
        font.set_size(3 * side / 4, 72)
        for letter, name in found.items():
            if not font.get_char_index(ord(letter)):
                continue
            font.set_text(letter, 0)
            font.draw_glyphs_to_bitmap(antialiased=True)
            drawn = np.asarray(font.get_image())
            height, width = drawn.shape
            if max(height, width) > side or not drawn.any():
                continue
            picture = np.zeros((side, side), np.float32)
            top, left = (side - height) // 2, (side - width) // 2
            picture[top : top + height, left : left + width] = drawn / np.float32(255)
            images.append(picture)
            names.append(name)
            letters.append(letter)
            faces.append(face)
    return np.stack(images), names, letters, faces


@functools.cache
def _split(side):
    """{name: part}. Names that share a picture form a group; groups are sorted by name."""
    images, names, _, _ = _all(side)
    group_of = {name: name for name in names}

    def first(name):
        while group_of[name] != name:
            name = group_of[name]
        return name

    seen = {}
    for picture, name in zip(images, names, strict=True):
        a, b = sorted((first(name), first(seen.setdefault(picture.tobytes(), name))))
        group_of[b] = a
    groups = sorted({first(name) for name in names})
    part = {group: PARTS[max(0, k % 10 - 7)] for k, group in enumerate(groups)}
    return {name: part[first(name)] for name in names}
