"""Solutions to the exercises of lesson 18."""

import sys

import numpy as np
import torch

import minilib
from minilib.naive import unet as naive
from minilib.unet import UNet


def my_up_conv(x, w, b):
    B, _, H, W = x.shape
    # each pixel's four results, beside its row and its column
    four = np.einsum("bihw,iokl->bohkwl", x, w)
    return four.reshape(B, -1, 2 * H, 2 * W) + b[:, None, None]


def lines_run(*inputs):
    lines, before = [], sys.gettrace()
    count = lambda *event: lines.append(1) or count
    sys.settrace(count)
    try:
        my_up_conv(*inputs)
    finally:
        sys.settrace(before)
    return len(lines)


def judged(x, w, b):
    rows, columns = (9 * list(range(n)) for n in x.shape[2:])
    larger = x[:, :, rows][..., columns]
    if 2 * lines_run(x, w, b) < lines_run(larger, w, b):
        raise ValueError("it loops: a larger picture runs more lines")
    return my_up_conv(x, w, b)


def valid_sizes(depth, largest):
    unit = 2**depth
    least = 12 * unit - 8 + 1  # the margin and one pixel of output
    return [size for size in range(least, largest + 1) if (size + 4) % unit == 0]


def sizes_by_trying(depth, largest):
    allowed = []
    for size in range(1, largest + 1):
        try:
            allowed.append(size) if naive.output_size(size, depth) else None
        except ValueError:
            pass
    return allowed


def columns_seen(depth, p):
    first, last = p, p
    # up again: two convolutions, then two columns come from one
    for _ in range(depth):
        first, last = first // 2, (last + 4) // 2
    last += 4  # the two convolutions of the bottom
    # down: a column is pooled from two, which come from two convolutions
    for _ in range(depth):
        first, last = 2 * first, 2 * last + 1 + 4
    return last - first + 1


def columns_by_poking(depth, p):
    net = UNet(1, 1, 1, depth).double()  # each column counts, however little
    sizes = sizes_by_trying(depth, 200)
    width = next(size for size in sizes if naive.output_size(size, depth) > p)
    for weight in net.parameters():
        weight.data = weight.data.abs() + 0.1  # all positive: whatever grows is seen
    poked = torch.ones(width, 1, sizes[0], width, dtype=torch.float64)
    poked += 10 * torch.eye(width)[:, None, None]
    with torch.no_grad():
        plain = net(torch.ones_like(poked[:1]))[0, 0, 0, p]
        return int((net(poked)[:, 0, 0, p] > plain).sum())


questions = [(depth, 300) for depth in range(5)] + [(4, 100)]
places = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 5), (3, 0), (3, 4), (3, 9)]
