"""The checker: it refuses what is wrong, says why in a learner's words, and nothing disturbs it."""

import importlib
import json
import os
import pathlib
import random
import subprocess
import sys
import warnings

import mutants
import numpy as np
import pytest
import torch

import minilib
from minilib import exercises, twins
from minilib.naive import start_here as naive
from minilib.start_here import softmax

ROOT = pathlib.Path(minilib.__file__).parents[1]
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))


def rows(rng):
    yield (rng.normal(size=(3, 5)),)
    yield (np.abs(rng.normal(size=(4, 4))),)


def log_sum(x):
    """The definition used below: log-sum-exp of each row, and the row centred on it."""
    total = np.array([np.log(sum(np.exp(v) for v in row)) for row in x])
    return total, x - total[:, None]


def right(x):
    total = x.logsumexp(1)
    return total, x - total[:, None]


def right_in_numpy(x):
    total = np.log(np.exp(x).sum(1))
    return total, x - total[:, None]


# -- planted faults: each must be caught, and said in words ----------------------------------------


def wrong_scale(x):
    total, centred = right(x)
    return total, 0.5 * centred


def transposed(x):
    total, centred = right(x)
    return total, centred.T


def dropped_gradient(x):
    total, centred = right(x)
    return total.detach(), centred


def no_gradient(x):
    total, centred = right(x)
    return total.detach(), centred.detach()


def off_by_one(x):
    total, centred = right(x)
    return total, centred.roll(1, dims=1)


def wrong_dtype(x):
    total, centred = right(x)
    return total, centred.float()


def wrong_value_and_dtype(x):
    total, centred = right(x)
    return total, 3 * centred.float()


def in_place(x):
    total = x.logsumexp(1)
    x -= total[:, None]
    return total, x


def in_place_in_numpy(x):
    total = np.log(np.exp(x).sum(1))
    x -= total[:, None]
    return total, x


def not_a_number(x):
    total, centred = right(x)
    return total, torch.where(centred < -2, torch.nan, centred)


def half_the_outputs(x):
    return right(x)[0]


def no_return(x):
    total = x.logsumexp(1)
    total, x - total[:, None]


def raises(x):
    total = x.logsumexp(1)
    return torch.nothing(total)


def not_implemented_by_torch(x):
    return torch.softmax(x.long(), -1)


def leaves(x):
    sys.exit(0)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("boom")


def raises_unprintable(x):
    raise Unprintable


def recurses(x):
    return recurses(x)


def returns_text(x):
    return "x"


def returns_generators(x):
    return (v for v in x), (v for v in x)


FAULTS = [
    (wrong_scale, "every value is 0.5 times what it should be"),
    (wrong_scale, "output[1]: at (0, 0) got"),
    (wrong_scale, "; output[0] agrees"),
    (transposed, "shape (5, 3), expected (3, 5)"),
    (dropped_gradient, "values agree, but the gradient in x is wrong"),
    (no_gradient, "values agree, but no gradient reaches x"),
    (off_by_one, "at (0, 0) got"),
    (wrong_dtype, "values agree, but dtype float32, expected float64"),
    (wrong_value_and_dtype, "at (0, 0) got"),
    (in_place, "it changes its input in place"),
    (in_place_in_numpy, "it changes its input in place"),
    (not_a_number, "got nan, expected"),
    (half_the_outputs, "got one array of shape (3,), expected a tuple of 2 values"),
    (no_return, "returns None: is the `return` missing?"),
    (raises, "raises AttributeError: module 'torch' has no attribute 'nothing'"),
    (raises, "; in its line 3: return torch.nothing(total)"),
    (not_implemented_by_torch, 'Error: "softmax_lastdim_kernel_impl" not implemented'),
    (leaves, "raises SystemExit: exit() ends the whole program"),
    (raises_unprintable, "raises Unprintable"),
    (recurses, "raises RecursionError"),
    (returns_text, "got one str, expected a tuple of 2 values"),
    (returns_generators, "output[0]: got <generator object returns_generators"),
    (raises, "case 1 (x (3, 5)): "),
]


