"""The twins of compression beside definitions and peers."""

import time

import torch

from minilib.compression import KneserNey
from minilib.naive import compression as naive


def bench(device):
    """Scoring a held-out play: every byte's log-probability, tables counted beforehand."""
    from minilib import lab

    train, text = lab.data.shakespeare().train, lab.data.plays()["macbeth"]
    model, tables = KneserNey(train).to(device), naive.kn_tables(train, 5)
    ids = torch.tensor([list(text)], device=device)
    ways = {
        "vectorised": lambda: model.log_prob(ids).sum().item(),
        "naive": lambda: naive.log_prob(tables, text).sum(),
    }
    times = {}
    for name, score in ways.items():
        start = time.perf_counter()
        score()
        times[name] = time.perf_counter() - start
    yield f"Kneser-Ney, order 5, {len(text):,} bytes scored", times
