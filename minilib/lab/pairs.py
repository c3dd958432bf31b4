"""Pairs of texts that translate each other: their split, their ids, training batches."""

import random
import re
import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minilib.naive.char_translation import END, PAD


class Letters:
    """The characters of some texts as ids; 3 stands for every other character."""

    def __init__(self, texts: Sequence[str]):
        self.letters = sorted(set("".join(texts)))
        self.number = {letter: i + 4 for i, letter in enumerate(self.letters)}
        self.vocab_size = len(self.letters) + 4

    def encode(self, text: str) -> list[int]:
        """Ids of the text, and END."""
        return [*(self.number.get(letter, 3) for letter in text), END]

    def decode(self, ids: Sequence[int]) -> str:
        """The text before the first END."""
        ids = [*ids, END]
        return "".join(self.letters[i - 4] if i > 3 else "�" for i in ids[: ids.index(END)])


class Tokens:
    """The tokens of a tokenizer (lesson 08) as ids, behind PAD, START, END and one unused."""

    def __init__(self, tokenizer):
        self.tokenizer, self.vocab_size = tokenizer, tokenizer.vocab_size + 4

    def encode(self, text: str) -> list[int]:
        """Ids of the text, and END."""
        return [*(i + 4 for i in self.tokenizer.encode(text)), END]

    def decode(self, ids: Sequence[int]) -> str:
        """The text before the first END; bytes that are no UTF-8 become �."""
        ids = [*ids, END]
        known = [i - 4 for i in ids[: ids.index(END)] if i > 3]
        return self.tokenizer.decode(known, errors="replace")


def split(source: dict, target: dict, longest: int = 60) -> dict[str, list[tuple[str, str]]]:
    """Pairs of texts that translate one string: {"train", "validation", "test"}, 8 : 1 : 1.

    source, target  {English: translation}, as lab.data.interface_strings() has them
    Strings whose English begins with the same two words are kept on one side, so that no near copy
    of a test string is learned. Left out: texts of more than `longest` characters, equal texts.
    """
    parts = {"train": [], "validation": [], "test": []}
    for english, text in source.items():
        other = target.get(english, text)
        if text != other and max(len(text), len(other)) <= longest:
            begins = " ".join(re.findall("[a-z]+", english.lower())[:2]) or english
            number = zlib.crc32(begins.encode()) % 10
            parts[{0: "test", 1: "validation"}.get(number, "train")].append((text, other))
    return parts


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Lists of ids as one tensor, PAD behind the shorter ones."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def batches(pairs: Sequence[tuple], rows: int, seed: int = 0) -> Callable[[int], tuple]:
    """Training batches for lab.fit: step -> (source, target), ids of random pairs of like length.

    Eight batches are drawn at once and sorted by length, so that little of a batch is padding.
    """

    def batch(step):
        rng = random.Random(1_000_003 * seed + step // 8)
        drawn = sorted(rng.choices(pairs, k=8 * rows), key=lambda pair: len(pair[0]))
        place = rng.sample(range(8), 8)[step % 8]
        sources, targets = zip(*drawn[place * rows : (place + 1) * rows], strict=True)
        return padded(sources), padded(targets)

    return batch
