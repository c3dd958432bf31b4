"""Steps that a learned gate deletes, softly while it learns and truly afterwards: the definitions.

code ↔ paper (MrT5, Kallini et al. 2024, arXiv:2410.20771): gates = G.
"""

import math

import numpy as np

from minilib.naive.transformer import layer_norm


def gate(x, w, bias, kappa=-30.0):
    """MrT5: how much of each step is deleted, from 0, kept, to kappa: (batch, T, C) -> (batch, T).

    kappa · sigmoid(-(w · norm(x) + bias)); w (C,), bias (1,).
    """
    z = layer_norm(x, 1, 0) @ w + bias[0]
    return kappa / (1 + np.exp(z))


def gated_attention(q, k, v, gates):
    """Attention in which a gate near -30 hides a key from all, and a query may look at nothing.

    q, k, v  (batch, heads, T or S, D); gates (batch, S), added to the scores of each key
    The softmax has one more 1 in its denominator: e^s / (1 + sum e^s).
    """
    out = np.zeros(q.shape)
    for b, h, t in np.ndindex(q.shape[:3]):
        e = np.exp(k[b, h] @ q[b, h, t] / math.sqrt(q.shape[3]) + gates[b])
        out[b, h, t] = e / (1 + e.sum()) @ v[b, h]
    return out


def controller(deleted, target, state=(0.0, 0.0), kp=0.5, ki=1e-5):
    """MrT5: the weight of the mean gate in the loss, so that the share `target` is deleted.

    state    (proportional, integral) part after the last step
    returns  the weight, 0 or more, and the state
    """
    P, I = state
    P = 0.9 * P + 0.1 * kp * (target - deleted)
    I = I + ki * (target - deleted)
    return max(0.0, P + I), (P, I)
