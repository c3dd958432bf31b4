"""A causal Transformer as a language model: the definition.

code ↔ paper (Vaswani et al. 2017, arXiv:1706.03762): qkv, out = W^Q W^K W^V, W^O of all heads; up, down = W_1, W_2 of eq. 2.
Departures, all common since: normalisation before a sublayer and not after it (Xiong et al. 2020, arXiv:2002.04745), rotary
positions, squared ReLU (So et al. 2021, arXiv:2109.08668, sec. 4.2), no biases, each step sees the last `context` steps only.
"""

import numpy as np

from minilib.naive.attention import multi_head


def layer_norm(x, weight, bias):
    """Each row of channels to mean 0 and variance 1, then scaled and shifted (Ba et al. 2016, arXiv:1607.06450)."""
    out = np.zeros(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        row = x[index] - x[index].mean()
        out[index] = row / np.sqrt((row**2).mean() + 1e-5) * weight + bias
    return out


def block(params, x, past_k, past_v, position, heads, causal=True, window=None):
    """x + attention(norm(x)), then + feed-forward(norm(x)); shapes and the cache as in `multi_head`."""
    P = params
    heard, k, v = multi_head(
        layer_norm(x, P["norm1.weight"], P["norm1.bias"]),
        P["qkv"],
        P["out"],
        heads,
        past_k,
        past_v,
        position,
        causal,
        window,
    )
    x = x + heard
    hidden = np.maximum(layer_norm(x, P["norm2.weight"], P["norm2.bias"]) @ P["up"].T, 0) ** 2
    return x + hidden @ P["down"].T, k, v


def transformer(params, ids, *, layers, heads, context):
    """Logits of the language model.

    params   the state_dict of minilib.transformer.Transformer
    ids      (batch, T) int; T may exceed the context: every step sees the `context` last ones in each layer
    returns  (batch, T, vocab)
    """
    x = np.array([[params["embed"][i] for i in row] for row in ids])
    nothing = np.zeros((len(ids), heads, 0, x.shape[-1] // heads))
    for n in range(layers):
        own = {
            name.removeprefix(f"blocks.{n}."): value
            for name, value in params.items()
            if name.startswith(f"blocks.{n}.")
        }
        x, _, _ = block(own, x, nothing, nothing, 0, heads, True, context)
    return layer_norm(x, params["norm.weight"], params["norm.bias"]) @ params["output"].T
