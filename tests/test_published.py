"""Published checkpoints of Mamba: both kinds are read, and what Mamba cannot be is refused."""

import json
import pathlib

import pytest
import torch
from safetensors.torch import save_file

from minilib import lab
from minilib.lstm import LSTM
from minilib.mamba import Mamba

# as in state-spaces/mamba-130m and in its conversion for transformers, but for the sizes
STATE_SPACES = {
    "d_model": 24,
    "n_layer": 2,
    "vocab_size": 45,
    "ssm_cfg": {},
    "rms_norm": True,
    "residual_in_fp32": True,
    "fused_add_norm": True,
    "pad_vocab_size_multiple": 8,
}
TRANSFORMERS = STATE_SPACES | {
    "architectures": ["MambaForCausalLM"],
    "conv_kernel": 4,
    "expand": 2,
    "hidden_act": "silu",
    "hidden_size": 24,
    "intermediate_size": 48,
    "layer_norm_epsilon": 1e-5,
    "model_type": "mamba",
    "num_hidden_layers": 2,
    "state_size": 16,
    "time_step_rank": 2,
    "use_bias": False,
    "use_conv_bias": True,
    "vocab_size": 48,
}
IDS = torch.randint(45, (2, 33), generator=torch.Generator().manual_seed(0))


def random_mamba(**sizes):
    """A model with no number left as the constructor makes it."""
    torch.manual_seed(0)
    model = Mamba(**{"vocab_size": 48, "width": 24, "layers": 2, **sizes})
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def published(folder, model, config, *, embedding="embedding", head=True, kind=".bin"):
    """Write a model's weights as others name them."""
    folder.mkdir(exist_ok=True)
    values = {
        name.replace(".embeddings.", f".{embedding}."): value.clone()
        for name, value in model.state_dict().items()
    }
    if head:
        values["lm_head.weight"] = model.backbone.embeddings.weight.data.clone()
    if kind == ".bin":
        torch.save(values, folder / "pytorch_model.bin")
    elif kind == ".safetensors":
        save_file(values, folder / "model.safetensors")
    else:
        shards = {}
        for k, (name, value) in enumerate(values.items()):
            shards[name] = f"model-{k:05}-of-{len(values):05}.safetensors"
            save_file({name: value}, folder / shards[name])
        index = json.dumps({"metadata": {}, "weight_map": shards})
        (folder / "model.safetensors.index.json").write_text(index)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", [".bin", ".safetensors", "shards"])
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("config", [STATE_SPACES | {"vocab_size": 48}, TRANSFORMERS])
def test_a_checkpoint_gives_the_logits_of_the_model_that_it_was_written_from(
    tmp_path, config, head, kind
):
    embedding = "embeddings" if "hidden_size" in config else "embedding"
    model = random_mamba()
    folder = published(tmp_path, model, config, embedding=embedding, head=head, kind=kind)
    loaded, record = lab.load(Mamba, str(folder))
    assert torch.equal(loaded(IDS), model(IDS)) and not loaded.training
    assert record == {
        "model": {"vocab_size": 48, "width": 24, "layers": 2, "state": 16},
        "config": config,
    }


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_kinds_become_float32(tmp_path, kind):
    model = random_mamba().to(kind)
    loaded, _ = lab.load(Mamba, published(tmp_path, model, STATE_SPACES | {"vocab_size": 48}))
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        assert b.dtype == torch.float32 and torch.equal(a.float(), b)


def test_padding_of_the_vocabulary_is_left_out(tmp_path):
    model = random_mamba()
    loaded, _ = lab.load(Mamba, published(tmp_path, model, STATE_SPACES))
    assert loaded.vocab_size == 45
    torch.testing.assert_close(loaded(IDS), model(IDS)[..., :45], rtol=1e-5, atol=1e-5)


