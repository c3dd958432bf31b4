"""The same gradients by torch's engine, so that the one in minilib/naive/autograd.py can be checked on any expression.

Names are those of minilib/naive/autograd.py, which holds the engine itself, the numeric gradient and the gradient check.
"""

import numpy as np
import torch

from minilib import twin
from minilib.naive import autograd as naive


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


def _xent_cases(rng):
    """One symbol; odd sizes; no batch; logits in the thousands."""
    for *B, V in [(1, 1), (1, 2), (3, 5, 7), (4,)]:
        yield rng.normal(size=(*B, V)), rng.integers(V, size=B)
    yield 1000 * rng.normal(size=(3, 4)), rng.integers(4, size=3)


def _xent(logits, targets):
    """The definition on arrays, without the Var around its result."""
    return naive.softmax_xent(naive.Var(logits), targets).data


@twin(_xent, cases=_xent_cases)
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


def random_program(rng, length):
    """A random expression of tame size: (program, leaves) as value_and_grad takes them.

    Each instruction takes values from all before it, so that some are used again and again and others broadcast; what
    nobody used is summed up at the end, so that every value counts. `length` instructions come before that.
    """
    leaves = [rng.normal(size=shape) for shape in [(3, 4), (1, 4), (3, 1), (4,), (), (4, 3)]]
    values, program, unused = [naive.Var(leaf) for leaf in leaves], [], set(range(len(leaves)))

    def append(name, arguments, settings):
        values.append(naive.OPERATIONS[name](*(values[i] for i in arguments), **settings))
        program.append((name, arguments, settings))
        unused.difference_update(arguments)
        unused.add(len(values) - 1)

    while len(program) < length:
        name = rng.choice(list(naive.OPERATIONS)).item()
        for _ in range(30):  # draw arguments until some fit
            if instruction := _random_instruction(rng, name, values):
                append(*instruction)
                break
    for i in sorted(unused):
        if values[i].shape:
            append("sum", [i], {"axis": None})
    while len(unused) > 1:
        append("add", sorted(unused)[:2], {})
    _, grads = naive.value_and_grad(program, leaves)
    if any(
        0 < np.abs(g).max() < 1e-6 for g in grads
    ):  # a zero made of rounding: no relative comparison is possible
        return random_program(rng, length)
    return program, leaves


def _random_instruction(rng, name, values):
    """The operation of that name on randomly drawn values: (name, their numbers, settings), or None if they do not fit."""
    two = name in ("add", "sub", "mul", "div", "matmul", "concat")
    arguments = rng.integers(len(values), size=1 + two).tolist()
    x, last = values[arguments[0]].data, values[arguments[-1]].data
    if not x.ndim and name not in ("add", "sub", "mul", "tanh", "relu", "exp"):
        return None
    axis = int(rng.integers(x.ndim)) if x.ndim else None
    if name in ("log", "power", "div") and np.abs(last).min() < 0.2:
        return None  # near a pole second derivatives are beyond a difference's reach
    if name == "max" and np.diff(np.sort(x, axis), axis=axis).min(initial=1) < 0.01:
        return None  # a tie has no gradient
    choose = {
        "power": lambda: {"exponent": int(rng.choice([-1, 2, 3]))},
        "sum": lambda: {"axis": None if rng.random() < 0.2 else axis},
        "max": lambda: {"axis": axis},
        "concat": lambda: {"axis": axis},
        "reshape": lambda: {"shape": x.shape[::-1]},
        "part": lambda: {"index": slice(0, int(rng.integers(1, 4)))},
        "take_rows": lambda: {"ids": rng.integers(len(x), size=(2, 3))},
        "softmax_xent": lambda: {"targets": rng.integers(x.shape[-1], size=x.shape[:-1])},
    }
    settings = choose.get(name, dict)()
    try:
        with np.errstate(all="ignore"):
            y = naive.OPERATIONS[name](*(values[i] for i in arguments), **settings).data
    except ValueError:
        return None
    return (
        (name, arguments, settings)
        if np.isfinite(y).all() and np.abs(y).max() < 10 and y.size <= 60
        else None
    )


def _programs(rng):
    """A leaf alone; a Var used twice; fifteen random expressions of growing length."""
    yield [], [rng.normal(size=())]
    yield (
        [("mul", [0, 0], {}), ("add", [1, 0], {}), ("sum", [2], {"axis": None})],
        [rng.normal(size=3)],
    )
    for length in range(2, 31, 2):
        yield random_program(rng, length)


@twin(naive.value_and_grad, cases=_programs)
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


def _rows(rng):
    """One entry; odd sizes; values whose exp overflows."""
    for B, V, scale in [(1, 1, 1), (1, 2, 1), (3, 7, 1), (2, 5, 1000)]:
        yield scale * rng.normal(size=(B, V)), rng.normal(size=B)


@twin(naive.logsumexp_vjp, cases=_rows)
def logsumexp_vjp(x, g):
    """x (batch, vocab), g (batch,) -> (batch, vocab)."""
    if x.dim() != 2 or g.shape != x.shape[:1]:
        raise ValueError(
            f"x and g must have shapes (batch, vocab) and (batch,), got {tuple(x.shape)} and {tuple(g.shape)}"
        )
    return g[:, None] * x.softmax(-1)


def _sequences(rng):
    """One step; odd sizes."""
    for B, T, C in [(1, 1, 1), (1, 5, 1), (3, 7, 4)]:
        yield rng.normal(size=(B, T, C)), rng.normal(size=(B, C))


@twin(naive.max_over_time_vjp, cases=_sequences)
def max_over_time_vjp(x, g):
    """x (batch, time, channels), g (batch, channels) -> (batch, time, channels)."""
    if x.dim() != 3 or g.shape != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"x and g must have shapes (batch, time, channels) and (batch, channels), got {tuple(x.shape)} and {tuple(g.shape)}"
        )
    return torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), g[:, None])
