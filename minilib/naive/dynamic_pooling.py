"""Segments of any length in place of groups of k: who decides where to cut; the definitions.

code ↔ papers: dynamic pooling (Nawrot et al. 2022, arXiv:2211.09761): closes = b, True at the last
step of a segment; H-Net (Hwang et al. 2025, arXiv:2507.07955): route, smooth, ratio_loss; Toucan
(Fleshman & Van Durme 2023, arXiv:2311.08620): insert_ends. Departures: blocks are this course's
(pre-norm, rotary), H-Net's skip connection is the identity, and its chunks follow a null vector.
"""

import math

import numpy as np

from minilib.naive.hourglass import normed, part_of, stack

# -- segments --------------------------------------------------------------------------------------


def pool(x, closes, weight):
    """The weighted mean of each segment that is closed: (batch, T, C) -> (batch, S, C).

    closes   (batch, T) bool, True at the last step of a segment: the open rest is left out
    weight   (batch, T); all 1 is the paper's mean, 1 at the closing steps alone takes these
    returns  S is the number of segments of the row with most; behind those of the others stand 0s
    """
    out = np.zeros((len(x), max(sum(row) for row in closes), x.shape[2]))
    for row in range(len(x)):
        start = segment = 0
        for t in range(x.shape[1]):
            if closes[row, t]:
                w = weight[row, start : t + 1]
                out[row, segment] = w @ x[row, start : t + 1] / w.sum()
                start, segment = t + 1, segment + 1
    return out


def unpool(s, closes):
    """Each step gets the vector of the last segment that is closed: (batch, S, C) -> (batch, T, C).

    s[:, 0] is the null vector, for the steps before the first end. The closing step itself gets its
    own segment, which holds nothing that comes after it: that is why nothing leaks.
    """
    out = np.zeros((*closes.shape, s.shape[2]))
    for row in range(len(s)):
        segment = 0
        for t in range(closes.shape[1]):
            segment += closes[row, t]
            out[row, t] = s[row, segment]
    return out


# -- who decides -----------------------------------------------------------------------------------


def space_ends(ids):
    """A segment closes with each byte of white space: (batch, T) bytes -> (batch, T) bool."""
    return (ids == 32) | ((ids >= 9) & (ids <= 13))


def token_ends(tokens):
    """A tokenizer's cuts, for a predictor to learn: a list of bytes -> (T,) bool.

    They are known only after the whole text is: to pool with them would leak.
    """
    return np.array([i == len(token) - 1 for token in tokens for i in range(len(token))])


def entropy_spikes(H, k=2):
    """Where a model's entropy exceeds that of each of the k steps before: bool like H.

    H (batch, T). Fewer than k steps lie before the first ones, none before step 0: a spike always.
    """
    out = np.zeros(H.shape, dtype=bool)
    for row in range(len(H)):
        for t in range(H.shape[1]):
            out[row, t] = all(H[row, t] > before for before in H[row, max(0, t - k) : t])
    return out


def gumbel_sigmoid(logits, u, tau=0.5):
    """A coin of probability sigmoid(logits), softened (Maddison et al. 2017, arXiv:1611.00712).

    u        uniforms in [0, 1), shaped like logits; tau > 0, the temperature
    returns  in (0, 1), above ½ just as often as the coin says; the colder, the nearer to 0 and 1
    """
    return 1 / (1 + np.exp(-(logits + np.log(u) - np.log(1 - u)) / tau))


def binomial_loss(b, alpha):
    """-log Binomial(number of ends; T, alpha) / T, the prior on how many ends there are; a mean.

    b (batch, T) of 0 and 1; alpha: how likely each step is to close. No matter where the ends are.
    """
    B, T = b.shape
    total = 0
    for row in b:
        k = row.sum()
        ways = math.lgamma(T + 1) - math.lgamma(k + 1) - math.lgamma(T - k + 1)
        total -= ways + k * math.log(alpha) + (T - k) * math.log(1 - alpha)
    return total / T / B


