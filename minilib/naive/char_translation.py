"""Translation by characters or by tokens: an encoder and a decoder with attention. The definition.

Sources: Bahdanau, Cho & Bengio 2014 (arXiv:1409.0473) for a decoder that looks at the source; Lee,
Cho & Hofmann 2016 (arXiv:1610.03017) for the encoder that shortens; Libovický, Schmid & Fraser
2021 (arXiv:2110.08191) for the decoder that takes one large step for s characters; Tay et al. 2021
(arXiv:2106.12672) for the encoder of soft blocks (lesson 21). Departures:
blocks are those of minilib.naive.transformer, the attention to the source comes after a whole
block, its positions are rotary, and the LSTM has peepholes (lesson 04).

    code     meaning
    source   (batch, S) ids, PAD behind shorter rows
    target   (batch, T) ids: what the decoder has to write
    s        how many target symbols one step of the decoder stands for
    c        (T, C / 2): what the decoder's large steps say about each symbol
"""

import numpy as np

from minilib.naive.byte_encoders import conv, gbst
from minilib.naive.char_aware import highway
from minilib.naive.cross_attention import cross_attention, keys_and_values
from minilib.naive.lstm import lstm
from minilib.naive.transformer import block, layer_norm, own

PAD, START, END = 0, 1, 2

# -- shorter sequences -----------------------------------------------------------------------------


def shift(y, s):
    """Put s start symbols before each row and drop its last s symbols: (batch, T) -> (batch, T).

    What stands at t is the symbol of s places before: with s = 1 the one just written.
    """
    B, T = y.shape
    shifted = np.full((B, T), START)
    for t in range(s, T):
        shifted[:, t] = y[:, t - s]
    return shifted


