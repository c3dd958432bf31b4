"""Spectral distances between sounds, and a balancer of several losses, on torch.

Names and symbols are those of minilib/naive/audio_losses.py. Not here: discriminators, and the two
losses that they give.
"""

import functools

import torch
from torch import Tensor

from minilib import twin
from minilib.naive import audio_losses as naive
from minilib.shapes import check_shapes, check_size

WINDOWS = (64, 128, 256, 512, 1024)  # samples; 8 to 128 ms at 8,000 samples a second


def check_wave(name: str, x: Tensor) -> None:
    """Raise unless x is a batch of sounds: (B, T) finite floats, not empty."""
    check_shapes(**{name: (x, (None, None))})
    if not x.numel() or not x.is_floating_point():
        got = f"{x.dtype} of shape {tuple(x.shape)}"
        raise ValueError(f"{name} must be floats and not empty, got {got}")
    if not x.isfinite().all():
        raise ValueError(f"{name} must be finite, got nan or infinity")


def _check_window(n):
    if n < 4 or n % 4:
        raise ValueError(f"n must be a multiple of 4, got {n}")


@twin(naive.stft, float32=1e-4)  # sums of n terms that cancel at quiet frequencies
def stft(x: Tensor, n: int) -> Tensor:
    """Magnitudes (B, n / 2 + 1, 1 + 4 T // n) of x (B, T), by torch's FFT: n log n a frame."""
    check_wave("x", x)
    _check_window(n)
    window = torch.hann_window(n, dtype=x.dtype, device=x.device)
    transform = torch.stft(
        x, n, n // 4, window=window, center=True, pad_mode="constant", return_complex=True
    )
    return transform.abs() / window.square().sum().sqrt()


@twin(naive.mel_filters, differentiable=False)
@torch.no_grad()
def mel_filters(hertz: Tensor, bands: int) -> Tensor:
    """Triangles (bands, F) on the frequencies hertz (F,), their corners evenly on the mel scale."""
    check_size("bands", bands)
    check_shapes(hertz=(hertz, (None,)))
    if len(hertz) < 2 or not hertz.isfinite().all() or not (hertz.diff() > 0).all():
        raise ValueError("hertz must be two or more rising, finite frequencies")
    f = hertz.double()
    top = 2595 * torch.log10(1 + f[-1] / 700)
    steps = torch.arange(bands + 2, dtype=torch.float64, device=f.device)
    corners = 700 * (10 ** (top * steps / (bands + 1) / 2595) - 1)
    left, middle, right = (corners[k : k + bands, None] for k in range(3))
    rising, falling = (f - left) / (middle - left), (right - f) / (right - middle)
    return torch.minimum(rising, falling).clamp(min=0).to(hertz.dtype)


@functools.cache
@torch.inference_mode(False)  # the first caller may be in inference, a later one in training
def _filters(rate, n, dtype, device):
    if not rate > 0:
        raise ValueError(f"rate must be positive, got {rate}")
    hertz = torch.arange(n // 2 + 1, dtype=torch.float64, device=device) * rate / n
    return mel_filters(hertz, min(32, n // 8)).to(dtype)


@twin(naive.log_mel, float32=1e-4)  # as for stft
def log_mel(x: Tensor, rate: float, n: int) -> Tensor:
    """log10 of magnitudes in mel bands: (B, T) -> (B, bands, frames)."""
    if n < 8:
        raise ValueError(f"n must be 8 or more, got {n}")
    return (naive.FLOOR + _filters(rate, n, x.dtype, x.device) @ stft(x, n)).log10()


@twin(naive.spectral_distance, float32=1e-4)  # as for stft
def spectral_distance(x: Tensor, y: Tensor, rate: float, windows: tuple = WINDOWS) -> Tensor:
    """Mean over window lengths of mean |.| + mean |.|² between log-mel spectrograms."""
    if x.shape != y.shape or not windows:
        shapes = f"{tuple(x.shape)}, {tuple(y.shape)} and windows {windows}"
        raise ValueError(f"x and y must have one shape, windows one length or more, got {shapes}")
    total = 0.0
    for n in windows:
        difference = log_mel(x, rate, n) - log_mel(y, rate, n)
        total = total + difference.abs().mean() + difference.square().mean()
    return total / len(windows)


@twin(naive.balance, differentiable=False)
@torch.no_grad()
def balance(
    grads: Tensor, weights: Tensor, sums: Tensor, count: float, beta: float = 0.999
) -> tuple[Tensor, Tensor, float]:
    """(g (B, T), sums, count): gradients (losses, B, T) merged by their weights (losses,)."""
    check_shapes(grads=(grads, (None, None, None)))
    check_shapes(weights=(weights, (len(grads),)), sums=(sums, (len(grads),)))
    if not (weights >= 0).all() or not weights.sum() > 0 or not 0 <= beta <= 1:
        raise ValueError(f"weights must be 0 or more, not all 0, and beta in [0, 1], got {beta}")
    if not grads.isfinite().all():
        raise ValueError("grads must be finite, got nan or infinity")
    norms = grads.square().sum(2).sqrt().mean(1)
    sums, count = beta * sums + norms, beta * count + 1
    scale = weights / weights.sum() / (1e-12 + sums / count)
    return (scale[:, None, None] * grads).sum(0), sums, count


class Balancer:
    """Losses of one sound by name -> one backward pass, each loss with its share.

    weights  {name: λ}; the shares are of the losses that a step has
    """

    def __init__(self, weights: dict[str, float], beta: float = 0.999):
        if not all(weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
            raise ValueError(f"weights must be 0 or more, at least one above, got {weights}")
        self.weights, self.beta = weights, beta
        self.state = {name: (0.0, 0.0) for name in weights}  # sums and count of each

    def gradient(self, losses: dict[str, Tensor], sound: Tensor) -> Tensor:
        """The merged gradient of the losses in sound (B, T), which they were computed from."""
        if not losses or not set(losses) <= set(self.weights):
            raise ValueError(f"losses must be some of {list(self.weights)}, got {list(losses)}")
        total = sum(self.weights[name] for name in losses)
        if not total > 0:
            raise ValueError(f"losses must have one of a weight above 0, got {list(losses)}")
        merged = torch.zeros_like(sound)
        for name, loss in losses.items():
            (grad,) = torch.autograd.grad(loss, sound, retain_graph=True)
            one = grad.new_ones(1)
            sums, count = self.state[name]
            part, sums, count = balance(grad[None], one, sums * one, count, self.beta)
            self.state[name] = float(sums), count
            merged += self.weights[name] / total * part
        return merged
