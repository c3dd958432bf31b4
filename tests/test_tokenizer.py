"""Any bytes come back, other people's ids, their files, special tokens, and bad input."""

import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import lab
from minilib.bpe import PATTERNS, merges_of
from minilib.naive import bpe as naive
from minilib.naive import tokenizer as definition
from minilib.tokenizer import Tokenizer

BYTES = [bytes([byte]) for byte in range(256)]
TEXT = (
    "The cat sat on the mat; the cat's hat, that's flat.\n\n"
    "  'Tis 1603, the 3rd act:\tthe théâtre is 満員 и полон.\r\n"
) * 3


# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def specials_beyond_the_size(text, vocab_size, *settings):
    more = len(settings[3]) if len(settings) > 3 else 0
    return definition.train(text, vocab_size + more, *settings)


def specials_before_the_merges(*arguments):
    learned = definition.train(*arguments)
    return learned | {"specials": {mark: 256 + k for k, mark in enumerate(learned["specials"])}}


def texts_glued(text, *settings):
    parts = [text] if isinstance(text, (str, bytes)) else text
    data = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return definition.train(data, *settings)


def merges_as_ids(*arguments):
    learned = definition.train(*arguments)
    index = learned["tokens"].index
    return learned | {"merges": [(index(left), index(right)) for left, right in learned["merges"]]}


def readable(text):
    """Bytes that are no UTF-8 as question marks: they do not come back."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def trained_on_question_marks(text, *settings):
    parts = [text] if isinstance(text, (str, bytes)) else text
    return definition.train([readable(part) for part in parts], *settings)


def question_marks_encoded(text, *arguments):
    return definition.encode(readable(text), *arguments)


def specials_everywhere(text, vocabulary, allowed=()):
    return definition.encode(text, vocabulary, "all")


def specials_nowhere(text, vocabulary, allowed=()):
    return definition.encode(text, vocabulary)


def ranks_for_ids(text, vocabulary, allowed=()):
    ids = range(len(vocabulary["tokens"]))
    return definition.encode(text, vocabulary | {"ids": ids}, allowed)


def always_by_rank(text, vocabulary, allowed=()):
    return definition.encode(text, vocabulary | {"merges": None}, allowed)


def never_whole(text, vocabulary, allowed=()):
    return definition.encode(text, vocabulary | {"whole": False}, allowed)


def encoded_with_parts(parts, *arguments):
    """The definition, with another way to find special tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(definition, "_parts", parts)
        return definition.encode(*arguments)


def first_listed_mark(*arguments):  # of two at one place, not the longer one
    def parts(text, marks):
        return re.split(f"({'|'.join(map(re.escape, marks))})", text) if marks else [text]

    return encoded_with_parts(parts, *arguments)


def longest_mark_anywhere(*arguments):  # though another one begins before it
    def parts(text, marks):
        found = [text]
        for mark in sorted(marks, key=len, reverse=True):
            cut = lambda part, mark=mark: re.split(f"({re.escape(mark)})", part)
            nested = [[part] if part in marks else cut(part) for part in found]
            found = [part for parts in nested for part in parts]
        return found

    return encoded_with_parts(parts, *arguments)


def ids_as_ranks(ids, vocabulary):
    known = dict(enumerate(vocabulary["tokens"]))
    known |= {i: mark.encode() for mark, i in vocabulary.get("specials", {}).items()}
    return b"".join(known.get(i, b"") for i in ids)


def specials_left_out(ids, vocabulary):
    marks = vocabulary.get("specials", {}).values()
    return definition.decode([i for i in ids if i not in marks], vocabulary)


def decoded_as_text(ids, vocabulary):
    return readable(definition.decode(ids, vocabulary)).encode()


