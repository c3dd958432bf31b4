"""What a tokenizer costs a language: every number encoded once, intervals over all draws at once.

Names and symbols are those of minilib/naive/tokenizer_choice.py.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minilib import twin
from minilib.naive import tokenizer_choice as naive

Encode = Callable[[str], Sequence[int]]


@twin(naive.sizes, differentiable=False)
def sizes(encode: Encode, texts: Sequence[str]) -> list[tuple]:
    """How long each text is: (bytes, characters, words, tokens). Each text is encoded once."""
    _check(texts)
    return [(len(t.encode()), len(t), len(t.split()), len(encode(t))) for t in texts]


@twin(naive.premium, differentiable=False)
def premium(encode: Encode, texts: Sequence[str], english: Sequence[str]) -> float:
    """How many times the tokens of English a language needs for the same sentences.

    Raises ValueError if there are not as many English sentences, or none.
    """
    _check(texts)
    _check(english, "english", len(texts))
    tokens, english_tokens = (sum(len(encode(t)) for t in some) for some in (texts, english))
    if not english_tokens:
        raise ValueError("english must have at least one token, got empty texts")
    return tokens / english_tokens


@twin(naive.fertility, differentiable=False)
def fertility(encode: Encode, texts: Sequence[str]) -> float:
    """Tokens per word. Raises ValueError where white space separates none: for empty texts."""
    _check(texts)
    words = sum(len(text.split()) for text in texts)
    if not words:
        raise ValueError(f"texts must hold at least one word, got {len(texts)} without any")
    return sum(len(encode(text)) for text in texts) / words


@twin(naive.interval, differentiable=False)
def interval(above, below, draws, level: float = 0.95) -> tuple[float, float]:
    """The bootstrap's (low, high) of sum(above) / sum(below), all draws at once.

    The numbers of the texts are looked up for every draw in one go: nothing is encoded again, and
    there is no loop. Memory: two numbers for each text of each draw.
    above, below  (texts,) numbers, such as tokens of a language and of English
    draws         (how often, texts) int, such as torch.randint(n, (1000, n))
    Raises ValueError for other shapes, indices that are none, a level outside (0, 1), and a draw
    whose sum below is 0.
    """
    above, below = torch.as_tensor(above), torch.as_tensor(below)
    draws = torch.as_tensor(draws, device=above.device)
    if above.dim() != 1 or above.shape != below.shape or not len(above):
        got = f"{tuple(above.shape)} and {tuple(below.shape)}"
        raise ValueError(f"above and below must both be (texts,), at least one, got {got}")
    if draws.dim() != 2 or draws.shape[1] != len(above) or len(draws) < 2:
        wanted = f"(2 or more, {len(above)})"
        raise ValueError(f"draws must have shape {wanted}, got {tuple(draws.shape)}")
    if draws.min() < 0 or draws.max() >= len(above):
        got = f"{int(draws.min())} to {int(draws.max())}"
        raise ValueError(f"draws must be texts 0 to {len(above) - 1}, got {got}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    sums = below.double()[draws].sum(1)  # (draws,)
    if not (sums != 0).all():
        raise ValueError("below must not sum to 0 in any draw: a language without tokens")
    scores = above.double()[draws].sum(1) / sums
    shares = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64).to(scores)
    return tuple(torch.quantile(scores, shares).tolist())


@twin(naive.vocabulary_share, differentiable=False)
def vocabulary_share(encode: Encode, texts: Sequence[str], vocab_size: int) -> float:
    """The share of the vocabulary that ever stands in the texts.

    Raises ValueError for a vocab_size below 1.
    """
    _check(texts)
    if vocab_size < 1:
        raise ValueError(f"vocab_size must be at least 1, got {vocab_size}")
    return len(set().union(*(encode(text) for text in texts))) / vocab_size


@twin(naive.reweight, differentiable=False)
def reweight(weights, premiums, rate: float = 1.0) -> Tensor:
    """Weights of languages in the training mixture: more for those that pay more. They sum to 1.

    Raises ValueError for different lengths, and for weights or premiums that are not positive.
    """
    weights, premiums = torch.as_tensor(weights), torch.as_tensor(premiums)
    if weights.shape != premiums.shape or weights.dim() != 1:
        got = f"{tuple(weights.shape)} and {tuple(premiums.shape)}"
        raise ValueError(f"weights and premiums must both be (languages,), got {got}")
    if not ((weights > 0).all() and (premiums > 0).all()):
        raise ValueError("weights and premiums must be positive, got one that is not")
    return torch.softmax(weights.log() + rate * premiums.log(), dim=0)


@twin(naive.rank_correlation, differentiable=False)
def rank_correlation(a, b) -> float:
    """Spearman's: the correlation of the ranks of a and b, (n,); equal numbers share a mean rank.

    Raises ValueError for different lengths and where all numbers are equal, which have no order.
    """
    a, b = _pair(a, b)
    return float(_correlation(_ranks(a, "a"), _ranks(b, "b")))


@twin(naive.permutation_p, differentiable=False)
def permutation_p(a, b, orders) -> float:
    """How often chance alone gives a rank correlation of this size; all orders in one product.

    orders  (how many, n) int, each row a permutation; the order found counts as one more
    """
    a, b = _pair(a, b)
    orders = torch.as_tensor(orders, device=a.device)
    wanted = torch.arange(len(a), device=a.device)
    if orders.dim() != 2 or not torch.equal(orders.sort(1)[0], wanted.expand(len(orders), -1)):
        got = f"shape {tuple(orders.shape)}"
        raise ValueError(f"orders must be rows of permutations of {len(a)}, got {got}")
    ranks, others = _ranks(a, "a"), _ranks(b, "b")
    found = _correlation(ranks, others).abs()
    chance = _correlation(ranks, others[orders]).abs()  # (how many,)
    return (1 + int((chance >= found - 1e-9).sum())) / (1 + len(orders))


def _ranks(values, name):
    """Mean ranks, from the mean of all."""
    below = (values < values[:, None]).sum(1)
    equal = (values == values[:, None]).sum(1).double()
    if equal[0] == len(values):
        raise ValueError(f"{name} must have different numbers to rank, got {len(values)} equal")
    return below + (equal - 1) / 2 - (len(values) - 1) / 2


def _correlation(x, y):
    return (x * y).sum(-1) / (x.square().sum() * y.square().sum(-1)).sqrt()


def _pair(a, b):
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    if a.dim() != 1 or a.shape != b.shape or len(a) < 2:
        got = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"a and b must both be (n,) of two or more numbers, got {got}")
    if a.isnan().any() or b.isnan().any():
        raise ValueError("a and b must have numbers to rank, got nan")
    return a, b


def _check(texts, name="texts", count=None):
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be a list of str, got {type(texts).__name__}")
    if not texts:
        raise ValueError(f"{name} must hold at least one text, got none: an empty language?")
    if count is not None and len(texts) != count:
        raise ValueError(f"{name} must be as many as texts, {count}, got {len(texts)}")
