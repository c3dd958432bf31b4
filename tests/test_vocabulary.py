"""The files of vocabularies: what other libraries wrote and read, and what is refused."""

import copy
import json
import math
import random

import pytest

from minilib import lab
from minilib.bpe import merges_of
from minilib.naive import tokenizer as definition
from minilib.pretokenizer import PATTERNS
from minilib.spelling import to_base64, to_letters
from minilib.tokenizer import Tokenizer
from minilib.unigram import UnigramTokenizer
from minilib.word_tokenizer import WordTokenizer

BYTES = [bytes([byte]) for byte in range(256)]
TEXT = (
    "The cat sat on the mat; the cat's hat, that's flat.\n\n"
    "  'Tis 1603, the 3rd act:\tthe théâtre is 満員 и полон.\r\n"
) * 3


@pytest.fixture(scope="module")
def small():
    return Tokenizer.train(TEXT, 330, specials=("<|end of text|>", "<|end"))


SAMPLE = TEXT + "<|end of text|> Übung 字 \0 1234567"


def like(tokenizer, **changes):
    """The same tokenizer with other arguments."""
    names = ("tokens", "merges", "pattern", "specials", "ids", "whole")
    return Tokenizer(**{name: getattr(tokenizer, name) for name in names} | changes)


# -- written and read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern", ["gpt2", "cl100k", "tekken", '[^\\r\\n"\\\\é\u2028]+ ?|\\s|\\p{L}{2,}$']
)
@pytest.mark.parametrize("name", ["a.json", "a.tiktoken", "tekken.json"])
def test_save_and_load(tmp_path, name, pattern):
    tokens = Tokenizer.train(TEXT, 300, pattern=pattern).tokens
    specials, text = {"<s>": 0, "</s> and more": 1}, SAMPLE + "</s> and more"
    file, again = tmp_path / name, tmp_path / f"again.{name}"
    for merges in (None, merges_of(tokens)):
        tokenizer = Tokenizer(tokens, merges, pattern=pattern, specials=specials, ids=range(2, 302))
        tokenizer.save(file)
        given = {"pattern": pattern, "specials": specials} if name == "a.tiktoken" else {}
        loaded = Tokenizer.load(file, **given)
        assert loaded.pattern == PATTERNS.get(pattern, pattern)
        assert loaded.specials == specials and loaded.vocab_size == 302
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.encode(text, "all")[-1] == 1
        loaded.save(again)
        assert again.read_bytes() == file.read_bytes() or name == "a.json"
    assert {path.name for path in tmp_path.iterdir()} == {name, again.name}  # no temporary file


