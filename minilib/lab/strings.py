"""Parallel strings: the interface of Django in 98 languages, read from its translation files."""

import functools
import hashlib
import os
import pathlib
import random
import re
from typing import NamedTuple

from minilib.lab.fetch import fetch


class Entry(NamedTuple):
    """One entry of a .po file."""

    context: str  # "" if there is none
    english: str
    plural: str  # the English plural, "" if there is none
    translations: list[str]  # one, or one for each plural form; "" is not translated
    fuzzy: bool  # a guess that no translator has confirmed


# a line: a keyword, if it is not the rest of the string before, and a quoted string
_LINE = re.compile(
    r"(?:(msgctxt|msgid|msgid_plural|msgstr|msgstr\[(\d+)\])[ \t]*)?"
    r'"([^"\\]*(?:\\[ntr"\\][^"\\]*)*)"\s*'
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
# what a keyword may come after; None: nothing of this entry
_AFTER = {
    "msgctxt": (None,),
    "msgid": (None, "msgctxt"),
    "msgid_plural": ("msgid",),
    "msgstr": ("msgid",),
    "msgstr[]": ("msgid_plural", "msgstr[]"),
}


@functools.cache
def interface_strings() -> dict[str, dict[str, str]]:
    """Django's interface as {language: {English: translation}}, e.g. ["de"]["Save"] "Sichern".

    98 languages and variants in 21 scripts, by Django's names, in the order of these. Every pair
    is one string that a translator has confirmed. Of a string with plural forms it is the English
    plural and the last form; of one with several contexts, the first that is translated.
    """
    folder, found = fetch("Django") / "django", {}
    for file in sorted(folder.glob("c*/**/locale/*/LC_MESSAGES/*.po")):
        strings = found.setdefault(file.parts[-3], {})
        for entry in read_po(file):
            if entry.english and entry.translations[-1] and not entry.fuzzy:
                strings.setdefault(entry.plural or entry.english, entry.translations[-1])
    return {language: found[language] for language in sorted(found) if found[language]}


def read_po(path: str | os.PathLike) -> list[Entry]:
    """The entries of a translation file (GNU gettext's .po), in order, the header among them.

    Comments and obsolete entries (#~) are left out.
    Raises ValueError, which names file and line, for one that is cut off, malformed or not UTF-8.
    """
    path = pathlib.Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"path must be a readable .po file; {path.name!r}: {error}") from None
    if not any(lines):
        raise ValueError(f"path must be a .po file with entries; {path.name!r} is empty")
    entries, fields, last, fuzzy = [], {}, None, False
    for number, line in enumerate([*lines, "# the end"], start=1):
        if line.startswith("#") or not line.strip():
            if last in ("msgstr", "msgstr[]"):
                entries.append(_entry(fields, fuzzy))
                fields, last, fuzzy = {}, None, False
            elif line.startswith("#") and last:
                at = "ends" if number > len(lines) else f"has a comment in line {number}"
                raise ValueError(f"{path.name!r} {at} inside an entry, after its {last}")
            fuzzy |= line.startswith("#,") and "fuzzy" in line
            continue
        found = _LINE.fullmatch(line)
        if not found:
            raise ValueError(f"{path.name!r} has in line {number} no quoted string: {line!r:.60}")
        text = re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], found[3])
        if found[1]:
            keyword = "msgstr[]" if found[2] else found[1]
            if keyword in ("msgctxt", "msgid") and last in ("msgstr", "msgstr[]"):
                entries.append(_entry(fields, fuzzy))
                fields, last, fuzzy = {}, None, False
            forms = len(fields.get("msgstr[]", ()))
            if last not in _AFTER[keyword] or (found[2] and int(found[2]) != forms):
                raise ValueError(f"{path.name!r} has in line {number} {found[1]} after {last}")
            fields.setdefault(keyword, []).append(text)
            last = keyword
        elif last:
            fields[last][-1] += text
        else:
            raise ValueError(f"{path.name!r} has in line {number} a string without a keyword")
    return entries


def _entry(fields, fuzzy):
    first = lambda name: fields.get(name, [""])[0]
    translations = fields.get("msgstr[]") or fields["msgstr"]
    return Entry(first("msgctxt"), first("msgid"), first("msgid_plural"), translations, fuzzy)


def parallel(
    language: dict[str, str], other: dict[str, str] | None = None, least: int = 20
) -> tuple[list[str], list[str]]:
    """The sentences that two languages share: (texts, the same in the other one, in that order).

    language  {English: translation}, as `interface_strings` has them
    other     another such language; default: English itself
    least     characters of the English text: shorter ones are names of languages and buttons
    Left out are texts with format marks (%, {, <, &), which every tokenizer cuts alike, and those
    that were not translated. Raises ValueError if nothing is left.
    """
    pairs = []
    for english, text in language.items():
        same = english if other is None else other.get(english)
        kept = same is not None and len(english) >= least and not re.search("[%{<&]", text + same)
        if kept and english != text and (other is None or english != same):
            pairs.append((text, same))
    if not pairs:
        of = len(language), "all of English" if other is None else len(other)
        raise ValueError(
            f"language and other must have strings in common of {least} characters or more that "
            f"are translated and without format marks; of {of[0]} and {of[1]} there is none"
        )
    return [text for text, _ in pairs], [same for _, same in pairs]


def by_language(
    least: int = 12, fewest: int = 150
) -> tuple[list[str], dict[str, tuple[list[str], list[int]]]]:
    """Sentences of the interface with their languages: names, {part: (texts, places in names)}.

    least   characters of the English text, as in `parallel`; fewest: texts that a language has
    Regional variants, such as "es_MX", are left out. The parts are "train", "validation", "test".
    All translations of a text are in one part, so that no part holds a text that another one has
    in the language next door. Which part, the text's hash says: 70, 15 and 15 of 100.
    """
    names, parts = [], {part: ([], []) for part in ("train", "validation", "test")}
    for name, strings in interface_strings().items():
        variant = name.partition("_")[2]
        if len(variant) not in (0, 4):  # four letters name a script: "sr_Latn"
            continue
        try:
            texts, english = parallel(strings, least=least)
        except ValueError:  # nothing is left
            continue
        if len(texts) < fewest:
            continue
        for text, same in zip(texts, english, strict=True):
            place = hashlib.sha256(same.encode()).digest()[0] / 256
            part = "train" if place < 0.7 else "validation" if place < 0.85 else "test"
            parts[part][0].append(text)
            parts[part][1].append(len(names))
        names.append(name)
    return names, parts


def with_typos(text: str, rate: float, seed: int = 0) -> str:
    """Each character, at this rate, is dropped, doubled, or swapped with the one before it.

    The same text, rate and seed give the same typos. Raises ValueError for a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")
    rng, out = random.Random(f"{seed} {rate} {text}"), []
    for character in text:
        kind = rng.randrange(3) if rng.random() < rate else None
        if kind == 1:
            out += [character, character]
        elif kind == 2:
            out.insert(max(len(out) - 1, 0), character)
        elif kind is None:
            out.append(character)
    return "".join(out)
