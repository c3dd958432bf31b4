"""Decoding without a draft model beside lesson 37's and beside plain decoding, in one run."""

from functools import partial

import torch

from minilib import lab
from minilib.bench.speculative import LENGTH, PROMPT, seconds
from minilib.compression import KneserNey
from minilib.lookahead import lookahead
from minilib.medusa_lookahead import Heads, best_tree, medusa, rank_accuracy
from minilib.net2net import widened
from minilib.speculative import speculative
from minilib.transformer import Transformer

TEXTS = 4


def bench(device):
    """Greedy text after a speaker's name, and sampled text: calls of the target, and seconds.

    The targets are the shipped Transformer and the same function in 16 times the weights. Medusa's
    tree has 16 nodes, chosen on validation text.
    """
    shipped, split = lab.load(Transformer, device=device)[0], lab.data.shakespeare()
    heads, counts = lab.load(Heads, device=device)[0], KneserNey(split.train, order=5).to(device)
    with torch.no_grad():
        ids = torch.tensor(list(split.validation[:4096]), device=device).view(-1, 256)
        choices = best_tree(rank_accuracy(heads(shipped(ids)), ids, 8), 16)
    for times, temperature in ((1, 0), (4, 0), (4, 1.0)):
        target = widened(shipped, times)
        ways = {
            "medusa": partial(medusa, target, heads, choices=choices),
            "lookahead": partial(lookahead, target, copy=True),
            "speculative, counts": partial(speculative, target, counts, gamma=4),
        }
        calls, taken = compared(ways, target, temperature, device)
        weights = f"{sum(p.numel() for p in target.parameters()) / 1e6:.0f} M weights"
        what = f"{weights}, temperature {temperature}"
        yield f"{what}: calls of the target", calls
        yield f"{what}: seconds", taken


def compared(ways, target, temperature, device):
    """{way: calls of the target} and {way: seconds} over all texts, ours first, plain last."""
    ids = torch.tensor([list(PROMPT)], device=device)
    calls, taken = dict.fromkeys(ways, 0), dict.fromkeys([*ways, "plain"], 0.0)
    for seed in range(TEXTS + 1):  # side by side; the first warms up
        how = {"temperature": temperature, "seed": seed}
        for way, write in ways.items():
            spent, written = seconds(partial(write, ids=ids, length=LENGTH, **how), device)
            number = written.calls if way.startswith("speculative") else len(written.taken)
            calls[way] += number * (seed > 0)
            taken[way] += spent * (seed > 0)
        plain = partial(lab.generate, target, PROMPT, LENGTH, **how)
        taken["plain"] += seconds(plain, device)[0] * (seed > 0)
    return calls | {"plain": LENGTH * TEXTS}, taken
