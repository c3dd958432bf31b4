"""EvaByte beside a Transformer with full attention on 16,384 bytes: memory, scores and time."""

import torch

from minilib.compare import leaves_of
from minilib.evabyte import EvaByte, eva_cost
from minilib.lab.measure import peak_bytes, seconds_in_turn
from minilib.transformer import Transformer

T = 16_384


def bench(device):
    """Two layers of width 64. Scores as if kept in float32, which the fused kernels do not do."""
    sizes = {"width": 64, "layers": 2, "heads": 4}
    models = {
        "EvaByte, w = 1024, c = 16": EvaByte(**sizes, window=1024, chunk=16).to(device),
        "EvaByte, w = 64, c = 8": EvaByte(**sizes).to(device),
        "full attention": Transformer(**sizes, context=T).to(device),
    }
    shapes = dict(zip(models, [(1024, 16), (64, 8), (T, 1)], strict=True))
    yield (
        f"scores of a head, {T:,} bytes, bytes",
        {name: 4 * eva_cost(T, *shape)[0] for name, shape in shapes.items()},
    )
    ids = torch.randint(256, (1, T), device=device)
    with torch.no_grad():
        states = {name: m.extend(ids, m.init_state(1))[1] for name, m in models.items()}
        held = {}
        for name, state in states.items():
            tensors = [leaf for _, leaf in leaves_of(state) if isinstance(leaf, torch.Tensor)]
            held[name] = sum(leaf.numel() * leaf.element_size() for leaf in tensors)
        yield f"cache after {T:,} bytes, bytes", held

        def read(model):
            return lambda: model.extend(ids, model.init_state(1))

        reads = {name: read(model) for name, model in models.items()}
        yield "peak memory of reading them", {n: peak_bytes(f, device) for n, f in reads.items()}
        yield "reading them, time", seconds_in_turn(reads, 1, device)

        def write(name):
            return lambda: models[name].extend(ids[:, :1], states[name])

        writes = {name: write(name) for name in models}
        yield "one more byte, time", seconds_in_turn(writes, 3, device)
