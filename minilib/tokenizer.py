"""A Tokenizer, fast: whole texts to ids and back, and the vocabulary files that people have.

Built on minilib/bpe.py. Not here: Unicode normalisation (it would break the round trip) and models
other than byte-level BPE.
"""

import itertools
import os
import pathlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterable

from minilib import bpe, twin
from minilib.bpe import PATTERNS, RAW
from minilib.naive import tokenizer as naive


class Tokenizer:
    r"""Text to ids and back; bytes come back exactly, whatever they are.

    tokens    all tokens as bytes in the order of their ranks, the 256 single bytes among them
    merges    [(left token, right token)], applied in this order; None: encode by rank, as tiktoken
    pattern   what cuts the text into pieces: "gpt2", "cl100k", "tekken", or a regular expression,
              with \p{L} and the like
    specials  {text: id}, found in a text only when `encode` is told to look for them
    ids       the id of each token, rising; default: its rank
    whole     take a piece that is a token as it is, without merging. By rank it always is

    Tokenizer.train learns one, Tokenizer.load reads one.
    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        tokens: Iterable[bytes],
        merges: Iterable | None = None,
        *,
        pattern: str = "gpt2",
        specials: dict | None = None,
        ids: Iterable[int] | None = None,
        whole: bool = False,
    ):
        self.tokens = list(tokens)
        self.merges = None if merges is None else [tuple(pair) for pair in merges]
        self.pattern = PATTERNS.get(pattern, pattern)
        self.specials = dict(specials or {})
        self.ids = list(range(len(self.tokens)) if ids is None else ids)
        self.whole = whole or merges is None
        self._check()
        self._id = dict(zip(self.tokens, self.ids, strict=True))
        self._bytes = dict(zip(self.ids, self.tokens, strict=True))
        for mark, i in self.specials.items():
            self._bytes[i] = mark.encode()
        by_rank = merges is None
        self._rank = bpe.rank_of_tokens(self.tokens) if by_rank else bpe.rank_of_merges(self.merges)
        self._cut = bpe.cutter(self.pattern)
        self._ids_of_piece = _Cache(self._encode_piece)
        self._ids_of_stretch = _Cache(self._encode_stretch)

    def _check(self):
        known, taken = set(self.tokens), {*self.ids, *self.specials.values()}
        missing = [byte for byte in RAW if bytes([byte]) not in known]
        if missing:
            found = f"{len(missing)} are missing, the first is {missing[0]:#04x}"
            raise ValueError(f"tokens must hold every single byte, {found}")
        if len(known) < len(self.tokens) or b"" in known:
            most = Counter(self.tokens).most_common(1)[0]
            raise ValueError(f"tokens must differ and not be empty, got {most}")
        for left, right in self.merges or ():
            if not {left, right, left + right} <= known:
                raise ValueError(f"merges must make a token of two tokens, got {left!r}, {right!r}")
        rising = all(a < b for a, b in itertools.pairwise([-1, *self.ids]))
        if len(self.ids) != len(self.tokens) or not rising:
            found = f"one for each of {len(self.tokens)} tokens, got {self.ids[:3]}…"
            raise ValueError(f"ids must rise from 0 or more, {found}")
        if len(taken) < len(self.ids) + len(self.specials) or min(taken) < 0:
            raise ValueError(f"specials must have ids of their own, got {self.specials}")
        if not all(_text(mark) for mark in self.specials):
            raise ValueError("specials must not be empty strings")

    @classmethod
    def train(
        cls,
        text,
        vocab_size: int,
        *,
        pattern: str = "gpt2",
        tie: str = "smallest",
        alphabet: bytes = RAW,
        specials: Iterable[str] = (),
    ) -> "Tokenizer":
        """Learn a tokenizer: 256 bytes, then merges, then the special tokens, vocab_size in all.

        text  str or bytes, or a list of them: no piece crosses from one to the next
        Fewer merges if no pair is left. `tie` and `alphabet` as for `bpe.train`. Raises ValueError
        for a vocab_size without room for bytes and special tokens.
        """
        specials = list(specials)
        room = vocab_size - 256 - len(specials)
        if room < 0:
            least = f"at least 256 + {len(specials)} special tokens"
            raise ValueError(f"vocab_size must be {least}, got {vocab_size}")
        pattern = PATTERNS.get(pattern, pattern)
        pieces = _count_pieces([text] if isinstance(text, (str, bytes)) else text, pattern)
        merges = bpe.train(pieces, room, tie, alphabet)
        tokens = bpe.vocabulary(merges, alphabet)
        pairs = [(tokens[left], tokens[right]) for left, right in merges]
        marks = {mark: len(tokens) + k for k, mark in enumerate(specials)}
        return cls(tokens, pairs, pattern=pattern, specials=marks)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: the rows that an embedding needs."""
        return 1 + max(self.ids[-1], *self.specials.values(), 0)

    def encode(self, text: str | bytes, allowed: str | Iterable[str] = ()) -> list[int]:
        """str or bytes -> list of ids.

        allowed  special tokens to look for, or "all"; elsewhere their text is ordinary text
        Bytes may be anything. Raises ValueError for a str with lone surrogates, which has no UTF-8,
        and for an unknown special token.
        """
        text, allowed = _text(text), list(self.specials if allowed == "all" else allowed)
        for mark in allowed:
            if mark not in self.specials:
                raise ValueError(f"allowed must be 'all' or of {list(self.specials)}, got {mark!r}")
        parts = [text]
        if allowed:  # of two marks at one place the longer one wins
            marks = map(re.escape, sorted(allowed, key=len, reverse=True))
            parts = re.split(f"({'|'.join(marks)})", text)
        ids = []
        for part in parts:
            if part in allowed:
                ids.append(self.specials[part])
                continue
            for stretches in bpe.stretches(part, self.pattern):
                found = map(self._ids_of_stretch.__getitem__, stretches)
                ids += itertools.chain.from_iterable(found)
        return ids

    def _encode_stretch(self, stretch):
        return tuple([i for piece in self._cut(stretch) for i in self._ids_of_piece[piece]])

    def _encode_piece(self, piece):
        piece = _raw(piece)
        if self.whole and piece in self._id:
            return (self._id[piece],)
        return tuple([self._id[token] for token in bpe.join(piece, self._rank)])

    def decode(self, ids: Iterable[int]) -> bytes:
        """ids -> bytes. Raises ValueError for an id that is no token's."""
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        try:
            return b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            wanted = f"ids of tokens, in [0, {self.vocab_size})"
            raise ValueError(f"ids must be {wanted}, got {error.args[0]!r}") from None

    def save(self, path: str | os.PathLike) -> None:
        """Write a file, whole or not at all; its name says in which format.

        *.tiktoken       tiktoken's rank file. It has no place for pattern and special tokens: give
                         them again to `load`
        *tekken*.json    Mistral's. Special tokens come before all others
        any other .json  HF's tokenizer.json
        Raises ValueError where the format cannot keep what the tokenizer does.
        """
        path = pathlib.Path(path)
        if path.suffix == ".tiktoken":
            write = naive.write_ranks
        elif path.suffix == ".json":
            write = naive.write_tekken if "tekken" in path.name else naive.write_tokenizer_json
        else:
            raise ValueError(f"path must end in .json or .tiktoken, got {path.name!r}")
        merges = self.merges
        if write is not naive.write_tokenizer_json:
            self._check_that_ranks_are_enough(path)
        elif merges is None:
            merges = _spellings(self.tokens)
        vocabulary = {"tokens": self.tokens, "ids": self.ids, "merges": merges}
        vocabulary |= {"pattern": self.pattern, "specials": self.specials, "whole": self.whole}
        content = write(**vocabulary)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            whole = pathlib.Path(folder) / path.name
            whole.write_bytes(content.encode())
            os.replace(whole, path)

    def _check_that_ranks_are_enough(self, path):
        try:
            by_rank = self.merges is None or self.merges == bpe.merges_of(self.tokens)
        except ValueError:  # these tokens do not come from merges at all
            by_rank = False
        if not by_rank and self.merges != _spellings(self.tokens):
            problem = "would keep ranks alone, and the merges do not follow from them"
            raise ValueError(f"{path.name} {problem}: save as tokenizer.json")

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, pattern: str | None = None, specials: dict | None = None
    ) -> "Tokenizer":
        """Read a file of one of the formats of `save`, or GPT-2's vocab.bpe; its text tells which.

        pattern, specials  needed (specials only if there are any) for rank files and vocab.bpe,
                           which have no place for them
        Raises ValueError, naming the line, for a file that is damaged, truncated or names something
        twice.
        """
        path = pathlib.Path(path)
        try:
            vocabulary = naive.read(path.read_text(encoding="utf-8"))
            given = {"pattern": pattern, "specials": specials}
            vocabulary |= {name: value for name, value in given.items() if value is not None}
            if "pattern" not in vocabulary:
                raise ValueError("this format holds no pattern: give one, such as pattern='gpt2'")
            return cls(**vocabulary)
        except OSError as error:
            found = f"got {str(path)!r}: {error.strerror}"
            raise ValueError(f"path must be a readable file, {found}") from None
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None


