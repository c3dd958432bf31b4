"""Train a language model on bytes or tokens and save weights, with how they were made."""

import importlib
import inspect
import os
import pathlib
import shlex
import sys
import time
import typing

import minilib
from minilib import twins


def arguments(parser):
    parser.add_argument("topic", metavar="MODEL", help="a topic with a language model, e.g. lstm")
    about = "of the model: width=512"
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help=about)
    about = "your own UTF-8 text, of any size (default: Shakespeare)"
    parser.add_argument("--text", metavar="FILE", help=about)
    about = "train on its tokens, or its words for a model of words; default: on bytes"
    parser.add_argument("--tokenizer", metavar="FILE", help=about)
    about = "split of the plays: play (default) or tenth"
    parser.add_argument("--by", choices=["play", "tenth"], help=about)
    parser.add_argument("--steps", type=int, default=2000)
    about = "rows of a step, over all processes"
    parser.add_argument("--batch", type=int, default=32, help=about)
    parser.add_argument("--length", type=int, default=128, help="symbols of a row")
    about = "parts of a batch, one after the other: a part must fit in memory (default 1)"
    parser.add_argument("--accumulate", type=int, default=1, metavar="PARTS", help=about)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    about = "matrices in bfloat16, the rest in float32"
    parser.add_argument("--bf16", action="store_true", help=about)
    parser.add_argument("--device", help="default: a GPU if there is one")
    about = "each process holds a part of the model (under torchrun)"
    parser.add_argument("--shard", action="store_true", help=about)
    parser.add_argument("--every", type=int, help="steps between validations and checkpoints")
    about = "resume from here if it exists; written too"
    parser.add_argument("--checkpoint", metavar="FILE", help=about)
    about = "a line of JSON for each step, readable while it runs"
    # the whole name: torchrun takes --log for a short form of options of its own
    parser.add_argument("--log-file", metavar="FILE", help=about)
    about = "default: MODEL.safetensors in this folder"
    parser.add_argument("--out", metavar="FILE", help=about)
    about = "replace what is at --out"
    parser.add_argument("--overwrite", action="store_true", help=about)


def run(options):
    import torch

    from minilib import lab
    from minilib.lab import weights

    model_class = _model_class(options.topic)
    settings = dict(_setting(text, model_class) for text in options.arguments)
    out = pathlib.Path(options.out or f"{options.topic}.safetensors")
    weights.refuse_taken(out, options.overwrite)
    split = _split(options)
    tokenizer = _tokenizer(options, settings)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(options.seed)
    device = minilib.device(options.device)
    model = model_class(**settings)
    if not options.shard:  # else fit gives each process its part of the model
        model = model.to(device)
    history = _fit(options, model, split, tokenizer)
    if int(os.environ.get("RANK", 0)) > 0:
        return None
    command = f"python -m minilib {shlex.join(sys.argv[1:])}"
    record = weights.record(model, settings, command, options.seed, history, device)
    weights.save(out, model, record)  # before anything else that can fail
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB) and {out.with_suffix('.json')}")
    if history.stopped:
        return 130
    started = time.perf_counter()
    test = split.test[:1_000_000]
    record["test_split"] = _words_for(options, split)
    record["test_bits_per_byte"] = score = lab.bits_per_byte(model, test, tokenizer)
    # as it is on disk, in float16; what was trained in parts may not fit one GPU
    loaded, _ = weights.load(model_class, out, "cpu" if options.shard else device)
    start = lab.bits_per_byte(loaded, test[:100_000], tokenizer)
    record["test_bits_per_byte_of_first_100000"] = start
    weights.save(out, model, record)
    print(f"test {score:.4f} bits per byte ({time.perf_counter() - started:.0f} s to score)")


