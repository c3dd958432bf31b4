"""Reverse-mode automatic differentiation in NumPy: the definition.

Sources: Linnainmaa 1970 (the algorithm); Rumelhart, Hinton & Williams 1986 (its use on networks).

Every operation on a Var stores, beside its result, a function that carries a gradient backwards:
its VJP, the vector-Jacobian product. `backward` calls these from the last operation to the first.

    code      symbol                                       shape
    x.data    x                                            any, float64
    x.grad    dL/dx                                        that of x
    g         dL/dy, y the result of an operation          that of y
    vjp(g)    gᵀ ∂y/∂x, for each argument x                that of x, or of y where x was broadcast

Not here: float32, devices, second derivatives (VJPs work on arrays, not on Vars), in-place
operations: an array must not be edited between the forward and the backward pass.
"""

import functools

import numpy as np


class Var:
    """An array that remembers how it was made, and how a gradient flows back to what made it.

    vjp(g) gives a tuple, one gradient for each argument; constants at the end get none.
    """

    __array_ufunc__ = None  # leaves `array + Var` to Var.__radd__

    def __init__(self, data, arguments=(), vjp=None):
        data = np.asarray(data)
        if data.dtype.kind not in "fiub":
            raise TypeError(f"data must be real numbers, got {data.dtype}")
        self.data = data.astype(float, copy=False)
        self.parents = tuple(x for x in arguments if isinstance(x, Var))
        self.arguments, self.vjp, self.grad = arguments, vjp, None

    shape = property(lambda self: self.data.shape)
    T = property(lambda self: transpose(self))
    __add__ = __radd__ = lambda self, other: add(self, other)
    __mul__ = __rmul__ = lambda self, other: mul(self, other)
    __sub__ = lambda self, other: sub(self, other)
    __rsub__ = lambda self, other: sub(other, self)
    __truediv__ = lambda self, other: div(self, other)
    __rtruediv__ = lambda self, other: div(other, self)
    __matmul__ = lambda self, other: matmul(self, other)
    __rmatmul__ = lambda self, other: matmul(other, self)
    __pow__ = lambda self, exponent: power(self, exponent)
    __neg__ = lambda self: mul(self, -1)
    __getitem__ = lambda self, index: part(self, index)
    __iter__ = lambda self: (self[i] for i in range(len(self.data)))  # len refuses a single number


def backward(root):
    """Set .grad of root, one number, and of all it was made from: d(root)/d(each)."""
    if root.data.size != 1:
        raise ValueError(f"root must hold one number, got shape {root.shape}")
    order = ancestors(root)
    for v in order:
        v.grad = np.zeros(v.shape)
    root.grad += 1
    for v in reversed(order):  # whoever used v has been visited: v.grad is complete
        grads = v.vjp(v.grad) if v.parents else ()
        if any(isinstance(x, Var) for x in v.arguments[len(grads) :]):
            raise TypeError(f"vjp must give every Var a gradient, got {len(grads)}")
        for x, g in zip(v.arguments[: len(grads)], grads, strict=True):
            if isinstance(x, Var):
                x.grad += sum_to(g, x.shape)  # +=: a Var used twice gets two shares


def ancestors(root):
    """root and all it was made from, parents before children; no recursion, for tapes are long."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        v, parents_done = stack.pop()
        if parents_done:
            order.append(v)
        elif id(v) not in seen:
            seen.add(id(v))
            stack += [(v, True), *((parent, False) for parent in v.parents)]
    return order


def sum_to(g, shape):
    """Undo broadcasting: an entry that was copied gets the sum of its copies' gradients."""
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that broadcasting put in front
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axis=stretched, keepdims=True)


# -- operations ------------------------------------------------------------------------------------

OPERATIONS = {}


def operation(function):
    """Decorator: a function of arrays that returns (result, vjp) becomes one of Vars.

    Arguments that are not Vars (numbers, indices, an axis) are constants; those that never get a
    gradient come last. The result is also listed in OPERATIONS by its name.
    """

    @functools.wraps(function)
    def on_vars(*arguments, **settings):
        arrays = [x.data if isinstance(x, Var) else x for x in arguments]
        result, vjp = function(*arrays, **settings)
        return Var(result, arguments, vjp)

    OPERATIONS[function.__name__] = on_vars
    return on_vars


@operation
def add(a, b):
    return a + b, lambda g: (g, g)


@operation
def sub(a, b):
    return a - b, lambda g: (g, -g)


@operation
def mul(a, b):
    return a * b, lambda g: (g * b, g * a)


@operation
def div(a, b):
    return a / b, lambda g: (g / b, -g * a / b**2)


