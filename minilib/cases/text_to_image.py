"""What the definitions of text_to_image and their twins are tried on."""

import numpy as np


def _uniforms(rng, *shape):
    return 0.02 + 0.96 * rng.random(shape)


def gumbel_softmax(rng):
    """One code; one place; several; a cold and a hot draw; scores that lie 2,000 apart."""
    for shape, tau in [((1,), 1.0), ((5,), 0.5), ((2, 3, 4), 1.0), ((3, 2), 1 / 4), ((2, 4), 7.0)]:
        yield rng.normal(size=shape), _uniforms(rng, *shape), tau
    yield np.array([[1000.0, -1000.0, 0.0]]), _uniforms(rng, 1, 3), 0.9


def kl_to_uniform(rng):
    """One code; equal pairs, almost uniform; several places, none; a code of chance 0, as large
    logits make it and as -inf does."""
    yield (np.array([3.0]),)
    yield (np.array([[0.5, 0.5, -1.0, -1.0], [0.0, 0.1, 0.0, 0.1]]),)
    yield (2 * rng.normal(size=(2, 3, 4)),)
    yield (np.array([[0.0, -2000.0, 0.5], [2000.0, 0.0, 2000.5]]),)
    yield (np.array([[-np.inf, 0.0, 0.5], [1.0, -np.inf, -np.inf]]),)
    yield (np.zeros((0, 3)),)


def anneal(rng):
    """Up and down; the first step, between, the last and one after it."""
    for step in (0, 3, 10, 13):
        yield step, 10, 1.0, 1 / 16
    yield 5, 20, -1.0, 4.0


def vae_loss(rng):
    """One of each; sizes all different; no weight of the KL; logits beyond exp's reach, exact."""
    for B, H, W, h, w, K, beta in [
        (1, 4, 4, 1, 1, 2, 1.0),
        (3, 8, 4, 2, 1, 5, 0.3),
        (2, 4, 8, 1, 2, 3, 0),
    ]:
        size = B, 1, H, W
        yield rng.normal(size=size), rng.normal(size=size), rng.normal(size=(B, h, w, K)), beta
    far = np.array([[[[1024.5, 1023.0, 1024.0]]]])
    yield rng.normal(size=(1, 1, 4, 4)), rng.normal(size=(1, 1, 4, 4)), far, 0.5


def map_pixels(rng):
    """Both ends and between; another margin."""
    yield (np.array([0.0, 0.25, 1.0]),)
    yield rng.random((2, 3)), 0.2


def unmap_pixels(rng):
    """Within the margin, and beyond it, where the result is cut; another margin."""
    yield (np.array([0.02, 0.11, 0.3, 0.89, 0.97]),)
    yield np.array([[0.3, 0.1], [0.79, 0.85]]), 0.2


def logit_laplace(rng):
    """The middle; values on both sides of mu; narrow and wide; near both ends."""
    yield np.array(0.5), np.array(0.25), np.array(0.0)
    x = np.array([0.9, 0.1, 0.2, 0.001, 0.999])
    yield x, np.array([1.0, -2.0, 3.0, 0.5, -0.5]), np.array([-0.7, 0.7, 0.0, 1.5, -2.0])
    yield _uniforms(rng, 2, 3), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))


def row_mask(rng):
    """One code; small grids."""
    for W in (1, 2, 3, 5):
        yield (W,)


column_mask = row_mask


def conv_mask(rng):
    """Kernels of one, smaller than the grid, as large, larger."""
    yield from [(1, 1), (2, 1), (4, 3), (5, 3), (3, 5), (6, 5), (2, 7)]


def mask_kinds(rng):
    """One layer to eleven: the first columns are in layers 2, 6 and 10."""
    for layers in (1, 2, 3, 6, 7, 11):
        yield (layers,)


def drawing_mask(rng):
    """One word and one code; a mask of no pattern, true also where the future is."""
    yield 1, np.array([[True]])
    yield 3, rng.random((4, 4)) < 0.5
    yield 2, np.ones((3, 3), bool)
    yield 2, np.zeros((3, 3), bool)


WORDS = ["", "A", "LETTER", "SERIF", "B", "WITH", "A"]


