"""What the definitions of tokenizer_choice and their twins are tried on."""

import zlib

import numpy as np


def _utf8(text):
    return list(text.encode())


def _characters(text):
    return [ord(character) for character in text]


def _words(text):
    """Words of up to five characters are one token, others one for each character."""
    ids = []
    for word in text.split():
        short = len(word) <= 5
        ids += [zlib.crc32(word.encode()) % 97] if short else [ord(c) % 97 for c in word]
    return ids


ENGLISH = ["Save the file", "No", "Choose a value between the two"]
THAI = ["บันทึกแฟ้ม", "ไม่", "เลือกค่าระหว่างสองค่า"]
GERMAN = ["Die Datei sichern", "Nein", "Einen Wert zwischen beiden wählen"]
EDGES = ["\x7f\x80", "\u07ff\u0800", "\uffff\U00010000", "  two\tblanks \n", "", "e\u0301 \u00a0x"]


def sizes(rng):
    """Characters at both sides of each limit of UTF-8; blanks of many kinds; nothing; a mark."""
    yield _utf8, EDGES
    yield _words, ENGLISH
    yield _characters, THAI


def premium(rng):
    """Ratio of sums, not mean of ratios: three texts of different length; one text; less than 1."""
    yield _utf8, THAI, ENGLISH
    yield _words, GERMAN, ENGLISH
    yield _characters, THAI, ENGLISH
    yield _utf8, ["á"], ["ab"]
    yield _words, ["", "a b"], ["a", "a b c"]


def fertility(rng):
    """Words and tokens apart; a script without blanks, where every text is one word."""
    yield _utf8, GERMAN
    yield _words, ENGLISH
    yield _characters, THAI
    yield _words, ["  a  b ", "", "unbelievable"]


def interval(rng):
    """One text; draws that leave the order of the scores unsorted; a text that is never drawn.

    Levels whose ends fall between two scores, on one, and nearly on the last one.
    """
    yield np.array([3.0]), np.array([2.0]), np.zeros((2, 1), np.int64)
    above, below = np.array([1.0, 2, 3, 5]), np.array([2.0, 1, 1, 4])
    draws = np.array([[0, 1, 2, 3], [2, 2, 2, 2], [0, 0, 0, 0], [3, 3, 1, 0], [1, 1, 2, 2]])
    yield above, below, draws
    yield above, below, draws, 0.5
    yield above, below, draws, 0.999
    tokens = rng.integers(1, 90, size=7)
    yield tokens, rng.integers(1, 40, size=7), rng.integers(0, 7, size=(30, 7)), 0.9


def vocabulary_share(rng):
    """Tokens twice in one text and in two texts; none at all."""
    yield _utf8, ["abab", "bc"], 256
    yield _words, GERMAN, 97
    yield _utf8, [""], 300


def reweight(rng):
    """Premiums below and above 1; rates that change nothing, little, much; weights that sum to 2.

    No step of the sums may be left out: the first language pays 8 times the second.
    """
    yield np.array([0.5, 0.25, 0.25]), np.array([4.0, 0.5, 1.0])
    yield np.array([0.5, 0.25, 0.25]), np.array([4.0, 0.5, 1.0]), 0.0
    yield np.array([1.0, 0.5, 0.5]), np.array([3.0, 2.0, 1.0]), 0.25
    yield np.array([0.2, 0.8]), np.array([2.0, 3.0]), 3.0


def rank_correlation(rng):
    """One order, opposite orders, others; ties in a, in b and in both; numbers far apart."""
    yield np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 1e9])
    yield np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, -1e9])
    yield np.array([3.0, 1, 2, 5, 4]), np.array([1.0, 3, 2, 4, 5])
    yield np.array([1.0, 1, 2, 2, 2]), np.array([5.0, 4, 4, 4, 1])
    yield np.array([1.0, 1, 2, 7]), np.array([0.5, 0.1, 0.9, 0.2])


def permutation_p(rng):
    """All six orders of three; orders that reverse the sign; ties, where several are as large."""
    orders = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    yield np.array([1.0, 2, 3]), np.array([1.0, 2, 3]), orders
    yield np.array([1.0, 2, 3]), np.array([3.0, 1, 2]), orders
    yield np.array([1.0, 2, 2]), np.array([5.0, 1, 1]), orders
    many = np.stack([rng.permutation(6) for _ in range(20)])
    yield np.array([3.0, 1, 4, 1, 5, 9]), np.array([2.0, 7, 1, 8, 2, 8]), many
    yield np.array([1.0, 3, 2, 4]), np.array([2.0, 4, 1, 3]), np.array([[3, 2, 1, 0]])
