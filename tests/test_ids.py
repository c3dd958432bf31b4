"""Text as ids: other libraries' tokenizers, files of any size, training batches."""

import pathlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from minilib.lab import data, ids
from minilib.language_model import LanguageModel

TEXT = b"the cat sat on the mat and the dog sat on the log. " * 40


class Words:
    """A tokenizer as other libraries have them: it takes str alone."""

    def __init__(self, step=1):
        words = sorted(set(TEXT.decode().split()))
        self.ids = {word: step * k for k, word in enumerate(words)}
        self.calls = 0

    def encode(self, text):
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__!r} object is not an instance of 'str'")
        self.calls += 1
        return [self.ids[word] for word in text.split()]


class Wrapped(Words):
    """The same, with the ids in an object, as HF's tokenizers have them."""

    def encode(self, text):
        return type("Encoding", (), {"ids": Words.encode(self, text)})


# -- texts -----------------------------------------------------------------------------------------


def test_bytes_round_trip():
    everything = bytes(range(256)) * 2
    assert data.Bytes().decode(data.Bytes().encode(everything)) == everything
    assert data.Bytes().decode(data.Bytes().encode("né")) == "né".encode()


@pytest.mark.parametrize(
    "wrong", [5, None, [97, 98], pathlib.Path("a"), torch.arange(3), np.ones(3)]
)
def test_what_is_no_text_is_refused(wrong):
    with pytest.raises(TypeError, match="text must be str or bytes, got"):
        ids.as_bytes(wrong)


@pytest.mark.parametrize("same", [str, str.encode, lambda s: bytearray(s.encode())])
@pytest.mark.parametrize(
    "tokenizer", [data.Bytes(), Words(), Wrapped()], ids=lambda t: type(t).__name__
)
def test_str_and_bytes_have_the_same_ids(same, tokenizer):
    expected = tokenizer.encode("the cat sat")
    expected = getattr(expected, "ids", expected)
    assert ids.encode(tokenizer, same("the cat sat")).tolist() == expected
    assert ids.encode(tokenizer, same("")).tolist() == []


def test_texts_without_utf_8():
    words = r"prompt must be str that UTF-8 can write, got the lone surrogate '\\udce9' at 3"
    with pytest.raises(ValueError, match=words):
        ids.as_bytes("abc\udce9", "prompt")
    with pytest.raises(
        ValueError, match="UTF-8 for a tokenizer that takes str alone, got byte 0xff at"
    ):
        ids.encode(Words(), b"the \xff")
    with pytest.raises(KeyError, match="dig"):  # the tokenizer's own error
        ids.encode(Words(), b"the dig")


@pytest.mark.parametrize("step,kind", [(1, "u1"), (50, "u2"), (20_000, "u4"), (-1, "i2")])
def test_ids_are_kept_small(step, kind):
    found = ids.encode(Words(step), TEXT)
    assert found.dtype == kind and found.tolist() == Words(step).encode(TEXT.decode())


@pytest.mark.parametrize("size,kind", [(300, "u2"), (65_537, "u4")])
def test_a_tokenizer_with_a_stream_makes_no_list(size, kind):
    class Stream:
        vocab_size = size

        def encode_stream(self, chunks):
            for chunk in chunks:
                yield from bytes(chunk)

    text = bytes(range(256)) * 5000  # more than one chunk
    found = ids.encode(Stream(), text)
    assert found.dtype == kind and bytes(found.tolist()) == text


# -- the batches -----------------------------------------------------------------------------------


def test_windows_depend_on_seed_and_step_alone():
    batches = data.windows(TEXT, batch=4, length=10, seed=1)
    assert torch.equal(batches(7), data.windows(TEXT, batch=4, length=10, seed=1)(7))
    assert not torch.equal(batches(7), batches(8))
    assert not torch.equal(batches(7), data.windows(TEXT, batch=4, length=10, seed=2)(7))
    assert all(bytes(row.tolist()) in TEXT for row in batches(3))


def test_batches_stay_what_they_have_always_been():
    """What was trained before can be trained again."""
    found = data.windows(TEXT, batch=3, length=7, seed=5)(11)
    assert found.dtype == torch.int64
    assert [bytes(row) for row in found.tolist()] == [b"t sat on", b"dog sat ", b"g. the c"]
    assert bytes(data.windows(TEXT, batch=1, length=4, seed=-(2**70))(0)[0].tolist()) == b"the c"


def test_a_tokenizer_reads_the_text_once():
    tokenizer = Words()
    batches = data.windows(TEXT, batch=2, length=5, tokenizer=tokenizer)
    for step in range(5):
        assert batches(step).shape == (2, 6)
    assert tokenizer.calls == 1


def sources(folder):
    """The same ids from everywhere, with the values that they hold."""
    (folder / "text.txt").write_bytes(TEXT)
    ids.write_ids(folder / "text.npy", iter(TEXT), 256)
    np.save(folder / "wide.npy", np.frombuffer(TEXT, np.uint8).astype(np.int64))
    yield from (TEXT, TEXT.decode(), bytearray(TEXT), memoryview(TEXT))
    yield from (folder / "text.txt", folder / "text.npy", folder / "wide.npy")
    yield np.load(folder / "text.npy", mmap_mode="r")
    yield from (np.array(list(TEXT), "u4"), torch.tensor(list(TEXT)))


