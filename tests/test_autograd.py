"""The engine by hand, against torch on random expressions, and its own checks on planted faults."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_start_here import answers, report_of

from minilib import autograd
from minilib.cases import autograd as cases
from minilib.cases.autograd import patient, patient_params, random_program
from minilib.naive import autograd as naive
from minilib.naive.autograd import Var

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def total(logits, targets):
    return naive.cross_entropy(logits, targets) * targets.size


def over_the_batch_alone(logits, targets):
    return naive.cross_entropy(logits, targets) * targets.size / len(targets)


def in_bits(logits, targets):
    return naive.cross_entropy(logits, targets) / math.log(2)


def overflowing(logits, targets):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(p, targets[..., None], -1)).mean()


def one_maximum(logits, targets):
    return overflowing(logits - logits.max(), targets)


def logarithm_of_zero(logits, targets):
    return overflowing(logits - logits.max(-1, keepdims=True), targets)


def probability_itself(logits, targets):
    return np.exp(-naive.cross_entropy(logits, targets))


def engine(program, leaves, **changed):
    """The definition with other operations, each a function that gives its result and its VJP."""
    with mock.patch.dict(naive.OPERATIONS):
        naive.OPERATIONS.update({name: naive.operation(f) for name, f in changed.items()})
        return naive.value_and_grad(program, leaves)


def last_use_counts(program, leaves):
    """x.grad = g, not += g."""

    def backward(root):
        order = naive.ancestors(root)
        for v in order:
            v.grad = np.zeros(v.shape)
        root.grad += 1
        for v in reversed(order):
            for x, g in zip(v.arguments, v.vjp(v.grad) if v.parents else (), strict=False):
                x.grad = naive.sum_to(g, x.shape)

    with mock.patch.object(naive, "backward", backward):
        return naive.value_and_grad(program, leaves)


def mean_of_the_copies(program, leaves):
    """Of an entry that was broadcast, one gradient and not the sum."""
    right = naive.sum_to
    one = lambda g, shape: right(g, shape) * math.prod(shape) / max(1, g.size)
    with mock.patch.object(naive, "sum_to", one):
        return naive.value_and_grad(program, leaves)


def tanh_is_straight(program, leaves):
    return engine(program, leaves, tanh=lambda x: (np.tanh(x), lambda g: (g,)))


def tanh_of_its_input(program, leaves):
    return engine(program, leaves, tanh=lambda x: (np.tanh(x), lambda g: (g * (1 - x**2),)))


def difference_without_sign(program, leaves):
    return engine(program, leaves, sub=lambda a, b: (a - b, lambda g: (g, g)))


def factors_not_swapped(program, leaves):
    return engine(program, leaves, mul=lambda a, b: (a * b, lambda g: (g * a, g * b)))


def unused_is_left_out(program, leaves):
    value, grads = naive.value_and_grad(program, leaves)
    used = {i for _, arguments, _ in program for i in arguments} or {0}
    return value, [g for i, g in enumerate(grads) if i in used]


def exp_of_thousands(x, g):
    return g[:, None] * np.exp(x) / np.exp(x).sum(1, keepdims=True)


def maximum_of_all(x, g):
    return exp_of_thousands(x - x.max(), g)


def g_forgotten(x, g):
    return naive.logsumexp_vjp(x, np.ones_like(g))


def not_normalised(x, g):
    return g[:, None] * np.exp(x - x.max(1, keepdims=True))


def softmax_of_the_batch(x, g):
    weight = np.exp(x - x.max(0))
    return g[:, None] * weight / weight.sum(0)


def every_winner(x, g):
    return (x == x.max(1, keepdims=True)) * g[:, None]


def shared_among_winners(x, g):
    won = x == x.max(1, keepdims=True)
    return won / won.sum(1, keepdims=True) * g[:, None]


def last_winner(x, g):
    return naive.max_over_time_vjp(x[:, ::-1], g)[:, ::-1]


def everyone(x, g):
    return np.ones_like(x) * g[:, None]


def maximum_over_channels(x, g):
    dx = np.zeros_like(x)
    np.put_along_axis(dx, x.argmax(2)[..., None], g.sum(1)[:, None, None], 2)
    return dx


def winner_gets_one(x, g):
    return naive.max_over_time_vjp(x, np.ones_like(g))


WRONG = {
    naive.cross_entropy: [
        total, over_the_batch_alone, in_bits, overflowing, one_maximum, logarithm_of_zero,
        probability_itself,
    ],
    naive.value_and_grad: [
        last_use_counts, mean_of_the_copies, tanh_is_straight, tanh_of_its_input,
        difference_without_sign, factors_not_swapped, unused_is_left_out,
    ],
    naive.logsumexp_vjp: [
        exp_of_thousands, maximum_of_all, g_forgotten, not_normalised, softmax_of_the_batch,
    ],
    naive.max_over_time_vjp: [
        every_winner, shared_among_winners, last_winner, everyone, maximum_over_channels,
        winner_gets_one,
    ],
}  # fmt: skip


def everyone_is(number):
    return True


def nobody_is(number):
    return False


def the_wrong_gradients_alone(number):
    return cases._illness(number) in ("detached", "tanh' forgotten", "rows assigned")


def all_but_one_illness(number):
    return cases.patient_is_broken(number) and cases._illness(number) != "rows mix"


ASKED = {  # by the lesson
    "is_broken": [everyone_is, nobody_is, the_wrong_gradients_alone, all_but_one_illness]
}


@pytest.mark.parametrize("name,answer", answers(ASKED))
def test_the_lesson_refuses(name, answer):
    report = report_of("autograd", name, answer)
    assert not report and "raises" not in report.text
    assert "True" not in report.text and "False" not in report.text  # it does not tell the answer


def grads(f, **values):
    arrays = {name: np.array(value, float) for name, value in values.items()}
    return naive.gradients(lambda v: f(**v), arrays)[1]


# -- by hand ---------------------------------------------------------------------------------------


def test_a_product_and_a_sum_by_hand():
    # L = (a + b) a at a = 3, b = 4: dL/da = 2a + b = 10 (two shares, 3 and 7), dL/db = a = 3
    assert grads(lambda a, b: (a + b) * a, a=3, b=4) == {"a": 10, "b": 3}


def test_a_broadcast_entry_gets_the_sum():
    # L = Σ over a (2, 3) array of (row + column): a row entry is used twice, a column entry thrice
    g = grads(lambda row, column: naive.sum(row + column), row=[1, 2, 3], column=[[1], [2]])
    np.testing.assert_array_equal(g["row"], [2, 2, 2])
    np.testing.assert_array_equal(g["column"], [[3], [3]])


def test_a_row_taken_twice_gets_both_gradients():
    weight = np.array([[1.0], [10], [100]])
    f = lambda table: naive.sum(naive.take_rows(table, [2, 0, 2]) * weight)
    g = grads(f, table=[[0], [0], [0]])
    np.testing.assert_array_equal(g["table"], [[10], [0], [101]])


@pytest.mark.parametrize(
    "index,want",
    [([2, 0, 2], [10, 0, 101]), ([True, False, True], [1, 0, 10]), (slice(1, None), [0, 1, 10])],
    ids=["repeated", "mask", "slice"],
)
def test_an_entry_gets_a_gradient_as_often_as_it_is_taken(index, want):
    weight = np.array([1.0, 10, 100])
    taken = lambda x: x[np.array(index) if isinstance(index, list) else index]
    g = grads(lambda x: naive.sum(taken(x) * weight[: len(taken(x).data)]), x=[0, 0, 0])
    np.testing.assert_array_equal(g["x"], want)


def test_cross_entropy_by_hand():
    # logits 0 and log 3: p = 1/4, 3/4; the target 0 costs log 4 and dz = p - onehot = (-3/4, 3/4)
    z = Var([[0, math.log(3)]])
    loss = naive.softmax_xent(z, [0])
    naive.backward(loss)
    assert loss.data.item() == pytest.approx(math.log(4))
    np.testing.assert_allclose(z.grad, [[-0.75, 0.75]])


@pytest.mark.parametrize("x", [1000.0, -1000.0])
def test_cross_entropy_does_not_overflow(x):
    assert naive.softmax_xent(Var([[x, 0.0]]), [1]).data.item() == pytest.approx(max(x, 0))


def test_a_maximum_gives_its_gradient_to_the_first_of_equals():
    g = grads(lambda x: naive.sum(naive.max(x, axis=0)), x=[[1, 5], [1, 7]])
    np.testing.assert_array_equal(g["x"], [[1, 0], [0, 1]])
    x, g, want = np.array([[[2.0], [2.0], [1.0]]]), np.array([[3.0]]), [[[3], [0], [0]]]
    np.testing.assert_array_equal(naive.max_over_time_vjp(x, g), want)
    assert autograd.max_over_time_vjp(torch.tensor(x), torch.tensor(g)).tolist() == want


def test_operators_with_numbers_and_arrays_on_either_side():
    def f(x):
        column = naive.reshape(x, (2, 1))
        y = (1 - x) / 2 + 2 / x - x**2 + np.ones(2) * x + -x
        return naive.sum(y + np.ones((1, 2)) @ column + x[:1])

    x = np.array([1.5, -0.7])
    t = torch.tensor(x, requires_grad=True)
    y = (1 - t) / 2 + 2 / t - t**2 + t - t
    value = (y + torch.ones(1, 2).double() @ t.reshape(2, 1) + t[:1]).sum()
    value.backward()
    got, g = naive.gradients(lambda v: f(v["x"]), {"x": x})
    assert got == pytest.approx(value.item())
    np.testing.assert_allclose(g["x"], t.grad.numpy())


def test_calling_backward_again_starts_from_zero():
    x = Var(3.0)
    y = x * x
    naive.backward(y)
    naive.backward(y)
    assert x.grad == 6


def test_a_power_that_is_a_number_and_one_that_is_a_var():
    assert grads(lambda x: naive.sum(x**0), x=[0, 2])["x"].tolist() == [0, 0]
    assert grads(lambda x: naive.sum(x**1), x=[0, 2])["x"].tolist() == [1, 1]
    assert grads(lambda x: naive.sum(x**-1), x=[0.5, 2])["x"].tolist() == [-4, -0.25]
    with pytest.raises(
        TypeError, match=r"exponent must be a number; .* exp\(exponent \* log\(x\)\)"
    ):
        Var(2.0) ** Var(3.0)
    a, b = Var(2.0), Var(3.0)
    naive.backward(naive.exp(b * naive.log(a)))  # the way that the message names
    np.testing.assert_allclose([a.grad, b.grad], [3 * 2**2, 8 * math.log(2)], rtol=1e-12)


def test_a_var_that_gets_no_gradient_is_an_error():
    a, b = Var([1.0]), Var([2.0])
    forgetful = Var(a.data * b.data, (a, b), lambda g: (g * b.data,))
    with pytest.raises(TypeError, match="vjp must give every Var a gradient, got 1"):
        naive.backward(forgetful)
    with pytest.raises(ValueError):
        naive.backward(Var(a.data, (a,), lambda g: (g, g)))  # one too many


def test_constants_that_are_vars_are_refused():
    table = Var(np.ones((3, 2)))
    with pytest.raises(TypeError, match="ids must be integers"):
        naive.take_rows(table, Var([0.0]))
    with pytest.raises(TypeError, match="targets must be integers"):
        naive.softmax_xent(table, Var([0, 1, 0]))


def test_a_vector_is_iterable_and_a_number_is_not():
    x = Var([3.0, 5.0])
    first, second = x
    naive.backward(first * second)
    assert x.grad.tolist() == [5, 3]
    with pytest.raises(TypeError):
        list(Var(5.0))


def test_a_long_tape_needs_no_recursion():
    x = y = Var(1.0)
    for _ in range(20_000):
        y = y + 0.0
    naive.backward(y)
    assert x.grad == 1


def test_a_shared_node_is_visited_once():
    x = y = Var(1.0)
    for _ in range(60):  # 2^60 paths, 61 nodes
        y = y + y
    naive.backward(y)
    assert x.grad == 2.0**60 and len(naive.ancestors(y)) == 61


# -- random expressions ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(0, 25))
def test_random_expressions_have_torchs_gradients(seed, length):
    program, leaves = random_program(np.random.default_rng(seed), length)
    value, found = naive.value_and_grad(program, leaves)
    with torch.no_grad():
        expected, wanted = autograd.value_and_grad(program, [torch.tensor(leaf) for leaf in leaves])
    assert value == pytest.approx(expected.item(), rel=1e-9)
    for got, want in zip(found, wanted, strict=True):
        near_zero = 1e-9 * max(1, float(want.abs().max()))
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-8, atol=near_zero)


def test_random_expressions_use_every_operation_and_reuse_and_broadcast():
    drawn = [random_program(np.random.default_rng(seed), 20)[0] for seed in range(30)]
    used = {name for program in drawn for name, _, _ in program}
    assert used == set(naive.OPERATIONS) == set(autograd.OPERATIONS)
    arguments = [[i for _, used, _ in program for i in used] for program in drawn]
    assert all(len(used) > len(set(used)) for used in arguments)


def test_mean_is_torchs():
    x = np.arange(6.0).reshape(2, 3) ** 2
    t = torch.tensor(x, requires_grad=True)
    (t.mean(0) ** 2).mean().backward()
    g = grads(lambda x: naive.mean(naive.mean(x, 0) ** 2), x=x)
    np.testing.assert_allclose(g["x"], t.grad.numpy())


# -- the fused cross-entropy -----------------------------------------------------------------------


def test_fused_cross_entropy_is_the_librarys_and_can_be_differentiated_twice():
    torch.manual_seed(0)
    z = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, 2, 2])
    library = torch.nn.functional.cross_entropy(z, targets)
    torch.testing.assert_close(autograd.softmax_xent(z, targets), library)
    assert torch.autograd.gradcheck(autograd.softmax_xent, (z, targets))
    assert torch.autograd.gradgradcheck(autograd.softmax_xent, (z, targets))


# -- the checks, on functions that are right and on planted faults ---------------------------------


def net(tanh=naive.tanh, take_rows=naive.take_rows):
    rng = np.random.default_rng(0)
    params = {
        "table": rng.normal(size=(4, 3)),
        "W": rng.normal(size=(3, 4)),
        "b": rng.normal(size=4),
    }

    def loss(p):
        h = tanh(take_rows(p["table"], [0, 2, 2]) @ p["W"] + p["b"])
        return naive.softmax_xent(h, [1, 3, 0])

    return loss, params


def test_gradcheck_accepts_a_right_net():
    f, params = net()
    assert max(naive.gradcheck(f, params).values()) < 1e-8
    assert naive.gradcheck_along(f, params, np.random.default_rng(1)) < 1e-8


def test_gradcheck_rejects_a_wrong_vjp_and_says_where():
    def assigned(table, ids):
        def vjp(g):
            d = np.zeros(table.shape)
            d[ids] = g
            return (d,)

        return Var(table.data[ids], (table,), vjp)

    f, params = net(take_rows=assigned)
    errors = naive.gradcheck(f, params)
    assert errors["table"] > 1e-2 and max(errors["W"], errors["b"]) < 1e-8
    assert naive.gradcheck_along(f, params, np.random.default_rng(1)) > 1e-3
    f, params = net(tanh=lambda x: Var(np.tanh(x.data), (x,), lambda g: (g,)))
    assert min(naive.gradcheck(f, params).values()) > 1e-2


def test_numeric_grad_leaves_its_arguments_alone_and_knows_a_square():
    params = {"x": np.array([1.0, -2.0]), "unused": np.zeros(1)}
    found = naive.numeric_grad(lambda p: naive.sum(p["x"] ** 2), params)
    np.testing.assert_allclose(found["x"], [2, -4], rtol=1e-9)
    assert found["unused"] == 0 and params["x"].tolist() == [1, -2]


# -- the patients of the exercise ------------------------------------------------------------------


ALARMS = {
    "far too sure": "start",
    "detached": "zero",
    "tanh' forgotten": "gradcheck",
    "rows assigned": "gradcheck",
    "sees ahead": "future",
    "rows mix": "batch",
}


@pytest.mark.parametrize("seed", range(3))
def test_every_illness_is_found_and_nobody_else_is_called_ill(seed):
    drawn = [number for (number,) in cases.fresh_patients(np.random.default_rng(seed))]
    ill = [cases._illness(number) for number in drawn if cases.patient_is_broken(number)]
    assert sorted(ill) == sorted(ALARMS) and len(drawn) == 12
    rng = np.random.default_rng(seed)
    params, ids = patient_params(rng), rng.integers(11, size=(4, 7))
    for k in drawn:
        logits = lambda ids, k=k: patient(k)({name: Var(v) for name, v in params.items()}, ids).data
        loss = lambda p, k=k: naive.softmax_xent(patient(k)(p, ids)[:, :-1], ids[:, 1:])
        value, found = naive.gradients(loss, params)
        later = ids.copy()
        later[:, 4:] = (ids[:, 4:] + 1) % 11
        faults = {
            "start": not 0.95 < value / math.log(11) < 1.05,
            "zero": any(not g.any() for g in found.values()),
            "gradcheck": max(naive.gradcheck(loss, params).values()) > 1e-6,
            "future": not np.array_equal(logits(later)[:, :4], logits(ids)[:, :4]),
            "batch": not np.allclose(logits(ids[:1]), logits(ids)[:1]),
        }
        assert any(faults.values()) == cases.patient_is_broken(k), (k, faults)
        assert faults[ALARMS.get(cases._illness(k), "start")] == cases.patient_is_broken(k)


# -- refusals --------------------------------------------------------------------------------------


ones = lambda *shape: Var(np.ones(shape))
one = [np.ones(())]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: naive.backward(ones(2)), r"root must hold one number, got shape \(2,\)"),
        (lambda: ones(1) @ ones(1, 1), r"a and b must have shapes .* got \(1,\) and \(1, 1\)"),
        (lambda: naive.take_rows(ones(3, 2), [0, -1]), r"ids must lie in \[0, 3\), got -1 to 0"),
        (lambda: naive.softmax_xent(ones(2, 3), [0, 3]), r"targets must lie in \[0, 3\)"),
        (lambda: naive.softmax_xent(ones(2, 3), [0]), r"targets must have shape \(2,\)"),
        (lambda: naive.softmax_xent(ones(0, 3), np.zeros(0, int)), "not be empty"),
        (lambda: naive.value_and_grad([("sine", [0], {})], one), "'sine'"),
        (lambda: naive.value_and_grad([("tanh", [1], {})], one), "earlier values, 0 to 0"),
        (lambda: patient(-1), "number must be a whole number from 0, got -1"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_refusals_of_types():
    for data in ("three", 1j):
        with pytest.raises(TypeError, match="data must be real numbers"):
            Var(data)
    with pytest.raises(TypeError, match="ids must be integers"):
        naive.take_rows(ones(3, 2), [0.0])
    with pytest.raises(TypeError, match="targets must be integers"):
        autograd.softmax_xent(torch.ones(2, 3), torch.ones(2))


def ids(*numbers):
    return torch.tensor(numbers)


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda x: autograd.softmax_xent(x, ids(0, 3)),
            r"targets must lie in \[0, 3\), got 0 to 3",
        ),
        (lambda x: autograd.softmax_xent(x, ids(0)), r"targets must have shape \(2,\)"),
        (lambda x: autograd.value_and_grad([("sine", [0], {})], [x]), "'sine'"),
        (lambda x: autograd.value_and_grad([("tanh", [-1], {})], [x]), "earlier values, 0 to 0"),
        (lambda x: autograd.value_and_grad([], [x]), "root must hold one number"),
        (lambda x: autograd.logsumexp_vjp(x, x[:, :1]), "x and g must have shapes"),
        (lambda x: autograd.max_over_time_vjp(x[None], x), "x and g must have shapes"),
    ],
)
def test_the_twins_refuse_too(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones(2, 3))


# -- one derivative only ---------------------------------------------------------------------------


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @autograd.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_second_derivative_is_refused_however_it_is_asked_for():
    x = torch.tensor([3.0], requires_grad=True)
    (first,) = torch.autograd.grad(Square.apply(x).sum(), x)
    assert first.item() == 6
    for y in (Square.apply(x).sum(), (Square.apply(x) ** 2).sum()):
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(y, x, create_graph=True)
        with pytest.raises(RuntimeError, match="no second derivative"):
            y.backward(create_graph=True)
