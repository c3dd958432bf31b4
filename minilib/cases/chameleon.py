"""What the definitions of chameleon and their twins are tried on."""

import numpy as np

# -- one stream ------------------------------------------------------------------------------------


def interleave(rng):
    """A pair of one word and one code; both orders in a batch; no word, and captions of every
    length; more codes than words; words and codes of the same number, first and last of each."""
    yield np.array([[1]]), np.array([[0]]), np.array([True]), 2, 1
    yield np.array([[1]]), np.array([[0]]), np.array([False]), 2, 1
    captions = np.array([[3, 1, 4], [2, 0, 0], [0, 0, 0], [4, 4, 0]])
    pictures = rng.integers(9, size=(4, 5))
    for first in ([True, False, True, False], [False, True, False, True]):
        yield captions, pictures, np.array(first), 5, 9
    yield (
        np.array([[1, 2], [2, 1]]),
        np.array([[1, 2, 0], [0, 2, 1]]),
        np.array([False, True]),
        3,
        3,
    )


def modality_mask(rng):
    """Each part of a row in both orders; a picture that is not whole, whole, too long; two pictures
    in a row; a picture of one code; what follows stop; begin and stop where they do not belong;
    symbols in any order."""
    words, codes = 4, 3
    start, begin, finish, stop = range(7, 11)
    picture = [begin, 4, 6, finish]
    yield np.array([[start]]), words, codes, 2
    yield np.array([[start, 1, 3, *picture, stop, 0, 0]]), words, codes, 2
    yield np.array([[start, *picture, 2, 1, stop, 0, 0]]), words, codes, 2
    yield np.array([[start, begin, 5, 4, 4, 6, finish, 1, *picture, 3]]), words, codes, 2
    yield np.array([[start, 1, begin, 5, finish, begin, 4, finish, stop]]), words, codes, 1
    yield np.array([[start, begin, 4, begin, 5, 4, stop, begin, 4, 4, 1]]), words, codes, 2
    yield np.array([[start, 4, finish, 5, 6], [stop, 1, 2, 3, 0], [start, *picture]]), 4, 3, 2
    yield rng.integers(11, size=(6, 12)), words, codes, 3


# -- queries and keys of bounded length ------------------------------------------------------------


def _norms(rng, H, D):
    """Gains and biases of queries and keys, each of its own."""
    return [shift + 0.5 * rng.normal(size=(H, D)) for shift in (1, 0, 1, 0)]


def head_norm(rng):
    """One head; heads of very different size, which a norm over all of them would mix, with gains
    of their own; rows that are constant; small rows, where the 1e-5 tells."""
    for B, H, T, D in [(1, 1, 1, 4), (2, 3, 4, 5)]:
        size = 10.0 ** np.arange(H)[:, None, None]
        yield size * rng.normal(size=(B, H, T, D)), *_norms(rng, H, D)[:2]
    yield np.ones((1, 2, 1, 3)) * [[[2.0]], [[-1.0]]], *_norms(rng, 2, 3)[:2]
    yield 0.003 * rng.normal(size=(1, 2, 3, 4)), *_norms(rng, 2, 4)[:2]


def qk_norm_attention(rng):
    """One step; sizes all different; heads of very different size; a future key that a query would
    match best, and a step that matches itself with a negative logit alone."""
    for B, H, T, D in [(1, 1, 1, 4), (2, 3, 5, 4), (1, 2, 3, 6)]:
        size = 10.0 ** np.arange(H)[:, None, None]
        q, k, v = rng.normal(size=(3, B, H, T, D))
        yield size * q, k / size, v, *_norms(rng, H, D)
    q = np.array([[3.0, 1, 0, -4], [1, 1, 0, -2]])[None, None]
    k = np.array([[-3.0, -1, 0, 4], [9, 3, 0, -12]])[None, None]
    fixed = np.array([[1.0, 1, 1, 1]]), np.zeros((1, 4))
    yield q, k, rng.normal(size=(1, 1, 2, 4)), *fixed, *fixed
    yield q[:, :, :1], k[:, :, :1], rng.normal(size=(1, 1, 1, 4)), *fixed, *fixed


def logit_bound(rng):
    """Gains of 1 and biases of 0, where it is √D; the largest gain negative; biases alone; any."""
    one, none = np.ones((2, 4)), np.zeros((2, 4))
    yield one, none, one, none
    yield np.array([[0.5, -3.0]]), np.zeros((1, 2)), np.array([[1.0, 0.25]]), np.zeros((1, 2))
    yield none[:1], np.array([[3.0, 4.0, 0, 0]]), none[:1], np.array([[1.0, -2.0, 2.0, 0]])
    yield tuple(_norms(rng, 3, 5))
    yield tuple(_norms(rng, 1, 1))


