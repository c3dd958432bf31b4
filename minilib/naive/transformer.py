"""A causal Transformer as a language model: the definition.

code ↔ paper (Vaswani et al. 2017, arXiv:1706.03762): qkv, out = W^Q W^K W^V, W^O of all heads;
up, down = W_1, W_2 of eq. 2. Departures, all common since: normalisation before a sublayer and not
after it (Xiong et al. 2020, arXiv:2002.04745), rotary positions, squared ReLU (So et al. 2021,
arXiv:2109.08668, sec. 4.2), no biases, each step sees the last `context` steps only.
"""

import numpy as np

from minilib.naive.attention import multi_head


def layer_norm(x, weight, bias):
    """Each row of channels to mean 0 and variance 1, then scaled and shifted.

    Source: Ba et al. 2016 (arXiv:1607.06450). The 1e-5 is for rows that are constant.
    """
    out = np.zeros(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        row = x[index] - x[index].mean()
        out[index] = row / np.sqrt((row**2).mean() + 1e-5) * weight + bias
    return out


def block(params, x, past_k, past_v, position, heads, causal=True, window=None):
    """x + attention(norm(x)), then + feed-forward(norm(x)); shapes as in multi_head."""
    normed = layer_norm(x, params["norm1.weight"], params["norm1.bias"])
    inputs = normed, params["qkv"], params["out"], heads
    y, k, v = multi_head(*inputs, past_k, past_v, position, causal, window)
    x = x + y
    normed = layer_norm(x, params["norm2.weight"], params["norm2.bias"])
    hidden = np.maximum(normed @ params["up"].T, 0) ** 2
    return x + hidden @ params["down"].T, k, v


def own(params, prefix):
    """The parameters of one part of a model, without its prefix."""
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }


def transformer(params, ids, *, layers, heads, context):
    """Logits of the language model.

    params   the state_dict of minilib.transformer.Transformer
    ids      (batch, T) int; T may exceed the context: in each layer a step sees the last `context`
    returns  (batch, T, vocab)
    """
    x = np.array([[params["embed"][i] for i in row] for row in ids])
    nothing = np.zeros((len(ids), heads, 0, x.shape[-1] // heads))
    for n in range(layers):
        layer = own(params, f"blocks.{n}.")
        x, _, _ = block(layer, x, nothing, nothing, 0, heads, True, context)
    x = layer_norm(x, params["norm.weight"], params["norm.bias"])
    return x @ params["output"].T
