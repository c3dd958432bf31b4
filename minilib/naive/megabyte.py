"""MEGABYTE: a large Transformer plans patches, a small one spells their bytes. The definition.

Source: Yu et al. 2023 (arXiv:2305.07185), sec. 2. Byte n is byte p = n mod P of patch k = n // P.
Two shifts:

    the plan g_k of patch k reads a pad and the patches before k        shifted by a patch
    the speller at byte n reads g_k and the bytes of patch k before n   shifted by a byte

    code                        paper                                               shape
    embed_global, pad_global    E^global-embed, E^global-pad                        (V, D), (P D,)
    global_blocks, g            transformer^global, h^global-out                    (batch, K, P, D)
    to_local                    w^GL, from a byte's part of the plan to the speller (d, D)
    embed_local, pad_local      E^local-embed, E^local-pad                          (V, d), (d,)
    local_blocks                transformer^local
    reach                       r of cross-patch attention, sec. 2.3.2
    conv                        the convolutional patch encoder, sec. 2.3.1

Departures: the blocks are those of `transformer` (rotary positions in both models, so no table of
positions and texts of any length); the planner sees the `context` last patches in each layer; its
output is normalised; the output matrix is its own.
"""

import numpy as np

from minilib.naive.transformer import block, layer_norm, own

WIDTHS = 3, 5, 7  # of the causal convolutions


