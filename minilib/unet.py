"""The U-Net on torch: its layers, the net, the border-weighted loss, elastic deformation, overlapping tiles.

Names and symbols are those of minilib/naive/unet.py. Not here: dropout at the end of the way down, momentum SGD.
"""

import math

import torch
from torch import nn

from minilib import twin
from minilib.naive import unet as naive


def _maps(name, x):
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(
            f"{name} must be floats of shape (batch, channels, height, width), got {x.dtype} of shape {tuple(x.shape)}"
        )


def _kernels(x, w, b, out_axis):
    _maps("x", x)
    if w.dim() != 4 or w.shape[1 - out_axis] != x.shape[1]:
        raise ValueError(
            f"w must have 4 axes and {x.shape[1]} input channels on axis {1 - out_axis}, as x has, got shape {tuple(w.shape)}"
        )
    if tuple(b.shape) != (w.shape[out_axis],):
        raise ValueError(
            f"b must have shape ({w.shape[out_axis]},), one for each output channel of w, got {tuple(b.shape)}"
        )


# -- the layers ------------------------------------------------------------------------------------


@twin(naive.conv2d)
def conv2d(x, w, b):
    """Valid convolution, kernel not mirrored: x (batch, in, height, width), w (out, in, k, l), b (out,) -> smaller by k - 1 and l - 1."""
    _kernels(x, w, b, out_axis=0)
    if w.shape[2] > x.shape[2] or w.shape[3] > x.shape[3]:
        raise ValueError(
            f"x must be at least as large as the kernel {tuple(w.shape[2:])}, got {tuple(x.shape[2:])}"
        )
    return nn.functional.conv2d(x, w, b)


@twin(naive.max_pool)
def max_pool(x):
    """The largest of each 2 × 2 pixels. Among equals the first, row by row, gets the gradient. Raises ValueError for an odd side."""
    _maps("x", x)
    if x.shape[2] % 2 or x.shape[3] % 2 or not min(x.shape[2:]):
        raise ValueError(f"x must have even height and width, 2 or more, got {tuple(x.shape[2:])}")
    return nn.functional.max_pool2d(x, 2)


@twin(naive.up_conv)
def up_conv(x, w, b):
    """Up-convolution: x (batch, in, height, width), w (in, out, 2, 2), b (out,) -> (batch, out, 2 height, 2 width).

    The four results of a pixel overlap with no other's, so that one product with a (4 out, in) matrix gives all of them; the rest is
    reordering. No faster than torch's conv_transpose2d, which does the same.
    """
    _kernels(x, w, b, out_axis=1)
    if tuple(w.shape[2:]) != (2, 2):
        raise ValueError(f"w must have 2 × 2 kernels, got {tuple(w.shape[2:])}")
    B, C, H, W = x.shape
    four = (w.reshape(C, -1).t() @ x.reshape(B, C, H * W)).view(B, len(b), 2, 2, H, W)
    return four.permute(0, 1, 4, 2, 5, 3).reshape(B, len(b), 2 * H, 2 * W) + b[:, None, None]


@twin(naive.crop)
def crop(x, height, width):
    """The middle height × width pixels; an odd remainder is cut from the bottom and the right."""
    _maps("x", x)
    H, W = x.shape[2:]
    if not (1 <= height <= H and 1 <= width <= W):
        raise ValueError(
            f"height and width must lie in 1 to {H} and 1 to {W}, got {height} and {width}"
        )
    top, left = (H - height) // 2, (W - width) // 2
    return x[:, :, top : top + height, left : left + width]


# -- the net ---------------------------------------------------------------------------------------


def _allowed(name, size, depth):
    """Raise ValueError, naming the nearest allowed sizes, unless a net of this depth takes a side of this size."""
    unit = 2**depth
    least = _margin(depth) + 1
    least += (-4 - least) % unit
    if size < least or (size + 4) % unit:
        below = size - (size + 4) % unit
        near = f"{below} and {below + unit}" if below >= least else f"{least}, the smallest"
        raise ValueError(
            f"{name} must be a size that depth {depth} allows, the nearest {near}, got {size}"
        )


