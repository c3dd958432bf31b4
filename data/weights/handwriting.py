"""Train lesson 05's net and save its weights beside this file, with how they were made.

    python data/weights/handwriting.py --steps 7000 --lr 1e-2 --overwrite \\
        --checkpoint handwriting.checkpoint

`python -m minilib train` is for language models of bytes; this net reads pen strokes, and has a
command of its own.
"""

import argparse
import os
import pathlib
import sys

import torch

import minilib
from minilib import lab
from minilib.handwriting import SynthesisNet, nats_per_point
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
    parser.add_argument("--device")
    parser.add_argument("--checkpoint")
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    weights.refuse_taken(options.out, options.overwrite)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    device = minilib.device(options.device)
    settings = {
        "alphabet": len(strokes.ALPHABET),
        "width": options.width,
        "layers": options.layers,
        "mixtures": options.mixtures,
        "gaussians": options.gaussians,
    }
    net = SynthesisNet(**settings).to(device)
    train = strokes.lines("train", options.lines, seed=options.seed)
    # one letter in a thousand is an x: lines with the four rarest letters come four times
    train += 3 * [line for line in train if set(line.text) & set("jqxz")]
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
    weights.save(options.out, net, record)
    net, _ = weights.load(SynthesisNet, options.out, device)  # scored as it is on disk, in float16
    test = strokes.lines("test", 200)
    record |= {
        "test_nats_per_point": score(net, test),
        "test_nats_per_point_of_first_40": score(net, test[:40]),
    }
    weights.save(options.out, net, record)
    print(f"test {record['test_nats_per_point']:.4f} nats per point; wrote {options.out}")


if __name__ == "__main__":
    main()
