"""From counts to a file: Kneser-Ney n-grams, bits per byte, an arithmetic coder, a context mixer.

The definition. Sources: Ney, Essen & Kneser 1994, Kneser & Ney 1995, Chen & Goodman 1998
(smoothing); Martin 1979 (a range coder: arithmetic coding in bytes); Mahoney's PAQ compressors
(mixing bits in the logistic domain).

    code            symbol          meaning
    order           N               an order-N model sees N - 1 bytes of context and counts N-grams
    context, symbol h, w            the bytes before, and the byte that is predicted
    successors      c(h, .)         counts of the bytes seen after h
    discounts       D1 D2 D3+       what is taken from a count of 1, of 2, of 3 or more
"""

import bisect
import itertools
import math
import operator
from typing import NamedTuple

import numpy as np

TOTAL = 1 << 16  # integer frequencies of a symbol's alternatives sum to this


# -- counting --------------------------------------------------------------------------------------


def count_ngrams(data, n):
    """How often each string of n bytes occurs in `data` (overlaps count): dict of bytes -> int."""
    counts = {}
    for i in range(len(data) - n + 1):
        gram = data[i : i + n]
        counts[gram] = counts.get(gram, 0) + 1
    return counts


def discounts(n, modified=False):
    """What Kneser-Ney takes from a count of 1, of 2, of 3 or more: above 0, at most the count.

    n         n[i] is the number of distinct n-grams that were counted i times, i = 1 … 4;
              n[0] is not used
    modified  False: one discount for all, D = n1 / (n1 + 2 n2)
              True: three, D_i = i - (i + 1) D n_(i+1) / n_i (Chen & Goodman 1998, eq. 26)
    returns   (D1, D2, D3)
    Where the n_i give nothing usable, as in a tiny text, D is 1/2 and D_i is D: a discount of 0
    would leave no probability for what was never seen.
    """
    D = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
    if not modified:
        return D, D, D
    D_i = [i - (i + 1) * D * n[i + 1] / n[i] if n[i] else D for i in (1, 2, 3)]
    return tuple(d if d > 0 else D for d in D_i)


class Level(NamedTuple):
    successors: dict  # context, n - 1 bytes -> {symbol: count}
    discounts: tuple


def kn_tables(text, order, modified=False):
    """The tables of an interpolated Kneser-Ney model: a list of Levels, n = 1 … order.

    The top level counts how often w follows h. A lower level counts after how many *different*
    bytes u the string h, w occurs, |{u : u h w occurs}|: "Francisco" is frequent but follows one
    word only, so it is a poor guess.
    """
    tables = []
    for n in range(1, order + 1):
        counts = count_ngrams(text, n)
        if n < order:
            counts = {}
            for gram in count_ngrams(text, n + 1):
                counts[gram[1:]] = counts.get(gram[1:], 0) + 1
        successors = {}
        for gram, count in counts.items():
            successors.setdefault(gram[:-1], {})[gram[-1]] = count
        counts_of_counts = [sum(c == i for c in counts.values()) for i in range(5)]
        tables.append(Level(successors, discounts(counts_of_counts, modified)))
    return tables


def kn_prob(tables, context, symbol):
    """p(symbol | context), interpolated Kneser-Ney (Chen & Goodman 1998).

        p_n(w | h) = (c(h, w) - D(c(h, w)) + (sum of all D taken after h) · p_(n-1)(w | h')) / c(h)

    h' is h without its first byte. Where h was never seen, p_n = p_(n-1). Below n = 1 stands 1/256,
    so that every byte has a probability above 0.

    context  the bytes before, as many as there are; the last order - 1 are used
    """
    p = 1 / 256
    for n, level in enumerate(tables[: len(context) + 1], start=1):
        h = bytes(context[len(context) - (n - 1) :])
        counts = level.successors.get(h)
        if counts is None:
            continue
        discount = {w: level.discounts[min(c, 3) - 1] for w, c in counts.items()}
        kept = counts.get(symbol, 0) - discount.get(symbol, 0)
        p = (kept + sum(discount.values()) * p) / sum(counts.values())
    return p


def kneser_ney(ids, *, text, order=5, modified=False):
    """Log-probabilities of every next byte: the language model.

    ids      (batch, time) ints in [0, 256)
    returns  (batch, time, 256), nats; row t is about byte t + 1. Near a row's start the context is
             shorter
    """
    tables = kn_tables(text, order, modified)
    B, T = ids.shape
    out = np.zeros((B, T, 256))
    for b in range(B):
        for t in range(T):
            context = bytes(ids[b, max(0, t - order + 2) : t + 1].tolist())  # t included
            for w in range(256):
                out[b, t, w] = np.log(kn_prob(tables, context, w))
    return out


