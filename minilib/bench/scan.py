"""The twins of scan beside definitions and peers."""

import torch

from minilib.lab.measure import peak_bytes, seconds_in_turn
from minilib.scan import scan, ssd

try:
    from mambapy.pscan import pscan
except ImportError:
    pscan = None


def bench(device):
    """The scan of Mamba's states, forward and backward: batch 2, D 256, N 16. Then SSD.

    Time is processor time, the least of several calls of ours and the peers in turn. From 1,024
    steps on (32 MB for a tensor) up to half of it is the system's, which clears new memory: ours
    fills three such tensors, h and two gradients, and nothing else; pscan fills seven.
    """
    for L in (256, 1024, 4096):
        a, b = torch.rand(2, L, 256, 16, device=device), torch.randn(2, L, 256, 16, device=device)
        inputs = [t.requires_grad_() for t in (a, b, torch.zeros(2, 256, 16, device=device))]
        ways = {
            "ours": scan,
            "loop over unbind": _loop,
            "mambapy's pscan": pscan and (lambda a, b, h: pscan(a, b)),
        }
        if L == 256:  # quadratic in L: 1,024 steps take half a minute
            ways["loop that indexes"] = _loop_that_indexes
        runs = _forward_and_backward(ways, inputs, 2)
        repeats = 4 if L < 4096 else 2
        yield f"scan, time, {L:,} steps", seconds_in_turn(runs, repeats, device)
        memory = {name: run and peak_bytes(run, device) for name, run in runs.items()}
        yield f"scan, peak memory, {L:,} steps", memory
    yield from _bench_ssd(device)


def _bench_ssd(device):
    shapes = [(2, 1024, 4, 64), (2, 1024, 4), (2, 1024, 64), (2, 1024, 64), (2, 4, 64, 64)]
    x, log_a, B, C, S = (torch.randn(shape, device=device) for shape in shapes)
    inputs = [t.requires_grad_() for t in (x, -log_a.abs() / 10, B, C, S)]
    ways = {
        "ours": lambda *inputs: ssd(*inputs)[0],
        "one matrix, no chunks": lambda *inputs: ssd(*inputs, chunk=1024)[0],
        "scan of all states": _ssd_by_scan,
    }
    runs = _forward_and_backward(ways, inputs, 4)
    yield "SSD, time, 1,024 steps", seconds_in_turn(runs, 3, device)
    memory = {name: peak_bytes(run, device) for name, run in runs.items()}
    yield "SSD, peak memory, 1,024 steps", memory


def _forward_and_backward(ways, inputs, wanted):
    """For each way a call without arguments: the gradients in the first `wanted` inputs."""

    def run(way):
        return lambda: torch.autograd.grad(way(*inputs).sum(), inputs[:wanted])

    return {name: way and run(way) for name, way in ways.items()}


def _loop(a, b, h):
    rows = []
    for decay, put in zip(a.unbind(1), b.unbind(1), strict=True):
        h = decay * h + put
        rows.append(h)
    return torch.stack(rows, 1)


def _loop_that_indexes(a, b, h):
    """As people write it: backward of each a[:, t] fills a tensor as long as a."""
    rows = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        rows.append(h)
    return torch.stack(rows, 1)


def _ssd_by_scan(x, log_a, B, C, S):
    decay = log_a.exp()[..., None, None].expand(*log_a.shape, *S.shape[2:])
    states = scan(decay, torch.einsum("bln,blhp->blhnp", B, x), S)
    return torch.einsum("bln,blhnp->blhp", C, states)
