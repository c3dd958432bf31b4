"""Speculative decoding beside plain decoding, in one run."""

import time
from functools import partial

import torch

from minilib import lab
from minilib.compression import KneserNey
from minilib.lstm import LSTM
from minilib.net2net import widened
from minilib.speculative import speculative
from minilib.transformer import Transformer

PROMPT, LENGTH, GAMMAS = b"HAMLET:\n", 96, (2, 5)
SEEDS = range(1, 9)  # texts differ: over two of them one draft has won 3 symbols a call or 8


def bench(device):
    """96 bytes after a speaker's name, plain and drafted: calls of the target, and seconds.

    The targets are the shipped Transformer, and the same function in 4 and 16 times the weights.
    Ours chooses gamma before each round; beside it the same gamma in all rounds.
    """
    shipped, lstm = lab.load(Transformer, device=device)[0], lab.load(LSTM, device=device)[0]
    counts = KneserNey(lab.data.shakespeare().train, order=5).to(device)
    for times in (1, 2, 4):
        target = widened(shipped, times)
        weights = f"{sum(p.numel() for p in target.parameters()) / 1e6:.0f} M weights"
        for name, draft in {"order-5 counts": counts, "LSTM": lstm}.items():
            calls, taken = compared(target, draft, device)
            what = f"{weights}, {name}"
            yield f"{what}: calls of the target", calls
            yield f"{what}: seconds", taken


def compared(target, draft, device):
    """{way: calls of the target} and {way: seconds} over all seeds, ours first, plain last."""
    ids = torch.tensor([list(PROMPT)], device=device)
    ways = {"speculative": None} | {f"gamma {gamma}": gamma for gamma in GAMMAS}
    calls, taken = dict.fromkeys(ways, 0), dict.fromkeys([*ways, "plain"], 0.0)
    for seed in [0, *SEEDS]:  # side by side, so that a busy machine slows all; the first warms up
        for way, gamma in ways.items():
            drafted = partial(speculative, target, draft, ids, LENGTH, gamma=gamma, seed=seed)
            spent, written = seconds(drafted, device)
            calls[way] += written.calls * (seed > 0)
            taken[way] += spent * (seed > 0)
        plain = partial(lab.generate, target, PROMPT, LENGTH, seed=seed)
        taken["plain"] += seconds(plain, device)[0] * (seed > 0)
    return calls | {"plain": LENGTH * len(SEEDS)}, taken


def seconds(function, device):
    """On a CPU those of the processor, which other programs do not lengthen."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    out = function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start, out
