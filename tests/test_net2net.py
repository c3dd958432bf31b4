"""Net2Net: a wider Transformer is the same function; refusals."""

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.naive import net2net as naive
from minilib.net2net import widen, widened
from minilib.transformer import Transformer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def with_zeros(params, times):  # the norms see it
    wide = naive.widen(params, times)
    for name, W in params.items():
        if name.endswith(("embed", "output")):
            wide[name] = np.pad(W, [(0, 0), (0, (times - 1) * W.shape[1])])
    return wide


def neighbours(params, times):  # 1 1 2 2 in place of 1 2 1 2: it parts the heads
    wide = naive.widen(params, times)
    channels = {name: W for name, W in params.items() if name.endswith("embed")}
    return wide | {name: np.repeat(W, times, 1) for name, W in channels.items()}


WRONG = {
    naive.widen: [
        *edited(
            naive.widen,
            qkv_not_divided=("np.concatenate(parts) / times", "np.concatenate(parts)"),
            qkv_copied_as_one=("np.split(W, 3)", "[W]"),
            blocks_not_divided=(
                "(times, times)) / times\n        elif",
                "(times, times))\n        elif",
            ),
            divided_by_the_square=(
                "np.tile(W, (times, times)) / times",
                "np.tile(W, (times, times)) / times**2",
            ),
            output_not_divided=("(1, times)) / times", "(1, times))"),
            output_rows_copied=(
                "np.tile(W, (1, times)) / times",
                "np.tile(W, (times, times)) / times",
            ),
            embedding_divided=("np.tile(W, (1, times))\n", "np.tile(W, (1, times)) / times\n"),
            norms_divided=("np.tile(W, times)\n", "np.tile(W, times) / times\n"),
        ),
        with_zeros,
        neighbours,
    ]
}


def test_a_wider_transformer_is_the_same_function():
    torch.manual_seed(0)
    model, ids = Transformer(11, 12, 2, 3, 8).double(), torch.randint(11, (2, 20))
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    wide = widened(model, 3)
    assert wide.blocks[0].qkv.numel() == 9 * model.blocks[0].qkv.numel()
    torch.testing.assert_close(wide(ids), model(ids), rtol=1e-9, atol=1e-9)


def test_widening_by_hand():
    wide = widen({"output": torch.tensor([[2.0, 4.0]]), "norm.bias": torch.tensor([1.0, 3.0])}, 2)
    assert wide["output"].tolist() == [[1, 2, 1, 2]] and wide["norm.bias"].tolist() == [1, 3, 1, 3]


def test_a_narrower_one_is_refused():
    with pytest.raises(ValueError, match="times must be 1 or more, got 0"):
        widened(Transformer(5, 4, 1, 1), 0)
