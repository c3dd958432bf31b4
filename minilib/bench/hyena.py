"""Hyena's operator beside the sum written out, and beside attention; its backward."""

import functools

import torch
from torch.nn.functional import conv1d, pad, scaled_dot_product_attention

from minilib.hyena import gated_conv
from minilib.lab.measure import peak_bytes, seconds_in_turn


def direct(x0, x1, v, h, skip):
    """The same by a convolution of L² multiplications."""
    gated = x1 * v
    grown = pad(gated, (h.shape[-1] - 1, 0))
    c = conv1d(grown, h.flip(-1)[:, None], groups=len(h))
    return x0 * (c + skip[:, None] * gated)


def by_autograd(x0, x1, v, h, skip):
    """The same FFTs, whose spectra and products autograd keeps."""
    gated, size = x1 * v, 2 * v.shape[-1]
    spectrum = torch.fft.rfft(gated, size) * torch.fft.rfft(h, size)
    c = torch.fft.irfft(spectrum, size)[..., : v.shape[-1]]
    return x0 * (c + skip[:, None] * gated)


def bench(device):
    """One row of 64 channels at growing lengths; then forward and backward, time and memory."""
    D = 64
    for L in (256, 1024, 4096, 16_384):
        x0, x1, v = torch.randn(3, 1, D, L, device=device)
        inputs = x0, x1, v, torch.randn(D, L, device=device), torch.randn(D, device=device)
        q = torch.randn(1, 1, L, D, device=device)  # one head of 64 channels
        ways = {
            "FFT": functools.partial(gated_conv, *inputs),
            "fused attention": functools.partial(
                scaled_dot_product_attention, q, q, q, is_causal=True
            ),
        }
        if L <= 4096:
            ways["direct"] = functools.partial(direct, *inputs)
        yield f"{L:,} symbols, forward, time", seconds_in_turn(ways, 1, device)

    L = 4096
    inputs = [torch.randn(4, D, L, device=device, requires_grad=True) for _ in range(3)]
    inputs += [torch.randn(D, L, device=device, requires_grad=True)]
    inputs += [torch.randn(D, device=device, requires_grad=True)]

    def run(operator):
        """Four operators, one behind the other: what each keeps for its backward adds up."""
        x0, x1, v, h, skip = inputs

        def stack():
            y = v
            for _ in range(4):
                y = operator(x0, x1, y, h, skip)
            return torch.autograd.grad(y.square().sum(), inputs)

        return stack

    runs = {"only the inputs kept": run(gated_conv), "autograd": run(by_autograd)}
    yield "four operators, forward and backward, time", seconds_in_turn(runs, 3, device)
    peaks = {way: peak_bytes(f, device) for way, f in runs.items()}
    yield "four operators, forward and backward, peak memory", peaks
