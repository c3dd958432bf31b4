"""Checkpoints: to the bit, of one run and no other, saved before what can fail, never half."""

import functools
import os
import pathlib
import resource
import threading

import pytest
import torch

from minilib import lab
from minilib.lab import checkpoint as files
from minilib.lab import data
from minilib.lstm import LSTM
from minilib.transformer import Transformer

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40
BATCHES = data.windows(TEXT, batch=4, length=16)


def small(seed=0, width=8):
    torch.manual_seed(seed)
    return LSTM(256, width)


def train(model, batches=BATCHES, **options):
    return lab.fit(model, batches, **{"steps": 12, "lr": 0.02, "progress": False, **options})


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


class Killed(Exception):
    """Stands for the end of a process: nothing comes after it."""


def killed_at(step, batches=BATCHES):
    """Batches that end at that step, if the one before it has been taken."""
    seen = []

    def some(k):
        seen.append(k)
        if k == step and k - 1 in seen[3:]:  # not when a run's data are looked at
            raise Killed
        return batches(k)

    return some


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at,kept", [(3, 0), (5, 5), (9, 5), (11, 10)])
def test_an_interrupted_run_ends_bit_equal(tmp_path, at, kept):
    score = lambda model: lab.bits_per_byte(model, TEXT[:50])
    whole = small()
    history = train(whole, validate=score, every=5)
    options = {"checkpoint": tmp_path / "c", "every": 5, "validate": score}
    with pytest.raises(Killed):
        train(small(), killed_at(at), **options)
    calls = []
    resumed = small(seed=1 if kept else 0)
    again = train(resumed, lambda step: calls.append(step) or BATCHES(step), **options)
    assert calls[2 if kept else 3 :] == list(
        range(kept, 12)
    )  # from the checkpoint on, not from the start
    assert again.loss == history.loss and again.validation == history.validation
    assert again.seconds > 0
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

    options = {"steps": 10, "lr": 0.1, "loss": loss}
    whole, parts = model(), model()
    train(whole, batches, **options)
    options |= {"checkpoint": tmp_path / "c", "every": 3, "validate": lambda m: torch.rand(())}
    with pytest.raises(Killed):
        train(parts, killed_at(7, batches), **options)
    train(parts, batches, **options)
    assert same_weights(whole, parts)


def test_unused_and_frozen_parameters_and_buffers_resume(tmp_path):
    def model():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1)]
        net = torch.nn.Sequential(*layers)
        net.unused, net.frozen = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).requires_grad_(False)
        return net

    batches = lambda step: torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    options = {"loss": lambda net, x: (net[:3](x) - 1).square().mean(), "weight_decay": 0.1}
    whole, parts = model(), model()
    train(whole, batches, **options)
    options |= {"checkpoint": tmp_path / "c", "every": 3}
    with pytest.raises(Killed):
        train(parts, killed_at(7, batches), **options)
    parts = model()
    train(parts, batches, **options)
    assert same_weights(whole, parts) and torch.equal(whole.unused.weight, model().unused.weight)
    assert torch.equal(whole[1].running_var, parts[1].running_var)


def test_a_finished_run_says_so(tmp_path, capsys):
    model = small()
    history = train(model, checkpoint=tmp_path / "c")
    assert capsys.readouterr().out == ""
    again = small(seed=1)
    assert train(again, checkpoint=tmp_path / "c", progress=True).loss == history.loss
    words = f"nothing is left to do: checkpoint '{tmp_path}/c' has all 12 steps\n"
    assert capsys.readouterr().out == words
    assert same_weights(model, again)


def test_a_finished_run_can_go_on(tmp_path):
    """At the rate that the new number of steps gives to the next one."""
    history = train(small(), checkpoint=tmp_path / "c")
    model, log = small(), tmp_path / "log"
    longer = train(model, steps=20, checkpoint=tmp_path / "c", log=log)
    assert longer.loss[:12] == history.loss and len(longer.loss) == 20
    rate = 0.02 * lab.train._schedule(12, 20, 0.02)
    assert f'"step": 12, "loss": {longer.loss[12]}, "lr": {rate}' in log.read_text()
    with pytest.raises(ValueError, match=r"steps must be at least 20, which .*c' has done, got 12"):
        train(small(), checkpoint=tmp_path / "c")


# -- saved first, scored afterwards ----------------------------------------------------------------


