"""What attention costs, why it must, and what is cheaper: fast.

Names and symbols are those of minilib/naive/quadratic_cost.py.
"""

import itertools
import math

import torch
from torch import Tensor

from minilib import twin
from minilib.attention import attention
from minilib.autograd import once_differentiable
from minilib.naive import quadratic_cost as naive
from minilib.shapes import check_shapes, check_size


def _check_floating(**tensors):
    for name, x in tensors.items():
        if not x.is_floating_point():
            raise TypeError(f"{name} must be floating, got {x.dtype}")


@twin(naive.multiplications, differentiable=False)
def multiplications(kind: str, T: int, D: int, E: int, M: int = 0, window: int = 0) -> int:
    """Multiplications of one causal head in closed form; the softmax itself is left out.

    kind   "dense": T (T + 1) / 2 pairs of D + E; "window": T w - w (w - 1) / 2 pairs, with
           w = min(window, T); "linear": T (2 M E + M)
    Raises ValueError for another kind, negative sizes, or a window below 1.
    """
    if kind not in ("dense", "window", "linear"):
        raise ValueError(f"kind must be dense, window or linear, got {kind!r}")
    for name, size in (("T", T), ("D", D), ("E", E), ("M", M)):
        if size < 0:
            raise ValueError(f"{name} must be 0 or more, got {size}")
    if kind == "linear":
        return T * (2 * M * E + M)
    if kind == "window":
        check_size("window", window)
    w = min(window, T) if kind == "window" else T
    return (T * w - w * (w - 1) // 2) * (D + E)


class _Online(torch.autograd.Function):
    """Tiles of queries by `block` keys; backward makes the weights of a tile again from lse alone.

    With P = exp(S - lse), what arrives at out as dO and at lse as dL gives
    dS = P (dO Vᵀ - r + dL), r the rows' sums of dO · O
    (D in Dao et al. 2022, arXiv:2205.14135, appendix B; lse is no output there. That lse alone
    is enough: Dao 2023, arXiv:2307.08691, algorithm 2).
    """

    @staticmethod
    def forward(ctx, q, k, v, block, causal):
        out = q.new_zeros(*q.shape[:-1], v.shape[-1])
        m, l = q.new_full(q.shape[:-1], -torch.inf), q.new_zeros(q.shape[:-1])
        for rows, keys, future in _tiles(q, k, block, causal):
            score = _scores(q, k, rows, keys, future)
            larger = torch.maximum(m[..., rows], score.amax(-1))
            weight, shrink = score.sub_(larger[..., None]).exp_(), (m[..., rows] - larger).exp_()
            l[..., rows] = l[..., rows] * shrink + weight.sum(-1)
            out[..., rows, :].mul_(shrink[..., None]).add_(weight @ v[..., keys, :])
            m[..., rows] = larger
        l = torch.where(l > 0, l, 1.0)  # 0: the query is in no tile; out stays 0, lse -inf
        out /= l[..., None]
        lse = m + l.log()
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.block, ctx.causal = block, causal
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_lse):
        q, k, v, out, lse = ctx.saved_tensors
        d_q, d_k, d_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        row_sums = (d_out * out).sum(-1) - d_lse
        scale = q.shape[-1] ** -0.5
        for rows, keys, future in _tiles(q, k, ctx.block, ctx.causal):
            P = _scores(q, k, rows, keys, future).sub_(lse[..., rows, None]).exp_()
            d_v[..., keys, :] = P.mT @ d_out[..., rows, :]
            d_P = d_out[..., rows, :] @ v[..., keys, :].mT
            d_score = d_P.sub_(row_sums[..., rows, None]).mul_(P).mul_(scale)
            d_q[..., rows, :] += d_score @ k[..., keys, :]
            d_k[..., keys, :] = d_score.mT @ q[..., rows, :]
        return d_q, d_k, d_v, None, None


def _tiles(q, k, block, causal):
    """Slice of queries, slice of keys and mask of the future (or None), for each block of keys.

    Only queries that see one of the keys are in a tile. Here T = 3 queries are the last of S = 6
    steps, block = 2; a row is a query, a number a key that it sees, x a key in its future:

        query 0, step 3    0 1    2 3
        query 1, step 4    0 1    2 3    4 x    the third tile has queries 1 and 2
        query 2, step 5    0 1    2 3    4 5
    """
    T, S = q.shape[-2], k.shape[-2]
    before = S - T  # query t is step t + before
    for start in range(0, S if T else 0, block):
        end = min(start + block, S)
        first = max(0, start - before) if causal else 0
        future = None
        if causal and end - 1 > first + before:  # the first query does not see the last key
            now = torch.arange(first, T, device=q.device) + before
            future = torch.arange(start, end, device=q.device) > now[:, None]
        yield slice(first, T), slice(start, end), future


def _scores(q, k, rows, keys, future):
    score = (q[..., rows, :] * q.shape[-1] ** -0.5) @ k[..., keys, :].mT
    return score if future is None else score.masked_fill_(future, -torch.inf)