def patch_embed(params, ids, *, patch, conv=False):
    """Rows of the embedding table, P of them side by side: ids (batch, K P) -> (batch, K, P D).

    conv  before cutting, x_t <- x_t + relu(W_w [x_{t-w+1} … x_t] + bias) for w = 3, then 5, then 7;
          zeros stand before the text. The paper names the widths only: ReLU and residual are ours
    """
    B, T = ids.shape
    x = params["embed_global"][ids]
    for n, width in enumerate(WIDTHS if conv else ()):
        weight, bias = params[f"convs.{n}.weight"], params[f"convs.{n}.bias"]  # (D, D, width), (D,)
        y = np.zeros(x.shape)
        for t in range(T):
            mixed = bias
            for s in range(max(0, t - width + 1), t + 1):
                mixed = mixed + x[:, s] @ weight[:, :, s - t + width - 1].T
            y[:, t] = x[:, t] + np.maximum(mixed, 0)
        x = y
    patches = np.zeros((B, T // patch, patch * x.shape[2]))
    for k in range(T // patch):
        patches[:, k] = np.concatenate([x[:, k * patch + p] for p in range(patch)], axis=1)
    return patches


def global_model(params, patches, *, patch, global_layers, heads, context):
    """Plans of patches 0 … K from patches 0 … K - 1; plan k sees the patches before k.

    patches (batch, K, P D); returns (batch, K + 1, P, D)
    """
    B, K, G = patches.shape
    x = np.concatenate([np.broadcast_to(params["pad_global"], (B, 1, G)), patches], axis=1)
    nothing = np.zeros((B, heads, 0, G // heads))
    for n in range(global_layers):
        weights = own(params, f"global_blocks.{n}.")
        x, _, _ = block(weights, x, nothing, nothing, 0, heads, True, context)
    x = layer_norm(x, params["global_norm.weight"], params["global_norm.bias"])
    return x.reshape(B, K + 1, patch, G // patch)


def patch_block(params, x, past_k, past_v, position, heads, patch, reach=0):
    """A `block` that starts anew with every patch, but sees the last `reach` steps before it.

    x               (batch, T, C), steps position … position + T - 1 of the text
    past_k, past_v  (batch, heads, S, C / heads): of the steps of this patch before x, and of the
                    last `reach` of the patch before it
    returns         (batch, T, C), and keys and values as the step after x needs them
    """
    rows, t = [], 0
    while t < x.shape[1]:
        end = min(x.shape[1], t + patch - (position + t) % patch)
        y, past_k, past_v = block(params, x[:, t:end], past_k, past_v, position + t, heads)
        if (position + end) % patch == 0:  # a patch is done
            past_k, past_v = (past[:, :, past.shape[2] - reach :] for past in (past_k, past_v))
        rows.append(y)
        t = end
    return np.concatenate(rows, axis=1), past_k, past_v


def local_model(params, g, ids, *, patch, local_layers, heads, reach=0):
    """What the speller makes of every byte to come, the one after the last id too.

    g (batch, K, P, D), ids (batch, T), T // P < K; returns (batch, T + 1, d)
    """
    B, T = ids.shape
    x = np.zeros((B, T + 1, len(params["pad_local"])))
    for n in range(T + 1):
        k, p = divmod(n, patch)
        before = params["pad_local"] if p == 0 else params["embed_local"][ids[:, n - 1]]
        x[:, n] = g[:, k, p] @ params["to_local"].T + before
    nothing = np.zeros((B, heads, 0, x.shape[2] // heads))
    for n in range(local_layers):
        weights = own(params, f"local_blocks.{n}.")
        x, _, _ = patch_block(weights, x, nothing, nothing, 0, heads, patch, reach)
    return x


def megabyte(
    params,
    ids,
    *,
    patch,
    global_layers,
    local_layers,
    heads,
    context,
    conv=False,
    reach=0,
):
    """Logits of the byte after each: (batch, T) -> (batch, T, V). Patches start at 0.

    The paper's model predicts byte n at place n, byte 0 from the pads alone. Here
    logits[:, t] predicts ids[:, t + 1], so that prediction of byte 0 is dropped,
    and byte T is predicted although its patch has only begun.
    """
    K = ids.shape[1] // patch
    patches = patch_embed(params, ids[:, : K * patch], patch=patch, conv=conv)
    planner = {"patch": patch, "global_layers": global_layers, "context": context}
    speller = {"patch": patch, "local_layers": local_layers, "reach": reach}
    g = global_model(params, patches, heads=heads, **planner)
    x = local_model(params, g, ids, heads=heads, **speller)
    x = layer_norm(x[:, 1:], params["norm.weight"], params["norm.bias"])
    return x @ params["output"].T


def merge_strides(first, second, patch):
    """Strided inference (sec. 2.3.3): of two runs keep what was predicted in a patch's first half.

    first    (batch, T, V) logits of ids; row t predicts byte t + 1, byte (t + 1) mod P of its patch
    second   (batch, T - h, V) logits of ids[:, h:], h = ⌈P / 2⌉, whose patches start h bytes later
    returns  (batch, T, V); byte h itself is in no second run, which begins with it
    """
    out, h = first.copy(), (patch + 1) // 2
    for n in range(h + 1, first.shape[1] + 1):
        if n % patch >= h:
            out[:, n - 1] = second[:, n - 1 - h]
    return out


def strided_logits(params, ids, *, patch, **shape):
    """Logits of twice the cost: every byte is predicted in the first half of a patch.

    Arguments of `megabyte`, T > ⌈P / 2⌉.
    """
    half = (patch + 1) // 2
    first = megabyte(params, ids, patch=patch, **shape)
    second = megabyte(params, ids[:, half:], patch=patch, **shape)
    return merge_strides(first, second, patch)


def attention_cost(T, patch, reach=0):
    """Scores per head and layer of T bytes where a kernel masks: (planner's, speller's), sec. 3.1.

    Every patch is scored with every patch, every byte with all bytes of its patch (the last one
    padded) and with `reach` before it.
    """
    K = -(-T // patch)
    planner = sum(1 for _ in range(K) for _ in range(K))
    speller = sum(1 for _ in range(K) for _ in range(patch) for _ in range(reach + patch))
    return planner, speller


def multiply_adds(
    T, patch, global_width, global_layers, local_width, local_layers, vocab_size=256, reach=0
):
    """Multiply-adds of scoring T bytes: (planner's, speller's, those between and of the output).

    T is a multiple of P, and the first byte is given. Counted matrix by matrix, without the
    convolutional encoder. A planner of no layers costs nothing.
    """

    def blocks(steps, width, layers, scores):
        matrices = width * width * (3 + 1 + 4 + 4)  # qkv, out, up, down
        return layers * (steps * matrices + scores * width + scores * width)  # scores, their mean

    planner, speller = attention_cost(T, patch, reach)
    between = T * (global_width // patch) * local_width
    return (
        blocks(T // patch, global_width, global_layers, planner),
        blocks(T, local_width, local_layers, speller),
        between + (T - 1) * local_width * vocab_size,
    )
