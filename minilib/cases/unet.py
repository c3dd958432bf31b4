"""What the definitions of unet and their twins are tried on."""

import numpy as np


def conv2d(rng):
    """One pixel; a kernel as large as the picture; odd sizes, all different; a flat kernel."""
    for B, C, H, W, out, K, L in [
        (1, 1, 1, 1, 1, 1, 1),
        (1, 2, 3, 3, 1, 3, 3),
        (2, 3, 5, 8, 4, 3, 3),
        (2, 1, 4, 7, 2, 1, 4),
    ]:
        yield rng.normal(size=(B, C, H, W)), rng.normal(size=(out, C, K, L)), rng.normal(size=out)


def max_pool(rng):
    """One window; all different; more than one row of windows; negative values only."""
    for B, C, H, W in [(1, 1, 2, 2), (2, 3, 4, 6)]:
        yield (rng.normal(size=(B, C, H, W)),)
    yield (-10 - rng.random((1, 2, 6, 2)),)


def up_conv(rng):
    for B, C, H, W, out in [(1, 1, 1, 1, 1), (2, 3, 2, 5, 4), (1, 4, 3, 1, 2)]:
        yield rng.normal(size=(B, C, H, W)), rng.normal(size=(C, out, 2, 2)), rng.normal(size=out)


def crop(rng):
    for H, W, height, width in [(1, 1, 1, 1), (6, 8, 4, 2), (7, 6, 4, 3)]:
        yield rng.normal(size=(2, 1, H, W)), height, width


def output_size(rng):
    yield from [(5, 0), (18, 1), (44, 2), (48, 2), (92, 3), (188, 4), (572, 4)]


def unet(rng):
    """No pooling at all; the least size; wide and low; three classes; two levels; no skips."""
    yield {"in_channels": 1, "classes": 2, "channels": 2, "depth": 0}, rng.normal(size=(1, 1, 5, 6))
    yield (
        {"in_channels": 2, "classes": 3, "channels": 2, "depth": 1},
        rng.normal(size=(2, 2, 18, 20)),
    )
    yield (
        {"in_channels": 1, "classes": 2, "channels": 2, "depth": 1, "skips": False},
        rng.normal(size=(1, 1, 20, 18)),
    )
    yield (
        {"in_channels": 1, "classes": 2, "channels": 1, "depth": 2},
        rng.normal(size=(1, 1, 44, 44)),
    )


def pixel_loss(rng):
    for B, K, H, W, scale in [(1, 2, 1, 1, 1), (2, 3, 2, 5, 1), (1, 4, 3, 3, 400)]:
        yield (
            scale * rng.normal(size=(B, K, H, W)),
            rng.integers(K, size=(B, H, W)),
            rng.random((B, H, W)),
        )


def weight_map(rng):
    """Nothing; one pixel; one instance; two, one of them in two pieces; several of any shape, and a full picture."""
    w = rng.random(2)
    yield _picture("..../...."), w
    yield _picture("1"), w
    yield _picture("11./..."), w
    yield _picture("11...2./......2/1....2."), w, 3.0, 2.0
    yield rng.integers(4, size=(2, 5, 7)), w, 10.0, 1.0
    yield 7 * rng.integers(1, 3, size=(1, 4, 3)), w


def _picture(text):
    """ "1./.2" -> [[[1, 0], [0, 2]]], a small picture of instances."""
    return np.array([[[0 if c == "." else int(c) for c in row] for row in text.split("/")]])


def elastic(rng):
    """One pixel; one row; far beyond the edge; labels; a grid of one point."""
    yield rng.normal(size=(1, 1, 1)), rng.normal(size=(1, 2, 3, 3))
    yield rng.normal(size=(1, 1, 6)), rng.normal(size=(1, 2, 3, 3))
    yield rng.normal(size=(2, 7, 9)), 2 * rng.normal(size=(2, 2, 3, 3))
    yield rng.normal(size=(1, 5, 4)), 30 * rng.normal(size=(1, 2, 4, 4))
    yield rng.integers(5, size=(2, 8, 5)), 3 * rng.normal(size=(2, 2, 3, 3))
    yield rng.normal(size=(1, 4, 4)), rng.normal(size=(1, 2, 1, 1))


class _Stand:
    """A net for tests, NumPy or torch: each pixel times the first of its 2 × 2 block, a border of `cut` pixels lost."""

    def __init__(self, cut):
        self.cut = cut

    def __call__(self, x):
        first = lambda n: [k // 2 * 2 for k in range(self.cut, n - self.cut)]
        inner = x[:, :, self.cut : x.shape[2] - self.cut, self.cut : x.shape[3] - self.cut]
        return inner * x[:, :, first(x.shape[2])][..., first(x.shape[3])]

    def __repr__(self):
        return f"a net that loses {self.cut} pixels at each edge"


def tile_predict(rng):
    """One tile; one pixel; tiles that overlap, as 5 is not even; a margin wider than the picture; nothing lost."""
    for H, W, tile, margin in [
        (4, 4, 8, 4),
        (1, 1, 6, 4),
        (7, 10, 9, 4),
        (5, 3, 18, 16),
        (5, 6, 4, 0),
    ]:
        yield _Stand(margin // 2), rng.normal(size=(2, 1, H, W)), tile, margin, 2
