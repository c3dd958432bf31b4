"""The command line: right answers, and one line for what is wrong."""

import dataclasses

import pytest

import minilib
from minilib import twins
from minilib.__main__ import main
from minilib.lab import weights
from minilib.lstm import LSTM

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


def test_a_device_that_is_not_there():
    assert minilib.device("cpu").type == "cpu"
    for name in ("cuda:99", "nonsense"):
        words = f"device must be one that this machine has, got '{name}'"
        with pytest.raises(ValueError, match=words):
            minilib.device(name)


def test_the_train_command(tmp_path, capsys):
    (tmp_path / "own.txt").write_bytes(TEXT * 2)
    own, out, checkpoint = (str(tmp_path / name) for name in ("own.txt", "w.safetensors", "c"))
    command = ["train", "lstm", "width=4", "--text", own, "--steps", "4", "--batch", "2"]
    command += ["--length", "8", "--out", out, "--checkpoint", checkpoint, "--device", "cpu"]
    assert main(command) == 0
    model, record = weights.load(LSTM, tmp_path / "w.safetensors")
    assert model.width == 4 and record["steps"] == 4
    assert abs(record["test_bits_per_byte"] - 8) < 0.5
    for wrong, words in [
        (["lstm", "depth=3"], "NAME=VALUE must name one of"),
        (["start_here"], "MODEL must be a topic with a language model"),
        (["nothing"], "'nothing' is no topic"),
        (["lstm", "--device", "cuda:99"], "device must be"),
        (["lstm", "--text", str(tmp_path / "none")], "path must be a readable file"),
    ]:
        assert main(["train", *wrong]) == 2
        assert words in capsys.readouterr().err


def test_the_check_command(capsys):
    assert main(["check", "start_here"]) == 0
    out = capsys.readouterr().out
    assert "start_here.softmax" in out and "every pair agrees" in out
    assert main(["check", "nothing"]) == 2


def test_the_check_command_fails_on_a_disagreement(monkeypatch, capsys):
    (right,) = [pair for pair in twins.load(["start_here"]) if pair.name == "start_here.softmax"]

    def wrong(x):
        return x.softmax(0)

    wrong.__module__, wrong.__qualname__ = "minilib.start_here", "softmax"
    pair = dataclasses.replace(right, fast=wrong)
    monkeypatch.setitem(twins.PAIRS, ("minilib.start_here", "softmax"), pair)
    assert main(["check", "start_here"]) == 1
    assert "1 of the pairs disagree" in capsys.readouterr().out
