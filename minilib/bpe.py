"""Byte-pair encoding, fast: the same merges and tokens as the definition.

Words are those of minilib/naive/bpe.py. No tensors here: dictionaries, lists and arrays, organised
so that each step touches only what it changes. For whole texts see minilib/tokenizer.py.
"""

import bisect
import functools
import heapq
import itertools
from array import array
from collections import Counter, defaultdict

import numpy as np

from minilib import twin
from minilib.naive import bpe as naive
from minilib.naive.bpe import GPT2, RAW, vocabulary  # noqa: F401  (GPT2, vocabulary)

# -- training --------------------------------------------------------------------------------------

# A pair of ids is one integer, left << 21 | right: it sorts like (left, right) and is quicker to
# look up. So there may be two million tokens. place << 42 | pair sorts by place first.
_BITS, _PAIR_BITS = 21, 42
_RIGHT, _PAIR = (1 << _BITS) - 1, (1 << _PAIR_BITS) - 1


@twin(naive.train, differentiable=False)
def train(pieces, merges: int, tie: str = "smallest", alphabet: bytes = RAW) -> list:
    """Learn merges: again and again, the most frequent pair of neighbours becomes a new symbol.

    pieces    list of byte strings in the order of the text, or {piece: how often}
    merges    how many to learn; fewer come back if no pair is left
    tie       of equally frequent pairs take the "smallest" (left id, right id), the "first" one met
              in the text, or the "largest" (left, right) by the tokens' bytes, as CS336 does
    alphabet  the bytes in the order of their ids; naive.bpe.GPT2 gives the ties of HF's trainer
    returns   [(left id, right id)]; merge k makes id 256 + k

    Each pair keeps its count and the list of its places among the distinct pieces, so that a merge
    visits only these. What each new pair counts, the pair that it replaces loses. A place is
    listed at the start or by a merge beside it, so there are at most as many visits as pairs at the
    start plus two for each merge at a place: three a byte of the distinct pieces. ("first" looks
    through a list again if its first place is gone.) Memory: about 100 bytes for each byte.
    """
    if tie not in ("smallest", "first", "largest"):
        raise ValueError(f"tie must be 'smallest', 'first' or 'largest', got {tie!r}")
    if not 0 <= merges <= _RIGHT - 256:
        raise ValueError(f"merges must lie in [0, {_RIGHT - 256}], got {merges}")
    if sorted(alphabet) != list(RAW):
        raise ValueError(f"alphabet must hold each byte once, got {len(alphabet)} bytes")
    trainer = Trainer(pieces, tie, alphabet)
    while len(trainer.merges) < merges and (pair := trainer.most_frequent()) is not None:
        trainer.merge(*pair)
    return trainer.merges


class Trainer:
    """Pieces whose pairs are counted and merged, one after the other; arguments as for `train`.

    merges  [(left id, right id)] so far
    tokens  what each id spells, in bytes
    """

    def __init__(self, pieces, tie: str = "smallest", alphabet: bytes = RAW):
        self._row = _Row(pieces, alphabet)
        self._pairs = _Pairs(self._row.pairs(), tie, alphabet)
        self.merges, self.tokens = [], vocabulary([], alphabet)

    def most_frequent(self, allow=None) -> tuple | None:
        """The pair to merge next, None if no pair is left. It is to be merged, no other.

        allow  function bytes -> bool: of pairs that would make a token that it refuses, none is
               asked about again
        """
        while (pair := self._pairs.most_frequent(self._row)) is not None:
            left, right = pair >> _BITS, pair & _RIGHT
            if allow is None or allow(self.tokens[left] + self.tokens[right]):
                return left, right
        return None

    def merge(self, left: int, right: int) -> None:
        """Join a pair wherever it stands, the most frequent or another; from now on it counts 0."""
        pair, pairs = left << _BITS | right, self._pairs
        self.merges.append((left, right))
        self.tokens.append(self.tokens[left] + self.tokens[right])
        pairs.downward.append(pairs.downward[left][:-1] + pairs.downward[right])
        places = pairs.places.get(pair, [])
        for new, replaced, at, count in self._row.merge(left, right, places):
            pairs.add(new, at, count)
            pairs.count[replaced] -= count
        pairs.places[pair], pairs.count[pair] = [], 0


