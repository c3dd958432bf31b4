"""The twins of megabyte beside definitions and peers."""

import time

import torch
from torch import nn

from minilib.megabyte import MegaByte
from minilib.transformer import Transformer


def bench(device):
    """A training step on 2048 bytes, and 64 bytes written after them, against a Transformer of the same multiply-adds per byte outside attention."""
    models = {
        "MegaByte": MegaByte(context=512),
        "Transformer": Transformer(width=64, layers=3, context=2048),
    }
    ids = torch.randint(256, (1, 2049), device=device)

    def train(model):
        nn.functional.cross_entropy(
            model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()
        ).backward()

    @torch.no_grad()
    def write(model, state):
        for _ in range(64):
            _, state = model.step(ids[:, 0], state)

    def seconds(function, *arguments):
        taken = []
        for _ in range(4):
            start = time.perf_counter()
            function(*arguments)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        return min(taken[1:])  # the first warms up

    for model in models.values():
        model.to(device)
    yield (
        "training step of 2048 bytes",
        {name: seconds(train, model) for name, model in models.items()},
    )
    with torch.no_grad():
        states = {name: model.extend(ids, model.init_state(1))[1] for name, model in models.items()}
    yield (
        "64 bytes written after 2048",
        {name: seconds(write, model, states[name]) for name, model in models.items()},
    )
