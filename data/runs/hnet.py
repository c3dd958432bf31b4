"""One stage or two: the same blocks, the same steps, and where each router cuts in the end.

    python data/runs/hnet.py [--seeds 0 1 2] [--steps 600]

Two small H-Nets on Shakespeare, each of six blocks. One stage has four of them inside and is held
to a chunk every 6 bytes; of two stages each has two, two are inside, and each is held to a chunk
every 3 rows. Seconds are those of the processor, not of the clock.
"""

import argparse
import pathlib
import time

import torch
from torch.nn import functional

from minilib import lab
from minilib.dynamic_pooling import space_ends
from minilib.hnet import HNet, multiply_adds
from minilib.lab import data, weights

BATCH, LENGTH, RATE, WIDTH, CONTEXT = 8, 128, 5e-3, 64, 64
NETS = {
    "one": {"stages": 1, "middle": 4, "shorten": 6.0},
    "two": {"stages": 2, "middle": 2, "shorten": 3.0},
}


def share(mask):
    return round(mask.double().mean().item(), 4)


@torch.no_grad()
def cuts(model, text):
    """Of all rows of a stage, the share that begins a chunk; of these, the share on which bytes."""
    ids = torch.tensor(list(text))[None]
    begins, _ = model.boundaries(ids)
    inside = torch.cat([torch.ones_like(begins[:1]), begins])
    space = space_ends(ids)
    places = {"space": space, "first_of_word": functional.pad(space[:, :-1], (1, 0)) & ~space}
    found = {"rate": [share(b[a]) for a, b in zip(inside, begins, strict=False)]}
    for name, place in places.items():
        found |= {name: [share(place[b]) for b in begins], f"{name}_of_all": share(place)}
    return found, [int(rows.sum()) for rows in inside]


def one_run(name, seed, steps):
    split = data.shakespeare("play")
    held_out = split.validation[:20_000]
    torch.manual_seed(seed)
    model = HNet(width=WIDTH, context=CONTEXT, **NETS[name])
    started, points = time.process_time(), []

    def look(model):
        spent, found = time.process_time() - started, cuts(model, held_out[:4096])[0]
        bits = round(lab.bits_per_byte(model, held_out), 4)
        seconds = round(spent - sum(p["looking"] for p in points), 1)
        looking = time.process_time() - started - spent
        points.append({"seconds": seconds, "bits_per_byte": bits, "rate": found["rate"]})
        points[-1]["looking"] = looking
        return bits

    windows = data.windows(split.train, batch=BATCH, length=LENGTH, seed=seed)
    options = dict(steps=steps, lr=RATE, loss=HNet.loss, seed=seed, progress=False)
    lab.fit(model, windows, validate=look, every=max(1, steps // 6), **options)
    for n, point in enumerate(points):
        del point["looking"]
        point["step"] = min(steps, (n + 1) * max(1, steps // 6))
    found, rows = cuts(model, held_out[:4096])
    layers = len(model.before[0])
    products = multiply_adds(rows, WIDTH, 256, layers, NETS[name]["middle"], CONTEXT)
    row = {"net": name, "seed": seed, "steps": steps} | NETS[name]
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["seconds"] = points[-1]["seconds"]
    row["bits_per_byte"] = points[-1]["bits_per_byte"]
    row["multiply_adds_a_byte"] = round(products / rows[0])
    return row | found | {"points": points}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = f"--seeds {' '.join(map(str, options.seeds))} --steps {options.steps}"
    record = {
        "command": f"python data/runs/hnet.py {words}",
        "commit": weights.commit(),
        "device": "CPU, 1 thread",
        "torch": torch.__version__,
    }
    started, runs = time.process_time(), []
    for seed in options.seeds:
        for name in NETS:
            runs.append(one_run(name, seed, options.steps))
            minutes = round((time.process_time() - started) / 60, 1)
            data.write_runs(options.out, record | {"minutes": minutes, "runs": runs})
            print(minutes, {k: v for k, v in runs[-1].items() if k != "points"}, flush=True)


if __name__ == "__main__":
    main()
