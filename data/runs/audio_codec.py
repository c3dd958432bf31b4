"""What training adds to a codec, and what a language model saves. The runs of lesson 32.

    python data/runs/audio_codec.py

"plain": no training, codebooks by k-means on as many sounds as the codec of the course learned
from. "codec": 200 steps at two codebooks, scored on validation sounds before and after. "prior": a
small Transformer on the codes of the codec that the course ships, with two and with four
codebooks. The record is written after each run; runs that are recorded are not made again.
"""

import argparse
import os
import pathlib

import torch

from minilib import lab
from minilib.audio_codec import AudioCodec, Trainer
from minilib.lab import data


@torch.no_grad()
def plain(common, seed, steps):
    net, clips = AudioCodec(), common.waves("train", common.CLIPS)
    generator = torch.Generator().manual_seed(seed)
    net.quantiser.start(net.encoder(clips).flatten(0, 1), generator, steps)
    found = common.score(net, "validation") | common.score(net, "test")
    found = {name: round(value, 4) for name, value in found.items()}
    return {"what": "plain", "seed": seed, "steps": steps} | found


def codec(common, seed, steps):
    torch.manual_seed(seed)
    net, clips = AudioCodec(), common.waves("train", 512)
    trainer = Trainer(net, lr=common.RATE, choices=(2,), seed=seed)
    trainer.start(clips[:128])
    before, generator = common.score(net, "validation", (2,)), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        trainer.step(clips[torch.randint(len(clips), (common.BATCH,), generator=generator)])
    after = common.score(net, "validation", (2,))
    names = {"si_snr": "validation_si_snr_2", "distance": "validation_spectral_distance_2"}
    found = {short: [round(x[name], 4) for x in (before, after)] for short, name in names.items()}
    return {"what": "codec", "seed": seed, "steps": steps} | found


def prior(common, seed, steps, stages):
    net, _ = lab.load(AudioCodec)
    model, _, _ = common.train_prior(net, seed, steps, stages, clips=768, batch=4, progress=False)
    rows = common.texts(net, "validation", 48, stages)
    bits = common.bits_by_stage(model, rows, stages, net.quantiser.size)
    return {
        "what": "prior", "seed": seed, "stages": stages, "steps": steps,
        "bits": [round(b, 3) for b in bits],
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stop-after", type=float, default=float("inf"))
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".json")
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    out, common = options.out, data.script("audio_codec")
    unit = "minutes of processor time; SI-SNR in decibels, bits of a code"
    record = data.begin_runs(out, "python data/runs/audio_codec.py", unit=unit)

    def new():
        for seed in options.seeds:
            done = {(r["what"], r["seed"], r.get("stages")) for r in record["runs"]}
            if ("plain", seed, None) not in done:
                yield plain(common, seed, 20)
            if ("codec", seed, None) not in done:
                yield codec(common, seed, 200)
            for stages in (2, 4):
                if ("prior", seed, stages) not in done:
                    yield prior(common, seed, 120, stages)

    data.add_runs(out, record, new(), options.stop_after)


if __name__ == "__main__":
    main()
