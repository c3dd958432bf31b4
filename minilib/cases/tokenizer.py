"""What the definitions of tokenizer and their twins are tried on."""

from minilib.naive import bpe, tokenizer
from minilib.naive.pretokenizer import PATTERNS

_TEXT = "The cat sat on the mat;\n\n the cat's hat, that's 1603 flat. Ça 字\r\n" * 2
_BYTES = [bytes([byte]) for byte in bpe.RAW]


def train(rng):
    """Nothing; bytes that are no UTF-8; texts that end in blanks; special tokens that stand in the
    text, where documents end; more room than merges; each pattern, tie, alphabet, with fewer merges
    than there are pairs, so that their number shows."""
    yield "", 260
    yield b"ab\xff\xfeab\xc3", 262
    yield ["a\n\n", b"b\n\n", ""], 258  # \n\n is a piece where a text ends, not before a letter
    yield "a\n\nb\n\nb", 258
    yield ["a", "a", "cd"], 257  # aa is no piece
    how = ["gpt2", "smallest", bpe.RAW]
    yield "<s>a<s>ab<s>c", 262, *how, ["<s>"]  # <s> teaches nothing, and a ab are no neighbours
    yield ["a\n\n<s>b", b"b\n\n<s>"], 262, *how, ["<s>"]  # \n\n is a piece where a text ends
    yield "ENDababENDcdcdENDxyENDxy", 300, *how, ["END"]  # marks of letters stick to words
    yield ["ENDEabENDEabEN", "Dab"], 300, *how, ["END", "ENDE"]  # whole ones, the longer first
    yield "aaaa", 300, "gpt2", "smallest", bpe.RAW, ["<s>", "</s>"]  # more room than merges
    for pattern in (*PATTERNS, r"\p{L}+|x"):
        for tie in ("smallest", "first", "largest"):
            for alphabet in (bpe.RAW, bpe.GPT2):
                yield _TEXT, 278, pattern, tie, alphabet, ["<s>", "</s>"]


def _vocabularies():
    trained = tokenizer.train(_TEXT, 300, specials=["<s>", "<s>!"])
    yield trained
    yield {"tokens": trained["tokens"], "pattern": "tekken"}  # by rank
    planted = {"tokens": [*_BYTES, b"bc", b"ab", b"abc"], "ids": [*range(2, 261)]}
    planted |= {"merges": [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")]}
    planted |= {"specials": {"<s>": 1, "s><字>": 0}}  # the longer one begins later
    yield planted  # abc is a token that its merges do not reach
    yield planted | {"whole": True}
    yield {"tokens": planted["tokens"], "pattern": "[^ ]+", "ids": [*range(0, 518, 2)]}


def encode(rng):
    """Nothing, text, any bytes; special tokens that are allowed, some or all, that overlap (the
    first counts, then the longer one), that are none; a vocabulary whose merges and ranks disagree,
    whose pieces are taken whole, ids with gaps, own patterns."""
    noise = bytes(rng.integers(256, size=60).tolist())
    for vocabulary in _vocabularies():
        for text in ("", "abc cabc", _TEXT, noise, b"a<s>!abc<s><s", "<s>!", "<s><字>"):
            yield text, vocabulary
            yield text, vocabulary, "all"
        for mark in vocabulary.get("specials", ()):
            yield "a<s>!<s><s>!", vocabulary, [mark]


def decode(rng):
    """No ids; every id once, special ones too, in no order."""
    for vocabulary in _vocabularies():
        ids = vocabulary.get("ids", list(range(len(vocabulary["tokens"]))))
        ids = [*ids, *vocabulary.get("specials", {}).values()]
        yield [], vocabulary
        yield [ids[i] for i in rng.permutation(len(ids))], vocabulary
