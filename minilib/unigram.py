"""Unigram tokenizers, fast: all segmentations of many texts at once.

Words are those of minilib/naive/unigram.py. Lattices are NumPy's, sums are torch's and carry
gradients. Not here: sentencepiece's files and its normalisation, which would break the round trip.
"""

import collections
import functools
import itertools
import json
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from minilib import texts as cutting
from minilib import twin
from minilib.naive import unigram as naive
from minilib.pretokenizer import PATTERNS, cutter
from minilib.spelling import few, whole_numbers
from minilib.vocabulary import write_text

# -- all segmentations of many texts at once -------------------------------------------------------


class _Lattice:
    """Which pieces end where, in all texts at once, the longest text first.

    order     row of the lattice -> number of the text; sizes: of each row, in bytes
    start     start[e] + i is the place of byte e of row i; start[e + 1] - start[e] rows reach it
    table     (places, longest piece): at l - 1 the piece of l bytes that ends there, -1 for none
    """

    def __init__(self, texts, pieces):
        if isinstance(texts, (str, bytes)) or not texts or not all(texts):
            raise ValueError(f"texts must be some, none of them empty, got {few(texts)}")
        if not all(isinstance(text, bytes) for text in texts):
            raise TypeError(f"texts must be bytes, got {few(texts)}")
        number, states, piece_at, self.longest = _trie(tuple(pieces))
        sizes = np.array([len(text) for text in texts])
        self.order = np.argsort(-sizes, kind="stable")
        self.sizes = sizes[self.order]
        joined = b"".join(texts[i] for i in self.order)
        row = number[np.frombuffer(joined, np.uint8)]
        # piece[l - 1, i]: the one of l bytes that ends at i; the trie walks on from all i at once
        piece, state = np.full((self.longest, len(row)), -1), np.ones(len(row), np.int64)
        for step in range(self.longest):
            state = states[state[: len(row) - step], row[step:]]
            piece[step, step:] = piece_at[state]
        if (piece[0] < 0).any():
            missing = int(np.argmax(piece[0] < 0))
            found = f"{joined[missing : missing + 1]} is missing"
            raise ValueError(f"pieces must hold every single byte of the texts, {found}")
        reach = np.bincount(sizes)[::-1].cumsum()[::-1]  # how many texts have e bytes or more
        self.start = np.concatenate([[0], reach.cumsum()])
        first = np.cumsum(self.sizes) - self.sizes  # of each row, in `joined`
        self.table = np.full((self.start[-1], self.longest), -1)
        for end, m in enumerate(reach.tolist()[1:], 1):
            longest = min(end, self.longest)
            self.ids(end)[:] = piece[:longest, first[:m] + end - 1].T

    def ids(self, end):
        """(rows that reach `end`, pieces' lengths): the part of the table for byte `end`."""
        return self.table[self.start[end] : self.start[end + 1], : min(end, self.longest)]

    def ends(self):
        return range(1, len(self.start) - 1)


@functools.lru_cache(maxsize=8)
def _trie(pieces):
    """(byte -> its number, states[state, number] -> state, state -> piece or -1, longest piece).

    State 1 is the beginning, from state 0 nothing goes on.
    """
    if not all(isinstance(piece, bytes) and piece for piece in pieces):
        raise ValueError(f"pieces must be bytes, none of them empty, got {few(list(pieces))}")
    if not pieces or len(set(pieces)) < len(pieces):
        raise ValueError(f"pieces must be some that differ, got {few(list(pieces))}")
    number = np.zeros(256, np.int64)
    used = sorted(set(b"".join(pieces)))
    number[used] = np.arange(1, len(used) + 1)
    known, ends = {}, [-1, -1]
    for w, piece in enumerate(pieces):
        state = 1
        for byte in piece:
            state = known.setdefault((state, int(number[byte])), len(ends))
            if state == len(ends):
                ends.append(-1)
        ends[state] = w
    states = np.zeros((len(ends), len(used) + 1), np.int32)
    if known:
        states[tuple(np.array(list(known)).T)] = list(known.values())
    return number, states, np.array(ends), max(map(len, pieces))


