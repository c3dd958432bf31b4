"""The LSTM with peepholes, and Graves' stack of them: the definition.

Source: Graves 2013, "Generating Sequences With Recurrent Neural Networks" (arXiv:1308.0850), eq.
1-11.

    code            paper                       shape
    x               x_t                         (inputs,)
    h, c            h_t, c_t                    (n,)
    i f g o         gates i, f, o; g is the     (n,) each
                    tanh(...) of eq. 9
    W_x, W_h        W_x*, W_h* stacked i f g o  (4n, inputs), (4n, n)
    peep            w_ci, w_cf, w_co            (3, n)      diagonal: gates see their own cell only
    b               b_i b_f b_c b_o             (4n,)
"""

import numpy as np


@np.vectorize(otypes=[float])
def sigmoid(x):
    """1 / (1 + exp(-x)), of one number at a time; exp never gets a large number."""
    return 1 / (1 + np.exp(-x)) if x >= 0 else np.exp(x) / (1 + np.exp(x))


def lstm_step(x, h, c, W_x, W_h, peep, b):
    """One step of one layer (eq. 7-11). Returns h, c and what the backward step needs.

    The output gate peeps at the new cell (eq. 10), i and f at the old (eq. 7, 8).
    """
    a_i, a_f, a_g, a_o = np.split(W_x @ x + W_h @ h + b, 4)
    i = sigmoid(a_i + peep[0] * c)
    f = sigmoid(a_f + peep[1] * c)
    g = np.tanh(a_g)
    c_new = f * c + i * g
    o = sigmoid(a_o + peep[2] * c_new)
    return o * np.tanh(c_new), c_new, (x, h, c, i, f, g, o, c_new)


def lstm_step_back(dh, dc, cache, W_x, W_h, peep, grads):
    """The step backwards: dL/dh, dL/dc of its outputs -> dx, dh, dc of its inputs; adds to grads.

    grads is a dict of arrays W_x, W_h, peep, b of the parameters' shapes. Derived by hand: each
    line is the chain rule for one line of lstm_step, in reverse order.
    """
    x, h, c, i, f, g, o, c_new = cache
    tanh_c = np.tanh(c_new)
    da_o = dh * tanh_c * o * (1 - o)
    dc = dc + dh * o * (1 - tanh_c**2) + da_o * peep[2]
    da_i = dc * g * i * (1 - i)
    da_f = dc * c * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da = np.concatenate([da_i, da_f, da_g, da_o])
    grads["W_x"] += np.outer(da, x)
    grads["W_h"] += np.outer(da, h)
    grads["peep"] += np.stack([da_i * c, da_f * c, da_o * c_new])
    grads["b"] += da
    return W_x.T @ da, W_h.T @ da, dc * f + da_i * peep[0] + da_f * peep[1]


def lstm(x, h, c, W_h, peep):
    """One layer over time, from inputs that are already projected: x[b, t] = W_x x_t + b.

    x        (batch, time, 4n)
    h, c     (batch, n) state before the first step
    returns  outputs (batch, time, n), then h and c after the last step
    """
    B, T, _ = x.shape
    n = h.shape[1]
    W_x, bias = np.eye(4 * n), np.zeros(4 * n)  # x is projected already
    out, h, c = np.zeros((B, T, n)), h.copy(), c.copy()
    for b in range(B):
        for t in range(T):
            h[b], c[b], _ = lstm_step(x[b, t], h[b], c[b], W_x, W_h, peep, bias)
            out[b, t] = h[b]
    return out, h, c


def lstm_lm(params, ids, *, layers=1):
    """Logits of Graves' stack: a layer reads the symbol and the layer below, the output all layers.

    params   the state_dict of minilib.lstm.LSTM; with a one-hot x_t, W_x x_t is a row of `symbol`
    ids      (batch, time) int
    returns  (batch, time, vocab)
    """
    B, T = ids.shape
    logits = np.zeros((B, T, len(params["output_bias"])))
    n = params["layers.0.recurrent"].shape[1]
    for b in range(B):
        h, c = np.zeros((layers, n)), np.zeros((layers, n))
        for t in range(T):
            below = np.zeros(0)
            for k in range(layers):
                symbol, W_below, W_h, peep, bias = (
                    params[f"layers.{k}.{name}"]
                    for name in ("symbol", "below", "recurrent", "peep", "bias")
                )
                x = np.concatenate([np.eye(len(symbol))[ids[b, t]], below])
                W_x = np.concatenate([symbol.T, W_below], axis=1)
                h[k], c[k], _ = lstm_step(x, h[k], c[k], W_x, W_h, peep, bias)
                below = h[k]
            logits[b, t] = params["output"] @ h.reshape(-1) + params["output_bias"]
    return logits


def lstm_loss(params, ids, h, c):
    """Mean nats per predicted symbol of a one-layer net, and its gradient by hand-derived BPTT.

    params   as for lstm_lm, one layer
    ids      (time,) int; ids[t + 1] is predicted from ids[: t + 1] and the state
    h, c     (n,) state before ids[0]; no gradient flows into it
    returns  loss, dict of gradients with the names of params, h, c before the last symbol is read
    """
    V, n, T = len(params["output_bias"]), len(h), len(ids) - 1
    W_x, W_h = params["layers.0.symbol"].T, params["layers.0.recurrent"]
    peep, bias = params["layers.0.peep"], params["layers.0.bias"]
    caches, outputs, errors, loss = [], [], [], 0.0
    for t in range(T):
        h, c, cache = lstm_step(np.eye(V)[ids[t]], h, c, W_x, W_h, peep, bias)
        z = params["output"] @ h + params["output_bias"]
        z = z - z.max()
        log_p = z - np.log(np.exp(z).sum())  # not log(p), for p may be 0
        loss -= log_p[ids[t + 1]] / T
        caches.append(cache)
        outputs.append(h)
        errors.append((np.exp(log_p) - np.eye(V)[ids[t + 1]]) / T)
    grads = {name: np.zeros(value.shape) for name, value in params.items()}
    layer = {  # what lstm_step_back adds to, under its names
        "W_x": np.zeros(W_x.shape),  # symbol, transposed
        "W_h": grads["layers.0.recurrent"],
        "peep": grads["layers.0.peep"],
        "b": grads["layers.0.bias"],
    }
    dh, dc = np.zeros(n), np.zeros(n)
    for t in reversed(range(T)):
        grads["output"] += np.outer(errors[t], outputs[t])
        grads["output_bias"] += errors[t]
        dh = dh + params["output"].T @ errors[t]
        _, dh, dc = lstm_step_back(dh, dc, caches[t], W_x, W_h, peep, layer)
    return loss, grads | {"layers.0.symbol": layer["W_x"].T}, h, c


def dynamic_evaluation(params, ids, chunk, lr):
    """Total nats of a text under a one-layer net that goes on learning while it reads.

    It scores a chunk, then learns from it: every symbol is scored before it is learned. SGD:
    params <- params - lr * gradient of the chunk's mean loss, truncated at the chunk's start; the
    state is carried on. (Graves 2013, sec. 3.2, "dynamic evaluation".)

    ids      (time,) int; the first symbol is given, the others are scored
    returns  nats; params stay as they are
    """
    params, total = {name: value.copy() for name, value in params.items()}, 0.0
    h = c = np.zeros(params["layers.0.recurrent"].shape[1])
    for start in range(0, len(ids) - 1, chunk):
        piece = ids[start : start + chunk + 1]
        loss, grads, h, c = lstm_loss(params, piece, h, c)
        total += loss * (len(piece) - 1)
        params = {name: value - lr * grads[name] for name, value in params.items()}
    return total
