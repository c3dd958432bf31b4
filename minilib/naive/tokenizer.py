"""A tokenizer, the definition: whole texts to ids and back, and the files of vocabularies.

A vocabulary is a dictionary, the arguments of minilib.tokenizer.Tokenizer:

    tokens    all tokens as bytes in the order of their ranks, the 256 single bytes among them
    merges    [(left token, right token)], applied in this order; None: encode by rank
    pattern   what cuts the text into pieces: a name in PATTERNS or a regular expression
    specials  {text: id}: special tokens
    ids       the id of each token; default: its rank
    whole     take a piece that is a token as it is, without merging
"""

import base64
import binascii
import json
import re
from collections import Counter

from minilib.naive import bpe
from minilib.naive.bpe import GPT2, PATTERNS, RAW, VISIBLE

# -- texts -----------------------------------------------------------------------------------------


def train(text, vocab_size, pattern="gpt2", tie="smallest", alphabet=RAW, specials=()):
    """Learn a vocabulary: 256 bytes, then merges, then the special tokens.

    text     str or bytes, or a list of them: no piece crosses from one to the next
    returns  {"tokens", "merges", "pattern", "specials"}
    """
    pieces = []
    for part in [text] if isinstance(text, (str, bytes)) else text:
        pieces += _pieces(_text(part), pattern)
    merges = bpe.train(pieces, vocab_size - 256 - len(specials), tie, alphabet)
    tokens = bpe.vocabulary(merges, alphabet)
    return {
        "tokens": tokens,
        "merges": [(tokens[left], tokens[right]) for left, right in merges],
        "pattern": PATTERNS.get(pattern, pattern),
        "specials": {mark: len(tokens) + k for k, mark in enumerate(specials)},
    }


def encode(text, vocabulary, allowed=()):
    """str or bytes -> list of ids.

    allowed  the special tokens to look for, or "all"; elsewhere their text is ordinary text
    """
    tokens, merges = vocabulary["tokens"], vocabulary.get("merges")
    pattern, specials = vocabulary.get("pattern", "gpt2"), vocabulary.get("specials", {})
    number = dict(zip(tokens, vocabulary.get("ids", range(len(tokens))), strict=True))
    allowed = specials if allowed == "all" else allowed
    ids = []
    for part in _parts(_text(text), allowed):
        if part in allowed:
            ids.append(specials[part])
            continue
        for piece in _pieces(part, pattern):
            if merges is None:
                found = bpe.encode_by_rank(piece, tokens)
            elif vocabulary.get("whole") and piece in number:
                found = [piece]
            else:
                found = bpe.encode_by_merges(piece, merges)
            ids += [number[token] for token in found]
    return ids


def decode(ids, vocabulary):
    """ids -> bytes."""
    tokens = vocabulary["tokens"]
    text = dict(zip(vocabulary.get("ids", range(len(tokens))), tokens, strict=True))
    for mark, i in vocabulary.get("specials", {}).items():
        text[i] = mark.encode()
    return b"".join(text[i] for i in ids)


def _text(text):
    """Bytes as str: those that are no UTF-8 become lone surrogates, no pattern's letters."""
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def _pieces(text, pattern):
    pieces = bpe.pretokenize(text, PATTERNS.get(pattern, pattern))
    return [piece.encode("utf-8", "surrogateescape") for piece in pieces]


def _parts(text, marks):
    """The text cut before and after each of these marks; of two at one place the longer counts."""
    parts, end, i = [], 0, 0
    while i < len(text):
        found = max((mark for mark in marks if text.startswith(mark, i)), key=len, default="")
        if found:
            parts += [text[end:i], found]
            end = i + len(found)
        i += len(found) or 1
    return [*parts, text[end:]]


# -- files -----------------------------------------------------------------------------------------
# A reader takes the text of a file and returns a vocabulary; what is wrong is a ValueError that
# names the line. A writer takes a whole vocabulary and returns the text.


def read(text):
    """Any of the files below; how it begins tells which."""
    if text.lstrip()[:1] == "{":
        return read_json(text)
    return read_merges(text) if text[:1] == "#" else read_ranks(text)


