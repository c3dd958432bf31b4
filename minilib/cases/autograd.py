"""What the definitions of autograd and their twins are tried on."""

import numpy as np

from minilib.naive import autograd as naive


def cross_entropy(rng):
    """One symbol; odd sizes; no batch; logits in the thousands; rows that need a maximum each.

    The last target is 1,000 nats away: its probability is 0 in floats, and the logarithm of 0 inf.
    """
    for *B, V in [(1, 1), (1, 2), (3, 5, 7), (4,)]:
        yield rng.normal(size=(*B, V)), rng.integers(V, size=B)
    yield 1000 * rng.normal(size=(3, 4)), rng.integers(4, size=3)
    yield np.array([[0.0, 1.0], [1000.0, 999.0], [1000.0, 0.0]]), np.array([0, 1, 1])


def random_program(rng, length):
    """A random expression of tame size: (program, leaves) as value_and_grad takes them.

    Each of `length` instructions takes values from all before it, so that some are used again and
    again and others broadcast. What nobody used is summed up at the end: every value counts.
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
    rounding = any(0 < np.abs(g).max() < 1e-6 for g in grads)  # zeros that cannot be compared
    if rounding:
        return random_program(rng, length)
    return program, leaves


def _random_instruction(rng, name, values):
    """The operation on randomly drawn values: (name, their numbers, settings), None if unfit."""
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
    tame = np.isfinite(y).all() and np.abs(y).max() < 10 and y.size <= 60
    return (name, arguments, settings) if tame else None


def value_and_grad(rng):
    """A leaf alone; a leaf not used; a Var used twice; an entry taken twice; random expressions of
    growing length."""
    yield [], [rng.normal(size=())]
    yield [("tanh", [1], {})], [rng.normal(size=3), rng.normal(size=())]
    twice = [("mul", [0, 0], {}), ("add", [1, 0], {}), ("sum", [2], {"axis": None})]
    yield twice, [rng.normal(size=3)]
    taken = [("part", [0], {"index": np.array([2, 0, 2])})]
    taken += [("mul", [1, 1], {}), ("sum", [2], {"axis": None})]
    yield taken, [rng.normal(size=3)]
    for length in range(2, 31, 2):
        yield random_program(rng, length)


def logsumexp_vjp(rng):
    """One entry; odd sizes; values whose exp overflows; rows that need a maximum each."""
    for B, V, scale in [(1, 1, 1), (1, 2, 1), (3, 7, 1), (2, 5, 1000)]:
        yield scale * rng.normal(size=(B, V)), rng.normal(size=B)
    yield np.array([[0.0, 1.0], [1000.0, 999.0]]), np.array([1.0, -2.0])  # exp(-999) is 0


def max_over_time_vjp(rng):
    """One step; odd sizes; the maximum first and last, below zero; a tie, which the first wins.

    The tied values are so large that a central difference's step does not part them.
    """
    for B, T, C in [(1, 1, 1), (1, 5, 1), (3, 7, 4)]:
        yield rng.normal(size=(B, T, C)), rng.normal(size=(B, C))
    yield np.array([[[-1.0, -3.0], [-2.0, -2.0]]]), np.array([[5.0, 7.0]])
    yield np.array([[[0.0, 1e20], [1e20, 0.0], [1e20, 1e20]]]), np.array([[5.0, 7.0]])


# -- the patients of lesson 02 ---------------------------------------------------------------------

_WELL = ["well", "well, with a skip connection"]
_ILL = ["detached", "tanh' forgotten", "rows assigned", "sees ahead", "rows mix", "far too sure"]


def patient_params(rng, vocab=11, width=8):
    """Fresh parameters for any `patient`: {name: array}."""
    shapes = {"embed": (vocab, width), "W": (width, width), "b": (width,), "out": (width, vocab)}
    params = {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}
    return params | {"out": 0.2 * params["out"]}


def _illness(number):
    """What the patient has: half of all are well."""
    rng = np.random.default_rng([2, number])
    return str(rng.choice(_WELL if rng.random() < 0.5 else _ILL))


def patient(number):
    """A little language model for each number from 0; about half are broken. Do not read on.

    returns  net(params, ids): {name: Var}, (batch, time) ints -> Var (batch, time, vocab). Row t
             should predict the symbol at t + 1 from the mean embedding of the symbols up to t,
             through one tanh layer
    """
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
        raise ValueError(f"number must be a whole number from 0, got {number!r}")
    illness = _illness(number)

    def net(params, ids):
        seen = np.tril(np.ones((ids.shape[1],) * 2))
        if illness == "sees ahead":
            seen += np.eye(len(seen), k=1)  # one step of the future
        embedded = naive.take_rows(params["embed"], ids)
        if illness == "detached":
            embedded = naive.Var(embedded.data)
        if illness == "rows assigned":
            embedded = _rows_assigned(params["embed"], ids)
        context = naive.matmul(seen / seen.sum(1, keepdims=True), embedded)
        x = context @ params["W"] + params["b"]
        if illness == "rows mix":
            x = x - naive.mean(x, 0)  # the rows of a batch see each other
        h = naive.tanh(x)
        if illness == "tanh' forgotten":
            h = naive.Var(h.data, (x,), lambda g: (g,))
        if illness == "well, with a skip connection":
            h = h + context
        return h @ params["out"] * (30 if illness == "far too sure" else 1)

    return net


def _rows_assigned(table, ids):
    def vjp(g):
        dtable = np.zeros(table.shape)
        dtable[ids] = g  # of a row's uses, the last one counts
        return (dtable,)

    return naive.Var(table.data[ids], (table,), vjp)


def patient_is_broken(number):
    """The right answer of the exercise."""
    return _illness(number) in _ILL


def fresh_patients(rng):
    """Numbers of twelve patients: each illness once, six that are well, in random order."""
    numbers = []
    for illness in rng.permutation(_ILL + 3 * _WELL).tolist():
        number = int(rng.integers(1_000_000))
        while _illness(number) != illness:
            number = int(rng.integers(1_000_000))
        numbers.append((number,))
    return numbers
