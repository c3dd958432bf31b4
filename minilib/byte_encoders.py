"""Encoders that read raw text: ByT5's bytes, CANINE's hashed characters, Charformer's soft blocks.

Names and symbols are those of minilib/naive/byte_encoders.py, which lists sources and departures.
Encoders see both ways, so they are not language models. Not here: T5's decoder, which learns to
write what was cut out; pre-training.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.language_model import check_ids
from minilib.naive import byte_encoders as naive
from minilib.naive.byte_encoders import END, FIRST_BYTE, LAST, PAD, PRIMES
from minilib.shapes import check_shapes, check_size, check_sizes
from minilib.texts import checked
from minilib.transformer import matrix

SYMBOLS = LAST + 1  # pad, end, unknown, 256 bytes
CODES = 0x110000

# -- ByT5: bytes, and spans that are cut out -------------------------------------------------------


@twin(naive.byt5_encode, differentiable=False)
def byt5_encode(text: str) -> list[int]:
    """UTF-8 bytes + 3, then the end symbol. Raises ValueError for a lone surrogate."""
    return [*(byte + FIRST_BYTE for byte in checked(text).encode()), END]


@twin(naive.byt5_decode, differentiable=False)
def byt5_decode(ids: list[int]) -> str:
    """The text of ids; what is no byte, and bytes that are no whole character, are skipped."""
    found = bytes(i - FIRST_BYTE for i in ids if FIRST_BYTE <= i <= LAST)
    return found.decode(errors="ignore")


@twin(naive.span_corrupt, differentiable=False)
def span_corrupt(
    ids: list[int], starts: list[int], lengths: list[int]
) -> tuple[list[int], list[int]]:
    """T5's task: (input with spans cut out, target with the spans); both end with the end symbol.

    Span n leaves the sentinel 258 - n behind: ByT5 takes the highest bytes, the first 11 of which
    no UTF-8 text holds. Raises ValueError for spans that are empty, touch, or leave ids.
    """
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    between = zip([-1, *ends[:-1]], starts, strict=True) if ends else ()
    if any(end >= start for end, start in between) or (ends and ends[-1] > len(ids)):
        raise ValueError(f"spans must be apart, in order and inside {len(ids)} ids, got {starts}")
    if any(length < 1 for length in lengths):
        raise ValueError(f"lengths must be 1 or more, got {lengths}")
    inputs, target = [], []
    for n, (start, end) in enumerate(zip([0, *ends], [*starts, len(ids)], strict=True)):
        inputs += [*ids[start:end], LAST - n]
        target += [LAST - n, *ids[end : (*ends, 0)[n]]]
    return [*inputs[:-1], END], [*target[:-1], END]


# -- CANINE: hashing, and convolutions down and up -------------------------------------------------


@twin(naive.canine_buckets, differentiable=False)
def canine_buckets(codes: Tensor, size: int = 16384) -> Tensor:
    """Row of each of the 8 tables for each code point, int64 (…,) -> (…, 8)."""
    check_size("size", size)
    return (codes[..., None] + 1) * torch.tensor(PRIMES, device=codes.device) % size


@twin(naive.conv)
def conv(x: Tensor, W: Tensor, b: Tensor, stride: int = 1) -> Tensor:
    """Output j is a weighted sum of the K steps around stride · j: (B, T, C) -> (B, S, E).

    W (E, C, K), b (E,); S = ceil(T / stride). PyTorch's conv1d, after zeros on both sides.
    """
    check_size("stride", stride)
    E, C, K = W.shape
    check_shapes(x=(x, (None, None, C)), b=(b, (E,)))
    before = (K - stride) // 2
    T = x.shape[1]
    needed = (math.ceil(T / stride) - 1) * stride + K
    x = functional.pad(x.mT, (before, needed - before - T))
    return functional.conv1d(x, W, b, stride).mT


def _gelu(x):
    return functional.gelu(x, approximate="tanh")


@twin(naive.upsample)
def upsample(molecules: Tensor, characters: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """A state for each character again: (B, S, C) and (B, T, C) -> (B, T, C); W (C, 2C, K)."""
    B, S, C = molecules.shape
    check_shapes(characters=(characters, (B, None, C)))
    T = characters.shape[1]
    repeated = molecules.repeat_interleave(math.ceil(T / S), dim=1)[:, :T]
    return _gelu(conv(torch.cat([characters, repeated], dim=2), W, b))


# -- Charformer: blocks of all sizes at once, weighted ---------------------------------------------


@twin(naive.gbst)
def gbst(
    x: Tensor,
    w: Tensor,
    present: Tensor,
    sizes: int = 4,
    shorten: int = 2,
    consensus: bool = False,
) -> tuple[Tensor, Tensor]:
    """A soft choice among blocks of 1, 2, …, M symbols: (B, T, C) -> (B, ceil(T / shorten), C).

    Blocks are views, after padding to whole ones. Memory: M copies of x; with consensus T² more.

    w (C,) scores a block; present (B, T) bool; returned too: the weights of the sizes, (B, T, M)
    """
    check_size("sizes", sizes)
    check_size("shorten", shorten)
    B, T, C = x.shape
    check_shapes(w=(w, (C,)), present=(present, (B, T)))
    there = present[..., None].to(x.dtype)
    means = [
        _block_means(x * there, there, m).repeat_interleave(m, dim=1)[:, :T]
        for m in range(1, sizes + 1)
    ]
    means = torch.stack(means, dim=2)
    P = (means @ w).softmax(dim=2)
    if consensus:
        like = (P @ P.mT).masked_fill(~present[:, None], torch.finfo(P.dtype).min)
        P = like.softmax(dim=2) @ P
    mixed = (P[..., None] * means).sum(2)
    return _block_means(mixed * there, there, shorten), P * there


def _block_means(x, there, size):
    """Means of blocks of `size` steps, over those that are there: (B, T, C) -> (B, blocks, C)."""
    missing = -x.shape[1] % size
    x, there = (functional.pad(y, (0, 0, 0, missing)).unflatten(1, (-1, size)) for y in (x, there))
    return x.sum(2) / there.sum(2).clamp(min=1)


# -- T5: layers that see both ways -----------------------------------------------------------------


@twin(naive.t5_buckets, differentiable=False)
def t5_buckets(distance: Tensor, buckets: int = 32, furthest: int = 128) -> Tensor:
    """A number for each distance s - t, int64 (…,): exact when near, shared when far.

    Raises ValueError for buckets that are no multiple of 4, and furthest not past the exact ones.
    """
    half, exact = buckets // 2, buckets // 4
    if buckets < 4 or buckets % 4 or furthest <= exact:
        given = f"{buckets} and {furthest}"
        raise ValueError(f"buckets must be 4, 8, 12, … and furthest above a quarter, got {given}")
    far = distance.abs()
    share = (far.clamp(min=exact).double() / exact).log() / math.log(furthest / exact)
    shared = (exact + (share * (half - exact) + 1e-9).long()).clamp(max=half - 1)
    return torch.where(far < exact, far, shared) + half * (distance > 0)


def _rms_norm(x, weight):
    return functional.rms_norm(x, x.shape[-1:], weight, 1e-6)


@twin(naive.layer)
class Layer(nn.Module):
    """x + attention(norm(x)), then + gated GELU(norm(x)): T5.1.1's encoder layer, both ways.

    width, heads  C, and how many parts of it look things up on their own
    block         a step sees its own block of so many steps only; None: all that are present
    residual      initial size of what a sublayer adds
    With a block, strings are cut into blocks first: block · T weights in place of T².
    """

    def __init__(self, width: int, heads: int, block: int | None = None, residual: float = 1.0):
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(f"heads must divide width, got heads={heads} and width={width}")
        check_size("block", 1 if block is None else block)
        self.heads, self.block = heads, block
        self.norm1, self.norm2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.qkv, self.out = matrix(3 * width, width), matrix(width, width, size=residual)
        self.bias = nn.Parameter(torch.zeros(heads, 32))
        self.gate, self.up = matrix(2 * width, width), matrix(2 * width, width)
        self.down = matrix(width, 2 * width, size=residual)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """x (B, T, C), present (B, T) bool -> (B, T, C), 0 where nothing is present."""
        B, T, C = x.shape
        check_shapes(present=(present, (B, T)))
        size = T if self.block is None else min(self.block, T)
        missing = -T % size
        blocks = functional.pad(_rms_norm(x, self.norm1), (0, 0, 0, missing))
        seen = functional.pad(present, (0, missing)).view(-1, 1, 1, size)
        qkv = (blocks @ self.qkv.t()).view(-1, size, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        place = torch.arange(size, device=x.device)
        bias = self.bias[:, t5_buckets(place - place[:, None])]
        mask = bias.masked_fill(~seen, torch.finfo(x.dtype).min / 2)
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask) * seen.any(
            -1, True
        )
        found = found.transpose(1, 2).reshape(B, T + missing, C)[:, :T]
        x = x + found @ self.out.t()
        z = _rms_norm(x, self.norm2)
        x = x + (_gelu(z @ self.gate.t()) * (z @ self.up.t())) @ self.down.t()
        return x * present[..., None]


# -- three encoders that differ in how they read ---------------------------------------------------


@twin(naive.encoder)
class Encoder(nn.Module):
    """Scores of classes: ids (B, T), 0 after the end of a string -> (B, classes).

    reader   "bytes": bytes + 3 (ByT5); "canine": code points, hashed, a local layer, a strided
             convolution; "gbst": bytes + 3, a convolution of width 5, soft blocks (Charformer)
    layers   deep layers, the same for all, on T or ceil(T / shorten) steps
    shorten  steps that become one, but for "bytes"
    block    steps of a local block; size: rows of each of the 8 hash tables (both "canine" only)
    """

    def __init__(
        self,
        classes: int,
        reader: str = "bytes",
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        shorten: int = 4,
        block: int = 128,
        size: int = 16384,
    ):
        super().__init__()
        check_sizes(classes=classes, layers=layers, shorten=shorten, size=size)
        if reader not in ("bytes", "canine", "gbst"):
            raise ValueError(f"reader must be bytes, canine or gbst, got {reader!r}")
        if reader == "canine" and width % 8:
            raise ValueError(f"width must be a multiple of 8, the number of tables, got {width}")
        self.reader, self.shorten = reader, shorten
        residual = (2 * layers) ** -0.5
        if reader == "canine":
            self.tables = nn.Parameter(torch.randn(8, size, width // 8))
            self.local = Layer(width, heads, block, residual)
        else:
            self.embed = nn.Parameter(torch.randn(SYMBOLS, width))
        if reader != "bytes":
            K = shorten if reader == "canine" else 5
            self.W = nn.Parameter((width * K) ** -0.5 * torch.randn(width, width, K))
            self.b = nn.Parameter(torch.zeros(width))
        if reader == "gbst":
            self.score = nn.Parameter(width**-0.5 * torch.randn(width))
        self.layers = nn.ModuleList(Layer(width, heads, None, residual) for _ in range(layers))
        self.norm = nn.Parameter(torch.ones(width))
        self.classes = matrix(classes, width, size=0.1)  # small: the first bet is near uniform

    def forward(self, ids: Tensor) -> Tensor:
        x, present = self.read(ids)
        for layer in self.layers:
            x = layer(x, present)
        mean = x.sum(1) / present.sum(1, True).clamp(min=1)  # padding comes out of a layer as 0
        return _rms_norm(mean, self.norm) @ self.classes.t()

    def encode(self, texts: list[str], longest: int | None = None) -> Tensor:
        """Strings -> ids (B, T), padded with 0; of each the whole characters in `longest` bytes."""
        rows = []
        for text in texts:
            text = checked(text).encode()[:longest].decode(errors="ignore")
            rows.append([ord(c) for c in text] if self.reader == "canine" else byt5_encode(text))
        T = max(1, *map(len, rows))
        return torch.tensor([row + [PAD] * (T - len(row)) for row in rows])

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What the deep layers see: (B, S, C), and where it is present, (B, S)."""
        check_ids(ids, CODES if self.reader == "canine" else SYMBOLS, dims=2)
        present = ids != PAD
        if self.reader == "bytes":
            return functional.embedding(ids, self.embed) * present[..., None], present
        S = math.ceil(ids.shape[1] / self.shorten)
        missing = S * self.shorten - ids.shape[1]
        short = functional.pad(present, (0, missing)).view(-1, S, self.shorten).any(2)
        if self.reader == "canine":
            size = self.tables.shape[1]
            offsets = size * torch.arange(8, device=ids.device)
            rows = canine_buckets(ids, size) + offsets  # one look-up in the tables, end to end
            x = functional.embedding(rows, self.tables.flatten(0, 1)).flatten(2)
            x = self.local(x * present[..., None], present)
            return _gelu(conv(x, self.W, self.b, self.shorten)), short
        x = functional.embedding(ids, self.embed) * present[..., None]
        return gbst(conv(x, self.W, self.b), self.score, present, 4, self.shorten)[0], short
