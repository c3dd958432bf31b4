"""Pen strokes: handwritten lines made from a single-stroke font, and a reader for recorded ones.

A line is an array of points (time, 3): Δx, Δy from the point before, and 1 where a stroke ends and
the pen is lifted. The first offset starts at the left end of the base line; y points up. One unit
is the typical offset: over the training lines the root mean square of Δx and Δy together is 1.

The data are synthetic and of one hand: Hershey's `scripts` font, joined, smoothed and resampled by
us. All variation (slant, size, drift of the base line, tremor) is ours too, so nothing here says
how people differ.
"""

import base64
import functools
import io
import os
import re
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minilib.lab import data

ALPHABET = " !',-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
UNIT = 3.37  # font units in a data unit; the x-height is 9 font units
CADENCE = 4.0  # font units of straight path between two points; bends get more points


class Line(NamedTuple):
    """A text, how the pen wrote it, and its slant.

    The slant is the tangent of the angle to the vertical, rightwards positive.
    """

    text: str
    points: np.ndarray
    slant: float


def encode(text: str) -> list[int]:
    """Characters -> indices into ALPHABET.

    Raises ValueError for an empty text or a character that ALPHABET lacks.
    """
    if not text:
        raise ValueError("text must have at least one character, got an empty one")
    for character in text:
        if character not in ALPHABET:
            raise ValueError(f"text may hold the characters {ALPHABET!r}, got {character!r}")
    return [ALPHABET.index(character) for character in text]


# -- from strokes to offsets and back --------------------------------------------------------------