def route(x, W_q, W_k):
    """How unlike the step before is each step? H-Net's probability of an end (eq. 4).

    x (batch, T, C); W_q, W_k (C, C); returns (batch, T): (1 - cosine) / 2, and 1 at step 0.
    H-Net calls that step the first of its chunk, which it stands for: the rest only repeats it.
    """
    out = np.ones(x.shape[:2])
    for row in range(len(x)):
        for t in range(1, x.shape[1]):
            q, k = W_q @ x[row, t], W_k @ x[row, t - 1]
            out[row, t] = (1 - q @ k / np.sqrt(q @ q) / np.sqrt(k @ k)) / 2
    return out


def smooth(z, p):
    """An unsure segment leans on those before: z̄_j = p_j z_j + (1 - p_j) z̄_{j-1} (H-Net, eq. 5).

    z (batch, S, C), p (batch, S); z̄ before the first is 0.
    """
    out = np.zeros(z.shape)
    before = np.zeros((len(z), z.shape[2]))
    for j in range(z.shape[1]):
        before = p[:, j, None] * z[:, j] + (1 - p[:, j, None]) * before
        out[:, j] = before
    return out


def ratio_loss(p, closes, N):
    """H-Net's loss on the rate of ends, which shall be 1 / N (eq. 10); 1 at F = G = 1 / N.

    p, closes (batch, T). F, the share of ends, has no gradient: G, the mean of p, moves where F
    tells it.
    """
    F, G = closes.mean(), p.mean()
    return N / (N - 1) * ((N - 1) * F * G + (1 - F) * (1 - G))


# -- Toucan ----------------------------------------------------------------------------------------


def insert_ends(ids, closes, end):
    """Toucan: the symbol `end` after each step that closes a segment: (T,) -> (T + number,).

    A decoder that predicts it knows that the segment is closed before the next symbol is chosen.
    """
    out = []
    for symbol, closing in zip(ids, closes, strict=True):
        out += [symbol, end] if closing else [symbol]
    return np.array(out)


# -- the language model ----------------------------------------------------------------------------


# its multiples modulo 1 spread evenly: of n in a row, n p lie above 1 - p, but for two
GOLDEN = (math.sqrt(5) - 1) / 2


def boundaries(params, ids, x, source):
    """How likely each step closes a segment, in 0 … 1, from bytes (batch, T) or fine states x.

    Those at ½ or more do. "gumbel" has drawn already, with the same uniforms for every text: were
    they new each time, what is written would not have the past that it was chosen with.
    """
    if source == "space":
        return space_ends(ids).astype(float)
    if source == "route":
        return route(x, params["W_q"], params["W_k"])
    N, T = part_of(params, "predictor"), ids.shape[1]
    hidden = np.maximum(x @ N["0.weight"].T + N["0.bias"], 0)
    logits = hidden @ N["2.weight"][0] + N["2.bias"][0]
    u = [(t + 1) * GOLDEN % 1 if source == "gumbel" else 0.5 for t in range(T)]
    return gumbel_sigmoid(logits, np.array(u))


def dynamic_pooling(params, ids, *, source, before, middle, after, heads, context):
    """Logits of the language model: ids (batch, T) -> (batch, T, vocab).

    params   the state_dict of minilib.dynamic_pooling.DynamicPooling
    context  steps that a fine layer sees, and segments that a middle layer sees
    """
    x = np.array([[params["embed"][i] for i in row] for row in ids])
    x = stack(params, "before", x, before, heads, True, context)
    rows = []
    for text, h in zip(ids[:, None], x[:, None], strict=True):  # row by row
        p = boundaries(params, text, h, source)
        closes = p >= 0.5
        weight = closes.astype(float) if source == "route" else np.ones(p.shape)
        both = [params["null"][None, None], pool(h, closes, weight)]
        s = np.concatenate(both, axis=1)
        s = stack(params, "middle", s, middle, heads, True, context)
        if source == "route":
            s = smooth(s, np.array([[1.0, *p[closes]]]))
        rows.append((h + unpool(s, closes))[0])
    x = stack(params, "after", np.array(rows), after, heads, True, context)
    return normed(params, "norm", x) @ params["output"].T
