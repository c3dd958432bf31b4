"""What the definitions of audio_losses and their twins are tried on."""

import numpy as np


def stft(rng):
    """One sample; the smallest window; a length that no hop divides; a window longer than the
    sound; a pure tone; windows that are no power of two."""
    yield rng.normal(size=(1, 1)), 4
    yield rng.normal(size=(2, 9)), 4
    yield rng.normal(size=(3, 21)), 8
    yield rng.normal(size=(1, 5)), 16
    yield np.sin(2 * np.pi * 3 / 16 * np.arange(32))[None] + 0.1 * rng.normal(size=(1, 32)), 16
    yield rng.normal(size=(2, 30)), 12


def mel_filters(rng):
    """One band; several; bands so narrow that some hold no frequency; another rate."""
    for rate, n, bands in [(8000, 16, 1), (8000, 64, 8), (8000, 32, 16), (24000, 48, 5)]:
        yield np.arange(n // 2 + 1) * rate / n, bands


def log_mel(rng):
    """A window with one band, and others up to more than 32 · 8 samples; a whisper."""
    for B, T, rate, n in [(1, 9, 8000, 8), (2, 50, 8000, 32), (1, 40, 16000, 264)]:
        yield rng.normal(size=(B, T)), rate, n
    loud = np.array([[0.01], [1.0]])
    yield loud * rng.normal(size=(2, 30)), 8000, 16


def spectral_distance(rng):
    """One window, several; one that is louder; two rates."""
    for B, T, rate, windows in [
        (1, 12, 8000, (8,)),
        (2, 40, 8000, (8, 32)),
        (1, 30, 24000, (16, 264)),
    ]:
        x = rng.normal(size=(B, T))
        yield x, 2 * x + rng.normal(size=(B, T)), rate, windows


def balance(rng):
    """The first step of a run: the published weights of two losses; later ones; one loss; losses
    whose gradients differ a thousandfold; another beta."""
    grads = np.array([[[3.0, 4.0], [0.0, 2.0]], [[0.0, 30.0], [40.0, 0.0]]])
    yield grads, np.array([3.0, 1.0]), np.zeros(2), 0.0
    yield grads, np.array([3.0, 1.0]), np.array([9.0, 50.0]), 2.5
    yield rng.normal(size=(1, 3, 4)), np.array([0.5]), np.zeros(1), 0.0
    many = rng.normal(size=(3, 2, 5)) * np.array([1.0, 1000.0, 0.001])[:, None, None]
    yield many, np.array([1.0, 3.0, 4.0]), np.array([1.0, 2000.0, 0.01]), 1.7, 0.9
    yield 1e-12 * grads, np.array([1.0, 1.0]), np.zeros(2), 0.0  # hardly a gradient at all
