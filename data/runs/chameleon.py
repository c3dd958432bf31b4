"""What keeps logits, norms and log Z small? The runs of lesson 35.

    python data/runs/chameleon.py

Six recipes train the same small model on the same rows at three learning rates, seed by seed. The
vital numbers are taken every 10 steps on the same rows of the validation part. The record is
written after each run; runs that are recorded are not made again.
"""

import argparse
import os
import pathlib

import torch

from minilib import lab
from minilib.chameleon import Chameleon, interleave
from minilib.lab import data

RECIPES = {  # what is changed, one thing after another
    "pre-norm": {"order": "pre", "qk_norm": False},
    "+ QK-norm": {"order": "pre"},
    "+ Swin order": {},
    "+ z-loss 1e-5": {"weight": 1e-5},
    "+ z-loss 1e-3": {"weight": 1e-3},
    "+ z-loss 1e-2": {"weight": 1e-2},
}
HIGHEST_ALONE = "+ z-loss 1e-5", "+ z-loss 1e-2"  # at the highest rate
RATES = 3e-3, 1e-2, 3e-2
EVERY = 10


def one_run(name, rate, seed, steps, common):
    changes = {"weight": 0.0, "qk_norm": True, "order": "swin"} | RECIPES[name]
    weight = changes.pop("weight")
    captions, grids, letters = common.pairs("validation")
    words = len(letters.words)
    first = torch.arange(len(captions)) % 2 == 0
    watched = interleave(captions, grids[0], first, words, common.CODES)[:32]
    there = watched != 0
    torch.manual_seed(seed)
    model = Chameleon(words + common.CODES + 4, width=64, layers=3, **changes)
    traces = {"logit": [], "residual": [], "log_z": []}

    def validate(model):
        vitals = model.vitals(watched)
        traces["logit"].append(round(vitals["logit"].max().item(), 2))
        traces["residual"].append(round(vitals["residual"][-1].item(), 2))
        traces["log_z"].append(round(vitals["log_z"][there].mean().item(), 3))
        return 0.0

    rows = common.batches(8, 0, seed)
    how = {"steps": steps, "lr": rate, "seed": seed, "progress": False, "every": EVERY}
    lab.fit(model, rows, loss=common.loss(weight), validate=validate, **how)
    pairs = captions[::2], grids[0, ::2]
    caption = common.nats(model, *pairs, True, words).mean().item()
    code = common.nats(model, *pairs, False, words).mean().item() / common.PLACES
    scores = {"caption": round(caption, 4), "code": round(code, 4)}
    return {"recipe": name, "lr": rate, "seed": seed, "steps": steps} | scores | traces


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    out, common = pathlib.Path(__file__).with_suffix(".json"), data.script("chameleon")
    unit = "minutes of processor time; caption and code are nats on validation letters"
    record = data.begin_runs(out, "python data/runs/chameleon.py", unit=unit)
    done = {(run["recipe"], run["lr"], run["seed"]) for run in record["runs"]}
    new = (
        one_run(name, rate, seed, options.steps, common)
        for seed in options.seeds
        for rate in reversed(RATES)
        for name in RECIPES
        if (name, rate, seed) not in done and (rate == RATES[-1] or name not in HIGHEST_ALONE)
    )
    data.add_runs(out, record, new, options.stop_after)


if __name__ == "__main__":
    main()
