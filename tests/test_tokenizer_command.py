"""python -m minilib tokenizer: files to files, never over others; one line for what is wrong."""

import numpy as np
import pytest

from minilib import lab
from minilib.__main__ import main
from minilib.tokenizer import Tokenizer

MARK = "<|endoftext|>"
TEXT = ("the cat's hat, that's flat;\r\n\n the 満員 hat 1603. " * 30 + MARK).encode() * 3 + b"\xff"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "b.txt").write_bytes(b"another text")
    return tmp_path


def tokenizer(*words):
    return main(["tokenizer", *map(str, words)])


@pytest.mark.parametrize("pattern", ["gpt2", r"\p{L}+| "])
def test_from_texts_to_ids_and_back(files, capsys, pattern):
    how = ["--special", MARK, "--pattern", pattern]
    assert tokenizer("train", "a.txt", "b.txt", "--size", 300, *how) == 0
    learned = Tokenizer.load("tokenizer.json")
    assert learned == Tokenizer.train(
        [TEXT, b"another text"], 300, pattern=pattern, specials=[MARK]
    )
    assert tokenizer("encode", "tokenizer.json", "a.txt", "--special", "all") == 0
    ids = np.load("a.txt.npy")
    assert ids.dtype == np.uint16 and ids.tolist() == learned.encode(TEXT, "all")
    assert lab.data.windows(files / "a.txt.npy", batch=2, length=5)(0).shape == (2, 6)
    assert tokenizer("decode", "tokenizer.json", "a.txt.npy", "--out", "again.txt") == 0
    assert (files / "again.txt").read_bytes() == TEXT
    out = capsys.readouterr().out
    assert out.count("; wrote ") == 3 and f"{len(ids):,} ids" in out
    assert tokenizer("encode", "tokenizer.json", "a.txt", "--out", "plain.npy") == 0
    assert np.load("plain.npy").tolist() == learned.encode(TEXT)


def test_ids_beyond_65535_have_four_bytes(files):
    Tokenizer([bytes([b]) for b in range(256)], ids=range(65_400, 65_656)).save("t.json")
    assert tokenizer("encode", "t.json", "b.txt", "--out", "b.npy") == 0
    assert np.load("b.npy").dtype == np.uint32 and np.load("b.npy")[0] == 65_400 + ord("a")


def test_files_of_ranks_need_a_pattern(files, capsys):
    assert tokenizer("train", "a.txt", "--size", 300, "--out", "t.tiktoken") == 0
    assert tokenizer("encode", "t.tiktoken", "b.txt") == 2
    assert "holds no pattern" in capsys.readouterr().err
    assert tokenizer("encode", "t.tiktoken", "b.txt", "--pattern", "gpt2") == 0


def test_nothing_is_overwritten_unasked(files, capsys):
    Tokenizer.train("abc", 257).save("tokenizer.json")
    for words, out in [
        (["train", "b.txt", "--size", 258], "tokenizer.json"),
        (["encode", "tokenizer.json", "b.txt"], "b.txt.npy"),
        (["decode", "tokenizer.json", "b.txt.npy", "--out", "b.txt"], "b.txt"),
    ]:
        if not (files / out).exists():
            (files / out).write_bytes(b"mine")
        before = (files / out).read_bytes()
        assert tokenizer(*words) == 2
        assert "is there already: --overwrite replaces it" in capsys.readouterr().err
        assert (files / out).read_bytes() == before
        assert tokenizer(*words, "--overwrite") == 0
        capsys.readouterr()
    assert (files / "b.txt").read_bytes() == b"another text"


@pytest.mark.parametrize(
    "words,error",
    [
        (["train", "none.txt"], "none.txt"),
        (["train", "a.txt", "--size", "200"], "vocab_size must be at least 256"),
        (["train", "a.txt", "--pattern", "gpt5"], "pattern must be 'gpt2'"),
        (["train", "a.txt", "--special", ""], "specials must not be empty"),
        (["train", "a.txt", "--special", "x", "--special", "x"], "specials must differ"),
        (["train", "a.txt", "--out", "t.txt"], "must end in .json or .tiktoken"),
        (["train", "none.txt", "--out", "t.txt"], "must end in .json or .tiktoken"),  # first
        (["train", "a.txt", "--out", "a.txt/t.json"], "a.txt/t.json"),
        (["encode", "none.json", "a.txt"], "path must be a readable file, got 'none.json'"),
        (["encode", "a.txt", "a.txt"], "a.txt: "),
        (["encode", "t.json", "none.txt"], "none.txt"),
        (["encode", "t.json", "a.txt", "--special", "<s>"], "allowed must be 'all' or of []"),
        (["encode", "t.json", "a.txt", "--out", "ids.bin"], "--out must be a file *.npy"),
        (["decode", "t.json", "a.txt", "--out", "x"], "must be a .npy file, got 'a.txt'"),
        (["decode", "t.json", "none.npy", "--out", "x"], "must be a .npy file, got 'none.npy'"),
        (["decode", "t.json", "floats.npy", "--out", "x"], "must hold integers, one row"),
        (["decode", "t.json", "large.npy", "--out", "x"], "ids must be ids of tokens"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_one_line_for_what_is_wrong(files, capsys, words, error):
    Tokenizer.train("abc", 257).save("t.json")
    np.save("floats.npy", np.zeros(3))
    np.save("large.npy", np.array([97, 300]))
    before = {path.name for path in files.iterdir()}
    assert tokenizer(*words) == 2
    captured = capsys.readouterr()
    assert error in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert {path.name for path in files.iterdir()} == before  # nothing half written
