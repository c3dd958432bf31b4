"""Softmax: the twin, and the smallest example of how a topic is written."""

import torch

from minilib import twin
from minilib.naive import start_here as naive


@twin(naive.softmax)
def softmax(x: torch.Tensor) -> torch.Tensor:
    """Same contract as the definition: one call, which subtracts each row's maximum."""
    if x.dim() != 2 or x.shape[1] == 0:
        raise ValueError(f"x must have shape (rows, columns ≥ 1), got {tuple(x.shape)}")
    return torch.softmax(x, dim=1)
