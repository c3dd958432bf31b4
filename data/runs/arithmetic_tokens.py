"""Sums as tokens: the runs of lesson 17, and its two models.

    python data/runs/arithmetic_tokens.py [--seeds 0 1 2] [--steps 3000] [--jobs 2]

A Transformer learns sums of numbers of two to four digits, written in one of five ways. All ways
read about as many tokens in a step: where a sum takes more of them, a step takes fewer sums. The
last reads sums with commas from the right, commas from the left and none, a third each, in twice
as many steps. Rate and sizes were tried out on held-out sums of another seed. The models of the
first seed that cut from the left and from the right are kept in data/weights.
"""

import argparse
import pathlib
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch

from minilib import lab
from minilib.arithmetic_tokens import (
    END,
    answer_loss,
    answers,
    error_positions,
    operands,
    sum_ids,
    vocabulary,
)
from minilib.lab import data, weights
from minilib.transformer import Transformer

MODEL = {"vocab_size": 114, "width": 64, "layers": 2, "heads": 4, "context": 32}
RATE, BATCH, TABLE = 2e-3, 128, 0.3  # TABLE: initial size of the embedding's entries
LENGTHS = (2, 3, 4)  # digits of a number in training; three and four are scored, and two apart
SCORED = 1007  # seed of the held-out sums
# how a way writes its sums: arguments of sum_ids after a and b
WAYS = {
    "left": [(2, "left")],
    "right": [(2, "right")],
    "digits": [(1,)],
    "digits, answer reversed": [(1, "left", True)],
    "commas or none": [(2, "left"), (2, "left", False, True), (2, "right", False, True)],
}
NAMES = {(2, "left"): "none", (2, "left", False, True): "from the left"}


def tokens_of(way):
    """Mean number of tokens of a sum, the end included."""
    total = 0
    for how in WAYS[way]:
        ids, learned = sum_ids(*operands(20_000, LENGTHS), *how)
        prompt = learned.int().argmax(1)
        total += (prompt + learned.sum(1)).double().mean().item()
    return total / len(WAYS[way])


def batch_of(way, rows, step, seed):
    a, b = operands(rows, LENGTHS, seed=1_000_000 * (seed + 1) + step)
    parts = [sum_ids(a[k :: len(WAYS[way])], b[k :: len(WAYS[way])], *how)
             for k, how in enumerate(WAYS[way])]  # fmt: skip
    T = max(ids.shape[1] for ids, _ in parts)
    grown = lambda x, value: torch.nn.functional.pad(x, (0, T - x.shape[1]), value=value)
    ids = torch.cat([grown(ids, END) for ids, _ in parts])
    return ids, torch.cat([grown(learned, False) for _, learned in parts])


def score(model, a, b, how):
    """What is counted: [right, all] of all, longer and equally long answers; errors by digit."""
    ids, learned = sum_ids(a, b, *how)
    names, found, wrong = vocabulary(2), {}, {}
    for row, x, y in zip(answers(model, ids, learned), a.tolist(), b.tolist(), strict=True):
        pieces = [names[i] for i in row.tolist() if i != END]
        written = "".join(pieces[::-1] if how[2:3] == (True,) else pieces)
        written, true = written.replace(",", ""), str(x + y)
        groups = ["all", "longer" if len(true) > max(len(str(x)), len(str(y))) else "same length"]
        groups.append("carry" if x % 100 + y % 100 >= 100 else "no carry")
        for group in groups:
            right, n = found.get(group, (0, 0))
            found[group] = right + (written == true), n + 1
        if len(written) == len(true):
            digits = f"{len(str(x))}+{len(str(y))}={len(true)}"
            for place in [0, *error_positions(written, true)]:  # place 0 counts the answers
                counts = wrong.setdefault(digits, [0] * (len(true) + 1))
                counts[place] += 1
    return found | {"errors": dict(sorted(wrong.items()))}


def one_run(way, seed, steps, keep):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Transformer(**MODEL)
    with torch.no_grad():
        model.embed.mul_(TABLE)
    rows = round(BATCH * tokens_of("left") / tokens_of(way))
    steps = steps * (2 if len(WAYS[way]) > 1 else 1)
    test, curve = operands(1000, (3, 4), seed=SCORED, held_out=True), []
    # sums of the same kind as the last of the way
    few = sum_ids(*(x[:500] for x in test), *WAYS[way][-1])

    @torch.no_grad()
    def validate(model):
        curve.append(round(answer_loss(model, few).item(), 4))
        return curve[-1]

    start = time.process_time()
    history = lab.fit(
        model, lambda step: batch_of(way, rows, step, seed), steps=steps, lr=RATE, seed=seed,
        loss=answer_loss, validate=validate, every=steps // 16, progress=False,
    )  # fmt: skip
    head = {"way": way, "seed": seed, "steps": steps, "rows": rows, "rate": RATE}
    head |= {"tokens": round(steps * rows * tokens_of(way)), "every": steps // 16, "curve": curve}
    head |= {"train": [round(sum(history.loss[i : i + 50]) / 50, 4) for i in (0, 200)]}
    runs = []
    for how in WAYS[way]:
        commas = {"commas": NAMES.get(how, "from the right")} if len(WAYS[way]) > 1 else {}
        short = operands(200, (2,), seed=SCORED, held_out=True)
        scores = score(model, *test, how) | {"two digits": score(model, *short, how)["all"]}
        runs.append(head | commas | scores)
    seconds = round(time.process_time() - start, 1)
    runs = [run | {"seconds": seconds} for run in runs]
    if keep and seed == 0 and way in ("left", "right"):
        path = data.HOME / "weights" / f"arithmetic_tokens_{way}.safetensors"
        record = {
            "model": MODEL, "command": keep, "seed": seed, "commit": weights.commit(),
            "device": f"cpu, {platform.machine()}, 1 thread", "torch": torch.__version__,
            "minutes": round(seconds / 60, 1), "steps": steps,
            "test_split": "sums whose 7 a + 11 b is a multiple of 61",
            "right_of_1000": runs[0]["all"][0],
        }  # fmt: skip
        weights.save(path, model, record)
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each")
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    began, done = time.perf_counter(), {}
    words = f"--seeds {' '.join(map(str, options.seeds))} --steps {options.steps}"
    command = f"python data/runs/arithmetic_tokens.py {words}"
    head = {
        "command": command, "commit": weights.commit(),
        "device": f"cpu, {platform.machine()}, 1 thread a run", "torch": torch.__version__,
    }  # fmt: skip
    order = [(seed, way) for seed in options.seeds for way in WAYS]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        waiting = {
            pool.submit(one_run, way, seed, options.steps, command): (seed, way)
            for seed, way in order
        }
        for future in as_completed(waiting):
            done[waiting[future]] = future.result()
            minutes = round((time.perf_counter() - began) / 60, 1)
            runs = [run for key in order for run in done.get(key, [])]
            data.write_runs(options.out, head | {"minutes": minutes, "runs": runs})
            for run in done[waiting[future]]:
                print(minutes, run, flush=True)


if __name__ == "__main__":
    main()
