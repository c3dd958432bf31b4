"""The game of the first letter, 200 symbols long: the runs of lesson 23.

    python data/runs/s4.py

Six nets of 32 channels, each at every rate of its list with the first seed, and at the best one
with the other seeds. The accuracy while they learn is of 128 games for validation, on which the
rate is chosen: by the mean over the run, so that the net that learns sooner is the better one. The
last accuracy is of 512 other games, for the test.
"""

import argparse
import os
import pathlib
import sys
import time

import torch

from minilib import lab
from minilib.lab import data, weights
from minilib.lstm import LSTM
from minilib.s4 import S4
from minilib.s4d import S4D

GAP, WIDTH, STATE, ROWS = 200, 32, 32, 32


def without_rank_one():
    """S4 with P = 0, which stays: HiPPO's modes and B, and nothing that mixes the modes."""
    model = S4(9, WIDTH, STATE, length=GAP + 2)
    for block in model.blocks:
        block.systems.P.data.zero_()
        block.systems.P.requires_grad_(False)
    return model


MODELS = {
    "S4": lambda: S4(9, WIDTH, STATE, length=GAP + 2),
    "S4, P = 0": without_rank_one,
    "S4D legs": lambda: S4D(9, WIDTH, STATE, init="legs"),
    "S4D lin": lambda: S4D(9, WIDTH, STATE, init="lin"),
    "S4D real": lambda: S4D(9, WIDTH, STATE, init="real"),
    "LSTM, open": lambda: LSTM(9, WIDTH, forget_bias=8.0),  # sigmoid(8) ** 200 is 0.93
}
RATES = {name: (0.01, 0.03) for name in MODELS} | {"LSTM, open": (0.01, 0.02, 0.03)}


def game(step, rows=ROWS):
    """One of four letters, 200 other symbols, a question mark, the letter again."""
    random = torch.Generator().manual_seed(step)
    first = torch.randint(4, (rows, 1), generator=random)
    noise = torch.randint(4, 8, (rows, GAP), generator=random)
    return torch.cat([first, noise, torch.full((rows, 1), 8), first], dim=1)


def answer_loss(model, ids):
    return torch.nn.functional.cross_entropy(model(ids[:, :-1])[:, -1], ids[:, -1])


@torch.no_grad()
def accuracy(model, ids):
    answer = model(ids[:, :-1])[:, -1].argmax(-1)
    return (answer == ids[:, -1]).float().mean().item()


def one_run(name, lr, seed, steps):
    torch.manual_seed(seed)
    model = MODELS[name]()
    validation, test = game(10**6, 128), game(10**6 + 1, 512)
    started = time.process_time()
    history = lab.fit(
        model,
        game,
        steps=steps,
        lr=lr,
        loss=answer_loss,
        validate=lambda model: accuracy(model, validation),
        every=25,
        progress=False,
    )
    run = {"model": name, "lr": lr, "seed": seed, "steps": steps}
    run |= {"seconds": round(time.process_time() - started, 1)}
    run |= {"validation": [[step, round(value, 4)] for step, value in history.validation]}
    return run | {"test": round(accuracy(model, test), 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    out = pathlib.Path(__file__).with_suffix(".json")
    if out.exists() and not options.overwrite:
        parser.error(f"{out.name} is there already: --overwrite replaces it")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    started, runs = time.perf_counter(), []
    for name in MODELS:
        tried = [one_run(name, lr, options.seeds[0], options.steps) for lr in RATES[name]]
        best = max(tried, key=lambda run: sum(value for _, value in run["validation"]))
        tried += [one_run(name, best["lr"], seed, options.steps) for seed in options.seeds[1:]]
        print(*tried, sep="\n", flush=True)
        runs += tried
    record = {
        "command": f"python data/runs/s4.py {' '.join(sys.argv[1:])}".strip(),
        "commit": weights.commit(),
        "device": f"CPU, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "runs": runs,
    }
    data.write_runs(out, record)
    print(f"wrote {out.name} ({record['minutes']} min)")


if __name__ == "__main__":
    main()
