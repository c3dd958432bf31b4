"""MEGABYTE: a large Transformer plans patches of P bytes, a small one spells the bytes of each patch. The definition.

Source: Yu et al. 2023 (arXiv:2305.07185), sec. 2. Byte n is byte p = n mod P of patch k = n // P. Two shifts:

    the plan g_k of patch k reads a pad and the patches before k     shifted by a patch
    the speller at byte n reads g_k and, of patch k, the bytes before n     shifted by a byte

    code                        paper                                                       shape
    embed_global, pad_global    E^global-embed, E^global-pad                                (V, D), (P D,)
    global_blocks, g            transformer^global, h^global-out                            (batch, K, P, D)
    to_local                    w^GL, from a byte's part of the plan to the speller         (d, D)
    embed_local, pad_local      E^local-embed, E^local-pad                                  (V, d), (d,)
    local_blocks                transformer^local
    reach                       r of cross-patch attention, sec. 2.3.2
    conv                        the convolutional patch encoder, sec. 2.3.1

Departures: the blocks are those of `transformer` (rotary positions in both models, so no table of positions and texts of any
length); the planner sees the `context` last patches in each layer; its output is normalised; the output matrix is its own.
"""

import numpy as np

from minilib.naive.transformer import block, layer_norm

WIDTHS = 3, 5, 7  # of the causal convolutions


def own(params, prefix):
    """The parameters of one part, without its prefix."""
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }


