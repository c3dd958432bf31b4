"""What a tokenizer costs: by hand, against other libraries' functions, laws, refusals."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutants import edited

from minilib.lab import data
from minilib.lab.strings import parallel
from minilib.naive import tokenizer_choice as naive
from minilib.tokenizer import Tokenizer
from minilib.tokenizer_choice import (
    fertility,
    interval,
    permutation_p,
    premium,
    rank_correlation,
    reweight,
    sizes,
    vocabulary_share,
)


def utf8(text):
    return list(text.encode())


# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def mean_of_ratios(encode, texts, english):  # short texts weigh as much as long ones
    pairs = zip(texts, english, strict=True)
    ratios = [len(encode(a)) / len(encode(b)) if len(encode(b)) else 0 for a, b in pairs]
    return sum(ratios) / len(ratios)


def bytes_by_len(encode, texts):  # characters taken for bytes
    return [(len(t), len(t), len(t.split()), len(encode(t))) for t in texts]


def interval_of_normal(above, below, draws, level=0.95):  # mean and deviation instead of quantiles
    scores = above[draws].sum(1) / below[draws].sum(1)
    return scores.mean() - 1.96 * scores.std(), scores.mean() + 1.96 * scores.std()


def interval_of_mean_ratio(above, below, draws, level=0.95):
    scores = (above / below)[draws].mean(1)
    return tuple(np.quantile(scores, [(1 - level) / 2, (1 + level) / 2]))


def correlation_of_the_numbers(a, b):  # Pearson's
    return np.corrcoef(a, b)[0, 1]


def correlation_of_the_orders(a, b):  # argsort is the inverse of ranks
    return np.corrcoef(np.argsort(a), np.argsort(b))[0, 1]


def ties_by_place(a, b):
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


WRONG = {
    naive.sizes: [
        bytes_by_len,
        *edited(
            naive.sizes,
            two_bytes_up_to_the_end=("2 if code < 2048 else 3 if code < 65536 else 4", "2"),
            no_fourth_byte=("3 if code < 65536 else 4", "3"),
            blanks_counted=(
                "words += before.isspace() and not character.isspace()",
                "words += character == ' '",
            ),
            first_word_forgotten=('before = " "', 'before = ""'),
        ),
    ],
    naive.premium: [
        mean_of_ratios,
        *edited(naive.premium, upside_down=("tokens / english_tokens", "english_tokens / tokens")),
    ],
    naive.fertility: edited(
        naive.fertility,
        upside_down=("tokens / words", "words / tokens"),
        per_character=("len(text.split())", "len(text)"),
        by_single_blanks=("text.split()", 'text.split(" ")'),
    ),
    naive.interval: [
        interval_of_normal,
        interval_of_mean_ratio,
        *edited(
            naive.interval,
            not_sorted=("scores.sort()", "pass"),
            one_sided=("(1 - level) / 2, (1 + level) / 2", "1 - level, level"),
            no_line_between=("scores[k] + (place - k) * (scores[k + 1] - scores[k])", "scores[k]"),
            above_and_below_drawn_apart=("below[i] for i in draw", "below[-i] for i in draw"),
        ),
    ],
    naive.vocabulary_share: edited(
        naive.vocabulary_share,
        every_occurrence=("used = set()", "used = []", "used.update", "used.extend"),
        last_text_alone=("used.update(encode(text))", "used = set(encode(text))"),
    ),
    naive.reweight: edited(
        naive.reweight,
        not_normalised=("weight / sum(raised)", "weight"),
        less_for_those_that_pay=("weight * paid**rate", "weight / paid**rate"),
        rate_times=("weight * paid**rate", "weight * paid * rate"),
        old_weights_forgotten=("weight * paid**rate", "paid**rate"),
    ),
    naive.rank_correlation: [
        correlation_of_the_numbers,
        correlation_of_the_orders,
        ties_by_place,
        *edited(naive.rank_correlation, lowest_rank_for_ties=("(m - 1) / 2", "0")),
    ],
    naive.permutation_p: edited(
        naive.permutation_p,
        may_be_zero=("as_large = 1", "as_large = 0"),
        one_sided=("abs(rank_correlation(a, shuffled))", "rank_correlation(a, shuffled)"),
        larger_alone=("found - 1e-9", "found + 1e-9"),
        found_not_counted_as_a_draw=("(1 + len(orders))", "len(orders)"),
    ),
}


# -- right -----------------------------------------------------------------------------------------


def test_by_hand():
    assert sizes(utf8, ["né à", "猫 🐈"]) == [(6, 4, 2, 6), (8, 3, 2, 8)]
    assert sizes(str.split, ["a  b"]) == [(4, 4, 2, 2)]
    # 2 + 8 bytes to 4 + 1; the mean of 1/2 and 8 would be 4.25
    assert premium(utf8, ["ab", "é" * 4], ["abcd", "x"]) == 2
    assert fertility(list, ["ab cd", "e"]) == (5 + 1) / 3
    assert vocabulary_share(utf8, ["abab", "ca"], 256) == 3 / 256
    # draws give 1/2, 1/2, 3/2, 5/2; between the third and the last lies the 5/6-quantile
    low, high = interval([1, 5], [2, 2], [[0, 0], [0, 1], [1, 1], [0, 0]], level=2 / 3)
    assert (low, high) == pytest.approx((0.5, 1.5 + (3 * 5 / 6 - 2) * 1.0))
    assert reweight([0.5, 0.5], [3.0, 1.0]).tolist() == pytest.approx([0.75, 0.25])
    # ranks 0 1 2 3 and 1 0 3 2, from their mean: (9 + 1 - ...) -> 1 - 6 · 4 / (4 · 15) = 0.6
    assert rank_correlation([1, 2, 3, 4], [20, 10, 40, 30]) == pytest.approx(0.6)
    # of the six orders of three, two have a correlation of size 1
    orders = list(itertools.permutations(range(3)))
    assert permutation_p([1, 2, 3], [1, 2, 3], orders) == pytest.approx((1 + 2) / 7)


def test_scipys_rank_correlation_with_ties():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.integers(0, 5, size=(2, 8))
        if len({*a}) > 1 and len({*b}) > 1:
            assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_intervals_are_numpys_quantiles():
    rng = np.random.default_rng(1)
    above, below = rng.integers(1, 50, size=(2, 9))
    draws = rng.integers(0, 9, size=(200, 9))
    scores = above[draws].sum(1) / below[draws].sum(1)
    assert interval(above, below, draws) == pytest.approx(
        tuple(np.quantile(scores, [0.025, 0.975]))
    )


def test_nine_of_ten_intervals_of_90_percent_hold_the_truth():
    """300 samples of 40 sentences; how often is the ratio of all sentences inside?

    A false alarm needs 300 draws of probability 0.9 outside 0.83-0.97: less than one in 10,000.
    """
    rng = np.random.default_rng(2)
    english = rng.integers(5, 30, size=100_000)
    tokens = rng.poisson(2.5 * english)
    inside = 0
    for _ in range(300):
        sample = rng.integers(0, 100_000, size=40)
        draws = rng.integers(0, 40, size=(400, 40))
        low, high = interval(tokens[sample], english[sample], draws, level=0.9)
        inside += low <= tokens.sum() / english.sum() <= high
    assert 0.83 < inside / 300 < 0.97


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_python_counts_the_same_bytes_and_words(texts):
    texts = ["".join(c for c in text if not 0xD800 <= ord(c) < 0xE000) for text in texts]
    assert naive.sizes(utf8, texts) == sizes(utf8, texts)
    assert all(n_bytes == tokens for n_bytes, _, _, tokens in sizes(utf8, texts))


def test_256_tokens_have_the_premium_of_utf_8():
    tokenizer = Tokenizer.train("", 256)
    for name in ("de", "ru", "th", "zh_Hans"):
        texts, english = parallel(data.interface_strings()[name])
        ratio = sum(len(t.encode()) for t in texts) / sum(len(t.encode()) for t in english)
        assert premium(tokenizer.encode, texts, english) == ratio


def test_reweighting_goes_to_equal_premiums():
    """Of a premium that falls with a language's weight, whichever way it does."""
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    base = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    for _ in range(100):
        premiums = base / weights.sqrt()
        weights = reweight(weights, premiums, 0.5)
    assert premiums.max() / premiums.min() < 1.001
    assert weights.sum() == pytest.approx(1)