def test_merges_that_ranks_cannot_express_are_saved_with_their_merges_or_not_at_all(tmp_path):
    planted = Tokenizer([*BYTES, b"bc", b"ab", b"abc"], [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")])
    by_rank = Tokenizer(planted.tokens)
    assert len(planted.encode("abc")) == 2 and len(by_rank.encode("abc")) == 1
    planted.save(tmp_path / "a.json")
    assert Tokenizer.load(tmp_path / "a.json").encode("cabc") == planted.encode("cabc")
    for name in ("a.tiktoken", "tekken.json"):
        with pytest.raises(ValueError, match="the merges do not follow from them"):
            planted.save(tmp_path / name)
    whole = Tokenizer(planted.tokens, planted.merges, whole=True)  # HF's ignore_merges
    assert len(whole.encode("abc")) == 1 and len(whole.encode("cabc")) == 3
    whole.save(tmp_path / "a.json")
    assert Tokenizer.load(tmp_path / "a.json").encode("abc") == [258]


def test_tekken_wants_special_tokens_first_and_bytes_in_order(small, tmp_path):
    with pytest.raises(ValueError, match="special tokens before all others"):
        small.save(tmp_path / "tekken.json")
    with pytest.raises(ValueError, match="then the bytes in order"):
        Tokenizer([*BYTES[1:], BYTES[0]]).save(tmp_path / "tekken.json")
    small.save(tmp_path / "other.json")
    assert Tokenizer.load(tmp_path / "other.json").specials == small.specials


def test_older_tokenizer_json_with_merges_as_strings(small, tmp_path):
    small.save(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    # HF lists added tokens in the vocabulary too
    data["model"]["vocab"]["<|end"] = small.specials["<|end"]
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert Tokenizer.load(tmp_path / "a.json").encode(SAMPLE, "all") == small.encode(SAMPLE, "all")


@pytest.mark.parametrize("pair", ["h", "h e x", ["h"], ["h", "e", "x"]])
def test_a_merge_of_other_than_two_tokens_is_refused(small, tmp_path, pair):
    small.save(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    data["model"]["merges"][3] = pair
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"line 1: merge .* is not in the vocabulary"):
        Tokenizer.load(tmp_path / "a.json")


def lines_of(tmp_path, name):
    """A good file's lines."""
    tokens = Tokenizer.train(TEXT, 270).tokens
    tokenizer = Tokenizer(tokens, merges_of(tokens), specials={"<s>": 0}, ids=range(1, 271))
    tokenizer.save(tmp_path / name)
    return (tmp_path / name).read_text().splitlines()


def refused(tmp_path, name, lines, match):
    (tmp_path / name).write_text("\n".join(lines))
    with pytest.raises(ValueError, match=match):
        Tokenizer.load(tmp_path / name, pattern="gpt2")


def test_damaged_rank_files_are_refused_by_line(tmp_path):
    name = "a.tiktoken"
    lines = lines_of(tmp_path, name)
    wrong = ["", "IQ==", "IQ== x", "I!== 300", "IQ==  300", " 300", "IQ== 300 1"]
    twice = [lines[3].split()[0] + " 400", "eHh4eHh4 4"]
    for bad in wrong + twice:
        refused(tmp_path, name, [*lines[:260], bad, *lines[261:]], f"{name}: line 261: ")
    refused(tmp_path, name, [*lines[:-1], lines[-1][:-3]], "line 270: ")  # truncated
    missing = "tokens must hold every single byte, 56 are missing, the first is 0xc8"
    refused(tmp_path, name, lines[:200], missing)
    lines_of(tmp_path, name)
    with pytest.raises(ValueError, match="holds no pattern"):
        Tokenizer.load(tmp_path / name)


def test_by_ranks_in_one_format_is_by_ranks_in_the_others(tmp_path):
    by_rank = Tokenizer(Tokenizer.train(TEXT, 300).tokens)
    for name in ("a.tiktoken", "a.json", "tekken.json"):
        by_rank.save(tmp_path / name)
        Tokenizer.load(tmp_path / name, pattern="gpt2").save(tmp_path / "again.tiktoken")
        assert (tmp_path / "again.tiktoken").read_bytes() == (tmp_path / "a.tiktoken").read_bytes()


@pytest.mark.parametrize("name", ["a.json", "tekken.json"])
def test_damaged_json_is_refused_by_line(tmp_path, name):
    lines = lines_of(tmp_path, name)
    refused(tmp_path, name, lines[:40], f"{name}: line \\d+: .*is the file whole")
    refused(tmp_path, name, [*lines[:30], "?", *lines[30:]], f"{name}: line 31: ")
    refused(tmp_path, name, ["{}"], f"{name}: line 1: this is no t")


def test_damaged_tekken_entries_are_refused_by_line(tmp_path):
    lines = lines_of(tmp_path, "tekken.json")
    at = next(i for i, line in enumerate(lines) if '"token_bytes": "IQ=="' in line)
    problems = {"IA==": "token b' ' stands there twice", "I=Q=": "'I=Q=' is no base64"}
    for spelled, problem in problems.items():
        bad = [*lines[:at], lines[at].replace("IQ==", spelled), *lines[at + 1 :]]
        refused(tmp_path, "tekken.json", bad, f"line {at + 1}: {problem}")


def test_damaged_tokenizer_json_entries_are_refused_by_line(tmp_path):
    lines = lines_of(tmp_path, "a.json")
    at = next(i for i, line in enumerate(lines) if line.startswith('"A": '))
    twice = [*lines[:at], lines[at], *lines[at:]]
    refused(tmp_path, "a.json", twice, f"line {at + 2}: 'A' stands there twice")
    strange = [*lines[:at], lines[at].replace('"A"', '"A字"'), *lines[at + 1 :]]
    refused(tmp_path, "a.json", strange, f"line {at + 1}: character '字' stands for no byte")
    merge = lines.index('"merges": [') + 2
    unknown = [*lines[:merge], '"zzz",', *lines[merge + 1 :]]
    refused(tmp_path, "a.json", unknown, f"line {merge + 1}: merge .* is not in the vocabulary")


@pytest.mark.parametrize(
    "change,match",
    [
        (lambda data: data["model"].update(type="Unigram"), "model.type"),
        (lambda data: data["model"].update(byte_fallback=True), "byte_fallback"),
        (lambda data: data.update(normalizer={"type": "NFC"}), "normalizer"),
        (lambda data: data["pre_tokenizer"].update(add_prefix_space=True), "pre_tokenizer"),
        (lambda data: data.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer"),
        (
            lambda data: data["added_tokens"][0].update(lstrip=True),
            "added token with blanks stripped .*'<s>'",
        ),
    ],
)
def test_what_a_byte_level_tokenizer_cannot_do_is_refused(tmp_path, change, match):
    data = json.loads("\n".join(lines_of(tmp_path, "a.json")))
    change(data)
    refused(tmp_path, "a.json", [json.dumps(data)], match)


def test_damaged_merge_lists_are_refused_by_line(tmp_path):
    good = ["#version: 0.2", "Ġ t", "h e", "Ġt he"]  # the version may be missing, as in CS336's
    refused(tmp_path, "vocab.bpe", [*good[1:], "h e"], "vocab.bpe: line 4: ")
    (tmp_path / "vocab.bpe").write_text("\n".join(good) + "\n")
    assert Tokenizer.load(tmp_path / "vocab.bpe", pattern="gpt2").encode(" the") == [258]
    for bad in ("h", "h e", "", "Ġt hee", "h e x", "h 字"):
        refused(tmp_path, "vocab.bpe", [*good, bad, "c a"], "vocab.bpe: line 5: ")


def test_saving_makes_folders_and_keeps_links(small, tmp_path):
    file = tmp_path / "a" / "b" / "a.json"
    small.save(file)
    (tmp_path / "link.json").symlink_to(file)
    small.save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink() and not file.is_symlink()
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OSError, match=r"folder.json' cannot be written: .+"):
        small.save(tmp_path / "folder.json")
    with pytest.raises(OSError, match=r"link.json/c.json' cannot be written: .+"):
        small.save(tmp_path / "link.json" / "c.json")
    assert len(list(tmp_path.rglob("*"))) == 5  # nothing is left behind


def test_the_name_of_a_file_decides_how_it_is_written_and_not_how_it_is_read(tmp_path):
    tokenizer = Tokenizer.train(TEXT, 300, pattern="tekken")
    for name in ("tekken.json", "my.tekken.json", "tekken-3000.json", "a.json"):
        tokenizer.save(tmp_path / name)
        kind = "config" if name.endswith("tekken.json") else "model"
        assert kind in json.loads((tmp_path / name).read_text())
        other = (tmp_path / name).rename(tmp_path / "other name")
        assert Tokenizer.load(other).encode(SAMPLE) == tokenizer.encode(SAMPLE)


# -- the files of people's models ------------------------------------------------------------------


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_list_of_merges_takes_its_ids_from_the_vocab_json_beside_it(small, tmp_path):
    """RoBERTa's way: <s>, <pad>, </s> come first, and no merge makes them."""
    merges = [" ".join(map(to_letters, pair)) for pair in small.merges]
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 400}
    ids |= {to_letters(token): 3 + i for i, token in enumerate(reversed(small.tokens))}
    for start, (first, second) in {
        "": ("vocab.json", "merges.txt"),
        "small-": ("vocab.json", "merges.txt"),
        "small_": ("encoder.json", "vocab.bpe"),
    }.items():
        (tmp_path / (start + first)).write_text(json.dumps(ids))
        write(tmp_path / (start + second), ["#version: 0.2", *merges])
        for name in (first, second):
            loaded = Tokenizer.load(tmp_path / (start + name), pattern="gpt2")
            assert loaded.specials == {"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 400}
            numbers = [ids[to_letters(small.decode([i]))] for i in small.encode(SAMPLE)]
            assert loaded.encode(SAMPLE) == numbers and loaded.encode("</s>", "all") == [2]
    (tmp_path / "vocab.json").unlink()  # without it: in GPT-2's order
    assert Tokenizer.load(tmp_path / "merges.txt", pattern="gpt2").encode("!") == [0]


def test_a_vocab_json_without_its_merges_is_refused_and_so_is_one_of_other_merges(tmp_path):
    encoder = lab.data.vocabulary("gpt2").with_name("encoder.json")
    assert Tokenizer.load(encoder, pattern="gpt2").specials == {"<|endoftext|>": 50256}
    (tmp_path / "vocab.json").write_bytes(encoder.read_bytes())
    with pytest.raises(ValueError, match=r"vocab.json: line 1: .* be a merges.txt beside it"):
        Tokenizer.load(tmp_path / "vocab.json", pattern="gpt2")
    few = {letters: i for i, letters in enumerate([*map(to_letters, BYTES), "Ġt"])}
    (tmp_path / "vocab.json").write_text(json.dumps(few))
    write(tmp_path / "merges.txt", ["Ġ t", "Ġt Ġ"])
    with pytest.raises(ValueError, match=r"vocab.json: .* merges make, it lacks \['ĠtĠ'\]"):
        Tokenizer.load(tmp_path / "vocab.json", pattern="gpt2")
    with pytest.raises(ValueError, match=r"merges.txt: vocab.json: .* it lacks \['ĠtĠ'\]"):
        Tokenizer.load(tmp_path / "merges.txt", pattern="gpt2")
    write(tmp_path / "merges.txt", ["Ġ t", "Ġt"])
    with pytest.raises(ValueError, match=r"vocab.json: merges.txt: line 2: "):
        Tokenizer.load(tmp_path / "vocab.json", pattern="gpt2")


def test_two_merges_may_make_one_token_where_a_vocab_json_gives_its_id(tmp_path):
    """HF's trainer learns such: "abc" is "ab" and "c" in one word, "a" and "bc" in another."""
    merges = ["a b", "b c", "ab c", "a bc"]
    tokens = [*map(to_letters, BYTES), "ab", "bc", "abc"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    write(tmp_path / "merges.txt", merges)
    for name in ("vocab.json", "merges.txt"):
        assert Tokenizer.load(tmp_path / name, pattern="gpt2").encode("abc") == [258]
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(ValueError, match=r"merges.txt: line 4: 'a bc' must join .* that is not"):
        Tokenizer.load(tmp_path / "merges.txt", pattern="gpt2")


def test_an_id_for_nothing_as_in_the_rank_file_of_whisper(tmp_path):
    lines = [f"{to_base64(token)} {i}" for i, token in enumerate([*BYTES, b"he"])] + ["= 257"]
    file = write(tmp_path / "a.tiktoken", lines)
    tokenizer = Tokenizer.load(file, pattern="gpt2", specials={"<|endoftext|>": 258})
    assert tokenizer.vocab_size == 259 and tokenizer.encode("he") == [256]
    assert tokenizer.decode([256, 257, 258]) == b"he<|endoftext|>"
    for name in ("b.tiktoken", "b.json"):
        tokenizer.save(tmp_path / name)
        again = Tokenizer.load(tmp_path / name, pattern="gpt2")
        assert again.decode([257, 256]) == b"he" and again.encode("he") == [256]
    assert (tmp_path / "b.tiktoken").read_bytes() == file.read_bytes()


def test_two_special_tokens_with_one_id_as_in_o200k_harmony(tmp_path):
    marks = {"<|endofprompt|>": 256, "<|reserved_256|>": 256}
    tokenizer = Tokenizer(BYTES, specials=marks)
    assert tokenizer.encode("".join(marks), "all") == [256, 256]
    assert tokenizer.decode([256]) == b"<|endofprompt|>" and tokenizer.vocab_size == 257
    assert definition.decode([256], {"tokens": BYTES, "specials": marks}) == b"<|endofprompt|>"
    for name in ("a.json", "tekken.json"):  # others would give the second text another id
        with pytest.raises(ValueError, match="json wants"):
            tokenizer.save(tmp_path / name)


@pytest.mark.parametrize("name", ["a.json", "tekken.json", "a.tiktoken", "vocab.bpe"])
def test_byte_order_marks_line_ends_and_blank_last_lines(tmp_path, name):
    if name == "vocab.bpe":
        lines = ["#version: 0.2", "Ġ t", "h e", "Ġt he"]
        write(tmp_path / name, lines)
    else:
        lines = lines_of(tmp_path, name)
    want = Tokenizer.load(tmp_path / name, pattern="gpt2").encode(SAMPLE)
    for end in ("\n", "\r\n"):
        for start in ("", "\ufeff"):
            content = start + end.join([*lines, "", "", ""])
            (tmp_path / name).write_bytes(content.encode())
            assert Tokenizer.load(tmp_path / name, pattern="gpt2").encode(SAMPLE) == want


# -- what a tokenizer.json asks for ----------------------------------------------------------------

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
MARK = "<|end of text|>"
TEXT_ALONE = [{"Sequence": {"id": "A", "type_id": 0}}]
BOS = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, *TEXT_ALONE]
SPLIT = {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False}
NO_CUTS = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


@pytest.mark.parametrize(
    "change",
    [
        {"post_processor": BYTE_LEVEL},
        {"post_processor": {"type": "TemplateProcessing", "single": TEXT_ALONE, "pair": []}},
        {"post_processor": sequence("processors", BYTE_LEVEL)},
        {"normalizer": sequence("normalizers")},
        {"decoder": None},
        {"decoder": sequence("decoders", BYTE_LEVEL)},
        {"pre_tokenizer": sequence("pretokenizers", BYTE_LEVEL | {"add_prefix_space": False})},
        {"model": {"dropout": 0.0, "unk_token": "<s>", "continuing_subword_prefix": ""}},
    ],
)
def test_what_changes_no_ids_is_read(small, tmp_path, change):
    small.save(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    change = change | {"model": data["model"] | change.get("model", {})}
    (tmp_path / "a.json").write_text(json.dumps(data | change))
    assert Tokenizer.load(tmp_path / "a.json").encode(SAMPLE, "all") == small.encode(SAMPLE, "all")


@pytest.mark.parametrize(
    "change,match",
    [
        (
            {"post_processor": {"type": "TemplateProcessing", "single": BOS, "pair": []}},
            "has post_processor, .*'TemplateProcessing'.* add its tokens to the ids yourself",
        ),
        (
            {"post_processor": sequence("processors", BYTE_LEVEL, {"type": "RobertaProcessing"})},
            "has post_processor, .*'RobertaProcessing'",
        ),
        ({"post_processor": {"type": "BertProcessing"}}, "has post_processor, .*'BertProcessing'"),
        ({"truncation": {"max_length": 8}}, "has truncation, .* cut the ids yourself"),
        ({"padding": {"pad_id": 0}}, "has padding, .* pad the ids yourself"),
        ({"normalizer": sequence("normalizers", {"type": "NFKC"})}, "has normalizer, .*'NFKC'"),
        ({"normalizer": {"type": "ByteLevel"}}, "has normalizer"),
        ({"decoder": {"type": "Metaspace"}}, "has decoder, .*'Metaspace'"),
        ({"wishes": ["many"]}, "has wishes, .*'many'"),
        ({"model": {"dropout": 0.1}}, "has model.dropout, .*0.1"),
        ({"model": {"wishes": ["many"]}}, "has model.wishes, .*'many'"),
        ({"added_tokens": [{"id": 7, "content": MARK}]}, "has an added token with another id"),
        (
            {"pre_tokenizer": sequence("pretokenizers", SPLIT, SPLIT, NO_CUTS)},  # as DeepSeek's
            "has a pre_tokenizer with several cuts after each other",
        ),
        ({"pre_tokenizer": NO_CUTS}, "has a pre_tokenizer without a pattern"),
        (
            {"pre_tokenizer": sequence("pretokenizers", SPLIT, {**NO_CUTS, "use_regex": True})},
            "has another pre_tokenizer than one isolating Split, .*'ByteLevel', 'use_regex': True",
        ),
        (
            {"pre_tokenizer": sequence("pretokenizers", {**SPLIT, "behavior": "Removed"}, NO_CUTS)},
            "has another pre_tokenizer than one isolating Split, .*'Removed'",
        ),
    ],
)
def test_what_would_change_ids_is_refused_by_name(small, tmp_path, change, match):
    small.save(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    change = change | {"model": data["model"] | change.get("model", {})}
    refused(tmp_path, "a.json", [json.dumps(data | change)], f"a.json: this tokenizer.json {match}")


@pytest.mark.parametrize(
    "pattern,pieces",
    [
        ({"Regex": "gpt2"}, ["a ", "gpt2", "; b ", "gpt2", " c"]),  # not the pattern of that name
        ({"String": "gpt2"}, ["a ", "gpt2", "; b ", "gpt2", " c"]),
        ({"String": "; b "}, ["a gpt2", "; b ", "gpt2 c"]),
        ({"String": "."}, ["a gpt2; b gpt2 c"]),
    ],
)
def test_a_split_by_a_word(tmp_path, pattern, pieces):
    text = "a gpt2; b gpt2 c"
    everything = Tokenizer.train([text], 400, pattern=r"[\s\S]+")
    everything.save(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    split = SPLIT | {"pattern": pattern, "invert": True}  # all is kept, whatever counts as a match
    data["pre_tokenizer"] = sequence("pretokenizers", split, NO_CUTS)
    (tmp_path / "a.json").write_text(json.dumps(data))
    loaded, want = Tokenizer.load(tmp_path / "a.json"), []
    for piece in pieces:
        want += everything.encode(piece)
    assert loaded.encode(text) == want
    loaded.save(tmp_path / "b.json")
    assert Tokenizer.load(tmp_path / "b.json").encode(text) == want


# -- what is no vocabulary -------------------------------------------------------------------------

IDS = [257.5, math.nan, math.inf, 10**30, 2**31, -1, True, None, "7", [7], {}]
shown = pytest.mark.parametrize("i", IDS, ids=lambda i: f"{i!r:.9}")


@shown
@pytest.mark.parametrize("name", ["a.json", "tekken.json"])
def test_ids_that_are_no_integers_are_refused(tmp_path, name, i):
    data = json.loads("\n".join(lines_of(tmp_path, name)))
    if name == "a.json":
        right = data["model"]["vocab"]["A"]
        data["model"]["vocab"]["A"] = i
        refused(tmp_path, name, [json.dumps(data)], f"^{name}: ids must be integers in")
        data["model"]["vocab"]["A"] = right
        data["added_tokens"][0]["id"] = i
        del data["model"]["vocab"]["<s>"]
        refused(tmp_path, name, [json.dumps(data)], f"^{name}: ids must be integers in")
    else:
        data["special_tokens"][0]["rank"] = i
        refused(tmp_path, name, [json.dumps(data)], "^tekken.json: ids must be integers in")


@pytest.mark.parametrize("name", ["a.json", "tekken.json"])
def test_a_special_token_that_stands_there_twice_is_refused(tmp_path, name):
    data = json.loads("\n".join(lines_of(tmp_path, name)))
    marks = data["added_tokens" if name == "a.json" else "special_tokens"]
    marks.append(marks[0] | {"id": 500, "rank": 500})
    refused(tmp_path, name, [json.dumps(data)], f"{name}: special tokens must be .*got '<s>'")


def test_a_tekken_json_with_fewer_tokens_than_it_says_is_refused(tmp_path):
    data = json.loads("\n".join(lines_of(tmp_path, "tekken.json")))
    del data["vocab"][-3:]
    match = "tekken.json: vocab must have 270 entries by its config, got 267"
    refused(tmp_path, "tekken.json", [json.dumps(data)], match)


@pytest.mark.parametrize(
    "content,match",
    [
        ("", "line 1: a line must hold a token in base64, one blank and an id"),
        ("[1, 2]", "line 1: this is no tokenizer.json, tekken.json or vocab.json"),
        ("{}", "line 1: this is no tokenizer.json, tekken.json or vocab.json"),
        ('{"model": "BPE"}', "line 1: this is no tokenizer.json, tekken.json or vocab.json"),
        ('{"model": {}}', "lacks 'type'"),
        ('{"config": {}}', "lacks 'default_num_special_tokens'"),
        ('{"a": 0, "a": 1}', "line 1: 'a' stands there twice"),
        ("5", "line 1: a line must hold a token in base64, one blank and an id"),
        ("null", "line 1: a line must hold"),
        ("\x1f\x8b\x08", "line 1: a line must hold"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "Exceeds the limit"),
    ],
    ids=lambda value: f"{value:.12}",
)
def test_a_file_of_something_else_is_refused(tmp_path, content, match):
    refused(tmp_path, "some.file", [content], f"some.file: .*{match}")


@pytest.mark.parametrize("pattern", [5, None, ["a"], {"a": 1}, "(a", "[" * 2000])
@pytest.mark.parametrize("name", ["a.json", "tekken.json"])
def test_a_pattern_that_is_none_is_refused(tmp_path, name, pattern):
    data = json.loads("\n".join(lines_of(tmp_path, name)))
    if name == "a.json":
        split = SPLIT | {"pattern": {"Regex": pattern}}
        data["pre_tokenizer"] = sequence("pretokenizers", split, NO_CUTS)
    else:
        data["config"]["pattern"] = pattern
    (tmp_path / name).write_text(json.dumps(data))
    with pytest.raises(ValueError, match=f"^{name}: pattern must"):
        Tokenizer.load(tmp_path / name)


def test_a_message_shows_three_items_of_many(tmp_path):
    marks = {f"<|{i}|>": 255 for i in range(1091)}
    with pytest.raises(ValueError, match=r"got \{'<\|0\|>': 255, .*, \.\.\.\}$") as error:
        Tokenizer(BYTES, specials=marks)
    assert len(str(error.value)) < 150
    with pytest.raises(ValueError, match="json wants special tokens with ids") as error:
        Tokenizer(BYTES, specials={mark: 256 for mark in marks}).save(tmp_path / "a.json")
    assert len(str(error.value)) < 250


WRONG = [None, True, -1, 1.5, math.nan, 10**30, "", "x", "\ud800", [], [1], {}, {"a": 1}, "(", 0]


def mutated(data, rng):
    """JSON with one part at random left out, doubled or replaced by something else."""
    data = copy.deepcopy(data)
    inner, deep = data, rng.randrange(1, 5)
    while isinstance(inner, (dict, list)) and inner and deep:
        place, deep = inner, deep - 1
        key = rng.choice([*inner] if isinstance(inner, dict) else range(len(inner)))
        inner = place[key]
    kind = rng.randrange(4)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, list):
        place.append(copy.deepcopy(inner))
    else:
        place[key] = copy.deepcopy(rng.choice(WRONG))
    return data


def damaged(content, rng):
    """Bytes with some in the middle left out, changed or doubled, or the end missing."""
    a, b = sorted(rng.sample(range(len(content)), 2))
    b = rng.choice([b, min(b, a + 2)])
    middle = rng.choice([b"", bytes([rng.randrange(256)]), content[a:b] * 2])
    return content[:a] + middle + rng.choice([content[b:], b""])


@pytest.mark.parametrize("name", ["a.json", "tekken.json", "a.tiktoken", "vocab.json", "vocab.bpe"])
def test_a_damaged_file_is_refused_by_its_name_or_makes_a_sound_tokenizer(tmp_path, name):
    """100 of each: half of them with a part of the JSON replaced, half with bytes gone wrong."""
    rng, refusals = random.Random(name), 0
    if name.startswith("vocab"):
        tokens = [*map(to_letters, BYTES), "Ġt", "he", "Ġthe", "<s>"]
        good = json.dumps({token: i for i, token in enumerate(tokens)})
        write(tmp_path / "merges.txt", ["Ġ t", "h e", "Ġt he"])
        good = good if name == "vocab.json" else (tmp_path / "merges.txt").read_text()
    else:
        good = "\n".join(lines_of(tmp_path, name))
    for k in range(100):
        if k % 2 and name.endswith("json"):
            content = json.dumps(mutated(json.loads(good), rng)).encode()
        else:
            content = damaged(good.encode(), rng)
        (tmp_path / name).write_bytes(content)
        try:
            tokenizer = Tokenizer.load(tmp_path / name, pattern=rng.choice([None, "gpt2"]))
            ids = tokenizer.encode(SAMPLE, "all")
            assert tokenizer.decode(ids) == SAMPLE.encode()
            tokenizer.save(tmp_path / "again.json")
        except ValueError as error:
            assert str(error).startswith((f"{name}: ", "tokenizer.json wants")), error
            assert len(str(error)) < 500
            refusals += 1
        else:
            assert Tokenizer.load(tmp_path / "again.json").encode(SAMPLE, "all") == ids
    assert 25 < refusals < 100


@pytest.mark.parametrize("kind", [Tokenizer, UnigramTokenizer, WordTokenizer])
def test_a_failing_save_leaves_the_old_file(kind, tmp_path, monkeypatch):
    kind.train("the cat, the cat", 270).save(tmp_path / "a.json")
    before = (tmp_path / "a.json").read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("minilib.vocabulary.os.replace", full)
    with pytest.raises(OSError, match=r"a.json' cannot be written: disk full"):
        kind.train("other", 260).save(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_refusals(small, tmp_path):
    with pytest.raises(ValueError, match="path must end in"):
        small.save(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="path must be a readable file"):
        Tokenizer.load(tmp_path / "nothing.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.json: .*decode"):
        Tokenizer.load(tmp_path / "a.json")
