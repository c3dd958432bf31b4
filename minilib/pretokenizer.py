"""Cutting text into pieces, fast: the same pieces as the definition.

The language of patterns is that of minilib.naive.pretokenizer.translate.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator

from minilib import twin
from minilib.naive import pretokenizer as naive
from minilib.naive.pretokenizer import PATTERNS, pattern_of  # noqa: F401  (pattern_of)

# Where a text may be cut without changing its pieces: before white space, but after newlines that
# symbols (or a symbol and "/") draw to themselves. Only distinct stretches need the real pattern.
_NEWLINES = r"\s*[\r\n]|[^\S\r\n]*\S+{}(?:\s*[\r\n])?|\s+"
_SLASHES = _NEWLINES.format(r"(?:[\r\n]+/\S*)*")
_STRETCHES = {
    PATTERNS["gpt2"]: r"\s*\S+|\s+",
    # blanks at the end of the text belong to the newline before them
    PATTERNS["cl100k"]: r"\s*[\r\n](?:\s+\z)?|[^\S\r\n]*\S+(?:\s*[\r\n](?:\s+\z)?)?|\s+",
    PATTERNS["llama3"]: _NEWLINES.format(""),
    PATTERNS["qwen2"]: _NEWLINES.format(""),
    PATTERNS["o200k"]: _SLASHES,
    PATTERNS["tekken"]: _SLASHES,
}


@twin(naive.pretokenize, differentiable=False)
def pretokenize(text: str, pattern: str) -> list:
    """The pieces of a text: a pattern's matches from left to right, and what lies between.

    The pattern runs once on each distinct stretch between safe cuts; a pattern of your own, on the
    whole text, and Python's `re` may take for ever over one such as (a+)+$. Raises ValueError if it
    is no regular expression or has parts that would mean something else elsewhere.
    """
    cut = functools.cache(cutter(pattern))
    flat = itertools.chain.from_iterable(stretches(text, pattern))
    return [piece for stretch in flat for piece in cut(stretch)]


def stretches(text: str, pattern: str, size: int = 1 << 13) -> Iterator[list]:
    """Stretches whose pieces are the text's, in lists that cover about `size` characters each.

    Whatever follows the text, all stretches but its last two stay as they are.
    """
    if pattern not in _STRETCHES:
        yield [text]  # a pattern of the user's own may look anywhere
        return
    regex, start = _stretch_of(_STRETCHES[pattern], text.isascii()), 0
    while start < len(text):
        end = start + size
        found = regex.findall(text, start, end)
        if end < len(text):
            if len(found) < 3:  # a stretch longer than the block
                size *= 2
                continue
            # the end of the block may have cut the last word, or the blanks after it
            end -= len(found.pop()) + len(found.pop())
        yield found
        start = end


@functools.cache
def _stretch_of(pattern, ascii):
    """Among ASCII characters the white space of `re` is Unicode's, and found faster than ranges."""
    if ascii:
        return re.compile(pattern.replace(r"\z", r"\Z"), re.ASCII)
    return _compiled(pattern, naive.END)


@functools.cache
def cutter(pattern: str) -> Callable:
    """The function stretch -> its pieces."""
    complete = pattern in _STRETCHES  # its matches leave nothing between them
    regex_of_ascii = _compiled(pattern, 128)

    def cut(stretch):
        regex = regex_of_ascii
        if not stretch.isascii():  # `re` finds characters below 0x10000 in a table, others slowly
            regex = _compiled(pattern, 0x10000 if max(stretch) < "\U00010000" else naive.END)
        if complete:
            return regex.findall(stretch)
        pieces, end = [], 0
        for match in _matches(regex, stretch):
            pieces += (stretch[end : match.start()], match[0])
            end = match.end()
        return [piece for piece in (*pieces, stretch[end:]) if piece]

    return cut


