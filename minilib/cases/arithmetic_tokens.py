"""What the definitions of arithmetic_tokens and their twins are tried on."""

import numpy as np

from minilib.naive import arithmetic_tokens as naive


def chunk_left(rng):
    """One digit; as many as k, one more, one fewer, twice k; k of 1, k longer than the number;
    zeros at both ends, which stay."""
    for digits in ("7", "12", "123", "1234", "12345", "123456", "1234567", "0010", "100", "000"):
        for k in (1, 2, 3, 4, 9):
            yield digits, k


def chunk_right(rng):
    """The same numbers: a cut from the left differs wherever k does not divide the length."""
    yield from chunk_left(rng)


def crossing_digits(rng):
    """Both cuts for all pairs of lengths up to 7 and k of 2 and 3: equal lengths, an answer that is
    longer, an operand that is shorter, of one digit; pieces of other sizes, as a vocabulary that
    was learned makes them; an edge in one operand only, and two edges below one digit."""
    for k in (2, 3):
        for cut in (naive.chunk_left, naive.chunk_right):
            for m in range(1, 8):
                for n in range(1, 8):
                    for length in (max(m, n), max(m, n) + 1):
                        yield [cut("1" * size, k) for size in (m, n, length)]
    yield ["1", "234"], ["123", "4"], ["12", "34"]
    yield ["1234"], ["12", "34"], ["1234"]
    yield ["12", "34"], ["1234"], ["1234"]
    yield ["1", "2", "3", "4"], ["1234"], ["12", "3", "4"]
    yield ["1", "2", "3", "4"], ["5"], ["1234"]
    yield ["5"], ["1", "234"], ["12345"]


def carries(rng):
    """No carry; one that runs through nines; nothing to add; columns of 9 and of 10, with and
    without a carry from before; a carry out of the last column asked for; fewer columns than
    digits; the largest numbers; noise."""
    a = np.array([0, 999, 1, 500, 499, 455, 54, 99_999, 10_000, 909])
    b = np.array([0, 1, 999, 500, 500, 545, 45, 99_999, 1, 101])
    for places in (1, 3, 6):
        yield a, b, places
    yield np.array([10**16 - 1]), np.array([1]), 17
    yield rng.integers(0, 10**9, 40), rng.integers(0, 10**9, 40), 10


def sum_ids(rng):
    """Each way to write: k of 1 to 4, both cuts, answers reversed or not, commas or not; operands
    of all lengths in one batch, so that rows differ; answers longer than their operands; zero;
    a batch of one; interior zeros, which pieces must keep."""
    a = np.array([0, 5, 99, 123, 1005, 99_999, 70_002, 10, 1_000_000])
    b = np.array([0, 7, 1, 4567, 995, 1, 8, 90, 9])
    for k in (1, 2, 3, 4):
        for cut in ("left", "right"):
            for reverse in (False, True):
                for commas in (False, True):
                    yield a, b, k, cut, reverse, commas
    yield np.array([3456]), np.array([78]), 2
    yield rng.integers(100, 10_000, 30), rng.integers(100, 10_000, 30), 2, "right"


def error_positions(rng):
    """Equal; each place; all; too short, too long, nothing; a digit left out, so that all after it
    are shifted; equal numbers with a zero before one."""
    for true in ("8", "1234", "10000"):
        yield true, true
        yield "", true
        yield true[:-1], true
        yield true + "0", true
        yield "0" + true, true
        yield true[::-1], true
    yield "1294", "1234"
    yield "134", "1234"
    yield "9" * 4, "1234"
    yield "12", "1234"


def wilson(rng):
    """None, one, half and all right; one answer; few and many; narrow and wide."""
    for right, n in ((0, 1), (1, 1), (0, 300), (1, 300), (150, 300), (299, 300), (300, 300)):
        yield right, n
        yield right, n, 1.0
    yield 37, 3000, 2.576
