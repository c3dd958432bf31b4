"""What a run of `fit` keeps on disk: its identity, its state, its log; and files written whole."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import pickle
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from minilib.compare import brief, leaves_of

# -- files -----------------------------------------------------------------------------------------


def write_whole(path: str | os.PathLike, write: Callable[[pathlib.Path], Any]) -> None:
    """Write a file by `write(temporary path)`, then move it into place; makes its folder.

    Readers see the old file or the new, never half of one. A symbolic link stays one: what it
    points to is replaced. Raises OSError, which names the file, if it cannot be written.
    """
    target = pathlib.Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # a folder that no other process or thread has; the file in it has its last name already
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as folder:
            temporary = pathlib.Path(folder) / target.name
            write(temporary)
            with open(temporary, "rb+") as file:  # on the disk before the old one is gone
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno is None:  # of a file that `write` wrote whole
            raise
        cause = error if isinstance(error, OSError) else error.__context__  # torch hides it
        reason = getattr(cause, "strerror", None) or str(error)
        raise OSError(
            f"{str(path)!r} could not be written ({reason}); what stood there is as it was"
        ) from None


def refuse_unwritable(path: str | os.PathLike, name: str) -> None:
    """Raise ValueError unless a file can be written at `path`, the argument `name`; makes folders.

    For before the work: what took hours should not find then that its folder is not there.
    """
    target = pathlib.Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
        if target.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):
            raise PermissionError(None, "it is no file, or one that is read-only")
    except OSError as error:
        raise ValueError(
            f"{name} must be a file that can be written, got {str(path)!r}: {error.strerror}"
        ) from None


# -- the identity of a run -------------------------------------------------------------------------


def identity(model: nn.Module, loss: Callable, settings: dict) -> dict:
    """All that changes the result of a run, except its batches, as {what: text or number}.

    The model stands in it by the class and the plain numbers and words that each of its modules
    holds, by the shape and dtype of each tensor, and by the content of the buffers that its
    state_dict leaves out.
    """
    described = {"model": type(model).__qualname__, "loss": _name(loss), **settings}
    for name, module in model.named_modules():
        prefix = f"model.{name}." if name else "model."
        if name:
            described[prefix[:-1]] = type(module).__qualname__
        for key, value in vars(module).items():
            if not key.startswith("_") and key != "training" and _is_plain(value):
                described[prefix + key] = repr(value)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    saved = {name: v for name, v in model.state_dict().items() if isinstance(v, Tensor)}
    for name, value in saved.items():
        kind = str(value.dtype).removeprefix("torch.")
        still = ", not trained" if name in frozen else ""
        described[f"model.{name}"] = f"{kind} {tuple(value.shape)}{still}"
    for name, value in model.named_buffers():
        if name not in saved:
            described[f"model.{name}"] = f"content {digest(value)}"
    return described


def _name(function):
    """What a function is called; of a partial also what it was given."""
    if isinstance(function, functools.partial):
        show = lambda value: brief(value, most=1000)  # without the address of an object
        given = [show(value) for value in function.args]
        given += [f"{key}={show(value)}" for key, value in function.keywords.items()]
        return f"{_name(function.func)}({', '.join(given)})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def _is_plain(value):
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def digest(batch: Any) -> str:
    """A short name for the content of a tensor, or of nested tuples of tensors."""
    content = hashlib.sha256()
    for path, leaf in leaves_of(batch):
        if isinstance(leaf, Tensor):
            flat = leaf.detach().cpu().contiguous()
            content.update(f"{path}{flat.dtype}{tuple(flat.shape)}".encode())
            content.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            content.update(f"{path}{leaf!r}".encode())
    return content.hexdigest()[:16]


def differences(there: dict, here: dict) -> list[str]:
    """What differs between two identities, as in 'clip 1.0 there, 0.5 here'."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    show = lambda values, name: brief(values[name]).strip("'") if name in values else "none"
    return [f"{name} {show(there, name)} there, {show(here, name)} here" for name in names]


