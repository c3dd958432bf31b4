"""Train lesson 31's nets and save their weights beside this file, with how they were made.

    python data/weights/vq.py --overwrite

"vq" is the autoencoder, trained by the robust recipe; "vq_prior" a Transformer that learned the
grids of its symbols, row by row after a start symbol.
"""

import argparse
import functools
import math
import os
import pathlib
import sys
import time

import torch
from torch.nn import functional as F

from minilib import lab
from minilib.lab import typefaces, weights
from minilib.lab.train import History
from minilib.transformer import Transformer
from minilib.vq import VQVAE, Trainer, usage

BATCH = 64
RATE = 2e-3


def pictures(part):
    return torch.tensor(typefaces.named_letters(part).images)[:, None]


def drawn(count, rows, generator):
    """Random rows of `count`."""
    return torch.randint(count, (rows,), generator=generator)


def train(seed, steps):
    """The autoencoder by the robust recipe; the rate falls to zero over the second half."""
    torch.manual_seed(seed)
    net, images = VQVAE(), pictures("train")
    restarts, step = [], 20
    while step < steps / 3:
        restarts.append(step)
        step = step * 3 // 2 + 1
    trainer = Trainer(net, RATE, faster=10, restarts=restarts, seed=seed)
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    generator, losses = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1, 2 - 2 * step / steps)
        losses.append(trainer.step(images[drawn(len(images), BATCH, generator)]).item())
        if step % 100 == 99:
            print(step + 1, sum(losses[-100:]) / 100, flush=True)
    return net, losses


@torch.no_grad()
def score(net, part="test"):
    images = pictures(part)
    indices = net.encode(images)
    error = F.mse_loss(net.decode(indices), images).item()
    used, perplexity = usage(indices, net.size)
    return {"test_mean_squared_error": error, "test_used": used, "test_perplexity": perplexity}


# -- the language model of the grids ---------------------------------------------------------------


@torch.no_grad()
def texts(net, part):
    """Grids as rows of symbols after a start symbol, whose number is net.size: (count, 37)."""
    return F.pad(net.encode(pictures(part)).flatten(1), (1, 0), value=net.size)


def train_prior(net, seed, steps, prior, every=None):
    rows, held_out = texts(net, "train"), texts(net, "validation")

    def batches(step):
        return rows[drawn(len(rows), BATCH, torch.Generator().manual_seed(10_000 * seed + step))]

    def validate(prior):
        value = bits_per_symbol(prior, held_out)
        print(f"validation {value:.3f} bits per symbol", flush=True)
        return value

    how = {"steps": steps, "lr": 2 * RATE, "seed": seed, "progress": False, "weight_decay": 0.1}
    return lab.fit(prior, batches, validate=validate, every=every, **how)


@torch.no_grad()
def bits_per_symbol(prior, rows):
    logits = prior(rows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).item() / math.log(2)


def score_prior(prior, net, part="test"):
    return {"test_bits_per_symbol": bits_per_symbol(prior, texts(net, part))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"steps": 3000, "prior-steps": 1500, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    folder = pathlib.Path(__file__).parent
    files = folder / "vq.safetensors", folder / "vq_prior.safetensors"
    for file in files:
        weights.refuse_taken(file, options.overwrite)
    command = f"python data/weights/vq.py {' '.join(sys.argv[1:])}".strip()
    split = {"test_split": "lab.typefaces.named_letters('test')"}

    started = time.perf_counter()
    net, losses = train(options.seed, options.steps)
    history = History(losses, seconds=time.perf_counter() - started)
    settings = {"channels": 32, "dim": 16, "size": 256}
    record = weights.record(net, settings, command, options.seed, history, **split)
    net, record = weights.save_scored(files[0], net, record, score)
    print(record, flush=True)

    torch.manual_seed(options.seed)
    settings = {"vocab_size": net.size + 1, "width": 64, "layers": 2, "heads": 4, "context": 37}
    prior = Transformer(**settings)
    history = train_prior(net, options.seed, options.prior_steps, prior)
    record = weights.record(prior, settings, command, options.seed, history, **split)
    score_it = functools.partial(score_prior, net=net)
    print(weights.save_scored(files[1], prior, record, score_it)[1], flush=True)


if __name__ == "__main__":
    main()
