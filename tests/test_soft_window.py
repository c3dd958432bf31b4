import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.naive import soft_window as naive
from minilib.soft_window import window, windowed_lstm

# -- answers that are wrong ------------------------------------------------------------------------


def gates_i_o_g_f(x, text, h, c, w, kappa, W_h, W_w, *rest):
    turn = lambda v, axis: np.concatenate(np.split(v, 4, axis)[::-1], axis)
    return naive.windowed_lstm(turn(x, 2), text, h, c, w, kappa, turn(W_h, 0), turn(W_w, 0), *rest)


def no_peepholes(x, text, h, c, w, kappa, W_h, W_w, peep, *rest):
    return naive.windowed_lstm(x, text, h, c, w, kappa, W_h, W_w, 0 * peep, *rest)


def text_of_the_first_line_for_all(x, text, *rest):
    return naive.windowed_lstm(x, np.repeat(text[:1], len(text), 0), *rest)


STEP = {
    "letters_from_zero": ("range(1, len(text) + 2)", "range(len(text) + 1)"),
    "set_not_moved": ("kappa + step", "step"),
    "moves_back_too": ("kappa + step", "kappa + np.log(step)"),
    "moves_after_it_has_read": ("(kappa - u)", "(kappa - step - u)"),
    "one_place_for_all_gaussians": ("kappa + step", "kappa + step.mean()"),
    "beta_not_positive": ("-beta *", "-np.log(beta) *"),
    "alpha_not_positive": ("(alpha *", "(np.log(alpha) *"),
    "alpha_for_beta": ("alpha, beta, step", "beta, alpha, step"),
    "distance_not_squared": ("(kappa - u) ** 2", "abs(kappa - u)"),
    "normalised": ("    w = np.zeros(A)", "    phi = phi / phi.sum()\n    w = np.zeros(A)"),
    "last_of_equal_letters": ("w[letter] += phi", "w[letter] = phi"),
    "padding_is_the_last_letter": ("if letter >= 0:", "if True:"),
}
WRONG = {
    naive.window: edited(
        naive.window,
        **STEP,
        starts_at_zero=("k = kappa[b]", "k = 0 * kappa[b]"),
        starts_anew_at_each_step=("p[b, t], k,", "p[b, t], kappa[b],"),
        place_before_the_step=("kappas[b, t] = k\n", "kappas[b, t] = k - np.exp(p[b, t, -K:])\n"),
        nothing_behind_the_text=(
            "kappas[b, t] = k\n",
            "kappas[b, t] = k\n            phi[b, t, np.append(text[b] < 0, True)] = 0\n",
        ),
    ),
    naive.windowed_lstm: [
        *edited(
            naive.windowed_lstm,
            **STEP,
            starts_with_nothing=("h_b, w_b = h[b], w[b]", "h_b, w_b = h[b], 0 * w[b]"),
            window_starts_at_zero=("kappa = c.copy(), kappa.copy()", "kappa = c.copy(), 0 * kappa"),
            starts_anew_at_each_step=("b_p, kappa[b],", "b_p, 0 * kappa[b],"),
            window_of_the_output_before=(
                "h_b, c[b], _ = lstm_step",
                "old = h_b\n            h_b, c[b], _ = lstm_step",
                "W_p @ h_b",
                "W_p @ old",
            ),
            window_from_the_cell=("W_p @ h_b", "W_p @ c[b]"),
            no_bias_of_the_window=("W_p @ h_b + b_p", "W_p @ h_b"),
            window_not_read=("lstm_step(w_b,", "lstm_step(0 * w_b,"),
            returns_the_window_before=(
                "w_b, kappa[b], _ = window_step",
                "windows[b, t] = w_b\n            w_b, kappa[b], _ = window_step",
                "outputs[b, t], windows[b, t] = h_b, w_b",
                "outputs[b, t] = h_b",
            ),
            output_peeps_at_the_old_cell=(
                "W_h, peep, x[b, t])",
                "W_h, peep * [[1], [1], [0]],"
                " x[b, t] + np.append(np.zeros(3 * n), peep[2] * c[b]))",
            ),
        ),
        gates_i_o_g_f,
        no_peepholes,
        text_of_the_first_line_for_all,
    ],
}