# -- one number for every model --------------------------------------------------------------------


def log_prob(tables, data):
    """log p of each byte of `data` given those before it, from the first on: (len(data),), nats."""
    longest, nats = len(tables) - 1, []
    for i in range(len(data)):
        context = data[max(0, i - longest) : i]
        nats.append(math.log(kn_prob(tables, context, data[i])))
    return np.array(nats)


def bits_per_byte(total_nats, n_bytes):
    """Code length of a text in bits over the number of its raw bytes, whatever the tokens were."""
    return total_nats / math.log(2) / n_bytes


def divergence(p, q):
    """KL(p || q) in bits: the mean cost per symbol of coding with q where p is true.

    p, q     (symbols,), each sums to 1; q > 0 wherever p > 0
    """
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def better_model(nats_per_token, bytes_per_token):
    """Which of several models compresses best: its index. Both (models,); tokens may differ."""
    pairs = zip(nats_per_token, bytes_per_token, strict=True)
    return int(np.argmin([bits_per_byte(nats, size) for nats, size in pairs]))


# -- from probabilities to a file ------------------------------------------------------------------


def quantize(p, total=TOTAL):
    """Probabilities as integer frequencies ≥ 1 that sum to `total` exactly.

    p        (..., symbols), ≥ 0, each row sums to 1 (to within rounding)
    returns  (..., symbols) int64
    Every symbol gets 1, the rest is shared out in proportion and rounded down, and what the
    rounding left over goes to the likeliest symbol, the first of equals. Ten for p = 0.5, 0.3, 0.2:
    1 each and 7 to share, of which they get 3, 2 and 1; 1 is left over: 5, 3, 2.
    Raises ValueError if there are more symbols than `total` or a row is no distribution.
    """
    V = p.shape[-1]
    if total < V:
        raise ValueError(f"total must be at least the number of symbols, {V}, got {total}")
    out = np.zeros(p.shape, dtype=np.int64)
    for row in np.ndindex(p.shape[:-1]):
        if not (min(p[row]) >= 0 and abs(sum(p[row]) - 1) < 1e-3):
            got = f"sum {sum(p[row])} and least value {min(p[row])}"
            raise ValueError(f"p must have rows ≥ 0 that sum to 1, got one with {got}")
        for v in range(V):
            out[row][v] = 1 + math.floor(p[row][v] * (total - V))
        out[row][np.argmax(p[row])] += total - sum(out[row])
    return out


_TOP, _BYTE = 1 << 32, 1 << 24


def encode(symbols, frequencies):
    """Arithmetic coding: the symbols as one number, in as few bytes as their probabilities allow.

    symbols      ints in [0, V)
    frequencies  function of the list of symbols so far -> list of V ints ≥ 1 for the next one,
                 with a sum of at most 2^24
    returns      bytes; 8 · length exceeds -sum log2(frequency / sum) by 8 bits at most, and by
                 rounding: under 0.01 bits a symbol for sums up to 2^16

    A range coder (Martin 1979). The interval [low, low + width) is cut in proportion to the
    frequencies and the symbol's part is kept. Whenever it is so narrow that width fits 24 bits, the
    top byte of `low` is written. A later addition can still carry into written bytes, as in a sum
    on paper; the coder of Witten, Neal & Cleary 1987 works in bits and delays such bits instead.
    """
    low, width, code, past = 0, _TOP, bytearray(), []
    for symbol in symbols:
        start, stop = _part(width, _cuts(frequencies(past)), symbol)
        low, width = _carry(low + start, code), stop - start
        while width <= _BYTE:
            code.append(low >> 24)
            low, width = (low << 8) % _TOP, width << 8
        past.append(symbol)
    # one number in the interval ends in three zero bytes, which need no writing
    low = _carry(low + _BYTE - 1, code)
    code.append(low >> 24)
    return bytes(code)