WRONG = {
    definition.train: [
        specials_beyond_the_size,
        specials_before_the_merges,
        texts_glued,
        merges_as_ids,
        trained_on_question_marks,
    ],
    definition.encode: [
        question_marks_encoded,
        specials_everywhere,
        specials_nowhere,
        ranks_for_ids,
        always_by_rank,
        never_whole,
        first_listed_mark,
        longest_mark_anywhere,
    ],
    definition.decode: [ids_as_ranks, specials_left_out, decoded_as_text],
}


@pytest.fixture(scope="module")
def small():
    return Tokenizer.train(TEXT, 330, specials=("<|end of text|>", "<|end"))


@pytest.fixture(scope="module")
def gpt2():
    path = lab.data.vocabulary("gpt2")
    return Tokenizer.load(path, pattern="gpt2", specials={"<|endoftext|>": 50256})


@pytest.fixture(scope="module")
def tekken():
    return Tokenizer.load(lab.data.vocabulary("tekken"))


# -- properties ------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_round_trip(small, data):
    assert small.decode(small.encode(data)) == data
    for pattern in ("cl100k", "tekken", "[a-z]+"):
        tokenizer = Tokenizer(small.tokens, small.merges, pattern=pattern)
        assert tokenizer.decode(tokenizer.encode(data)) == data


def test_one_more_merge_only_joins():
    """A larger vocabulary of a text starts with the smaller one and never needs more tokens."""
    few, many = Tokenizer.train(TEXT, 280), Tokenizer.train(TEXT, 320)
    assert many.tokens[:280] == few.tokens
    assert len(many.encode(TEXT)) < len(few.encode(TEXT)) < len(TEXT.encode())


@pytest.mark.parametrize("text", ["", "a", "aa", "\0", "\0" * 5, "ab\0ab", "é" * 1000])
def test_texts_without_much_in_them(text):
    tokenizer = Tokenizer.train(text, 300)
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode()
    assert 256 <= tokenizer.vocab_size <= 300


@pytest.mark.parametrize("tie", ["smallest", "first"])
def test_the_order_of_the_text_decides_who_was_met_first(tie):
    """Stretches are counted before they are cut; the order of the pieces, and the ties, stay."""
    text = lab.data.plays()["hamlet"][:20_000].decode(errors="ignore")
    pieces = [piece.encode() for piece in naive.pretokenize(text, PATTERNS["gpt2"])]
    tokenizer = Tokenizer.train(text, 400, tie=tie)
    assert tokenizer.tokens == naive.vocabulary(naive.train(pieces, 144, tie))


def test_a_million_letters_double_and_double():
    text = "a" * 1_000_000
    tokenizer = Tokenizer.train(text, 270)
    assert tokenizer.tokens[256:] == [b"a" * 2**k for k in range(1, 15)]
    ids = tokenizer.encode(text)
    assert len(ids) == 61 + 2  # 1,000,000 = 61 * 2^14 + 512 + 64
    assert tokenizer.decode(ids) == text.encode()


def test_documents_have_ends():
    """The blanks at the end of a document are one piece, whatever comes next."""
    learned = lambda text: Tokenizer.train(text, 300).tokens[256:]
    assert learned(["a\n\n", b"b\n\n"]) == [b"\n\n"]
    assert learned("a\n\nb\n\n") == [b"\n\n"]
    assert learned("a\n\nb") == []


def test_what_is_cached_does_not_matter(small):
    fresh = Tokenizer(small.tokens, small.merges)
    assert fresh.encode(TEXT) == small.encode(TEXT) == fresh.encode(TEXT)


# -- other people's ids ----------------------------------------------------------------------------
# Computed with tiktoken 0.14.0 and tokenizers 0.23.3 (GPT-2) and mistral_common 1.13.1 (Tekken).
# Their Unicode tables are newer than Python 3.11's and agree with them on these texts, so the ids
# hold for every Python in between.

SHORT = {
    "hello world": ([31373, 995], [29706, 4304]),
    "00000000000000000": ([8269, 10535, 830], [1048] * 17),
    "café ½ 字 don't\r\n\n  x": (
        [66, 1878, 2634, 25208, 10263, 255, 245, 836, 470, 201, 628, 220, 2124],
        [3173, 1102, 1337, 1032, 28504, 1032, 18724, 2607, 2405, 1013, 1267, 1032, 2460],
    ),
    "'rer": ([821, 81], [1039, 10984]),
}


