"""The rules of the house: rooms, imports, widths, what can be found, and a README that is true."""

import ast
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import minilib
from minilib import twins

ROOT = pathlib.Path(minilib.__file__).parents[1]
HOUSE = {"__init__", "__main__", "shapes", "laws", "contest"}  # what is no topic
HOUSE |= {"twins", "examine", "compare", "grade", "exercises", "sandbox", "messages"}
HOUSE |= {"vocabulary", "tokenizer_json", "spelling", "texts"}
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))
TOPICS = sorted(path.stem for path in (ROOT / "minilib").glob("*.py") if path.stem not in HOUSE)
MODULES = sorted((ROOT / "minilib").rglob("*.py"))
README = (ROOT / "README.md").read_text()
every_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "minilib"))
)


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **kwargs)


# -- rooms -----------------------------------------------------------------------------------------


def test_every_topic_has_its_rooms():
    assert {path.stem[3:] for path in LESSONS} <= set(TOPICS)
    assert twins.topics() == twins.topics("cases") == TOPICS
    for topic in TOPICS:
        assert (ROOT / "tests" / f"test_{topic}.py").exists()
    for room in ("bench", "cuda"):
        assert set(twins.topics(room)) <= set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_case_generator_belongs_to_a_definition_and_says_what_it_is_for(topic):
    cases = importlib.import_module(f"minilib.cases.{topic}")
    definitions = importlib.import_module(f"minilib.naive.{topic}")
    graded = {pair.definition for pair in twins.load([topic])}
    for name, generator in vars(cases).items():
        if inspect.isgeneratorfunction(generator) and not name.startswith("_"):
            assert getattr(definitions, name) in graded, f"{name} has no twin"
            assert generator.__doc__, f"cases of {name}: what is each there to catch?"
    assert all(inspect.isgeneratorfunction(pair.cases) for pair in twins.load([topic]))


def test_a_definition_without_cases_is_an_error_at_import(monkeypatch):
    from minilib.cases import start_here

    monkeypatch.delattr(start_here, "softmax")
    monkeypatch.delitem(sys.modules, "minilib.start_here")
    with pytest.raises(TypeError, match=r"minilib/cases/start_here.py must define softmax\(rng\)"):
        importlib.import_module("minilib.start_here")


