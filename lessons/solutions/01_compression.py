"""Solutions to the exercises of lesson 01."""

import math

import numpy as np

import minilib
from minilib.naive import compression as naive


def my_discounts(n, modified=True):
    D = n[1] / (n[1] + 2 * n[2])
    return tuple(i - (i + 1) * D * n[i + 1] / n[i] for i in (1, 2, 3))


def my_divergence(p, q):
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def my_better_model(nats_per_token, bytes_per_token):
    # bits per byte, but for a factor
    return int(np.argmin(nats_per_token / bytes_per_token))


# 2. Predicted: about 0.085 bits a byte. Of 4096, 256 are given away, one to each byte,
#    which costs log2(4096 / 3840) = 0.09; what rounding down leaves over goes to the
#    likeliest byte and wins a little back. Measured: 0.06 to 0.08, less than predicted,
#    on every play. The model is too sure of itself: unlikely bytes come more often than
#    it says, and rounding makes just them likelier.
# 4. Order 6 loses more: a longer context needs more text before it is seen often enough
#    to be of use.
