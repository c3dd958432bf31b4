"""Texts of any size, read in blocks: from str, bytes, files, or chunks that are cut anywhere."""

import codecs
import itertools
import os
import re

from minilib.pretokenizer import stretches
from minilib.spelling import few

BLOCK = 1 << 13  # characters or bytes that are worked on at a time
TEXT = (str, bytes, bytearray, memoryview)


def is_text(found):
    """Is it one text: str, bytes or a file, open or as a path? An iterable of such is several."""
    return isinstance(found, (*TEXT, os.PathLike)) or hasattr(found, "read")


def checked(text, start=0):
    """A str as it is. Raises ValueError for a surrogate, alone or in a pair: it has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"the lone surrogate {text[error.start]!r} at {start + error.start}"
        raise ValueError(
            f"text must be str that UTF-8 can write, got {found}; bytes may be anything"
        ) from None
    return text


def raw(piece):
    """The bytes of a piece of a text as `blocks` gives it."""
    return piece.encode("utf-8", "surrogateescape")


def blocks(source):
    """A text in blocks of str. Bytes that are no UTF-8 become lone surrogates.

    No pattern takes these for letters, and `raw` makes bytes of them again.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in _chunks(source):
        if not isinstance(chunk, TEXT) or getattr(chunk, "itemsize", 1) != 1:
            raise TypeError(f"source must have chunks of str or bytes, got {few(chunk)}")
        if isinstance(chunk, str):
            yield decoder.decode(b"", final=True)  # of bytes before it
        for i in range(0, len(chunk), BLOCK):
            block = chunk[i : i + BLOCK]
            yield checked(block, i) if isinstance(block, str) else decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _chunks(source):
    if isinstance(source, TEXT):
        yield source
    elif isinstance(source, os.PathLike):
        try:
            file = open(source, "rb")
        except OSError as error:
            found = f"got {os.fspath(source)!r}: {error.strerror}"
            raise ValueError(f"path must be a readable file, {found}") from None
        with file:
            yield from _chunks(file)
    elif hasattr(source, "read"):
        while chunk := source.read(BLOCK):
            yield chunk
    elif hasattr(source, "__iter__"):
        yield from source
    else:
        raise TypeError(f"source must be a file or an iterable of chunks, got {few(source)}")


def cut(source, pattern, marks=()):
    """Lists of stretches whose pieces are the text's, and the marks between them, each a str.

    The text before a mark and the one after it are texts of their own. Held back is only what the
    next block may change: the last two stretches and the beginning of a mark.
    """
    rest, enough = "", 0
    for text, mark in _at_marks(blocks(source), marks):
        rest += text
        if mark is not None:
            yield from stretches(rest, pattern)
            rest, enough = "", 0
            if mark:
                yield mark
        elif len(rest) >= enough:
            found = next(stretches(rest, pattern, len(rest)), [])
            enough = 2 * len(rest) if len(found) < 3 else 0  # a long stretch is looked at seldom
            rest = "".join(found[-2:])
            yield found[:-2]


def _at_marks(parts, marks):
    """(text, mark) for each mark and the text before it; of two at one place the longer counts.

    The mark is None where the text goes on in the next pair, and "" at its end.
    """
    if not marks:
        yield from ((part, None) for part in parts)
        yield "", ""
        return
    marks = sorted(marks, key=len, reverse=True)
    regex, longest, rest = re.compile("|".join(map(re.escape, marks))), len(marks[0]), ""
    for part in itertools.chain(parts, [None]):
        rest, start = rest + (part or ""), 0
        sure = len(rest) if part is None else len(rest) - longest  # behind it a mark may go on
        for match in regex.finditer(rest):
            if match.start() > sure:
                break
            yield rest[start : match.start()], match[0]
            start = match.end()
        end = max(start, sure + 1)
        yield rest[start:end], "" if part is None else None
        rest = rest[end:]
