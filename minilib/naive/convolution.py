"""The causal convolution: each output is a weighted sum of the inputs so far. The definition."""

import numpy as np


def causal_conv(K, u):
    """y_t = Σ_{s ≤ t} K_{t-s} u_s in each channel (S4, arXiv:2111.00396, eq. 4).

    K        (H, taps), a kernel for each channel; taps beyond its end are 0
    u        (batch, H, L)
    returns  (batch, H, L)
    """
    y = np.zeros(u.shape)
    for b, h, t in np.ndindex(u.shape):
        for s in range(max(0, t - K.shape[1] + 1), t + 1):
            y[b, h, t] += K[h, t - s] * u[b, h, s]
    return y
