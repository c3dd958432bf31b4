"""The contest of lesson 39: what every entrant gets alike, and what keeps it fair.

`python -m minilib contest` runs it. Here are the training under a budget, the score and the costs,
and the refusal of a model of your own that breaks a law, or knows the test text.
"""

import copy
import importlib.util
import inspect
import os
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from minilib import lab, laws
from minilib.lab import measure
from minilib.lab.data import Bytes
from minilib.lab.ids import encode
from minilib.lab.train import language_loss
from minilib.language_model import LanguageModel
from minilib.tokenizer import Tokenizer
from minilib.word_tokenizer import WordTokenizer

SEARCH = 0.1  # of the budget, for each rate that is tried
SCORED = 20_000  # bytes of each play
CONTEXTS = 256, 1024  # windows of lab.bits_per_byte; which one is chosen on validation
# Nobody scores so well on unseen plays after minutes; and a text that nobody saw is as hard as
# another one that nobody saw. Both in bits per byte.
NOT_CREDIBLE, SUSPICIOUS = 1.5, 0.3


class Entrant(NamedTuple):
    """A language model and how it is trained: rows of a batch, their length, rates to try.

    tokens  0 for bytes; else that many tokens, or words, learned from the training text
    """

    topic: str
    settings: Mapping[str, Any] = MappingProxyType({})
    batch: int = 8
    length: int = 128
    rates: tuple[float, ...] = (2e-3, 4e-3, 8e-3)
    tokens: int = 0


