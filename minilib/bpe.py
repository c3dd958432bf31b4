"""Byte-pair encoding, fast: the same pieces, merges and tokens as the definition, and a Tokenizer that reads and writes the files people have.

Words are those of minilib/naive/bpe.py. No tensors here: dictionaries, lists and arrays, organised so that each step touches only what it changes.
Not here: Unicode normalisation (it would break the round trip), models other than byte-level BPE.
"""

import functools
import heapq
import itertools
import os
import pathlib
import re
import tempfile
from array import array
from collections import Counter

import numpy as np

from minilib import twin
from minilib.naive import bpe as naive
from minilib.naive.bpe import GPT2, PATTERNS, RAW, vocabulary

__all__ = [
    "GPT2",
    "PATTERNS",
    "RAW",
    "Tokenizer",
    "encode_by_merges",
    "encode_by_rank",
    "merges_of",
    "pretokenize",
    "train",
    "vocabulary",
]

# -- pieces ----------------------------------------------------------------------------------------

# Where a text may be cut without changing its pieces: before white space, but after newlines that symbols (or a symbol and "/") draw to themselves.
# Words repeat, so the real pattern runs on the distinct stretches only.
_NEWLINES = r"\s*[\r\n]|[^\S\r\n]*\S+{}(?:\s*[\r\n])?|\s+"
_STRETCHES = {
    PATTERNS["gpt2"]: r"\s*\S+|\s+",
    PATTERNS["cl100k"]: _NEWLINES.format(""),
    PATTERNS["tekken"]: _NEWLINES.format(r"(?:[\r\n]+/\S*)*"),
}


@functools.cache
def _compiled(pattern, stop):
    try:
        return re.compile(naive.translate(pattern, stop))
    except (re.error, OverflowError) as error:
        raise ValueError(
            f"pattern must be a regular expression, got {pattern!r}: {error}"
        ) from None


def _regex(pattern, text):
    """The smallest compiled form that is right for this text: `re` looks up BMP characters in a table and searches the others one range at a time."""
    return _compiled(
        pattern, 128 if text.isascii() else 0x10000 if max(text) < "\U00010000" else 0x110000
    )


def _stretches(text, pattern, block=1 << 13):
    """Lists of stretches of the text, a block at a time, such that the pieces of the stretches are the pieces of the text."""
    if pattern not in _STRETCHES:
        yield [text]  # a pattern of the user's own may look anywhere
        return
    regex, start = _compiled(_STRETCHES[pattern], 0x110000), 0
    while start < len(text):
        found = regex.findall(text, start, start + block)
        end = start + block
        if end < len(text):
            if len(found) < 3:  # a stretch longer than the block
                block *= 2
                continue
            end -= len(found.pop()) + len(
                found.pop()
            )  # the end of the block may have cut the last word, or the blanks after it
        yield found
        start = end


@functools.cache
def _cutter(pattern):
    """The function stretch -> its pieces."""
    if pattern in _STRETCHES:
        simple = _compiled(pattern, 128).findall
        return lambda stretch: (
            simple(stretch) if stretch.isascii() else _regex(pattern, stretch).findall(stretch)
        )

    def cut(stretch):
        pieces, end = [], 0
        for match in _regex(pattern, stretch).finditer(stretch) if stretch else ():
            if match[0]:
                pieces += (stretch[end : match.start()], match[0])
                end = match.end()
        return [piece for piece in (*pieces, stretch[end:]) if piece]

    return cut


@twin(naive.pretokenize, differentiable=False)
def pretokenize(text, pattern):
    """The pieces of a text (str): the matches of a pattern, from left to right, and whatever lies between them.

    The pattern runs once on each distinct stretch between safe cuts; a pattern of your own runs on the whole text.
    Raises ValueError for a pattern that is no regular expression or names unknown classes.
    """
    cut = functools.cache(_cutter(pattern))
    return [
        piece
        for stretches in _stretches(text, pattern)
        for stretch in stretches
        for piece in cut(stretch)
    ]


# -- training --------------------------------------------------------------------------------------

_BITS = 21  # a pair of ids in one integer: up to two million tokens
_LOW, _PAIR = (1 << _BITS) - 1, (1 << 2 * _BITS) - 1


