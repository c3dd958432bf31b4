"""What the definitions of segmentation and their twins are tried on."""

import numpy as np


def pixel_loss(rng):
    """One pixel; sizes all different; classes of size 400; pixels 1,000 apart.

    In the third exponentials overflow. In the last one maximum for all pixels is none: beside
    1000 all that the others have underflows.
    """
    for B, K, H, W, scale in [(1, 2, 1, 1, 1), (2, 3, 2, 5, 1), (1, 4, 3, 3, 400)]:
        logits, labels = scale * rng.normal(size=(B, K, H, W)), rng.integers(K, size=(B, H, W))
        yield logits, labels, rng.random((B, H, W))
    logits = rng.normal(size=(1, 2, 1, 3)) + np.array([0.0, -1000.0, 1000.0])
    yield logits, np.array([[[1, 0, 1]]]), np.ones((1, 1, 3))


def weight_map(rng):
    """Nothing; one pixel; one instance; two, one of them in two pieces; several; a full picture.

    In the last but one case the second nearest instance hides behind the nearest, in its own row.
    """
    w = rng.random(2)
    yield _picture("..../...."), w
    yield _picture("1"), w
    yield _picture("11./..."), w
    yield _picture("11...2./......2/1....2."), w, 3.0, 2.0
    yield rng.integers(4, size=(2, 5, 7)), w, 10.0, 1.0
    yield _picture("3.2.111../........./........4"), w
    yield 7 * rng.integers(1, 3, size=(1, 4, 3)), w


def _picture(text):
    """ "1./.2" -> [[[1, 0], [0, 2]]], a small picture of instances."""
    return np.array([[[0 if c == "." else int(c) for c in row] for row in text.split("/")]])


def elastic(rng):
    """One pixel; one row; far beyond the edge; labels; a grid of one point; two pixels a side.

    With sides of 2 the next pixel is the last one, and a mirror image has a period of 2.
    """
    yield rng.normal(size=(1, 1, 1)), rng.normal(size=(1, 2, 3, 3))
    yield rng.normal(size=(1, 1, 6)), rng.normal(size=(1, 2, 3, 3))
    yield rng.normal(size=(2, 7, 9)), 2 * rng.normal(size=(2, 2, 3, 3))
    yield rng.normal(size=(1, 5, 4)), 30 * rng.normal(size=(1, 2, 4, 4))
    yield rng.integers(5, size=(2, 8, 5)), 3 * rng.normal(size=(2, 2, 3, 3))
    yield rng.normal(size=(1, 4, 4)), rng.normal(size=(1, 2, 1, 1))
    yield rng.normal(size=(1, 2, 2)), rng.normal(size=(1, 2, 3, 3))
