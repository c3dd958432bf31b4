"""One pair, one case: is a candidate right in value and in gradient?

For an nn.Module class the first item of a case is a dict of constructor arguments, and the
definition is called as `definition(params, *inputs, **constructor)`: params holds the state_dict as
float64 arrays (left out if the definition does not name it first), and of the constructor's
arguments it gets those that it names.
"""

import inspect
import re
import zlib
from typing import NamedTuple

import numpy as np

from minilib.compare import as_numpy, brief, compare, copy, is_real, leaves_of, map_leaves, show

FLOAT64 = 1e-9  # relative agreement in float64: a few thousand roundings of 1e-16, with room
GRADIENT = 1e-6  # autograd against a central difference: what the difference itself is good for


class Finding(NamedTuple):
    """What one case says of a candidate."""

    value: float  # worst relative error
    gradient: float
    problem: str | None  # in words
    hint: str  # a guess at its cause, or ''
    got: object
    want: object


def _parameters(function):
    """Names of its parameters; none for one in C that does not tell, such as a ufunc."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []


class Case:
    """One case of a pair, with the definition's answer computed when first needed."""

    def __init__(self, pair, number, case, dtype):
        self.pair, self.number, self.dtype = pair, number, dtype
        self.constructor, self.params = {}, {}
        if inspect.isclass(pair.fast):
            self.constructor, *case = case
            self.params = self._random_params()
        self.inputs = copy(tuple(case))  # an array that is passed twice becomes two
        if dtype == "float32":  # both sides see the same rounded numbers
            self.inputs = map_leaves(_rounded, self.inputs)
            self.params = map_leaves(_rounded, self.params)
        seed = zlib.crc32(f"{pair.definition.__name__} {number}".encode())
        self.rng = np.random.default_rng(seed)

    def _random_params(self):
        """The module's fresh parameters, each moved off its initial value, which may be 0 or 1."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.number)
            state = self.pair.fast(**self.constructor).double().state_dict()
        rng = np.random.default_rng(self.number)
        params = {name: value.numpy().copy() for name, value in state.items()}
        for name, value in params.items():
            if is_real(value):
                params[name] = value + 0.1 * rng.normal(size=value.shape)
        return params

    def define(self, params, inputs, definition=None):
        """Call the definition, or another NumPy function that takes its place."""
        definition = definition or self.pair.definition
        names = _parameters(definition)
        keywords = {key: value for key, value in self.constructor.items() if key in names}
        if inspect.isclass(self.pair.fast) and names[:1] == ["params"]:
            inputs = (params, *inputs)
        return definition(*inputs, **keywords)

    def want(self):
        return self.define(copy(self.params), copy(self.inputs))

    def named(self):
        """{name: value} of all that the candidate is given, under the definition's own names."""
        names = _parameters(self.pair.definition)
        if self.params and names[:1] == ["params"]:
            names = names[1:]
        names += [f"input {i + 1}" for i in range(len(names), len(self.inputs))]
        inputs = dict(zip(names, self.inputs, strict=False))
        return {**self.constructor, **inputs}

    def __str__(self):
        """'case 2: x (3, 4), P['Wxh'] (1, 2), p=0.3': shapes, and the values of what is small."""
        about = []
        for name, value in self.named().items():
            for path, leaf in leaves_of(value, name):
                if isinstance(leaf, np.ndarray) and leaf.size > 6:
                    about.append(f"{path} {leaf.shape}")
                else:
                    about.append(f"{path}={brief(_listed(leaf))}")
        text = ", ".join(about)
        text = text if len(text) <= 160 else text[:157] + "..."
        return f"case {self.number}" + f" ({text})" * bool(text)

    def tensors(self, device, grad):
        """Params and inputs as tensors; float leaves require a gradient if asked to."""
        import torch

        def tensor(leaf):
            if not isinstance(leaf, np.ndarray):
                return leaf
            t = torch.tensor(leaf, device=device)
            if is_real(leaf) and self.dtype == "float32":
                t = t.to(torch.complex64 if leaf.dtype.kind == "c" else torch.float32)
            return t.requires_grad_(grad) if is_real(leaf) else t

        return map_leaves(tensor, self.params), map_leaves(tensor, self.inputs)

    def call_torch(self, candidate, params, inputs, device):
        import torch

        if not inspect.isclass(candidate):
            return candidate(*inputs)
        with torch.random.fork_rng(devices=[]):
            module = candidate(**self.constructor).to(device, getattr(torch, self.dtype)).eval()
        names = set(module.state_dict())
        if missing := sorted(set(params) - names):
            raise Wrong(f"state_dict lacks {missing}")
        if extra := sorted(names - set(params)):
            raise Wrong(f"state_dict has {extra}, which the definition does not know")
        return torch.func.functional_call(module, params, inputs)

    def answer(self, candidate, mode, device):
        """(what the candidate returns, as NumPy; whether it changed what it was given)."""
        if mode == "numpy":
            given = copy(self.params), copy(self.inputs)
            out = self.define(*given, candidate)
            return map_leaves(as_numpy, out), not _same(given, (self.params, self.inputs))
        import torch

        given = self.tensors(device, grad=False)
        with torch.no_grad():
            out = self.call_torch(candidate, *given, device)
        return map_leaves(as_numpy, out), not _same(given, self.tensors(device, grad=False))

    def judge(self, candidate, mode="torch", device="cpu", tolerance=None):
        """A Finding: is this candidate right in value and, in torch, in gradient?"""
        if tolerance is None:
            tolerance = FLOAT64 if self.dtype == "float64" else self.pair.float32
        got, changed = self.answer(candidate, mode, device)
        want = self.want()
        if got is None and want is not None:
            return Finding(np.inf, 0.0, "returns None: is the `return` missing?", "", got, want)
        dtype = "float64" if mode == "numpy" else self.dtype
        value, problem, hint = compare(got, want, tolerance, dtype)
        gradient = 0.0
        if not problem and changed:
            problem = "it changes its input in place"
        if not problem and mode == "torch" and self.pair.differentiable:
            # a float32 gradient is about twice the arithmetic of the value, on larger numbers
            slack = GRADIENT if self.dtype == "float64" else max(GRADIENT, 10 * tolerance)
            gradient, problem = self.gradients(candidate, device, slack)
        return Finding(value, gradient, problem, hint, got, want)

    def gradients(self, candidate, device, tolerance):
        """(worst error, problem or None) of autograd against central differences of the definition.

        One number is differentiated: the outputs, each weighted by noise, summed where finite.
        """

        outputs = {path: np.asarray(out) for path, out in leaves_of(self.want())}
        weights = {path: self._noise(y) for path, y in outputs.items() if y.dtype.kind in "fc"}
        leaves = dict(leaves_of((self.params, self.inputs)))
        leaves = {path: leaf for path, leaf in leaves.items() if is_real(leaf) and leaf.size}
        if not weights or not leaves:
            return 0.0, None
        found = self._autograd(candidate, device, weights, leaves)
        terms = [
            np.abs(w * outputs[path])[np.isfinite(outputs[path])] for path, w in weights.items()
        ]
        # a gradient that is small beside the terms of the sum is their rounding
        floor = 10 * tolerance * sum(term.sum() for term in terms) + 1e-300
        worst = 0.0
        for (path, leaf), g in zip(leaves.items(), found, strict=True):
            known = np.zeros(leaf.shape) if g is None else as_numpy(g).astype(leaf.dtype)
            error, got, expected = self._directional(weights, leaf, known, floor, tolerance)
            worst = max(worst, error)
            if not error <= tolerance:
                name = self._leaf_name(path)
                if g is None:
                    return worst, f"values agree, but no gradient reaches {name}"
                return worst, (
                    f"values agree, but the gradient in {name} is wrong: along a random direction "
                    f"got {show(got, expected)}, expected {show(expected, got)}"
                )
        return worst, None

    def _autograd(self, candidate, device, weights, leaves):
        """Gradients of the weighted sum of the candidate's outputs; None where there is none."""
        import torch

        tensors = self.tensors(device, grad=True)
        out = dict(leaves_of(self.call_torch(candidate, *tensors, device)))
        total = 0.0
        for path, w in weights.items():
            w = torch.as_tensor(w, device=device).to(out[path].dtype)
            terms = (w.conj() * out[path]).real
            total = total + torch.where(torch.isfinite(terms), terms, 0.0).sum()
        tensors = dict(leaves_of(tensors))
        if not total.requires_grad:
            return [None] * len(leaves)
        return torch.autograd.grad(total, [tensors[path] for path in leaves], allow_unused=True)

    def _noise(self, like):
        noise = self.rng.normal(size=like.shape)
        return noise + 1j * self.rng.normal(size=like.shape) if like.dtype.kind == "c" else noise

    def _directional(self, weights, leaf, g, floor, tolerance):
        """(error, got, expected) of g·v, v random, against the best of four central differences."""
        v = self._noise(leaf)
        got, best = float(np.vdot(g, v).real), (np.inf, 0.0, 0.0)

        def f(step):
            move = lambda x: x + step * v if x is leaf else x
            out = dict(leaves_of(self.define(*copy(map_leaves(move, (self.params, self.inputs))))))
            terms = [(np.conj(w) * np.asarray(out[path])).real for path, w in weights.items()]
            return float(sum(t[np.isfinite(t)].sum() for t in terms))

        for step in (1e-4, 1e-5, 1e-6, 1e-3):  # curvature wants small steps, rounding large ones
            expected = (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)
            error = abs(got - expected) / max(float(np.linalg.norm(g)), abs(expected), floor)
            if error < best[0]:
                best = (error, got, expected)
            if error <= tolerance / 10:
                break
        return best

    def _leaf_name(self, path):
        side, rest = re.match(r"\[(\d)\](.*)", path).groups()
        if side == "0":
            return f"parameter {rest[2:-2]}"
        number, inside = re.match(r"\[(\d+)\](.*)", rest).groups()
        return list(self.named())[len(self.constructor) + int(number)] + inside


