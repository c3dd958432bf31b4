"""Tokenizers beside other libraries, each test where its library is installed.

pip install tiktoken tokenizers regex rustbpe mistral-common
"""

import json
import pathlib
import random
import re
import sys

import pytest

from minilib import lab
from minilib.cases import pretokenizer as cases
from minilib.naive import _unicode
from minilib.naive import pretokenizer as naive
from minilib.naive.bpe import GPT2
from minilib.pretokenizer import PATTERNS, from_hf, pretokenize, to_hf
from minilib.spelling import from_letters
from minilib.tokenizer import Tokenizer

# -- pretokenizer ----------------------------------------------------------------------------------

OWN_PATTERNS = [
    *(pattern for pattern, _ in cases._PARTS),
    r"\w+|[^\w\s]+",
    r"\w+|[^\w\s]",
    r"[^\W\d_]+|\d+",
    r"\b\w+\b",
    r"\B.",
    r"\p{L}+|\p{M}+|\p{N}|\p{P}|\p{S}",
    r"\pL+|\pN+|\PL",
    r"[\p{L}\p{M}]+| ?[^\s\p{L}\p{M}]+",
    r"[\p{Lu}\p{Lt}]?[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"\p{^L}+|\P{^Nd}",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\S",
    r"(?i:[k-s]+)|\d+|\D",
    r" ?\p{L}++| ?\p{N}{1,3}+|\s++$|\s+(?!\S)|\s",
    r"(?>\s+)|(?<=\s)\S+|(?<!\S)\S|\S",
    r"^\s*\S|\S\s*$|\s+",
    r"[!-/:-@\[-`{-~]+",
    r"\x{4e00}|[\x{4e00}-\x{9fff}]+|[\u0900-\u097F]+",
    r"\s|\S",
    r"[\s\S]{3}",
]
TEXTS = [
    "It's  DON'T we'LL I'ſ 12345, x²½Ⅷ;\n/y helloWorld\t\tz \n \n  ",
    "हिन्दी में लिखा हुआ पाठ १२३।",
    "ภาษาไทยนี้ก็ดี ๑๒๓",
    "தமிழ் மொழி க்ஷ",
    "العَرَبِيَّةُ لُغَةٌ ٣٤، نمی\u200cخواهم",
    "שָׁלוֹם עוֹלָם cafe\u0301 A\u030angstro\u0308m",
    "日本語、한국어 中文。ㅋㅋ",
    "\U00010400\U0001d7d8 \U0001f600\u200d\U0001f5a4 \U0002ebf0a\u1c89 \U000105d2",
    "Ⓐ ⓩ 🄰 ªº¹ İıIi ßſK ﬀﬆ ǅ ʰ ‿_",
    "\x00\x1c\x1d\x85\xa0\u1680\u2028\u3000 \r\n\r\n\t\x0b\x0c.",
    "a]b[c-d^e{1}f`~&&||--x\\y",
]


def pieces_of(matches, text):
    """The pieces, from the (start, end) of a pattern's matches."""
    pieces, last = [], 0
    for start, end in matches:
        if start < end:
            pieces += [text[last:start], text[start:end]]
            last = end
    return [piece for piece in (*pieces, text[last:]) if piece]


def by_regex(text, pattern):
    regex = pytest.importorskip("regex")
    pattern = re.sub(r"\\x\{(\w+)\}", lambda found: rf"\U{int(found[1], 16):08x}", pattern)
    return pieces_of([match.span() for match in regex.finditer(pattern, text)], text)


def by_tiktoken(text, pattern):
    """It tells no pieces, so all that could be one is a token. It drops what lies between."""
    tiktoken = pytest.importorskip("tiktoken")
    size = len(text)
    parts = {text[i:j].encode() for i in range(size) for j in range(i + 1, size + 1)}
    tokens = [bytes([byte]) for byte in range(256)] + [part for part in parts if len(part) > 1]
    ranks = {token: k for k, token in enumerate(tokens)}
    how = {"pat_str": pattern, "mergeable_ranks": ranks, "special_tokens": {}}
    ids = tiktoken.Encoding("all parts", **how).encode_ordinary(text)
    return [tokens[i].decode() for i in ids]


def by_hf(text, pattern):
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    return [piece for piece, _ in split.pre_tokenize_str(text)]


def only_matches(text, pattern):
    regex = re.compile(naive.translate(pattern))
    return [match[0] for match in regex.finditer(text) if match[0]]


