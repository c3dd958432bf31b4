"""Training: it learns, stops when asked to, takes no bad step, leaves all else as it was."""

import json
import math
import random
import signal
import threading

import numpy as np
import pytest
import torch

import minilib
from minilib import lab
from minilib.lab import data
from minilib.lstm import LSTM

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40
BATCHES = data.windows(TEXT, batch=4, length=16)


def small(seed=0):
    torch.manual_seed(seed)
    return LSTM(256, 8)


def train(model, steps=12, batches=BATCHES, **options):
    return lab.fit(model, batches, steps=steps, lr=0.02, progress=False, **options)


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_fit_learns_and_keeps_its_history():
    model = small()
    history = train(model, 60, validate=lambda m: lab.bits_per_byte(m, TEXT[:200]), every=20)
    assert len(history.loss) == 60
    assert abs(history.loss[0] - math.log(256)) < 0.1  # a fresh net guesses uniformly
    assert history.loss[-1] < 0.7 * history.loss[0]
    assert [step for step, _ in history.validation] == [20, 40, 60]
    assert not (history.stopped or model.training)
    axes = history.plot()
    assert axes.get_xlabel() == "step" and axes.get_ylabel() == "bits per symbol"


def test_a_history_of_one_step_is_seen_and_one_of_none_refused():
    line = train(small(), 1).plot().lines[0]
    assert len(line.get_xdata()) == 1 and line.get_marker() not in (None, "None", "")
    with pytest.raises(ValueError, match="nothing to plot: no step"):
        train(small(), batches=raising(0)).plot()


