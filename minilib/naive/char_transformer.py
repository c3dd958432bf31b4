"""The deep character Transformer with its auxiliary losses: the definition.

Source: Al-Rfou et al. 2018 (arXiv:1808.04444), "Character-Level Language Modeling with Deeper
Self-Attention". T symbols are a window, which nothing outside of it is seen from.

    code                paper                                               shape
    embed               table of the characters                             (V, C)
    positions[l - 1]    embedding of the places, added before layer l       (n, L, C)
    blocks.(l - 1)      layer l                                             as in post_norm_block
    classifiers         of layer l for the next symbol and the one after    (n, 2, V, C)
    progress            fraction of the training that is done

Departures: no biases in matrices, no dropout. A text longer than a window is read as independent
windows, as in training: step t stands at place t mod L.
"""

import numpy as np

from minilib.naive.attention import attention
from minilib.naive.transformer import layer_norm, own


def post_norm_block(params, x, past_k, past_v, heads):
    """norm(x + attention(x)), then norm(x + feed-forward(x)): Vaswani et al. 2017, sec. 3.1.

    x               (batch, T, C), the new steps
    past_k, past_v  (batch, heads, S, C / heads), of all steps of the window before them
    returns         (batch, T, C); keys and values with the new ones, (batch, heads, S + T, C/heads)
    """
    B, T, C = x.shape
    D = C // heads
    q, k, v = (np.zeros((B, heads, T, D)) for _ in range(3))
    for h in range(heads):
        for i, projected in enumerate((q, k, v)):
            rows = params["qkv"][i * C + h * D : i * C + (h + 1) * D]
            projected[:, h] = x @ rows.T
    k = np.concatenate([past_k, k], axis=2)
    v = np.concatenate([past_v, v], axis=2)
    found = attention(q, k, v, None, True)
    joined = np.concatenate([found[:, h] for h in range(heads)], axis=2)
    x = layer_norm(x + joined @ params["out"].T, params["norm1.weight"], params["norm1.bias"])
    y = np.maximum(x @ params["up"].T, 0) @ params["down"].T
    return layer_norm(x + y, params["norm2.weight"], params["norm2.bias"]), k, v


def layer_states(params, ids, layers, heads):
    """What each layer makes of a window: ids (batch, T) -> (layers, batch, T, C)."""
    x, states = params["embed"][ids], []
    B, T, C = x.shape
    nothing = np.zeros((B, heads, 0, C // heads))
    for n in range(layers):
        x = x + params["positions"][n, :T]
        block = own(params, f"blocks.{n}.")
        x, _, _ = post_norm_block(block, x, nothing, nothing, heads)
        states.append(x)
    return np.array(states)


def char_transformer(params, ids, *, layers, heads, context):
    """Logits of the language model: (batch, T) -> (batch, T, V). Windows start at 0, L, 2L, …"""
    rows = []
    for start in range(0, ids.shape[1], context):
        states = layer_states(params, ids[:, start : start + context], layers, heads)
        rows.append(states[-1] @ params["classifiers"][-1, 0].T)
    return np.concatenate(rows, axis=1)


def active_layers(n, progress):
    """The layers, 1 … n, that pay a loss: the top one, and layer l while progress < l / (2n)."""
    return [l for l in range(1, n + 1) if l == n or progress < l / (2 * n)]


def auxiliary_loss(states, classifiers, ids, progress, second=0.5, places=None):
    """Nats: the losses of the next symbol and of the one after it, over active layers.

    states       (n, batch, T, C), of all layers
    classifiers  (n, 2, V, C)
    ids          (batch, T + 1): place t reads ids[:, t], predicts ids[:, t + 1 : t + 3]
    second       weight of the symbol after the next; the last place has none
    places       how many places count, from the end; None: all of them
    """
    n, B, T, _ = states.shape
    begin = 0 if places is None else T - places
    total = 0.0
    for l in active_layers(n, progress):
        for target, weight in [(0, 1.0), (1, second)]:
            nats = []
            for b in range(B):
                for t in range(begin, T - target):
                    z = classifiers[l - 1, target] @ states[l - 1, b, t]
                    z = z - z.max()
                    nats.append(np.log(np.exp(z).sum()) - z[ids[b, t + 1 + target]])
            if nats:
                total = total + weight * np.mean(nats)
    return total


def count_parameters(vocab_size, width, layers, context):
    """Numbers in the model: (those that predict, those of the training's other classifiers)."""
    predict = vocab_size * width  # embed
    for _ in range(layers):
        predict += 4 * width * width  # queries, keys, values, out
        predict += width * 4 * width + 4 * width * width  # up, down
        predict += 2 * 2 * width  # norms
        predict += context * width  # positions
    predict += vocab_size * width  # the top layer's classifier of the next symbol
    training_only = 0
    for l in range(1, layers + 1):
        training_only += vocab_size * width * (1 if l == layers else 2)
    return predict, training_only
