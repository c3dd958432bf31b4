r"""Cutting text into pieces by a pattern, the definition; and the patterns of known tokenizers.

A pattern is a regular expression as tiktoken's engine reads it, with Unicode's classes: \p{L}+|\s.
The classes hold the characters of Unicode 16, as those of tiktoken 0.14 and tokenizers 0.23 do,
whatever the version of Python. Python's `re` does not know them: most of this file is a small
compiler, which writes each class as the ranges of its characters.
"""

import functools
import re
import string

from minilib.naive import _unicode

_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"  # any one character may precede letters
_SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BLANKS = r"\s+(?!\S)|\s+"  # the last blank before a word is left to the word
_LLAMA3 = (
    rf"{_SHORT}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + _BLANKS
)
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _BLANKS,
    "cl100k": _LLAMA3.replace(r"\s*[", r"\s+\z|\s*["),  # GPT-4: white space at the end is one piece
    "llama3": _LLAMA3,
    "qwen2": _LLAMA3.replace("{1,3}", ""),
    "o200k": (  # GPT-4o
        f"{_BEFORE}{_UPPER}*{_LOWER}+{_SHORT}?|{_BEFORE}{_UPPER}+{_LOWER}*{_SHORT}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + _BLANKS
    ),
    "tekken": (
        f"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + _BLANKS
    ),
}
# What tiktoken writes since version 0.8 for the same pieces.
_OTHER_SPELLINGS = {
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": "gpt2",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s": "cl100k",
}