def _margin(depth):
    return 12 * 2**depth - 8


@twin(naive.output_size)
def output_size(size, depth=4):
    """Side of the output for an input of side `size`: size - (12 · 2^depth - 8), for sizes that are -4 modulo 2^depth.

    Each of the convolutions costs 2 pixels of its own level, 2^(level + 1) of the input; the sum over levels is that margin.
    Raises ValueError, naming the nearest allowed sizes.
    """
    if depth < 0:
        raise ValueError(f"depth must be 0 or more, got {depth}")
    _allowed("size", size, depth)
    return size - _margin(depth)


def _two(inside, outside):
    two = nn.Module()
    two.first, two.second = nn.Conv2d(inside, outside, 3), nn.Conv2d(outside, outside, 3)
    return two


# float32: a long chain of sums whose terms cancel, then compared with the mean output
@twin(naive.unet, float32=0.0001)
class UNet(nn.Module):
    """A U-Net (fig. 1): down `depth` times, up again, with a copy of the way down at every level.

    in_channels, classes   of the picture and of the logits
    channels               of the first level; every level below has twice as many
    depth                  number of poolings. The paper's net: UNet(1, 2, 64, 4)
    skips                  False puts zeros in place of the copies: same shapes, same number of parameters
    margin                 input size - output size

    Weights start from N(0, 2 / inputs of a unit), biases from 0 (sec. 3). Maps lie channels last in memory: at 8 channels a CPU then takes a
    fifth less time.
    """

    def __init__(self, in_channels=1, classes=2, channels=64, depth=4, skips=True):
        super().__init__()
        if min(in_channels, classes, channels) < 1 or depth < 0:
            raise ValueError(
                f"in_channels, classes and channels must be 1 or more and depth 0 or more, got {in_channels}, {classes}, {channels} and {depth}"
            )
        self.in_channels, self.depth, self.skips, self.margin = (
            in_channels,
            depth,
            skips,
            _margin(depth),
        )
        width = [channels * 2**k for k in range(depth + 1)]
        self.down = nn.ModuleList(
            _two(a, b) for a, b in zip([in_channels, *width], width, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in width[:-1])
        self.merge = nn.ModuleList(_two(2 * n, n) for n in width[:-1])
        self.output = nn.Conv2d(channels, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                inputs = module.in_channels * (
                    math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
                )
                nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
                nn.init.zeros_(module.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        """images (batch, in_channels, height, width) -> logits (batch, classes, height - margin, width - margin)."""
        _maps("images", images)
        if images.shape[1] != self.in_channels:
            raise ValueError(f"images must have {self.in_channels} channels, got {images.shape[1]}")
        _allowed("height of images", images.shape[2], self.depth)
        _allowed("width of images", images.shape[3], self.depth)
        two = lambda layers, x: layers.second(layers.first(x).relu_()).relu_()
        x, copies = images.contiguous(memory_format=torch.channels_last), []
        for layers in self.down[:-1]:
            x = two(layers, x)
            copies.append(x)
            x = max_pool(x)
        x = two(self.down[-1], x)
        for layers, up in zip(reversed(self.merge), reversed(self.up), strict=True):
            x = up_conv(x, up.weight, up.bias)
            copy = crop(copies.pop(), *x.shape[2:])
            x = two(layers, torch.cat([copy if self.skips else torch.zeros_like(copy), x], 1))
        return self.output(x)

    @torch.no_grad()
    def predict(self, images, tile=None):
        """Logits of a whole picture of any size, (batch, classes, height, width), its edges mirrored (fig. 2).

        tile   side of the squares that are computed one at a time; any allowed size gives the same result up to rounding, a smaller
               one in less memory and more time. Default: the smallest that takes the picture in one go
        """
        _maps("images", images)
        unit = 2**self.depth
        if tile is None:
            tile = max(*images.shape[2:], unit) + self.margin
            tile += (-4 - tile) % unit
        _allowed("tile", tile, self.depth)
        return tile_predict(self, images, tile, self.margin, unit)


# -- the loss --------------------------------------------------------------------------------------


@twin(naive.pixel_loss)
def pixel_loss(logits, labels, weights):
    """Cross-entropy of every pixel times its weight (eq. 1), nats; the mean over pixels, where the paper has the sum.

    logits (batch, classes, height, width); labels (batch, height, width) int64; weights (batch, height, width)
    """
    _maps("logits", logits)
    if not logits.numel():
        raise ValueError(f"logits must have at least one pixel, got shape {tuple(logits.shape)}")
    shape = (len(logits), *logits.shape[2:])
    for name, value in (("labels", labels), ("weights", weights)):
        if tuple(value.shape) != shape:
            raise ValueError(
                f"{name} must have shape {shape}, as logits have, got {tuple(value.shape)}"
            )
    if labels.dtype != torch.int64 or not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(
            f"labels must be int64 from 0 to {logits.shape[1] - 1}, got {labels.dtype} from {labels.min()} to {labels.max()}"
        )
    return (weights * nn.functional.cross_entropy(logits, labels, reduction="none")).mean()


@twin(naive.weight_map)
def weight_map(instances, class_weight, w0=10.0, sigma=5.0):
    """Weight of each pixel in the loss (eq. 2): of its class, and more where two instances are near each other.

    instances     (batch, height, width) int64; 0 is background, each other number an instance
    class_weight  (2,) w_c of background and of foreground, in the dtype of the result
    w0, sigma     height of the second term and its reach in pixels
    returns       (batch, height, width)

    Distances are exact. A squared distance is a sum over the axes, so it is minimised along rows, then along columns:
    O(instances · H² · W) time instead of O(H² · W²), O(instances · H · W) memory.
    """
    if instances.dim() != 3 or instances.is_floating_point() or not len(instances):
        raise ValueError(
            f"instances must be integers of shape (batch, height, width), batch 1 or more, got {instances.dtype} of shape {tuple(instances.shape)}"
        )
    if tuple(class_weight.shape) != (2,) or not class_weight.is_floating_point() or not sigma > 0:
        raise ValueError(
            f"class_weight must have shape (2,) and a float dtype and sigma be positive, got {tuple(class_weight.shape)}, {class_weight.dtype} and {sigma}"
        )
    w = class_weight[(instances != 0).long()]
    borders = [
        w0 * torch.exp(-(_two_nearest(picture, w.dtype).square()) / (2 * sigma**2))
        for picture in instances
    ]
    return w + torch.stack(borders)


def _two_nearest(picture, dtype):
    """d1 + d2 of each pixel of one picture (height, width): inf if there are fewer than two instances."""
    names = picture.unique()
    names = names[names != 0]
    H, W = picture.shape
    if len(names) < 2:
        return torch.full((H, W), math.inf, dtype=dtype, device=picture.device)
    mine = picture == names[:, None, None]  # (instances, H, W)
    x = torch.arange(W, device=picture.device, dtype=dtype).expand(mine.shape)
    y = torch.arange(H, device=picture.device, dtype=dtype)
    left = (
        torch.where(mine, x, -math.inf).cummax(2).values
    )  # the nearest of the instance's pixels on either side, in this row
    right = -torch.where(mine, -x, -math.inf).flip(2).cummax(2).values.flip(2)
    along = torch.minimum(x - left, right - x).square()
    nearest = torch.full_like(along, math.inf)
    for row in range(H):
        torch.minimum(nearest, along[:, row, None] + (y - row).square()[:, None], out=nearest)
    return nearest.topk(2, 0, largest=False).values.sqrt().sum(0)


# -- elastic deformation ---------------------------------------------------------------------------


@twin(naive.elastic)
def elastic(images, displacement):
    """Elastic deformation (sec. 3.1): every pixel fetches its value from where a smooth random field points.

    images        (batch, height, width). Floats are interpolated bilinearly; integers are labels, which take the nearest value
    displacement  (batch, 2, g, g) pixels down and right on a coarse grid; the paper draws 3 × 3 points from N(0, 10²)
    returns       as images. What lies outside of the picture is its mirror image

    Bicubic interpolation is linear in the grid and the axes separate: the field is one matrix product from each side.
    """
    if images.dim() != 3:
        raise ValueError(
            f"images must have shape (batch, height, width), got {tuple(images.shape)}"
        )
    B, H, W = images.shape
    g = displacement.shape[-1]
    if tuple(displacement.shape) != (B, 2, g, g) or not g or not displacement.is_floating_point():
        raise ValueError(
            f"displacement must be floats of shape ({B}, 2, g, g), g 1 or more, got {displacement.dtype} of shape {tuple(displacement.shape)}"
        )
    field = _bicubic(H, displacement) @ displacement @ _bicubic(W, displacement).t()  # (B, 2, H, W)
    i, j = torch.arange(H, device=field.device)[:, None], torch.arange(W, device=field.device)
    y, x = _mirror(i + field[:, 0], H), _mirror(j + field[:, 1], W)
    take = lambda row, column: (
        images.flatten(1).gather(1, (row * W + column).flatten(1)).view(B, H, W)
    )
    if not images.is_floating_point():
        return take(y.round().long(), x.round().long())
    top, left = y.detach().long(), x.detach().long()
    below, right = (top + 1).clamp(max=H - 1), (left + 1).clamp(max=W - 1)
    above = torch.lerp(take(top, left), take(top, right), x - left)
    under = torch.lerp(take(below, left), take(below, right), x - left)
    return torch.lerp(above, under, y - top)


def _mirror(i, n):
    """Positions -> positions in [0, n - 1] of a line that goes on as its mirror image."""
    period = 2 * (n - 1)
    i = i.abs() % period if n > 1 else 0 * i
    return torch.minimum(i, period - i)


def _bicubic(n, like):
    """(n, g) weights of the g grid points at each of n pixels (Keys 1981, a = -3/4), the grid's edge repeated."""
    g = like.shape[-1]
    u = torch.arange(n, device=like.device, dtype=like.dtype) * (g - 1) / max(n - 1, 1)
    p = u.floor()[:, None] + torch.arange(-1, 3, device=like.device)
    t, a = (u[:, None] - p).abs(), -0.75
    weight = torch.where(
        t <= 1, (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
    )
    return torch.zeros(n, g, device=like.device, dtype=like.dtype).scatter_add(
        1, p.long().clamp(0, g - 1), weight
    )


# -- tiles -----------------------------------------------------------------------------------------


@twin(naive.tile_predict)
def tile_predict(net, images, tile, margin, step):
    """The overlap-tile strategy (fig. 2): the output for a whole picture of any size, one tile at a time.

    net      function (batch, channels, tile, tile) -> (batch, classes, tile - margin, tile - margin)
    images   (batch, channels, height, width); beyond its edges the mirror image goes on
    step     2^depth: tiles start at multiples of it, else their pooling windows would fall elsewhere than the whole picture's
    returns  (batch, classes, height, width), the same for every tile size. Memory: that of one tile
    """
    _maps("images", images)
    B, _, H, W = images.shape
    if min(H, W, step) < 1:
        raise ValueError(
            f"images must have at least one pixel and step be 1 or more, got {H} × {W} and {step}"
        )
    if margin < 0 or margin % 2 or tile - margin < step:
        raise ValueError(
            f"tile must be at least step = {step} larger than an even margin, so that tiles can start {step} pixels apart, got {tile} with margin {margin}"
        )
    inner = tile - margin
    stride = inner // step * step
    read = lambda start, n: _mirror(
        torch.arange(start - margin // 2, start - margin // 2 + tile, device=images.device), n
    )
    rows = []
    for top in range(0, H, stride):
        band = images[:, :, read(top, H)]
        row = [
            net(band[..., read(left, W)])[:, :, :stride, :stride] for left in range(0, W, stride)
        ]
        rows.append(torch.cat(row, 3)[..., :W])
    return torch.cat(rows, 2)[:, :, :H]
