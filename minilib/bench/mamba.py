"""The twins of mamba beside definitions and peers."""

import torch

from minilib.lab.measure import peak_bytes, seconds, seconds_in_turn
from minilib.mamba import Mixer, selective_scan

try:
    from mambapy.pscan import pscan
except ImportError:
    pscan = None
try:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer
except ImportError:
    MambaMixer = None


def bench(device):
    """The selective scan, forward and backward: batch 2, D 256, N 16. Then the whole block.

    Time is processor time, the least of several calls of ours and the peers in turn.
    """
    ways = {
        "ours": lambda *inputs: selective_scan(*inputs)[0],
        "loop over unbind": _loop,
        "loop that indexes": _loop_that_indexes,
        "mambapy's pscan": pscan and _by_pscan,
    }
    for L in (256, 1024, 4096):
        if L > 256:  # quadratic in L: 1,024 steps take half a minute
            ways.pop("loop that indexes", None)
        shapes = [(2, L, 256), (2, L, 256), (256, 16), (2, L, 16), (2, L, 16), (256,), (2, 256, 16)]
        x, dt, A, B, C, D, h = (torch.randn(shape, device=device) for shape in shapes)
        inputs = [t.requires_grad_() for t in (x, dt.abs() / 10, -A.abs(), B, C, D, h)]
        runs = {name: way and _with_backward(way, inputs, 6) for name, way in ways.items()}
        yield f"time, {L:,} steps", seconds_in_turn(runs, 4 if L < 4096 else 3, device)
        memory = {name: run and peak_bytes(run, device) for name, run in runs.items()}
        yield f"peak memory, {L:,} steps", memory
    yield from _bench_block(device)
    if device.type == "cuda":
        del x, dt, A, B, C, D, h, inputs, runs
        for dtype in (torch.float32, torch.bfloat16):
            yield from _bench_against_a_copy(device, dtype)


def _bench_block(device):
    """The block with the same weights, beside transformers' loop, its way without CUDA kernels."""
    block = Mixer(128, 16, layers=1).to(device)
    u = torch.randn(2, 256, 128, device=device)  # the loop is quadratic: 1,024 steps take a minute
    ours = lambda: block(u, block.init_state(2, u))[0].sum().backward()
    theirs = None
    if MambaMixer:
        config = MambaConfig(hidden_size=128, state_size=16, conv_kernel=4, expand=2)
        peer = MambaMixer(config, layer_idx=0).to(device)
        peer.load_state_dict(block.state_dict())
        theirs = lambda: peer(u).sum().backward()
    runs = {"ours": ours, "transformers' loop": theirs}
    yield "block of width 128, time, 256 steps", seconds_in_turn(runs, 3, device)


def _bench_against_a_copy(device, dtype):
    """Batch 8, 4,096 steps, D 1,024, N 16: a copy of inputs and outputs is the least."""
    sizes = 1024, 1024, 16, 16
    x, dt, B, C = (torch.rand(8, 4096, n, device=device).div(10).to(dtype) for n in sizes)
    A, D = -torch.rand(1024, 16, device=device), torch.ones(1024, device=device)
    inputs = [t.requires_grad_() for t in (x, dt, A, B, C, D)]
    h = torch.zeros(8, 1024, 16, device=device)
    forward = torch.no_grad()(lambda: selective_scan(*inputs, h))
    both = _with_backward(lambda *inputs: selective_scan(*inputs, h)[0], inputs, 6)
    rate = 2 * x.nbytes / seconds(x.detach().clone, 20, device)  # bytes read and written per second
    once = 3 * x.nbytes + 2 * B.nbytes  # x, dt, B, C and y
    twice = once + 4 * x.nbytes + 4 * B.nbytes  # and all gradients
    name = str(dtype).removeprefix("torch.")
    yield (
        f"{name}, 4,096 steps of 8 × 1,024, forward",
        {"ours": seconds(forward, 20, device), "moving inputs and outputs once": once / rate},
    )
    yield (
        f"{name}, the same with backward",
        {"ours": seconds(both, 20, device), "moving them, and all gradients, once": twice / rate},
    )
    yield (
        f"{name}, peak memory of both",
        {"ours": peak_bytes(both, device), "one state for every step": 16 * 4 * x.numel()},
    )


def _with_backward(way, inputs, wanted):
    """A call without arguments: the gradients of `way` in the first `wanted` inputs."""
    return lambda: torch.autograd.grad(way(*inputs).sum(), inputs[:wanted])


def _loop(x, dt, A, B, C, D, h):
    """One step after another under autograd."""
    rows = []
    steps = zip(x.unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True)
    for x_t, dt_t, B_t, C_t in steps:
        h = (dt_t[..., None] * A).exp() * h + (dt_t * x_t)[..., None] * B_t[:, None]
        rows.append((h * C_t[:, None]).sum(-1) + D * x_t)
    return torch.stack(rows, 1)


def _loop_that_indexes(x, dt, A, B, C, D, h):
    """As people write it: backward of each x[:, t] fills a tensor as long as x."""
    rows = []
    for t in range(x.shape[1]):
        h = (dt[:, t, :, None] * A).exp() * h + (dt[:, t] * x[:, t])[..., None] * B[:, t, None]
        rows.append((h * C[:, t, None]).sum(-1) + D * x[:, t])
    return torch.stack(rows, 1)


def _by_pscan(x, dt, A, B, C, D, h):
    states = pscan((dt[..., None] * A).exp(), (dt * x)[..., None] * B[:, :, None])
    return (states @ C[..., None]).squeeze(-1) + D * x
