"""Checkpoints of Mamba that others have published: folders with a config.json and weights.

Two kinds are read, both of the first Mamba's language models:
    state-spaces/mamba   config.json with d_model, n_layer, …; tensor backbone.embedding.weight
    transformers         config.json with hidden_size, …; tensor backbone.embeddings.weight
with weights in model.safetensors, its shards, or pytorch_model.bin (read with weights_only=True).
The output is tied: lm_head.weight is absent or equals the embedding. Rows that pad the embedding
beyond the config's vocab_size are left out, as no symbol has them.

Refused by name: Mamba-2, attention or feed-forward layers, layer norm, an output of its own,
biases, and sizes of convolution, expansion or dt's rank that minilib's Mamba does not have.
"""

import json
import pathlib
import pickle

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# What a config of either kind may name, and the one value that minilib's Mamba has. A name that is
# absent is not asked for: names and shapes of the tensors tell the rest.
WANTED = {
    "model_type": "mamba",
    "hidden_act": "silu",
    "expand": 2,
    **{"layer_norm_epsilon": 1e-5, "norm_epsilon": 1e-5, "rms_norm": True},
    **{"conv_kernel": 4, "d_conv": 4},
    **{"use_conv_bias": True, "conv_bias": True, "use_bias": False, "bias": False},
    **{"layer": "Mamba1", "d_intermediate": 0, "attn_layer_idx": []},
}
# names in transformers' configs and in state-spaces/mamba's, and the value where there is none
SIZES = {
    "vocab_size": (["vocab_size"], None),
    "width": (["hidden_size", "d_model"], None),
    "layers": (["num_hidden_layers", "n_layer"], None),
    "state": (["state_size", "d_state"], 16),
    "multiple": (["pad_vocab_size_multiple"], 8),
}

# what json, safetensors and torch.load raise for files that are damaged or something else
DAMAGE = (
    *(RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError, AssertionError),
    *(SafetensorError, pickle.UnpicklingError),
)


def read(folder: pathlib.Path, model: str) -> tuple[dict, dict[str, Tensor]]:
    """({"model": arguments of minilib.mamba.Mamba, "config": config.json}, its state_dict).

    model  the name of the class that is to be loaded
    Raises ValueError unless that is Mamba, if a file is missing or damaged, and if minilib's Mamba
    cannot be what the config describes.
    """
    name = folder.name
    if model != "Mamba":
        raise ValueError(
            f"path of weights must be a file *.safetensors, got the folder {name!r}: "
            f"folders are read for Mamba, not for {model}"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        values = _tensors(folder)
    except FileNotFoundError as error:
        missing = pathlib.Path(error.filename or folder).name
        raise ValueError(
            f"checkpoint {name!r} must be a folder with config.json and model.safetensors or "
            f"pytorch_model.bin; there is no {missing!r}"
        ) from None
    except (OSError, *DAMAGE) as error:
        raise ValueError(f"checkpoint {name!r} cannot be read: {error}") from None
    try:
        options, table = _options(config), _table(values)
        settings = _settings(options, rows=len(table))
    except ValueError as error:
        raise ValueError(f"checkpoint {name!r} is none that Mamba can read: {error}") from None
    values["backbone.embeddings.weight"] = table[: settings["vocab_size"]]
    return {"model": settings, "config": config}, values


def _tensors(folder):
    """{name: tensor} of all files of a folder."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return {name: t for file in sorted(files) for name, t in load_file(folder / file).items()}
    if (folder / "model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    values = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    if not all(isinstance(name, str) and torch.is_tensor(t) for name, t in values.items()):
        raise ValueError("pytorch_model.bin must hold tensors by name and nothing else")
    return dict(values)


def _options(config):
    """The config with state-spaces' options of the mixer beside the others."""
    if not isinstance(config, dict) or not isinstance(config.get("ssm_cfg") or {}, dict):
        raise ValueError("config.json must hold names and values")
    options = config | (config.get("ssm_cfg") or {})
    for name, value in WANTED.items():
        if options.get(name, value) != value:
            raise ValueError(f"{name} must be {value!r}, got {options[name]!r}")
    return options


def _table(values):
    """The embedding, whatever it is called, taken out of the tensors with the output tied to it."""
    names = "backbone.embeddings.weight", "backbone.embedding.weight"
    table = next((values.pop(name) for name in names if name in values), None)
    if table is None or table.dim() != 2:
        raise ValueError(f"there must be a matrix {' or '.join(names)}")
    output = values.pop("lm_head.weight", table)
    if output.shape != table.shape or not (output == table).all():
        raise ValueError("lm_head.weight must be the embedding again, it is an output of its own")
    return table


def _settings(options, rows):
    """The arguments of Mamba; `rows` are those of the embedding."""
    settings = {}
    for ours, (names, default) in SIZES.items():
        size = next((options[name] for name in names if name in options), default)
        if type(size) is not int or size < 1:
            raise ValueError(f"{' or '.join(names)} must be a whole number, got {size!r}")
        settings[ours] = size
    rank = -(-settings["width"] // 16)
    for name in ("time_step_rank", "dt_rank"):
        if options.get(name, "auto") not in ("auto", rank):
            raise ValueError(f"{name} must be hidden_size / 16 = {rank}, got {options[name]!r}")
    symbols = settings["vocab_size"]
    padded = symbols + -symbols % settings.pop("multiple")
    if rows not in (symbols, padded):
        wanted = f"{symbols} rows for vocab_size, or {padded} with padding"
        raise ValueError(f"the embedding must have {wanted}, got {rows}")
    return settings
