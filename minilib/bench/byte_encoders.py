"""What shortening saves: a step of training, and the deep layers alone, beside the byte encoder."""

import torch

from minilib.byte_encoders import Encoder
from minilib.lab.measure import seconds_in_turn

READERS = {
    "canine, shortened 4 times": {"shorten": 4, "block": 32, "size": 2048},
    "gbst, shortened 3 times": {"shorten": 3},
    "bytes": {},
}


def bench(device):
    """Width 64, 4 deep layers, 4 strings of 192 symbols: a whole step; the deep layers forward."""
    ids = torch.randint(3, 259, (4, 192), device=device)
    steps, deep = {}, {}
    for name, options in READERS.items():
        model = Encoder(26, name.partition(",")[0], 64, 4, 4, **options).to(device)
        with torch.no_grad():
            x, present = model.read(ids)

        def step(model=model):
            model.zero_grad()
            model(ids).logsumexp(1).sum().backward()

        @torch.no_grad()
        def layers(model=model, x=x, present=present):
            for layer in model.layers:
                x = layer(x, present)

        steps[name], deep[name] = step, layers
    yield "a step of training, time", seconds_in_turn(steps, 3, device)
    yield "the deep layers, time", seconds_in_turn(deep, 3, device)
