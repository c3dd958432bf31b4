"""Compare two nested outputs, and say in words where they first differ."""

import re
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """What there is to say of one leaf of an output."""

    where: str  # 'output[1]', or '' if the output is a single array
    error: float  # the worst relative error; inf where there is none to compute
    problem: str | None = None
    hint: str | None = None  # a guess at the cause, '' if none fits, None if there is too little


NUMBER = (bool, int, float, complex, np.generic)


def map_leaves(function, tree):
    """Apply `function` to every leaf of nested tuples, lists and dicts."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [map_leaves(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return function(tree)


def leaves_of(tree, path=""):
    """(path, leaf) pairs: '[0]' is the first item, "['bias']" that key."""
    if isinstance(tree, (dict, tuple, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [leaf for key, item in items for leaf in leaves_of(item, f"{path}[{key!r}]")]
    return [(path, tree)]


def is_real(leaf):
    """Is this leaf differentiable: an array of floats or complex numbers?"""
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fc"


def as_numpy(leaf):
    """Torch tensors become arrays; everything else stays."""
    if not hasattr(leaf, "detach"):
        return leaf
    return leaf.detach().cpu().resolve_conj().resolve_neg().numpy()


def copy(tree):
    return map_leaves(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, tree)


def show(value, other):
    """A number with as many digits as it takes to tell it from the other one."""
    if isinstance(value, (float, complex, np.inexact)):
        value, other = value + 0.0, other + 0.0  # no minus before a zero
        for digits in (5, 9, 17):
            if f"{value:.{digits}g}" != f"{other:.{digits}g}":
                break
        return f"{value:.{digits}g}"
    return repr(value.item() if isinstance(value, np.generic) else value)


def brief(value, most=60):
    """Its repr, without the address of an object, and cut."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return text if len(text) <= most else text[: most - 3] + "..."


# -- one output ------------------------------------------------------------------------------------


def compare(got, want, tolerance, dtype):
    """(worst relative error, what is wrong in words or None, a hint) for two nested outputs."""
    found = differences(got, want, tolerance, dtype)
    worst = max((one.error for one in found), default=0.0)
    wrong = [one for one in found if one.problem]
    if not wrong:
        return worst, None, None
    problem = f"{wrong[0].where}: " * bool(wrong[0].where) + wrong[0].problem
    right = [one.where for one in found if not one.problem]
    if right:
        listed = ", ".join(right[:3]) + (f" and {len(right) - 3} more" if len(right) > 3 else "")
        problem += f"; {listed} {'agrees' if len(right) == 1 else 'agree'}"
    return worst, problem, wrong[0].hint


def differences(got, want, tolerance, dtype, where=""):
    """A Difference for every leaf of `want`, or one for a part that has another structure."""

    def other(problem):
        return [Difference(where, np.inf, problem)]

    def inside(items):
        inner = [(f"{where or 'output'}[{key!r}]", a, b) for key, a, b in items]
        return [one for path, a, b in inner for one in differences(a, b, tolerance, dtype, path)]

    if isinstance(want, dict):
        if not isinstance(got, dict) or set(got) != set(want):
            came = sorted(map(str, got)) if isinstance(got, dict) else f"a {type(got).__name__}"
            return other(f"got {came}, expected a dict with keys {sorted(map(str, want))}")
        return inside((key, got[key], want[key]) for key in want)
    if isinstance(want, (tuple, list)):
        if isinstance(got, np.ndarray) and got.ndim and all(isinstance(x, NUMBER) for x in want):
            got = got.tolist()
        if not isinstance(got, (tuple, list)):
            kind = "a list" if isinstance(want, list) else "a tuple"
            return other(f"got {_kind(got)}, expected {kind} of {len(want)} values")
        if len(got) != len(want):
            texts = brief(got), brief(want)
            if max(map(len, texts)) < 60:
                return other(f"got {texts[0]}, expected {texts[1]}")
            return other(f"got {len(got)} values, expected {len(want)}")
        if len(want) == 0:
            return [Difference(where, 0.0)]
        return inside((i, a, b) for i, (a, b) in enumerate(zip(got, want, strict=True)))
    if isinstance(want, (np.ndarray, *NUMBER)):
        return [_numbers(got, want, tolerance, dtype, where)]
    if type(got) is type(want) and got == want:
        return [Difference(where, 0.0)]
    return other(f"got {brief(got)}, expected {brief(want)}")