@pytest.mark.parametrize("at", [6, 12], ids=["in the middle", "at the end"])
def test_a_score_that_fails_costs_nothing(tmp_path, at):
    score = lambda model: lab.bits_per_byte(model, TEXT[:50])
    calls = []

    def failing(model):
        calls.append(None)
        if len(calls) == at // 6:
            raise MemoryError
        return score(model)

    whole = small()
    history = train(whole, validate=score, every=6)
    options = {"checkpoint": tmp_path / "c", "every": 6}
    model = small()
    with pytest.raises(MemoryError):
        train(model, validate=failing, **options)
    assert not model.training
    content = torch.load(tmp_path / "c", weights_only=True)
    assert content["history"]["loss"] == history.loss[:at]
    for _ in range(2):  # the missing score is made up for, and kept
        resumed = small()
        again = train(resumed, validate=score, **options)
        assert again.validation == history.validation and again.loss == history.loss
        assert same_weights(resumed, whole)
        score = None


# -- of one run and no other -----------------------------------------------------------------------


def other_loss(model, ids, factor=2):
    return factor * lab.train.language_loss(model, ids)


def net(heads=2):
    torch.manual_seed(0)
    return Transformer(256, width=8, layers=1, heads=heads, context=16)


OTHER_TEXT = TEXT.replace(b"cat", b"cow")
DIFFERENT = {
    "text": ({"batches": data.windows(OTHER_TEXT, batch=4, length=16)}, "batches are other data"),
    "rows": ({"batches": data.windows(TEXT, batch=5, length=16)}, "batches are other data"),
    "length": ({"batches": data.windows(TEXT, batch=4, length=17)}, "batches are other data"),
    "draws": ({"batches": data.windows(TEXT, batch=4, length=16, seed=1)}, "are other data"),
    "later": (
        {"batches": lambda step: BATCHES(step) if step < 5 else BATCHES(step + 1)},
        "batches are other data",
    ),
    "clip": ({"clip": 0.5}, "clip 1.0 there, 0.5 here"),
    "warmup": ({"warmup": 0.1}, "warmup 0.02 there, 0.1 here"),
    "decay": ({"weight_decay": 0.1}, "weight_decay 0.0 there, 0.1 here"),
    "lr": ({"lr": 0.03}, "lr 0.02 there, 0.03 here"),
    "seed": ({"seed": 1}, "seed 0 there, 1 here"),
    "loss": ({"loss": other_loss}, "loss language_loss there, other_loss here"),
    "partial": (
        {"loss": functools.partial(other_loss, factor=3)},
        r"loss language_loss there, other_loss\(factor=3\) here",
    ),
    "heads": ({"model": net(heads=4)}, "model.blocks.0.heads 2 there, 4 here"),
    "class": ({"model": small()}, "model Transformer there, LSTM here"),
    "dtype": (
        {"model": net().double()},
        r"model.embed float32 \(256, 8\) there, float64 \(256, 8\) here",
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "c"
    train(net(), checkpoint=path)
    return path


@pytest.mark.parametrize("options,words", DIFFERENT.values(), ids=DIFFERENT)
def test_another_run_is_refused_by_what_differs(finished, options, words):
    there = finished.read_bytes()
    options = {"model": net(), **options}
    with pytest.raises(ValueError, match=f"is of another run: .*{words}.* delete it or give"):
        train(**options, checkpoint=finished)
    assert finished.read_bytes() == there


def test_batches_that_change_from_call_to_call_are_refused(tmp_path):
    stream = iter([BATCHES(step) for step in range(20)])
    with pytest.raises(ValueError, match="batches must depend on the step alone"):
        train(small(), lambda step: next(stream), checkpoint=tmp_path / "c")
    assert os.listdir(tmp_path) == []


def test_an_object_is_not_known_by_its_address(tmp_path):
    for _ in range(2):
        loss = functools.partial(with_helper, object())
        assert train(small(), steps=2, checkpoint=tmp_path / "c", loss=loss).loss


def with_helper(helper, model, ids):
    return lab.train.language_loss(model, ids)


def test_what_does_not_change_the_result_may_change(finished):
    options = {"accumulate": 2, "every": 1, "validate": lambda model: 0.0}
    assert train(net(), checkpoint=finished, **options).loss


def test_frozen_parameters_and_unsaved_buffers_are_part_of_a_run(tmp_path):
    def model(scale=1.0, train=True):
        layer = torch.nn.Linear(3, 3)
        layer.register_buffer("scale", torch.tensor(scale), persistent=False)
        layer.bias.requires_grad_(train)
        return layer

    loss = lambda model, x: (model(x) * model.scale).square().mean()
    options = {"loss": loss, "batches": lambda step: torch.ones(2, 3), "checkpoint": tmp_path / "c"}
    train(model(), **options)
    train(model(), **options)
    with pytest.raises(ValueError, match=r"model.scale content .* there, content .* here"):
        train(model(scale=2.0), **options)
    with pytest.raises(
        ValueError, match=r"bias float32 \(3,\) there, float32 \(3,\), not trained here"
    ):
        train(model(train=False), **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.uint16, torch.complex64])
def test_every_number_of_a_batch_counts(dtype):
    zero = torch.zeros(3, 4).to(dtype)
    one = zero.clone()
    one[2, 3] = 1
    names = {files.digest(x) for x in (zero, one, (zero, one), (one, zero), zero[:, :2], zero.T)}
    assert len(names) == 6
    assert files.digest(one) == files.digest(one.T.contiguous().T)


# -- damaged, old, or something else ---------------------------------------------------------------


def test_damaged_checkpoints_are_refused(tmp_path):
    checkpoint = tmp_path / "c"
    train(small(), checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint", whole[:-1]):
        checkpoint.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or not a checkpoint of fit"):
            train(small(), checkpoint=checkpoint)
        assert checkpoint.read_bytes() == damaged  # what was there is not touched
    for other in ({}, [1], {"run": 5, "history": {}}, torch.ones(2), small().state_dict()):
        torch.save(other, checkpoint)
        with pytest.raises(ValueError, match="is damaged or not a checkpoint of fit"):
            train(small(), checkpoint=checkpoint)


def test_a_checkpoint_that_says_too_little_is_refused(tmp_path):
    """As fit wrote them that did not compare data, clipping and loss."""
    train(small(), checkpoint=tmp_path / "c")
    content = torch.load(tmp_path / "c", weights_only=True)
    content["run"] = {"model": "LSTM", "steps": 12, "lr": 0.02, "seed": 0}
    torch.save(content, tmp_path / "c")
    with pytest.raises(ValueError, match="written by an earlier version of fit"):
        train(small(), checkpoint=tmp_path / "c")


def test_nothing_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pathlib.Path(tmp_path / "harmed").touch, ())

    torch.save({"run": Evil()}, tmp_path / "c")
    with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
        train(small(), checkpoint=tmp_path / "c")
    assert not (tmp_path / "harmed").exists()


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoint", "log"])
def test_the_file_is_tried_before_the_first_step(tmp_path, name):
    (tmp_path / "file").touch()
    untouched = lambda step: pytest.fail("a step was taken")
    for path, reason in [
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "c", "Not a directory|File exists"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("/dev/null", "it is no file"),
        ("/proc/nowhere/c", "No such file"),
    ]:
        with pytest.raises(
            ValueError, match=f"{name} must be a file that can be written, .*{reason}"
        ):
            train(small(), untouched, **{name: path})
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_folder_is_made(tmp_path):
    train(small(), checkpoint=tmp_path / "a" / "b" / "c", log=tmp_path / "d" / "log")
    assert (tmp_path / "a" / "b" / "c").is_file() and (tmp_path / "d" / "log").is_file()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "disk" / "real")
    for steps in (6, 12):  # at first it points to nothing
        train(small(), steps=steps, checkpoint=tmp_path / "c")
        assert (tmp_path / "c").is_symlink()
        assert len(torch.load(tmp_path / "disk" / "real")["history"]["loss"]) == steps
    assert os.listdir(tmp_path / "disk") == ["real"]


