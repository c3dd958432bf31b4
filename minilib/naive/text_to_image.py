"""Pictures from captions, the definition: a discrete autoencoder, and one model of both.

Source: Ramesh et al. 2021, "Zero-Shot Text-to-Image Generation" (arXiv:2102.12092), DALL-E.

    code       paper                                                     shape
    logits     what the encoder says of each place, q(z | x)             (..., K)
    u          uniforms in (0, 1), from which the Gumbel noise is made   (..., K)
    tau        τ, the temperature of the relaxation
    y          the relaxed draw: almost one-hot where τ is small         (..., K)
    beta       β, the weight of the KL divergence
    ids        [start, caption of `text` words, side · side codes], again and again

Departures: squared error in place of the logit-Laplace; a small net; no start-of-image, as every
caption fills the same number of places; squared ReLU; a start for each drawing of a long row.
"""

import numpy as np

from minilib.naive.attention import attention
from minilib.naive.transformer import layer_norm, own
from minilib.naive.vq import _conv, _spread

# -- a relaxed draw, and a density of pixels -------------------------------------------------------


def gumbel_softmax(logits, u, tau):
    """softmax((logits + g) / tau) with Gumbel noise g = -ln(-ln u): a draw with a derivative.

    logits, u  (..., K); its largest entry is where a draw from softmax(logits) falls
    """
    y = np.zeros(logits.shape)
    for index in np.ndindex(logits.shape[:-1]):
        g = -np.log(-np.log(u[index]))
        y[index] = _softmax((logits[index] + g) / tau)
    return y


def _softmax(score):
    return np.exp(_log_softmax(score))


def _log_softmax(score):
    score = score - score.max()
    return score - np.log(np.exp(score).sum())


def kl_to_uniform(logits):
    """Nats of q = softmax(logits) from the uniform distribution: Σ q (ln q + ln K). No noise.

    logits (..., K), -inf for a chance of 0 -> (...)
    """
    K = logits.shape[-1]
    if K == 0 or not np.isfinite(logits.max(axis=-1)).all():
        raise ValueError("logits must be numbers or -inf, and one in each row finite")
    kl = np.zeros(logits.shape[:-1])
    for index in np.ndindex(kl.shape):
        for ln_q in _log_softmax(logits[index]):
            if ln_q > -np.inf:
                kl[index] += np.exp(ln_q) * (ln_q + np.log(K))
    return kl


def anneal(step, total, start, end):
    """From start to end along half a cosine; end after `total` steps."""
    t = min(step / total, 1)
    return end + (start - end) * (1 + np.cos(np.pi * t)) / 2


def vae_loss(pictures, images, logits, beta):
    """Mean over the batch of: squared error, summed over pixels, + beta KL, summed over places.

    pictures, images (B, 1, H, W), logits (B, h, w, K)
    """
    if not len(images):
        raise ValueError("images must be some, got 0")
    loss = 0.0
    for picture, image, places in zip(pictures, images, logits, strict=True):
        loss += ((picture - image) ** 2).sum() + beta * kl_to_uniform(places).sum()
    return loss / len(images)


def map_pixels(x, eps=0.1):
    """[0, 1] into [eps, 1 - eps], where the logit is finite (appendix A.3)."""
    return (1 - 2 * eps) * x + eps


def unmap_pixels(y, eps=0.1):
    """The inverse of map_pixels, cut to [0, 1]."""
    return np.clip((y - eps) / (1 - 2 * eps), 0, 1)


def logit_laplace(x, mu, ln_b):
    """Log density on (0, 1) of sigmoid(Laplace(mu, b)), in nats (appendix A.3).

    f(x | μ, b) = exp(-|logit x - μ| / b) / (2 b x (1 - x)); all three of one shape
    """
    return -abs(np.log(x / (1 - x)) - mu) / np.exp(ln_b) - np.log(2 * x * (1 - x)) - ln_b


# -- who sees whom ---------------------------------------------------------------------------------


def row_mask(W):
    """Codes of a W × W grid see themselves and the W before, line by line: (W², W²) bool."""
    mask = np.zeros((W * W, W * W), bool)
    for i in range(W * W):
        for j in range(W * W):
            mask[i, j] = i - W <= j <= i
    return mask


