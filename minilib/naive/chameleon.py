"""Chameleon: words and picture symbols in one stream, and what keeps its numbers small.

Source: Chameleon Team 2024, "Chameleon: Mixed-Modal Early-Fusion Foundation Models"
(arXiv:2405.09818), sec. 2.2 (the stream) and 2.3 (stability).

    code                  paper                                        shape
    q_gain, q_bias        the layer norm of the queries (QK-norm)      (heads, D)
    k_gain, k_bias        that of the keys                             (heads, D)
    gate, up, down        SwiGLU                                       (F, C), (F, C), (C, F)
    weight                of the z-loss; 1e-5 in the paper             number
    words, codes          sizes of the two vocabularies                numbers

One vocabulary of words + codes + 4 ids: 0 is padding, 1 … words - 1 are words, then come the codes
of pictures, then the markers start, begin (of a picture), finish (of a picture) and stop.
Departures: a caption is of whole words, no dropout, gains of the QK-norm for each head.
"""

import numpy as np

from minilib.naive.attention import attention, rope
from minilib.naive.mamba import rms_norm
from minilib.naive.transformer import layer_norm, own

# -- one stream ------------------------------------------------------------------------------------


def interleave(captions, pictures, image_first, words, codes):
    """Pairs as rows of one vocabulary: start, one modality, the other, stop, and then padding.

    captions     (B, L) int, numbers of words in 1 … words - 1, and 0 behind the last one
    pictures     (B, G) int, codes in 0 … codes - 1
    image_first  (B,) bool: whether the picture comes before its caption
    returns      (B, L + G + 4) int64
    """
    start, begin, finish, stop = range(words + codes, words + codes + 4)
    B, L = captions.shape
    rows = np.zeros((B, L + pictures.shape[1] + 4), np.int64)
    for b in range(B):
        text = [word for word in captions[b] if word]
        picture = [begin, *(words + code for code in pictures[b]), finish]
        both = picture + text if image_first[b] else text + picture
        row = [start, *both, stop]
        rows[b, : len(row)] = row
    return rows


def modality_mask(ids, words, codes, places):
    """What may come next, after each step: (B, T) int -> (B, T, words + codes + 4) bool.

    places   codes of a picture, G
    In a picture exactly `places` codes and then finish; after stop padding; else a word, begin or
    stop. A row begins with start, which nothing may be followed by.
    """
    _, begin, finish, stop = range(words + codes, words + codes + 4)
    may = np.zeros((*ids.shape, words + codes + 4), bool)
    for b in range(len(ids)):
        written = None  # codes of the picture that is open
        stopped = False
        for t in range(ids.shape[1]):
            if ids[b, t] == begin:
                written = 0
            elif ids[b, t] == finish:
                written = None
            elif written is not None:
                written += 1
            stopped = stopped or ids[b, t] == stop
            if stopped:
                may[b, t, 0] = True
            elif written is None:
                may[b, t, 1:words] = may[b, t, begin] = may[b, t, stop] = True
            elif written < places:
                may[b, t, words : words + codes] = True
            else:
                may[b, t, finish] = True
    return may


# -- queries and keys of bounded length ------------------------------------------------------------


def head_norm(x, gain, bias):
    """Layer norm of every head on its own: x (B, heads, T, D); gain, bias (heads, D)."""
    out = np.zeros(x.shape)
    for h in range(x.shape[1]):
        out[:, h] = layer_norm(x[:, h], gain[h], bias[h])
    return out


def qk_norm_attention(q, k, v, q_gain, q_bias, k_gain, k_bias):
    """Causal attention whose queries and keys are normalised before they are turned (sec. 2.3).

    q, k, v  (B, heads, T, D); the gains and biases (heads, D)
    returns  (B, heads, T, D), and the largest |logit| that each row and head sees: (B, heads)
    """
    B, H, T, D = q.shape
    q, k = head_norm(q, q_gain, q_bias), head_norm(k, k_gain, k_bias)
    q, k = rope(q, 0), rope(k, 0)
    largest = np.zeros((B, H))
    for b, h, t in np.ndindex(B, H, T):
        for s in range(t + 1):
            logit = abs(q[b, h, t] @ k[b, h, s]) / np.sqrt(D)
            largest[b, h] = max(largest[b, h], logit)
    return attention(q, k, v, causal=True), largest