def test_the_state_size_is_read(tmp_path):
    model = random_mamba(state=5)
    config = STATE_SPACES | {"vocab_size": 48, "ssm_cfg": {"d_state": 5, "dt_rank": "auto"}}
    loaded, _ = lab.load(Mamba, published(tmp_path / "a", model, config))
    assert torch.equal(loaded(IDS), model(IDS))
    loaded, _ = lab.load(Mamba, published(tmp_path / "b", model, TRANSFORMERS | {"state_size": 5}))
    assert torch.equal(loaded(IDS), model(IDS))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (STATE_SPACES | {"ssm_cfg": {"layer": "Mamba2"}}, "layer must be 'Mamba1', got 'Mamba2'"),
        (STATE_SPACES | {"ssm_cfg": {"d_conv": 3}}, "d_conv must be 4, got 3"),
        (STATE_SPACES | {"ssm_cfg": {"expand": 3}}, "expand must be 2, got 3"),
        (STATE_SPACES | {"ssm_cfg": {"bias": True}}, "bias must be False, got True"),
        (STATE_SPACES | {"ssm_cfg": {"conv_bias": False}}, "conv_bias must be True, got False"),
        (STATE_SPACES | {"ssm_cfg": {"dt_rank": 9}}, "dt_rank must be .* 2, got 9"),
        (STATE_SPACES | {"rms_norm": False}, "rms_norm must be True, got False"),
        (STATE_SPACES | {"attn_layer_idx": [1]}, r"attn_layer_idx must be \[\], got \[1\]"),
        (STATE_SPACES | {"d_intermediate": 64}, "d_intermediate must be 0, got 64"),
        (STATE_SPACES | {"vocab_size": 30}, "30 rows for vocab_size, or 32 with padding, got 48"),
        (STATE_SPACES | {"vocab_size": 49}, "49 rows for vocab_size, or 56 with padding, got 48"),
        (STATE_SPACES | {"d_model": "24"}, "hidden_size or d_model must be a whole .*, got '24'"),
        (STATE_SPACES | {"n_layer": None}, "n_layer must be a whole number, got None"),
        (STATE_SPACES | {"n_layer": 3}, "Missing key"),
        (STATE_SPACES | {"n_layer": 1}, "Unexpected key"),
        (STATE_SPACES | {"d_model": 26}, "size mismatch"),
        (STATE_SPACES | {"pad_vocab_size_multiple": 0}, "must be a whole number, got 0"),
        (STATE_SPACES | {"ssm_cfg": [1]}, "must hold names and values"),
        ([], "must hold names and values"),
        ({}, "vocab_size must be a whole number, got None"),
        (TRANSFORMERS | {"model_type": "mamba2"}, "model_type must be 'mamba', got 'mamba2'"),
        (TRANSFORMERS | {"conv_kernel": 3}, "conv_kernel must be 4, got 3"),
        (TRANSFORMERS | {"use_bias": True}, "use_bias must be False, got True"),
        (TRANSFORMERS | {"hidden_act": "gelu"}, "hidden_act must be 'silu', got 'gelu'"),
        (TRANSFORMERS | {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon must be 1e-05"),
        (TRANSFORMERS | {"time_step_rank": 4}, "time_step_rank must be .* 2, got 4"),
    ],
)
def test_what_mamba_cannot_be_is_refused_by_name(tmp_path, config, words):
    folder = published(tmp_path / "strange", random_mamba(), config)
    with pytest.raises(ValueError, match=f"'strange' .*{words}"):
        lab.load(Mamba, folder)


def test_an_output_of_its_own_is_refused(tmp_path):
    folder = published(tmp_path, random_mamba(), TRANSFORMERS)
    values = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for head in (values["lm_head.weight"] + 1e-3, values["lm_head.weight"][:40], torch.ones(3)):
        torch.save(values | {"lm_head.weight": head}, folder / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"lm_head\.weight must be the embedding again"):
            lab.load(Mamba, folder)


def test_damaged_and_missing_files_are_value_errors(tmp_path):
    with pytest.raises(ValueError, match=r"there is no 'config\.json'"):
        lab.load(Mamba, tmp_path)
    folder = published(tmp_path / "it", random_mamba(), TRANSFORMERS)
    file = folder / "pytorch_model.bin"
    whole = file.read_bytes()
    for size in (0, 1, 10, 1000, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="checkpoint 'it' cannot be read"):
            lab.load(Mamba, folder)
    for content in ({"epoch": 3}, [1, 2], {1: torch.ones(2)}, pathlib.PurePosixPath("x")):
        torch.save(content, file)  # the last would have to be unpickled
        with pytest.raises(ValueError, match="checkpoint 'it' cannot be read"):
            lab.load(Mamba, folder)
    torch.save({"weight": torch.ones(2, 2)}, file)
    with pytest.raises(ValueError, match=r"there must be a matrix backbone\.embeddings\.weight"):
        lab.load(Mamba, folder)
    file.unlink()
    with pytest.raises(ValueError, match=r"there is no 'pytorch_model\.bin'"):
        lab.load(Mamba, folder)
    (folder / "model.safetensors").write_bytes(b"123")
    with pytest.raises(ValueError, match="checkpoint 'it' cannot be read"):
        lab.load(Mamba, folder)
    for index in ('{"weight_map": {"a": "gone"}}', "{}", "[]", '{"weight_map": 3}'):
        (folder / "model.safetensors.index.json").write_text(index)
        with pytest.raises(ValueError, match="checkpoint 'it'"):
            lab.load(Mamba, folder)
    (folder / "config.json").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="checkpoint 'it' cannot be read"):
        lab.load(Mamba, folder)
    with pytest.raises(ValueError, match="folders are read for Mamba, not for LSTM"):
        lab.load(LSTM, folder)


def test_a_file_of_transformers_gives_its_logits(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(
        vocab_size=48, hidden_size=24, num_hidden_layers=2, state_size=5
    )
    torch.manual_seed(0)
    theirs = transformers.MambaForCausalLM(config).eval()
    for p in theirs.parameters():
        p.data += 0.1 * torch.randn_like(p)
    theirs.save_pretrained(tmp_path)
    ours, _ = lab.load(Mamba, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)
