"""Dense or separate weights, at equal multiply-adds and at equal parameters: runs of lesson 36.

    python data/runs/mixture_of_transformers.py

Captions and pictures of Latin letters, each letter once in each order: 7 words and 36 symbols of
lesson 31's net. All models of a seed see the same batches; scored on letters of the validation
part while they train. "mixed up" sorts symbols into two groups by chance, not by modality. The
record is written after each run; what is recorded is not run again.
"""

import argparse
import pathlib
import time

import torch
from torch.nn import functional as F

from minilib import lab
from minilib.lab import data, typefaces
from minilib.mixture_of_transformers import MixtureOfTransformers
from minilib.vq import VQVAE

BATCH, RATE, STEPS, EVERY = 32, 8e-3, 600, 60
# (experts, width, groups by chance)
MODELS = {
    "dense": (1, 24, False),
    "mixture": (2, 24, False),
    "dense, as many weights": (1, 32, False),
    "mixture, mixed up": (2, 24, True),
}


class Letters:
    """Rows of 44 symbols: 7 words, then BEGIN and 36 codes; or the picture first."""

    def __init__(self):
        net, _ = lab.load(VQVAE)
        self.parts = {part: typefaces.captioned_letters(part) for part in typefaces.PARTS}
        self.words = len(self.parts["train"].words)
        self.sizes = self.words, 1 + net.size
        self.rows = {}
        for part, letters in self.parts.items():
            with torch.no_grad():
                codes = net.encode(torch.tensor(letters.images)[:, None]).flatten(1)
            begin = torch.full((len(codes), 1), self.words)
            captions = torch.tensor(letters.captions)
            self.rows[part] = captions, torch.cat([begin, codes + self.words + 1], 1)

    def text_first(self, part):
        return torch.cat(self.rows[part], 1)

    def picture_first(self, part):
        return torch.cat(self.rows[part][::-1], 1)


def nats(model, rows, first):
    """Nats of each symbol from place `first` on, (rows, 44 - first)."""
    losses = [
        F.cross_entropy(
            model(some[:, :-1]).transpose(1, 2)[:, :, first - 1 :],
            some[:, first:],
            reduction="none",
        )
        for some in rows.split(64)
    ]
    return torch.cat(losses)


@torch.no_grad()
def score(model, letters, part, number, every=1):
    """(nats a symbol of the picture after its caption, nats a word after the picture)."""
    picture = nats(model, number[letters.text_first(part)[::every]], 8)
    words = nats(model, number[letters.picture_first(part)[::every]], 37)
    said = (letters.rows[part][0][::every] > 0).long()
    said = F.pad(said, (1, 0), value=1)[:, :-1]  # the words and the "no word" that ends them
    return picture.mean().item(), ((words * said).sum() / said.sum()).item()


def train(name, seed, letters, steps=STEPS, progress=False):
    """A model, trained; with its scores on the validation part every 60 steps."""
    count, width, by_chance = MODELS[name]
    sizes = (sum(letters.sizes),) if count == 1 else letters.sizes
    number = torch.arange(sum(sizes))  # symbols under other numbers are of other modalities
    if by_chance:
        number = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    model = MixtureOfTransformers(sizes, width, layers=2, heads=4, context=44)
    rows = torch.cat([letters.text_first("train"), letters.picture_first("train")])
    scores = []

    def batches(step):
        draw = torch.Generator().manual_seed(10_000 * seed + step)
        return number[rows[torch.randint(len(rows), (BATCH,), generator=draw)]]

    def validate(model):
        scores.append(score(model, letters, "validation", number, every=2))
        return sum(scores[-1])

    how = {"weight_decay": 0.1, "seed": seed, "progress": progress}
    history = lab.fit(model, batches, steps=steps, lr=RATE, validate=validate, every=EVERY, **how)
    return model, history, number, scores


def language(name, seed, letters):
    started = time.process_time()
    model, history, number, scores = train(name, seed, letters)
    run = {"model": name, "seed": seed, "steps": STEPS}
    run["weights"] = sum(p.numel() for p in model.parameters())
    run["picture"], run["text"] = score(model, letters, "test", number)
    run["at"] = [step for step, _ in history.validation]
    for k, what in enumerate(("picture_curve", "text_curve")):
        run[what] = [round(pair[k], 4) for pair in scores]
    run["seconds"] = round(time.process_time() - started)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in run.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stop-after", type=float, default=float("inf"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = pathlib.Path(__file__).with_suffix(".json")
    unit = "nats a symbol on test letters; curves on validation letters"
    record = data.begin_runs(out, "python data/runs/mixture_of_transformers.py", unit=unit)
    letters = Letters()
    done = {(run["model"], run["seed"]) for run in record["runs"]}
    new = (
        language(name, seed, letters)
        for seed in options.seeds
        for name in MODELS
        if (name, seed) not in done
    )
    data.add_runs(out, record, new, options.stop_after)


if __name__ == "__main__":
    main()