def read_ranks(text):
    """tiktoken's rank file: on each line a token in base64, a blank, its id, by which it ranks.

    It holds no pattern and no special tokens.
    """
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
    lines = [f"{_spell(token)} {i}\n" for token, i in zip(tokens, ids, strict=True)]
    return "".join(lines)


def read_merges(text):
    """GPT-2's vocab.bpe: a line for the version, then a merge a line.

    It holds no pattern and no special tokens.
    """
    tokens = [bytes([byte]) for byte in GPT2]
    merges, known = [], set(tokens)
    for number, line in enumerate(text.splitlines()[1:], 2):
        try:
            left, right = map(from_letters, line.split(" "))
            if left not in known or right not in known or left + right in known:
                raise ValueError(f"{line!r} must join two tokens that are known to one that is not")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        merges.append((left, right))
        known.add(left + right)
    return {"tokens": tokens + [left + right for left, right in merges], "merges": merges}


def read_json(text):
    """tekken.json or tokenizer.json: the one has a config."""
    data = _json(text)
    return (read_tekken if "config" in data else read_tokenizer_json)(text, data)


def read_tekken(text, data):
    """Mistral's tekken.json: the ids of special tokens come first, so rank r has the id r + n.

    Entries beyond default_vocab_size are unused.
    """
    try:
        config, first = data["config"], data["config"]["default_num_special_tokens"]
        tokens, seen = [], set()
        for rank, entry in enumerate(data["vocab"][: config["default_vocab_size"] - first]):
            spelled = entry["token_bytes"]
            token = _at(text, spelled, _base64)
            if entry["rank"] != rank or token in seen:
                problem = f"token {token!r} stands there twice or has rank {entry['rank']}"
                where = _line(text, "token_bytes", spelled)
                raise ValueError(f"line {where}: {problem} instead of {rank}")
            tokens.append(token)
            seen.add(token)
        specials = {entry["token_str"]: entry["rank"] for entry in data.get("special_tokens") or ()}
        ids = [*range(first, first + len(tokens))]
        return {"tokens": tokens, "ids": ids, "pattern": config["pattern"], "specials": specials}
    except (KeyError, TypeError) as error:
        raise ValueError(f"line 1: this is no tekken.json, it lacks {error}") from None


def write_tekken(tokens, ids, pattern, specials, **_):
    first = ids[0]
    gaps = ids != [*range(first, first + len(ids))]
    if gaps or sorted(specials.values()) != [*range(len(specials))] or len(specials) > first:
        raise ValueError(
            "tekken.json wants ids without gaps, special tokens before all others: give their ids "
            "to the Tokenizer in that order, or save as tokenizer.json"
        )
    config = {
        "pattern": pattern,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": first + len(tokens),
        "default_num_special_tokens": first,
        "version": "v3",
    }
    vocab = []
    for rank, token in enumerate(tokens):
        readable = token.decode(errors="replace")
        readable = readable if readable.encode() == token else None
        vocab.append({"rank": rank, "token_bytes": _spell(token), "token_str": readable})
    marks = []
    for mark in sorted(specials, key=specials.get):
        marks.append({"rank": specials[mark], "token_str": mark, "is_control": True})
    data = {"config": config, "vocab": vocab, "special_tokens": marks}
    return json.dumps(data, ensure_ascii=False, indent=0)


# HF's pre-tokenizer that writes bytes as letters; it may cut by GPT-2's pattern as well
_LETTERS_ONLY = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_GPT2_CUTS = _LETTERS_ONLY | {"use_regex": True}
_NO_CUTS = _LETTERS_ONLY | {"use_regex": False}


