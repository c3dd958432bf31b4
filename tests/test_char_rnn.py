"""The character RNN against numbers worked by hand, torch.nn.RNN, differences and truncation."""

import math

import numpy as np
import pytest
import torch
from test_start_here import answers, report_of

from minilib import char_rnn
from minilib.naive import autograd
from minilib.naive import char_rnn as naive

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def state_forgotten(params, ids):
    steps = [naive.char_rnn(params, ids[:, t : t + 1]) for t in range(ids.shape[1])]
    return np.concatenate(steps, axis=1)


def state_carried_to_the_next_row(params, ids):
    return naive.char_rnn(params, ids.reshape(1, -1)).reshape(*ids.shape, -1)


def recurrence_transposed(params, ids):
    return naive.char_rnn(params | {"Whh": params["Whh"].T}, ids)


def no_hidden_bias(params, ids):
    return naive.char_rnn(params | {"bh": 0 * params["bh"]}, ids)


def no_output_bias(params, ids):
    return naive.char_rnn(params | {"by": 0 * params["by"]}, ids)


def output_from_the_old_state(params, ids):
    logits = naive.char_rnn(params, ids)
    return np.concatenate([np.zeros_like(logits[:, :1]) + params["by"], logits[:, :-1]], axis=1)


def truncated(inputs, targets, h, P, dh_next=0.0):
    return naive.rnn_loss(inputs, targets, h, P)


def mean_over_time(inputs, targets, h, P, dh_next=0.0):
    loss, grads, h = naive.rnn_loss(inputs, targets, h, P, dh_next)
    return loss / len(inputs), {name: g / len(inputs) for name, g in grads.items()}, h


def uphill(inputs, targets, h, P, dh_next=0.0):
    loss, grads, h = naive.rnn_loss(inputs, targets, h, P, dh_next)
    return loss, {name: -g for name, g in grads.items()}, h


def nothing_before(inputs, targets, h, P, dh_next=0.0):
    loss, grads, last = naive.rnn_loss(inputs, targets, h, P, dh_next)
    return loss, grads | {"h": np.zeros_like(h)}, last


def in_stretches(inputs, targets, h, P, dh_next, *, size, carry, rnn_loss=naive.rnn_loss):
    """The gradient of stretches, with what each sends back given to the one before it or not."""
    cuts, borders, total = [slice(t, t + size) for t in range(0, len(inputs), size)], [], 0.0
    for cut in cuts:
        borders.append(h)
        loss, _, h = rnn_loss(inputs[cut], targets[cut], h, P)
        total += loss
    grads = {name: np.zeros(value.shape) for name, value in P.items()}
    for cut, border in zip(reversed(cuts), reversed(borders), strict=True):
        _, part, _ = rnn_loss(inputs[cut], targets[cut], border, P, dh_next)
        dh_next = carry * part["h"]
        grads = {name: grads[name] + part[name] for name in grads}
    return total, grads | {"h": part["h"]}, h


def logarithm_of_zero(inputs, targets, h, P, dh_next=0.0):
    loss, grads, last = naive.rnn_loss(inputs, targets, h, P, dh_next)
    loss = 0.0
    for x, target in zip(inputs, targets, strict=True):
        h, y = naive.rnn_step(x, h, P)
        p = np.exp(y - y.max())
        loss -= np.log(p[target] / p.sum())
    return loss, grads, last


def blame_for_one_step(inputs, targets, h, P, dh_next=0.0):
    return in_stretches(inputs, targets, h, P, dh_next, size=1, carry=0)


def initial_state_returned(inputs, targets, h, P, dh_next=0.0):
    return *naive.rnn_loss(inputs, targets, h, P, dh_next)[:2], h.copy()


def no_temperature(h, seed, u, P, temperature):
    return naive.sample(h, seed, u, P, 1.0)


def times_temperature(h, seed, u, P, temperature):
    return naive.sample(h, seed, u, P, 1 / temperature if temperature else 0)


def always_the_likeliest(h, seed, u, P, temperature):
    return naive.sample(h, seed, u, P, 0)


def seed_written_too(h, seed, u, P, temperature):
    return np.append(seed, naive.sample(h, seed, u, P, temperature))[: len(u)]


