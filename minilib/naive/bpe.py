"""Byte-pair encoding, the definition: learn merges, encode with them, cut text into pieces.

Sources: Gage 1994 (compression); Sennrich, Haddow & Birch 2016 (arXiv:1508.07909), algorithm 1;
the GPT-2 report 2019 (bytes).

    word        meaning
    piece       what the pattern cuts out of the text; no merge crosses its ends
    token       an entry of the vocabulary: a string of bytes
    merge       two tokens that become one; its rank is its place in the list, 0 learned first
    alphabet    the 256 bytes in the order of their ids
"""

import functools
import itertools
import re
import unicodedata
from collections import Counter

RAW = bytes(range(256))  # byte b has id b
# GPT-2 lists the bytes that Latin-1 shows as a character first: "!" has id 0, a blank 220.
# HF's trainer has the same order.
VISIBLE = bytes([*range(33, 127), *range(161, 173), *range(174, 256)])
GPT2 = VISIBLE + bytes(byte for byte in RAW if byte not in VISIBLE)

# -- training --------------------------------------------------------------------------------------


def merge(symbols, pair, new):
    """Replace a pair by a new symbol, from left to right: a a a becomes A a."""
    out, i = [], 0
    while i < len(symbols):
        here = tuple(symbols[i : i + 2]) == pair
        out.append(new if here else symbols[i])
        i += 2 if here else 1
    return out


def train(pieces, merges, tie="smallest", alphabet=RAW):
    """Learn merges: the most frequent pair of neighbours becomes a symbol, and so on.

    pieces    list of byte strings in the order of the text, or {piece: how often}
    merges    how many to learn; fewer come back if no pair is left
    tie       of equally frequent pairs take the "smallest" (left id, right id), or the
              "first" one met in the text
    alphabet  the bytes in the order of their ids: it decides ties by ids
    returns   [(left id, right id)]; merge k makes id 256 + k
    Neighbours are counted inside pieces. Overlapping pairs all count: a a a holds two.
    """
    words = []
    for piece, times in Counter(pieces).items():
        words.append(([alphabet.index(byte) for byte in piece], times))
    learned = []
    while len(learned) < merges:
        counts = {}
        for symbols, times in words:
            for pair in itertools.pairwise(symbols):
                counts[pair] = counts.get(pair, 0) + times
        if not counts:
            break
        most = max(counts.values())
        best = [pair for pair, count in counts.items() if count == most]  # as met
        pair = min(best) if tie == "smallest" else best[0]
        new = 256 + len(learned)
        words = [(merge(symbols, pair, new), times) for symbols, times in words]
        learned.append(pair)
    return learned


def vocabulary(merges, alphabet=RAW):
    """The tokens, as bytes, in the order of their ids: 256 bytes, then what each merge makes."""
    tokens = [bytes([byte]) for byte in alphabet]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


# -- encoding --------------------------------------------------------------------------------------


def encode(piece, rank):
    """Join neighbours as long as any may be joined.

    Of all pairs the one of lowest rank goes first, and the leftmost if it occurs twice.
    piece    bytes
    rank     function (left token, right token) -> a number, or None if they do not merge
    returns  the tokens, as bytes
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        ranks = [(rank(*pair), i) for i, pair in enumerate(itertools.pairwise(tokens))]
        ranks = [(number, i) for number, i in ranks if number is not None]
        if not ranks:
            return tokens
        _, i = min(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def decode(ids, tokens):
    """The bytes of some ids; tokens lists the tokens in the order of their ids."""
    return b"".join(tokens[i] for i in ids)


def encode_by_merges(piece, merges):
    """A piece as tokens, by the merges [(left token, right token)] in their order: GPT-2's rule."""
    ranks = {}
    for k, pair in enumerate(merges):
        ranks.setdefault(pair, k)  # a pair that is listed twice has its first rank
    return encode(piece, lambda left, right: ranks.get((left, right)))


def encode_by_rank(piece, tokens):
    """A piece as tokens, by the vocabulary alone, in its order: tiktoken's rule.

    Two neighbours may join if together they are a token. A piece that is itself a token is taken
    whole, even if no joining leads there.
    """
    ranks = {token: k for k, token in enumerate(tokens)}
    return [piece] if piece in ranks else encode(piece, lambda left, right: ranks.get(left + right))


