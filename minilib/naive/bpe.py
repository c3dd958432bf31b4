"""Byte-pair encoding: cutting text into pieces, learning merges, encoding: the definition.

Sources: Gage 1994 (compression); Sennrich, Haddow & Birch 2016 (arXiv:1508.07909), algorithm 1; the GPT-2 report 2019 (bytes).

    word        meaning
    piece       what the pattern cuts out of the text; no merge crosses its ends
    token       an entry of the vocabulary: a string of bytes
    merge       two tokens that become one; its rank is its place in the list, 0 learned first
    alphabet    the 256 bytes in the order of their ids
"""

import base64
import binascii
import functools
import itertools
import json
import re
import unicodedata
from collections import Counter

RAW = bytes(range(256))  # byte b has id b
_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]  # in Latin-1
GPT2 = bytes(
    _VISIBLE + [byte for byte in RAW if byte not in _VISIBLE]
)  # "!" has id 0, a blank 220; HF's trainer has the same order

# -- pieces ----------------------------------------------------------------------------------------

_UPPER, _LOWER, _BEFORE = (
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
    r"[^\r\n\p{L}\p{N}]?",
)
_BLANKS = r"\s+(?!\S)|\s+"  # the last blank before a word is left to the word
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _BLANKS,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|"
    + _BEFORE
    + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    + _BLANKS,
    "tekken": f"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*"
    + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|"
    + _BLANKS,
}


@functools.cache
def _runs():
    """[(category, first, last)]: the code points of Unicode in runs of one category, e.g. ('Lu', 0x41, 0x5a)."""
    categories = map(unicodedata.category, map(chr, range(0x110000)))
    starts = [
        (category, next(group)[0])
        for category, group in itertools.groupby(enumerate(categories), key=lambda item: item[1])
    ]
    ends = [start for _, start in starts[1:]] + [0x110000]
    return [(category, start, end - 1) for (category, start), end in zip(starts, ends, strict=True)]


def _members(name):
    """Runs of code points that are in a class: a category such as L or Lu, or s for Unicode's white space."""
    if name == "s":  # unlike \s of `re`, without U+001C to U+001F
        return [
            (9, 13),
            (32, 32),
            (0x85, 0x85),
            (0xA0, 0xA0),
            (0x1680, 0x1680),
            (0x2000, 0x200A),
            (0x2028, 0x2029),
            (0x202F, 0x202F),
            (0x205F, 0x205F),
            (0x3000, 0x3000),
        ]
    return [(first, last) for category, first, last in _runs() if category.startswith(name)]


def translate(pattern, stop=0x110000):
    r"""A pattern with Unicode's classes, \p{L} \P{N} \s \S, as the standard library's `re` reads it: with ranges of characters.

    stop     code points from here on are left out: 128 gives a small pattern, good for ASCII text alone
    Also: $ means the end of the text, as in the engines the patterns were written for, not "or before a last newline".
    The classes are those of this Python's Unicode tables. Raises ValueError for an unknown class.
    """
    out, in_set = [], False
    for part in re.findall(r"\\[pP]\{\w+\}|\\.|.", pattern, flags=re.S):
        if part in (r"\s", r"\S") or part[:2] in (r"\p", r"\P"):
            members = _members(part[3:-1] or "s")
            if not members:
                raise ValueError(f"pattern must use known classes, got {part!r} in {pattern!r}")
            negated = part[1] in "SP"
            if negated and in_set:  # the gaps between the runs
                edges = [-1, *(edge for run in members for edge in run), 0x110000]
                members = [
                    (last + 1, first - 1)
                    for last, first in zip(edges[::2], edges[1::2], strict=True)
                    if last + 1 < first
                ]
            runs = "".join(
                f"\\U{first:08x}-\\U{min(last, stop - 1):08x}"
                for first, last in members
                if first < stop
            )
            out.append(
                runs
                if in_set
                else f"[{'^' * negated}{runs}]"
                if runs
                else "."
                if negated
                else "(?!)"
            )
            continue
        in_set = part == "[" or (in_set and part != "]")
        out.append(r"\Z" if part == "$" and not in_set else part)
    return "".join(out)


