"""Solutions to the exercises of lesson 08."""

import itertools

import minilib
from minilib.bpe import encode_by_merges, encode_by_rank
from minilib.naive import bpe as naive


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
    return (3 * round + 5 * place + 1) % 8 / 8  # eighths: some are exactly p


def dropout_cases(rng):
    merges = [(b"a", b"b"), (b"ab", b"c"), (b"c", b"a"), (b"abc", b"ab")]
    pieces = [b"", b"a", b"abcab", b"cabcabcab"]
    for piece, p in itertools.product(pieces, [0.0, 0.25, 0.5, 0.75, 1.0]):
        yield piece, merges, p, uniform


def my_parting():
    # By merges the leftmost aa of aaa goes first and leaves aa a, which do not merge.
    # By rank aa and a may join as well, since together they spell the token aaa.
    return [b"a", b"aa", b"aaa"], [(b"a", b"a"), (b"a", b"aa")], b"aaa"


def parts():
    tokens, merges, piece = my_parting()
    longer, made = [t for t in tokens if len(t) > 1], [a + b for a, b in merges]
    lacking = [k for k, t in enumerate(tokens) if t in longer and t not in made]
    unknown = {bytes([byte]) for byte in piece}.union(*merges) - {*tokens}
    rules = encode_by_merges(piece, merges), encode_by_rank(piece, tokens)
    new, old = b" ".join(longer), b"bc ab abc"
    faults = {
        f"{len(tokens)} tokens are more than six": len(tokens) > 6,
        "a token is empty or stands there twice": len({*tokens, b""}) <= len(tokens),
        f"token {min(lacking, default=0)} has no merge": lacking,
        f"merges make {made}, in order of rank {longer}": made != longer,
        f"{min(unknown, default=0)} is no token": unknown,
        "that is the one above": [*map(new.index, new)] == [*map(old.index, old)],
        f"both rules give {rules[0]}": rules[0] == rules[1],
    }
    return next((words for words, wrong in faults.items() if wrong), "right")


def my_choice(pairs, counts):
    most = max(counts)
    best = [pair for pair, n in zip(pairs, counts, strict=True) if n == most]
    return min(best), best[0]


def my_moves():
    # cd and ab come twice each. By ids ab is 256 and cd 257, by first met the other way
    # round. Both tokens exist either way.
    return [256, 257], []


def by_library(pairs, counts, merges=1):
    words = dict(zip(map(bytes, pairs), counts, strict=True))  # each holds one pair
    return [naive.train(words, merges, tie) for tie in ("smallest", "first")]


def ties(pairs, counts):
    a, b = map(naive.vocabulary, by_library([b"cd", b"ab"], [2, 2], merges=2))
    moves = [[i for i in range(258) if a[i] != b[i]], sorted({*a} ^ {*b})]
    return *([pair] for pair in my_choice(pairs, counts)), [*my_moves()] == moves


tied = [([(3, 1), (2, 3), (2, 9), (5, 0)], n) for n in ([4] * 4, [3, 1, 4, 4])]
right = lambda pairs, counts: (*by_library(pairs, counts), True)
