"""Tokens that a model was hardly trained on, found without its training text, fast.

Names and symbols are those of minilib/naive/glitch_tokens.py.
"""

import torch
from torch import Tensor

from minilib import twin
from minilib.naive import glitch_tokens as naive
from minilib.tokenizer import Tokenizer

_BLOCK = 1 << 22  # probabilities that are held at a time: 16 MB in float32


@twin(naive.categories, differentiable=False)  # text in, words out
def categories(vocabulary: dict | Tokenizer) -> dict[int, str]:
    """What becomes of each id when it is written out and read again: {id: category}.

    vocabulary  a Tokenizer, or a dictionary of its arguments
    All texts are encoded in one call, whose tables are made once: 130,072 tokens in about 3 s.
    """
    known = vocabulary if isinstance(vocabulary, Tokenizer) else Tokenizer(**vocabulary)
    found, texts = {}, {}
    for i, token in zip(known.ids, known.tokens, strict=True):
        try:
            texts[i] = token.decode()
            found[i] = "ok"
        except UnicodeDecodeError:
            found[i] = "undecodable"
    for i, again in zip(texts, known.encode(list(texts.values())), strict=True):
        if again != [i]:
            found[i] = "unreachable"
        elif naive.looks_special(texts[i]):
            found[i] = "special-looking"
    return found | dict.fromkeys(known.specials.values(), "special")


@twin(naive.cosine_distance)
def cosine_distance(
    U: Tensor, reference: Tensor, centre: bool = False, drop_first: bool = False
) -> Tensor:
    """1 - cos(U_i, u) of every row. One product of matrix and vector gives all cosines.

    Raises ValueError for rows of zeros, naming them, and for a reference that is none.
    """
    U, reference = _checked(U, reference)
    if drop_first:
        v = first_component(U)
        U = U - torch.outer(U @ v, v)
    if centre:
        U = U - U.mean(0)
    u = U[reference].mean(0)
    length = torch.linalg.vector_norm(U, dim=1)
    zero = (length == 0).nonzero().flatten().tolist()
    if zero or not u.any():
        what = f"rows {zero[:5]} are" if zero else "the mean of the reference is"
        raise ValueError(f"U must have rows with a direction, {what} zero")
    return 1 - U @ (u / torch.linalg.vector_norm(u)) / length


@twin(naive.first_component)
def first_component(U: Tensor) -> Tensor:
    """The unit vector along which the rows vary most; its largest entry is positive.

    It is the last eigenvector of the (dim, dim) covariance, made in float64: O(ids · dim²), where
    an SVD of all rows would hold another matrix as large as U. Its gradient asks for variances
    along the axes that differ.
    """
    _check_matrix(U, "U")
    C = (U - U.mean(0)).double()
    v = torch.linalg.eigh(C.T @ C).eigenvectors[:, -1]
    return (v * v.detach()[v.detach().abs().argmax()].sign()).to(U.dtype)


@twin(naive.distance)
def distance(U: Tensor, reference: Tensor) -> Tensor:
    """|U_i - u| of every row, where u is the mean of the reference rows."""
    U, reference = _checked(U, reference)
    return torch.linalg.vector_norm(U - U[reference].mean(0), dim=1)


@twin(naive.norms)
def norms(E: Tensor) -> Tensor:
    """|E_i| of every row."""
    _check_matrix(E, "E")
    return torch.linalg.vector_norm(E, dim=1)


@twin(naive.auc, differentiable=False)  # it counts: its gradient is zero wherever there is one
def auc(indicator: Tensor, unseen: Tensor) -> float:
    """The area under the ROC curve, from one sort of the seen ids: O(n log n), not n².

    Raises ValueError unless there are both seen and unseen ids, and for an indicator that is nan.
    """
    indicator, unseen = torch.as_tensor(indicator), torch.as_tensor(unseen)
    if indicator.dim() != 1 or indicator.shape != unseen.shape or unseen.dtype != torch.bool:
        got = f"{tuple(indicator.shape)} and {tuple(unseen.shape)} of {unseen.dtype}"
        raise ValueError(f"indicator and unseen must be (ids,), unseen of bool, got {got}")
    few, others = indicator[unseen].contiguous(), indicator[~unseen].sort().values
    if not len(few) or not len(others) or indicator.isnan().any():
        got = f"{len(few)}, {len(others)}, {int(indicator.isnan().sum())} nan"
        raise ValueError(f"indicator must have unseen and seen ids and no nan, got {got}")
    larger = len(others) - torch.searchsorted(others, few, right=True)
    not_smaller = len(others) - torch.searchsorted(others, few)
    return int((larger + not_smaller).sum()) / (2 * len(few) * len(others))


@twin(naive.max_probability)
def max_probability(h: Tensor, U: Tensor) -> Tensor:
    """The largest probability that each id gets after any of these contexts.

    Many contexts at a time, as many as fit in 4 million probabilities; without gradients no more
    are held, however many contexts there are.
    """
    _check_matrix(h, "h")
    _check_matrix(U, "U")
    if h.shape[1] != U.shape[1]:
        raise ValueError(f"h and U must have one dim, got {h.shape[1]} and {U.shape[1]}")
    largest = []
    for some in h.split(max(1, _BLOCK // len(U))):
        largest.append((some @ U.T).softmax(dim=1).amax(dim=0))
    return torch.stack(largest).amax(dim=0)


def _check_matrix(x, name):
    if not isinstance(x, Tensor) or x.dim() != 2 or 0 in x.shape or not x.is_floating_point():
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a matrix of floats with rows, got {got}")


def _checked(U, reference):
    """A matrix and the ids of the rows that are its reference, as a tensor beside it."""
    _check_matrix(U, "U")
    ids = torch.as_tensor(reference, device=U.device)
    if ids.dim() != 1 or not len(ids) or ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"reference must be a list of ids, got {ids.dtype} {tuple(ids.shape)}")
    if not 0 <= int(ids.min()) <= int(ids.max()) < len(U):
        got = f"{int(ids.min())} … {int(ids.max())}"
        raise ValueError(f"reference must have ids in [0, {len(U)}), got {got}")
    return U, ids
