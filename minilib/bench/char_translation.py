"""A beam over many sources: all in one batch, one source after another, and the definition."""

import numpy as np
import torch

from minilib.char_translation import END, START, Translator, beam_search
from minilib.lab.measure import seconds_in_turn
from minilib.naive import char_translation as naive


def bench(device):
    """Beams of 4 over 16 sources of 24 symbols, 24 written; then 4 sources beside the definition;
    last a pass of both decoders, one step a symbol and one step for three."""
    torch.manual_seed(0)
    models = {s: Translator(90, 90, s=s).to(device).eval() for s in (1, 3)}
    for model in models.values():
        model.output.data[END] = 0  # it seldom ends
    source = torch.randint(3, 90, (16, 24), device=device)
    start = torch.full((16,), START, device=device)
    model = models[1]

    @torch.no_grad()
    def written(rows):
        state = model.init_state(source[rows])
        return beam_search(model.step, state, start[rows], 4, 24)[0]

    def one_by_one():
        return torch.cat([written(slice(n, n + 1)) for n in range(16)])

    runs = {"ours": lambda: written(slice(None)), "a source at a time": one_by_one}
    yield "beams of 4, 16 sources", seconds_in_turn(runs, 1, device)

    draw = np.random.default_rng(0)
    table = -draw.integers(1, 9, (90, 90)).astype(float)
    fast = torch.tensor(table, device=device)
    few = np.full(4, START)
    runs = {
        "ours": lambda: beam_search(lambda ids, state: (fast[ids], state), (), start[:4], 4, 24),
        "naive": lambda: naive.beam_search(lambda ids, state: (table[ids], state), (), few, 4, 24),
    }
    assert np.array_equal(runs["ours"]()[0].cpu(), runs["naive"]()[0])
    yield "beams of 4 over a table, 4 sources", seconds_in_turn(runs, 1, device)

    target = torch.randint(3, 90, (16, 24), device=device)
    runs = {
        "two-step, s = 3": lambda: models[3](source, target).sum().backward(),
        "one step a symbol": lambda: models[1](source, target).sum().backward(),
    }
    yield "forward and backward, 16 pairs", seconds_in_turn(runs, 2, device)
