"""What the comparison of definition and twin cannot see: cases by hand, properties, bad input."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import bpe, lab
from minilib.bpe import (
    GPT2,
    PATTERNS,
    encode_by_merges,
    encode_by_rank,
    merges_of,
    pretokenize,
    train,
    vocabulary,
)
from minilib.naive import bpe as naive

BYTES = [bytes([byte]) for byte in range(256)]


def plays(*names):
    return b"".join(lab.data.plays()[name] for name in names).decode(errors="ignore")


# -- golden ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn", [naive.train, train])
def test_training_by_hand(learn):
    # aaabdaaabac: aa 4, ab 2, … -> Z abdZabac: Za and ab 2 each.
    # By first met Za comes next; by ids (97, 98) = ab comes before (256, 97).
    assert learn([b"aaabdaaabac"], 3, "first") == [(97, 97), (256, 97), (257, 98)]
    assert learn([b"aaabdaaabac"], 3, "smallest") == [(97, 97), (97, 98), (256, 257)]
    # overlaps count: a a a holds two aa, more than the one ab
    assert learn([b"aaa", b"ab"], 1) == [(97, 97)]
    # three pieces of weight 1 against one of weight 2
    assert learn({b"ab": 1, b"cd": 2, b"xab": 1, b"yab": 1}, 2) == [(97, 98), (99, 100)]
    assert learn([b"ab", b"ba"], 9) == [(97, 98), (98, 97)]  # then no pair is left


def test_the_alphabet_decides_ties():
    # in ASCII a blank (32) comes before ! (33), in GPT-2's alphabet ! is 0 and a blank 220
    assert train([b" x!y"], 1) == [(32, 120)]
    assert train([b" x!y"], 1, alphabet=GPT2) == [(0, GPT2.index(b"y"))]
    assert sorted(GPT2) == list(range(256)) and GPT2.index(b"\n") == 198


@pytest.mark.parametrize(
    "merges,rank",
    [(naive.encode_by_merges, naive.encode_by_rank), (encode_by_merges, encode_by_rank)],
)
def test_merge_order_and_rank_disagree_where_they_must(merges, rank):
    tokens = [b"a", b"b", b"c", b"bc", b"ab", b"abc"]
    pairs = [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")]
    assert merges(b"abc", pairs) == [b"a", b"bc"] and rank(b"abc", tokens) == [b"abc"]
    assert merges(b"cabc", pairs) == [b"c", b"a", b"bc"] and rank(b"cabc", tokens) == [b"c", b"abc"]
    # a token that no joining reaches is taken only where it is the whole piece
    assert rank(b"abcd", [*tokens[:3], b"d", b"abcd"]) == [b"abcd"]
    assert rank(b"abcda", [*tokens[:3], b"d", b"abcd"]) == [b"a", b"b", b"c", b"d", b"a"]


def test_the_leftmost_pair_goes_first():
    assert encode_by_merges(b"aaa", [(b"a", b"a")]) == [b"aa", b"a"]
    assert encode_by_merges(b"a" * 301, [(b"a", b"a")]) == [b"aa"] * 150 + [b"a"]


@pytest.mark.parametrize(
    "text,pattern,want",
    [
        ("It's  DON'T", "gpt2", "It|'s| | DON|'|T"),
        ("It's  DON'T", "cl100k", "It|'s| | DON|'T"),
        ("It's  DON'T", "tekken", "It|'s| | DON|'T"),
        (" 12345", "gpt2", " 12345"),
        (" 12345", "cl100k", " |123|45"),
        ("123", "tekken", "1|2|3"),
        ("a,\n\n b", "gpt2", "a|,|\n\n| b"),
        ("a,\n\n b", "cl100k", "a|,\n\n| b"),
        ("x;\n/y", "cl100k", "x|;\n|/y"),
        ("x;\n/y", "tekken", "x|;\n/|y"),
        ("helloWorld HTML", "tekken", "hello|World| HTML"),
        ("helloWorld", "cl100k", "helloWorld"),
        ("a\t\tb \n \n", "gpt2", "a|\t|\t|b| \n \n"),
        ("x²½Ⅷ", "gpt2", "x|²½Ⅷ"),  # numbers, though \w matches them
        ("a\x1cb", "gpt2", "a|\x1c|b"),  # a symbol, though \s of `re` matches it
        (" \x1c", "gpt2", " \x1c"),
    ],
)
def test_pieces_by_hand(text, pattern, want):
    assert pretokenize(text, PATTERNS[pattern]) == want.split("|")


def test_own_patterns_keep_what_they_do_not_match():
    assert pretokenize("a1b22", r"\p{L}") == ["a", "1", "b", "22"]
    assert pretokenize("ab", r"x*") == ["ab"] and pretokenize("", r"x*") == []
    assert pretokenize("aab", r"(a)(a)") == ["aa", "b"]
    assert pretokenize("a \n", r"\s+$") == ["a", " \n"]
    assert pretokenize("a\nb\n", r"b$") == ["a\nb\n"]  # the end, not "or before a last newline"
    assert pretokenize("aB١", r"[^\P{L}B]|\P{N}") == ["a", "B", "١"]


@pytest.mark.parametrize("cut", [naive.pretokenize, pretokenize])
def test_classes_that_have_no_ascii_character(cut):
    """Regression: for an ASCII text, [\\p{Lo}] was no regular expression, \\P{Lo} no newline."""
    assert cut("ab字", r"[\p{Lo}]|.") == ["a", "b", "字"]
    assert cut("ab", r"[\p{Lo}]|b") == ["a", "b"]
    assert cut("ab\ncd", r"\P{Lo}{4}") == ["ab\nc", "d"]
    assert cut("ab\ncd", r"[^\p{Lo}]{4}") == ["ab\nc", "d"]
    assert cut("ab", r"\p{Lo}|b") == ["a", "b"]


@pytest.mark.parametrize("cut", [naive.pretokenize, pretokenize])
def test_classes_are_named_by_a_letter_or_in_braces(cut):
    r"""Regression: \pL and \p{s} were read as white space."""
    for pattern in (r"\pL+|\PL", r"\p{L}+|\P{L}"):
        assert cut("ab 1 c", pattern) == ["ab", " ", "1", " ", "c"]
    for unknown in (r"\p{s}", r"\p", r"\p{}", r"\p{Klingon}", r"\pX", r"[\p{l}]"):
        with pytest.raises(ValueError, match="pattern must use known classes"):
            cut("a", unknown)


# -- properties ------------------------------------------------------------------------------------


def trained_both_ways(*arguments):
    """All pairs merged at once, as frequent ones are, and all in the loop of the rare ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "_MANY", 0)
        at_once = train(*arguments)
        patch.setattr(bpe, "_MANY", 1 << 62)
        assert train(*arguments) == at_once
    return at_once


