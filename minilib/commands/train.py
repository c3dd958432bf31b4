"""Train a language model on bytes and save weights, with how they were made."""

import importlib
import inspect
import os
import pathlib
import sys
import time

import minilib
from minilib import twins


def arguments(parser):
    parser.add_argument("topic", metavar="MODEL", help="a topic with a language model, e.g. lstm")
    about = "of the model: width=512"
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help=about)
    about = "your own UTF-8 text (default: Shakespeare)"
    parser.add_argument("--text", metavar="FILE", help=about)
    about = "split of the plays: play (default) or tenth"
    parser.add_argument("--by", default="play", help=about)
    parser.add_argument("--steps", type=int, default=2000)
    about = "rows of a step, over all processes"
    parser.add_argument("--batch", type=int, default=32, help=about)
    parser.add_argument("--length", type=int, default=128, help="symbols of a row")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    about = "matrices in bfloat16, the rest in float32"
    parser.add_argument("--bf16", action="store_true", help=about)
    parser.add_argument("--device", help="default: a GPU if there is one")
    parser.add_argument("--every", type=int, help="steps between validations and checkpoints")
    about = "resume from here if it exists; written too"
    parser.add_argument("--checkpoint", metavar="FILE", help=about)
    about = "default: MODEL.safetensors in this folder"
    parser.add_argument("--out", metavar="FILE", help=about)


def run(options):
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
