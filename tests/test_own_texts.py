"""Every lesson on text runs to its end with a reader's own text: claims about ours say so in words.

The texts: English with CRLF and a byte order mark, a script of three-byte letters, and one of just
the size that the lesson states. For the time of it, a lesson meets one of the three, another one
under another Python, and a third of the lessons none; `python tests/execute.py --path own.txt`
runs any of them on any text.
"""

import re
import sys

import execute
import nbformat
import pytest
from test_lessons import LESSONS

from minilib.lab import data

MARK = b"\xef\xbb\xbf"


def english(size):
    text = data.plays()["macbeth"].replace(b"\n", b"\r\n")
    return MARK + text[: 98_000 - len(MARK)]


def chinese(size):
    strings = data.interface_strings()
    text = "\r\n".join(line for name in ("zh_Hans", "ja", "ko") for line in strings[name].values())
    return MARK + text.encode()[:86_000].decode(errors="ignore").encode()


def least(size):
    return data.plays()["hamlet"][:size]


def least_size(path):
    """What the lesson asks for, in bytes; None if it takes no text."""
    first = nbformat.read(path, as_version=4).cells[1].source
    found = re.search(
        r"(?m)^path = None  # or your own UTF-8 text file of (\d+) kB or more\b", first
    )
    return int(found[1]) * 1000 if found else None


TAKES = {path: size for path in LESSONS if (size := least_size(path))}
TURN = {path: number for number, path in enumerate(TAKES, sys.version_info.minor)}


def test_a_lesson_that_has_a_path_is_tried_on_it():
    for path in LESSONS:
        cells = nbformat.read(path, as_version=4).cells
        has = any(re.search(r"\bpath = None", c.source) for c in cells if c.cell_type == "code")
        assert has == (path in TAKES), path.stem
    assert max(TAKES.values()) <= 80_000  # what the texts here have


# "::" makes each lesson a scope of its own, so that two workers share what one did last and alone
@pytest.mark.parametrize(
    "path", [p for p in TAKES if TURN[p] % 3], ids=lambda path: f"::{path.stem}"
)
def test_a_lesson_runs_to_its_end_with_a_readers_own_text(path, tmp_path):
    own = tmp_path / "own.txt"
    text = (english, chinese, least)[(TURN[path] // 3 + TURN[path]) % 3](TAKES[path])
    own.write_bytes(text)
    notebook = execute.execute(path, own)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any(output.get("name") == "stderr" for output in outputs)
