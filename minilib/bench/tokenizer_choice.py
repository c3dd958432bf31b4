"""The bootstrap of the premiums of a production vocabulary, all draws at once and in a loop."""

import time

import torch

from minilib.lab import data, strings
from minilib.naive import tokenizer_choice as naive
from minilib.tokenizer import Tokenizer
from minilib.tokenizer_choice import interval, sizes


def bench(device):
    """2,000 draws for each of ten languages: looked up at once, added up one by one, re-encoded."""
    gpt2 = Tokenizer.load(data.vocabulary("gpt2"), pattern="gpt2")
    found = data.interface_strings()
    languages = ["de", "fi", "ru", "el", "hi", "ka", "ml", "th", "ko", "zh_Hans"]
    texts = {name: strings.parallel(found[name]) for name in languages}
    encode = lambda texts: torch.tensor([row[-1] for row in sizes(gpt2.encode, texts)])
    counts = {name: tuple(map(encode, pair)) for name, pair in texts.items()}
    rng = torch.Generator().manual_seed(0)
    draws = {
        n: torch.randint(len(a), (2000, len(a)), generator=rng) for n, (a, _) in counts.items()
    }
    some = {name: rows[:20].tolist() for name, rows in draws.items()}

    def at_once():
        return [interval(*(x.to(device) for x in counts[n]), draws[n].to(device)) for n in counts]

    def loop():
        for name, (a, b) in counts.items():
            naive.interval(a.tolist(), b.tolist(), draws[name].tolist())

    def encoded_again():  # for each draw; the time of 20 of the 2,000
        for name, rows in some.items():
            for row in rows:
                naive.premium(gpt2.encode, *([text[i] for i in row] for text in texts[name]))

    times = {}
    for name, run in {"at once": at_once, "loop": loop, "encoded again": encoded_again}.items():
        start = time.perf_counter()
        run()
        times[name] = time.perf_counter() - start
    times["encoded again"] *= 2000 / 20
    yield "10 languages, 2,000 draws each", times