def matches_nothing(pattern):
    """May a pattern match nothing? tiktoken breaks off then."""
    regex = re.compile(naive.translate(pattern))
    return any(not match[0] for text in TEXTS for match in regex.finditer(text))


own_patterns = pytest.mark.parametrize("pattern", [*PATTERNS.values(), *OWN_PATTERNS])


@own_patterns
def test_pieces_are_those_of_regex(pattern):
    """But for $, where it means "or before a last newline", and i, where it is also İ."""
    if "$" in pattern or "(?i:[" in pattern or matches_nothing(pattern):
        pytest.skip("read in another way")
    for text in TEXTS:
        want = by_regex(text, pattern)
        assert naive.pretokenize(text, pattern) == pretokenize(text, pattern) == want


@own_patterns
def test_pieces_are_those_of_tiktoken(pattern):
    if matches_nothing(pattern):
        pytest.skip("tiktoken breaks off")
    for text in TEXTS:
        assert only_matches(text, pattern) == by_tiktoken(text, pattern)


@own_patterns
def test_pieces_are_those_of_hf(pattern):
    """What we write for it cuts as ours does, and what it has is read as it reads it."""
    try:
        theirs = to_hf(pattern)
    except ValueError as error:
        assert re.search(r"must not have (\\W in a set|'st')", str(error))
        return
    for text in TEXTS:
        want = naive.pretokenize(text, pattern)
        assert pretokenize(text, pattern) == want == by_hf(text, theirs)
    try:
        ours = from_hf(pattern)
    except ValueError as error:
        assert "must have braces" in str(error)
        return
    for text in TEXTS:
        assert pretokenize(text, ours) == by_hf(text, pattern)


CLASSES = [*(rf"\p{{{name}}}" for name in _unicode.NAMES.split() if name not in ("Cs", "Cn"))]
CLASSES += [r"\p{L}", r"\p{M}", r"\p{N}", r"\p{P}", r"\p{S}", r"\p{Z}", r"\p{LC}", r"\s", r"\d"]
CODES = {*range(0, sys.maxunicode, 17)}  # and where classes begin and end
CODES |= {code for _, first, last in _unicode.runs() for code in (first, first + 1, last)}
CHARACTERS = "".join(chr(code) for code in sorted(CODES) if not 0xD800 <= code < 0xE000)


def members(pattern):
    return set(re.findall(naive.translate(pattern), CHARACTERS))


@pytest.mark.parametrize("pattern", [*CLASSES, r"\w"])
def test_classes_hold_what_those_of_tiktoken_do(pattern):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    how = {"pat_str": pattern, "mergeable_ranks": ranks, "special_tokens": {}}
    ids = tiktoken.Encoding("bytes", **how).encode_ordinary(CHARACTERS)
    assert set(bytes(ids).decode()) == members(pattern)


@pytest.mark.parametrize("pattern", [*CLASSES, r"\w", r"[\w]"])
def test_classes_hold_what_those_of_hf_do(pattern):
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed")
    left = {character for piece, _ in split.pre_tokenize_str(CHARACTERS) for character in piece}
    assert set(CHARACTERS) - left == members(from_hf(pattern))


@pytest.mark.parametrize("pattern", [*CLASSES, r"\w"])
def test_classes_hold_what_those_of_regex_do(pattern):
    """It may know a newer Unicode: of what ours has, but for a few that were mended."""
    regex = pytest.importorskip("regex")
    known = set(CHARACTERS) - members(r"\p{Cn}")
    differ = (set(regex.findall(pattern, CHARACTERS)) ^ members(pattern)) & known
    assert len(differ) <= 2, sorted(map(hex, map(ord, differ)))


@pytest.mark.parametrize("name", PATTERNS)
def test_random_texts_have_tiktokens_pieces(name):
    rng = random.Random(name)
    for _ in range(40):
        letters = rng.choices([*"  \n\r\t/'sSlLrRe1.,aB²", *"éʰ字́ǅ\x1c\u2028\U00010400"], k=30)
        text = "".join([*letters, *map(chr, rng.choices(range(0x250, 0xD000), k=10))])
        text = "".join(rng.sample(text, len(text)))
        assert pretokenize(text, PATTERNS[name]) == by_tiktoken(text, PATTERNS[name])


