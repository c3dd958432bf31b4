"""The twins of attention beside one that holds its weights."""

import torch

from minilib.attention import attention
from minilib.lab.measure import peak_bytes, seconds


def bench(device):
    """Fused attention and plain softmax(QKᵀ/√D)V, 4 heads of 32, with gradients."""

    def plain(q, k, v):
        future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=device).triu(1)
        return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(future, -torch.inf).softmax(-1) @ v

    ways = {
        "fused": lambda q, k, v: attention(q, k, v, causal=True),
        "plain": plain,
    }
    for T in (256, 1024, 4096):
        x = [torch.randn(1, 4, T, 32, device=device, requires_grad=True) for _ in range(3)]
        runs = {
            name: lambda way=way, x=x: torch.autograd.grad(way(*x).sum(), x)
            for name, way in ways.items()
        }
        times = {name: seconds(run, 3, device) for name, run in runs.items()}
        yield f"time, {T:,} steps", times
        memory = {name: peak_bytes(run, device) for name, run in runs.items()}
        yield f"peak memory, {T:,} steps", memory
