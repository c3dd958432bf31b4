"""Net2Net: a wider network that computes the same function; the definition.

Source: Chen, Goodfellow & Shlens 2015 (arXiv:1511.05641), Net2WiderNet, here for a Transformer
whose every channel and head is copied equally often.
"""

import numpy as np


def widen(params, times):
    """The same function with every channel and head of a Transformer `times` over.

    params   a state_dict of minilib.transformer.Transformer, C channels wide
    returns  a dict of the same names, for times · C channels and times as many heads
    Copies of one channel carry one value. A weight that reads them is divided by their number.
    """
    wide = {}
    for name, W in params.items():
        kind = name.split(".")[-1]
        if kind == "qkv":  # copies of the query's rows, then of the key's, then of the value's
            parts = [np.tile(part, (times, times)) for part in np.split(W, 3)]
            wide[name] = np.concatenate(parts) / times
        elif kind in ("out", "up", "down"):
            wide[name] = np.tile(W, (times, times)) / times
        elif kind == "output":  # rows are symbols
            wide[name] = np.tile(W, (1, times)) / times
        elif kind == "embed":
            wide[name] = np.tile(W, (1, times))
        else:  # weight and bias of a norm: (C,)
            wide[name] = np.tile(W, times)
    return wide