def test_the_schedule_rises_and_falls_to_zero():
    factors = [lab.train._schedule(step, 100, 0.1) for step in range(100)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    assert max(factors) == 1.0 and factors[-1] == 0.0
    assert sorted(factors[10:], reverse=True) == factors[10:]


def test_steps_are_as_long_as_the_schedule_says():
    """AdamW's step in the direction of an unchanging gradient is the rate itself."""
    slope = lambda model, ids: sum(p.sum() for p in model.parameters())
    model, seen = small().double(), []

    def batches(step):
        seen.append(model.output.detach().clone())
        return BATCHES(step)

    train(model, 10, batches, loss=slope, warmup=0.5)
    for step, (before, after) in enumerate(zip(seen, [*seen[1:], model.output], strict=True)):
        rate = 0.02 * lab.train._schedule(step, 10, 0.5)
        torch.testing.assert_close(before - after, torch.full_like(before, rate), rtol=1e-4, atol=0)


# -- the caller's things -------------------------------------------------------------------------


def draws():
    return torch.rand(2).tolist(), random.random(), np.random.rand()


def test_fit_leaves_the_generators_alone():
    after = []
    for seed in (3, 4):
        for make in (torch.manual_seed, random.seed, np.random.seed):
            make(seed)
        expected = draws()
        model = small()
        for make in (torch.manual_seed, random.seed, np.random.seed):
            make(seed)
        train(model, 2, validate=lambda model: draws()[1])
        after.append(draws())
        assert after[-1] == expected
    assert not after[0] == after[1]  # so different seeds around a fit stay different


def test_what_a_step_draws_depends_on_seed_and_step_alone():
    seen = {}

    def batches(step):
        seen.setdefault(seed, []).append(draws())
        return BATCHES(step)

    for seed in (0, 1, 0):
        train(small(), 3, batches, seed=seed)
    assert seen[0][:3] == seen[0][3:]
    drawn = [str(numbers) for numbers in seen[0][:3] + seen[1]]
    assert len(set(drawn)) == 6


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_fit_trains_where_gradients_are_switched_off(off):
    model, same = small(), small()
    history = train(same)
    with off():
        assert train(model).loss == history.loss
        assert not torch.is_grad_enabled()
    assert same_weights(model, same)


def test_fit_runs_in_a_thread():
    """Where no Ctrl-C ever comes, and none can be waited for."""
    history = []
    thread = threading.Thread(target=lambda: history.append(train(small(), 2)))
    thread.start()
    thread.join()
    assert len(history[0].loss) == 2


# -- Ctrl-C ----------------------------------------------------------------------------------------


def press():
    signal.raise_signal(signal.SIGINT)


def pressing(at, times=1):
    """Batches in the course of which Ctrl-C is pressed."""

    def batches(step):
        for _ in range(times * (step == at)):
            press()
        return BATCHES(step)

    return batches


def raising(at):
    def batches(step):
        if step == at:
            raise KeyboardInterrupt
        return BATCHES(step)

    return batches


@pytest.mark.parametrize(
    "batches,done",
    [(pressing(4), 5), (pressing(4, times=2), 4), (raising(4), 4)],
    ids=["once", "twice", "raised"],
)
def test_ctrl_c_keeps_what_was_done(tmp_path, capsys, batches, done):
    """Once: the step under way is finished. Twice: it is not taken."""
    whole = small()
    history = train(whole)
    model = small()
    first = train(model, batches=batches, checkpoint=tmp_path / "c", every=6)
    assert first.loss == history.loss[:done] and first.stopped and not model.training
    words = f"stopped after step {done} of 12: checkpoint '{tmp_path}/c' holds {done} steps\n"
    assert capsys.readouterr().out == words
    resumed = small(seed=1)
    again = train(resumed, checkpoint=tmp_path / "c", every=6)
    assert again.loss == history.loss and not again.stopped
    assert same_weights(whole, resumed)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_without_a_checkpoint_returns_what_there_is(capsys):
    model = small()
    assert len(train(model, batches=raising(3)).loss) == 3
    assert capsys.readouterr().out == "stopped after step 3 of 12: nothing is saved\n"
    assert not same_weights(model, small())
    assert train(small(), batches=raising(0)).loss == []


def test_a_script_learns_of_ctrl_c_in_the_last_step_too(capsys):
    history = train(small(), 3, batches=pressing(2))
    assert len(history.loss) == 3 and history.stopped
    assert capsys.readouterr().out == "stopped after step 3 of 3: nothing is saved\n"


def test_no_step_is_left_half_done(monkeypatch):
    """However often it is pressed, an optimiser's step ends, and the history knows of it."""
    take_step = torch.optim.AdamW.step

    def pressed(self):
        press()
        press()
        press()
        return take_step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", pressed)
    model = small()
    assert len(train(model).loss) == 1
    monkeypatch.undo()
    same = small()
    train(same, batches=raising(1))
    assert same_weights(model, same)


# -- steps that must not be taken ------------------------------------------------------------------


def at_step(bad, number):
    """A loss that is as usual until a step and then makes the gradient what `bad` makes it."""
    calls = []

    def loss(model, ids):
        calls.append(None)
        value = lab.train.language_loss(model, ids)
        return bad(value) if len(calls) == number + 1 else value

    return loss


class Steep(torch.autograd.Function):
    """Finite, with a gradient that is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * math.inf


@pytest.mark.parametrize(
    "bad,words",
    [
        (lambda value: value * math.nan, "loss must stay finite, got nan"),
        (lambda value: value * math.inf, "loss must stay finite, got inf"),
        (Steep.apply, "norm of the gradient must stay finite, got (inf|nan)"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_a_diverged_step_is_not_taken_and_not_saved(tmp_path, bad, words):
    model, before = small(), small()
    train(before, batches=raising(5))
    options = {"checkpoint": tmp_path / "c", "every": 3, "loss": at_step(bad, 5)}
    end = rf"{words} at step 5, .*: try a smaller lr than 0.02; checkpoint '.*c' holds 3 steps$"
    with pytest.raises(ValueError, match=end):
        train(model, **options)
    assert same_weights(model, before) and not model.training
    assert len(torch.load(tmp_path / "c", weights_only=True)["history"]["loss"]) == 3


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    """A loss and a gradient can be finite in the step that ends beyond all numbers."""
    slope = lambda model, ids: 1e-3 * sum(p.sum() for p in model.parameters())
    options = {"loss": slope, "weight_decay": 1e37, "checkpoint": tmp_path / "c", "every": 1}
    with pytest.raises(ValueError, match="parameters must stay finite; after step 1 they are not"):
        train(small(), **options)
    assert len(torch.load(tmp_path / "c", weights_only=True)["history"]["loss"]) == 1


class Untaught(minilib.language_model.LanguageModel):
    vocab_size = 256


@pytest.mark.parametrize(
    "options,words",
    [
        ({"steps": 0}, "steps must be at least 1 and lr positive, at most 1e30, got 0"),
        ({"warmup": 2}, r"warmup must lie in \[0, 1\], clip be positive, got 2 and 1.0"),
        ({"clip": 0}, r"clip be positive, got 0.02 and 0"),
        ({"every": -1}, "every and accumulate must be at least 1, got -1 and 1"),
        ({"loss": at_step(lambda x: x * math.nan, 0)}, "got nan at step 0, .*; nothing is saved"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_fit_refuses(options, words):
    model = small()
    with pytest.raises(ValueError, match=words):
        train(model, **options)
    assert same_weights(model, small())


def test_fit_refuses_what_has_nothing_to_train():
    with pytest.raises(ValueError, match="parameters that require gradients, LSTM has none"):
        train(small().requires_grad_(False))
    with pytest.raises(ValueError, match="parameters that require gradients, Untaught has none"):
        train(Untaught())
    with pytest.raises(ValueError, match="lr positive, at most 1e30, got 1 and nan"):
        lab.fit(small(), BATCHES, steps=1, lr=math.nan)


# -- the log ---------------------------------------------------------------------------------------


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_has_each_step_once_and_can_be_read_meanwhile(tmp_path):
    log, read = tmp_path / "log", []

    def batches(step):
        if step == 5:
            read.extend(lines(log))
        return raising(8)(step)

    options = {"checkpoint": tmp_path / "c", "log": log}
    train(small(), batches=batches, **options)
    assert [line["step"] for line in read] == [0, 1, 2, 3, 4]
    with open(log, "a") as file:  # steps that the checkpoint does not know of, one cut off
        file.write('{"step": 8, "loss": 1}\n{"step": 9, "lo')
    history = train(small(), **options)
    found = lines(log)
    assert [line["step"] for line in found] == list(range(12))
    assert [line["loss"] for line in found] == history.loss
    assert [line["lr"] for line in found] == [
        0.02 * lab.train._schedule(step, 12, 0.02) for step in range(12)
    ]
    seconds = [line["seconds"] for line in found]
    assert seconds == sorted(seconds) and seconds[-1] <= history.seconds
    assert min(line["symbols_per_second"] for line in found) > 0


def test_a_log_of_another_run_is_not_overwritten(tmp_path):
    train(small(), 2, log=tmp_path / "log")
    there = (tmp_path / "log").read_bytes()
    with pytest.raises(ValueError, match=r"log '.*log' is of another run: delete it or give"):
        train(small(), 2, log=tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == there