def _matches(regex, text, start=0):
    """Matches from left to right. No other begins where one of nothing is found."""
    while start <= len(text):
        end = len(text)
        for match in regex.finditer(text, start):
            yield match
            if not match[0]:
                end = match.end()
                break
        start = end + 1


@functools.cache
def _compiled(pattern, stop):
    try:
        return re.compile(naive.translate(pattern, stop))
    except (re.error, OverflowError) as error:
        raise ValueError(f"pattern must be a regular expression: {pattern!r}: {error}") from None


# -- HF tokenizers ---------------------------------------------------------------------------------

# Its engine, Oniguruma, reads some parts in another way: ^ $ are the ends of lines, \w has no
# joiners and, outside sets, ² ³ ¹ ¼ ½ ¾; X{1,3}+ is (X{1,3})+; in (?i:…) ss is also ß.
_HF_WORD = naive.WORD.replace(r"\u200c\u200d", "")
_LIGATURES = {"ss", "st", "ff", "fi", "fl"}


def to_hf(pattern: str) -> str:
    """A pattern as HF tokenizers must have it to cut the same pieces."""
    return _respelled(pattern, {"^": r"\A", "$": r"\z"}, naive.WORD, naive.WORD, "(?>{})")


def from_hf(pattern: str) -> str:
    """The pattern that cuts as HF tokenizers do with this one."""
    for ours in PATTERNS.values():
        if pattern == to_hf(ours):
            return ours
    for _, part, _, at in naive.parts(pattern):
        if re.search(r"\\[pP][A-Z]|\\x[89a-fA-F]", part.replace(r"\\", "")):
            raise ValueError(f"pattern must have braces in {part!r} at {at}: another thing in HF")
    edges = {r"\A": "^", r"\z": "$", "^": r"(?<![^\n])", "$": r"(?![^\n])"}
    return _respelled(pattern, edges, _HF_WORD + "²³¹¼½¾", _HF_WORD, "(?:{})+")


def _respelled(pattern, edges, word, word_in_sets, repeated):
    r"""A pattern with other edges, members in place of \w, and X{1,3}+ in other words."""
    inside, outside = f"[{word}]", f"[^{word}]"
    starts, ends = f"(?<!{inside})(?={inside})", f"(?<={inside})(?!{inside})"
    within, without = f"(?<={inside})(?={inside})", f"(?<!{inside})(?!{inside})"
    edges = edges | {r"\b": f"(?:{starts}|{ends})", r"\B": f"(?:{within}|{without})"}
    out, opened, last, letters = [], [], 0, ""  # last: where what may be repeated begins in out
    for kind, part, fold, at in naive.parts(pattern):
        if kind not in ("open", "close"):
            letters = (letters + part.lower())[-2:] if fold and kind == "letter" else ""
        if letters in _LIGATURES:
            raise ValueError(f"pattern must not have {letters!r} in (?i:...), got it at {at}")
        if kind == "times" and part[0] == "{" and part[-1] == "+":
            out[last:] = [repeated.format("".join(out[last:]) + part[:-1])]
            continue
        if kind == "open":
            opened.append(len(out))
        last = opened.pop() if kind == "close" and opened else len(out)
        if kind == "edge":
            part = edges.get(part, part)
        elif part in (r"\w", r"\W"):
            part = inside if part == r"\w" else outside
        elif kind in ("class", "letter", "set"):
            part = _braced(part, word_in_sets, at)
        out.append(part)
    return "".join(out)


def _braced(part, word, at):
    r"""\pL and \x41 as \p{L} and \x{41}, which both engines know; in a set the members of \w."""

    def respell(found):
        if found[0] == r"\W":
            raise ValueError(rf"pattern must not have \W in a set, got {part!r} at {at}")
        if found[0] == r"\w":
            return word
        return rf"\{found[1]}{{{found[2]}}}" if found[1] else found[0]

    return re.sub(r"\\([pPx])(?!\{)((?<=x)..|.)|\\.", respell, part, flags=re.DOTALL)
