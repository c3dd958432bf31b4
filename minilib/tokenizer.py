"""A Tokenizer, fast: whole texts to ids and back, and the vocabulary files that people have.

Built on minilib/bpe.py. Not here: Unicode normalisation (it would break the round trip) and models
other than byte-level BPE.
"""

import functools
import itertools
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from minilib import bpe, texts, twin, vocabulary
from minilib.bpe import RAW
from minilib.naive import tokenizer as naive
from minilib.pretokenizer import PATTERNS, cutter, pattern_of
from minilib.spelling import check_ids, few


class Tokenizer:
    r"""Text to ids and back; bytes come back exactly, whatever they are.

    tokens    all tokens as bytes in the order of their ranks, the 256 single bytes among them
    merges    [(left token, right token)], applied in this order; None: encode by rank, as tiktoken
    pattern   what cuts the text into pieces: "gpt2", "cl100k", "llama3", "qwen2", "o200k",
              "tekken", or a regular expression with \p{L} and the like
    specials  {text: id}, found in a text only where `encode` is told to look for them
    ids       the id of each token, rising; default: its rank
    whole     take a piece that is a token as it is, without merging. By rank it always is

    Tokenizer.train learns one, Tokenizer.load reads one. Two that were made from the same arguments
    are equal; a copy that is pickled starts without what this one has cached.
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
        self.pattern = pattern_of(pattern)
        if not isinstance(specials, Mapping | None):
            raise TypeError(f"specials must be a dict {{text: id}}, got {few(specials)}")
        self.specials = dict(specials or {})
        self.ids = list(range(len(self.tokens)) if ids is None else ids)
        self.whole = whole or merges is None
        self._check()
        self._id = dict(zip(self.tokens, self.ids, strict=True))
        self._bytes = dict(zip(self.ids, self.tokens, strict=True))
        for mark, i in self.specials.items():  # of two with one id, the first
            self._bytes.setdefault(i, mark.encode())
        self._cut, self._known, self._room = cutter(self.pattern), {}, _ROOM

    @functools.cached_property
    def _joiner(self):
        return bpe.Joiner(self.tokens, self.merges)

    @functools.cached_property
    def _id_of_number(self):
        return np.array([self._id[token] for token in self._joiner.tokens], object)

    def _check(self):
        known, taken = set(self.tokens), set(self.ids)
        missing = [byte for byte in RAW if bytes([byte]) not in known]
        if missing:
            found = f"{len(missing)} are missing, the first is {missing[0]:#04x}"
            raise ValueError(f"tokens must hold every single byte, {found}")
        if len(known) < len(self.tokens):
            most = Counter(self.tokens).most_common(1)[0]
            raise ValueError(f"tokens must differ, got {most}")
        for left, right in self.merges or ():
            if not (left and right and {left, right, left + right} <= known):
                raise ValueError(f"merges must make a token of two tokens, got {left!r}, {right!r}")
        check_ids((*self.ids, *self.specials.values()))
        rising = all(a < b for a, b in itertools.pairwise(self.ids))
        if len(self.ids) != len(self.tokens) or not rising:
            found = f"one for each of {len(self.tokens)} tokens, got {few(self.ids)}"
            raise ValueError(f"ids must rise, {found}")
        shared = {mark: i for mark, i in self.specials.items() if i in taken}
        if shared:
            raise ValueError(f"specials must have ids that are no token's, got {few(shared)}")
        _check_marks(self.specials)

    def _arguments(self):
        names = ("tokens", "merges", "pattern", "specials", "ids", "whole")
        return {name: getattr(self, name) for name in names}

    __getstate__ = _arguments

    def __setstate__(self, arguments):
        self.__init__(**arguments)

    def __eq__(self, other):
        same = isinstance(other, Tokenizer)
        return self._arguments() == other._arguments() if same else NotImplemented

    def __hash__(self):
        return hash((self.pattern, len(self.tokens), self.tokens[-1], self.vocab_size))

    def __repr__(self):
        pattern = next((n for n, known in PATTERNS.items() if known == self.pattern), self.pattern)
        specials = f", {len(self.specials)} specials" if self.specials else ""
        return f"Tokenizer({len(self.tokens):,} tokens, pattern {few(pattern)}{specials})"

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

        text  a document, or a list or other iterable of documents: no piece crosses from one to the
              next. A document is str, bytes, or a file, open or as a pathlib.Path, which is read in
              blocks: memory holds its distinct words, not the file. A str is never a file's name
        Special tokens that stand in the text end a document and teach no merges. Fewer merges if no
        pair is left. `tie` and `alphabet` as for `bpe.train`. Raises ValueError for a vocab_size
        without room for bytes and special tokens.
        """
        if isinstance(specials, str):
            raise TypeError(f"specials must be a list of str, got the str {few(specials)}")
        specials = list(specials)
        _check_marks(specials)
        room = vocab_size - 256 - len(specials)
        if room < 0:
            least = f"at least 256 + {len(specials)} special tokens"
            raise ValueError(f"vocab_size must be {least}, got {vocab_size}")
        pattern = pattern_of(pattern)
        pieces = count_pieces(text, pattern, specials)
        merges = bpe.train(pieces, room, tie, alphabet)
        tokens = bpe.vocabulary(merges, alphabet)
        pairs = [(tokens[left], tokens[right]) for left, right in merges]
        marks = {mark: len(tokens) + k for k, mark in enumerate(specials)}
        return cls(tokens, pairs, pattern=pattern, specials=marks)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: the rows that an embedding needs."""
        return 1 + max(self.ids[-1], *self.specials.values(), 0)

    def token_to_id(self, token: str | bytes) -> int:
        """The id of a token; a str may also be a special token. Raises ValueError if it is none."""
        if isinstance(token, str) and token in self.specials:
            return self.specials[token]
        raw = token.encode() if isinstance(token, str) else token
        if raw not in self._id:
            raise ValueError(f"token must be one of the {len(self.tokens):,}, got {few(token)}")
        return self._id[raw]

    def id_to_token(self, i: int) -> bytes:
        """The bytes of an id. Raises ValueError if no token has it."""
        return self.decode([i])

    def encode(self, text: str | bytes | list, allowed: str | Iterable[str] = ()) -> list:
        """str or bytes -> list of ids; a list of texts -> a list of these.

        allowed  special tokens to look for, one or several, or "all"; elsewhere their text is
                 ordinary text
        Bytes may be anything. Raises ValueError for a str with lone surrogates, also in pairs,
        which has no UTF-8, and for an unknown special token.
        """
        marks = self._marks(allowed)
        if isinstance(text, (list, tuple)):
            return [self.encode(one, marks) for one in text]
        if not isinstance(text, texts.TEXT):
            wanted = "str or bytes, or a list of them"
            raise TypeError(f"text must be {wanted}, got {type(text).__name__}")
        ids = []
        for some in self._encode(text, marks):
            ids += some
        return ids

    def encode_stream(self, source, allowed: str | Iterable[str] = ()) -> Iterator[int]:
        """The ids of a text that need not fit in memory, one after the other.

        source   an open file, a pathlib.Path or any iterable of chunks, str or bytes. The ids are
                 those of the whole text, wherever the chunks are cut, in a character or a word
        Held are the caches and what the next chunk may still change: a word or two, or, with a
        pattern of your own, which may look anywhere, all the text up to the next special token.
        `allowed` and errors as for `encode`.
        """
        return itertools.chain.from_iterable(self._encode(source, self._marks(allowed)))

    def _marks(self, allowed):
        if isinstance(allowed, str):
            allowed = self.specials if allowed == "all" else [allowed]
        allowed = list(allowed)
        for mark in allowed:
            if mark not in self.specials:
                known = few(list(self.specials))
                raise ValueError(f"allowed must be 'all' or of {known}, got {few(mark)}")
        return allowed

    def _encode(self, source, marks):
        for some in texts.cut(source, self.pattern, marks):
            if isinstance(some, str):
                yield [self.specials[some]]
            elif self.pattern in PATTERNS.values():
                yield self._ids_of(some, self._cut)
            else:  # a piece of a pattern of one's own need not be cut into itself
                pieces = [piece for stretch in some for piece in self._cut(stretch)]
                yield self._ids_of(pieces, lambda piece: (piece,))

    def _ids_of(self, parts, cut):
        """The ids of stretches or pieces, one after the other.

        Words repeat, so most are known. The others are learned in this one loop, as a call for each
        would take as long as its work, and kept as bytes: the joiner's numbers, four bytes each,
        which the garbage collector does not visit again and again, as it does tuples.
        """
        if self._room < 0:
            self._known, self._room = {}, _ROOM
        known, join, number = self._known, self._joiner.join, self._joiner.number
        found = list(map(known.get, parts))
        for i in () if all(found) else [i for i, ids in enumerate(found) if ids is None]:
            part = parts[i]
            if part in known:  # by now: it stands here twice
                found[i] = known[part]
                continue
            ids = b""
            for piece in cut(part):
                if (some := known.get(piece)) is None:
                    raw = texts.raw(piece)
                    whole = self.whole and raw in number
                    some = array("I", [number[raw]] if whole else join(raw)).tobytes()
                    known[piece] = some
                ids += some
            known[part] = found[i] = ids
            self._room -= len(part)
        numbers = np.frombuffer(b"".join(found), np.uintc)
        return self._id_of_number[numbers].tolist()

    def decode(self, ids: Iterable[int], errors: str | None = None) -> bytes | str:
        """ids -> bytes; with errors="replace" or "strict" a str, as bytes.decode makes it.

        ids  a list, an array or tensor with one axis
        Raises ValueError for an id that is no token's.
        """
        if getattr(ids, "ndim", 1) != 1:
            raise ValueError(f"ids must have one axis, got shape {tuple(ids.shape)}")
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        try:
            data = b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            wanted = f"ids of tokens, in [0, {self.vocab_size})"
            raise ValueError(f"ids must be {wanted}, got {few(error.args[0])}") from None
        except TypeError:
            raise TypeError(f"ids must be a list of int, got {few(ids)}") from None
        return data if errors is None else data.decode("utf-8", errors)

    def save(self, path: str | os.PathLike) -> None:
        """Write a file, whole or not at all; its name says in which format.

        *.tiktoken                  tiktoken's rank file. It has no place for pattern and special
                                    tokens: give them again to `load`
        tekken.json, *.tekken.json  Mistral's. Special tokens come before all others
        any other .json             HF's tokenizer.json
        Raises ValueError where the format cannot keep what the tokenizer does, OSError where the
        file cannot be written.
        """
        vocabulary.write(path, **self._arguments())

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, pattern: str | None = None, specials: dict | None = None
    ) -> "Tokenizer":
        """Read a file of one of the formats of `save`; its text tells which.

        Also GPT-2's vocab.bpe, elsewhere merges.txt; its ids are those of the vocab.json beside it,
        or else GPT-2's. Either of the two may be named.
        pattern, specials  needed for rank files and, the pattern, for merges.txt, which have no
                           place for them
        Raises ValueError, naming the line, for a file that is damaged, truncated, names something
        twice or asks for what a Tokenizer does not do.
        """
        with vocabulary.naming(path):
            found = vocabulary.read(path)
            given = {"pattern": pattern, "specials": specials}
            found |= {name: value for name, value in given.items() if value is not None}
            if "pattern" not in found:
                raise ValueError("this format holds no pattern: give one, such as pattern='gpt2'")
            return cls(**found)


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


# -- texts -----------------------------------------------------------------------------------------


_ROOM = 1 << 21  # characters that are known at a time: about 70 MB of words
_MANY = 1 << 19  # stretches that are counted before they are cut


def count_pieces(documents, pattern, marks):
    """{piece: how often} over all documents, in the order in which they are met."""
    cut, times_of, pieces = cutter(pattern), Counter(), Counter()

    def take():
        for stretch, times in times_of.items():
            for piece in cut(stretch):
                pieces[piece] += times
        times_of.clear()

    several = hasattr(documents, "__iter__") and not texts.is_text(documents)
    for document in documents if several else [documents]:
        if not texts.is_text(document):
            wanted = "str, bytes, a pathlib.Path or an open file, or an iterable of these"
            raise TypeError(f"text must be {wanted}, got {few(document)}")
        for some in texts.cut(document, pattern, marks):
            if not isinstance(some, str):
                times_of.update(some)
                if len(times_of) > _MANY:
                    take()
    take()
    return {texts.raw(piece): times for piece, times in pieces.items()}


def _check_marks(specials):
    for mark in specials:
        if not isinstance(mark, str):
            raise TypeError(f"specials must be str, got {few(mark)}")
        if not texts.checked(mark):
            raise ValueError("specials must not be empty strings")
    if len(set(specials)) < len(specials):
        raise ValueError(f"specials must differ, got {few(specials)}")
