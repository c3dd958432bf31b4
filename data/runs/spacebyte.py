"""SpaceByte beside fixed patches, a Transformer and MegaByte at equal cost: the runs of lesson 28.

    python data/runs/spacebyte.py

All four cost about the same multiply-adds per byte. Equal time: steps = seconds / cost of a step,
where costs are processor time, measured here, side by side. Part "rate": each model is trained for
a short time at two rates, with the first seed. Part "long": with all seeds, for a longer time, at
the rate that was better on the validation plays. Where this is the higher one, both are tried again
with the first seed, as longer training asks for lower rates, and the better one is used. Windows of
128 bytes, eight a batch. Fixed patches have 5 bytes: the average of SpaceByte's is 5.3, so that the
control runs its global blocks a little more often.

Part "equal": equal multiply-adds, counted, in place of equal time. SpaceByte takes as many steps as
in part "long", the others as many as they get for the same number of multiply-adds, with the rates
of part "long".

Scored are rows of 128 bytes of the test plays, from byte 16 on: all together, and by the place in
the word, which is how many bytes lie between a byte and the last boundary before it. In part
"equal" also what each place loses, in bits, when the global blocks are switched off ("lost").

The record is written after every run. A call that is stopped (--stop-after) is continued by the
next one, which keeps the runs that are there.
"""

import argparse
import itertools
import math
import os
import pathlib
from unittest import mock

import torch

from minilib import lab, megabyte, spacebyte
from minilib.lab import data, measure
from minilib.lab.train import language_loss
from minilib.megabyte import MegaByte
from minilib.spacebyte import SpaceByte, boundaries
from minilib.transformer import Transformer

MODELS = {
    "SpaceByte": SpaceByte,
    "fixed patches": lambda: SpaceByte(patch=5),
    "Transformer": lambda: Transformer(width=64, layers=3, context=128),
    "MegaByte": MegaByte,
}
RATES = 8e-3, 1.6e-2
PLACES = 8  # the last one: this place and all behind it
SCORED = 30_000  # bytes


def step_seconds():
    """Cost of a training step of each model, in processor time."""
    ids, calls = torch.randint(32, 127, (8, 129)), {}
    for name, make in MODELS.items():
        model = make()
        optimizer = torch.optim.AdamW(model.parameters())

        def step(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            language_loss(model, ids).backward()
            optimizer.step()

        calls[name] = step
    return {k: round(cost, 5) for k, cost in measure.seconds_in_turn(calls, 9).items()}


def products(text):
    """Multiply-adds of each model for a byte, counted, in windows of 128 bytes."""
    T, some = 128, torch.tensor(list(text[:200_000]))
    patches = round(T * len(spacebyte.patch_lengths(some)) / len(some))
    sizes = 64, 128, 1, 2, 1, 64, 128
    counted = {
        "SpaceByte": spacebyte.multiply_adds(T, patches, *sizes),
        "fixed patches": spacebyte.multiply_adds(T, -(-T // 5), *sizes),
        "Transformer": spacebyte.multiply_adds(T, 0, 64, 64, 3, 0, 0, T, 1),
        "MegaByte": megabyte.multiply_adds(T, 4, 128, 2, 64, 1),
    }
    return {name: round(sum(parts) / T) for name, parts in counted.items()}


def places(rows):
    """Of each byte of rows (batch, T): bytes since the last boundary before it, 0 … PLACES - 1."""
    steps = torch.arange(rows.shape[1]).expand_as(rows)
    last = torch.where(boundaries(rows), steps, 0).cummax(1).values
    place = torch.zeros_like(rows)
    place[:, 1:] = (steps[:, 1:] - 1 - last[:, :-1]).clamp(max=PLACES - 1)
    return place


@torch.no_grad()
def scores(model, text):
    """Bits per byte of bytes 16 … 127 of all rows, and by place."""
    rows = torch.tensor(list(text[: SCORED // 128 * 128])).view(-1, 128)
    logits = model(rows)[:, 15:-1].transpose(1, 2)
    bits = torch.nn.functional.cross_entropy(logits, rows[:, 16:], reduction="none") / math.log(2)
    place = places(rows)[:, 16:]
    by_place = [round(bits[place == p].mean().item(), 4) for p in range(PLACES)]
    return round(bits.mean().item(), 4), by_place


def one_run(part, name, rate, seed, steps, split):
    torch.manual_seed(seed)
    model = MODELS[name]()
    batches = data.windows(split.train, batch=8, length=128, seed=seed)
    lab.fit(model, batches, steps=steps, lr=rate, seed=seed, progress=False)
    run = {"part": part, "model": name, "lr": rate, "seed": seed, "steps": steps}
    run |= {"parameters": sum(p.numel() for p in model.parameters())}
    run["validation"] = scores(model, split.validation)[0]
    run["test"], run["by_place"] = scores(model, split.test)
    if part == "equal" and isinstance(model, SpaceByte):
        with mock.patch.object(SpaceByte, "_starts", lambda self, ids, state: ids < 0):
            alone = scores(model, split.test)[1]
        run["lost"] = [round(a - b, 4) for a, b in zip(alone, run["by_place"], strict=True)]
    return run


def best_rate(runs):
    return min(runs, key=lambda run: run["validation"])["lr"]


def equal_runs(seeds, steps, split, done):
    """Those at equal multiply-adds; steps of SpaceByte."""
    counted = products(split.train)
    for seed in seeds:
        for name in MODELS:
            of_model = [run for run in done if run["model"] == name]
            long = [r for r in of_model if (r["part"], r["seed"]) == ("long", seeds[0])]
            if (seed, "equal") not in {(run["seed"], run["part"]) for run in of_model}:
                as_many = round(steps * counted["SpaceByte"] / counted[name])
                yield one_run("equal", name, best_rate(long), seed, as_many, split)


def all_runs(seeds, seconds, costs, split, done):
    """Every run at equal time that is not done yet; seconds of training of each part."""
    for part, tried in (("rate", seeds[:1]), ("long", seeds)):
        for seed in tried:
            for name in MODELS:
                of_model = [run for run in done if run["model"] == name]
                first = [run for run in of_model if run["seed"] == seeds[0]]
                rates = RATES
                if part == "long":
                    highest = best_rate([run for run in first if run["part"] == "rate"])
                    rates = [rate for rate in RATES if rate <= highest]
                if seed != seeds[0]:
                    rates = [best_rate([run for run in first if run["part"] == "long"])]
                of_model = [run for run in of_model if run["part"] == part]
                known = {run["lr"] for run in of_model if run["seed"] == seed}
                steps = round(seconds[part] / costs[name])
                for rate in rates:
                    if rate not in known:
                        yield one_run(part, name, rate, seed, steps, split)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--short", type=float, default=6, help="seconds of training, part rate")
    parser.add_argument("--long", type=float, default=12, help="the same, part long")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds of this call")
    parser.add_argument("--out", type=pathlib.Path, help="another file for the record")
    options = parser.parse_args()
    out = options.out or pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    split = data.shakespeare("play")
    seconds = {"rate": options.short, "long": options.long}
    record = data.begin_runs(
        out, "python data/runs/spacebyte.py", seconds=seconds, costs=step_seconds
    )
    record.setdefault("products", products(split.train))
    settings = record["seconds"], record["costs"], split, record["runs"]
    new = all_runs(options.seeds, *settings)
    steps = round(record["seconds"]["long"] / record["costs"]["SpaceByte"])
    more = equal_runs(options.seeds, steps, split, record["runs"])
    data.add_runs(out, record, itertools.chain(new, more), options.stop_after)


if __name__ == "__main__":
    main()
