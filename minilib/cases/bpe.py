"""What the definitions of bpe and their twins are tried on."""

from minilib.naive import bpe as naive
from minilib.naive.bpe import GPT2, PATTERNS


def pretokenize(rng):
    """Nothing; one character; every kind of white space, digit, letter and mark beside every other; the pattern of nobody."""
    letters = [
        *" \n\r\t/'sS1²ªaÄǅʰ字́.!\u00a0\u001c\u2028\U0001d7d8\U00010400\udc80",
        "'re",
        "  ",
        "\r\n",
        " \n",
    ]
    for pattern in (*PATTERNS.values(), r"\p{Lu}\p{Ll}*|\s+$|[^\P{N}²]", r"(a)|b*"):
        yield "", pattern
        yield "a", pattern
        for n in (5, 50, 500):
            yield "".join(rng.choice(letters, size=n)), pattern


def train(rng):
    """No piece, empty ones, runs of one letter, NUL, ties everywhere, more merges than pairs, frequent pairs."""
    for tie in ("smallest", "first"):
        yield [], 3, tie
        yield [b"", b"a"], 3, tie
        yield [b"a" * 17, b"a" * 6], 9, tie
        yield [b"aaabdaaabac"], 3, tie
        yield {b"ab": 2, b"cd": 2, b"\0\0\xff": 1}, 4, tie, GPT2
        yield (
            [b"ab" * 90 + b"a" * 301, b"ba" * 70 + b"a" * 150],
            12,
            tie,
        )  # so many places that they are merged at once
        for letters, n in ((2, 8), (3, 30), (20, 60)):
            yield (
                [
                    bytes(rng.integers(97, 97 + letters, size=rng.integers(1, 9)).tolist())
                    for _ in range(n)
                ],
                40,
                tie,
            )


_PLANTED = [b"a", b"b", b"c", b"bc", b"ab", b"abc"]  # merge order and rank disagree on abc and cabc


def encode_by_rank(rng):
    """Nothing, one byte, runs, bytes without merges, a vocabulary that nobody trained; a piece so long that the other way is taken."""
    text = bytes(rng.integers(97, 101, size=300).tolist())
    trained = naive.vocabulary(naive.train([text[i : i + 9] for i in range(0, 300, 9)], 40))
    for piece in (b"", b"a", b"aaaaa", b"abc", b"cabc", text[:20], text, b"a" * 300, b"\0\xffab"):
        yield piece, trained
        yield piece, [*_PLANTED, *trained[100:256], b"\0", b"\xff"]


def encode_by_merges(rng):
    for piece, tokens in encode_by_rank(rng):
        yield (
            piece,
            naive.merges_of(tokens)
            if len(tokens) > 256
            else [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")],
        )


def merges_of(rng):
    return [
        (naive.vocabulary(naive.train([b"abcabdabcab", b"aaaa"], 9)),),
        (naive.vocabulary([]),),
    ]
