"""A range coder over integer distributions: whole lists, or symbol by symbol as a model predicts.

Names and symbols are those of minilib/naive/range_coder.py.
"""

import bisect
import zlib

import torch
from torch import Tensor

from minilib import twin
from minilib.language_model import LanguageModel
from minilib.naive import range_coder as naive
from minilib.naive.range_coder import BITS
from minilib.shapes import check_shapes


@twin(naive.cuts_of)
@torch.no_grad()
def cuts_of(p: Tensor, bits: int = BITS, least: int = 2, grid: float = 1e-8) -> Tensor:
    """Probabilities (..., K) as cuts (..., K + 1) int64 of [0, 2^bits]; in float64 throughout.

    Raises ValueError if p is no distribution, or has no room for `least` numbers a symbol.
    """
    K, total = p.shape[-1], 2**bits
    if not 1 <= bits <= 30 or least < 1 or least * K > total or not grid > 0:
        given = f"bits {bits}, least {least}, grid {grid} and {K} symbols"
        raise ValueError(f"bits must be up to 30 and hold least · K numbers, grid > 0, got {given}")
    p = p.double()
    if not p.numel() or not (p >= 0).all() or not ((p.sum(-1) - 1).abs() < 1e-3).all():
        raise ValueError("p must have rows ≥ 0 that sum to 1, and not be empty")
    rounded = (p / grid).floor() * grid
    widths = ((total - least * K) * rounded).floor().long() + least
    cuts = torch.nn.functional.pad(widths.cumsum(-1), (1, 0))
    if not (cuts[..., -1] <= total).all():
        raise ValueError(f"p must sum to 1 or less, got widths that sum to {cuts.max()}")
    return cuts


SPARE = 256  # bits that may be open at the end of a packed file; chance does so once in 2^230 files


