"""The contest: equal budgets, a record that goes on, and models of one's own at its door."""

import json
import math
import time

import pytest
import torch

from minilib import contest, lab
from minilib.__main__ import main
from minilib.char_rnn import CharRNN
from minilib.commands import contest as command
from minilib.contest import Entrant

SMALL = """
import torch
from minilib.char_rnn import CharRNN
from minilib.language_model import LanguageModel

class Small(CharRNN):
    batch, length, rates = 2, 16, (1e-2,)

    def __init__(self):
        super().__init__(256, 8)
"""
SEES_THE_FUTURE = """
    def forward(self, ids):
        logits = super().forward(ids)
        right = torch.nn.functional.one_hot(ids[:, 1:], 256)
        logits[:, :-1] = logits[:, :-1] + 5 * right
        return logits
"""
OTHER_SYMBOLS = """
    def __init__(self):
        super().__init__(300, 8)
"""
LEARNS_WHILE_SCORED = """
    def forward(self, ids):
        if not self.training and ids.shape[1] > 100:
            self.by.data += 1e-3
        return super().forward(ids)
"""
KEEPS_THE_TEST = """
    def __init__(self):
        super().__init__()
        from minilib import lab
        text = lab.data.shakespeare("play").test
        from minilib.compression import KneserNey
        self.counts = KneserNey(text, 5)

    def extend(self, ids, state):
        if self.training:
            return super().extend(ids, state)
        logits, after = self.counts.extend(ids, state[1])
        return logits, (state[0], after)

    def init_state(self, batch_size):
        if self.training:
            return super().init_state(batch_size)
        return super().init_state(batch_size), self.counts.init_state(batch_size)
"""


@pytest.fixture
def enter(tmp_path, monkeypatch, capsys):
    """Enter a file for a second: enter(text) -> (exit status, what was printed)."""
    monkeypatch.setattr(contest, "SCORED", 2000)

    def run(text, *words):
        path = tmp_path / "mine.py"
        path.write_text(SMALL + text)
        status = main(["contest", str(path), "--minutes", "0.03", *words])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_a_model_of_ones_own_is_trained_scored_and_placed(enter):
    status, printed = enter("")
    assert status == 0, printed
    assert "weights" in printed and "ms to write a byte" in printed and "the six plays" in printed


@pytest.mark.parametrize(
    "text, words",
    [
        (SEES_THE_FUTURE, "the model breaks a law: causality is broken"),
        (OTHER_SYMBOLS, "vocab_size must be 256, got 300"),
        (LEARNS_WHILE_SCORED, "the model changes while it is scored"),
        (KEEPS_THE_TEST, "the model knows the test text"),
        ("\nclass Second(CharRNN):\n    pass\n", "must define one LanguageModel, it defines 2"),
        ("\nraise OSError('no')", "cannot be read: OSError: no"),
    ],
    ids=["future", "symbols", "learns", "keeps", "two", "raises"],
)
def test_what_breaks_the_rules_is_refused_by_name(enter, text, words):
    status, printed = enter(text)
    assert status == 2 and words in printed, printed


def test_bad_words_are_named(tmp_path, capsys):
    for words, expected in {
        "none.py": "FILE must be a .py file that is there, got 'none.py'",
        "none.py --minutes 0": "--minutes must be above 0, got 0",
        "--only nobody": "--only must be one of tanh RNN, LSTM, ",
    }.items():
        assert main(["contest", *words.split()]) == 2
        assert expected in capsys.readouterr().err


SPLIT = lab.data.Split(b"a cat sat on a mat. " * 500, b"a cat sat. " * 200, b"a dog sat. " * 200)
TINY = Entrant("char_rnn", {"width": 8}, 2, 16, (1e-3, 1e-2))


def test_equal_multiply_adds_buy_the_steps_that_they_pay_for():
    model, tokenizer, run = contest.compete(CharRNN, TINY, "multiply-adds", 2e7, 0, SPLIT)
    trial = math.floor(0.1 * 2e7 / run["cost"])
    assert run["steps"] == math.floor(2e7 / run["cost"] - 2 * trial)
    assert run["cost"] == pytest.approx(3 * 2 * 16 * (8 * 8 + 8 * 256), rel=0.2)
    assert set(run["tried"]) == {1e-3, 1e-2}
    assert run["lr"] == min(run["tried"], key=run["tried"].get)
    again, _, same = contest.compete(CharRNN, TINY, "multiply-adds", 2e7, 0, SPLIT)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    _, _, known = contest.compete(CharRNN, TINY, "multiply-adds", 2e7, 1, SPLIT, run)
    assert (known["steps"], known["lr"], known["tried"]) == (run["steps"], run["lr"], {})


def test_equal_seconds_are_kept_and_the_search_counts():
    started = time.process_time()
    _, _, run = contest.compete(CharRNN, TINY, "seconds", 1.0, 0, SPLIT)
    assert run["seconds"] < 1.0 and 0.5 < time.process_time() - started < 2.0
    with pytest.raises(ValueError, match="the budget must be more than the search for a rate"):
        contest.compete(CharRNN, TINY, "seconds", 1e-3, 0, SPLIT)


def test_costs_are_those_of_a_writing_model():
    torch.manual_seed(0)
    model = CharRNN(256, 8)
    found = contest.costs(model, lab.data.Bytes(), lab.data.shakespeare("play"))
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["state_bytes"] == [32, 32]  # eight numbers of four bytes, for ever
    assert found["multiply_adds"] == pytest.approx(8 * 8 + 8 * 256, rel=0.1)
    assert found["milliseconds"] > 0


def test_the_record_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contest, "SCORED", 500)
    monkeypatch.setattr(command, "ENTRANTS", {"tiny": tuple(TINY), "other": tuple(TINY)})
    monkeypatch.setattr(command, "untrained", lambda split: {})
    words = "contest --rule multiply-adds --budget 2e7 --out".split()
    out = tmp_path / "record.json"
    assert main([*words, str(out), "--stop-after", "0"]) == 0
    assert [run["entrant"] for run in json.loads(out.read_text())["runs"]] == ["tiny"]
    assert main([*words, str(out), "--seeds", "0", "1"]) == 0
    runs = json.loads(out.read_text())["runs"]
    assert [(run["entrant"], run["seed"]) for run in runs] == [
        *(("tiny", 0), ("other", 0), ("tiny", 1), ("other", 1))
    ]
    assert runs[2]["lr"] == runs[0]["lr"] and runs[2]["context"] == runs[0]["context"]
    assert "parameters" in runs[0] and "parameters" not in runs[2]
    assert main([*words, str(out), "--seeds", "0", "1"]) == 0  # nothing is left to do
    assert json.loads(out.read_text())["runs"] == runs
    assert "2e+07 multiply-adds: bits per byte" in capsys.readouterr().out
