"""What the comparison of definition and twin cannot see: cases by hand, properties, bad input."""

import ast
import itertools
import pathlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import bpe, exercises, lab
from minilib.bpe import (
    GPT2,
    encode_by_merges,
    encode_by_rank,
    merges_of,
    train,
    vocabulary,
)
from minilib.naive import bpe as naive
from minilib.pretokenizer import PATTERNS, pretokenize

LESSON = pathlib.Path(bpe.__file__).parents[1] / "lessons" / "08_bpe.ipynb"
BYTES = [bytes([byte]) for byte in range(256)]


def plays(*names):
    return b"".join(lab.data.plays()[name] for name in names).decode(errors="ignore")


# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def chosen(best, tie, tokens):
    """The pair that the definition takes."""
    if tie == "largest":
        return max(best, key=lambda pair: [tokens[i] for i in pair])
    return min(best) if tie == "smallest" else best[0]


def learn(
    pieces,
    merges,
    tie="smallest",
    alphabet=naive.RAW,
    *,
    pairs=itertools.pairwise,
    choose=chosen,
    replace=naive.merge,
    least=1,
):
    """The definition of training, with the parts that a mistake replaces."""
    words = [([alphabet.index(byte) for byte in piece], n) for piece, n in Counter(pieces).items()]
    learned = []
    while len(learned) < merges:
        counts = Counter()
        for symbols, times in words:
            for pair in pairs(symbols):
                counts[pair] += times
        most = max(counts.values(), default=0)
        if most < least:
            break
        best = [pair for pair, count in counts.items() if count == most]
        pair = choose(best, tie, naive.vocabulary(learned, alphabet))
        words = [(replace(symbols, pair, 256 + len(learned)), times) for symbols, times in words]
        learned.append(pair)
    return learned


def apart(symbols):
    """Pairs of neighbours: of a run of equal ones only every second."""
    for _, run in itertools.groupby(itertools.pairwise(symbols)):
        yield from [*run][::2]


def from_the_right(symbols, pair, new):
    return naive.merge(symbols[::-1], pair[::-1], new)[::-1]


def overlaps_counted_once(*corpus):
    return learn(*corpus, pairs=apart)


def last_of_equals(*corpus):
    other = lambda best, tie, *rest: best[-1] if tie == "first" else chosen(best, tie, *rest)
    return learn(*corpus, choose=other)


def always_smallest(pieces, merges, tie, alphabet=naive.RAW):
    return naive.train(pieces, merges, "smallest", alphabet)


def smallest_by_bytes(*corpus):
    return learn(
        *corpus,
        choose=lambda best, tie, tokens: (
            min(best, key=lambda pair: [tokens[i] for i in pair])
            if tie == "smallest"
            else chosen(best, tie, tokens)
        ),
    )


def largest_of(key):
    """The definition, but of equal counts the pair whose key is the largest."""

    def choose(best, tie, tokens):
        if tie != "largest":
            return chosen(best, tie, tokens)
        return max(best, key=lambda pair: key(*pair, tokens))

    return lambda *corpus: learn(*corpus, choose=choose)


largest_ids = largest_of(lambda left, right, _: (left, right))
largest_together = largest_of(lambda left, right, tokens: tokens[left] + tokens[right])
largest_from_the_right = largest_of(lambda left, right, tokens: (tokens[right], tokens[left]))
longest_first = largest_of(lambda left, right, tokens: (len(tokens[left]), tokens[left]))


def merged_from_the_right(*corpus):
    return learn(*corpus, replace=from_the_right)


def pairs_across_pieces(pieces, *settings):
    return naive.train([b"".join(Counter(pieces).elements())], *settings)


def equal_pieces_counted_once(pieces, *settings):
    return naive.train(dict.fromkeys(pieces, 1), *settings)


def never_a_pair_that_comes_once(*corpus):
    return learn(*corpus, least=2)


def alphabet_ignored(pieces, merges, tie, alphabet=naive.RAW):
    return naive.train(pieces, merges, tie)


def last_of_two_ranks(piece, merges):
    return naive.encode(piece, lambda *pair: {p: k for k, p in enumerate(merges)}.get(pair))


