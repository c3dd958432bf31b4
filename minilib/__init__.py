"""Sequence models from first principles, each twice: a NumPy definition and a fast torch twin.

    minilib.naive.<topic>   the definition: loops, float64, NumPy only
    minilib.<topic>         the twin: torch, any device, fast
    minilib.lab             what lessons use around models: data, training, evaluation, plots
    minilib.pairs()         all that can be graded
    minilib.check(f, like=naive.<topic>.<name>)   grade your own implementation

Importing minilib loads no torch; a topic does, the first time it is named.
"""

import importlib
import os
from typing import TYPE_CHECKING

from minilib.grade import check
from minilib.naive import _nearest
from minilib.twins import pairs, topics, twin

if TYPE_CHECKING:
    import torch

__all__ = ["check", "device", "pairs", "twin"]
__version__ = "0.2.0"


def device(name: str | None = None) -> "torch.device":
    """The torch device of that name ("cpu", "cuda", "cuda:1"); without one a GPU if there is any.

    Under torchrun each process gets the GPU of its local rank. Apple's GPUs are never chosen, since
    they have no float64: the Transformer's angles, S4's phases and speculative decoding need it.
    device("mps") gives one by name; which models run there has not been tried.
    Raises ValueError if the named device is not on this machine.
    """
    import torch

    rank = int(os.environ.get("LOCAL_RANK", 0))
    if name is None:
        name = f"cuda:{rank}" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device must be one that this machine has, got {name!r}: {why}") from None
    return found


def __dir__():
    return sorted({*__all__, "lab", "naive", *topics()})


def __getattr__(name):  # minilib.lstm, minilib.naive, minilib.lab: imported when first named
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"minilib has no topic {name!r}; {_nearest(name, topics())}")
