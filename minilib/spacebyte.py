"""SpaceByte: wide blocks run only where a word is about to begin; a language model on bytes.

Names and symbols are those of minilib/naive/spacebyte.py, which lists the departures from the
paper. Not here: dropout, a limit on the patches of a row.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.dynamic_pooling import SegmentBlock
from minilib.hourglass import run_blocks
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import spacebyte as naive
from minilib.shapes import check_size, check_sizes
from minilib.transformer import Block

# -- where a patch starts --------------------------------------------------------------------------


@twin(naive.is_spacelike)
def is_spacelike(ids: Tensor) -> Tensor:
    """Which bytes are no digit, no letter of ASCII and do not continue a character of UTF-8?

    ids int64 in [0, 256), of any shape, which the answer has too. Six comparisons, no table.
    Raises TypeError for other dtypes, ValueError for other numbers.
    """
    if ids.dtype != torch.int64:
        raise TypeError(f"ids must be int64, got {ids.dtype}")
    if ids.numel() and not torch.compiler.is_compiling():
        low, high = ids.aminmax()
        if low < 0 or high > 255:
            raise ValueError(f"ids must be bytes, 0 … 255, got {int(low)} to {int(high)}")
    letter = ((ids | 32) >= 97) & ((ids | 32) <= 122)  # 32 is what sets a and A apart
    return ~(letter | ((ids >= 48) & (ids <= 57)) | ((ids >= 128) & (ids <= 191)))


@twin(naive.boundaries)
def boundaries(ids: Tensor) -> Tensor:
    """The first byte, and the first of each run of spacelike bytes: (batch, T) -> (batch, T) bool.

    Raises ValueError unless ids is (batch, T).
    """
    if ids.dim() != 2:
        raise ValueError(f"ids must have shape (batch, T), got {tuple(ids.shape)}")
    space = is_spacelike(ids)
    inside = functional.pad(~space[:, :-1], (1, 0), value=True)  # of the byte before
    starts = space & inside
    starts[:, :1] = True
    return starts


@twin(naive.patch_lengths)
def patch_lengths(ids: Tensor) -> Tensor:
    """Bytes from each boundary to the byte before the next: (T,) -> (number of patches,), sum T.

    Raises ValueError unless ids is (T,).
    """
    if ids.dim() != 1:
        raise ValueError(f"ids must have shape (T,), got {tuple(ids.shape)}")
    starts = boundaries(ids[None])[0].nonzero()[:, 0]
    return starts.diff(append=starts.new_full((min(1, len(ids)),), len(ids)))


# -- the language model ----------------------------------------------------------------------------


class SpaceByteState(NamedTuple):
    """Where a SpaceByte stands after `position` bytes. A cache is (keys, values) of a block."""

    position: int
    last: Tensor  # (batch, 1): the last byte, which says whether the next one is a boundary
    seen: Tensor  # (batch,): patches of each row so far
    before: tuple  # a cache for each local block, of at most `window` bytes
    middle: tuple  # for each global block, of at most `context` patches, the row's last one last
    after: tuple


@twin(naive.spacebyte)
class SpaceByte(LanguageModel):
    """Local blocks, global blocks at the boundaries alone, local blocks (Slagle 2024).

    vocab_size             symbols: bytes, if they decide where a patch starts
    width                  d, channels of a local block; global_width: D ≥ d, of a global one
    before, middle, after  local blocks, global blocks, local blocks
    heads                  of all; must divide both widths into even parts
    window                 bytes that a local block sees; context: patches that a global one sees
    patch                  None: patches start at `boundaries`; P: at every P-th byte
    What global blocks add at a boundary is there when the next byte is predicted, and the local
    blocks after them carry it on. Rows have their own numbers of patches: they are gathered into
    rows of the longest, and what stands behind a shorter row's last one is never read.
    """

    rounding = 1e-12  # how many patches there are decides the shape of matrix products

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 64,
        global_width: int = 128,
        before: int = 1,
        middle: int = 2,
        after: int = 1,
        heads: int = 4,
        window: int = 64,
        context: int = 128,
        patch: int | None = None,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, window=window, context=context)
        if before < 0 or middle < 0 or after < 0:
            given = f"{before}, {middle} and {after}"
            raise ValueError(f"before, middle and after must be 0 or more, got {given}")
        if global_width < width:
            raise ValueError(f"global_width must be width={width} or more, got {global_width}")
        if patch is None and vocab_size > 256:
            about = "256 at most where bytes decide (patch=None)"
            raise ValueError(f"vocab_size must be {about}, got {vocab_size}")
        if patch is not None:
            check_size("patch", patch)
        self.vocab_size, self.patch = vocab_size, patch
        self.width, self.padding = width, global_width - width
        residual = (2 * (before + middle + after)) ** -0.5
        local = lambda n: nn.ModuleList(
            Block(width, heads, True, window, residual) for _ in range(n)
        )
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.before, self.after = local(before), local(after)
        self.middle = nn.ModuleList(
            SegmentBlock(global_width, heads, True, context, residual) for _ in range(middle)
        )
        self.norm = nn.LayerNorm(width)
        # small: the first bet is near uniform
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(vocab_size, width))

    def init_state(self, batch_size: int) -> SpaceByteState:
        whole = {"dtype": torch.int64, "device": self.embed.device}
        last = torch.zeros(batch_size, 1, **whole)
        seen = torch.zeros(batch_size, **whole)
        no_past = lambda blocks: tuple(b.no_past(batch_size, self.embed) for b in blocks)
        return SpaceByteState(0, last, seen, *map(no_past, (self.before, self.middle, self.after)))

    def extend(self, ids: Tensor, state: SpaceByteState) -> tuple[Tensor, SpaceByteState]:
        check_ids(ids, self.vocab_size, dims=2)
        x = functional.embedding(ids, self.embed)
        x, before = run_blocks(self.before, x, state.before, state.position)
        x, seen, middle = self._global(x, self._starts(ids, state), state)
        x, after = run_blocks(self.after, x, state.after, state.position)
        position = state.position + ids.shape[1]
        state = SpaceByteState(position, ids[:, -1:].clone(), seen, before, middle, after)
        return self.norm(x) @ self.output.t(), state

    def _starts(self, ids, state):
        """Where patches start in ids, which come after the state: (batch, T) bool."""
        B, T = ids.shape
        if self.patch is None:
            read = torch.cat([state.last, ids], dim=1) if state.position else ids
            return boundaries(read)[:, -T:]
        steps = torch.arange(state.position, state.position + T, device=ids.device)
        return (steps % self.patch == 0).expand(B, T)

    def _global(self, x, starts, state):
        """x (batch, T, d) with what the global blocks add where a patch starts; seen; caches.

        With starts 1 0 0 1 in one row and 0 1 0 0 in the other, S = 2: places 0 3 and 1 0, of which
        the second is padding; ranks 0 0 0 1 and 0 0 0 0, of which only those at a start are used.
        """
        (_, T, d), new = x.shape, starts.sum(1)
        S = T if torch.compiler.is_compiling() else int(new.max())
        if S == 0:  # no row is at a boundary: no global block runs
            return x, state.seen, state.middle
        order = (~starts).byte().argsort(dim=1, stable=True)  # starts first
        places = order[:, :S, None].expand(-1, -1, d)
        y = functional.pad(x.gather(1, places), (self.padding, 0))
        y, caches = run_blocks(self.middle, y, state.middle, state.seen, new)
        rank = (starts.cumsum(1) - 1).clamp(min=0)[..., None]
        y = y[..., self.padding :].gather(1, rank.expand(-1, -1, d))
        return x + y.where(starts[..., None], 0), state.seen + new, caches


# -- cost ------------------------------------------------------------------------------------------


@twin(naive.multiply_adds)
def multiply_adds(
    T: int,
    patches: int,
    width: int,
    global_width: int,
    before: int,
    middle: int,
    after: int,
    window: int,
    context: int,
    vocab_size: int = 256,
) -> tuple[int, int, int]:
    """Multiply-adds of T bytes in so many patches: (local blocks', global blocks', the output's).

    Arguments of SpaceByte. A Transformer is middle = 0. Raises ValueError for impossible sizes.
    """
    if not 0 <= patches <= T or min(before, middle, after) < 0:
        given = f"{patches} of T={T}, {before}, {middle} and {after}"
        raise ValueError(f"patches must lie in [0, T], numbers of blocks be 0 or more, got {given}")
    check_sizes(width=width, global_width=global_width, window=window)
    check_sizes(context=context, vocab_size=vocab_size)

    def block(steps, C, most):
        full = min(steps, most)  # steps that see fewer than `most`: 1, 2, … full
        seen = full * (full + 1) // 2 + (steps - full) * most
        return 12 * steps * C * C + 2 * seen * C

    local = (before + after) * block(T, width, window)
    return local, middle * block(patches, global_width, context), T * width * vocab_size
