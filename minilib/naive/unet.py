"""The U-Net: convolution, pooling, up-convolution, skip; its weighted loss, its augmentation, its tiles: the definition.

Source: Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation" (arXiv:1505.04597).

    code             paper                                     shape
    x                feature maps                              (batch, channels, height, width)
    w, b             kernels and biases of a convolution       (out, in, k, k), (out,)
    depth            number of poolings, 4 in the paper
    margin           input size - output size; 184 at depth 4
    instances        ground truth: 0 background, k cell k      (batch, height, width)
    logits           a_k(x), before the softmax                (batch, classes, height, width)
"""

import numpy as np


def conv2d(x, w, b):
    """Valid convolution: each output pixel is a weighted sum of the k × k pixels below it, in all channels (sec. 2).

    returns  (batch, out, height - k + 1, width - k + 1): no padding, so that a border of k - 1 pixels is lost.
    As everywhere in neural nets the kernel is not mirrored.
    """
    B, _, H, W = x.shape
    out, _, K, L = w.shape
    y = np.zeros((B, out, H - K + 1, W - L + 1))
    for n, i, j in np.ndindex(B, H - K + 1, W - L + 1):
        y[n, :, i, j] = (w * x[n, :, i : i + K, j : j + L]).sum((1, 2, 3)) + b
    return y


