"""Pieces by hand, letters of one Unicode, safe cuts, what is refused. See also test_peers.py."""

import functools
import itertools
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.naive import _unicode
from minilib.naive import pretokenizer as naive
from minilib.pretokenizer import (
    PATTERNS,
    cutter,
    from_hf,
    pattern_of,
    pretokenize,
    stretches,
    to_hf,
)

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def only_matches(text, pattern):
    return [match[0] for match in re.finditer(naive.translate(pattern), text) if match[0]]


def the_end_is_lost(text, pattern):
    ends = [match.end() for match in re.finditer(naive.translate(pattern), text) if match[0]]
    pieces = naive.pretokenize(text, pattern)
    return pieces if ends and ends[-1] == len(text) else pieces[:-1]


def cut_by_split(text, pattern):  # groups of the pattern come twice
    return [piece for piece in re.split(f"({naive.translate(pattern)})", text) if piece]


@functools.cache
def runs_of_re(part):
    everything = "".join(map(chr, range(naive.END)))
    return [(m.start(), m.end() - 1) for m in re.finditer(f"{part}+", everything)]


def with_classes_of_re(text, pattern, classes):
    r"""The pieces, if some classes are left to `re`: its \s, \d and \w are not Unicode's."""
    members = naive._members
    with pytest.MonkeyPatch.context() as patch:
        of_re = lambda part: runs_of_re(classes[part]) if part in classes else members(part)
        patch.setattr(naive, "_members", of_re)
        return naive.pretokenize(text, pattern)


def white_space_of_re(text, pattern):
    return with_classes_of_re(text, pattern, {r"\s": r"\s", r"\S": r"\S"})


def digits_for_numbers(text, pattern):
    return with_classes_of_re(text, pattern, {r"\p{N}": r"\d"})


def words_of_re(text, pattern):  # a mark ends a word there
    return with_classes_of_re(text, pattern, {r"\w": r"\w", r"\W": r"\W"})


@functools.cache
def runs_of_this_python():
    return [(unicodedata.category(chr(code)), code, code) for code in range(naive.END)]


def classes_of_this_python(text, pattern):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "_members", functools.cache(naive._members.__wrapped__))
        patch.setattr(naive._unicode, "runs", runs_of_this_python)
        return naive.pretokenize(text, pattern)


def cases_of_re(text, pattern):  # its (?i:i) is ı as well
    folded = naive._folded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "_folded", lambda runs: [*folded(runs), (0x131, 0x131)])
        return naive.pretokenize(text, pattern)


def with_the_words_changed(text, pattern, ours, theirs):
    translate = naive.translate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "translate", lambda pattern: translate(pattern).replace(ours, theirs))
        return naive.pretokenize(text, pattern)


def end_before_a_last_newline(text, pattern):
    return with_the_words_changed(text, pattern, r"\Z", "$")


def greedy_for_possessive(text, pattern):
    return with_the_words_changed(text, pattern, "}+", "}")


WRONG = {
    naive.pretokenize: [
        only_matches,
        the_end_is_lost,
        cut_by_split,
        white_space_of_re,
        digits_for_numbers,
        words_of_re,
        cases_of_re,
        end_before_a_last_newline,
        greedy_for_possessive,
        *[classes_of_this_python] * (int(unicodedata.unidata_version.split(".")[0]) < 16),
    ],
}


# -- golden ----------------------------------------------------------------------------------------


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
        ("a\n  ", "gpt2", "a|\n  "),
        ("a\n  ", "cl100k", "a|\n  "),  # as tiktoken cuts since version 0.8
        ("a\n  ", "llama3", "a|\n|  "),
        ("!\n \n b", "cl100k", "!\n| \n| b"),
        ("123'LL", "llama3", "123|'LL"),
        ("123'LL", "qwen2", "1|2|3|'LL"),
        ("1234 he'llO", "o200k", "123|4| he'll|O"),
        ("helloWorld's DON'T", "o200k", "hello|World's| DON'T"),
        ("x;\n/y", "o200k", "x|;\n/|y"),
        ("it'ſ", "cl100k", "it|'ſ"),  # ſ is an s in either case
        ("it'ſ", "gpt2", "it|'|ſ"),
        ("हिन्दी", "gpt2", "ह|ि|न|्|द|ी"),  # marks are no letters
        ("हिन्दी", "o200k", "हिन्दी"),
        ("a\U0002ebf0b \U00011f04x", "gpt2", "a\U0002ebf0b| \U00011f04x"),  # new in Unicode 15
        ("a\u1c89\ua7ceb", "gpt2", "a\u1c89|\ua7ce|b"),  # in 16 the first, in 17 the other
        ("a\udc80 \udc80b", "gpt2", "a|\udc80| \udc80|b"),  # bytes that are no UTF-8: symbols
        ("a\x1cb", "gpt2", "a|\x1c|b"),  # a symbol, though \s of `re` matches it
        (" \x1c", "gpt2", " \x1c"),
    ],
)
def test_pieces_by_hand(text, pattern, want):
    assert pretokenize(text, PATTERNS[pattern]) == want.split("|")