@pytest.mark.parametrize("name", PATTERNS)
def test_ids_are_those_of_tiktoken_and_hf(name, tmp_path):
    tiktoken, tokenizers = map(pytest.importorskip, ("tiktoken", "tokenizers"))
    ours = Tokenizer.train(TEXTS, 700, pattern=name)
    ranks = {token: k for k, token in enumerate(ours.tokens)}
    how = {"pat_str": PATTERNS[name], "mergeable_ranks": ranks, "special_tokens": {}}
    theirs = tiktoken.Encoding("trained", **how)
    ours.save(tmp_path / "a.json")
    hf = tokenizers.Tokenizer.from_file(str(tmp_path / "a.json"))
    for text in (*TEXTS, "".join(TEXTS), "a\n\n  "):
        assert ours.encode(text) == theirs.encode_ordinary(text) == hf.encode(text).ids


def test_the_patterns_that_tiktoken_publishes_are_ours():
    public = pytest.importorskip("tiktoken_ext.openai_public")
    assert naive.pattern_of(public.r50k_pat_str) == PATTERNS["gpt2"]
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(public, "load_tiktoken_bpe", lambda *_, **__: {})
        for name in ("cl100k", "o200k"):
            found[name] = naive.pattern_of(getattr(public, f"{name}_base")()["pat_str"])
    assert found == {name: PATTERNS[name] for name in found}
    for text in TEXTS:
        assert pretokenize(text, PATTERNS["gpt2"]) == by_tiktoken(text, public.r50k_pat_str)


# -- vocabulary ------------------------------------------------------------------------------------

N = 300
SENTENCES = (
    "The cat sat on the mat; the cat's hat, that's flat.\n\n"
    "  'Tis 1603, the 3rd act:\tthe théâtre is 満員 и полон.\r\n"
) * 3
MARKED = SENTENCES + "<s>The hat</s></s> 字 " + SENTENCES
PLACES = {
    "none": ({}, range(N)),
    "after": ({"<s>": N, "</s>": N + 1}, range(N)),
    "first": ({"<s>": 0, "</s>": 1}, range(2, N + 2)),
    "between": ({"<s>": 100, "</s>": 101}, [*range(100), *range(102, N + 2)]),
    "beyond a gap": ({"<s>": N + 50, "</s>": 2 * N}, range(N)),
    "as cl100k's": ({"<s>": N, "<m>": N + 1, "<p>": N + 2, "</s>": N + 19}, range(N)),
    "in gaps": ({"</s>": 7, "<s>": 5}, range(2, 2 * N + 2, 2)),
}


@pytest.fixture(scope="module")
def small():
    return Tokenizer.train(SENTENCES, N)


def hf(path):
    return pytest.importorskip("tokenizers").Tokenizer.from_file(str(path))


@pytest.mark.parametrize("by", ["ranks", "merges"])
@pytest.mark.parametrize("specials,ids", PLACES.values(), ids=PLACES)
def test_tokenizers_reads_our_ids_and_we_read_what_it_saves(small, tmp_path, by, specials, ids):
    merges = small.merges if by == "merges" else None
    tokenizer = Tokenizer(small.tokens, merges, specials=specials, ids=ids)
    tokenizer.save(tmp_path / "ours.json")
    theirs = hf(tmp_path / "ours.json")
    want = tokenizer.encode(MARKED, "all")
    assert theirs.encode(MARKED).ids == want
    assert theirs.decode(want, skip_special_tokens=False) == MARKED
    assert {mark: theirs.token_to_id(mark) for mark in specials} == specials
    theirs.save(str(tmp_path / "theirs.json"))  # load, save: and it still has the same ids
    Tokenizer.load(tmp_path / "theirs.json").save(tmp_path / "again.json")
    assert hf(tmp_path / "again.json").encode(MARKED).ids == want


def trained_by_tokenizers(**settings):
    peer = pytest.importorskip("tokenizers")
    theirs = peer.Tokenizer(peer.models.BPE())
    theirs.pre_tokenizer = peer.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = peer.trainers.BpeTrainer(vocab_size=N, show_progress=False, **settings)
    theirs.train_from_iterator([SENTENCES], trainer)
    return peer, theirs


