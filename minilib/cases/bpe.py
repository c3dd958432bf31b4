"""What the definitions of bpe and their twins are tried on."""

from minilib.naive import bpe as naive
from minilib.naive.bpe import GPT2


def train(rng):
    """No piece, empty ones, runs of one letter, NUL, ties everywhere, more merges than pairs; and
    for each usual mistake a corpus whose first merges it changes."""
    for tie in ("smallest", "first", "largest"):
        yield [], 3, tie
        yield [b"", b"a"], 3, tie
        yield [b"a" * 17, b"a" * 6], 9, tie
        yield [b"aaabdaaabac"], 3, tie
        yield [b"Ab", b"aaa"], 1, tie  # aaa holds aa twice: overlaps count
        yield [b"aaa"], 2, tie  # it becomes A a, and not a A
        yield [b"cd", b"zb", b"ae", b"bd"], 4, tie  # the first, largest, smallest, last of equals
        yield [*[b"ab"] * 5, *[b"abx"] * 2, *[b"by"] * 2], 3, tie  # b < ab by ids, not by bytes
        # a < ab: so ab x is larger than a c, though abx is smaller than ac; the same on the right
        yield [*[b"ab"] * 5, *[b"abx"] * 2, *[b"ac"] * 2], 3, tie
        yield [*[b"ab"] * 5, *[b"xab"] * 2, *[b"xac"] * 2], 3, tie
        yield [b"\x7f\xff", b"\x80\0", b"\xff\0", b"\xff\xff", b"\0\xff"], 5, tie
        yield [b"cd", b"ab", b"cd", b"xab", b"cd"], 1, tie  # equal pieces all count
        yield [b"a", b"a", b"bc"], 2, tie  # no pair across the ends; one that comes once is merged
        yield {b"ab": 2, b"cd": 2, b"\0\0\xff": 1}, 4, tie, GPT2
        yield [b" x!y"], 3, tie, GPT2  # a blank has a smaller byte than !, and a larger id
        # so many places that the twin merges them all at once
        yield [b"ab" * 90 + b"a" * 301, b"ba" * 70 + b"a" * 150], 12, tie
        for letters, n in ((2, 8), (3, 30), (20, 60)):
            yield [_word(rng, letters) for _ in range(n)], 40, tie


def _word(rng, letters):
    return bytes(rng.integers(97, 97 + letters, size=rng.integers(1, 9)).tolist())


_A, _B, _C, _D = b"a", b"b", b"c", b"d"
_PLANTED = [_A, _B, _C, b"bc", b"ab", b"abc"]  # merges and ranks disagree on abc and cabc


def encode_by_rank(rng):
    """Nothing, one byte, runs, bytes without merges; a vocabulary that was trained, one that nobody
    trained; a piece so long that the twin takes the other way; vocabularies that tell the rule from
    the longest token, the rightmost pair, and pieces that are never or always taken whole."""
    text = bytes(rng.integers(97, 101, size=300).tolist())
    trained = naive.vocabulary(naive.train([text[i : i + 9] for i in range(0, 300, 9)], 40))
    for piece in (b"", b"a", b"aaaaa", b"abc", b"cabc", text[:20], text, b"a" * 300, b"\0\xffab"):
        yield piece, trained
        yield piece, [*_PLANTED, *trained[100:256], b"\0", b"\xff"]
    yield b"aaa", [_A, b"aa"]  # aa a: the leftmost of two equal pairs
    yield b"abc", [_A, _B, _C, b"bc", b"ab"]  # a bc: bc ranks before ab, though it comes later
    yield b"abcd", [_A, _B, _C, _D, b"abcd"]  # a token that no joining reaches is the whole piece
    yield b"abcda", [_A, _B, _C, _D, b"abcd"]  # and is not found in a longer one


def encode_by_merges(rng):
    """The same pieces; merges that were learned, and some whose order is not that of the tokens; a
    pair that is listed twice, a merge before the one that makes its part."""
    planted = [(_B, _C), (_A, _B), (b"ab", _C)]
    for piece, tokens in encode_by_rank(rng):
        yield piece, naive.merges_of(tokens) if len(tokens) > 256 else planted
    yield b"abcab", [(_A, _B), (_B, _C), (_A, _B)]  # the first of two ranks counts
    yield b"aaa", [(_A, _A)]  # aa a: the leftmost of two equal pairs
    yield b"abcabc", [(b"ab", _C), (_A, _B)]  # going through the list once is not enough
    yield b"abcd", [(_B, _C), (_A, _B), (_C, _D)]  # a bc d: neither from the left nor the longest


def merges_of(rng):
    """Merges of words and of a run; none; a token that falls into two known ones in several ways:
    neither the first nor the last way is right, or not the most even one."""
    yield (naive.vocabulary(naive.train([b"abcabdabcab", b"aaaa"], 9)),)
    yield (naive.vocabulary([]),)
    # abcd is a bcd, ab cd or abc d: ab and cd rank first
    yield ([_A, _B, _C, _D, b"ab", b"cd", b"bcd", b"abc", b"abcd"],)
    yield ([_A, _B, _C, _D, b"bc", b"bcd", b"ab", b"cd", b"abcd"],)  # bc and bcd do: a bcd