def to_offsets(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Strokes, each (points, 2) of absolute x and y, -> (time, 3) offsets and ends of strokes.

    Raises ValueError if there is no stroke, or one is empty, of another shape or not finite.
    """
    strokes = [np.asarray(stroke, float) for stroke in strokes]
    if not strokes:
        raise ValueError("strokes must be at least one, got none")
    for k, stroke in enumerate(strokes):
        if stroke.ndim != 2 or stroke.shape[1] != 2 or not len(stroke):
            raise ValueError(
                f"strokes must each have shape (points ≥ 1, 2), stroke {k} has {stroke.shape}"
            )
        if not np.isfinite(stroke).all():
            bad = stroke[~np.isfinite(stroke)][0]
            raise ValueError(f"strokes must be finite numbers, stroke {k} has {bad} in it")
    offsets = np.diff(np.concatenate([np.zeros((1, 2)), *strokes]), axis=0)
    ends = np.concatenate([np.arange(len(stroke)) == len(stroke) - 1 for stroke in strokes])
    return np.concatenate([offsets, ends[:, None]], axis=1)


def to_strokes(points: np.ndarray) -> list[np.ndarray]:
    """The inverse of to_offsets: (time, 3) -> strokes, each (points, 2) of absolute x and y."""
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"points must have shape (time ≥ 1, 3), got {points.shape}")
    finite = np.isfinite(points).all(1)
    if not finite.all():
        raise ValueError(f"points must be finite numbers, point {finite.argmin()} is not")
    starts = np.flatnonzero(points[:, 2] > 0.5) + 1
    return [stroke for stroke in np.split(points[:, :2].cumsum(0), starts) if len(stroke)]


def slant(points: np.ndarray) -> float:
    """Slope of Δx against Δy over the drawn segments.

    Shearing a line by s (x + s·y) raises it by s exactly.
    """
    points = np.asarray(points, float)
    drawn = points[1:, :2][points[:-1, 2] < 0.5]
    if not (drawn[:, 1] != 0).any():
        raise ValueError("points must hold a drawn segment that goes up or down, got none")
    return float((drawn[:, 0] * drawn[:, 1]).sum() / (drawn[:, 1] ** 2).sum())


# -- the hand --------------------------------------------------------------------------------------


@functools.cache
def glyphs(font: str = "scripts") -> dict[str, tuple[int, list[np.ndarray]]]:
    """{character: (width, strokes)} of one of Hershey's fonts, in font units.

    The base line is y = 0, the left border x = 0. In the file a glyph is a line of text: 5
    characters of number, 3 of length, the left and the right border, then pairs of letters, x and y
    as distances from R, y downwards; the pair " R" lifts the pen.
    """
    source = (data.fetch("Hershey-Fonts") / "HersheyFonts" / "HersheyFonts.py").read_text()
    packed = re.search(r"__compressed_fonts_base64 = B'''(.*?)'''", source, re.S).group(1)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as fonts:
        rows = fonts.extractfile(font).read().decode().splitlines()
    found = {}
    for code, row in enumerate((row for row in rows if row[0] != "#"), start=32):
        left, right = ord(row[8]), ord(row[9])
        strokes = []
        for pairs in filter(None, row[10:].split(" R")):
            x, y = (np.array([ord(letter) for letter in pairs[k::2]], float) for k in (0, 1))
            strokes.append(np.stack([x - left, 9 + ord("R") - y], axis=1))
        found[chr(code)] = right - left, strokes
    return found


# Dots and crossings are drawn right after the body of their letter. People wait for the end of the
# word; a net would then have to remember for a hundred points where they belong
_AFTER = {"i": 0, "j": 0, "t": -1, "x": -1}


@functools.cache
def _word(word):
    """Strokes of a word in font units, letters joined, and its width."""
    strokes, x, end, pen_down, joins = [], 0.0, None, False, False
    for character in word:
        width, parts = glyphs()[character]
        body, after = list(parts), []
        if character in _AFTER:
            after = [body.pop(_AFTER[character])]
            if character == "x":  # straight: the font's two bows, of few points, read as an a
                after = [after[0][[0, -1]]]
        for k, part in enumerate(part + np.array([x, 0]) for part in body):
            # lower-case letters connect, whatever lies between; other parts only where they touch
            connected = end is not None and (
                (character.islower() and (k or joins)) or np.hypot(*(part[0] - end)) <= 1.5
            )
            if connected and pen_down:
                strokes[-1] = np.concatenate([strokes[-1], part])
            else:
                strokes.append(np.concatenate([end[None], part]) if connected else part)
            end, pen_down = part[-1], True
        for part in after:
            strokes.append(part + np.array([x, 0]))
            pen_down = False
        # a capital connects if it ends where small letters do, at height 5 on its right border
        near = np.hypot(*(end - (x + width, 5))) <= 4
        joins = character.islower() or (character.isupper() and near)
        x += width
    return [_smooth(stroke) for stroke in strokes], x


def _smooth(stroke, spacing=0.5, rounds=6):
    """A polygon as a dense smooth curve: equal arcs, then a binomial filter that keeps the ends."""
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    at = np.linspace(0, length[-1], max(3, int(length[-1] / spacing) + 1))
    curve = np.stack([np.interp(at, length, axis) for axis in stroke.T], axis=1)
    for _ in range(rounds):
        curve[1:-1] = (curve[:-2] + 2 * curve[1:-1] + curve[2:]) / 4
    return curve


def _in_time(curve):
    """Points at equal times along a dense curve; the pen slows down in bends.

    Its speed is proportional to curvature^-1/3.
    """
    step = np.diff(curve, axis=0)
    ds = np.hypot(*step.T) + 1e-9
    turn = np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0]))))
    turn = np.concatenate([turn[:1], turn, turn[-1:]])
    bend = np.convolve(turn / ds.mean(), np.ones(5) / 5, mode="full")[2 : len(ds) + 2]
    time = ds * (0.02 + np.minimum(bend, 1.5)) ** (1 / 3)
    clock = np.concatenate([[0], np.cumsum(time)]) / (0.1 ** (1 / 3) * CADENCE)
    at = np.linspace(0, clock[-1], max(2, round(clock[-1]) + 1))
    return np.stack([np.interp(at, clock, axis) for axis in curve.T], axis=1)


def write(
    text: str,
    *,
    slant: float = 0.0,
    size: float = 1.0,
    drift: float = 0.0,
    tremor: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """A line of text as the font's hand writes it: (time, 3) float32 offsets and ends of strokes.

    slant   shear, x + slant · y, on top of the font's own
    size    factor on all lengths
    drift   amplitude of slow sine waves on both axes, in x-heights: the base line wanders, letters
            swell
    tremor  standard deviation of each point's own error, in units
    seed    of drift and tremor
    Raises ValueError for an empty text, characters that ALPHABET lacks, nothing to draw, or a size
    that is not positive.
    """
    encode(text)
    if not size > 0 or not np.isfinite([slant, size, drift, tremor]).all():
        raise ValueError(
            "slant, size, drift and tremor must be finite and size positive, "
            f"got {slant}, {size}, {drift}, {tremor}"
        )
    curves, x, width = [], 0.0, glyphs()[" "][0]
    for word in text.split(" "):
        strokes, wide = _word(word)
        curves += [stroke + np.array([x, 0]) for stroke in strokes]
        x += wide + width
    if not curves:
        raise ValueError(f"text must have a character that leaves ink, got {text!r}")
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, size=(2, 2))
    wave = rng.uniform(60, 200, size=(2, 2))  # lengths, in font units
    strokes = []
    for curve in curves:
        slow = np.sin(2 * np.pi * curve[:, :1, None] / wave + phase).mean(-1)  # (points, 2)
        curve = size * (curve + 9 * drift * slow)
        place = _in_time(curve + slant * curve[:, 1:] * (1, 0)) / UNIT
        strokes.append(place + tremor * rng.normal(size=place.shape))
    return to_offsets(strokes).astype(np.float32)


@functools.cache
def _words(part):
    text = getattr(data.shakespeare("play"), part).decode()
    text = re.sub(r"(?m)^[^a-z\n]+:$", "", text)  # names of speakers are all capitals
    words = text.replace("\u2014", " ").replace("--", " ").split()
    known, vowels = set(ALPHABET), set("aeiouy")
    return [word for word in words if set(word) <= known and set(word.lower()) & vowels]


def lines(
    part: str,
    count: int,
    *,
    shortest: int = 8,
    longest: int = 24,
    seed: int = 0,
    rare: float = 0.0,
) -> list[Line]:
    """`count` lines of the plays in this hand, each with a style of its own: a list of Line.

    part               "train", "validation" or "test": plays that no other part holds
                       (lab.data.shakespeare)
    shortest, longest  characters; a line is as many whole words as fit into a length drawn between
                       them
    rare               the chance that a letter gives way to one of j, q, x and z, of which the
                       plays hold one in a thousand each, or less: the words are then no words
    Slant is uniform in ±0.35, size in 0.85 to 1.15, drift in 0 to 0.15 x-heights, the tremor is
    0.04 units. The first n of more lines are the n lines of fewer.
    """
    if part not in ("train", "validation", "test") or count < 1 or not 1 <= shortest <= longest:
        raise ValueError(
            "part must be train, validation or test, count ≥ 1 and 1 ≤ shortest ≤ longest, "
            f"got {part!r}, {count}, {shortest}, {longest}"
        )
    if not 0 <= rare <= 1:
        raise ValueError(f"rare must be a probability, got {rare}")
    words, found = _words(part), []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        room, at = rng.integers(shortest, longest + 1), rng.integers(len(words) - longest)
        text = words[at]
        while len(text) + 1 + len(words[at + 1]) <= room:
            at, text = at + 1, f"{text} {words[at + 1]}"
        text = _with_rare_letters(text[:longest], rare, np.random.default_rng([seed, k, 1]))
        style = {
            "slant": rng.uniform(-0.35, 0.35),
            "size": rng.uniform(0.85, 1.15),
            "drift": rng.uniform(0, 0.15),
        }
        points = write(text, **style, tremor=0.04, seed=int(rng.integers(2**31)))
        found.append(Line(text, points, style["slant"]))
    return found


def _with_rare_letters(text, share, rng):
    letters = list(text)
    for k in np.flatnonzero(rng.random(len(text)) < share):
        if text[k].isalpha():
            letter = "jqxz"[rng.integers(4)]
            letters[k] = letter.upper() if text[k].isupper() else letter
    return "".join(letters)


def pad(lines: Sequence[Line | tuple[str, np.ndarray]]) -> tuple[Tensor, Tensor, Tensor]:
    """Lines as a batch; a line is a Line or a pair (text, points).

    returns  points (batch, time, 3) float32, 0 after a line's end
             text (batch, letters) int64, -1 after a text's end
             lengths (batch,) int64, in points
    """
    if not lines:
        raise ValueError("lines must be at least one, got none")
    ids = [encode(line[0]) for line in lines]
    for line in lines:
        to_strokes(line[1])  # refuses what is no line
    points = np.zeros((len(lines), max(len(line[1]) for line in lines), 3), np.float32)
    text = np.full((len(lines), max(map(len, ids))), -1)
    for row, line in enumerate(lines):
        points[row, : len(line[1])] = line[1]
        text[row, : len(ids[row])] = ids[row]
    return torch.tensor(points), torch.tensor(text), torch.tensor([len(line[1]) for line in lines])


def batches(
    lines: Sequence[Line], *, batch: int, seed: int = 0
) -> Callable[[int], tuple[Tensor, Tensor, Tensor]]:
    """A function of the step, which returns `batch` lines of about one length, padded."""
    if not 1 <= batch <= len(lines):
        raise ValueError(f"batch must be between 1 and the {len(lines)} lines, got {batch}")
    order = sorted(range(len(lines)), key=lambda k: len(lines[k].points))

    def of_step(step):
        start = int(np.random.default_rng([seed, step]).integers(len(lines) - batch + 1))
        return pad([lines[k] for k in order[start : start + batch]])

    return of_step


# -- recorded handwriting --------------------------------------------------------------------------


def read_iam(path: str | os.PathLike) -> np.ndarray:
    """One line of the IAM On-Line Handwriting Database, from its XML file: (time, 3), as `write`.

    The file holds <Stroke> elements of <Point x= y= time=>, y downwards; times are not used. The
    offsets are divided by their root mean square, so that their unit is that of our own lines. The
    database itself is free for research after registration at the University of Bern; it is not
    part of this course.
    Raises ValueError, naming the file, if it cannot be read, is no such XML, or a point is missing
    or not a finite number.
    """
    name = repr(str(path))
    try:
        strokes = []
        for stroke in ElementTree.parse(path).getroot().iter("Stroke"):
            points = [point.attrib for point in stroke.iter("Point")]
            places = [[float(point["x"]), -float(point["y"])] for point in points]
            strokes.append(np.array(places).reshape(-1, 2))
        points = to_offsets(strokes)
    except OSError as error:
        raise ValueError(f"path must be a readable file, got {name}: {error.strerror}") from None
    except KeyError as error:
        raise ValueError(f"path must be IAM-OnDB XML; {name} has a Point without {error}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"path must be IAM-OnDB XML; {name}: {error}") from None
    points[0, :2] = 0  # where the line lies on the board is no matter
    size = np.sqrt((points[:, :2] ** 2).mean())
    if not size > 0:
        raise ValueError(f"path must hold a line; in {name} the pen never moves")
    points[:, :2] /= size
    return points.astype(np.float32)
