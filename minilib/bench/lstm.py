"""The twins of lstm beside definitions and peers."""

import torch
from torch import nn

from minilib.lab.measure import seconds_in_turn
from minilib.lstm import LSTM


def bench(device):
    """Training step of 2 × 256, batch 32, 128 steps against nn.LSTM with the same sizes.

    On a CPU nn.LSTM is one call of oneDNN, which fuses the gates with the product of a step. With
    that switched off it is torch's own loop, which is what ours has to work with: a product and
    eight operations a step, each of them started from Python. At small sizes starting them is most
    of ours: at batch 16 and 2 × 128 it does 0.6 of the fused one's steps, 1.4 of the loop's.
    Time is processor time, the least of several calls of ours and the peers in turn.
    """
    model = LSTM(256, 256, 2).to(device)
    peer = nn.LSTM(256, 256, 2, batch_first=True).to(device)
    embedding, output = nn.Embedding(256, 256).to(device), nn.Linear(256, 256).to(device)
    ids = torch.randint(256, (32, 129), device=device)

    def step(logits):
        predicted = logits(ids[:, :-1]).flatten(0, 1)
        nn.functional.cross_entropy(predicted, ids[:, 1:].flatten()).backward()

    def theirs(fused=True):
        with torch.backends.mkldnn.flags(enabled=fused):
            step(lambda ids: output(peer(embedding(ids))[0]))

    ways = {
        "ours with peepholes": lambda: step(model),
        "nn.LSTM without": theirs,
        "nn.LSTM without, oneDNN off": None if device.type == "cuda" else lambda: theirs(False),
    }
    yield "training step", seconds_in_turn(ways, 4, device)