def test_a_p_value_is_uniform_where_there_is_nothing():
    """Of 200 unrelated pairs about a fifth have p <= 0.2: between 8 and 32 in 100."""
    rng = np.random.default_rng(3)
    small = 0
    for _ in range(200):
        a, b = rng.normal(size=(2, 8))
        orders = np.stack([rng.permutation(8) for _ in range(99)])
        small += permutation_p(a, b, orders) <= 0.2
    assert 16 <= small <= 64


def test_parallel_strings_by_hand():
    german = {
        "Please enter a whole number.": "Bitte eine ganze Zahl.",
        "Please enter %(n)s whole numbers.": "Bitte %(n)s ganze Zahlen.",
        "Save": "Sichern",
        "Never translated before": "Never translated before",
        "Not a valid value here": "Kein <b>Wert</b>",
    }
    french = {"Please enter a whole number.": "Un nombre entier."}
    assert parallel(german) == (["Bitte eine ganze Zahl."], ["Please enter a whole number."])
    assert parallel(german, french) == (["Bitte eine ganze Zahl."], ["Un nombre entier."])
    assert parallel(german, least=3)[1] == ["Please enter a whole number.", "Save"]


def test_every_language_but_the_british_has_sentences():
    strings = data.interface_strings()
    counts = {}
    for name, found in strings.items():
        if not name.startswith("en_"):
            texts, english = parallel(found)
            counts[name] = len(texts)
            assert len(english) == len(texts)
    assert len(counts) == 96 and min(counts, key=counts.get) == "my"
    assert sum(count >= 60 for count in counts.values()) == 82