# -- the block -------------------------------------------------------------------------------------


def residual_bound(rng):
    """One branch; several, with negative gains; none; gains that are 1."""
    yield np.array([2.0]), np.array([[1.0]])
    yield rng.random(4), rng.normal(size=(6, 5))
    yield rng.random(3), np.zeros((0, 4))
    yield np.zeros(2), np.ones((3, 9))


SIZES = "width", "heads", "hidden", "context", "qk_norm", "order"


def block(rng):
    """Few steps; both orders with and without QK-norm; a text longer than the context; rows so
    large that the order of norm and branch decides all."""
    for sizes, B, T, size in [
        ((4, 1, 3, 8, True, "swin"), 1, 2, 1),
        ((4, 1, 3, 8, False, "swin"), 2, 3, 1),
        ((8, 2, 5, 8, True, "pre"), 2, 4, 1),
        ((4, 2, 8, 8, False, "pre"), 1, 5, 1),
        ((8, 2, 3, 3, True, "swin"), 1, 7, 1),
        ((4, 1, 6, 2, True, "pre"), 2, 5, 30),
        ((4, 1, 6, 4, True, "swin"), 1, 3, 30),
    ]:
        yield dict(zip(SIZES, sizes, strict=True)), size * rng.normal(size=(B, T, sizes[0]))


def chameleon(rng):
    """One symbol; both orders with and without QK-norm; a text longer than the context."""
    for sizes, V, layers, B, T in [
        ((4, 1, 2, 8, True, "swin"), 2, 1, 1, 1),
        ((8, 2, 6, 8, True, "swin"), 7, 2, 2, 4),
        ((4, 1, 3, 8, False, "pre"), 5, 1, 2, 3),
        ((8, 2, 4, 8, True, "pre"), 5, 2, 1, 5),
        ((4, 1, 5, 8, False, "swin"), 6, 2, 1, 4),
        ((8, 2, 3, 3, True, "swin"), 5, 3, 2, 6),
    ]:
        shape = {"vocab_size": V, "layers": layers} | dict(zip(SIZES, sizes, strict=True))
        yield shape, rng.integers(V, size=(B, T))


# -- the loss --------------------------------------------------------------------------------------


def log_z(rng):
    """Two equal logits; any; so large, and so small, that exp overflows; one symbol alone."""
    yield (np.zeros((1, 2)),)
    yield (rng.normal(size=(2, 3, 5)),)
    yield (1000 + rng.normal(size=(2, 4)),)
    yield (rng.normal(size=(3, 3)) - 1000,)
    yield (np.array([[7.0], [-2.0]]),)


def _logits(rng):
    """(logits, counted, weight): places that do not count have the largest log Z by far."""
    for B, T, V, weight in [(1, 1, 1, 1.0), (2, 3, 4, 0.5), (3, 2, 5, 1e-3)]:
        counted = np.ones((B, T), bool)
        yield rng.normal(size=(B, T, V)), counted, weight
    counted = np.array([[True, True, False, False], [True, False, False, True]])
    yield rng.normal(size=(2, 4, 3)) + 40 * ~counted[..., None], counted, 0.25
    # log Z of 3 and -5: their mean squared is not the square of their mean
    rows = np.array([[3.0, 3.0], [-5.0, -5.0]])[None] - np.log(2)
    yield rows, np.ones((1, 2), bool), 2.0
    yield 900 + rng.normal(size=(1, 2, 3)), np.array([[True, False]]), 0.5


def z_loss(rng):
    """All count; padding with the largest log Z; signs that a mean would cancel; an exp that
    overflows."""
    yield from _logits(rng)


def z_loss_gradient(rng):
    """As for the z-loss."""
    yield from _logits(rng)


def stream_loss(rng):
    """No z-loss; rows that end early, whose padding has the largest log Z; large logits."""
    yield rng.normal(size=(1, 1, 2)), np.array([[1, 1]])
    yield rng.normal(size=(2, 3, 5)), rng.integers(1, 5, size=(2, 4)), 0.5
    ids = np.array([[3, 1, 2, 4, 0, 0], [3, 4, 0, 0, 0, 0], [3, 2, 1, 2, 1, 4]])
    padded = ids[:, 1:] == 0
    yield rng.normal(size=(3, 5, 5)) + 40 * padded[..., None], ids, 0.25
    yield rng.normal(size=(3, 5, 5)), ids, 1e-3
    yield 900 + rng.normal(size=(1, 2, 3)), np.array([[0, 2, 1]]), 1.0
