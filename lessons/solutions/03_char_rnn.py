"""Solutions to the exercises of lesson 03."""

import numpy as np

import minilib
from minilib.cases import char_rnn as cases
from minilib.naive import char_rnn as naive


def whole_gradient(stretch, inputs, targets, h, P, dh_next):
    borders, total = [], 0.0
    cuts = [slice(start, start + 4) for start in range(0, len(inputs), 4)]
    for cut in cuts:
        borders.append(h)
        loss, _, h = stretch(inputs[cut], targets[cut], h, P, 0.0)
        total += loss
    grads = {name: np.zeros(value.shape) for name, value in P.items()}
    for cut, border in zip(reversed(cuts), reversed(borders), strict=True):
        _, part, _ = stretch(inputs[cut], targets[cut], border, P, dh_next)
        dh_next = part["h"]
        grads = {name: grads[name] + part[name] for name in grads}
    return total, grads | {"h": dh_next}, h


def by_stretches(inputs, targets, h, P, dh_next):
    steps = []
    stretch = lambda *text: steps.append(len(text[0])) or naive.rnn_loss(*text)
    out = whole_gradient(stretch, inputs, targets, h, P, dh_next)
    return out, {"4 steps or fewer a call": 1 <= max(steps, default=0) <= 4}


def reference(inputs, targets, h, P, dh_next):
    out = naive.rnn_loss(inputs, targets, h, P, dh_next)
    return out, {"4 steps or fewer a call": True}


def sign_accuracy(states, inside):
    positive = states > 0
    a = (positive[inside].mean(0) + 1 - positive[~inside].mean(0)) / 2
    return np.maximum(a, 1 - a)


def write(h, seed, u, P, temperature):
    x, written = seed, []
    for r in u:
        h, y = naive.rnn_step(x, h, P)
        if temperature == 0:
            x = int(y.argmax())
        else:
            p = np.exp((y - y.max()) / temperature)
            x = min(int((np.cumsum(p / p.sum()) <= r).sum()), len(y) - 1)
        written.append(x)
    return np.array(written, dtype=np.int64)