@pytest.mark.parametrize("fault,words", FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_caught_and_said(fault, words):
    report = minilib.check(fault, like=log_sum, cases=rows)
    assert not report
    assert words in report.text and str(report) == repr(report)
    assert max(map(len, str(report).splitlines())) <= 88
    again = minilib.check(fault, like=log_sum, cases=rows)
    assert report.text == again.text  # nbval compares it
    assert str(ROOT) not in report.text and "0x" not in report.text


@pytest.mark.parametrize(
    "answer,graded", [(right, "values and gradients"), (right_in_numpy, "values")]
)
def test_right_answers_pass(answer, graded):
    report = minilib.check(answer, like=log_sum, cases=rows)
    assert report
    assert repr(report) == f"{answer.__name__}: correct, 2 cases ({graded})"


def stub(x):
    raise NotImplementedError


def dots(x): ...


def only_a_docstring(x):
    """To be written."""


def said_so(x):
    raise NotImplementedError("later")


def helper_missing(x):
    return stub(x)


@pytest.mark.parametrize("attempt", [stub, dots, only_a_docstring, helper_missing])
def test_a_stub_is_not_attempted(attempt):
    report = minilib.check(attempt, like=log_sum, cases=rows)
    assert report.text == f"{attempt.__name__}: not attempted yet" and not report


def test_only_a_stub_is():
    assert "raises NotImplementedError: later" in minilib.check(said_so, log_sum, cases=rows).text


@pytest.mark.parametrize("shift", [1e-6, -1e-7])
def test_small_errors_count(shift):
    assert not minilib.check(lambda x: naive.softmax(x) * (1 + shift), like=softmax)
    assert minilib.check(lambda x: naive.softmax(x) * (1 + 1e-12), like=softmax)


def test_like_may_be_the_definition_or_the_twin():
    assert minilib.check(naive.softmax, like=naive.softmax)
    assert minilib.check(softmax, like=softmax)
    with pytest.raises(TypeError, match=r"like must be a definition .* got print; .* minilib list"):
        minilib.check(softmax, like=print)
    with pytest.raises(TypeError, match=r"like must be one of .*lstm.lstm_lm, .* got lstm_step"):
        minilib.check(softmax, like=minilib.naive.lstm.lstm_step)


def test_a_hint_must_hold_in_every_case():
    """Each single row of exp(x) is a multiple of the softmax, but not of one number."""
    assert "times what it should be" not in minilib.check(np.exp, like=naive.softmax).text
    three = lambda x: 3 * naive.softmax(x)
    assert "every value is 3 times what it should be" in minilib.check(three, naive.softmax).text
    one_number = minilib.check(
        lambda x: 3 * x, like=lambda x: x, cases=lambda rng: [(rng.random(1),)]
    )
    assert "times" not in one_number.text


# -- the report ------------------------------------------------------------------------------------


def test_the_failing_case_can_be_looked_into():
    report = minilib.check(wrong_scale, like=log_sum, cases=rows)
    assert report.case == 1 and list(report.inputs) == ["x"]
    np.testing.assert_array_equal(report.expected[1], log_sum(report.inputs["x"])[1])
    np.testing.assert_allclose(report.got[1], 0.5 * report.expected[1])


def test_a_report_is_a_bool_a_number_and_json():
    good, bad = minilib.check(softmax, softmax), minilib.check(np.exp, softmax)
    assert good and not bad and float(good) == 1.0 and float(bad) == 0.0
    assert json.loads(json.dumps(bad)) == {"ok": False, "text": bad.text, "case": bad.case}
    assert good.require() is good
    with pytest.raises(AssertionError, match="exp: case 1"):
        bad.require()


def test_small_inputs_are_shown_by_name():
    add = lambda P, h, p: P["W"] @ h + p
    cases = lambda rng: [({"W": np.eye(2)}, np.array([1.0, 2.0]), 0.5)]
    report = minilib.check(lambda P, h, p: h, like=add, cases=cases)
    assert "case 1 (P['W']=[[1.0, 0.0], [0.0, 1.0]], h=[1.0, 2.0], p=0.5): " in report.text
    assert "at 0 got 1, expected 1.5" in report.text


def test_the_text_goes_to_any_stream():
    def odd(x):
        raise ValueError("σ must be ≥ 0 at " + os.path.join("/home", "someone", "notes.py"))

    text = minilib.check(odd, like=naive.softmax).text
    text.encode("ascii")
    assert " at notes.py; in its line 2" in text


def test_sequences_of_numbers_and_minus_zero():
    three = lambda: (1.0, 2.0, -0.0)
    nothing = lambda rng: [()]
    for answer in ([1, 2, 0], (1.0, 2.0, 0.0), np.array([1.0, 2, 0])):
        assert minilib.check(lambda answer=answer: answer, like=three, cases=nothing)
    report = minilib.check(lambda: np.array([1.0, 2, 5]), like=three, cases=nothing)
    assert "output[2]: got 5, expected 0;" in report.text
    report = minilib.check(lambda: [1, 2], like=three, cases=nothing)
    assert "got [1, 2], expected (1.0, 2.0, -0.0)" in report.text


def test_exact_results_agree_exactly():
    def integers(x):
        return [int(v) for v in x], bytes(int(v) % 256 for v in x)

    cases = lambda rng: [(rng.integers(100, size=5),)]
    assert minilib.check(lambda x: (x.tolist(), bytes(x.tolist())), integers, cases=cases)
    assert (
        "got 1, expected"
        in minilib.check(lambda x: ([1] * 5, bytes(5)), integers, cases=cases).text
    )
    text = minilib.check(lambda x: (x.tolist(), bytes(5)), integers, cases=cases).text
    assert "output[1]: got b" in text


def test_no_case_is_no_proof():
    with pytest.raises(ValueError, match="cases must yield at least one"):
        minilib.check(np.exp, like=np.sin, cases=lambda rng: [])


def test_complex_gradients_follow_torch():
    definition = lambda z: z * z.conj() + z**2
    cases = lambda rng: [(rng.normal(size=3) + 1j * rng.normal(size=3),)]
    assert minilib.check(lambda z: torch.abs(z) ** 2 + z * z, like=definition, cases=cases)
    assert not minilib.check(lambda z: torch.abs(z.detach()) ** 2 + z * z, definition, cases=cases)
    assert minilib.check(lambda z: torch.conj(z), like=np.conj, cases=cases)  # a lazy view in torch


# -- secrets ---------------------------------------------------------------------------------------


def test_a_secret_check_says_how_much_is_right_and_no_value():
    answer = lambda: [7, 8, 9]
    nothing = lambda rng: [()]
    check = lambda f: minilib.check(f, like=answer, cases=nothing, secret=True).text
    assert check(lambda: [7, 8, 9]) == "<lambda>: right"
    assert check(lambda: [7, 8, 1]) == "<lambda>: wrong, 2 of 3 values right"
    assert check(lambda: [7]) == "<lambda>: wrong, no value right"
    text = minilib.check(lambda x: x, like=naive.softmax, secret=True).text
    assert text.endswith("cases right") and "expected" not in text


# -- nothing disturbs it, and it disturbs nothing --------------------------------------------------


def test_an_answer_disturbs_nothing():
    def vandal(x):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        np.seterr(all="raise")
        warnings.simplefilter("error")
        os.chdir("/")
        sys.stdin = None
        x[:] = 0
        return x

    def state():
        return (
            torch.is_grad_enabled(), torch.get_default_dtype(), torch.rand(1).item(), os.getcwd(),
            np.random.random(), random.random(), np.geterr(), sys.stdin, len(warnings.filters),
        )  # fmt: skip

    expected = []
    for disturb in (False, True):
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        if disturb:
            assert not minilib.check(vandal, like=naive.softmax)
        expected.append(state())
    assert expected[0] == expected[1]
    assert minilib.check(lambda x: torch.softmax(x, 1), like=softmax)


@pytest.mark.parametrize("how", ["no_grad", "inference", "float64", "warnings", "numpy", "nothing"])
def test_the_verdict_does_not_depend_on_the_users_state(how, recwarn):
    answer = lambda x: torch.softmax(x, -1)
    default = torch.get_default_dtype()
    with warnings.catch_warnings(), np.errstate(all="raise" if how == "numpy" else "warn"):
        if how == "warnings":
            warnings.simplefilter("error")
        if how == "float64":
            torch.set_default_dtype(torch.float64)
        try:
            with torch.inference_mode(how == "inference"), torch.set_grad_enabled(how != "no_grad"):
                text = minilib.check(answer, like=softmax).text
                assert minilib.check(np.exp, like=softmax).case == 1
        finally:
            torch.set_default_dtype(default)
    assert text.endswith("cases (values and gradients)")
    assert not recwarn.list


def test_a_numpy_answer_is_graded_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, minilib; from minilib import naive\n"
        "print(minilib.check(np.exp, like=naive.start_here.softmax).ok)\n"
        "print(minilib.check(naive.start_here.softmax, like=naive.start_here.softmax))\n"
        "try: minilib.check(np.exp, like=naive.lstm.lstm_lm)\n"
        "except ImportError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[0] == "False" and "correct" in out.stdout.splitlines()[1]
    assert "to grade against lstm_lm takes torch" in out.stdout


# -- modules ---------------------------------------------------------------------------------------


def scaled(params, x, *, power):
    return x**power @ params["weight"].T + params["bias"]


class Scaled(torch.nn.Linear):
    def __init__(self, inputs, outputs, power):
        super().__init__(inputs, outputs)
        self.power = power

    def forward(self, x):
        return super().forward(x**self.power)


class NoBias(Scaled):
    def __init__(self, inputs, outputs, power):
        super().__init__(inputs, outputs, power)
        self.bias = None


class FrozenBias(Scaled):
    def forward(self, x):
        return x**self.power @ self.weight.T + self.bias.detach()


def scaled_cases(rng):
    yield {"inputs": 3, "outputs": 2, "power": 2}, rng.normal(size=(4, 3))


def test_modules_are_compared_through_their_state_dict(monkeypatch):
    pair = twins.Pair(scaled, Scaled, scaled_cases)
    monkeypatch.setattr("minilib.grade._find", lambda like, cases: pair)
    assert minilib.check(Scaled, like=scaled) and minilib.check(scaled, like=scaled)
    assert "no gradient reaches parameter bias" in minilib.check(FrozenBias, like=scaled).text
    assert "state_dict lacks ['bias']" in minilib.check(NoBias, like=scaled).text


# -- typical wrong answers, and mutants ------------------------------------------------------------


def wrong_answers():
    """(definition, wrong answer) from the WRONG of every tests/test_<topic>.py."""
    for topic in twins.topics():
        found = getattr(importlib.import_module(f"test_{topic}"), "WRONG", {})
        for definition, answers in found.items():
            for answer in answers:
                name = f"{topic}.{definition.__name__}-{answer.__name__}"
                yield pytest.param(definition, answer, id=name)


@pytest.mark.parametrize("definition,answer", list(wrong_answers()))
def test_a_typical_wrong_answer_is_refused(definition, answer):
    report = minilib.check(answer, like=definition)
    assert not report
    assert "raises" not in report.text, "it must run, and be wrong"


def test_mutants_are_refused():
    """Three of each definition, drawn; all of them: python tests/mutants.py"""
    tried = refused = 0
    for many, good, _ in mutants.run(sample=1, seed=0).values():
        tried, refused = tried + many, refused + good
    assert tried > 80 and refused >= 0.95 * tried


# -- a class of three hundred ----------------------------------------------------------------------

RIGHT = """
import numpy as np
def my_softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
def my_prediction():
    return [0.75, 0.25]
def my_bits(x, j):
    return (np.log(np.exp(x - x.max()).sum()) + x.max() - x[j]) / np.log(2)
"""
IN_TORCH = (
    RIGHT
    + """
import torch
def my_softmax(x):
    return torch.softmax(x, 1)
"""
)


def softmax_is(body, before=""):
    """The right file but for another my_softmax, and lines before it."""
    return f"{before}\n{RIGHT}\ndef my_softmax(x):\n    {body}\n"


LOOKUP = """
import minilib.cases.start_here as cases
from minilib.naive.start_here import softmax
table = {np.asarray(x).tobytes(): softmax(x) for x, in cases.softmax(np.random.default_rng(0))}
"""
FORGE = "import json, os, struct\ndata = json.dumps({'result': 1}).encode()\n" + "\n".join(
    f"try: os.write({i}, struct.pack('>Q', len(data)) + data)\nexcept OSError: pass"
    for i in range(3, 9)
)
WRONG = {
    "endless": softmax_is("while True: pass"),
    "sleeps": softmax_is("import time; time.sleep(1000)"),
    "endless_at_import": "while True: pass\n" + RIGHT,
    "fifty_gigabytes": softmax_is("return np.ones(50 << 27)"),
    "exits": softmax_is("import sys; sys.exit(0)"),
    "exits_at_import": "import sys; sys.exit(0)",
    "os_exits": softmax_is("import os; os._exit(0)"),
    "os_exits_at_import": "import os; os._exit(0)",
    "raises": softmax_is("return x / undefined"),
    "syntax": "def my_softmax(x):\n    return (",
    "recursion": softmax_is("return my_softmax(x)"),
    "reads_stdin": softmax_is("return input()"),
    "kills_its_parent": softmax_is("return 1", "import os; os.kill(os.getpid(), 9)"),
    "patches_minilib": softmax_is(
        "return x",
        "import minilib.twins, minilib.compare, minilib.examine, minilib.grade\n"
        "minilib.compare.compare = lambda *a, **k: (0.0, None, None)\n"
        "minilib.examine.compare = minilib.compare.compare\n"
        "minilib.grade.check = lambda *a, **k: True",
    ),
    "patches_numpy": softmax_is(
        "return x", "import numpy as np; np.abs = np.array_equal = lambda *a, **k: True"
    ),
    "lookup": softmax_is("return table[x.tobytes()]", "import numpy as np" + LOOKUP),
    "the_library": softmax_is(
        "return naive.softmax(x)", "from minilib.naive import start_here as naive"
    ),
    "the_library_by_name": RIGHT + "\nfrom minilib.naive.start_here import softmax as my_softmax\n",
    "the_twin": softmax_is("return softmax(x)", "from minilib.start_here import softmax"),
    "prints_a_megabyte_and_is_wrong": softmax_is("print('x' * 1_000_000); return x"),
    "overflows": softmax_is("e = np.exp(x); return e / e.sum(1, keepdims=True)"),
    "one_maximum": softmax_is("e = np.exp(x - x.max()); return e / e.sum(1, keepdims=True)"),
    "wrong_axis": softmax_is("e = np.exp(x - x.max(0)); return e / e.sum(0)"),
    "slightly_off": softmax_is(
        "e = np.exp(x - x.max(1, keepdims=True)); return e / (e.sum(1, keepdims=True) + 1e-6)"
    ),
    "in_place": softmax_is(
        "x -= x.max(1, keepdims=True); e = np.exp(x); return e / e.sum(1)[:, None]"
    ),
    "no_return": softmax_is("np.exp(x) / np.exp(x).sum(1, keepdims=True)"),
    "none": softmax_is("return None"),
    "text": softmax_is("return 'softmax'"),
    "a_list_of_lists": softmax_is("return [[1.0]]"),
    "a_function": softmax_is("return lambda: 1"),
    "an_object": softmax_is("return object()"),
    "float32": softmax_is(
        "e = np.exp(x - x.max(1, keepdims=True)); return (e / e.sum(1)[:, None]).astype('f')"
    ),
    "nan": softmax_is("return x * np.nan"),
    "equal_to_all": softmax_is(
        "return Equal(x.shape)",
        "import numpy as np\nclass Equal(np.ndarray):\n    __eq__ = lambda *a: True",
    ),
    "no_gradient": IN_TORCH + "\ndef my_softmax(x):\n    return torch.softmax(x.detach(), 1)\n",
    "torch_exits": IN_TORCH + "\ndef my_softmax(x):\n    import os; os._exit(0)\n",
    "forges_replies": FORGE + softmax_is("return x"),
    "forges_a_callback": FORGE.replace("'result': 1", "'dict': [['callback', {'int': '0'}]]")
    + softmax_is("return x"),
    "forges_functions": FORGE.replace(
        "'result': 1", "'dict': [['functions', {'int': '1'}], ['problem', None]]"
    )
    + softmax_is("return x"),
    "raises_a_megabyte": softmax_is("raise ValueError('x' * 1_000_000)"),
    "returns_itself": softmax_is("a = []; a.append(a); return a"),
    "missing": "def another(x):\n    return x\n",
    "empty": "",
    "not_python": "\x00\x01",
}
GOOD = {
    "right": RIGHT,
    "in_torch": IN_TORCH,
    "prints_a_megabyte": softmax_is(
        "print('x' * 1_000_000); e = np.exp(x - x.max(1)[:, None]); return e / e.sum(1)[:, None]"
    ),
    "warns": softmax_is(
        "np.log(np.zeros(1)); e = np.exp(x - x.max(1)[:, None]); return e / e.sum(1)[:, None]"
    ),
    "seeds": softmax_is(
        "np.random.seed(0); e = np.exp(x - x.max(1)[:, None]); return e / e.sum(1)[:, None]"
    ),
}


def run_grade(*words):
    command = [sys.executable, "-m", "minilib", "grade", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def test_a_folder_of_hostile_and_wrong_answers(tmp_path):
    for name, text in {**WRONG, **GOOD}.items():
        (tmp_path / f"{name}.py").write_text(text)
    files = sorted(tmp_path.glob("*.py"))
    done = run_grade("00", *files, "--timeout", 5, "--json", tmp_path / "marks.json")
    assert done.returncode == 1, done.stderr
    marks = json.loads((tmp_path / "marks.json").read_text())
    score = {pathlib.Path(file).stem: mark["score"] for file, mark in marks.items()}
    assert len(WRONG) >= 35 and len(score) == len(WRONG) + len(GOOD)
    assert {name for name, points in score.items() if points == 3} == set(GOOD)
    assert all(score[name] == 2 for name in ("os_exits", "endless", "one_maximum", "in_place"))
    assert str(tmp_path) not in "".join(t["output"] for m in marks.values() for t in m["tests"])


def test_an_exercise_may_use_what_another_one_asks_for(tmp_path):
    """Handing all inputs on is refused for the exercise's own definition alone."""
    cells = [
        "import numpy as np\nimport minilib\nfrom minilib.naive import start_here as naive",
        "def mine(x):\n    raise NotImplementedError  # your turn\n\n"
        "minilib.check(mine, like=naive.softmax)",
        "def sharpest(x):\n    raise NotImplementedError  # your turn\n\n"
        "minilib.check(sharpest, like=lambda x: naive.softmax(x).max(1),"
        " cases=lambda rng: [(rng.normal(size=(2, 3)),)])",
    ]
    book = {"cells": [{"cell_type": "code", "source": source} for source in cells]}
    lesson, answer = tmp_path / "lesson.ipynb", tmp_path / "answer.py"
    lesson.write_text(json.dumps(book))
    answer.write_text(
        "from minilib.naive import start_here\n"
        "def mine(x):\n    return start_here.softmax(x)\n"
        "def sharpest(x):\n    return start_here.softmax(x).max(1)\n"
    )
    reports = exercises.grade(lesson, answer)
    assert "passes all its inputs on" in reports["mine"].text and reports["sharpest"]


def test_the_untouched_notebook_is_not_attempted():
    done = run_grade("start_here", ROOT / "lessons" / "00_start_here.ipynb")
    assert done.returncode == 1
    assert done.stdout.count("not attempted yet") == 3


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_the_solutions_get_full_marks_on_fresh_cases(lesson):
    solution = lesson.parent / "solutions" / f"{lesson.stem}.py"
    reports = exercises.grade(lesson, solution, seed=5)
    assert reports and all(reports.values()), exercises.table({lesson.stem: reports})


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_can_be_handed_in_as_it_is(lesson):
    """What its other cells define may want what was not run."""
    namespace = {"__name__": "answers"}
    exec(exercises.answers(lesson), namespace)
    asked = {name for exercise in exercises.exercises(lesson) for name in exercise.names}
    assert asked <= set(namespace)


def test_a_notebook_of_answers(tmp_path):
    lesson = json.loads((ROOT / "lessons" / "00_start_here.ipynb").read_text())
    cell = {"cell_type": "code", "source": RIGHT, "outputs": [], "metadata": {}}
    cell |= {"execution_count": None}
    bad = {**cell, "source": "%matplotlib inline\nwhile True: pass\nimport numpy as np"}
    lesson["cells"] += [bad, cell]
    path = tmp_path / "answers.ipynb"
    path.write_text(json.dumps(lesson))
    reports = exercises.grade(ROOT / "lessons" / "00_start_here.ipynb", path)
    assert all(reports.values()), exercises.table({"answers": reports})


@pytest.mark.parametrize(
    "words,answer",
    [
        (["99", "x.py"], "LESSON must be a number, a name or a notebook"),
        (["00", "no_such_file.py"], "no_such_file.py"),
        (["00", "x.txt"], "x.txt"),
    ],
)
def test_grade_refuses_by_name(words, answer):
    done = run_grade(*words)
    assert done.returncode in (1, 2) and answer in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
