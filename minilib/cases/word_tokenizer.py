"""What the definitions of word_tokenizer and their twins are tried on."""

LINES = (
    b"Hark! who's there? I'll go in.\n\n  Two blanks, the the the HARK\tcaf\xc3\xa9 9to5 'Tis \xff."
)


def pieces(rng):
    """Nothing; one byte; blanks, apostrophes, digits, other scripts; words longer than the limit.

    Then a blank before no letter and at the end, and every byte there is.
    """
    yield (b"",)
    yield (b"x",)
    yield (LINES,)
    for longest in (2, 3, 7):
        yield b"unspeakably a bc  def", longest
    yield b"  a  \n b ", 5
    yield bytes(range(256)), 4
    yield b"@A Z[`a z{\x7f\x80'&(", 2


def frequent(rng):
    """More words than asked for, fewer, none; ties, which the smaller wins; a limit; byte 128."""
    yield LINES, 3
    yield LINES, 1000
    yield LINES, 0
    yield b"ab cd ef ab zz zz", 4
    yield b"zz yy xx a a a a a", 2
    yield b"unspeakable unspoken unspeakable unsaid", 2, 6
    yield b"\x80b \x80b c\x80 c\x80 c\x80", 3


WORDS = [b" the", b"Hark", b" who's", b"un", b"sp", b" go"]


def encode(rng):
    """Nothing; known, unknown and single bytes; no word known; a word at the end; a limit."""
    yield b"", WORDS
    yield LINES, WORDS
    yield LINES, []
    yield b"un the", WORDS
    yield b"unsp sp unsp the", [b"un", b"sp", b" s"], 2
    yield bytes(range(256)) + b" the", [b"abcd", b" the", b" e", b"uvw"], 4


def decode(rng):
    """Nothing; what encode made; ids that it would not make."""
    yield [], WORDS
    yield [256, 104, 105, 257, 258, 259, 46, 263, 0, 255], WORDS
    yield [257, 256, 256, 261, 5], WORDS
    yield [256, 257, 10], []