def encode_with_dropout(piece, merges, p, u):
    """BPE-dropout: each round forgets each possible merge with probability p.

    (Provilkov et al. 2020, arXiv:1910.13267, algorithm 1)
    u        function (round, place) -> a number in [0, 1): the pair at that place is dropped in
             that round if it is below p
    returns  the tokens; at p = 0 those of encode_by_merges, at p = 1 single bytes.
             The first round without a pair left is the last.
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    for round in itertools.count():
        ranks = []
        for i, pair in enumerate(itertools.pairwise(tokens)):
            if pair in merges and u(round, i) >= p:
                ranks.append((merges.index(pair), i))
        if not ranks:
            return tokens
        _, i = min(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def merges_of(tokens):
    """The merges [(left token, right token)] behind a vocabulary, in the order of learning.

    They are how the earlier tokens spell each one. Raises ValueError for a token that they do not
    spell in two parts; training makes none such.
    """
    ranks, merges = {}, []
    for k, token in enumerate(tokens):
        if len(token) > 1:
            parts = encode(token, lambda left, right: ranks.get(left + right))
            if len(parts) != 2:
                raise ValueError(f"token {k}, {token!r}, has no merge: earlier ones spell {parts}")
            merges.append(tuple(parts))
        ranks[token] = k
    return merges


# -- pieces ----------------------------------------------------------------------------------------

_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"  # any one character may precede letters
_BLANKS = r"\s+(?!\S)|\s+"  # the last blank before a word is left to the word
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _BLANKS,
    "cl100k": (
        rf"'(?i:[sdmt]|ll|ve|re)|{_BEFORE}\p{{L}}+"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + _BLANKS
    ),
    "tekken": (
        f"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + _BLANKS
    ),
}


def pretokenize(text, pattern):
    """The pieces of a text (str): a pattern's matches from left to right, and what lies between."""
    pieces, end = [], 0
    for match in re.finditer(translate(pattern), text):
        if match[0]:  # a match of nothing cuts nothing
            pieces += [text[end : match.start()], match[0]]
            end = match.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


# Python's `re` does not know the classes of Unicode that these patterns name, so the rest of this
# file is a small compiler: it writes each class as the ranges of its characters.

END = 0x110000  # one past the last code point


def translate(pattern, stop=END):
    r"""A pattern with Unicode's classes, \p{L} \pL \P{N} \s \S, in ranges that `re` understands.

    stop     code points from here on may be left out: 128 gives a small pattern, for ASCII alone
    Also: $ means the end of the text, as in the engines the patterns were written for, and not
    "or before a last newline". The classes are those of this Python's Unicode tables.
    Raises ValueError for an unknown class.
    """
    out, in_set = [], False
    for part in re.findall(r"\\[pP]\{\w+\}|\\[pP]\w|\\.|.", pattern, flags=re.S):
        if part[0] == "\\" and part[1:2] in ("p", "P", "s", "S"):
            out.append(_class(part, in_set, stop))
        else:
            in_set = part == "[" or (in_set and part != "]")
            out.append(r"\Z" if part == "$" and not in_set else part)
    return "".join(out)


def _class(part, in_set, stop):
    r"""Of a class such as \p{Lu} the ranges A-Z…, inside a set as they are, else in brackets."""
    white = part[1] in "sS"
    members = _white_space() if white else _members(part[2:].strip("{}"))
    if not members:
        raise ValueError(f"pattern must use known classes, got {part!r}")
    negated = part[1] in "SP"
    if negated and in_set:
        members = _gaps(members)
    ranges = [f"\\U{a:08x}-\\U{min(b, stop - 1):08x}" for a, b in members if a < stop]
    ranges = "".join(ranges) or f"\\U{stop:08x}"  # none: a character that no text here has
    return ranges if in_set else f"[{'^' * negated}{ranges}]"


@functools.cache
def _members(name):
    """The runs (first, last) of a class: of a category such as Lu, or of all that begin with L."""
    if not name:
        return []
    return [(first, last) for category, first, last in _runs() if category.startswith(name)]


def _white_space():
    """Unicode's white space. The \\s of `re` also takes U+001C to U+001F."""
    return sorted([(0x09, 0x0D), (0x85, 0x85), *_members("Z")])


def _gaps(runs):
    """The runs between these runs."""
    firsts, lasts = [first for first, _ in runs], [last for _, last in runs]
    between = zip([-1, *lasts], [*firsts, END], strict=True)
    return [(last + 1, first - 1) for last, first in between if last + 1 < first]


@functools.cache
def _runs():
    """The code points in runs of one category: [('Cc', 0, 0x1f), ('Zs', 0x20, 0x20), …]."""
    runs, first = [], 0
    for category, group in itertools.groupby(map(unicodedata.category, map(chr, range(END)))):
        end = first + sum(1 for _ in group)
        runs.append((category, first, end - 1))
        first = end
    return runs