def column_mask(W):
    """Codes see themselves and those above in their column."""
    mask = np.zeros((W * W, W * W), bool)
    for i in range(W * W):
        for j in range(i + 1):
            mask[i, j] = i % W == j % W
    return mask


def conv_mask(W, kernel):
    """Codes see themselves and what came before in a square of kernel × kernel around them.

    As in the row mask, a place beyond the left edge is one at the end of a line above: the square
    is one of distances in the row of codes, dr W + dc.
    """
    half = kernel // 2
    mask = np.zeros((W * W, W * W), bool)
    for i in range(W * W):
        for dr in range(-half, half + 1):
            for dc in range(-half, half + 1):
                j = i + dr * W + dc
                if 0 <= j <= i:
                    mask[i, j] = True
    return mask


def mask_kinds(layers):
    """Which mask each layer has: column where (i - 2) mod 4 = 0, from i = 1, row elsewhere; the
    last layer has conv (appendix B.1)."""
    kinds = []
    for i in range(1, layers + 1):
        kinds.append("column" if (i - 2) % 4 == 0 else "row")
    return [*kinds[:-1], "conv"]


def drawing_mask(text, picture):
    """Start and caption see what came before; codes see all of these, and codes by `picture`.

    text     words of a caption; picture (N, N) bool
    returns  (1 + text + N, 1 + text + N) bool
    """
    before = 1 + text
    mask = np.zeros((before + len(picture), before + len(picture)), bool)
    for i in range(len(mask)):
        for j in range(i + 1):
            mask[i, j] = j < before or picture[i - before, j - before]
    return mask


# -- the model of caption and picture --------------------------------------------------------------


def caption(text, words, length):
    """A caption as numbers of words, 0 behind the last: (length,) int64. words[0] is no word."""
    numbers = np.zeros(length, np.int64)
    for k, word in enumerate(text.split()):
        numbers[k] = words.index(word, 1)
    return numbers


def drawing_loss(logits, ids, text, share=1 / 8):
    """share · text loss + (1 - share) · picture loss, each a mean over its own symbols (sec. 2.2).

    logits   (B, T, vocab); ids (B, T): a start, `text` words (those that are no word count), codes
    returns  (loss, text loss, picture loss), nats per symbol
    """
    parts = [], []
    for b in range(len(ids)):
        for t in range(ids.shape[1] - 1):
            parts[t >= text].append(-_log_softmax(logits[b, t])[ids[b, t + 1]])
    of_text, of_picture = np.mean(parts[0]), np.mean(parts[1])
    return share * of_text + (1 - share) * of_picture, of_text, of_picture


def text_to_image(params, ids, *, words, codes, text, side, layers, heads, kernel=3):
    """Logits of the language model of captions and pictures.

    params   the state_dict of minilib.text_to_image.TextToImage
    ids      (B, T) int below words + codes + 1: words, then codes, then the start
    returns  (B, T, words + codes + 1). After 1 + text + side² symbols the next drawing begins,
             which sees none of those before
    """
    length = 1 + text + side * side
    sizes = {"text": text, "side": side, "layers": layers, "heads": heads, "kernel": kernel}
    logits = np.zeros((*ids.shape, words + codes + 1))
    for b in range(len(ids)):
        for start in range(0, ids.shape[1], length):
            drawing = slice(start, start + length)
            logits[b, drawing] = _one_drawing(params, ids[b, drawing], **sizes)
    return logits


def _one_drawing(params, ids, text, side, layers, heads, kernel):
    x = np.array([_input(params, symbol, t, text, side) for t, symbol in enumerate(ids)])
    masks = {"row": row_mask(side), "column": column_mask(side), "conv": conv_mask(side, kernel)}
    for n, kind in enumerate(mask_kinds(layers)):
        layer = own(params, f"blocks.{n}.")
        visible = drawing_mask(text, masks[kind])[: len(x), : len(x)]
        z = layer_norm(x, layer["norm1.weight"], layer["norm1.bias"])
        x = x + _heads(z, layer["qkv"], layer["out"], heads, visible)
        z = layer_norm(x, layer["norm2.weight"], layer["norm2.bias"])
        x = x + np.maximum(z @ layer["up"].T, 0) ** 2 @ layer["down"].T
    return layer_norm(x, params["norm.weight"], params["norm.bias"]) @ params["output"].T


