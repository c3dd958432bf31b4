"""Parts and processes: however a batch is divided, a model learns the same.

`torchrun --nproc-per-node=2 tests/test_parallel.py FOLDER` is what two processes do.
"""

import inspect
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import minilib
from minilib import lab, twins
from minilib.lab.parallel import share
from minilib.language_model import LanguageModel

# FSDP2 on a CPU needs a stream that records events, which that of torch 2.6 does not
SHARDS = hasattr(torch.cpu.Stream, "record_event")
ROWS = 5  # of a batch: three and two


def models():
    """{name: model}: each language model that can be trained, in float64, for each of its cases."""
    made = {}
    for pair in twins.load():
        if inspect.isclass(pair.fast) and issubclass(pair.fast, LanguageModel):
            for number, (arguments, *_) in enumerate(pair.cases(np.random.default_rng(0))):
                torch.manual_seed(0)
                model = pair.fast(**arguments).double()
                if any(p.requires_grad for p in model.parameters()):
                    made[f"{pair.fast.__name__} {number}"] = model
    return made


def largest():
    """{name: model}: for each class the case with the most parameters. In pieces each takes 1 s."""
    size = lambda name: sum(p.numel() for p in made[name].parameters())
    made = models()
    names = {name.split()[0]: name for name in sorted(made, key=size)}
    return {name: made[name] for name in names.values()}


def loss(model, ids):  # in float64
    logits = model(ids[:, :-1]).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())


def train(model, stop=None, **options):
    """What three steps give. In the one after `stop` a Ctrl-C reaches the last process."""

    def batches(step):
        if step == stop and int(os.environ.get("RANK", 1)) == 1:
            signal.raise_signal(signal.SIGINT)
        draw = torch.Generator().manual_seed(step)
        return torch.randint(model.vocab_size, (ROWS, 18), generator=draw)

    validate = lambda model: loss(model, batches(9)).item()
    options = {"validate": validate, "every": 2, "loss": loss, "progress": False, **options}
    history = lab.fit(model, batches, steps=3, lr=0.02, weight_decay=0.1, **options)
    numbers = [p.detach().abs().sum().item() for p in model.parameters()]
    return [history.loss, [value for _, value in history.validation], numbers]


def work(folder):
    """What two processes do: all models whole, some in pieces, and runs that begin elsewhere."""
    rank = int(os.environ["RANK"])

    def fresh(made):
        for p in (p for model in made.values() for p in model.parameters()):
            p.data *= rank == 0  # what counts are the first process's numbers
        return made

    lstm = lambda: fresh(models())["LSTM 1"]
    done = {name: train(model) for name, model in fresh(models()).items()}
    done["four parts"] = train(lstm(), accumulate=2)
    done["goes on"] = train(lstm(), checkpoint=folder / "went on")
    done["drawn"] = drawn(lstm())
    if SHARDS:
        for name, model in fresh(largest()).items():
            done[f"{name} in pieces"] = train(model, shard=True, accumulate=2)
        done["pieces go on"] = train(lstm(), checkpoint=folder / "began", shard=True)
        done["stopped"] = train(lstm(), 1, checkpoint=folder / "pieces", shard=True)
    else:
        with pytest.raises(ValueError, match="shard=True on a CPU needs a newer torch"):
            train(lstm(), shard=True)
    alone = folder / f"of {rank}"  # a disk of its own
    if rank == 0:
        shutil.copy(folder / "went on", alone)
    with pytest.raises(ValueError, match="checkpoint must be a file that every process sees"):
        train(lstm(), checkpoint=alone)
    if rank == 0:
        (folder / "two.json").write_text(json.dumps(done))


def drawn(model):
    """What each process draws in its loss, step by step."""
    mine, all_of_them = [], [None, None]

    def drawing(model, ids):
        mine.append(torch.rand(()).item())
        return loss(model, ids)

    train(model, loss=drawing, validate=None)
    torch.distributed.all_gather_object(all_of_them, mine)
    return all_of_them


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Results of two processes, and the folder with what they wrote."""
    folder = tmp_path_factory.mktemp("two")
    stopped = train(models()["LSTM 1"], 1, checkpoint=folder / "began")
    assert len(stopped[0]) == 2
    shutil.copy(folder / "began", folder / "went on")
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(minilib.__file__).parents[1])}
    environment["CUDA_VISIBLE_DEVICES"] = ""  # two processes cannot share a GPU
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    done = subprocess.run(
        [sys.executable, *command, folder], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "two.json").read_text()), folder


@pytest.fixture(scope="module")
def one():
    """Results of one process, which takes each batch in two parts."""
    return {name: train(model, accumulate=2) for name, model in models().items()}


def agree(some, others):
    for mine, theirs in zip(some, others, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", models())
def test_two_processes_train_like_two_parts(one, two, name):
    agree(two[0][name], one[name])
    assert len(set(one[name][0])) == 3 or name == "CharRNN 0"  # of one symbol: nothing to learn


@pytest.mark.skipif(not SHARDS, reason="torch 2.6 cannot shard on a CPU")
@pytest.mark.parametrize("name", largest())
def test_a_model_in_pieces_trains_like_the_whole(one, two, name):
    agree(two[0][f"{name} in pieces"], one[name])


def test_parts_add_up_to_the_batch(one, two):
    whole = train(models()["LSTM 1"])
    agree(one["LSTM 1"], whole)
    agree(train(models()["LSTM 1"], accumulate=5), whole)
    agree(two[0]["four parts"], whole)


def test_a_run_goes_on_with_other_processes(one, two):
    results, folder = two
    agree(results["goes on"], one["LSTM 1"])
    if SHARDS:
        agree(results["pieces go on"], one["LSTM 1"])
        assert len(results["stopped"][0]) == 2  # both ended after the step of the Ctrl-C
        agree(train(models()["LSTM 1"], checkpoint=folder / "pieces"), one["LSTM 1"])


def test_processes_draw_each_for_itself(two):
    """As dropout does: no two masks are the same."""
    assert len({number for numbers in two[0]["drawn"] for number in numbers}) == 6


def test_shares_are_all_rows_once():
    x = torch.arange(14).view(7, 2)
    for parts in range(1, 8):
        found = [share((x, (x[:, 0],)), part, parts, "cpu") for part in range(parts)]
        rows = torch.cat([part[1][0] for part, _ in found])
        assert sorted(rows.tolist()) == x[:, 0].tolist()
        sizes = [len(part[0]) for part, _ in found]
        assert max(sizes) - min(sizes) <= 1
        assert [weight for _, weight in found] == [size / 7 for size in sizes]
    with pytest.raises(ValueError, match="a row for each part of each process, 8 in all, got 7"):
        share(x, 0, 8, "cpu")
    with pytest.raises(ValueError, match=r"one number of rows to be divided, got \[2, 7\]"):
        share((x, x[:2]), 0, 2, "cpu")


def test_pieces_need_processes():
    with pytest.raises(ValueError, match=r"torchrun --nproc-per-node=2 script\.py"):
        train(models()["LSTM 1"], shard=True)
    with pytest.raises(ValueError, match="every and accumulate must be at least 1, got 2 and 0"):
        train(models()["LSTM 1"], accumulate=0)


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")  # one for all runs, as a user may have done
    work(pathlib.Path(sys.argv[1]))
    torch.distributed.destroy_process_group()
