"""Train lesson 07's model of words and save its weights beside this file, with how they were made.

    python data/weights/char_aware.py --steps 4000 --checkpoint char_aware.checkpoint

The weights beside this file were made by it. `python -m minilib train char_aware --tokenizer FILE`
trains the same model on the words that WordTokenizer.save wrote to FILE.
"""

import argparse
import os
import pathlib
import sys

import torch

import minilib
from minilib import lab
from minilib.char_aware import CharAware
from minilib.lab import data, ids, weights
from minilib.word_tokenizer import WordTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {
        "words": 2600,
        "steps": 4000,
        "batch": 16,
        "length": 64,
        "seed": 0,
        "every": 250,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=6e-3)
    about = "table: the rival that sees no letters, to be written elsewhere with --out"
    parser.add_argument("--inputs", choices=["letters", "table"], default="letters", help=about)
    parser.add_argument("--device")
    parser.add_argument("--checkpoint")
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    weights.refuse_taken(options.out, options.overwrite)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    split = data.shakespeare("play")
    tokenizer = WordTokenizer.train(split.train, options.words)
    settings = {"words": [word.decode() for word in tokenizer.words]}
    if options.inputs != "letters":
        settings["inputs"] = options.inputs
    model = CharAware(**settings).to(minilib.device(options.device))

    def validate(model):
        value = lab.bits_per_byte(model, split.validation[:100_000], tokenizer)
        print(f"\rvalidation {value:.4f} bits per byte{' ' * 50}", flush=True)
        return value

    history = lab.fit(
        model,
        ids.windows(
            split.train,
            batch=options.batch,
            length=options.length,
            seed=options.seed,
            tokenizer=tokenizer,
        ),
        steps=options.steps,
        lr=options.lr,
        loss=CharAware.loss,
        seed=options.seed,
        every=options.every,
        validate=validate,
        checkpoint=options.checkpoint,
    )
    command = f"python data/weights/char_aware.py {' '.join(sys.argv[1:])}".strip()
    record = weights.record(
        model, settings, command, options.seed, history, test_split="shakespeare(by='play').test"
    )
    weights.save(options.out, model, record)
    model, _ = weights.load(CharAware, options.out)  # scored as it is on disk, in float16
    for name, text in {
        "test_bits_per_byte": split.test,
        "test_bits_per_byte_of_first_100000": split.test[:100_000],
    }.items():
        record[name] = lab.bits_per_byte(model, text, tokenizer)
    weights.save(options.out, model, record)
    print(f"test {record['test_bits_per_byte']:.4f} bits per byte; wrote {options.out}")


if __name__ == "__main__":
    main()
