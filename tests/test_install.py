"""Wheel and source distribution, built without a network: what is in them, where data lies."""

import email
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

import minilib
from minilib.lab.fetch import _folders

ROOT = pathlib.Path(minilib.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        yield wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs Python code where the wheel is unpacked, far from the checkout."""
    site, home = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("home")
    wheel.extractall(site)
    for name in ("data/requirements.txt", "pyproject.toml"):  # of some other package
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text("other==1\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(home)}

    def run(code):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run.site, run.home = site, home
    return run


# -- what is in them -------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_our_weights_and_nothing_else(wheel):
    names = set(wheel.namelist())
    assert {name.split("/")[0] for name in names} <= {"minilib", wheel_folder(wheel)}
    assert "minilib/py.typed" in names and "minilib/data/requirements.txt" in names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "minilib").rglob("*.py")}
    assert modules <= names and any(name.startswith("minilib/cases/") for name in modules)
    for path in (ROOT / "data" / "weights").glob("*.safetensors"):
        assert {f"minilib/data/weights/{path.stem}{end}" for end in (path.suffix, ".json")} <= names
    assert not [name for name in names if re.search("__pycache__|cache/|test_|ipynb", name)]


def wheel_folder(wheel):
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    return folder


def test_the_source_holds_lessons_and_tests_and_no_fetched_data(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    for name in ("README.md", "LICENSE", "CITATION.cff", "lessons/00_start_here.ipynb"):
        assert name in names
    assert "tests/test_install.py" in names and "data/requirements.txt" in names
    assert not [name for name in names if name.startswith(("data/cache", ".venv", ".git/"))]


def test_the_metadata(wheel):
    metadata = email.message_from_bytes(wheel.read(f"{wheel_folder(wheel)}/METADATA"))
    assert metadata["Name"] == "minilib-course"  # `minilib` is another project in the index
    assert metadata["Version"] == minilib.__version__
    assert metadata["License-Expression"] == "MIT" and metadata["Keywords"]
    classifiers = metadata.get_all("Classifier")
    assert {"Private :: Do Not Upload", "Typing :: Typed"} <= set(classifiers)
    text = metadata.get_payload()
    assert 200 < len(text) < 2000
    assert not re.search(r"\]\(|<img|src=", text)  # relative links would break where it is shown


def test_what_is_needed_is_pinned():
    pins = dict(re.findall(r"(?m)^([\w-]+)==(.+)$", (ROOT / "requirements.txt").read_text()))
    needed = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
    bounds = dict(bound.split(">=") for bound in needed)
    assert set(pins) == set(bounds)
    for name, bound in bounds.items():
        number = lambda version: [int(part) for part in version.split(".")]
        assert number(pins[name]) >= number(bound), name


def test_the_workflow_runs_the_test_command_on_every_python_that_is_promised():
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert re.findall(r"(?m)^ *- run: (.*)$", workflow) == [".ci/run"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert re.search(r"python: (\[.*\])", workflow)[1] == str(promised).replace("'", '"')
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {minilib.__version__}\n" in citation and "cff-version: 1.2.0" in citation


# -- where data lies -------------------------------------------------------------------------------


def test_a_checkout_is_known_by_its_own_project_file(tmp_path):
    package = tmp_path / "minilib"
    users = _folders(package, {})[1]
    assert users.is_absolute() and "minilib-course" in str(users) and tmp_path not in users.parents
    for decoy in ("", "[project]\nname = 'other'\n", '[project]\nname = "minilib"\n'):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "requirements.txt").write_text("")
        (tmp_path / "pyproject.toml").write_text(decoy)
        assert _folders(package, {}) == (package / "data", users)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert _folders(package, {}) == (tmp_path / "data", tmp_path / "data" / "cache")


def test_the_cache_that_you_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    cache = lambda chosen: _folders(ROOT / "minilib", {"MINILIB_CACHE": chosen})[1]
    assert cache("~/x") == tmp_path / "me" / "x"
    assert cache("x") == tmp_path / "x"  # absolute from now on, wherever the program goes
    assert cache("") == ROOT / "data" / "cache"


def test_an_installed_wheel_keeps_fetched_data_out_of_the_package(installed):
    home, cache, steps = installed(
        "from minilib import lab\n"
        "from minilib.lstm import LSTM\n"
        "print(lab.data.HOME, lab.data.CACHE, lab.load(LSTM)[1]['steps'], sep='\\n')\n"
    )
    assert pathlib.Path(home) == installed.site / "minilib" / "data"
    assert installed.home in pathlib.Path(cache).parents
    assert int(steps) > 0


def test_definitions_and_grading_work_without_torch(installed):
    lines = installed(
        "import sys; sys.modules['torch'] = None  # importing it fails\n"
        "import numpy as np, minilib\n"
        "from minilib import naive\n"
        "def right(x):\n"
        "    e = np.exp(x - x.max(-1, keepdims=True))\n"
        "    return e / e.sum(-1, keepdims=True)\n"
        "for attempt in (right, np.exp):\n"
        "    print(bool(minilib.check(attempt, like=naive.start_here.softmax)))\n"
    )
    assert lines == ["True", "False"]
