"""The twins of s4d beside what they replace."""

import torch

from minilib.lab.measure import peak_bytes, seconds
from minilib.s4d import diagonal_kernel


def full_vandermonde(C, A, dt, L):
    """The same kernel with a number for each mode and tap."""
    log_z = dt[:, None] * A
    powers = (log_z[..., None] * torch.arange(L, device=A.device)).exp()
    weights = C * (log_z.exp() - 1) / A
    return 2 * (weights[..., None] * powers).sum(1).real


def bench(device):
    """The kernel of 64 channels and 64 modes, forward and backward, in time and in memory."""
    L, dt = 16_384, torch.full((64,), 1e-2, device=device)
    C = torch.randn(64, 64, dtype=torch.complex64, device=device).requires_grad_()
    decay, frequency = torch.rand(64, 64, device=device), torch.randn(64, 64, device=device)
    A = torch.complex(-decay, 30 * frequency).requires_grad_()

    def run(kernel):
        return lambda: torch.autograd.grad(kernel(C, A, dt, L).square().sum(), [A, C])

    runs = {"two thin tables": run(diagonal_kernel), "full Vandermonde": run(full_vandermonde)}
    times = {way: seconds(f, 3, device) for way, f in runs.items()}
    yield f"S4D kernel, {L:,} taps, time", times
    peaks = {way: peak_bytes(f, device) for way, f in runs.items()}
    yield f"S4D kernel, {L:,} taps, peak memory", peaks
