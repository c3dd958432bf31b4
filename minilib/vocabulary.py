"""The files of vocabularies that people have: tiktoken's, GPT-2's, Mistral's and Hugging Face's.

A vocabulary is a dictionary, the arguments of minilib.tokenizer.Tokenizer; see
minilib/naive/tokenizer.py. Here are the doors and the short formats; minilib/tokenizer_json.py has
Hugging Face's. A reader takes the text of a file and returns a vocabulary; what is wrong is a
ValueError that names the line. A writer takes a whole vocabulary and returns the text.
"""

import contextlib
import json
import os
import pathlib
import re
import tempfile

from minilib.naive import bpe
from minilib.spelling import (
    check_ids,
    few,
    from_base64,
    from_letters,
    line,
    parse,
    regex,
    special_tokens,
    to_base64,
    to_letters,
)
from minilib.tokenizer_json import read_tokenizer_json, spellings, write_tokenizer_json

_DEMANDED = "this is not what its format demands"


@contextlib.contextmanager
def naming(path):
    """Whatever goes wrong with a file becomes a ValueError that begins with its name."""
    path = pathlib.Path(path)
    try:
        yield
    except OSError as error:
        found = f"got {str(path)!r}: {error.strerror}"
        raise ValueError(f"path must be a readable file, {found}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    except KeyError as error:
        problem = f"it lacks {few(error.args[0])}"
        raise ValueError(f"{path.name}: {_DEMANDED}: {problem}") from None
    except (TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"{path.name}: {_DEMANDED}: {few(str(error))}") from None


def read(path):
    """The vocabulary in a file of any of these formats; its text tells which, not its name.

    A rank file holds no pattern and no special tokens, and a list of merges no pattern.
    """
    path = pathlib.Path(path)
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith(("{", "[", '"')):
        data = parse(text)
        if isinstance(data, dict):
            if isinstance(data.get("model"), dict):
                return read_tokenizer_json(text, data)
            if isinstance(data.get("config"), dict):
                return read_tekken(text, data)
            if data and all(type(i) is int for i in data.values()):
                return _read_pair(path, data)
        raise ValueError("line 1: this is no tokenizer.json, tekken.json or vocab.json")
    if re.match(r"#version|\S \S$", text, re.MULTILINE):
        beside = _beside(path)
        if not beside.exists():
            return read_merges(text)
        merges = read_merges(text, twice=True)
        with naming(beside):
            return with_ids(merges, parse(beside.read_text(encoding="utf-8-sig")))
    return read_ranks(text)


def write(path, **vocabulary):
    """Write a vocabulary to a file, whole or not at all; the name says in which format."""
    path = pathlib.Path(path)
    if path.suffix == ".tiktoken":
        writer = write_ranks
    elif path.name == "tekken.json" or path.name.endswith(".tekken.json"):
        writer = write_tekken
    elif path.suffix == ".json":
        writer = write_tokenizer_json
    else:
        raise ValueError(f"path must end in .json or .tiktoken, got {path.name!r}")
    if writer != write_tokenizer_json and not _ranks_are_enough(**vocabulary):
        problem = "would keep ranks alone, and the merges do not follow from them"
        raise ValueError(f"{path.name} {problem}: save as tokenizer.json")
    write_text(path, writer(**vocabulary))


def write_text(path, text):
    """Write a file whole or not at all, and make its folder. Raises OSError, which names it."""
    real = pathlib.Path(os.path.realpath(path))  # a link stays one
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=real.parent, prefix=".") as folder:
            whole = pathlib.Path(folder) / "whole"
            whole.write_bytes(text.encode())
            os.replace(whole, real)
    except OSError as error:
        problem = f"{str(path)!r} cannot be written: {error.strerror or error}"
        raise type(error)(problem) from None


def _ranks_are_enough(tokens, merges, **_):
    try:
        if merges is None or merges == bpe.merges_of(tokens):
            return True
    except ValueError:  # these tokens do not come from merges at all
        pass
    return merges == spellings(tokens)


# -- tiktoken's ------------------------------------------------------------------------------------


def read_ranks(text):
    """tiktoken's rank file: on each line a token in base64, a blank, its id, by which it ranks.

    Whisper's have "=" for an empty token: an id for nothing, which no text has.
    """
    by_id, seen = {}, set()
    for number, entry in enumerate(text.rstrip().split("\n"), 1):
        try:
            token, _, i = entry.partition(" ")
            if not token or not re.fullmatch("[0-9]{1,10}", i):
                raise ValueError("a line must hold a token in base64, one blank and an id")
            token, i = b"" if token == "=" else from_base64(token), int(i)
            if i in by_id or token in seen:
                raise ValueError(f"token {few(token)} or id {i} stands there twice")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        by_id[i] = token
        seen.add(token)
    ids = sorted(by_id)
    return {"tokens": [by_id[i] for i in ids], "ids": ids}


def write_ranks(tokens, ids, **_):
    lines = [f"{to_base64(token) or '='} {i}\n" for token, i in zip(tokens, ids, strict=True)]
    return "".join(lines)