def digest(ids):
    return len(ids), hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]


def test_gpt2_as_tiktoken_and_tokenizers_encode(gpt2):
    assert gpt2.vocab_size == 50257
    assert gpt2.encode("!") == [0] and gpt2.encode(" ") == [220] and gpt2.encode("\n") == [198]
    assert gpt2.encode("hello <|endoftext|>", allowed="all") == [31373, 220, 50256]
    for text, (ids, _) in SHORT.items():
        assert gpt2.encode(text) == ids


def test_tekken_as_mistral_encodes(tekken):
    assert tekken.vocab_size == 131072 and tekken.pattern == PATTERNS["tekken"]
    for text, (_, ids) in SHORT.items():
        assert tekken.encode(text) == ids


def test_all_languages_of_the_interface(gpt2, tekken):
    texts = ["\n".join(strings.values()) for strings in lab.data.ui_strings().values()]
    assert len(texts) == 98
    known = {gpt2: (1242039, "06d09be71740c859"), tekken: (649867, "e2e7ff106a44e3df")}
    for tokenizer, want in known.items():
        ids = [tokenizer.encode(text) for text in texts]
        assert digest([i for some in ids for i in some]) == want
        for text, some in zip(texts, ids, strict=True):
            assert tokenizer.decode(some) == text.encode()


def test_every_merge_of_gpt2_follows_from_the_ranks(gpt2):
    assert merges_of(gpt2.tokens) == gpt2.merges and len(gpt2.merges) == 50_000


# -- special tokens --------------------------------------------------------------------------------

MARKS = ("<|end", "<|end of text|>")


def test_special_tokens_only_when_allowed(small):
    text, end, end_of_text = "a<|end of text|>b<|end", *map(small.specials.get, MARKS)
    ordinary, allowed = small.encode(text), small.encode(text, "all")
    assert max(ordinary) < end_of_text < end
    assert small.decode(ordinary) == small.decode(allowed) == text.encode()
    assert allowed == [*small.encode("a"), end_of_text, *small.encode("b"), end]
    some = small.encode(text, ["<|end"])
    assert some.count(end) == 2 and end_of_text not in some
    assert small.encode(text.encode(), "all") == small.encode(text, iter(MARKS)) == allowed


def test_of_two_special_tokens_the_longer_one(small):
    assert small.encode("<|end of text|>", "all") == [small.specials["<|end of text|>"]]
    assert small.encode("<|end of time", "all")[0] == small.specials["<|end"]


# -- files -----------------------------------------------------------------------------------------

SAMPLE = TEXT + "<|end of text|> Übung 字 \0 1234567"


@pytest.mark.parametrize(
    "pattern", ["gpt2", "cl100k", "tekken", '[^\\r\\n"\\\\é\u2028]+ ?|\\s|\\p{L}{2,}$']
)
@pytest.mark.parametrize("name", ["a.json", "a.tiktoken", "tekken.json"])
def test_save_and_load(tmp_path, name, pattern):
    tokens = Tokenizer.train(TEXT, 300, pattern=pattern).tokens
    specials, text = {"<s>": 0, "</s> and more": 1}, SAMPLE + "</s> and more"
    file, again = tmp_path / name, tmp_path / ("again-" + name)
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


def test_tekken_wants_special_tokens_first(small, tmp_path):
    with pytest.raises(ValueError, match="special tokens before all others"):
        small.save(tmp_path / "tekken.json")
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
        (lambda data: data["added_tokens"][0].update(lstrip=True), "added token '<s>'"),
    ],
)
def test_what_a_byte_level_tokenizer_cannot_do_is_refused(tmp_path, change, match):
    data = json.loads("\n".join(lines_of(tmp_path, "a.json")))
    change(data)
    refused(tmp_path, "a.json", [json.dumps(data)], match)


