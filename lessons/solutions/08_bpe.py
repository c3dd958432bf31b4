"""Solutions to the exercises of lesson 08."""

import itertools

import minilib
from minilib.bpe import encode_by_merges, encode_by_rank
from minilib.naive import bpe as naive

planted = [b"a", b"b", b"c", b"bc", b"ab", b"abc"]


def my_dropout(piece, merges, p, u):
    rank = {pair: k for k, pair in enumerate(merges)}
    tokens, round = [bytes([byte]) for byte in piece], 0
    while True:
        left = [
            i
            for i in range(len(tokens) - 1)
            if (tokens[i], tokens[i + 1]) in rank and u(round, i) >= p
        ]
        if not left:
            return tokens
        i = min(left, key=lambda i: rank[tokens[i], tokens[i + 1]])
        tokens = [*tokens[:i], tokens[i] + tokens[i + 1], *tokens[i + 2 :]]
        round += 1


def uniform(round, place):
    return (0.37 * round + 0.61 * place + 0.11) % 1


def dropout_cases(rng):
    merges = [(b"a", b"b"), (b"ab", b"c"), (b"c", b"a"), (b"abc", b"ab")]
    for piece, p in itertools.product(
        [b"", b"a", b"abcab", b"cabcabcab"], [0.0, 0.3, 0.6, 1.0]
    ):
        yield piece, merges, p, uniform


def my_parting():
    # aaa is made of a and aa, but the leftmost aa goes first and leaves aa a: no merge; by rank aa + a spell the token aaa
    return [b"a", b"aa", b"aaa"], [(b"a", b"a"), (b"a", b"aa")], b"aaa"


def judged(answer):
    tokens, merges, piece = answer
    spelled = all(bytes([byte]) in tokens for byte in piece) and all(
        {a, b} <= set(tokens) for a, b in merges
    )
    legal = (
        len(tokens) <= 6
        and tokens != planted
        and spelled
        and [a + b for a, b in merges] == [token for token in tokens if len(token) > 1]
    )
    return int(
        legal and encode_by_merges(piece, merges) != encode_by_rank(piece, tokens)
    )


def parts():
    return judged(my_parting())


def my_choice(pairs, counts):
    # cd cd ab ab: cd and ab come twice each. By ids ab is 256 and cd 257, by first met the other way round; both exist either way
    best = [
        pair for pair, count in zip(pairs, counts, strict=True) if count == max(counts)
    ]
    return min(best), best[0]


def choices(pairs, counts):
    best = [
        pair for pair, count in zip(pairs, counts, strict=True) if count == max(counts)
    ]
    return min(best), best[0]
