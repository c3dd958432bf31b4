import numpy as np
import pytest
import torch
from test_start_here import answers, report_of

from minilib.lstm import LSTM, dynamic_evaluation, lstm
from minilib.naive import lstm as naive

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def layer(x, h, c, W_h, peep, gates="ifgo", old_cell=False, show=np.tanh, candidate=np.tanh):
    """The layer with its gates in another order, an o that peeps too early, other functions."""
    outputs = []
    for t in range(x.shape[1]):
        a = dict(zip(gates, np.split(x[:, t] + h @ W_h.T, 4, axis=1), strict=True))
        i, f = naive.sigmoid(a["i"] + peep[0] * c), naive.sigmoid(a["f"] + peep[1] * c)
        old, c = c, f * c + i * candidate(a["g"])
        h = naive.sigmoid(a["o"] + peep[2] * (old if old_cell else c)) * show(c)
        outputs.append(h)
    return np.stack(outputs, axis=1), h, c


def output_peeps_at_the_old_cell(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep, old_cell=True)


def input_and_forget_swapped(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep, gates="figo")


def candidate_last(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep, gates="ifog")


def cell_shown_as_it_is(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep, show=lambda c: c)


def candidate_is_a_gate(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep, candidate=naive.sigmoid)


def no_peepholes(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, 0 * peep)


def peepholes_swapped(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep[[1, 0, 2]])


def starts_from_zero(x, h, c, W_h, peep):
    return layer(x, 0 * h, 0 * c, W_h, peep)


def last_state_is_the_first(x, h, c, W_h, peep):
    return layer(x, h, c, W_h, peep)[0], h.copy(), c.copy()


def changed(params, name, change):
    """params with all arrays whose name ends so changed by a function of the name and array."""
    return {key: change(key, p) if key.endswith(name) else p for key, p in params.items()}


def no_bias(params, ids, *, layers=1):
    return naive.lstm_lm(changed(params, ".bias", lambda _, p: 0 * p), ids, layers=layers)


def no_output_bias(params, ids, *, layers=1):
    return naive.lstm_lm(changed(params, "output_bias", lambda _, p: 0 * p), ids, layers=layers)


def lm_without_peepholes(params, ids, *, layers=1):
    return naive.lstm_lm(changed(params, ".peep", lambda _, p: 0 * p), ids, layers=layers)


def symbol_for_the_first_layer_alone(params, ids, *, layers=1):
    first = lambda name, p: p * name.startswith("layers.0.")
    return naive.lstm_lm(changed(params, ".symbol", first), ids, layers=layers)


def output_of_the_top_layer_alone(params, ids, *, layers=1):
    n = params["layers.0.recurrent"].shape[1]
    top = lambda _, p: p * (np.arange(p.shape[1]) >= n * (layers - 1))
    return naive.lstm_lm(changed(params, "output", top), ids, layers=layers)


def layers_apart(params, ids, *, layers=1):
    return naive.lstm_lm(changed(params, ".below", lambda _, p: 0 * p), ids, layers=layers)


def state_carried_to_the_next_row(params, ids, *, layers=1):
    logits = naive.lstm_lm(params, ids.reshape(1, -1), layers=layers)
    return logits.reshape(*ids.shape, -1)


def evaluate(params, ids, chunk, lr, before=False, carry=True, whole=True, per=1.0):
    """Dynamic evaluation with its details changed."""
    total, h = 0.0, np.zeros(params["layers.0.recurrent"].shape[1])
    c = h
    for start in range(0, len(ids) - 1, chunk):
        piece = ids[start : start + chunk + whole]
        if len(piece) < 2:
            continue
        loss, grads, h_next, c_next = naive.lstm_loss(params, piece, h, c)
        params = {name: p - lr * grads[name] for name, p in params.items()}
        if before:  # the score is that of the weights that have seen the chunk
            loss = naive.lstm_loss(params, piece, h, c)[0]
        h, c = (h_next, c_next) if carry else (h, c)
        total += loss * (len(piece) - 1) ** per
    return total


def learns_before_it_scores(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, lr, before=True)