def _listed(leaf):
    """A small array as a list of numbers with four digits."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return np.vectorize(_short, otypes=[object])(leaf).tolist() if leaf.size else leaf.tolist()
    return _short(leaf)


def _short(x):
    if isinstance(x, complex):
        return complex(_short(x.real), _short(x.imag))
    return float(f"{x:.4g}") if isinstance(x, float) else x


def _rounded(leaf):
    """What float32 keeps of an array of floats."""
    if not is_real(leaf):
        return leaf
    return leaf.astype("complex64" if leaf.dtype.kind == "c" else "float32").astype(leaf.dtype)


class Wrong(Exception):
    """A candidate's mistake, already in words."""


def _same(a, b):
    """Do two nested arguments, arrays or tensors, hold the same arrays?"""
    for x, y in zip(leaves_of(a), leaves_of(b), strict=True):
        x, y = as_numpy(x[1]), as_numpy(y[1])
        if isinstance(x, np.ndarray) and not np.array_equal(x, y, equal_nan=is_real(x)):
            return False
    return True


def examine(pair, *, number, case, dtype="float64", device="cpu"):
    """Compare a pair's own twin with the definition on one case.

    Returns (worst relative error in value, in gradient, what is wrong in words or None).
    """
    one = Case(pair, number, case, dtype)
    found = one.judge(pair.fast, device=device)
    problem = f"{one}{' in float32' * (dtype == 'float32')}: {found.problem}; {found.hint}"
    return found.value, found.gradient, problem.removesuffix("; ") if found.problem else None
