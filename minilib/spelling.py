"""How the files of vocabularies spell tokens, and the line on which something in them stands."""

import base64
import binascii
import json
import operator
import re
import reprlib
from collections import Counter

from minilib.naive.bpe import GPT2, VISIBLE

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


def to_base64(token):
    """b' the' -> 'IHRoZQ==', as tiktoken's and Mistral's files write it."""
    return base64.b64encode(token).decode()


def from_base64(text):
    """'IHRoZQ==' -> b' the'. Raises ValueError for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{few(text)} is no base64") from None


def parse(text):
    """Parsed JSON, without objects that name a key twice."""

    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ValueError(f"line {line(text, key)}: {few(key)} stands there twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        problem = f"{error.msg}, which is no JSON; is the file whole?"
        raise ValueError(f"line {error.lineno}: {problem}") from None
    except RecursionError:
        raise ValueError("line 1: this JSON is nested too deeply") from None


def at_line(text, value, read):
    """read(value); if that fails, the error says on which line of the JSON the value stands."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"line {line(text, value)}: {error}") from None


def line(text, *parts, first=0):
    """Number of the last line on which these JSON values stand beside each other."""
    spelled = []
    for part in parts:
        ways = {re.escape(json.dumps(part, ensure_ascii=e)) for e in (True, False)}
        spelled.append(f"(?:{'|'.join(ways)})")
    found = [match.start() for match in re.finditer(r"\s*[:,]\s*".join(spelled), text[first:])]
    return text.count("\n", 0, first + found[-1]) + 1 if found else "?"


def special_tokens(pairs):
    """{text: id} of pairs (text, id); each text may stand there once."""
    specials = {}
    for mark, i in pairs:
        if not isinstance(mark, str) or mark in specials:
            raise ValueError(f"special tokens must be different texts, got {few(mark)}")
        specials[mark] = i
    return specials


def check_ids(ids):
    """Raises ValueError unless all are integers that a list of tokens could number."""
    for i in ids:
        if type(i) is not int or not 0 <= i < 1 << 31:
            raise ValueError(f"ids must be integers in [0, 2**31), got {few(i)}")


def whole_numbers(ids):
    """ids, of NumPy or torch too, as a list of int. Raises TypeError: 1.5 is not rounded."""
    try:
        return [operator.index(i) for i in ids]
    except TypeError:
        raise TypeError(f"ids must be integers, got {few(ids)}") from None


def regex(pattern):
    """A file's regular expression. A word alone gets brackets: it names a pattern elsewhere."""
    if not isinstance(pattern, str):
        raise ValueError(f"pattern must be a regular expression, got {few(pattern)}")
    return f"(?:{pattern})" if re.fullmatch(r"[\w-]+", pattern) else pattern


_few = reprlib.Repr()
_few.maxdict = _few.maxlist = _few.maxtuple = _few.maxset = 3
_few.maxstring = _few.maxother = _few.maxlong = 80


def few(found):
    """A value for an error message: no more than three items of each list or dictionary in it."""
    return _few.repr(found)
