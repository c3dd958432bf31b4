"""Train lesson 36's net that paints letters from noise, save its weights beside this file.

    python data/weights/rectified_flow.py --overwrite

Latin letters of 16 × 16 pixels with their captions, split by name. A tenth of the rows is trained
without its caption, for guidance; the loss is that of the velocity plus a tenth of that of words.
"""

import argparse
import os
import pathlib
import sys

import torch
from torch.nn import functional as F

from minilib import lab
from minilib.lab import typefaces, weights
from minilib.rectified_flow import FlowNet, rf_pair

BATCH, RATE = 64, 3e-3
TIMES = [(k + 0.5) / 10 for k in range(10)]


def letters(part):
    """(pictures in [-1, 1], -1 is paper; captions; all that is known of the letters)."""
    found = typefaces.captioned_letters(part, side=16)
    return torch.tensor(2 * found.images - 1), torch.tensor(found.captions), found


def train(net, steps, seed, every=None, checkpoint=None, rate=RATE, rows=BATCH):
    """The net, trained in place; validation is the error of the velocity."""
    images, captions, _ = letters("train")

    def batches(step):
        draw = torch.Generator().manual_seed(10_000 * seed + step)
        pick = torch.randint(len(images), (rows,), generator=draw)
        noise = torch.randn(rows, 16, 16, generator=draw)
        t = torch.randn(rows, generator=draw).sigmoid()
        dropped = torch.rand(rows, generator=draw) < 0.1
        return images[pick], captions[pick], noise, t, dropped

    def loss(net, batch):
        error, nats = net.loss(*batch)
        return error + 0.1 * nats

    def validate(net):
        value = errors(net, "validation", TIMES[1::3])["matched"]
        print(f"validation {value:.4f}", flush=True)
        return value

    how = {"steps": steps, "lr": rate, "weight_decay": 0.01, "seed": seed, "progress": False}
    how |= {"validate": validate, "every": every, "checkpoint": checkpoint}
    return lab.fit(net, batches, loss=loss, **how)


@torch.no_grad()
def errors(net, part="test", times=TIMES):
    """Mean squared error of the velocity, mean over times: with its caption, another one, none."""
    images, captions, found = letters(part)
    draw = torch.Generator().manual_seed(0)
    other = captions.roll(7, 0)
    names = found.names
    assert all(a != b for a, b in zip(names, names[-7:] + names[:-7], strict=True))
    texts = {"matched": captions, "shuffled": other, "none": torch.zeros_like(captions)}
    sums = dict.fromkeys(texts, 0.0)
    read = {name: net.read(text)[1] for name, text in texts.items()}
    for time in times:
        t = torch.full((len(images),), time)
        x, wanted = rf_pair(images, torch.randn(images.shape, generator=draw), t)
        for name in texts:
            sums[name] += F.mse_loss(net.velocity(x, t, read[name]), wanted).item()
    return {name: value / len(times) for name, value in sums.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"width": 64, "steps": 1200, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--checkpoint", help="a file that an interrupted run goes on from")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    weights.refuse_taken(options.out, options.overwrite)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    settings = {"words": len(letters("train")[2].words), "width": options.width, "layers": 3}
    net = FlowNet(**settings)
    every = max(1, options.steps // 12)
    history = train(net, options.steps, options.seed, every, options.checkpoint)
    command = f"python data/weights/rectified_flow.py {' '.join(sys.argv[1:])}".strip()
    split = {"test_split": "lab.typefaces.captioned_letters('test', side=16)"}
    record = weights.record(net, settings, command, options.seed, history, **split)
    test = lambda net: {f"test_{name}": value for name, value in errors(net).items()}
    print(weights.save_scored(options.out, net, record, test)[1], flush=True)


if __name__ == "__main__":
    main()
