"""Weights: they round-trip, damaged ones are refused, shipped ones score what they say."""

import json

import pytest
import torch

import minilib
from minilib import lab
from minilib.lab import data, weights
from minilib.lstm import LSTM

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


SHIPPED = sorted((data.HOME / "weights").glob("*.safetensors"))


def test_weights_round_trip_in_half_precision(tmp_path):
    model = LSTM(256, 8)
    weights.save(tmp_path / "w.safetensors", model, {"model": {"width": 8}})
    loaded, record = weights.load(LSTM, tmp_path / "w.safetensors")
    assert record["model"] == {"width": 8}
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a.half().float(), b)


def test_bad_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match=r"there is no 'w\.json'"):
        weights.load(LSTM, path)
    weights.save(path, LSTM(256, 8), {"model": {"width": 9}})
    words = r"'w\.safetensors' are not of LSTM: size mismatch for output"
    with pytest.raises(ValueError, match=words):
        weights.load(LSTM, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"'w\.safetensors' are damaged"):
        weights.load(LSTM, path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"'w\.safetensors' are damaged"):
        weights.load(LSTM, path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_are_small_and_their_record_says_how_they_were_made(path):
    assert path.stat().st_size <= 4_000_000
    record = json.loads(path.with_suffix(".json").read_text())
    assert {"command", "seed", "commit", "device", "minutes", "steps", "test_split"} <= set(record)


# handwriting is scored in nats per point, by tests/test_handwriting.py
SHIPPED_FOR_TEXT = [path for path in SHIPPED if path.stem != "handwriting"]


@pytest.mark.parametrize("path", SHIPPED_FOR_TEXT, ids=lambda path: path.stem)
def test_shipped_weights_score_what_their_record_says(path):
    record = json.loads(path.with_suffix(".json").read_text())
    module = getattr(minilib, path.stem)
    (model_class,) = [
        m
        for m in vars(module).values()
        if isinstance(m, type)
        and m.__module__ == module.__name__
        and issubclass(m, minilib.language_model.LanguageModel)
    ]
    model, _ = weights.load(model_class)
    score = lab.bits_per_byte(model, data.shakespeare("play").test[:100_000])
    assert abs(score - record["test_bits_per_byte_of_first_100000"]) < 1e-3
    assert "test_bits_per_byte" in record
