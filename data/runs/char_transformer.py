"""Depth at equal weights and equal time, beside a Transformer and an LSTM: the runs of lesson 14.

    python data/runs/char_transformer.py

Each model is trained at three rates with the first seed, for the first of the times; the rate that
is best on the validation plays is used with all seeds and times, and scored on the test plays.
Every model predicts with about 240,000 weights; the classifiers that only the training uses are not
among them. The deep stacks begin at the frequencies of bytes: from a plain start they stay there at
first. Equal time means steps = seconds / cost of a step, and the costs are measured here, side by
side. Three more rows leave one auxiliary loss out of the stack of eight layers, at the same times.
"""

import argparse
import os
import pathlib
import sys
import time

import torch

from minilib import lab
from minilib.char_transformer import CharTransformer, count_parameters
from minilib.lab import data, measure, weights
from minilib.lab.train import language_loss
from minilib.lstm import LSTM
from minilib.transformer import Transformer

BATCH, LENGTH = 8, 64
WIDTHS = {2: 92, 4: 64, 8: 46, 16: 32}  # 12 · depth · width² is about 200,000
MODELS = {
    **{f"depth {n}": lambda n=n: CharTransformer(256, WIDTHS[n], n, 2, LENGTH) for n in WIDTHS},
    "Transformer": lambda: Transformer(256, 64, 4, 2, LENGTH),
    "LSTM": lambda: LSTM(256, 132),
}
LEFT_OUT = {  # how the loss of the stack of eight layers is changed
    "no intermediate losses": ("progress", 1.0),
    "no second target": ("second", 0.0),
    "only the last place": ("places", 1),
}
MODELS |= {name: MODELS["depth 8"] for name in LEFT_OUT}
RATES = {name: (1.5e-3, 3e-3, 6e-3) for name in MODELS}
RATES["only the last place"] = (3.75e-4, 7.5e-4, 1.5e-3)
RATES |= {"Transformer": (3e-3, 6e-3, 1.2e-2), "LSTM": (4e-3, 8e-3, 1.6e-2)}


def made(name, seed, text):
    """A fresh model, its loss, and what its batches go through."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    if not isinstance(model, CharTransformer):
        return model, language_loss, lambda batches, steps: batches
    model.start_at_frequencies(torch.tensor([list(text)]))
    if name in LEFT_OUT:
        setattr(model, *LEFT_OUT[name])
    if model.progress == 1:  # no schedule: the lower layers never pay
        return model, CharTransformer.loss, lambda batches, steps: batches
    return model, CharTransformer.loss, model.scheduled


def step_seconds():
    """Cost of a step of each model; with the schedule, the mean over a whole training."""
    batch = torch.randint(256, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    calls = {}
    for name in MODELS:
        model, loss, _ = made(name, 0, b"any")
        optimizer = torch.optim.AdamW(model.parameters())
        with_schedule = getattr(model, "progress", 1.0) < 1
        for progress in (0.05, 0.15, 0.25, 0.35, 0.45, 1.0) if with_schedule else (1.0,):

            def step(model=model, loss=loss, optimizer=optimizer, progress=progress):
                model.progress = progress
                optimizer.zero_grad()
                loss(model, batch).backward()
                optimizer.step()

            calls[name, progress] = step
    taken, costs = measure.seconds_in_turn(calls, 3), {}
    for name in MODELS:
        early = [value for key, value in taken.items() if key[0] == name and key[1] < 1]
        late = taken[name, 1.0]  # half of the training
        costs[name] = (sum(early) / len(early) + late) / 2 if early else late
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, nargs="+", default=[12, 40], help="of training")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    out = pathlib.Path(__file__).with_suffix(".json")
    if out.exists() and not options.overwrite:
        parser.error(f"{out.name} is there already: --overwrite replaces it")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    started, split = time.perf_counter(), data.shakespeare("play")
    runs = []
    for name, cost in step_seconds().items():
        rates = RATES[name]
        for seconds in options.seconds:
            row = {"model": name, "seconds": seconds, "steps": round(seconds / cost)}
            runs += trained(row | {"step_seconds": round(cost, 5)}, rates, options.seeds, split)
            rates = [runs[-1]["lr"]]
    record = {
        "command": f"python data/runs/char_transformer.py {' '.join(sys.argv[1:])}".strip(),
        "commit": weights._commit(),
        "device": f"CPU, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "batch": BATCH,
        "length": LENGTH,
        "runs": runs,
    }
    data.write_runs(out, record)
    print(f"wrote {out.name} ({record['minutes']} min)")


def trained(row, rates, seeds, split):
    """The row at every rate with the first seed, at the best one with the others."""
    found = {}
    for lr in rates:
        found[lr] = one_run(row, lr, seeds[0], split)
    best = min(found, key=lambda lr: found[lr][0]["validation"])
    chosen = [found[best], *(one_run(row, best, seed, split) for seed in seeds[1:])]
    for run, model in chosen:
        test = split.test[:16_000]
        run["test"] = round(lab.bits_per_byte(model, test, context=LENGTH), 4)
        print(run, flush=True)
    others = [run for lr, (run, _) in found.items() if lr != best]
    return others + [run for run, _ in chosen]


def one_run(row, lr, seed, split):
    model, loss, scheduled = made(row["model"], seed, split.train)
    batches = data.windows(split.train, batch=BATCH, length=LENGTH, seed=seed)
    batches, steps = scheduled(batches, row["steps"]), row["steps"]
    lab.fit(model, batches, steps=steps, lr=lr, loss=loss, seed=seed, progress=False)
    score = lab.bits_per_byte(model, split.validation[:8_000], context=LENGTH)
    size = sum(p.numel() for p in model.parameters())
    if isinstance(model, CharTransformer):
        size -= count_parameters(256, WIDTHS[len(model.blocks)], len(model.blocks), LENGTH)[1]
    run = row | {"lr": lr, "seed": seed, "parameters": size, "validation": round(score, 4)}
    return run, model


if __name__ == "__main__":
    main()
