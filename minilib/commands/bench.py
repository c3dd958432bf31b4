"""Time the twins against definitions and peers, as ratios in one run."""

import importlib

import minilib
from minilib import twins


def arguments(parser):
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="default: all")
    parser.add_argument("--device", help="cpu (default), cuda, cuda:1")
    about = "repetitions, for the range (default: 5)"
    parser.add_argument("--rounds", type=int, default=5, help=about)


def run(options):
    """Each minilib/bench/<topic>.py has a generator bench(device) of (what, {name: number}).

    A number is seconds or bytes, None a peer that is not installed; ours comes first.
    """
    import torch

    names = twins.known(options.topics, room="bench")
    torch.set_num_threads(1)
    device = minilib.device(options.device or "cpu")
    print(f"one thread of {device}: others over ours (above 1: ours needs less), median and")
    print(f"range of {options.rounds} rounds")
    for name in names:
        module = importlib.import_module(f"minilib.bench.{name}")
        rounds = [list(module.bench(device)) for _ in range(options.rounds)]
        for same in zip(*rounds, strict=True):
            what, (ours, *peers) = same[0][0], same[0][1]
            print(f"{name}: {what}, {ours} 1")
            for peer in peers:
                ratios = sorted(n[peer] / n[ours] for _, n in same if n[peer] is not None)
                print(f"    {_range(ratios) if ratios else 'not installed':<28} {peer}", flush=True)


def _range(ratios):
    """'2.10 (1.95 to 2.30)': the median and the ends of a sorted list."""
    middle = ratios[len(ratios) // 2]
    return f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
