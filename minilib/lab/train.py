"""One training loop for every model: `fit`."""

import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import minilib
from minilib.compare import leaves_of
from minilib.lab import checkpoint as files
from minilib.lab.parallel import Engine, team
from minilib.lab.surroundings import Interrupt, own_torch, seed_all


class History:
    """What happened in training.

    loss        loss[k] is of step k, in nats per symbol
    validation  a list of (steps done, value)
    seconds     that it took, over all interruptions
    stopped     whether Ctrl-C was pressed, which ends it
    """

    stopped = False

    def __init__(self, loss=(), validation=(), seconds: float = 0.0):
        self.loss, self.validation, self.seconds = list(loss), list(map(tuple, validation)), seconds

    def plot(self, title: str = "Training", label: str = "train"):
        """Loss against steps, each point the mean of a fiftieth of the run, and validation.

        Returns the axes. Raises ValueError if no step was done.
        """
        from minilib.lab import plot

        if not self.loss:
            raise ValueError("there is nothing to plot: no step has been done")
        width = max(1, len(self.loss) // 50)
        loss = torch.tensor(self.loss).unfold(0, width, width).mean(-1) / math.log(2)
        curves = {label: (torch.arange(len(loss)) * width + width / 2, loss)}
        if self.validation:
            curves["validation"] = tuple(zip(*self.validation, strict=True))
        return plot.curves(curves, x="step", y="bits per symbol", title=title)


def language_loss(model: nn.Module, ids: Tensor) -> Tensor:
    """The default loss of fit, nats per symbol: each of ids (batch, time + 1) predicts the next."""
    logits = model(ids[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def fit(
    model: nn.Module,
    batches: Callable[[int], Any],
    *,
    steps: int,
    lr: float,
    loss: Callable[[nn.Module, Any], Tensor] = language_loss,
    warmup: float = 0.02,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    validate: Callable[[nn.Module], float] | None = None,
    every: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
    accumulate: int = 1,
    shard: bool = False,
    log: str | os.PathLike | None = None,
) -> History:
    """Train in place: AdamW, linear warm-up then cosine to zero, clipped gradients.

    batches     function of the step -> a batch: a tensor, or a nested tuple of tensors, rows first,
                on any device. It must depend on the step alone, so that a resumed run sees what it
                would have seen
    steps, lr   number of optimiser steps, peak learning rate; warmup is a fraction of the steps
    loss        function (model, batch) -> mean over the batch's rows; default: next symbol, in nats
    validate    function of the model -> a number, called every `every` steps and at the end
    checkpoint  a file, written every `every` steps (default: ten times a run), before `validate` is
                called. If it is there, training goes on from it and ends as if it had never
                stopped: to the bit on a CPU. What changes the result must be as it was, but for
                `steps`: with more of them a run goes on at the rate that they give to the step
                where it stands, which is not what a run planned so from the start would have done
    seed        of dropout and of whatever else draws random numbers in the model, in batches or in
                validate: those of a step depend on seed, step and process alone. Afterwards the
                generators of torch, NumPy and Python are as they were before
    accumulate  each batch is taken in so many parts, one after the other, with less memory. Their
                gradients add up to the whole batch's but for rounding (and dropout's masks)
    log         a file that gains a JSON line a step: step, loss, lr, seconds since the start,
                symbols_per_second (rows times length of the batch's first tensor)
    returns     a History

    It trains even where the caller has switched gradients off. Ctrl-C ends it after the step under
    way: the state is saved and the history so far returned; a second one ends that step, too.

    Under torchrun the same call trains data-parallel: each process takes its share of the rows of
    every batch; the first process alone prints and writes; all must see the checkpoint. With
    shard=True each holds a piece of parameters, gradients and optimiser only, on its GPU if it has
    one, so that a model fits that does not fit one: leave the model on the CPU, where it has
    the trained numbers when fit returns. Checkpoints are the same, whoever wrote them.
    Raises ValueError for impossible settings, a model with nothing to train, files that cannot be
    written, a checkpoint that is damaged or of another run, and a loss or gradient that is not
    finite: that step is not taken. Raises OSError if a disk is full.
    """
    every = every or max(1, steps // 10)
    where = _checked(model, steps, lr, warmup, clip, every, accumulate, shard)
    for name, path in {"checkpoint": checkpoint, "log": log}.items():
        if path and int(os.environ.get("RANK", 0)) == 0:
            files.refuse_unwritable(path, name)
    settings = {"lr": lr, "warmup": warmup, "clip": clip}
    settings |= {"weight_decay": weight_decay, "seed": seed}
    run = {"steps": steps, "identity": checkpoint and files.identity(model, loss, settings)}
    draw = lambda step: (seed_all(where, seed, step), batches(step))[1]
    with own_torch(where), team(where) as (rank, world), Interrupt() as interrupt:
        saved = files.resume(checkpoint, run, draw, model) if checkpoint else {}
        history = History(**saved.get("history", {}))
        begin = len(history.loss)
        engine = Engine(model, rank, world, shard, where, lr=lr, weight_decay=weight_decay)
        engine.restore(saved.get("optimizer"), begin)
        engine.model.train()
        keeper = _Keeper(engine, history, run, checkpoint, validate, every, seed)
        shown = progress and rank == 0 and begin < steps
        log_of_steps = files.log_of_steps(log if rank == 0 else None, begin)
        with log_of_steps as note, _progress_bar(steps, begin, shown) as bar:
            try:
                keeper.score()  # what was saved and not scored any more
                for step in range(begin, steps):
                    started = time.perf_counter()
                    batch, rate = draw(step), lr * _schedule(step, steps, warmup)
                    seed_all(where, seed, step, rank)
                    value, norm = engine.gradients(loss, batch, accumulate, clip)
                    if problem := _problem(value, norm, step, lr):
                        keeper.problem = problem
                        break
                    with interrupt.later():
                        engine.take_step(rate)
                        history.loss.append(value)
                    note(step=step, loss=value, lr=rate, **keeper.pace(batch, started))
                    bar.update()
                    bar.set_postfix(loss=f"{value:.3f}", refresh=False)
                    keeper.save_and_score()
                    if engine.sum(interrupt.asked) > 0:
                        keeper.stopped = True
                        break
            except KeyboardInterrupt:  # a second Ctrl-C, or raised by a function of the caller's
                if world > 1:  # the others are in the middle of a step
                    raise
                keeper.stopped = True
            finally:
                model.eval()
        keeper.end(begin)
    return history


class _Keeper:
    """Saves a run and scores it, in this order, so that no score can cost the run."""

    def __init__(self, engine, history, run, path, validate, every, seed):
        self.engine, self.history, self.run, self.path = engine, history, run, path
        self.validate, self.every, self.seed = validate, every, seed
        self.saved, self.stopped, self.problem = len(history.loss), False, None
        self.started = time.perf_counter() - history.seconds

    @property
    def done(self):
        return len(self.history.loss)

    @property
    def due(self):
        return self.done > 0 and (self.done % self.every == 0 or self.done == self.run["steps"])

    def save_and_score(self):
        if self.due:
            self.save()
            self.score()

    def save(self):
        if not self.engine.finite():
            raise ValueError(
                f"parameters must stay finite; after step {self.done - 1} they are not, nor saved"
            )
        self.history.seconds = time.perf_counter() - self.started
        if self.path:
            state = self.engine.state()
            if self.engine.rank == 0:
                files.save(self.path, self.run, vars(self.history), *state)
            self.saved = self.done

    def score(self):
        """Validate, if that is due and not done."""
        if self.validate and self.due and self.done not in dict(self.history.validation):
            seed_all(self.engine.device, self.seed, self.done, "validation")
            self.history.validation.append((self.done, self.engine.score(self.validate)))
            if self.done == self.run["steps"]:  # no later save would hold it
                self.save()

    def pace(self, batch, started):
        """Seconds of the run so far, and symbols per second of the step that started then."""
        now = time.perf_counter()
        symbols = leaves_of(batch)[0][1].shape[:2].numel()
        pace = round(symbols / (now - started))
        return {"seconds": round(now - self.started, 3), "symbols_per_second": pace}

    def end(self, begin):
        """After the last step, or the last for now: save, hand the model back, say how it ended."""
        self.history.seconds = time.perf_counter() - self.started
        if self.stopped and self.done > self.saved:
            self.save()
        self.engine.collect()
        name = f"checkpoint {str(self.path)!r}"
        kept = (
            f"{name} holds {self.saved} steps" if self.path and self.saved else "nothing is saved"
        )
        if self.problem:
            raise ValueError(f"{self.problem}; {kept}")
        steps, first = self.run["steps"], self.engine.rank == 0
        if self.stopped and first:
            print(f"stopped after step {self.done} of {steps}: {kept}")
        if begin == steps and first:
            print(f"nothing is left to do: {name} has all {steps} steps")
        self.history.stopped = self.stopped


def _checked(model, steps, lr, warmup, clip, every, accumulate, shard):
    """The device to train on. Raises ValueError for settings that make no sense."""
    if steps < 1 or not 0 < lr <= 1e30:  # a larger step would overflow half way
        raise ValueError(
            f"steps must be at least 1 and lr positive, at most 1e30, got {steps} and {lr}"
        )
    if not 0 <= warmup <= 1 or not clip > 0:
        raise ValueError(f"warmup must lie in [0, 1], clip be positive, got {warmup} and {clip}")
    if every < 1 or accumulate < 1:
        raise ValueError(f"every and accumulate must be at least 1, got {every} and {accumulate}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            f"model must have parameters that require gradients, {type(model).__name__} has none"
        )
    if shard and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        raise ValueError(
            "shard=True needs several processes: start the script with torchrun, e.g. "
            "torchrun --nproc-per-node=2 script.py"
        )
    where = parameters[0].device
    if shard and where.type == "cpu":
        where = minilib.device()
    if shard and where.type == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise ValueError(f"shard=True on a CPU needs a newer torch than {torch.__version__}")
    return where


def _problem(value, norm, step, lr):
    """What is wrong with a step that must not be taken, or None."""
    for what, number in {"loss": value, "norm of the gradient": norm}.items():
        if not math.isfinite(number):
            return (
                f"{what} must stay finite, got {number} at step {step}, which is not taken: "
                f"try a smaller lr than {lr}"
            )
    return None


def _progress_bar(steps, begin, shown):
    return tqdm(
        total=steps,
        initial=begin,
        disable=not shown,
        file=sys.stdout,
        leave=False,
        mininterval=0.5,
        ncols=80,
    )


def _schedule(step, steps, warmup):
    """Factor on the learning rate: a rise over `warmup` of the steps, then half a cosine to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rise) / max(1, steps - rise)))
