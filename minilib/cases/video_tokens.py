"""What the definitions of video_tokens and their twins are tried on."""

import numpy as np


def _filters(rng, out, inside, *kernel):
    return rng.normal(size=(out, inside, *kernel)), rng.normal(size=out)


def conv3d(rng):
    """One pixel; each axis with its own size, kernel and stride; 2-D and 1-D alone; causal and not;
    a kernel as wide as its stride, so nothing is padded; even kernels, whose odd zero is behind."""
    yield rng.normal(size=(1, 1, 1, 1, 1)), *_filters(rng, 1, 1, 1, 1, 1)
    for shape, (out, *kernel), stride, causal in [
        ((2, 3, 4, 6, 8), (2, 3, 4, 3), (2, 2, 1), True),
        ((2, 3, 4, 6, 8), (2, 3, 4, 3), (2, 2, 1), False),
        ((1, 2, 3, 4, 6), (4, 1, 4, 4), (1, 2, 2), True),
        ((1, 2, 3, 4, 5), (3, 1, 3, 2), (1, 1, 1), False),
        ((2, 2, 6, 2, 3), (3, 4, 1, 1), (2, 1, 1), True),
        ((2, 2, 6, 2, 3), (3, 5, 1, 1), (3, 1, 1), False),
        ((1, 1, 5, 2, 2), (1, 2, 1, 1), (1, 1, 1), True),
        ((1, 2, 4, 2, 2), (1, 2, 1, 2), (2, 1, 2), False),
        ((1, 2, 4, 4, 3), (2, 2, 2, 3), (2, 2, 3), True),
    ]:
        w, b = _filters(rng, out, shape[1], *kernel)
        yield rng.normal(size=shape), w, b, stride, causal


def _blenders(rng, lengths):
    """Causal and not; α near 0, a half and near 1; one channel and more."""
    for C, T, m, causal in zip(
        (1, 2, 3, 2), lengths, (2.0, 0.0, -3.0, 0.7), (True, False, True, True), strict=True
    ):
        w, b = _filters(rng, C, C, 3, 1, 1)
        yield rng.normal(size=(2, C, T, 1, 2)), w, b, np.array([m]), causal


def time_down(rng):
    """Two frames; more; causal and not; three values of m."""
    yield from _blenders(rng, (2, 6, 4, 8))


def time_up(rng):
    """One frame; more; causal and not; three values of m."""
    yield from _blenders(rng, (1, 3, 2, 4))


def receptive_field(rng):
    """No layer; each kind alone, causal and not, even kernels; the encoder and the decoder, whose
    frames beyond the ends count, too; no frame at all."""
    frames = np.array([0, 1, 2, 5])
    for layers in ([], [(3, 1)], [(4, 1)], [(3, 2)], [(4, 2)], [(0, 2)], [(0, 3)], [(2, 2)]):
        for causal in (True, False):
            yield layers, frames, causal
    yield [(3, 1), (3, 2), (3, 1), (3, 2), (3, 1)], frames, True
    yield [(3, 1), (3, 2), (3, 1), (3, 2), (3, 1)], frames, False
    yield [(3, 1), (0, 2), (3, 1), (3, 1), (0, 2), (3, 1), (3, 1)], np.arange(-3, 9), True
    yield [(3, 1), (0, 2), (4, 1), (3, 1), (0, 2), (5, 1)], np.arange(-3, 9), False
    yield [(3, 1)], np.zeros(0, np.int64)


def encoder(rng):
    """One frame, which stands alone; five and nine; causal and not; more than one channel."""
    for channels, width, d, causal, shape in [
        (1, 2, 3, True, (1, 1, 4, 4)),
        (2, 3, 2, True, (2, 5, 4, 8)),
        (1, 2, 4, False, (1, 9, 8, 4)),
    ]:
        B, T, H, W = shape
        net = {"channels": channels, "width": width, "dim": d, "causal": causal}
        yield net, rng.normal(size=(B, channels, T, H, W))


def decoder(rng):
    """One frame of codes; two and three; causal and not; more than one channel."""
    for channels, width, d, causal, shape in [
        (1, 2, 3, True, (1, 1, 1, 1)),
        (2, 3, 2, True, (2, 2, 1, 2)),
        (1, 2, 4, False, (1, 3, 2, 1)),
    ]:
        B, T, H, W = shape
        net = {"channels": channels, "width": width, "dim": d, "causal": causal}
        yield net, rng.normal(size=(B, d, T, H, W))


def psnr(rng):
    """One pixel; a clip and its noisy copy; frames of which one is nearly perfect."""
    yield np.array([[0.25]]), np.array([[0.75]])
    clip = rng.random((2, 1, 3, 4, 5))
    yield clip, clip + 0.1 * rng.normal(size=clip.shape)
    yield clip, clip + np.array([1e-6, 0.2, 0.3])[:, None, None]