@twin(naive.train, differentiable=False)
def train(pieces, merges, tie="smallest", alphabet=RAW):
    """Learn merges: over and over, the most frequent pair of neighbours inside the pieces becomes a new symbol.

    pieces    list of byte strings in the order of the text, or {piece: how often}
    merges    how many to learn; fewer come back if no pair is left
    tie       of equally frequent pairs take the "smallest" (left id, right id), or the "first" one met in the text
    alphabet  the bytes in the order of their ids; naive.bpe.GPT2 gives the ties of HF's trainer
    returns   [(left id, right id)]; merge k makes id 256 + k

    All distinct pieces lie in one row. A pair keeps its count and the list of its places there, so a merge visits only those: at most
    as many visits in all as there are bytes. What each new pair counts, the pair it replaces loses. Frequent pairs are merged at all
    places at once (NumPy), the many rare ones in a plain loop. Counts never rise, so pairs wait in one list per count; whether a pair
    still has the count of its list is seen when its turn comes. Memory: about 100 bytes per byte of the distinct pieces.
    """
    if tie not in ("smallest", "first"):
        raise ValueError(f"tie must be 'smallest' or 'first', got {tie!r}")
    if not 0 <= merges <= _LOW - 256 or sorted(alphabet) != list(RAW):
        raise ValueError(
            f"merges must lie in [0, {_LOW - 256}] and alphabet hold each byte once, got {merges} and {len(alphabet)} bytes"
        )
    row = _Row(pieces, alphabet)
    places, count, waiting, levels, now, learned = (
        {},
        {},
        {},
        [],
        None,
        [],
    )  # pair -> its places, its count; count -> pairs; counts as a heap

    def wait(pair):
        """Put a pair in the line of its count; in the first rule its earliest place decides its turn there."""
        level = count[pair]
        turn = pair if tie == "smallest" else places[pair][0] << 2 * _BITS | pair
        if level == now:
            heapq.heappush(waiting[level], turn)
        elif level in waiting:
            waiting[level].append(turn)
        else:
            waiting[level] = [turn]
            heapq.heappush(levels, -level)

    for pair, places[pair], count[pair] in row.pairs():
        wait(pair)
    while levels and len(learned) < merges:
        now = -heapq.heappop(levels)
        line = waiting[now]
        heapq.heapify(line)
        while line and len(learned) < merges:
            pair = heapq.heappop(line) & _PAIR
            left, right = pair >> _BITS, pair & _LOW
            if tie == "first" and count[pair] and not row.stands(left, right, places[pair][0]):
                places[pair] = [i for i in places[pair] if row.stands(left, right, i)]
                wait(pair)
            elif count[pair] == now:
                learned.append((left, right))
                for new, lost, where, times in row.merge(places[pair], left, right):
                    places[new], count[new] = where, times
                    count[lost] -= times
                    wait(new)
                del places[pair], count[pair]
            elif count[pair]:
                wait(pair)
            else:
                del places[pair], count[pair]
        del waiting[now]
    return learned


_MANY = 100  # places of a pair, from which NumPy is faster than a loop