def never_reads_itself(h, seed, u, P, temperature):
    written = []
    for r in u:
        written += naive.sample(h, seed, np.array([r]), P, temperature).tolist()
        h, _ = naive.rnn_step(seed, h, P)
    return np.array(written, dtype=np.int64)


def state_stays(h, seed, u, P, temperature):
    written = [seed]
    for r in u:
        written += naive.sample(h, written[-1], np.array([r]), P, temperature).tolist()
    return np.array(written[1:], dtype=np.int64)


def from_the_top_down(h, seed, u, P, temperature):
    return naive.sample(h, seed, 1 - u, P, temperature)


def not_squared(P, grads, cache, lr):
    cache = {name: cache[name] + np.abs(grads[name]) for name in P}
    return {name: P[name] - lr * grads[name] / np.sqrt(cache[name] + 1e-8) for name in P}, cache


def no_root(P, grads, cache, lr):
    _, cache = naive.adagrad(P, grads, cache, lr)
    return {name: P[name] - lr * grads[name] / (cache[name] + 1e-8) for name in P}, cache


def constant_outside_the_root(P, grads, cache, lr):
    _, cache = naive.adagrad(P, grads, cache, lr)
    return {name: P[name] - lr * grads[name] / (np.sqrt(cache[name]) + 1e-8) for name in P}, cache


def old_cache_divides(P, grads, cache, lr):
    _, new = naive.adagrad(P, grads, cache, lr)
    return {name: P[name] - lr * grads[name] / np.sqrt(cache[name] + 1e-8) for name in P}, new


def climbs(P, grads, cache, lr):
    return naive.adagrad(P, grads, cache, -lr)


def cache_not_kept(P, grads, cache, lr):
    return naive.adagrad(P, grads, cache, lr)[0], cache


def not_balanced(states, inside):
    a = ((states > 0) == inside[:, None]).mean(0)
    return np.maximum(a, 1 - a)


def positive_only(states, inside):
    positive = states > 0
    return (positive[inside].mean(0) + (~positive[~inside]).mean(0)) / 2


def zero_is_positive(states, inside):
    return naive.sign_accuracy(np.where(states == 0, 1.0, states), inside)


def inside_alone(states, inside):
    a = (states[inside] > 0).mean(0)
    return np.maximum(a, 1 - a)


WRONG = {
    naive.char_rnn: [
        state_forgotten, state_carried_to_the_next_row, recurrence_transposed, no_hidden_bias,
        no_output_bias, output_from_the_old_state,
    ],
    naive.rnn_loss: [
        truncated, mean_over_time, uphill, nothing_before, blame_for_one_step,
        initial_state_returned, logarithm_of_zero,
    ],
    naive.sample: [
        no_temperature, times_temperature, always_the_likeliest, seed_written_too,
        never_reads_itself, state_stays, from_the_top_down,
    ],
    naive.adagrad: [
        not_squared, no_root, constant_outside_the_root, old_cache_divides, climbs, cache_not_kept,
    ],
    naive.sign_accuracy: [not_balanced, positive_only, zero_is_positive, inside_alone],
}  # fmt: skip


def all_at_once(stretch, inputs, targets, h, P, dh_next):
    return stretch(inputs, targets, h, P, dh_next)


def without_stretches(stretch, inputs, targets, h, P, dh_next):
    return naive.rnn_loss(inputs, targets, h, P, dh_next)


def nothing_over_the_border(stretch, inputs, targets, h, P, dh_next):
    return in_stretches(inputs, targets, h, P, dh_next, size=4, carry=0, rnn_loss=stretch)


def blame_from_later_text_lost(stretch, inputs, targets, h, P, dh_next):
    return in_stretches(inputs, targets, h, P, 0.0, size=4, carry=1, rnn_loss=stretch)


