"""Which recipe keeps codes alive? The runs of lesson 31.

    python data/runs/vq.py

Six recipes train the autoencoder on the same batches, seed by seed; each is scored on letters of
the validation part in evaluation mode. The record is
written after each seed; seeds that are recorded are not trained again.
"""

import argparse
import os
import pathlib
import time

import torch

from minilib.lab import data
from minilib.vq import VQVAE, Trainer

BATCH = 32
RESTARTS = (20, 31, 47)
# (changes to the net, changes to the trainer)
RECIPES = {
    "plain": ({"normalise": False}, {}),
    "plain, codes from N(0, 1)": ({"normalise": False}, {}),
    "plain, moving averages": ({"normalise": False}, {"gamma": 0.99}),
    "+ normalised": ({}, {}),
    "+ faster codes": ({}, {"faster": 10}),
    "+ restarts = robust": ({}, {"faster": 10, "restarts": RESTARTS}),
}


def one_recipe(name, seed, steps, common):
    changes, settings = RECIPES[name]
    torch.manual_seed(seed)
    net = VQVAE(**changes)
    if "N(0, 1)" in name:
        torch.nn.init.normal_(net.codes)
    trainer = Trainer(net, common.RATE, seed=seed, **settings)
    images, generator = common.pictures("train"), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        trainer.step(images[common.drawn(len(images), BATCH, generator)])
    scores = common.score(net, "validation")
    error, used, perplexity = scores.values()
    found = {"error": round(error, 5), "used": used, "perplexity": round(perplexity, 1)}
    return {"recipe": name, "seed": seed, "steps": steps} | found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    out, common = pathlib.Path(__file__).with_suffix(".json"), data.script("vq")
    unit = "minutes of processor time; error is a mean square on validation letters"
    record = data.begin_runs(out, "python data/runs/vq.py", unit=unit)
    done = {(run["recipe"], run["seed"]) for run in record["runs"]}

    def keep(function, name, *inputs):
        if (name, inputs[0]) in done:
            return
        started = time.process_time()
        run = function(*inputs)
        print(run, flush=True)
        record["runs"].append(run)
        record["minutes"] = round(record["minutes"] + (time.process_time() - started) / 60, 2)
        data.write_runs(out, record)

    for seed in options.seeds:
        for name in RECIPES:
            keep(
                lambda *inputs, name=name: one_recipe(name, *inputs),
                name,
                seed,
                options.steps,
                common,
            )


if __name__ == "__main__":
    main()
