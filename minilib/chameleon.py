"""Chameleon on torch: one stream of words and picture symbols, and what keeps its numbers small.

Names and symbols are those of minilib/naive/chameleon.py, which lists the departures.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.attention import attention, join_heads, kept, rope, split_heads
from minilib.language_model import LanguageModel, check_ids, sample
from minilib.naive import chameleon as naive
from minilib.shapes import check_shapes, check_size
from minilib.transformer import Block, Transformer, matrix

PADDING = 0
ROWS = 256  # queries whose logits `largest_logit` has in memory at a time


class Markers(NamedTuple):
    """The ids of what is neither a word nor a code."""

    start: int
    begin: int  # of a picture
    finish: int  # of a picture
    stop: int


def markers(words: int, codes: int) -> Markers:
    """The last four ids of a vocabulary of `words` (number 0 is padding) and `codes`."""
    check_size("words", words)
    check_size("codes", codes)
    return Markers(*range(words + codes, words + codes + 4))


# -- one stream ------------------------------------------------------------------------------------


@twin(naive.interleave, differentiable=False)
def interleave(
    captions: Tensor, pictures: Tensor, image_first: Tensor, words: int, codes: int
) -> Tensor:
    """Pairs as rows of one vocabulary: start, one modality, the other, stop, and then padding.

    captions     (B, L) int64 in [0, words), 0 behind the last word
    pictures     (B, G) int64 in [0, codes)
    image_first  (B,) bool
    returns      (B, L + G + 4), written by one scatter; what is no word goes to a last column,
                 which is cut off
    """
    mark = markers(words, codes)
    check_shapes(captions=(captions, (None, None)))
    B, L = captions.shape
    check_shapes(pictures=(pictures, (B, None)), image_first=(image_first, (B,)))
    _check_bool("image_first", image_first)
    _check_numbers("captions", captions, words)
    _check_numbers("pictures", pictures, codes)
    written = captions != 0
    if (written[:, 1:] & ~written[:, :-1]).any():
        raise ValueError("captions must have 0 behind the last word only, got a word after a 0")
    G, length = pictures.shape[1], written.sum(1, keepdim=True)
    end = L + G + 4
    first = image_first[:, None]
    at_picture = torch.where(first, 1, 1 + length)  # the place of begin
    at_words = torch.where(first, G + 3, 1) + torch.arange(L, device=captions.device)
    at_words = torch.where(written, at_words, end)
    edge = lambda value: torch.full_like(length, value)
    picture = torch.cat([edge(mark.begin), pictures + words, edge(mark.finish)], 1)
    at_picture = at_picture + torch.arange(G + 2, device=captions.device)
    values = torch.cat([edge(mark.start), captions, picture, edge(mark.stop)], 1)
    places = torch.cat([edge(0), at_words, at_picture, length + G + 3], 1)
    return captions.new_zeros(B, end + 1).scatter_(1, places, values)[:, :end].clone()


def _check_bool(name, value):
    if value.dtype != torch.bool:
        raise TypeError(f"{name} must be bool, got {value.dtype}")


def _check_numbers(name, value, size):
    if value.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {value.dtype}")
    if value.numel() and (value.min() < 0 or value.max() >= size):
        raise ValueError(f"{name} must lie in [0, {size}), got {value.min()} to {value.max()}")


@twin(naive.modality_mask, differentiable=False)
def modality_mask(ids: Tensor, words: int, codes: int, places: int) -> Tensor:
    """What may come next, after each step: (B, T) int64 -> (B, T, words + codes + 4) bool.

    In a picture `places` codes, then finish; after stop padding; else a word, begin or stop. A
    picture is open where the last begin is later than the last finish: a running maximum.
    """
    mark = markers(words, codes)
    check_ids(ids, words + codes + 4, dims=2)
    check_size("places", places)
    step = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    latest = lambda which: torch.where(ids == which, step, -1).cummax(1).values
    begun = latest(mark.begin)
    stopped = latest(mark.stop) >= 0
    inside = (begun > latest(mark.finish)) & ~stopped
    whole = step - begun >= places
    text = ~inside & ~stopped
    symbol = torch.arange(words + codes + 4, device=ids.device)
    groups = (
        (stopped, symbol == PADDING),
        (text, (symbol > 0) & (symbol < words) | (symbol == mark.begin) | (symbol == mark.stop)),
        (inside & ~whole, (symbol >= words) & (symbol < words + codes)),
        (inside & whole, symbol == mark.finish),
    )
    may = torch.zeros(*ids.shape, len(symbol), dtype=torch.bool, device=ids.device)
    for where, which in groups:
        may |= where[..., None] & which
    return may


# -- queries and keys of bounded length ------------------------------------------------------------


@twin(naive.head_norm)
def head_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Layer norm of every head on its own: x (B, heads, T, D); gain, bias (heads, D)."""
    check_shapes(x=(x, (None,) * 4))
    _, H, _, D = x.shape
    check_shapes(gain=(gain, (H, D)), bias=(bias, (H, D)))
    return F.layer_norm(x, (D,)) * gain[:, None] + bias[:, None]


