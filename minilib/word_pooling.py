"""AU-Net's pooling at the ends of words: where units end, one vector for each, and back to steps.

Names and symbols are those of minilib/naive/word_pooling.py. Not here: the network between them.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.language_model import check_ids
from minilib.naive import word_pooling as naive


@twin(naive.word_ends)
def word_ends(ids: Tensor) -> Tensor:
    """(batch, T) bytes -> (batch, T) bool: True at the first byte after a word, where a unit ends.

    Known from bytes ≤ t, so that more text moves no end.
    """
    check_ids(ids, 256, dims=2)
    lower = ids | 32  # of an ASCII letter
    letter, digit = (lower >= 97) & (lower <= 122), (ids >= 48) & (ids <= 57)
    word = letter | digit | (ids == 39) | (ids >= 128)
    return nn.functional.pad(word[:, :-1] & ~word[:, 1:], (1, 0))


@twin(naive.select)
def select(x: Tensor, ends: Tensor) -> Tensor:
    """The steps of x (batch, T, C) where `ends` (batch, T) is True, in order: (batch, S, C).

    S is the number of units of the row with most; behind those of the others stand zeros.
    """
    _check_ends(ends, x.shape[:2])
    row, step = ends.nonzero(as_tuple=True)
    unit = (ends.cumsum(1) - 1)[row, step]
    S = int(ends.sum(1).max())
    return x.new_zeros(len(x), S, x.shape[2]).index_put((row, unit), x[row, step])


@twin(naive.expand)
def expand(y: Tensor, ends: Tensor, shared: Tensor, own: Tensor) -> Tensor:
    """Each step gets the last unit that is closed, its own end included, until the next one closes.

    y        (batch, S, C), one vector for each unit; ends (batch, T) bool
    shared   (C, C); own (N, C, C), added to it n steps after the end, n modulo N
    returns  (batch, T, C), 0 before the first end
    Every unit is multiplied by all N matrices, S N C² products; each step then picks its row.
    Raises ValueError if there are more ends than units.
    """
    _check_ends(ends, (len(y), ends.shape[-1]))
    most = int(ends.sum(1).max())
    if most > y.shape[1]:
        raise ValueError(f"y must have a unit for each end, got {y.shape[1]} for {most}")
    (B, T), N, C = ends.shape, len(own), y.shape[2]
    unit, step = ends.cumsum(1), torch.arange(T, device=y.device)
    since = step - (step * ends).cummax(1).values
    offers = torch.einsum("bsc,ndc->bsnd", y, shared + own).flatten(1, 2)  # row s N + n
    offers = torch.cat([y.new_zeros(B, N, C), offers], dim=1)  # unit 0: before the first end
    return offers.gather(1, (unit * N + since % N)[..., None].expand(B, T, C))


def _check_ends(ends, shape):
    if ends.dtype != torch.bool:
        raise TypeError(f"ends must be a bool tensor, got {ends.dtype}")
    if tuple(ends.shape) != tuple(shape):
        raise ValueError(f"ends must have shape {tuple(shape)}, got {tuple(ends.shape)}")