def compete(model_class, entrant, rule, budget, seed, split, known=None, progress=False):
    """Search the rate, then train with what is left: (model, tokenizer, what is recorded).

    rule, budget  "seconds" of processor time, all that happens here included; or "multiply-adds".
                  Each of the rates is trained with a tenth of it, the best one on validation with
                  the rest
    known         the record of another seed: its rate and its number of steps are used
    """
    started = time.process_time()
    tokenizer, settings = tokenizer_of(entrant, split)
    loss = getattr(model_class, "loss", language_loss)
    how = {"batch": entrant.batch, "length": entrant.length, "seed": seed}
    windows = lab.data.windows(split.train, **how, tokenizer=tokenizer)
    held_out = split.validation[: SCORED // 2]

    def train(rate, steps, progress=False):
        torch.manual_seed(seed)
        model, batches = model_class(**settings), windows
        if hasattr(model, "scheduled"):  # its loss depends on how far the training is
            batches = model.scheduled(windows, steps)
        begun = time.process_time()
        lab.fit(model, batches, steps=steps, lr=rate, loss=loss, seed=seed, progress=progress)
        return model.eval(), time.process_time() - begun

    if known:
        found = {"lr": known["lr"], "tried": {}, "steps": known["steps"], "cost": known["cost"]}
    else:
        torch.manual_seed(seed)
        cost = cost_of_a_step(model_class(**settings), windows, loss, rule)
        trial, tried, taken = max(1, int(SEARCH * budget / cost)), {}, 0.0
        for rate in entrant.rates:
            model, seconds = train(rate, trial)
            taken += seconds
            tried[rate] = round(lab.bits_per_byte(model, held_out, tokenizer, CONTEXTS[0]), 4)
        spent = trial * len(tried) * cost
        if rule == "seconds":  # what steps cost in training, and all that was spent so far
            cost, spent = taken / (trial * len(tried)), time.process_time() - started
        if spent >= budget:
            raise ValueError(f"the budget must be more than the search for a rate, {spent:.3g}")
        found = {"lr": min(tried, key=tried.get), "tried": tried, "cost": round(cost, 6)}
        found["steps"] = max(1, int((budget - spent) / cost))
    model, seconds = train(found["lr"], found["steps"], progress)
    return model, tokenizer, found | {"seconds": round(seconds, 1)}


def tokenizer_of(entrant, split):
    """What the entrant reads with, learned from the training text, and the model's settings."""
    settings = dict(entrant.settings)
    if not entrant.tokens:
        return Bytes(), settings
    if entrant.topic == "char_aware":
        tokenizer = WordTokenizer.train(split.train, entrant.tokens)
        return tokenizer, settings | {"words": tokenizer.words}
    tokenizer = Tokenizer.train(split.train, entrant.tokens)
    return tokenizer, settings | {"vocab_size": entrant.tokens}


def cost_of_a_step(model, windows, loss, rule):
    """Seconds of processor time, or multiply-adds, of a step: the mean of eight if they differ."""
    optimizer = torch.optim.AdamW(model.parameters())
    scheduled = hasattr(model, "scheduled")
    count = 8 if scheduled else 1
    batches = model.scheduled(windows, count) if scheduled else windows

    def steps(update=True):
        for k in range(count):
            optimizer.zero_grad()
            loss(model, batches(k)).backward()
            if update:
                optimizer.step()

    if rule == "multiply-adds":
        return measure.multiply_adds(lambda: steps(update=False)) / count
    return round(measure.seconds_in_turn({"steps": steps}, 3)["steps"] / count, 5)


# -- scores and costs ------------------------------------------------------------------------------


def score(model, tokenizer, split, context=None):
    """Bits per byte of the first bytes of each test play; the context is chosen on validation."""
    held_out = split.validation[:SCORED]
    choices = [context] if context else CONTEXTS
    validation = {c: lab.bits_per_byte(model, held_out, tokenizer, c) for c in choices}
    context = min(validation, key=validation.get)
    texts = [lab.data.plays()[name][:SCORED] for name in lab.data.TEST_PLAYS]
    bits = [round(lab.bits_per_byte(model, text, tokenizer, context), 4) for text in texts]
    return {"context": context, "validation": round(validation[context], 4), "plays": bits}


def costs(model, tokenizer, split):
    """Weights of a trained model, its state after 1,000 and 100,000 bytes, a byte's writing."""
    ids = torch.tensor(encode(tokenizer, split.validation[:100_000]).astype("int64"))[None]
    per_byte = ids.shape[1] / 100_000
    state, held = model.init_state(1), []
    with torch.no_grad():
        for start in range(0, ids.shape[1], 1000):
            if start and start - 1000 < 1000 * per_byte <= start:
                early = state
            _, state = model.extend(ids[:, start : start + 1000], state)
            if start == 0:
                early = state
        for one in (early, state):
            held.append(sum(x.numel() * x.element_size() for x in laws.tensors_of(one)))

        def write(state=early):
            for t in range(64):
                _, state = model.step(ids[:, 1000 + t], state)

        written = 64 / per_byte  # bytes
        seconds = measure.seconds_in_turn({"write": write}, 3)["write"]
        found = {"multiply_adds": round(measure.multiply_adds(write) / written)}
    found |= {"milliseconds": round(1000 * seconds / written, 4), "state_bytes": held}
    return found | {"parameters": sum(p.numel() for p in model.parameters())}


# -- a model of your own ---------------------------------------------------------------------------


def own_model(path):
    """The one LanguageModel of a file, and how it wants to be trained.

    Class attributes batch, length and rates say so, where they are there.
    Raises ValueError for a file that is none, and for one without exactly one such class.
    """
    if not path.endswith(".py") or not os.path.isfile(path):
        raise ValueError(f"FILE must be a .py file that is there, got {path!r}")
    spec = importlib.util.spec_from_file_location("own_model", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_model"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path!r} cannot be read: {type(error).__name__}: {error}") from None
    found = [
        x
        for x in vars(module).values()
        if inspect.isclass(x) and issubclass(x, LanguageModel) and x.__module__ == "own_model"
    ]
    if len(found) != 1:
        raise ValueError(f"{path!r} must define one LanguageModel, it defines {len(found)}")
    how = {n: getattr(found[0], n) for n in ("batch", "length", "rates") if hasattr(found[0], n)}
    return found[0], Entrant("own_model", **how)


def lawful(model, split):
    """Raise ValueError for a model of other symbols than bytes, and for one that breaks a law.

    No symbol may change what stands before it in windows as long as those of the score, too.
    """
    if getattr(model, "vocab_size", None) != 256:
        raise ValueError(f"vocab_size must be 256, got {getattr(model, 'vocab_size', None)}")
    try:
        laws.hold(model, _probe(split, 3, 33))
        double = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            for length in CONTEXTS:
                laws.causality(double, _probe(split, 2, length))
    except ValueError as error:
        raise ValueError(f"the model breaks a law: {error}") from None


def _probe(split, rows, length):
    return torch.tensor(list(split.validation[: rows * length])).view(rows, length)


def score_of_a_stranger(model, tokenizer, split):
    """`score`, refused if scoring changes the model, or the score is that of a text it knows."""
    probe = _probe(split, 3, 33)

    def fingerprint():
        with torch.no_grad():
            return [x.clone() for x in model.state_dict().values()] + [model(probe)]

    before = fingerprint()
    found = score(model, tokenizer, split)
    if not all(map(torch.equal, before, fingerprint())):
        raise ValueError("the model changes while it is scored: it may not learn from the test")
    mean = sum(found["plays"]) / len(found["plays"])
    if mean < found["validation"] - SUSPICIOUS or mean < NOT_CREDIBLE:
        raise ValueError(
            f"the model knows the test text: {mean:.3f} bits per byte, "
            f"and {found['validation']:.3f} on the validation plays"
        )
    return found