def check_model(pieces, logp, lam=1.0):
    """Raise ValueError unless logp has one finite number for each piece, and lam is above 0."""
    if tuple(logp.shape) != (len(pieces),):
        wanted = f"one number for each of {len(pieces)} pieces"
        raise ValueError(f"logp must be {wanted}, got shape {tuple(logp.shape)}")
    values = torch.as_tensor(logp).detach()
    if not (values.abs() < 1e4).all():
        raise ValueError(f"logp must be finite, of less than 10,000 nats, got {few(values)}")
    check_lam(lam)


def check_lam(lam):
    """Raise ValueError unless lam is above 0 and finite."""
    if not 0 < lam < math.inf:
        raise ValueError(f"lam must be above 0, got {lam}")


def _columns(lattice, logp, lam):
    """The sums at each end e, of the rows that reach it."""
    columns = [logp.new_zeros(len(lattice.order))]
    for end in lattice.ends():
        ids = torch.from_numpy(lattice.ids(end)).to(logp.device)
        m, longest = ids.shape
        before = torch.stack([columns[-step][:m] for step in range(1, longest + 1)], 1)
        weight = torch.where(ids >= 0, lam * logp[ids.clamp(min=0)], -math.inf)
        columns.append((before + weight).logsumexp(1))
    return columns


@twin(naive.forward_sums)
def forward_sums(texts: list[bytes], pieces: list[bytes], logp: Tensor, lam: float = 1.0) -> Tensor:
    """log of the sum of p(s)^lam over all segmentations of each beginning of each text.

    Returns (B, T + 1), -inf behind a text's end. All texts take a step together, T steps in all.
    The gradient of a text's last sum in lam * logp is the expected count of each piece.
    Raises ValueError for an empty text, pieces without a byte of the texts, or lam <= 0.
    """
    check_model(pieces, logp, lam)
    lattice = _Lattice(texts, pieces)
    rows = torch.from_numpy(np.argsort(lattice.order)).to(logp.device)
    after = lambda column: (0, len(texts) - len(column))
    columns = [
        functional.pad(column, after(column), value=-math.inf)
        for column in _columns(lattice, logp, lam)
    ]
    return torch.stack(columns, 1)[rows]


@twin(naive.sample, differentiable=False)
def sample(
    texts: list[bytes], pieces: list[bytes], logp: Tensor, u: Tensor, lam: float = 1.0
) -> list[list[int]]:
    """One segmentation of each text, drawn from p(s)^lam by forward filtering, backward sampling.

    u (B, T) uniforms in [0, 1), at least as many a row as the longest text has bytes. All texts
    draw a piece together. In float64, whatever comes.
    """
    check_model(pieces, logp, lam)
    lattice = _Lattice(texts, pieces)
    logp, u = logp.detach().double().cpu(), u.detach().double().cpu().numpy()
    if u.ndim != 2 or len(u) != len(texts) or u.shape[1] < lattice.sizes[0]:
        wanted = f"shape ({len(texts)}, {lattice.sizes[0]}) or wider"
        raise ValueError(f"u must have {wanted}, got {tuple(u.shape)}")
    if not ((u >= 0) & (u < 1)).all():
        raise ValueError("u must lie in [0, 1), got others")
    A = torch.cat(_columns(lattice, logp, lam)).numpy()
    logp, start, step = logp.numpy(), lattice.start, np.arange(1, lattice.longest + 1)
    rows, end, steps = np.arange(len(texts)), lattice.sizes, []
    while len(rows):
        here = start[end] + rows
        ids, before = lattice.table[here], (end[:, None] - step).clip(min=0)
        logs = A[start[before] + rows[:, None]] + lam * logp[ids] - A[here][:, None]
        total = np.where(ids >= 0, np.exp(logs.clip(max=1)), 0.0).cumsum(1)
        u_here = u[lattice.order[rows], end - 1][:, None]
        last = lattice.longest - 1 - (ids >= 0)[:, ::-1].argmax(1)  # if rounding leaves total <= u
        choice = np.minimum((u_here >= total).sum(1), last)
        steps.append((rows, ids[np.arange(len(ids)), choice]))
        end = end - step[choice]
        rows, end = rows[end > 0], end[end > 0]
    drawn = _joined(steps)
    return [drawn[row] for row in np.argsort(lattice.order)]


_NONE = -(1 << 60)  # the score of no segmentation: below all others, and twice of it fits an int64


