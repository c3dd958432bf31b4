"""MegaByte beside a Transformer of the same multiply-adds per byte outside attention."""

import torch
from torch import nn

from minilib.lab.measure import seconds
from minilib.megabyte import MegaByte
from minilib.transformer import Transformer


def bench(device):
    """A training step on 2,048 bytes, and 64 bytes written after them."""
    models = {
        "MegaByte": MegaByte(context=512).to(device),
        "Transformer": Transformer(width=64, layers=3, context=2048).to(device),
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
        return {name: seconds(lambda m=m: run(m), 3, device) for name, m in models.items()}

    yield "training step of 2048 bytes", times(train)
    with torch.no_grad():
        states = {model: model.extend(ids, model.init_state(1))[1] for model in models.values()}
    yield "64 bytes written after 2048", times(lambda model: write(model, states[model]))
