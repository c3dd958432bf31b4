"""Solutions to the exercises of lesson 23.

Exercise 4, sines of several periods (in samples of the full rate), Δ = 0.01, N = 32,
`lin`: relative change of the output at the common times, draws of C with seeds 0, 1, 2:

    period   Δ doubled              Δ not doubled
    200      0.016  0.016  0.016    1.93  0.73  0.85
     50      0.061  0.062  0.063    0.79  2.74  1.27
     20      0.155  0.157  0.156    1.13  0.95  1.01
     10      0.293  0.282  0.223    0.73  0.85  1.03
      4      1.000  1.000  1.000    1.00  1.00  1.00

With Δ doubled, the output for a slow sine is nearly the same at half the rate; without
it, it is another one altogether. The faster the sine, the worse zero-order hold
describes it between two samples, and at period 4 every second sample of the sine is 0:
nothing is left to convolve.
"""

import numpy as np

import minilib
from minilib import naive


def my_bilinear(A, B, dt):
    # (1 + a) / (1 - a) is below 1 in size wherever Re a < 0: stable for every dt
    left, right = np.eye(len(A)) - dt / 2 * A, np.eye(len(A)) + dt / 2 * A
    return np.linalg.solve(left, right), np.linalg.solve(left, dt * B)


def bilinear_cases(rng):
    for N, dt in [(1, 0.5), (4, 0.01), (7, 1.0), (16, 30.0)]:
        yield *naive.hippo.hippo_legs(N), dt


def my_step(x, u, A, C, dt, D):
    x = np.exp(dt * A) * x + np.expm1(dt * A) / A * u
    return 2 * (C * x).real.sum() + D * u, x


def step_cases(rng):
    for M in (1, 2, 9):
        x, C = rng.normal(size=(2, M)) + 1j * rng.normal(size=(2, M))
        A = -rng.uniform(0.1, 1, size=M) + 1j * rng.normal(size=M)
        yield x, rng.normal(), A, C, rng.uniform(0.1, 0.5), rng.normal()


MODES = [(-0.5 + 6.3j, 0.01), (-0.5 + 0j, 0.1), (-4 + 100j, 0.001)]  # lambda, dt


def my_steps():
    # e^(j dt Re lambda) < 1/100, so j > ln 100 / (-dt Re lambda) = 4.605 / 0.005, …
    return [922, 93, 1152]


def steps_until_a_hundredth():
    answers = []
    for lam, dt in MODES:
        left, steps = 1.0, 0
        while abs(left) >= 0.01:
            left, steps = left * naive.s4d.zoh(lam, dt)[0], steps + 1
        answers.append(steps)
    return answers


assert minilib.check(my_bilinear, like=naive.hippo.discretize, cases=bilinear_cases)
assert minilib.check(my_step, like=naive.s4d.diagonal_step, cases=step_cases)
assert steps_until_a_hundredth() == my_steps()
