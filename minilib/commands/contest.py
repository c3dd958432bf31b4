"""Train language models under one budget and compare them; or enter a model of your own.

Without a file it trains every language model of the course that reads a text, and adds to the
record of lesson 39 what is missing there. With a file of your own it trains the one LanguageModel
that the file defines, checks the laws, scores it and prints its place.
"""

import functools
import itertools
import math
import pathlib

# minilib.contest is imported where it is used: torch, which it needs, takes seconds to load
BUDGETS = {"seconds": (30.0, 120.0), "multiply-adds": (5e11, 2e12)}
ENTRANTS = {  # name: topic, settings, rows of a batch, their length, rates to try, tokens
    "tanh RNN": ("char_rnn", {"width": 256}, 16, 64, (1e-3, 2e-3, 4e-3)),
    "LSTM": ("lstm", {"width": 192}, 16, 64, (4e-3, 8e-3, 1.6e-2)),
    "LSTM, 512 tokens": ("lstm", {"width": 192}, 16, 64, (4e-3, 8e-3, 1.6e-2), 512),
    "words by letters": ("char_aware", {}, 16, 64, (3e-3, 6e-3, 1.2e-2), 2600),
    "Transformer": ("transformer", {"layers": 2, "context": 128}),
    "Transformer, 512 tokens": (
        *("transformer", {"layers": 2, "context": 64}),
        *(8, 64, (2e-3, 4e-3, 8e-3), 512),
    ),
    "deep Transformer of 2018": ("char_transformer", {"width": 80, "layers": 4}),
    "Chameleon": ("chameleon", {"width": 128, "layers": 2, "context": 128}),
    "Hourglass": ("hourglass", {"middle": 2, "context": 128}),
    "dynamic pooling": ("dynamic_pooling", {"source": "route", "context": 128}),
    "H-Net": ("hnet", {"width": 96, "context": 128}),
    "S4": ("s4", {"width": 128}),
    "S4D": ("s4d", {"width": 128}),
    "Hyena": ("hyena", {"width": 128, "context": 1024}),
    "Mamba": ("mamba", {"width": 96, "layers": 2}),
    "MegaByte": ("megabyte", {}),
    "SpaceByte": ("spacebyte", {}),
    "BLT": ("blt", {}),
    "EvaByte": ("evabyte", {"layers": 2, "ahead": 1}, 2, 512),
}


def arguments(parser):
    about = "your own: a .py file with one LanguageModel (default: the course's models)"
    parser.add_argument("model", nargs="?", metavar="FILE", help=about)
    about = "of processor time for your model, on one thread (default 10)"
    parser.add_argument("--minutes", type=float, default=10.0, help=about)
    about = "of the course's models: equal seconds, or equal multiply-adds (default: both)"
    parser.add_argument("--rule", choices=list(BUDGETS), action="append", help=about)
    about = f"only these: {', '.join(ENTRANTS)}"
    parser.add_argument("--only", action="append", metavar="NAME", help=about)
    parser.add_argument("--budget", type=float, action="append", help="other budgets than recorded")
    about = "default 0; all but the first for the smallest budget alone"
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help=about)
    about = "begin no other run after so many seconds"
    parser.add_argument("--stop-after", type=float, default=math.inf, metavar="SECONDS", help=about)
    about = "the record to add to (default: data/runs/shoot_out.json)"
    parser.add_argument("--out", metavar="FILE", type=pathlib.Path, help=about)
    about = "keep the first seed's models of the largest budget of seconds in this folder"
    parser.add_argument("--weights", metavar="FOLDER", type=pathlib.Path, help=about)


def run(options):
    import torch

    from minilib.lab import data

    torch.set_num_threads(1)
    if options.model is None:
        return _run_course(options, data.shakespeare("play"))
    if not options.minutes > 0:
        raise ValueError(f"--minutes must be above 0, got {options.minutes:g}")
    return _run_own(options, data.shakespeare("play"))


# -- the course's models ---------------------------------------------------------------------------


def _run_course(options, split):

    from minilib.lab import data

    names = options.only or list(ENTRANTS)
    if unknown := [name for name in names if name not in ENTRANTS]:
        raise ValueError(f"--only must be one of {', '.join(ENTRANTS)}, got {unknown[0]!r}")
    out = options.out or data.HOME / "runs" / "shoot_out.json"
    command = "python -m minilib contest --seeds 0 1 2"
    more = {"plays": list(data.TEST_PLAYS), "untrained": lambda: untrained(split)}
    record = data.begin_runs(out, command, **more)
    budgets = {rule: options.budget or BUDGETS[rule] for rule in options.rule or BUDGETS}
    new = _missing_runs(names, budgets, options.seeds, split, record["runs"], options.weights)
    data.add_runs(out, record, new, options.stop_after)
    print(table(record["runs"]))


def _missing_runs(names, budgets, seeds, split, done, folder):
    """Every run that is not there yet: a generator, since the first seed's rate serves the rest."""
    from minilib import contest

    places = [(rule, budget) for rule in budgets for budget in budgets[rule]]
    for seed, (rule, budget) in itertools.product(seeds, places):
        if seed != seeds[0] and budget > min(budgets[rule]):
            continue  # several seeds of what is cheap
        for name in names:
            same = {"entrant": name, "rule": rule, "budget": budget}
            of_seeds = {run["seed"]: run for run in done if same.items() <= run.items()}
            if seed not in of_seeds:
                first = next(iter(of_seeds.values()), {})
                entrant = contest.Entrant(*ENTRANTS[name])
                model, run = _one_run(entrant, rule, budget, seed, split, first)
                run = same | {"seed": seed} | run
                if folder and (rule, budget, seed) == ("seconds", max(budgets[rule]), 0):
                    _keep(folder, name, model, run, split)
                yield run