# -- GPT-2's ---------------------------------------------------------------------------------------


def read_merges(text, twice=False):
    """GPT-2's vocab.bpe, elsewhere merges.txt: a merge a line, after a line for the version or not.

    Its tokens are the bytes in the order of GPT-2's letters, and what the merges make.
    twice  let merges make a token that there is already
    """
    known, merges = dict.fromkeys(bytes([byte]) for byte in bpe.GPT2), []
    lines = text.rstrip().split("\n")
    start = lines[0].startswith("#version")
    for number, entry in enumerate(lines[start:], start + 1):
        try:
            left, right = map(from_letters, entry.split(" "))
            if left not in known or right not in known or (left + right in known and not twice):
                problem = "must join two tokens that are known to one that is not"
                raise ValueError(f"{few(entry)} {problem}")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        merges.append((left, right))
        known[left + right] = None
    return {"tokens": list(known), "merges": merges}


def with_ids(vocabulary, ids):
    """The vocabulary of a merges.txt with the ids of the vocab.json that belongs to it.

    Entries that no merge makes are special tokens.
    """
    made = {to_letters(token): token for token in vocabulary["tokens"]}
    lacking = [letters for letters in made if letters not in ids and len(letters) > 1]
    if lacking:
        raise ValueError(f"it must have ids for all that the merges make, it lacks {few(lacking)}")
    check_ids(ids.values())
    letters = sorted(made.keys() & ids.keys(), key=ids.get)
    specials = {mark: i for mark, i in ids.items() if mark not in made}
    tokens, numbers = [made[each] for each in letters], [ids[each] for each in letters]
    return vocabulary | {"tokens": tokens, "ids": numbers, "specials": specials}


def _read_pair(path, ids):
    """A vocab.json with the merges.txt that lies beside it."""
    beside = _beside(path)
    if not beside.exists():
        problem = "this vocab.json says nothing of merges"
        raise ValueError(f"line 1: {problem}: there must be a {beside.name} beside it")
    with naming(beside):
        merges = read_merges(beside.read_text(encoding="utf-8-sig"), twice=True)
    return with_ids(merges, ids)


def _beside(path):
    """vocab.json <-> merges.txt, encoder.json <-> vocab.bpe, also with a name before it."""
    for pair in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
        for end, other in (pair, pair[::-1]):
            if path.name.endswith(end):
                return path.with_name(path.name.removesuffix(end) + other)
    return path.with_name("merges.txt" if path.suffix == ".json" else "vocab.json")


# -- Mistral's -------------------------------------------------------------------------------------


def read_tekken(text, data):
    """Mistral's tekken.json: the ids of special tokens come first, so rank r has the id r + n.

    Entries beyond default_vocab_size are unused. A file may leave its special tokens to the
    program that reads it; what it says of images and sound is not read.
    """
    config, first = data["config"], data["config"]["default_num_special_tokens"]
    size = config["default_vocab_size"] - first
    tokens, seen = [], set()
    for rank, entry in enumerate(data["vocab"][:size]):
        spelled = entry["token_bytes"]
        try:
            token = from_base64(spelled)
            if entry["rank"] != rank or token in seen:
                problem = f"stands there twice or has rank {few(entry['rank'])} instead of {rank}"
                raise ValueError(f"token {few(token)} {problem}")
        except ValueError as error:
            raise ValueError(f"line {line(text, 'token_bytes', spelled)}: {error}") from None
        tokens.append(token)
        seen.add(token)
    if len(tokens) < size:
        raise ValueError(f"vocab must have {size} entries by its config, got {len(tokens)}")
    marks = ((entry["token_str"], entry["rank"]) for entry in data.get("special_tokens") or ())
    return {
        "tokens": tokens,
        "ids": [*range(first, first + len(tokens))],
        "pattern": regex(config["pattern"]),
        "specials": special_tokens(marks),
    }


def write_tekken(tokens, ids, pattern, specials, **_):
    first, in_order = ids[0], tokens[:256] == [bytes([byte]) for byte in range(256)]
    gaps = ids != [*range(first, first + len(ids))]
    late = sorted(specials.values()) != [*range(len(specials))] or len(specials) > first
    if gaps or late or not in_order:
        raise ValueError(
            "tekken.json wants ids without gaps, special tokens before all others, then the bytes "
            "in order: give their ids to the Tokenizer like that, or save as tokenizer.json"
        )
    config = {
        "pattern": pattern,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": first + len(tokens),
        "default_num_special_tokens": first,
        "version": "v3",
    }
    vocab = []
    for rank, token in enumerate(tokens):
        readable = token.decode(errors="replace")
        readable = readable if readable.encode() == token else None
        vocab.append({"rank": rank, "token_bytes": to_base64(token), "token_str": readable})
    marks = []
    for mark in sorted(specials, key=specials.get):
        marks.append({"rank": specials[mark], "token_str": mark, "is_control": True})
    data = {"config": config, "vocab": vocab}
    if specials or first < 20:
        data["special_tokens"] = marks  # else mistral_common puts 20 of its own there
    return json.dumps(data, ensure_ascii=False, indent=0)
