"""Net2Net: a Transformer's function in a wider Transformer, a larger model that agrees with it.

Names are those of minilib/naive/net2net.py. Not here: unequal copies, deeper networks.
"""

from torch import Tensor

from minilib import twin
from minilib.naive import net2net as naive
from minilib.shapes import check_size
from minilib.transformer import Transformer


@twin(naive.widen)
def widen(params: dict[str, Tensor], times: int) -> dict[str, Tensor]:
    """The parameters of a Transformer with every channel and head `times` over (Chen et al. 2015).

    params   a state_dict of Transformer
    returns  a dict of the same names: times² the weights in the blocks, and the same function
    Raises ValueError for times below 1.
    """
    check_size("times", times)
    wide = {}
    for name, W in params.items():
        kind = name.rpartition(".")[2]
        if kind == "qkv":  # (3C, C): queries, keys, values
            W = W.unflatten(0, (3, -1)).repeat(1, times, times).flatten(0, 1)
        elif kind in ("out", "up", "down"):
            W = W.repeat(times, times)
        else:  # embed and output (vocab, C), norms (C,)
            W = W.repeat(*[1] * (W.dim() - 1), times)
        reads_copies = kind in ("qkv", "out", "up", "down", "output")
        wide[name] = W / times if reads_copies else W
    return wide


def widened(model: Transformer, times: int) -> Transformer:
    """A Transformer `times` as wide that computes what `model` does. Raises ValueError as widen."""
    params = widen(model.state_dict(), times)
    width, heads = params["embed"].shape[1], times * model.blocks[0].heads
    wide = Transformer(model.vocab_size, width, len(model.blocks), heads, model.context)
    wide.to(model.embed).load_state_dict(params)
    return wide