def read_tokenizer_json(text, data):
    """HF's tokenizer.json, as far as it is byte-level BPE with plain strings as added tokens.

    Merges may be pairs or, in older files, one string "left right".
    """
    try:
        model, specials = data["model"], {}
        _refuse("normalizer", data.get("normalizer"))
        _refuse("model.type", model["type"] != "BPE" and model["type"])
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
            _refuse(f"model.{name}", model.get(name))
        for added in data.get("added_tokens") or ():
            odd = added.get("lstrip") or added.get("rstrip") or added.get("single_word")
            what = f"added token {added['content']!r} with blanks stripped or as single words"
            _refuse(what, odd)
            specials[added["content"]] = added["id"]
        numbers = {}  # HF lists added tokens here too
        for letters, i in model["vocab"].items():
            if letters not in specials:
                numbers[_at(text, letters, from_letters)] = i
        tokens = sorted(numbers, key=numbers.get)
        return {
            "tokens": tokens,
            "ids": [numbers[token] for token in tokens],
            "merges": [_merge(text, pair, numbers) for pair in model["merges"]],
            "pattern": _pattern(data["pre_tokenizer"]),
            "specials": specials,
            "whole": bool(model.get("ignore_merges")),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"line 1: this is no tokenizer.json: {error!r}") from None


def _refuse(what, found):
    if found:
        raise ValueError(
            f"this tokenizer.json has {what}, which a byte-level Tokenizer cannot keep: "
            f"{json.dumps(found)[:80]}"
        )


def _merge(text, pair, known):
    parts = pair.split(" ") if isinstance(pair, str) else pair
    spelled = tuple(map(from_letters, parts))
    if len(spelled) == 2 and {*spelled, b"".join(spelled)} <= known.keys():
        return spelled
    where = _line(text, *([pair] if isinstance(pair, str) else pair), first=text.index("merges"))
    problem = f"merge {pair!r} joins or makes a token that is not in the vocabulary"
    raise ValueError(f"line {where}: {problem}")


def _pattern(cuts):
    """The pattern of a pre-tokenizer: ByteLevel's own is GPT-2's, or a Split comes before it."""
    *before, last = cuts.get("pretokenizers", [cuts])
    if last["type"] != "ByteLevel" or last.get("add_prefix_space") or len(before) > 1:
        _refuse("the pre_tokenizer", cuts)
    by_itself = last.get("use_regex", True)
    if not before:
        _refuse("no pattern in pre_tokenizer", not by_itself)
        return PATTERNS["gpt2"]
    split = before[0]
    plain = split["type"] == "Split" and split["behavior"] == "Isolated" and not split.get("invert")
    if by_itself or not plain:
        _refuse("the pre_tokenizer", cuts)
    return split["pattern"].get("Regex") or re.escape(split["pattern"]["String"])


def write_tokenizer_json(tokens, ids, pattern, specials, merges, whole):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = []
    for mark in sorted(specials, key=specials.get):
        added.append({"id": specials[mark], "content": mark} | flags | {"special": True})
    split = {"type": "Split", "pattern": {"Regex": pattern}}
    split |= {"behavior": "Isolated", "invert": False}
    cuts = {"type": "Sequence", "pretokenizers": [split, _NO_CUTS]}
    model = {"type": "BPE", "dropout": None, "unk_token": None}
    model |= {"continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False}
    model |= {"byte_fallback": False, "ignore_merges": whole}
    model["vocab"] = {to_letters(token): i for token, i in zip(tokens, ids, strict=True)}
    model["merges"] = [[to_letters(left), to_letters(right)] for left, right in merges]
    data = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    data |= {"normalizer": None}
    data |= {"pre_tokenizer": _GPT2_CUTS if pattern == PATTERNS["gpt2"] else cuts}
    data |= {"post_processor": None, "decoder": _GPT2_CUTS, "model": model}
    return json.dumps(data, ensure_ascii=False, indent=0)


# -- how files spell tokens ------------------------------------------------------------------------

_LETTERS = {byte: chr(byte) for byte in VISIBLE}
_LETTERS |= {byte: chr(256 + n) for n, byte in enumerate(GPT2[len(VISIBLE) :])}
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


def _spell(token):
    return base64.b64encode(token).decode()


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


def _line(text, *parts, first=0):
    """Number of the last line on which these JSON values stand beside each other."""
    spelled = []
    for part in parts:
        ways = {re.escape(json.dumps(part, ensure_ascii=e)) for e in (True, False)}
        spelled.append(f"(?:{'|'.join(ways)})")
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
        problem = f"{error.msg}, which is no JSON; is the file whole?"
        raise ValueError(f"line {error.lineno}: {problem}") from None