class _Row:
    """The distinct pieces one after the other, -1 between them, which no merge crosses.

    A token lies on as many places as it has bytes: its id stands at its first place in `symbol` and at its last in `ends`.
    Both are arrays of Python's, quick to read one by one; `symbols` and `all_ends` are NumPy's views of the same memory.
    """

    def __init__(self, pieces, alphabet):
        counted = Counter(pieces)
        lengths = np.fromiter(map(len, counted), np.int64, len(counted))
        number = np.argsort(np.frombuffer(bytes(alphabet), np.uint8))
        row = number[np.frombuffer(b"\0".join([b"", *counted, b""]) or b"\0", np.uint8)]
        row[np.cumsum([0, *(lengths + 1)])[: len(row)]] = -1
        self.symbol, self.ends = array("q", row.tobytes()), array("q", row.tobytes())
        self.symbols, self.all_ends = (
            np.frombuffer(self.symbol, np.int64),
            np.frombuffer(self.ends, np.int64),
        )
        self.weights = np.repeat(
            [0, *counted.values()], [1, *(lengths + 1)]
        )  # of each place: how often its piece comes
        self.weigh, self.size = self.weights.tolist().__getitem__, [1] * 256

    def pairs(self):
        """All pairs of bytes, each as (pair, its places, its count)."""
        left, right = self.symbols[:-1], self.symbols[1:]
        at = np.flatnonzero((left >= 0) & (right >= 0))
        return [
            (key >> 8 << _BITS | key & 255, where, count)
            for key, where, count in self._grouped(left[at] << 8 | right[at], at)
        ]

    def stands(self, left, right, i):
        return self.symbol[i] == left and self.symbol[i + self.size[left]] == right

    def merge(self, where, left, right):
        """Join a pair at all its places. Returns [(new pair, the pair it replaces, its places, its count)], some of them gone again by the end of a run such as a a a a."""
        symbol, ends, size = self.symbol, self.ends, self.size
        new, step, whole = len(size), size[left], size[left] + size[right]
        size.append(whole)
        if len(where) > _MANY:
            return self._merge_many(np.array(where), left, right, new)
        befores, afters = {}, {}
        for i in where:
            if (
                symbol[i] != left or symbol[i + step] != right
            ):  # another merge took it, or in a a a this one did
                continue
            after = i + whole
            x, y = ends[i - 1], symbol[after]
            symbol[i] = ends[after - 1] = new
            symbol[i + step] = -2
            if x >= 0:
                if x in befores:
                    befores[x].append(i - size[x])
                else:
                    befores[x] = [i - size[x]]
            if y >= 0:
                if y in afters:
                    afters[y].append(i)
                else:
                    afters[y] = [i]
        found = [
            (new << _BITS | y, right << _BITS | y, at, sum(map(self.weigh, at)))
            for y, at in afters.items()
        ]
        return found + [
            (x << _BITS | new, x << _BITS | left, at, sum(map(self.weigh, at)))
            for x, at in befores.items()
        ]

    def _merge_many(self, where, left, right, new):
        """The same at all places at once."""
        step, whole = self.size[left], self.size[new]
        where = where[(self.symbols[where] == left) & (self.symbols[where + step] == right)]
        if left == right:  # of overlapping pairs every other one, from the first of the run
            order = np.arange(len(where))
            begins = np.diff(where, prepend=-whole) != step
            where = where[(order - np.maximum.accumulate(np.where(begins, order, 0))) % 2 == 0]
        self.symbols[where] = self.all_ends[where + whole - 1] = new
        self.symbols[where + step] = -2
        x, y = self.all_ends[where - 1], self.symbols[where + whole]
        before, after = (
            (x >= 0) & (x != new),
            y >= 0,
        )  # new new is found from its left side, where right left was
        x = x[before]
        found = [
            (x << _BITS | new, x << _BITS | left, *rest)
            for x, *rest in self._grouped(
                x, where[before] - [self.size[token] for token in x.tolist()]
            )
        ]
        return found + [
            (new << _BITS | y, right << _BITS | (left if y == new else y), *rest)
            for y, *rest in self._grouped(y[after], where[after])
        ]

    def _grouped(self, keys, places):
        """(key, its places, their weight) for each different key."""
        if not len(keys):
            return ()
        both = np.sort(keys << 2 * _BITS | places)  # one sort of integers is faster than argsort
        keys, places = both >> 2 * _BITS, both & _PAIR
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        counts, places = np.add.reduceat(self.weights[places], starts).tolist(), places.tolist()
        ends = [*starts[1:].tolist(), len(places)]
        return [
            (key, places[i:j], count)
            for key, i, j, count in zip(
                keys[starts].tolist(), starts.tolist(), ends, counts, strict=True
            )
        ]


# -- encoding --------------------------------------------------------------------------------------

_NEVER = 1 << 62


def _join(piece, rank):
    """The tokens of a piece; rank((left, right), default) as dict.get. Two ways, the same result: short pieces list all ranks, long ones use a heap."""
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    if len(tokens) > 200:
        return _join_long(tokens, rank)
    ranks = list(map(rank, itertools.pairwise(tokens), itertools.repeat(_NEVER)))
    while ranks and (least := min(ranks)) < _NEVER:
        i = ranks.index(least)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
        del ranks[i]
        if i:
            ranks[i - 1] = rank((tokens[i - 1], tokens[i]), _NEVER)
        if i < len(ranks):
            ranks[i] = rank((tokens[i], tokens[i + 1]), _NEVER)
    return tokens


