"""What the definitions of unet and their twins are tried on."""


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
    """One pixel; sizes all different; a column of pixels, with more channels before than after."""
    for B, C, H, W, out in [(1, 1, 1, 1, 1), (2, 3, 2, 5, 4), (1, 4, 3, 1, 2)]:
        yield rng.normal(size=(B, C, H, W)), rng.normal(size=(C, out, 2, 2)), rng.normal(size=out)


def crop(rng):
    """Nothing to cut; even remainders that differ; odd ones, to be cut from bottom and right."""
    for H, W, height, width in [(1, 1, 1, 1), (6, 8, 4, 2), (7, 6, 4, 3)]:
        yield rng.normal(size=(2, 1, H, W)), height, width


def output_size(rng):
    """The least size of depths 0 to 4, one step more at depth 2, and the paper's size."""
    yield from [(5, 0), (18, 1), (44, 2), (48, 2), (92, 3), (188, 4), (572, 4)]


def unet(rng):
    """No pooling at all; three classes, sides that differ; no skips; two levels, the least size."""
    for C, classes, channels, depth, skips, B, H, W in [
        (1, 2, 2, 0, True, 1, 5, 6),
        (2, 3, 2, 1, True, 2, 18, 20),
        (1, 2, 2, 1, False, 1, 20, 18),
        (1, 2, 1, 2, True, 1, 44, 44),
    ]:
        net = {"in_channels": C, "classes": classes, "channels": channels, "depth": depth}
        yield net | {"skips": skips}, rng.normal(size=(B, C, H, W))


class _Stand:
    """A net for tests, NumPy or torch, that sees what a U-Net sees.

    Each pixel times the first of its 2 × 2 block: it notices where pooling windows fall. And the
    pixels `cut` up and left, `cut` down and right of it: it notices what lies beyond the edges. A
    border of `cut` pixels is lost.
    """

    def __init__(self, cut):
        self.cut = cut

    def __call__(self, x):
        rows, columns = (range(self.cut, n - self.cut) for n in x.shape[2:])
        inner = x[:, :, rows.start : rows.stop, columns.start : columns.stop]
        first = x[:, :, [k // 2 * 2 for k in rows]][..., [k // 2 * 2 for k in columns]]
        before = x[:, :, : len(rows), : len(columns)]
        behind = x[:, :, -len(rows) :, -len(columns) :]
        return inner * first + 2 * before - 3 * behind

    def __repr__(self):
        return f"a net that loses {self.cut} pixels at each edge"


def tile_predict(rng):
    """One tile; one pixel; inner tiles of 5, so that they overlap; a wide margin; none at all.

    In the fourth the mirror image is mirrored again, as the margin is wider than the picture.
    """
    for H, W, tile, margin in [
        (4, 4, 8, 4),
        (1, 1, 6, 4),
        (7, 10, 9, 4),
        (5, 3, 18, 16),
        (5, 6, 4, 0),
    ]:
        yield _Stand(margin // 2), rng.normal(size=(2, 1, H, W)), tile, margin, 2