@pytest.fixture
def little_room():
    """Files of more than 20 kB cannot be written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_the_old_checkpoint_stays(tmp_path, little_room):
    train(small(), steps=6, checkpoint=tmp_path / "c")
    there = (tmp_path / "c").read_bytes()
    assert len(there) > 20_000
    little_room()
    with pytest.raises(OSError, match=r"c' could not be written \(File too large\); what stood"):
        train(small(), checkpoint=tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == there
    assert os.listdir(tmp_path) == ["c"]


def test_writers_at_once_do_not_meet(tmp_path):
    """Threads have one process number; so have processes of two containers on one disk."""
    meet = threading.Barrier(8)
    problems = []

    def write(number):
        def content(path):
            path.write_text(str(number) * 1000)
            meet.wait()

        try:
            files.write_whole(tmp_path / "c", content)
        except OSError as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and os.listdir(tmp_path) == ["c"]
    text = (tmp_path / "c").read_text()
    assert len(text) == 1000 and len(set(text)) == 1


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fails(path):
        path.write_text("half")
        raise KeyError("a fault of the program, which is no fault of the disk")

    with pytest.raises(KeyError):
        files.write_whole(tmp_path / "c", fails)
    assert os.listdir(tmp_path) == []
    before = os.umask(0o027)
    files.write_whole(tmp_path / "c", lambda path: path.write_text("whole"))
    os.umask(before)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640  # as any file of the user's
