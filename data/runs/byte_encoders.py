"""Which language is this? Four encoders at equal width and equal time: the runs of lesson 21.

    python data/runs/byte_encoders.py

They differ in how they read: "bytes" (ByT5), "tokens" (a vocabulary learned from the training
strings); "canine" and "gbst" (Charformer) shorten before the deep layers. Equal time means steps =
seconds / cost of a step, and the costs are measured here, side by side. Each is scored on the test
strings as they are, with typos, and shuffled. The record is written after each seed; seeds that are
recorded are not trained again.
"""

import argparse
import os
import pathlib
import random
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy, embedding

from minilib import lab
from minilib.byte_encoders import Encoder
from minilib.lab import data, measure, weights
from minilib.lab.strings import by_language, with_typos
from minilib.tokenizer import Tokenizer

WIDTH, LAYERS, BATCH, LONGEST, VOCABULARY = 64, 2, 32, 64, 1000
OPTIONS = {
    "bytes": {},
    "tokens": {},
    "canine": {"shorten": 4, "block": 16, "size": 2048},
    "gbst": {"shorten": 3},
}
RATE = 1e-2
TYPOS = 0.0, 0.1, 0.2, 0.3


class Subwords(Encoder):
    """The byte encoder behind a table of tokens; 0 is padding, as there."""

    def __init__(self, tokenizer, classes, width, layers):
        super().__init__(classes, "bytes", width, layers)
        self.tokenizer = tokenizer
        self.embed = nn.Parameter(torch.randn(tokenizer.vocab_size + 1, width))

    def encode(self, texts, longest=None):
        cut = [text.encode()[:longest].decode(errors="ignore") for text in texts]
        rows = [[i + 1 for i in self.tokenizer.encode(text)] for text in cut]
        T = max(1, *map(len, rows))
        return torch.tensor([row + [0] * (T - len(row)) for row in rows])

    def read(self, ids):
        present = ids != 0
        return embedding(ids, self.embed) * present[..., None], present


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
def named(model, texts, labels):
    """Which texts the model names rightly, (texts,) of 0 and 1."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].encode()))
    right = torch.zeros(len(texts))
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        ids = model.encode([texts[i] for i in rows], LONGEST)
        right[rows] = (model(ids).argmax(1) == torch.tensor([labels[i] for i in rows])).float()
    return right


def made(reader, classes, seed, tokenizer):
    torch.manual_seed(seed)
    if reader == "tokens":
        return Subwords(tokenizer, classes, WIDTH, LAYERS)
    return Encoder(classes, reader, WIDTH, LAYERS, **OPTIONS[reader])


def step_seconds(parts, classes, tokenizer):
    """Cost of a step of each encoder: the mean over eight batches of all lengths."""
    calls = {}
    for reader in OPTIONS:
        model = made(reader, classes, 0, tokenizer)
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


def one_run(reader, steps, seed, parts, classes, tokenizer):
    model = made(reader, classes, seed, tokenizer)
    batches = batches_of(model, *parts["train"], seed)
    lab.fit(model, batches, steps=steps, lr=RATE, loss=loss, seed=seed, progress=False)
    found = {"validation": named(model, *parts["validation"])}
    texts, labels = parts["test"]
    for rate in TYPOS:
        found[f"typos {rate}"] = named(model, [with_typos(text, rate) for text in texts], labels)
    found["shuffled"] = named(model, [shuffled(text) for text in texts], labels)
    run = {"reader": reader, "seed": seed, "steps": steps}
    run |= {name: round(right.mean().item(), 4) for name, right in found.items()}
    share = [found["typos 0.0"][torch.tensor(labels) == n].mean() for n in set(labels)]
    run["mean of languages"] = round(torch.stack(share).mean().item(), 4)
    print(run, flush=True)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=12, help="of training")
    parser.add_argument("--overwrite", action="store_true", help="train all seeds anew")
    options = parser.parse_args()
    out = pathlib.Path(__file__).with_suffix(".json")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    names, parts = by_language(fewest=1)
    tokenizer = Tokenizer.train(parts["train"][0], VOCABULARY)
    if out.exists() and not options.overwrite:
        record = data.runs("byte_encoders")
    else:
        record = {
            "command": "python data/runs/byte_encoders.py",
            "commit": weights.commit(),
            "device": f"CPU, {torch.get_num_threads()} thread",
            "torch": torch.__version__,
            "minutes": 0.0,
            "seconds": options.seconds,
            "step_seconds": step_seconds(parts, len(names), tokenizer),
            "width": WIDTH,
            "layers": LAYERS,
            "batch": BATCH,
            "longest": LONGEST,
            "rate": RATE,
            "vocabulary": VOCABULARY,
            "languages": len(names),
            "runs": [],
        }
    for seed in options.seeds:
        if any(run["seed"] == seed for run in record["runs"]):
            continue
        started = time.perf_counter()
        for reader, cost in record["step_seconds"].items():
            steps = round(record["seconds"] / cost)
            record["runs"].append(one_run(reader, steps, seed, parts, len(names), tokenizer))
        record["minutes"] += round((time.perf_counter() - started) / 60, 1)
        data.write_runs(out, record)


if __name__ == "__main__":
    main()