# -- the same as functions of a vocabulary, a dictionary of a Tokenizer's arguments ----------------


@twin(naive.train, differentiable=False)
def train(
    text,
    vocab_size: int,
    pattern: str = "gpt2",
    tie: str = "smallest",
    alphabet: bytes = RAW,
    specials: Iterable[str] = (),
) -> dict:
    """Learn a vocabulary: the tokens, merges, pattern and specials of Tokenizer.train."""
    learned = Tokenizer.train(
        text, vocab_size, pattern=pattern, tie=tie, alphabet=alphabet, specials=specials
    )
    return {name: getattr(learned, name) for name in ("tokens", "merges", "pattern", "specials")}


@twin(naive.encode, differentiable=False)
def encode(text: str | bytes, vocabulary: dict, allowed: str | Iterable[str] = ()) -> list[int]:
    """str or bytes -> list of ids, as Tokenizer.encode."""
    return Tokenizer(**vocabulary).encode(text, allowed)


@twin(naive.decode, differentiable=False)
def decode(ids: Iterable[int], vocabulary: dict) -> bytes:
    """ids -> bytes, as Tokenizer.decode."""
    return Tokenizer(**vocabulary).decode(ids)


# -- pieces ----------------------------------------------------------------------------------------


class _Cache(dict):
    """text -> its ids, worked out when first asked for.

    Words repeat, so most are asked for again. Long ones are not kept, nor more than half a million.
    """

    def __init__(self, work):
        self.work = work

    def __missing__(self, text):
        ids = self.work(text)
        if len(self) >= 1 << 19:
            self.clear()
        if len(text) <= 256:
            self[text] = ids
        return ids


def _count_pieces(texts, pattern):
    """{piece: how often} over all texts, in the order in which they are met."""
    stretches, pieces = Counter(), Counter()
    for text in texts:
        for some in bpe.stretches(_text(text), pattern):
            stretches.update(some)
    cut = bpe.cutter(pattern)
    for stretch, times in stretches.items():
        for piece in cut(stretch):
            pieces[piece] += times
    return {_raw(piece): times for piece, times in pieces.items()}


def _text(text):
    """str as it is, bytes as str: those that are no UTF-8 become lone surrogates.

    No pattern takes these for letters, and `_raw` makes bytes of them again.
    """
    if not isinstance(text, str):
        return str(text, "utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"the lone surrogate {text[error.start]!r} at {error.start}"
        raise ValueError(
            f"text must be str that UTF-8 can write, got {found}; bytes may be anything"
        ) from None
    return text


def _raw(piece):
    return piece.encode("utf-8", "surrogateescape")


def _spellings(tokens):
    """Every way to join two tokens to one: merges that do what encoding by rank does."""
    known, pairs = set(tokens), []
    for token in tokens:
        for i in range(1, len(token)):
            if token[:i] in known and token[i:] in known:
                pairs.append((token[:i], token[i:]))
    return pairs