def _kind(value):
    if isinstance(value, np.ndarray):
        return f"one array of shape {value.shape}"
    return f"one {type(value).__name__}"


# -- numbers ---------------------------------------------------------------------------------------


def _numbers(got, want, tolerance, dtype, where):
    """The Difference between two arrays or numbers; values first, then the dtype."""
    typed = isinstance(
        got, (np.ndarray, np.generic)
    )  # a Python number or list has no dtype to judge
    try:
        came, got, want = got, np.asarray(got), np.asarray(want)
    except ValueError:  # rows of different lengths
        return Difference(where, np.inf, f"got {_kind(got)} of no regular shape, expected numbers")
    if got.dtype.kind not in "biufc":
        return Difference(where, np.inf, f"got {brief(came)}, expected numbers")
    if got.shape != want.shape:
        swapped = got.ndim >= 2 and got.shape == want.shape[:-2] + want.shape[:-3:-1]
        hint = "the last two axes are swapped" if swapped else ""
        return Difference(where, np.inf, f"shape {got.shape}, expected {want.shape}", hint)
    wanted = _dtype(want, dtype)
    fits = (got.dtype.kind in "iu") if wanted == "an integer type" else str(got.dtype) == wanted
    if want.dtype.kind in "fc" and not fits and got.dtype.itemsize < np.dtype(wanted).itemsize:
        tolerance = max(tolerance, 1e-4)  # what a narrower dtype can hold: the values may be right
    error = relative_error(got, want)
    if want.dtype.kind not in "fc":
        tolerance = 0.0
    worst = float(error.max(initial=0.0))
    if not worst <= tolerance:
        return Difference(where, worst, *_first(got, want, error, tolerance))
    if typed and not fits:
        return Difference(where, np.inf, f"values agree, but dtype {got.dtype}, expected {wanted}")
    return Difference(where, worst)


def _dtype(want, dtype):
    """The name of the dtype that an output is to have, in float64 or float32."""
    complex_dtype = "complex128" if dtype == "float64" else "complex64"
    return {"f": dtype, "c": complex_dtype, "b": "bool"}.get(want.dtype.kind, "an integer type")


def relative_error(got, want):
    """Of each number, against it or the mean, whichever is larger; 0 or 1 for what is exact."""
    if want.dtype.kind not in "fc":
        return (got != want).astype(float)
    with np.errstate(all="ignore"):
        size = np.abs(want)
        mean = size[np.isfinite(size)].mean() if np.isfinite(size).any() else 0.0
        error = np.abs(got - want) / np.maximum(size, mean or 1.0)  # all zeros: judged absolutely
        error = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, error)
        return np.where(np.isnan(error) | (np.isinf(size) & (got != want)), np.inf, error)


def _first(got, want, error, tolerance):
    """(the first number that is wrong, in words; a hint)."""
    index = tuple(int(i) for i in np.argwhere(~(error <= tolerance))[0])
    a, b = got[index], want[index]
    at = f"at {index if len(index) != 1 else index[0]} " if index else ""
    problem = f"{at}got {show(a, b)}, expected {show(b, a)}"
    floats = want.dtype.kind in "fc" and np.isfinite(got).all() and np.isfinite(want).all()
    enough = floats and len(np.unique(want[want != 0])) >= 3  # any one number is a multiple
    return problem, _hint(got, want, tolerance) if enough else None


def _hint(got, want, tolerance):
    """A guess at what went wrong with a float array of the right shape; '' if nothing fits."""
    scale = np.abs(want).mean() + 1e-300

    def near(a, b):
        return a.shape == b.shape and a.size > 1 and np.abs(a - b).max() <= 100 * tolerance * scale

    if want.ndim >= 2 and near(np.swapaxes(got, -1, -2), want):
        return "the last two axes are swapped"
    ratio = np.vdot(want, got) / (np.vdot(want, want) + 1e-300)
    if near(got, ratio * want) and f"{ratio:.4g}" != "1":
        return f"every value is {ratio:.4g} times what it should be"
    for axis in range(want.ndim):
        a, b = np.moveaxis(got, axis, 0), np.moveaxis(want, axis, 0)
        if len(np.unique(b)) >= 3 and (near(a[1:], b[:-1]) or near(a[:-1], b[1:])):
            return f"it looks shifted by one along axis {axis}"
    return ""
