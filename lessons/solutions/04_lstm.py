"""Solutions to the exercises of lesson 04."""

import numpy as np
import torch

import minilib
from minilib.cases import lstm as cases
from minilib.lstm import LSTM, lstm
from minilib.naive import lstm as naive


def my_lstm(x, h, c, W_h, peep, sigmoid):
    outputs = []
    for t in range(x.shape[1]):
        a_i, a_f, a_g, a_o = np.split(x[:, t] + h @ W_h.T, 4, axis=1)
        i = sigmoid(a_i + peep[0] * c)
        f = sigmoid(a_f + peep[1] * c)
        c = f * c + i * np.tanh(a_g)
        h = sigmoid(a_o + peep[2] * c) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1), h, c


def all_rows_at_once(x, h, c, W_h, peep):
    calls = []
    sigmoid = lambda a: calls.append(1) or naive.sigmoid(a)
    out = my_lstm(x, h, c, W_h, peep, sigmoid)
    return out, {"3 sigmoids or fewer a step": 1 <= len(calls) <= 3 * x.shape[1]}


def reference(x, h, c, W_h, peep):
    return naive.lstm(x, h, c, W_h, peep), {"3 sigmoids or fewer a step": True}


def my_way_back(x):
    forget = np.split(x, 4, axis=1)[1]
    # the path is a product of forget gates
    return np.prod(1 / (1 + np.exp(-forget)), axis=0)


def way_back_by_autograd(x):
    n = x.shape[1] // 4
    c = torch.zeros(1, n, dtype=torch.float64, requires_grad=True)
    h, W_h, peep = torch.zeros_like(c), c.new_zeros(4 * n, n), c.new_zeros(3, n)
    _, _, last = lstm(torch.tensor(x)[None], h, c, W_h, peep)
    return torch.autograd.grad(last.sum(), c)[0][0].numpy()


def my_count(V, n):
    # symbols, recurrence, peepholes, biases
    layer = V * 4 * n + 4 * n * n + 3 * n + 4 * n
    return layer + V * n + V