def pretokenize(text, pattern):
    """The pieces of a text (str): the matches of a pattern, from left to right, and whatever lies between them."""
    pieces, end = [], 0
    for match in re.finditer(translate(pattern), text):
        if match[0]:  # a match of nothing cuts nothing
            pieces += [text[end : match.start()], match[0]]
            end = match.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


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
    """Learn merges: over and over, the most frequent pair of neighbours inside the pieces becomes a new symbol.

    pieces    list of byte strings in the order of the text, or {piece: how often}
    merges    how many to learn; fewer come back if no pair is left
    tie       of equally frequent pairs take the "smallest" (left id, right id), or the "first" one met in the text
    alphabet  the bytes in the order of their ids: it decides ties by ids
    returns   [(left id, right id)]; merge k makes id 256 + k
    Overlapping pairs all count: a a a holds two.
    """
    words = [
        ([alphabet.index(byte) for byte in piece], times)
        for piece, times in Counter(pieces).items()
    ]
    learned = []
    while len(learned) < merges:
        counts = {}
        for symbols, times in words:
            for pair in itertools.pairwise(symbols):
                counts[pair] = counts.get(pair, 0) + times
        if not counts:
            break
        most = max(counts.values())
        best = [
            pair for pair, count in counts.items() if count == most
        ]  # in the order in which they were met
        pair = min(best) if tie == "smallest" else best[0]
        words = [(merge(symbols, pair, 256 + len(learned)), times) for symbols, times in words]
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
    """Join neighbours as long as any may be joined: of all pairs the one of lowest rank, the leftmost if it occurs twice.

    piece    bytes
    rank     function (left token, right token) -> a number, or None if they do not merge
    returns  the tokens, as bytes
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        ranks = [
            (rank(*pair), i)
            for i, pair in enumerate(itertools.pairwise(tokens))
            if rank(*pair) is not None
        ]
        if not ranks:
            return tokens
        _, i = min(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def encode_by_merges(piece, merges):
    """A piece as tokens, by the merges [(left token, right token)] in their order: GPT-2's rule."""
    ranks = {
        pair: k for k, pair in reversed(list(enumerate(merges)))
    }  # a pair that is listed twice has its first rank
    return encode(piece, lambda left, right: ranks.get((left, right)))


def encode_by_rank(piece, tokens):
    """A piece as tokens, by the vocabulary alone, in its order: two neighbours may join if together they are a token. tiktoken's rule.

    A piece that is itself a token is taken whole, even if no joining leads there.
    """
    ranks = {token: k for k, token in enumerate(tokens)}
    return [piece] if piece in ranks else encode(piece, lambda left, right: ranks.get(left + right))


def encode_with_dropout(piece, merges, p, u):
    """BPE-dropout (Provilkov et al. 2020, arXiv:1910.13267, algorithm 1): each round forgets each possible merge with probability p.

    u        function (round, place) -> a number in [0, 1): the pair at that place is dropped in that round if it is below p
    returns  the tokens; at p = 0 those of encode_by_merges, at p = 1 single bytes. The first round without a pair left is the last.
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    for round in itertools.count():
        ranks = [
            (merges.index(pair), i)
            for i, pair in enumerate(itertools.pairwise(tokens))
            if pair in merges and u(round, i) >= p
        ]
        if not ranks:
            return tokens
        _, i = min(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def decode(ids, tokens):
    """The bytes of some ids; tokens lists the tokens in the order of their ids."""
    return b"".join(tokens[i] for i in ids)


def merges_of(tokens):
    """The merges [(left token, right token)] behind a vocabulary in the order of learning: how do the earlier tokens spell each one?

    Raises ValueError for a token that they do not spell in two parts. Training makes none such.
    """
    ranks, merges = {}, []
    for k, token in enumerate(tokens):
        if len(token) > 1:
            parts = encode(token, lambda left, right: ranks.get(left + right))
            if len(parts) != 2:
                raise ValueError(
                    f"token {k}, {token!r}, has no merge: the tokens before it spell it as {parts}"
                )
            merges.append(tuple(parts))
        ranks[token] = k
    return merges


# -- files -----------------------------------------------------------------------------------------
# A reader takes the text of a file and returns the arguments of minilib.bpe.Tokenizer; what is wrong is a ValueError that names the line.
# A writer takes them and returns the text.

_LETTERS = {
    byte: chr(byte if byte in _VISIBLE else 256 + n - len(_VISIBLE)) for n, byte in enumerate(GPT2)
}
_BYTES = {letter: byte for byte, letter in _LETTERS.items()}


def to_letters(token):
    """b' the' -> 'Ġthe': GPT-2's and HF's files write each byte as a visible character."""
    return "".join(_LETTERS[byte] for byte in token)


def from_letters(text):
    """'Ġthe' -> b' the'. Raises ValueError for a character that stands for no byte."""
    try:
        return bytes(map(_BYTES.__getitem__, text))
    except KeyError as error:
        raise ValueError(f"character {error.args[0]!r} stands for no byte") from None


def _line(text, *parts, first=0):
    """Number of the last line on which these JSON values stand beside each other."""
    spelled = [
        "(?:" + "|".join(re.escape(json.dumps(part, ensure_ascii=e)) for e in (True, False)) + ")"
        for part in parts
    ]
    found = [match.start() for match in re.finditer(r"\s*[:,]\s*".join(spelled), text[first:])]
    return text.count("\n", 0, first + found[-1]) + 1 if found else "?"


def _json(text):
    """Parsed JSON, without objects that name a key twice."""

    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ValueError(f"line {_line(text, key)}: {key!r} stands there twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"line {error.lineno}: {error.msg}, which is no JSON; is the file whole?"
        ) from None


def _base64(text):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{text!r} is no base64") from None


def _at(text, value, read):
    """read(value); if that fails, the line where the value stands."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"line {_line(text, value)}: {error}") from None