def test_what_tokenizers_trained(tmp_path):
    alphabet = pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel.alphabet()
    peer, theirs = trained_by_tokenizers(special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    theirs.add_tokens(["<m>"])  # no special token for them: found in every text all the same
    theirs.post_processor = peer.processors.ByteLevel(trim_offsets=False)
    theirs.decoder = peer.decoders.ByteLevel()
    theirs.save(str(tmp_path / "theirs.json"))
    ours, text = Tokenizer.load(tmp_path / "theirs.json"), MARKED + "<m>"
    assert ours.specials == {"<s>": 0, "</s>": 1, "<m>": N}
    want = theirs.encode(text).ids
    assert ours.encode(text, "all") == want and ours.decode(want) == text.encode()
    ours.save(tmp_path / "ours.json")
    assert hf(tmp_path / "ours.json").encode(text).ids == want
    theirs.model.save(str(tmp_path))  # vocab.json and merges.txt
    pair = Tokenizer.load(tmp_path / "vocab.json", pattern="gpt2")
    assert pair.encode(MARKED, "all") == theirs.encode(MARKED).ids


def test_what_tokenizers_trained_without_all_bytes_or_with_more_to_do_is_refused(tmp_path):
    peer, theirs = trained_by_tokenizers()
    theirs.save(str(tmp_path / "a.json"))
    with pytest.raises(ValueError, match=r"a.json: tokens must hold every single byte, \d+ are"):
        Tokenizer.load(tmp_path / "a.json")
    marks = peer.processors.BertProcessing(("a", 1), ("b", 2))
    for change, match in [
        (lambda: theirs.enable_truncation(8), "has truncation"),
        (lambda: theirs.enable_padding(), "has padding"),
        (lambda: setattr(theirs, "post_processor", marks), "has post_processor, .*BertProcessing"),
        (lambda: setattr(theirs, "normalizer", peer.normalizers.NFC()), "has normalizer, .*NFC"),
    ]:
        change()
        theirs.save(str(tmp_path / "a.json"))
        with pytest.raises(ValueError, match=match):
            Tokenizer.load(tmp_path / "a.json")
        theirs.no_truncation()
        theirs.no_padding()
        theirs.post_processor = theirs.normalizer = None


def test_the_ids_of_gpt2_in_tokenizers(tmp_path):
    peer = pytest.importorskip("tokenizers")
    merges = lab.data.vocabulary("gpt2")
    ours = Tokenizer.load(merges, pattern="gpt2")
    files = str(merges.with_name("encoder.json")), str(merges)
    theirs = peer.ByteLevelBPETokenizer(*files, add_prefix_space=False)
    ours.save(tmp_path / "ours.json")
    again = hf(tmp_path / "ours.json")
    texts = ["\n".join(strings.values()) for strings in lab.data.interface_strings().values()][::14]
    want = [each.ids for each in theirs.encode_batch(texts)]
    assert [ours.encode(text) for text in texts] == want
    assert [each.ids for each in again.encode_batch(texts)] == want
    end = "a<|endoftext|>"
    assert again.encode(end).ids == ours.encode(end, "all") == [64, 50256]


def test_tiktoken_reads_our_rank_files(small, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    load = pytest.importorskip("tiktoken.load")
    tokenizer = Tokenizer([*small.tokens, b""], specials={"<s>": 400, "<t>": 400, "</s>": 999})
    tokenizer.save(tmp_path / "a.tiktoken")
    settings = {"pat_str": tokenizer.pattern, "special_tokens": tokenizer.specials}
    ranks = load.load_tiktoken_bpe(str(tmp_path / "a.tiktoken"))
    theirs = tiktoken.Encoding("a", mergeable_ranks=ranks, **settings)
    for text in (MARKED, "<t>" + MARKED):
        assert tokenizer.encode(text, "all") == theirs.encode(text, allowed_special="all")
    assert theirs.decode_bytes([N, 64]) == tokenizer.decode([N, 64]) == tokenizer.decode([64])
    assert theirs.n_vocab == tokenizer.vocab_size == 1000


@pytest.mark.parametrize("specials", [{}, {"<s>": 0, "</s>": 1}])
def test_mistral_common_reads_our_tekken_json(small, tmp_path, specials):
    tekken = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    ids = range(len(specials), N + len(specials))
    tokenizer = Tokenizer(small.tokens, specials=specials, ids=ids)
    tokenizer.save(tmp_path / "tekken.json")
    theirs = tekken.Tekkenizer.from_file(tmp_path / "tekken.json")
    assert theirs.encode(MARKED, bos=False, eos=False) == tokenizer.encode(MARKED)
    assert theirs.n_words == tokenizer.vocab_size
    assert {mark: theirs.get_special_token(mark) for mark in specials} == specials


def test_mistral_commons_own_special_tokens_stay(tmp_path):
    tekken = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    ours = Tokenizer.load(lab.data.vocabulary("tekken"))
    ours.save(tmp_path / "tekken.json")  # the file leaves them to mistral_common
    theirs = tekken.Tekkenizer.from_file(tmp_path / "tekken.json")
    text = SENTENCES
    assert theirs.encode(text, bos=True, eos=True) == [1, *ours.encode(text), 2]
    assert theirs.get_special_token("[INST]") == 3 and theirs.n_words == 131072


# -- tokenizer -------------------------------------------------------------------------------------

CORPORA = {
    "sentences": [SENTENCES],
    "scripts": TEXTS * 3,
    "runs": [
        "aaaa aaa aaaaaaa",
        "ababab bababa abab",
        " ".join("abc"[i % 3] * i for i in range(40)),
    ],
    "play": [lab.data.plays()["macbeth"][:40_000].decode()],
    "code": [pathlib.Path(naive.__file__).read_text(encoding="utf-8")],
    "noise": ["".join(random.Random(0).choices("abcd  \n.é字", k=5000))],
}
trainings = [(name, pattern) for name in CORPORA for pattern in PATTERNS]


@pytest.mark.parametrize("name,pattern", trainings, ids="-".join)
def test_merges_are_those_of_hfs_trainer(name, pattern):
    peer = pytest.importorskip("tokenizers")
    level = peer.pre_tokenizers.ByteLevel
    theirs = peer.Tokenizer(peer.models.BPE())
    split = peer.pre_tokenizers.Split(peer.Regex(to_hf(PATTERNS[pattern])), "isolated")
    theirs.pre_tokenizer = peer.pre_tokenizers.Sequence(
        [split, level(add_prefix_space=False, use_regex=False)]
    )
    how = {"initial_alphabet": level.alphabet(), "show_progress": False}
    theirs.train_from_iterator(CORPORA[name], peer.trainers.BpeTrainer(vocab_size=700, **how))
    merges = json.loads(theirs.to_str())["model"]["merges"]
    merges = [tuple(map(from_letters, pair)) for pair in merges]
    ours = Tokenizer.train(CORPORA[name], 700, pattern=pattern, alphabet=GPT2)
    assert ours.merges == merges and len(merges) > 50
    text = "\n".join(TEXTS)
    assert ours.encode(text) == theirs.encode(text).ids


@pytest.mark.parametrize("name,pattern", trainings, ids="-".join)
def test_tokens_are_those_of_rustbpe(name, pattern):
    theirs = pytest.importorskip("rustbpe").Tokenizer()
    theirs.train_from_iterator(iter(CORPORA[name]), 700, pattern=PATTERNS[pattern])
    tokens = [bytes(token) for token, _ in theirs.get_mergeable_ranks()]
    assert Tokenizer.train(CORPORA[name], 700, pattern=pattern).tokens == tokens


def random_texts(seed, n):
    """Strings of any characters that have a name in Unicode 16 or are none at all, and of TEXTS."""
    rng = random.Random(seed)
    for _ in range(n):
        ends = rng.choice([0x80, 0x100, 0x3000, 0x10000, 0x110000])
        letters = [chr(rng.randrange(ends)) for _ in range(12)] + [*rng.choice(TEXTS), " ", "\n"]
        text = "".join(rng.choices(letters, k=rng.randrange(60)))
        yield text.encode(errors="ignore").decode()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_ids_are_those_of_tiktoken(pattern):
    tiktoken = pytest.importorskip("tiktoken")
    learned = Tokenizer.train(TEXTS * 3 + CORPORA["play"], 1000, pattern=pattern)
    ours = Tokenizer(learned.tokens, pattern=pattern, specials={"<s>": 1000, "<s>!": 1001})
    how = {"mergeable_ranks": {token: k for k, token in enumerate(ours.tokens)}}
    theirs = tiktoken.Encoding("a", pat_str=ours.pattern, special_tokens=ours.specials, **how)
    for text in random_texts(0, 1000):
        want = theirs.encode_ordinary(text)
        assert ours.encode(text) == learned.encode(text) == want
        assert list(ours.encode_stream(text)) == want  # a chunk for each character
        marked = text.replace(" ", "<s>").replace("\n", "<s>!")
        assert ours.encode(marked, "all") == theirs.encode(marked, allowed_special="all")
        assert ours.decode(want, "strict") == theirs.decode(want)