corpora = st.lists(st.text(alphabet="abcd", max_size=8).map(str.encode), max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    corpora,
    st.sampled_from(["smallest", "first"]),
    st.sampled_from([naive.RAW, GPT2, bytes(range(255, -1, -1))]),
)
def test_the_same_merges_as_the_definition(pieces, tie, alphabet):
    assert trained_both_ways(pieces, 30, tie, alphabet) == naive.train(pieces, 30, tie, alphabet)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(alphabet="ab", max_size=14).map(str.encode), max_size=6),
    st.sampled_from(["smallest", "first"]),
)
def test_runs_and_overlaps(pieces, tie):
    assert trained_both_ways(pieces, 30, tie) == naive.train(pieces, 30, tie)


@pytest.mark.parametrize("tie", ["smallest", "first"])
def test_training_visits_few_places(monkeypatch, tie):
    """At most as many as there are pairs at the start, plus two for each merge at a place."""
    pieces = {piece.encode() for piece in pretokenize(plays("hamlet"), PATTERNS["gpt2"])}
    visits, merge = [], bpe._Row.merge

    def counted(row, left, right, places):
        visits.append(len(places))
        return merge(row, left, right, places)

    monkeypatch.setattr(bpe._Row, "merge", counted)
    learned = train(dict.fromkeys(pieces, 1), 2000, tie)
    tokens = vocabulary(learned)
    rank = bpe.rank_of_merges([(tokens[left], tokens[right]) for left, right in learned])
    size, symbols = sum(map(len, pieces)), sum(len(bpe.join(piece, rank)) for piece in pieces)
    removed = size - symbols  # each merge at a place removes one symbol
    assert len(visits) == 2000 and removed > 20_000
    assert removed <= sum(visits) <= (size - len(pieces)) + 2 * removed


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*" \n\r\t/,.'aB1²é満\u0301\x1c\x85", "'s", "\U00010400"]), max_size=30
    ).map("".join),
    st.integers(1, 6),
)
def test_pieces_are_those_of_the_whole_text(text, size):
    """The cuts between stretches and lists change nothing, not even in lists of few characters."""
    for pattern in PATTERNS.values():
        want = naive.pretokenize(text, pattern)
        assert pretokenize(text, pattern) == want and "".join(want) == text
        cut, found = bpe.cutter(pattern), []
        for some in bpe.stretches(text, pattern, size):
            found += [piece for stretch in some for piece in cut(stretch)]
        assert found == want


