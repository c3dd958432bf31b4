"""The twins of attention beside definitions and peers."""

import torch

from minilib.attention import attention, online_attention


def bench(device):
    """Fused and streamed attention against one that holds its weights, 4 heads of 32, forward and backward; symbols with and without a cache."""
    from minilib.lab.measure import peak_bytes, seconds
    from minilib.transformer import Transformer

    def plain(q, k, v):
        future = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=device).triu(1)
        return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(future, -torch.inf).softmax(-1) @ v

    ways = {
        "fused": lambda q, k, v: attention(q, k, v, causal=True),
        "plain": plain,
        "our online_attention": lambda q, k, v: online_attention(q, k, v, causal=True)[0],
    }
    for T in (256, 1024, 4096):
        q, k, v = (torch.randn(1, 4, T, 32, device=device, requires_grad=True) for _ in range(3))
        runs = {
            name: lambda way=way, x=(q, k, v): torch.autograd.grad(way(*x).sum(), x)
            for name, way in ways.items()
        }
        yield f"time, {T:,} steps", {name: seconds(run, 3, device) for name, run in runs.items()}
        yield (
            f"peak memory, {T:,} steps",
            {name: peak_bytes(run, device) for name, run in runs.items()},
        )
    model = Transformer(256, 128, 4, 4, context=4096).to(device)
    with torch.no_grad():
        for T in (64, 256, 1024):
            ids = torch.randint(256, (1, T), device=device)
            _, state = model.extend(ids[:, :-1], model.init_state(1))
            cached = lambda ids=ids, state=state: model.step(ids[:, -1], state)
            yield (
                f"the next symbol after {T:,}",
                {
                    "cached": seconds(cached, 5, device),
                    "all again": seconds(lambda ids=ids: model(ids), 3, device),
                },
            )