def caption(rng):
    """One word; all places; fewer; more spaces; a word that stands twice in the list or caption."""
    yield "A", WORDS, 1
    yield "SERIF LETTER B", WORDS, 3
    yield "SERIF LETTER B", WORDS, 6
    yield "  B   WITH\nA ", WORDS, 4
    yield "B B B", WORDS, 4


def drawing_loss(rng):
    """One word and one code; sizes all different; one word of many; another share, all and none;
    logits that lie 2,000 apart."""
    for B, T, V, text, more in [
        (1, 3, 2, 1, ()),
        (2, 7, 5, 2, ()),
        (3, 6, 4, 4, ()),
        (2, 9, 3, 3, (0.5,)),
        (2, 5, 3, 1, (1.0,)),
        (2, 5, 3, 2, (0.0,)),
    ]:
        yield rng.normal(size=(B, T, V)), rng.integers(V, size=(B, T)), text, *more
    far = np.array([[[1000.0, -1000.0], [-1000.0, 1000.0], [3.0, 4.0]]])
    yield far, np.array([[1, 1, 1]]), 1


def text_to_image(rng):
    """One code; a caption begun, one drawing, two and a piece, one and a piece. All three
    masks, and a second column layer; words that are none (0) and codes of all kinds."""
    for words, codes, text, side, C, layers, H, kernel, B, T in [
        (2, 1, 1, 1, 4, 1, 1, 3, 1, 1),
        (3, 2, 2, 2, 4, 2, 1, 1, 1, 7),
        (4, 3, 3, 3, 8, 3, 2, 5, 2, 13),
        (3, 4, 2, 2, 8, 7, 2, 3, 1, 17),
        (2, 5, 1, 4, 4, 1, 1, 3, 1, 20),
    ]:
        sizes = {"words": words, "codes": codes, "text": text, "side": side, "width": C}
        ids = rng.integers(words + codes + 1, size=(B, T))
        ids[0, : 1 + text] = [words + codes, *range(text)][:T]
        if T > 1:
            ids[0, -1] = 0  # no word, where none is expected
        yield sizes | {"layers": layers, "heads": H, "kernel": kernel}, ids


def contrastive_loss(rng):
    """One pair; several; scores that lie 2,000 apart in rows and columns."""
    yield (np.array([[2.0]]),)
    yield (rng.normal(size=(4, 4)),)
    yield (np.array([[1000.0, -1000.0, 3.0], [0.0, -1000.0, -2000.0], [0.5, 0.0, 0.0]]),)


def rerank(rng):
    """One of one; all; ties, of which the first is better; the worst first."""
    yield np.array([[3.0]]), 1
    yield rng.normal(size=(3, 5)), 2
    yield np.array([[1.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]), 3
    yield np.array([[-1.0, 7.0, 0.5]]), 3


def scorer(rng):
    """One picture and caption; more captions than pictures; words that are none, first and last."""
    yield (
        {"words": 3, "channels": 1, "dim": 2, "pixels": 4},
        rng.normal(size=(1, 1, 4, 4)),
        np.array([[2]]),
    )
    captions = np.array([[1, 2, 0], [4, 4, 3], [0, 1, 0]])
    yield (
        {"words": 5, "channels": 2, "dim": 3, "pixels": 8},
        rng.normal(size=(2, 1, 8, 8)),
        captions,
    )


def discrete_vae(rng):
    """One place; sides that differ; cold and hot; another sharpness; scores beyond exp's reach."""
    for codes, dim, channels, sharpness, B, H, W, tau in [
        (2, 1, 1, 3.0, 1, 4, 4, 1.0),
        (5, 3, 2, 3.0, 2, 8, 12, 0.5),
        (3, 2, 3, 0.5, 1, 12, 8, 2.0),
        (3, 2, 2, 3000.0, 1, 4, 8, 1.0),
    ]:
        net = {"codes": codes, "dim": dim, "channels": channels, "sharpness": sharpness}
        u = _uniforms(rng, B, H // 4, W // 4, codes)
        yield net, rng.normal(size=(B, 1, H, W)), u, tau
