"""The command line: right answers, and one line for what is wrong."""

import argparse
import dataclasses
import io
import json
import signal
import sys

import pytest
import torch
from torch.distributed import run as torchrun

import minilib
from minilib import lab, twins
from minilib.__main__ import main
from minilib.char_aware import CharAware
from minilib.commands import train as train_command
from minilib.lab import weights
from minilib.lstm import LSTM
from minilib.tokenizer import Tokenizer
from minilib.word_tokenizer import WordTokenizer

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 80


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains a small LSTM on TEXT in a folder of its own: train(words) -> exit status."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_bytes(TEXT)
    command = "train lstm width=4 --text own.txt --steps 4 --batch 2 --length 8 --device cpu"

    def run(words="", command=command):
        return main([*command.split(), *words.split()])

    return run


def test_a_device_that_is_not_there():
    assert minilib.device("cpu").type == "cpu"
    assert minilib.device().type in ("cpu", "cuda")
    for name in ("cuda:99", "nonsense", *["mps"] * (not torch.backends.mps.is_available())):
        words = f"device must be one that this machine has, got '{name}'"
        with pytest.raises(ValueError, match=words):
            minilib.device(name)


def test_the_train_command(train, tmp_path, capsys):
    assert train("--out new/w.safetensors --checkpoint c") == 0
    model, record = weights.load(LSTM, tmp_path / "new" / "w.safetensors")
    assert model.width == 4 and record["steps"] == 4
    assert record["test_split"] == "last tenth of the text"
    assert abs(record["test_bits_per_byte"] - 8) < 0.5
    exact = lab.bits_per_byte(model, lab.data.own("own.txt").test)
    assert record["test_bits_per_byte_of_first_100000"] == exact
    assert "wrote new/w.safetensors" in capsys.readouterr().out
    # the run that is finished, again: nothing is left to do, the weights are the same
    assert train("--out again.safetensors --checkpoint c") == 0
    again, _ = weights.load(LSTM, tmp_path / "again.safetensors")
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def test_training_on_tokens(train, tmp_path):
    tokenizer = Tokenizer.train(TEXT, 270)
    tokenizer.save(tmp_path / "tok.json")
    assert train("--tokenizer tok.json") == 0
    model, record = weights.load(LSTM, tmp_path / "lstm.safetensors")
    assert model.vocab_size == tokenizer.vocab_size == record["model"]["vocab_size"]
    exact = lab.bits_per_byte(model, lab.data.own("own.txt").test, tokenizer)
    assert record["test_bits_per_byte_of_first_100000"] == exact


def test_training_on_words(train, tmp_path):
    text = TEXT.replace(b"log", b"log " + "水".encode() * 9)  # of 27 bytes: cut inside a character
    (tmp_path / "own.txt").write_bytes(text)
    tokenizer = WordTokenizer.train(text, 20)
    assert any(word.decode(errors="ignore").encode() != word for word in tokenizer.words)
    tokenizer.save(tmp_path / "words.json")
    sizes = "width=4 vector=4 letter=2 filters=1 speller=4 --tokenizer words.json"
    assert train(command=f"train char_aware {sizes} --text own.txt --steps 4 --batch 2") == 0
    model, record = weights.load(CharAware, tmp_path / "char_aware.safetensors")
    assert model.vocab_size == tokenizer.vocab_size
    exact = lab.bits_per_byte(model, lab.data.own("own.txt").test, tokenizer)
    assert record["test_bits_per_byte_of_first_100000"] == exact
    words = [word.encode() if isinstance(word, str) else word for word in record["model"]["words"]]
    assert list(map(bytes, words)) == tokenizer.words