@twin(naive.online_attention)
def online_attention(
    q: Tensor, k: Tensor, v: Tensor, block: int = 128, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores from keys in blocks: no (T, S) weights at all.

    Sources: running m and l, Milakov & Gimelshein 2018 (arXiv:1805.02867), alg. 3; the output
    streamed with them, Rabe & Staats 2021 (arXiv:2112.05682); of both only the log-sum-exp kept
    for backward, Dao 2023 (arXiv:2307.08691).
    Memory O((T + S) D + T block), forward and backward; time O(T S D), half of it if causal.
    Backward computes the scores once more. A second derivative is refused.

    shapes   as in `attention`, causal too; block 1 or more
    returns  out (batch, heads, T, E); lse (batch, heads, T), -inf where nothing is seen
    Raises ValueError for shapes that do not fit or a block below 1.
    """
    check_shapes(q=(q, (None,) * 4))
    B, H, _, D = q.shape
    check_shapes(k=(k, (B, H, None, D)))
    check_shapes(v=(v, (B, H, k.shape[2], None)))
    _check_floating(q=q, k=k, v=v)
    check_size("block", block)
    return _Online.apply(q, k, v, block, causal)


@twin(naive.has_orthogonal_pair, differentiable=False)
def has_orthogonal_pair(a: Tensor, b: Tensor) -> bool:
    """Is there a row of a (n, D) and a row of b (m, D), of 0 and 1, without a common 1?

    Decided by one call of attention. The score of a pair is -C times the number of common 1s,
    C = 2 log (m + 3), and its value is 1; one key more has score 0 and value 0. A row with an
    orthogonal partner gets 1/2 or more. For a row without one the other keys' sum is at most
    m exp(-C) <= 1/12, so it gets 1/13 or less (with C = 2 log m one key would give 1/2 as well).
    Raises ValueError for shapes that do not fit and for numbers other than 0 and 1.
    """
    check_shapes(a=(a, (None, None)), b=(b, (None, a.shape[-1] if a.dim() else None)))
    for name, x in (("a", a), ("b", b)):
        if not ((x == 0) | (x == 1)).all():
            raise ValueError(f"{name} must hold 0 and 1 only")
    m, D = b.shape
    C = 2 * math.log(m + 3)
    q = -C * math.sqrt(D) * a.double()  # attention divides by the root
    k = torch.cat([b.double(), b.new_zeros(1, D).double()])
    v = torch.ones(m + 1, 1, dtype=torch.float64, device=b.device)
    v[-1] = 0
    out = attention(q[None, None], k[None, None], v[None, None])
    return bool((out > 0.25).any())


@twin(naive.taylor_features)
def taylor_features(x: Tensor, degree: int) -> Tensor:
    """Features (..., M) of x (..., D): phi(x) · phi(y) = sum of (x · y)^t / t!, t = 0 ... degree.

    One gather and one product of `degree` factors for all features: channel D is a 1 that fills up
    the shorter products. M = C(D + degree, degree), and so are time and memory for each row.
    Raises ValueError for an odd or negative degree, TypeError for an x of whole numbers.
    """
    if degree < 0 or degree % 2:
        why = "an odd Taylor sum of exp has negative values"
        raise ValueError(f"degree must be even and 0 or more ({why}), got {degree}")
    if x.dim() < 1:
        raise ValueError("x must have shape (..., D), got ()")
    _check_floating(x=x)
    D, products, divisors = x.shape[-1], [], []
    for t in range(degree + 1):
        for channels in itertools.combinations_with_replacement(range(D), t):
            products.append(channels + (D,) * (degree - t))
            repeats = math.prod(math.factorial(channels.count(i)) for i in set(channels))
            divisors.append(math.sqrt(repeats))
    place = torch.tensor(products, dtype=torch.int64, device=x.device).view(len(products), degree)
    padded = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
    return padded[..., place].prod(-1) / torch.tensor(divisors, dtype=torch.float64).to(x)


@twin(naive.linear_attention)
def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    A: Tensor | None = None,
    z: Tensor | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Causal attention whose weight is q_t · k_s, chunk by chunk: out, and the state A, z.

    Inside a chunk the weights are dense, (chunk, chunk); all before it is in the state, which is
    read and written once a chunk. chunk = 1 is the recurrent net, chunk >= T the parallel form.
    Time O(T chunk (M + E) + T M E); memory O(chunk²) beside inputs, output and a state a chunk.

    q, k     (batch, heads, T, M), features already: positive products
    v        (batch, heads, T, E)
    A, z     (batch, heads, M, E), (batch, heads, M), the state before; None is 0
    returns  out (batch, heads, T, E), and A and z after the last step
    Raises ValueError for shapes that do not fit or a chunk below 1.
    """
    check_shapes(q=(q, (None,) * 4))
    B, H, T, M = q.shape
    check_shapes(k=(k, (B, H, T, M)), v=(v, (B, H, T, None)))
    E = v.shape[-1]
    A = q.new_zeros(B, H, M, E) if A is None else A
    z = q.new_zeros(B, H, M) if z is None else z
    check_shapes(A=(A, (B, H, M, E)), z=(z, (B, H, M)))
    _check_floating(q=q, k=k, v=v)
    check_size("chunk", chunk)
    parts = []
    for start in range(0, T, chunk):
        steps = slice(start, min(start + chunk, T))
        qc, kc, vc = q[:, :, steps], k[:, :, steps], v[:, :, steps]
        weight = (qc @ kc.mT).tril()
        total = weight.sum(-1) + (qc @ z[..., None])[..., 0]
        parts.append((weight @ vc + qc @ A) / total[..., None])
        A = A + kc.mT @ vc
        z = z + kc.sum(-2)
    out = torch.cat(parts, dim=2) if parts else torch.zeros_like(v)
    return out, A, z
