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