def test_what_accumulate_shard_and_log_say_goes_to_fit(train, monkeypatch):
    given = {}
    monkeypatch.setattr(lab, "fit", lambda model, batches, **how: given.update(how) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train("--accumulate 3 --shard --log-file log.jsonl --every 2 --lr 0.5 --seed 7")
    wanted = {"accumulate": 3, "shard": True, "log": "log.jsonl", "every": 2, "lr": 0.5, "seed": 7}
    assert given.items() >= {**wanted, "steps": 4, "checkpoint": None}.items()
    plain = given.pop("loss")
    with pytest.raises(ZeroDivisionError):
        train("--bf16")
    assert given["loss"].__qualname__ != plain.__qualname__  # a checkpoint of the other is refused


def test_every_option_passes_through_torchrun():
    """It takes a word that begins one of its own options, such as --log, for that option."""
    parser = argparse.ArgumentParser()
    train_command.arguments(parser)
    options = [option for action in parser._actions for option in action.option_strings]
    assert {"--shard", "--accumulate", "--log-file"} <= set(options)
    for option in options:
        given = ["-m", "minilib", "train", "lstm", option]
        assert torchrun.get_args_parser().parse_args(given).training_script_args[-1] == option


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("lstm depth=3", "NAME=VALUE must name one of vocab_size, width, layers, forget_bias"),
        ("lstm width", "NAME=VALUE must name one of"),
        ("lstm width=", "NAME=VALUE must name one of"),
        ("lstm width=1.5", "width must be a whole number, got '1.5'"),
        ("transformer layers=1.0", "layers must be a whole number, got '1.0'"),
        ("lstm width=abc", "width must be a whole number, got 'abc'"),
        ("lstm width=0", "must be 1 or more"),
        ("lstm forget_bias=x", "forget_bias must be a number, got 'x'"),
        ("transformer heads=none", "heads must be a whole number, got 'none'"),
        ("mamba heads=two", "heads must be a whole number or none, got 'two'"),
        ("megabyte conv=maybe", "conv must be true or false, got 'maybe'"),
        ("s4d init=foo", "init must be"),
        ("start_here", "MODEL must be a topic with a language model that can be trained, one of"),
        ("compression", "one of blt, chameleon, char_aware, char_rnn, char_transformer, "),
        ("compression text=hello", "'compression' has nothing to train"),
        ("language_model", "'language_model' has nothing to train"),
        ("nothing", "'nothing' is no topic"),
        ("lstm vocab_size=300", "must have one vocab_size, got 300 and 256"),
        ("lstm --device cuda:99", "device must be"),
        ("lstm --text none.txt", "path must be a readable file"),
        ("lstm --text .", "path must be a readable file"),
        ("lstm --by tenth", "give one of them"),
        ("lstm --length 100000", "'own.txt' is too small: its train part has 3264 bytes"),
        ("lstm --tokenizer own.txt", "own.txt: "),
        ("char_aware --tokenizer own.txt", "'own.txt' holds no words of a WordTokenizer"),
        ("lstm --steps 0", "steps must be"),
        ("lstm --batch 0", "batch"),
        ("lstm --lr nan", "lr"),
        ("lstm --out w.json", "must be a file *.safetensors, got 'w.json'"),
        ("lstm --out .", "must be a file *.safetensors, got '.'"),
        ("lstm --out own.txt/w.safetensors", "can be written, got 'own.txt/w.safetensors'"),
        ("lstm --out /proc/nope/w.safetensors", "can be written, got '/proc/nope/w.safetensors'"),
        ("lstm --checkpoint .", "checkpoint must be a file that can be written, got '.'"),
        ("lstm --checkpoint own.txt/c", "checkpoint must be a file that can be written"),
        ("lstm --log own.txt/log", "log must be a file that can be written"),
        ("lstm --accumulate 0", "accumulate must be at least 1"),
        ("lstm --shard", "shard=True needs several processes"),
    ],
)
def test_what_is_wrong_is_one_line_before_step_0(train, tmp_path, capsys, command, words):
    sizes, dashes, wrong = command.partition("--")  # of two options of one name the last counts
    short = "--text own.txt --device cpu --steps 1 --batch 4 --length 8"
    assert main(f"train {sizes} {short} {dashes}{wrong}".split()) == 2
    out, err = capsys.readouterr()
    assert words in err and err.startswith("minilib: ") and err.count("\n") == 1
    assert not out
    assert [file.name for file in tmp_path.iterdir()] == ["own.txt"]


@pytest.mark.parametrize(
    ("text", "part"),
    [("😀😀😀", "validation"), ("a" * 26 + "😀", "test"), ("abcd", "train")],
)
def test_a_part_of_the_text_that_is_empty_is_named(train, tmp_path, capsys, text, part):
    (tmp_path / "own.txt").write_text(text, encoding="utf-8")
    assert train("--length 4") == 2
    assert f"'own.txt' is too small: its {part} part has" in capsys.readouterr().err


def test_weights_are_overwritten_only_when_asked(train, tmp_path, capsys):
    assert train("--checkpoint c") == 0
    before = (tmp_path / "lstm.safetensors").read_bytes()
    for words in ("", "--checkpoint c", "--seed 1"):
        assert train(words) == 2
        assert "'lstm.safetensors' is there already" in capsys.readouterr().err
    assert (tmp_path / "lstm.safetensors").read_bytes() == before
    assert train("--seed 1 --overwrite") == 0
    assert (tmp_path / "lstm.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("problem", "status"),
    [(RuntimeError("out of\nmemory"), 2), (OSError("full"), 2), (KeyboardInterrupt(), 130)],
)
def test_a_score_that_fails_loses_nothing(train, tmp_path, monkeypatch, capsys, problem, status):
    fit = lab.fit

    def score(*_):
        raise problem

    def trained(*model, **how):
        history = fit(*model, **how)
        monkeypatch.setattr(lab, "bits_per_byte", score)
        return history

    monkeypatch.setattr(lab, "fit", trained)
    assert train() == status
    out, err = capsys.readouterr()
    assert "wrote lstm.safetensors" in out and err.count("\n") == 1
    _, record = weights.load(LSTM, tmp_path / "lstm.safetensors")
    assert record["steps"] == 4 and "test_bits_per_byte" not in record


def test_a_run_that_was_stopped_keeps_its_weights(train, tmp_path, monkeypatch, capsys):
    score, scored = lab.bits_per_byte, []

    def stop(model, text, tokenizer):
        scored.append(len(text))
        signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
        return score(model, text, tokenizer)

    monkeypatch.setattr(lab, "bits_per_byte", stop)
    assert train("--steps 9 --every 3") == 130 and len(scored) == 1
    out = capsys.readouterr().out
    assert "stopped after step 3 of 9" in out and "wrote lstm.safetensors" in out
    assert json.loads((tmp_path / "lstm.json").read_text())["steps"] == 3


def test_no_report_dies_for_a_letter_that_the_console_lacks(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    assert main(["list", "\u2265"]) == 2
    sys.stderr.flush()
    assert rb"'\u2265' is no topic" in sys.stderr.buffer.getvalue()


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
