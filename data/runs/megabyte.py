"""MegaByte beside Transformers at equal time, on short and on long texts: the runs of lesson 27.

    python data/runs/megabyte.py

Equal time: steps = seconds / cost of a step. Costs are processor time, measured here, side by side.

Part "128": windows of 128 bytes, eight a batch, at the rate of the lesson; 150 steps of MegaByte,
and of the others as many as fit into their time. Scored as in the lesson: rows of 128 bytes of the
test plays, by the place of a byte in its patch, and once more with strided inference.

Part "2048": a step reads one long text of 2,048 bytes, or eight short ones of 128 bytes. Each row
is trained at two rates with the first seed; the one that is better on the validation plays is used
with all seeds. The same bytes of the test plays are predicted with more and more of the text before
them (windows of lab.bits_per_byte).

The record is written after every run. A call that is stopped (--stop-after) is continued by the
next one, which keeps the runs that are there.
"""

import argparse
import math
import os
import pathlib

import torch

from minilib import lab
from minilib.lab import data, measure
from minilib.lab.train import language_loss
from minilib.megabyte import MegaByte, strided_logits
from minilib.transformer import Transformer


def without_plan():
    """The speller alone: it sees the bytes of its own patch."""
    model = MegaByte(global_width=64, global_layers=0)
    model.to_local.data.zero_()
    model.to_local.requires_grad_(False)
    return model


VARIANTS = {
    "MegaByte": lambda: MegaByte(global_width=64),
    "without plan": without_plan,
    "Transformer": lambda: Transformer(width=64, layers=3),
    "convolutions": lambda: MegaByte(global_width=64, conv=True),
    "reach 4": lambda: MegaByte(global_width=64, reach=4),
}
RATES = 6e-3, 1.2e-2
LONG = [(rate, 1, 2048) for rate in RATES]  # rate, rows of a batch, their length
SHORT = [(rate, 8, 128) for rate in RATES]
ROWS = {  # a model of a context in bytes, and its settings
    "MegaByte, long": (lambda T: MegaByte(global_width=64, context=T // 4), LONG),
    "Transformer, short": (lambda T: Transformer(width=64, layers=3, context=T), SHORT),
    "Transformer, long": (lambda T: Transformer(width=64, layers=3, context=T), LONG),
}
CONTEXTS = 32, 128, 512, 2048
SCORED = 20_000  # bytes


def size_of(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def step_seconds(shapes):
    """Cost of a training step: {name: (model, batch, length)} -> {name: seconds}."""
    calls = {}
    for name, (model, batch, length) in shapes.items():
        ids = torch.randint(256, (batch, length + 1))
        optimizer = torch.optim.AdamW(model.parameters())

        def step(model=model, optimizer=optimizer, ids=ids):
            optimizer.zero_grad()
            language_loss(model, ids).backward()
            optimizer.step()

        calls[name] = step
    return measure.seconds_in_turn(calls, 5)


# -- part "128" ------------------------------------------------------------------------------------


@torch.no_grad()
def by_place(logits, rows, patch=4):
    """Bits of bytes 16 … 127 of every row, by the place in their patch."""
    logits, targets = logits[:, 15:-1].transpose(1, 2), rows[:, 16:]
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none") / math.log(2)
    return [round(x, 4) for x in loss.view(len(rows), -1, patch).mean((0, 1)).tolist()]


def variant(name, seed, costs, split):
    steps = round(150 * costs["MegaByte"] / costs[name])
    torch.manual_seed(seed)
    model = VARIANTS[name]()
    batches = data.windows(split.train, batch=8, length=128, seed=seed)
    lab.fit(model, batches, steps=steps, lr=8e-3, seed=seed, progress=False)
    rows = torch.tensor(list(split.test[: 20_000 // 128 * 128])).view(-1, 128)
    run = {"part": "128", "model": name, "seed": seed, "steps": steps}
    run |= {"parameters": size_of(model), "by_place": by_place(model(rows), rows)}
    if name == "MegaByte":
        run["strided"] = by_place(strided_logits(model, rows), rows)
    return run


# -- part "2048" -----------------------------------------------------------------------------------


def one_run(name, setting, seed, seconds, costs, split):
    rate, batch, length = setting
    cost = costs[key(name, batch, length)]
    torch.manual_seed(seed)
    model, steps = ROWS[name][0](length), round(seconds / cost)
    batches = data.windows(split.train, batch=batch, length=length, seed=seed)
    lab.fit(model, batches, steps=steps, lr=rate, seed=seed, progress=False)
    run = {"part": "2048", "model": name, "batch": batch, "length": length, "lr": rate}
    run |= {"seed": seed, "steps": steps, "step_seconds": cost, "parameters": size_of(model)}
    score = lab.bits_per_byte(model, split.validation[:SCORED], context=2048)
    run["validation"] = round(score, 4)
    scores = {T: lab.bits_per_byte(model, split.test[:SCORED], context=T) for T in CONTEXTS}
    run["test"] = {str(T): round(score, 4) for T, score in scores.items()}
    return run


def setting_of(run):
    return run["lr"], run["batch"], run["length"]


def key(name, batch, length):
    return f"{name}, {batch} x {length}"


def measured():
    """Costs of all steps, by name."""
    shapes = {name: (make(), 8, 128) for name, make in VARIANTS.items()}
    for name, (make, settings) in ROWS.items():
        for _, batch, length in settings:
            shapes[key(name, batch, length)] = make(length), batch, length
    return {name: round(cost, 5) for name, cost in step_seconds(shapes).items()}


def all_runs(seeds, seconds, costs, split, done):
    """Every run that is not done yet. A row's setting is chosen when all of seed 0 are done."""
    known = {(run["model"], run["seed"]) for run in done if run["part"] == "128"}
    for seed in seeds:
        for name in VARIANTS:
            if (name, seed) not in known:
                yield variant(name, seed, costs, split)
    for seed in seeds:
        for name, (_, settings) in ROWS.items():
            of_row = [run for run in done if run["part"] == "2048" and run["model"] == name]
            first = [run for run in of_row if run["seed"] == seeds[0]]
            if seed != seeds[0]:
                settings = [setting_of(min(first, key=lambda run: run["validation"]))]
            known = {setting_of(run) for run in of_row if run["seed"] == seed}
            for setting in settings:
                if setting not in known:
                    yield one_run(name, setting, seed, seconds, costs, split)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=12, help="of training in part 2048")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds of this call")
    parser.add_argument("--out", type=pathlib.Path, help="another file for the record")
    options = parser.parse_args()
    out = options.out or pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    split = data.shakespeare("play")
    record = data.begin_runs(
        out, "python data/runs/megabyte.py", seconds=options.seconds, costs=measured
    )
    settings = record["seconds"], record["costs"], split, record["runs"]
    data.add_runs(out, record, all_runs(options.seeds, *settings), options.stop_after)


if __name__ == "__main__":
    main()
