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


def test_a_record_is_begun_once_and_gone_on_with(tmp_path):
    path, asked = tmp_path / "own.json", []

    def costs():
        asked.append(1)
        return {"lstm": 0.5}

    record = data.begin_runs(path, "python own.py", seconds=3, costs=costs)
    assert {"command", "commit", "device", "torch", "minutes"} <= set(record)
    assert record["command"] == "python own.py" and record["seconds"] == 3
    assert record["costs"] == {"lstm": 0.5} and record["runs"] == [] and not path.exists()
    data.add_runs(path, record, [{"seed": 0}])
    again = data.begin_runs(path, "python other.py", seconds=4, costs=costs)
    assert again == record and again["runs"] == [{"seed": 0}]
    assert len(asked) == 1  # for the new record alone


def test_a_script_of_weights_is_shared_by_its_name():
    assert data.script("vq").__doc__ and data.script("vq") is not data.script("vq")
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        data.script("none")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_record_says_how_it_was_made(path):
    record = data.runs(path.stem)
    assert {"command", "commit", "device", "torch", "minutes"} <= set(record)
    assert record["runs"]
    if path.stem == "shoot_out":  # made by a command of the library
        assert record["command"].startswith("python -m minilib contest ")
    else:
        assert path.with_suffix(".py").is_file()  # the command that makes it again
        assert path.stem in record["command"]
