"""Solutions to the exercises of lesson 18.

Exercise 4, measured: seeds 0, 1 and 2, validation pictures, threshold 1/2.

    displacement   IoU               letters alone
    none           0.88 0.88 0.87    55 % 55 % 45 %
     2 pixels      0.92 0.88 0.92    72 % 54 % 75 %
     5 pixels      0.92 0.89 0.93    63 % 65 % 78 %
    10 pixels      0.92 0.89 0.92    69 % 62 % 80 %
    20 pixels      0.83 0.83 0.88    11 % 17 % 50 %

Anything from 2 to 10 pixels helps, by some 5 to 20 points of letters alone on average,
and three seeds cannot tell which is best. At 20 the labels themselves suffer: letters
are 19 to 25 pixels tall, and where the sheet shrinks, the gap between two of them gets
narrower than a pixel and is lost. Of the truth, pulled by 20 pixels, 77 % of the
letters stand alone (10: 85 %, 5: 92 %, 2: 97 %, not pulled: over 99 %), so the labels
say that letters touch.

What skips and border weights are worth, seeds 0 to 6: letters alone on the test
pictures, at the threshold that validation chose.

    weight map       83 % 71 % 90 % 81 % 78 % 71 % 77 %
    constant weight  73 % 71 % 81 % 73 % 69 % 55 % 74 %
    without skips    55 % 41 % 50 % 62 % 52 % 34 % 55 %

and IoU at threshold 1/2:

    weight map       93 % 90 % 94 % 94 % 93 % 91 % 92 %
    without skips    76 % 74 % 77 % 79 % 76 % 74 % 77 %
"""

import sys

import numpy as np
import torch

import minilib
from minilib import lab
from minilib.naive import unet as naive
from minilib.segmentation import elastic, pixel_loss, weight_map
from minilib.unet import UNet


def my_up_conv(x, w, b):
    B, _, H, W = x.shape
    # each pixel's four results, beside its row and its column
    four = np.einsum("bihw,iokl->bohkwl", x, w)
    return four.reshape(B, -1, 2 * H, 2 * W) + b[:, None, None]


def judged(x, w, b):
    lines = []

    def count(*event):
        lines[-1] += 1
        return count

    for picture in (x, np.tile(x, (1, 1, 9, 9))):
        lines.append(0)
        sys.settrace(count)
        try:
            my_up_conv(picture, w, b)
        finally:
            sys.settrace(None)
    if 2 * lines[0] < lines[1]:
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
            naive.output_size(size, depth)
        except ValueError:
            continue
        allowed.append(size)
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


def columns_by_changing(depth, p):
    net = UNet(1, 1, 1, depth).double()
    sizes = sizes_by_trying(depth, 200)
    width = next(size for size in sizes if naive.output_size(size, depth) > p)
    for weight in net.parameters():
        weight.data = weight.data.abs() + 0.1  # all positive: each column counts
    changed = torch.ones(width, 1, sizes[0], width, dtype=torch.float64)
    changed += 10 * torch.eye(width)[:, None, None]
    with torch.no_grad():
        plain = net(torch.ones_like(changed[:1]))[0, 0, 0, p]
        return int((net(changed)[:, 0, 0, p] > plain).sum())


questions = [(depth, 300) for depth in range(5)] + [(4, 100)]
places = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 5), (3, 0), (3, 4), (3, 9)]


def train_on_four(size, seed, pictures, instances, steps=160):
    """Exercise 4: pictures (4, 140, 140), instances alike; size 0 pulls nothing."""
    inner = slice(20, -20)

    def batches(step):
        draw = torch.Generator().manual_seed(1000 * seed + step)
        k = torch.randint(4, (2,), generator=draw)
        pull = size * torch.randn(2, 2, 3, 3, generator=draw)
        images, names = elastic(pictures[k], pull), elastic(instances[k], pull)
        w = weight_map(names, torch.ones(2))  # after pulling
        return images[:, None], (names > 0).long()[:, inner, inner], w[:, inner, inner]

    def loss(net, batch):
        images, labels, w = batch
        return pixel_loss(net(images), labels, w)

    torch.manual_seed(seed)
    net = UNet(1, 2, 8, 2)
    lab.fit(net, batches, steps=steps, lr=1e-2, warmup=0.2, loss=loss, progress=False)
    return net
