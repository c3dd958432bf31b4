"""Train lesson 35's model and save its weights beside this file, with how it was made.

    python data/weights/chameleon.py --overwrite

It learns pairs of a Latin letter's name and its picture, as symbols of lesson 31's net, in one
stream: the picture comes first in half of the rows. Against learning by heart: letters beyond
U+0180, too, and pictures shifted by up to one pixel. Kept is what was best on the validation part
while it trained.
"""

import argparse
import functools
import math
import os
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

from minilib import lab
from minilib.chameleon import Chameleon, interleave, markers, stream_loss
from minilib.lab import typefaces, weights
from minilib.vq import VQVAE

PLACES = 36  # codes of a picture
CODES = 256


def letters(part, more=False):
    """Of `captioned_letters`; with more, all Latin letters of the part whose words are known."""
    found = typefaces.captioned_letters(part)
    if not more:
        return found
    number = {word: k for k, word in enumerate(found.words)}
    every = typefaces.named_letters(part)
    rows = [k for k, name in enumerate(every.names) if fits(name, number)]
    numbers = [[number[word] for word in every.names[k].split()] for k in rows]
    captions = np.array([line + [0] * (typefaces.LONGEST - len(line)) for line in numbers])
    pick = lambda values: [values[k] for k in rows]
    texts = pick(every.names), pick(every.letters), pick(every.faces)
    return typefaces.Captioned(every.images[rows], captions, found.words, *texts)


def fits(name, words):
    """Whether it is a Latin letter's, of known words; a "small capital" looks like a capital."""
    pieces = name.split()
    short = pieces[0] == "LATIN" and len(pieces) <= typefaces.LONGEST
    return short and "SMALL CAPITAL" not in name and set(pieces) <= set(words)


@functools.cache
def pairs(part, shift=0, more=False):
    """(captions, grids of codes for each shift (shifts, count, 36), letters); 0 shift comes first.

    shift  pictures are moved by up to so many pixels in both directions
    """
    net, _ = lab.load(VQVAE)
    found = letters(part, more)
    images = torch.tensor(found.images)[:, None]
    reach = sorted(range(-shift, shift + 1), key=abs)
    moves = [(down, right) for down in reach for right in reach]
    with torch.no_grad():
        grids = [net.encode(images.roll(move, (2, 3))).flatten(1) for move in moves]
    return torch.tensor(found.captions), torch.stack(grids), found


def batches(rows, shift, seed=0, more=False):
    """A function of the step -> rows of one stream, the picture first in half of them."""
    captions, grids, found = pairs("train", shift, more)

    def batch(step):
        draw = torch.Generator().manual_seed(10_000 * seed + step)
        pick = torch.randint(len(captions), (rows,), generator=draw)
        move = torch.randint(len(grids), (rows,), generator=draw)
        first = torch.rand(rows, generator=draw) < 0.5
        return interleave(captions[pick], grids[move, pick], first, len(found.words), CODES)

    return batch


def loss(weight):
    def mixed(model, ids):
        nats, penalty = stream_loss(model(ids[:, :-1]), ids, weight)
        return nats + penalty

    return mixed


# -- scores ----------------------------------------------------------------------------------------


@torch.no_grad()
def nats(model, captions, grids, image_first, words):
    """Nats of what comes second, given what comes first, for each pair: (count,)."""
    first = torch.full((len(captions),), image_first)
    ids = interleave(captions, grids, first, words, CODES)
    logits = model(ids[:, :-1]).transpose(1, 2)
    each = F.cross_entropy(logits, ids[:, 1:], reduction="none")
    mark = markers(words, CODES)
    target = ids[:, 1:]
    is_code = (target >= words) & (target < words + CODES)
    is_text = (target > 0) & (target < words) | (target == mark.stop)
    return (each * (is_text if image_first else is_code)).sum(1)


def mates(letters, seed=0):
    """For each picture another one of the same face, and of another name."""
    draw = np.random.default_rng(seed)
    names, faces = np.array(letters.names), np.array(letters.faces)
    there = zip(names, faces, strict=True)
    return torch.tensor(
        [draw.choice(np.flatnonzero((faces == face) & (names != name))) for name, face in there]
    )


def score(model, part="test"):
    """Nats of a caption given its picture, and of a code given the caption; and if shuffled."""
    captions, grids, letters = pairs(part)
    pictures, other, words = grids[0], mates(letters), len(letters.words)
    found = {
        "caption": nats(model, captions, pictures, True, words),
        "caption_shuffled": nats(model, captions, pictures[other], True, words),
        "code": nats(model, captions, pictures, False, words) / PLACES,
        "code_shuffled": nats(model, captions[other], pictures, False, words) / PLACES,
    }
    return {f"{part}_nats_{name}": value.mean().item() for name, value in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"steps": 4000, "batch": 32, "width": 96, "layers": 3, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shift", type=int, default=1)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    weights.refuse_taken(options.out, options.overwrite)
    command = f"python data/weights/chameleon.py {' '.join(sys.argv[1:])}".strip()

    words = len(letters("train").words)
    settings = {"vocab_size": words + CODES + 4, "width": options.width, "layers": options.layers}
    settings |= {"heads": 4, "qk_norm": True, "order": "swin"}
    torch.manual_seed(options.seed)
    model = Chameleon(**settings)

    best = {"value": math.inf}

    def validate(model):
        found = score(model, "validation")
        print({name[16:]: round(value, 3) for name, value in found.items()}, flush=True)
        value = found["validation_nats_caption"] + PLACES * found["validation_nats_code"]
        if value < best["value"]:
            state = {name: x.clone() for name, x in model.state_dict().items()}
            best.update(value=value, state=state)
        return value

    history = lab.fit(
        model,
        batches(options.batch, options.shift, options.seed, more=True),
        steps=options.steps,
        lr=options.lr,
        loss=loss(1e-5),
        weight_decay=options.weight_decay,
        validate=validate,
        every=max(1, options.steps // 12),
        seed=options.seed,
        progress=False,
    )
    model.load_state_dict(best["state"])
    more = {"kept_after": min(history.validation, key=lambda pair: pair[1])[0]}
    more["validation"] = [[step, round(value, 3)] for step, value in history.validation]
    more["test_split"] = "lab.typefaces.captioned_letters('test')"
    record = weights.record(model, settings, command, options.seed, history, **more)
    print(weights.save_scored(options.out, model, record, score)[1], flush=True)


if __name__ == "__main__":
    main()
