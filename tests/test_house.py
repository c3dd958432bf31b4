"""The rules of the house: imports flow one way, every topic has its four rooms, the README tells the truth."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

import minilib

ROOT = pathlib.Path(minilib.__file__).parents[1]
HOUSE = {"__init__", "__main__", "compare", "language_model", "twins"}  # what is no topic
LESSONLESS = {
    "transformer"
}  # a topic in all but its lesson: 13 introduces it, later ones build on it
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))
TOPICS = sorted(path.stem for path in (ROOT / "minilib").glob("*.py") if path.stem not in HOUSE)
MODULES = sorted((ROOT / "minilib").rglob("*.py"))
README = (ROOT / "README.md").read_text()


def imports(path):
    """Full names of all that a module imports, inside functions too: 'torch', 'minilib.naive.lstm', …

    Except in a topic's benches, which may name peers and read data.
    """
    tree = ast.parse(path.read_text())
    tree.body = [
        node for node in tree.body if not getattr(node, "name", "").lstrip("_").startswith("bench")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path):
    room = path.parent.name
    for name in imports(path):
        first = name.split(".")[0]
        if room == "naive":
            allowed = first in sys.stdlib_module_names | {"numpy"} or name.startswith(
                "minilib.naive"
            )
        elif path.stem in TOPICS and room == "minilib":
            allowed = first in sys.stdlib_module_names | {"numpy", "torch"} or (
                first == "minilib" and not name.startswith("minilib.lab")
            )
        elif room == "cuda":
            allowed = first in {"torch", "triton"}
        elif room == "lab":
            allowed = not any(
                name.startswith((f"minilib.{topic}.", f"minilib.naive.{topic}"))
                or name == f"minilib.{topic}"
                for topic in TOPICS
            )
        else:
            allowed = True
        assert allowed, f"{path.name} may not import {name}"
        assert first not in ("tests", "lessons")


def test_importing_minilib_is_quick_and_needs_no_torch():
    code = "import sys, time; t = time.perf_counter(); import minilib, minilib.naive.lstm; t = time.perf_counter() - t; assert 'torch' not in sys.modules; print(t)"
    seconds = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(seconds) < 0.5


def test_topics_are_named_lazily():
    assert minilib.lstm.LSTM and minilib.naive.lstm.lstm_step
    for module in (minilib, minilib.naive):
        with pytest.raises(AttributeError, match="no topic 'nonsense'"):
            module.nonsense  # noqa: B018


def test_every_topic_has_four_rooms():
    lessons = {path.stem[3:] for path in LESSONS}
    assert lessons == set(TOPICS) - LESSONLESS
    for topic in TOPICS:
        assert (ROOT / "minilib" / "naive" / f"{topic}.py").exists()
        assert (ROOT / "tests" / f"test_{topic}.py").exists()
    assert {path.stem for path in (ROOT / "minilib" / "cuda").glob("[!_]*.py")} <= set(TOPICS)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_ci_runs_exactly_the_readmes_test_command():
    commands = [
        line for block in blocks("sh") for line in block.splitlines() if line.endswith("-m pytest")
    ]
    assert len(commands) == 1
    script = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set "))
    ]
    assert script == commands


def test_the_readmes_start_command_names_things_that_exist():
    (start,) = [line for block in blocks("sh") for line in block.splitlines() if "jupyter" in line]
    assert (ROOT / start.split()[-1]).exists()
    assert "jupyterlab" in (ROOT / "requirements.txt").read_text()


@pytest.mark.parametrize("code", blocks("python"))
def test_the_readmes_python_runs(code):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("python -m minilib")
    ],
)
def test_the_readmes_commands_are_ones_that_minilib_has(line):
    words = line.split("#")[0].split()
    done = subprocess.run(
        [sys.executable, "-m", "minilib", words[3], "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for option in (word for word in words[4:] if word.startswith("--")):
        assert option in done.stdout


def test_the_readme_lists_the_lessons_that_exist():
    listed = re.findall(r"\(lessons/(\d\d_\w+\.ipynb)\)", README)
    assert sorted(set(listed)) == [path.name for path in LESSONS]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