def imports(path):
    """Full names of all that a module imports, inside functions too: 'minilib.naive.lstm'."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name):
    """The module that an imported name belongs to: 'minilib.lstm.LSTM' -> 'minilib.lstm'."""
    parts = name.split(".")
    while parts:
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            return ".".join(parts)
        parts.pop()
    return None


@every_module
def test_imports_flow_one_way(path):
    room = path.parent.name
    standard = sys.stdlib_module_names
    topics = {f"minilib.{topic}" for topic in TOPICS}
    for name in imports(path):
        first, module = name.split(".")[0], ours(name)
        if room == "naive":
            allowed = first in standard | {"numpy"} or name.startswith("minilib.naive")
        elif room == "cases":
            numpy_only = first in standard | {"numpy"}
            allowed = numpy_only or name.startswith(("minilib.naive", "minilib.cases"))
        elif room == "minilib" and path.stem in TOPICS:
            allowed = first in standard | {"numpy", "torch"}
            allowed |= first == "minilib" and not name.startswith(("minilib.lab", "minilib.bench"))
        elif room == "cuda":
            allowed = first in {"torch", "triton"} or module == "minilib.autograd"
        elif room == "lab":
            allowed = module not in topics - {"minilib.language_model"}
        else:
            allowed = True
        assert allowed, f"{path.name} may not import {name}"
        assert first not in ("tests", "lessons")


def test_no_import_goes_in_a_circle():
    """Imports inside functions count too. __init__ and __main__ sit above all others."""
    graph = {}
    for path in MODULES:
        if path.stem not in ("__init__", "__main__"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found = {ours(imported) for imported in imports(path)} - {None, "minilib", name}
            graph[name] = {
                module for module in found if not (ROOT / module.replace(".", "/")).is_dir()
            }
    while leaves := [name for name, needs in graph.items() if not needs & set(graph)]:
        for name in leaves:
            del graph[name]
    assert not graph, f"these import each other: {sorted(graph)}"


# -- widths ----------------------------------------------------------------------------------------


@every_module
def test_a_module_can_be_read(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_style(command):
    """Lines of 100 columns in modules and 88 in lessons, among others (see pyproject.toml)."""
    done = run(sys.executable, "-m", "ruff", *command, ".")
    assert done.returncode == 0, done.stdout


# -- to be found -----------------------------------------------------------------------------------

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"  # importing it fails


def test_importing_minilib_is_quick_and_needs_no_torch():
    code = (
        WITHOUT_TORCH + "import time; t = time.perf_counter(); import minilib, minilib.naive.lstm\n"
        "print(time.perf_counter() - t)"
    )
    seconds = [float(run(sys.executable, "-c", code, check=True).stdout) for _ in range(3)]
    assert min(seconds) < 0.5


def test_the_topics_are_what_completion_shows():
    assert dir(minilib.naive) == TOPICS
    assert dir(minilib) == sorted([*TOPICS, *minilib.__all__, "lab", "naive"])
    assert minilib.lstm.LSTM and minilib.naive.lstm.lstm_step
    for module in (minilib, minilib.naive):
        with pytest.raises(AttributeError, match="has no topic 'lstn'; did you mean lstm"):
            module.lstn  # noqa: B018
        with pytest.raises(AttributeError, match="did you mean lstm"):
            getattr(module, "04_lstm")
        with pytest.raises(AttributeError, match="there are acceptance, arithmetic_tokens, "):
            module.qqq  # noqa: B018


def test_all_that_can_be_graded_is_listed():
    code = WITHOUT_TORCH + "import minilib; print(*minilib.pairs(), sep='\\n')"
    names = run(sys.executable, "-c", code, check=True).stdout.split()
    assert {f"{pair.topic}.{pair.definition.__name__}" for pair in twins.load()} == set(names)
    assert len(names) >= 90
    listed = run(sys.executable, "-m", "minilib", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == names
    assert all(len(line.split()) > 1 for line in listed)
    listed = run(sys.executable, "-m", "minilib", "list", "lstm").stdout
    assert "lstm.lstm_lm" in listed and "attention" not in listed


@pytest.mark.parametrize(
    "words,answer",
    [
        (["check", "lstn"], "'lstn' is no topic; did you mean lstm"),
        (["check", "04_lstm"], "did you mean lstm"),
        (["check", "compare"], "'compare' is no topic"),
        (["bench", "start_here"], "'start_here' is no topic with a bench"),
        (["list", "twins"], "'twins' is no topic"),
        (["train", "LSTM"], "did you mean lstm"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_misspelt_topic_gets_the_nearest_and_fails(words, answer):
    done = run(sys.executable, "-m", "minilib", *words)
    assert done.returncode == 2 and answer in done.stderr
    assert not done.stdout and done.stderr.count("\n") == 1


def test_version():
    assert (
        run(sys.executable, "-m", "minilib", "--version").stdout
        == f"minilib {minilib.__version__}\n"
    )


# -- the README ------------------------------------------------------------------------------------


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def shell_lines():
    return [line for block in blocks("sh") for line in block.splitlines()]


def test_ci_runs_exactly_the_readmes_test_command():
    commands = [line for line in shell_lines() if line.endswith("-m pytest")]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in script if line and not line.startswith(("#", "set "))] == commands
    assert len(commands) == 1


def test_the_readmes_start_command_names_things_that_exist():
    starts = [line for line in shell_lines() if "jupyter" in line]
    assert starts and all((ROOT / start.split()[-1]).exists() for start in starts)
    assert "jupyterlab" in (ROOT / "requirements.txt").read_text()


@pytest.mark.parametrize("code", blocks("python"))
def test_the_readmes_python_runs(code):
    """A block that does not name torch runs where there is none."""
    needs_torch = "torch" in code or "lab" in code
    done = run(sys.executable, "-c", code if needs_torch else WITHOUT_TORCH + code)
    assert done.returncode == 0, done.stderr


def test_the_readme_grades_without_torch():
    assert any("minilib.check" in code and "torch" not in code for code in blocks("python"))


@pytest.mark.parametrize("line", [s for s in shell_lines() if s.startswith("python -m minilib")])
def test_the_readmes_commands_are_ones_that_minilib_has(line):
    words = line.split("#")[0].split()
    done = run(sys.executable, "-m", "minilib", *words[3:5], "--help")
    assert done.returncode == 0
    for option in (word for word in words[4:] if word.startswith("--")):
        assert option in done.stdout


def test_the_readme_lists_the_lessons_that_exist():
    listed = re.findall(r"\(lessons/(\d\d_\w+\.ipynb)\)", README)
    assert sorted(set(listed)) == [path.name for path in LESSONS]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
