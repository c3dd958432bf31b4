"""The twins of speculative beside definitions and peers."""

import time

import torch

from minilib.speculative import speculative, widened


def bench(device):
    """96 bytes after a speaker's name, plain and drafted: by the shipped Transformer, and by the same function in 4 and 16 times the weights.

    Eight seeds: texts differ, and over two of them the same draft has won 3 symbols a call or 8.
    """
    from minilib import lab
    from minilib.compression import KneserNey
    from minilib.lstm import LSTM
    from minilib.transformer import Transformer

    length, seeds, gamma, prompt = 96, range(1, 9), 5, b"HAMLET:\n"
    ids = torch.tensor([list(prompt)], device=device)
    shipped, lstm = lab.load(Transformer, device=device)[0], lab.load(LSTM, device=device)[0]
    counts = KneserNey(lab.data.shakespeare().train, order=5).to(device)
    drafts = {"order-5 counts": counts, "LSTM": lstm}

    def seconds(function, seed):
        start = time.perf_counter()
        out = function(seed)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, out

    for times in (1, 2, 4):
        target = widened(shipped, times)
        plain = lambda seed, model=target: lab.generate(model, prompt, length, seed=seed)
        plain(0)  # warms up
        for name, draft in drafts.items():
            ours = lambda seed, model=target, draft=draft: speculative(
                model, draft, ids, length, gamma=gamma, seed=seed
            )
            ours(0)
            pairs = [
                (seconds(ours, seed), seconds(plain, seed)) for seed in seeds
            ]  # side by side, so that a busy machine slows both
            what = f"{sum(p.numel() for p in target.parameters()) / 1e6:.0f} M weights, {name}"
            yield (
                f"{what}: calls of the target",
                {
                    "speculative": sum(out.calls for (_, out), _ in pairs),
                    "plain": length * len(seeds),
                },
            )
            yield (
                f"{what}: seconds",
                {
                    "speculative": sum(own for (own, _), _ in pairs),
                    "plain": sum(other for _, (other, _) in pairs),
                },
            )
