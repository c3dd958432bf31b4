"""The U-Net on torch: its layers, the net, overlapping tiles. How it is trained: segmentation.py.

Names and symbols are those of minilib/naive/unet.py. Not here: dropout at the end of the way down.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.naive import unet as naive
from minilib.segmentation import mirror
from minilib.shapes import check_sizes


def _maps(name, x):
    if x.dim() != 4 or not x.is_floating_point():
        wanted, got = "(batch, channels, height, width)", f"{x.dtype} of shape {tuple(x.shape)}"
        raise ValueError(f"{name} must be floats of shape {wanted}, got {got}")


def _kernels(x, w, b, out_axis):
    _maps("x", x)
    if w.dim() != 4 or w.shape[1 - out_axis] != x.shape[1]:
        wanted = f"{x.shape[1]} input channels on axis {1 - out_axis}, as x has"
        raise ValueError(f"w must have 4 axes and {wanted}, got shape {tuple(w.shape)}")
    if tuple(b.shape) != (w.shape[out_axis],):
        wanted = f"({w.shape[out_axis]},), one for each output channel of w"
        raise ValueError(f"b must have shape {wanted}, got {tuple(b.shape)}")


# -- the layers ------------------------------------------------------------------------------------


@twin(naive.conv2d)
def conv2d(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Valid convolution, kernel not mirrored: smaller by k - 1 and l - 1.

    x (batch, in, height, width), w (out, in, k, l), b (out,)
    """
    _kernels(x, w, b, out_axis=0)
    size, kernel = tuple(x.shape[2:]), tuple(w.shape[2:])
    if kernel[0] > size[0] or kernel[1] > size[1]:
        raise ValueError(f"x must be at least as large as the kernel {kernel}, got {size}")
    return nn.functional.conv2d(x, w, b)


@twin(naive.max_pool)
def max_pool(x: Tensor) -> Tensor:
    """The largest of each 2 × 2 pixels. Among equals the first, row by row, gets the gradient.

    Raises ValueError for an odd side.
    """
    _maps("x", x)
    if x.shape[2] % 2 or x.shape[3] % 2 or not min(x.shape[2:]):
        raise ValueError(f"x must have even height and width, 2 or more, got {tuple(x.shape[2:])}")
    return nn.functional.max_pool2d(x, 2)