def pattern_of(pattern):
    """The pattern behind a name in PATTERNS; a pattern is one already.

    Raises TypeError if it is no str, ValueError for a bare word that is no such name.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, got {type(pattern).__name__}")
    if pattern not in PATTERNS and re.fullmatch(r"[\w-]+", pattern):
        known = ", ".join(map(repr, PATTERNS))
        raise ValueError(f"pattern must be {known} or a regular expression, got {pattern!r}")
    return PATTERNS.get(_OTHER_SPELLINGS.get(pattern, pattern), pattern)


def pretokenize(text, pattern):
    """The pieces of a text (str): a pattern's matches from left to right, and what lies between.

    A match of nothing cuts the text there, as in HF tokenizers; no other match begins there.
    """
    pieces, end, start, regex = [], 0, 0, re.compile(translate(pattern))
    while start <= len(text) and (match := regex.search(text, start)):
        pieces += [text[end : match.start()], match[0]]
        start = end = match.end()
        if not match[0]:
            start += 1
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


# -- the compiler ----------------------------------------------------------------------------------

END = 0x110000  # one past the last code point
# \w: letters, marks, digits, numerals that are letters, what joins words, letters in circles
CIRCLED = r"\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}"
WORD = r"\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\u200c\u200d" + CIRCLED

_CLASS = r"\\[pP](?:[A-Z]|\{\^?[A-Z][a-zC]?\})|\\[sSdDwW]"
_ESCAPED = r"\\[afnrtv]|\\[^\w<>]|\\_|\\x[0-9a-fA-F]{2}|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
_ESCAPED += r"|\\x\{(?!0*[dD][89a-fA-F]..\})0*(?:10|[0-9a-fA-F])?[0-9a-fA-F]{1,4}\}"
# All that may stand in a pattern. What is not here is refused: engines read it in different ways,
# or `re` cannot do it.
_PART = re.compile(
    rf"""(?P<class>{_CLASS})
    | (?P<letter>{_ESCAPED}|[^\\()\[{{|.^$*+?\ud800-\udfff])
    | (?P<edge>\\[AzbB]|[\^$])
    | (?P<open>\((?:\?(?:[:=!>]|<[=!]|i:)|(?!\?)))
    | (?P<close>\))
    | (?P<times>(?:[*+?]|\{{\d+,\d*\}})[+?]?|\{{\d+\}}(?!\?)\+?)
    | (?P<set>\[\^?+\]?+(?:\\.|[^\\\]])*\])
    | (?P<other>[|.])""",
    re.VERBOSE | re.DOTALL,
)
_LETTER = rf"(?:{_ESCAPED}|(?!&&|~~)[^\\\[\ud800-\udfff-])"
_ITEM = re.compile(
    rf"(?P<class>{_CLASS})|(?P<first>{_LETTER})(?:-(?P<last>{_LETTER}))?"
    r"|(?P<dash>(?:(?<=\[)|(?<=\[\^))-(?!-)|-$)",
    re.DOTALL,
)


class _Unknown(ValueError):
    """What stands at a place of a pattern is refused."""

    NAMED = r"\\\w?\{[^}]*\}|\\[pP]?.?|\(\??P?<?.?|\[:\^?\w*:?\]?|&&|--|~~|\[\^?\]?|\{[^}]*\}|."

    def __init__(self, pattern, at):
        found = re.compile(self.NAMED, re.DOTALL).match(pattern, at)[0]
        wanted = "known classes and parts (help(minilib.naive.pretokenizer.translate) lists them)"
        super().__init__(f"pattern must use {wanted}, got {found!r} at {at}")


def translate(pattern, stop=END):
    r"""A pattern in the words of Python's `re`: the same matches as in the engines it is meant for.

    stop     code points from here on may be left out: 128 gives a small pattern, for ASCII alone

    Understood are \p{L} \p{Lu} \p{^L} \P{L} \pL (any general category of Unicode), \s \d \w \b and
    their opposites, ^ and \A (start of the text), $ and \z (its end, not "or before a last
    newline"), sets without sets in them, groups ( (?: (?> (?= (?! (?<= (?<! (?i: and repetition,
    greedy, lazy or possessive. In (?i:…) only ASCII, where s is also \u017f and k the Kelvin sign.
    Raises ValueError for anything else, naming it and its place.
    """
    out = []
    for kind, part, fold, at in parts(pattern):
        if kind == "letter" and not fold:
            out.append(re.escape(chr(_code(part))))
        elif kind in ("class", "set", "letter"):
            negated, runs = _set(pattern, at, at + len(part), fold)
            out.append(_written(runs, stop, negated))
        elif kind == "edge":
            word = _written(_members(r"\w"), stop)
            edges = {"^": r"\A", "$": r"\Z", r"\A": r"\A", r"\z": r"\Z"}
            edges[r"\b"] = rf"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
            edges[r"\B"] = rf"(?:(?<={word})(?={word})|(?<!{word})(?!{word}))"
            out.append(edges[part])
        else:
            out.append(part.replace("i", ""))
    return "".join(out)


def parts(pattern):
    """The parts of a pattern: (kind, text, is it in (?i:…), offset), kinds as named in _PART.

    Raises ValueError for what no kind matches.
    """
    at, folds = 0, [False]
    while at < len(pattern):
        match = _PART.match(pattern, at)
        if not match:
            raise _Unknown(pattern, at)
        kind, part = match.lastgroup, match[0]
        if kind == "open":
            folds.append(folds[-1] or part == "(?i:")
        elif kind == "close":
            if len(folds) == 1:
                raise _Unknown(pattern, at)
            folds.pop()
        yield kind, part, folds[-1], at
        at = match.end()


def _set(pattern, at, end, fold):
    r"""Of a set such as [^\p{L}+], a class or a letter: is it negated, and its members in runs."""
    negated, runs = False, []
    if pattern[at] == "[":
        negated = pattern[at + 1] == "^"
        at, end = at + 1 + negated, end - 1
    while at < end:
        item = _ITEM.match(pattern, at, end)
        if not item:
            raise _Unknown(pattern, at)
        if item["class"]:
            members = _members(item["class"])
            if not members or (fold and item["class"][1] in "pPwW"):
                raise _Unknown(pattern, at)
            runs += members
        else:
            first = _code(item["first"] or "-")
            last = _code(item["last"] or item["first"] or "-")
            if first > last or (fold and last > 127):
                raise _Unknown(pattern, at)
            runs.append((first, last))
        at = item.end()
    return negated, _joined(_folded(runs) if fold else runs)


def _code(letter):
    r"""The code point of a letter as patterns write it: a \n \x41 \x{41} \u0041 \."""
    if letter[0] != "\\":
        return ord(letter)
    if letter[1] in "xu":
        return int(letter[2:].strip("{}"), 16)
    return ord(dict(zip("afnrtv", "\a\f\n\r\t\v", strict=True)).get(letter[1], letter[1]))


def _folded(runs):
    """Runs with the other case of each ASCII letter in them; ſ is an s too, and the Kelvin sign k.

    (`re` by itself would take ı and İ for an i.)
    """
    cases = ""
    for letter in string.ascii_letters:
        if any(first <= ord(letter) <= last for first, last in runs):
            cases += letter.swapcase() + {"s": "ſ", "k": "\u212a"}.get(letter.lower(), "")
    return [*runs, *((ord(letter), ord(letter)) for letter in cases)]


@functools.cache
def _members(part):
    r"""The runs (first, last) of a class: of a category such as \p{Lu}, or of \s \d \w; [] if
    there is none of this name."""
    kind, name = part[1], part[2:].strip("{^}")
    runs = []
    if kind in "wW":
        _, runs = _set(f"[{WORD}]", 0, len(WORD) + 2, False)
    else:
        name = {"s": "Z", "d": "Nd"}.get(kind.lower(), name)
        names = ("Lu", "Ll", "Lt") if name == "LC" else (name,)
        for category, first, last in _unicode.runs():
            if category.startswith(names) and category != "Cs":  # surrogates are in no class
                runs.append((first, last))
    if kind in "sS":
        runs += [(0x09, 0x0D), (0x85, 0x85)]
    return _gaps(_joined(runs)) if runs and kind.isupper() != ("^" in part) else runs


def _joined(runs):
    """The same members in as few runs as can be, in order."""
    joined = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            first, before = joined.pop()
            last = max(last, before)
        joined.append((first, last))
    return joined


def _gaps(runs):
    """The runs of all that is not in these, which are joined."""
    firsts, lasts = [first for first, _ in runs], [last for _, last in runs]
    between = zip([-1, *lasts], [*firsts, END], strict=True)
    return [(last + 1, first - 1) for last, first in between if last + 1 < first]


def _written(runs, stop, negated=False):
    """Runs as a set that `re` understands."""
    ranges = [f"\\U{a:08x}-\\U{min(b, stop - 1):08x}" for a, b in runs if a < stop]
    ranges = "".join(ranges) or f"\\U{stop:08x}"  # none: a character that no text here has
    return f"[{'^' * negated}{ranges}]"