# -- refused ---------------------------------------------------------------------------------------

NAN = math.nan


@pytest.mark.parametrize(
    "call,error,words",
    [
        (lambda: sizes(utf8, []), ValueError, "texts must hold at least one text, got none"),
        (lambda: premium(utf8, [], []), ValueError, "texts must .* an empty language"),
        (lambda: premium(utf8, ["a"], ["a", "b"]), ValueError, "as many as texts, 1, got 2"),
        (lambda: premium(utf8, ["a"], [""]), ValueError, "english must have at least one token"),
        (lambda: premium(utf8, "a", "b"), TypeError, "texts must be a list of str, got str"),
        (lambda: fertility(utf8, [" ", ""]), ValueError, "at least one word, got 2 without"),
        (lambda: vocabulary_share(utf8, [b"a"], 9), TypeError, "texts must be a list of str"),
        (lambda: vocabulary_share(utf8, ["a"], 0), ValueError, "vocab_size .* got 0"),
        (lambda: interval([1], [1, 2], [[0]]), ValueError, r"got \(1,\) and \(2,\)"),
        (lambda: interval([], [], [[]]), ValueError, "at least one, got"),
        (lambda: interval([1], [1], [[0, 0]]), ValueError, r"\(2 or more, 1\), got \(1, 2\)"),
        (lambda: interval([1], [1], [[0], [1]]), ValueError, "texts 0 to 0, got 0 to 1"),
        (lambda: interval([1], [1], [[0], [0]], 1), ValueError, "between 0 and 1, got 1"),
        (lambda: interval([1], [0], [[0], [0]]), ValueError, "must not sum to 0 in any draw"),
        (lambda: reweight([1.0], [1.0, 2.0]), ValueError, r"got \(1,\) and \(2,\)"),
        (lambda: reweight([1.0, 0.0], [1.0, 2.0]), ValueError, "must be positive"),
        (lambda: reweight([1.0, 1.0], [1.0, NAN]), ValueError, "must be positive"),
        (lambda: rank_correlation([1, 1], [1, 2]), ValueError, "a must have different numbers"),
        (lambda: rank_correlation([1, NAN], [1, 2]), ValueError, "a and b .* got nan"),
        (lambda: rank_correlation([1, 2], [1]), ValueError, r"got \(2,\) and \(1,\)"),
        (lambda: permutation_p([1, 2], [1, 2], [[0, 0]]), ValueError, "permutations of 2"),
        (lambda: parallel({"a": "b"}), ValueError, "of 1 and all of English there is none"),
        (
            lambda: parallel({"a" * 30: "b"}, {}),
            ValueError,
            "in common .* of 1 and 0 there is none",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()
