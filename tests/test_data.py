"""Texts: the plays, your own file, training batches."""

import hashlib

import pytest
import torch

from minilib import lab
from minilib.lab import data

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


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
    strings = lab.data.ui_strings()
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
    with pytest.raises(ValueError, match=words):
        data.read(tmp_path / "own.txt")


def test_short_and_strange_texts():
    split = data.shakespeare(path=__file__)
    assert split.train
    assert data._tenths(b"a") == (b"", b"", b"a")
    with pytest.raises(ValueError, match=r"text must have at least length \+ 1 = 6 symbols, got 5"):
        data.windows(b"12345", batch=1, length=5)
    assert data.windows(b"123456", batch=1, length=5)(0).tolist() == [[49, 50, 51, 52, 53, 54]]
    with pytest.raises(ValueError, match="batch and length must be 1 or more"):
        data.windows(TEXT, batch=0, length=5)


def test_windows_depend_on_seed_and_step_alone():
    batches = data.windows(TEXT, batch=4, length=10, seed=1)
    assert torch.equal(batches(7), data.windows(TEXT, batch=4, length=10, seed=1)(7))
    assert not torch.equal(batches(7), batches(8))
    assert not torch.equal(batches(7), data.windows(TEXT, batch=4, length=10, seed=2)(7))
    assert all(bytes(row.tolist()) in TEXT for row in batches(3))


def test_bytes_round_trip():
    everything = bytes(range(256)) * 2
    assert data.Bytes().decode(data.Bytes().encode(everything)) == everything
    assert data.Bytes().decode(data.Bytes().encode("né")) == "né".encode()
