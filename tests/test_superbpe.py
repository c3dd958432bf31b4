"""Superwords: by hand, beside a recount, any text back, Hugging Face's opinion, refusals."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import edited

from minilib import lab
from minilib.bpe import vocabulary
from minilib.naive import superbpe as naive
from minilib.pretokenizer import PATTERNS, pretokenize
from minilib.superbpe import STAGE2, allowed, crossings, train, train_stage2
from minilib.tokenizer import Tokenizer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

BEST_FIRST = "sorted(counts, key=lambda pair: (-counts[pair], pair))"

WRONG = {
    naive.allowed: edited(
        naive.allowed,
        blanks_counted=("len(token.split()) <= words", 'token.count(b" ") <= words'),
        words_between_blanks=("token.split()", 'token.split(b" ")'),
        fewer_than_words=("len(token.split()) <= words", "len(token.split()) < words"),
        any_colon=('b": " not in token', 'b":" not in token'),
        colon_at_the_end=('b": " not in token', 'not token.endswith(b": ")'),
        four_whatever_is_asked=("<= words and", "<= 4 and"),
        either=("<= words and", "<= words or"),
    ),
    naive.train_stage2: edited(
        naive.train_stage2,
        inherited_left_out=(
            "words = [(bpe.merge(symbols, pair, 256 + k), times) for symbols, times in words]",
            "pass",
        ),
        same_bytes_twice=("token not in tokens and allow(token)", "allow(token)"),
        rule_ignored=("token not in tokens and allow(token)", "token not in tokens"),
        stops_where_one_is_refused=(
            "            if token not in tokens and allow(token):\n"
            "                pair = left, right\n"
            "                break\n",
            "            if token not in tokens and allow(token):\n"
            "                pair = left, right\n"
            "            break\n",
        ),
        rule_of_the_right_part=("allow(token)", "allow(tokens[right])"),
        last_of_equals=("(-counts[pair], pair)", "(-counts[pair], (-pair[0], -pair[1]))"),
        rarest_first=("(-counts[pair], pair)", "(counts[pair], pair)"),
        equal_pieces_counted_once=(
            "counts.get(pair, 0) + times",
            "counts.get(pair, 0) + 1",
        ),
        new_ones_only=("    return learned\n", "    return learned[len(merges) :]\n"),
        more_is_the_total=("len(merges) + more", "more"),
    ),
    naive.train: edited(
        naive.train,
        stage_1_never_ends=("transition - 256)", "vocab_size - 256)"),
        stage_1_has_t_merges=("transition - 256)", "transition)"),
        one_pattern=("(2, STAGE2)", "(2, pattern_of(pattern))"),
        lifted_from_the_start=("(1, pattern_of(pattern))", "(1, STAGE2)"),
        pattern_of_stage_1_kept=(
            '"pattern": STAGE2}\n',
            '"pattern": pattern_of(pattern)}\n',
        ),
        texts_run_together=("[text] if isinstance(text, str) else text", '["".join(text)]'),
        words_ignored=("allowed(token, words)", "allowed(token)"),
    ),
    naive.crossings: edited(
        naive.crossings,
        last_token_only=("range(1, len(ids) + 1)", "range(1, min(2, len(ids) + 1))"),
        itself_too=("token.startswith(end) and token != end", "token.startswith(end)"),
        anywhere_inside=("token.startswith(end)", "end in token"),
        from_the_start=("ids[len(ids) - k :]", "ids[:k]"),
        longest_first=("    return found\n", "    return found[::-1]\n"),
    ),
}


# -- right -----------------------------------------------------------------------------------------

TH, THE, _THE = 256, 257, 258
STAGE1 = [(ord("t"), ord("h")), (TH, ord("e")), (ord(" "), THE)]


@pytest.mark.parametrize("learn", [naive.train_stage2, train_stage2])
def test_by_hand(learn):
    # in "of the": o, f, " the". "o"+"f" and "f"+" the" come 3 times each: the smaller ids first
    piece = b"of the x of the y of the"
    f_the, of_the = (ord("f"), _THE), (ord("o"), 259)
    assert learn([piece], STAGE1, 2) == [*STAGE1, f_the, of_the]
    assert vocabulary([*STAGE1, f_the, of_the])[-2:] == [b"f the", b"of the"]
    no_space = lambda token: b" " not in token.strip()
    assert learn([piece], STAGE1, 2, no_space) == [*STAGE1, (111, 102), (32, 259)]
    assert learn([piece], STAGE1, 9, lambda token: False) == STAGE1


def test_allowed_by_hand():
    assert allowed(b" by the way,") and allowed(b"a b c d") and not allowed(b"a b c d e")
    assert allowed(b":") and allowed(b":\nI") and not allowed(b": I") and not allowed(b"ay: ")
    assert allowed(b"a b c d e", 5) and not allowed(b"by the", 1)


def test_pieces_of_stage_2():
    text = "By the way: it's 12345 ...\n\nSo?!\nYes.  \n  Aye"
    assert pretokenize(text, STAGE2) == [
        "By the way: it's ", "123", "45", " ...\n\n", "So", "?!\n", "Yes.", "  ", "\n", " ", " Aye",
    ]  # fmt: skip


def sample(size, *names):
    text = b"".join(lab.data.plays()[name] for name in names or ["hamlet", "macbeth"])
    return text[:size].decode(errors="ignore")


def test_places_give_what_a_recount_gives():
    text = sample(50_000)
    pieces = [piece.encode() for piece in pretokenize(text, STAGE2)]
    merges = train(text, 456, 456)["merges"]
    number = {token: i for i, token in enumerate(train(text, 456, 456)["tokens"])}
    merges = [(number[left], number[right]) for left, right in merges]
    assert len(merges) == 200
    learned = train_stage2(pieces, merges, 120)
    assert learned == naive.train_stage2(pieces, merges, 120)
    assert learned[:200] == merges and len(learned) == 320


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(alphabet="ab c:", max_size=40).map(str.encode), max_size=5),
    st.integers(0, 6),
    st.sampled_from([allowed, lambda token: len(token) < 5, lambda token: b"b a" not in token]),
)
def test_runs_overlaps_and_rules(pieces, t, allow):
    from minilib.bpe import train as stage1

    merges = stage1([word for piece in pieces for word in piece.split()], t)
    assert train_stage2(pieces, merges, 12, allow) == naive.train_stage2(pieces, merges, 12, allow)


@pytest.fixture(scope="module")
def learned():
    return train(sample(300_000), 2048, 1024)


def test_the_first_tokens_are_those_of_bpe(learned):
    plain = Tokenizer.train(sample(300_000), 2048, pattern="o200k")
    assert learned["tokens"][:1024] == plain.tokens[:1024]
    assert learned["tokens"][1024:] != plain.tokens[1024:]
    assert learned["merges"][:768] == plain.merges[:768]
    assert len(set(learned["tokens"])) == 2048
    assert (
        train(sample(9_000), 400, 400)["tokens"]
        == Tokenizer.train(sample(9_000), 400, pattern="o200k").tokens
    )  # t = V is plain BPE


def test_superwords_keep_the_limits(learned):
    late = learned["tokens"][1024:]
    assert all(len(token.split()) <= 4 and b": " not in token for token in late)
    assert sum(b" " in token.strip() for token in late) > 100
    # "ROMEO: I" gives such tokens where nothing forbids them
    prompts = "QUESTION: yes\nANSWER: no\n" * 50
    free = train_stage2([prompts.encode()], [], 60, lambda token: True)
    assert any(b": " in token for token in vocabulary(free))
    assert not any(b": " in token for token in train(prompts, 400, 256)["tokens"])


def test_training_cuts_the_text_as_encoding_does(learned):
    """The merges, replayed on the text of training, are the ids of the encoder."""
    from minilib.naive import bpe

    tokenizer, text = Tokenizer(**learned), sample(3_000)
    number = {token: i for i, token in enumerate(learned["tokens"])}
    ids = []
    for piece in pretokenize(text, STAGE2):
        symbols = list(piece.encode())
        for k, (left, right) in enumerate(learned["merges"]):
            symbols = bpe.merge(symbols, (number[left], number[right]), 256 + k)
        ids += symbols
    assert tokenizer.encode(text) == ids


def unicode_strings(count, seed=0):
    rng = random.Random(seed)
    ranges = [(32, 127), (0, 0xD800), (0xE000, 0x110000)]
    letter = lambda: chr(rng.randrange(*rng.choice(ranges)))
    return ["".join(letter() for _ in range(rng.randrange(40))) for _ in range(count)]


def test_any_text_comes_back(learned):
    tokenizer = Tokenizer(**learned)
    for text in [*unicode_strings(1000), sample(200_000, "king-lear")]:
        assert tokenizer.decode(tokenizer.encode(text)) == text.encode()
    noise = bytes(range(256)) * 3
    assert tokenizer.decode(tokenizer.encode(noise)) == noise


def test_hf_gives_the_same_ids(learned, tmp_path):
    hf = pytest.importorskip("tokenizers")
    tokenizer = Tokenizer(**learned)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == tokenizer
    peer = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*unicode_strings(300, 1), sample(50_000, "king-lear"), "(by the way) 12345 ...\n"]:
        assert peer.encode(text).ids == tokenizer.encode(text)


def test_the_pattern_of_stage_1_at_inference_wastes_the_superwords(learned):
    text, known = sample(50_000, "king-lear"), learned["tokens"]
    wrong = Tokenizer(**learned | {"pattern": PATTERNS["o200k"]}).encode(text)
    assert not any(b" " in known[i].strip() for i in wrong)
    assert len(wrong) > 1.1 * len(Tokenizer(**learned).encode(text))


def test_fewer_tokens_where_t_lies_inside():
    text, unseen = sample(300_000), sample(60_000, "king-lear")
    count = {}
    for t in (256, 1024, 2048):
        count[t] = len(Tokenizer(**train(text, 2048, t)).encode(unseen))
    assert count[1024] < 0.96 * count[256] and count[1024] < 0.96 * count[2048]


def test_crossings_by_hand(learned):
    tokens = [b"by", b" the", b" way", b" the way", b"by the way", b" them"]
    assert crossings([0, 1], tokens) == [(1, 3), (1, 5), (2, 4)]
    assert crossings([0, 1, 2], tokens) == [] and crossings([], tokens) == []
    ids = Tokenizer(**learned).encode("I will not be the king of the")
    assert crossings(ids, learned["tokens"]) == naive.crossings(ids, learned["tokens"])


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: train("ab", 300, 301), r"transition must lie in \[256, 300\], got 301"),
        (lambda: train("ab", 300, 255), r"transition must lie in \[256, 300\], got 255"),
        (lambda: train("ab", 300, 256, words=0), "words must be at least 1, got 0"),
        (lambda: train("ab", 300, 256, "o100k"), "pattern must be"),
        (lambda: train_stage2([b"ab"], [], -1), "more must be at least 0, got -1"),
        (lambda: train_stage2([b"ab"], [(97, 256)], 1), "ids below 256, got 97, 256 as merge 0"),
        (lambda: crossings([3], [b"a"]), r"ids must lie in \[0, 1\), got 3"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
