"""The middle on segments beside the same layers on every step, T = 1,024, 2 + 8 + 2 layers."""

import torch

from minilib.dynamic_pooling import DynamicPooling
from minilib.hourglass import multiply_adds
from minilib.lab.measure import seconds_in_turn
from minilib.transformer import Transformer

T, WIDTH, FINE, MIDDLE = 1024, 128, 2, 8


def bench(device):
    """A training step with a space every 2 or 4 bytes, and before it what is multiplied."""
    options = dict(heads=4, context=T)
    pooled = DynamicPooling(256, WIDTH, FINE, MIDDLE, FINE, **options).to(device)
    plain = Transformer(256, WIDTH, 2 * FINE + MIDDLE, **options).to(device)
    ids = torch.randint(97, 123, (2, T), device=device)

    def train(model, ids):
        model(ids).logsumexp(-1).mean().backward()

    cost = lambda k, middle=MIDDLE: multiply_adds(T, WIDTH, 256, k, FINE, middle, FINE, T)
    fine = cost(1, 0)
    for k in (2, 4):
        spaced = ids.clone()
        spaced[:, k - 1 :: k] = 32
        middle = {"on segments": cost(k) - fine, "on every step": cost(1) - fine}
        yield f"multiply-adds of the middle, shortening {k}", middle
        yield f"multiply-adds, shortening {k}", {"on segments": cost(k), "on every step": cost(1)}
        calls = {
            "on segments": lambda spaced=spaced: train(pooled, spaced),
            "on every step": lambda: train(plain, ids),
        }
        yield f"training step, shortening {k}", seconds_in_turn(calls, 3, device)
