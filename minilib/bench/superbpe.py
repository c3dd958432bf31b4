"""Training of SuperBPE: its time grows like the text, 2 and 4 times; and beside a recount."""

import time

from minilib.bench.bpe import texts
from minilib.naive import superbpe as naive
from minilib.superbpe import train


def _seconds(learn, *arguments):
    """CPU seconds, whatever else the machine does."""
    start = time.process_time()
    learn(*arguments)
    return time.process_time() - start


def bench(device):
    """Plays of 0.5, 1 and 2 MB, 8,192 tokens, half of them of stage 2; then 10 kB, 300 tokens."""
    plays = "".join(texts())
    sizes = {"ours": 500_000, "ours on 1 MB": 1_000_000, "ours on 2 MB": 2_000_000}
    taken = {name: _seconds(train, plays[:size], 8192, 4096) for name, size in sizes.items()}
    yield "training on 0.5 MB, 8,192 tokens, t = 4,096", taken
    small = plays[:10_000]
    taken = {"ours": _seconds(train, small, 300, 280)}
    taken["naive"] = _seconds(naive.train, small, 300, 280)
    assert train(small, 300, 280) == naive.train(small, 300, 280)
    yield "training on 10 kB, 300 tokens, t = 280", taken