class Writer:
    """Symbols in, one at a time, each with its own cuts; `finish` gives the bytes.

    Where the definition moves one bit at a time, this shifts all at once: how many bits agree, and
    how many are needed, can be read off the lengths of integers.
    """

    def __init__(self, bits: int = BITS):
        self.bits, self.low, self.high, self.open = bits, 0, 0, 0
        self.done, self.count = bytearray(), 0  # whole bytes, and of the bits behind them
        self.rest = 0

    def push(self, symbol: int, cuts: list[int]) -> None:
        """cuts  ints, `cuts_of(p).tolist()`. Raises ValueError for a symbol that they lack."""
        if not 0 <= symbol < len(cuts) - 1:
            raise ValueError(f"symbol must lie in [0, {len(cuts) - 1}), got {symbol}")
        self._narrow(cuts[symbol], cuts[symbol + 1])

    def _widen(self):
        """As many bits more as it takes for 2^bits numbers; how many."""
        more = max(0, self.bits - (self.high - self.low + 1).bit_length() + 1)
        self.low, self.high = self.low << more, (self.high + 1 << more) - 1
        self.open += more
        return more

    def _narrow(self, first, after):
        self._widen()
        low, width = self.low, self.high - self.low + 1
        self.low, self.high = low + (width * first >> self.bits), low + (width * after >> self.bits)
        self.high -= 1
        self._write(self._agree())

    def _agree(self):
        """Takes the leading bits that both ends share; (their value, how many)."""
        left = (self.low ^ self.high).bit_length()  # bits from the first that differs on
        bits, count = self.low >> left, self.open - left
        self.low, self.high, self.open = (
            self.low & (1 << left) - 1,
            self.high & (1 << left) - 1,
            left,
        )
        return bits, count

    def _write(self, agreed):
        bits, count = agreed
        self.rest, self.count = self.rest << count | bits, self.count + count
        if self.count >= 64:
            spare = self.count % 8
            self.done += (self.rest >> spare).to_bytes(self.count // 8, "big")
            self.rest, self.count = self.rest & (1 << spare) - 1, spare

    def finish(self) -> bytes:
        """All bytes; the writer can go on as if this had not been asked."""
        rest, count = self.rest, self.count
        if self.low:  # 1 and zeros lie between low and high; 0 needs no bit
            rest, count = rest << 1 | 1, count + 1
        spare = -count % 8
        return bytes(self.done) + (rest << spare).to_bytes((count + spare) // 8, "big")


class Reader(Writer):
    """Bytes in, symbols out, with the cuts that the writer had."""

    def __init__(self, data: bytes, bits: int = BITS):
        super().__init__(bits)
        self.data, self.read, self.value, self.written = data, 0, 0, 0

    def pull(self, cuts: list[int]) -> int:
        """The next symbol. Raises ValueError for bits that no symbol of these cuts has."""
        more = self._widen()
        self.value = self.value << more | self._bits(more)
        offset, width = self.value - self.low, self.high - self.low + 1
        # the last cut c with width · c >> bits at or below offset, solved for c
        symbol = bisect.bisect_right(cuts, ((offset + 1 << self.bits) - 1) // width) - 1
        if symbol >= len(cuts) - 1:
            raise ValueError("data must be coded with these cuts, got bits of no symbol")
        self._narrow(cuts[symbol], cuts[symbol + 1])
        return symbol

    def _write(self, agreed):
        """What agrees is known from the data: only its length matters."""
        self.written += agreed[1]
        self.value &= (1 << self.open) - 1

    def _bits(self, count):
        """The next bits of the data, zeros behind their end."""
        first, last = self.read // 8, -(-(self.read + count) // 8)
        piece = self.data[first:last].ljust(last - first, b"\0")
        value = int.from_bytes(piece, "big") >> 8 * last - self.read - count
        self.read += count
        return value & (1 << count) - 1

    def check_end(self) -> None:
        """Raises ValueError unless the symbols so far take exactly these bytes."""
        length = -(-(self.written + (self.low > 0)) // 8)
        if len(self.data) != length:
            raise ValueError(
                f"data must be the {length} bytes of these symbols, got {len(self.data)}"
            )


def _check_cuts(cuts, bits):
    check_shapes(cuts=(cuts, (None, None)))
    if cuts.dtype != torch.int64 or cuts.shape[1] < 2:
        got = f"{cuts.dtype} of shape {tuple(cuts.shape)}"
        raise ValueError(f"cuts must be int64 of shape (N, K + 1), got {got}")
    fine = (cuts[:, 0] == 0) & (cuts[:, -1] <= 2**bits) & (cuts.diff(dim=1) > 0).all(1)
    if not fine.all():
        raise ValueError(f"cuts must rise from 0 to at most 2^{bits} in every row")


@twin(naive.encode, differentiable=False)
def encode(symbols: Tensor, cuts: Tensor, bits: int = BITS) -> bytes:
    """Symbols (N,) int64 as bytes, with their cuts (N, K + 1) int64."""
    _check_cuts(cuts, bits)
    check_shapes(symbols=(symbols, (len(cuts),)))
    K = cuts.shape[1] - 1
    if symbols.dtype != torch.int64:
        raise TypeError(f"symbols must be int64, got {symbols.dtype}")
    for symbol in symbols[(symbols < 0) | (symbols >= K)].tolist():
        raise ValueError(f"symbol must lie in [0, {K}), got {symbol}")
    writer = Writer(bits)
    for part in cuts.gather(1, torch.stack([symbols, symbols + 1], 1)).tolist():  # two of a row
        writer._narrow(*part)
    return writer.finish()


@twin(naive.decode, differentiable=False)
def decode(data: bytes, cuts: Tensor, bits: int = BITS) -> Tensor:
    """The symbols (N,) int64 of bytes that `encode` made with these cuts; others are refused."""
    _check_cuts(cuts, bits)
    reader = Reader(data, bits)
    symbols = [reader.pull(row) for row in cuts.tolist()]
    reader.check_end()
    return torch.tensor(symbols, dtype=torch.int64, device=cuts.device)


class ModelCoder:
    """Any language model in front of the coder: ids as bytes and back, exactly.

    start   the symbol before the first, known to both sides
    ranges  [(first, after), …]: symbols that may come at step 0, 1, …, over and over

    Both sides ask the model step by step, on one row: forward over a whole row gives the same
    probabilities but for roundings, and one cut that differs spoils all that follows. The first 8
    bytes are how many symbols there are, and their checksum (CRC-32).
    """

    def __init__(self, model: LanguageModel, start: int, ranges: list[tuple[int, int]]):
        fits = [0 <= first < after <= model.vocab_size for first, after in ranges]
        if not fits or not all(fits) or not 0 <= start < model.vocab_size:
            given = f"{start} and {ranges}"
            raise ValueError(f"start and ranges must lie in [0, {model.vocab_size}], got {given}")
        self.model, self.start, self.ranges = model, start, ranges

    @torch.no_grad()
    def _along(self, count, code):
        """Symbol after symbol, each by code(its cuts, its range)."""
        state, symbol, ids = self.model.init_state(1), self.start, []
        device = next(self.model.parameters()).device
        for t in range(count):
            logits, state = self.model.step(torch.tensor([symbol], device=device), state)
            first, after = self.ranges[t % len(self.ranges)]
            p = logits[0, first:after].double().softmax(0)
            symbol = first + code(cuts_of(p).tolist(), t, first, after)
            ids.append(symbol)
        return torch.tensor(ids, dtype=torch.int64)

    def pack(self, ids: Tensor) -> bytes:
        """Ids (T,) int64 -> bytes. Raises ValueError for an id out of its range."""
        if ids.dtype != torch.int64 or ids.dim() != 1:
            got = f"{ids.dtype} of shape {tuple(ids.shape)}"
            raise TypeError(f"ids must be an int64 tensor of shape (T,), got {got}")
        known, writer = ids.tolist(), Writer()

        def write(cuts, t, first, after):
            if not first <= known[t] < after:
                raise ValueError(f"ids must lie in [{first}, {after}) at step {t}, got {known[t]}")
            writer.push(known[t] - first, cuts)
            return known[t] - first

        self._along(len(known), write)
        if writer.open > SPARE:
            raise ValueError(f"ids must not leave {writer.open} bits open, {SPARE} at most")
        return len(known).to_bytes(4, "big") + _checksum(known) + writer.finish()

    def unpack(self, data: bytes) -> Tensor:
        """The ids (T,) int64 of `pack`. Raises ValueError for data that are damaged."""
        if len(data) < 8:
            raise ValueError(f"data must begin with 8 bytes of count and checksum, got {len(data)}")
        reader = Reader(data[8:])

        def read(cuts, *_):
            if reader.read > 8 * len(reader.data) + SPARE:  # a damaged count would take days
                raise ValueError("data must hold as many symbols as they say, got fewer bits")
            return reader.pull(cuts)

        ids = self._along(int.from_bytes(data[:4], "big"), read)
        reader.check_end()
        if _checksum(ids.tolist()) != data[4:8]:
            raise ValueError(
                "data must give the symbols of their checksum: damaged, or another model"
            )
        return ids


def _checksum(ids):
    return zlib.crc32(b"".join(k.to_bytes(4, "big") for k in ids)).to_bytes(4, "big")
