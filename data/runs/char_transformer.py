"""Depth at equal weights, steps and time, beside a Transformer and an LSTM: the runs of lesson 14.

    python data/runs/char_transformer.py [--seeds 0 1 2] [--stop-after SECONDS]

Every model predicts with about 240,000 weights; the classifiers that only the training uses are not
among them. The deep stacks begin at the frequencies of bytes: from a plain start they stay there at
first. Four more rows leave an auxiliary loss out of a stack. STEPS are about 12 and 40 seconds, and
748 steps for all stacks. The time of a training is its steps times "costs", seconds of a step: they
are measured side by side when a record begins.

Each model is trained at several rates with the first seed for the fewest steps. The rate that is
best on the validation plays is used with all seeds and steps; the test plays choose nothing.

The record is written after every run. A call that is stopped (--stop-after) is continued by the
same command.
"""

import argparse
import math
import os
import pathlib

import torch

from minilib import lab
from minilib.char_transformer import CharTransformer, count_parameters
from minilib.lab import data, measure
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
LEFT_OUT = {  # how the loss of a stack is changed
    "no intermediate losses": ("depth 8", "progress", 1.0),
    "no second target": ("depth 8", "second", 0.0),
    "only the last place": ("depth 8", "places", 1),
    "depth 16, no intermediate losses": ("depth 16", "progress", 1.0),
}
MODELS |= {name: MODELS[stack] for name, (stack, _, _) in LEFT_OUT.items()}
STEPS = {
    "depth 2": (621, 748, 2068),
    "depth 4": (494, 748, 1646),
    "depth 8": (345, 748, 1151),
    "depth 16": (224, 748),
    "Transformer": (399, 1331),
    "LSTM": (790, 2635),
    "no intermediate losses": (353, 1178),
    "no second target": (355, 1184),
    "only the last place": (387, 1289),
    "depth 16, no intermediate losses": (224, 748),
}
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
        setattr(model, *LEFT_OUT[name][1:])
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
    taken, costs = measure.seconds_in_turn(calls, 9), {}
    for name in MODELS:
        early = [value for key, value in taken.items() if key[0] == name and key[1] < 1]
        late = taken[name, 1.0]  # half of the training
        costs[name] = (sum(early) / len(early) + late) / 2 if early else late
    return {name: round(cost, 5) for name, cost in costs.items()}


def all_runs(seeds, split, done):
    """Every run that is not done yet. A rate is chosen when all of the first seed are done."""
    for name in MODELS:
        rates = RATES[name]
        for steps in STEPS[name]:
            for seed in seeds:
                same = [r for r in done if (r["model"], r["seed"]) == (name, seed)]
                known = {r["lr"]: r["validation"] for r in same if r["steps"] == steps}
                for lr in rates:
                    if lr not in known:
                        run = one_run(name, steps, lr, seed, split)
                        known[lr] = run["validation"]
                        yield run
                rates = [min(rates, key=known.get)]


def one_run(name, steps, lr, seed, split):
    model, loss, scheduled = made(name, seed, split.train)
    batches = data.windows(split.train, batch=BATCH, length=LENGTH, seed=seed)
    batches = scheduled(batches, steps)
    lab.fit(model, batches, steps=steps, lr=lr, loss=loss, seed=seed, progress=False)
    size = sum(p.numel() for p in model.parameters())
    if isinstance(model, CharTransformer):
        size -= count_parameters(256, WIDTHS[len(model.blocks)], len(model.blocks), LENGTH)[1]
    run = {"model": name, "steps": steps, "lr": lr, "seed": seed, "parameters": size}
    for part, text in (("validation", split.validation[:8_000]), ("test", split.test[:16_000])):
        run[part] = round(lab.bits_per_byte(model, text, context=LENGTH), 4)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds of this call")
    parser.add_argument("--out", type=pathlib.Path, help="another file for the record")
    options = parser.parse_args()
    out = options.out or pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    split = data.shakespeare("play")
    record = data.begin_runs(
        out, "python data/runs/char_transformer.py", batch=BATCH, length=LENGTH, costs=step_seconds
    )
    new = all_runs(options.seeds, split, record["runs"])
    data.add_runs(out, record, new, options.stop_after)


if __name__ == "__main__":
    main()
