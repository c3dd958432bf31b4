"""Pen strokes: the hand, the split, batches, recorded files."""

import numpy as np
import pytest
import torch

from minilib import lab
from minilib.lab import strokes

STROKES = [np.array([[1.0, 2.0], [1.0, 5.0]]), np.array([[4.0, 4.0]])]
POINTS = np.array([[1.0, 2, 0], [0, 3, 1], [3, -1, 1]])


def test_offsets_by_hand_and_back():
    np.testing.assert_array_equal(strokes.to_offsets(STROKES), POINTS)
    for got, want in zip(strokes.to_strokes(POINTS), STROKES, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_line_that_was_cut_off_keeps_its_last_stroke():
    assert [len(stroke) for stroke in strokes.to_strokes(POINTS[:1])] == [1]


@pytest.mark.parametrize(
    "bad,words",
    [
        ([], "at least one, got none"),
        ([np.zeros((0, 2))], "stroke 0 has"),
        ([np.zeros((2, 3))], "stroke 0 has"),
        ([STROKES[0], np.array([[np.nan, 1.0]])], "finite numbers, stroke 1 has nan"),
    ],
)
def test_bad_strokes_are_refused(bad, words):
    with pytest.raises(ValueError, match=f"strokes must .*{words}"):
        strokes.to_offsets(bad)


def test_bad_points_are_refused():
    for bad in (np.zeros((0, 3)), np.zeros((4, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"points must have shape \(time ≥ 1, 3\)"):
            strokes.to_strokes(bad)
    with pytest.raises(ValueError, match="points must be finite numbers, point 1 is not"):
        strokes.to_strokes(np.array([[0.0, 0, 0], [np.inf, 0, 0]]))


# -- the hand --------------------------------------------------------------------------------------


def test_the_font_is_the_one_the_loader_expects():
    glyphs = strokes.glyphs()
    assert set(strokes.ALPHABET) <= set(glyphs)
    width, (body, second) = glyphs["u"]
    assert width == 15 and body[0].tolist() == [0, 5]  # enters on the left border at height 5
    for letter in "abcdefghijklmnopqrstuvwxyz":  # all leave there on the right one
        width, parts = glyphs[letter]
        last = parts[0 if letter == "x" else -2 if letter == "t" else -1]
        assert last[-1].tolist() == [width, 5], letter


def test_letters_join_and_only_they_do():
    count = lambda text: len(strokes.to_strokes(strokes.write(text)))
    assert count("sum") == 1 and count("s um") == 2
    assert count("sit") == 4  # si, dot, t, crossing
    assert count("s'm") == 3


def test_dots_come_right_after_their_letter():
    body, dot, rest = strokes.to_strokes(strokes.write("in"))
    assert dot[:, 1].min() > body[:, 1].max() and np.hypot(*(rest[0] - body[-1])) < 1e-5


def test_slant_and_size_are_what_was_asked_for():
    upright = strokes.slant(strokes.write("minimum"))
    for asked in (-0.3, 0.2):  # resampled after the shear, so not exactly
        assert abs(strokes.slant(strokes.write("minimum", slant=asked)) - upright - asked) < 0.03
    points = strokes.write("minimum")
    sheared = points @ np.array([[1, 0, 0], [0.25, 1, 0], [0, 0, 1]])
    assert abs(strokes.slant(sheared) - upright - 0.25) < 1e-5
    places = lambda line: np.concatenate(strokes.to_strokes(line))
    height = lambda **style: np.ptp(places(strokes.write("minimum", **style))[:, 1])
    assert abs(height(size=1.5) / height() - 1.5) < 0.03


def test_a_style_is_repeatable_and_its_tremor_is_as_large_as_it_says():
    a, b, c = (
        strokes.write("the same hand", tremor=0.1, drift=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    calm, shaky = (strokes.write("the same hand", tremor=t) for t in (0.0, 0.1))
    error = np.concatenate(strokes.to_strokes(shaky)) - np.concatenate(strokes.to_strokes(calm))
    assert abs(error.std() - 0.1) < 0.02


def test_text_that_cannot_be_written_is_refused():
    for text, words in [
        ("", "at least one character"),
        ("naïve", "got 'ï'"),
        ("a\nb", "got '\\\\n'"),
        ("   ", "leaves ink"),
    ]:
        with pytest.raises(ValueError, match=f"text .*{words}"):
            strokes.write(text)
    for style in ({"size": 0}, {"slant": np.nan}, {"tremor": np.inf}):
        with pytest.raises(ValueError, match="must be finite and size positive"):
            strokes.write("a", **style)
    with pytest.raises(ValueError, match="goes up or down"):
        strokes.slant(np.array([[0.0, 0, 0], [1, 0, 1]]))


# -- lines and batches -----------------------------------------------------------------------------


def test_lines_are_of_the_split_and_repeatable():
    for part in ("train", "validation", "test"):
        said = getattr(lab.data.shakespeare("play"), part).decode()
        few, more = strokes.lines(part, 3), strokes.lines(part, 5)
        for a, b in zip(few, more, strict=False):
            assert a.text == b.text and np.array_equal(a.points, b.points)
        for line in more:
            whole = line.text.split()[:-1]  # the last word may be cut
            assert set(whole) <= set(said.split()) and len(line.text) <= 24
            assert np.array_equal(line.points, line.points.astype(np.float32))
    one, other = ({line.text for line in strokes.lines("train", 50, seed=seed)} for seed in (0, 1))
    assert one != other


def test_the_unit_is_the_typical_offset_and_letters_take_a_dozen_points():
    lines = strokes.lines("train", 400)
    points = np.concatenate([line.points for line in lines])
    assert abs(np.sqrt((points[:, :2] ** 2).mean()) - 1) < 0.02
    assert 11.5 < len(points) / sum(len(line.text) for line in lines) < 13


def test_rare_letters_take_their_share_and_move_no_other_line():
    plain, none = strokes.lines("train", 60), strokes.lines("train", 60, rare=0.0)
    some = strokes.lines("train", 60, rare=0.3)
    assert [line.text for line in plain] == [line.text for line in none]
    pairs = [
        (a, b)
        for line, other in zip(plain, some, strict=True)
        for a, b in zip(line.text, other.text, strict=True)
    ]
    changed = [(a, b) for a, b in pairs if a != b]
    assert all(b.lower() in "jqxz" and a.isupper() == b.isupper() for a, b in changed)
    assert {b.lower() for _, b in changed} == set("jqxz")
    # 800 letters: a false alarm takes five standard deviations
    assert abs(len(changed) / sum(a.isalpha() for a, _ in pairs) - 0.3) < 0.08
    assert [line.slant for line in plain] == [line.slant for line in some]
    with pytest.raises(ValueError, match="rare must be a probability"):
        strokes.lines("train", 3, rare=1.5)


def test_padding_by_hand():
    points, text, lengths = strokes.pad([("ab", POINTS), ("c", POINTS[:1])])
    assert points.shape == (2, 3, 3) and lengths.tolist() == [3, 1]
    assert text.tolist() == [strokes.encode("ab"), [*strokes.encode("c"), -1]]
    assert not points[1, 1:].any() and np.array_equal(points[0], POINTS)


def test_lines_that_are_none_are_refused():
    for line, words in [
        (("a", np.zeros((0, 3))), "time ≥ 1"),
        (("a", np.full((2, 3), np.nan)), "finite"),
        (("", POINTS), "at least one character"),
    ]:
        with pytest.raises(ValueError, match=words):
            strokes.pad([line])
    with pytest.raises(ValueError, match="lines must be at least one"):
        strokes.pad([])
    with pytest.raises(ValueError, match="part must be train, validation or test"):
        strokes.lines("dev", 3)
    with pytest.raises(ValueError, match="batch must be between 1 and the 1 lines"):
        strokes.batches([("ab", POINTS)], batch=2)


def test_a_batch_depends_on_its_step_alone_and_holds_lines_of_about_one_length():
    batches = strokes.batches(strokes.lines("train", 100), batch=4)
    for a, b in zip(batches(7), batches(7), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(batches(7)[2], batches(8)[2])
    assert max(int(batches(step)[2].max() - batches(step)[2].min()) for step in range(20)) < 80


# -- recorded files --------------------------------------------------------------------------------

IAM = """<?xml version="1.0" encoding="ISO-8859-1"?>
<WhiteboardCaptureSession>
<WhiteboardDescription><SensorLocation corner="top_left"/></WhiteboardDescription>
<StrokeSet>
<Stroke colour="black" start_time="769.05" end_time="769.64">
<Point x="10" y="20" time="769.05"/><Point x="10" y="26" time="769.07"/>
</Stroke>
<Stroke colour="black" start_time="770.05" end_time="770.64"><Point x="18" y="26" time="770.05"/>
</Stroke>
</StrokeSet></WhiteboardCaptureSession>"""


def test_a_recorded_line_by_hand(tmp_path):
    (tmp_path / "a.xml").write_text(IAM)
    points = strokes.read_iam(tmp_path / "a.xml")
    size = np.sqrt((36 + 64) / 6)  # y points down in the file
    np.testing.assert_allclose(points, [[0, 0, 0], [0, -6 / size, 1], [8 / size, 0, 1]], rtol=1e-6)
    assert points.dtype == np.float32
    np.testing.assert_allclose(np.sqrt((points[:, :2] ** 2).mean()), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "old,new,words",
    [
        ("</StrokeSet>", "", "mismatched tag"),
        ('x="10" y="20"', 'y="20"', "a Point without 'x'"),
        ('x="10" y="20"', 'x="ten" y="20"', "could not convert string to float"),
        ('x="10" y="20"', 'x="nan" y="20"', "finite numbers, stroke 0"),
        ('<Point x="18" y="26" time="770.05"/>', "", "stroke 1 has"),
        ("Stroke ", "Line ", "mismatched tag"),
    ],
)
def test_malformed_recordings_are_refused_by_name(tmp_path, old, new, words):
    (tmp_path / "bad.xml").write_text(IAM.replace(old, new))
    with pytest.raises(ValueError, match=rf"path must be IAM-OnDB XML; .*bad\.xml.*{words}"):
        strokes.read_iam(tmp_path / "bad.xml")


def test_recordings_that_are_not_there_or_do_not_move(tmp_path):
    with pytest.raises(ValueError, match=r"path must be a readable file, got .*none"):
        strokes.read_iam(tmp_path / "none.xml")
    (tmp_path / "empty.xml").write_text("<StrokeSet/>")
    with pytest.raises(ValueError, match=r"empty\.xml.*got none"):
        strokes.read_iam(tmp_path / "empty.xml")
    (tmp_path / "dot.xml").write_text('<S><Stroke><Point x="1" y="1"/></Stroke></S>')
    with pytest.raises(ValueError, match=r"dot\.xml' the pen never moves"):
        strokes.read_iam(tmp_path / "dot.xml")
