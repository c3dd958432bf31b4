"""Trained weights: a safetensors file (float16) and a JSON file that says how it was made."""

import json
import os
import pathlib
import subprocess

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from minilib.lab.data import HOME
from minilib.lab.train import History, write_whole


def save(path: str | os.PathLike, model: nn.Module, record: dict) -> None:
    """Write a model's state_dict as float16 and, as <path>.json, the record of how it was made."""
    path = pathlib.Path(path)
    half = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    text = json.dumps(record, indent=2) + "\n"
    write_whole(path, lambda temporary: save_file(half, temporary))
    write_whole(path.with_suffix(".json"), lambda temporary: temporary.write_text(text))


def record(
    model: nn.Module, settings: dict, command: str, seed: int, history: History, **scores
) -> dict:
    """How a model was made, for `save`.

    settings   the constructor's arguments
    command    that trained it; history: what `fit` returned
    scores     what else there is to say: the test split, and the scores on it
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"CPU, {torch.get_num_threads()} thread"
    return {
        "model": settings,
        "command": command,
        "seed": seed,
        "commit": _commit(),
        "device": machine,
        "torch": torch.__version__,
        "minutes": round(history.seconds / 60, 1),
        "steps": len(history.loss),
        "parameters": sum(p.numel() for p in model.parameters()),
        **scores,
    }


def _commit():
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
    """A trained model, ready to use: (model, record).

    path    the .safetensors file; default: the one this course ships for the class's topic. The
            JSON beside it holds the constructor's arguments under "model"
    Raises ValueError if a file is missing or damaged, or holds another model's weights.
    """
    topic = model_class.__module__.rpartition(".")[2]
    path = pathlib.Path(path or HOME / "weights" / f"{topic}.safetensors")
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        values = load_file(path)
    except FileNotFoundError as error:
        missing = pathlib.Path(error.filename or path).name
        raise ValueError(
            f"weights must be a .safetensors file with a .json beside it; there is no {missing!r}"
        ) from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"weights {path.name!r} are damaged: {error}") from None
    model = model_class(**record["model"])
    values = {
        name: value.float() if value.is_floating_point() else value
        for name, value in values.items()
    }
    try:
        model.load_state_dict(values)
    except RuntimeError as error:
        difference = str(error).splitlines()[1].strip()
        raise ValueError(
            f"weights {path.name!r} are not of {model_class.__name__}: {difference}"
        ) from None
    return model.to(device or torch.device("cpu")).eval(), record
