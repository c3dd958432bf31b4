"""Scaling laws, the definition: what training costs, what loss it reaches, what size is best.

Source: Hoffmann et al. 2022 (arXiv:2203.15556), sec. 3 and appendix D; Kaplan et al. 2020
(arXiv:2001.08361), eq. 1.5; the refit of Besiroglu et al. 2024 (arXiv:2404.10102).

    code    symbol             meaning
    N       N                  parameters: weights of the matrix products, the table of inputs not
    D       D                  symbols trained on
    C       C                  FLOPs of training: additions and multiplications
    theta   E, A, B, α, β      the law E + A / N^α + B / D^β
"""

import numpy as np


def parameters(vocab_size, width, layers):
    """Weights that multiply something, of minilib.transformer.Transformer: N."""
    total = 0
    for _ in range(layers):
        total += 3 * width * width  # queries, keys, values
        total += width * width  # what joins the heads
        total += 4 * width * width  # up
        total += 4 * width * width  # down
    return total + vocab_size * width  # the output layer


def flops(vocab_size, width, layers, context):
    """FLOPs of training a Transformer on one window of `context` symbols, forward and backward.

    Counted are the products of matrices, a multiply-add as two. Attention is counted as if every
    step saw all steps: a mask saves no product. Not counted: norms, softmax, the optimiser.
    """
    products = []  # (rows, inner, columns) of each
    for _ in range(layers):
        products.append((context, width, 3 * width))  # queries, keys, values
        products.append((context, width, context))  # scores, over all heads
        products.append((context, context, width))  # weighted sums of the values
        products.append((context, width, width))  # what joins the heads
        products.append((context, width, 4 * width))  # up
        products.append((context, 4 * width, width))  # down
    products.append((context, width, vocab_size))  # the output layer
    total = 0
    for rows, inner, columns in products:
        forward = 2 * rows * inner * columns
        backward = 2 * forward  # one product for each factor's gradient
        total += forward + backward
    return total


def flops_6nd(N, D):
    """FLOPs of training by the rule of thumb: 2 forward, 4 backward, per parameter and symbol."""
    return 6 * N * D