@operation
def power(x, exponent):
    """The exponent is a number and gets no gradient. Raises TypeError for an array or a Var."""
    if isinstance(exponent, np.ndarray):
        raise TypeError("exponent must be a number; for a Var write exp(exponent * log(x))")
    lower = exponent - 1 if exponent else 0  # 0 · x⁻¹ is not a number at x = 0, 0 · x⁰ is 0
    return x**exponent, lambda g: (g * exponent * x**lower,)


@operation
def matmul(a, b):
    """(..., n, k) @ (..., k, m): da = g bᵀ, db = aᵀ g. Both need two axes or more."""
    A, B = np.shape(a), np.shape(b)
    if len(A) < 2 or len(B) < 2 or A[-1] != B[-2]:
        raise ValueError(f"a and b must have shapes (..., n, k) and (..., k, m), got {A} and {B}")
    return a @ b, lambda g: (g @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ g)


@operation
def tanh(x):
    y = np.tanh(x)
    return y, lambda g: (g * (1 - y**2),)  # y is the output


@operation
def relu(x):
    return np.maximum(x, 0), lambda g: (g * (x > 0),)


@operation
def exp(x):
    y = np.exp(x)
    return y, lambda g: (g * y,)


@operation
def log(x):
    return np.log(x), lambda g: (g / x,)


@operation
def sum(x, axis=None):
    """Over one axis, or over all."""

    def vjp(g):
        return (np.broadcast_to(g if axis is None else np.expand_dims(g, axis), x.shape),)

    return x.sum(axis), vjp


def mean(x, axis=None):
    """Over one axis, or over all."""
    return sum(x, axis) / (x.data.size if axis is None else x.shape[axis])


@operation
def max(x, axis):
    """Along one axis. The gradient goes where the maximum came from: to the first of equals."""
    first = np.expand_dims(x.argmax(axis), axis)

    def vjp(g):
        dx = np.zeros(x.shape)
        np.put_along_axis(dx, first, np.expand_dims(g, axis), axis)
        return (dx,)

    return x.max(axis), vjp


@operation
def reshape(x, shape):
    return x.reshape(shape), lambda g: (g.reshape(x.shape),)


@operation
def transpose(x):
    """Swap the last two axes."""
    return np.swapaxes(x, -1, -2), lambda g: (np.swapaxes(g, -1, -2),)


@operation
def concat(*parts, axis=-1):
    """Join along an existing axis; each part gets its slice of the gradient."""
    joined = np.concatenate(parts, axis)
    borders = np.cumsum([p.shape[axis] for p in parts])[:-1]
    return joined, lambda g: np.split(g, borders, axis)


@operation
def part(x, index):
    """x[index], any index of NumPy's. What is taken twice gets both gradients."""

    def vjp(g):
        dx = np.zeros(x.shape)
        np.add.at(dx, index, g)  # dx[index] += g would keep one of the repeats only
        return (dx,)

    return x[index], vjp


@operation
def take_rows(table, ids):
    """table[ids]: table (V, ...), ids any ints in [0, V). A row taken twice gets both gradients."""
    ids = _ids("ids", ids, len(table))

    def vjp(g):
        dtable = np.zeros(table.shape)
        np.add.at(dtable, ids, g)  # as in part
        return (dtable,)

    return table[ids], vjp


@operation
def softmax_xent(logits, targets):
    """Mean nats of targets: logits (..., V), ints (...) -> one number; dz = (p - onehot) / n."""
    targets = _ids("targets", targets, logits.shape[-1])
    if targets.shape != (rows := logits.shape[:-1]) or not targets.size:
        raise ValueError(f"targets must have shape {rows} and not be empty, got {targets.shape}")
    z = logits - logits.max(-1, keepdims=True)  # same ratios, no overflow
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    onehot = np.eye(z.shape[-1])[targets]
    loss = -(onehot * log_p).sum() / targets.size
    return loss, lambda g: (g * (np.exp(log_p) - onehot) / targets.size,)


def cross_entropy(logits, targets):
    """softmax_xent of arrays: the number itself, without the Var around it."""
    return softmax_xent(Var(logits), targets).data


