"""HiPPO-LegS, a linear system whose state holds the past, and how a system is turned into steps.

Names and symbols are those of minilib/naive/hippo.py, which also holds the matrices themselves.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from minilib import twin
from minilib.naive import hippo as naive
from minilib.shapes import check_shapes, check_size


@twin(naive.legs_memory)
def legs_memory(u: Tensor, N: int) -> Tensor:
    """Read samples u (channels, time) one by one; returns the state (channels, N) after the last.

    The steps differ, but none depends on the state: all triangular systems are solved at once, in
    time · N² numbers.
    """
    check_shapes(u=(u, (None, None)))
    check_size("N", N)
    A, B = (torch.tensor(m, device=u.device) for m in naive.hippo_legs(N))
    eye = torch.eye(N, device=u.device, dtype=A.dtype)
    k = torch.arange(1, u.shape[1] + 1, device=u.device)[:, None, None]
    left, right = eye - A / (2 * k), torch.cat([eye + A / (2 * k), B[:, None] / k], -1)
    steps = torch.linalg.solve_triangular(left, right, upper=False).to(u.dtype)
    matrices, columns = steps[..., :N].mT, steps[..., N]  # (time, N, N) and (time, N)
    x = u.new_zeros(len(u), N)
    for Ab, Bb, sample in zip(matrices.unbind(), columns.unbind(), u.unbind(1), strict=True):
        x = torch.addmm(sample[:, None] * Bb, x, Ab)
    return x


@twin(naive.legs_rebuild)
def legs_rebuild(x: Tensor, L: int) -> Tensor:
    """The past that a LegS state x (channels, N) remembers, at L times: (channels, L).

    Column i is the middle of the i-th of L equal parts of the time so far.
    """
    check_shapes(x=(x, (None, None)))
    check_size("L", L)
    N = x.shape[1]
    r = 2 * (torch.arange(L, device=x.device, dtype=torch.float64) + 0.5) / L - 1
    P = [torch.ones_like(r), r]  # Legendre's polynomials at r, by Bonnet's recurrence
    for n in range(1, N - 1):
        P.append(((2 * n + 1) * r * P[n] - n * P[n - 1]) / (n + 1))
    size = (2 * torch.arange(N, device=x.device).to(x.dtype) + 1).sqrt()
    return (x * size) @ torch.stack(P[:N]).to(x.dtype)


@twin(naive.discretize)
def discretize(
    A: Tensor, B: Tensor, dt: float | Tensor, method: str = "bilinear"
) -> tuple[Tensor, Tensor]:
    """Ā (N, N) and B̄ (N,) of one system A (N, N), B (N,) for samples dt apart, dt () or a number.

    method  "bilinear" or "zoh", zero-order hold. Raises ValueError for another.
    """
    N = len(A)
    check_shapes(A=(A, (N, N)), B=(B, (N,)))
    dA, dB = dt * A, dt * B[:, None]
    if method == "bilinear":
        eye = torch.eye(N, device=A.device, dtype=A.dtype)
        steps = torch.linalg.solve(eye - dA / 2, torch.cat([eye + dA / 2, dB], 1))
    elif method == "zoh":  # u is one more coordinate, which stands still
        steps = torch.linalg.matrix_exp(pad(torch.cat([dA, dB], 1), (0, 0, 0, 1)))[:N]
    else:
        raise ValueError(f"method must be 'bilinear' or 'zoh', got {method!r}")
    return steps[:, :N], steps[:, N]