class _Pairs:
    """All pairs with their places and counts, and who comes next.

    Pairs wait in one line for each count: {4: [aa], 2: [ab], 1: [bd, da, ac]}. The line of the
    highest count is a heap, by ids, by first place or by bytes. Counts only fall: whether a pair
    still has the count of its line is seen when its turn comes; if not, it goes to the line of its
    count.

    `downward` spells each token so that the largest is the smallest: byte b as the character
    255 - b, and 256 at the end, after which no other spelling goes on.
    """

    def __init__(self, pairs, tie, alphabet):
        self.places, self.count, self.tie = {}, {}, tie
        self.downward = [chr(255 - byte) + chr(256) for byte in alphabet]
        self.lines, self.counts, self.highest = {}, [], None  # counts: a heap of the negated keys
        for pair, places, count in pairs:
            self.add(pair, places, count)

    def add(self, pair, places, count):
        self.places[pair], self.count[pair] = places, count
        self._wait(pair)

    def _wait(self, pair):
        count, turn = self.count[pair], pair
        if self.tie == "first":
            turn = self.places[pair][0] << _PAIR_BITS | pair
        elif self.tie == "largest":
            turn = self.downward[pair >> _BITS] + self.downward[pair & _RIGHT], pair
        if count == self.highest:
            heapq.heappush(self.lines[count], turn)
        elif count in self.lines:
            self.lines[count].append(turn)
        else:
            self.lines[count] = [turn]
            heapq.heappush(self.counts, -count)

    def most_frequent(self, row):
        """The pair to merge next, which stands in no line any more; None if no pair is left."""
        while line := self._highest_line():
            turn = heapq.heappop(line)
            pair = turn[1] if self.tie == "largest" else turn & _PAIR
            if self.count[pair] == 0:
                del self.places[pair], self.count[pair]
                continue
            moved = self.tie == "first" and not row.holds(pair, self.places[pair][0])
            if moved:
                self.places[pair] = [i for i in self.places[pair] if row.holds(pair, i)]
            if self.count[pair] == self.highest and not moved:
                return pair
            self._wait(pair)
        return None

    def _highest_line(self):
        """The line of the highest count, None if nobody waits."""
        while not self.lines.get(self.highest):
            self.lines.pop(self.highest, None)
            if not self.counts:
                return None
            self.highest = -heapq.heappop(self.counts)
            heapq.heapify(self.lines[self.highest])
        return self.lines[self.highest]


_MANY = 100  # places of a pair from which NumPy is faster than a loop


