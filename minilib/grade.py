"""Grade an attempt at a definition on its own cases, and say in words what is wrong."""

import contextlib
import dis
import importlib
import inspect
import linecache
import os
import random
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable

import numpy as np

from minilib.compare import differences, is_real
from minilib.examine import FLOAT64, Case, Wrong
from minilib.twins import PAIRS, Pair, cases_of, pairs, topics


class Report(dict):
    """What `check` found: true if the attempt is right; printed, it says what is wrong.

    As a dict, and so as JSON, it holds `ok`, `text` and `case`, the number of the first one that
    failed. `inputs` (by name), `got` and `expected` are those of that case, for looking into.
    """

    def __init__(self, ok, text, case=None, inputs=None, got=None, expected=None):
        text = text.encode("ascii", "backslashreplace").decode()  # any stream can print it
        super().__init__(ok=ok, text=text, case=case)
        self.ok, self.text, self.case = ok, text, case
        self.inputs, self.got, self.expected = inputs, got, expected

    def require(self):
        """Raise AssertionError with the text unless it is right: for nbgrader and otter."""
        if not self.ok:
            raise AssertionError(self.text)
        return self

    def __bool__(self):
        return self.ok

    def __float__(self):
        return float(self.ok)

    def __repr__(self):
        return textwrap.fill(self.text, 88, subsequent_indent="    ")

    __str__ = __repr__


def check(
    candidate: Callable,
    like: Callable,
    *,
    cases: Callable | None = None,
    tolerance: float | None = None,
    secret: bool = False,
    seed: int = 0,
) -> Report:
    """Grade your implementation against a definition, on the definition's own cases.

    candidate  your function, NumPy or torch, with the signature of the definition; for a module
               also a class with the same constructor and state_dict names
    like       the definition or its twin: naive.lstm.lstm, minilib.lstm.lstm (minilib.pairs()
               names all). With `cases`, any NumPy function that gives the right answer
    cases      generator function of a NumPy Generator that yields argument tuples
    tolerance  relative; default 1e-9, and 1e-6 for gradients, which are graded for torch
    secret     say right or wrong and how much of the answer is right, never the right answer
    seed       of the random numbers in the cases
    returns    a Report. A wrong answer never raises, whatever it does. A NumPy answer to a function
               is graded without torch
    """
    pair = _find(like, cases)
    name = getattr(candidate, "__name__", type(candidate).__name__)
    if not callable(candidate):
        return Report(False, f"{name}: got a {type(candidate).__name__}, expected a function")
    if _is_stub(candidate):
        return Report(False, f"{name}: not attempted yet")
    modes = ["torch", "numpy"] if speaks_torch(candidate) else ["numpy", "torch"]
    failed, right, count = [], 0, 0
    for count, case in enumerate(pair.cases(np.random.default_rng(seed)), 1):
        one = Case(pair, count, case, "float64")
        mode, found = _judge(one, candidate, modes, tolerance)
        if found is NotImplemented:
            return Report(False, f"{name}: not attempted yet")
        if isinstance(found, str):
            failed.append((one, found, None, None, None))
            continue
        modes = [mode]
        if found.problem:
            failed.append((one, found.problem, found.hint, found.got, found.want))
        else:
            right += 1
    if not count:
        raise ValueError("cases must yield at least one tuple of arguments, got none")
    if not failed:
        graded = "values and gradients" if modes == ["torch"] else "values"
        return Report(
            True, f"{name}: " + ("right" if secret else f"correct, {count} cases ({graded})")
        )
    one, problem, hint, got, want = failed[0]
    if secret:
        return Report(False, f"{name}: wrong, {_share(failed, right, count)}")
    hints = {hint for _, _, hint, _, _ in failed if hint is not None}
    hint = hints.pop() if len(hints) == 1 else ""  # it holds in every case that can tell
    text = f"{name}: {one}: {problem}" + f"; {hint}" * bool(hint)
    return Report(False, text, one.number, one.named(), got, want)