def patch_embed(params, ids, *, patch, conv=False):
    """Rows of the embedding table, `patch` of them side by side: ids (batch, K P) -> (batch, K, P D).

    conv  before cutting, three times x_t <- x_t + relu(W_w [x_{t-w+1} … x_t] + bias), w = 3, 5, 7; zeros stand before the text.
          The paper names the widths only: ReLU and residual are ours
    """
    B, T = ids.shape
    x = params["embed_global"][ids]
    for n, width in enumerate(WIDTHS if conv else ()):
        weight, bias = params[f"convs.{n}.weight"], params[f"convs.{n}.bias"]  # (D, D, width), (D,)
        y = np.zeros(x.shape)
        for t in range(T):
            heard = bias + sum(
                x[:, s] @ weight[:, :, s - t + width - 1].T
                for s in range(max(0, t - width + 1), t + 1)
            )
            y[:, t] = x[:, t] + np.maximum(heard, 0)
        x = y
    patches = np.zeros((B, T // patch, patch * x.shape[2]))
    for k in range(T // patch):
        patches[:, k] = np.concatenate([x[:, k * patch + p] for p in range(patch)], axis=1)
    return patches


def global_model(params, patches, *, patch, global_layers, heads, context):
    """Plans of patches 0 … K from patches 0 … K - 1: (batch, K, P D) -> (batch, K + 1, P, D). Plan k sees patches before k."""
    B, K, G = patches.shape
    x = np.concatenate([np.broadcast_to(params["pad_global"], (B, 1, G)), patches], axis=1)
    nothing = np.zeros((B, heads, 0, G // heads))
    for n in range(global_layers):
        x, _, _ = block(
            own(params, f"global_blocks.{n}."), x, nothing, nothing, 0, heads, True, context
        )
    return layer_norm(x, params["global_norm.weight"], params["global_norm.bias"]).reshape(
        B, K + 1, patch, G // patch
    )


def patch_block(params, x, past_k, past_v, position, heads, patch, reach=0):
    """A `block` whose attention starts anew with every patch, except that it sees the last `reach` steps of the patch before.

    x               (batch, T, C), steps position … position + T - 1 of the text
    past_k, past_v  (batch, heads, S, C / heads): of the steps of this patch before x, and of the last `reach` of the one before it
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
    """What the speller makes of every byte to come: g (batch, K, P, D), ids (batch, T), T // P < K -> (batch, T + 1, d)."""
    B, T = ids.shape
    x = np.zeros((B, T + 1, len(params["pad_local"])))
    for n in range(T + 1):
        k, p = divmod(n, patch)
        before = params["pad_local"] if p == 0 else params["embed_local"][ids[:, n - 1]]
        x[:, n] = g[:, k, p] @ params["to_local"].T + before
    nothing = np.zeros((B, heads, 0, x.shape[2] // heads))
    for n in range(local_layers):
        x, _, _ = patch_block(
            own(params, f"local_blocks.{n}."), x, nothing, nothing, 0, heads, patch, reach
        )
    return x


def megabyte(
    params, ids, *, patch, global_layers, local_layers, heads, context, conv=False, reach=0
):
    """Logits of the byte after each: (batch, T) -> (batch, T, V). Patches start at ids[:, 0].

    The paper's model predicts byte n at place n, byte 0 from the pads alone. Here logits[:, t] predicts ids[:, t + 1], so
    that prediction of byte 0 is dropped, and byte T is predicted although its patch has only begun.
    """
    K = ids.shape[1] // patch
    patches = patch_embed(params, ids[:, : K * patch], patch=patch, conv=conv)
    g = global_model(
        params, patches, patch=patch, global_layers=global_layers, heads=heads, context=context
    )
    x = local_model(
        params, g, ids, patch=patch, local_layers=local_layers, heads=heads, reach=reach
    )
    return layer_norm(x[:, 1:], params["norm.weight"], params["norm.bias"]) @ params["output"].T


def merge_strides(first, second, patch):
    """Strided inference (sec. 2.3.3): of two runs keep the predictions that fall into the first half of a patch.

    first    (batch, T, V) logits of ids; row t predicts byte t + 1, which is byte (t + 1) mod P of its patch
    second   (batch, T - h, V) logits of ids[:, h:], h = ⌈P / 2⌉, whose patches start h bytes later
    returns  (batch, T, V); byte h itself is in no second run, which begins with it
    """
    out, h = first.copy(), (patch + 1) // 2
    for n in range(h + 1, first.shape[1] + 1):
        if n % patch >= h:
            out[:, n - 1] = second[:, n - 1 - h]
    return out


def strided_logits(params, ids, *, patch, **shape):
    """Logits of twice the cost: every byte is predicted in the first half of a patch. Arguments of `megabyte`, T > ⌈P / 2⌉."""
    runs = [megabyte(params, ids[:, h:], patch=patch, **shape) for h in (0, (patch + 1) // 2)]
    return merge_strides(*runs, patch)


def attention_cost(T, patch, reach=0):
    """Scores per head and layer for T bytes, as a kernel that masks computes them: (planner's, speller's). Sec. 3.1.

    Every patch is scored with every patch, every byte with all bytes of its patch (the last one padded) and with `reach` before it.
    """
    K = -(-T // patch)
    planner = sum(1 for _ in range(K) for _ in range(K))
    speller = sum(1 for _ in range(K) for _ in range(patch) for _ in range(reach + patch))
    return planner, speller


def multiply_adds(
    T, patch, global_width, global_layers, local_width, local_layers, vocab_size=256, reach=0
):
    """Multiply-adds of scoring T bytes, T a multiple of P, of which the first is given: (planner, speller, between and output).

    Counted matrix by matrix, without the convolutional encoder. A planner of no layers costs nothing.
    """
    blocks = []
    for steps, width, layers, scores in zip(
        (T // patch, T),
        (global_width, local_width),
        (global_layers, local_layers),
        attention_cost(T, patch, reach),
        strict=True,
    ):
        matrices = (
            3 * width * width + width * width + 4 * width * width + 4 * width * width
        )  # qkv, out, up, down
        blocks.append(
            layers * sum([steps * matrices, scores * width, scores * width])
        )  # scores, and the mean that they weigh
    return *blocks, T * (global_width // patch) * local_width + (T - 1) * local_width * vocab_size