# -- the window ------------------------------------------------------------------------------------


def test_window_by_hand():
    # one Gaussian of height 3 and β = ln 2 that moves one letter a step:
    # 3 on its letter, 3/2 beside it, 3/16 two away
    p = torch.tensor([[[math.log(3), math.log(math.log(2)), 0.0]] * 2])
    w, kappa, phi = window(p, torch.zeros(1, 1), torch.tensor([[4, 2]]), 5)
    torch.testing.assert_close(kappa, torch.tensor([[[1.0], [2.0]]]))
    torch.testing.assert_close(phi, torch.tensor([[[3, 3 / 2, 3 / 16], [3 / 2, 3, 3 / 2]]]))
    torch.testing.assert_close(w, torch.tensor([[[0, 0, 3 / 2, 0, 3], [0, 0, 3, 0, 3 / 2]]]))


def test_a_letter_that_occurs_twice_is_read_twice():
    w, _, phi = window(torch.zeros(1, 1, 3), torch.zeros(1, 1), torch.tensor([[0, 0]]), 1)
    torch.testing.assert_close(w[0, 0, 0], phi[0, 0, 0] + phi[0, 0, 1])


def test_the_window_never_moves_back():
    text = torch.zeros(3, 4, dtype=torch.int64)
    _, kappa, _ = window(5 * torch.randn(3, 40, 6), torch.rand(3, 2), text, 1)
    assert (kappa.diff(dim=1) >= 0).all()


def test_padding_letters_do_not_leak_into_the_window():
    p, kappa = torch.randn(1, 6, 6), torch.zeros(1, 2)
    short, long = (
        window(p, kappa, torch.tensor([text]), 3)[0] for text in ([1, 2], [1, 2, -1, -1])
    )
    torch.testing.assert_close(short, long)


def test_windowed_lstm_is_torch_lstmcell_with_a_window():
    """Third opinion: nn.LSTMCell, fed with the window of the step before; gradients by autograd.

    It has no peepholes and two biases.
    """
    B, T, n, A, K, text = 2, 7, 4, 3, 2, torch.tensor([[0, 2, 1], [1, 1, -1]])
    peer, to_p = torch.nn.LSTMCell(3 + A, n).double(), torch.nn.Linear(n, 3 * K).double()
    x = torch.randn(B, T, 3, dtype=torch.float64)
    h, c, w, kappa = (torch.randn(B, size, dtype=torch.float64) for size in (n, n, A, K))
    read = x @ peer.weight_ih[:, :3].t() + peer.bias_ih + peer.bias_hh
    W_h, W_w, peep = peer.weight_hh, peer.weight_ih[:, 3:], torch.zeros(3, n).double()
    got = windowed_lstm(read, text, h, c, w, kappa, W_h, W_w, peep, to_p.weight, to_p.bias)
    hs, ws = [], []
    for t in range(T):
        h, c = peer(torch.cat([x[:, t], w], 1), (h, c))
        w, kappa, _ = (part[:, 0] for part in window(to_p(h)[:, None], kappa, text, A))
        hs.append(h)
        ws.append(w)
    want = torch.stack(hs, 1), torch.stack(ws, 1), c, kappa
    torch.testing.assert_close(got, want)
    weights = [*peer.parameters(), *to_p.parameters()]
    squares = [sum((part * part).sum() for part in parts) for parts in (got, want)]
    gradients = [torch.autograd.grad(total, weights, retain_graph=True) for total in squares]
    torch.testing.assert_close(*gradients)


def test_a_second_derivative_is_refused():
    """The backward is written out, on saved arrays; differentiated again it would be wrong."""
    x, text = torch.randn(1, 3, 4, requires_grad=True), torch.tensor([[0, 1]])
    state = [torch.zeros(1, size) for size in (1, 1, 2, 1)]
    weights = [torch.randn(shape) for shape in [(4, 1), (4, 2), (3, 1), (3, 1), (3,)]]
    h = windowed_lstm(x, text, *state, *weights)[0]
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(h.sum(), x, create_graph=True)
