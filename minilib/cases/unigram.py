"""What the definitions of unigram and their twins are tried on."""

import numpy as np

PIECES = [b"a", b"b", b"c", b"ab", b"ba", b"abc", b"cab", b"bb", b"abcab"]


def _logp(rng, size):
    """Log-probabilities that all differ."""
    scores = 2 * rng.normal(size=size)
    return scores - np.log(np.exp(scores).sum())


def _many(rng):
    """120 texts of up to 40 bytes."""
    letters = np.frombuffer(b"abc", np.uint8)
    return [rng.choice(letters, size=size).tobytes() for size in rng.integers(1, 41, size=120)]


def forward_sums(rng):
    """One byte; one piece; texts of several lengths; pieces longer than texts; lam on both sides.

    Then scores of 700 nats a piece, whose exponential is 0; a piece that lies in two ways.
    """
    yield [b"a"], [b"a"], np.array([-0.5])
    yield [b"aaaa"], [b"a", b"aa"], np.array([-1.0, -0.25])
    texts = [b"abcab", b"c", b"bbabcabb", b"ba", b"abcababcab"]
    yield texts, PIECES, _logp(rng, len(PIECES))
    for lam in (0.2, 3.0):
        yield texts, PIECES, _logp(rng, len(PIECES)), lam
    yield [b"abab", b"abc"], PIECES[:4], np.array([-700.0, -720.0, -1.0, -710.0])
    yield _many(rng), PIECES, _logp(rng, len(PIECES))
    yield [b"\x00\xff\x00", b"\xff"], [b"\xff", b"\x00\xff", b"\x00"], _logp(rng, 3), 0.5


def sample(rng):
    """As for the sums; uniforms of 0, of almost 1, and between; a row wider than the text.

    Every uniform is used: the one at each byte decides in some text.
    """
    yield [b"a"], [b"a"], np.array([-0.5]), np.array([[0.3]])
    for u in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1 - 2**-20):
        yield [b"abcab", b"bba"], PIECES, _logp(rng, len(PIECES)), np.full((2, 5), u)
    texts = [b"abcab", b"c", b"bbabcabb", b"ba", b"abcababcab"]
    for lam in (1.0, 0.2, 3.0):
        yield texts, PIECES, _logp(rng, len(PIECES)), rng.uniform(size=(5, 12)), lam
    flat = np.full(len(PIECES), -2.0)
    yield 4 * texts, PIECES, flat, rng.uniform(size=(20, 10)), 0.5
    # byte 2 decides: ab ends there if 0.5 <= u; all other uniforms would say the opposite
    for u in (0.4, 0.6):
        yield [b"ab"], [b"a", b"b", b"ab"], np.log([0.5, 0.5, 0.25]), np.array([[1 - u, u]])


def nbest(rng):
    """One byte; n of 1 and more than there are; several lengths; ties of all kinds.

    Ties: equal pieces in another order, whose sums differ in their rounding; a piece as good as
    its halves; scores that differ by less than a unit, and by two.
    """
    yield [b"a"], [b"a"], np.array([-0.5]), 1
    texts = [b"abcab", b"c", b"bbabcabb", b"ba", b"abcababcab"]
    for n in (1, 2, 5, 300):
        yield texts, PIECES, _logp(rng, len(PIECES)), n
    yield _many(rng), PIECES, _logp(rng, len(PIECES)), 3
    yield [b"aaaaaaa"], [b"aaa", b"aa", b"a"], np.array([-0.3, -0.2, -0.1]), 30
    yield [b"abab", b"aba"], [b"a", b"b", b"ab", b"ba"], np.array([-1.0, -2.0, -3.0, -3.0]), 9
    unit = 2.0**-32
    for less in (0.4, 2.0, 0.9):
        yield [b"ab"], [b"a", b"b", b"ab"], np.array([-1.0, -2.0, -3.0 + less * unit]), 2
        yield [b"ab"], [b"a", b"b", b"ab"], np.array([-1.0, -2.0, -3.0 - less * unit]), 2


def em_step(rng):
    """One text of one byte; texts many times; a piece that is in no text, whose count is 1e-6."""
    yield {b"a": 1}, [b"a"], np.array([-0.5])
    texts = {b"abcab": 1, b"c": 7, b"bbabcabb": 2, b"ba": 30}
    yield texts, PIECES, _logp(rng, len(PIECES))
    yield {b"abab": 3}, [b"c", b"a", b"b", b"ab", b"cc", b"ba"], _logp(rng, 6)
    yield {b"abab": 1}, [b"a", b"b", b"ab"], np.array([-1.0, -1.0, -40.0])


def train(rng):
    """Bytes alone; a size that is reached at once, after some rounds, never; short pieces only.

    Texts that differ in their number alone; ties between pieces that help alike; pieces that are
    worse than their halves; fewer strings to start with than there are.
    """
    texts = {b"abcab": 1, b"bbabcabb": 2, b"ba": 30, b"cabcabc": 3}
    yield texts, 256
    yield texts, 260
    yield texts, 264
    yield texts, 257, 3
    yield texts, 400
    yield texts, 259, 8, 5
    yield {b"ab": 1, b"xyz": 1}, 300
    yield {b"abcd": 1, b"xbc": 1, b"qqqq": 2}, 259, 2
    yield {b"a": 100, b"b": 90, b"c": 1, b"ab": 2, b"cab": 3, b"ccbcb": 2}, 258
    words = [b"men", b"tal", b"ment", b"al", b"inter", b"nation", b"a", b"n", b"ion"]
    some = [b"".join(words[w] for w in rng.integers(0, 9, size=3)) for _ in range(12)]
    for size in (262, 275):
        yield {word: k + 1 for k, word in enumerate(some)}, size, 5
