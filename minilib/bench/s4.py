"""The twins of s4 beside what they replace."""

import torch
from torch.nn.functional import pad

from minilib.lab.measure import peak_bytes, seconds
from minilib.s4 import dplr_kernel


def cauchy_products(A, P, B, C, dt, L):
    """The same kernel, L even, with a number for each mode and root of unity, in float32."""
    z = torch.exp(-2j * torch.pi * torch.arange(L // 2, device=A.device) / L)
    g = 2 / dt[:, None, None] * (1 - z) / (1 + z)
    one, other = 1 / (g - A[..., None]), 1 / (g - A.conj()[..., None])

    def product(v):
        return (v[..., None] * one + v.conj()[..., None] * other).sum(1)

    CB, CP, PB, PP = product(C * B), product(C * P), product(P.conj() * B), product(P.conj() * P)
    spectrum = 2 / (1 + z) * (CB - CP * PB / (1 + PP))
    return torch.fft.irfft(pad(spectrum, (0, 1)), L)


def bench(device):
    """The kernel of 64 channels and 64 modes, forward and backward, in time and in memory."""
    L, dt = 4_096, torch.full((64,), 1e-2, device=device)
    P, B, C = torch.randn(3, 64, 64, dtype=torch.complex64, device=device).requires_grad_()
    decay, frequency = torch.rand(64, 64, device=device), torch.randn(64, 64, device=device)
    A = torch.complex(-decay, 30 * frequency).requires_grad_()

    def run(kernel):
        return lambda: torch.autograd.grad(kernel(A, P, B, C, dt, L).square().sum(), [A, C])

    runs = {"ours in float64": run(dplr_kernel), "Cauchy products in float32": run(cauchy_products)}
    times = {way: seconds(f, 3, device) for way, f in runs.items()}
    yield f"S4 kernel, {L:,} taps, time", times
    peaks = {way: peak_bytes(f, device) for way, f in runs.items()}
    yield f"S4 kernel, {L:,} taps, peak memory", peaks