def read_ranks(text):
    """tiktoken's rank file: on each line a token in base64, a blank, its id, which is also its rank. It holds no pattern and no special tokens."""
    by_id, seen = {}, set()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            token, _, i = line.partition(" ")
            token = _base64(token)
            if not token or not i.isdecimal():
                raise ValueError("a line must hold a token in base64, one blank and an id")
            if int(i) in by_id or token in seen:
                raise ValueError(f"token {token!r} or id {i} stands there twice")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        by_id[int(i)] = token
        seen.add(token)
    ids = sorted(by_id)
    return {"tokens": [by_id[i] for i in ids], "ids": ids}


def write_ranks(tokens, ids, **_):
    return "".join(
        f"{base64.b64encode(token).decode()} {i}\n" for token, i in zip(tokens, ids, strict=True)
    )


def read_merges(text):
    """GPT-2's vocab.bpe: a line for the version, then a merge a line. It holds no pattern and no special tokens."""
    merges, known = [], {bytes([byte]) for byte in RAW}
    for number, line in enumerate(text.splitlines()[1:], 2):
        try:
            left, right = map(from_letters, line.split(" "))
            if left not in known or right not in known or left + right in known:
                raise ValueError(f"{line!r} must join two tokens that are known to one that is not")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        merges.append((left, right))
        known.add(left + right)
    return {
        "tokens": [bytes([byte]) for byte in GPT2] + [left + right for left, right in merges],
        "merges": merges,
    }


def read_json(text):
    """tekken.json or tokenizer.json: the one has a config."""
    data = _json(text)
    return (read_tekken if "config" in data else read_tokenizer_json)(text, data)


def read_tekken(text, data):
    """Mistral's tekken.json. The ids of special tokens come first, rank r has the id r + their number; entries beyond default_vocab_size are unused."""
    try:
        config, first = data["config"], data["config"]["default_num_special_tokens"]
        tokens, seen = [], set()
        for rank, entry in enumerate(data["vocab"][: config["default_vocab_size"] - first]):
            token = _at(text, entry["token_bytes"], _base64)
            if entry["rank"] != rank or token in seen:
                raise ValueError(
                    f"line {_line(text, 'token_bytes', entry['token_bytes'])}: token {token!r} stands there twice or has rank {entry['rank']} instead of {rank}"
                )
            tokens.append(token)
            seen.add(token)
        specials = {entry["token_str"]: entry["rank"] for entry in data.get("special_tokens") or ()}
        return {
            "tokens": tokens,
            "ids": [*range(first, first + len(tokens))],
            "pattern": config["pattern"],
            "specials": specials,
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"line 1: this is no tekken.json, it lacks {error}") from None


