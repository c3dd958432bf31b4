"""Byte-pair encoding, the definition: learn merges and encode with them.

Sources: Gage 1994 (compression); Sennrich, Haddow & Birch 2016 (arXiv:1508.07909), algorithm 1;
the GPT-2 report 2019 (bytes).

    word        meaning
    piece       what minilib.naive.pretokenizer cuts out of the text; no merge crosses its ends
    token       an entry of the vocabulary: a string of bytes
    merge       two tokens that become one; its rank is its place in the list, 0 learned first
    alphabet    the 256 bytes in the order of their ids
"""

import itertools
from collections import Counter

RAW = bytes(range(256))  # byte b has id b
# GPT-2 lists the bytes that Latin-1 shows as a character first: "!" has id 0, a blank 220.
# HF's trainer has the same order.
VISIBLE = bytes([*range(33, 127), *range(161, 173), *range(174, 256)])
GPT2 = VISIBLE + bytes(byte for byte in RAW if byte not in VISIBLE)

# -- training --------------------------------------------------------------------------------------


def merge(symbols, pair, new):
    """Replace a pair by a new symbol, from left to right: a a a becomes A a."""
    out, i = [], 0
    while i < len(symbols):
        here = tuple(symbols[i : i + 2]) == pair
        out.append(new if here else symbols[i])
        i += 2 if here else 1
    return out


def train(pieces, merges, tie="smallest", alphabet=RAW):
    """Learn merges: the most frequent pair of neighbours becomes a symbol, and so on.

    pieces    list of byte strings in the order of the text, or {piece: how often}
    merges    how many to learn; fewer come back if no pair is left
    tie       of equally frequent pairs take the "smallest" (left id, right id), the
              "first" one met in the text, or the "largest" (left, right) by the tokens'
              bytes, as CS336 does
    alphabet  the bytes in the order of their ids: it decides ties by ids
    returns   [(left id, right id)]; merge k makes id 256 + k
    Neighbours are counted inside pieces. Overlapping pairs all count: a a a holds two.
    """
    words = []
    for piece, times in Counter(pieces).items():
        words.append(([alphabet.index(byte) for byte in piece], times))
    learned = []
    while len(learned) < merges:
        counts = {}
        for symbols, times in words:
            for pair in itertools.pairwise(symbols):
                counts[pair] = counts.get(pair, 0) + times
        if not counts:
            break
        most = max(counts.values())
        best = [pair for pair, count in counts.items() if count == most]  # as met
        if tie == "smallest":
            pair = min(best)
        elif tie == "first":
            pair = best[0]
        else:
            tokens = vocabulary(learned, alphabet)
            pair = max(best, key=lambda pair: (tokens[pair[0]], tokens[pair[1]]))
        new = 256 + len(learned)
        words = [(merge(symbols, pair, new), times) for symbols, times in words]
        learned.append(pair)
    return learned


def vocabulary(merges, alphabet=RAW):
    """The tokens, as bytes, in the order of their ids: 256 bytes, then what each merge makes."""
    tokens = [bytes([byte]) for byte in alphabet]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


# -- encoding --------------------------------------------------------------------------------------


def encode(piece, rank):
    """Join neighbours as long as any may be joined.

    Of all pairs the one of lowest rank goes first, and the leftmost if it occurs twice.
    piece    bytes
    rank     function (left token, right token) -> a number, or None if they do not merge
    returns  the tokens, as bytes
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        ranks = [(rank(*pair), i) for i, pair in enumerate(itertools.pairwise(tokens))]
        ranks = [(number, i) for number, i in ranks if number is not None]
        if not ranks:
            return tokens
        _, i = min(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def decode(ids, tokens):
    """The bytes of some ids; tokens lists the tokens in the order of their ids."""
    return b"".join(tokens[i] for i in ids)


def encode_by_merges(piece, merges):
    """A piece as tokens, by the merges [(left token, right token)] in their order: GPT-2's rule."""
    ranks = {}
    for k, pair in enumerate(merges):
        ranks.setdefault(pair, k)  # a pair that is listed twice has its first rank
    return encode(piece, lambda left, right: ranks.get((left, right)))


def encode_by_rank(piece, tokens):
    """A piece as tokens, by the vocabulary alone, in its order: tiktoken's rule.

    Two neighbours may join if together they are a token. A piece that is itself a token is taken
    whole, even if no joining leads there.
    """
    ranks = {token: k for k, token in enumerate(tokens)}
    return [piece] if piece in ranks else encode(piece, lambda left, right: ranks.get(left + right))


def encode_with_dropout(piece, merges, p, u):
    """BPE-dropout: each round forgets each possible merge with probability p.

    (Provilkov et al. 2020, arXiv:1910.13267, algorithm 1)
    u        function (round, place) -> a number in [0, 1): the pair at that place is dropped in
             that round if it is below p
    returns  the tokens; at p = 0 those of encode_by_merges, at p = 1 single bytes.
             The first round without a pair left is the last.
    """
    tokens = [piece[i : i + 1] for i in range(len(piece))]
    for round in itertools.count():
        ranks = []
        for i, pair in enumerate(itertools.pairwise(tokens)):
            if pair in merges and u(round, i) >= p:
                ranks.append((merges.index(pair), i))
        if not ranks:
            return tokens
        _, i = min(ranks)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def merges_of(tokens):
    """The merges [(left token, right token)] behind a vocabulary, in the order of learning.

    They are how the earlier tokens spell each one. Raises ValueError for a token that they do not
    spell in two parts; training makes none such.
    """
    ranks, merges = {}, []
    for k, token in enumerate(tokens):
        if len(token) > 1:
            parts = encode(token, lambda left, right: ranks.get(left + right))
            if len(parts) != 2:
                raise ValueError(f"token {k}, {token!r}, has no merge: earlier ones spell {parts}")
            merges.append(tuple(parts))
        ranks[token] = k
    return merges