@twin(naive.up_conv)
def up_conv(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Up-convolution to (batch, out, 2 height, 2 width).

    x (batch, in, height, width), w (in, out, 2, 2), b (out,)
    The four results of a pixel overlap with no other's, so that one product with a (4 out, in)
    matrix gives all of them; the rest is reordering. No faster than torch's conv_transpose2d.
    """
    _kernels(x, w, b, out_axis=1)
    if tuple(w.shape[2:]) != (2, 2):
        raise ValueError(f"w must have 2 × 2 kernels, got {tuple(w.shape[2:])}")
    B, C, H, W = x.shape
    four = (w.reshape(C, -1).t() @ x.reshape(B, C, H * W)).view(B, len(b), 2, 2, H, W)
    return four.permute(0, 1, 4, 2, 5, 3).reshape(B, len(b), 2 * H, 2 * W) + b[:, None, None]


@twin(naive.crop)
def crop(x: Tensor, height: int, width: int) -> Tensor:
    """The middle height × width pixels; an odd remainder is cut from the bottom and the right."""
    _maps("x", x)
    H, W = x.shape[2:]
    if not (1 <= height <= H and 1 <= width <= W):
        wanted = f"1 to {H} and 1 to {W}"
        raise ValueError(f"height and width must lie in {wanted}, got {height} and {width}")
    top, left = (H - height) // 2, (W - width) // 2
    return x[:, :, top : top + height, left : left + width]


# -- the net ---------------------------------------------------------------------------------------


def _allowed(name, size, depth):
    """Raise ValueError, naming the nearest allowed sizes, for a side that a net cannot take."""
    unit = 2**depth
    least = _margin(depth) + 1
    least += (-4 - least) % unit
    if size < least or (size + 4) % unit:
        below = size - (size + 4) % unit
        near = f"{below} and {below + unit}" if below >= least else f"{least}, the smallest"
        wanted = f"a size that depth {depth} allows, the nearest {near}"
        raise ValueError(f"{name} must be {wanted}, got {size}")


def _margin(depth):
    return 12 * 2**depth - 8


@twin(naive.output_size)
def output_size(size: int, depth: int = 4) -> int:
    """Side of the output for a side `size` of the input: size - (12 · 2^depth - 8).

    Each convolution costs 2 pixels of its own level, 2^(level + 1) of the input; the sum over
    levels is that margin. Allowed are sizes that are -4 modulo 2^depth.
    Raises ValueError, naming the nearest allowed sizes.
    """
    if depth < 0:
        raise ValueError(f"depth must be 0 or more, got {depth}")
    _allowed("size", size, depth)
    return size - _margin(depth)


class ConvPair(nn.Module):
    """Two valid 3 × 3 convolutions, each followed by a ReLU: 4 rows and 4 columns are lost."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3)
        self.second = nn.Conv2d(outside, outside, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu_()).relu_()


class UpConv(nn.ConvTranspose2d):
    """The weights of an up-convolution, applied by `up_conv`."""

    def __init__(self, inside: int, outside: int):
        super().__init__(inside, outside, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return up_conv(x, self.weight, self.bias)


# float32: a long chain of sums whose terms cancel, then compared with the mean output
@twin(naive.unet, float32=0.0001)
class UNet(nn.Module):
    """A U-Net (fig. 1): down `depth` times, up again, with a copy of the way down at every level.

    in_channels, classes   of the picture and of the logits
    channels               of the first level; every level below has twice as many
    depth                  number of poolings. The paper's net: UNet(1, 2, 64, 4)
    skips                  False puts zeros in place of the copies: same shapes, as many parameters
    margin                 input size - output size

    Weights start from N(0, 2 / inputs of a unit), biases from 0 (sec. 3). Maps lie channels last in
    memory: at 8 channels a CPU then takes a fifth less time.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        channels: int = 64,
        depth: int = 4,
        skips: bool = True,
    ):
        super().__init__()
        check_sizes(in_channels=in_channels, classes=classes, channels=channels)
        check_sizes(0, depth=depth)
        self.in_channels, self.depth, self.skips = in_channels, depth, skips
        self.margin = _margin(depth)
        width = [channels * 2**k for k in range(depth + 1)]
        inputs = [in_channels, *width[:-1]]
        self.down = nn.ModuleList(ConvPair(a, b) for a, b in zip(inputs, width, strict=True))
        self.up = nn.ModuleList(UpConv(2 * n, n) for n in width[:-1])
        self.merge = nn.ModuleList(ConvPair(2 * n, n) for n in width[:-1])
        self.output = nn.Conv2d(channels, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # a pixel of an up-convolution reads one pixel, another one a whole kernel
                pixels = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
                nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * pixels)))
                nn.init.zeros_(module.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures -> logits (batch, classes, height - margin, width - margin).

        images   (batch, in_channels, height, width)
        """
        _maps("images", images)
        if images.shape[1] != self.in_channels:
            raise ValueError(f"images must have {self.in_channels} channels, got {images.shape[1]}")
        _allowed("height of images", images.shape[2], self.depth)
        _allowed("width of images", images.shape[3], self.depth)
        x, copies = images.contiguous(memory_format=torch.channels_last), []
        for pair in self.down[:-1]:
            x = pair(x)
            copies.append(x)
            x = max_pool(x)
        x = self.down[-1](x)
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = up(x)
            copy = crop(copies.pop(), *x.shape[2:])
            x = merge(torch.cat([copy if self.skips else torch.zeros_like(copy), x], 1))
        return self.output(x)

    @torch.no_grad()
    def predict(self, images: Tensor, tile: int | None = None) -> Tensor:
        """Logits of whole pictures of any size, (batch, classes, height, width), edges mirrored.

        tile   side of the squares that are computed one at a time (fig. 2): any allowed size gives
               the same result up to rounding, a smaller one in less memory and more time.
               Default: the smallest that takes the picture in one go
        """
        _maps("images", images)
        unit = 2**self.depth
        if tile is None:
            tile = max(*images.shape[2:], unit) + self.margin
            tile += (-4 - tile) % unit
        _allowed("tile", tile, self.depth)
        return tile_predict(self, images, tile, self.margin, unit)


@twin(naive.tile_predict)
def tile_predict(
    net: Callable[[Tensor], Tensor], images: Tensor, tile: int, margin: int, step: int
) -> Tensor:
    """The overlap-tile strategy (fig. 2): the output for pictures of any size, tile by tile.

    net      (batch, channels, tile, tile) -> (batch, classes, tile - margin, tile - margin)
    images   (batch, channels, height, width); beyond its edges the mirror image goes on
    step     2^depth: tiles start at multiples of it, else their pooling windows would fall
             elsewhere than the whole picture's
    returns  (batch, classes, height, width), the same for every tile size. Memory: that of one tile
    """
    _maps("images", images)
    H, W = images.shape[2:]
    if min(H, W, step) < 1:
        wanted = "images must have at least one pixel and step be 1 or more"
        raise ValueError(f"{wanted}, got {H} × {W} and {step}")
    if margin < 0 or margin % 2 or tile - margin < step:
        wanted = f"tile must be at least step = {step} larger than an even margin"
        raise ValueError(f"{wanted}, got {tile} with margin {margin}")
    stride = (tile - margin) // step * step
    offsets = torch.arange(tile, device=images.device) - margin // 2
    rows = []
    for top in range(0, H, stride):
        band, row = images[:, :, mirror(top + offsets, H)], []
        for left in range(0, W, stride):
            logits = net(band[..., mirror(left + offsets, W)])
            row.append(logits[:, :, :stride, :stride])
        rows.append(torch.cat(row, 3)[..., :W])
    return torch.cat(rows, 2)[:, :, :H]