def test_own_patterns_keep_what_they_do_not_match():
    assert pretokenize("a1b22", r"\p{L}") == ["a", "1", "b", "22"]
    assert pretokenize("ab", r"x*") == ["a", "b"] and pretokenize("", r"x*") == []  # as HF does
    assert pretokenize("aab", r"a??|aa") == ["a", "a", "b"]
    assert pretokenize("aab", r"(a)(a)") == ["aa", "b"]
    assert pretokenize("a \n", r"\s+$") == ["a", " \n"]
    assert pretokenize("a\nb\n", r"b$") == ["a\nb\n"]  # the end, not "or before a last newline"
    assert pretokenize("aB١", r"[^\P{L}B]|\P{N}") == ["a", "B", "١"]


@pytest.mark.parametrize(
    "text,pattern,want",
    [  # as tiktoken 0.14 cuts, where HF tokenizers 0.23 and `regex` do the same
        ("हिन्दी में", r"\w+", "हिन्दी| |में"),
        ("ภาษาไทยนี้ก็", r"\w+", "ภาษาไทยนี้ก็"),
        ("தமிழ் மொழி", r"\w+|\s", "தமிழ்| |மொழி"),
        ("العَرَبِيَّة.", r"\w+", "العَرَبِيَّة|."),
        ("cafe\u0301s", r"\w", "c|a|f|e|\u0301|s"),
        ("ab1ǅ", r"\pL+", "ab|1|ǅ"),
        ("ab1ǅ", r"\p{^L}|\p{LC}", "a|b|1|ǅ"),
        ("x]a-", r"[]\p{L}]+", "x]a|-"),
        ("نمی\u200cخواهم", r"\w+", "نمی\u200cخواهم"),  # HF cuts at the joiner: from_hf knows
        ("x²", r"\w+", "x|²"),  # and not before ²
        ("x² Ⅷ", r"\b\w", "x|² |Ⅷ"),
        ("aaaa", r"a{1,2}+", "aa|aa"),  # HF: one piece
        ("a\nb", r"^\w|\w$", "a|\n|b"),
        ("ISſKKıi", r"(?i:i)|(?i:s)|(?i:k)", "I|S|ſ|K|K|ı|i"),
    ],
)
def test_what_parts_of_patterns_mean(text, pattern, want):
    assert pretokenize(text, pattern) == naive.pretokenize(text, pattern) == want.split("|")


def test_patterns_for_hf_say_what_it_reads_in_another_way():
    for pattern in PATTERNS.values():
        assert to_hf(pattern) == from_hf(pattern) == pattern
    assert to_hf(r"^a$|\pL|\xe9|a{1,3}+|(?:bc){2}+") == (
        r"\Aa\z|\p{L}|\x{e9}|(?>a{1,3})|(?>(?:bc){2})"
    )
    assert from_hf(to_hf("^a$")) == "^a$"
    assert from_hf(r"^a$|a{1,3}+") == r"(?<![^\n])a(?![^\n])|(?:a{1,3})+"
    for text, ours, theirs in (("a²b\u200dc", "a|²|b\u200dc", "a²b|\u200d|c"),):
        assert pretokenize(text, r"\w+") == pretokenize(text, to_hf(r"\w+")) == ours.split("|")
        assert pretokenize(text, from_hf(r"\w+")) == theirs.split("|")
    for pattern in (r"(?i:st)", r"(?i:x(?:f)i)", r"[\W]"):
        for respell in (to_hf, from_hf):
            with pytest.raises(ValueError, match="pattern must not have"):
                respell(pattern)
    for pattern in (r"\pL", r"[\xe9]"):
        with pytest.raises(ValueError, match="braces"):
            from_hf(pattern)


def test_names_of_patterns():
    for name, pattern in PATTERNS.items():
        assert pattern_of(name) == pattern_of(pattern) == pattern
    assert pattern_of(r"\w+|x") == r"\w+|x"
    for name in ("GPT2", "gpt4", "cl100k_base", "o200k-harmony", "x"):
        with pytest.raises(ValueError, match=f"'gpt2', .*'o200k', .*got '{name}'"):
            pattern_of(name)
    with pytest.raises(TypeError, match="pattern must be a str, got int"):
        pattern_of(5)


def test_what_tiktoken_writes_is_known():
    """Its newer spellings cut every short text as ours do."""
    assert len(naive._OTHER_SPELLINGS) == 2
    for theirs, name in naive._OTHER_SPELLINGS.items():
        assert pattern_of(theirs) == PATTERNS[name]
        regex = re.compile(naive.translate(theirs, 128))
        cut = cutter(PATTERNS[name])
        for length in range(7):
            for text in map("".join, itertools.product(" \n'!1s", repeat=length)):
                assert regex.findall(text) == cut(text)


