"""Residual vector quantisation on torch: several small codebooks, each for what the last left over.

Names and symbols are those of minilib/naive/residual_vq.py.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.naive import residual_vq as naive
from minilib.shapes import check_shapes, check_size, check_sizes
from minilib.vq import grouped, kmeans, nearest


def check_codes(codes: Tensor, stages: int, size: int) -> None:
    """Raise unless codes are int64 in [0, size), their last axis 1 to `stages` long."""
    if codes.dtype != torch.int64:
        raise TypeError(f"codes must be int64, got {codes.dtype}")
    if not codes.numel() or not 1 <= codes.shape[-1] <= stages:
        wanted = f"must not be empty and have 1 to {stages} stages"
        raise ValueError(f"codes {wanted}, got shape {tuple(codes.shape)}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= size:
        raise ValueError(f"codes must lie in [0, {size}), got {low} to {high}")


def _check(z, books):
    check_shapes(books=(books, (None, None, None)))
    check_shapes(z=(z, (None, books.shape[2])))
    for name, value in {"z": z, "books": books}.items():
        if not value.numel() or not value.isfinite().all():
            raise ValueError(f"{name} must be finite and not empty, got {tuple(value.shape)}")


@twin(naive.encode, differentiable=False)
@torch.no_grad()
def encode(z: Tensor, books: Tensor) -> Tensor:
    """Codes of all stages: z (N, D), books (Q, K, D) -> (N, Q) int64. Time N Q K D."""
    _check(z, books)
    codes = []
    for book in books:
        codes.append(nearest(z, book))
        z = z - book[codes[-1]]
    return torch.stack(codes, 1)


@twin(naive.decode)
def decode(codes: Tensor, books: Tensor) -> Tensor:
    """The sum of the chosen codes, of as many stages as there are columns: (N, q) -> (N, D)."""
    check_shapes(codes=(codes, (None, None)), books=(books, (None, None, None)))
    check_codes(codes, *books.shape[:2])
    stage = torch.arange(codes.shape[1], device=codes.device)
    return books[stage, codes].sum(1)


@twin(naive.quantize, differentiable=False)  # its gradient is that of quantize_gradients
def quantize(z: Tensor, books: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(quantized, codes, commitment); the gradient goes straight through, once around the sum.

    A straight-through inside of each stage would cancel: the residual z - (z + sg(e - z)) has no
    gradient left, and the later commitments would not move z.
    """
    codes = encode(z, books)
    quantized = decode(codes, books.detach())
    chosen = books.detach()[torch.arange(len(books), device=z.device), codes]  # (N, Q, D)
    residuals = z[:, None] - chosen.cumsum(1)
    commitment = residuals.square().mean((0, 2)).sum()
    return z + (quantized - z).detach(), codes, commitment


@twin(naive.quantize_gradients, differentiable=False)
def quantize_gradients(d_quantized: Tensor, z: Tensor, books: Tensor) -> Tensor:
    """The gradient of loss(quantized) + commitment in z, by autograd."""
    check_shapes(d_quantized=(d_quantized, tuple(z.shape)))
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        quantized, _, commitment = quantize(z, books)
        return torch.autograd.grad((d_quantized * quantized).sum() + commitment, z)[0]


def _check_rows(rows, stages, size, N):
    check_shapes(rows=(rows, (stages, size)))
    if rows.dtype != torch.int64 or not 0 <= int(rows.min()) <= int(rows.max()) < N:
        raise ValueError(f"rows must be int64 in [0, {N}), got {rows.dtype} up to {rows.max()}")


@twin(naive.start, differentiable=False)
@torch.no_grad()
def start(z: Tensor, rows: Tensor, steps: int) -> Tensor:
    """Books (Q, K, D) by k-means on z (N, D), stage after stage, from the vectors rows (Q, K)."""
    check_size("steps", steps)
    _check_rows(rows, None, None, len(z))
    books = []
    for begin in rows:
        book = kmeans(z, z[begin], steps)
        z = z - book[nearest(z, book)]
        books.append(book)
    return torch.stack(books)


