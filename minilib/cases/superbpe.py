"""What the definitions of superbpe and their twins are tried on."""

from minilib.naive import bpe


def allowed(rng):
    """Nothing; words whole and not; four and five; blanks at the ends; each half of ": " alone, and
    both where the second word begins; other white space; a limit of one."""
    for token in (b"", b" ", b"e", b" of the", b"d by the w", b" a b c d ", b" a b c d e", b"a\nb"):
        yield (token,)
    for token in (b":", b": ", b" : b", b":\n", b":b ", b"a:  b", b" :", b"a:b c:d e"):
        yield (token,)
    yield b"a\n\nb\tc", 2
    yield b" the", 1
    yield b"the m", 1
    yield b"a b c d e", 5


def _all(token):
    return True


def _short(token):
    return len(token) <= 3


def _no_b(token):
    return b"b" not in token


def train_stage2(rng):
    """No piece, no merge to begin with, none to learn, more than there are; stage 1 inside pieces
    where it never was; runs; ties; a rule that refuses the most frequent pair, all pairs, a pair
    until it stands in a longer one; a token that two pairs would spell; pieces that come twice."""
    text = b"the cat and the dog and the cow: the cat and the hat. the end, the end"
    learned = bpe.train(text.split(), 6)
    yield [], [], 3
    yield [text], [], 4
    yield [text], learned, 0
    yield [text], learned, 12
    yield [text], learned, 500
    yield [text], learned, 500, _all
    yield [text], learned, 60, _short
    yield [text, b"x", b"", text], learned, 9, _no_b
    yield [b"a a a a a a a a a"], [], 9, _all
    yield [b"a a a a a a a a a"], [(97, 32)], 9, _all
    yield [b"aaaaaaaaaaaaa"], [(97, 97)], 9, _all
    yield [b"aaaaaaa"], [(97, 97), (256, 97)], 3, _all  # aa a, and never a aa: it spells the same
    yield [b"xbcybcabca abc"], [(98, 99), (97, 98), (257, 99)], 9, _all  # a bc would spell abc
    yield [b"cdab"], [(120, 121)], 2, _all  # a merge that never stands there; ties by ids
    yield {b"ab": 2, b"cd ef": 3}, [], 3, _all
    yield [b"ab ab ab", b"cd"], [], 9, _no_b
    yield [b"a: b a: b a: b c d e f g c d e f g c d e f g"], [], 40
    for letters in (3, 6):
        noise = [bytes(rng.choice([32, *range(97, 97 + letters)], size=40)) for _ in range(6)]
        words = [word for piece in noise for word in piece.split()]
        yield noise, bpe.train(words, 8), 30


_TEXT = (
    "By the way, by the way: it is 1603. By the way, it is 25 to 12345 ...\n\nIt is; it is!\n"
    "a b c d e f a b c d e f  \n  x (((y))) (((y))) a?! a?! // \n// 字 で 字 で 字 で 字"
)


def train(rng):
    """Both ends of t; a document, several; digits, symbols in runs, blanks at a line's end; other
    patterns and limits; more room than pairs."""
    yield "", 300, 280
    yield _TEXT, 330, 280
    yield _TEXT, 290, 290
    yield _TEXT, 290, 256
    yield [_TEXT, "by the way", _TEXT[:30]], 340, 290, "gpt2"
    yield ["it is it is", "it is a", "b"], 270, 257
    yield _TEXT, 340, 270, "o200k", 1
    yield _TEXT, 360, 270, "[^ ]+", 6
    yield "ab ab", 300, 258


def crossings(rng):
    """No id; none that crosses; one, and several, of one and of more tokens back; an end that is a
    token itself; a token that holds the end but does not begin with it."""
    tokens = [b"a", b" ", b"b", b"ab", b"a b", b" b", b"b a", b" b a b", b"a b a", b"abc", b"ab "]
    for ids in ([], [0], [1], [0, 1], [3], [0, 5], [2, 1, 0], [3, 5], [7], [4], [4, 1, 0], [9, 9]):
        yield ids, tokens
    yield [0, 1, 0], tokens[::-1]
    yield list(rng.integers(11, size=30)), tokens
