"""Training: it learns, resumes to the bit, refuses by name, and one process does what two do."""

import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

import minilib
from minilib import lab
from minilib.lab import data
from minilib.lstm import LSTM

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


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


class Untaught(minilib.language_model.LanguageModel):
    vocab_size = 256


def test_fit_refuses():
    with pytest.raises(ValueError, match="parameters that require gradients, LSTM has none"):
        train(small().requires_grad_(False))
    with pytest.raises(ValueError, match="parameters that require gradients, Untaught has none"):
        train(Untaught())
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
