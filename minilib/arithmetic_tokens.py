"""Numbers as tokens, fast: whole batches of sums as ids, and a model that is asked for answers.

Names and words are those of minilib/naive/arithmetic_tokens.py.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.language_model import LanguageModel
from minilib.naive import arithmetic_tokens as naive
from minilib.naive.arithmetic_tokens import COMMA, END, EQUALS, PLUS


def _check_digits(digits, k=1):
    if not isinstance(digits, str) or not digits or not set(digits) <= set("0123456789"):
        raise ValueError(f"digits must be a string of the digits 0 to 9, got {digits!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")


@twin(naive.chunk_left, differentiable=False)
def chunk_left(digits: str, k: int) -> list[str]:
    """Cut a number into pieces of k digits, from the left: the last may be shorter.

    Raises ValueError for an empty string, for other characters than digits, and for k below 1.
    """
    _check_digits(digits, k)
    return [digits[i : i + k] for i in range(0, len(digits), k)]


@twin(naive.chunk_right, differentiable=False)
def chunk_right(digits: str, k: int) -> list[str]:
    """Cut a number into pieces of k digits, from the right: the first may be shorter.

    Where the first piece ends is known beforehand: the rest of a division by k.
    Raises ValueError for an empty string, for other characters than digits, and for k below 1.
    """
    _check_digits(digits, k)
    ends = range((len(digits) - 1) % k + 1, len(digits) + 1, k)
    return [digits[max(0, end - k) : end] for end in ends]


def _last_places(tokens):
    """The place of the last digit of each token, from the last one on: one pass."""
    places, place = [], 0
    for token in reversed(tokens):
        _check_digits(token)
        places.append(place)
        place += len(token)
    return places[::-1]


@twin(naive.crossing_digits, differentiable=False)
def crossing_digits(a: Sequence[str], b: Sequence[str], answer: Sequence[str]) -> list[int]:
    """Digits of the answer whose digits in a or b lie in another token than their neighbours'.

    A digit of an answer token crosses where an operand has an edge between its place and that of
    the token's last digit: only places of edges are kept, a few for each number.
    """
    edges = [set(_last_places(operand)) for operand in (a, b)]
    ends = [sum(map(len, operand)) for operand in (a, b)]  # one more than the highest place
    length, crossing = sum(map(len, answer)), []
    for token, last in zip(answer, _last_places(answer), strict=True):
        for place in range(last + len(token) - 1, last, -1):
            for edge, end in zip(edges, ends, strict=True):
                if place < end and not edge.isdisjoint(range(last + 1, place + 1)):
                    crossing.append(length - place)
                    break
    return crossing


@twin(naive.carries, differentiable=False)
def carries(a: Tensor, b: Tensor, places: int) -> Tensor:
    """Which columns of the sums a + b send a carry on: (n, places) bool.

    No loop: column j sends one where the last j + 1 digits of a and of b add up to 10^(j+1) or
    more. Up to 18 places, as int64 holds them.
    """
    a, b = _numbers(a, b)
    if not 1 <= places <= 18:
        raise ValueError(f"places must lie in 1 to 18, got {places}")
    power = torch.tensor([10 ** (j + 1) for j in range(places)], device=a.device)
    return a[:, None] % power + b[:, None] % power >= power


def _numbers(a, b):
    """a and b as int64 tensors, or ValueError."""
    numbers = [torch.as_tensor(x) for x in (a, b)]
    for name, x in zip("ab", numbers, strict=True):
        if x.dim() != 1 or not len(x) or x.shape != numbers[0].shape or x.is_floating_point():
            got = f"{tuple(x.shape)} {x.dtype}"
            raise ValueError(f"a and b must be integers of one shape (n,), n >= 1; {name} is {got}")
        if x.min() < 0 or x.max() >= 10**17:
            got = f"{int(x.min())} to {int(x.max())}"
            raise ValueError(f"{name} must lie in [0, 10^17), got {got}")
    return [x.long() for x in numbers]


def vocabulary(k: int) -> list[str]:
    """All tokens in the order of their ids: + = , newline (the end), and pieces up to k digits."""
    return ["+", "=", ",", "\n"] + [f"{v:0{j}}" for j in range(1, k + 1) for v in range(10**j)]


def _piece_ids(numbers, k, cut):
    """(n,) int -> ids of their pieces (n, pieces of the longest), -1 where there is none."""
    power = torch.tensor([10**j for j in range(19)], device=numbers.device)
    length = (numbers[:, None] >= power).sum(1).clamp(min=1)[:, None]
    before = torch.arange(0, int(length.max()), k, device=numbers.device)  # (pieces,)
    if cut == "left":
        start, end = before.expand(len(numbers), -1), before + k
    else:
        end = before + (length - 1) % k + 1
        start = (end - k).clamp(min=0)
    size = (end.clamp(max=length) - start).clamp(min=0)
    value = numbers[:, None] // power[(length - end).clamp(min=0)] % power[size]
    first = (power[size] - 10) // 9 + 4
    return torch.where(size > 0, first + value, -1)


@twin(naive.sum_ids, differentiable=False)
def sum_ids(
    a: Tensor, b: Tensor, k: int, cut: str = "left", reverse: bool = False, commas: bool = False
) -> tuple[Tensor, Tensor]:
    """The sums a + b = as rows of ids, each with its answer; and which ids are to be learned.

    All rows at once: the pieces of a number come from divisions by powers of ten, in a table with
    -1 where a shorter number has no piece; a stable sort then moves these gaps to the end.
    Memory: a few tables of the size of the answer.
    Raises ValueError for k below 1, numbers outside [0, 10^17), and another cut.
    """
    a, b = _numbers(a, b)
    if not 1 <= k <= 9:
        raise ValueError(f"k must lie in 1 to 9, got {k}")
    if cut not in ("left", "right"):
        raise ValueError(f"cut must be 'left' or 'right', got {cut!r}")
    parts = []
    for number in (a, b, a + b):
        pieces = _piece_ids(number, k, cut)
        if commas:  # one before each piece but the first
            comma = torch.where(pieces < 0, -1, COMMA)
            comma[:, 0] = -1
            pieces = torch.stack([comma, pieces], 2).flatten(1)
        parts.append(pieces)
    sign = lambda i: torch.full_like(a, i)[:, None]
    answer = torch.cat([parts[2].flip(1) if reverse else parts[2], sign(END)], 1)
    prompt = torch.cat([parts[0], sign(PLUS), parts[1], sign(EQUALS)], 1)
    ids = torch.cat([prompt, answer], 1)
    gap = ids < 0
    order = gap.int().argsort(dim=1, stable=True)[:, : int((~gap).sum(1).max())]
    learned = (~gap & (torch.arange(ids.shape[1], device=a.device) >= prompt.shape[1])).gather(
        1, order
    )
    ids = ids.gather(1, order)
    return torch.where(ids < 0, END, ids), learned


@twin(naive.error_positions, differentiable=False)
def error_positions(predicted: str, true: str) -> list[int]:
    """Numbers of the digits, from the left, at which two answers differ; the first is 1."""
    same = min(len(predicted), len(true))
    wrong = [i + 1 for i in range(same) if predicted[i] != true[i]]
    return wrong + list(range(same + 1, max(len(predicted), len(true)) + 1))


@twin(naive.wilson, differentiable=False)
def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share, after `right` of n answers were right: (low, high).

    Raises ValueError unless 0 <= right <= n, n >= 1 and z > 0.
    """
    if not 0 <= right <= n or n < 1 or not z > 0:
        raise ValueError(f"right must lie in [0, n], n >= 1 and z > 0, got {right}, {n}, {z}")
    around = z * math.sqrt(right * (n - right) / n + z * z / 4)
    return tuple((right + z * z / 2 + sign * around) / (n + z * z) for sign in (-1, 1))