# -- checkpoints -----------------------------------------------------------------------------------


def save(path: str | os.PathLike, run: dict, history: dict, model: dict, optimizer: dict) -> None:
    """Write a checkpoint; `model` and `optimizer` are their state_dicts. Raises OSError."""
    content = {"run": run, "history": history, "model": model, "optimizer": optimizer}

    def write(temporary):
        with open(temporary, "wb") as file:  # torch's own files say nothing of a full disk
            torch.save(content, file)

    write_whole(path, write)


# what torch and we say of a file that is cut off, or is something else
_DAMAGED = (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError)
_DAMAGED += (pickle.UnpicklingError,)


def resume(path: str | os.PathLike, run: dict, batches: Callable, model: nn.Module) -> dict:
    """Bring the model to where the run's checkpoint is; returns its content, {} if there is none.

    run      "identity" and "steps"; it gains "batches", {step: digest of that batch}
    batches  the function of the step
    Raises ValueError if the file is damaged, of another run, or has more steps than `run`, and for
    batches that differ from call to call.
    """
    if not pathlib.Path(path).exists():
        run["batches"] = {step: digest(batches(step)) for step in (0, run["steps"] - 1)}
        if run["batches"][0] != digest(batches(0)):
            raise ValueError(
                "batches must depend on the step alone, or no run can go on from a checkpoint: "
                "two calls with step 0 gave different data"
            )
        return {}
    content = _read(path)
    there, done = content["run"], len(content["history"]["loss"])
    run["batches"] = {step: digest(batches(step)) for step in there["batches"]}
    found = differences(there["identity"], run["identity"])
    if run["batches"] != there["batches"]:
        found.append("batches are other data")
    if found:
        more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
        raise ValueError(
            f"checkpoint {str(path)!r} is of another run: {'; '.join(found[:4])}{more}. To start "
            "anew delete it or give another name; to go on with it set them as they were"
        )
    if run["steps"] < done:
        raise ValueError(
            f"steps must be at least {done}, which checkpoint {str(path)!r} has done, "
            f"got {run['steps']}"
        )
    model.load_state_dict(content.pop("model"))
    return content


def _read(path):
    """The content of a checkpoint, or ValueError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not content.keys() >= {"model", "optimizer"}:
            raise TypeError
        lacking = {"identity", "batches"} - content["run"].keys()
        len(content["history"]["loss"])
    except _DAMAGED as error:
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged or not a checkpoint of fit "
            f"({type(error).__name__}): delete it to start over"
        ) from None
    if lacking:
        raise ValueError(
            f"checkpoint {str(path)!r} was written by an earlier version of fit, which did not "
            "record all that changes a run: delete it or give another name"
        )
    return content


# -- the log ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def log_of_steps(path: str | os.PathLike | None, done: int):
    """A function that appends its keyword arguments as a JSON line, to be read at once.

    Of a file that is there the lines of the first `done` steps stay, so that a run that goes on
    from a checkpoint has each step once. Raises ValueError if done is 0 and there are lines.
    """
    if path is None:
        yield lambda **values: None
        return
    refuse_unwritable(path, "log")
    file = pathlib.Path(path)
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    if lines and not done:
        raise ValueError(f"log {str(path)!r} is of another run: delete it or give another name")
    kept = [line for line in lines if _step_of(line) in range(done)]
    write_whole(path, lambda new: new.write_text("".join(line + "\n" for line in kept)))
    with open(path, "a", buffering=1) as file:

        def note(**values):
            try:
                print(json.dumps(values), file=file)
            except OSError as error:
                raise OSError(
                    f"log {str(path)!r} could not be written ({error.strerror})"
                ) from None

        yield note


def _step_of(line):
    """The step of a line of the log; of one that was cut off, or is none of ours, None."""
    try:
        return json.loads(line)["step"]
    except (ValueError, LookupError, TypeError):
        return None
