"""The same gradients by torch's engine, so that the definition's can be checked on any expression.

Names are those of minilib/naive/autograd.py, which holds the engine itself, the numeric gradient
and the gradient check.
"""

import functools

import numpy as np
import torch

from minilib import twin
from minilib.naive import autograd as naive


def once_differentiable(backward):
    """Decorator for the backward of a torch.autograd.Function: a second derivative is refused.

    A backward that works on saved arrays is right once; differentiated again it would be silently
    wrong. torch's own decorator of this name lets two such calls pass (a gradient that arrives
    without a graph, as after y.sum(), and autograd.grad); this one refuses whenever a graph is
    asked for. The transforms of torch.func (grad, vmap, jvp) refuse such functions, too.
    """

    @functools.wraps(backward)
    def once(ctx, *gradients):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "this function has a backward of its own, which has no second derivative: "
                "leave out create_graph=True, or differentiate its definition numerically"
            )
        return backward(ctx, *gradients)

    return once


class _SoftmaxXent(torch.autograd.Function):
    """Keeps the logits only; the unfused chain keeps log-probabilities and their exponentials too.

    backward is made of differentiable operations on saved *inputs*: it can be differentiated again.
    """

    @staticmethod
    def forward(ctx, logits, targets):
        ctx.save_for_backward(logits, targets)
        return -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()

    @staticmethod
    def backward(ctx, g):
        logits, targets = ctx.saved_tensors
        onehot = torch.nn.functional.one_hot(targets, logits.shape[-1])
        return g * (logits.softmax(-1) - onehot) / targets.numel(), None


@twin(naive.cross_entropy)
def softmax_xent(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean nats of the targets under softmax(logits), with the backward pass written by hand.

    logits   (..., vocab) float; targets (...) int64 in [0, vocab)
    returns  a scalar
    """
    if targets.is_floating_point():
        raise TypeError(f"targets must be integers, got {targets.dtype}")
    (*rows, V), got = logits.shape, tuple(targets.shape)
    if got != tuple(rows) or not targets.numel():
        raise ValueError(f"targets must have shape {tuple(rows)} and not be empty, got {got}")
    low, high = targets.aminmax()  # an unknown id would crash inside a kernel
    if low < 0 or high >= V:
        raise ValueError(f"targets must lie in [0, {V}), got {int(low)} to {int(high)}")
    return _SoftmaxXent.apply(logits, targets.long())


def _maximum(x, axis):
    """To the first of equals, as in the definition: amax would share the gradient among them."""
    return x.gather(axis, x.argmax(axis, keepdim=True)).squeeze(axis)


OPERATIONS = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "power": lambda x, exponent: x**exponent,
    "matmul": torch.matmul,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "log": torch.log,
    "sum": lambda x, axis=None: x.sum(axis),
    "max": _maximum,
    "reshape": lambda x, shape: x.reshape(shape),
    "transpose": lambda x: x.transpose(-1, -2),
    "concat": lambda *parts, axis=-1: torch.cat(parts, axis),
    "part": lambda x, index: x[index],
    "take_rows": lambda table, ids: table[ids],
    "softmax_xent": softmax_xent,
}


@twin(naive.value_and_grad)
def value_and_grad(program: list, leaves: list[torch.Tensor]) -> tuple:
    """Value and gradients of an expression given as data; the contract is that of the definition.

    The gradients can be differentiated again, unless the call stands under torch.no_grad.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [leaf if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves]
        values = list(leaves)
        for name, arguments, settings in program:
            naive.check_instruction(name, arguments, len(values))
            settings = {key: _on(leaves[0].device, value) for key, value in settings.items()}
            values.append(OPERATIONS[name](*(values[i] for i in arguments), **settings))
        root = values[-1]
        if root.numel() != 1:
            raise ValueError(f"root must hold one number, got shape {tuple(root.shape)}")
        grads = torch.autograd.grad(
            root.sum(), leaves, create_graph=again, allow_unused=True, materialize_grads=True
        )
    return root.reshape(()), list(grads)


def _on(device, setting):
    """Indices and targets as tensors; an axis, a shape, an exponent as they are."""
    return torch.as_tensor(setting, device=device) if isinstance(setting, np.ndarray) else setting


@twin(naive.logsumexp_vjp)
def logsumexp_vjp(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """x (batch, vocab), g (batch,) -> (batch, vocab)."""
    if x.dim() != 2 or g.shape != x.shape[:1]:
        got = f"{tuple(x.shape)} and {tuple(g.shape)}"
        raise ValueError(f"x and g must have shapes (batch, vocab) and (batch,), got {got}")
    return g[:, None] * x.softmax(-1)


@twin(naive.max_over_time_vjp)
def max_over_time_vjp(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """x (batch, time, channels), g (batch, channels) -> (batch, time, channels)."""
    if x.dim() != 3 or g.shape != (x.shape[0], x.shape[2]):
        wanted = "(batch, time, channels) and (batch, channels)"
        got = f"{tuple(x.shape)} and {tuple(g.shape)}"
        raise ValueError(f"x and g must have shapes {wanted}, got {got}")
    return torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), g[:, None])
