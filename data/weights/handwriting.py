"""Train lesson 05's net and save its weights beside this file, with how they were made.

    python data/weights/handwriting.py --steps 7000 --lr 1e-2 --overwrite \\
        --checkpoint handwriting.checkpoint

    python data/weights/handwriting.py --steps 1800 --lr 3e-3 --rare 0.1 --seed 1 --overwrite \\
        --start data/weights/handwriting.safetensors

The second command goes on from weights that are there; their record is kept under "start".

`python -m minilib train` is for language models of bytes; this net reads pen strokes, and has a
command of its own.
"""

import argparse
import os
import pathlib
import sys

import numpy as np
import torch

import minilib
from minilib import lab
from minilib.handwriting import SynthesisNet, nats_per_point, write
from minilib.lab import strokes, weights


@torch.no_grad()
def score(net, lines):
    """Mean nats per point, each line counting once."""
    device = net.b_y.device
    nats = [
        len(some) * float(nats_per_point(net, tuple(part.to(device) for part in strokes.pad(some))))
        for some in (lines[k : k + 50] for k in range(0, len(lines), 50))
    ]
    return sum(nats) / len(lines)


# -- is it legible? --------------------------------------------------------------------------------

SMALL = "abcdefghijklmnopqrstuvwxyz"


def distances(line, others):
    """How far a line is from each of others, by dynamic time warping: a list.

    The least sum of squared differences over all ways to walk through both lines in order, each at
    its own pace. Cells whose indices add up to s need those of s - 1 and s - 2 alone, so that a
    whole diagonal is done at once, for all others together.
    """
    n, ends = len(line), [len(line) + len(other) - 2 for other in others]
    # [s, k, i + 1]: point i of line, point s - i of others[k]
    cost = np.full((max(ends) + 1, len(others), n + 1), np.inf)
    for k, other in enumerate(others):
        for i in range(n):
            cost[i : i + len(other), k, i + 1] = ((line[i] - other) ** 2).sum(-1)
    older = np.full((len(others), n + 1), np.inf)
    old = older.copy()
    older[:, 0] = 0.0  # the walk starts here
    found = [0.0] * len(others)
    for s, new in enumerate(cost):
        one_waits = np.minimum(old[:, 1:], old[:, :-1])
        new[:, 1:] += np.minimum(one_waits, older[:, :-1])
        older, old = old, new
        for k, end in enumerate(ends):
            if s == end:
                found[k] = float(new[k, -1])
    return found


def read_as_meant(net, letters=SMALL, count=12, bias=0.5, seed=0):
    """{letter: share of words in which it is legible}, in words of no training play.

    The net writes the word. Each of the 26 letters is tried in the letter's place: it is read as
    meant if the font's line with the right one is nearest, once it leans as the net's.
    """
    plays = lab.data.shakespeare("play")
    known, met = (set(part.decode().split()) for part in (plays.train, plays.test))
    unmet = [w for w in sorted(met - known) if set(w) <= set(SMALL) and 3 <= len(w) <= 10]
    shares = {}
    for letter in letters:
        words = [word for word in unmet if letter in word]
        words = words[:: max(1, len(words) // count)][:count]
        right = []
        for word, row in zip(words, _written(net, words, bias, seed), strict=True):
            at, lean = word.index(letter), strokes.slant(row)
            tries = [word[:at] + other + word[at + 1 :] for other in SMALL]
            slants = [lean - strokes.slant(strokes.write(text)) for text in tries]
            font = [strokes.write(text, slant=s) for text, s in zip(tries, slants, strict=True)]
            right.append(tries[int(np.argmin(distances(row, font)))] == word)
        shares[letter] = round(float(np.mean(right)), 2)
    return shares


def _written(net, words, bias, seed):
    """Points of each word, up to its last lift; a space follows it, so that it is finished."""
    draw = torch.Generator().manual_seed(seed)
    T = 25 * max(map(len, words)) + 30
    parts = [(torch.rand, 1), (torch.randn, 2), (torch.rand, 1)]
    noise = torch.cat([kind(len(words), T, n, generator=draw) for kind, n in parts], -1)
    ids = [torch.tensor(strokes.encode(f"{word} ")) for word in words]
    text = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)
    device = net.b_y.device
    points, lengths = write(net.state_dict(), text.to(device), noise.to(device), bias)
    rows = [row[:length].cpu().numpy() for row, length in zip(points, lengths, strict=True)]
    ends = [max(np.flatnonzero(row[:, 2]), default=len(row)) + 1 for row in rows]
    return [row[:n] if len(row) - n <= 4 else row for row, n in zip(rows, ends, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {
        "width": 192,
        "layers": 2,
        "mixtures": 10,
        "gaussians": 6,
        "steps": 7000,
        "batch": 16,
        "lines": 24_000,
        "seed": 0,
        "every": 500,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--rare", type=float, default=0.0, help="share of letters made j, q, x, z")
    parser.add_argument("--start", help="weights (.safetensors) to go on from; sizes are theirs")
    parser.add_argument("--device")
    parser.add_argument("--checkpoint")
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    weights.refuse_taken(options.out, options.overwrite)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    device = minilib.device(options.device)
    start = None
    if options.start:
        net, start = weights.load(SynthesisNet, options.start, device)
        settings = start["model"]
        start["read_as_meant"] = read_as_meant(net)
    else:
        settings = {
            "alphabet": len(strokes.ALPHABET),
            "width": options.width,
            "layers": options.layers,
            "mixtures": options.mixtures,
            "gaussians": options.gaussians,
        }
        net = SynthesisNet(**settings).to(device)
    train = strokes.lines("train", options.lines, seed=options.seed, rare=options.rare)
    batches = strokes.batches(train, batch=options.batch, seed=options.seed)
    held_out = strokes.lines("validation", 100)

    def validate(net):
        value = score(net, held_out)
        print(f"\rvalidation {value:.4f} nats per point{' ' * 50}", flush=True)
        return value

    history = lab.fit(
        net,
        batches,
        steps=options.steps,
        lr=options.lr,
        loss=nats_per_point,
        seed=options.seed,
        every=options.every,
        validate=validate,
        checkpoint=options.checkpoint,
    )
    command = f"python data/weights/handwriting.py {' '.join(sys.argv[1:])}".strip()
    record = weights.record(
        net, settings, command, options.seed, history, test_split="lab.strokes.lines('test', 200)"
    )
    if start:
        record["start"] = start
    weights.save(options.out, net, record)
    net, _ = weights.load(SynthesisNet, options.out, device)  # scored as it is on disk, in float16
    test = strokes.lines("test", 200)
    record |= {
        "test_nats_per_point": score(net, test),
        "test_nats_per_point_of_first_40": score(net, test[:40]),
        "read_as_meant": read_as_meant(net),
    }
    weights.save(options.out, net, record)
    print(f"test {record['test_nats_per_point']:.4f} nats per point; wrote {options.out}")


if __name__ == "__main__":
    main()
