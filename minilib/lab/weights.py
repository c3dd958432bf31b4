"""Trained weights: a safetensors file (float16, or 8 bits) and a JSON file: how it was made."""

import json
import os
import pathlib
import subprocess
from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minilib.lab import published
from minilib.lab.checkpoint import refuse_unwritable, write_whole
from minilib.lab.fetch import HOME
from minilib.lab.train import History

SCALE = " scale"  # name of the scales of a tensor of 8 bits, after its own name


def save(path: str | os.PathLike, model: nn.Module, record: dict, bits: int = 16) -> None:
    """Write a model's state_dict and, as .json beside it, the record of how it was made.

    path    ends in .safetensors; a folder that is not there is made, a file that is there replaced
    record  holds the constructor's arguments under "model", for `load`
    bits    16: numbers become float16. A tensor in which that would turn a number to infinity, or
            one that is not zero to zero, stays in float32.
            8: a tensor with rows (its last axis) of 64 numbers or more becomes whole numbers from
            -127 to 127, with a scale for each row; all else is as with 16
    Both files are written whole before either is moved into place, and no reader finds weights
    beside another model's record.
    Raises ValueError for another suffix or number of bits, a place where no file can be written,
    and a tensor that float32 cannot hold, infinity and not-a-number included; OSError if the disk
    is full.
    """
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits!r}")
    path = _suffixed(path)
    refuse_unwritable(path, "path of weights")
    values = {name: _narrow(name, value) for name, value in model.state_dict().items()}
    if bits == 8:
        values = _in_8_bits(values)
    text = json.dumps(record, indent=2) + "\n"
    beside = pathlib.Path(os.path.realpath(path.with_suffix(".json")))

    def write_weights(temporary):
        save_file(values, temporary)
        beside.unlink(missing_ok=True)  # the old record must not stand beside the new weights

    def write_both(temporary):
        temporary.write_text(text, encoding="utf-8")
        write_whole(path, write_weights)

    write_whole(beside, write_both)


def save_scored(
    path: str | os.PathLike, model: nn.Module, record: dict, score: Callable
) -> tuple[nn.Module, dict]:
    """Save a model, then once more with the scores of what is on disk: (that model, its record).

    score  (model as `load` gives it, of numbers of 16 bits) -> {name: value}
    """
    save(path, model, record)  # before anything else that can fail
    model, record = load(type(model), path, next(model.parameters()).device)
    record |= score(model)
    save(path, model, record)
    return model, record


