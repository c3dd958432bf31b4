"""Scaling laws, fast: closed forms, and the fit by L-BFGS in float64.

Names and symbols are those of minilib/naive/scaling_laws.py.
"""

import torch
from torch import Tensor

from minilib import twin
from minilib.naive import scaling_laws as naive
from minilib.shapes import check_sizes


@twin(naive.parameters, differentiable=False)
def parameters(vocab_size: int, width: int, layers: int) -> int:
    """Weights that multiply something: 12 w² a layer, V w in the output layer. This is N."""
    return 12 * layers * width**2 + vocab_size * width


@twin(naive.flops, differentiable=False)
def flops(vocab_size: int, width: int, layers: int, context: int) -> int:
    """FLOPs of training on one window: 6 N + 12 · layers · width · context for each symbol.

    torch.utils.flop_counter counts the same where attention runs on torch's math backend.
    Raises ValueError for sizes below 1.
    """
    check_sizes(vocab_size=vocab_size, width=width, layers=layers, context=context)
    per_symbol = 6 * parameters(vocab_size, width, layers) + 12 * layers * width * context
    return context * per_symbol


@twin(naive.flops_6nd)
def flops_6nd(N, D):
    """FLOPs of training by the rule of thumb: 2 forward, 4 backward, per parameter and symbol."""
    return 6 * N * D


@twin(naive.affordable, differentiable=False)
def affordable(C: float, vocab_size: int, width: int, layers: int, context: int) -> int:
    """Windows that a budget of C FLOPs pays for, all of them whole.

    Raises ValueError if C is not positive, or pays for no window.
    """
    price = flops(vocab_size, width, layers, context)
    if not C > 0:
        raise ValueError(f"C must be above 0, got {C}")
    if C < price:
        raise ValueError(f"C must pay for one window, {price} FLOPs, got {C}")
    return int(C // price)


@twin(naive.loss_hat)
def loss_hat(N: Tensor, D: Tensor, theta: Tensor) -> Tensor:
    """The law of Hoffmann et al. (eq. 2), E + A / N^α + B / D^β; theta (5,) has them in order."""
    E, A, B, alpha, beta = theta
    return E + A / N**alpha + B / D**beta


@twin(naive.kaplan_loss)
def kaplan_loss(N: Tensor, D: Tensor, theta: Tensor) -> Tensor:
    """The law of Kaplan et al. (eq. 1.5), without a floor; theta (4,) is N_c, D_c, α_N, α_D."""
    N_c, D_c, alpha_N, alpha_D = theta
    return ((N_c / N) ** (alpha_N / alpha_D) + D_c / D) ** alpha_D


@twin(naive.optimal)
def optimal(C: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The N and the D with the lowest loss_hat among all with 6 N D = C (eq. 4).

    Raises ValueError if a C is not positive.
    """
    if not (C > 0).all():
        raise ValueError(f"C must be above 0, got {C.min().item()}")
    _, A, B, alpha, beta = theta
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    N = G * (C / 6) ** (beta / (alpha + beta))
    return N, C / (6 * N)


@twin(naive.parabola_vertex)
def parabola_vertex(log_n: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest point of the parabola nearest to the runs, by least squares: (log_n, loss).

    Raises ValueError for fewer than three sizes, NaN, and a parabola without a lowest point.
    """
    if not loss.isfinite().all():
        raise ValueError("loss must be finite, got NaN or infinity")
    sizes = len(log_n.unique())
    if sizes < 3:
        raise ValueError(f"log_n must have three different sizes or more, got {sizes}")
    middle = log_n.mean()
    x = log_n - middle
    powers = torch.stack([torch.ones_like(x), x, x**2], dim=1)
    c0, c1, c2 = torch.linalg.lstsq(powers, loss[:, None]).solution[:, 0]
    if not c2 > 0:
        raise ValueError(f"loss must bend upwards to have a lowest point, its bend is {c2:.3g}")
    return middle - c1 / (2 * c2), c0 - c1**2 / (4 * c2)


@twin(naive.huber)
def huber(r: Tensor, delta: float) -> Tensor:
    """r² / 2 up to |r| = delta, and beyond it the line that goes on with the slope there."""
    zero = torch.zeros_like(r)
    return torch.nn.functional.huber_loss(r, zero, reduction="none", delta=delta)


@twin(naive.fit_parametric, differentiable=False)
def fit_parametric(
    N: Tensor, D: Tensor, loss: Tensor, starts: Tensor, delta: float = 1e-3
) -> Tensor:
    """The theta with the least sum of huber(log loss_hat - log loss), from the best of all starts.

    L-BFGS in float64 on log-sum-exp of (e, a - α log N, b - β log D), as in Hoffmann et al.,
    appendix D; then steps of Newton. The sum is divided by delta²: it is a millionth where the fit
    is good, and L-BFGS, which stops at small changes, would stop far away.

    N, D, loss  (runs,)
    starts      (starts, 5) of log E, log A, log B, alpha, beta
    returns     theta (5,): E, A, B, alpha, beta
    Raises ValueError for NaN, what is not positive, fewer than five runs, starts of another shape.
    """
    for name, values in (("N", N), ("D", D), ("loss", loss)):
        if len(values) < 5:
            raise ValueError(f"{name} must have five runs or more, got {len(values)}")
        if not ((values > 0) & values.isfinite()).all():
            raise ValueError(f"{name} must be finite and above 0")
    if starts.shape[1:] != (5,) or len(starts) == 0:
        raise ValueError(f"starts must be (starts, 5), got {tuple(starts.shape)}")
    log_n, log_d, target = (values.detach().double().log() for values in (N, D, loss))

    def objective(at):
        e, a, b, alpha, beta = at
        terms = torch.stack([e.expand_as(log_n), a - alpha * log_n, b - beta * log_d])
        return huber(terms.logsumexp(0) - target, delta).sum() / delta**2

    with torch.enable_grad():
        near = [_lbfgs(objective, start) for start in starts.double()]
        ends = [_newton(objective, at) for at in near]
    _, at = min(ends, key=lambda end: end[0])
    return torch.cat([at[:3].exp(), at[3:]]).to(loss.dtype)


def _lbfgs(objective, start):
    at = start.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [at],
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = objective(at)
        value.backward()
        return value

    optimizer.step(closure)
    return at.detach()


def _newton(objective, at, steps=30):
    """(sum, place): Newton's steps, halved until the sum falls; ends where none makes it fall."""
    slope = torch.func.grad(objective)
    value = objective(at)
    for _ in range(steps):
        gradient, bend = slope(at), torch.autograd.functional.hessian(objective, at)
        step = torch.linalg.lstsq(bend[None], gradient[None, :, None]).solution[0, :, 0]
        new = objective(at - step)
        if not new <= value + 1e-9 or not step.isfinite().all():
            break
        at, value = at - step, new
        if step.abs().max() < 1e-13:
            break
    return value, at
