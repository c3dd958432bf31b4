"""How far is one sound from another, and how do several losses share one gradient? The definition.

Source: Défossez et al. 2022, "High Fidelity Neural Audio Compression" (arXiv:2210.13438), sec. 3.4:
the multi-scale spectral loss and the balancer.

    code        paper                                      shape
    x, y        x, x̂, the sound and its reconstruction     (B, T)
    magnitude   |STFT|, one window length                  (B, n // 2 + 1, frames)
    grads       g_i = ∂l_i / ∂x̂, one for each loss         (losses, B, T)
    weights     λ_i                                        (losses,)

Departures: the paper's spectral loss has 64 mel bands in every window; ours has a quarter of the
window's frequencies, 32 at most, so that no band is empty.
"""

import numpy as np

FLOOR = 1e-3  # of a magnitude: what is quieter is silence


def stft(x, n):
    """Magnitudes of a short-time Fourier transform: which frequencies sound when.

    Frame j is the n samples around sample j · n / 4, weighed by a Hann window; zeros stand before
    and behind the sound. Divided by the root of the window's sum of squares.

    x        (B, T); n, the window, a multiple of 4
    returns  (B, n / 2 + 1, 1 + 4 T // n)
    """
    hop, B = n // 4, len(x)
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / n) for i in range(n)])
    wide = np.pad(x, ((0, 0), (n // 2, n // 2)))
    frames = 1 + x.shape[1] // hop
    out = np.zeros((B, n // 2 + 1, frames))
    for j in range(frames):
        piece = wide[:, j * hop : j * hop + n] * window
        for f in range(n // 2 + 1):
            turn = np.exp(-2j * np.pi * f * np.arange(n) / n)
            out[:, f, j] = abs((piece * turn).sum(1)) / np.sqrt((window**2).sum())
    return out


def mel_filters(hertz, bands):
    """Triangles that gather the frequencies of a window into bands as wide as the ear's.

    Their corners lie evenly on the mel scale, m = 2595 log10(1 + f / 700), from 0 to the highest
    frequency: band b rises from corner b to 1 at corner b + 1, and falls to corner b + 2.

    hertz    (F,), the frequencies, rising
    returns  (bands, F)
    """
    top = 2595 * np.log10(1 + hertz[-1] / 700)
    corners = []
    for b in range(bands + 2):
        mel = top * b / (bands + 1)
        corners.append(700 * (10 ** (mel / 2595) - 1))
    out = np.zeros((bands, len(hertz)))
    for b in range(bands):
        left, middle, right = corners[b : b + 3]
        for f in range(len(hertz)):
            rising = (hertz[f] - left) / (middle - left)
            falling = (right - hertz[f]) / (right - middle)
            out[b, f] = max(0.0, min(rising, falling))
    return out


def log_mel(x, rate, n):
    """Loudness by band and frame: log10 of magnitudes in mel bands. (B, bands, frames)"""
    hertz = np.arange(n // 2 + 1) * rate / n
    filters = mel_filters(hertz, min(32, n // 8))
    bands = np.zeros((len(x), len(filters), 1 + 4 * x.shape[1] // n))
    magnitude = stft(x, n)
    for b in range(len(x)):
        bands[b] = filters @ magnitude[b]
    return np.log10(FLOOR + bands)


def spectral_distance(x, y, rate, windows):
    """Mean over window lengths of L1 + L2 between log-mel spectrograms, L2 a mean square.

    Long windows tell frequencies apart, short ones moments.
    """
    total = 0.0
    for n in windows:
        difference = log_mel(x, rate, n) - log_mel(y, rate, n)
        total += abs(difference).mean() + (difference**2).mean()
    return total / len(windows)


def balance(grads, weights, sums, count, beta=0.999):
    """One gradient of several, in which each loss has the share that its weight says.

        n_i = mean_b ‖g_i[b]‖, averaged over the steps so far: <n_i>
        g   = Σ_i λ_i / (Σ_j λ_j) · g_i / <n_i>

    grads    (losses, B, T), weights (losses,)
    sums     (losses,), count: the averages so far, <n_i> = sums_i / count; zeros at first
    returns  (g (B, T), sums, count)
    """
    new, count = np.zeros(len(weights)), beta * count + 1
    g = np.zeros(grads.shape[1:])
    for i in range(len(weights)):
        norms = [np.sqrt((row**2).sum()) for row in grads[i]]
        new[i] = beta * sums[i] + np.mean(norms)
        share = weights[i] / weights.sum()
        g += share * grads[i] / (1e-12 + new[i] / count)
    return g, new, count
