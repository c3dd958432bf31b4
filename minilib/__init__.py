"""Sequence models from first principles, each system twice: a NumPy definition and a fast torch twin.

    minilib.naive.<topic>   the definition: loops, float64, NumPy only
    minilib.<topic>         the twin: torch, any device, fast
    minilib.lab             what lessons use around models: data, training, evaluation, plots
    minilib.check(f, like=twin)   grade your own implementation

Importing minilib loads no torch; a topic does, the first time it is named.
"""

import importlib
import os

from minilib.grade import check
from minilib.twins import pairs, twin

__all__ = ["check", "device", "pairs", "twin"]
__version__ = "0.1.0"


def device(name=None):
    """The torch device to work on: `name` if given ("cpu", "cuda", "cuda:1"), else a GPU if there is one.

    Under torchrun each process gets the GPU of its local rank.
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
        raise ValueError(
            f"device must be one that this machine has, got {name!r}: {str(error).splitlines()[0]}"
        ) from None
    return found


def __getattr__(name):  # minilib.lstm, minilib.naive, minilib.lab: imported when first named
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"minilib has no topic {name!r}")
