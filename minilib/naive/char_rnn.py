"""The character RNN with its gradient derived by hand: the definition.

Source: A. Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks", and the
program that came with it, min-char-rnn; the net is Elman's (1990). Backpropagation through time:
Rumelhart, Hinton & Williams 1986.

    code            formula        shape      with V symbols and H hidden units
    x               x_t            one-hot    an int here: W_xh x_t is column x of W_xh
    h, y            h_t, y_t       (H,), (V,) state and logits
    P["Wxh"] ...    W_xh ...       Wxh (H, V), Whh (H, H), Why (V, H), bh (H,), by (V,)
    dy, dh, da      dL/dy_t ...    of the logits, the state, and the state before its tanh
    dh_next         dL/dh_t        the part that comes from later steps
"""

import numpy as np

from minilib.naive import language_model


def rnn_step(x, h, P):
    """Read one symbol: h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h), y_t = W_hy h_t + b_y.

    x        int in [0, V);  h (H,) the state before it
    returns  h (H,) and the logits y (V,) of the symbol that comes next
    """
    h = np.tanh(P["Wxh"][:, x] + P["Whh"] @ h + P["bh"])
    return h, P["Why"] @ h + P["by"]


def char_rnn(params, ids):
    """The net as a language model, from h = 0: ids (batch, time) -> logits (batch, time, V)."""
    B, T = ids.shape
    logits = np.zeros((B, T, len(params["by"])))
    for b in range(B):
        h = np.zeros(len(params["bh"]))
        for t in range(T):
            h, logits[b, t] = rnn_step(ids[b, t], h, params)
    return logits


def rnn_loss(inputs, targets, h, P, dh_next=0.0):
    """Loss of one stretch of text and its gradient by backpropagation through time.

    inputs, targets  (T,) ints; targets[t] should follow inputs[: t + 1], in a text: inputs[t + 1]
    h                (H,) state before the stretch
    dh_next          (H,) gradient that later steps send into the last state. 0 truncates: the
                     stretch is all there is
    returns          loss, the sum of nats over the stretch; its gradients, a dict with the names of
                     P and "h" for the state before the stretch; the state after it

    loss + dh_next · (last state) is what the gradients belong to.
    """
    T, hs, ps, loss = len(inputs), [h], [], 0.0
    for t in range(T):
        h, y = rnn_step(inputs[t], h, P)
        p = np.exp(y - y.max())  # softmax; without the max, exp overflows for y above 709
        hs.append(h)
        ps.append(p / p.sum())
        loss += np.log(p.sum()) + y.max() - y[targets[t]]
    grads = {name: np.zeros(value.shape) for name, value in P.items()}
    for t in reversed(range(T)):
        dy = ps[t].copy()
        dy[targets[t]] -= 1  # softmax and cross-entropy together: p - onehot
        dh = P["Why"].T @ dy + dh_next  # the state acts twice: on this output and on the next state
        da = (1 - hs[t + 1] ** 2) * dh  # tanh' = 1 - tanh²
        grads["Why"] += np.outer(dy, hs[t + 1])
        grads["by"] += dy
        grads["Wxh"][:, inputs[t]] += da  # da x_tᵀ
        grads["Whh"] += np.outer(da, hs[t])
        grads["bh"] += da
        dh_next = P["Whh"].T @ da
    return loss, grads | {"h": dh_next}, h


def sample(h, seed, u, P, temperature):
    """Let the net write: feed it `seed`, draw from softmax(y / temperature), feed that, and so on.

    h        (H,) state before the seed; seed an int in [0, V)
    u        (n,) uniforms in [0, 1), one for each symbol to write: the only randomness
    returns  (n,) int64
    """
    x, written = seed, []
    for r in u:
        h, y = rnn_step(x, h, P)
        x = language_model.sample(y[None], np.array([r]), temperature, None, None)[0]
        written.append(x)
    return np.array(written, dtype=np.int64)


def adagrad(P, grads, cache, lr):
    """One step of Adagrad: cache += g², θ -= lr · g / √(cache + 1e-8).

    Source: Duchi, Hazan & Singer 2011, diagonal form.
    P, cache  dicts with the same names; grads may hold more
    returns   new P and new cache; the old ones stay as they are
    """
    cache = {name: cache[name] + grads[name] ** 2 for name in P}
    return {name: P[name] - lr * grads[name] / np.sqrt(cache[name] + 1e-8) for name in P}, cache


def sign_accuracy(states, inside):
    """How well the sign of each hidden unit tells a property of the text.

    states   (time, H); inside (time,) bool, what is to be told, both values present
    returns  (H,) balanced accuracy in [0.5, 1]: the mean of the accuracies where `inside` holds and
             where it does not, so that guessing is 0.5 however rare it is. Either sign may stand
             for `inside`
    """
    accuracy = np.zeros(states.shape[1])
    for k in range(states.shape[1]):
        positive = states[:, k] > 0
        a = (np.mean(positive[inside]) + np.mean(~positive[~inside])) / 2
        accuracy[k] = max(a, 1 - a)
    return accuracy
