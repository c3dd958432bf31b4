"""What the definitions of glitch_tokens and their twins are tried on."""

import numpy as np

from minilib.naive import bpe, tokenizer

_BYTES = [bytes([byte]) for byte in bpe.RAW]


def categories(rng):
    """A trained vocabulary; parts of characters, surrogates, U+FFFD itself, which is a character.

    Tokens that no merge makes, that the pattern cuts, that are cut by rank or not. All that looks
    special or nearly: no letter, other brackets, a blank before it, letters of other scripts.
    Special tokens, in front, behind, with one id; ids with gaps.
    """
    text = "the cat sat on the mat, Ça 字字 the cat's hat"
    yield (tokenizer.train(text, 275, specials=["<s>", "[CLS]"]),)
    partial = [
        b"\xc3\xa9",
        b"\xe5\xad",
        b"a\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbf\xbd",
        b"\xe5\xad\x97",
    ]
    yield ({"tokens": [*_BYTES, *partial]},)
    yield ({"tokens": [*_BYTES, b"a b", b"ab", b"1a", b" a", b"a "], "ids": [*range(3, 264)]},)
    planted = {"tokens": [*_BYTES, b"bc", b"ab", b"abc"]}
    planted |= {"merges": [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")]}
    yield (planted,)  # abc becomes a bc
    yield (planted | {"whole": True, "ids": [*range(0, 518, 2)], "specials": {"a": 1, "<b>": 600}},)
    marks = [b"<s>", b"[PAD]", b"<>", b"[]", b"<1>", b"<s]", b"[s>", b"<s", b"s>", b" <s>", b"<s> "]
    marks += ["<é>".encode(), "[字 1]".encode(), b"[.]", b"<ab", b"ab]", b"<a>b", b"a<b>"]
    marks += ["<²>".encode(), "[Ⅷ]".encode()]  # numbers of Unicode that are no digits
    for pattern in (r"[\s\S]+", "gpt2"):  # one piece, several pieces
        yield ({"tokens": [*_BYTES, *marks], "pattern": pattern, "specials": {"<t>": 999}},)


def _rows(rng, ids, dim):
    """Rows with a mean, that vary along the first axis most, along the second less."""
    scale = np.ones(dim)
    scale[:2] = [4, 2][:dim]
    rows = rng.normal(size=(ids, dim)) * scale + 0.5
    turn, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    return rows @ turn


def cosine_distance(rng):
    """One reference and several, of unequal length; more ids than dim and fewer; the row itself,
    its opposite, at right angles; both ways to prepare the rows, and both together, where their
    order shows."""
    yield np.array([[3.0, 4], [-6, -8], [8, -6], [0.3, 0.4], [0, 10]]), np.array([0])
    yield np.array([[2.0, 0], [0, 4], [1, 1], [5, -3]]), np.array([0, 1])
    for ids, dim in [(7, 3), (4, 5), (9, 2), (12, 4)]:
        U = _rows(rng, ids, dim)
        for centre in (False, True):
            yield U, np.array([ids - 1, 2]), centre
            if dim > 2:
                yield U, np.array([1, 0, 3]), centre, True


def first_component(rng):
    """Rows with a large mean, which is no variation; ids fewer than dim; either sign."""
    for sign in (1, -1):
        U = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1], [0.5, 0.25]])
        yield (sign * U @ np.array([[0.6, 0.8], [-0.8, 0.6]]) + [1000.0, 0],)
        yield (sign * _rows(rng, 9, 4),)
        yield (sign * _rows(rng, 4, 6),)


def distance(rng):
    """By hand; two references and more; more dim than ids. One alone has a kink at its own row."""
    yield np.array([[0.0, 0], [6, 8], [2, -8]]), np.array([1, 2])
    yield rng.normal(size=(7, 3)), np.array([4, 6])
    yield rng.normal(size=(5, 9)) * 100, np.array([0, 3, 1])


def norms(rng):
    """By hand; one id; rows of very different length."""
    yield (np.array([[3.0, -4], [5, 12]]),)
    yield (rng.normal(size=(1, 5)),)
    yield (rng.normal(size=(4, 3)) * np.array([[1], [10], [100], [0.1]]),)


def auc(rng):
    """All found, none found; ties within and between both kinds; one of each; many of one kind."""
    yield np.array([0.1, 0.7, 0.2, 0.9]), np.array([True, False, True, False])
    yield np.array([0.1, 0.7, 0.2, 0.9]), np.array([False, True, False, True])
    yield (
        np.array([3.0, 1, 3, 3, 2, 1, 0]),
        np.array([True, True, False, True, False, False, False]),
    )
    yield np.array([5.0, 5]), np.array([True, False])
    yield rng.normal(size=40), np.arange(40) < 3
    yield rng.integers(4, size=30) / 4, np.arange(30) % 3 > 0


def max_probability(rng):
    """One context, one id; a logit of 1,024, of either sign; many contexts of odd sizes.

    The id that is largest in no context still has its own maximum.
    """
    yield np.array([[0.0, np.log(3)]]), np.array([[0.0, 0], [0, 1]])
    yield rng.normal(size=(3, 2)), rng.normal(size=(1, 2))
    yield np.array([[1.0, 0], [-1.0, 2], [0, 1]]), np.array([[1024.0, 0], [0, 1], [-1024, 3]])
    yield rng.normal(size=(23, 5)), rng.normal(size=(11, 5))
