"""BLT with cuts by entropy, fixed cuts and cuts at white space; a token model: runs of lesson 29.

    python data/runs/blt.py

Equal time: steps = seconds / cost of a step, in processor time, measured here, side by side. The
training of the entropy model counts: it takes JUDGED steps, which cuts by entropy pay for. The
other cuts have a rule in place of the entropy model, which costs next to nothing.

    entropy  cuts where the entropy model is unsure; the threshold gives patches as long as fixed
             ones on average
    fixed    patches of P bytes. P = 5 where all cuts are compared: white space gives 5.1 bytes
    space    a patch ends with a boundary of lesson 28, so that the next one begins with a word
    fixed, equal steps; space, equal steps: as many steps as cuts by entropy
    tokens   a Transformer on tokens of the course's BPE, of two sizes of vocabulary
    bytes    the same Transformer on bytes

With the first seed each of them trains at two rates (tokens with each vocabulary); all other runs
take the settings with the lowest bits per byte of the validation plays. Windows of 128 symbols,
eight a batch. Scored are 16 kB of the test plays with windows of 128 symbols: as they are, and with
noise: each letter capital or small by chance; all capital; one byte in ten dropped. "pieces" is how
many patches or tokens the text has, "kilo" how many thousand multiply-adds a byte costs.

The record is written after every run. A call that is stopped (--stop-after) is continued by the
next one, which keeps the runs that are there.
"""

import argparse
import functools
import itertools
import math
import os
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minilib import lab
from minilib.blt import BLT, patch_starts
from minilib.lab import data, measure
from minilib.lab.train import language_loss
from minilib.spacebyte import boundaries
from minilib.tokenizer import Tokenizer
from minilib.transformer import Transformer

PATCHES = {"entropy": (5, 3, 8), "fixed": (5, 3, 8), "space": (5,)}  # the rates' one is first
KINDS = *PATCHES, "fixed, equal steps", "space, equal steps", "tokens", "bytes"
RATES = 4e-3, 8e-3
VOCABULARIES = 600, 2000
JUDGED = 150  # training steps of the entropy model
SCORED = 16_384  # bytes


class Rule(nn.Module):
    """In place of the entropy model: unsure after each boundary, sure everywhere else."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList()

    def forward(self, ids, caches, position):
        unsure = boundaries(ids)
        return torch.stack([torch.zeros_like(unsure), ~unsure], dim=-1) * 60.0, caches


def fixed_size(patch):
    """Mean bytes of fixed patches in a window of 128 bytes, of which the first is a patch."""
    starts = patch_starts(torch.zeros(1, 128), math.inf, longest=patch)
    return starts.numel() / int(starts.sum())


def make(kind, patch, vocabulary, judge=None, ids=None):
    kind = kind.partition(",")[0]
    if kind == "entropy":
        model = BLT(patch=fixed_size(patch))
        if judge is not None:
            model.patcher.load_state_dict(judge.state_dict())
        model.set_threshold(ids)
        return model
    if kind in ("fixed", "space"):
        cap = {"threshold": math.inf, "longest": patch}
        model = BLT(**cap if kind == "fixed" else {"threshold": 0.5})
        model.patcher = Rule()
        return model
    return Transformer(vocabulary or 256, width=64, layers=3, context=128)


@functools.cache
def tokenizer_of(text, vocabulary):
    return Tokenizer.train(text[:500_000], vocabulary)


def windows(split, seed, vocabulary):
    tokenizer = tokenizer_of(split.train, vocabulary) if vocabulary else None
    return data.windows(split.train, batch=8, length=128, seed=seed, tokenizer=tokenizer)


@functools.cache
def judge_of(split, seed):
    torch.manual_seed(seed)
    judge = Transformer(width=32, layers=1, heads=4, context=128)
    batches = windows(split, seed, None)
    lab.fit(judge, batches, steps=JUDGED, lr=1e-2, seed=seed, progress=False)
    return judge


def costs(split):
    """Seconds of a training step of each model, in processor time."""
    calls, ids = {}, windows(split, 0, None)(0)
    kinds = [(kind, patch, None) for kind in PATCHES for patch in PATCHES[kind]]
    kinds += [("judge", 0, None), ("bytes", 0, None)]
    for kind, patch, vocabulary in kinds + [("tokens", 0, v) for v in VOCABULARIES]:
        if kind == "judge":
            model = Transformer(width=32, layers=1, heads=4, context=128)
        else:
            model = make(kind, patch, vocabulary, ids=ids[:, :-1])
        batch = windows(split, 0, vocabulary)(0)
        optimizer = torch.optim.AdamW(model.parameters())

        def step(model=model, batch=batch, optimizer=optimizer):
            optimizer.zero_grad()
            language_loss(model, batch).backward()
            optimizer.step()

        calls[f"{kind} {patch or vocabulary or ''}".strip()] = step
    return {k: round(cost, 5) for k, cost in measure.seconds_in_turn(calls, 9).items()}


def noisy(text):
    """{kind of noise: the text with it}"""
    random = np.random.default_rng(0)
    a = np.frombuffer(text, np.uint8)
    letter = (a | 32 >= 97) & (a | 32 <= 122)
    kept = a[(random.random(len(a)) >= 0.1) | (a == 10)]
    swapped = np.where(letter & (random.random(len(a)) < 0.5), a ^ 32, a)
    upper = np.where(letter, a & ~np.uint8(32), a)
    return {"as it is": text} | {
        name: np.uint8(b).tobytes()
        for name, b in {"random case": swapped, "capital": upper, "dropped": kept}.items()
    }


def pieces(model, text, tokenizer):
    if tokenizer is not None:
        return len(tokenizer.encode(text))
    if not isinstance(model, BLT):
        return len(text)
    rows = torch.tensor(list(text[: len(text) // 128 * 128])).view(-1, 128)
    return int(model.boundaries(rows)[0].sum()) - len(rows)  # less the byte to come


@torch.no_grad()
def kilo(model, ids, size):
    """Thousand multiply-adds of the matrix products, for a byte of a text of `size` bytes."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        model(ids)
    return round(counter.get_total_flops() / 2 / size / 1000, 1)


