"""What the definition of the pretokenizer and its twin are tried on."""

from minilib.naive.pretokenizer import PATTERNS

_OWN_PATTERNS = [
    r"\p{Lu}\p{Ll}*|\s+$|[^\P{N}²]",
    r"(a)|b*",  # a group, and matches of nothing
    r"[\p{Lo}]|\P{Lm}{2}|\pM",  # classes without any ASCII character, one of a single letter
    r"\w+|[^\w\s]+",
    r"\b\w|\B\W\B|\d++|\D",
]
_CHARACTERS = " \n\r\t/'sS1²ªaÄǅʰ字́.!\u00a0\u001c\u2028\U0001d7d8\U00010400\udc80"
# contractions in both cases, two blanks, digits of all kinds, a case that changes, a last newline
_SENTENCE = "a\nb c It's  DON'T 12345, x²½Ⅷ;\n/y helloWorld\t\tz'LL \n \n"
# the first and last white space of each run, and its neighbours, which are none
_BLANKS = ".".join("\x08\t\r\x0e\x1b\x1c\x1f !\x84\x85\x86\xa0\u1680\u2028\u2029\u202f\u3000") + "."
# the ends of Unicode, and of the runs between the capitals (of Ā ā Ă some are of one character)
_BESIDE_CAPITALS = "".join(2 * letter for letter in "\0\1@AZ[`Āā\U0010fffe\U0010ffff")
# words with marks; a joiner; letters, digits and numerals of Unicode 13, 15.1, 16 and 17
_WORDS = "हिन्दी ไทยนี้ שָׁלוֹם a\u0301b_c\u200dd Ⓐ²Ⅷ٣ \U0002a6d7 \U0002ebf0 \u1c89 \ua7ce \udc80"
_PARTS = [  # each part of the language that patterns are written in, and what it is easily read as
    (r"^a|b\z", "aab\naab"),
    (r"\Aa|b$", "aab\naab"),
    (r"a$", "ba\n"),  # $ is the end, and not "or before a last newline"
    (r"a\z", "ba\n"),
    (r"[$]", "a$$b"),
    (r".", "a\nb\r\u2028"),
    (r"a|b", "xxaxbx"),  # what lies before, between and behind the matches is kept
    (r"a??|aa", "aab"),  # where nothing matches, the text is cut, and nothing else matches
    (r"x*", "abx"),
    (r"\w+", "a]b[c"),
    (r"[a-zc]+", "azc"),
    (r"a{2}|b{1,2}|c{2,}|d?", "aaabbbcccd"),
    (r"a+?b|a{1,3}+a", "aaaab aaaa aaa"),
    (r"(?>a|ab)c|(?:a|ab)d", "abc abd"),
    (r"a(?=b)|b(?!b)|(?<=c)a|(?<!a)c", "abbca ac"),
    (r"(?:x(?i:s|k)|x)i", "xSixſixsIxKi"),  # both cases in the group alone
    (r"(?i:[^h-k+\x{30}ae])", "ijkIJK\u212aİııstST+0eE"),
    (r"(?i:(?:s)t(?i:u))s|(?i:-\s\d)", "STUs stuS ſtus - 1"),
    (r"\p{LC}+|\pN\PL|\p{^N}{2}|\P{^Nd}", "aǅʰA12b字字1"),
    (r"[]a]+|[^]a]", "]a[b"),
    (r"[-a]|[+-]+|[b-d^]+", "-a-+^bcd-e"),
    (r"[\w-]|[^\W\d_]+", "a-b\u0301_c1"),
    (r"[\x41-\x{43}\u0044\n]+|\x{1F600}|\a\f\r\t\v", "ABCDE\n😀\a\f\r\t\v"),
    (r"\.\ \-|\\|\[\]|\_]}|[\]\\\-]+", ". -\\[]_]}\\]-"),
    (r"[\p{L}\s]+|[^\p{L}\P{^N}]", "a b1;"),
    (r"\bन|\B्", "हिन्दी न"),
    (r"\p{C}+|\p{Cn}|[^\S ]", "a\x01\ue000\u0378\ud800 \t"),
    (r"\P{C}|[\d-]+", "\0\1a\U0010ffff1-2"),
]


def pretokenize(rng):
    r"""Nothing; one character; a sentence; each kind of white space, digit, letter, mark beside
    each other; where classes begin and end; words with marks, letters of new Unicode; all parts of
    the language of patterns."""
    letters = [*_CHARACTERS, "'re", "  ", "\r\n", " \n"]
    for pattern in (*PATTERNS.values(), *_OWN_PATTERNS):
        for text in ("", "a", _SENTENCE, _BLANKS, _WORDS, "a \n "):
            yield text, pattern
        for n in (5, 200):
            yield "".join(rng.choice(letters, size=n)), pattern
    yield _BESIDE_CAPITALS, r"[\P{Lu}]"
    for pattern, text in _PARTS:
        yield text, pattern
