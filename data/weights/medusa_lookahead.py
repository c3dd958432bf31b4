"""Train lesson 38's heads on the shipped Transformer, which stays as it is, and save them here.

    python data/weights/medusa_lookahead.py --overwrite

The text is the training split; heads and labels as in minilib/medusa_lookahead.py.
"""

import argparse
import os
import pathlib
import sys

import torch

from minilib import lab
from minilib.lab import weights
from minilib.medusa_lookahead import heads_on, medusa_loss, rank_accuracy
from minilib.transformer import Transformer

ROWS, LENGTH, RANKS = 4, 256, 8


def loss(trunk):
    """Of rows of symbols, for lab.fit."""

    def of(heads, ids):
        with torch.no_grad():
            z = trunk(ids)
        return medusa_loss(heads(z), ids)

    return of


@torch.no_grad()
def accuracy(trunk, heads, text, size=32_768):
    """How often each rank of each head is right, in the first bytes of a text: (K, RANKS)."""
    ids = torch.tensor(list(text[:size])).view(-1, LENGTH)
    tables = [rank_accuracy(heads(trunk(rows)), rows, RANKS) for rows in ids.split(8)]
    return torch.stack(tables).mean(0)


def score(trunk, heads):
    """Shares of the test text's first 32,768 bytes that are the likeliest guess of each head."""
    table = accuracy(trunk, heads, lab.data.shakespeare().test)
    return {"test_accuracy_of_first_rank": [round(x, 4) for x in table[:, 0].tolist()]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=340)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--ahead", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=pathlib.Path, help="to go on after an interruption")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    file = pathlib.Path(__file__).with_suffix(".safetensors")
    weights.refuse_taken(file, options.overwrite)
    trunk, _ = lab.load(Transformer)
    split = lab.data.shakespeare()
    heads = heads_on(trunk.output, options.ahead)

    def validate(heads):
        found = accuracy(trunk, heads, split.validation, 2_048)[:, 0].tolist()
        print("validation accuracy", [round(x, 3) for x in found], flush=True)
        return sum(found)

    batches = lab.data.windows(split.train, batch=ROWS, length=LENGTH, seed=options.seed)
    how = {"steps": options.steps, "lr": options.lr, "seed": options.seed, "progress": False}
    how |= {"validate": validate, "every": 85, "loss": loss(trunk)}
    how["checkpoint"] = options.checkpoint
    history = lab.fit(heads, batches, **how)

    command = f"python data/weights/medusa_lookahead.py {' '.join(sys.argv[1:])}".strip()
    settings = {"vocab_size": 256, "ahead": options.ahead, "width": trunk.output.shape[1]}
    about = {"trunk": "data/weights/transformer.safetensors", "test_split": "shakespeare().test"}
    record = weights.record(heads, settings, command, options.seed, history, **about)
    score_them = lambda heads: score(trunk, heads)
    print(weights.save_scored(file, heads, record, score_them)[1], flush=True)


if __name__ == "__main__":
    main()
