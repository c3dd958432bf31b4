"""What the definitions of audio_codec and their twins are tried on."""

import numpy as np


def causal_conv1d(rng):
    """One of each; sizes all different; strides; dilation; both; a kernel as wide as its stride,
    which needs no zeros."""
    for B, inside, outside, T, K, stride, dilation in [
        (1, 1, 1, 1, 1, 1, 1),
        (2, 3, 4, 5, 3, 1, 1),
        (3, 2, 1, 12, 6, 3, 1),
        (1, 2, 3, 9, 3, 1, 4),
        (2, 1, 2, 10, 4, 2, 3),
        (1, 3, 2, 8, 4, 4, 1),
    ]:
        x, w = rng.normal(size=(B, inside, T)), rng.normal(size=(outside, inside, K))
        yield x, w, rng.normal(size=outside), stride, dilation
    yield rng.normal(size=(1, 2, 6)), rng.normal(size=(3, 2, 2)), rng.normal(size=3)


def causal_conv_transpose1d(rng):
    """One of each; sizes all different; frames that overlap by half, by more, not at all."""
    for B, inside, outside, frames, K, stride in [
        (1, 1, 1, 1, 1, 1),
        (2, 3, 1, 4, 6, 3),
        (3, 2, 4, 5, 7, 2),
        (1, 2, 3, 2, 4, 4),
    ]:
        y, w = rng.normal(size=(B, inside, frames)), rng.normal(size=(inside, outside, K))
        yield y, w, rng.normal(size=outside), stride


NETS = [(1, 2, 0, 3), (4, 3, 1, 2), (3, 2, 3, 9)]  # hop, hidden, units, frames


def encoder(rng):
    """No unit; one; three, dilated by 1, 2 and 4; a sound longer than all of them reach."""
    for hop, hidden, units, frames in NETS:
        net = {"hop": hop, "hidden": hidden, "units": units}
        yield net, rng.normal(size=(2, hop * frames))


def decoder(rng):
    """As the encoder."""
    for hop, hidden, units, frames in NETS:
        net = {"hop": hop, "hidden": hidden, "units": units}
        yield net, rng.normal(size=(2, frames, hop))


def audio_codec(rng):
    """All stages, and one; one code in a book; sounds as loud as the codes."""
    for hop, hidden, units, stages, size, used, frames in [
        (2, 3, 1, 3, 4, 3, 5),
        (4, 2, 2, 2, 5, 1, 3),
        (3, 2, 1, 2, 1, 2, 4),
    ]:
        net = {"hop": hop, "hidden": hidden, "units": units, "stages": stages, "size": size}
        yield net, rng.normal(size=(2, hop * frames)), used


def kbps(rng):
    """The published rates; one symbol; a size that is no power of two."""
    for stages in (2, 32):
        yield 75, stages, 1024
    yield 250, 1, 2
    yield 100.0, 3, 10


def stages_for(rng):
    """Exactly full; a little less and more; less than one stage; a size that is no power of two."""
    for rate in (6, 5.995, 6.01, 0.7, 24):
        yield rate, 75, 1024
    yield 3.0, 100, 10


def si_snr(rng):
    """Two samples more than a mean; louder and softer; shifted; turned upside down; near."""
    yield np.array([[1.0, 2.0, 4.0]]), np.array([[1.0, 5.0, 2.0]])
    x = rng.normal(size=(3, 20))
    yield x, 2 * x + rng.normal(size=x.shape) + 3
    yield x, -0.1 * x + 0.01 * rng.normal(size=x.shape)
