"""The contest: equal budgets, a record that goes on, and models of one's own at its door."""

import base64
import json
import math
import pathlib
import re
import time

import pytest
import torch

from minilib import contest, lab
from minilib.__main__ import main
from minilib.char_rnn import CharRNN
from minilib.commands import contest as command
from minilib.commands.train import trainable
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
SEES_IT_IN_LONG_TEXTS = SEES_THE_FUTURE.replace("logits[:, :-1] +", "logits[:, :-1] + LONG *")
SEES_IT_IN_LONG_TEXTS = SEES_IT_IN_LONG_TEXTS.replace("LONG", "(ids.shape[1] > 200)")
OTHER_SYMBOLS = """
    def __init__(self):
        super().__init__(300, 8)
"""
LEARNS_WHILE_SCORED = """
    def forward(self, ids):
        if not self.training and len(ids) > 3:
            self.by.data += 1e-3
        return super().forward(ids)
"""
TRAINS_ELSEWHERE = """
    def __init__(self):
        super().__init__()
        import subprocess, sys
        burn = "import time\\nwhile time.process_time() < 1.2: pass"
        subprocess.run([sys.executable, "-c", burn])
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
    """Enter a file for a few seconds: enter(text) -> (exit status, what was printed)."""
    monkeypatch.setattr(contest, "SCORED", 2000)

    def run(text, *words):
        path = tmp_path / "mine.py"
        path.write_text(SMALL + text)
        status = main(["contest", str(path), "--minutes", "0.06", *words])
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
        (SEES_IT_IN_LONG_TEXTS, "the model breaks a law: causality is broken"),
        (OTHER_SYMBOLS, "vocab_size must be 256, got 300"),
        (LEARNS_WHILE_SCORED, "the model changes while it is scored"),
        (KEEPS_THE_TEST, "the model knows the test text"),
        (TRAINS_ELSEWHERE, "of 4 s of processor time"),
        ("\nclass Second(CharRNN):\n    pass\n", "must define one LanguageModel, it defines 2"),
        ("\nraise OSError('no')", "cannot be read: OSError: no"),
    ],
    ids=["future", "long", "symbols", "learns", "keeps", "elsewhere", "two", "raises"],
)
def test_what_breaks_the_rules_is_refused_by_name(enter, text, words):
    status, printed = enter(text)
    assert status == 2 and words in printed, printed


@pytest.mark.parametrize("name", command.ENTRANTS)
def test_every_entrant_can_be_made(name):
    entrant = Entrant(*command.ENTRANTS[name])
    settings = {"vocab_size": entrant.tokens} if entrant.tokens else {}
    if entrant.topic == "char_aware":
        settings = {"words": [b" ", b"the", b"\xff"]}
    model = trainable(entrant.topic)(**entrant.settings | settings)
    assert entrant.rates == tuple(sorted(entrant.rates)) and len(entrant.rates) == 3
    assert 100_000 < sum(p.numel() for p in model.parameters()) < 1_000_000


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
    _, _, run = contest.compete(CharRNN, TINY, "seconds", 4.0, 0, SPLIT)
    # of this process, whatever else the machine does; wide, since a step's cost is an estimate
    assert run["seconds"] < 4.0 and 2.0 < time.process_time() - started < 8.0
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
    assert main([*words, str(out), "--budget", "4e7", "--seeds", "0", "1"]) == 0
    runs = json.loads(out.read_text())["runs"]
    assert [(run["entrant"], run["budget"], run["seed"]) for run in runs[4:]] == [
        *(("tiny", 4e7, 0), ("other", 4e7, 0))  # further seeds for the smallest budget alone
    ]


def test_weights_are_kept_where_they_are_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(contest, "SCORED", 500)
    monkeypatch.setattr(command, "ENTRANTS", {"tiny, of one": tuple(TINY)})
    monkeypatch.setattr(command, "untrained", lambda split: {})
    words = "contest --rule seconds --budget 3".split()
    assert main([*words, "--out", str(tmp_path / "r.json"), "--weights", str(tmp_path)]) == 0
    (run,) = json.loads((tmp_path / "r.json").read_text())["runs"]
    model, kept = lab.load(CharRNN, tmp_path / "tiny_of_one.safetensors")
    assert kept == {"model": {"width": 8}} | run and model.vocab_size == 256
    assert sorted(p.name for p in tmp_path.glob("tiny*")) == [
        "tiny_of_one.json",
        "tiny_of_one.safetensors",
    ]
    with pytest.raises(ValueError, match="name must be one of tiny, of one, got 'none'"):
        command.shipped("none", SPLIT)


# -- the record ------------------------------------------------------------------------------------

ROOT = pathlib.Path(contest.__file__).parents[1]
RECORD = lab.data.runs("shoot_out")
README = (ROOT / "README.md").read_text()
PLACES = [(rule, budget) for rule, budgets in command.BUDGETS.items() for budget in budgets]


def recorded(name, rule, budget, seed=0):
    same = {"entrant": name, "rule": rule, "budget": budget, "seed": seed}
    (run,) = [run for run in RECORD["runs"] if same.items() <= run.items()]
    return run


def test_every_entrant_has_its_runs():
    for name in command.ENTRANTS:
        for rule, budget in PLACES:
            run = recorded(name, rule, budget)
            assert set(run["tried"]) == {str(r) for r in Entrant(*command.ENTRANTS[name]).rates}
            assert run["seconds"] < budget or rule != "seconds"
            for seed in (1, 2) if budget == command.BUDGETS[rule][0] else ():
                again = recorded(name, rule, budget, seed)
                assert (again["lr"], again["steps"]) == (run["lr"], run["steps"])
    assert RECORD["plays"] == list(lab.data.TEST_PLAYS)


@pytest.mark.parametrize("name", ["tanh RNN", "Transformer, 512 tokens"])
def test_run_again_an_entrant_scores_what_is_recorded(name):
    rule, budget = "multiply-adds", command.BUDGETS["multiply-adds"][0]
    entrant, split = Entrant(*command.ENTRANTS[name]), lab.data.shakespeare("play")
    model_class, run = trainable(entrant.topic), recorded(name, rule, budget)
    model, tokenizer, _ = contest.compete(model_class, entrant, rule, budget, 0, split, known=run)
    again = contest.score(model, tokenizer, split, run["context"])
    assert again["plays"] == pytest.approx(run["plays"], abs=0.02)  # the interval: 0.05 and more


@pytest.mark.parametrize("name", command.ENTRANTS)
def test_shipped_entrants_are_those_of_the_record(name):
    model, tokenizer, run = command.shipped(name, lab.data.shakespeare("play"))
    rule, budget = "seconds", command.BUDGETS["seconds"][1]
    assert run["plays"] == recorded(name, rule, budget)["plays"]
    assert sum(p.numel() for p in model.parameters()) == run["parameters"]
    assert model.vocab_size == tokenizer.vocab_size


def test_the_readme_shows_the_record():
    rows = re.findall(r"^\| ([^|]+) \| (\d\.\d\d) \| (\d\.\d{3}) \| (\d\.\d{3}) \|", README, re.M)
    assert {name for name, *_ in rows} == set(command.ENTRANTS)
    mean = lambda *run: sum(recorded(*run)["plays"]) / 6
    for name, small, large, work in rows:
        for said, place in ((small, PLACES[0]), (large, PLACES[1]), (work, PLACES[3])):
            decimals = len(said.partition(".")[2])
            assert round(mean(name, *place), decimals) == float(said)
    places = [float(large) for _, _, large, _ in rows]
    assert places == sorted(places)
    cells = json.loads((ROOT / "lessons" / "39_shoot_out.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    shown = base64.b64encode((ROOT / "lessons" / "39_shoot_out.png").read_bytes()).decode()
    assert shown in ["".join(picture).replace("\n", "") for picture in pictures]
