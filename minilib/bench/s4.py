"""The twins of s4 beside definitions and peers."""

import torch
from torch.nn.functional import pad

from minilib.s4 import dplr_kernel, s4d_kernel


def bench(device):
    """Kernels of 64 channels and 64 modes, forward and backward, against those that hold a number for each mode and tap."""
    from minilib.lab.measure import peak_bytes, seconds

    dt, (P, B, C) = (
        torch.full((64,), 1e-2, device=device),
        torch.randn(3, 64, 64, dtype=torch.complex64, device=device).requires_grad_(),
    )
    A = torch.complex(
        -torch.rand(64, 64, device=device), 30 * torch.randn(64, 64, device=device)
    ).requires_grad_()

    def full(L):
        z = dt[:, None] * A
        return (
            2
            * (
                (C * (z.exp() - 1) / A)[..., None]
                * (z[..., None] * torch.arange(L, device=device)).exp()
            )
            .sum(1)
            .real
        )

    def cauchy(L):
        z = torch.exp(-2j * torch.pi * torch.arange(L // 2, device=device) / L)
        poles = (
            1 / (200 * (1 - z) / (1 + z) - A[..., None]),
            1 / (200 * (1 - z) / (1 + z) - A.conj()[..., None]),
        )
        product = lambda v: (v[..., None] * poles[0] + v.conj()[..., None] * poles[1]).sum(1)
        spectrum = (
            2
            / (1 + z)
            * (
                product(C * B)
                - product(C * P) * product(P.conj() * B) / (1 + product(P.conj() * P))
            )
        )
        return torch.fft.irfft(pad(spectrum, (0, 1)), L)

    for name, L, ways in [
        (
            "S4D kernel",
            16_384,
            {"two thin factors": lambda L: s4d_kernel(C, A, dt, L), "full Vandermonde": full},
        ),
        (
            "S4 kernel",
            4_096,
            {
                "ours in float64": lambda L: dplr_kernel(A, P, B, C, dt, L),
                "Cauchy products in float32": cauchy,
            },
        ),
    ]:
        runs = {
            way: lambda f=f, L=L: torch.autograd.grad(f(L).square().sum(), [A, C])
            for way, f in ways.items()
        }
        yield (
            f"{name}, {L:,} taps, time",
            {way: seconds(run, 3, device) for way, run in runs.items()},
        )
        yield (
            f"{name}, {L:,} taps, peak memory",
            {way: peak_bytes(run, device) for way, run in runs.items()},
        )
