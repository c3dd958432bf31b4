"""FSQ against a learned codebook in the same net, three seeds, for lesson 33.

python data/runs/video_tokens.py
"""

import argparse
import pathlib
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

from minilib import lab, vq
from minilib.fsq import index_of, quantise
from minilib.lab import data
from minilib.lab.weights import commit
from minilib.video_tokens import VideoTokenizer, psnr


class Learned(VideoTokenizer):
    """The same net with a table of 1,000 learned codes in place of FSQ, as in lesson 31."""

    def __init__(self, width):
        super().__init__((8, 5, 5, 5), width)
        self.codes = nn.Parameter((2 * torch.rand(1000, 4) - 1) / 1000)


def coded(net, clip):
    """(the clip after coding and decoding, its symbols, what the codebook adds to the loss)."""
    z = net.encoder(clip).movedim(1, -1)
    if isinstance(net, Learned):
        quantized, tokens, codebook, commitment = vq.quantize(z.reshape(-1, 4), net.codes)
        return net.decoder(quantized.view(z.shape).movedim(-1, 1)), tokens, codebook + commitment
    codes = quantise(z, net.levels)
    return net.decoder(codes.movedim(-1, 1)), index_of(codes.detach(), net.levels), 0.0


def loss(net, clip):
    film, _, extra = coded(net, clip)
    return F.mse_loss(film, clip) + extra


def run(kind, seed, options):
    train = torch.tensor(data.bouncing("train", 1500))[:, None]
    some = torch.tensor(data.bouncing("validation", 120))[:, None]
    draw = lambda step: torch.Generator().manual_seed(1000 * seed + step)
    batches = lambda step: train[torch.randint(1500, (options.batch,), generator=draw(step))]
    torch.manual_seed(seed)
    net = Learned(options.width) if kind == "VQ" else VideoTokenizer(width=options.width)
    lab.fit(net, batches, steps=options.steps, lr=options.lr, loss=loss, progress=False)
    with torch.no_grad():
        film, tokens, _ = coded(net, some)
    used, perplexity = vq.usage(tokens.flatten(), 1000)
    found = {"kind": kind, "seed": seed, "steps": options.steps, "psnr": psnr(film, some).item()}
    print(found | {"used": used, "perplexity": perplexity}, flush=True)
    return found | {"used": used, "perplexity": perplexity}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for name, default in {"width": 32, "steps": 250, "batch": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=4e-3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.time()
    runs = [run(kind, seed, options) for seed in options.seeds for kind in ("FSQ", "VQ")]
    record = {
        "command": f"python data/runs/video_tokens.py {' '.join(sys.argv[1:])}".strip(),
        "commit": commit(),
        "device": "CPU, 1 thread",
        "torch": torch.__version__,
        "minutes": round((time.time() - start) / 60, 1),
        "runs": runs,
    }
    data.write_runs(pathlib.Path(__file__).with_suffix(".json"), record)


if __name__ == "__main__":
    main()
