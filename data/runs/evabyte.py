"""EvaByte beside Transformers at equal time, and what a step costs: the runs of lesson 30.

    python data/runs/evabyte.py

Equal time: steps = seconds / cost of a step. Costs are processor time, measured here, side by side.

All models are 64 wide, with 3 layers, and read eight rows of 256 bytes a step. Each is trained at
two rates with the first seed; the one that is better on the validation plays is used with all
seeds. The test plays are scored in windows of 256 bytes (lab.bits_per_byte). What a step on one
row of 2,048 bytes costs ("long") is measured only.

For models with eight heads the record holds how often each head's best byte is the right one, and
how many bytes a call brings in self-verified decoding, as a chain.

The record is written after every run. A call that is stopped (--stop-after) is continued by the
next one, which keeps the runs that are there.
"""

import argparse
import math
import os
import pathlib

import torch

from minilib import lab
from minilib.evabyte import EvaByte, self_verified
from minilib.lab import data, measure
from minilib.lab.train import language_loss
from minilib.transformer import Transformer

SIZES = {"width": 64, "layers": 3, "heads": 4}
MODELS = {  # name: (model, rows of a batch, their length)
    "Transformer": (lambda: Transformer(**SIZES, context=256), 8, 256),
    "sliding window": (lambda: Transformer(**SIZES, context=64), 8, 256),
    "EvaByte, one head": (lambda: EvaByte(**SIZES, ahead=1), 8, 256),
    "EvaByte, eight heads": (lambda: EvaByte(**SIZES), 8, 256),
}
LONG = {
    "Transformer, long": (lambda: Transformer(**SIZES, context=2048), 1, 2048),
    "EvaByte, long": (lambda: EvaByte(**SIZES, ahead=1), 1, 2048),
}
RATES = 5e-3, 1e-2
SCORED = 10_000  # bytes


def loss_of(model):
    return getattr(type(model), "loss", language_loss)


def step_seconds():
    """Cost of a training step of each model."""
    calls = {}
    for name, (make, batch, length) in (MODELS | LONG).items():
        model, ids = make(), torch.randint(256, (batch, length + 1))
        optimizer = torch.optim.AdamW(model.parameters())

        def step(model=model, optimizer=optimizer, ids=ids):
            optimizer.zero_grad()
            loss_of(model)(model, ids).backward()
            optimizer.step()

        calls[name] = step
    return {name: round(cost, 5) for name, cost in measure.seconds_in_turn(calls, 3).items()}


@torch.no_grad()
def of_the_heads(model, text):
    """(how often each head is right, bytes that a call brings) on a text."""
    ids = torch.tensor(list(text[:16_384])).view(-1, 256)
    x, _ = model.hidden(ids, model.init_state(len(ids)))
    best = model.multibyte(x).argmax(-1)
    right = [
        (best[:, : 255 - j, j] == ids[:, 1 + j :]).float().mean().item() for j in range(model.ahead)
    ]
    prompts = torch.tensor(list(text[: 4 * 2_000])).view(4, -1)[:, :100]
    written = [self_verified(model, prompt[None], 150).taken for prompt in prompts]
    return [round(x, 4) for x in right], round(4 * 150 / sum(map(len, written)), 3)


def one_run(name, rate, seed, seconds, costs, split):
    make, batch, length = MODELS[name]
    torch.manual_seed(seed)
    model, steps = make(), round(seconds / costs[name])
    batches = data.windows(split.train, batch=batch, length=length, seed=seed)
    how = {"steps": steps, "lr": rate, "seed": seed, "loss": loss_of(model)}
    lab.fit(model, batches, **how, progress=False)
    run = {"model": name, "lr": rate, "seed": seed, "steps": steps}
    run["parameters"] = sum(p.numel() for p in model.parameters())
    for part in ("validation", "test"):
        text = getattr(split, part)[:SCORED]
        run[part] = round(lab.bits_per_byte(model, text, context=length), 4)
    if getattr(model, "ahead", 1) > 1:
        run["accuracy"], run["bytes_per_call"] = of_the_heads(model, split.test)
    return run


def all_runs(seeds, seconds, costs, split, done):
    """Every run that is not done yet. A rate is chosen when all of the first seed are done."""
    for seed in seeds:
        for name in MODELS:
            rates = RATES
            first = [r for r in done if r["model"] == name and r["seed"] == seeds[0]]
            if seed != seeds[0]:
                rates = [min(first, key=lambda run: run["validation"])["lr"]]
            known = {r["lr"] for r in done if r["model"] == name and r["seed"] == seed}
            for rate in rates:
                if rate not in known:
                    yield one_run(name, rate, seed, seconds, costs, split)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=6, help="of training")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds of this call")
    parser.add_argument("--out", type=pathlib.Path, help="another file for the record")
    options = parser.parse_args()
    out = options.out or pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    split = data.shakespeare("play")
    record = data.begin_runs(
        out, "python data/runs/evabyte.py", seconds=options.seconds, costs=step_seconds
    )
    settings = record["seconds"], record["costs"], split, record["runs"]
    data.add_runs(out, record, all_runs(options.seeds, *settings), options.stop_after)


if __name__ == "__main__":
    main()
