"""A causal block of 2-D and 1-D convolutions beside the full 3-D one: time, products, weights."""

import torch
from torch import nn

from minilib.lab.measure import seconds_in_turn
from minilib.video_tokens import Conv


def multiply_adds(block, frames, side):
    """Products of one clip: each weight is used once for each pixel of each frame."""
    return sum(conv.weight.numel() for conv in block) * frames * side**2


def bench(device):
    """One layer, forward and backward, for 4 clips of 12 frames of 16 × 16 pixels, 32 channels."""
    C, T, side = 32, 12, 16
    x = torch.randn(4, C, T, side, side, device=device, requires_grad=True)
    blocks = {
        "2-D, then 1-D": nn.Sequential(Conv(C, C, (1, 3, 3)), Conv(C, C, (3, 1, 1))),
        "full 3-D": nn.Sequential(Conv(C, C, (3, 3, 3))),
    }

    def run(block):
        block.to(device)
        return lambda: torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])

    runs = {name: run(block) for name, block in blocks.items()}
    yield "a causal layer, forward and backward", seconds_in_turn(runs, 5, device)
    products = {name: multiply_adds(block, T, side) for name, block in blocks.items()}
    yield "multiply-adds of one clip", products
    numbers = {name: sum(p.numel() for p in block.parameters()) for name, block in blocks.items()}
    yield "parameters", numbers
