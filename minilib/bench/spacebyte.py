"""SpaceByte beside a Transformer of about the same multiply-adds per byte: 258,000 and 278,000."""

import torch
from torch import nn

from minilib.lab.measure import seconds_in_turn
from minilib.spacebyte import SpaceByte
from minilib.transformer import Transformer

WORDS = b"to be or not to be that is the question, "  # a boundary every fourth byte


def bench(device):
    """A training step on 2,048 bytes of words, and 64 of them written after these."""
    models = {
        "SpaceByte": SpaceByte(context=512).to(device),
        "fixed patches": SpaceByte(context=512, patch=4).to(device),
        "Transformer": Transformer(width=64, layers=4, context=128).to(device),
    }
    ids = torch.tensor([[*WORDS * 60][:2049]], device=device)

    def train(model):
        logits, targets = model(ids[:, :-1]), ids[:, 1:]
        nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    @torch.no_grad()
    def write(model, state):
        for t in range(64):
            _, state = model.step(ids[:, t], state)

    def times(run):
        calls = {name: lambda m=m: run(m) for name, m in models.items()}
        return seconds_in_turn(calls, 3, device)

    yield "training step of 2048 bytes", times(train)
    with torch.no_grad():
        states = {model: model.extend(ids, model.init_state(1))[1] for model in models.values()}
    yield "64 bytes written after 2048", times(lambda model: write(model, states[model]))
