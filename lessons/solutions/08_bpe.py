"""Solutions to the exercises of lesson 08."""

import itertools

import minilib
from minilib.bpe import encode_by_merges, encode_by_rank
from minilib.naive import bpe as naive

planted = [b"a", b"b", b"c", b"bc", b"ab", b"abc"]


def my_dropout(piece, merges, p, u):
    rank = {pair: k for k, pair in enumerate(merges)}
    tokens = [bytes([byte]) for byte in piece]
    for round in itertools.count():
        left = []  # the places of pairs that this round does not drop
        for i, pair in enumerate(itertools.pairwise(tokens)):
            if pair in rank and u(round, i) >= p:
                left.append(i)
        if not left:
            return tokens
        i = min(left, key=lambda i: rank[tokens[i], tokens[i + 1]])
        tokens = [*tokens[:i], tokens[i] + tokens[i + 1], *tokens[i + 2 :]]


def uniform(round, place):
    return (0.37 * round + 0.61 * place + 0.11) % 1


def dropout_cases(rng):
    merges = [(b"a", b"b"), (b"ab", b"c"), (b"c", b"a"), (b"abc", b"ab")]
    pieces = [b"", b"a", b"abcab", b"cabcabcab"]
    for piece, p in itertools.product(pieces, [0.0, 0.3, 0.6, 1.0]):
        yield piece, merges, p, uniform


def my_parting():
    # By merges the leftmost aa of aaa goes first and leaves aa a, which do not merge.
    # By rank aa and a may join as well, since together they spell the token aaa.
    return [b"a", b"aa", b"aaa"], [(b"a", b"a"), (b"a", b"aa")], b"aaa"


def judged(answer):
    tokens, merges, piece = answer
    used = {bytes([byte]) for byte in piece}.union(*merges)
    longer = [token for token in tokens if len(token) > 1]
    legal = len(tokens) <= 6 and tokens != planted and used <= set(tokens)
    if not legal or [left + right for left, right in merges] != longer:
        return 0
    return int(encode_by_merges(piece, merges) != encode_by_rank(piece, tokens))


def parts():
    return judged(my_parting())


def my_choice(pairs, counts):
    # cd cd ab ab: cd and ab come twice each. By ids ab is 256 and cd 257, by first met
    # the other way round. Both tokens exist either way.
    most = max(counts)
    best = [pair for pair, n in zip(pairs, counts, strict=True) if n == most]
    return min(best), best[0]


def choices(pairs, counts):
    most = max(counts)
    best = [pair for pair, n in zip(pairs, counts, strict=True) if n == most]
    return min(best), best[0]


def choice_cases(rng):
    pairs = [(5, 1), (2, 9), (2, 3)]
    yield pairs, [4, 4, 4]
    yield pairs, [3, 4, 1]
    yield [(1, 2), (1, 1)], [7, 7]