def _join_long(tokens, rank):
    """O(n log n): a linked list of tokens and a heap of (rank, place), in which what has changed since is found out when it comes up."""
    n = len(tokens)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))
    ranks = [*map(rank, itertools.pairwise(tokens), itertools.repeat(_NEVER)), _NEVER]
    heap = [r << 32 | i for i, r in enumerate(ranks) if r < _NEVER]
    heapq.heapify(heap)
    while heap:
        turn = heapq.heappop(heap)
        i = turn & 0xFFFFFFFF
        if ranks[i] != turn >> 32:
            continue
        j = after[i]
        tokens[i] += tokens[j]
        tokens[j], ranks[j] = b"", _NEVER
        after[i] = k = after[j]
        if k < n:
            before[k] = i
        for left, right in ((before[i], i), (i, k)):
            if left >= 0:
                ranks[left] = r = (
                    rank((tokens[left], tokens[right]), _NEVER) if right < n else _NEVER
                )
                if r < _NEVER:
                    heapq.heappush(heap, r << 32 | left)
    return [token for token in tokens if token]


def _ranks_of_merges(merges):
    return {pair: k for k, pair in reversed(list(enumerate(merges)))}.get


def _ranks_of_tokens(tokens):
    ranks = {token: k for k, token in enumerate(tokens)}
    return lambda pair, default: ranks.get(pair[0] + pair[1], default)


@twin(naive.encode_by_merges, differentiable=False)
def encode_by_merges(piece, merges):
    """A piece (bytes) as tokens, by the merges [(left token, right token)] in their order: GPT-2's rule."""
    return _join(piece, _ranks_of_merges(merges))


@twin(naive.encode_by_rank, differentiable=False)
def encode_by_rank(piece, tokens):
    """A piece as tokens, by the vocabulary alone, in its order: two neighbours may join if together they are a token. tiktoken's rule.

    A piece that is itself a token is taken whole, even if no joining leads there.
    """
    return [piece] if piece in set(tokens) else _join(piece, _ranks_of_tokens(tokens))


@twin(naive.merges_of, differentiable=False)
def merges_of(tokens):
    """The merges [(left token, right token)] behind a vocabulary in the order of learning: how do the earlier tokens spell each one?

    Raises ValueError for a token that they do not spell in two parts. Training makes none such.
    """
    known, merges = {}, []
    rank = lambda pair, default: known.get(pair[0] + pair[1], default)
    for k, token in enumerate(tokens):
        if len(token) > 1:
            parts = _join(token, rank)
            if len(parts) != 2:
                raise ValueError(
                    f"token {k}, {token!r}, has no merge: the tokens before it spell it as {parts}"
                )
            merges.append((parts[0], parts[1]))
        known[token] = k
    return merges


# -- the tokenizer ---------------------------------------------------------------------------------


class _Cache(dict):
    """text -> its ids, worked out when first asked for. Words repeat, so most are asked for again; long ones are not kept, nor more than half a million."""

    def __init__(self, work):
        self.work = work

    def __missing__(self, text):
        ids = self.work(text)
        if len(self) >= 1 << 19:
            self.clear()
        if len(text) <= 256:
            self[text] = ids
        return ids


