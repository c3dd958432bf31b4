"""Recorded runs: whole files, and a clear word where there is none."""

import json

import pytest

from minilib.lab import data

RECORDED = sorted((data.HOME / "runs").glob("*.json"))


def test_a_record_is_read_as_it_was_written(tmp_path, monkeypatch):
    record = {"command": "python run.py", "minutes": 1.5, "runs": [{"seed": 0, "loss": 2.25}, {}]}
    (tmp_path / "runs").mkdir()
    data.write_runs(tmp_path / "runs" / "own.json", record)
    monkeypatch.setattr("minilib.lab.runs.HOME", tmp_path)
    assert data.runs("own") == record
    assert (tmp_path / "runs" / "own.json").read_text().count("\n") == 8  # a run on a line
    with pytest.raises(ValueError, match="one with recorded runs, one of own; got 'other'"):
        data.runs("other")


def test_runs_are_added_one_by_one_and_an_interruption_loses_one(tmp_path):
    path, record = tmp_path / "own.json", {"command": "c", "minutes": 2.0, "runs": [{"seed": 0}]}

    def new():
        yield {"seed": len(record["runs"])}
        yield {"seed": len(record["runs"])}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.add_runs(path, record, new())
    written = json.loads(path.read_text())
    assert [run["seed"] for run in written["runs"]] == [0, 1, 2]
    assert 2 <= written["minutes"] < 2.5
    data.add_runs(path, record, ({"seed": seed} for seed in (7, 8)), stop_after=-1)
    assert [run["seed"] for run in record["runs"]] == [0, 1, 2, 7]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_record_says_how_it_was_made(path):
    record = data.runs(path.stem)
    assert {"command", "commit", "device", "torch", "minutes"} <= set(record)
    assert record["runs"]
    assert path.with_suffix(".py").is_file()  # the command that makes it again
    assert path.stem in record["command"]
