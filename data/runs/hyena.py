"""Recall, a warm-up of the length, a motif in DNA: the runs of lesson 24.

    python data/runs/hyena.py [--seeds 0 1 2] [--tasks recall …]

Recall: a code of six keys and six values, another one in each row, 24 pairs. Hyena trains for 200
steps; its sines start at ω = 1, and in "gated, ω = 10" at 10. "ungated" is the same net as "gated"
without its gates. Attention is the Transformer of as many channels and layers, for 600 steps.

Warm-up: the same game with 48 pairs. "full": 80 steps of whole rows. "warm-up": 80 steps, of 6, 12,
24 and 48 pairs, as many rows in each. "warm-up, longer": as many symbols as "full", 171 steps.
"full, half batches": as many symbols again, 160 steps of half as many rows. The filters' context is
96 in all of them.

DNA: 120 random letters without CG, and once, in the first quarter, CG and a third letter. Each
symbol is labelled: no CG yet, or which letter follows it. Trained on single letters or on 3-mers,
with motifs that start at multiples of 3 or anywhere, for 400 steps; 3-mers at multiples of 3 for
200. The sines start at ω = 1. "test" has motifs anywhere, "multiples" at multiples of 3.

Each net trains at two rates with the first seed, and with the others at the one that ends higher in
validation; of two that end alike, at the one that was higher on the way.

The record is written after every run. A call that is stopped (--stop-after) is continued by the
next one, which keeps the runs that are there.

Scores are shares of right answers in rows that nobody trained on; in DNA, at the last symbol.
"""

import argparse
import itertools
import math
import os
import pathlib
import time
from unittest import mock

import torch
from torch.nn.functional import cross_entropy

from minilib import lab
from minilib.hyena import Hyena, gated_conv
from minilib.lab import data
from minilib.transformer import Transformer

KEYS, WIDTH, HIDDEN = 6, 32, 32
RATES = 5e-3, 1e-2
VALIDATION, TEST = 10**6, 10**6 + 1  # seeds of rows that nobody trains on


def ungated(x0, x1, v, h, skip):
    """The same long filter, with 1 in place of both gates."""
    return gated_conv(torch.ones_like(x0), torch.ones_like(x1), v, h, skip)


def hyena(symbols, context, omega=1.0):
    model = Hyena(symbols, WIDTH, 2, context, hidden=HIDDEN)
    for block in model.blocks:
        block.mix.filter.frequency.data.fill_(omega)
    return model


# -- recall ----------------------------------------------------------------------------------------


def recall(seed, rows, pairs):
    """Keys and values in turn (rows, 2 pairs), and which pairs have a key seen before."""
    random = torch.Generator().manual_seed(seed)
    code = KEYS + torch.rand(rows, KEYS, generator=random).argsort(1)
    keys = torch.randint(KEYS, (rows, pairs), generator=random)
    ids = torch.stack([keys, code.gather(1, keys)], dim=2).flatten(1)
    same = (keys[:, :, None] == keys[:, None]).int().tril(-1)
    return ids, same.any(2)


def recall_loss(model, batch):
    ids, known = batch
    logits = model(ids[:, :-1])[:, ::2]
    return cross_entropy(logits[known], ids[:, 1::2][known])


@torch.no_grad()
def recall_score(model, seed, rows, pairs):
    ids, known = recall(seed, rows, pairs)
    guess = model(ids[:, :-1])[:, ::2].argmax(-1)
    return (guess == ids[:, 1::2])[known].double().mean().item()


def play_recall(name, lr, seed):
    torch.manual_seed(seed)
    steps, pairs = 200, 24
    if name == "attention":
        steps, model = 600, Transformer(2 * KEYS, WIDTH, layers=2, heads=2, context=48)
    else:
        model = hyena(2 * KEYS, 48, 10.0 if "10" in name else 1.0)
    batches = lambda step: recall(10_000 * seed + step, 32, pairs)
    with mock.patch("minilib.hyena.gated_conv", ungated if name == "ungated" else gated_conv):
        score = lambda model: recall_score(model, VALIDATION, 128, pairs)
        history = fit(model, batches, steps, lr, recall_loss, score)
        test = recall_score(model, TEST, 512, pairs)
    return {"task": "recall", "model": name, "lr": lr, "seed": seed, **history, "test": test}


def play_warmup(name, lr, seed):
    torch.manual_seed(seed)
    steps = {"warm-up, longer": 171, "full, half batches": 160}.get(name, 80)
    pairs, rows = 48, 8 if "half" in name else 16
    model = hyena(2 * KEYS, 2 * pairs)

    def batches(step):
        stage = 4 * step // steps  # 0 to 3
        long = pairs if "full" in name else pairs >> (3 - stage)
        return recall(10_000 * seed + step, rows, long)

    score = lambda model: recall_score(model, VALIDATION, 32, pairs)
    history = fit(model, batches, steps, lr, recall_loss, score)
    symbols = sum(batches(step)[0].numel() for step in range(steps))
    test = recall_score(model, TEST, 128, pairs)
    run = {"task": "warm-up", "model": name, "lr": lr, "seed": seed, "symbols": symbols}
    return run | {**history, "test": test}


