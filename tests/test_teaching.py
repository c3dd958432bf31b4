"""lessons/teaching.md: each recipe does what the page says."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import minilib
from minilib import exercises

ROOT = pathlib.Path(minilib.__file__).parents[1]
PAGE = (ROOT / "lessons" / "teaching.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def block(language, word):
    (found,) = [text for text in blocks(language) if word in text]
    return found


SOLUTION = (ROOT / "lessons" / "solutions" / "08_bpe.py").read_text()
EXERCISE = block("python", "# your turn")
RIGHT = "import numpy as np\ndef my_mean(x):\n    return x.sum() / len(x)\n"
WRONG = "import numpy as np\ndef my_mean(x):\n    return x.max()\n"


def shell(line, folder):
    line = re.sub(r"^python3?", sys.executable, line)
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True)


def notebook(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


def test_both_plans_name_lessons_that_exist_each_once():
    there = [path.name[:2] for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))]
    rows = [row.split("|")[1:4] for row in re.findall(r"^\| \d+ \|.*", PAGE, re.M)]
    short = [number for row in rows for number in re.findall(r"\d\d", row[1])]
    long = [number for row in rows for number in re.findall(r"\d\d", row[2])]
    assert len(rows) == 14 and set(short) <= set(there)
    assert list(dict.fromkeys(long)) == there


def test_an_exercise_of_ones_own(tmp_path):
    path = tmp_path / "homework.ipynb"
    nbformat.write(notebook(EXERCISE), path)
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    assert exercises.grade(path, tmp_path / "right.py")["my_mean"]
    assert not exercises.grade(path, tmp_path / "wrong.py")["my_mean"]
    assert "not attempted" in exercises.grade(path, path)["my_mean"].text


def test_the_command(tmp_path):
    (tmp_path / "answers").mkdir()
    shutil.copy(ROOT / "lessons" / "solutions" / "00_start_here.py", tmp_path / "answers" / "a.py")
    (tmp_path / "answers" / "b.py").write_text(WRONG)
    done = shell(block("sh", "marks.json"), tmp_path)
    assert done.returncode == 1 and "3/3" in done.stdout and "0/3" in done.stdout, done.stderr
    marks = json.loads((tmp_path / "marks.json").read_text())
    assert marks["answers/a.py"]["score"] == 3 and marks["answers/b.py"]["score"] == 0


@pytest.mark.parametrize("answer,passes", [(RIGHT, True), (WRONG, False), ("", False)])
def test_a_cell_for_nbgrader_and_otter(answer, passes):
    cell = next(text for text in blocks("python") if ".require()" in text and "answers" not in text)
    book = notebook(EXERCISE, answer, cell)
    try:
        NotebookClient(book, kernel_name="python3", timeout=60).execute()
    except CellExecutionError as error:
        assert not passes and "my_mean: " in str(error)
    else:
        assert passes


def test_gradescope(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "submission").mkdir()
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "lessons" / "08_bpe.ipynb", tmp_path / "source")
    (tmp_path / "submission" / "answers.py").write_text(SOLUTION)
    done = shell(block("sh", "results/").replace("/autograder", str(tmp_path)), tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["score"] == 4
    assert {test["status"] for test in results["tests"]} == {"passed"}


def test_pytest(tmp_path):
    (tmp_path / "test_homework.py").write_text(block("python", "def test_softmax"))
    for text, status in (("minilib.naive.start_here.softmax(x)", 0), ("x", 1)):
        answer = f"import minilib\ndef my_softmax(x):\n    return {text}\n"
        (tmp_path / "answers.py").write_text(answer)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stdout