def decode(code, n, frequencies):
    """The n symbols that `encode` was given, from its bytes and the same function: a list of ints.

    Raises ValueError if the code is not used up by exactly n symbols: it was cut short, or n or the
    frequencies are others. Bytes changed within it give wrong symbols, often unnoticed: a file
    format would add a checksum.
    """
    below = int.from_bytes(code[:4].ljust(4, b"\0"))  # the number that was written, minus low
    width, past, read = _TOP, [], 4
    for _ in range(n):
        cuts = _cuts(frequencies(past))
        # the last cut c with width · c // total <= below, solved for c
        symbol = bisect.bisect_right(cuts, ((below + 1) * cuts[-1] - 1) // width) - 1
        start, stop = _part(width, cuts, symbol)
        below, width = below - start, stop - start
        while width <= _BYTE:
            byte = code[read] if read < len(code) else 0  # past the end: the zeros
            below, width, read = below << 8 | byte, width << 8, read + 1
        past.append(symbol)
    if read - 3 != len(code):
        wanted = f"the {read - 3} bytes that these {n} symbols take"
        raise ValueError(f"code must be {wanted}, got {len(code)}")
    return past


def _part(width, cuts, symbol):
    """Where a symbol's part of an interval of that width starts and stops."""
    return width * cuts[symbol] // cuts[-1], width * cuts[symbol + 1] // cuts[-1]


def _cuts(frequencies):
    """[0, f0, f0 + f1, …, sum], checked."""
    cuts = list(itertools.accumulate(frequencies, initial=0))
    if min(frequencies) < 1 or cuts[-1] > _BYTE:
        got = f"least {min(frequencies)} and sum {cuts[-1]}"
        raise ValueError(f"frequencies must be ints ≥ 1 with a sum up to 2^24, got {got}")
    return cuts


def _carry(low, code):
    """low mod 2^32; what is above goes into the bytes already written, in place."""
    if low >= _TOP:
        i = len(code) - 1
        while code[i] == 255:
            code[i], i = 0, i - 1
        code[i] += 1
    return low % _TOP


# -- a context mixer -------------------------------------------------------------------------------


def bits_of(data):
    """The bits of some bytes, the highest of each byte first: 8 · len(data) zeros and ones."""
    return [byte >> k & 1 for byte in data for k in range(7, -1, -1)]


def bytes_of(bits):
    """bytes of a list of bits: the inverse of bits_of."""
    return bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits), 8))


class Mixer:
    """Predicts a text bit by bit, learning as it goes: one guess per context length, and a vote.

    orders   lengths of context in bytes, 0 or more, at least one; rate, by which the votes learn

    Calling it with the list of bits so far gives the frequencies of the next bit, [of 0, of 1]:
    what encode and decode ask for. Every call must have one bit more than the last, the first call
    none.

        st_i = ln(p_i / (1 - p_i))       each order's guess p_i that the bit is 1, as log-odds
        p    = σ(sum_i w_i st_i)         a vote, with other weights after other bits of the byte
        w_i += rate · (bit - p) · st_i   the gradient of the vote's code length -ln p(bit)
        p_i += (bit - p_i) / (n_i + 1.6) n_i: how often the context was seen before, at most 48, so
                                         that the guess never stops learning

    The idea of PAQ (Mahoney 2005) without its many models; constants are ours. Raises ValueError
    for orders that are none.
    """

    def __init__(self, orders=(1, 2, 3, 4, 6), rate=0.02):
        if not orders or min(orders) < 0:
            raise ValueError(f"orders must be one or more context lengths ≥ 0, got {orders}")
        self.orders, self.rate = orders, rate
        self.longest = max(1, *orders)  # x[-n:] is the last n bytes only for n above 0
        self.tables = [{} for _ in orders]  # context bytes -> {node: [p, n]}
        self.weights = [[0.3] * len(orders) for _ in range(256)]
        self.history = b""
        self.node = 1  # the bits of this byte so far, with a 1 in front
        self.nodes = [table.setdefault(b"", {}) for table in self.tables]

    def __call__(self, past):
        if past:
            self.learn(past[-1])
        self.guesses = [node.setdefault(self.node, [0.5, 0]) for node in self.nodes]  # [p_i, n_i]
        self.stretched = [math.log(p / (1 - p)) for p, _ in self.guesses]
        vote = sum(map(operator.mul, self.weights[self.node], self.stretched))
        self.p = 1 / (1 + math.exp(-max(-20.0, min(20.0, vote))))
        one = max(1, min(TOTAL - 1, round(self.p * TOTAL)))
        return [TOTAL - one, one]

    def learn(self, bit):
        step, weights = self.rate * (bit - self.p), self.weights[self.node]
        target = 0.9999 if bit else 0.0001  # not 1 or 0, whose log-odds are infinite
        for i, (guess, st) in enumerate(zip(self.guesses, self.stretched, strict=True)):
            weights[i] += step * st
            guess[0] += (target - guess[0]) / (guess[1] + 1.6)
            guess[1] += guess[1] < 48
        self.node = 2 * self.node + bit
        if self.node >= 256:  # the byte is complete
            self.history = (self.history + bytes([self.node - 256]))[-self.longest :]
            self.node = 1
            contexts = [self.history[-order:] if order else b"" for order in self.orders]
            self.nodes = [t.setdefault(c, {}) for t, c in zip(self.tables, contexts, strict=True)]