def test_damaged_merge_lists_are_refused_by_line(tmp_path):
    good = ["#version: 0.2", "Ġ t", "h e", "Ġt he"]
    (tmp_path / "vocab.bpe").write_text("\n".join(good) + "\n")
    assert Tokenizer.load(tmp_path / "vocab.bpe", pattern="gpt2").encode(" the") == [258]
    for bad in ("h", "h e", "", "Ġt hee", "h e x", "h 字"):
        refused(tmp_path, "vocab.bpe", [*good, bad, ""], "vocab.bpe: line 5: ")


def test_a_failing_save_leaves_the_old_file(small, tmp_path, monkeypatch):
    small.save(tmp_path / "a.json")
    before = (tmp_path / "a.json").read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("minilib.tokenizer.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        Tokenizer.train("other", 260).save(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments,match",
    [
        ({"tokens": BYTES[1:]}, "1 are missing, the first is 0x00"),
        ({"tokens": [*BYTES, b"ab", b"ab"]}, "tokens must differ"),
        ({"tokens": [*BYTES, b""]}, "not be empty"),
        ({"tokens": BYTES, "merges": [(b"a", b"b")]}, "merges must make a token"),
        ({"tokens": BYTES, "ids": range(255)}, "ids must rise"),
        ({"tokens": BYTES, "ids": [*range(255), 3]}, "ids must rise"),
        ({"tokens": BYTES, "specials": {"<s>": 255}}, "specials must have ids of their own"),
        ({"tokens": BYTES, "specials": {"": 256}}, "specials must not be empty"),
        ({"tokens": BYTES, "specials": {"\ud800": 256}}, "lone surrogate"),
        ({"tokens": BYTES, "pattern": "(a"}, "pattern must be a regular expression"),
        ({"tokens": BYTES, "pattern": r"\p{Klingon}"}, "pattern must use known classes"),
    ],
)
def test_contradictory_tokenizers_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        Tokenizer(**arguments)


def test_refusals(small, tmp_path):
    with pytest.raises(ValueError, match="lone surrogate '\\\\ud800' at 1; bytes may be anything"):
        small.encode("a\ud800")
    surrogate = b"\xed\xa0\x80"  # as bytes it may stand there
    assert small.decode(small.encode(surrogate)) == surrogate
    with pytest.raises(ValueError, match=r"ids must be ids of tokens, in \[0, \d+\), got 9999"):
        small.decode([1, 9999])
    with pytest.raises(ValueError, match=r"allowed must be 'all' or of \[.*\], got '<s>'"):
        small.encode("a", ["<s>"])
    with pytest.raises(ValueError, match="vocab_size must be at least 256 \\+ 1"):
        Tokenizer.train("a", 256, specials=["<s>"])
    with pytest.raises(ValueError, match="path must end in"):
        small.save(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="path must be a readable file"):
        Tokenizer.load(tmp_path / "nothing.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.json: .*decode"):
        Tokenizer.load(tmp_path / "a.json")


# -- in the package --------------------------------------------------------------------------------


def test_it_is_a_tokenizer_of_the_lab(small):
    from minilib.lstm import LSTM

    model = LSTM(small.vocab_size, 8)
    assert lab.bits_per_byte(model, TEXT.encode(), small) > 0
    assert lab.generate(model, "The ", 5, tokenizer=small).startswith(b"The ")
    assert lab.data.windows(TEXT.encode(), batch=2, length=8, tokenizer=small)(0).shape == (2, 9)
    assert small.decode(np.array(small.encode("The cat"))) == b"The cat"


def test_every_play_round_trips():
    plays = lab.data.plays()
    tokenizer = Tokenizer.train(b"".join(plays.values()), 1024)
    assert all(tokenizer.decode(tokenizer.encode(play)) == play for play in plays.values())
    assert len(re.findall(rb" thou| my| the", b"|".join(tokenizer.tokens))) > 3
