"""Speculative decoding beside plain decoding, in one run."""

import time

import torch

from minilib import lab
from minilib.compression import KneserNey
from minilib.lstm import LSTM
from minilib.net2net import widened
from minilib.speculative import speculative
from minilib.transformer import Transformer

PROMPT, LENGTH, GAMMA = b"HAMLET:\n", 96, 5
SEEDS = range(1, 9)  # texts differ: over two of them one draft has won 3 symbols a call or 8


def bench(device):
    """96 bytes after a speaker's name, plain and drafted: calls of the target, and seconds.

    The targets are the shipped Transformer, and the same function in 4 and 16 times the weights.
    """
    shipped, lstm = lab.load(Transformer, device=device)[0], lab.load(LSTM, device=device)[0]
    counts = KneserNey(lab.data.shakespeare().train, order=5).to(device)
    for times in (1, 2, 4):
        target = widened(shipped, times)
        weights = f"{sum(p.numel() for p in target.parameters()) / 1e6:.0f} M weights"
        for name, draft in {"order-5 counts": counts, "LSTM": lstm}.items():
            calls, drafted, plain = compared(target, draft, device)
            what = f"{weights}, {name}"
            yield (
                f"{what}: calls of the target",
                {"speculative": calls, "plain": LENGTH * len(SEEDS)},
            )
            yield f"{what}: seconds", {"speculative": drafted, "plain": plain}


def compared(target, draft, device):
    """Over all seeds: calls of the target, seconds drafted, seconds plain."""
    ids = torch.tensor([list(PROMPT)], device=device)
    ours = lambda seed: speculative(target, draft, ids, LENGTH, gamma=GAMMA, seed=seed)
    theirs = lambda seed: lab.generate(target, PROMPT, LENGTH, seed=seed)
    ours(0), theirs(0)  # warm up
    calls = drafted = plain = 0
    for seed in SEEDS:  # side by side, so that a busy machine slows both
        taken, written = seconds(ours, seed, device)
        calls += written.calls
        drafted += taken
        plain += seconds(theirs, seed, device)[0]
    return calls, drafted, plain


def seconds(function, seed, device):
    start = time.perf_counter()
    out = function(seed)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, out