class _Row:
    """The distinct pieces one after the other, a gap before and after each, and their weights.

    A token lies on as many places as it has bytes. Its id stands at its first place in `first` and
    at its last place in `last`; what stands in between means nothing. So the token after the one
    at i is first[i + its size], and the token before it is last[i - 1]. Here abc, three times in
    the text, and aab, once, after a b became A; gaps are -1:

        place     0   1   2   3   4   5   6   7   8
        first    -1   A   .   c  -1   a   A   .  -1
        last     -1   .   A   c  -1   a   .   A  -1
        weight    0   3   3   3   3   1   1   1   1      A c counts 3, a A counts 1

    `firsts` and `lasts` are NumPy's views of the two arrays, for work at all places at once.
    """

    def __init__(self, pieces, alphabet):
        counted = Counter(pieces)
        sizes = np.fromiter(map(len, counted), np.int64, len(counted)) + 1  # with the gap after it
        joined = b"\0".join([b"", *counted, b""]) or b"\0"
        number = np.argsort(np.frombuffer(bytes(alphabet), np.uint8))
        row = number[np.frombuffer(joined, np.uint8)]
        row[np.cumsum([0, *sizes])[: len(row)]] = -1
        self.first, self.last = array("q", row.tobytes()), array("q", row.tobytes())
        self.firsts = np.frombuffer(self.first, np.int64)
        self.lasts = np.frombuffer(self.last, np.int64)
        self.weights = np.repeat([0, *counted.values()], [1, *sizes])
        self.weight = self.weights.tolist()
        self.size = [1] * 256  # of each token, in bytes

    def pairs(self):
        """All pairs of bytes, each as (pair, its places, its count)."""
        left, right = self.firsts[:-1], self.firsts[1:]
        places = np.flatnonzero((left >= 0) & (right >= 0))
        groups = self._grouped(left[places] << 8 | right[places], places)
        return [(key >> 8 << _BITS | key & 255, at, count) for key, at, count in groups]

    def holds(self, pair, i):
        left, right = pair >> _BITS, pair & _RIGHT
        return self.first[i] == left and self.first[i + self.size[left]] == right

    def merge(self, left, right, places):
        """Join a pair: [(new pair, the pair that it replaces, its places, its count)].

        By the end of a run, such as a a a a, some of these places are gone again.
        """
        new, step = len(self.size), self.size[left]
        whole = step + self.size[right]
        self.size.append(whole)
        if len(places) > _MANY:
            return self._merge_at_once(left, right, new, np.array(places))
        first, last, size, weight = self.first, self.last, self.size, self.weight.__getitem__
        before, after = defaultdict(list), defaultdict(list)  # token: places where it is beside new
        for i in places:
            if first[i] != left or first[i + step] != right:
                continue  # another merge took it, or in a a a this one did
            x, y = last[i - 1], first[i + whole]
            first[i] = last[i + whole - 1] = new
            first[i + step] = -2
            if x >= 0:
                before[x].append(i - size[x])
            if y >= 0:
                after[y].append(i)
        found = []
        for y, at in after.items():
            found.append((new << _BITS | y, right << _BITS | y, at, sum(map(weight, at))))
        for x, at in before.items():
            found.append((x << _BITS | new, x << _BITS | left, at, sum(map(weight, at))))
        return found

    def _merge_at_once(self, left, right, new, places):
        """The same in NumPy, for many places."""
        step, whole = self.size[left], self.size[new]
        places = places[(self.firsts[places] == left) & (self.firsts[places + step] == right)]
        if left == right:  # a a a a a has the pair at 0 1 2 3, of which 0 2 stay: every other one
            index = np.arange(len(places))
            begins = np.diff(places, prepend=-whole) != step
            begin = np.maximum.accumulate(np.where(begins, index, 0))  # of each one's run
            places = places[(index - begin) % 2 == 0]
        self.firsts[places] = self.lasts[places + whole - 1] = new
        self.firsts[places + step] = -2
        x, y = self.lasts[places - 1], self.firsts[places + whole]
        before, after = (x >= 0) & (x != new), y >= 0  # new new is found from its left one alone
        sizes = np.array([self.size[token] for token in x[before].tolist()], np.int64)
        found = []
        for token, *rest in self._grouped(y[after], places[after]):
            replaced = right << _BITS | (left if token == new else token)
            found.append((new << _BITS | token, replaced, *rest))
        for token, *rest in self._grouped(x[before], places[before] - sizes):
            found.append((token << _BITS | new, token << _BITS | left, *rest))
        return found

    def _grouped(self, keys, places):
        """(key, its places, their weight) for each different key."""
        if not len(keys):
            return []
        both = np.sort(keys << 42 | places)  # one sort of integers is faster than argsort
        keys, places = both >> 42, both & (1 << 42) - 1
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.add.reduceat(self.weights[places], starts).tolist()
        places, bounds = places.tolist(), [*starts.tolist(), len(places)]
        groups = [places[i:j] for i, j in itertools.pairwise(bounds)]
        return list(zip(keys[starts].tolist(), groups, counts, strict=True))


# -- encoding --------------------------------------------------------------------------------------

_LONG = 200  # bytes of a piece from which a heap is faster than a list


