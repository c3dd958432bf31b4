"""Text as ids: tokenizers of any library, files larger than memory, training batches."""

import io
import itertools
import mmap
import os
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn


class Bytes:
    """The tokenizer that is none: every byte is its own id."""

    vocab_size = 256

    def encode(self, text: str | bytes) -> list[int]:
        """Ids in [0, 256); a str is encoded as UTF-8."""
        return list(as_bytes(text))

    def decode(self, ids) -> bytes:
        """decode(encode(text)) gives the bytes of the text back."""
        return bytes(ids)


def as_bytes(text, name: str = "text") -> memoryview:
    """str as UTF-8, or bytes and whatever shares its memory as bytes, as they are: not copied.

    Raises TypeError for anything else, and ValueError for a str with lone surrogates, which has no
    UTF-8. `name` is what the error calls it.
    """
    if isinstance(text, str):
        try:
            text = text.encode()
        except UnicodeEncodeError as error:
            found = f"the lone surrogate {text[error.start]!r} at {error.start}"
            raise ValueError(
                f"{name} must be str that UTF-8 can write, got {found}; bytes may be anything"
            ) from None
    try:
        view = memoryview(text)
    except TypeError:
        raise TypeError(f"{name} must be str or bytes, got {type(text).__name__}") from None
    if view.format != "B" or view.ndim != 1:
        raise TypeError(
            f"{name} must be str or bytes, got {type(text).__name__} of format {view.format!r}"
        )
    return view


def encode(tokenizer, text, name: str = "text") -> np.ndarray:
    """The ids of str or bytes, (symbols,), in the smallest dtype that holds them.

    The text goes to tokenizer.encode as it is, bytes that it refuses as str: tiktoken takes str
    alone. It returns ids, or an object with `ids`, such as those of HF's tokenizers. If there is a
    tokenizer.encode_stream(chunks), it is called instead, and no list of all ids is made.
    """
    view = as_bytes(text, name)
    if isinstance(tokenizer, Bytes):
        return np.frombuffer(view, np.uint8)
    if hasattr(tokenizer, "encode_stream"):
        return np.fromiter(tokenizer.encode_stream(_chunks(view)), _dtype(tokenizer.vocab_size))
    if not isinstance(text, str):
        text = bytes(text)
    try:
        found = tokenizer.encode(text)
    except (TypeError, ValueError, LookupError, AttributeError):
        if isinstance(text, str):
            raise
        found = tokenizer.encode(_as_str(text, name))
    ids = np.asarray(getattr(found, "ids", found))
    if not len(ids):
        return np.zeros(0, np.uint8)
    _check_array(ids, "ids of a tokenizer")
    low, high = np.min_scalar_type(ids.min()), np.min_scalar_type(ids.max())
    return ids.astype(np.promote_types(low, high))


def _dtype(vocab_size):
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def _chunks(view):
    for start in range(0, len(view), 1 << 20):
        yield view[start : start + (1 << 20)]
        release(view)


def _as_str(text, name):
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} must be UTF-8 for a tokenizer that takes str alone, "
            f"got byte {text[error.start]:#04x} at offset {error.start}"
        ) from None


def _check_array(ids, name):
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be integers of shape (symbols,), got {ids.dtype} of shape {ids.shape}"
        )


def check_vocabulary(model: nn.Module, tokenizer) -> None:
    """Raise ValueError unless the model has as many symbols as the tokenizer says it has.

    vocab_size, or tiktoken's n_vocab. A tokenizer with neither says nothing and passes.
    """
    size = getattr(tokenizer, "vocab_size", getattr(tokenizer, "n_vocab", None))
    if size is not None and size != model.vocab_size:
        raise ValueError(
            "model and tokenizer must have one vocab_size, "
            f"got {model.vocab_size} and {size} of {type(tokenizer).__name__}: "
            "give the tokenizer that the model was trained with as tokenizer="
        )


# -- files larger than memory ----------------------------------------------------------------------


class _Map(mmap.mmap):
    """A file's bytes in memory that the system fills where it is looked at."""


