"""Generation: reproducible, greedy at temperature 0, refused by name."""

import pytest
import torch

from minilib import lab
from minilib.lab import data
from minilib.lstm import LSTM

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


def test_generation_is_reproducible_and_greedy_at_zero():
    torch.manual_seed(0)
    model = LSTM(256, 8)
    batches = data.windows(TEXT, batch=4, length=16)
    lab.fit(model, batches, steps=60, lr=0.02, progress=False)
    assert lab.generate(model, "the ", 20, seed=3) == lab.generate(model, "the ", 20, seed=3)
    assert lab.generate(model, "the ", 20, seed=3) != lab.generate(model, "the ", 20, seed=4)
    greedy = lab.generate(model, b"the ", 20, temperature=0)
    assert greedy == lab.generate(model, b"the ", 20, top_k=1, seed=5)
    for t in range(4, 24):
        assert model(torch.tensor([list(greedy[:t])]))[0, -1].argmax() == greedy[t]
    with pytest.raises(ValueError, match="prompt must have at least one symbol"):
        lab.generate(model, "", 5)
    with pytest.raises(ValueError, match="length must be 0 or more"):
        lab.generate(model, "a", -1)
    assert lab.generate(model, "a", 0) == b"a"
