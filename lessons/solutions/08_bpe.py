"""Solutions to the exercises of lesson 08."""

import itertools
import re

import minilib
from minilib import bpe
from minilib.naive import bpe as naive

# 1 · BPE-dropout ----------------------------------------------------------------------


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


# 2 · Where the encoders part ----------------------------------------------------------


def my_parting():
    # By merges the leftmost aa of aaa goes first and leaves aa a, which do not merge.
    # By rank aa and a may join as well, since together they spell the token aaa.
    return [b"a", b"aa", b"aaa"], [(b"a", b"a"), (b"a", b"aa")], b"aaa"


def parts():
    """What is wrong with the answer, or "right"."""
    tokens, merges, piece = my_parting()
    longer = [token for token in tokens if len(token) > 1]
    made = [left + right for left, right in merges]
    unknown = {bytes([byte]) for byte in piece}.union(*merges) - {*tokens}
    rules = bpe.encode_by_merges(piece, merges), bpe.encode_by_rank(piece, tokens)
    new, old = b" ".join(longer), b"bc ab abc"  # alike but for the letters?
    faults = {
        f"{len(tokens)} tokens are more than six": len(tokens) > 6,
        "a token is empty or stands there twice": len({*tokens, b""}) <= len(tokens),
        f"merges make {made}, in order of rank {longer}": made != longer,
        f"{min(unknown, default=0)} is no token": unknown,
        "that is the one above": [*map(new.index, new)] == [*map(old.index, old)],
        f"both rules give {rules[0]}": rules[0] == rules[1],
    }
    return next((words for words, wrong in faults.items() if wrong), "right")


# 3 · Predict the ties -----------------------------------------------------------------


def my_prediction():
    # de, ca and ab come twice each. By smallest ids ab is first. Then c ab has smaller
    # ids than de: ab, cab, de. By first met: de, ca, cab. No id has the same token. ab
    # and ca overlap: each exists under one rule only.
    return [256, 257, 258], 2


def by_library():
    pieces = [b"de", b"de", b"cab", b"cab"]
    one = naive.vocabulary(naive.train(pieces, 3, "smallest"))
    other = naive.vocabulary(naive.train(pieces, 3, "first"))
    return [i for i in range(259) if one[i] != other[i]], len({*one} ^ {*other})


# 4 · The longest that fits ------------------------------------------------------------


def my_longest(piece, tokens):
    out = []
    while piece:
        n = next(n for n in range(len(piece), 0, -1) if piece[:n] in tokens)
        out.append(piece[:n])
        piece = piece[n:]
    return out


def longest_by_regex(piece, tokens):
    """In a|b|c the first that fits is taken; so the longest must stand first."""
    in_order = sorted(tokens, key=len, reverse=True)
    return re.findall(b"|".join(map(re.escape, in_order)), piece, re.DOTALL)


def longest_cases(rng):
    tokens = {b"a", b"b", b"c", b"\n", b"ab", b"bc", b"abc", b"bcab", b"cc"}
    for piece in (b"", b"a", b"bcabc", b"abcabcc", b"ccc\nabab", b"bcbcab"):
        yield piece, tokens


# The experiment, on the first 100,000 bytes of the unseen plays:
#
#     known = set(ours.tokens)
#     bpe_way = {piece: tokens_of(ours, piece) for piece in times}
#     long_way = {piece: my_longest(piece, known) for piece in times}
#     print(sum(bpe_way[piece] != long_way[piece] for piece in times), len(times))
#     for way in (bpe_way, long_way):
#         print(sum(len(way[piece]) * times[piece] for piece in times))
#
# 621 of 3,961 different pieces (16 %) are cut in another way: whistle is whis|tle
# instead of wh|ist|le. Most of them are rare words, and the longest that fits needs
# *fewer* tokens: 31,629 instead of 31,763 (0.4 %). It is not better for all: 95 pieces
# become shorter, 35 longer (topsail: top|s|ail, to|ps|ail are equal). BPE's order is no
# search for few tokens; it replays how the text was compressed.
