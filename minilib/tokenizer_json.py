"""Hugging Face's tokenizer.json, as far as it is byte-level BPE: read and written.

Whatever else a file asks for would change the ids, and is refused by its name.
"""

import json
import re

from minilib.pretokenizer import PATTERNS, from_hf, to_hf
from minilib.spelling import (
    at_line,
    check_ids,
    few,
    from_letters,
    line,
    regex,
    special_tokens,
    to_letters,
)

# HF's pre-tokenizer that writes bytes as letters; it may cut by GPT-2's pattern as well
_LETTERS_ONLY = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_GPT2_CUTS = _LETTERS_ONLY | {"use_regex": True}
_NO_CUTS = _LETTERS_ONLY | {"use_regex": False}

# what is read, or makes no difference where every byte is a token
_READ = {"version", "added_tokens", "pre_tokenizer", "model"}
_READ_OF_MODEL = {"type", "vocab", "merges", "ignore_merges", "unk_token", "fuse_unk"}
_INSTEAD = {
    "post_processor": "set it to null in the file, and add its tokens to the ids yourself",
    "truncation": "set it to null in the file, and cut the ids yourself",
    "padding": "set it to null in the file, and pad the ids yourself",
}


def read_tokenizer_json(text, data):
    """Merges may be pairs or, in older files, one string "left right".

    Added tokens become special tokens, also those that HF would find without being asked.
    """
    model = data["model"]
    for name in sorted(data.keys() - _READ):
        _refuse(name, not _does_nothing(name, data[name]) and data[name])
    _refuse("model.type", model["type"] != "BPE" and model["type"])
    for name in sorted(model.keys() - _READ_OF_MODEL):
        _refuse(f"model.{name}", model[name])
    added = data.get("added_tokens") or ()
    for token in added:
        odd = token.get("lstrip") or token.get("rstrip") or token.get("single_word")
        _refuse("an added token with blanks stripped or as single words", odd and token)
    specials = special_tokens((token["content"], token["id"]) for token in added)
    numbers = {}
    for letters, i in model["vocab"].items():
        if letters in specials:  # HF lists them here too
            other = i != specials[letters] and {letters: i}
            _refuse("an added token with another id in model.vocab", other)
        else:
            numbers[at_line(text, letters, from_letters)] = i
    check_ids(numbers.values())
    tokens = sorted(numbers, key=numbers.get)
    return {
        "tokens": tokens,
        "ids": [numbers[token] for token in tokens],
        "merges": [_merge(text, pair, numbers) for pair in model["merges"]],
        "pattern": _pattern(data["pre_tokenizer"]),
        "specials": specials,
        "whole": bool(model.get("ignore_merges")),
    }


def _refuse(what, found):
    if found:
        problem = f"which a byte-level Tokenizer does not do: {few(found)}"
        instead = f"; {_INSTEAD[what]}" if what in _INSTEAD else ""
        raise ValueError(f"this tokenizer.json has {what}, {problem}{instead}")


def _does_nothing(name, part):
    """Whether a part of the file, such as its normalizer, leaves texts and ids as they are."""
    if not part or not isinstance(part, dict):
        return not part
    if part.get("type") == "Sequence":
        return all(_does_nothing(name, each) for each in part[name.removeprefix("post_") + "s"])
    if part.get("type") == "TemplateProcessing":
        return all("Sequence" in piece for piece in part["single"])
    return name in ("decoder", "post_processor") and part.get("type") == "ByteLevel"


def _merge(text, pair, known):
    parts = pair.split(" ") if isinstance(pair, str) else pair
    spelled = tuple(map(from_letters, parts))
    if len(spelled) == 2 and {*spelled, b"".join(spelled)} <= known.keys():
        return spelled
    where = line(text, *([pair] if isinstance(pair, str) else pair), first=text.index("merges"))
    problem = f"merge {few(pair)} joins or makes a token that is not in the vocabulary"
    raise ValueError(f"line {where}: {problem}")


def _pattern(cuts):
    """The pattern of a pre-tokenizer: ByteLevel's own is GPT-2's, or one Split comes before it."""
    *before, last = cuts.get("pretokenizers") or [cuts]
    _refuse("a pre_tokenizer with several cuts after each other", len(before) > 1 and cuts)
    whole = last["type"] == "ByteLevel" and not last.get("add_prefix_space")
    _refuse("another pre_tokenizer than ByteLevel", not whole and cuts)
    by_itself = last.get("use_regex", True)
    if not before:
        _refuse("a pre_tokenizer without a pattern", not by_itself and cuts)
        return PATTERNS["gpt2"]
    split = before[0]
    plain = split["type"] == "Split" and split["behavior"] == "Isolated" and not by_itself
    _refuse("another pre_tokenizer than one isolating Split", not plain and cuts)
    pattern = split["pattern"]
    found = regex(pattern["Regex"] if "Regex" in pattern else re.escape(pattern["String"]))
    return from_hf(found)


def write_tokenizer_json(tokens, ids, pattern, specials, merges, whole):
    """Without merges, all spellings of all tokens take their place: they do what ranks do."""
    vocab = {to_letters(token): i for token, i in zip(tokens, ids, strict=True)}
    number = {**vocab, **specials}  # HF numbers added tokens anew unless they stand here too
    if len(set(number.values())) < len(tokens) + len(specials):
        problem = "special tokens with ids of their own, not spelled as other tokens are"
        raise ValueError(f"tokenizer.json wants {problem}, got {few(specials)}")
    vocab = {letters: number[letters] for letters in sorted(number, key=number.get)}
    merges = spellings(tokens) if merges is None else merges
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = []
    for mark in sorted(specials, key=specials.get):
        added.append({"id": specials[mark], "content": mark} | flags | {"special": True})
    split = {"type": "Split", "pattern": {"Regex": to_hf(pattern)}}
    split |= {"behavior": "Isolated", "invert": False}
    cuts = {"type": "Sequence", "pretokenizers": [split, _NO_CUTS]}
    model = {"type": "BPE", "dropout": None, "unk_token": None}
    model |= {"continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False}
    model |= {"byte_fallback": False, "ignore_merges": whole, "vocab": vocab}
    model["merges"] = [[to_letters(left), to_letters(right)] for left, right in merges]
    data = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    data |= {"normalizer": None}
    data |= {"pre_tokenizer": _GPT2_CUTS if pattern == PATTERNS["gpt2"] else cuts}
    data |= {"post_processor": None, "decoder": _GPT2_CUTS, "model": model}
    return json.dumps(data, ensure_ascii=False, indent=0)


def spellings(tokens):
    """Every way to join two tokens to one: merges that do what encoding by rank does."""
    known, pairs = set(tokens), []
    for token in tokens:
        for i in range(1, len(token)):
            if token[:i] in known and token[i:] in known:
                pairs.append((token[:i], token[i:]))
    return pairs