ASKED = {  # by the lesson
    "whole_gradient": [
        all_at_once, without_stretches, nothing_over_the_border, blame_from_later_text_lost,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name,answer", answers(ASKED))
def test_the_lesson_refuses(name, answer):
    report = report_of("char_rnn", name, answer)
    assert not report and "raises" not in report.text


# -- the definition and its twin -------------------------------------------------------------------


def net(V=5, H=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"Wxh": (H, V), "Whh": (H, H), "Why": (V, H), "bh": (H,), "by": (V,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}, rng


def tensors(P):
    return {name: torch.tensor(value) for name, value in P.items()}


def test_one_step_by_hand():
    # h = tanh(artanh 1/2) = 1/2; logits (log 3, 0) give p = (3/4, 1/4); target: the second symbol
    Wxh, Whh, Why = [[0, math.atanh(0.5)]], [[5]], [[2 * math.log(3)], [0]]
    P = {"Wxh": Wxh, "Whh": Whh, "Why": Why, "bh": [0], "by": [0, 0]}
    P = {name: np.array(value, dtype=float) for name, value in P.items()}
    loss, grads, h = naive.rnn_loss(np.array([1]), np.array([1]), np.zeros(1), P)
    assert math.isclose(loss, math.log(4)) and math.isclose(h[0], 0.5)
    da = 3 / 4 * (2 * math.log(3) * 3 / 4)  # (1 - 1/4) · Why · dy
    want = {
        "Wxh": [[0, da]],
        "Whh": [[0]],
        "Why": [[3 / 8], [-3 / 8]],
        "bh": [da],
        "by": [3 / 4, -3 / 4],
        "h": [5 * da],
    }
    for name, value in want.items():
        np.testing.assert_allclose(grads[name], value, rtol=1e-12, err_msg=name)


def test_two_steps_by_hand():
    # where tanh is straight: symbol 0 sets the state to 1e-6, symbol 1 adds nothing, W_hh doubles
    # it; y_0 = h
    P = {"Wxh": [[1e-6, 0]], "Whh": [[2]], "Why": [[1], [0]], "bh": [0], "by": [0, 0]}
    P = {name: np.array(value, dtype=float) for name, value in P.items()}
    logits = naive.char_rnn(P, np.array([[0, 1]]))[0]
    np.testing.assert_allclose(logits, [[1e-6, 0], [2e-6, 0]], rtol=1e-9)


def test_gradients_by_finite_differences():
    P, rng = net()
    inputs, targets = rng.integers(5, size=6), rng.integers(5, size=6)
    h, dh_next = rng.normal(size=4), rng.normal(size=4)

    def f(P, h):
        loss, _, last = naive.rnn_loss(inputs, targets, h, P)
        return loss + dh_next @ last

    _, grads, _ = naive.rnn_loss(inputs, targets, h, P, dh_next)
    everything = P | {"h": h}
    for name, value in everything.items():
        v = rng.normal(size=value.shape)
        moved = [everything | {name: value + step * v} for step in (1e-5, -1e-5)]
        slope = (f(*_split(moved[0])) - f(*_split(moved[1]))) / 2e-5
        assert abs(slope - np.sum(grads[name] * v)) < 1e-8 * max(1, abs(slope)), name


def _split(everything):
    return {name: value for name, value in everything.items() if name != "h"}, everything["h"]


def test_agrees_with_the_engine():
    P, rng = net()
    inputs, targets, h0 = rng.integers(5, size=6), rng.integers(5, size=6), rng.normal(size=4)

    def unrolled(leaves):
        h, logits = leaves["h"], []
        for x in inputs:
            projected = autograd.take_rows(leaves["Wxh"].T, [x]) + leaves["bh"]
            h = autograd.tanh(projected + h @ leaves["Whh"].T)
            logits.append(h @ leaves["Why"].T + leaves["by"])
        return autograd.softmax_xent(autograd.concat(*logits, axis=0), targets) * len(inputs)

    loss, grads = autograd.gradients(unrolled, P | {"h": h0[None]})
    want, by_hand, _ = naive.rnn_loss(inputs, targets, h0, P)
    assert math.isclose(loss, want)
    for name in grads:
        got = grads[name].reshape(by_hand[name].shape)
        np.testing.assert_allclose(got, by_hand[name], rtol=1e-10, atol=1e-12)


def test_agrees_with_torch_rnn():
    torch.manual_seed(0)
    V, H = 6, 5
    ours, theirs = char_rnn.CharRNN(V, H).double(), torch.nn.RNN(V, H, batch_first=True).double()
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(torch.randn_like(p) / 2)  # biases start at 0: copied zeros would prove nothing
        theirs.weight_ih_l0.copy_(ours.Wxh), theirs.weight_hh_l0.copy_(ours.Whh)
        theirs.bias_ih_l0.copy_(ours.bh), theirs.bias_hh_l0.zero_()
    ids, h = torch.randint(V, (3, 8)), torch.randn(3, H, dtype=torch.float64)
    ours_h, theirs_h = h.clone().requires_grad_(), h.clone().requires_grad_()
    logits, (last,) = ours.extend(ids, (ours_h,))
    states, their_last = theirs(torch.nn.functional.one_hot(ids, V).double(), theirs_h[None])
    their_logits = states @ ours.Why.detach().t() + ours.by.detach()
    torch.testing.assert_close(logits, their_logits)
    torch.testing.assert_close(last, their_last[0])
    weight, weight_last = torch.randn_like(logits), torch.randn_like(last)
    ((logits * weight).sum() + (last * weight_last).sum()).backward()
    ((their_logits * weight).sum() + (their_last[0] * weight_last).sum()).backward()
    pairs = [
        (ours.Wxh, theirs.weight_ih_l0),
        (ours.Whh, theirs.weight_hh_l0),
        (ours.bh, theirs.bias_ih_l0),
        (ours_h, theirs_h),
    ]
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad)


def test_a_row_does_not_know_its_batch():
    torch.manual_seed(0)
    model = char_rnn.CharRNN(7, 16).double()
    ids = torch.randint(7, (5, 9))
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(model(ids)[order], model(ids[order]), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(model(ids)[2], model(ids[2:3])[0], rtol=1e-13, atol=1e-13)


def test_a_carried_state_makes_chunks_one_text():
    P, rng = net()
    ids, h0 = rng.integers(5, size=11), rng.normal(size=4)
    whole, whole_grads, whole_h = naive.rnn_loss(ids[:-1], ids[1:], h0, P)
    first, _, border = naive.rnn_loss(ids[:6], ids[1:7], h0, P)
    second, second_grads, last = naive.rnn_loss(ids[6:-1], ids[7:], border, P)
    assert math.isclose(first + second, whole)
    np.testing.assert_allclose(last, whole_h)
    # handed over the border, dh_next makes the gradient whole; set to 0 there, it is truncated
    _, first_grads, _ = naive.rnn_loss(ids[:6], ids[1:7], h0, P, second_grads["h"])
    _, truncated, _ = naive.rnn_loss(ids[:6], ids[1:7], h0, P)
    for name in P:
        both = first_grads[name] + second_grads[name]
        np.testing.assert_allclose(both, whole_grads[name], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(first_grads["h"], whole_grads["h"], rtol=1e-10)
    assert abs(truncated["Whh"] + second_grads["Whh"] - whole_grads["Whh"]).max() > 1e-3


def test_a_detached_state_truncates_the_gradient():
    torch.manual_seed(0)
    model = char_rnn.CharRNN(5, 4).double()
    ids = torch.randint(5, (2, 10))

    def gradient(detach):
        _, (h,) = model.extend(ids[:, :5], model.init_state(2))
        logits, _ = model.extend(ids[:, 5:], (h.detach() if detach else h,))
        return torch.autograd.grad(logits.square().sum(), model.Whh)[0]

    whole, _ = model.extend(ids, model.init_state(2))
    (want,) = torch.autograd.grad(whole[:, 5:].square().sum(), model.Whh)
    torch.testing.assert_close(gradient(detach=False), want)
    assert not torch.allclose(gradient(detach=True), want, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("scalar", [torch.sum, torch.mean, lambda y: y.square().sum()])
def test_a_gradient_penalty_is_refused(scalar):
    """Second derivatives: the backward works on saved arrays and would give a constant."""
    model, ids = char_rnn.CharRNN(5, 4), torch.randint(5, (2, 6))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(scalar(model(ids)), list(model.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        scalar(model(ids)).backward(create_graph=True)


def test_sampling_by_hand():
    # only the output bias speaks: p = (1/4, 1/2, 1/4); at temperature 1/2 it is (1/6, 4/6, 1/6),
    # at 0 the middle
    P = {"Wxh": np.zeros((2, 3)), "Whh": np.zeros((2, 2)), "Why": np.zeros((3, 2))}
    P |= {"bh": np.zeros(2), "by": np.log([1.0, 2, 1])}
    u = np.array([0.2, 0.3, 0.74, 0.76])
    for temperature, want in [(1.0, [0, 1, 1, 2]), (0.5, [1, 1, 1, 1]), (0, [1, 1, 1, 1])]:
        assert naive.sample(np.zeros(2), 0, u, P, temperature).tolist() == want
    # the symbol that was written is read next: after symbol k comes k + 1
    P = {"Wxh": np.eye(3), "Whh": np.zeros((3, 3)), "Why": 50 * np.roll(np.eye(3), 1, axis=0)}
    P |= {"bh": np.zeros(3), "by": np.zeros(3)}
    assert naive.sample(np.zeros(3), 1, np.full(5, 0.5), P, 1.0).tolist() == [2, 0, 1, 2, 0]


def test_adagrad_by_hand():
    P, cache = {"w": np.array([1.0])}, {"w": np.array([16.0])}
    grads = {"w": np.array([3.0]), "h": np.array([9.0])}
    P, cache = naive.adagrad(P, grads, cache, 0.5)
    assert cache["w"][0] == 25 and math.isclose(P["w"][0], 1 - 0.5 * 3 / 5, rel_tol=1e-9)


def test_sign_accuracy_by_hand():
    # unit 0 is right on 2 of 2 inside and 1 of 2 outside; unit 1 is the reverse of the truth,
    # which is as good as the truth
    states = torch.tensor([[1.0, -1], [1, -1], [1, 1], [-1, 1]])
    inside = torch.tensor([True, True, False, False])
    assert char_rnn.sign_accuracy(states, inside).tolist() == [0.75, 1.0]


def test_size_is_what_the_formula_says():
    V, H = 11, 3
    weights = sum(p.numel() for p in char_rnn.CharRNN(V, H).parameters())
    assert weights == V * H + H * H + H * V + H + V


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda P, h, x: char_rnn.CharRNN(0, 3), "vocab_size must be 1 or more, got 0"),
        (lambda P, h, x: char_rnn.rnn_loss(x, x, h[:2], P), "h must have shape"),
        (lambda P, h, x: char_rnn.rnn_loss(x + 5, x, h, P), "inputs must"),
        (lambda P, h, x: char_rnn.rnn_loss(x, x - 1, h, P), "targets must"),
        (lambda P, h, x: char_rnn.rnn_loss(x, x[:1], h, P), "targets must be as long"),
        (lambda P, h, x: char_rnn.rnn_loss(x[:0], x[:0], h, P), "inputs must"),
        (lambda P, h, x: char_rnn.rnn_loss(x, x, h, P | {"Wxh": P["Why"]}), "Wxh"),
        (lambda P, h, x: char_rnn.sample(h, 5, torch.rand(3), P), "seed must"),
        (lambda P, h, x: char_rnn.sample(h, 0, torch.rand(3), P, -1.0), "temperature must"),
        (lambda P, h, x: char_rnn.adagrad(P, {"Wxh": P["Wxh"]}, P, 0.1), "'Whh'"),
        (lambda P, h, x: char_rnn.sign_accuracy(P["Why"], P["by"] == P["by"]), "inside must"),
        (lambda P, h, x: char_rnn.CharRNN(5, 4).states(x[None], (h[:2],)), "state must"),
        (lambda P, h, x: char_rnn.CharRNN(5, 4)(x[None] + 5), "ids must lie"),
    ],
)
def test_refuses(call, message):
    P, _ = net()
    with pytest.raises(ValueError, match=message):
        call(tensors(P), torch.zeros(4, dtype=torch.float64), torch.tensor([0, 1, 2]))


def test_refuses_ids_that_are_no_integers():
    P, _ = net()
    with pytest.raises(TypeError, match="inputs must be int64, got"):
        char_rnn.rnn_loss(torch.ones(2), torch.ones(2), torch.zeros(4), tensors(P))