# -- DNA -------------------------------------------------------------------------------------------


def dna(seed, rows, k=1, apart=1):
    """Tokens of k letters (rows, 120 / k), and the label of the last letter of each.

    apart  motifs start at multiples of it
    """
    random, length = torch.Generator().manual_seed(seed), 120
    letters = torch.randint(4, (rows, length), generator=random)  # A C G T
    which = torch.randint(4, (rows, 1), generator=random)
    start = apart * torch.randint(27 // apart + 1, (rows, 1), generator=random)
    motif = torch.cat([torch.full_like(which, 1), torch.full_like(which, 2), which], dim=1)
    letters.scatter_(1, start + torch.arange(3), motif)
    by_chance = (letters[:, :-1] == 1) & (letters[:, 1:] == 2)
    letters[:, 1:][by_chance.scatter(1, start, False)] = 3  # T in place of G
    label = torch.where(torch.arange(length) >= start + 2, 1 + which, 0)
    powers = 4 ** torch.arange(k - 1, -1, -1)
    return (letters.unflatten(1, (-1, k)) * powers).sum(-1), label[:, k - 1 :: k]


def dna_loss(model, batch):
    ids, label = batch
    return cross_entropy(model(ids)[..., :5].flatten(0, 1), label.flatten())


@torch.no_grad()
def dna_score(model, seed, rows, k, apart):
    ids, label = dna(seed, rows, k, apart)
    return (model(ids)[:, -1, :5].argmax(-1) == label[:, -1]).double().mean().item()


def play_dna(name, lr, seed):
    torch.manual_seed(seed)
    k = 3 if "3-mers" in name else 1
    apart = 3 if "multiples" in name else 1
    model = hyena(max(5, 4**k), 120 // k)
    batches = lambda step: dna(10_000 * seed + step, 16, k, apart)
    score = lambda model: dna_score(model, VALIDATION, 128, k, apart)
    steps = 200 if name == "3-mers, multiples of 3" else 400
    history = fit(model, batches, steps, lr, dna_loss, score)
    run = {"task": "DNA", "model": name, "lr": lr, "seed": seed, **history}
    run |= {"multiples": round(dna_score(model, TEST, 512, k, 3), 4)}
    return run | {"test": dna_score(model, TEST, 512, k, 1)}  # motifs anywhere


# -- all runs --------------------------------------------------------------------------------------


def fit(model, batches, steps, lr, loss, score):
    started, every = time.process_time(), steps // 6
    how = {"steps": steps, "lr": lr, "loss": loss, "progress": False}
    history = lab.fit(model, batches, validate=score, every=every, **how)
    spent = round(time.process_time() - started, 1)
    validation = [[step, round(value, 4)] for step, value in history.validation]
    return {"steps": steps, "seconds": spent, "validation": validation}


PLAYS = {
    "recall": (play_recall, ["gated", "ungated", "gated, ω = 10", "attention"]),
    "warm-up": (play_warmup, ["full", "warm-up", "warm-up, longer", "full, half batches"]),
    "DNA": (play_dna, ["letters, multiples of 3", "3-mers, multiples of 3", "3-mers, anywhere"]),
}


def best_rate(runs):
    last = lambda run: run["validation"][-1][1]
    return max(runs, key=lambda run: (last(run), sum(v for _, v in run["validation"])))["lr"]


def all_runs(seeds, tasks, done):
    """Every run that is not done yet."""
    for task, seed in itertools.product(tasks, seeds):
        play, names = PLAYS[task]
        for name in names:
            of_net = [run for run in done if (run["task"], run["model"]) == (task, name)]
            known = {run["lr"] for run in of_net if run["seed"] == seed}
            first = [run for run in of_net if run["seed"] == seeds[0]]
            for rate in RATES if seed == seeds[0] else [best_rate(first)]:
                if rate not in known:
                    run = play(name, rate, seed)
                    yield run | {"test": round(run["test"], 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=list(PLAYS))
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds of this call")
    parser.add_argument("--out", type=pathlib.Path, help="another file for the record")
    options = parser.parse_args()
    out = options.out or pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    record = data.begin_runs(out, "python data/runs/hyena.py")
    new = all_runs(options.seeds, options.tasks, record["runs"])
    data.add_runs(out, record, new, options.stop_after)


if __name__ == "__main__":
    main()