def _share(failed, right, count):
    """How much is right, for a secret check: of the cases, or of the values of a single case."""
    if count > 1:
        return f"{right} of {count} cases right"
    _, _, _, got, want = failed[0]
    values = differences(got, want, FLOAT64, "float64")
    if isinstance(want, (tuple, list, dict)) and len(values) == len(want):
        return f"{sum(not value.problem for value in values)} of {len(want)} values right"
    return "no value right"


# -- one call --------------------------------------------------------------------------------------


def _judge(one, candidate, modes, tolerance):
    """(mode, Finding), (None, words on what was raised), or (None, NotImplemented) for a stub."""
    raised = []
    for mode in modes:
        try:
            with _steady():
                return mode, one.judge(candidate, mode, tolerance=tolerance)
        except KeyboardInterrupt:
            raise
        except Wrong as wrong:
            return None, str(wrong)
        except BaseException as error:  # exit() too: all of it says something
            stub, words = stub_or_words(error, candidate)
            if stub:
                return None, NotImplemented
            raised.append(words)
    return None, raised[0]


@contextlib.contextmanager
def _steady():
    """The same global state for every call, whatever the user set; and all of it put back."""
    torch = sys.modules.get("torch")
    folder, stdin, python, numpy = os.getcwd(), sys.stdin, random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(np.errstate(all="ignore"))
        sys.stdin = stack.enter_context(open(os.devnull))
        if torch:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
            torch.manual_seed(0)
        try:
            yield
        finally:
            sys.stdin = stdin
            os.chdir(folder)
            random.setstate(python)
            np.random.set_state(numpy)


def _is_stub(function):
    """Is the body nothing but `...`, `pass` or a docstring?"""
    code = getattr(function, "__code__", None)
    trivial = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "POP_TOP"}
    if code is None or not {step.opname for step in dis.get_instructions(code)} <= trivial:
        return False
    return all(value is None for value in _returned(code))


def _returned(code):
    """The constants that a function of constants returns."""
    before = None
    for step in dis.get_instructions(code):
        if step.opname == "RETURN_CONST":
            yield step.argval
        elif step.opname == "RETURN_VALUE":
            yield before
        before = step.argval


def stub_or_words(error, function):
    """(was it raised by a stub, what it says in words), without a path or an address.

    A stub raises a NotImplementedError without a word, in its own code. The words name the line of
    that code: 'raises ValueError: ...; in its line 3: w.sum(axis=2)'.
    """
    if hasattr(error, "words"):  # from a sandbox
        return error.words is None, error.words
    code = getattr(function, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is None or frame.filename == code.co_filename]
    if type(error) is NotImplementedError and not error.args and own and frames[-1] is own[-1]:
        return True, ""
    try:
        said = str(error).splitlines()[0][:200] if str(error) else ""
    except BaseException:  # an exception whose own text raises
        said = ""
    said = re.sub(r"0x[0-9a-fA-F]+", "0x...", said)
    said = re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[\w.~-]+[\\/])+", "", said)
    if isinstance(error, SystemExit):
        said = "exit() ends the whole program"
    text = f"raises {type(error).__name__}" + f": {said}" * bool(said)
    own = [frame for frame in own if code and frame.lineno >= code.co_firstlineno]
    if own:
        line = linecache.getline(own[-1].filename, own[-1].lineno).strip()
        number = own[-1].lineno - code.co_firstlineno + 1
        text += f"; in its line {number}" + f": {line}" * bool(line)
    return False, text


def speaks_torch(function):
    """Does this function's code name anything that comes from torch?"""
    if hasattr(function, "speaks_torch"):  # from a sandbox
        return function.speaks_torch
    code = getattr(function, "__code__", None)
    if code is None:
        return inspect.isclass(function)
    values = [function.__globals__.get(name) for name in code.co_names]
    homes = [getattr(v, "__module__", None) or getattr(v, "__name__", "") for v in values]
    return any(str(home).split(".")[0] == "torch" for home in homes)


# -- what to compare with --------------------------------------------------------------------------


def _find(like, cases):
    """The pair to grade against. Without torch a definition and its cases are enough."""
    if cases is not None:
        return Pair(like, like, cases)
    module = getattr(like, "__module__", None) or ""
    topic = module.rpartition(".")[2]
    if not module.startswith("minilib.") or topic not in topics():
        name = getattr(like, "__name__", type(like).__name__)
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