def affordable(C, vocab_size, width, layers, context):
    """Windows that a budget of C FLOPs pays for, all of them whole.

    Raises ValueError if C is not positive, or pays for no window.
    """
    price = flops(vocab_size, width, layers, context)
    if not C > 0:
        raise ValueError(f"C must be above 0, got {C}")
    if C < price:
        raise ValueError(f"C must pay for one window, {price} FLOPs, got {C}")
    return int(C // price)


def loss_hat(N, D, theta):
    """The law of Hoffmann et al. (eq. 2): nats per symbol after D symbols with N parameters.

    N, D   (runs,)
    theta  (5,): E, A, B, alpha, beta
    """
    E, A, B, alpha, beta = theta
    return np.array([E + A / n**alpha + B / d**beta for n, d in zip(N, D, strict=True)])


def kaplan_loss(N, D, theta):
    """The law of Kaplan et al. (eq. 1.5), which has no floor: nats per symbol.

    N, D   (runs,)
    theta  (4,): N_c, D_c, alpha_N, alpha_D
    """
    N_c, D_c, alpha_N, alpha_D = theta
    out = [
        ((N_c / n) ** (alpha_N / alpha_D) + D_c / d) ** alpha_D for n, d in zip(N, D, strict=True)
    ]
    return np.array(out)


def optimal(C, theta):
    """The N and the D with the lowest loss_hat among all with 6 N D = C (eq. 4).

    C       (budgets,) FLOPs
    theta   (5,): E, A, B, alpha, beta
    returns N, D, each (budgets,)
    Raises ValueError if a C is not positive.
    """
    _, A, B, alpha, beta = theta
    sizes, symbols = [], []
    for c in C:
        if not c > 0:
            raise ValueError(f"C must be above 0, got {c}")
        G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
        sizes.append(G * (c / 6) ** (beta / (alpha + beta)))
        symbols.append((c / 6) ** (alpha / (alpha + beta)) / G)
    return np.array(sizes), np.array(symbols)


def parabola_vertex(log_n, loss):
    """The lowest point of the parabola nearest to the runs, by least squares: (log_n, loss).

    log_n, loss  (runs,), at least three different sizes
    Raises ValueError for fewer, for NaN, and for a parabola that has no lowest point.
    """
    if not np.isfinite(loss).all():
        raise ValueError("loss must be finite, got NaN or infinity")
    if len(set(log_n)) < 3:
        raise ValueError(f"log_n must have three different sizes or more, got {len(set(log_n))}")
    middle = sum(log_n) / len(log_n)
    square, gram = np.zeros(3), np.zeros((3, 3))
    for x, y in zip(log_n, loss, strict=True):
        powers = np.array([1, x - middle, (x - middle) ** 2])
        square += powers * y
        gram += np.outer(powers, powers)
    c0, c1, c2 = np.linalg.solve(gram, square)
    if not c2 > 0:
        raise ValueError(f"loss must bend upwards to have a lowest point, its bend is {c2:.3g}")
    return middle - c1 / (2 * c2), c0 - c1**2 / (4 * c2)


def huber(r, delta):
    """r² / 2 up to |r| = delta, and beyond it the line that goes on with the slope there."""
    out = []
    for x in r:
        if abs(x) <= delta:
            out.append(x**2 / 2)
        else:
            out.append(delta * (abs(x) - delta / 2))
    return np.array(out)


def fit_parametric(N, D, loss, starts, delta=1e-3):
    """The theta with the least sum of huber(log loss_hat - log loss), from the best of all starts.

    Levenberg and Marquardt's method on reweighted squares: a residual r beyond delta counts as a
    square with weight delta / |r|, which has the slope of Huber's line there.

    N, D, loss  (runs,)
    starts      (starts, 5) of log E, log A, log B, alpha, beta
    returns     theta (5,): E, A, B, alpha, beta
    Raises ValueError for NaN, what is not positive, fewer than five runs, starts of another shape.
    """
    for name, values in (("N", N), ("D", D), ("loss", loss)):
        if len(values) < 5:
            raise ValueError(f"{name} must have five runs or more, got {len(values)}")
        if not all(0 < value < np.inf for value in values):
            raise ValueError(f"{name} must be finite and above 0")
    if np.shape(starts)[1:] != (5,) or len(starts) == 0:
        raise ValueError(f"starts must be (starts, 5), got {np.shape(starts)}")
    best, least = None, np.inf
    for start in starts:
        at, damping = np.array(start, dtype=float), 1e-3
        value, gradient, bend = _huber_sum(N, D, loss, at, delta)
        for _ in range(100):
            damped = bend + damping * np.diag(np.diag(bend))
            step = np.linalg.lstsq(damped, gradient)[0]
            new = _huber_sum(N, D, loss, at - step, delta)
            if new[0] <= value * (1 + 1e-12):  # rounding may hide the last falls
                at, damping = at - step, damping / 10
                value, gradient, bend = new
            else:
                damping = damping * 10
        if value < least:
            best, least = at, value
    return np.array([*np.exp(best[:3]), *best[3:]])


def _huber_sum(N, D, loss, at, delta):
    """The sum over all runs, its gradient in `at`, and J'WJ, which stands in for its curvature."""
    e, a, b, alpha, beta = at
    value, gradient, bend = 0.0, np.zeros(5), np.zeros((5, 5))
    for n, d, measured in zip(N, D, loss, strict=True):
        floor = np.exp(e)
        of_n = np.exp(a - alpha * np.log(n))  # A / n^alpha
        of_d = np.exp(b - beta * np.log(d))
        law = floor + of_n + of_d
        r = np.log(law) - np.log(measured)
        slope = np.array([floor, of_n, of_d, -of_n * np.log(n), -of_d * np.log(d)]) / law
        weight = 1 if abs(r) <= delta else delta / abs(r)
        value += huber([r], delta)[0]
        gradient += weight * r * slope
        bend += weight * np.outer(slope, slope)
    return value, gradient, bend
