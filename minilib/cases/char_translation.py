"""What the definitions of char_translation and their twins are tried on."""

import numpy as np

from minilib.naive.char_translation import END, PAD, START


def shift(rng):
    """One symbol; s of 1, as long as the row, longer; a batch; symbols that are START."""
    yield np.array([[7]]), 1
    for s in (1, 2, 3, 5, 6, 9):
        yield rng.integers(3, 50, (1, 5)), s
        yield rng.integers(3, 50, (3, 6)), s
    yield np.array([[START, 5, PAD, END]]), 2


def causal_pool(rng):
    """One step; filters longer than the text; s of 1; a last group that is not full, of one and of
    s - 1 steps; a filter that finds nothing anywhere, so that ReLU alone answers; one maximum in
    each group, by turns at its first and its last step; a tap that sees the oldest step alone."""
    yield rng.normal(size=(1, 1, 2)), rng.normal(size=(3, 2, 1)), rng.normal(size=3), 1
    for T, k, s in ((1, 5, 3), (2, 3, 1), (5, 3, 2), (7, 2, 3), (8, 5, 3), (6, 3, 6), (4, 1, 9)):
        yield rng.normal(size=(2, T, 3)), rng.normal(size=(4, 3, k)), rng.normal(size=4), s
    yield rng.uniform(1, 2, (1, 5, 2)), -np.ones((2, 2, 3)), np.array([-1.0, 30.0]), 2
    x = np.array([5.0, 1, 2, 9, 3, 4, 8, 6]).reshape(1, 8, 1)
    yield x, np.array([[[0.125, 0.25, 1]]]), np.ones(1), 2
    yield x, np.array([[[1.0, 0.25, 0.125]]]), np.ones(1), 2


def lee_pool(rng):
    """One step; filters wider than the text; rows of other lengths with large numbers behind them,
    which no filter may see; a bias that padding would show; s of 1, and larger than the text; a
    last group that is not full; a row that ends groups before the others; one width, and three."""
    filters = lambda E, h, *widths: [rng.normal(size=(h, E, w)) for w in widths]
    biases = lambda h, n: list(rng.normal(size=(n, h)))
    yield rng.normal(size=(1, 1, 2)), np.array([1]), filters(2, 3, 1), biases(3, 1), 1
    yield rng.normal(size=(1, 2, 2)), np.array([2]), filters(2, 2, 5, 3), biases(2, 2), 3
    for S, s, lengths in ((7, 3, [7, 4, 1]), (6, 2, [2, 6, 5]), (5, 1, [3, 5, 4])):
        x = rng.normal(size=(3, S, 2))
        for row, length in zip(x, lengths, strict=True):
            row[length:] = 50 + rng.uniform(size=row[length:].shape)
        yield x, np.array(lengths), filters(2, 3, 1, 3, 5), biases(3, 3), s
    up = [np.ones((1, 1, 3))]
    yield np.array([1.0, 2, 3, 4, 99]).reshape(1, 5, 1), np.array([4]), up, [np.ones(1)], 2
    yield np.full((1, 4, 1), -2.0), np.array([3]), up, [np.ones(1)], 4


_SMALL = {"source_size": 7, "target_size": 6, "width": 8, "heads": 2, "layers": 1}


