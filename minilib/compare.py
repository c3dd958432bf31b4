"""Compare two nested outputs, and say in words where they first differ."""

import numpy as np


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
    return leaf.detach().cpu().numpy() if hasattr(leaf, "detach") else leaf


def copy(tree):
    return map_leaves(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, tree)


def show(value, other):
    """A number with as many digits as it takes to tell it from the other one."""
    if isinstance(value, (float, complex, np.inexact)):
        for digits in (5, 9, 17):
            if f"{value:.{digits}g}" != f"{other:.{digits}g}":
                break
        return f"{value:.{digits}g}"
    return repr(value.item() if isinstance(value, np.generic) else value)


def _hint(got, want, tolerance):
    """A guess at what went wrong with a float array of the right shape."""
    scale = np.abs(want).mean() + 1e-300
    near = lambda a, b: (
        a.shape == b.shape and a.size > 1 and np.abs(a - b).max() <= 100 * tolerance * scale
    )
    if want.ndim >= 2 and near(np.swapaxes(got, -1, -2), want):
        return "; the last two axes are swapped"
    ratio = np.vdot(want, got) / (np.vdot(want, want) + 1e-300)
    if near(got, ratio * want):
        return f"; every value is {ratio:.4g} times what it should be"
    for axis in range(want.ndim):
        a, b = np.moveaxis(got, axis, 0), np.moveaxis(want, axis, 0)
        if near(a[1:], b[:-1]) or near(a[:-1], b[1:]):
            return f"; it looks shifted by one along axis {axis}"
    return ""


def _compare_numbers(got, want, tolerance, dtype, path):
    """(worst relative error, what is wrong or None) for two arrays or numbers."""
    where = f"output{path}: " if path else ""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        swapped = got.ndim >= 2 and got.shape == want.shape[:-2] + want.shape[:-3:-1]
        return np.inf, f"{where}shape {got.shape}, expected {want.shape}" + (
            "; the last two axes are swapped" if swapped else ""
        )
    family = {
        "f": dtype,
        "c": "complex128" if dtype == "float64" else "complex64",
        "b": "bool",
    }.get(want.dtype.kind, "an integer type")
    if (got.dtype.kind not in "iu") if family == "an integer type" else (str(got.dtype) != family):
        return np.inf, f"{where}dtype {got.dtype}, expected {family}"
    if want.size == 0:
        return 0.0, None
    with np.errstate(all="ignore"):
        if want.dtype.kind in "fc":
            size = np.abs(want)
            mean = size[np.isfinite(size)].mean() if np.isfinite(size).any() else 0.0
            error = np.abs(got - want) / np.maximum(
                size, mean or 1.0
            )  # an all-zero output is judged absolutely
            error = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, error)
            error = np.where(np.isnan(error) | (np.isinf(size) & (got != want)), np.inf, error)
        else:
            error, tolerance = (got != want).astype(float), 0.0
        worst = float(error.max())
        if worst <= tolerance:
            return worst, None
        index = tuple(int(i) for i in np.argwhere(error > tolerance)[0])
        a, b = got[index], want[index]
        at = f"at {index if len(index) != 1 else index[0]} " if index else ""
        if got.dtype.kind in "fc" and np.isnan(a):
            return worst, f"{where}{at}got nan, expected {show(b, a)}"
        hint = (
            _hint(got, want, tolerance)
            if want.dtype.kind in "fc" and np.isfinite(got).all() and np.isfinite(want).all()
            else ""
        )
        return worst, f"{where}{at}got {show(a, b)}, expected {show(b, a)}{hint}"


def compare(got, want, tolerance, dtype, path=""):
    """(worst relative error, what is wrong or None) for two nested outputs."""
    where = f"output{path}: " if path else ""
    if isinstance(want, (tuple, list)):
        if isinstance(got, np.ndarray) and isinstance(want, list):
            got = got.tolist()
        if not isinstance(got, (tuple, list)):
            return np.inf, f"{where}got one {type(got).__name__}, expected {len(want)} values"
        if len(got) != len(want):
            return np.inf, f"{where}got {len(got)} values, expected {len(want)}"
        items = [(str([i]), a, b) for i, (a, b) in enumerate(zip(got, want, strict=True))]
    elif isinstance(want, dict):
        if not isinstance(got, dict) or set(got) != set(want):
            came = sorted(map(str, got)) if isinstance(got, dict) else type(got).__name__
            keys = sorted(map(str, want))
            return np.inf, f"{where}got {came}, expected a dict with keys {keys}"
        items = [(f"[{key!r}]", got[key], want[key]) for key in want]
    elif isinstance(want, (np.ndarray, np.generic, bool, int, float, complex)):
        if not isinstance(got, (np.ndarray, np.generic, bool, int, float, complex)):
            return np.inf, f"{where}got a {type(got).__name__}, expected numbers"
        return _compare_numbers(got, want, tolerance, dtype, path)
    else:
        if type(got) is type(want) and got == want:
            return 0.0, None
        return np.inf, f"{where}got {brief(got)}, expected {brief(want)}"
    worst = 0.0
    for step, a, b in items:
        error, problem = compare(a, b, tolerance, dtype, path + step)
        worst = max(worst, error)
        if problem:
            return worst, problem
    return worst, None


def brief(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
