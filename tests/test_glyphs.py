"""Pictures of letters: the split, repeatable pictures, letters that never meet."""

import itertools

import numpy as np
import pytest

from minilib import lab
from minilib.lab import glyphs as letters


def test_every_part_has_letters_of_its_own():
    parts = [letters.letters(part) for part in letters.PARTS]
    assert sorted("".join(parts)) == sorted(letters.ALPHABET)
    assert all(not set(a) & set(b) for a, b in itertools.combinations(parts, 2))
    with pytest.raises(ValueError, match="part must be one of train, validation, test, got 'dev'"):
        lab.data.glyphs("dev")
    with pytest.raises(ValueError, match="count and size must be 1 or more, got 0 and 92"):
        lab.data.glyphs(count=0)


def test_a_picture_depends_on_seed_and_number_alone():
    few, more = lab.data.glyphs("test", 2, 60, seed=3), lab.data.glyphs("test", 4, 60, seed=3)
    assert few.images.dtype == np.float32 and few.instances.dtype == np.int64
    assert (few.images == more.images[:2]).all() and (few.instances == more.instances[:2]).all()
    assert not (few.instances[0] == few.instances[1]).all()
    assert not (few.instances == lab.data.glyphs("test", 2, 60, seed=4).instances).all()
    assert not (few.instances == lab.data.glyphs("train", 2, 60, seed=3).instances).all()


def test_letters_come_near_and_never_meet():
    """No pixel has another letter among its eight neighbours, and many have one two pixels away."""
    instances = lab.data.glyphs("train", 8, 92).instances
    close = 0
    for dy, dx in itertools.product(range(3), range(-2, 3)):
        a = instances[:, dy:, max(dx, 0) : 92 + min(dx, 0)]
        b = instances[:, : 92 - dy, max(-dx, 0) : 92 + min(-dx, 0)]
        meet = ((a != b) & (a > 0) & (b > 0)).sum()
        if max(dy, abs(dx)) == 1:
            assert meet == 0
        close += meet
    assert close > 8 * 20


def test_the_line_is_the_letters_edge():
    clean = lab.data.glyphs("train", 2, 40, noise=0.0)
    assert set(np.unique(clean.images)) == {0, 1}
    assert (clean.instances[clean.images == 1] > 0).all()
    inner = clean.instances[:, 1:-1, 1:-1] > 0
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner &= clean.instances[:, dy : 38 + dy, dx : 38 + dx] > 0
    assert (clean.images[:, 1:-1, 1:-1] == ((clean.instances[:, 1:-1, 1:-1] > 0) & ~inner)).all()


def test_pictures_of_every_size_and_seed_can_be_drawn():
    for seed in range(12):
        lab.data.glyphs(letters.PARTS[seed % 3], 1, 20 + 11 * seed, seed)
    assert lab.data.glyphs("train", 1, 1).images.shape == (1, 1, 1)


def test_no_shape_is_in_two_parts():
    """Of a letter and its capital with nearly one shape only one is in the alphabet."""
    assert not any(
        set(pair) <= set(letters.ALPHABET) for pair in "cC kK oO pP sS uU vV wW xX zZ".split()
    )
    assert len(set(letters.ALPHABET)) == len(letters.ALPHABET)


def by_flooding(mask):
    """Pieces as sets of pixels, one flood at a time."""
    left, found = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            piece.add((y, x))
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            edge += near
        found.append(frozenset(piece))
    return set(found)


def test_pieces_are_those_of_a_flood():
    random = np.random.default_rng(0)
    masks = random.random((6, 9, 12)) < np.array([0, 0.3, 0.5, 0.6, 0.8, 1])[:, None, None]
    for mask, names in zip(masks, letters.pieces(masks), strict=True):
        assert ((names > 0) == mask).all()
        numbers = set(names[mask])
        mine = {frozenset(zip(*np.nonzero(names == n), strict=True)) for n in numbers}
        assert mine == by_flooding(mask)
    corner = letters.pieces(np.array([[[True, False], [False, True]]]))
    assert corner[0, 0, 0] != corner[0, 1, 1]  # a corner does not join


def test_letters_alone_by_hand():
    """Two letters of six pixels: parted, joined, half filled, missing, too small to count."""
    instances = np.array([[[1, 1, 1, 0, 2, 2, 2], [1, 1, 1, 0, 2, 2, 2]]])
    mask = instances > 0
    assert letters.alone(mask, instances, least=6) == 1
    joined = mask.copy()
    joined[0, 0, 3] = True  # 13 pixels, 6 of them shared with either letter
    assert letters.alone(joined, instances, least=6) == 0
    half = mask.copy()
    half[0, :, 1] = False  # letter 1 in two pieces, 2 of its 6 pixels each
    assert letters.alone(half, instances, least=6) == 0.5
    exactly = mask.copy()
    exactly[0, 0, :3] = False  # 3 of 6 is not more than half
    assert letters.alone(exactly, instances, least=6) == 0.5
    assert letters.alone(mask & (instances != 2), instances, least=6) == 0.5
    instances[0, :, 6] = 0
    assert letters.alone(joined & (instances != 2), instances, least=5) == 1


def test_the_truth_stands_alone():
    few = lab.data.glyphs("validation", 3, 92)
    assert letters.alone(few.instances > 0, few.instances) > 0.95
    assert letters.alone(few.images > 0.5, few.instances) < 0.3


def test_near_names_are_told_apart():
    names = np.array([[5, 0, 0, 7, 0, 0, 9]])
    assert letters.tell_apart(names, reach=2).tolist() == [[1, 0, 0, 2, 0, 0, 1]]
    assert letters.tell_apart(names, reach=1).tolist() == [[1, 0, 0, 1, 0, 0, 1]]
    assert letters.tell_apart(names, reach=5).tolist() == [[1, 0, 0, 2, 0, 0, 3]]
    page = lab.data.glyphs("train", 1, 92).instances[0]
    colours = letters.tell_apart(page)
    assert ((colours == 0) == (page == 0)).all() and colours.max() <= 6
    assert all(len(set(colours[page == name])) == 1 for name in np.unique(page))
