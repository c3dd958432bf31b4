"""Trained weights: a safetensors file (float16 on disk) with a JSON file beside it that says how it was made."""

import json
import pathlib
import subprocess

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minilib.lab.data import HOME
from minilib.lab.train import write_whole


def save(path, model, record):
    """Write a model's state_dict as float16 and, as <path>.json, the record of how it was made."""
    path = pathlib.Path(path)
    half = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    write_whole(path, lambda temporary: save_file(half, temporary))
    write_whole(
        path.with_suffix(".json"),
        lambda temporary: temporary.write_text(json.dumps(record, indent=2) + "\n"),
    )


def record(model, settings, command, seed, history, **scores):
    """How a model was made, for `save`.

    settings   the constructor's arguments
    command    that trained it; history: what `fit` returned
    scores     what else there is to say: the test split, and the scores on it
    """
    here, device = pathlib.Path(__file__).parent, next(model.parameters()).device
    try:
        commit = (
            subprocess.run(
                ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
                capture_output=True,
                text=True,
            ).stdout.strip()
            or None
        )
    except OSError:  # no git here; the weights are worth keeping all the same
        commit = None
    return {
        "model": settings,
        "command": command,
        "seed": seed,
        "commit": commit,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
        "minutes": round(history.seconds / 60, 1),
        "steps": len(history.loss),
        "parameters": sum(p.numel() for p in model.parameters()),
        **scores,
    }


def load(model_class, path=None, device=None):
    """A trained model, ready to use: (model, record).

    path    the .safetensors file; default: the one this course ships for the class's topic. The JSON beside it
            holds the constructor's arguments under "model"
    Raises ValueError if a file is missing or damaged, or holds another model's weights.
    """
    topic = model_class.__module__.rpartition(".")[2]
    path = pathlib.Path(path or HOME / "weights" / f"{topic}.safetensors")
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        values = load_file(path)
    except FileNotFoundError as error:
        raise ValueError(
            f"weights must be a .safetensors file with a .json beside it; there is no {pathlib.Path(error.filename or path).name!r}"
        ) from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"weights {path.name!r} are damaged: {error}") from None
    model = model_class(**record["model"])
    try:
        model.load_state_dict(
            {
                name: value.float() if value.is_floating_point() else value
                for name, value in values.items()
            }
        )
    except RuntimeError as error:
        raise ValueError(
            f"weights {path.name!r} are not of {model_class.__name__}: {str(error).splitlines()[1].strip()}"
        ) from None
    return model.to(device or torch.device("cpu")).eval(), record