def refuse_taken(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Raise now what `save(path, ...)` would raise after the training, and for files in its place.

    Raises ValueError for a wrong suffix, for weights or a record that are there unless `overwrite`
    is true, and if no file can be written there. The folder is made.
    """
    path = _suffixed(path)
    for file in (path, path.with_suffix(".json")):
        if file.is_file() and not overwrite:
            raise ValueError(f"{str(file)!r} is there already: --overwrite replaces it")
        refuse_unwritable(file, "path of weights")


def _suffixed(path):
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path of weights must be a file *.safetensors, got {str(path)!r}")
    return path


def _narrow(name: str, value: Tensor) -> Tensor:
    """A copy in float16, or in float32 where float16 would lose a number altogether.

    Always a copy: safetensors refuses tensors that share memory, as tied ones do.
    """
    if not value.is_floating_point():
        return value.clone().contiguous()
    for kind in (torch.float16, torch.float32):
        narrow = value.to(kind, copy=True).contiguous()
        if narrow.isfinite().all() and torch.equal(narrow == 0, value == 0):
            return narrow
    raise ValueError(f"weights must be finite and within float32's range; {name} is not")


def _in_8_bits(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as whole numbers, with the scales of their rows beside them."""
    small = {}
    for name, value in values.items():
        if value.is_floating_point() and value.dim() > 1 and value.shape[-1] >= 64:
            scale = _narrow(name, value.float().abs().amax(-1, keepdim=True) / 127)
            small[name + SCALE] = scale
            value = (value / scale.float().where(scale > 0, 1)).round().clamp(-127, 127)
            value = value.to(torch.int8)
        small[name] = value
    return small


def _from_8_bits(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `_in_8_bits` was given, rounded."""
    scales = {name: values.pop(name) for name in list(values) if name.endswith(SCALE)}
    for name, scale in scales.items():
        whole = name.removesuffix(SCALE)
        values[whole] = values[whole] * scale.float()
    return values


def record(
    model: nn.Module,
    settings: dict,
    command: str,
    seed: int,
    history: History,
    device: torch.device | None = None,
    **scores,
) -> dict:
    """How a model was made, for `save`.

    settings   the constructor's arguments
    command    that trained it; history: what `fit` returned
    device     that it was trained on, if it is not the one where the model is
    scores     what else there is to say: the test split, and the scores on it
    """
    device = device or next(model.parameters()).device
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"CPU, {torch.get_num_threads()} thread"
    if (processes := int(os.environ.get("WORLD_SIZE", 1))) > 1:  # of torchrun
        machine = f"{processes} times {machine}"
    return {
        "model": settings,
        "command": command,
        "seed": seed,
        "commit": commit(),
        "device": machine,
        "torch": torch.__version__,
        "minutes": round(history.seconds / 60, 1),
        "steps": len(history.loss),
        "parameters": sum(p.numel() for p in model.parameters()),
        **scores,
    }


def commit():
    """The short name of the commit that this code is, or None where there is no git."""
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # the weights are worth keeping all the same
        return None
    return done.stdout.strip() or None


def load(
    model_class: type[nn.Module],
    path: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
) -> tuple[nn.Module, dict]:
    """A trained model, ready to use, in float32: (model, record).

    path    the .safetensors file; default: the one this course ships for the class's topic. The
            JSON beside it holds the constructor's arguments under "model".
            For Mamba also the folder of a checkpoint that others have published, as described in
            `minilib.lab.published`; the record then holds its config.json under "config"
    Raises ValueError if a file is missing or damaged, or holds another model's weights.
    """
    topic = model_class.__module__.rpartition(".")[2]
    path = pathlib.Path(path or HOME / "weights" / f"{topic}.safetensors")
    if path.is_dir():
        record, values = published.read(path, model_class.__name__)
    else:
        record, values = _read(path)
    try:
        with torch.random.fork_rng([]):  # initial numbers, all to be overwritten, take no draw
            model = model_class(**record["model"])
    except Exception as error:  # whatever a constructor raises, the file is the reason
        given = ", ".join(f"{name}={value!r}" for name, value in record["model"].items())
        raise ValueError(
            f"weights {path.name!r} are not of {model_class.__name__}: it cannot be made with "
            f"{given} ({error})"
        ) from None
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        difference = str(error).splitlines()[1].strip()
        raise ValueError(
            f"weights {path.name!r} are not of {model_class.__name__}: {difference}"
        ) from None
    return model.to(device or torch.device("cpu")).eval(), record


def _read(path):
    """Record and tensors of a file of `save`."""
    path = _suffixed(path)
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        values = _from_8_bits(load_file(path))
    except FileNotFoundError as error:
        missing = pathlib.Path(error.filename or path).name
        raise ValueError(
            f"weights must be a .safetensors file with a .json beside it; there is no {missing!r}"
        ) from None
    except OSError as error:
        raise ValueError(
            f"weights {path.name!r} cannot be read: {error.strerror or error}"
        ) from None
    # ValueError: no JSON, no UTF-8; KeyError, RuntimeError: scales of no tensor, of another shape
    except (SafetensorError, ValueError, RecursionError, KeyError, RuntimeError) as error:
        raise ValueError(f"weights {path.name!r} are damaged: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("model"), dict):
        raise ValueError(
            f"weights {path.name!r} are damaged: their .json must hold the constructor's arguments "
            'under "model"'
        )
    return record, values