@twin(naive.nbest, differentiable=False)
def nbest(texts: list[bytes], pieces: list[bytes], logp: Tensor, n: int) -> list[list[list[int]]]:
    """The n best segmentations of each text, best first; ties as in the definition.

    All texts take a step together. The candidates for a byte stand in a row, shorter last pieces
    first, and argmax takes the first of equals, n times. Time: about n^2 times the longest piece
    operations for each byte; memory: 16 n bytes for each.
    """
    check_model(pieces, logp)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    lattice = _Lattice(texts, pieces)
    units = np.rint(logp.detach().double().cpu().numpy() * 2.0**32).astype(np.int64)
    units = np.append(units, _NONE)  # units[-1]: of no piece
    first = np.full((len(texts), n), _NONE)
    first[:, 0] = 0
    scores, choices = [first], [np.zeros((len(texts), n), np.int64)]
    for end in lattice.ends():
        ids = lattice.ids(end)
        rows, longest = np.arange(len(ids)), ids.shape[1]
        options = np.stack([scores[-step][: len(ids)] for step in range(1, longest + 1)], 1)
        options = (options + units[ids][:, :, None]).reshape(len(ids), longest * n)
        score, choice = np.empty((2, len(ids), n), np.int64)
        for k in range(n):
            choice[:, k] = options.argmax(1)
            score[:, k] = options[rows, choice[:, k]]
            options[rows, choice[:, k]] = 2 * _NONE
        scores.append(np.where(score < _NONE // 2, _NONE, score))
        choices.append(choice)
    return _followed(lattice, np.concatenate(scores), np.concatenate(choices), n)


def _followed(lattice, scores, choices, n):
    """The segmentations that choices, (length - 1) * n + rank before, spell from all ends back."""
    start, found = lattice.start, [[] for _ in lattice.order]
    row, rank = np.nonzero(scores[start[lattice.sizes] + np.arange(len(found))] > _NONE)
    of, end, steps = lattice.order[row].tolist(), lattice.sizes[row], []
    which = np.arange(len(of))
    while len(which):
        here = start[end] + row
        length, rank = np.divmod(choices[here, rank], n)
        steps.append((which, lattice.table[here, length]))
        end = end - length - 1
        on = end > 0
        which, row, end, rank = which[on], row[on], end[on], rank[on]
    for i, ids in zip(of, _joined(steps), strict=True):
        found[i].append(ids)
    return found


def _joined(steps):
    """[(which list, id)], the last ids first, as one list of ids for each."""
    which, ids = (np.concatenate(parts) for parts in zip(*steps[::-1], strict=True))
    ends = np.bincount(which).cumsum().tolist()
    ids = ids[np.argsort(which, kind="stable")].tolist()
    return [ids[i:j] for i, j in itertools.pairwise([0, *ends])]


# -- a unigram model, from texts -------------------------------------------------------------------


@twin(naive.em_step, differentiable=False)
def em_step(texts: dict[bytes, int], pieces: list[bytes], logp: Tensor) -> Tensor:
    """log p(w) after one step of EM, (V,), from {text: how often}.

    The expected counts are the gradient of the texts' log-probability, so there is no backward sum.
    """
    check_model(pieces, logp)
    lattice = _Lattice(list(texts), pieces)
    times = np.array(list(texts.values()))[lattice.order]
    with torch.enable_grad():
        leaf = logp.detach().requires_grad_()
        sums = torch.cat(_columns(lattice, leaf, 1.0))
        ends = sums[lattice.start[lattice.sizes] + np.arange(len(times))]
        total = (ends * torch.from_numpy(times).to(ends)).sum()
        (counts,) = torch.autograd.grad(total, leaf)
    counts = counts.clamp(min=1e-6)
    return (counts / counts.sum()).log()


@twin(naive.train, differentiable=False)
def train(
    texts: dict[bytes, int], size: int, longest: int = 8, start: int = 10_000
) -> tuple[list[bytes], list[float]]:
    """The pieces, the 256 bytes first, and log p(w) of a unigram model, from {text: how often}.

    EM with all different texts at once; what each piece helps, with one 2-best search for all.
    Raises ValueError for a size below 256, longest below 1, or start below 0.
    """
    if size < 256:
        raise ValueError(f"size must be at least 256, the single bytes, got {size}")
    if longest < 1:
        raise ValueError(f"longest must be at least 1, got {longest}")
    if start < 0:
        raise ValueError(f"start must be at least 0, got {start}")
    times = collections.Counter()
    for text, number in texts.items():
        for i in range(len(text)):
            for j in range(i + 1, min(i + longest, len(text)) + 1):
                times[text[i:j]] += number
    single = [bytes([byte]) for byte in range(256)]
    longer = [piece for piece in times if len(piece) >= 2 and times[piece] >= 2]
    longer.sort(key=lambda piece: (-times[piece] * len(piece), piece))
    pieces = single + longer[:start]
    counts = torch.tensor([max(times[piece], 1e-6) for piece in pieces], dtype=torch.float64)
    logp = (counts / counts.sum()).log()
    while True:
        logp = em_step(texts, pieces, em_step(texts, pieces, logp))
        if len(pieces) <= size:
            return pieces, logp.tolist()
        values, helps = logp.tolist(), {}
        for w, found in enumerate(nbest(pieces[256:], pieces, logp, 2), 256):
            other = found[1] if found[0] == [w] else found[0]
            better = values[w] - sum(values[v] for v in other)
            helps[w] = round(math.exp(values[w]) * better, 12)
        keep = max(size - 256, len(helps) * 3 // 4)
        most = sorted(helps, key=lambda w: (-helps[w], pieces[w]))[:keep]
        stay = [*range(256), *sorted(most)]
        pieces, logp = [pieces[w] for w in stay], logp[stay]


class UnigramTokenizer:
    """Text to ids and back by the best segmentation under a unigram model; bytes come back exactly.

    pieces  list of different byte strings, the 256 single bytes first
    logp    log p(w) of each
    GPT-2's pattern cuts the text into words first, as it does for BPE. Equal words are cut equally.
    Raises ValueError where a single byte is missing.
    """

    def __init__(self, pieces: Sequence[bytes], logp: Sequence[float] | Tensor):
        self.pieces = list(pieces)
        if self.pieces[:256] != [bytes([byte]) for byte in range(256)]:
            found = few(self.pieces[:256])
            raise ValueError(f"pieces must begin with the 256 single bytes in order, got {found}")
        _trie(tuple(self.pieces))
        self.logp = torch.as_tensor(logp, dtype=torch.float64)
        check_model(self.pieces, self.logp)
        self._known = {}

    @classmethod
    def train(cls, text: str | bytes, vocab_size: int) -> "UnigramTokenizer":
        """Learn at most vocab_size pieces from a text; see the function `train`."""
        return cls(*train(collections.Counter(_words(text)), vocab_size))

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return len(self.pieces)

    def encode(self, text: str | bytes) -> list[int]:
        """str or bytes -> ids."""
        words, known = _words(text), self._known
        new = [word for word in dict.fromkeys(words) if word not in known]
        if new:
            found = nbest(new, self.pieces, self.logp, 1)
            known.update(zip(new, (best for (best,) in found), strict=True))
        return [i for word in words for i in known[word]]

    def decode(self, ids: Sequence[int]) -> bytes:
        """ids -> bytes. Raises ValueError for an id that is none, TypeError for no integer."""
        ids = whole_numbers(ids)
        for i in ids:
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"ids must lie in [0, {self.vocab_size}), got {i}")
        return b"".join(self.pieces[i] for i in ids)

    def save(self, path: str | os.PathLike) -> None:
        """Write a JSON file, whole or not at all, for `load`."""
        pieces = [piece.decode("latin-1") for piece in self.pieces]  # any byte is a character of it
        write_text(path, json.dumps({"pieces": pieces, "logp": self.logp.tolist()}))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "UnigramTokenizer":
        """Read what `save` wrote. Raises ValueError for another file."""
        try:
            found = json.loads(pathlib.Path(path).read_text())
            return cls([piece.encode("latin-1") for piece in found["pieces"]], found["logp"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{str(path)!r} holds no pieces of a UnigramTokenizer"
            raise ValueError(f"{problem}: {error}") from None


def _words(text):
    """The pieces that GPT-2's pattern cuts, as bytes."""
    if not isinstance(text, str | bytes):
        raise TypeError(f"text must be str or bytes, got {type(text).__name__}")
    cut = cutter(PATTERNS["gpt2"])
    parts = cutting.cut(text, PATTERNS["gpt2"])
    return [cutting.raw(word) for some in parts for part in some for word in cut(part)]
