"""Train lesson 33's tokenizer of clips, save its weights beside this file, with their record.

    python data/weights/video_tokens.py --overwrite

`python -m minilib train` is for language models of bytes; this net sees bouncing letters.
"""

import argparse
import os
import pathlib
import sys

import torch
from torch.nn import functional as F

import minilib
from minilib import lab
from minilib.lab import data, weights
from minilib.video_tokens import VideoTokenizer, psnr


def clips(part, count):
    return torch.tensor(data.bouncing(part, count))[:, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"width": 32, "steps": 1000, "batch": 12, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--stop", type=int, help="end after so many of the steps")
    parser.add_argument("--device")
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    weights.refuse_taken(options.out, options.overwrite)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    settings = {"levels": [8, 5, 5, 5], "width": options.width}
    net = VideoTokenizer(**settings).to(minilib.device(options.device))
    train = clips("train", 1500).to(net.decoder.input.bias.device)

    def batches(step):
        if step == options.stop:
            raise KeyboardInterrupt  # as by Ctrl-C: fit returns what there is
        draw = torch.Generator().manual_seed(1000 * options.seed + step)
        return train[torch.randint(len(train), (options.batch,), generator=draw)]

    history = lab.fit(
        net,
        batches,
        steps=options.steps,
        lr=options.lr,
        loss=lambda net, clip: F.mse_loss(net(clip), clip),
        seed=options.seed,
    )
    command = f"python data/weights/video_tokens.py {' '.join(sys.argv[1:])}".strip()
    split = "bouncing('test', 120)"
    record = weights.record(net, settings, command, options.seed, history, test_split=split)
    weights.save(options.out, net, record)
    net, _ = weights.load(VideoTokenizer, options.out)  # scored as it is on disk, in float16
    for part in ("validation", "test"):
        some = clips(part, 120)
        tokens = net.tokens(some)
        record[f"{part}_psnr"] = psnr(net.film(tokens), some).item()
        record[f"{part}_codes_used"] = len(tokens.unique())
    weights.save(options.out, net, record)
    print(f"test {record['test_psnr']:.2f} dB, {record['test_codes_used']} codes")


if __name__ == "__main__":
    main()