def write_tekken(tokens, ids, pattern, specials, **_):
    first = ids[0]
    if (
        ids != [*range(first, first + len(ids))]
        or sorted(specials.values()) != [*range(len(specials))]
        or len(specials) > first
    ):
        raise ValueError(
            "tekken.json wants ids without gaps, special tokens before all others: give their ids to the Tokenizer in that order, or save as tokenizer.json"
        )
    config = {
        "pattern": pattern,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": first + len(tokens),
        "default_num_special_tokens": first,
        "version": "v3",
    }
    spelled = lambda token: (
        text if (text := token.decode(errors="replace")).encode() == token else None
    )
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": spelled(token)}
        for rank, token in enumerate(tokens)
    ]
    marks = [
        {"rank": i, "token_str": text, "is_control": True}
        for text, i in sorted(specials.items(), key=lambda item: item[1])
    ]
    return json.dumps(
        {"config": config, "vocab": vocab, "special_tokens": marks}, ensure_ascii=False, indent=0
    )


_GPT2_CUTS = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_NO_CUTS = _GPT2_CUTS | {"use_regex": False}


def read_tokenizer_json(text, data):
    """HF's tokenizer.json, as far as it is byte-level BPE: of merges that are pairs or "left right", of added tokens that are plain strings."""
    try:
        model, cuts = data["model"], data["pre_tokenizer"]
        _refuse("normalizer", data.get("normalizer"))
        _refuse("model.type", model["type"] != "BPE" and model["type"])
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
            _refuse(f"model.{name}", model.get(name))
        specials = {added["content"]: added["id"] for added in data.get("added_tokens") or ()}
        for added in data.get("added_tokens") or ():
            _refuse(
                f"added token {added['content']!r} with blanks stripped or as single words",
                added.get("lstrip") or added.get("rstrip") or added.get("single_word"),
            )
        vocab = {
            _at(text, letters, from_letters): i
            for letters, i in model["vocab"].items()
            if letters not in specials
        }
        tokens = sorted(vocab, key=vocab.get)
        merges = []
        for pair in model["merges"]:
            left, right = (
                from_letters(part) for part in (pair.split(" ") if isinstance(pair, str) else pair)
            )
            if not {left, right, left + right} <= vocab.keys():
                where = [pair] if isinstance(pair, str) else pair
                raise ValueError(
                    f"line {_line(text, *where, first=text.index('merges'))}: merge {pair!r} joins or makes a token that is not in the vocabulary"
                )
            merges.append((left, right))
        return {
            "tokens": tokens,
            "ids": [vocab[token] for token in tokens],
            "merges": merges,
            "pattern": _pattern(cuts),
            "specials": specials,
            "whole": bool(model.get("ignore_merges")),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"line 1: this is no tokenizer.json: {error!r}") from None


def _refuse(what, found):
    if found:
        raise ValueError(
            f"this tokenizer.json has {what}, which a byte-level Tokenizer cannot keep: {json.dumps(found)[:80]}"
        )


def _pattern(cuts):
    """The pattern of a pre-tokenizer: ByteLevel's own is GPT-2's, or a Split comes before it."""
    steps = cuts.get("pretokenizers", [cuts])
    if steps[-1]["type"] != "ByteLevel" or steps[-1].get("add_prefix_space") or len(steps) > 2:
        _refuse("the pre_tokenizer", cuts)
    if len(steps) == 1:
        _refuse("no pattern in pre_tokenizer", not steps[-1].get("use_regex", True))
        return PATTERNS["gpt2"]
    split = steps[0]
    if (
        split["type"] != "Split"
        or split["behavior"] != "Isolated"
        or split.get("invert")
        or steps[-1].get("use_regex", True)
    ):
        _refuse("the pre_tokenizer", cuts)
    return split["pattern"].get("Regex") or re.escape(split["pattern"]["String"])


def write_tokenizer_json(tokens, ids, pattern, specials, merges, whole):
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    added = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text} | added
            for text, i in sorted(specials.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": _GPT2_CUTS
        if pattern == PATTERNS["gpt2"]
        else {"type": "Sequence", "pretokenizers": [split, _NO_CUTS]},
        "post_processor": None,
        "decoder": _GPT2_CUTS,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": whole,
            "vocab": {to_letters(token): i for token, i in zip(tokens, ids, strict=True)},
            "merges": [[to_letters(left), to_letters(right)] for left, right in merges],
        },
    }
    return json.dumps(data, ensure_ascii=False, indent=0)