def test_the_same_text_from_anywhere_makes_the_same_batches(tmp_path):
    wanted = data.windows(TEXT, batch=5, length=9, seed=2)
    for source in sources(tmp_path):
        batches = data.windows(source, batch=5, length=9, seed=2)
        assert all(torch.equal(batches(step), wanted(step)) for step in range(4)), type(source)


@pytest.mark.parametrize(
    "options,error,words",
    [
        ({"text": b"12"}, ValueError, r"text must have at least length \+ 1 = 3 symbols, got 2"),
        ({"text": ""}, ValueError, "symbols, got 0"),
        ({"batch": 0}, ValueError, "batch and length must be 1 or more"),
        ({"length": 0}, ValueError, "batch and length must be 1 or more"),
        ({"seed": None}, TypeError, "seed must be an integer, got None"),
        ({"text": [1, 2, 3]}, TypeError, "text must be str or bytes, got list"),
        ({"text": "abc\udce9"}, ValueError, "lone surrogate"),
        ({"text": np.ones(5)}, TypeError, r"must be integers of shape \(symbols,\), got float64"),
        ({"text": np.ones((5, 5), int)}, TypeError, r"of shape \(5, 5\)"),
        ({"text": np.arange(5), "tokenizer": Words()}, ValueError, "text is ids already"),
        ({"text": torch.arange(5), "tokenizer": Words()}, ValueError, "text is ids already"),
    ],
)
def test_windows_refuse(options, error, words):
    with pytest.raises(error, match=words):
        data.windows(**{"text": TEXT, "batch": 1, "length": 2} | options)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size,kind", [(256, "<u2"), (65_536, "<u2"), (65_537, "<u4")])
def test_written_ids_are_what_numpy_reads(tmp_path, size, kind):
    values = np.random.default_rng(0).integers(0, size, 100_000)
    values[0] = size - 1
    assert ids.write_ids(tmp_path / "x.npy", iter(values.tolist()), size) == 100_000
    found = np.load(tmp_path / "x.npy")
    assert found.dtype == kind and (found == values).all()
    assert ids.write_ids(tmp_path / "x.npy", [], size) == 0
    assert np.load(tmp_path / "x.npy").shape == (0,)
    for wrong in (-1, size):
        with pytest.raises(ValueError, match=r"ids must lie in \[0, vocab_size = "):
            ids.write_ids(tmp_path / "x.npy", [1, wrong], size)


def cut_off(path):
    np.save(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda path: None, "path must be a readable file, got .*: No such file"),
        (lambda path: path.mkdir(), "path must be a readable file"),
        (lambda path: path.write_bytes(b""), "symbols, got 0"),
        (lambda path: path.write_bytes(b"\x93NUMPY"), "is no whole .npy file of ids"),
        (cut_off, "is no whole .npy file of ids: buffer is smaller"),
        (
            lambda path: np.save(path, np.eye(3)),
            r"no whole .npy file of ids: its shape is \(3, 3\)",
        ),
        (lambda path: np.save(path, np.array([None] * 9)), "is no whole .npy file of ids"),
    ],
)
def test_files_that_are_refused(tmp_path, make, words):
    make(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=words):
        data.windows(tmp_path / "x.npy", batch=1, length=2)


def test_bytes_stay_bytes():
    text = b"0123456789" * 1_000_000
    tracemalloc.start()
    try:
        batches = data.windows(text, batch=32, length=100)
        for step in range(5):
            batches(step)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


SMALL = """
import pathlib, re, sys
from minilib.lab import data

path, status = pathlib.Path(sys.argv[1]), pathlib.Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
data.windows(b"0123456789", batch=2, length=4)(0)
before = peak()
for text in (data.own(path).train, path):
    batches = data.windows(text, batch=16, length=128)
    for step in range(120):
        batches(step)
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count differently")
def test_a_file_stays_on_disk(tmp_path):
    """64 MB are looked at nearly everywhere, and memory never holds more than a few of them."""
    with open(tmp_path / "long.txt", "wb") as file:
        file.truncate(64_000_000)  # zeros, which are UTF-8
    command = [sys.executable, "-c", SMALL, str(tmp_path / "long.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 24_000  # kilobytes


# -- a tokenizer and its model ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vocab_size", "n_vocab"])
def test_a_tokenizer_must_be_the_models_own(name):
    model = LanguageModel()
    model.vocab_size = 300
    for size in (299, 301):
        with pytest.raises(ValueError, match=f"must have one vocab_size, got 300 and {size} of"):
            ids.check_vocabulary(model, type("Tokenizer", (), {name: size})())
    ids.check_vocabulary(model, type("Tokenizer", (), {name: 300})())
    ids.check_vocabulary(model, Words())  # which does not say