def mapped(path: str | os.PathLike) -> memoryview:
    """A file's bytes through a memory map: any size, read where they are looked at.

    Raises ValueError for a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size:
                return memoryview(_Map(file.fileno(), 0, access=mmap.ACCESS_READ))
            return memoryview(file.read())  # empty, or a pipe
    except OSError as error:
        raise ValueError(
            f"path must be a readable file, got {str(path)!r}: {error.strerror}"
        ) from None


def release(view) -> None:
    """Give back the memory of what was read of a `mapped` file; it is read again if need be.

    Without this the whole file would in time count as memory of the process.
    """
    mapping = getattr(view, "obj", None)
    if isinstance(mapping, _Map) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def write_ids(path: str | os.PathLike, ids: Iterable[int], vocab_size: int) -> int:
    """Write ids, as many as come, as a .npy file that `windows` reads; returns their number.

    uint16 if vocab_size is at most 65,536, else uint32. A file that was not finished says that it
    holds none.
    """
    kind, ids, count = _dtype(vocab_size), iter(ids), 0

    def write_header(file):  # NumPy leaves room for any number
        header = {"descr": kind.str, "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)

    with open(path, "wb") as file:
        write_header(file)
        while block := list(itertools.islice(ids, 1 << 16)):
            if min(block) < 0 or max(block) >= vocab_size:
                found = f"{min(block)} to {max(block)}"
                raise ValueError(f"ids must lie in [0, vocab_size = {vocab_size}), got {found}")
            file.write(np.array(block, kind).tobytes())
            count += len(block)
        file.seek(0)
        write_header(file)
    return count


def _read_ids(view, path):
    """The ids of a .npy file, still in the file."""
    stream = io.BytesIO(view[: 1 << 16])
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version} of the format is not read")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        if len(shape) != 1:
            raise ValueError(f"its shape is {shape}")
        return np.frombuffer(view, dtype, shape[0], stream.tell())
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no whole .npy file of ids: {error}") from None


# -- training batches ------------------------------------------------------------------------------


def windows(
    text: str | bytes | os.PathLike | np.ndarray | torch.Tensor,
    *,
    batch: int,
    length: int,
    seed: int = 0,
    tokenizer=None,
) -> Callable[[int], torch.Tensor]:
    """Training batches: a function step -> (batch, length + 1) int64 ids, random stretches of text.

    text       str or bytes; a pathlib.Path of a file of text (a str is no path), or of a .npy file
               of ids, such as `write_ids` makes; or an array, memory map or tensor of ids
    tokenizer  encode(text) -> ids; default: bytes themselves, of any kind. It is called once, here,
               with all of the text; for a text that does not fit in memory make a file of ids
    The batch of a step depends on (seed, step) alone, so that a resumed run sees what it would have
    seen. Bytes, arrays and files are not copied; a batch reads its own stretches of a file and
    nothing else. Ids are checked by the model.
    Raises ValueError if the text has fewer than length + 1 symbols, for a file that cannot be read,
    and for ids with a tokenizer; TypeError for what is no text and no ids.
    """
    if batch < 1 or length < 1:
        raise ValueError(f"batch and length must be 1 or more, got {batch} and {length}")
    if not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    ids = _ids(text, tokenizer)
    if len(ids) < length + 1:
        raise ValueError(
            f"text must have at least length + 1 = {length + 1} symbols, got {len(ids)}"
        )

    def batches(step):
        of_step = (int(seed) * 1_000_003 + step) % 2**32  # a generator uses 32 bits
        generator = torch.Generator().manual_seed(of_step)
        start = torch.randint(len(ids) - length, (batch, 1), generator=generator).numpy()
        rows = ids[start + np.arange(length + 1)].astype(np.int64)
        release(ids.base)
        return torch.from_numpy(rows)

    return batches


def _ids(text, tokenizer):
    if isinstance(text, os.PathLike):
        path, text = text, mapped(text)
        if text[:6] == b"\x93NUMPY":  # which begins no UTF-8 text
            text = _read_ids(text, path)
    if isinstance(text, torch.Tensor):
        text = text.numpy(force=True)
    if not isinstance(text, np.ndarray):
        return encode(tokenizer or Bytes(), text)
    _check_array(text, "text as ids")
    if tokenizer is not None:
        raise ValueError("text is ids already: leave tokenizer out")
    return text
