"""Recorded runs: what trained too long for a lesson, measured once, with how it was made."""

import json
import os

from minilib.lab.checkpoint import refuse_unwritable, write_whole
from minilib.lab.fetch import HOME


def runs(topic: str) -> dict:
    """The record of data/runs/<topic>.py: command, commit, device, minutes, and "runs", a list.

    Raises ValueError if nothing is recorded for the topic.
    """
    path = HOME / "runs" / f"{topic}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (HOME / "runs").glob("*.json")))
        raise ValueError(f"topic must be one with recorded runs, one of {known}; got {topic!r}")
    return json.loads(path.read_text(encoding="utf-8"))


def write_runs(path: str | os.PathLike, record: dict) -> None:
    """Write a record whole, a run on a line, so that it can be read and compared."""
    refuse_unwritable(path, "path of recorded runs")
    head = {name: value for name, value in record.items() if name != "runs"}
    lines = ",\n".join(f"  {json.dumps(run)}" for run in record["runs"])
    text = f'{json.dumps(head, indent=1)[:-2]},\n "runs": [\n{lines}\n ]\n}}\n'
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