def _input(params, symbol, t, text, side):
    """A symbol's vector plus that of its place: of the text, or of a row and a column."""
    x = params["embed"][symbol]
    if symbol == 0 and 1 <= t <= text:
        x = params["pads"][t - 1]  # no word: each place has a vector of its own for it
    if t <= text:
        return x + params["places"][t]
    row, column = divmod(t - 1 - text, side)
    return x + params["rows"][row] + params["columns"][column]


def _heads(z, W_qkv, W_out, heads, visible):
    """Attention in several heads, with no positions of its own: z (T, C) -> (T, C)."""
    T, C = z.shape
    D = C // heads
    y = np.zeros((T, C))
    for h in range(heads):
        q, k, v = (z @ W_qkv[i * C + h * D : i * C + (h + 1) * D].T for i in range(3))
        out = attention(q[None, None], k[None, None], v[None, None], visible)[0, 0]
        y += out @ W_out[:, h * D : (h + 1) * D].T
    return y


# -- best of many ----------------------------------------------------------------------------------


def contrastive_loss(scores):
    """How well pictures find their captions and captions their pictures, in nats: the mean of both.

    scores   (B, B), of picture i with caption j; pairs are on the diagonal
    Source: Radford et al. 2021 (arXiv:2103.00020), figure 3.
    """
    if not len(scores):
        raise ValueError("scores must not be empty, got 0 pairs")
    loss = 0.0
    for i in range(len(scores)):
        loss -= _log_softmax(scores[i])[i] + _log_softmax(scores[:, i])[i]
    return loss / (2 * len(scores))


def rerank(scores, k):
    """The numbers of the k best in each row, best first, of equals the first: (B, N) -> (B, k)."""
    best = np.zeros((len(scores), k), np.int64)
    for b, row in enumerate(scores):
        best[b] = sorted(range(len(row)), key=lambda n: -row[n])[:k]
    return best


def scorer(params, images, captions):
    """Scores of every picture with every caption: cosines, times a learned scale.

    params    the state_dict of minilib.text_to_image.Scorer
    images    (B, 1, H, W), captions (A, text) int, 0 is no word
    returns   (B, A)
    """
    x = np.maximum(_conv(params, "picture.0", images, 1)[:, :, ::2, ::2], 0)
    x = np.maximum(_conv(params, "picture.2", x, 1)[:, :, ::2, ::2], 0)
    x = x.reshape(len(x), -1) @ params["picture.5.weight"].T + params["picture.5.bias"]
    scores = np.zeros((len(images), len(captions)))
    for i in range(len(images)):
        for j in range(len(captions)):
            c = sum(params["words"][word] for word in captions[j] if word)
            cosine = x[i] @ c / np.sqrt((x[i] @ x[i]) * (c @ c))
            scores[i, j] = np.exp(params["ln_scale"][0]) * cosine
    return scores


# -- the discrete autoencoder ----------------------------------------------------------------------


def discrete_vae(params, images, u, tau, *, sharpness=3.0):
    """Pictures -> logits -> relaxed codes -> pictures (sec. 2.1).

    params   the state_dict of minilib.text_to_image.DiscreteVAE
    images   (B, 1, H, W); H and W are multiples of 4; u (B, H / 4, W / 4, K)
    returns  (pictures (B, 1, H, W), logits (B, H / 4, W / 4, K))
    """
    x = np.maximum(_conv(params, "encoder.0", images, 1)[:, :, ::2, ::2], 0)
    x = np.maximum(_conv(params, "encoder.2", x, 1)[:, :, ::2, ::2], 0)
    x = _conv(params, "encoder.4", x, 0).transpose(0, 2, 3, 1)
    mean, variance = params["norm.running_mean"], params["norm.running_var"]
    logits = sharpness * (x - mean) / np.sqrt(variance + 1e-5)
    y = gumbel_softmax(logits, u, tau)
    x = (y @ params["codes"]).transpose(0, 3, 1, 2)  # Σ_k y_k e_k in each place
    x = np.maximum(_conv(params, "decoder.0", x, 1), 0)
    x = np.maximum(_spread(params, "decoder.2", x), 0)
    return _spread(params, "decoder.4", x), logits