def _ids(name, ids, size):
    """ids as an array, checked: a negative one would silently count from the end."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {ids.dtype}")
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        raise ValueError(f"{name} must lie in [0, {size}), got {ids.min()} to {ids.max()}")
    return ids


# -- gradients of whole functions, and their check -------------------------------------------------


def gradients(f, params):
    """Value and gradient of f at params by the engine.

    f        function of a dict of Vars that returns a Var of one number
    params   {name: array}
    returns  number, {name: gradient}; zeros for a parameter that f does not use
    """
    leaves = {name: Var(value) for name, value in params.items()}
    root = f(leaves)
    backward(root)
    grads = {name: np.zeros(v.shape) if v.grad is None else v.grad for name, v in leaves.items()}
    return root.data.item(), grads


def numeric_grad(f, params, eps=1e-5):
    """The same gradient by central differences, (f(x + eps) - f(x - eps)) / 2 eps, entry by entry.

    Wrong by O(eps²) from curvature and by O(1e-16 / eps) from rounding: 1e-5 balances the two.
    """
    at = {name: np.array(value, dtype=float) for name, value in params.items()}
    found = {name: np.zeros(value.shape) for name, value in at.items()}
    for name, value in at.items():
        for i in np.ndindex(value.shape):
            middle = value[i]
            value[i] = middle + eps
            above = _value(f, at)
            value[i] = middle - eps
            below = _value(f, at)
            value[i] = middle
            found[name][i] = (above - below) / (2 * eps)
    return found


def _value(f, params):
    return f({name: Var(value) for name, value in params.items()}).data.item()


def gradcheck(f, params, eps=1e-5):
    """{name: error of the engine's gradient}: below 1e-6 if the VJPs are right, else above 1e-3.

    The error of an array is its largest |analytic - numeric| over its largest sum of the two: an
    entry that is tiny beside its neighbours is not judged by its rounding. Away from kinks only.
    """
    _, analytic = gradients(f, params)
    numeric = numeric_grad(f, params, eps)
    errors = {}
    for name in params:
        size = np.abs(analytic[name]) + np.abs(numeric[name])
        difference = np.abs(analytic[name] - numeric[name])
        errors[name] = float(difference.max() / np.maximum(size.max(), 1e-8))
    return errors


def gradcheck_along(f, params, rng, eps=1e-5):
    """Two evaluations for all parameters: g·v against a central difference along a random v."""
    _, analytic = gradients(f, params)
    v = {name: rng.normal(size=np.shape(value)) for name, value in params.items()}
    g_v = float(np.sum([np.vdot(analytic[name], v[name]) for name in params]))
    above = _value(f, {name: params[name] + eps * v[name] for name in params})
    below = _value(f, {name: params[name] - eps * v[name] for name in params})
    numeric = (above - below) / (2 * eps)
    return abs(g_v - numeric) / np.maximum(abs(g_v) + abs(numeric), 1e-8)


# -- expressions as data ---------------------------------------------------------------------------


def value_and_grad(program, leaves):
    """Value and gradients of an expression given as data, so that every engine can be asked.

    program  list of (operation, arguments, settings): its name in OPERATIONS, the numbers of the
             values that it takes (first the leaves, each instruction adds one), and its settings
    leaves   list of float arrays
    returns  the last value, which must be one number, and a list of its gradients in the leaves

    [("mul", [0, 1], {}), ("sum", [2], {"axis": None})] is the dot product of two vectors.
    """

    def run(named):
        values = list(named.values())
        for name, arguments, settings in program:
            check_instruction(name, arguments, len(values))
            values.append(OPERATIONS[name](*(values[i] for i in arguments), **settings))
        return values[-1]

    value, grads = gradients(run, dict(enumerate(leaves)))
    return value, list(grads.values())


def check_instruction(name, arguments, count):
    """Raise ValueError unless this is an operation on some of the first `count` values."""
    if name not in OPERATIONS:
        raise ValueError(f"program must use operations of {list(OPERATIONS)}, got {name!r}")
    if not all(0 <= i < count for i in arguments):
        raise ValueError(f"{name} must take earlier values, 0 to {count - 1}, got {arguments}")


# -- for the exercises -----------------------------------------------------------------------------


def logsumexp_vjp(x, g):
    """y[b] = log Σ_v exp x[b, v], g = dL/dy (batch,) -> dL/dx (batch, vocab): g · softmax."""
    dx = np.zeros(x.shape)
    for b in range(len(x)):
        weight = np.exp(x[b] - x[b].max())
        dx[b] = g[b] * weight / weight.sum()
    return dx


def max_over_time_vjp(x, g):
    """y[b, c] = max_t x[b, t, c], g = dL/dy (batch, channels) -> dL/dx, of the shape of x.

    All of it goes to the step that won, the first of equals.
    """
    dx = np.zeros(x.shape)
    for b in range(x.shape[0]):
        for c in range(x.shape[2]):
            dx[b, np.argmax(x[b, :, c]), c] = g[b, c]
    return dx