class Joiner:
    """Joins the bytes of a piece to tokens: again and again the pair of lowest rank, the leftmost.

    tokens   all tokens as bytes; single bytes need not stand there
    merges   [(left token, right token)]: pairs rank in this order, of a pair that is listed twice
             the first counts. None: two may join if together they are a token, and rank like it

    Inside, a token is a number: a byte is its own, other tokens follow in their order. `tokens`
    lists them, `number` looks them up. rows[left] is the function (right, default) -> rank of the
    pair, a dictionary's get; the pair makes the token made[rank].
    """

    def __init__(self, tokens, merges=None):
        self.tokens = list(dict.fromkeys([*(bytes([byte]) for byte in RAW), *tokens]))
        self.number = number = {token: n for n, token in enumerate(self.tokens)}
        if merges is None:
            self.sorted, self.made = sorted(number), list(range(256, len(number)))
            self.rows = [functools.partial(self._first, left) for left in range(len(number))]
            return
        self.made, rows = [number[left + right] for left, right in merges], {}
        for rank, (left, right) in enumerate(merges):
            rows.setdefault(number[left], {}).setdefault(number[right], rank)
        nothing = {}
        self.rows = [rows.get(left, nothing).get for left in range(len(number))]

    def _first(self, left, right, stop):
        """Makes the row of a token by the vocabulary alone when it is first asked for.

        The row of "a" has all tokens that begin with "a" and go on with a token.
        """
        token, number, row = self.tokens[left], self.number.get, {}
        size, begin = len(token), bisect.bisect_right(self.sorted, token)
        end = bisect.bisect_right(self.sorted, token, begin, key=lambda other: other[:size])
        for whole in self.sorted[begin:end]:
            if (rest := number(whole[size:])) is not None:
                row[rest] = number(whole) - 256
        self.rows[left] = row.get
        return row.get(right, stop)

    def join(self, piece: bytes, stop: int | None = None) -> list:
        """The numbers of the tokens; ranks from `stop` on do not count.

        Short pieces keep all ranks in a list, O(n²); long ones in a heap, O(n log n).
        """
        stop = len(self.made) if stop is None else stop
        if len(piece) > _LONG:
            return self._join_long(piece, stop)
        rows, made, tokens = self.rows, self.made, list(piece)
        ranks = [rows[left](right, stop) for left, right in itertools.pairwise(tokens)]
        while ranks and (least := min(ranks)) < stop:
            i = ranks.index(least)
            tokens[i] = new = made[least]
            del tokens[i + 1], ranks[i]
            if i:
                ranks[i - 1] = rows[tokens[i - 1]](new, stop)
            if i < len(ranks):
                ranks[i] = rows[new](tokens[i + 1], stop)
        return tokens

    def _join_long(self, piece, stop):
        """A linked list of tokens and a heap of rank << 32 | place, checked when it comes up.

        The token after the one at i is tokens[after[i]]; one that was joined to the left is -1.
        """
        n, tokens = len(piece), list(piece)
        after, before = list(range(1, n + 1)), list(range(-1, n - 1))
        ranks = [self.rows[left](right, stop) for left, right in itertools.pairwise(tokens)]
        ranks.append(stop)  # of the last token, which has no right neighbour
        heap = [rank << 32 | i for i, rank in enumerate(ranks) if rank < stop]
        heapq.heapify(heap)
        while heap:
            entry = heapq.heappop(heap)
            rank, i = entry >> 32, entry & 0xFFFFFFFF
            if ranks[i] != rank:
                continue
            j, k = after[i], after[after[i]]
            tokens[i], tokens[j], ranks[j] = self.made[rank], -1, stop
            after[i] = k
            if k < n:
                before[k] = i
            for left, right in ((before[i], i), (i, k)):
                if left >= 0:
                    row = self.rows[tokens[left]]
                    ranks[left] = row(tokens[right], stop) if right < n else stop
                    if ranks[left] < stop:
                        heapq.heappush(heap, ranks[left] << 32 | left)
        return [token for token in tokens if token >= 0]


@twin(naive.encode_by_merges, differentiable=False)
def encode_by_merges(piece: bytes, merges: list) -> list:
    """A piece as tokens, by the merges [(left token, right token)] in their order: GPT-2's rule."""
    joiner = Joiner(
        [token for left, right in merges for token in (left, right, left + right)], merges
    )
    return [joiner.tokens[n] for n in joiner.join(piece)]


@twin(naive.encode_by_rank, differentiable=False)
def encode_by_rank(piece: bytes, tokens: list) -> list:
    """A piece as tokens, by the vocabulary alone: two join if together they are a token.

    This is tiktoken's rule. A piece that is itself a token is taken whole, whatever joining gives.
    """
    joiner = Joiner(tokens)
    return [piece] if piece in tokens else [joiner.tokens[n] for n in joiner.join(piece)]


@twin(naive.merges_of, differentiable=False)
def merges_of(tokens: list) -> list:
    """The merges [(left token, right token)] behind a vocabulary, in the order of learning.

    Raises ValueError for a token that the earlier ones do not spell in two parts.
    """
    joiner, merges = Joiner([token for token in tokens if token]), []
    for k, token in enumerate(tokens):
        if len(token) > 1:
            parts = [joiner.tokens[n] for n in joiner.join(token, stop=len(merges))]
            if len(parts) != 2:
                raise ValueError(f"token {k}, {token!r}, has no merge: earlier ones spell {parts}")
            merges.append((parts[0], parts[1]))
    return merges
