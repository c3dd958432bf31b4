"""Vector quantisation on torch: nearest codes, the autoencoder around them, and how it is trained.

Names and symbols are those of minilib/naive/vq.py. Not here: a second level of codes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.naive import vq as naive
from minilib.shapes import check_shapes, check_size, check_sizes

BLOCK = 4096  # vectors whose distances to all codes are in memory at a time


def _check_finite(name, value):
    if not value.isfinite().all():
        raise ValueError(f"{name} must be finite, got nan or infinity")


def _check_vectors(**vectors):
    """Raise unless each is a non-empty, finite matrix, all of one width."""
    width = None
    for name, value in vectors.items():
        check_shapes(**{name: (value, (None, width))})
        if 0 in value.shape:
            raise ValueError(f"{name} must not be empty, got shape {tuple(value.shape)}")
        _check_finite(name, value)
        width = value.shape[1]


def _check_indices(indices, size):
    if indices.dtype != torch.int64:
        raise TypeError(f"indices must be int64, got {indices.dtype}")
    if not indices.numel():
        raise ValueError(f"indices must not be empty, got shape {tuple(indices.shape)}")
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= size:
        raise ValueError(f"indices must lie in [0, {size}), got {low} to {high}")


# -- symbols ---------------------------------------------------------------------------------------


@twin(naive.nearest, differentiable=False)
@torch.no_grad()
def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """The number of the code nearest to each vector; of equally near ones the first.

    z (N, D), codes (K, D) -> (N,) int64
    ‖z - e‖² = ‖z‖² - 2 z·e + ‖e‖², and ‖z‖² is the same for all codes: one matrix product for each
    block of 4,096 vectors. Time N K D; memory 4,096 K numbers, not N K D as for all differences.
    Rounding is that of ‖z‖² and ‖e‖², so codes and vectors are moved to the codes' mean first.
    """
    _check_vectors(z=z, codes=codes)
    middle = codes.mean(0)
    away = codes - middle
    half = 0.5 * away.square().sum(1)
    found = [(half - (rows - middle) @ away.t()).argmin(1) for rows in z.split(BLOCK)]
    return torch.cat(found)


@twin(naive.quantize, differentiable=False)  # its gradients are those of quantize_gradients
def quantize(z: Tensor, codes: Tensor, beta: float = 0.25) -> tuple[Tensor, ...]:
    """(quantized, indices, codebook, commitment): nearest codes, straight-through, and two losses.

    The gradient in quantized reaches z unchanged, and codes not at all. The codebook loss moves
    codes alone, the commitment, weighed by beta, moves z alone.
    """
    if not beta >= 0:
        raise ValueError(f"beta must be 0 or more, got {beta}")
    indices = nearest(z, codes)
    chosen = codes[indices]
    codebook = F.mse_loss(chosen, z.detach())
    commitment = beta * F.mse_loss(z, chosen.detach())
    quantized = z + (chosen - z).detach()
    return quantized, indices, codebook, commitment


@twin(naive.quantize_gradients, differentiable=False)
def quantize_gradients(
    d_quantized: Tensor, z: Tensor, codes: Tensor, beta: float = 0.25
) -> tuple[Tensor, Tensor]:
    """Gradients of loss(quantized) + codebook + commitment in z and codes, by autograd.

    d_quantized  (N, D), the gradient of loss in quantized
    """
    check_shapes(d_quantized=(d_quantized, tuple(z.shape)))
    with torch.enable_grad():
        z, codes = z.detach().requires_grad_(), codes.detach().requires_grad_()
        quantized, _, codebook, commitment = quantize(z, codes, beta)
        loss = (d_quantized * quantized).sum() + codebook + commitment
        return torch.autograd.grad(loss, (z, codes))


# -- codes that follow -----------------------------------------------------------------------------


def grouped(z: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many rows of z (N, D) have each index, (size,), and their sums, (size, D)."""
    counts = torch.bincount(indices, minlength=size).to(z)
    return counts, z.new_zeros(size, z.shape[1]).index_add_(0, indices, z)


