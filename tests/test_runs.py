"""Recorded runs: whole files, and a clear word where there is none."""

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


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_record_says_how_it_was_made(path):
    record = data.runs(path.stem)
    assert {"command", "commit", "device", "torch", "minutes"} <= set(record)
    assert record["runs"]
    assert path.with_suffix(".py").is_file()  # the command that makes it again
    assert path.stem in record["command"]