def state_forgotten(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, lr, carry=False)


def borders_not_scored(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, lr, whole=False)


def means_added(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, lr, per=0)


def climbs(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, -lr)


def never_learns(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, 0.0)


def mean_of_all(params, ids, chunk, lr):
    return evaluate(params, ids, chunk, lr) / (len(ids) - 1)


WRONG = {
    naive.lstm: [
        output_peeps_at_the_old_cell, input_and_forget_swapped, candidate_last,
        cell_shown_as_it_is, candidate_is_a_gate, no_peepholes, peepholes_swapped,
        starts_from_zero, last_state_is_the_first,
    ],
    naive.lstm_lm: [
        no_bias, no_output_bias, lm_without_peepholes, symbol_for_the_first_layer_alone,
        output_of_the_top_layer_alone, layers_apart, state_carried_to_the_next_row,
    ],
    naive.dynamic_evaluation: [
        learns_before_it_scores, state_forgotten, borders_not_scored, means_added, climbs,
        never_learns, mean_of_all,
    ],
}  # fmt: skip


def row_by_row(x, h, c, W_h, peep, sigmoid):
    rows = []
    for b in range(len(x)):
        outputs, h_b, c_b = [], h[b], c[b]
        for t in range(x.shape[1]):
            a_i, a_f, a_g, a_o = np.split(x[b, t] + W_h @ h_b, 4)
            i, f = sigmoid(a_i + peep[0] * c_b), sigmoid(a_f + peep[1] * c_b)
            c_b = f * c_b + i * np.tanh(a_g)
            h_b = sigmoid(a_o + peep[2] * c_b) * np.tanh(c_b)
            outputs.append(h_b)
        rows.append((np.stack(outputs), h_b, c_b))
    return tuple(np.stack(some) for some in zip(*rows, strict=True))


def of_the_library(x, h, c, W_h, peep, sigmoid):
    return naive.lstm(x, h, c, W_h, peep)


def old_cell(x, h, c, W_h, peep, sigmoid):
    return layer(x, h, c, W_h, peep, old_cell=True)


def sum_of_the_gates(x):
    return naive.sigmoid(np.split(x, 4, axis=1)[1]).sum(0)


def input_gates(x):
    return naive.sigmoid(np.split(x, 4, axis=1)[0]).prod(0)


def last_gate_alone(x):
    return naive.sigmoid(np.split(x, 4, axis=1)[1])[-1]


def gate_of_the_product(x):
    return naive.sigmoid(np.split(x, 4, axis=1)[1].prod(0))


def no_peephole_weights(V, n):
    return 4 * n * (V + n + 1) + V * n + V


def output_without_a_bias(V, n):
    return 4 * n * (V + n + 1) + 3 * n + V * n


def two_biases(V, n):
    return 4 * n * (V + n + 2) + 3 * n + V * n + V


ASKED = {  # by the lesson
    "my_lstm": [row_by_row, of_the_library, old_cell],
    "my_way_back": [sum_of_the_gates, input_gates, last_gate_alone, gate_of_the_product],
    "my_count": [no_peephole_weights, output_without_a_bias, two_biases],
}


@pytest.mark.parametrize("name,answer", answers(ASKED))
def test_the_lesson_refuses(name, answer):
    report = report_of("lstm", name, answer)
    assert not report and "raises" not in report.text


# -- the definition and its twin -------------------------------------------------------------------


def random_params(model):
    generator = torch.Generator().manual_seed(0)
    noise = lambda p: 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return {name: p + noise(p) for name, p in model.state_dict().items()}


def test_one_step_by_hand():
    # all pre-activations 0: gates 1/2, candidate 0; half the old cell is kept, half its tanh shown
    x, W_h, peep = torch.zeros(1, 1, 4), torch.zeros(4, 1), torch.zeros(3, 1)
    out, h, c = lstm(x, torch.zeros(1, 1), torch.full((1, 1), 2.0), W_h, peep)
    assert c.item() == 1.0
    torch.testing.assert_close(out.item(), 0.5 * np.tanh(1.0))
    assert h.item() == out.item()


