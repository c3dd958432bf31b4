"""How cold must a relaxed draw become? The runs of lesson 34.

    python data/runs/text_to_image.py

"annealing": the discrete autoencoder with three last temperatures. Each is scored on validation
letters by mean squared error: with relaxed draws at the last temperature, with hard draws, and with
the likeliest codes. Its relaxed and hard draws have the same noise.
"""

import argparse
import os
import pathlib
import sys

import torch
from torch.nn import functional as F

from minilib.lab import data
from minilib.lab.weights import commit
from minilib.text_to_image import gumbel_softmax

ENDS = {"1": 1.0, "1/4": 1 / 4, "1/16": 1 / 16}


def annealed(common, name, seed, steps):
    net, _ = common.train_vae(seed, steps, ENDS[name])
    net.requires_grad_(False)
    images, _, _ = common.letters("validation")
    generator = torch.Generator().manual_seed(seed)
    u = common.uniforms((len(images), 4, 4, len(net.codes)), generator)
    relaxed = gumbel_softmax(net.logits(images), u, ENDS[name])
    painted = {
        "relaxed": net.paint(relaxed),
        "hard": net.decode(relaxed.argmax(-1)),
        "likeliest": net.decode(net.encode(images)),
    }
    run = {"what": "annealing", "end": name, "seed": seed, "steps": steps}
    return run | {how: round(F.mse_loss(x, images).item(), 5) for how, x in painted.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    out, common = pathlib.Path(__file__).with_suffix(".json"), data.script("text_to_image")
    record = {
        "command": f"python data/runs/text_to_image.py {' '.join(sys.argv[1:])}".strip(),
        "commit": commit(),
        "device": f"CPU, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
        "minutes": 0.0,
        "unit": "minutes of processor time; mean squared errors on validation letters",
        "runs": [],
    }
    new = (annealed(common, name, seed, options.steps) for seed in options.seeds for name in ENDS)
    data.add_runs(out, record, new)


if __name__ == "__main__":
    main()