def test_a_stretch_longer_than_a_list():
    text = "x" * 50 + " y" * 20
    lists = list(bpe.stretches(text, PATTERNS["gpt2"], 4))
    assert len(lists) > 1 and "".join(map("".join, lists)) == text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abcde", max_size=250).map(str.encode), st.integers(0, 3))
def test_merge_order_equals_rank_on_trained_vocabularies(piece, seed):
    rng = random.Random(seed)
    pieces = [bytes(rng.choices(b"abcde", k=rng.randint(1, 9))) for _ in range(80)]
    tokens = vocabulary(train(pieces, 60))
    merges = merges_of(tokens)
    want = naive.encode_by_merges(piece, merges)
    assert encode_by_merges(piece, merges) == encode_by_rank(piece, tokens) == want


def test_merges_are_recovered_from_the_vocabulary():
    merges = train([b"the cat sat on the mat; the cat's hat, that's flat" * 3], 80)
    tokens = vocabulary(merges)
    assert merges_of(tokens) == [(tokens[left], tokens[right]) for left, right in merges]
    with pytest.raises(ValueError, match="token 256, b'abc', has no merge"):
        merges_of([*BYTES, b"abc"])


def test_the_heap_joins_as_the_definition_does():
    """Every different piece of some plays, and these glued to long ones, in both ways."""
    pieces = pretokenize(plays("hamlet", "macbeth"), PATTERNS["gpt2"])
    pieces = [piece.encode() for piece in pieces]
    tokens = vocabulary(train(pieces, 1744))
    rank = bpe.rank_of_merges(merges_of(tokens))
    pieces = sorted(set(pieces))
    glued = [b"".join(pieces[i : i + 20]) for i in range(0, len(pieces), 400)]
    for piece in [*pieces, *glued]:
        want = naive.encode(piece, lambda left, right: rank((left, right), None))
        single = [piece[i : i + 1] for i in range(len(piece))]
        assert bpe.join(piece, rank) == bpe._join_long(single, rank) == want


# -- refusals --------------------------------------------------------------------------------------


def test_refusals():
    with pytest.raises(ValueError, match="tie"):
        train([b"ab"], 1, "last")
    with pytest.raises(ValueError, match="alphabet"):
        train([b"ab"], 1, alphabet=b"abc")
    with pytest.raises(ValueError, match="merges"):
        train([b"ab"], -1)
    with pytest.raises(ValueError, match=re.escape("pattern must be a regular expression: '(a'")):
        pretokenize("a", "(a")
