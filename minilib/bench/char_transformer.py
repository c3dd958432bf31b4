"""What the auxiliary losses cost: a step with them beside one with the top layer's next symbol."""

import torch

from minilib.char_transformer import CharTransformer
from minilib.lab.measure import seconds_in_turn


def bench(device):
    """Loss and gradient, 8 layers of width 128, 4 windows of 128: at the start, and after half."""
    model = CharTransformer(256, 128, 8, 2, 128).to(device)
    ids = torch.randint(256, (4, 129), device=device)

    def way(progress, second):
        def step():
            model.zero_grad()
            model.progress, model.second = progress, second
            model.loss(ids).backward()

        return step

    ways = {
        "next symbol, top layer": way(1.0, 0.0),
        "all losses, after half": way(0.5, 0.5),
        "all losses, a quarter done": way(0.25, 0.5),
        "all losses, start": way(0.0, 0.5),
    }
    yield "a step, time", seconds_in_turn(ways, 3, device)
