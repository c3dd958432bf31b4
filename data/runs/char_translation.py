"""Translation by characters and by tokens: the runs of lesson 22.

    python data/runs/char_translation.py --seeds 0 1 2 --steps 1000

Serbian in Cyrillic letters to Serbian in Latin letters, and Norwegian (Bokmål) to Danish: the
interface of Django. Each way to read and write learns for the same steps of 16 pairs; some learn
for three times as many, too. The record is written after each run; what it holds is not trained
again.
"""

import argparse
import json
import pathlib
import platform
import time

import sacrebleu
import torch
from torch.utils.flop_counter import FlopCounterMode

from minilib import lab
from minilib.char_translation import Translator, noise, translate, translation_loss
from minilib.lab import data, weights
from minilib.lab.pairs import Letters, Tokens, batches, split
from minilib.tokenizer import Tokenizer

RATE, ROWS, NOISE = 1e-2, 16, 0.1
MODEL = {"width": 32, "heads": 2, "layers": 1}
PAIRS = {"sr": ("sr", "sr_Latn"), "nb": ("nb", "da")}
# a way: pair, tokens of the vocabulary (None: letters), arguments of Translator
WAYS = {
    "letters": ("sr", None, {}),
    "300 tokens": ("sr", 300, {}),
    "600 tokens": ("sr", 600, {}),
    "two-step decoder": ("sr", None, {"s": 3}),
    "Lee's encoder": ("sr", None, {"pool": 3}),
    "GBST encoder": ("sr", None, {"pool": 3, "soft": True}),
    "Danish, letters": ("nb", None, {}),
    "Danish, 600 tokens": ("nb", 600, {}),
}
LONGER = (
    "letters",
    "two-step decoder",
    "Lee's encoder",
    "GBST encoder",
)  # three times the steps, too


def sides_of(pairs, size):
    """What turns the texts of each side into ids, learned from the training pairs."""
    sides = []
    for side in (0, 1):
        texts = [pair[side] for pair in pairs]
        sides.append(Tokens(Tokenizer.train(texts, size)) if size else Letters(texts))
    return sides


def swapped(text, number):
    draw = torch.Generator().manual_seed(number)
    return noise(text, NOISE, torch.rand(len(text), generator=draw, dtype=torch.float64))


@torch.no_grad()
def multiply_adds(model, pairs):
    """Of matrices and filters, for reading and writing a pair, in the mean."""
    with FlopCounterMode(display=False) as counter:
        for pair in pairs:
            model(*(torch.tensor([ids]) for ids in pair))
    return counter.get_total_flops() // 2 // len(pairs)


def loss(model, batch):
    source, target = batch
    return translation_loss(model(source, target), target)


def one_run(way, seed, steps):
    which, size, arguments = WAYS[way]
    strings = data.interface_strings()
    parts = split(*(strings[language] for language in PAIRS[which]))
    source, target = sides_of(parts["train"], size)
    pairs = [(source.encode(text), target.encode(other)) for text, other in parts["train"]]
    torch.manual_seed(seed)
    sizes = {"source_size": source.vocab_size, "target_size": target.vocab_size}
    model = Translator(**sizes, **MODEL, **arguments)
    start = time.process_time()
    history = lab.fit(
        model, batches(pairs, ROWS, seed), steps=steps, lr=RATE, seed=seed,
        loss=loss, progress=False,
    )  # fmt: skip
    seconds = time.process_time() - start

    def written(texts, width=1):
        ids = translate(model, [source.encode(text) for text in texts], width)
        return [target.decode(row) for row in ids]

    def score(texts, true):
        right = sum(text == one for text, one in zip(texts, true, strict=True))
        chrf = sacrebleu.corpus_chrf(texts, [true]).score
        bleu = sacrebleu.corpus_bleu(texts, [true]).score
        return {"right": right, "of": len(true), "chrf": round(chrf, 2), "bleu": round(bleu, 2)}

    texts, true = zip(*parts["test"], strict=True)
    run = {"way": way, "seed": seed, "steps": steps, "rows": ROWS, "rate": RATE}
    run |= {"parameters": sum(p.numel() for p in model.parameters())}
    lengths = [sum(len(pair[side]) for pair in pairs) / len(pairs) for side in (0, 1)]
    run |= {"symbols": [round(length, 2) for length in lengths]}
    test = [(source.encode(text), target.encode(other)) for text, other in parts["test"]]
    run |= {"multiply-adds": multiply_adds(model, test)}
    run |= {"train": [round(sum(history.loss[i:][:20]) / 20, 4) for i in (0, -20)]}
    valid = list(zip(*parts["validation"], strict=True))
    run |= {"validation": score(written(valid[0]), valid[1])}
    start = time.process_time()
    greedy = written(texts)
    run |= {"seconds": round(seconds, 1), "decoding": round(time.process_time() - start, 2)}
    noisy = written([swapped(text, number) for number, text in enumerate(texts)])
    run |= {"greedy": score(greedy, true), "beam 8": score(written(texts, 8), true)}
    run |= {"noise": score(noisy, true), "written": greedy}
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, runs, before = time.process_time(), [], 0.0
    words = f"--seeds {' '.join(map(str, options.seeds))} --steps {options.steps}"
    command = f"python data/runs/char_translation.py {words}"
    head = {
        "command": command, "commit": weights.commit(),
        "device": f"cpu, {platform.machine()}, 1 thread", "torch": torch.__version__,
    }  # fmt: skip
    if pathlib.Path(options.out).is_file():
        known = json.loads(pathlib.Path(options.out).read_text(encoding="utf-8"))
        runs, before = known["runs"], known["minutes"]
    done = [(run["way"], run["seed"], run["steps"]) for run in runs]
    wanted = [(way, seed, options.steps) for seed in options.seeds for way in options.ways]
    longer = [way for way in options.ways if way in LONGER]
    wanted += [(way, seed, 3 * options.steps) for seed in options.seeds for way in longer]
    for way, seed, steps in wanted:
        if (way, seed, steps) in done:
            continue
        runs.append(one_run(way, seed, steps))
        minutes = round(before + (time.process_time() - began) / 60, 1)
        data.write_runs(options.out, head | {"minutes": minutes, "runs": runs})
        print(minutes, {k: v for k, v in runs[-1].items() if "written" not in k}, flush=True)


if __name__ == "__main__":
    main()