def test_classes_come_from_one_unicode():
    """The same on every Python, whose own are older or newer; but for a few that were mended."""
    counts = dict.fromkeys(_unicode.NAMES.split(), 0)
    changed, end = 0, 0
    for category, first, last in _unicode.runs():
        assert first == end and first <= last
        end = last + 1
        counts[category] += end - first
        own = {unicodedata.category(chr(code)) for code in range(first, end)}
        changed += len(own - {category, "Cn"}) if category != "Cn" else 0
    assert end == 0x110000 and changed <= 10
    letters = sum(count for name, count in counts.items() if name[0] == "L")
    assert letters == 141_028 and counts["Nd"] == 760 and counts["Cn"] == 819_533
    if unicodedata.unidata_version == _unicode.VERSION:
        assert changed == 0 and unicodedata.category("\u0378") == "Cn"


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


@pytest.fixture(scope="module")
def translated():
    """The definition, which translates each pattern once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "translate", functools.cache(naive.translate))
        yield naive.pretokenize


@settings(max_examples=150, deadline=None)
@given(
    text=st.lists(
        st.sampled_from([*" \n\r\t/,.'aB1²é満\u0301\x1c\x85", "'s", "\U00010400"]), max_size=30
    ).map("".join),
    size=st.integers(1, 6),
)
def test_pieces_are_those_of_the_whole_text(translated, text, size):
    """The cuts between stretches and lists change nothing, not even in lists of few characters."""
    for pattern in PATTERNS.values():
        want = translated(text, pattern)
        assert pretokenize(text, pattern) == want and "".join(want) == text
        cut, found = cutter(pattern), []
        for some in stretches(text, pattern, size):
            found += [piece for stretch in some for piece in cut(stretch)]
        assert found == want


def test_a_stretch_longer_than_a_list():
    text = "x" * 50 + " y" * 20
    lists = list(stretches(text, PATTERNS["gpt2"], 4))
    assert len(lists) > 1 and "".join(map("".join, lists)) == text


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [naive.pretokenize, pretokenize])
@pytest.mark.parametrize(
    "pattern,found,at",
    [
        (r"a\p{Script=Thai}", r"\p{Script=Thai}", 1),
        (r"\p{Han}", r"\p{Han}", 0),
        (r"\p{Letter}", r"\p{Letter}", 0),
        (r"\p{lu}|a", r"\p{lu}", 0),
        (r"\p{Cs}", r"\p{Cs}", 0),
        (r"a[[:alpha:]]", "[:alpha:]", 2),
        (r"[a[b]]", "[", 2),
        (r"[\w&&[^a]]", "&&", 3),
        (r"[\w--\d]", "--", 3),
        (r"[\w~~\d]", "~~", 3),
        (r"[\d-z]", "-", 3),
        (r"[a-c-e]", "-", 4),
        (r"[z-a]", "z", 1),
        (r"[ab", "[", 0),
        (r"[]", "[]", 0),
        (r"[^]", "[^]", 0),
        (r"[\b]", r"\b", 1),
        (r"a|\X", r"\X", 2),
        (r"\R", r"\R", 0),
        (r"\h", r"\h", 0),
        (r"a\K", r"\K", 1),
        (r"\G", r"\G", 0),
        (r"a\Z", r"\Z", 1),
        (r"(a)\1", r"\1", 3),
        (r"\<a", r"\<", 0),
        (r"\u{41}", r"\u{41}", 0),
        (r"\x4", r"\x", 0),
        (r"\x{110000}", r"\x{110000}", 0),
        (r"\ud800", r"\u", 0),
        (r"a{,2}", "{,2}", 1),
        (r"a{2}?", "{2}", 1),
        (r"{", "{", 0),
        (r"(?i)a", "(?i", 0),
        (r"(?P<n>a)", "(?P<n", 0),
        (r"(?#a)", "(?#", 0),
        (r"a(?|b)", "(?|", 1),
        (r"(?i:\p{Lu})", r"\p{Lu}", 4),
        (r"(?i:é)", "é", 4),
        (r"a(?i:[a\w])", r"\w", 7),
        ("a\\", "\\", 1),
        ("a)", ")", 1),
        ("\ud800", "\ud800", 0),
    ],
)
def test_what_would_mean_something_else_is_refused(cut, pattern, found, at):
    with pytest.raises(ValueError, match=rf"got {re.escape(repr(found))} at {at}$"):
        cut("a", pattern)


@pytest.mark.parametrize("pattern", ["(a", "a**", "*", r"(?<=a+)b", "(?:a", "a{2}{3}"])
def test_refusals(pattern):
    problem = re.escape(f"pattern must be a regular expression: {pattern!r}")
    with pytest.raises(ValueError, match=problem):
        pretokenize("a", pattern)
