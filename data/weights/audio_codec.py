"""Train lesson 32's nets and save their weights beside this file, with how they were made.

    python data/weights/audio_codec.py --overwrite

"audio_codec" is the codec; "audio_codec_prior" a Transformer that learned its symbols: frame after
frame, of each the codes of the first four stages.
"""

import argparse
import functools
import math
import os
import pathlib
import sys
import time

import torch

from minilib import lab
from minilib.audio_codec import AudioCodec, Trainer, si_snr
from minilib.audio_losses import spectral_distance
from minilib.lab import sounds, weights
from minilib.lab.train import History
from minilib.transformer import Transformer

BATCH, RATE, CLIPS, STAGES = 16, 5e-4, 1536, 4


def waves(part, count):
    return torch.tensor(sounds.notes(part, count).waves)


def train(seed, steps, every=0, **how):
    """The codec; the rate falls to zero over the second half."""
    torch.manual_seed(seed)
    net, clips = AudioCodec(), waves("train", CLIPS)
    trainer = Trainer(net, **{"lr": RATE, "seed": seed} | how)
    trainer.start(clips[:128])
    (group,) = trainer.optimizer.param_groups
    top, generator, losses = group["lr"], torch.Generator().manual_seed(seed), []
    for step in range(steps):
        group["lr"] = top * min(1, 2 - 2 * step / steps)
        rows = torch.randint(len(clips), (BATCH,), generator=generator)
        losses.append(trainer.step(clips[rows])["spectrum"])
        if every and (step + 1) % every == 0:
            print(step + 1, score(net, "validation"), flush=True)
    return net.eval(), losses


@torch.no_grad()
def score(net, part="test", choices=(1, 2, 4, 8)):
    """SI-SNR in decibels and spectral distance on 48 clips, by number of codebooks."""
    clips, found = waves(part, 48), {}
    for used in choices:
        heard = net(clips, used)[0]
        found[f"{part}_si_snr_{used}"] = si_snr(clips, heard).mean().item()
        found[f"{part}_spectral_distance_{used}"] = spectral_distance(clips, heard, net.rate).item()
    return found


# -- the language model of the codes ---------------------------------------------------------------


@torch.no_grad()
def texts(net, part, count, stages=STAGES):
    """Codes as rows of symbols after a start symbol: (count, 1 + frames · stages).

    Code k of stage q is symbol q · size + k; the start is stages · size.
    """
    size = net.quantiser.size
    codes = net.encode(waves(part, count), stages) + size * torch.arange(stages)
    return torch.nn.functional.pad(codes.flatten(1), (1, 0), value=size * stages)


def train_prior(net, seed, steps, stages=STAGES, clips=CLIPS, batch=8, progress=True):
    torch.manual_seed(seed)
    size = net.quantiser.size
    settings = {
        "vocab_size": stages * size + 1,
        "width": 64,
        "layers": 2,
        "heads": 4,
        "context": 96,
    }
    prior, rows = Transformer(**settings), texts(net, "train", clips, stages)
    held_out = texts(net, "validation", 24, stages)

    def batches(step):
        draw = torch.Generator().manual_seed(10_000 * seed + step)
        return rows[torch.randint(len(rows), (batch,), generator=draw)]

    def validate(prior):
        value = sum(bits_by_stage(prior, held_out, stages, size)) / stages
        if progress:
            print(f"validation {value:.3f} bits per code", flush=True)
        return value

    history = lab.fit(
        prior, batches, steps=steps, lr=4e-3, seed=seed, progress=False, weight_decay=0.1,
        validate=validate, every=100,
    )  # fmt: skip
    return prior.eval(), settings, history


@torch.no_grad()
def bits_by_stage(prior, rows, stages, size):
    """Mean bits of a code of each stage, among the `size` codes of its stage."""
    logits = prior(rows[:, :-1]).unflatten(1, (-1, stages))
    wanted = rows[:, 1:].unflatten(1, (-1, stages))
    found = []
    for q in range(stages):
        p = logits[:, :, q, q * size : (q + 1) * size].log_softmax(-1)
        nats = -p.gather(2, wanted[:, :, q, None] - q * size).mean().item()
        found.append(nats / math.log(2))
    return found


def score_prior(prior, net, part="test"):
    rows, size = texts(net, part, 48), net.quantiser.size
    bits = bits_by_stage(prior, rows, STAGES, size)
    return {f"{part}_bits_of_stage_{q}": value for q, value in enumerate(bits, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"steps": 400, "prior-steps": 200, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--only", choices=["codec", "prior"])
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    folder = pathlib.Path(__file__).parent
    files = folder / "audio_codec.safetensors", folder / "audio_codec_prior.safetensors"
    for file in files:
        weights.refuse_taken(file, options.overwrite)
    command = f"python data/weights/audio_codec.py {' '.join(sys.argv[1:])}".strip()
    split = {"test_split": "lab.sounds.notes('test', 48)"}

    if options.only != "prior":
        started = time.process_time()
        net, losses = train(options.seed, options.steps, every=100)
        history = History(losses, seconds=time.process_time() - started)
        record = weights.record(net, {}, command, options.seed, history, **split)
        print(weights.save_scored(files[0], net, record, score)[1], flush=True)

    if options.only == "codec":
        return
    net, _ = weights.load(AudioCodec, files[0])
    started = time.process_time()
    prior, settings, history = train_prior(net, options.seed, options.prior_steps)
    history.seconds = time.process_time() - started
    record = weights.record(prior, settings, command, options.seed, history, **split)
    score_it = functools.partial(score_prior, net=net)
    print(weights.save_scored(files[1], prior, record, score_it)[1], flush=True)


if __name__ == "__main__":
    main()
