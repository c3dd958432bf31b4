"""Depth at equal weights and equal time, beside a Transformer and an LSTM: the runs of lesson 14.

    python data/runs/char_transformer.py

Each model is trained at two rates with the first seed; the rate that is better on the validation
plays is used with all seeds, and scored on the test plays. Every model predicts with about 240,000
weights; the classifiers that only the training uses are not among them. The deep stacks begin at
the frequencies of bytes (start_at_frequencies): from a plain start they stay there at first. Equal
time means steps = seconds / cost of a step, and the costs are measured here, side by side.
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
RATES = {name: (6e-3, 1.2e-2) for name in MODELS} | {"LSTM": (1.6e-2, 3.2e-2)}


def start_at_frequencies(model, text):
    """Logits begin at the log frequencies of text's bytes, and blocks near the identity.

    The bias of the top norm is a constant vector, and the norm's own output has mean 0 over its
    channels: so a row of the classifiers that grows by log p / (0.3 C) adds log p to its logit.
    """
    counts = torch.bincount(torch.tensor(list(text)), minlength=256) + 1.0
    log_p = (counts / counts.sum()).log()
    with torch.no_grad():
        for block in model.blocks:
            block.out *= 0.1
            block.down *= 0.1
            block.norm2.bias.fill_(0.3)
        model.classifiers += log_p[:, None] / (0.3 * model.embed.shape[1])


def made(name, seed, text):
    """A fresh model, its loss, and what its batches go through."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    if not name.startswith("depth"):
        return model, language_loss, lambda batches, steps: batches
    start_at_frequencies(model, text)
    return model, CharTransformer.loss, model.scheduled


def step_seconds():
    """Cost of a step of each model; with the schedule, the mean over a whole training."""
    batch = torch.randint(256, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    calls = {}
    for name in MODELS:
        model, loss, _ = made(name, 0, b"any")
        optimizer = torch.optim.AdamW(model.parameters())
        for progress in (0.05, 0.15, 0.25, 0.35, 0.45, 1.0) if name.startswith("depth") else (1.0,):

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
    parser.add_argument("--seconds", type=float, default=2.5, help="of training")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    out = pathlib.Path(__file__).with_suffix(".json")
    if out.exists() and not options.overwrite:
        parser.error(f"{out.name} is there already: --overwrite replaces it")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    started, split = time.perf_counter(), data.shakespeare("play")
    runs = []
    for name, cost in step_seconds().items():
        row = {"model": name, "steps": round(options.seconds / cost)}
        row |= {"step_seconds": round(cost, 5)}
        runs += trained(row, options.seeds, split)
    record = {
        "command": f"python data/runs/char_transformer.py {' '.join(sys.argv[1:])}".strip(),
        "commit": weights._commit(),
        "device": f"CPU, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "seconds": options.seconds,
        "batch": BATCH,
        "length": LENGTH,
        "runs": runs,
    }
    data.write_runs(out, record)
    print(f"wrote {out.name} ({record['minutes']} min)")


def trained(row, seeds, split):
    """The row at every rate with the first seed, at the best one with the others."""
    found = {}
    for lr in RATES[row["model"]]:
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
