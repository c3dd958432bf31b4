"""What the definitions of autograd and their twins are tried on."""

import numpy as np

from minilib.naive import autograd as naive


def cross_entropy(rng):
    """One symbol; odd sizes; no batch; logits in the thousands."""
    for *B, V in [(1, 1), (1, 2), (3, 5, 7), (4,)]:
        yield rng.normal(size=(*B, V)), rng.integers(V, size=B)
    yield 1000 * rng.normal(size=(3, 4)), rng.integers(4, size=3)


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


def value_and_grad(rng):
    """A leaf alone; a Var used twice; fifteen random expressions of growing length."""
    yield [], [rng.normal(size=())]
    yield (
        [("mul", [0, 0], {}), ("add", [1, 0], {}), ("sum", [2], {"axis": None})],
        [rng.normal(size=3)],
    )
    for length in range(2, 31, 2):
        yield random_program(rng, length)


def logsumexp_vjp(rng):
    """One entry; odd sizes; values whose exp overflows."""
    for B, V, scale in [(1, 1, 1), (1, 2, 1), (3, 7, 1), (2, 5, 1000)]:
        yield scale * rng.normal(size=(B, V)), rng.normal(size=B)


def max_over_time_vjp(rng):
    """One step; odd sizes."""
    for B, T, C in [(1, 1, 1), (1, 5, 1), (3, 7, 4)]:
        yield rng.normal(size=(B, T, C)), rng.normal(size=(B, C))