# -- a model that adds -----------------------------------------------------------------------------


def operands(
    count: int, lengths: Sequence[int], seed: int = 0, held_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Numbers to add, (count,) twice: first a length is drawn for each, then its digits.

    Uniform numbers below 10,000 would nearly all have four digits. One pair in 61 is held out:
    those whose 7 a + 11 b is a multiple of 61 come only if `held_out`, the others only if not.
    """
    draw = torch.Generator().manual_seed(seed)
    many = count * 80 + 2000 if held_out else count + count // 16 + 200
    low = torch.tensor([10 ** (n - 1) if n > 1 else 0 for n in lengths])
    high = torch.tensor([10**n for n in lengths])
    which = torch.randint(len(lengths), (2, many), generator=draw)
    share = torch.rand(2, many, generator=draw, dtype=torch.float64)
    a, b = low[which] + (share * (high - low)[which]).long()
    fits = ((7 * a + 11 * b) % 61 == 0) == held_out
    return a[fits][:count], b[fits][:count]


def answer_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Nats per token of the answers, the end included; the prompt costs nothing."""
    ids, learned = batch
    logits = model(ids[:, :-1])[learned[:, 1:]]
    return nn.functional.cross_entropy(logits.float(), ids[:, 1:][learned[:, 1:]])


@torch.no_grad()
def answers(model: LanguageModel, ids: Tensor, learned: Tensor) -> Tensor:
    """What the model writes where the answers stand: greedy, (n, T) ids filled with END.

    Rows with prompts of equal length go together: one pass over the prompts, then a token a step,
    with the model's state (its cache). A row is done at its first END.
    """
    most = int(learned.sum(1).max()) + 1  # so that an answer that is too long can be seen
    start = learned.int().argmax(1)
    written = torch.full((len(ids), most), END, device=ids.device)
    for length in start.unique().tolist():
        rows = (start == length).nonzero()[:, 0]
        logits, state = model.extend(ids[rows, :length], model.init_state(len(rows)))
        token = logits[:, -1].argmax(-1)
        open_ = torch.ones_like(token, dtype=torch.bool)
        for t in range(most):
            open_ = open_ & (token != END)
            if not open_.any():
                break
            written[rows, t] = torch.where(open_, token, END)
            logits, state = model.step(token, state)
            token = logits.argmax(-1)
    return written
