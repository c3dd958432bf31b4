"""Net2Net: a wider Transformer is the same function; refusals."""

import pytest
import torch

from minilib.net2net import widen, widened
from minilib.transformer import Transformer


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
