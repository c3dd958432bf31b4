"""Nearest codes: blocks of matrix products beside all differences at once, and beside a loop."""

import torch

from minilib.lab.measure import peak_bytes, seconds_in_turn
from minilib.vq import nearest

VECTORS, CODES, DIM, LOOPED = 100_000, 1_000, 16, 2_000


def _broadcast(z, codes):
    """All differences in memory at once: N K D numbers."""
    return (z[:, None] - codes).square_().sum(-1).argmin(1)


def _loop(z, codes):
    return torch.stack([(vector - codes).square().sum(1).argmin() for vector in z])


def bench(device):
    """100,000 vectors of 16 numbers to 1,000 codes; then 2,000, for ways that are slow or large.

    Of 100,000 vectors all differences would take 6.4 GB.
    """
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(VECTORS, DIM, generator=draw).to(device)
    codes = torch.randn(CODES, DIM, generator=draw).to(device)
    few = z[:LOOPED]
    wanted = torch.cdist(few.double(), codes.double()).sort(1)
    clear = wanted.values[:, 1] - wanted.values[:, 0] > 1e-4
    for way in (nearest, _broadcast, _loop):
        assert torch.equal(way(few, codes)[clear], wanted.indices[clear, 0])
    whole = {
        "ours": lambda: nearest(z, codes),
        "torch.cdist": lambda: torch.cdist(z, codes).argmin(1),
    }
    yield "time, 100,000 vectors to 1,000 codes", seconds_in_turn(whole, 2, device)
    memory = {name: peak_bytes(run, device) for name, run in whole.items()}
    memory["all differences, computed"] = VECTORS * CODES * DIM * z.element_size()
    yield "peak memory, 100,000 vectors", memory
    ways = {"ours": nearest, "all differences": _broadcast, "loop over vectors": _loop}
    runs = {name: lambda way=way: way(few, codes) for name, way in ways.items()}
    yield "time, 2,000 vectors to 1,000 codes", seconds_in_turn(runs, 2, device)
    yield (
        "peak memory, 2,000 vectors",
        {name: peak_bytes(run, device) for name, run in runs.items()},
    )
