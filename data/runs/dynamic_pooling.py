"""Chunks that form: who closes segments, step by step of the training, and the score in the end.

    python data/runs/dynamic_pooling.py [--seeds 0 1 2] [--steps 300] [--only SOURCE ...]

With --only, the other runs of the record are kept. Small models of one size. On Shakespeare each
source of ends, and as a control "hourglass", groups of 5 bytes wherever they fall. On the
interface of Django, the same messages in English, Russian and Chinese, H-Net's router; the last
tenth of the messages is held out. A frame is how likely each byte of one held-out sentence closes a
segment, at a step of the training. "entropy" copies the entropy spikes of the Transformer that the
course ships, as "supervised" copies a tokenizer.
"""

import argparse
import pathlib
import time

import torch
from torch.nn import functional

from minilib import lab
from minilib.dynamic_pooling import DynamicPooling, entropy_spikes, space_ends, token_ends
from minilib.hourglass import Hourglass
from minilib.lab import data, weights
from minilib.lab.strings import interface_strings
from minilib.transformer import Transformer
from minilib.unigram import UnigramTokenizer

BATCH, LENGTH, RATE, SHORTEN = 8, 128, 5e-3, 5
SENTENCE = {
    "play": "and, as thou sayest, charged my brother, on his",
    "message": "The domain name cannot contain any spaces or tabs.",
}
ROWS = [  # source, text
    ("route", "en"),
    ("route", "ru"),
    ("route", "zh_Hans"),
    ("route", "play"),
    ("gumbel", "play"),
    ("supervised", "play"),
    ("entropy", "play"),
    ("space", "play"),
    ("hourglass", "play"),
]


def text_of(name):
    """(training part, held-out part, a sentence of it), all bytes."""
    if name == "play":
        split = data.shakespeare("play")
        return split.train, split.validation[:20_000], SENTENCE["play"].encode()
    strings = interface_strings()
    common = [english for english in strings["ru"] if english in strings["zh_Hans"]]
    says = {english: english if name == "en" else strings[name][english] for english in common}
    cut = len(common) * 9 // 10
    assert SENTENCE["message"] in common[cut:]
    train, held_out = ("\n".join(map(says.get, part)) for part in (common[:cut], common[cut:]))
    return train.encode(), held_out.encode(), says[SENTENCE["message"]].encode()


def tensor(text):
    return torch.tensor(list(text))[None]


def share(mask):
    return mask.double().mean().item()


def one_run(source, name, seed, steps):
    """A model's training with its film, as a dict."""
    train, held_out, sentence = text_of(name)
    torch.manual_seed(seed)
    if source == "hourglass":
        model = Hourglass(width=64, k=SHORTEN, before=1, middle=2, after=1)
    else:
        copies = "supervised" if source == "entropy" else source
        model = DynamicPooling(width=64, source=copies, shorten=SHORTEN)
    loss = lab.train.language_loss if source == "hourglass" else DynamicPooling.loss
    target = {"supervised": tokens_of, "entropy": spikes_of}.get(source, lambda _: None)(train)
    if target:

        def loss(model, ids):
            return model.loss(ids, target(ids))

    windows = data.windows(train, batch=BATCH, length=LENGTH, seed=seed)
    taken = {round(steps * part) for part in (0, 1 / 30, 1 / 15, 2 / 15, 4 / 15, 1 / 2, 3 / 4)}
    frames = []

    def batches(step):
        if step in taken and source != "hourglass":
            frames.append({"step": step, **frame(model, sentence)})
        return windows(step)

    history = lab.fit(model, batches, steps=steps, lr=RATE, loss=loss, seed=seed, progress=False)
    row = {"source": source, "text": name, "seed": seed, "steps": steps}
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["seconds"] = round(history.seconds, 1)
    row["bits_per_byte"] = round(lab.bits_per_byte(model, held_out), 4)
    if source == "hourglass":
        return row
    row |= where(model, held_out)
    if target:
        row |= agreement(model, held_out, target(tensor(held_out)))
    frames.append({"step": steps, **frame(model, sentence)})
    return row | {"sentence": sentence.decode(), "frames": frames}


def tokens_of(train):
    """ids (batch, time) -> bool: where the tokens of each row end."""
    tokenizer = UnigramTokenizer.train(train[:200_000], 4000)
    pieces = tokenizer.pieces

    def ends(ids):
        rows = [[pieces[i] for i in tokenizer.encode(bytes(row))] for row in ids.tolist()]
        return torch.stack([token_ends(row) for row in rows])

    return ends


def spikes_of(_):
    """ids (batch, time) -> bool: where a trained Transformer is more surprised than before."""
    reader, _ = lab.load(Transformer)

    @torch.no_grad()
    def ends(ids):
        log_p = reader(ids).log_softmax(-1)
        return entropy_spikes(-(log_p.exp() * log_p).sum(-1))

    return ends


@torch.no_grad()
def frame(model, sentence):
    """How likely each byte closes a segment: at ½ or more it does."""
    _, p = model.boundaries(tensor(sentence))
    return {"p": [round(value, 3) for value in p[0].tolist()]}


@torch.no_grad()
def where(model, text):
    """The rate of ends, and which share of them falls on what, beside the share of all bytes."""
    ids = tensor(text)
    closes, _ = model.boundaries(ids)
    space, lead = space_ends(ids), (ids < 128) | (ids >= 192)
    places = {
        "space": space,
        "before_space": functional.pad(space[:, 1:], (0, 1)) & ~space,
        "first_of_word": functional.pad(space[:, :-1], (1, 0)) & ~space,
        "first_of_character": lead,
        "last_of_character": functional.pad(lead[:, 1:], (0, 1), value=True),
    }
    found = {"rate": share(closes)}
    for name, place in places.items():
        found |= {name: share(place[closes]), f"{name}_of_all": share(place)}
    return {name: round(value, 4) for name, value in found.items()}


@torch.no_grad()
def agreement(model, text, ends):
    """How many of the predicted ends are the target's, and of its ends are predicted."""
    closes, _ = model.boundaries(tensor(text))
    found = {"precision": share(ends[closes]), "recall": share(closes[ends]), "base": share(ends)}
    return {name: round(value, 4) for name, value in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="keep the other runs")
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = f"--seeds {' '.join(map(str, options.seeds))} --steps {options.steps}"
    record = {
        "command": f"python data/runs/dynamic_pooling.py {words}",
        "commit": weights.commit(),
        "device": "CPU, 1 thread",
        "torch": torch.__version__,
    }
    started, before, runs = time.perf_counter(), 0, []
    if options.only:
        kept = data.runs("dynamic_pooling")
        runs, before = kept["runs"], kept["minutes"]
        again = lambda run: run["source"] in options.only and run["seed"] in options.seeds
        runs = [run for run in runs if not again(run)]
        added = f"{record['command']} --only {' '.join(options.only)}"
        record |= {"command": kept["command"], "commit": kept["commit"]}
        record["added"] = [*kept.get("added", []), added]
    for seed in options.seeds:
        for source, name in ROWS:
            if options.only and source not in options.only:
                continue
            runs.append(one_run(source, name, seed, options.steps))
            minutes = round(before + (time.perf_counter() - started) / 60, 1)
            data.write_runs(options.out, record | {"minutes": minutes, "runs": runs})
            brief = {k: v for k, v in runs[-1].items() if k not in ("frames", "sentence")}
            print(minutes, brief, flush=True)


if __name__ == "__main__":
    main()