@twin(naive.follow, differentiable=False)
@torch.no_grad()
def follow(
    counts: Tensor,
    sums: Tensor,
    z: Tensor,
    codes: Tensor,
    books: Tensor,
    rows: Tensor,
    gamma: float = 0.99,
    least: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """(counts, sums, books) after moving averages; a code with a count below `least` starts anew.

    counts (Q, K), sums and books (Q, K, D), z (N, D), codes (N, q) with q <= Q, rows (Q, K)
    """
    _check(z, books)
    Q, K, D = books.shape
    check_shapes(counts=(counts, (Q, K)), sums=(sums, (Q, K, D)), codes=(codes, (len(z), None)))
    check_codes(codes, Q, K)
    _check_rows(rows, Q, K, len(z))
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    counts, sums, moved = counts.clone(), sums.clone(), books.clone()
    for q in range(codes.shape[1]):
        now, total = grouped(z, codes[:, q], K)
        counts[q] = gamma * counts[q] + (1 - gamma) * now
        sums[q] = gamma * sums[q] + (1 - gamma) * total
        idle = counts[q] < least
        counts[q, idle] = 1.0
        sums[q, idle] = z[rows[q, idle]]
        moved[q] = sums[q] / counts[q, :, None]
        z = z - books[q][codes[:, q]]
    return counts, sums, moved


class ResidualVQ(nn.Module):
    """Codebooks as buffers, which follow their vectors in training.

    stages, size, dim   Q, K, D
    gamma, least        as in `follow`
    """

    def __init__(
        self,
        stages: int = 8,
        size: int = 64,
        dim: int = 32,
        gamma: float = 0.9,
        least: float = 0.1,
    ):
        super().__init__()
        check_sizes(stages=stages, size=size, dim=dim)
        self.stages, self.size, self.gamma, self.least = stages, size, gamma, least
        books = torch.randn(stages, size, dim)
        self.register_buffer("books", books)
        self.register_buffer("counts", torch.ones(stages, size), persistent=False)
        self.register_buffer("sums", books.clone(), persistent=False)

    def forward(self, z: Tensor, stages: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """z (..., D) -> (quantized (..., D), codes (..., stages), commitment)."""
        books = self.books[: self._used(stages)]
        quantized, codes, commitment = quantize(z.flatten(0, -2), books)
        return quantized.view(z.shape), codes.view(*z.shape[:-1], -1), commitment

    def decode(self, codes: Tensor) -> Tensor:
        """codes (..., q) -> (..., D)"""
        return decode(codes.flatten(0, -2), self.books).unflatten(0, codes.shape[:-1])

    def _used(self, stages):
        if stages is not None and not 1 <= stages <= self.stages:
            raise ValueError(f"stages must lie in [1, {self.stages}], got {stages}")
        return stages

    @torch.no_grad()
    def start(self, z: Tensor, generator: torch.Generator, steps: int = 10) -> None:
        """Books by k-means on the vectors z (N, D), which should be many more than `size`."""
        rows = torch.stack([self._rows(len(z), generator) for _ in range(self.stages)])
        self.books.copy_(start(z, rows.to(z.device), steps))
        self.counts.fill_(1.0)
        self.sums.copy_(self.books)

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """One step of the moving averages on the vectors of a batch."""
        rows = torch.stack([self._rows(len(z), generator) for _ in range(self.stages)])
        moved = follow(
            self.counts, self.sums, z, codes, self.books, rows.to(z.device), self.gamma, self.least
        )
        for mine, new in zip((self.counts, self.sums, self.books), moved, strict=True):
            mine.copy_(new)

    def _rows(self, count, generator):
        """`size` rows of `count`, different ones as long as there are enough."""
        return torch.randperm(max(count, self.size), generator=generator)[: self.size] % count
