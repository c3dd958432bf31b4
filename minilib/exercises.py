"""What a lesson asks for, and marks for files that answer it: `python -m minilib grade`."""

import ast
import json
import pathlib
import re
import textwrap
from typing import NamedTuple

from minilib import twins
from minilib.grade import Report, check
from minilib.sandbox import Sandbox

TURN = "raise NotImplementedError  # your turn"


class Exercise(NamedTuple):
    names: list  # of the functions asked for, the one that is checked last
    check: ast.expr  # minilib.check(...)
    namespace: dict  # what the check is evaluated in


def exercises(lesson: str | pathlib.Path) -> list[Exercise]:
    """The exercises of a lesson: cells with a stub whose last line is a check.

    Imports, functions, classes and constants of the lesson are there for the check, and all of the
    exercise's own cell; nothing else of the lesson is run.
    Raises ValueError for a file that is no notebook or has no exercise.
    """
    found, namespace = [], {"__name__": "lesson"}
    for source in _cells(lesson):
        body = ast.parse(source).body
        asks = TURN in source and body and isinstance(body[-1], ast.Expr)
        _run(body[:-1] if asks else [node for node in body if _defines(node)], namespace)
        if asks:
            stubs = [node.name for node in body if _is_stub(node, source)]
            found.append(Exercise(stubs, body[-1].value, namespace))
    if not found:
        raise ValueError(f"LESSON must be a notebook with exercises, {lesson} has none")
    return found


def _is_stub(node, source):
    """A function or class that ends with the line that leaves it to the reader."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return False
    return TURN in "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])


def _cells(path):
    """The code cells of a notebook, without the lines for IPython; a .py file is one cell."""
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".py":
            return [text]
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is neither a .py file nor a notebook") from None
    return [re.sub(r"^\s*[%!].*", "", source, flags=re.M) for source in sources]


def _defines(node):
    """Is this statement an import, a function, a class or a constant?"""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
        return True
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    if isinstance(node.value, ast.Lambda):
        return True
    return not any(isinstance(inner, ast.Call) for inner in ast.walk(node.value))


def _run(body, namespace):
    for node in body:
        code = compile(ast.Module([node], type_ignores=[]), "lesson", "exec")
        try:
            exec(code, namespace)
        except Exception:  # a name that was not run; the check will miss it if it matters
            pass


def answers(path: str | pathlib.Path) -> str:
    """The text of a file with answers; of a notebook what defines something, as for lessons."""
    path = pathlib.Path(path)
    if path.suffix == ".py":
        return _cells(path)[0]
    kept = []
    for source in _cells(path):
        try:
            body = ast.parse(source).body
        except SyntaxError:
            kept.append(source)  # it will be reported where it is run
            continue
        kept += [_if_it_runs(node) for node in body if _defines(node)]
    return "\n\n".join(kept)


def _if_it_runs(node):
    """The text of a statement; it may want what was not run, and then it ends nothing else."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        passed = ast.ExceptHandler(ast.Name("Exception"), None, [ast.Pass()])
        node = ast.Try([node], [passed], [], [])
    return ast.unparse(node)


# -- marks -----------------------------------------------------------------------------------------


def grade(
    lesson: str | pathlib.Path,
    path: str | pathlib.Path,
    *,
    timeout: float = 60.0,
    memory: int = 2048,
    seed: int | None = None,
) -> dict[str, Report]:
    """Mark one file of answers: {exercise: Report}. It runs in a process of its own.

    lesson   the notebook with the exercises
    path     a .py file or a notebook with functions of the names that the exercises ask for
    timeout  seconds for an exercise; memory: megabytes beyond what the libraries take
    seed     of fresh cases; None are those that the lesson itself shows
    """
    asked = exercises(lesson)
    names = [name for exercise in asked for name in exercise.names]
    try:
        source = answers(path)
    except ValueError as error:
        return {exercise.names[-1]: Report(False, str(error)) for exercise in asked}
    forbidden = {name: _definition(one) for one in asked for name in one.names}
    marks = {}
    sandbox = Sandbox(source, names, forbidden, timeout, memory)
    for exercise in asked:
        if sandbox.ended and sandbox.functions:  # an answer that ended it costs no other exercise
            sandbox = Sandbox(source, names, forbidden, timeout, memory)
        marks[exercise.names[-1]] = _mark(exercise, sandbox, seed)
    sandbox.close()
    return marks


def _evaluate(exercise, checker, functions):
    """The exercise's check, with another `minilib.check` and functions for the stubs."""

    class Minilib:
        def __getattr__(self, name):
            import minilib

            return checker if name == "check" else getattr(minilib, name)

    scope = exercise.namespace
    before = {name: scope[name] for name in [*functions, "minilib"] if name in scope}
    scope.update(functions, minilib=Minilib())
    try:
        return eval(compile(ast.Expression(exercise.check), "lesson", "eval"), scope)
    except NameError as error:
        raise ValueError(f"the check of {exercise.names[-1]} needs another cell: {error}") from None
    finally:
        scope.update(before)


def _definition(exercise):
    """[(module, name)] of the definition that is asked for and its twin, if the library has it."""
    like = _evaluate(exercise, lambda candidate, like, **_: like, {})
    module = getattr(like, "__module__", None) or ""
    if not module.startswith("minilib."):
        return []
    topic = module.rpartition(".")[2]
    places = [(module, like.__name__)]
    if topic in twins.topics():
        try:
            pairs = twins.load([topic])
        except ImportError:  # no torch
            return places
        for pair in pairs:
            if like in (pair.definition, pair.fast):
                both = pair.definition, pair.fast
                places = [(function.__module__, function.__name__) for function in both]
    return places


def _mark(exercise, sandbox, seed):
    name = exercise.names[-1]
    missing = [name for name in exercise.names if name not in sandbox.functions]
    if missing:
        because = f"; the file {sandbox.problem}" if sandbox.problem else ""
        return Report(False, f"{name}: the file has no {', '.join(missing)}{because}")

    def checker(candidate, like, **keywords):
        keywords |= {} if seed is None else {"seed": seed}
        return check(candidate, like, **keywords)

    functions = {name: sandbox.functions[name] for name in exercise.names}
    sandbox.restart_clock()
    report = _evaluate(exercise, checker, functions)
    if report and any(all(sandbox.delegated.get(name) or [False]) for name in exercise.names):
        return Report(False, f"{name}: passes all its inputs on to the library; write your own")
    return report


def table(marks: dict[str, dict[str, Report]]) -> str:
    """{file: {exercise: Report}} as text: a line for each file, then all that is wrong."""
    names = list(next(iter(marks.values())))
    wide = max(len("file"), *map(len, marks))
    lines = [f"{'file':<{wide}}  points  " + "  ".join(names)]
    for file, reports in marks.items():
        row = "  ".join(f"{'ok' if reports[name] else '-':<{len(name)}}" for name in names)
        points = f"{sum(map(bool, reports.values()))}/{len(reports)}"
        lines.append(f"{file:<{wide}}  {points:>6}  {row}".rstrip())
    for file, reports in marks.items():
        for report in reports.values():
            if not report:
                lines += textwrap.wrap(f"{file}: {report}", 100, subsequent_indent="    ")
    return "\n".join(lines)


def gradescope(reports: dict[str, Report]) -> dict:
    """One file's marks in the format of Gradescope's results.json."""
    tests = [
        {
            "name": name,
            "score": float(report),
            "max_score": 1.0,
            "status": "passed" if report else "failed",
            "output": report.text,
        }
        for name, report in reports.items()
    ]
    return {"score": sum(test["score"] for test in tests), "tests": tests}