def _one_run(entrant, rule, budget, seed, split, first):
    """Train and score; what the first seed has found out is not searched or measured again."""
    from minilib import contest
    from minilib.commands.train import trainable

    how = rule, budget, seed, split, first
    model, tokenizer, run = contest.compete(trainable(entrant.topic), entrant, *how)
    run |= contest.score(model, tokenizer, split, first.get("context"))
    return model, run if first else run | contest.costs(model, tokenizer, split)


def _keep(folder, name, model, run, split):
    """Save an entrant's weights in 8 bits, for `lab.load` with its class."""
    from minilib import contest
    from minilib.commands.train import plain
    from minilib.lab import weights

    settings = contest.tokenizer_of(contest.Entrant(*ENTRANTS[name]), split)[1]
    if "words" in settings:
        settings["words"] = [plain(word) for word in settings["words"]]
    weights.save(folder / _file(name), model, {"model": settings} | run, bits=8)


def shipped(name, split):
    """An entrant as the course ships it: (model, tokenizer, the run that it is from).

    Raises ValueError for a name that is none.
    """
    from minilib import contest, lab
    from minilib.commands.train import trainable

    if name not in ENTRANTS:
        raise ValueError(f"name must be one of {', '.join(ENTRANTS)}, got {name!r}")
    entrant = contest.Entrant(*ENTRANTS[name])
    path = lab.data.HOME / "weights" / "shoot_out" / _file(name)
    model, run = lab.load(trainable(entrant.topic), path)
    return model, contest.tokenizer_of(entrant, split)[0], run


def _file(name):
    return name.lower().replace(",", "").replace(" ", "_") + ".safetensors"


def untrained(split):
    """Bits per byte of each test play: packed whole and from nothing, and by counts."""
    import bz2
    import gzip
    import lzma

    from minilib import contest
    from minilib.compression import KneserNey
    from minilib.lab import data

    xz = functools.partial(lzma.compress, preset=9)
    packers = {"gzip -9": gzip.compress, "bzip2 -9": bz2.compress, "xz -9": xz}
    texts = [data.plays()[name] for name in data.TEST_PLAYS]
    found = {
        name: [round(8 * len(pack(text)) / len(text), 4) for text in texts]
        for name, pack in packers.items()
    }
    for order in (5, 7):
        counts = KneserNey(split.train, order, modified=True)
        scored = contest.score(counts, data.Bytes(), split, contest.CONTEXTS[0])
        found[f"modified Kneser–Ney, order {order}"] = scored["plays"]
    return found


def table(runs, own=None):
    """The runs as lines of text, by rule and budget, the best first; `own` marked by a star."""
    lines = []
    kinds = sorted({(run["rule"], run["budget"]) for run in runs})
    for rule, budget in kinds:
        here = {}
        for run in runs:
            if (run["rule"], run["budget"]) == (rule, budget):
                mean = sum(run["plays"]) / len(run["plays"])
                here.setdefault(run["entrant"], []).append(mean)
        means = {name: sum(values) / len(values) for name, values in here.items()}
        if own is not None:
            means["* your model"] = sum(own["plays"]) / len(own["plays"])
        lines.append(f"{budget:g} {rule}: bits per byte of unseen plays")
        ordered = sorted(means.items(), key=lambda item: item[1])
        lines += [f"  {k + 1:>2} {mean:.3f} {name}" for k, (name, mean) in enumerate(ordered)]
    return "\n".join(lines)


# -- a model of your own ---------------------------------------------------------------------------


def _run_own(options, split):
    import os

    import torch

    from minilib import contest
    from minilib.lab import data

    model_class, entrant = contest.own_model(options.model)
    seed, seconds = options.seeds[0], 60 * options.minutes
    torch.manual_seed(seed)
    contest.lawful(model_class(), split)
    used = lambda: sum(os.times()[:4])  # processes that it starts and waits for count too
    before = used()
    how = "seconds", seconds, seed, split
    model, tokenizer, run = contest.compete(model_class, entrant, *how, progress=True)
    spent = used() - before
    if spent > 1.1 * seconds + 1:
        raise ValueError(f"training took {spent:.0f} of {seconds:.0f} s of processor time")
    contest.lawful(model, split)
    run |= contest.score_of_a_stranger(model, tokenizer, split)
    run |= contest.costs(model, tokenizer, split)
    print(f"{run['steps']} steps at rate {run['lr']:g}; {spent:.0f} s of {seconds:.0f}")
    print(f"validation {run['validation']:.3f}; the six plays", *(f"{x:.3f}" for x in run["plays"]))
    print(f"{run['parameters']:,} weights, {run['milliseconds']:.2f} ms to write a byte")
    recorded = (data.HOME / "runs" / "shoot_out.json").exists()
    known = data.runs("shoot_out")["runs"] if recorded else []
    print(table([run for run in known if run["rule"] == "seconds"], own=run))
