"""A mixture layer beside the dense one of the same cost, and beside a loop over tokens."""

import torch

from minilib.attention import attention, rope
from minilib.lab.measure import peak_bytes, seconds_in_turn
from minilib.mixture_of_transformers import MixtureLayer, MixtureOfTransformers

TOKENS, FEW, WIDTH = 1024, 64, 256


def _loop(layer, x, modality, none):
    """Each token by itself through its expert: the attention is the same."""
    rows = x.flatten(0, 1)
    kinds = modality.flatten().tolist()

    def each(*inputs):
        parts = zip(kinds, *inputs, strict=True)
        return torch.cat([layer.experts[m](*(row[None] for row in own)) for m, *own in parts])

    q, k, v = layer._heads(each(rows), x.shape[:2])
    found = attention(rope(q), rope(k), v, None, True)
    return each(rows, found.transpose(1, 2).flatten(2).flatten(0, 1)).view(x.shape)


@torch.no_grad()
def bench(device):
    """A layer on 1,024 tokens of two kinds, mixed by chance; on 64 beside the loop; a model."""
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    mixture = MixtureLayer(WIDTH, 4, 2).to(device)
    dense = MixtureLayer(WIDTH, 4, 1).to(device)
    x = torch.randn(1, TOKENS, WIDTH, generator=draw).to(device)
    modality = torch.randint(2, (1, TOKENS), generator=draw).to(device)
    none = (x.new_zeros(1, 4, 0, WIDTH // 4),) * 2
    few, kinds = x[:, :FEW], modality[:, :FEW]
    torch.testing.assert_close(
        _loop(mixture, few, kinds, none), mixture(few, kinds, *none)[0], rtol=1e-4, atol=1e-4
    )
    ways = {
        "ours": lambda: mixture(x, modality, *none),
        "dense layer": lambda: dense(x, torch.zeros_like(modality), *none),
    }
    yield "time, 1,024 tokens", seconds_in_turn(ways, 5, device)
    yield "peak memory, 1,024 tokens", {n: peak_bytes(run, device) for n, run in ways.items()}
    ways = {
        "ours": lambda: mixture(few, kinds, *none),
        "loop over tokens": lambda: _loop(mixture, few, kinds, none),
    }
    yield "time, 64 tokens", seconds_in_turn(ways, 2, device)
    ids = torch.randint(314, (8, 44), generator=draw).to(device)
    models = {}
    for name, sizes in {"ours": (57, 257), "dense model": (314,)}.items():
        models[name] = MixtureOfTransformers(sizes, 128, 4).to(device)
    ways = {name: lambda model=model: model(ids) for name, model in models.items()}
    yield "time, a model on 8 × 44 symbols", seconds_in_turn(ways, 5, device)