def logit_bound(q_gain, q_bias, k_gain, k_bias):
    """No |logit| of a head can be above this, whatever is read: four (heads, D) -> (heads,).

    A normalised row has length √D at most, and turning keeps lengths. Gains of 1 and biases of 0
    give √D.
    """
    H, D = q_gain.shape
    bound = np.zeros(H)
    for h in range(H):
        longest_q = np.sqrt(D) * abs(q_gain[h]).max() + np.sqrt((q_bias[h] ** 2).sum())
        longest_k = np.sqrt(D) * abs(k_gain[h]).max() + np.sqrt((k_bias[h] ** 2).sum())
        bound[h] = longest_q * longest_k / np.sqrt(D)
    return bound


# -- the block -------------------------------------------------------------------------------------


def residual_bound(start, gains):
    """How long the residual stream can be after branches that end with an RMS norm (Swin order).

    start    (N,), lengths of the rows before the first branch
    gains    (branches, C), of the norm that ends each branch
    returns  (N,): a branch adds √C max|gain| at most
    """
    longest = start.copy()
    for gain in gains:
        longest = longest + np.sqrt(len(gain)) * abs(gain).max()
    return longest


def swiglu(params, x):
    """down(silu(gate(x)) · up(x)) (Shazeer 2020, arXiv:2002.05202)."""
    z = x @ params["gate"].T
    return (z / (1 + np.exp(-z)) * (x @ params["up"].T)) @ params["down"].T


def block(params, x, heads, qk_norm, order, context=None):
    """Attention, then SwiGLU, each added to the stream; x (B, T, C), from step 0 on.

    order    "pre":  x + Attention(norm(x)), as the 7B model;
             "swin": x + norm(Attention(x)), as the 34B model. Never norm(x + Attention(x))
    context  steps that a step sees, itself among them; None is all
    """
    B, T, C = x.shape

    def attend(x):
        q, k, v = (x @ params["qkv"].T).reshape(B, T, 3, heads, C // heads).transpose(2, 0, 3, 1, 4)
        if qk_norm:
            q = head_norm(q, params["q_gain"], params["q_bias"])
            k = head_norm(k, params["k_gain"], params["k_bias"])
        found = attention(rope(q, 0), rope(k, 0), v, causal=True, window=context)
        return np.concatenate([found[:, h] for h in range(heads)], axis=2) @ params["out"].T

    for branch, gain in (
        (attend, params["norm1.weight"]),
        (lambda x: swiglu(params, x), params["norm2.weight"]),
    ):
        if order == "pre":
            x = x + branch(rms_norm(x, gain))
        else:
            x = x + rms_norm(branch(x), gain)
    return x


def chameleon(params, ids, *, layers, heads, qk_norm, order, context=None):
    """Logits of the language model: ids (B, T) -> (B, T, V). A last RMS norm in both orders."""
    x = params["embed"][ids]
    for n in range(layers):
        x = block(own(params, f"blocks.{n}."), x, heads, qk_norm, order, context)
    return rms_norm(x, params["norm.weight"]) @ params["output"].T


# -- the loss --------------------------------------------------------------------------------------


def log_z(logits):
    """log Σ exp(logit) over the vocabulary, what the softmax divides by: (..., V) -> (...)."""
    top = logits.max(-1)
    return top + np.log(np.exp(logits - top[..., None]).sum(-1))


def z_loss(logits, counted, weight):
    """weight · the mean of (log Z)² over the places that count (sec. 2.3).

    logits (B, T, V) over the whole vocabulary, nothing masked; counted (B, T) bool
    """
    total, places = 0.0, 0
    for b, t in np.ndindex(counted.shape):
        if counted[b, t]:
            total += log_z(logits[b, t]) ** 2
            places += 1
    return weight * total / places


def z_loss_gradient(logits, counted, weight):
    """Its gradient in the logits: 2 weight log Z softmax / places, and 0 where nothing counts."""
    gradient = np.zeros(logits.shape)
    for b, t in np.ndindex(counted.shape):
        if counted[b, t]:
            z = log_z(logits[b, t])
            gradient[b, t] = 2 * weight * z * np.exp(logits[b, t] - z) / counted.sum()
    return gradient


def stream_loss(logits, ids, weight=0.0):
    """(mean nats per symbol, z-loss), both over the places whose next symbol is no padding.

    logits  (B, T, V); ids (B, T + 1), the row that was read and one symbol more; 0 is padding
    """
    counted = ids[:, 1:] != 0
    nats = 0.0
    for b, t in np.ndindex(counted.shape):
        if counted[b, t]:
            nats += log_z(logits[b, t]) - logits[b, t, ids[b, t + 1]]
    return nats / counted.sum(), z_loss(logits, counted, weight)
