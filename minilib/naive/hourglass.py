"""Hourglass: fine layers, a shorter and deeper middle, fine layers again; the definition.

code ↔ paper (Nawrot et al. 2021, arXiv:2110.13711): k = shorten factor; before, middle, after = the vanilla layers, the
shortened ones, and the vanilla layers again ("2@1 4@3 2@1" is 2, 4, 2 with k = 3); group = what one shortened step stands for.
Beside it the Funnel encoder (Dai et al. 2020, arXiv:2006.03236) and AU-Net's pooling by words (Videau et al. 2025, arXiv:2506.14761).
"""

import numpy as np

from minilib.naive.attention import attention, rope
from minilib.naive.transformer import block, layer_norm


def group(x, k, shift):
    """Steps in groups of k, after a shift to the right by n = `shift`: (batch, T, C) -> (batch, ceil(T / k), k, C).

    Group j holds steps jk - n … jk - n + k - 1, zeros where there are none. It will be heard at steps jk … jk + k - 1, so its
    last step must not come after jk: n = k - 1 is the least that leaks nothing (sec. 2.1).
    No step is lost at the end: shift, crop to T, then pad, and the last group would change once more text arrives.
    """
    B, T, C = x.shape
    out = np.zeros((B, -(-T // k), k, C))
    for j in range(out.shape[1]):
        for i in range(k):
            if 0 <= j * k - shift + i < T:
                out[:, j, i] = x[:, j * k - shift + i]
    return out


def shorten_average(groups):
    """The mean of each group: (batch, G, k, C) -> (batch, G, C)."""
    B, G, k, C = groups.shape
    out = np.zeros((B, G, C))
    for i in range(k):
        out += groups[:, :, i] / k
    return out


def shorten_linear(groups, W):
    """One matrix (C, kC) reads the whole group: (batch, G, k, C) -> (batch, G, C)."""
    B, G, k, C = groups.shape
    out = np.zeros((B, G, C))
    for i in range(k):
        out += groups[:, :, i] @ W[:, i * C : (i + 1) * C].T
    return out


def shorten_attention(query, groups, W_q, W_kv, W_out, heads):
    """Each group's query looks at the k steps of its own group. Departure: the paper's query sees all steps.

    query (batch, G, C); groups (batch, G, k, C); W_q, W_out (C, C); W_kv (2C, C), keys then values; returns (batch, G, C)
    Keys carry the rotary position 0 … k - 1 in their group.
    """
    B, G, k, C = groups.shape
    D, out = C // heads, np.zeros((B, G, C))
    for j in range(G):
        q, kv = query[:, j] @ W_q.T, groups[:, j] @ W_kv.T
        for h in range(heads):
            own = slice(h * D, (h + 1) * D)
            heard = attention(
                q[:, None, None, own], rope(kv[:, None, :, own], 0), kv[:, None, :, C:][..., own]
            )
            out[:, j] += heard[:, 0, 0] @ W_out[:, own].T
    return out


def up_repeat(y, k, T, phase=0):
    """Group j is heard at all its k steps: (batch, G, C) -> (batch, T, C), where step t belongs to group (t + phase) // k of y."""
    out = np.zeros((len(y), T, y.shape[2]))
    for t in range(T):
        out[:, t] = y[:, (t + phase) // k]
    return out


def up_linear(y, W, k, T, phase=0):
    """Each of a group's k steps hears its own linear function of the group: W (kC, C), phases and shapes as in up_repeat."""
    B, _, C = y.shape
    out = np.zeros((B, T, C))
    for t in range(T):
        j, i = divmod(t + phase, k)
        out[:, t] = y[:, j] @ W[i * C : (i + 1) * C].T
    return out


def up_attention(x, y, W_q, W_kv, W_out, heads, k, past_k, past_v, position=0, window=None):
    """Steps look at groups: step t at groups ≤ t // k.

    x               (batch, T, C), steps position … position + T - 1; they ask
    y               (batch, G, C), the groups that begin at these steps: ceil(position / k) and on; G may be 0
    W_q, W_out      (C, C); W_kv (2C, C); a query stands at the rotary position of its group
    past_k, past_v  (batch, heads, S, C / heads), rotated keys and values of the S groups before y
    returns         (batch, T, C); keys and values to keep: of the last `window` groups, or of all
    """
    B, T, C = x.shape
    D, first = C // heads, -(-position // k)
    keys, values = (
        np.concatenate([past, np.zeros((B, heads, y.shape[1], D))], axis=2)
        for past in (past_k, past_v)
    )
    S, out = past_k.shape[2], np.zeros((B, T, C))
    for h in range(heads):
        own = slice(h * D, (h + 1) * D)
        keys[:, h, S:], values[:, h, S:] = rope(y @ W_kv[own].T, first), y @ W_kv[C:][own].T
        for t in range(T):
            j = (position + t) // k
            end = j - (first - S) + 1  # keys[..., :end, :] are those of groups ≤ j
            start = max(0, end - window) if window else 0
            q = rope(x[:, t : t + 1] @ W_q[own].T, j)
            out[:, t] += (
                attention(
                    q[:, None], keys[:, h : h + 1, start:end], values[:, h : h + 1, start:end]
                )[:, 0, 0]
                @ W_out[:, own].T
            )
    keep = slice(-window, None) if window else slice(None)
    return out, keys[:, :, keep], values[:, :, keep]


def stack(params, name, x, layers, heads, causal=True, window=None):
    """The blocks name.0, name.1, … of a state_dict, one after another, without a past."""
    nothing = np.zeros((len(x), heads, 0, x.shape[2] // heads))
    for n in range(layers):
        own = {
            key.removeprefix(f"{name}.{n}."): value
            for key, value in params.items()
            if key.startswith(f"{name}.{n}.")
        }
        x, _, _ = block(own, x, nothing, nothing, 0, heads, causal, window)
    return x


def normed(params, name, x):
    return layer_norm(x, params[f"{name}.weight"], params[f"{name}.bias"])


def hourglass(params, ids, *, k, before, middle, after, heads, context, shorten, up):
    """Logits of the language model (alg. 1 of the paper, one level).

    params   the state_dict of minilib.hourglass.Hourglass
    ids      (batch, T) int, T of any length; each fine layer sees `context` steps, each middle layer `context` groups
    returns  (batch, T, vocab)
    """
    P, T = params, ids.shape[1]
    x = stack(
        P,
        "before",
        np.array([[P["embed"][i] for i in row] for row in ids]),
        before,
        heads,
        True,
        context,
    )
    groups = group(x, k, k - 1)
    y = shorten_linear(groups, P["shorten"]) if shorten == "linear" else shorten_average(groups)
    if shorten == "attention":
        asking, asked = normed(P, "gather.norm_q", y), normed(P, "gather.norm_kv", groups)
        y = y + shorten_attention(
            asking, asked, P["gather.q"], P["gather.kv"], P["gather.out"], heads
        )
    y = stack(P, "middle", y, middle, heads, True, context)
    x = x + (up_repeat(y, k, T) if up == "repeat" else up_linear(y, P["up"], k, T))
    if up == "attention":
        nothing = np.zeros((len(x), heads, 0, x.shape[2] // heads))
        asking, asked = normed(P, "spread.norm_q", x), normed(P, "spread.norm_kv", y)
        x = (
            x
            + up_attention(
                asking,
                asked,
                P["spread.q"],
                P["spread.kv"],
                P["spread.out"],
                heads,
                k,
                nothing,
                nothing,
                0,
                context,
            )[0]
        )
    x = stack(P, "after", x, after, heads, True, context)
    return normed(P, "norm", x) @ P["output"].T


def multiply_adds(T, C, V, k, before, middle, after, context):
    """Products of one forward pass over T symbols, with averages and repeats, counted one row at a time.

    A block multiplies each row by matrices of 3C², C², 4C² and 4C² entries; a row that sees s keys takes 2sC for their scores
    and the weighted sum. Tables, norms and averages multiply no matrix and are not counted.
    """
    total = 0
    for layers, steps in ((before + after, T), (middle, -(-T // k))):
        for _ in range(layers):
            for t in range(steps):
                total += 12 * C * C + 2 * C * min(t + 1, context)
    return total + T * C * V


def funnel(params, ids, *, layers, levels, heads):
    """One vector per sequence, from blocks that see both ways and get shorter by half at each level (Dai et al. 2020, sec. 2.2).

    Step 0 is a learned one ([CLS]) and stays apart; on entering a level, the others are averaged in pairs. The pooled steps
    only ask, at the position of the first of each pair; keys and values are still those of the full length.

    params   the state_dict of minilib.hourglass.Funnel; ids (batch, T) int
    returns  (batch, C)
    """
    P = params
    C = P["embed"].shape[1]
    x = np.array([[P["cls"], *(P["embed"][i] for i in row)] for row in ids])
    for level in range(levels):
        if level:
            name, D = f"pools.{level - 1}", C // heads
            pooled = np.array(
                [[row[0], *(row[t : t + 2].mean(0) for t in range(1, len(row), 2))] for row in x]
            )
            asking, asked = normed(P, f"{name}.norm_q", pooled), normed(P, f"{name}.norm_kv", x)
            heard = np.zeros(pooled.shape)
            first = np.maximum(2 * np.arange(pooled.shape[1]) - 1, 0)  # of each pair
            for h in range(heads):
                own = slice(h * D, (h + 1) * D)
                q, kv = rope(asking @ P[f"{name}.q"][own].T, first), asked @ P[f"{name}.kv"].T
                heard += (
                    attention(
                        q[:, None], rope(kv[..., own], 0)[:, None], kv[..., C:][..., own][:, None]
                    )[:, 0]
                    @ P[f"{name}.out"][:, own].T
                )
            x = pooled + heard
        x = stack(P, f"levels.{level}", x, layers, heads, causal=False)
    return normed(P, "norm", x[:, 0])


# -- AU-Net: pool at the ends of words -------------------------------------------------------------


def word_byte(b):
    """Letters, digits, the apostrophe, and every byte of a character beyond ASCII."""
    return 48 <= b <= 57 or 65 <= b <= 90 or 97 <= b <= 122 or b == 39 or b >= 128


def word_ends(ids):
    """(batch, T) bytes -> (batch, T) bool: True at the first byte after a word, which closes the unit that it ends.

    Whether t is an end is known from bytes ≤ t: more text never moves an end (append-stable). A rule that put the end on the last
    letter would have to know the next byte.
    """
    B, T = ids.shape
    out = np.zeros((B, T), dtype=bool)
    for b in range(B):
        for t in range(1, T):
            out[b, t] = word_byte(ids[b, t - 1]) and not word_byte(ids[b, t])
    return out


def select(x, ends):
    """The steps of x (batch, T, C) where ends (batch, T) is True, in order: (batch, S, C), S of the row with most, zeros behind."""
    rows = [x[b, ends[b]] for b in range(len(x))]
    out = np.zeros((len(x), max(len(row) for row in rows), x.shape[2]))
    for b, row in enumerate(rows):
        out[b, : len(row)] = row
    return out


def expand(y, ends, shared, own):
    """Each step hears the last unit that is closed, its own end included, until the next one closes (sec. 2.2).

    y (batch, S, C), one vector per unit; ends (batch, T); shared (C, C); own (N, C, C), the n-th for steps n, n + N, … after an end
    returns (batch, T, C), 0 before the first end
    """
    B, T = ends.shape
    out = np.zeros((B, T, y.shape[2]))
    for b in range(B):
        unit, end = -1, 0
        for t in range(T):
            if ends[b, t]:
                unit, end = unit + 1, t
            if unit >= 0:
                out[b, t] = (shared + own[(t - end) % len(own)]) @ y[b, unit]
    return out