def largest_logit(q: Tensor, k: Tensor, window: int | None = None) -> Tensor:
    """The largest |q·k| / √D that causal attention sees: (B, heads, T, D) twice -> (B, heads).

    In blocks of 256 queries: O(T) memory. Masked logits, and those outside of a window, do not
    count; 0 of no step.
    """
    check_shapes(q=(q, (None,) * 4), k=(k, tuple(q.shape)))
    found = [q.new_zeros(q.shape[:2])]
    for first in range(0, q.shape[2], ROWS):
        logits = q[:, :, first : first + ROWS] @ k[:, :, : first + ROWS].transpose(-1, -2)
        seen = logits.abs().tril(first).triu(first + 1 - (window or q.shape[2]))
        found.append(seen.amax((-1, -2)) / math.sqrt(q.shape[3]))
    return torch.stack(found).amax(0)


@twin(naive.qk_norm_attention)
def qk_norm_attention(
    q: Tensor, k: Tensor, v: Tensor,
    q_gain: Tensor, q_bias: Tensor, k_gain: Tensor, k_bias: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Causal attention with normalised queries and keys, and the largest |logit| of each head.

    q, k, v (B, heads, T, D), gains and biases (heads, D). The fused kernel keeps no logits, so the
    largest is found beside it, in blocks.
    """
    q, k = rope(head_norm(q, q_gain, q_bias)), rope(head_norm(k, k_gain, k_bias))
    return attention(q, k, v, causal=True), largest_logit(q, k)


@twin(naive.logit_bound, differentiable=False)  # gains that are equally large: no derivative
def logit_bound(q_gain: Tensor, q_bias: Tensor, k_gain: Tensor, k_bias: Tensor) -> Tensor:
    """No |logit| of a head can be above this, whatever is read: four (heads, D) -> (heads,)."""
    check_shapes(q_gain=(q_gain, (None, None)))
    shape = tuple(q_gain.shape)
    check_shapes(q_bias=(q_bias, shape), k_gain=(k_gain, shape), k_bias=(k_bias, shape))
    side = math.sqrt(q_gain.shape[1])
    longest = lambda gain, bias: side * gain.abs().amax(1) + bias.norm(dim=1)
    return longest(q_gain, q_bias) * longest(k_gain, k_bias) / side


# -- the block -------------------------------------------------------------------------------------


@twin(naive.residual_bound, differentiable=False)
def residual_bound(start: Tensor, gains: Tensor) -> Tensor:
    """How long the residual stream can be after branches that end with an RMS norm: (N,).

    start (N,), lengths before the first branch; gains (branches, C), those of the norms
    """
    check_shapes(start=(start, (None,)), gains=(gains, (None, None)))
    return start + math.sqrt(gains.shape[1]) * gains.abs().amax(1).sum()


@twin(naive.block)
class ChameleonBlock(Block):
    """A Block with RMS norms, SwiGLU, QK-norm and a choice of where the norms stand.

    hidden   F, width inside the SwiGLU
    context  steps that a step sees
    qk_norm  normalise queries and keys of each head before they are turned
    order    "pre": x + branch(norm(x)); "swin": x + norm(branch(x))
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        context: int = 4096,
        qk_norm: bool = True,
        order: str = "swin",
        residual: float = 1.0,
    ):
        check_size("hidden", hidden)
        check_size("context", context)
        if order not in ("pre", "swin"):
            raise ValueError(f"order must be one of pre, swin, got {order!r}")
        super().__init__(width, heads, window=context, residual=residual)
        self.qk_norm, self.order = qk_norm, order
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        if qk_norm:
            D = width // heads
            self.q_gain, self.k_gain = (nn.Parameter(torch.ones(heads, D)) for _ in "qk")
            self.q_bias, self.k_bias = (nn.Parameter(torch.zeros(heads, D)) for _ in "qk")
        self.gate, self.up = matrix(hidden, width), matrix(hidden, width)
        self.down = matrix(width, hidden, size=residual)

    def forward(
        self,
        x: Tensor,
        past_k: Tensor | None = None,
        past_v: Tensor | None = None,
        position: int | Tensor = 0,
        visible: Tensor | None = None,
        watch: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """x (B, T, C) -> x; with a cache (B, heads, S, C / heads) twice -> x, keys and values.

        visible as in `Block`; watch: x begins the text, return x and `largest_logit`
        """
        pre = self.order == "pre"
        y, *more = self._attend(self.norm1(x) if pre else x, past_k, past_v, position, visible)
        x = x + (y if pre else self.norm1(y))
        y = self._swiglu(self.norm2(x) if pre else x)
        x = x + (y if pre else self.norm2(y))
        if watch:
            return x, more[0]()
        return x if past_k is None else (x, *more[1:])

    def _swiglu(self, x):
        return (F.silu(x @ self.gate.t()) * (x @ self.up.t())) @ self.down.t()

    def _attend(self, z, past_k, past_v, position, visible):
        """Attention, a function that finds its largest logit, keys and values to keep."""
        q, k, v = split_heads(z, self.qkv, self.heads)
        if self.qk_norm:
            q, k = head_norm(q, self.q_gain, self.q_bias), head_norm(k, self.k_gain, self.k_bias)
        q, k = rope(q, position), rope(k, position)
        largest = functools.partial(largest_logit, q, k, self.window)
        if past_k is not None:
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        if visible is not None:  # a tree, whose nodes `follow` chooses from
            return join_heads(attention(q, k, v, visible), self.out), largest, k, v
        y = join_heads(attention(q, k, v, None, True, self.window), self.out)
        return y, largest, kept(k, self.window), kept(v, self.window)


@twin(naive.chameleon)
class Chameleon(Transformer):
    """A Transformer with Chameleon's blocks; what is a word and what a code it has to learn.

    vocab_size  words + codes + 4, see `markers`
    width       C, channels; heads must divide it into even parts
    layers      blocks
    hidden      F, width inside the SwiGLU; None: 8/3 of the width, rounded to a multiple of 8
    context     steps that a step sees
    qk_norm, order   as in `ChameleonBlock`
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        hidden: int | None = None,
        context: int = 4096,
        qk_norm: bool = True,
        order: str = "swin",
    ):
        super().__init__(vocab_size, width, layers, heads, context)
        hidden = max(8, 8 * round(width / 3)) if hidden is None else hidden
        residual = (2 * layers) ** -0.5
        self.blocks = nn.ModuleList(
            ChameleonBlock(width, heads, hidden, context, qk_norm, order, residual)
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    maps = None  # see `vitals`

    @torch.no_grad()
    def vitals(self, ids: Tensor) -> dict[str, Tensor]:
        """What grows when training drifts, on ids (B, T).

        logit     (layers,), the largest |logit| of attention that is seen
        residual  (layers + 1,), the mean length of the rows of the stream, first before any block
        log_z     (B, T)
        """
        check_ids(ids, self.vocab_size, dims=2)
        x = F.embedding(ids, self.embed)
        logit, residual = [], [x.norm(dim=-1).mean()]
        for block in self.blocks:
            x, largest = block(x, watch=True)
            logit.append(largest.max())
            residual.append(x.norm(dim=-1).mean())
        z = log_z(self.norm(x) @ self.output.t())
        return {"logit": torch.stack(logit), "residual": torch.stack(residual), "log_z": z}


# -- the loss --------------------------------------------------------------------------------------


@twin(naive.log_z)
def log_z(logits: Tensor) -> Tensor:
    """log Σ exp(logit), what the softmax divides by: (..., V) -> (...)."""
    return logits.logsumexp(-1)


@twin(naive.z_loss)
def z_loss(logits: Tensor, counted: Tensor, weight: float) -> Tensor:
    """weight · the mean of (log Z)² over the places that count.

    logits (B, T, V), before any mask of a modality; counted (B, T) bool
    """
    _check_counted(logits, counted)
    return _z_loss(log_z(logits), counted, weight)


def _z_loss(z, counted, weight):
    if not weight >= 0:
        raise ValueError(f"weight must be 0 or more, got {weight}")
    return weight * z[counted].square().mean()


def _check_counted(logits, counted):
    check_shapes(logits=(logits, (None,) * 3))
    check_shapes(counted=(counted, tuple(logits.shape[:2])))
    _check_bool("counted", counted)
    if not counted.any():
        raise ValueError("counted must have a place that counts, got none")


# float32: beside logits of 900 its steps are 6e-5, and the softmax has them as relative errors
@twin(naive.z_loss_gradient, float32=1e-4, differentiable=False)
def z_loss_gradient(logits: Tensor, counted: Tensor, weight: float) -> Tensor:
    """The gradient of `z_loss` in the logits, by autograd: (B, T, V)."""
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        return torch.autograd.grad(z_loss(logits, counted, weight), logits)[0]


@twin(naive.stream_loss)
def stream_loss(logits: Tensor, ids: Tensor, weight: float = 0.0) -> tuple[Tensor, Tensor]:
    """(mean nats per symbol, z-loss), over the places whose next symbol is no padding.

    logits (B, T, V); ids (B, T + 1). One log Z serves both: nats are log Z minus the right logit.
    """
    check_shapes(logits=(logits, (None,) * 3))
    B, T, V = logits.shape
    check_ids(ids, V, dims=2)
    check_shapes(ids=(ids, (B, T + 1)))
    targets = ids[:, 1:]
    counted = targets != PADDING
    _check_counted(logits, counted)
    z = log_z(logits)
    right = logits.gather(2, targets[..., None])[..., 0]
    return (z - right)[counted].mean(), _z_loss(z, counted, weight)


# -- writing ---------------------------------------------------------------------------------------


@torch.no_grad()
def write(
    model: LanguageModel, ids: Tensor, u: Tensor,
    words: int, codes: int, places: int, temperature: float = 1.0,
) -> Tensor:  # fmt: skip
    """Continue rows of one stream; each symbol is drawn among those that `modality_mask` allows.

    ids (B, T), rows of one length; u (B, n), a uniform for each new symbol; returns (B, T + n)
    """
    check_ids(ids, words + codes + 4, dims=2)
    check_shapes(u=(u, (len(ids), None)))
    if not ((u >= 0) & (u < 1)).all():  # a forbidden symbol would come out
        raise ValueError("u must lie in [0, 1), got a number outside")
    if model.vocab_size != words + codes + 4:
        wanted = f"{words} words + {codes} codes + 4 markers"
        raise ValueError(f"model must have a vocabulary of {wanted}, got {model.vocab_size}")
    logits, state = model.extend(ids, model.init_state(len(ids)))
    logits = logits[:, -1]
    for draw in u.unbind(1):
        may = modality_mask(ids, words, codes, places)[:, -1]
        symbol = sample(logits.masked_fill(~may, -math.inf).double(), draw.double(), temperature)
        ids = torch.cat([ids, symbol[:, None]], 1)
        logits, state = model.step(symbol, state)
    return ids