def once_through_the_list(piece, merges):
    tokens = [bytes([byte]) for byte in piece]
    for pair in merges:
        tokens = naive.merge(tokens, pair, b"".join(pair))
    return tokens


def rightmost_pair_first(piece, merges):
    mirrored = [(right[::-1], left[::-1]) for left, right in merges]
    return [token[::-1] for token in naive.encode_by_merges(piece[::-1], mirrored)[::-1]]


def what_together_is_a_token(piece, merges):  # tiktoken's rule, not GPT-2's
    made = [left + right for left, right in merges]
    return naive.encode(piece, lambda *pair: dict(zip(made, itertools.count())).get(b"".join(pair)))


def whole_if_it_is_a_token(piece, merges):
    made = [left + right for left, right in merges]
    return [piece] if piece in made else naive.encode_by_merges(piece, merges)


def longest_token_first(piece, tokens):
    found = []
    while piece:
        token = max((t for t in tokens if piece.startswith(t)), key=len, default=piece[:1])
        found, piece = [*found, token], piece[len(token) :]
    return found


def longest_made_token_first(piece, merges):
    return longest_token_first(piece, [left + right for left, right in merges])


def never_whole(piece, tokens):
    ranks = {token: k for k, token in enumerate(tokens)}
    return naive.encode(piece, lambda left, right: ranks.get(left + right))


def leftmost_pair_first(piece, tokens):  # whatever its rank
    known = set(tokens)
    joins = lambda left, right: 0 if left + right in known else None
    return [piece] if piece in known else naive.encode(piece, joins)


def rightmost_token_first(piece, tokens):
    mirrored = naive.encode_by_rank(piece[::-1], [token[::-1] for token in tokens])
    return [token[::-1] for token in mirrored[::-1]]


def splits(token, tokens):
    """All ways to part a token into two that come before it."""
    known = set(tokens[: tokens.index(token)])
    parts = [(token[:i], token[i:]) for i in range(1, len(token))]
    return [pair for pair in parts if known.issuperset(pair)]


def first_split(tokens):
    return [splits(token, tokens)[0] for token in tokens if len(token) > 1]


def last_split(tokens):
    return [splits(token, tokens)[-1] for token in tokens if len(token) > 1]


def most_even_split(tokens):
    by_length = lambda pair: max(map(len, pair))
    return [min(splits(token, tokens), key=by_length) for token in tokens if len(token) > 1]


WRONG = {
    naive.train: [
        overlaps_counted_once,
        last_of_equals,
        always_smallest,
        smallest_by_bytes,
        merged_from_the_right,
        pairs_across_pieces,
        equal_pieces_counted_once,
        never_a_pair_that_comes_once,
        alphabet_ignored,
        largest_ids,
        largest_together,
        largest_from_the_right,
        longest_first,
    ],
    naive.encode_by_merges: [
        last_of_two_ranks,
        once_through_the_list,
        rightmost_pair_first,
        what_together_is_a_token,
        whole_if_it_is_a_token,
        longest_made_token_first,
    ],
    naive.encode_by_rank: [
        longest_token_first,
        never_whole,
        leftmost_pair_first,
        rightmost_token_first,
    ],
    naive.merges_of: [first_split, last_split, most_even_split],
}


# -- golden ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn", [naive.train, train])
def test_training_by_hand(learn):
    # aaabdaaabac: aa 4, ab 2, … -> Z abdZabac: Za and ab 2 each.
    # By first met Za comes next; by ids (97, 98) = ab comes before (256, 97).
    assert learn([b"aaabdaaabac"], 3, "first") == [(97, 97), (256, 97), (257, 98)]
    assert learn([b"aaabdaaabac"], 3, "smallest") == [(97, 97), (97, 98), (256, 257)]
    # by bytes Z = aa is larger than a
    assert learn([b"aaabdaaabac"], 3, "largest") == [(97, 97), (256, 97), (257, 98)]
    assert learn([b"ab", b"cd", b"ef"], 2, "largest") == [(101, 102), (99, 100)]
    # overlaps count: a a a holds two aa, more than the one ab
    assert learn([b"aaa", b"ab"], 1) == [(97, 97)]
    # three pieces of weight 1 against one of weight 2
    assert learn({b"ab": 1, b"cd": 2, b"xab": 1, b"yab": 1}, 2) == [(97, 98), (99, 100)]
    assert learn([b"ab", b"ba"], 9) == [(97, 98), (98, 97)]  # then no pair is left


