"""Texts: the plays and your own file."""

import hashlib
import pathlib
import re

import pytest

from minilib import lab
from minilib.lab import data

# -- the plays -------------------------------------------------------------------------------------


def test_the_plays_are_the_ones_the_lessons_quote():
    plays = data.plays()
    text = b"".join(plays.values())
    assert len(plays) == 38
    assert len(text) == 4_784_253
    digest = "b8ce7e23d20eb58f017406d48af6769f3d2788d8c6d7f228be4957a77bd27d8a"
    assert hashlib.sha256(text).hexdigest() == digest
    assert not set("[]_*#\\") & set(text.decode())


def test_cleaning_by_hand():
    marked = "# Title\n\n## ACT I\n\n_Enter A and\nB_\n\n**First Witch**  \n__\\[Aside]_  \n"
    marked += "When shall we'\\--meet  \nagain?\n\n_Exeunt_\n"
    assert data.clean(marked) == "First Witch:\nWhen shall we'--meet\nagain?\n\n"


@pytest.mark.parametrize(
    "by,sizes", [("play", (3_717_870, 412_636, 653_747)), ("tenth", (3_838_178, 474_828, 471_247))]
)
def test_splits_keep_every_byte_once(by, sizes):
    split = data.shakespeare(by)
    assert tuple(map(len, split)) == sizes
    plays = data.plays()
    if by == "play":
        held_out = data.TEST_PLAYS + data.VALIDATION_PLAYS
        assert all(plays[name] in split.test for name in data.TEST_PLAYS)
        assert not any(plays[name][:1000] in split.train for name in held_out)
    else:
        assert all(play[:100] in split.train for play in plays.values())
    assert all(part.endswith(b"\n\n") for part in split)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="by must be 'play' or 'tenth', got 'line'"):
        data.shakespeare("line")


def test_interface_strings_and_vocabularies():
    strings = lab.data.interface_strings()
    assert len(strings) == 98 and min(map(len, strings.values())) >= 20
    assert strings["de"]["Save"] == "Sichern"
    assert lab.data.vocabulary("gpt2").name == "vocab.bpe"
    with pytest.raises(ValueError, match="name must be one of gpt2, tekken"):
        lab.data.vocabulary("gpt5")


# -- your own file ---------------------------------------------------------------------------------


def test_your_own_file_is_split_in_order(tmp_path):
    own = tmp_path / "own.txt"
    own.write_bytes("Grüße, 世界! ".encode() * 1000)
    split = data.shakespeare(path=own)
    assert b"".join(split) == own.read_bytes()
    assert abs(len(split.train) / len(own.read_bytes()) - 0.8) < 0.01
    for part in split:
        part.decode()  # no character is cut in two


@pytest.mark.parametrize(
    "content,words",
    [
        (None, "path must be a readable file"),
        (b"", "at least one byte"),
        (b"abc\xff\xfe", "has byte 0xff at offset 3"),
    ],
)
def test_bad_files_are_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        data.shakespeare(path=tmp_path / "own.txt")
    for reader in (data.read, data.own):
        with pytest.raises(ValueError, match=words):
            reader(tmp_path / "own.txt")


def test_a_file_is_split_where_it_lies(tmp_path):
    """`own` is the same split without reading: views, cut at the same empty lines."""
    path = tmp_path / "own.txt"
    path.write_bytes("Grüße,\n\n世界! ".encode() * 1000)
    views, split = data.own(path), data.shakespeare(path=path)
    assert all(isinstance(view, memoryview) for view in views)
    assert tuple(map(bytes, views)) == split
    assert all(part.endswith(b"\n\n") for part in split[:2])


@pytest.mark.parametrize("size", [(1 << 20) - 1, (1 << 20) + 5])
def test_a_character_may_lie_across_two_blocks_of_the_check(tmp_path, size):
    text = b"x" * size + "😀é".encode() * 3
    path = tmp_path / "own.txt"
    path.write_bytes(text)
    assert data.read(path) == text
    cut = [text[:-1], text[:-17], text[:size] + b"\xc3"]  # the last one may fill its block
    for wrong in (*cut, *(part + b"\xe4" + text for part in cut)):
        path.write_bytes(wrong)
        with pytest.raises(ValueError) as error:
            data.read(path)
        with pytest.raises(UnicodeDecodeError) as expected:
            path.read_bytes().decode()
        at = expected.value.start
        assert f"has byte {path.read_bytes()[at]:#04x} at offset {at}." in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_text_in_another_encoding_is_told_how_to_become_utf_8(tmp_path, encoding):
    path = tmp_path / "own.txt"
    path.write_text("Grüße aus Köln", encoding)
    with pytest.raises(ValueError, match=f"If it is {encoding}, .* converts it") as error:
        data.read(path)
    line = re.search(r"Path\(new\).*'utf-8'\)", str(error.value))[0]
    eval(line, {"Path": pathlib.Path, "old": path, "new": path})
    assert data.read(path).decode() == "Grüße aus Köln"


def test_short_texts():
    assert data.shakespeare(path=__file__).train
    assert data._tenths(b"a") == (b"", b"", b"a")


def test_a_claim_is_asserted_of_our_text_and_told_of_a_readers_own(tmp_path, capsys):
    ours = data.Split(b"a", b"b", b"c")
    ours.claim(True, "a comes first")
    with pytest.raises(AssertionError, match="a comes last"):
        ours.claim(False, "a comes last")
    path = tmp_path / "own.txt"
    path.write_bytes(b"text")
    own = data.shakespeare(path=path)
    own.claim(True, "t comes first")
    own.claim(False, "t comes last")
    assert capsys.readouterr().out.splitlines() == [
        "holds on this text, too: t comes first",
        "does not hold on this text: t comes last",
    ]
