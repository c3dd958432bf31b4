"""The same gradients by torch's engine, so that the one in minilib/naive/autograd.py can be checked on any expression.

Names are those of minilib/naive/autograd.py, which holds the engine itself, the numeric gradient and the gradient check.
"""

import functools

import numpy as np
import torch

from minilib import twin
from minilib.naive import autograd as naive


def once_differentiable(backward):
    """Decorator for the backward of a torch.autograd.Function: a second derivative is refused.

    A backward that works on saved arrays is right once; differentiated again it would be silently
    wrong. torch's own decorator of this name lets two such calls pass (a gradient that arrives without
    a graph, as after y.sum(), and autograd.grad); this one refuses whenever a graph is asked for.
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
    """Keeps the logits alone; the unfused chain keeps log-probabilities and their exponentials as well."""

    @staticmethod
    def forward(ctx, logits, targets):
        ctx.save_for_backward(logits, targets)
        return -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()

    @staticmethod
    def backward(
        ctx, g
    ):  # made of differentiable operations on saved *inputs*, so it can be differentiated again
        logits, targets = ctx.saved_tensors
        onehot = torch.nn.functional.one_hot(targets, logits.shape[-1])
        return g * (logits.softmax(-1) - onehot) / targets.numel(), None


@twin(naive.cross_entropy)
def softmax_xent(logits, targets):
    """Mean nats of the targets under softmax(logits), with the backward pass written by hand.

    logits   (..., vocab) float; targets (...) int64 in [0, vocab)
    returns  a scalar
    """
    if targets.is_floating_point():
        raise TypeError(f"targets must be integers, got {targets.dtype}")
    if targets.shape != logits.shape[:-1] or not targets.numel():
        raise ValueError(
            f"targets must have shape {tuple(logits.shape[:-1])} and not be empty, got {tuple(targets.shape)}"
        )
    low, high = targets.aminmax()  # an unknown id would crash inside a kernel
    if low < 0 or high >= logits.shape[-1]:
        raise ValueError(
            f"targets must lie in [0, {logits.shape[-1]}), got {int(low)} to {int(high)}"
        )
    return _SoftmaxXent.apply(logits, targets.long())


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
    "max": lambda x, axis: x.gather(axis, x.argmax(axis, keepdim=True)).squeeze(
        axis
    ),  # amax would share among equals
    "reshape": lambda x, shape: x.reshape(shape),
    "transpose": lambda x: x.transpose(-1, -2),
    "concat": lambda *parts, axis=-1: torch.cat(parts, axis),
    "part": lambda x, index: x[index],
    "take_rows": lambda table, ids: table[ids],
    "softmax_xent": softmax_xent,
}


@twin(naive.value_and_grad)
def value_and_grad(program, leaves):
    """Value and gradients of an expression given as data; the contract is that of the definition.

    The gradients can be differentiated again where gradients are enabled (torch.no_grad around the call turns that off).
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [leaf if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves]
        values = list(leaves)
        for name, arguments, settings in program:
            if name not in OPERATIONS:
                raise ValueError(
                    f"program must use operations out of {', '.join(OPERATIONS)}, got {name!r}"
                )
            if not all(0 <= i < len(values) for i in arguments):
                raise ValueError(
                    f"program must take earlier values, 0 to {len(values) - 1}, got {list(arguments)} for {name}"
                )
            settings = {
                key: torch.as_tensor(s, device=values[0].device) if isinstance(s, np.ndarray) else s
                for key, s in settings.items()
            }
            values.append(OPERATIONS[name](*(values[i] for i in arguments), **settings))
        root = values[-1]
        if root.numel() != 1:
            raise ValueError(f"root must hold one number, got shape {tuple(root.shape)}")
        grads = torch.autograd.grad(
            root.sum(), leaves, create_graph=again, allow_unused=True, materialize_grads=True
        )
    return root.reshape(()), list(grads)


@twin(naive.logsumexp_vjp)
def logsumexp_vjp(x, g):
    """x (batch, vocab), g (batch,) -> (batch, vocab)."""
    if x.dim() != 2 or g.shape != x.shape[:1]:
        raise ValueError(
            f"x and g must have shapes (batch, vocab) and (batch,), got {tuple(x.shape)} and {tuple(g.shape)}"
        )
    return g[:, None] * x.softmax(-1)


@twin(naive.max_over_time_vjp)
def max_over_time_vjp(x, g):
    """x (batch, time, channels), g (batch, channels) -> (batch, time, channels)."""
    if x.dim() != 3 or g.shape != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"x and g must have shapes (batch, time, channels) and (batch, channels), got {tuple(x.shape)} and {tuple(g.shape)}"
        )
    return torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), g[:, None])
