"""python -m minilib list | check | grade | bench | data | train   (each with --help)."""

import argparse
import importlib
import inspect
import json
import os
import pathlib
import sys
import time

import minilib
from minilib import twins


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. A ValueError or RuntimeError becomes one line."""
    parser = argparse.ArgumentParser(
        prog="python -m minilib", description=minilib.__doc__.split("\n")[0]
    )
    parser.add_argument("--version", action="version", version=f"minilib {minilib.__version__}")
    commands = parser.add_subparsers(
        required=True, metavar="list | check | grade | bench | data | train"
    )

    def command(run, about, topics=True):
        one = commands.add_parser(run.__name__.rstrip("_"), help=about, description=about)
        one.set_defaults(run=run)
        if topics:
            one.add_argument("topics", nargs="*", metavar="TOPIC", help="default: all")
        return one

    command(list_, "name all that can be graded, one line each")

    one = command(check, "compare every twin with its definition, in value and gradient")
    one.add_argument("--device", help="cpu (default), cuda, cuda:1")

    one = command(grade, "mark files of answers to the exercises of a lesson", topics=False)
    one.add_argument("lesson", metavar="LESSON", help="00, start_here, or a notebook")
    one.add_argument("files", nargs="+", metavar="FILE", help="a .py file or notebook of answers")
    one.add_argument("--timeout", type=float, default=60, help="seconds for a file (default: 60)")
    one.add_argument("--memory", type=int, default=2048, help="megabytes (default: 2048)")
    one.add_argument("--seed", type=int, default=1, help="of the cases; 0 are those of the lesson")
    one.add_argument("--json", metavar="FILE", help="write marks for Gradescope, too")

    one = command(bench, "time the twins against definitions and peers, as ratios in one run")
    one.add_argument("--device", help="cpu (default), cuda, cuda:1")
    one.add_argument(
        "--rounds", type=int, default=5, help="repetitions, for the range (default: 5)"
    )

    command(data, "fetch all data now, for working offline later", topics=False)

    about = "train a language model on bytes and save weights, with how they were made"
    one = command(train, about, topics=False)
    one.add_argument("topic", metavar="MODEL", help="a topic with a language model, e.g. lstm")
    one.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="of the model: width=512")
    one.add_argument("--text", metavar="FILE", help="your own UTF-8 text (default: Shakespeare)")
    one.add_argument("--by", default="play", help="split of the plays: play (default) or tenth")
    one.add_argument("--steps", type=int, default=2000)
    one.add_argument("--batch", type=int, default=32, help="rows of a step, over all processes")
    one.add_argument("--length", type=int, default=128, help="symbols of a row")
    one.add_argument("--lr", type=float, default=3e-3)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument(
        "--bf16", action="store_true", help="matrices in bfloat16, the rest in float32"
    )
    one.add_argument("--device", help="default: a GPU if there is one")
    one.add_argument("--every", type=int, help="steps between validations and checkpoints")
    one.add_argument(
        "--checkpoint", metavar="FILE", help="resume from here if it exists; written too"
    )
    one.add_argument("--out", metavar="FILE", help="default: MODEL.safetensors in this folder")

    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError) as error:
        print(f"minilib: {error}", file=sys.stderr)
        return 2


def list_(options):
    for name, what in minilib.pairs(*options.topics).items():
        print(f"{name:<34} {what}")


def check(options):
    import torch

    torch.set_num_threads(1)  # the cases are small: more threads only wait for each other
    torch.backends.cudnn.allow_tf32 = False  # it would keep ten bits of a product of float32
    return 1 if twins.table(options.topics, minilib.device(options.device or "cpu")) else 0


def grade(options):
    from minilib import exercises

    lesson = _lesson(options.lesson)
    marks = {}
    for file in options.files:
        limits = {"timeout": options.timeout, "memory": options.memory, "seed": options.seed}
        marks[file] = exercises.grade(lesson, file, **limits)
    print(exercises.table(marks))
    if options.json:
        results = {file: exercises.gradescope(reports) for file, reports in marks.items()}
        text = json.dumps(results if len(results) > 1 else next(iter(results.values())), indent=1)
        pathlib.Path(options.json).write_text(text)
    return 0 if all(all(reports.values()) for reports in marks.values()) else 1


def _lesson(name):
    """The notebook of a lesson: by number or name from the checkout, or a path."""
    if pathlib.Path(name).is_file():
        return pathlib.Path(name)
    folder = pathlib.Path(__file__).parents[1] / "lessons"
    for path in folder.glob("[0-9][0-9]_*.ipynb"):
        if name in (path.stem, path.stem[:2], path.stem[3:]):
            return path
    raise ValueError(f"LESSON must be a number, a name or a notebook, got {name!r}")


def bench(options):
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


def data(options):
    from minilib.lab import data

    for line in (data.HOME / "requirements.txt").read_text().splitlines():
        if "==" in line:
            place = data.fetch(line.split("==")[0])
            size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            print(f"{place.name:<24} {size / 1e6:6.1f} MB")


def train(options):
    import torch

    from minilib import lab
    from minilib.lab import weights
    from minilib.lab.train import language_loss
    from minilib.language_model import LanguageModel

    twins.known([options.topic])
    module = importlib.import_module(f"minilib.{options.topic}")
    models = [
        m
        for m in vars(module).values()
        if inspect.isclass(m) and issubclass(m, LanguageModel) and m.__module__ == module.__name__
    ]
    if not models:
        raise ValueError(f"MODEL must be a topic with a language model, {options.topic!r} has none")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    settings = dict(_setting(text, models[0]) for text in options.arguments)
    device = minilib.device(options.device)
    model = models[0](**settings).to(device)
    split = lab.data.shakespeare(options.by, path=options.text)
    batches = lab.data.windows(
        split.train, batch=options.batch, length=options.length, seed=options.seed
    )
    first = int(os.environ.get("RANK", 0)) == 0
    sample = split.validation[:50_000]

    def validate(model):
        value = lab.bits_per_byte(model, sample)
        if first:
            print(f"\rvalidation {value:.4f} bits per byte{' ' * 50}", flush=True)
        return value

    def loss(model, ids):
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            return language_loss(model, ids)

    history = lab.fit(
        model,
        batches,
        steps=options.steps,
        lr=options.lr,
        loss=loss,
        seed=options.seed,
        every=options.every,
        validate=validate,
        checkpoint=options.checkpoint,
    )
    if not first:
        return
    started = time.perf_counter()
    score = lab.bits_per_byte(model, split.test)
    print(f"test {score:.4f} bits per byte ({time.perf_counter() - started:.0f} s to score)")
    out = pathlib.Path(options.out or f"{options.topic}.safetensors")
    test_split = (
        "last tenth of the text" if options.text else f"shakespeare(by={options.by!r}).test"
    )
    command = f"python -m minilib {' '.join(sys.argv[1:])}"
    record = weights.record(
        model,
        settings,
        command,
        options.seed,
        history,
        test_split=test_split,
        test_bits_per_byte=score,
    )
    weights.save(out, model, record)
    loaded, _ = weights.load(models[0], out, device)  # scored as it is on disk, in float16
    record["test_bits_per_byte_of_first_100000"] = lab.bits_per_byte(loaded, split.test[:100_000])
    weights.save(out, model, record)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB) and {out.with_suffix('.json')}")


def _setting(text, model):
    """'width=512' -> ('width', 512), for an argument that the model has."""
    name, _, value = text.partition("=")
    known = list(inspect.signature(model).parameters)
    if name not in known or not value:
        raise ValueError(f"NAME=VALUE must name one of {', '.join(known)}, got {text!r}")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, {"true": True, "false": False, "none": None}.get(value.lower(), value)


if __name__ == "__main__":
    sys.exit(main())