def translator(rng):
    """Each encoder and each decoder; T that s divides, and not, of one symbol; sources of other
    lengths in a batch, some shorter than a group; two layers; soft blocks."""
    ids = lambda size, B, T: rng.integers(3, size, (B, T))
    for pool, s, S, T in ((1, 1, 1, 1), (1, 1, 5, 4), (3, 1, 5, 2), (1, 2, 3, 5), (2, 3, 4, 7)):
        source = ids(7, 3, S)
        source[1, 1:] = PAD
        source[2, S - S // 3 :] = PAD
        target = ids(6, 3, T)
        target[0, -1] = END
        yield {**_SMALL, "layers": 2 if s < 3 else 1, "pool": pool, "s": s}, source, target
    yield {**_SMALL, "s": 3}, ids(7, 1, 2), ids(6, 1, 1)
    for pool, S in ((1, 3), (3, 7)):
        source = ids(7, 2, S)
        source[1, S - 2 :] = PAD
        yield {**_SMALL, "pool": pool, "soft": True}, source, ids(6, 2, 3)


def translation_loss(rng):
    """One symbol; rows of other lengths, so that the mean of rows is not the mean of symbols; END
    as the last symbol, and alone in a row; a PAD that is far from likely, and one that is certain;
    START as a target; logarithms far apart."""
    some = lambda B, T: np.log(rng.dirichlet(np.ones(6), (B, T)))
    yield some(1, 1), np.array([[4]])
    yield some(3, 4), np.array([[3, 4, 5, END], [END, PAD, PAD, PAD], [4, END, PAD, PAD]])
    log_p = some(2, 3)
    log_p[0, 2], log_p[1, 1:] = [0, *[-1000] * 5], [-1000, *[-2] * 5]
    yield log_p, np.array([[5, END, PAD], [END, PAD, PAD]])
    yield 50 * rng.normal(size=(2, 3, 6)), np.array([[START, 3, 5], [END, 4, PAD]])


class Chain:
    """A step for beam_search: log-probabilities by a number that all symbols so far make."""

    def __init__(self, log_p):
        self.log_p = log_p

    def __repr__(self):
        return f"Chain({len(self.log_p)} states)"

    def __call__(self, ids, state):
        number, width, t = state  # width only says how many bits a number has
        size, V = self.log_p.shape
        number = (number * V + ids + 1) % size
        log_p = self.log_p[number.tolist()]
        return log_p.astype(str(width.dtype).removeprefix("torch.")), (number, width, t + 1)


def _logarithms(p):
    with np.errstate(divide="ignore"):
        return np.log2(p)


def beam_search(rng):
    """A beam of one; one that is better than greedy; more places than beginnings; all equal, where
    ties alone decide, at the first step and later; an end at the first step; a beginning that ends
    and is overtaken, and one that is not; none that ends; impossible symbols, and nothing possible
    but two ways; a batch whose sources end at other times. Totals are sums of whole numbers where
    ties count."""
    chain = lambda rows: Chain(np.concatenate([rows, rows[:1]]))
    whole = lambda *shape: chain(-rng.integers(1, 5, shape).astype(float))
    state = lambda *numbers: (np.array(numbers), np.zeros(len(numbers)), 0)
    start = lambda B: np.full(B, START)
    for width in (1, 2, 3, 4):
        yield Chain(-np.ones((1, 4))), state(0), start(1), width, 3  # all equal
        yield whole(37, 5), state(0, 3, 8), start(3), width, 5
        yield Chain(np.log(rng.dirichlet(np.ones(5), 41))), state(1, 2), start(2), width, 6
    p = np.zeros((4, 4))
    p[:, 3], p[:, 0] = 0.5, 0.25  # two symbols are possible, and never END
    yield Chain(_logarithms(p)), state(0, 1), start(2), 4, 3
    p = np.zeros((4, 4))
    p[:, END] = 1  # nothing but END: one beginning, two rows without any
    yield Chain(_logarithms(p)), state(0), start(1), 3, 4
    greedy_loses = np.full((21, 4), 2.0**-9)
    greedy_loses[:, END] = 0.25
    greedy_loses[2] = [0.5, 0.5 - 2.0**-4, 2.0**-9, 2.0**-5]  # after START: 0, or nearly as well 1
    greedy_loses[(2 * 4 + 1 + 1 + 0) % 21] = [2.0**-9, 2.0**-9, 2.0**-6, 2.0**-6]
    for width in (1, 2, 4):
        yield Chain(np.log2(greedy_loses)), state(0), start(1), width, 4
    yield whole(11, 4), state(0), np.array([3]), 2, 1  # one symbol; another start


def noise(rng):
    """No text; nothing and everything swapped; letters beside other characters, two and three in a
    row; a last letter; scripts; u at the rate itself, and at 0 with a rate of 0."""
    yield "", 0.5, np.zeros(0)
    for text in (
        "a",
        "ab",
        "abc",
        "abcd",
        "a b",
        "ab cd e",
        "%(name)s",
        "љубав и нада",
        "1a2bc-de",
    ):
        for rate in (0.0, 0.4, 1.0):
            yield text, rate, np.zeros(len(text))
            yield text, rate, rng.uniform(size=len(text))
    yield "abcdef", 0.5, np.array([0.5, 0.25, 0.0, 0.5, 0.0, 0.0])
    yield "abcdef", 0.5, np.array([0.75, 0.75, 0.0, 0.0, 0.0, 0.75])
