"""Vector quantisation, the definition: a symbol of anything is the number of its nearest code.

Source: van den Oord, Vinyals & Kavukcuoglu 2017, "Neural Discrete Representation Learning"
(arXiv:1711.00937), and Łańcucki et al. 2020, "Robust Training of Vector Quantized Bottleneck
Models" (arXiv:2005.08520), for the reservoir and the restarts by k-means.

    code        paper                                     shape
    z           z_e(x), what the encoder says             (N, D)
    codes       e, the codebook                           (K, D)
    indices     k, the symbols                            (N,)
    quantized   z_q(x), what the decoder reads            (N, D)
    beta        β, the weight of the commitment

Departure: the two losses are means over all N · D numbers; the paper averages squared norms.
"""

import numpy as np

from minilib.naive.unet import conv2d


def nearest(z, codes):
    """The number of the code nearest to each vector (eq. 1); of equally near ones the first.

    z (N, D), codes (K, D) -> (N,) int64
    """
    indices = np.zeros(len(z), np.int64)
    for n in range(len(z)):
        distances = [((z[n] - code) ** 2).sum() for code in codes]
        indices[n] = np.argmin(distances)
    return indices


def quantize(z, codes, beta=0.25):
    """Replace each vector by its nearest code (eq. 2), with the losses of eq. 3.

    returns  (quantized, indices, codebook, commitment). The two losses have one value but for beta;
             they differ in their gradients, see `quantize_gradients`
    """
    indices = nearest(z, codes)
    quantized = codes[indices]
    codebook = ((quantized - z) ** 2).mean()
    return quantized, indices, codebook, beta * codebook


def quantize_gradients(d_quantized, z, codes, beta=0.25):
    """Gradients of loss(quantized) + codebook + commitment, in z and in codes.

    d_quantized  (N, D), the gradient of loss in quantized
    returns      (d_z, d_codes)
    Straight through: the gradient in quantized is handed on to z as if nothing had been replaced.
    The codebook loss moves codes alone, the commitment moves z alone: sg(...) in eq. 3.
    """
    N, D = z.shape
    indices = nearest(z, codes)
    d_z, d_codes = np.zeros(z.shape), np.zeros(codes.shape)
    for n in range(N):
        k = indices[n]
        d_z[n] = d_quantized[n] + beta * 2 * (z[n] - codes[k]) / (N * D)
        d_codes[k] += 2 * (codes[k] - z[n]) / (N * D)
    return d_z, d_codes


def ema_update(counts, sums, z, indices, gamma=0.99):
    """Codes as moving averages of the vectors that they were given (appendix A.1).

    counts   (K,), how many vectors each code was given, averaged; at first 1
    sums     (K, D), their sums, averaged; at first the codes
    gamma    γ, what is kept of the old averages
    returns  (counts, sums, codes), with codes = sums / counts
    """
    counts, sums = gamma * counts, gamma * sums
    for vector, k in zip(z, indices, strict=True):
        counts[k] += 1 - gamma
        sums[k] += (1 - gamma) * vector
    return counts, sums, sums / counts[:, None]


def kmeans(x, codes, steps):
    """Lloyd's k-means: each code becomes the mean of the vectors nearest to it, `steps` times.

    x (N, D), codes (K, D) to begin with. A code that no vector is nearest to stays.
    """
    codes = codes.copy()
    for _ in range(steps):
        indices = nearest(x, codes)
        for k in range(len(codes)):
            if (indices == k).any():
                codes[k] = x[indices == k].mean(0)
    return codes


def reservoir(kept, seen, new, u, size):
    """A sample of a stream of unknown length: every vector so far is in it with equal chance.

    kept     (up to size, D), the sample so far; seen, how many vectors it is of
    new      (N, D), the next vectors; u (N,) uniforms in [0, 1), one for each
    returns  (kept, seen)
    Algorithm R (Vitter 1985): vector number i, from 0, takes place r of 0 ... i, if there is one.
    """
    kept = list(kept)
    for vector, draw in zip(new, u, strict=True):
        if len(kept) < size:
            kept.append(vector)
        else:
            r = int(draw * (seen + 1))
            if r < size:
                kept[r] = vector
        seen += 1
    return np.array(kept), seen


def usage(indices, size):
    """How many of `size` codes are used, and their perplexity: exp of the entropy, in [1, size].

    It is the number of codes that would be as unpredictable if they were used equally often.
    """
    entropy, used = 0.0, 0
    for k in range(size):
        p = (indices == k).mean()
        if p > 0:
            entropy -= p * np.log(p)
            used += 1
    return used, np.exp(entropy)


# -- the autoencoder -------------------------------------------------------------------------------


def vqvae(params, images, *, normalise=True, beta=0.25):
    """Pictures -> vectors -> nearest codes -> pictures.

    params   the state_dict of minilib.vq.VQVAE
    images   (B, 1, H, W); H and W are multiples of 4
    returns  (pictures (B, 1, H, W), indices (B, H / 4, W / 4), codebook, commitment)
    """
    x = np.maximum(_conv(params, "encoder.0", images, 1)[:, :, ::2, ::2], 0)
    x = np.maximum(_conv(params, "encoder.2", x, 1)[:, :, ::2, ::2], 0)
    x = _conv(params, "encoder.4", x, 1)
    if normalise:  # every channel by its mean and variance over the training
        mean, variance = params["norm.running_mean"], params["norm.running_var"]
        x = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
        x = x * params["norm.weight"][:, None, None] + params["norm.bias"][:, None, None]
    x = _conv(params, "project", x, 0)
    B, D, H, W = x.shape
    z = x.transpose(0, 2, 3, 1).reshape(-1, D)
    quantized, indices, codebook, commitment = quantize(z, params["codes"], beta)
    x = quantized.reshape(B, H, W, D).transpose(0, 3, 1, 2)
    x = np.maximum(_conv(params, "decoder.0", x, 1), 0)
    x = np.maximum(_spread(params, "decoder.2", x), 0)
    pictures = _spread(params, "decoder.4", x)
    return pictures, indices.reshape(B, H, W), codebook, commitment


def _conv(params, name, x, border):
    """A convolution after `border` zeros were put around the picture."""
    x = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    return conv2d(x, *_kernel(params, name))


def _spread(params, name, x):
    """A transposed convolution: each pixel adds 4 × 4 pixels, 2 apart; the outermost are cut."""
    w, b = _kernel(params, name)  # w (in, out, 4, 4)
    B, _, H, W = x.shape
    y = np.zeros((B, w.shape[1], 2 * H + 2, 2 * W + 2))
    for n, i, j in np.ndindex(B, H, W):
        y[n, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.tensordot(x[n, :, i, j], w, 1)
    return y[:, :, 1:-1, 1:-1] + b[:, None, None]


def _kernel(params, name):
    return params[f"{name}.weight"], params[f"{name}.bias"]