def causal_pool(x, F, b, s):
    """A convolution that sees no later step, ReLU, and the maximum of every s steps.

    x        (batch, T, E)
    F, b     (C, E, k) filters, (C,) biases: tap k - 1 sees the step itself, tap 0 the oldest
    returns  (batch, ceil(T / s), C); the last group may have fewer steps
    """
    B, T, _ = x.shape
    C, _, k = F.shape
    pooled = np.zeros((B, -(-T // s), C))  # ReLU leaves nothing below 0
    for n in range(B):
        for t in range(T):
            found = b.copy()
            for tap in range(k):
                step = t - (k - 1) + tap
                if step >= 0:
                    found = found + F[:, :, tap] @ x[n, step]
            pooled[n, t // s] = np.maximum(pooled[n, t // s], found)
    return pooled


def lee_pool(x, lengths, filters, biases, s):
    """Convolutions of several widths, ReLU, and the maximum of every s steps (Lee et al., sec. 4).

    x        (batch, S, E); row b has lengths[b] steps, what follows is padding
    filters  arrays (h, E, w), w odd: the middle tap sees the step itself; biases (h,) each
    returns  (batch, ceil(S / s), sum of h), 0 behind a row's last group
    """
    B, S, _ = x.shape
    pooled = np.zeros((B, -(-S // s), sum(len(b) for b in biases)))
    for n in range(B):
        for t in range(lengths[n]):
            found = []
            for F, b in zip(filters, biases, strict=True):
                total = b.copy()
                for j in range(F.shape[2]):
                    step = t - F.shape[2] // 2 + j
                    if 0 <= step < lengths[n]:
                        total = total + F[:, :, j] @ x[n, step]
                found.append(total)
            pooled[n, t // s] = np.maximum(pooled[n, t // s], np.concatenate(found))
    return pooled


# -- encoder and decoder ---------------------------------------------------------------------------


def encode(params, source, *, layers, heads, pool, soft):
    """One source without padding, (S,) ids -> (ceil(S / pool), C): everything sees everything."""
    x = params["embed_source"][source][None]
    if soft:
        x = conv(x, params["F_5"], params["b_5"])
        x, _ = gbst(x, params["score"][0], np.full((1, len(source)), True), 4, pool)
    elif pool > 1:
        filters = [params["F_1"], params["F_3"], params["F_5"]]
        biases = [params["b_1"], params["b_3"], params["b_5"]]
        x = lee_pool(x, [len(source)], filters, biases, pool) @ params["project"].T
        layer = params["W_H"], params["b_H"], params["W_T"], params["b_T"]
        x = highway(x[0], *layer)[None]
    nothing = np.zeros((1, heads, 0, x.shape[2] // heads))
    for n in range(layers):
        x, _, _ = block(own(params, f"encoder.{n}."), x, nothing, nothing, 0, heads, causal=False)
    return layer_norm(x, params["norm_source.weight"], params["norm_source.bias"])


def translator(
    params, source, target, *, width, heads, layers, pool=1, s=1, soft=False
):  # fmt: skip
    """Log-probabilities of each target symbol, after the source and the target so far.

    params   the state_dict of minilib.char_translation.Translator
    source   (batch, S) ids, PAD behind shorter rows; target (batch, T) ids
    returns  (batch, T, target_size): at t, of target[:, t]
    """
    T = target.shape[1]
    # whole steps of s symbols; the shift drops what is added here
    target = np.pad(target, ((0, 0), (0, -T % s)))
    log_p = np.zeros((len(target), T, len(params["embed_target"])))
    for b in range(len(target)):
        read = source[b][source[b] != PAD]
        x = encode(params, read, layers=layers, heads=heads, pool=pool, soft=soft)
        written = target[b][None]
        y = params["embed_target"][shift(written, s)]
        if s > 1:
            y = causal_pool(y, params["F"], params["b"], s)
        nothing = np.zeros((1, heads, 0, width // heads))
        for n in range(layers):
            y, _, _ = block(own(params, f"decoder.{n}."), y, nothing, nothing, 0, heads)
            look = own(params, f"lookup.{n}.")
            keys, values = keys_and_values(x, look["W_kv"], heads)
            normed = layer_norm(y, look["norm.weight"], look["norm.bias"])
            y = y + cross_attention(normed, keys, values, look["W_q"], look["W_out"])
        y = layer_norm(y, params["norm_target.weight"], params["norm_target.bias"])
        if s > 1:
            c = (y @ params["unpool"].T).reshape(1, -1, width // 2)
            fed = params["embed_written"][shift(written, 1)]
            fed = fed + c @ params["W_c"].T + params["bias"]
            zero = np.zeros((1, width))
            h, _, _ = lstm(fed, zero, zero, params["W_h"], params["peep"])
            y = np.concatenate([h, c], axis=2)
        logits = y[0] @ params["output"].T
        for t in range(T):
            z = logits[t] - logits[t].max()
            log_p[b, t] = z - np.log(np.exp(z).sum())
    return log_p


def translation_loss(log_p, target):
    """Mean nats per target symbol; END counts, PAD does not.

    log_p   (batch, T, target_size) log-probabilities, as translator returns them
    target  (batch, T) ids
    """
    total = 0.0
    count = 0
    for b in range(len(target)):
        for t in range(target.shape[1]):
            if target[b, t] != PAD:
                total -= log_p[b, t, target[b, t]]
                count += 1
    return total / count


# -- decoding, and noise ---------------------------------------------------------------------------


def beam_search(step, state, start, width, longest):
    """Write with a beam: after every symbol keep the `width` likeliest beginnings.

    step     function (ids (n,), state) -> log-probabilities (n, V) of the next symbol, new state
    state    array, or tuple of arrays, a row for each source
    start    (batch,) ids: the first symbols that step is given
    longest  symbols after which all ends
    returns  ids (batch, width, longest), END behind the end; total log-probability (batch, width),
             best first. A beginning that ended stays in the beam with its total. Of equal totals
             the one comes first that continues the better beginning, then the smaller symbol.
             Beginnings of probability 0 are dropped: where fewer than `width` are left, END fills
             the rows, and their total is -inf
    """
    ids = np.full((len(start), width, longest), END)
    totals = np.full((len(start), width), -np.inf)
    for b in range(len(start)):
        # total, symbols, state before the last symbol is read
        beam = [(0.0, [], _row(state, b))]
        for _ in range(longest):
            found = []
            for total, symbols, before in beam:
                if symbols and symbols[-1] == END:
                    found.append((total, symbols, before))
                    continue
                last = symbols[-1] if symbols else start[b]
                log_p, after = step(np.array([last]), before)
                for symbol in range(len(log_p[0])):
                    found.append((total + log_p[0][symbol], [*symbols, symbol], after))
            found = [one for one in found if one[0] > -np.inf]
            # sorted keeps the order of equals
            beam = sorted(found, key=lambda one: -one[0])[:width]
        for n in range(len(beam)):
            totals[b, n] = beam[n][0]
            ids[b, n, : len(beam[n][1])] = beam[n][1]
    return ids, totals


def _row(state, b):
    """The state of one source, as a batch of one."""
    if isinstance(state, tuple):
        return tuple(_row(part, b) for part in state)
    return state[b][None] if isinstance(state, np.ndarray) else state


def noise(text, rate, u):
    """Swap neighbouring letters, as hasty fingers do.

    u  (len(text),) numbers in [0, 1): character i changes places with the next one
       where u[i] < rate and both are letters. Neither of them is swapped again
    """
    written = ""
    i = 0
    while i < len(text):
        pair = text[i : i + 2]
        if u[i] < rate and len(pair) == 2 and pair.isalpha():
            written = written + pair[1] + pair[0]
            i += 2
        else:
            written = written + text[i]
            i += 1
    return written
