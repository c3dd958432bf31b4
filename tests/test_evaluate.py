"""Bits per byte against scores worked out by hand."""

import itertools
import math

import pytest
import torch

import minilib
from minilib import lab
from minilib.lab import evaluate
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


@pytest.mark.parametrize("logits,doubles", [(1, 1), (20_000, 1000), (1 << 25, 5000)])
def test_the_score_does_not_depend_on_what_is_held_at_once(monkeypatch, logits, doubles):
    torch.manual_seed(0)
    model = LSTM(256, 8).double()
    expected = lab.bits_per_byte(model, TEXT, context=64)
    monkeypatch.setattr(evaluate, "_LOGITS", logits)
    monkeypatch.setattr(evaluate, "_DOUBLES", doubles)
    assert abs(lab.bits_per_byte(model, TEXT, context=64) / expected - 1) < 1e-12


def test_a_large_vocabulary_is_scored_in_small_groups(monkeypatch):
    """No more than 2^25 logits at once, and 2^22 of them in float64, or those of a window."""
    held, doubles, cross_entropy = [], [], torch.nn.functional.cross_entropy

    class Uniform(minilib.language_model.LanguageModel):
        vocab_size = 1 << 16

        def init_state(self, batch_size):
            return ()

        def extend(self, ids, state):
            held.append(ids.numel() * self.vocab_size)
            return torch.zeros(1).expand(*ids.shape, self.vocab_size), state

    def counted(logits, targets, reduction):
        assert logits.dtype == torch.float64
        doubles.append(logits.numel())
        return cross_entropy(logits, targets, reduction=reduction)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", counted)
    assert abs(lab.bits_per_byte(Uniform(), bytes(600), Octal, context=64) - 16) < 1e-9
    assert max(held) == 1 << 25 and max(doubles) == 1 << 22
    held.clear()
    lab.bits_per_byte(Uniform(), bytes(600), Octal, context=580)
    assert max(held) == 580 << 16


class Words:
    """Takes str alone, as tiktoken's encodings do."""

    n_vocab = 8

    def encode(self, text):
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__!r} object is not an instance of 'str'")
        return [len(word) for word in text.split(" ")]


def test_a_tokenizer_that_takes_str_alone():
    text = "a be b é ccc"
    expected = (3 + math.log2(8 / 7) * 1 + math.log2(56) * 3) / len(text.encode())
    for same in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        assert abs(lab.bits_per_byte(Copycat(), same, Words()) - expected) < 1e-6


class Bets(Copycat):
    """All on symbol 0, by one logit; the others have 0."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def extend(self, ids, state):
        logits = torch.zeros(*ids.shape, 8)
        logits[..., 0] = self.value
        return logits, state


def test_scores_that_are_not_finite():
    assert lab.bits_per_byte(Bets(-math.inf), b"abc", Octal) < math.inf
    assert lab.bits_per_byte(Bets(-math.inf), b"abh", Octal) == math.inf  # h is symbol 0
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="model must give logits without nan"):
            lab.bits_per_byte(Bets(value), b"abc", Octal)


def test_evaluation_refuses():
    for wrong in (5, None, [97], torch.arange(3)):
        with pytest.raises(TypeError, match="text must be str or bytes, got"):
            lab.bits_per_byte(Copycat(), wrong, Octal)
    with pytest.raises(ValueError, match="text must be str that UTF-8 can write"):
        lab.bits_per_byte(Copycat(), "a\udce9", Octal)
    with pytest.raises(ValueError, match="must have one vocab_size, got 8 and 256 of Bytes"):
        lab.bits_per_byte(Copycat(), "abc")
    with pytest.raises(ValueError, match="text must have at least one byte"):
        lab.bits_per_byte(Copycat(), "")
    with pytest.raises(ValueError, match="context must be at least 2"):
        lab.bits_per_byte(Copycat(), "abc", context=1)