def test_the_output_gate_peeps_at_the_new_cell():
    # forget everything and write 1: the old cell is 5, the new one 1; o = sigmoid(3 * 1)
    x = torch.tensor([[[100.0, -100.0, 100.0, 0.0]]])
    peep = torch.tensor([[0.0], [0.0], [3.0]])
    out, _, c = lstm(x, torch.zeros(1, 1), torch.full((1, 1), 5.0), torch.zeros(4, 1), peep)
    assert c.item() == 1.0
    torch.testing.assert_close(out.item(), np.tanh(1.0) / (1 + np.exp(-3.0)))


def test_the_other_gates_peep_at_the_old_cell():
    # i = sigmoid(c), f = sigmoid(-c) with c = 1 before the step, g = tanh(1)
    x = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]])
    peep = torch.tensor([[1.0], [-1.0], [0.0]])
    _, _, c = lstm(x, torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(4, 1), peep)
    torch.testing.assert_close(c.item(), 1 / (1 + np.e) + np.tanh(1) / (1 + np.exp(-1)))


def test_without_peepholes_it_is_torch_lstm():
    """Third opinion: nn.LSTM on the same weights; its gates have the same order, and two biases."""
    V, n, B, T = 6, 5, 3, 7
    peer = torch.nn.LSTM(V, n, batch_first=True).double()
    x = torch.randn(B, T, V, dtype=torch.float64)
    h, c = torch.randn(2, 1, B, n, dtype=torch.float64)
    projected = x @ peer.weight_ih_l0.t() + peer.bias_ih_l0 + peer.bias_hh_l0
    no_peep = torch.zeros(3, n, dtype=torch.float64)
    out, h_last, c_last = lstm(projected, h[0], c[0], peer.weight_hh_l0, no_peep)
    want, (h_want, c_want) = peer(x, (h, c))
    torch.testing.assert_close((out, h_last, c_last), (want, h_want[0], c_want[0]))
    got = torch.autograd.grad(out.sum() + c_last.sum(), peer.weight_hh_l0)
    gradient = torch.autograd.grad(want.sum() + c_want.sum(), peer.weight_hh_l0)
    torch.testing.assert_close(got, gradient)


SHAPES = [(2, 3, 8), (2, 2), (2, 2), (8, 2), (3, 2)]  # x, h, c, W_h, peep


def test_gradcheck():
    x = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in SHAPES]
    assert torch.autograd.gradcheck(lstm, x)


