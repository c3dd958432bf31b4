"""The soft window, an attention over letters that only moves forward: the definition.

Source: Graves 2013, "Generating Sequences With Recurrent Neural Networks" (arXiv:1308.0850),
section 5.1. Lesson 05 introduces it; minilib/naive/handwriting.py builds on it.

    code             paper                          shape
    text             c, as indices; -1 is padding   (U,)         U letters of an alphabet of A
    p                α̂, β̂, κ̂                        (3K,)        K Gaussians of the window
    w, kappa, phi    w_t, κ_t, φ(t, u)              (A,), (K,), (U + 1,)

Letters are counted from 1, as in the paper: kappa starts at 0, before the first letter.
"""

import numpy as np

from minilib.naive.lstm import lstm_step


def window_step(p, kappa, text, A):
    """One step of the soft window over a text (eq. 46-51): w, kappa, phi.

    phi has one entry more than the text: the stop rule looks at the place behind it.
    Weights are not normalised.
    """
    alpha, beta, step = np.exp(np.split(p, 3))
    kappa = kappa + step  # it can only move forward
    places = range(1, len(text) + 2)
    phi = np.array([sum(alpha * np.exp(-beta * (kappa - u) ** 2)) for u in places])
    w = np.zeros(A)
    for u, letter in enumerate(text):
        if letter >= 0:
            w[letter] += phi[u]
    return w, kappa, phi


def window(p, kappa, text, alphabet):
    """The window at every step, from its parameters at every step.

    p        (batch, time, 3K)
    kappa    (batch, K), where the window was before
    text     (batch, letters) int, -1 where there is none
    alphabet  A, the number of letters there are
    returns  w (batch, time, A), kappa (batch, time, K), phi (batch, time, letters + 1)
    """
    B, T, K = len(p), p.shape[1], kappa.shape[1]
    w, kappas = np.zeros((B, T, alphabet)), np.zeros((B, T, K))
    phi = np.zeros((B, T, text.shape[1] + 1))
    for b in range(B):
        k = kappa[b]
        for t in range(T):
            w[b, t], k, phi[b, t] = window_step(p[b, t], k, text[b], alphabet)
            kappas[b, t] = k
    return w, kappas, phi


def windowed_lstm(x, text, h, c, w, kappa, W_h, W_w, peep, W_p, b_p):
    """An LSTM over time that reads the letters in the window it moved at the step before.

    x        (batch, time, 4n), W_x x_t + b
    text     (batch, letters) int, -1 where there is none
    h, c     (batch, n), w (batch, A), kappa (batch, K): the state before the first step
    W_h      (4n, n), W_w (4n, A), peep (3, n): as in minilib.naive.lstm
    W_p, b_p  (3K, n), (3K,): from h_t to the window's parameters, eq. 48
    returns  h (batch, time, n), w (batch, time, A), then c and kappa after the last step
    """
    B, T, _ = x.shape
    n, A = h.shape[1], w.shape[1]
    outputs, windows = np.zeros((B, T, n)), np.zeros((B, T, A))
    c, kappa = c.copy(), kappa.copy()
    for b in range(B):
        h_b, w_b = h[b], w[b]
        for t in range(T):
            h_b, c[b], _ = lstm_step(w_b, h_b, c[b], W_w, W_h, peep, x[b, t])
            w_b, kappa[b], _ = window_step(W_p @ h_b + b_p, kappa[b], text[b], A)
            outputs[b, t], windows[b, t] = h_b, w_b
    return outputs, windows, c, kappa
