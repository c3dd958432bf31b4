"""The twins of lstm beside definitions and peers."""

import time

import torch
from torch import nn

from minilib.lstm import LSTM


def bench(device):
    """Training step of 2 × 256, batch 32, 128 steps against nn.LSTM with the same sizes."""
    model = LSTM(256, 256, 2).to(device)
    peer = nn.LSTM(256, 256, 2, batch_first=True).to(device)
    embedding, output = nn.Embedding(256, 256).to(device), nn.Linear(256, 256).to(device)
    ids = torch.randint(256, (32, 129), device=device)

    def seconds(logits):
        taken = []
        for _ in range(6):
            start = time.perf_counter()
            predicted = logits(ids[:, :-1]).flatten(0, 1)
            nn.functional.cross_entropy(predicted, ids[:, 1:].flatten()).backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        return sorted(taken[1:])[2]  # the first warms up

    without = seconds(lambda ids: output(peer(embedding(ids))[0]))
    yield "training step", {"ours with peepholes": seconds(model), "nn.LSTM without": without}
