"""python -m minilib check | bench | data | train   (each with --help)."""

import argparse
import importlib
import inspect
import os
import pathlib
import sys
import time

from minilib import twins


def main(arguments=None):
    """Run one command; returns the exit status. A ValueError or RuntimeError becomes one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m minilib", description="Sequence models from first principles."
    )
    commands = parser.add_subparsers(required=True, metavar="check | bench | data | train")

    one = commands.add_parser(
        "check", help="compare every twin with its definition, in value and gradient"
    )
    one.add_argument("topics", nargs="*", metavar="TOPIC")
    one.add_argument("--device")
    one.set_defaults(run=check)

    one = commands.add_parser(
        "bench", help="time the twins against definitions and peers, as ratios in one run"
    )
    one.add_argument("topics", nargs="*", metavar="TOPIC")
    one.add_argument("--device")
    one.set_defaults(run=bench)

    one = commands.add_parser("data", help="fetch all data now, for working offline later")
    one.set_defaults(run=data)

    one = commands.add_parser(
        "train", help="train a language model on bytes and save weights, with how they were made"
    )
    one.add_argument("topic", metavar="MODEL", help="a topic with a language model, e.g. lstm")
    one.add_argument(
        "arguments", nargs="*", metavar="NAME=VALUE", help="the model's arguments, e.g. width=512"
    )
    one.add_argument(
        "--text", metavar="FILE", help="your own UTF-8 text (default: Shakespeare's plays)"
    )
    one.add_argument(
        "--by", default="play", help="split of the plays: play or tenth (default: play)"
    )
    one.add_argument("--steps", type=int, default=2000)
    one.add_argument("--batch", type=int, default=32, help="rows of a step, over all processes")
    one.add_argument("--length", type=int, default=128, help="symbols of a row")
    one.add_argument("--lr", type=float, default=3e-3)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument(
        "--bf16",
        action="store_true",
        help="multiply matrices in bfloat16; weights and loss stay float32",
    )
    one.add_argument("--device")
    one.add_argument("--every", type=int, help="steps between validations and checkpoints")
    one.add_argument(
        "--checkpoint", metavar="FILE", help="resume from here if it exists, and write it"
    )
    one.add_argument("--out", metavar="FILE", help="default: MODEL.safetensors in this folder")
    one.set_defaults(run=train)

    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError) as error:
        print(f"minilib: {error}", file=sys.stderr)
        return 2


def check(options):
    import torch

    import minilib

    torch.set_num_threads(1)  # the cases are small: more threads only wait for each other
    torch.backends.cudnn.allow_tf32 = (
        False  # convolutions of float32 would keep ten bits of a product
    )
    return 1 if twins.table(options.topics, minilib.device(options.device or "cpu")) else 0


def bench(options):
    """Each topic's bench() yields (what, {name: seconds or None if that peer is not installed}); the first is ours."""
    import torch

    import minilib

    torch.set_num_threads(1)
    device = minilib.device(options.device or "cpu")
    twins.load(options.topics)
    print(
        f"one thread of {device}; each line: time or memory of the others over ours (above 1: ours needs less)"
    )
    for name in sorted(options.topics or {pair.topic for pair in twins.load()}):
        for what, times in getattr(
            importlib.import_module(f"minilib.{name}"), "bench", lambda device: ()
        )(device):
            (ours, mine), *others = times.items()
            ratios = ", ".join(
                f"{peer} {seconds / mine:.2f}x" if seconds else f"{peer} not installed"
                for peer, seconds in others
            )
            print(f"{name:<14} {what}: {ours} 1, {ratios}", flush=True)


def data(options):
    from minilib.lab import data

    for line in (data.HOME / "requirements.txt").read_text().splitlines():
        if "==" in line:
            place = data.fetch(line.split("==")[0])
            print(
                f"{place.name:<24} {sum(f.stat().st_size for f in place.rglob('*') if f.is_file()) / 1e6:6.1f} MB"
            )


def train(options):
    import torch

    import minilib
    from minilib import lab
    from minilib.lab import weights
    from minilib.lab.train import language_loss
    from minilib.language_model import LanguageModel

    twins.load([options.topic])
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