def test_the_largest_of_equals_as_cs336_writes_it():
    """The plain loop over tuples of bytes: of all pairs the largest (count, pair)."""
    text = plays("hamlet")[:20_000]
    words = Counter(
        tuple(bytes([byte]) for byte in piece.encode())
        for piece in pretokenize(text, PATTERNS["gpt2"])
    )
    learned = []
    for _ in range(300):
        counts = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                counts[pair] += times
        pair = max(counts, key=lambda pair: (counts[pair], pair))
        learned.append(pair)
        joined = Counter()
        for word, times in words.items():
            joined[tuple(naive.merge(word, pair, b"".join(pair)))] += times
        words = joined
    pieces = [piece.encode() for piece in pretokenize(text, PATTERNS["gpt2"])]
    merges = train(pieces, 300, "largest")
    tokens = vocabulary(merges)
    assert [(tokens[left], tokens[right]) for left, right in merges] == learned
    assert train(pieces, 300, "largest", GPT2) != merges  # other ids,
    assert vocabulary(train(pieces, 300, "largest", GPT2), GPT2)[256:] == tokens[256:]


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
    st.sampled_from(["smallest", "first", "largest"]),
    st.sampled_from([naive.RAW, GPT2, bytes(range(255, -1, -1))]),
)
def test_the_same_merges_as_the_definition(pieces, tie, alphabet):
    assert trained_both_ways(pieces, 30, tie, alphabet) == naive.train(pieces, 30, tie, alphabet)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(alphabet="ab", max_size=14).map(str.encode), max_size=6),
    st.sampled_from(["smallest", "first", "largest"]),
)
def test_runs_and_overlaps(pieces, tie):
    assert trained_both_ways(pieces, 30, tie) == naive.train(pieces, 30, tie)


@pytest.mark.parametrize("tie", ["smallest", "first", "largest"])
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
    join = bpe.Joiner(tokens, [(tokens[left], tokens[right]) for left, right in learned]).join
    size, symbols = sum(map(len, pieces)), sum(len(join(piece)) for piece in pieces)
    removed = size - symbols  # each merge at a place removes one symbol
    assert len(visits) == 2000 and removed > 20_000
    assert removed <= sum(visits) <= (size - len(pieces)) + 2 * removed


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
    """Every different piece of some plays, and these glued to long ones, in both ways and rules."""
    pieces = pretokenize(plays("hamlet", "macbeth"), PATTERNS["gpt2"])
    pieces = [piece.encode() for piece in pieces]
    tokens = vocabulary(train(pieces, 1744))
    merges = merges_of(tokens)
    ranks = {pair: k for k, pair in enumerate(merges)}
    pieces = sorted(set(pieces))
    glued = [b"".join(pieces[i : i + 20]) for i in range(0, len(pieces), 400)]
    for joiner in (bpe.Joiner(tokens, merges), bpe.Joiner(tokens)):
        for piece in [*pieces, *glued]:
            numbers = joiner.join(piece)
            assert joiner._join_long(piece, len(merges)) == numbers
            want = naive.encode(piece, lambda left, right: ranks.get((left, right)))
            assert [joiner.tokens[n] for n in numbers] == want


# -- refusals --------------------------------------------------------------------------------------


def test_refusals():
    with pytest.raises(ValueError, match="tie"):
        train([b"ab"], 1, "last")
    with pytest.raises(ValueError, match="alphabet"):
        train([b"ab"], 1, alphabet=b"abc")
    with pytest.raises(ValueError, match="merges"):
        train([b"ab"], -1)


# -- the exercises of lesson 08 --------------------------------------------------------------------


