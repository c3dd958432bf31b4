"""The U-Net: convolution, pooling, up-convolution, skip; overlapping tiles: the definition.

Source: Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (arXiv:1505.04597). How it is trained: minilib/naive/segmentation.py.

    code             paper                                     shape
    x                feature maps                              (batch, channels, height, width)
    w, b             kernels and biases of a convolution       (out, in, k, k), (out,)
    depth            number of poolings, 4 in the paper
    margin           input size - output size; 184 at depth 4
"""

import numpy as np

from minilib.naive.segmentation import mirror


def conv2d(x, w, b):
    """Valid convolution: an output pixel is a weighted sum of the k × k pixels below it (sec. 2).

    The sum runs over all channels. As everywhere in neural nets the kernel is not mirrored.

    x        (batch, in, height, width)
    w, b     (out, in, k, l), (out,)
    returns  (batch, out, height - k + 1, width - l + 1): without padding a border is lost
    """
    B, _, H, W = x.shape
    out, _, K, L = w.shape
    y = np.zeros((B, out, H - K + 1, W - L + 1))
    for n, i, j in np.ndindex(B, H - K + 1, W - L + 1):
        y[n, :, i, j] = (w * x[n, :, i : i + K, j : j + L]).sum((1, 2, 3)) + b
    return y


def max_pool(x):
    """The largest of each 2 × 2 pixels: half the height, half the width.

    Raises ValueError for an odd side: its last row would be dropped, and the way up would no longer
    fit the way down.
    """
    B, C, H, W = x.shape
    if H % 2 or W % 2:
        raise ValueError(f"x must have even sides, got {H} × {W}")
    y = np.zeros((B, C, H // 2, W // 2))
    for n, i, j in np.ndindex(B, H // 2, W // 2):
        y[n, :, i, j] = x[n, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return y


def up_conv(x, w, b):
    """Up-convolution: every pixel becomes 2 × 2 pixels, each with weights of its own.

    x        (batch, in, height, width)
    w, b     (in, out, 2, 2), (out,)
    returns  (batch, out, 2 height, 2 width)
    """
    B, _, H, W = x.shape
    y = np.zeros((B, w.shape[1], 2 * H, 2 * W))
    for n, i, j in np.ndindex(B, 2 * H, 2 * W):
        y[n, :, i, j] = x[n, :, i // 2, j // 2] @ w[:, :, i % 2, j % 2] + b
    return y


def crop(x, height, width):
    """The middle height × width pixels; an odd remainder is cut from the bottom and the right."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def output_size(size, depth):
    """Side of the output for an input of side `size`.

    Two valid 3 × 3 convolutions cost 4 pixels, wherever they stand.
    Raises ValueError if a pooling would meet an odd side, or if nothing would be left.
    """
    size -= 4
    if depth:
        if size % 2:
            raise ValueError(f"size must be even before each pooling, got {size}")
        size = 2 * output_size(size // 2, depth - 1) - 4
    if size < 1:
        raise ValueError("size must leave at least one pixel of output")
    return size


def unet(params, images, *, depth=4, skips=True):
    """Class logits of a U-Net (fig. 1): down `depth` times, then up, with copies.

    params   the state_dict of minilib.unet.UNet
    images   (batch, channels, height, width)
    skips    False puts zeros in place of the copies: same shapes, as many parameters
    returns  (batch, classes, height - margin, width - margin)
    """
    for size in images.shape[2:]:
        output_size(size, depth)
    x, copies = images, []
    for k in range(depth):
        x = conv_pair(params, f"down.{k}", x)
        copies.append(x)
        x = max_pool(x)
    x = conv_pair(params, f"down.{depth}", x)
    for k in reversed(range(depth)):
        x = up_conv(x, *_kernel(params, f"up.{k}"))
        copy = crop(copies[k], *x.shape[2:])
        if not skips:
            copy = np.zeros(copy.shape)
        x = conv_pair(params, f"merge.{k}", np.concatenate([copy, x], axis=1))
    return conv2d(x, *_kernel(params, "output"))


def conv_pair(params, name, x):
    """Two valid 3 × 3 convolutions, each followed by a ReLU."""
    for layer in ("first", "second"):
        x = np.maximum(conv2d(x, *_kernel(params, f"{name}.{layer}")), 0)
    return x


def _kernel(params, name):
    return params[f"{name}.weight"], params[f"{name}.bias"]


def tile_predict(net, images, tile, margin, step):
    """The overlap-tile strategy (fig. 2): the output for pictures of any size, tile by tile.

    net      (batch, channels, tile, tile) -> (batch, classes, tile - margin, tile - margin)
    images   (batch, channels, height, width); beyond its edges the mirror image goes on
    step     2^depth. Tiles start at multiples of it, else their pooling windows would fall
             elsewhere than the whole picture's
    returns  (batch, classes, height, width), the same for every tile size
    """
    B, C, H, W = images.shape
    inner = tile - margin
    stride = inner // step * step
    out = None
    for top in range(0, H, stride):
        for left in range(0, W, stride):
            piece = np.zeros((B, C, tile, tile))
            for i, j in np.ndindex(tile, tile):
                y, x = top + i - margin // 2, left + j - margin // 2
                piece[:, :, i, j] = images[:, :, mirror(y, H), mirror(x, W)]
            logits = net(piece)[:, :, : H - top, : W - left]
            if out is None:
                out = np.zeros((B, logits.shape[1], H, W))
            out[:, :, top : top + inner, left : left + inner] = logits
    return out
