"""Mark files of answers to the exercises of a lesson."""

import json
import pathlib

import minilib
from minilib import exercises


def arguments(parser):
    parser.add_argument("lesson", metavar="LESSON", help="00, start_here, or a notebook")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a .py file or notebook of answers"
    )
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds for a file (default: 60)"
    )
    parser.add_argument("--memory", type=int, default=2048, help="megabytes (default: 2048)")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the cases; 0 are those of the lesson"
    )
    parser.add_argument("--json", metavar="FILE", help="write marks for Gradescope, too")


def run(options):
    lesson = _lesson(options.lesson)
    marks = {}
    for file in options.files:
        limits = {"timeout": options.timeout, "memory": options.memory, "seed": options.seed}
        marks[file] = exercises.grade(lesson, file, **limits)
    print(exercises.table(marks))
    if options.json:
        results = {file: exercises.gradescope(reports) for file, reports in marks.items()}
        text = json.dumps(results if len(results) > 1 else next(iter(results.values())), indent=1)
        pathlib.Path(options.json).write_text(text)
    return 0 if all(all(reports.values()) for reports in marks.values()) else 1


def _lesson(name):
    """The notebook of a lesson: by number or name from the checkout, or a path."""
    if pathlib.Path(name).is_file():
        return pathlib.Path(name)
    folder = pathlib.Path(minilib.__file__).parents[1] / "lessons"
    for path in folder.glob("[0-9][0-9]_*.ipynb"):
        if name in (path.stem, path.stem[:2], path.stem[3:]):
            return path
    raise ValueError(f"LESSON must be a number, a name or a notebook, got {name!r}")