@twin(naive.ema_update, differentiable=False)
@torch.no_grad()
def ema_update(
    counts: Tensor, sums: Tensor, z: Tensor, indices: Tensor, gamma: float = 0.99
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes as moving averages of their vectors: (counts, sums, codes = sums / counts).

    counts (K,) starts at 1, sums (K, D) at the codes. A code without vectors stays where it is;
    after some 8,000 steps without any, float32 has no count for it.
    """
    K, D = sums.shape
    check_shapes(counts=(counts, (K,)), z=(z, (None, D)), indices=(indices, (len(z),)))
    _check_vectors(z=z, sums=sums)
    _check_indices(indices, K)
    if not 0 <= gamma <= 1 or not (counts > 0).all():
        raise ValueError(f"gamma must lie in [0, 1] and counts be positive, got gamma {gamma}")
    now, total = grouped(z, indices, K)
    counts = gamma * counts + (1 - gamma) * now
    sums = gamma * sums + (1 - gamma) * total
    return counts, sums, sums / counts[:, None]


@twin(naive.kmeans, differentiable=False)
@torch.no_grad()
def kmeans(x: Tensor, codes: Tensor, steps: int) -> Tensor:
    """Lloyd's k-means from given codes. A code that no vector is nearest to stays.

    x (N, D), codes (K, D). A step costs N K D, memory is that of `nearest`.
    """
    check_size("steps", steps)
    _check_vectors(x=x, codes=codes)
    for _ in range(steps):
        counts, sums = grouped(x, nearest(x, codes), len(codes))
        codes = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], codes)
    return codes


@twin(naive.reservoir, differentiable=False)
@torch.no_grad()
def reservoir(kept: Tensor, seen: int, new: Tensor, u: Tensor, size: int) -> tuple[Tensor, int]:
    """Algorithm R: (kept, seen) after the next vectors; all so far are kept with equal chance.

    kept (up to size, D), new (N, D), u (N,) uniforms in [0, 1)
    All places are drawn at once; where two vectors draw one place, the later stays.
    """
    check_size("size", size)
    check_shapes(new=(new, (None, kept.shape[1])), u=(u, (len(new),)))
    if len(kept) != min(seen, size):
        raise ValueError(f"kept must hold {min(seen, size)} of {seen} vectors, got {len(kept)}")
    _check_finite("new", new)
    if not ((u >= 0) & (u < 1)).all():
        raise ValueError("u must lie in [0, 1)")
    room = min(len(new), size - len(kept))
    kept = torch.cat([kept, new[:room]])
    i = torch.arange(seen + room, seen + len(new), device=new.device)
    place = (u[room:].double() * (i + 1)).long()
    order = torch.full((size,), -1, device=new.device)
    inside = (place < size).nonzero()[:, 0]
    order.scatter_reduce_(0, place[inside], inside + room, "amax")
    taken = order >= 0
    kept[taken[: len(kept)]] = new[order[taken]]
    return kept, seen + len(new)


@twin(naive.usage, differentiable=False)
def usage(indices: Tensor, size: int) -> tuple[int, float]:
    """(how many of `size` codes occur in indices, exp of the entropy of their frequencies).

    Of n indices no more than n codes can be used: take many more than there are codes.
    """
    check_size("size", size)
    _check_indices(indices, size)
    p = torch.bincount(indices.flatten(), minlength=size).double() / indices.numel()
    return int((p > 0).sum()), float(torch.special.entr(p).sum().exp())


# -- the autoencoder -------------------------------------------------------------------------------


@twin(naive.vqvae, differentiable=False)  # the definition's indices are steps: see test_vq.py
class VQVAE(nn.Module):
    """An autoencoder whose pictures are grids of symbols between encoder and decoder.

    channels   of the feature maps
    dim, size  D, numbers of a code, and K, how many codes there are
    normalise  batch normalisation of the features before they are projected to D numbers
    beta       weight of the commitment

    Each symbol stands for 4 × 4 pixels, and sees 18 × 18. Codes start from U(-1/K, 1/K).
    """

    def __init__(
        self,
        channels: int = 32,
        dim: int = 16,
        size: int = 256,
        normalise: bool = True,
        beta: float = 0.25,
    ):
        super().__init__()
        check_sizes(channels=channels, dim=dim, size=size)
        self.size, self.beta = size, beta
        C = channels
        self.encoder = nn.Sequential(
            nn.Conv2d(1, C, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(C, C, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(C, C, 3, 1, 1),
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(C) if normalise else nn.Identity()
        self.project = nn.Conv2d(C, dim, 1)
        self.codes = nn.Parameter((2 * torch.rand(size, dim) - 1) / size)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, C, 3, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(C, C, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(C, 1, 4, 2, 1),
        )  # fmt: skip

    def vectors(self, images: Tensor) -> Tensor:
        """What is to be quantised: images (B, 1, H, W) -> (B, H / 4, W / 4, D)."""
        check_shapes(images=(images, (None, 1, None, None)))
        if not images.is_floating_point() or 0 in images.shape:
            got = f"{images.dtype} of shape {tuple(images.shape)}"
            raise ValueError(f"images must be floats and not empty, got {got}")
        if images.shape[2] % 4 or images.shape[3] % 4:
            got = f"{images.shape[2]} × {images.shape[3]}"
            raise ValueError(f"images must have sides that are multiples of 4, got {got}")
        _check_finite("images", images)
        return self.project(self.norm(self.encoder(images))).permute(0, 2, 3, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(pictures, indices (B, H / 4, W / 4), codebook loss, commitment)."""
        z = self.vectors(images)
        quantized, indices, *losses = quantize(z.flatten(0, 2), self.codes, self.beta)
        return self.paint(quantized.view(z.shape)), indices.view(z.shape[:3]), *losses

    def paint(self, quantized: Tensor) -> Tensor:
        """The decoder: (B, h, w, D) -> (B, 1, 4 h, 4 w)."""
        return self.decoder(quantized.permute(0, 3, 1, 2))

    def encode(self, images: Tensor) -> Tensor:
        """Pictures as symbols: (B, 1, H, W) -> (B, H / 4, W / 4) int64."""
        z = self.vectors(images)
        return nearest(z.flatten(0, 2), self.codes).view(z.shape[:3])

    def decode(self, indices: Tensor) -> Tensor:
        """Symbols as pictures: (B, h, w) int64 -> (B, 1, 4 h, 4 w)."""
        check_shapes(indices=(indices, (None, None, None)))
        _check_indices(indices, self.size)
        return self.paint(self.codes[indices])


# -- training --------------------------------------------------------------------------------------


class Trainer:
    """Adam on the three losses; codes may learn faster, follow averages, and be restarted.

    model     a VQVAE, trained in place
    lr        learning rate of all but the codes; theirs is `faster` times as high
    gamma     codes are moving averages (`ema_update`) instead of what the codebook loss moves
    restarts  numbers of steps before which the codes are restarted from `reservoir` recent vectors
    """

    def __init__(
        self,
        model: VQVAE,
        lr: float = 2e-3,
        faster: float = 1.0,
        gamma: float | None = None,
        restarts: Sequence[int] = (),
        reservoir: int = 4096,
        seed: int = 0,
    ):
        check_size("reservoir", reservoir)
        if not lr > 0 or not faster > 0:
            raise ValueError(f"lr and faster must be positive, got {lr} and {faster}")
        self.model, self.gamma, self.restarts = model, gamma, set(restarts)
        self.room, self.done = reservoir, 0
        codes = [] if gamma else [{"params": [model.codes], "lr": faster * lr}]
        others = [p for name, p in model.named_parameters() if name != "codes"]
        self.optimizer = torch.optim.Adam([{"params": others}, *codes], lr=lr)
        self.draw = torch.Generator().manual_seed(seed)
        self._follow(model.codes.detach().clone())
        self._empty()

    def _follow(self, codes):
        self.counts, self.sums = codes.new_ones(len(codes)), codes

    def _empty(self):
        self.kept, self.seen = self.model.codes.new_zeros(0, self.model.codes.shape[1]), 0

    def step(self, images: Tensor) -> Tensor:
        """One step on a batch of pictures (B, 1, H, W); returns the mean squared error."""
        model = self.model.train()
        if self.done in self.restarts:
            self.restart()
        z = model.vectors(images)
        flat = z.flatten(0, 2)
        quantized, indices, codebook, commitment = quantize(flat, model.codes, model.beta)
        error = F.mse_loss(model.paint(quantized.view(z.shape)), images)
        self.optimizer.zero_grad()
        (error + commitment if self.gamma else error + codebook + commitment).backward()
        self.optimizer.step()
        with torch.no_grad():
            if self.gamma:
                moved = ema_update(self.counts, self.sums, flat, indices, self.gamma)
                self.counts, self.sums = moved[:2]
                model.codes.copy_(moved[2])
            u = torch.rand(len(flat), generator=self.draw).to(flat)
            self.kept, self.seen = reservoir(self.kept, self.seen, flat, u, self.room)
        self.done += 1
        model.eval()
        return error.detach()

    @torch.no_grad()
    def restart(self) -> None:
        """Codes become k-means centres of the reservoir, and what the optimiser knew is forgotten.

        Adam's averages of old gradients would drag the new codes away from their vectors.
        """
        codes = self.model.codes
        if not len(self.kept):
            raise ValueError("restart needs vectors in the reservoir: take a step before")
        rows = torch.randperm(max(len(self.kept), len(codes)), generator=self.draw)
        start = self.kept[rows[: len(codes)].to(codes.device) % len(self.kept)]
        codes.copy_(kmeans(self.kept, start, 10))
        self.optimizer.state.pop(codes, None)
        self._follow(codes.clone())
        self._empty()
