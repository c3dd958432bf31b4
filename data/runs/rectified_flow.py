"""Two experts or one set of weights for a flow, at equal multiply-adds: runs of lesson 36.

    python data/runs/rectified_flow.py

Nets of two sizes that paint letters from noise, told by a caption: one set of weights for words and
patches, or two experts of the same width. All nets of a size and seed see the same batches. Seed 0
tries two learning rates for each net; the other seeds take the one that was better on letters of
the validation part. The record is written after each run; what is recorded is not run again.
"""

import argparse
import itertools
import os
import pathlib
import time

import torch

from minilib.lab import data
from minilib.rectified_flow import FlowNet

SIZES = {  # width: steps, letters of a batch, learning rates to try
    32: (700, 32, (4e-3, 8e-3)),
    64: (500, 64, (3e-3, 6e-3)),
}
EXPERTS = {"dense": 1, "two experts": 2}
SEEDS = 0, 1, 2


@torch.no_grad()
def nats_a_word(net, part, common):
    images, captions, _ = common.letters(part)
    at, none = torch.ones(len(images)), torch.zeros(len(images), dtype=torch.bool)
    return net.loss(images, captions, images, at, none)[1].item()


def one_run(name, width, rate, seed, common):
    started = time.process_time()
    steps, rows, _ = SIZES[width]
    torch.manual_seed(seed)
    words = len(common.letters("train")[2].words)
    net = FlowNet(words, width=width, layers=3, experts=EXPERTS[name])
    common.train(net, steps, seed, every=steps, rate=rate, rows=rows)
    run = {"net": name, "width": width, "lr": rate, "seed": seed, "steps": steps, "rows": rows}
    run["weights"] = sum(p.numel() for p in net.parameters())
    for part in ("validation", "test"):
        found = common.errors(net, part) | {"word": nats_a_word(net, part, common)}
        run[part] = {what: round(value, 4) for what, value in found.items()}
    run["seconds"] = round(time.process_time() - started)
    return run


def better_rate(runs, name, width):
    """That of the lower error on validation letters, seed 0."""
    mine = [run for run in runs if (run["net"], run["width"], run["seed"]) == (name, width, 0)]
    return min(mine, key=lambda run: run["validation"]["matched"])["lr"]


def missing_runs(record):
    common, runs = data.script("rectified_flow"), record["runs"]
    for width, seed, name in itertools.product(SIZES, SEEDS, EXPERTS):
        for rate in SIZES[width][2] if seed == 0 else [better_rate(runs, name, width)]:
            done = {(run["net"], run["width"], run["lr"], run["seed"]) for run in runs}
            if (name, width, rate, seed) not in done:
                yield one_run(name, width, rate, seed, common)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".json"))
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    unit = "mean squared error of the velocity: with its caption, another one, none; nats a word"
    record = data.begin_runs(options.out, "python data/runs/rectified_flow.py", unit=unit)
    data.add_runs(options.out, record, missing_runs(record), options.stop_after)


if __name__ == "__main__":
    main()