def max_pool(x):
    """The largest of each 2 × 2 pixels: half the height, half the width. Raises ValueError for an odd side."""
    B, C, H, W = x.shape
    if (
        H % 2 or W % 2
    ):  # the last row would be dropped, and the way up would no longer fit the way down
        raise ValueError(f"x must have even sides, got {H} × {W}")
    y = np.zeros((B, C, H // 2, W // 2))
    for n, i, j in np.ndindex(B, H // 2, W // 2):
        y[n, :, i, j] = x[n, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return y


def up_conv(x, w, b):
    """Up-convolution: every pixel becomes 2 × 2 pixels, each with weights of its own. w (in, out, 2, 2); double height and width."""
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
    """Side of the output for an input of side `size`: two valid 3 × 3 convolutions cost 4 pixels wherever they stand.

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
    """Class logits of a U-Net (fig. 1): down `depth` times, up again, with a copy of the way down at every level.

    params   the state_dict of minilib.unet.UNet
    images   (batch, channels, height, width)
    skips    False puts zeros in place of the copies: same shapes, same number of parameters
    returns  (batch, classes, height - margin, width - margin)
    """
    for size in images.shape[2:]:
        output_size(size, depth)
    P = lambda name: (params[f"{name}.weight"], params[f"{name}.bias"])
    relu = lambda x: np.maximum(x, 0)
    two = lambda name, x: relu(conv2d(relu(conv2d(x, *P(f"{name}.first"))), *P(f"{name}.second")))
    x, copies = images, []
    for k in range(depth):
        x = two(f"down.{k}", x)
        copies.append(x)
        x = max_pool(x)
    x = two(f"down.{depth}", x)
    for k in reversed(range(depth)):
        x = up_conv(x, *P(f"up.{k}"))
        copy = crop(copies[k], *x.shape[2:])
        x = two(f"merge.{k}", np.concatenate([copy if skips else np.zeros(copy.shape), x], axis=1))
    return conv2d(x, *P("output"))


def pixel_loss(logits, labels, weights):
    """Cross-entropy of every pixel times its weight (eq. 1), in nats; the mean over pixels, where the paper has the sum.

    logits (batch, classes, height, width); labels (batch, height, width) int; weights (batch, height, width)
    """
    total = 0.0
    for n, y, x in np.ndindex(labels.shape):
        a = logits[n, :, y, x]
        log_p = a - a.max() - np.log(np.exp(a - a.max()).sum())
        total -= weights[n, y, x] * log_p[labels[n, y, x]]
    return total / labels.size


def weight_map(instances, class_weight, w0=10.0, sigma=5.0):
    """Weight of each pixel in the loss (eq. 2): of its class, and more where two instances are near each other.

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))² / 2 sigma²), d1 and d2 the distances in pixels to the nearest and second nearest
    instance: 0 inside of it, otherwise to its nearest pixel. With one instance or none there is no second term.

    instances     (batch, height, width) int; 0 is background, each other number an instance, in one piece or several
    class_weight  (2,) w_c of background and of foreground
    returns       (batch, height, width)
    """
    w = np.zeros(instances.shape)
    for n, y, x in np.ndindex(instances.shape):
        distances = []
        for k in set(instances[n].ravel()) - {0}:
            rows, columns = np.nonzero(instances[n] == k)
            distances.append(np.sqrt(((rows - y) ** 2 + (columns - x) ** 2).min()))
        w[n, y, x] = class_weight[int(instances[n, y, x] != 0)]
        if len(distances) > 1:
            d1, d2 = sorted(distances)[:2]
            w[n, y, x] += w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return w


def mirror(i, n):
    """The position in [0, n - 1] where position i falls when a line of n pixels goes on as its mirror image, edge not repeated."""
    i = np.abs(i) % (2 * (n - 1)) if n > 1 else 0
    return min(i, 2 * (n - 1) - i)


def cubic(t):
    """Weight of a grid point at distance t in bicubic interpolation (Keys 1981, with a = -3/4)."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def elastic(images, displacement):
    """Elastic deformation (sec. 3.1): every pixel fetches its value from where a smooth random field points.

    images        (batch, height, width). Floats are interpolated bilinearly; integers are labels, which take the nearest value
    displacement  (batch, 2, g, g) pixels down and right at the points of a coarse grid that spans the picture; the paper
                  draws 3 × 3 points from N(0, 10²). Between them bicubic interpolation; beyond the grid its edge goes on
    returns       as images. What lies outside of the picture is its mirror image
    """
    B, H, W = images.shape
    g = displacement.shape[-1]
    out = np.zeros_like(images)
    for n, i, j in np.ndindex(B, H, W):
        u, v = i * (g - 1) / max(H - 1, 1), j * (g - 1) / max(W - 1, 1)  # in units of the grid
        dy = dx = 0.0
        for p in range(int(u) - 1, int(u) + 3):
            for q in range(int(v) - 1, int(v) + 3):
                here = displacement[n, :, min(max(p, 0), g - 1), min(max(q, 0), g - 1)]
                dy, dx = (dy, dx) + cubic(u - p) * cubic(v - q) * here
        y, x = mirror(i + dy, H), mirror(j + dx, W)
        if images.dtype.kind in "iu":
            out[n, i, j] = images[n, int(np.rint(y)), int(np.rint(x))]
            continue
        top, left = int(y), int(x)
        below, right = min(top + 1, H - 1), min(left + 1, W - 1)
        above = (1 - (x - left)) * images[n, top, left] + (x - left) * images[n, top, right]
        under = (1 - (x - left)) * images[n, below, left] + (x - left) * images[n, below, right]
        out[n, i, j] = (1 - (y - top)) * above + (y - top) * under
    return out


def tile_predict(net, images, tile, margin, step):
    """The overlap-tile strategy (fig. 2): the output for a whole picture of any size, one tile at a time.

    net      function (batch, channels, tile, tile) -> (batch, classes, tile - margin, tile - margin)
    images   (batch, channels, height, width); beyond its edges the mirror image goes on
    step     2^depth. Tiles start at multiples of it, else their pooling windows would fall elsewhere than the whole picture's
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
                piece[:, :, i, j] = images[
                    :, :, mirror(top + i - margin // 2, H), mirror(left + j - margin // 2, W)
                ]
            y = net(piece)
            out = np.zeros((B, y.shape[1], H, W)) if out is None else out
            out[:, :, top : top + inner, left : left + inner] = y[:, :, : H - top, : W - left]
    return out
