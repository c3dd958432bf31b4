"""Spectral distances and the balancer: torch's and SciPy's opinion, the test vector, refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.audio_losses import Balancer, balance, log_mel, mel_filters, spectral_distance, stft
from minilib.naive import audio_losses as naive

WRONG = {
    naive.stft: edited(
        naive.stft,
        no_window=("j * hop + n] * window", "j * hop + n] * 1.0"),
        squared=("abs((piece * turn).sum(1))", "abs((piece * turn).sum(1)) ** 2"),
        not_normalised=(" / np.sqrt((window**2).sum())", ""),
        symmetric_window=("np.cos(2 * np.pi * i / n)", "np.cos(2 * np.pi * i / (n - 1))"),
        mirrored=("(n // 2, n // 2)))", "(n // 2, n // 2)), mode='reflect')"),
    ),
    naive.mel_filters: edited(
        naive.mel_filters,
        even_in_hertz=(
            "mel = top * b / (bands + 1)",
            "mel = 2595 * np.log10(1 + hertz[-1] * b / (bands + 1) / 700)",
        ),
        natural_logarithm=("top = 2595 * np.log10(", "top = 2595 * np.log("),
        negative_sides=("max(0.0, min(rising, falling))", "min(rising, falling)"),
        unit_sums=(
            "    return out\n\n\ndef log_mel",
            "    return out / out.sum(1, keepdims=True)\n\n\ndef log_mel",
        ),
    ),
    naive.log_mel: edited(
        naive.log_mel,
        no_floor=("np.log10(FLOOR + bands)", "np.log10(bands)"),
        nats=("np.log10(FLOOR + bands)", "np.log(FLOOR + bands)"),
        always_32=("min(32, n // 8)", "32"),
    ),
    naive.spectral_distance: edited(
        naive.spectral_distance,
        no_square=(" + (difference**2).mean()", ""),
        sum_of_windows=("total / len(windows)", "total"),
        root=("(difference**2).mean()", "np.sqrt((difference**2).mean())"),
    ),
    naive.balance: edited(
        naive.balance,
        norm_of_the_batch=("np.mean(norms)", "np.sqrt(np.sum(np.square(norms)))"),
        no_bias_correction=("new[i] / count)", "new[i])"),
        weights_as_they_are=("weights[i] / weights.sum()", "weights[i]"),
        this_step_alone=("beta * sums[i] + np.mean", "np.mean"),
        weighed_before=("g += share * grads[i]", "g += share * weights[i] * grads[i]"),
    ),
}


# -- the balancer ----------------------------------------------------------------------------------

GRADS = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[0.0, 30.0], [40.0, 0.0]]], dtype=torch.float64)


def test_the_test_vector():
    # norms 5 and 2, mean 3.5; 30 and 40, mean 35; shares 3/4 and 1/4
    weights = torch.tensor([3.0, 1.0]).double()
    g, sums, count = balance(GRADS, weights, torch.zeros(2).double(), 0.0)
    wanted = torch.tensor([[9 / 14, 15 / 14], [2 / 7, 3 / 7]], dtype=torch.float64)
    torch.testing.assert_close(g, wanted, rtol=1e-12, atol=0)
    assert sums.tolist() == [3.5, 35.0] and count == 1
    again, sums, count = balance(2 * GRADS, weights, sums, count, beta=0.5)
    assert sums.tolist() == [0.5 * 3.5 + 7, 0.5 * 35 + 70] and count == 1.5
    torch.testing.assert_close(again, wanted * 2 * 3.5 / (8.75 / 1.5))


def test_the_class_is_the_function_and_shares_are_of_the_losses_that_are_there():
    sound = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    losses = {"a": (GRADS[0] * sound).sum(), "b": (GRADS[1] * sound).sum()}
    balancer = Balancer({"a": 3.0, "b": 1.0})
    wanted = torch.tensor([[9 / 14, 15 / 14], [2 / 7, 3 / 7]], dtype=torch.float64)
    torch.testing.assert_close(balancer.gradient(losses, sound), wanted)
    alone = balancer.gradient({"b": losses["b"]}, sound)  # all of the gradient is its own
    torch.testing.assert_close(alone, GRADS[1] / 35)


@pytest.mark.parametrize("factor", [1.0, 1000.0, 1e-4])
def test_a_loss_in_other_units_has_the_same_share(factor):
    draw = torch.Generator().manual_seed(0)
    grads = (
        torch.randn(2, 4, 50, generator=draw).double() * torch.tensor([1.0, factor])[:, None, None]
    )
    weights, parts = torch.tensor([1.0, 3.0]).double(), []
    for k in (0, 1):
        one = torch.zeros_like(grads)
        one[k] = grads[k]
        parts.append(balance(one, weights, torch.zeros(2).double(), 0.0)[0])
    norms = [part.norm(dim=1).mean().item() for part in parts]
    assert norms == pytest.approx([0.25, 0.75], rel=1e-8)


# -- spectra ---------------------------------------------------------------------------------------


def test_a_pure_tone_is_one_line():
    """A cosine of amplitude A: A / 2 · sum of the window at its frequency, and nothing far away."""
    n, f = 64, 10
    x = 0.8 * torch.cos(2 * math.pi * f / n * torch.arange(640).double())[None]
    middle = stft(x, n)[0, :, 20]
    window = torch.hann_window(n).double()
    assert middle[f] == pytest.approx(float(0.4 * window.sum() / window.square().sum().sqrt()))
    assert middle.argmax() == f and middle[f + 3 :].max() < 1e-6
    assert middle[f + 1] == pytest.approx(float(middle[f] / 2))  # of a Hann window


def test_spectrogram_is_scipys():
    signal = pytest.importorskip("scipy.signal")
    x = np.random.default_rng(0).normal(size=200)
    _, _, wanted = signal.stft(x, window="hann", nperseg=32, noverlap=24, padded=False)
    window = signal.get_window("hann", 32)
    wanted = abs(wanted) * window.sum() / np.sqrt((window**2).sum())
    np.testing.assert_allclose(stft(torch.tensor(x)[None], 32)[0], wanted, atol=1e-12)


def test_a_sound_twice_as_loud_is_log10_of_2_away():
    x = torch.randn(2, 900, generator=torch.Generator().manual_seed(0)).double() * 100
    two = math.log10(2)
    assert spectral_distance(x, 2 * x, 8000).item() == pytest.approx(two + two**2, rel=1e-3)
    assert spectral_distance(x, x, 8000) == 0 and spectral_distance(x, -x, 8000) < 1e-12
    assert log_mel(x, 8000, 64).shape == (2, 8, 57)


def test_triangles_cover_every_frequency_between_the_outer_corners():
    hertz = torch.arange(129).double() * 8000 / 256
    filters = mel_filters(hertz, 32)
    assert filters.shape == (32, 129) and (filters.sum(1) > 0).all()
    # corners between the first and the last: the two triangles there sum to 1
    inside = (hertz > hertz[filters[0].argmax()]) & (hertz < hertz[filters[-1].argmax()])
    torch.testing.assert_close(filters.sum(0)[inside], torch.ones(int(inside.sum())).double())


def test_training_may_follow_inference():
    """The filters are kept; ones that were made in inference mode once stopped every backward."""
    from minilib import audio_losses

    audio_losses._filters.cache_clear()
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        spectral_distance(x, 2 * x, 8000, (16,))
    y = (2 * x).requires_grad_()
    spectral_distance(x, y, 8000, (16,)).backward()
    assert y.grad.abs().max() > 0


# -- refused ---------------------------------------------------------------------------------------

X = torch.ones(2, 16)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: stft(X / 0, 8), "x must be finite"),
        (lambda: stft(X[:0], 8), "x must be floats and not empty"),
        (lambda: stft(X.long(), 8), r"x must be floats and not empty, got torch\.int64"),
        (lambda: stft(X[0], 8), r"x must have shape \(any, any\), got \(16,\)"),
        (lambda: stft(X, 6), "n must be a multiple of 4, got 6"),
        (lambda: log_mel(X, 8000, 4), "n must be 8 or more, got 4"),
        (lambda: log_mel(X, -1, 8), "rate must be positive, got -1"),
        (lambda: mel_filters(torch.tensor([2.0, 1.0]), 2), "hertz must be two or more rising"),
        (lambda: mel_filters(torch.arange(5.0), 0), "bands must be 1 or more, got 0"),
        (lambda: spectral_distance(X, X[:1], 8000), "x and y must have one shape"),
        (lambda: spectral_distance(X, X, 8000, ()), "windows one length or more"),
        (lambda: balance(GRADS / 0, X[0, :2], X[0, :2], 0.0), "grads must be finite"),
        (lambda: balance(GRADS, -X[0, :2], X[0, :2], 0.0), "weights must be 0 or more"),
        (lambda: balance(GRADS, X[0, :3], X[0, :2], 0.0), r"weights must have shape \(2\)"),
        (lambda: Balancer({}), "weights must be 0 or more, at least one"),
        (lambda: Balancer({"a": 0.0}), "weights must be 0 or more, at least one above"),
        (lambda: Balancer({"a": math.nan}), "weights must be 0 or more, at least one above"),
        (
            lambda: Balancer({"a": 0.0, "b": 1.0}).gradient({"a": X.sum()}, X),
            r"losses must have one of a weight above 0, got \['a'\]",
        ),
        (
            lambda: Balancer({"a": 1.0}).gradient({"b": X.sum()}, X),
            r"losses must be some of \['a'\]",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
