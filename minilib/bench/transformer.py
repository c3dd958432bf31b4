"""The Transformer with its cache beside the same without."""

import torch

from minilib.lab.measure import seconds
from minilib.transformer import Transformer


def bench(device):
    """The next symbol, 4 layers of width 128, after a text of 64, 256 and 1,024 symbols."""
    model = Transformer(256, 128, 4, 4, context=4096).to(device)
    for T in (64, 256, 1024):
        ids = torch.randint(256, (1, T), device=device)
        with torch.no_grad():
            _, state = model.extend(ids[:, :-1], model.init_state(1))
            cached = seconds(lambda ids=ids, s=state: model.step(ids[:, -1], s), 5, device)
            again = seconds(lambda ids=ids: model(ids), 3, device)
        yield f"the next symbol after {T:,}", {"cached": cached, "all again": again}
