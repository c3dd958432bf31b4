"""Every declared pair agrees, and is right or refused when differentiated twice."""

import numpy as np
import pytest
import torch

from minilib import twins
from minilib.compare import leaves_of
from minilib.examine import Case

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
PAIRS = twins.load()
CASES = [
    (pair, number)
    for pair in PAIRS
    for number, _ in enumerate(pair.cases(np.random.default_rng(0)), 1)
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pair,number", CASES, ids=lambda value: getattr(value, "name", value))
def test_twin_agrees_with_its_definition(pair, number, dtype, device):
    case = list(pair.cases(np.random.default_rng(0)))[number - 1]
    _, _, problem = twins.examine(pair, number=number, case=case, dtype=dtype, device=device)
    assert problem is None


def differentiated_twice(pair, number, case):
    """(v · gradient's derivative along w, the same by a central difference of the gradient)."""
    one = Case(pair, number, case, "float64")
    tensors = one.tensors("cpu", grad=True)
    leaves = [x for _, x in leaves_of(tensors) if getattr(x, "requires_grad", False) and x.numel()]

    def gradient(**how):
        out = [y for _, y in leaves_of(one.call_torch(pair.fast, *tensors, "cpu"))]
        out = [y for y in out if isinstance(y, torch.Tensor) and y.requires_grad]
        if not out:
            return [None]
        total = sum(
            torch.where(y.abs() < 1e30, (y * y.conj()).real + y.real, 0.0).sum() for y in out
        )
        return torch.autograd.grad(total, leaves, allow_unused=True, **how)

    noise = np.random.default_rng(number)
    v, w = ([torch.tensor(noise.normal(size=x.shape)) for x in leaves] for _ in "vw")

    def dot(a, b):
        return sum((x.conj() * y).real.sum() for x, y in zip(a, b, strict=True) if x is not None)

    first = gradient(create_graph=True)
    if all(g is None or not g.requires_grad for g in first):
        return None, None
    got = dot(torch.autograd.grad(dot(first, v), leaves, allow_unused=True), w)
    ends = []
    for step in (1e-5, -2e-5):
        for x, move in zip(leaves, w, strict=True):
            x.data += step * move
        ends.append(dot(gradient(), v))
    return got, (ends[0] - ends[1]) / 2e-5


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.differentiable], ids=lambda pair: pair.name)
def test_a_second_derivative_is_right_or_refused(pair):
    for number, case in enumerate(pair.cases(np.random.default_rng(0)), 1):
        try:
            got, expected = differentiated_twice(pair, number, case)
        except RuntimeError:
            return  # refused
        except ValueError:
            continue  # the step leads out of the domain, say of probabilities
        if got is not None:
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
