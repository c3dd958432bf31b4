"""A population in one batched product beside a loop over its members."""

import torch

from minilib.lab.measure import seconds
from minilib.one_big_net import scores


def bench(device):
    """64 members from 25 starts, 10 steps each: what a generation of search costs."""
    population = 0.5 * torch.randn(64, 750, device=device)
    starts = torch.cartesian_prod(torch.arange(5), torch.arange(5)).to(device)
    ways = {
        "ours": lambda: scores(population, 3, starts),
        "loop over members": lambda: [scores(theta[None], 3, starts) for theta in population],
    }
    yield "64 members, time", {name: seconds(run, 3, device) for name, run in ways.items()}
