import math

import pytest
import torch

from minilib.soft_window import window, windowed_lstm


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