class Tokenizer:
    r"""Text to ids and back; bytes come back exactly, whatever they are.

    tokens    all tokens as bytes in the order of their ranks, the 256 single bytes among them
    merges    [(left token, right token)], applied in this order; None: encode by rank, as tiktoken does
    pattern   what cuts the text into pieces: "gpt2", "cl100k", "tekken", or a regular expression, with \p{L} and the like
    specials  {text: id}, found in a text only when `encode` is told to look for them
    ids       the id of each token, rising; default: its rank
    whole     take a piece that is a token as it is, without merging. Encoding by rank always does

    Tokenizer.train learns one, Tokenizer.load reads one. Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self, tokens, merges=None, *, pattern="gpt2", specials=None, ids=None, whole=False
    ):
        self.tokens, self.merges = (
            list(tokens),
            None if merges is None else [tuple(pair) for pair in merges],
        )
        self.pattern, self.specials = PATTERNS.get(pattern, pattern), dict(specials or {})
        self.ids, self.whole = (
            list(range(len(self.tokens)) if ids is None else ids),
            whole or merges is None,
        )
        self._check()
        self._id = dict(zip(self.tokens, self.ids, strict=True))
        self._bytes = dict(zip(self.ids, self.tokens, strict=True)) | {
            i: text.encode() for text, i in self.specials.items()
        }
        self._rank = (
            _ranks_of_tokens(self.tokens) if merges is None else _ranks_of_merges(self.merges)
        )
        self._pieces = _Cache(self._piece)
        cut = _cutter(self.pattern)
        self._stretches = _Cache(
            lambda stretch: tuple([i for piece in cut(stretch) for i in self._pieces[piece]])
        )

    def _check(self):
        known, taken = set(self.tokens), {*self.ids, *self.specials.values()}
        if missing := [byte for byte in RAW if bytes([byte]) not in known]:
            raise ValueError(
                f"tokens must hold every single byte, {len(missing)} are missing, the first is {missing[0]:#04x}"
            )
        if len(known) < len(self.tokens) or b"" in known:
            raise ValueError(
                f"tokens must differ and not be empty, got {Counter(self.tokens).most_common(1)[0]}"
            )
        for left, right in self.merges or ():
            if not {left, right, left + right} <= known:
                raise ValueError(
                    f"merges must make a token of two tokens, got {left!r} and {right!r}"
                )
        if len(self.ids) != len(self.tokens) or any(
            a >= b for a, b in itertools.pairwise([-1, *self.ids])
        ):
            raise ValueError(
                f"ids must rise from 0 or more, one for each of {len(self.tokens)} tokens, got {self.ids[:3]}…"
            )
        if len(taken) < len(self.ids) + len(self.specials) or min(taken) < 0:
            raise ValueError(f"specials must have ids of their own, got {self.specials}")
        if not all(_text(mark) for mark in self.specials):
            raise ValueError("specials must not be empty strings")
        _compiled(self.pattern, 128)

    @classmethod
    def train(cls, text, vocab_size, *, pattern="gpt2", tie="smallest", alphabet=RAW, specials=()):
        """Learn a tokenizer: 256 bytes, vocab_size − 256 − len(specials) merges, then the special tokens.

        text  str or bytes, or a list of them: no piece crosses from one to the next
        Fewer merges if no pair is left. `tie` and `alphabet` as for `train`. Raises ValueError for a vocab_size without room for bytes and special tokens.
        """
        room = vocab_size - 256 - len(specials)
        if room < 0:
            raise ValueError(
                f"vocab_size must be at least 256 + {len(specials)} special tokens, got {vocab_size}"
            )
        pattern, stretches, pieces = PATTERNS.get(pattern, pattern), Counter(), Counter()
        for part in [text] if isinstance(text, (str, bytes)) else text:
            for some in _stretches(_text(part), pattern):
                stretches.update(some)
        cut = _cutter(pattern)
        for stretch, times in stretches.items():
            for piece in cut(stretch):
                pieces[piece] += times
        merges = train({_raw(piece): times for piece, times in pieces.items()}, room, tie, alphabet)
        tokens = vocabulary(merges, alphabet)
        marks = {mark: len(tokens) + k for k, mark in enumerate(specials)}
        return cls(
            tokens,
            [(tokens[left], tokens[right]) for left, right in merges],
            pattern=pattern,
            specials=marks,
        )

    @property
    def vocab_size(self):
        """One more than the largest id: the rows that an embedding needs."""
        return 1 + max(self.ids[-1], *self.specials.values(), 0)

    def encode(self, text, allowed=()):
        """str or bytes -> list of ids. `allowed`: special tokens to look for, or "all"; by default their text is ordinary text.

        Bytes may be anything. Raises ValueError for a str with lone surrogates, which has no UTF-8, and for an unknown special token.
        """
        text, allowed = _text(text), self.specials if allowed == "all" else allowed
        if unknown := [mark for mark in allowed if mark not in self.specials]:
            raise ValueError(
                f"allowed must be 'all' or some of {list(self.specials)}, got {unknown[0]!r}"
            )
        marks = "|".join(
            map(re.escape, sorted(allowed, key=len, reverse=True))
        )  # the longest one wins
        ids = []
        for part in re.split(f"({marks})", text) if marks else [text]:
            if marks and part in allowed:
                ids.append(self.specials[part])
                continue
            for stretches in _stretches(part, self.pattern):
                ids += itertools.chain.from_iterable(map(self._stretches.__getitem__, stretches))
        return ids

    def _piece(self, piece):
        piece = _raw(piece)
        return (
            (self._id[piece],)
            if self.whole and piece in self._id
            else tuple([self._id[token] for token in _join(piece, self._rank)])
        )

    def decode(self, ids):
        """ids -> bytes. Raises ValueError for an id that is no token's."""
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        try:
            return b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            raise ValueError(
                f"ids must be ids of tokens, in [0, {self.vocab_size}), got {error.args[0]!r}"
            ) from None

    def save(self, path):
        """Write a file, whole or not at all; its name says in which format.

        *.tiktoken       tiktoken's rank file. No place for pattern and special tokens: give them again to `load`
        *tekken*.json    Mistral's. Special tokens come before all others
        any other .json  HF's tokenizer.json
        Raises ValueError where the format cannot keep what the tokenizer does.
        """
        path = pathlib.Path(path)
        if path.suffix not in (".json", ".tiktoken"):
            raise ValueError(f"path must end in .json or .tiktoken, got {path.name!r}")
        keeps_merges = path.suffix == ".json" and "tekken" not in path.name
        merges = self.merges
        if merges is None and keeps_merges:
            merges = _spellings(self.tokens)
        elif (
            merges is not None
            and not keeps_merges
            and merges not in (_merges_or_none(self.tokens), _spellings(self.tokens))
        ):
            raise ValueError(
                f"{path.name} would keep ranks alone, and the merges do not follow from them: save as tokenizer.json"
            )
        write = (
            naive.write_tokenizer_json
            if keeps_merges
            else naive.write_tekken
            if path.suffix == ".json"
            else naive.write_ranks
        )
        content = write(
            tokens=self.tokens,
            ids=self.ids,
            pattern=self.pattern,
            specials=self.specials,
            merges=merges,
            whole=self.whole,
        )
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            whole = pathlib.Path(folder) / path.name
            whole.write_bytes(content.encode())
            os.replace(whole, path)

    @classmethod
    def load(cls, path, *, pattern=None, specials=None):
        """Read a file of one of the formats of `save`, or GPT-2's vocab.bpe; what it holds tells which.

        pattern, specials  needed (specials only if there are any) for rank files and vocab.bpe, which have no place for them
        Raises ValueError, naming the line, for a file that is damaged, truncated or names something twice.
        """
        path = pathlib.Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            is_json = text.lstrip()[:1] == "{"
            read = (
                naive.read_json
                if is_json
                else naive.read_merges
                if text[:1] == "#"
                else naive.read_ranks
            )
            found = read(text)
            if not is_json and pattern is None:
                raise ValueError("this format holds no pattern: give one, such as pattern='gpt2'")
            given = {
                name: value
                for name, value in (("pattern", pattern), ("specials", specials))
                if value is not None
            }
            return cls(**(found | given))
        except OSError as error:
            raise ValueError(
                f"path must be a readable file, got {str(path)!r}: {error.strerror}"
            ) from None
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None


def _text(text):
    """str as it is, bytes as str: bytes that are no UTF-8 become lone surrogates, which no pattern takes for letters, and `_raw` undoes it."""
    if not isinstance(text, str):
        return str(text, "utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text must be str that UTF-8 can write, got the lone surrogate {text[error.start]!r} at {error.start}; bytes may be anything"
        ) from None
    return text


def _raw(piece):
    return piece.encode("utf-8", "surrogateescape")


def _merges_or_none(tokens):
    try:
        return merges_of(tokens)
    except ValueError:
        return None


def _spellings(tokens):
    """Every way to join two tokens to one, in the order of that one: merges that do what encoding by rank does."""
    known = set(tokens)
    return [
        (token[:i], token[i:])
        for token in tokens
        for i in range(1, len(token))
        if token[:i] in known and token[i:] in known
    ]