def one_run(kind, patch, vocabulary, rate, seed, steps, split):
    judge = judge_of(split, seed) if kind == "entropy" else None
    batches = windows(split, seed, vocabulary)
    torch.manual_seed(seed)
    some = torch.cat([batches(step)[:, :-1] for step in range(4)])
    model = make(kind, patch, vocabulary, judge, some)
    lab.fit(model, batches, steps=steps, lr=rate, seed=seed, progress=False)
    tokenizer = tokenizer_of(split.train, vocabulary) if vocabulary else None
    score = lambda text: round(lab.bits_per_byte(model, text, tokenizer, context=128), 4)
    run = {"kind": kind, "patch": patch, "vocabulary": vocabulary, "lr": rate, "seed": seed}
    run |= {"steps": steps, "parameters": sum(p.numel() for p in model.parameters())}
    test = split.test[:SCORED]
    ids = torch.tensor(list(test) if tokenizer is None else tokenizer.encode(test))
    ids = ids[: 16 * 128].view(-1, 128)
    size = ids.numel() if tokenizer is None else len(tokenizer.decode(ids.flatten().tolist()))
    run |= {"kilo": kilo(model, ids, size), "validation": score(split.validation[:SCORED])}
    texts = noisy(test)
    run["test"] = {name: score(text) for name, text in texts.items()}
    run["pieces"] = {name: pieces(model, text, tokenizer) for name, text in texts.items()}
    run["bytes"] = {name: len(text) for name, text in texts.items()}
    return run


def steps_of(kind, name, seconds, costs):
    """As many as fit in the seconds; or as many as those of cuts by entropy."""
    if "," in kind:
        kind, name = "entropy", "entropy 5"
    paid = JUDGED * costs["judge"] if kind == "entropy" else 0
    return round((seconds - paid) / costs[name])


def all_runs(seeds, kinds, seconds, costs, split, done):
    """Every run that is not done yet."""
    known = {(r["kind"], r["patch"], r["vocabulary"], r["lr"], r["seed"]) for r in done}
    for seed, kind, first in itertools.product(seeds, kinds, (True, False)):
        plain = kind.partition(",")[0]
        sizes = PATCHES.get(kind, (5 if "," in kind else 0,))
        if first and seed == seeds[0] and kind == plain:
            vocabularies = VOCABULARIES if kind == "tokens" else (None,)
            settings = [(sizes[0], v, lr) for v in vocabularies for lr in RATES]
        else:
            tried = [r for r in done if (r["kind"], r["seed"]) == (plain, seeds[0])]
            tried = [run for run in tried if run["patch"] == sizes[0]]
            best = min(tried, key=lambda run: run["validation"])
            settings = [(size, best["vocabulary"], best["lr"]) for size in sizes]
        for patch, vocabulary, rate in settings:
            name = f"{plain} {patch or vocabulary or ''}".strip()
            steps = steps_of(kind, name, seconds, costs)
            if (kind, patch, vocabulary, rate, seed) not in known:
                known.add((kind, patch, vocabulary, rate, seed))
                yield one_run(kind, patch, vocabulary, rate, seed, steps, split)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--seconds", type=float, default=16, help="of training")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds of this call")
    parser.add_argument("--out", type=pathlib.Path, help="another file for the record")
    options = parser.parse_args()
    out = options.out or pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    split = data.shakespeare("play")
    record = data.begin_runs(
        out, "python data/runs/blt.py", seconds=options.seconds, costs=lambda: costs(split)
    )
    settings = record["seconds"], record["costs"], split, record["runs"]
    new = all_runs(options.seeds, options.kinds, *settings)
    data.add_runs(out, record, new, options.stop_after)


if __name__ == "__main__":
    main()
