"""Linear attention beside the fused softmax as texts grow, and what streaming saves in memory."""

import torch

from minilib.attention import attention
from minilib.lab.measure import peak_bytes, seconds_in_turn
from minilib.quadratic_cost import linear_attention, online_attention


def bench(device):
    """One head of 32 channels, 256 to 64k steps, forward; memory with gradients at 4k steps."""
    for T in (256, 512, 1024, 2048, 4096, 16384, 65536):
        q, k, v = (torch.rand(1, 1, T, 32, device=device) for _ in range(3))
        runs = {
            "our linear_attention": lambda x=(q, k, v): linear_attention(*x),
            "fused softmax": lambda x=(q, k, v): attention(*x, causal=True),
        }
        yield f"time, {T:,} steps", seconds_in_turn(runs, 5 if T <= 4096 else 1, device)
    x = [torch.randn(1, 1, 4096, 32, device=device, requires_grad=True) for _ in range(3)]

    def dense(q, k, v):
        future = torch.ones(4096, 4096, dtype=torch.bool, device=device).triu(1)
        return (q @ k.mT / 32**0.5).masked_fill(future, -torch.inf).softmax(-1) @ v

    ways = {"our online_attention": lambda *x: online_attention(*x, causal=True)[0], "dense": dense}
    memory = {
        name: peak_bytes(lambda way=way: torch.autograd.grad(way(*x).sum(), x), device)
        for name, way in ways.items()
    }
    yield "peak memory, 4,096 steps", memory