def test_gradients_across_blocks_of_steps_are_those_of_a_plain_loop():
    B, T, n = 8192, 11, 4  # so wide that backward takes two steps at a time, and one is left over
    shapes = [(B, T, 4 * n), (B, n), (B, n), (4 * n, n), (3, n)]
    x, h, c, W_h, peep = inputs = [
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes
    ]
    rows = []
    for x_t in x.unbind(1):
        i, f, g, o = (x_t + h @ W_h.t()).chunk(4, dim=1)
        new = torch.sigmoid(f + peep[1] * c) * c + torch.sigmoid(i + peep[0] * c) * g.tanh()
        h, c = torch.sigmoid(o + peep[2] * new) * new.tanh(), new
        rows.append(h)
    wanted, found = (torch.stack(rows, 1), h, c), lstm(*inputs)
    torch.testing.assert_close(found, wanted)
    project = lambda out, last_h, last_c: (out.sin().sum() + last_h.sum() + (2 * last_c).sum()) / B
    for got, want in zip(
        torch.autograd.grad(project(*found), inputs),
        torch.autograd.grad(project(*wanted), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("scalar", [torch.sum, torch.mean, lambda y: y.square().sum()])
def test_a_gradient_penalty_is_refused(scalar):
    """Second derivatives: the backward works on saved arrays and would give a constant."""
    x = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in SHAPES]
    model, ids = LSTM(5, 3, 2), torch.randint(5, (2, 6))
    weights = [p for p in model.parameters() if p.numel()]
    for loss, leaves in [(lambda: scalar(lstm(*x)[0]), x), (lambda: scalar(model(ids)), weights)]:
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(loss(), leaves, create_graph=True)
        with pytest.raises(RuntimeError, match="no second derivative"):
            loss().backward(create_graph=True)


def test_long_saturated_sequences_stay_finite():
    x = 1e4 * torch.randn(1, 500, 8)
    x.requires_grad_()
    out, _, c = lstm(x, torch.zeros(1, 2), torch.zeros(1, 2), torch.randn(8, 2), torch.randn(3, 2))
    (out.sum() + c.sum()).backward()
    assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()


def test_hand_derived_backward_equals_autograd():
    model = LSTM(7, 4).double()
    params = random_params(model)
    model.load_state_dict(params)
    ids = torch.randint(7, (9,))
    arrays = {name: p.numpy() for name, p in params.items()}
    loss, grads, _, _ = naive.lstm_loss(arrays, ids.numpy(), np.zeros(4), np.zeros(4))
    ours = torch.nn.functional.cross_entropy(model(ids[None, :-1])[0], ids[1:])
    ours.backward()
    assert abs(ours.item() - loss) < 1e-12
    for name, p in model.named_parameters():
        if p.numel():
            np.testing.assert_allclose(p.grad, grads[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_carried_state_is_used():
    """Two halves with the state carried over score as the whole; only the gradient is cut."""
    model = LSTM(5, 3).double()
    params = {k: v.numpy() for k, v in random_params(model).items()}
    ids = np.array([0, 3, 1, 4, 2, 2, 0])
    whole, *_ = naive.lstm_loss(params, ids, np.zeros(3), np.zeros(3))
    first, _, h, c = naive.lstm_loss(params, ids[:4], np.zeros(3), np.zeros(3))
    second, *_ = naive.lstm_loss(params, ids[3:], h, c)
    assert abs((3 * first + 3 * second) / 6 - whole) < 1e-12


def test_dynamic_evaluation_without_learning_is_the_static_score():
    model = LSTM(5, 3).double()
    params = random_params(model)
    model.load_state_dict(params)
    ids = torch.randint(5, (11,))
    static = torch.nn.functional.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction="sum")
    torch.testing.assert_close(dynamic_evaluation(params, ids, chunk=4, lr=0.0), static.detach())


def test_dynamic_evaluation_learns_and_leaves_the_weights_alone():
    params = LSTM(5, 16).double().state_dict()
    before = {name: p.clone() for name, p in params.items()}
    ids = torch.tensor([0, 1, 2, 3, 4] * 100)
    learning = dynamic_evaluation(params, ids, chunk=10, lr=3.0)
    assert learning < 0.5 * dynamic_evaluation(params, ids, chunk=10, lr=0.0)
    assert all(torch.equal(params[name], before[name]) for name in params)


def test_a_fresh_net_guesses_about_uniformly():
    logits = LSTM(100, 64)(torch.randint(100, (4, 20))).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, torch.randint(100, (80,)))
    assert abs(loss.item() - np.log(100)) < 0.05 * np.log(100)


@pytest.mark.parametrize(
    "name,position,shape",
    [
        ("x", 0, (2, 3, 7)),
        ("x", 0, (2, 8)),
        ("c", 2, (1, 2)),
        ("W_h", 3, (2, 8)),
        ("peep", 4, (6,)),
    ],
)
def test_shapes_are_refused_by_name(name, position, shape):
    arguments = [torch.zeros(s) for s in SHAPES]
    arguments[position] = torch.zeros(shape)
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        lstm(*arguments)


def test_mixed_dtypes_are_refused_by_name():
    for position in range(5):
        mixed = [torch.zeros(shape) for shape in SHAPES]
        mixed[position] = mixed[position].double()
        with pytest.raises(TypeError, match=r"x, h, c, W_h and peep must have one dtype, got .*64"):
            lstm(*mixed)


def test_refusals():
    with pytest.raises(ValueError, match="width"):
        LSTM(5, 0)
    with pytest.raises(ValueError, match=r"ids must have shape \(time ≥ 2,\)"):
        dynamic_evaluation(LSTM(5, 3).state_dict(), torch.zeros(1, dtype=torch.int64))
