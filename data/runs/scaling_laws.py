"""The grid of lesson 16, the prediction made from it, and then the larger run.

    python data/runs/scaling_laws.py [--seeds 0 1 2] [--large 5.12e11]

Transformers of one layer on Shakespeare's characters. At each budget C of FLOPs each width is
trained on as much text as C pays for. The learning rate is chosen for each width and budget, on the
validation plays, with a seed that is not used again; the losses recorded are of the test plays, the
same windows for all. Then a loss is predicted for the larger budget, written to the record with its
time, and only then is the larger model trained.
"""

import argparse
import datetime
import math
import pathlib
import platform
import time

import numpy as np
import torch

from minilib import lab
from minilib.lab.weights import commit
from minilib.scaling_laws import affordable, fit_parametric, loss_hat, parabola_vertex, parameters
from minilib.transformer import Transformer

CONTEXT, BATCH = 32, 32
BUDGETS = {
    1.6e9: (4, 6, 8, 12, 16, 24),
    6.4e9: (6, 8, 12, 16, 24, 32),
    2.56e10: (8, 12, 16, 24, 32, 48),
    1.024e11: (16, 20, 24, 32, 48, 64),
}
TUNING = 100  # the seed that chooses the learning rates
STARTS = torch.tensor([[0.3, a, b, x, x] for x in (0.3, 0.5) for a in (3, 6) for b in (3, 6)])

text = lab.data.shakespeare()
symbols = sorted(set(text.train))
V = len(symbols)
number = np.zeros(256, dtype=np.int64)
number[symbols] = np.arange(V)
train, validation, test = (number[np.frombuffer(part, np.uint8)] for part in text)


def fixed(ids, count=1024):
    """Windows that lie evenly over a text: the same 32,768 predictions for every model."""
    start = np.linspace(0, len(ids) - CONTEXT - 1, count).astype(int)
    return torch.from_numpy(ids[start[:, None] + np.arange(CONTEXT + 1)])


@torch.no_grad()
def score(model, windows):
    return lab.train.language_loss(model, windows).item()


def one_run(C, width, lr, seed):
    """Train on what C pays for; the schedule ends at the last step."""
    torch.manual_seed(seed)
    steps = affordable(C, V, width, 1, CONTEXT) // BATCH
    model = Transformer(V, width, layers=1, heads=max(1, width // 8), context=CONTEXT)
    batches = lab.data.windows(train, batch=BATCH, length=CONTEXT, seed=seed)
    start = time.process_time()
    lab.train.fit(model, batches, steps=steps, lr=lr, warmup=0.05, seed=seed, progress=False)
    seconds = time.process_time() - start
    return {
        "kind": "run", "C": C, "width": width, "N": parameters(V, width, 1),
        "D": steps * BATCH * CONTEXT, "steps": steps, "lr": round(lr, 6), "seed": seed,
        "validation": round(score(model, fixed(validation)), 5),
        "loss": round(score(model, fixed(test)), 5), "seconds": round(seconds, 2),
    }  # fmt: skip


def tuned(C, width, seeds, record):
    """Choose the rate among 1, 2, 4 times 0.06 / √width, and on beyond an end that is best."""
    scores, wanted = {}, {0, 1, 2}
    while wanted - set(scores):
        for k in sorted(wanted - set(scores)):
            run = one_run(C, width, 2**k * 0.06 / math.sqrt(width), TUNING)
            record(run | {"kind": "tuning"})
            scores[k] = run["validation"]
        best = min(scores, key=scores.get)
        wanted = {k for k in (best - 1, best, best + 1) if -2 <= k <= 4}
    for seed in seeds:
        record(one_run(C, width, 2**best * 0.06 / math.sqrt(width), seed))


def predict(runs, C):
    """Two predictions of the loss at C: along the frontier, and by the law in N and D."""
    kept = [run for run in runs if run["kind"] == "run"]
    column = lambda name: torch.tensor([run[name] for run in kept], dtype=torch.float64)
    N, D, loss, budget = column("N"), column("D"), column("loss"), column("C")
    sizes, lowest = [], []
    for c in BUDGETS:
        at = budget == c
        log_n, low = parabola_vertex(N[at].log(), loss[at])
        sizes.append(log_n.item())
        lowest.append(low.item())
    logs = np.log(list(BUDGETS))
    exponent, start = np.polyfit(logs, sizes, 1)
    best_n = math.exp(start + exponent * math.log(C))
    power = np.polyfit(logs, np.log(lowest), 1)
    theta = fit_parametric(N, D, loss, STARTS.double())
    price = {w: C / affordable(C, V, w, 1, CONTEXT) / CONTEXT for w in range(8, 129, 8)}
    few = [w for w in price if C / price[w] < len(train)]  # under one epoch
    width = min(few, key=lambda w: abs(math.log(parameters(V, w, 1) / best_n)))
    n = torch.tensor([float(parameters(V, width, 1))], dtype=torch.float64)
    d = torch.tensor([C / price[width]], dtype=torch.float64)
    return {
        "kind": "prediction", "written": datetime.datetime.now(datetime.UTC).isoformat(),
        "C": C, "best_N": round(best_n), "width": width, "N": int(n), "D": round(float(d)),
        "exponent": round(exponent, 4),
        "by_power_law": round(float(np.exp(np.polyval(power, math.log(C)))), 4),
        "by_parametric_law": round(loss_hat(n, d, theta).item(), 4),
        "theta": [round(float(x), 6) for x in theta],
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--large", type=float, default=5.12e11)
    parser.add_argument("--out", default=pathlib.Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs, began = [], time.perf_counter()
    words = f"--seeds {' '.join(map(str, options.seeds))} --large {options.large:g}"
    head = {
        "command": f"python data/runs/scaling_laws.py {words}", "commit": commit(),
        "device": f"cpu, {platform.machine()}, 1 thread", "torch": torch.__version__,
    }  # fmt: skip

    def record(run):
        runs.append(run)
        minutes = round((time.perf_counter() - began) / 60, 1)
        lab.data.write_runs(options.out, head | {"minutes": minutes, "runs": runs})
        print(*run.values(), flush=True)

    for C, widths in BUDGETS.items():
        for width in widths:
            tuned(C, width, options.seeds, record)
    prediction = predict(runs, options.large)
    record(prediction)  # from here on it stands there, whatever comes out
    tuned(options.large, prediction["width"], options.seeds, record)


if __name__ == "__main__":
    main()
