"""Words read letter by letter: char-CNN, highway, and a language model of words that can spell.

Names and symbols are those of minilib/naive/char_aware.py. Not here: dropout, a second LSTM layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.language_model import LanguageModel, check_ids
from minilib.lstm import lstm
from minilib.naive import char_aware as naive
from minilib.naive.char_aware import BARRED
from minilib.shapes import check_sizes

# -- one word --------------------------------------------------------------------------------------


@twin(naive.pad_words)
def pad_words(words: Sequence, longest: int) -> Tensor:
    """Words, each some letters, as rows of one array: (N, longest) int64, -1 behind the last.

    Raises ValueError for an empty word and for one of more than `longest` letters.
    """
    rows = torch.full((len(words), longest), -1)
    for row, word in zip(rows, words, strict=True):
        if not 1 <= len(word) <= longest:
            raise ValueError(f"words must have 1 to {longest} letters, got one of {len(word)}")
        row[: len(word)] = torch.tensor(list(word))
    return rows


@twin(naive.char_cnn)
def char_cnn(rows: Tensor, C: Tensor, filters: list, biases: list, squash: str = "tanh") -> Tensor:
    """What each filter finds in each word, where it finds most: (N, longest) -> (N, filters).

    rows     int64, as pad_words makes them; C (A + 2, d): letters, then the marks of both ends
    filters  tensors (h, d, w), one for each width w; biases (h,) each
    squash   "tanh" or "relu"
    The maximum comes first in both: tanh grows with its argument, so that it is the same, and
    `longest` times less work. A window with padding in it cannot win, whatever stands there.
    """
    if squash not in ("tanh", "relu"):
        raise ValueError(f"squash must be 'tanh' or 'relu', got {squash!r}")
    if rows.dim() != 2 or rows.dtype != torch.int64:
        got = f"{rows.dtype} {tuple(rows.shape)}"
        raise ValueError(f"rows must be int64 of shape (N, longest), got {got}")
    for F, b in zip(filters, biases, strict=True):
        if F.dim() != 3 or F.shape[1] != C.shape[1] or b.shape != F.shape[:1]:
            got = f"{tuple(F.shape)} and {tuple(b.shape)}"
            raise ValueError(f"filters and biases must be (h, d={C.shape[1]}, w), (h,), got {got}")
    letters, A = (rows >= 0).sum(1, keepdim=True), len(C) - 2
    places = torch.arange(rows.shape[1] + 1, device=rows.device)
    symbols = functional.pad(rows, (0, 1)).where(places < letters, A + 2)  # A + 2 is nothing: 0
    symbols = functional.pad(symbols.where(places != letters, A + 1), (1, 0), value=A)
    columns = functional.embedding(symbols, functional.pad(C, (0, 0, 0, 1))).transpose(1, 2)
    y = []
    for F, b in zip(filters, biases, strict=True):
        w = F.shape[2]
        found = functional.conv1d(functional.pad(columns, (0, max(0, w - columns.shape[2]))), F, b)
        start = torch.arange(found.shape[2], device=rows.device)
        inside = (start == 0) | (start + w <= letters + 2)
        y.append(found.masked_fill_(~inside[:, None], -torch.inf).max(2).values)
    return torch.cat(y, 1).tanh() if squash == "tanh" else torch.cat(y, 1).relu()


@twin(naive.highway)
def highway(y: Tensor, W_H: Tensor, b_H: Tensor, W_T: Tensor, b_T: Tensor) -> Tensor:
    """z = t relu(W_H y + b_H) + (1 - t) y, t = sigmoid(W_T y + b_T); y (N, F)."""
    _check_layer(y, W_H, b_H, W_T, b_T)
    t = functional.linear(y, W_T, b_T).sigmoid()
    return y + t * (functional.linear(y, W_H, b_H).relu() - y)


@twin(naive.highway_carry)
def highway_carry(y: Tensor, W_H: Tensor, b_H: Tensor, W_G: Tensor, b_G: Tensor) -> Tensor:
    """z = g y + (1 - g) relu(W_H y + b_H), g = sigmoid(W_G y + b_G); y (N, F)."""
    _check_layer(y, W_H, b_H, W_G, b_G)
    g = functional.linear(y, W_G, b_G).sigmoid()
    other = functional.linear(y, W_H, b_H).relu()
    return other + g * (y - other)


def _check_layer(y, W_H, b_H, W_T, b_T):
    F = y.shape[-1]
    got = [tuple(x.shape) for x in (W_H, b_H, W_T, b_T)]
    if y.dim() != 2 or got != [(F, F), (F,), (F, F), (F,)]:
        raise ValueError(f"y must be (N, F) and the layer (F, F), (F,) twice, got {F=} and {got}")


# -- the language model ----------------------------------------------------------------------------


class CharAwareState(NamedTuple):
    """What a CharAware keeps between calls; rows of the batch first."""

    h: Tensor  # (batch, width), c too: the LSTM over words
    c: Tensor
    s: Tensor  # (batch, speller), s_c too: the LSTM that spells
    s_c: Tensor
    letters: Tensor  # (batch, longest): of the word that is being spelled, -1 behind them
    spelling: Tensor  # (batch,) bool: is one?


def _uniform(n, *shape):
    return nn.Parameter(torch.empty(shape).uniform_(-(n**-0.5), n**-0.5))


class _Reader(nn.Module):
    """From letters to vectors: char-CNN, highway, projection."""

    def __init__(self, A, rows, letter, widths, filters, highway, vector):
        super().__init__()
        counts = [filters * w for w in widths]
        F = sum(counts)
        self.C = nn.Parameter(torch.randn(A + 2, letter))
        self.banks = len(widths)
        for k, (h, w) in enumerate(zip(counts, widths, strict=True)):
            # large filters, and a bias against the largest of several: y spreads over -1 … 1, and
            # tells words apart from the first step on
            self.register_parameter(f"F_{k}", _uniform(letter * w / 9, h, letter, w))
            self.register_parameter(f"b_{k}", nn.Parameter(torch.full((h,), -2.5)))
        if highway:
            self.W_H, self.b_H = _uniform(F, F, F), _zeros(F)
            self.W_T, self.b_T = _uniform(F, F, F), nn.Parameter(torch.full((F,), -2.0))
        self.highway, self.W_e = highway, _uniform(F / 9, vector, F)  # vectors near size 1
        self.register_buffer("rows", rows, persistent=False)  # (words, longest): the known
        self._kept = ([], None)

    def forward(self, known, spelled):
        """Vectors of some of the known words, (N,) indices or None for all, and of spelled ones."""
        if known is not None:
            rows = torch.cat([self.rows[known], spelled])
            return self.read(rows[:, : (rows >= 0).sum(1).max()] if len(rows) else rows)
        # a block of one size has the same rounding wherever, and with whatever, a word is read
        blocks = functional.pad(spelled, (0, 0, 0, -len(spelled) % 32)).split(32)
        read = torch.cat([self.table(), *(self.read(block) for block in blocks)])
        return read[: len(self.rows) + len(spelled)]

    def read(self, rows):
        filters, biases = zip(
            *((getattr(self, f"F_{k}"), getattr(self, f"b_{k}")) for k in range(self.banks)),
            strict=True,
        )
        y = char_cnn(rows, self.C, filters, biases)
        if self.highway:
            y = highway(y, self.W_H, self.b_H, self.W_T, self.b_T)
        return functional.linear(y, self.W_e)

    def table(self):
        """The vectors of all known words, kept for as long as no parameter changes."""
        now = list(self.parameters())
        then, table = self._kept
        same = lambda a, b: a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
        if table is None or not all(map(same, now, then)):
            table = torch.cat([self.read(rows) for rows in self.rows.split(1024)])
            self._kept = ([p.detach().clone() for p in now], table)
        return table


@twin(naive.char_aware_lm)
class CharAware(LanguageModel):
    """An LSTM over words that reads their letters, beside one over letters that spells the unknown.

    words     the known words: str, bytes, or sequences of letters in [0, alphabet)
    inputs    "letters", or "table": a vector for each known word and one for all others. A letter
              that is a word by itself, a comma or a new line, has a vector of its own in both
    alphabet  letters. Then come two ids, of the ends of a spelling, and the words
    longest   letters that are read of a word
    width     n, cells of the LSTM over words; vector, size of what it gets for a word
    letter    d, size of the vector of a letter
    widths    of filters; one of width w comes `filters` · w times
    highway   a highway layer above the filters?
    speller   cells of the LSTM that spells
    The char-CNN reads a word once, however often it stands in a batch; without gradients it reads
    all known words once for as long as the parameters stay, and keeps words · vector numbers.
    Departures from Kim et al.: one LSTM layer; its inputs are projected; peepholes; it spells.
    """

    def __init__(
        self,
        words: Sequence = (),
        inputs: str = "letters",
        alphabet: int = 256,
        longest: int = 20,
        width: int = 128,
        vector: int = 128,
        letter: int = 15,
        widths: Sequence[int] = (1, 2, 3, 4, 5),
        filters: int = 20,
        highway: bool = True,
        speller: int = 96,
    ):
        super().__init__()
        A, n, m, e = alphabet, width, speller, vector
        check_sizes(alphabet=A, longest=longest, width=n, speller=m, vector=e, letter=letter)
        check_sizes(filters=filters, **{f"widths[{k}]": width for k, width in enumerate(widths)})
        if not widths:
            raise ValueError("widths must not be empty")
        if inputs not in ("letters", "table"):
            raise ValueError(f"inputs must be 'letters' or 'table', got {inputs!r}")
        words = [[*w.encode()] if isinstance(w, str) else [*w] for w in words]
        known = pad_words(words, longest)
        if max(map(max, words), default=0) >= A or min(map(min, words), default=0) < 0:
            raise ValueError(f"letters of words must lie in [0, {A}), got others")
        self.alphabet, self.longest, self.vocab_size = A, longest, A + 2 + len(words)
        self.reader = None
        if inputs == "letters":
            self.reader = _Reader(A, known, letter, widths, filters, highway, e)
            self.single = nn.Parameter(torch.randn(A, e))
        else:
            self.table = nn.Parameter(torch.randn(A + 1 + len(words), e))
        open_gates = lambda size: nn.Parameter(torch.eye(4)[1].repeat_interleave(size))
        # W_x and W_e three times as large as the others: words differ from the first step on
        self.W_x, self.W_h = _uniform(e / 9, 4 * n, e), _uniform(n, 4 * n, n)
        self.peep, self.bias = nn.Parameter(torch.zeros(3, n)), open_gates(n)
        self.S_x = nn.Parameter(torch.randn(A + 3, 4 * m))
        self.S_word, self.S_h = _uniform(n, 4 * m, n), _uniform(m, 4 * m, m)
        self.S_peep, self.S_bias = nn.Parameter(torch.zeros(3, m)), open_gates(m)
        self.W_y, self.b_y = _uniform(n, self.vocab_size, n), _zeros(self.vocab_size)
        self.S_y, self.S_b = _uniform(m, A + 1, m), _zeros(A + 1)

    def init_state(self, batch_size: int) -> CharAwareState:
        """No word read, none being spelled."""
        zeros = lambda size: self.W_h.new_zeros(batch_size, size)
        whole = lambda *shape, value: torch.full(shape, value, device=self.W_h.device)
        return CharAwareState(
            *(zeros(size) for size in [self.W_h.shape[1]] * 2 + [self.S_h.shape[1]] * 2),
            whole(batch_size, self.longest, value=-1),
            whole(batch_size, value=False),
        )

    def extend(self, ids, state):
        h, s, spelling, state = self.read(ids, state)
        A = self.alphabet
        word = functional.linear(h, self.W_y, self.b_y)
        spelled = functional.linear(s, self.S_y, self.S_b)
        barred = lambda n: spelled.new_full((*ids.shape, n), BARRED)
        rest = barred(self.vocab_size - A - 2)
        letters = torch.cat([spelled[..., :A], barred(1), spelled[..., A:], rest], -1)
        return letters.where(spelling[..., None], word), state

    def loss(self, ids: Tensor) -> Tensor:
        """Mean nats per symbol of rows of legal ids (batch, time + 1), for `lab.fit(loss=...)`.

        The same as the cross-entropy of forward's logits, with far fewer of them. A row that begins
        inside a spelling counts from the end of that spelling on: nothing says that its first ids
        are letters. Raises ValueError if something else than a letter or its end is in a spelling.
        """
        A, target = self.alphabet, ids[:, 1:]
        h, s, spelling, _ = self.read(ids[:, :-1], self.init_state(len(ids)))
        begun_before = (target == A + 1) & ~spelling
        counts = begun_before.flip(1).cumsum(1).flip(1) == 0
        word, letter = counts & ~spelling, counts & spelling
        letters = target[letter]
        if ((letters == A) | (letters > A + 1)).any():
            raise ValueError("ids must spell words of letters alone, got a word in a spelling")
        total = functional.cross_entropy(
            functional.linear(h[word], self.W_y, self.b_y), target[word], reduction="sum"
        ) + functional.cross_entropy(
            functional.linear(s[letter], self.S_y, self.S_b), letters.clamp(max=A), reduction="sum"
        )
        return total / counts.sum().clamp(min=1)

    def read(self, ids: Tensor, state: CharAwareState) -> tuple:
        """Both LSTMs without their logits: h and s after each id, (batch, time) bool, state.

        The bool says where a word is being spelled, so that s predicts the next id; elsewhere h.
        """
        check_ids(ids, self.vocab_size, dims=2)
        A, (B, T) = self.alphabet, ids.shape
        place = torch.arange(T, device=ids.device).expand(B, T)
        # the last id that is no letter tells whether a word is being spelled; -1: none in this call
        last = place.where(ids >= A, -1).cummax(1).values
        spelling = (ids.gather(1, last.clamp(min=0)) == A).where(last >= 0, state.spelling[:, None])
        x = self._vectors(ids, last, spelling, state)
        h, h_last, c = self._words(x, ~spelling, state)
        fed = functional.embedding(ids.clamp(max=A + 2), self.S_x + self.S_bias)
        fed = fed + functional.linear(h, self.S_word)
        s, s_last, s_c = lstm(fed, state.s, state.s_c, self.S_h, self.S_peep)
        row = torch.arange(B, device=ids.device)
        letters = self._spelled(ids, last, spelling, state, row, torch.full_like(row, T))
        after = CharAwareState(h_last, c, s_last, s_c, letters, spelling[:, -1].clone())
        return h, s, spelling, after

    def _spelled(self, ids, last, spelling, state, row, t):
        """Letters of the words that are being spelled before t[k] in row[k]; -1 if none is."""
        k = torch.arange(self.longest, device=ids.device)
        before = (t - 1).clamp(min=0)
        start = last[row, before].where(t > 0, -1)[:, None]
        now = spelling[row, before].where(t > 0, state.spelling[row])[:, None]
        old = ((state.letters[row] >= 0).sum(1, keepdim=True)).where(start < 0, 0)
        source = start + 1 + k - old
        letters = ids[row[:, None], source.clamp(0, ids.shape[1] - 1)]
        letters = letters.where(k >= old, state.letters[row])
        return letters.where(now & (source < t[:, None]), -1)

    def _vectors(self, ids, last, spelling, state):
        """(batch, time, e): the vector of the word that is complete at t, anything elsewhere."""
        A = self.alphabet
        if self.reader is None:
            return functional.embedding(ids.where(ids <= A, ids - 1), self.table)
        word, ends = ids - A - 2, ids == A + 1
        if torch.compiler.is_compiling():  # all places alike: a graph has fixed shapes
            row, t = torch.ones_like(ids).nonzero(as_tuple=True)
            spelled = self._spelled(ids, last, spelling, state, row, t)
            rows = functional.pad(self.reader.rows, (0, 0, 0, 1), value=-1)
            spelled = spelled.where(ends.flatten()[:, None], rows[word.flatten().clamp(min=0)])
            single = functional.embedding(ids.clamp(max=A - 1), self.single)
            read = self.reader.read(spelled).view_as(single)
            return single.where((ids < A)[..., None], read)
        # by time first: a word stays in its block when later ones change
        t, row = ends.t().nonzero(as_tuple=True)
        spelled = self._spelled(ids, last, spelling, state, row, t)
        known, rank = None, word
        if torch.is_grad_enabled():
            known = word[word >= 0].unique()
            rank = torch.searchsorted(known, word)
        vectors = torch.cat([self.single, self.reader(known, spelled)])
        index = ids.where(ids < A, A + rank.clamp(min=0))
        number = torch.arange(len(vectors) - len(t), len(vectors), device=ids.device)
        index = index.index_put((row, t), number).where(ids != A, 0)  # A ends no word
        return functional.embedding(index, vectors)

    def _words(self, x, complete, state):
        """The LSTM over words: its output (batch, time, n) after each id, last h and c.

        Its steps are the places where a word is complete, moved to the front of each row. Behind
        them the gates hold the cell: i = 0, f = 1.
        """
        order = (~complete).to(torch.uint8).argsort(dim=1, stable=True)
        count = complete.cumsum(1)
        x = functional.linear(x.gather(1, order[..., None].expand_as(x)), self.W_x, self.bias)
        n, T = self.W_h.shape[1], complete.shape[1]
        hold = x.new_tensor([-1e4, 1e4, 0, 0]).repeat_interleave(n)
        step = torch.arange(T, device=x.device)
        x = x.where((step < count[:, -1:])[..., None], hold)
        outputs, _, c = lstm(x, state.h, state.c, self.W_h, self.peep)
        outputs = torch.cat([state.h[:, None], outputs], 1)
        h = outputs.gather(1, count[..., None].expand(-1, -1, n))
        return h, h[:, -1].clone(), c


def _zeros(n):
    return nn.Parameter(torch.zeros(n))
