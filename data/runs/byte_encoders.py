"""Which language is this? Three encoders at equal width and equal time: the runs of lesson 21.

    python data/runs/byte_encoders.py

They differ in how they read: "bytes" (ByT5), "canine" and "gbst" (Charformer) shorten before the
deep layers. Equal time means steps = seconds / cost of a step, and the costs are measured here,
side by side. Each is scored on the test strings as they are, with typos, and shuffled. The record
is written after each seed; seeds that are recorded are not trained again.
"""

import argparse
import os
import pathlib
import random
import time

import torch
from torch.nn.functional import cross_entropy

from minilib import lab
from minilib.byte_encoders import Encoder
from minilib.lab import data, measure, weights
from minilib.lab.strings import by_language, with_typos

WIDTH, LAYERS, BATCH, LONGEST = 64, 2, 32, 64
OPTIONS = {
    "bytes": {},
    "canine": {"shorten": 4, "block": 16, "size": 2048},
    "gbst": {"shorten": 3},
}
RATE = 1e-2
TYPOS = 0.0, 0.1, 0.2, 0.3


def batches_of(model, texts, labels, seed):
    """A function of the step: strings of like length, so that there is little padding."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].encode()))

    def batch(step):
        generator = torch.Generator().manual_seed(1_000_000 * seed + step)
        start = torch.randint(len(order) - 8 * BATCH, (), generator=generator).item()
        near = torch.randperm(8 * BATCH, generator=generator)[:BATCH] + start
        chosen = [order[i] for i in near]
        ids = model.encode([texts[i] for i in chosen], LONGEST)
        return ids, torch.tensor([labels[i] for i in chosen])

    return batch


def loss(model, batch):
    ids, labels = batch
    return cross_entropy(model(ids), labels)


@torch.no_grad()
def accuracy(model, texts, labels):
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].encode()))
    right = 0
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        ids = model.encode([texts[i] for i in rows], LONGEST)
        right += (model(ids).argmax(1) == torch.tensor([labels[i] for i in rows])).sum().item()
    return right / len(texts)


def made(reader, classes, seed):
    torch.manual_seed(seed)
    return Encoder(classes, reader, WIDTH, LAYERS, **OPTIONS[reader])


def step_seconds(parts, classes):
    """Cost of a step of each encoder: the mean over eight batches of all lengths."""
    calls = {}
    for reader in OPTIONS:
        model = made(reader, classes, 0)
        batches = batches_of(model, *parts["train"], 0)
        optimizer = torch.optim.AdamW(model.parameters())

        def steps(model=model, batches=batches, optimizer=optimizer):
            for step in range(8):
                optimizer.zero_grad()
                loss(model, batches(step)).backward()
                optimizer.step()

        calls[reader] = steps
    taken = measure.seconds_in_turn(calls, 2)
    return {reader: round(seconds / 8, 5) for reader, seconds in taken.items()}


def shuffled(text):
    """The characters that an encoder reads, in any order."""
    text = text.encode()[:LONGEST].decode(errors="ignore")
    return "".join(random.Random(text).sample(text, len(text)))


def one_run(reader, steps, seed, parts, classes):
    model = made(reader, classes, seed)
    batches = batches_of(model, *parts["train"], seed)
    lab.fit(model, batches, steps=steps, lr=RATE, loss=loss, seed=seed, progress=False)
    found = {"validation": accuracy(model, *parts["validation"])}
    texts, labels = parts["test"]
    for rate in TYPOS:
        found[f"typos {rate}"] = accuracy(model, [with_typos(t, rate) for t in texts], labels)
    found["shuffled"] = accuracy(model, [shuffled(text) for text in texts], labels)
    run = {"reader": reader, "seed": seed, "steps": steps}
    run |= {name: round(share, 4) for name, share in found.items()}
    print(run, flush=True)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=4, help="of training")
    parser.add_argument("--overwrite", action="store_true", help="train all seeds anew")
    options = parser.parse_args()
    out = pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    names, parts = by_language(fewest=296)
    if out.exists() and not options.overwrite:
        record = data.runs("byte_encoders")
    else:
        record = {
            "command": "python data/runs/byte_encoders.py",
            "commit": weights._commit(),
            "device": f"CPU, {torch.get_num_threads()} thread",
            "torch": torch.__version__,
            "minutes": 0.0,
            "seconds": options.seconds,
            "step_seconds": step_seconds(parts, len(names)),
            "width": WIDTH,
            "layers": LAYERS,
            "batch": BATCH,
            "longest": LONGEST,
            "rate": RATE,
            "languages": len(names),
            "runs": [],
        }
    for seed in options.seeds:
        if any(run["seed"] == seed for run in record["runs"]):
            continue
        started = time.perf_counter()
        for reader, cost in record["step_seconds"].items():
            steps = round(record["seconds"] / cost)
            record["runs"].append(one_run(reader, steps, seed, parts, len(names)))
        record["minutes"] += round((time.perf_counter() - started) / 60, 1)
        data.write_runs(out, record)


if __name__ == "__main__":
    main()
