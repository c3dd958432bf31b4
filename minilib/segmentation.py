"""What the U-Net is trained with: a border-weighted loss, and elastic deformation of its pictures.

Names and symbols are those of minilib/naive/segmentation.py.
"""

import math

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.naive import segmentation as naive

# -- the loss --------------------------------------------------------------------------------------


@twin(naive.pixel_loss)
def pixel_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of every pixel times its weight (eq. 1), nats; the mean, the paper has the sum.

    logits   (batch, classes, height, width)
    labels   (batch, height, width) int64
    weights  (batch, height, width)
    """
    if logits.dim() != 4 or not logits.is_floating_point():
        got = f"{logits.dtype} of shape {tuple(logits.shape)}"
        raise ValueError(
            f"logits must be floats of shape (batch, classes, height, width), got {got}"
        )
    if not logits.numel():
        raise ValueError(f"logits must have at least one pixel, got shape {tuple(logits.shape)}")
    shape = (len(logits), *logits.shape[2:])
    for name, value in (("labels", labels), ("weights", weights)):
        if tuple(value.shape) != shape:
            wanted = f"{shape}, as logits have"
            raise ValueError(f"{name} must have shape {wanted}, got {tuple(value.shape)}")
    if labels.dtype != torch.int64 or not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        got = f"{labels.dtype} from {labels.min()} to {labels.max()}"
        raise ValueError(f"labels must be int64 from 0 to {logits.shape[1] - 1}, got {got}")
    return (weights * nn.functional.cross_entropy(logits, labels, reduction="none")).mean()


@twin(naive.weight_map)
def weight_map(
    instances: Tensor, class_weight: Tensor, w0: float = 10.0, sigma: float = 5.0
) -> Tensor:
    """Weight of each pixel in the loss (eq. 2): of its class, and more between near instances.

    instances     (batch, height, width) int64; 0 is background, each other number an instance
    class_weight  (2,) w_c of background and of foreground, in the dtype of the result
    w0, sigma     height of the second term and its reach in pixels
    returns       (batch, height, width)
    """
    if instances.dim() != 3 or instances.is_floating_point() or not len(instances):
        got = f"{instances.dtype} of shape {tuple(instances.shape)}"
        wanted = "integers of shape (batch, height, width), batch 1 or more"
        raise ValueError(f"instances must be {wanted}, got {got}")
    if tuple(class_weight.shape) != (2,) or not class_weight.is_floating_point() or not sigma > 0:
        got = f"{tuple(class_weight.shape)}, {class_weight.dtype} and {sigma}"
        wanted = "shape (2,) and a float dtype and sigma be positive"
        raise ValueError(f"class_weight must have {wanted}, got {got}")
    dtype = torch.promote_types(class_weight.dtype, torch.float32)  # half holds no 256²
    reach = torch.stack([sum(_two_nearest(picture, dtype)) for picture in instances])  # d1 + d2
    border = w0 * torch.exp(-(reach**2) / (2 * sigma**2))
    return class_weight[(instances != 0).long()] + border.to(class_weight.dtype)


def _two_nearest(picture, dtype):
    """Distances of each pixel to its two nearest instances; inf where there are fewer.

    Exact: in the row where the second nearest instance comes nearest, only the nearest one can be
    nearer, so that two instances a row are enough. Rows are visited from near to far until none can
    improve any pixel. Time: O(height · width · the largest d2), however many instances there are.
    """
    H, candidates = len(picture), _two_in_row(picture, dtype)
    square1 = torch.full(picture.shape, math.inf, dtype=dtype, device=picture.device)
    square2, name1 = square1.clone(), torch.zeros_like(picture)
    for k in range(H):
        if not (square2 > k * k).any():
            break
        upper, lower = slice(None, H - k), slice(k, None)  # rows k apart
        for here, there in ((upper, lower), (lower, upper)):
            s1, s2, n1 = square1[here], square2[here], name1[here]
            for square, name in candidates:
                square, name = square[there] + k * k, name[there]
                second = torch.minimum(s2, torch.maximum(s1, square))
                s2.copy_(torch.where(name == n1, s2, second))
                n1.copy_(torch.where(square < s1, name, n1))
                torch.minimum(s1, square, out=s1)
    return square1.sqrt(), square2.sqrt()


def _two_in_row(picture, dtype):
    """The two instances nearest to each pixel in its row: two pairs (squared distance, name)."""
    right = [picture.shape[1] - 1 - at.flip(1) for at in _two_left(picture.flip(1))]
    columns = torch.stack([*_two_left(picture), *right])  # (4, height, width)
    inside = (columns >= 0) & (columns < picture.shape[1])
    names = picture.expand(columns.shape).gather(2, columns.clamp(0, picture.shape[1] - 1))
    away = torch.arange(picture.shape[1], device=picture.device) - columns
    squares = away.to(dtype).square().masked_fill(~inside, math.inf)
    pairs = []
    for _ in range(2):
        square, side = squares.min(0)
        name = names.gather(0, side[None])[0]
        squares = squares.masked_fill(names == name, math.inf)
        pairs.append((square, name))
    return pairs


def _two_left(names):
    """Columns of the last instance up to each pixel, and of the last one with another name.

    names     1 . 2 2 . 1 .
    nearest   0 0 2 3 3 5 5
    other     - - 0 0 0 3 3      - is -1, none
    """
    column = torch.arange(names.shape[1], device=names.device)
    nearest = torch.where(names != 0, column, -1).cummax(1).values
    before = nn.functional.pad(nearest[..., :-1], (1, 0), value=-1)
    new = (names != 0) & (before >= 0) & (names != names.gather(1, before.clamp(min=0)))
    return nearest, torch.where(new, before, -1).cummax(1).values


# -- elastic deformation ---------------------------------------------------------------------------


@twin(naive.elastic)
def elastic(images: Tensor, displacement: Tensor) -> Tensor:
    """Elastic deformation (sec. 3.1): every pixel fetches its value along a smooth random field.

    images        (batch, height, width). Floats are interpolated bilinearly; integers are labels,
                  which take the nearest value
    displacement  (batch, 2, g, g) pixels down and right on a coarse grid; the paper draws 3 × 3
                  points from N(0, 10²)
    returns       as images. What lies outside of the picture is its mirror image

    Bicubic interpolation is linear in the grid and the axes separate: the field is one matrix
    product from each side. Positions keep the precision of `displacement`, under autocast too.
    """
    if images.dim() != 3:
        got = tuple(images.shape)
        raise ValueError(f"images must have shape (batch, height, width), got {got}")
    B, H, W = images.shape
    g = displacement.shape[-1]
    if tuple(displacement.shape) != (B, 2, g, g) or not g or not displacement.is_floating_point():
        got = f"{displacement.dtype} of shape {tuple(displacement.shape)}"
        wanted = f"floats of shape ({B}, 2, g, g), g 1 or more"
        raise ValueError(f"displacement must be {wanted}, got {got}")
    with torch.autocast(images.device.type, enabled=False):
        field = _bicubic(H, displacement) @ displacement @ _bicubic(W, displacement).t()
    i, j = torch.arange(H, device=field.device)[:, None], torch.arange(W, device=field.device)
    y, x = mirror(i + field[:, 0], H), mirror(j + field[:, 1], W)  # each (B, H, W)
    if not images.is_floating_point():
        return _pick(images, y.round().long(), x.round().long())
    top, left = y.detach().long(), x.detach().long()
    below, right = (top + 1).clamp(max=H - 1), (left + 1).clamp(max=W - 1)
    down, along = (y - top).to(images.dtype), (x - left).to(images.dtype)
    above = torch.lerp(_pick(images, top, left), _pick(images, top, right), along)
    under = torch.lerp(_pick(images, below, left), _pick(images, below, right), along)
    return torch.lerp(above, under, down)


def mirror(i: Tensor, n: int) -> Tensor:
    """Positions -> positions in [0, n - 1] of a line that goes on as its mirror image."""
    period = 2 * (n - 1)
    i = i.abs() % period if n > 1 else 0 * i
    return torch.minimum(i, period - i)


def _pick(images, row, column):
    """The pixels of each picture at these places, which are (batch, height, width), too."""
    places = row * images.shape[2] + column
    return images.flatten(1).gather(1, places.flatten(1)).view(images.shape)


def _bicubic(n, like):
    """(n, g) weights of the g grid points at each of n pixels (Keys 1981, a = -3/4).

    Beyond the grid its edge goes on.
    """
    g = like.shape[-1]
    u = torch.arange(n, device=like.device, dtype=like.dtype) * (g - 1) / max(n - 1, 1)
    p = u.floor()[:, None] + torch.arange(-1, 3, device=like.device)
    t, a = (u[:, None] - p).abs(), -0.75
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    empty = torch.zeros(n, g, device=like.device, dtype=like.dtype)
    return empty.scatter_add(1, p.long().clamp(0, g - 1), torch.where(t <= 1, near, far))
