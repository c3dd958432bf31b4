"""BLT beside a Transformer of the same multiply-adds per byte outside attention.

A fresh entropy model is as unsure of every byte, so here the cap alone cuts: 4 bytes to a patch.
Per byte that is 20 thousand multiply-adds of the entropy model, 126 of encoder, decoder and what
lies between, 98 of the latent Transformer, 16 of the output; the Transformer has 246 and 16.
"""

import math

import torch
from torch import nn

from minilib.blt import BLT
from minilib.lab.measure import seconds_in_turn
from minilib.transformer import Transformer


def bench(device):
    """A training step on 2,048 bytes, and 64 bytes written after them."""
    models = {
        "BLT": BLT(threshold=math.inf, longest=4).to(device),
        "Transformer": Transformer(width=64, layers=5, context=128).to(device),
    }
    ids = torch.randint(256, (1, 2049), device=device)

    def train(model):
        logits, targets = model(ids[:, :-1]), ids[:, 1:]
        nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    @torch.no_grad()
    def write(model, state):
        for _ in range(64):
            _, state = model.step(ids[:, 0], state)

    def times(run):
        calls = {name: lambda model=model: run(model) for name, model in models.items()}
        return seconds_in_turn(calls, 3, device)

    yield "training step of 2048 bytes", times(train)
    with torch.no_grad():
        states = {model: model.extend(ids, model.init_state(1))[1] for model in models.values()}
    yield "64 bytes written after 2048", times(lambda model: write(model, states[model]))
