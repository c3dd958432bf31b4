"""One training loop for every model: `fit`."""

import contextlib
import math
import os
import pathlib
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from tqdm import tqdm


class History:
    """What happened in training.

    loss        loss[k] is of step k, in nats per symbol
    validation  a list of (steps done, value)
    seconds     that it took, over all interruptions
    """

    def __init__(self, loss=(), validation=(), seconds: float = 0.0):
        self.loss, self.validation, self.seconds = list(loss), list(map(tuple, validation)), seconds

    def plot(self, title: str = "Training", label: str = "train"):
        """Loss against steps, each point the mean of a fiftieth of the run, and validation.

        Returns the axes.
        """
        from minilib.lab import plot

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
) -> History:
    """Train in place: AdamW, linear warm-up then cosine to zero, clipped gradients.

    batches     function of the step -> a batch: a tensor, or a nested tuple of tensors, rows first,
                on any device. It must depend on the step alone, so that a resumed run sees what it
                would have seen
    steps, lr   number of optimiser steps, peak learning rate; warmup is a fraction of the steps
    loss        function (model, batch) -> mean over the batch's rows; default: next symbol, in nats
    validate    function of the model -> a number, called every `every` steps and at the end
    checkpoint  a file, written every `every` steps (default: ten times a run). If it is there,
                training goes on from it and ends as if it had never stopped: to the bit on a CPU
    seed        of dropout and whatever else draws random numbers in the model. The numbers that
                torch draws after fit are the ones that it would have drawn without
    returns     a History

    It trains even where the caller has switched gradients off. Under torchrun the same call trains
    data-parallel: each process takes its share of the rows of every batch and the gradients are
    averaged; the first process alone prints and writes.
    Raises ValueError for impossible settings, a model with nothing to train, a loss that is not
    finite, and a checkpoint that is damaged or belongs to another model or run.
    """
    if steps < 1 or not lr > 0:
        raise ValueError(f"steps must be at least 1 and lr positive, got {steps} and {lr}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            f"model must have parameters that require gradients, {type(model).__name__} has none"
        )
    every = every or max(1, steps // 10)
    where = parameters[0].device
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
    run = {"model": type(model).__name__, "steps": steps, "lr": lr, "seed": seed}
    with _own_torch(seed, where), _group(where) as (rank, world):
        begin, history = _resume(checkpoint, run, model, optimizer)
        _broadcast(model, world)
        model.train()
        started = time.perf_counter() - history.seconds
        bar = _progress_bar(steps, begin, shown=progress and rank == 0)
        for step in range(begin, steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * _schedule(step, steps, warmup)
            batch, share = _share(batches(step), rank, world, where)
            value = loss(model, batch) * share
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            value = _average(value.detach(), parameters, world)
            _refuse_infinite(value, step, lr)
            nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            history.loss.append(value)
            bar.update()
            bar.set_postfix(loss=f"{value:.3f}", refresh=False)
            done = step + 1
            if done % every == 0 or done == steps:
                if validate:
                    history.validation.append((done, _validated(model, validate)))
                history.seconds = time.perf_counter() - started
                if checkpoint and rank == 0:
                    _save(checkpoint, run, done, history, model, optimizer)
        bar.close()
    history.seconds = time.perf_counter() - started
    model.eval()
    return history


@contextlib.contextmanager
def _own_torch(seed, device):
    """Gradients on and random numbers from `seed`; afterwards all is as the caller had set it."""
    gpus = [device] if device.type == "cuda" else []
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(gpus):
        torch.manual_seed(seed)
        yield


def _refuse_infinite(value, step, lr):
    if not math.isfinite(value):
        raise ValueError(
            f"loss must stay finite, got {value} at step {step}: try a smaller lr than {lr}"
        )


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


def _validated(model, validate):
    """The model's score, which must not change what training draws."""
    random = torch.get_rng_state()
    model.eval()
    value = float(validate(model))
    model.train()
    torch.set_rng_state(random)
    return value


def _schedule(step, steps, warmup):
    """Factor on the learning rate: a rise over `warmup` of the steps, then half a cosine to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rise) / max(1, steps - rise)))


# -- data-parallel ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _group(device):
    """(rank, world size), joining the process group of torchrun for as long as training lasts."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield 0, 1
        return
    mine = not distributed.is_initialized()
    if mine:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield distributed.get_rank(), distributed.get_world_size()
    finally:
        if mine:
            distributed.destroy_process_group()


def _broadcast(model, world):
    """Every process starts from the first one's numbers."""
    if world > 1:
        for p in [*model.parameters(), *model.buffers()]:
            distributed.broadcast(p.data, 0)


def _share(batch, rank, world, device):
    """This process's rows of a batch, and the factor that makes a sum over processes the mean."""
    if isinstance(batch, torch.Tensor):
        if len(batch) < world:
            raise ValueError(
                f"a batch must have a row for each of {world} processes, got {len(batch)}"
            )
        part = batch[rank::world].to(device)
        return part, len(part) / len(batch)
    parts = [_share(item, rank, world, device) for item in batch]
    return type(batch)(part for part, _ in parts), parts[0][1]


def _average(value, parameters, world):
    """Sum loss and gradients over the processes; returns the loss as a number."""
    if world > 1:
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat(
            [value.reshape(1).to(gradients[0].dtype), *[g.flatten() for g in gradients]]
        )
        distributed.all_reduce(flat)
        value, rest = flat[0], flat[1:]
        for p, g in zip(parameters, rest.split([p.numel() for p in parameters]), strict=True):
            p.grad = g.view_as(p)
    return float(value)


# -- checkpoints -----------------------------------------------------------------------------------


def write_whole(path: str | os.PathLike, write: Callable[[pathlib.Path], Any]) -> None:
    """Write a file by `write(temporary path)`, then rename it into place.

    Readers see the old file or the new, never half of one.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _save(path, run, step, history, model, optimizer):
    content = {"run": run, "step": step, "history": vars(history), "random": torch.get_rng_state()}
    if torch.cuda.is_available():
        content["random_cuda"] = torch.cuda.get_rng_state_all()
    content |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    write_whole(path, lambda temporary: torch.save(content, temporary))


def _resume(path, run, model, optimizer):
    """Bring model and optimiser to a checkpoint's state, if there is one: (steps done, history)."""
    if not (path and pathlib.Path(path).exists()):
        return 0, History()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        saved, state = content["run"], content["model"]
    except (RuntimeError, EOFError, KeyError, TypeError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged or not a checkpoint of fit "
            f"({type(error).__name__}): delete it to start over"
        ) from None
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if saved["model"] != run["model"] or shapes != wanted:
        raise ValueError(
            f"checkpoint {str(path)!r} is of another model: "
            f"{saved['model']} {_first_difference(shapes, wanted)}"
        )
    if saved != run:
        raise ValueError(
            f"checkpoint {str(path)!r} is of another run: it has {saved}, this one {run}"
        )
    model.load_state_dict(state)
    optimizer.load_state_dict(content["optimizer"])
    torch.set_rng_state(content["random"])
    if torch.cuda.is_available() and "random_cuda" in content:
        torch.cuda.set_rng_state_all(content["random_cuda"])
    return content["step"], History(**content["history"])


def _first_difference(saved, wanted):
    for name in [*saved, *wanted]:
        if saved.get(name) != wanted.get(name):
            return f"has {name} of shape {saved.get(name)}, this model {wanted.get(name)}"
    return "has the same parameters"
