"""From integer probabilities to bits and back, exactly: a range coder, the definition.

Source: Défossez et al. 2022 (EnCodec, arXiv:2210.13438), sec. 3.3, and the authors' code: widths of
2 or more that sum to 2^24 at most, one bit more whenever the interval is too narrow.

    code        meaning                                                   shape
    p           probabilities of the next symbol                          (..., K)
    cuts        0 = c_0 < c_1 < … < c_K <= 2^24, symbol k's part is       (..., K + 1)
                c_k … c_(k+1) - 1
    low, high   the interval, both ends included, as integers of `open` bits

Departures: exact integers where that code has floating point; and one bit at most at the end, the
fewest that name a number in the interval, where that code writes all of low. Lesson 01's coder
is another one: see minilib/naive/compression.py.
"""

import math

import numpy as np

BITS = 24


def cuts_of(p, bits=BITS, least=2, grid=1e-8):
    """Probabilities as integer cuts. Every symbol gets `least`, the rest is shared out by p.

    Each p is first rounded down to a multiple of `grid`: two computers whose p differ in the last
    digits get the same cuts, almost always.

    p        (..., K), rows that sum to 1
    returns  (..., K + 1) int64; the last cut is at most 2^bits
    """
    K = p.shape[-1]
    total = 2**bits
    out = np.zeros((*p.shape[:-1], K + 1), np.int64)
    for row in np.ndindex(p.shape[:-1]):
        for k in range(K):
            rounded = math.floor(p[row][k] / grid) * grid
            width = math.floor((total - least * K) * rounded) + least
            out[row][k + 1] = out[row][k] + width
    return out


def encode(symbols, cuts, bits=BITS):
    """Symbols as bytes: the interval is cut to each symbol's part, and agreed bits are written.

    symbols  (N,) ints in [0, K); cuts (N, K + 1), as `cuts_of` gives them
    returns  bytes, the last one filled up with zeros
    """
    low, high, open_ = 0, 0, 0
    written = []
    for symbol, row in zip(symbols, cuts, strict=True):
        low, high, open_ = _widen(low, high, open_, bits)
        low, high = _part(low, high, row, symbol, bits)
        agreed, low, high, open_ = _agreed(low, high, open_)
        written += agreed
    written += _last(low)
    written += [0] * (-len(written) % 8)
    return bytes(int("".join(map(str, written[i : i + 8])), 2) for i in range(0, len(written), 8))


def decode(data, cuts, bits=BITS):
    """The symbols (N,) int64 that `encode` was given with these cuts.

    Raises ValueError for more bytes than the symbols take, and for bits of no symbol. Other bytes,
    or missing ones, may give other symbols unnoticed: a file needs a checksum.
    """
    stream = [byte >> k & 1 for byte in data for k in range(7, -1, -1)]
    low, high, open_, written, symbols = 0, 0, 0, 0, []
    for row in cuts:
        low, high, open_ = _widen(low, high, open_, bits)
        value = 0  # the open bits of the stream, zeros behind its end
        for bit in (stream + [0] * open_)[written : written + open_]:
            value = 2 * value + bit
        symbol = 0
        while symbol < len(row) - 1 and value > _part(low, high, row, symbol, bits)[1]:
            symbol += 1
        if symbol == len(row) - 1:
            raise ValueError("data must be coded with these cuts, got bits of no symbol")
        low, high = _part(low, high, row, symbol, bits)
        agreed, low, high, open_ = _agreed(low, high, open_)
        written += len(agreed)
        symbols.append(symbol)
    length = -(-(written + len(_last(low))) // 8)
    if len(data) != length:
        raise ValueError(f"data must be the {length} bytes of these symbols, got {len(data)}")
    return np.array(symbols, np.int64)


def _widen(low, high, open_, bits):
    """One bit more, as long as the interval holds fewer than 2^bits numbers."""
    while high - low + 1 < 2**bits:
        low, high, open_ = 2 * low, 2 * high + 1, open_ + 1
    return low, high, open_


def _part(low, high, row, symbol, bits):
    """The symbol's part of the interval."""
    width = high - low + 1
    first, after = int(row[symbol]), int(row[symbol + 1])
    return low + width * first // 2**bits, low + width * after // 2**bits - 1


def _agreed(low, high, open_):
    """(leading bits that low and high share, what is left of low, high and the count of bits)."""
    agreed = []
    while open_ > 0 and low >> (open_ - 1) == high >> (open_ - 1):
        bit = low >> (open_ - 1)
        agreed.append(bit)
        open_ -= 1
        low, high = low - (bit << open_), high - (bit << open_)
    return agreed, low, high, open_


def _last(low):
    """The bits at the end. Zeros follow them, so where low is 0 none are needed; otherwise low and
    high differ in their first bit, and 1 with zeros behind it lies between the two."""
    return [1] if low > 0 else []
