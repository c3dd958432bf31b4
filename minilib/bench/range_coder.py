"""All agreed bits shifted at once, beside the loop over bits, and beside lesson 01's coder."""

import numpy as np
import torch

from minilib.lab.measure import seconds_in_turn
from minilib.naive import compression
from minilib.naive import range_coder as naive
from minilib.range_coder import cuts_of, decode, encode


def bench(device):
    """2,000 symbols of 64, each with its own distribution. The cuts are made beforehand."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.3] * 64, size=2000)
    symbols = np.array([rng.choice(64, p=row) for row in p])
    cuts = cuts_of(torch.tensor(p))
    ids, rows, widths = torch.tensor(symbols), cuts.numpy(), cuts.diff(dim=1).tolist()
    data = encode(ids, cuts)
    assert torch.equal(decode(data, cuts), ids)
    frequencies = lambda past: widths[len(past)]
    other = compression.encode(symbols.tolist(), frequencies)
    writers = {
        "ours": lambda: encode(ids, cuts),
        "bit by bit": lambda: naive.encode(symbols, rows),
        "lesson 01's": lambda: compression.encode(symbols.tolist(), frequencies),
    }
    yield f"write 2,000 symbols as {len(data):,} bytes", seconds_in_turn(writers, 3)
    readers = {
        "ours": lambda: decode(data, cuts),
        "bit by bit": lambda: naive.decode(data, rows),
        "lesson 01's": lambda: compression.decode(other, 2000, frequencies),
    }
    yield "read them again", seconds_in_turn(readers, 1)
