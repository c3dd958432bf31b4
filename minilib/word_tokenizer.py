"""A text as words, and spelled where a word is not known: a tokenizer for models of words.

Names and symbols are those of minilib/naive/word_tokenizer.py.
"""

import collections
import json
import os
import pathlib
import re
from collections.abc import Sequence

from minilib import twin
from minilib.naive import word_tokenizer as naive
from minilib.spelling import whole_numbers
from minilib.vocabulary import write_text


@twin(naive.pieces)
def pieces(text: bytes, longest: int = 20) -> list[bytes]:
    """A text cut into words with the blank before them, and single other bytes."""
    if longest < 2:
        raise ValueError(f"longest must be 2 or more, got {longest}")
    letter = rb"[a-zA-Z'\x80-\xff]"
    return re.findall(b" %b{1,%d}|%b{1,%d}|." % (letter, longest - 1, letter, longest), text, re.S)


@twin(naive.frequent)
def frequent(text: bytes, count: int, longest: int = 20) -> list[bytes]:
    """The `count` most frequent pieces of two bytes or more; of equals the smaller."""
    times = collections.Counter(piece for piece in pieces(text, longest) if len(piece) >= 2)
    return sorted(times, key=lambda piece: (-times[piece], piece))[:count]


@twin(naive.encode)
def encode(text: bytes, words: list[bytes], longest: int = 20) -> list[int]:
    """bytes -> ids, as WordTokenizer(words, longest).encode."""
    return WordTokenizer(words, longest).encode(text)


@twin(naive.decode)
def decode(ids: list[int], words: list[bytes]) -> bytes:
    """ids -> bytes, as WordTokenizer(words).decode."""
    return WordTokenizer(words).decode(ids)


class WordTokenizer:
    """Ids of bytes (0-255), of the two ends of a spelling (256, 257), and of known words.

    words    bytes, or str for their UTF-8; one as `pieces` cuts them, or it is never met
    longest  bytes of a piece at most
    decode(encode(text)) gives the text back, byte for byte: an unknown word is spelled.
    """

    def __init__(self, words: Sequence[bytes | str], longest: int = 20):
        self.words, self.longest = [_as_bytes(word) for word in words], longest
        if len(set(self.words)) < len(self.words):
            raise ValueError("words must differ, got one twice")
        for word in self.words:
            if not 1 <= len(word) <= longest:
                raise ValueError(f"words must have 1 to {longest} bytes, got {word!r}")
        self._id = {word: 258 + k for k, word in enumerate(self.words)}

    @classmethod
    def train(cls, text: str | bytes, count: int, longest: int = 20) -> "WordTokenizer":
        """The tokenizer that knows the `count` most frequent words of a text."""
        return cls(frequent(_as_bytes(text), count, longest), longest)

    @property
    def vocab_size(self) -> int:
        """256 bytes, both ends of a spelling, and the words."""
        return 258 + len(self.words)

    def encode(self, text: str | bytes) -> list[int]:
        """str or bytes -> ids."""
        ids, id_of = [], self._id
        for piece in pieces(_as_bytes(text), self.longest):
            if len(piece) == 1:
                ids.append(piece[0])
            elif (known := id_of.get(piece)) is not None:
                ids.append(known)
            else:
                ids += (256, *piece, 257)
        return ids

    def decode(self, ids: Sequence[int]) -> bytes:
        """ids -> bytes. Raises ValueError for an id that is none, TypeError for no integer."""
        parts = []
        for i in whole_numbers(ids):
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"ids must lie in [0, {self.vocab_size}), got {i}")
            parts.append(bytes([i]) if i < 256 else b"" if i < 258 else self.words[i - 258])
        return b"".join(parts)

    def save(self, path: str | os.PathLike) -> None:
        """Write a JSON file, whole or not at all, for `load`."""
        words = [word.decode("latin-1") for word in self.words]  # any byte is a character of it
        write_text(path, json.dumps({"longest": self.longest, "words": words}))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "WordTokenizer":
        """Read what `save` wrote. Raises ValueError for another file."""
        try:
            found = json.loads(pathlib.Path(path).read_text())
            return cls([word.encode("latin-1") for word in found["words"]], found["longest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{str(path)!r} holds no words of a WordTokenizer: {error}") from None


def _as_bytes(text):
    if not isinstance(text, str | bytes):
        raise TypeError(f"text and words must be str or bytes, got {type(text).__name__}")
    return text.encode() if isinstance(text, str) else text
