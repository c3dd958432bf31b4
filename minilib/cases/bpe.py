"""What the definitions of bpe and their twins are tried on."""

from minilib.naive import bpe as naive
from minilib.naive.bpe import GPT2, PATTERNS

_OWN_PATTERNS = [
    r"\p{Lu}\p{Ll}*|\s+$|[^\P{N}²]",
    r"(a)|b*",  # a group, and matches of nothing
    r"[\p{Lo}]|\P{Lm}{2}|\pM",  # classes without any ASCII character, one of a single letter
]
_CHARACTERS = " \n\r\t/'sS1²ªaÄǅʰ字́.!\u00a0\u001c\u2028\U0001d7d8\U00010400\udc80"


def pretokenize(rng):
    """Nothing; one character; each kind of white space, digit, letter, mark beside each other."""
    letters = [*_CHARACTERS, "'re", "  ", "\r\n", " \n"]
    for pattern in (*PATTERNS.values(), *_OWN_PATTERNS):
        yield "", pattern
        yield "a", pattern
        yield "a\nb c", pattern
        for n in (5, 50, 500):
            yield "".join(rng.choice(letters, size=n)), pattern


def train(rng):
    """No piece, empty ones, runs of one letter, NUL, ties everywhere, more merges than pairs."""
    for tie in ("smallest", "first"):
        yield [], 3, tie
        yield [b"", b"a"], 3, tie
        yield [b"a" * 17, b"a" * 6], 9, tie
        yield [b"aaabdaaabac"], 3, tie
        yield {b"ab": 2, b"cd": 2, b"\0\0\xff": 1}, 4, tie, GPT2
        # so many places that the twin merges them all at once
        yield [b"ab" * 90 + b"a" * 301, b"ba" * 70 + b"a" * 150], 12, tie
        for letters, n in ((2, 8), (3, 30), (20, 60)):
            yield [_word(rng, letters) for _ in range(n)], 40, tie


def _word(rng, letters):
    return bytes(rng.integers(97, 97 + letters, size=rng.integers(1, 9)).tolist())


_PLANTED = [b"a", b"b", b"c", b"bc", b"ab", b"abc"]  # merges and ranks disagree on abc and cabc


def encode_by_rank(rng):
    """Nothing, one byte, runs, bytes without merges; a vocabulary that was trained, one that nobody
    trained; a piece so long that the twin takes the other way."""
    text = bytes(rng.integers(97, 101, size=300).tolist())
    trained = naive.vocabulary(naive.train([text[i : i + 9] for i in range(0, 300, 9)], 40))
    for piece in (b"", b"a", b"aaaaa", b"abc", b"cabc", text[:20], text, b"a" * 300, b"\0\xffab"):
        yield piece, trained
        yield piece, [*_PLANTED, *trained[100:256], b"\0", b"\xff"]


def encode_by_merges(rng):
    """The same pieces; merges that were learned, and some whose order is not that of the tokens."""
    planted = [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")]
    for piece, tokens in encode_by_rank(rng):
        yield piece, naive.merges_of(tokens) if len(tokens) > 256 else planted
    yield b"abcab", [(b"a", b"b"), (b"b", b"c"), (b"a", b"b")]  # the first of two ranks counts


def merges_of(rng):
    """Merges of words and of a run; none."""
    yield (naive.vocabulary(naive.train([b"abcabdabcab", b"aaaa"], 9)),)
    yield (naive.vocabulary([]),)
