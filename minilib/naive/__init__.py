"""The definitions: each system as its shortest correct statement, in NumPy and loops, float64."""

import difflib
import importlib
import pathlib
import re

_HERE = pathlib.Path(__file__).parent


def __dir__():
    return sorted(path.stem for path in _HERE.glob("[!_]*.py"))


def __getattr__(name):  # naive.lstm: imported when first named
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"minilib.naive has no topic {name!r}; {_nearest(name, __dir__())}")


def _nearest(name, names):
    """What to advise one who asked for a name that is not among these: '04_lstn' -> lstm."""
    near = difflib.get_close_matches(re.sub(r"^\d+_", "", name.lower()), names, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
