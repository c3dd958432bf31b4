"""Generation: reproducible, greedy at temperature 0, refused by name."""

import numpy as np
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


def test_generation_refuses():
    model = LSTM(256, 8)
    for wrong in (5, None, ["a"]):
        with pytest.raises(TypeError, match="prompt must be str or bytes, got"):
            lab.generate(model, wrong, 5)
    with pytest.raises(ValueError, match="prompt must be str that UTF-8 can write"):
        lab.generate(model, "\udce9", 5)
    for seed in (None, "1", 2**64, 2**70, -(2**63) - 1):
        with pytest.raises(ValueError, match="seed must be an integer"):
            lab.generate(model, "a", 5, seed=seed)
    for seed in (-(2**63), 2**64 - 1, np.int64(7)):
        assert len(lab.generate(model, "a", 5, seed=seed)) == 6


def test_logits_that_are_no_numbers_are_no_zero_bytes():
    model = LSTM(256, 8)
    for p in model.parameters():
        p.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="logits must have a finite maximum, got nan"):
        lab.generate(model, "abc", 8)
    with pytest.raises(ValueError, match="logits must have a finite maximum, got nan"):
        lab.generate(model, "abc", 8, temperature=0)


class Letters:
    """Ids of small letters alone; takes str alone and gives str."""

    vocab_size = 26

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text]  # TypeError for bytes

    def decode(self, ids):
        return "".join(chr(ord("a") + i) for i in ids)


def test_a_tokenizer_of_another_library():
    model = LSTM(26, 8)
    written = lab.generate(model, b"abc", 5, tokenizer=Letters())
    assert written == lab.generate(model, "abc", 5, tokenizer=Letters())
    assert written[:3] == b"abc" and written.isalpha() and len(written) == 8

    class Both(Letters):
        def decode_bytes(self, ids):
            return self.decode(ids).upper().encode()

    assert lab.generate(model, "abc", 5, tokenizer=Both()) == written.upper()


@pytest.mark.parametrize("size", [25, 27, 512])
def test_a_tokenizer_that_is_not_the_models_is_refused_before_anything_is_written(size):
    words = f"model and tokenizer must have one vocab_size, got {size} and 26 of Letters"
    with pytest.raises(ValueError, match=words):
        lab.generate(LSTM(size, 8), "abc", 20, tokenizer=Letters())
    with pytest.raises(ValueError, match=f"got {size} and 256 of Bytes"):
        lab.generate(LSTM(size, 8), "\0", 20)
