"""Two stages beside one and beside the same blocks on every byte, T = 1,024."""

import torch

from minilib.hnet import HNet, multiply_adds
from minilib.lab.measure import seconds_in_turn
from minilib.transformer import Transformer

T, WIDTH, BLOCKS = 1024, 128, 12


def bench(device):
    """A training step of twelve blocks with fresh routers, and before it what is multiplied."""
    ids = torch.randint(97, 123, (2, T), device=device)

    def train(model, ids):
        model(ids).logsumexp(-1).mean().backward()

    calls, cost = {}, {}
    for stages in (1, 2):
        name, middle = f"{stages} stage{'s' * (stages > 1)}", BLOCKS - 2 * stages
        net = HNet(256, WIDTH, stages, 1, middle, context=T).to(device)
        with torch.no_grad():
            begins, _ = net.boundaries(ids[:1])
        rows = [T, *begins.sum(2)[:, 0].tolist()]
        cost[name] = multiply_adds(rows, WIDTH, 256, 1, middle, T)
        calls[name] = lambda net=net: train(net, ids)
    plain = Transformer(256, WIDTH, BLOCKS, context=T).to(device)
    # a Transformer is a net inside which nothing lies: its blocks are those of the first stage
    cost["on every byte"] = multiply_adds([T, 1], WIDTH, 256, BLOCKS // 2, 1, T)
    calls["on every byte"] = lambda: train(plain, ids)
    yield "multiply-adds", cost
    yield "training step", seconds_in_turn(calls, 3, device)
