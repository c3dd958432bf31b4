"""Grade an attempt at a definition on its own cases, and say in words what is wrong."""

import importlib
import inspect
import re
from collections.abc import Callable

import numpy as np

from minilib.compare import is_real
from minilib.examine import Wrong, examine
from minilib.twins import PAIRS, Pair, cases_of, pairs, topics


class Report:
    """What `check` found: true if the attempt is right; printing it says what is wrong."""

    def __init__(self, ok, text):
        self.ok, self.text = ok, text

    def __bool__(self):
        return self.ok

    def __repr__(self):
        return self.text


def _speaks_torch(function):
    """Does this function's code name anything that comes from torch?"""
    code = getattr(function, "__code__", None)
    if code is None:
        return inspect.isclass(function)
    values = [function.__globals__.get(name) for name in code.co_names]
    return any(
        str(getattr(v, "__module__", None) or getattr(v, "__name__", "")).split(".")[0] == "torch"
        for v in values
        if v is not None
    )


def _find(like, cases):
    """The pair to grade against. Without torch a definition and its cases are enough."""
    if cases is not None:
        return Pair(like, like, cases)
    module = getattr(like, "__module__", None) or ""
    topic = module.rpartition(".")[2]
    if not module.startswith("minilib.") or topic not in topics():
        name = getattr(like, "__qualname__", repr(like))
        raise TypeError(
            f"like must be a definition or a twin of minilib, or come with cases=, got {name}; "
            "python -m minilib list shows all that can be graded"
        )
    try:
        importlib.import_module(f"minilib.{topic}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return _without_torch(like)
    for pair in PAIRS.values():
        if like is pair.fast or like is pair.definition:
            return pair
    known = ", ".join(pairs(topic))
    raise TypeError(f"like must be one of {known}, or come with cases=, got {like.__qualname__}")


def _without_torch(definition):
    pair = Pair(definition, definition, cases_of(definition))
    first = next(iter(pair.cases(np.random.default_rng(0))))
    built = first and isinstance(first[0], dict) and not any(is_real(v) for v in first[0].values())
    if built:  # a module's case begins with the arguments of its constructor
        raise ImportError(
            f"to grade against {definition.__qualname__} takes torch: its twin makes the parameters"
        )
    return pair


def check(
    candidate: Callable,
    like: Callable,
    *,
    cases: Callable | None = None,
    tolerance: float | None = None,
) -> Report:
    """Grade your implementation against a definition, on the definition's own cases.

    candidate  your function, NumPy or torch, with the signature of the definition; for a module
               also a class with the same constructor and state_dict names
    like       the definition or its twin: naive.lstm.lstm, minilib.lstm.lstm (minilib.pairs()
               names all). With `cases`, any NumPy function that gives the right answer
    cases      generator function of a NumPy Generator that yields argument tuples
    tolerance  relative; default 1e-9, and 1e-6 for gradients, which are graded for torch
    returns    a Report: true or false, and in words the first thing that is wrong. A wrong answer
               never raises. A NumPy answer to a function is graded without torch
    """
    pair = _find(like, cases)
    name = getattr(candidate, "__name__", type(candidate).__name__)
    if not callable(candidate):
        return Report(False, f"{name}: got a {type(candidate).__name__}, expected a function")
    count = 0
    modes = ["torch", "numpy"] if _speaks_torch(candidate) else ["numpy", "torch"]
    for number, case in enumerate(pair.cases(np.random.default_rng(0)), 1):
        failed = []
        for mode in modes:
            try:
                _, _, problem = examine(
                    pair, candidate, number=number, case=case, mode=mode, tolerance=tolerance
                )
                if problem:
                    return Report(False, f"{name}: {problem}")
                break
            except NotImplementedError:
                return Report(False, f"{name}: not attempted yet")
            except Wrong as wrong:
                return Report(False, f"{name}: {wrong}")
            except Exception as error:  # whatever the attempt raises is an answer about the attempt
                failed.append(
                    f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                )
        else:
            text = re.sub(r"0x[0-9a-f]+", "0x…", failed[0])
            return Report(False, f"{name}: case {number}: raises {text}")
        modes = [mode]
        count = number
    graded = "values and gradients" if modes[0] == "torch" else "values"
    return Report(True, f"{name}: correct, {count} cases ({graded})")