def _fit(options, model, split, tokenizer):
    """Train, with a validation printed now and then; returns the History."""
    import torch

    from minilib import lab
    from minilib.lab.ids import check_vocabulary
    from minilib.lab.train import language_loss

    own_loss = getattr(type(model), "loss", language_loss)  # one that needs fewer logits
    check_vocabulary(model, tokenizer)
    batches = lab.data.windows(
        split.train,
        batch=options.batch,
        length=options.length,
        seed=options.seed,
        tokenizer=tokenizer,
    )
    if hasattr(model, "scheduled"):  # its loss depends on how far the training is
        batches = model.scheduled(batches, options.steps)
    sample = split.validation[:50_000]
    first = int(os.environ.get("RANK", 0)) == 0

    def validate(model):
        value = lab.bits_per_byte(model, sample, tokenizer)
        if first:
            print(f"\rvalidation {value:.4f} bits per byte{' ' * 50}", flush=True)
        return value

    def loss_in_bfloat16(model, ids):
        with torch.autocast(ids.device.type, torch.bfloat16):
            return own_loss(model, ids)

    return lab.fit(
        model,
        batches,
        steps=options.steps,
        lr=options.lr,
        loss=loss_in_bfloat16 if options.bf16 else own_loss,
        seed=options.seed,
        every=options.every,
        validate=validate,
        checkpoint=options.checkpoint,
        accumulate=options.accumulate,
        shard=options.shard,
        log=options.log_file,
    )


# -- what is asked for -----------------------------------------------------------------------------


def _model_class(topic):
    """The topic's language model, if it is one that can be trained."""
    twins.known([topic])
    found = trainable(topic)
    if not found:
        offered = ", ".join(filter(trainable, twins.topics()))
        raise ValueError(
            f"MODEL must be a topic with a language model that can be trained, one of {offered}; "
            f"{topic!r} has nothing to train"
        )
    return found


def trainable(topic):
    """The topic's language model that is made from sizes alone. Others are not made for training:
    KneserNey counts a text."""
    from minilib.language_model import LanguageModel

    module = importlib.import_module(f"minilib.{topic}")
    for found in vars(module).values():
        if inspect.isclass(found) and issubclass(found, LanguageModel):
            sizes = inspect.signature(found).parameters.values()
            here = found.__module__ == module.__name__
            if here and all(size.default is not size.empty for size in sizes):
                return found
    return None


# a type -> what reads its value, and how an error calls it
_READ = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: ({"true": True, "false": False}.__getitem__, "true or false"),
    str: (str, "a word"),
    type(None): ({"none": None}.__getitem__, "none"),
}


def _setting(text, model_class):
    """'width=512' -> ('width', 512), of the type that the model's constructor declares."""
    name, _, value = text.partition("=")
    known = typing.get_type_hints(model_class.__init__)
    if name not in known or not value:
        raise ValueError(f"NAME=VALUE must name one of {', '.join(known)}, got {text!r}")
    kinds = typing.get_args(known[name]) or (known[name],)
    for kind in kinds:
        try:
            return name, _READ[kind][0](value if kind is str else value.lower())
        except (ValueError, KeyError):
            pass
    wanted = " or ".join(_READ[kind][1] for kind in kinds)
    raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _tokenizer(options, settings):
    """Bytes, or a tokenizer, whose vocab_size or words the model gets."""
    from minilib.lab.data import Bytes
    from minilib.tokenizer import Tokenizer
    from minilib.word_tokenizer import WordTokenizer

    if not options.tokenizer:
        return Bytes()
    if "words" not in inspect.signature(trainable(options.topic)).parameters:
        tokenizer = Tokenizer.load(options.tokenizer)
        settings.setdefault("vocab_size", tokenizer.vocab_size)
        return tokenizer
    tokenizer = WordTokenizer.load(options.tokenizer)
    settings["longest"] = tokenizer.longest
    settings["words"] = [plain(word) for word in tokenizer.words]
    return tokenizer


def plain(word):
    """A word as JSON holds it, and CharAware reads it: bytes that are no UTF-8 one by one."""
    try:
        return word.decode()
    except UnicodeDecodeError:
        return [*word]


def _split(options):
    """The text's parts, none of them empty."""
    from minilib import lab

    if options.text is None:
        return lab.data.shakespeare(options.by or "play")
    if options.by:
        raise ValueError("--by splits the plays, --text is split by tenths: give one of them")
    split = lab.data.own(options.text)
    for part, least in [("train", options.length + 1), ("validation", 1), ("test", 1)]:
        size = len(getattr(split, part))
        if size < least:
            raise ValueError(
                f"{options.text!r} is too small: its {part} part has {size} bytes and needs {least}"
            )
    return split


def _words_for(options, split):
    """Which text the score is for."""
    if options.text is None:
        return f"shakespeare(by={options.by or 'play'!r}).test"
    size = len(split.test)
    return "last tenth of the text" + (", its first 1,000,000 bytes" if size > 1_000_000 else "")