def graded(name, *answers):
    """The report of an exercise, with these functions in place of its stubs."""
    lesson = exercises.exercises(LESSON)
    (asked,) = [exercise for exercise in lesson if exercise.names[0] == name]
    asked.namespace.update(zip(asked.names, answers, strict=True))
    return eval(compile(ast.Expression(asked.check), "lesson", "eval"), asked.namespace)


def dropout(piece, merges, p, u, *, drops=lambda u, p: u < p, best=min, rounds=itertools.count):
    """The solution, with the parts that a mistake replaces."""
    tokens = [bytes([byte]) for byte in piece]
    for round in rounds():
        ranks = []
        for i, pair in enumerate(itertools.pairwise(tokens)):
            if pair in merges and not drops(u(round, i), p):
                ranks.append((merges.index(pair), i))
        if not ranks:
            break
        _, i = best(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


def dropped_at_p(*case):
    return dropout(*case, drops=lambda u, p: u <= p)


def kept_below_p(*case):
    return dropout(*case, drops=lambda u, p: u >= p)


def any_that_is_left(*case):
    return dropout(*case, best=lambda ranks: ranks[0])


def rightmost_of_the_best(*case):
    return dropout(*case, best=lambda ranks: min(ranks, key=lambda found: (found[0], -found[1])))


def one_draw_for_all_rounds(*case):
    return dropout(*case, rounds=lambda: itertools.repeat(0))


def rounds_from_one(*case):
    return dropout(*case, rounds=lambda: itertools.count(1))


def one_draw_a_round(piece, merges, p, u):
    return dropout(piece, merges, p, lambda round, place: u(round, 0))


def merges_dropped_and_not_places(piece, merges, p, u):
    kept = [pair for k, pair in enumerate(merges) if u(0, k) >= p]
    return naive.encode_by_merges(piece, kept)


def ends_when_the_best_is_dropped(piece, merges, p, u):
    tokens = [bytes([byte]) for byte in piece]
    for round in itertools.count():
        pairs = enumerate(itertools.pairwise(tokens))
        _, i = min(
            [(merges.index(pair), i) for i, pair in pairs if pair in merges], default=(0, -1)
        )
        if i < 0 or u(round, i) < p:
            return tokens
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def test_dropout_is_refused_if_wrong():
    assert graded("my_dropout", dropout)
    for wrong in (
        dropped_at_p,
        kept_below_p,
        any_that_is_left,
        rightmost_of_the_best,
        one_draw_for_all_rounds,
        rounds_from_one,
        one_draw_a_round,
        merges_dropped_and_not_places,
        ends_when_the_best_is_dropped,
        lambda piece, merges, p, u: naive.encode_by_merges(piece, merges),
    ):
        report = graded("my_dropout", wrong)
        assert not report and "raises" not in report.text, wrong.__name__


A, B, C, AB, BC, ABC = b"a", b"b", b"c", b"ab", b"bc", b"abc"
PARTING = [(B, C), (A, B), (AB, C)]  # the merges of lesson 08


@pytest.mark.parametrize(
    "tokens,merges,piece,words",
    [
        ([A, b"aa", b"aaa"], [(A, A), (A, b"aa")], b"aaa", None),
        ([A, B, AB, b"aab"], [(A, B), (A, AB)], b"aab", "both rules give [b'aab']"),
        ([A, B, C, BC, AB, ABC], PARTING, ABC, "that is the one above"),
        ([B, A, C, BC, AB, ABC], PARTING, b"cabc", "that is the one above"),
        ([B, C, BC, A, AB, ABC], PARTING, ABC, "that is the one above"),
        (
            [b"x", b"y", b"z", b"yz", b"xy", b"xyz"],
            [(b"y", b"z"), (b"x", b"y"), (b"xy", b"z")],
            b"xyz",
            "that is the one above",
        ),
        ([A, B, AB], [], AB, "merges make [], in order of rank [b'ab']"),
        ([A, B, C, AB, BC, ABC], PARTING, ABC, "merges make [b'bc', b'ab', b'abc'], in order"),
        ([A, b"aa", b"aaa"], [(A, A), (A, b"aa")], b"aab", "b'b' is no token"),
        ([A, AB], [(A, B)], A, "b'b' is no token"),
        ([A, A, b"aa"], [(A, A)], b"aa", "a token is empty or stands there twice"),
        ([A, B, AB, b""], [(AB, b"")], AB, "a token is empty or stands there twice"),
        ([A, B, AB], [(AB, b"")], AB, "b'' is no token"),
        ([A, B, C, b"d", BC, AB, ABC], PARTING, ABC, "7 tokens are more than six"),
    ],
)
def test_a_parting_is_judged_in_words(tokens, merges, piece, words):
    report = graded("my_parting", lambda: (tokens, merges, piece))
    assert bool(report) == (words is None) and (words or "") in report.text


def test_ties_are_refused_if_wrong():
    right = [256, 257, 258], 2  # smallest: ab, cab, de; first met: de, ca, cab
    assert graded("my_prediction", lambda: right)
    for wrong in (
        ([256, 257, 258], 0),  # the ids only
        ([256, 257, 258], 1),  # the tokens of one rule, not of both
        ([256, 257, 258], 3),
        ([256, 257], 2),
        ([257, 258], 2),
        ([0, 1, 2], 2),  # merges, not ids
        ([256, 257, 258, 259], 2),
        ([258, 257, 256], 2),
        ([], 0),
        ([256, 257, 258], [b"ab", b"ca"]),
        None,
    ):
        report = graded("my_prediction", lambda wrong=wrong: wrong)
        assert not report and "raises" not in report.text
        assert "257" not in report.text.replace(repr(wrong), ""), "the answer is a secret"


@pytest.mark.parametrize("tie", ["smallest", "first"])
def test_the_ties_to_predict_are_as_the_solution_says(tie):
    """Three pairs come twice each at the start, and two of them overlap."""
    made = vocabulary(naive.train([b"de", b"de", b"cab", b"cab"], 3, tie))[256:]
    assert made == {"smallest": [b"ab", b"cab", b"de"], "first": [b"de", b"ca", b"cab"]}[tie]


def longest(piece, tokens, *, known=lambda part, tokens: part in tokens, fits=max):
    """The solution, with the parts that a mistake replaces."""
    out = []
    while piece:
        sizes = [n for n in range(1, len(piece) + 1) if known(piece[:n], tokens)]
        out.append(piece[: fits(sizes)])
        piece = piece[len(out[-1]) :]
    return out


def longest_from_the_right(piece, tokens):
    mirrored = longest(piece[::-1], {token[::-1] for token in tokens})
    return [token[::-1] for token in mirrored[::-1]]


def grows_while_it_is_a_token(piece, tokens):
    out = []
    for i in range(len(piece)):
        byte = piece[i : i + 1]
        if out and out[-1] + byte in tokens:
            out[-1] += byte
        else:
            out.append(byte)
    return out


def fewest_tokens(piece, tokens):
    best = [[]]
    for end in range(1, len(piece) + 1):
        ways = [best[i] + [piece[i:end]] for i in range(end) if piece[i:end] in tokens]
        best.append(min(ways, key=len))
    return best[-1]


def longest_anywhere_first(piece, tokens):
    places = [(len(token), -piece.find(token), token) for token in tokens if token in piece]
    if not places:
        return []
    _, i, token = max(places)
    before, after = piece[:-i], piece[-i + len(token) :]
    return [*longest_anywhere_first(before, tokens), token, *longest_anywhere_first(after, tokens)]


def test_longest_is_refused_if_wrong():
    assert graded("my_longest", longest)
    for wrong in (
        lambda piece, tokens: longest(piece, tokens, fits=min),  # single bytes
        lambda piece, tokens: longest(piece, {token for token in tokens if len(token) < 4}),
        longest_from_the_right,
        grows_while_it_is_a_token,
        fewest_tokens,
        longest_anywhere_first,
        lambda piece, tokens: naive.encode_by_rank(piece, sorted(tokens, key=len)),
        lambda piece, tokens: b"|".join(longest(piece, tokens)),
    ):
        report = graded("my_longest", wrong)
        assert not report and "raises" not in report.text
