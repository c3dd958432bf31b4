"""Bits per byte against scores worked out by hand."""

import itertools
import math

import pytest
import torch

import minilib
from minilib import lab
from minilib.lstm import LSTM

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


class Copycat(minilib.language_model.LanguageModel):
    """Bets 7 to 1 that the next symbol is the last one. Its score can be worked out by hand."""

    vocab_size = 8

    def init_state(self, batch_size):
        return ()

    def extend(self, ids, state):
        # odds of 49 to 7 times 1, so 7/8 for the last symbol and 1/56 for each other one
        return torch.nn.functional.one_hot(ids, 8) * math.log(49), state


class Octal:
    encode = staticmethod(lambda text: [b % 8 for b in text])


def test_bits_per_byte_by_hand():
    # the first symbol costs 3 bits; "aab": then one hit at log2(8/7) and one miss at log2(56)
    expected = (3 + math.log2(8 / 7) + math.log2(56)) / 3
    assert abs(lab.bits_per_byte(Copycat(), "aab", Octal) - expected) < 1e-6


@pytest.mark.parametrize("context", [2, 3, 4, 7, 50, 100, 1000])
@pytest.mark.parametrize("length", [1, 2, 3, 49, 50, 51, 100, 101])
def test_every_symbol_is_scored_once_whatever_the_window(context, length):
    text = (b"aabbbbac" * 20)[:length]
    hits = sum(a == b for a, b in itertools.pairwise(text))
    expected = (3 + hits * math.log2(8 / 7) + (length - 1 - hits) * math.log2(56)) / length
    assert abs(lab.bits_per_byte(Copycat(), text, Octal, context=context) - expected) < 1e-6


def test_bits_count_bytes_and_not_characters():
    model = LSTM(256, 8)
    text = "é" * 30
    assert abs(lab.bits_per_byte(model, text) - lab.bits_per_byte(model, text.encode())) < 1e-12


def test_evaluation_refuses():
    with pytest.raises(ValueError, match="text must have at least one byte"):
        lab.bits_per_byte(Copycat(), "")
    with pytest.raises(ValueError, match="context must be at least 2"):
        lab.bits_per_byte(Copycat(), "abc", context=1)
