"""Recorded runs: what trained too long for a lesson, measured once, with how it was made."""

import importlib.util
import json
import math
import os
import pathlib
import time
from collections.abc import Iterable
from types import ModuleType

import torch

from minilib.lab.checkpoint import refuse_unwritable, write_whole
from minilib.lab.fetch import HOME
from minilib.lab.weights import commit


def runs(topic: str) -> dict:
    """The record of data/runs/<topic>.py: command, commit, device, minutes, and "runs", a list.

    Raises ValueError if nothing is recorded for the topic.
    """
    path = HOME / "runs" / f"{topic}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (HOME / "runs").glob("*.json")))
        raise ValueError(f"topic must be one with recorded runs, one of {known}; got {topic!r}")
    return json.loads(path.read_text(encoding="utf-8"))


def begin_runs(path: str | os.PathLike, command: str, **more) -> dict:
    """The record at `path`, to go on with; or a new one without runs, of this machine.

    command  that makes the record
    more     what else a new record says; a function is called for it, once
    """
    path = pathlib.Path(path)
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return {
        "command": command,
        "commit": commit(),
        "device": f"CPU, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
        "minutes": 0.0,
        **{name: value() if callable(value) else value for name, value in more.items()},
        "runs": [],
    }


def write_runs(path: str | os.PathLike, record: dict) -> None:
    """Write a record whole, a run on a line, so that it can be read and compared."""
    refuse_unwritable(path, "path of recorded runs")
    head = {name: value for name, value in record.items() if name != "runs"}
    lines = ",\n".join(f"  {json.dumps(run)}" for run in record["runs"])
    text = f'{json.dumps(head, indent=1)[:-2]},\n "runs": [\n{lines}\n ]\n}}\n'
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def add_runs(
    path: str | os.PathLike, record: dict, new: Iterable[dict], stop_after: float = math.inf
) -> None:
    """Measure new runs one by one, and write the record after each: an interruption loses one.

    record      gains the runs, and their minutes of processor time in "minutes"
    new         a generator, which may look at record["runs"] between two runs
    stop_after  seconds of processor time after which no other run begins
    """
    started, before = time.process_time(), record["minutes"]
    for run in new:
        spent = time.process_time() - started
        record["runs"].append(run)
        record["minutes"] = round(before + spent / 60, 2)
        write_runs(path, record)
        print(run, flush=True)
        if spent > stop_after:
            break


def script(name: str) -> ModuleType:
    """data/weights/<name>.py, which belongs to no package: what runs and tests share with it.

    Raises FileNotFoundError if there is none.
    """
    path = HOME / "weights" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"weights_of_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
