"""What the U-Net is trained with: border weights, elastic deformation: the definition.

Source: Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (arXiv:1505.04597), section 3.

    code             paper                                     shape
    logits           a_k(x), before the softmax                (batch, classes, height, width)
    instances        ground truth: 0 background, k cell k      (batch, height, width)
"""

import numpy as np


def pixel_loss(logits, labels, weights):
    """Cross-entropy of every pixel times its weight (eq. 1), nats; the mean, the paper has the sum.

    logits   (batch, classes, height, width)
    labels   (batch, height, width) int
    weights  (batch, height, width)
    """
    total = 0.0
    for n, y, x in np.ndindex(labels.shape):
        a = logits[n, :, y, x]
        log_p = a - a.max() - np.log(np.exp(a - a.max()).sum())
        total -= weights[n, y, x] * log_p[labels[n, y, x]]
    return total / labels.size


def weight_map(instances, class_weight, w0=10.0, sigma=5.0):
    """Weight of each pixel in the loss (eq. 2): of its class, and more between near instances.

        w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))² / 2 sigma²)

    d1 and d2 are the distances in pixels to the nearest and second nearest instance: 0 inside of
    it, otherwise to its nearest pixel. With one instance or none there is no second term.

    instances     (batch, height, width) int; 0 is background, each other number an instance, in one
                  piece or several
    class_weight  (2,) w_c of background and of foreground
    w0, sigma     height of the second term and its reach in pixels
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
    """Where position i falls in [0, n - 1] if a line of n pixels goes on as its mirror image.

    The edge is not repeated: of 3 pixels, positions -2 to 4 are 2 1 0 1 2 1 0.
    """
    i = np.abs(i) % (2 * (n - 1)) if n > 1 else 0
    return min(i, 2 * (n - 1) - i)


def cubic(t):
    """Weight of a grid point at distance t in bicubic interpolation (Keys 1981, with a = -3/4)."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def elastic(images, displacement):
    """Elastic deformation (sec. 3.1): every pixel fetches its value along a smooth random field.

    images        (batch, height, width). Floats are interpolated bilinearly; integers are labels,
                  which take the nearest value
    displacement  (batch, 2, g, g) pixels down and right at the points of a coarse grid that spans
                  the picture; the paper draws 3 × 3 points from N(0, 10²). Between them bicubic
                  interpolation; beyond the grid its edge goes on
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
