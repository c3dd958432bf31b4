"""Pictures from captions on torch: a discrete autoencoder, one model of both, and a scorer.

Names and symbols are those of minilib/naive/text_to_image.py. Not here: BPE of captions.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.language_model import LanguageModel, check_ids, sample
from minilib.naive import text_to_image as naive
from minilib.shapes import check_shapes, check_size, check_sizes
from minilib.transformer import Block

# -- a relaxed draw, and a density of pixels -------------------------------------------------------


@twin(naive.gumbel_softmax)
def gumbel_softmax(logits: Tensor, u: Tensor, tau: float) -> Tensor:
    """softmax((logits + g) / tau) with Gumbel noise g = -ln(-ln u); logits, u (..., K).

    The largest entry is where a draw from softmax(logits) falls; its derivative is that of softmax.
    Raises ValueError unless tau > 0 and every u lies in (0, 1): at 0 and 1 the noise is infinite.
    """
    check_shapes(u=(u, tuple(logits.shape)))
    if not tau > 0:
        raise ValueError(f"tau must be positive, got {tau}")
    if not ((u > 0) & (u < 1)).all():
        raise ValueError("u must lie in (0, 1), without 0 and 1")
    return ((logits - (-u.log()).log()) / tau).softmax(-1)


@twin(naive.kl_to_uniform)
def kl_to_uniform(logits: Tensor) -> Tensor:
    """Nats of softmax(logits) from the uniform distribution: (..., K) -> (...). -inf: chance 0."""
    if not logits.shape[-1] or not logits.amax(-1).isfinite().all():
        raise ValueError("logits must be numbers or -inf, and one in each row finite")
    ln_q = logits.log_softmax(-1)
    return (ln_q.exp() * ln_q.where(ln_q > -math.inf, 0)).sum(-1) + math.log(logits.shape[-1])


@twin(naive.anneal)
def anneal(step: float, total: float, start: float, end: float) -> float:
    """From start to end along half a cosine; end after `total` steps."""
    if not (step >= 0 and total > 0):
        raise ValueError(f"step must be 0 or more, total positive, got {step} of {total}")
    t = min(step / total, 1)
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


@twin(naive.vae_loss)
def vae_loss(pictures: Tensor, images: Tensor, logits: Tensor, beta: float) -> Tensor:
    """Mean over the batch of squared error, summed over pixels, + beta KL, summed over places.

    pictures, images (B, 1, H, W), logits (B, h, w, K)
    """
    if not (len(images) and beta >= 0):
        raise ValueError(f"images must be some, beta 0 or more, got {len(images)} and {beta}")
    check_shapes(pictures=(pictures, images.shape), logits=(logits, (len(images), *[None] * 3)))
    return ((pictures - images).square().sum() + beta * kl_to_uniform(logits).sum()) / len(images)


def _check_eps(eps):
    if not 0 < eps < 0.5:
        raise ValueError(f"eps must lie in (0, 0.5), got {eps}")


@twin(naive.map_pixels)
def map_pixels(x: Tensor, eps: float = 0.1) -> Tensor:
    """[0, 1] into [eps, 1 - eps], where the logit is finite."""
    _check_eps(eps)
    return (1 - 2 * eps) * x + eps


@twin(naive.unmap_pixels)
def unmap_pixels(y: Tensor, eps: float = 0.1) -> Tensor:
    """The inverse of map_pixels, cut to [0, 1]."""
    _check_eps(eps)
    return ((y - eps) / (1 - 2 * eps)).clamp(0, 1)


@twin(naive.logit_laplace)
def logit_laplace(x: Tensor, mu: Tensor, ln_b: Tensor) -> Tensor:
    """Log density on (0, 1) of sigmoid(Laplace(mu, b)), in nats; all three of one shape."""
    check_shapes(mu=(mu, tuple(x.shape)), ln_b=(ln_b, tuple(x.shape)))
    if not ((x > 0) & (x < 1)).all():
        raise ValueError("x must lie in (0, 1), without 0 and 1: see map_pixels")
    return -(x.logit() - mu).abs() * (-ln_b).exp() - (2 * x * (1 - x)).log() - ln_b


# -- who sees whom ---------------------------------------------------------------------------------


def _back(W):
    """How far before place i place j is in the row of codes: (W², W²)."""
    check_size("W", W)
    return torch.arange(W * W)[:, None] - torch.arange(W * W)


@twin(naive.row_mask)
def row_mask(W: int) -> Tensor:
    """Codes see themselves and the W before, line by line, so also the one above: (W², W²) bool."""
    back = _back(W)
    return (back >= 0) & (back <= W)


@twin(naive.column_mask)
def column_mask(W: int) -> Tensor:
    """Codes see themselves and those above in their column: (W², W²) bool."""
    back = _back(W)
    return (back >= 0) & (back % W == 0)


@twin(naive.conv_mask)
def conv_mask(W: int, kernel: int) -> Tensor:
    """Codes see themselves and what came before in a square around them: (W², W²) bool.

    Beyond the left edge lies the end of a line above: the square is one of distances dr W + dc.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd and positive, got {kernel}")
    back = _back(W)
    reach = torch.arange(kernel) - kernel // 2
    return (back >= 0) & torch.isin(back, reach[:, None] * W + reach)


@twin(naive.mask_kinds)
def mask_kinds(layers: int) -> list[str]:
    """Which mask each layer has: row, column, row, row, row, column, ...; the last has conv."""
    check_size("layers", layers)
    return ["column" if i % 4 == 1 else "row" for i in range(layers - 1)] + ["conv"]


@twin(naive.drawing_mask)
def drawing_mask(text: int, picture: Tensor) -> Tensor:
    """Start and caption see what came before; codes see all of these, and codes by `picture`.

    text words, picture (N, N) bool -> (1 + text + N, 1 + text + N) bool
    """
    check_size("text", text)
    N = len(picture)
    check_shapes(picture=(picture, (N, N)))
    mask = picture.new_ones(1 + text + N, 1 + text + N).tril()
    mask[1 + text :, 1 + text :] &= picture
    return mask


# -- the model of caption and picture --------------------------------------------------------------


@twin(naive.caption)
def caption(text: str, words: list[str], length: int) -> Tensor:
    """A caption as numbers of words, 0 behind the last: (length,) int64. words[0] is no word.

    Raises ValueError for a word that is not in `words`, and for no word or more than `length`.
    """
    pieces = text.split()
    if not 1 <= len(pieces) <= length:
        raise ValueError(f"caption must have 1 to {length} words, got {len(pieces)}: {text!r}")
    number = {word: k for k, word in reversed(list(enumerate(words))) if k}
    for word in pieces:
        if word not in number:
            raise ValueError(f"caption holds {word!r}, which is not one of the {len(number)} words")
    return F.pad(torch.tensor([number[word] for word in pieces]), (0, length - len(pieces)))


@twin(naive.drawing_loss)
def drawing_loss(
    logits: Tensor, ids: Tensor, text: int, share: float = 1 / 8
) -> tuple[Tensor, Tensor, Tensor]:
    """(share · text loss + (1 - share) · picture loss, text loss, picture loss), nats per symbol.

    logits (B, T, vocab), ids (B, T): a start, `text` words (those that are no word count), codes.
    Each loss is the mean over its own symbols: the weight does not depend on how many there are.
    """
    check_shapes(ids=(ids, tuple(logits.shape[:2])))
    check_ids(ids, logits.shape[-1], dims=2)
    if not (1 <= text < ids.shape[1] - 1 and 0 <= share <= 1):
        wanted = f"text must be 1 to {ids.shape[1] - 2} of these ids and share lie in [0, 1]"
        raise ValueError(f"{wanted}, got {text} and {share}")
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    of_text, of_picture = nats[:, :text].mean(), nats[:, text:].mean()
    return share * of_text + (1 - share) * of_picture, of_text, of_picture


@twin(naive.text_to_image)
class TextToImage(LanguageModel):
    """One Transformer for captions and pictures: [start, caption, codes], again and again.

    words, codes  how many there are of each; ids are words (0 is none), then codes, then the start
    text, side    words of a caption, and codes along an edge of the picture
    kernel        of the last layer's conv mask
    A drawing sees none before it: the cache holds one at most; those of a long row are a batch.
    """

    def __init__(
        self,
        words: int,
        codes: int,
        text: int = 8,
        side: int = 4,
        width: int = 96,
        layers: int = 3,
        heads: int = 4,
        kernel: int = 3,
    ):
        super().__init__()
        check_sizes(words=words, codes=codes, text=text, side=side, layers=layers)
        self.words, self.codes, self.text, self.side = words, codes, text, side
        self.start, self.vocab_size = words + codes, words + codes + 1
        self.length = 1 + text + side * side
        vectors = lambda count: nn.Parameter(0.5 * torch.randn(count, width))
        self.embed, self.pads = vectors(self.vocab_size), vectors(text)
        self.places, self.rows, self.columns = vectors(1 + text), vectors(side), vectors(side)
        residual = (2 * layers) ** -0.5
        self.blocks = nn.ModuleList(Block(width, heads, residual=residual) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Parameter(0.1 * width**-0.5 * torch.randn(self.vocab_size, width))
        of = {"row": row_mask(side), "column": column_mask(side), "conv": conv_mask(side, kernel)}
        masks = torch.stack([drawing_mask(text, of[kind]) for kind in mask_kinds(layers)])
        self.register_buffer("masks", masks, persistent=False)  # (layers, length, length)

    def init_state(self, batch_size: int) -> tuple:
        """(symbols of the drawing so far, their keys and values in each layer)."""
        return 0, tuple(block.no_past(batch_size, self.embed) for block in self.blocks)

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        check_ids(ids, self.vocab_size, dims=2)
        begun = self.length - state[0]  # symbols that the drawing lacks
        logits, state = self._run(ids[:, :begun], *state)
        parts, rest = [logits], ids[:, begun:]
        whole = rest.shape[1] // self.length * self.length
        if whole:  # (B, n · length) as (B · n, length): drawings side by side
            drawings = rest[:, :whole].reshape(-1, self.length)
            logits, _ = self._run(drawings, *self.init_state(len(drawings)))
            parts.append(logits.reshape(len(ids), whole, -1))
        if whole < rest.shape[1]:
            logits, state = self._run(rest[:, whole:], *self.init_state(len(ids)))
            parts.append(logits)
        return torch.cat(parts, 1), state

    def _run(self, ids, done, caches):
        """Symbols number `done` and later of one drawing -> logits, state."""
        T = ids.shape[1]
        no_turn, after = torch.zeros_like(ids[0]), []  # places are embedded, not turned
        x = self._inputs(ids, done)
        for block, mask, (k, v) in zip(self.blocks, self.masks, caches, strict=True):
            x, k, v = block(x, k, v, no_turn, mask[done : done + T, : done + T])
            after.append((k, v))
        logits = self.norm(x) @ self.output.t()
        ends = done + T == self.length
        return logits, self.init_state(len(ids)) if ends else (done + T, tuple(after))

    def _inputs(self, ids, done):
        """Vectors of symbols and of their places; "no word" has one for each place."""
        grid = (self.rows[:, None] + self.columns).flatten(0, 1)
        here = slice(done, done + ids.shape[1])
        pads = F.pad(self.pads, (0, 0, 1, self.side**2))[here]
        where = torch.arange(self.length, device=ids.device)[here]
        none = (ids == 0) & (where >= 1) & (where <= self.text)
        x = torch.where(none[..., None], pads, F.embedding(ids, self.embed))
        return x + torch.cat([self.places, grid])[here]

    @torch.no_grad()
    def draw(self, captions: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Pictures as codes, (B, side, side), drawn one after another with a cache.

        captions (B, text) int64 below `words`; u (B, side²) uniforms in [0, 1)
        """
        check_shapes(captions=(captions, (None, self.text)), u=(u, (len(captions), self.side**2)))
        if not ((u >= 0) & (u < 1)).all():
            raise ValueError("u must lie in [0, 1), got a number outside")
        check_ids(captions, self.words, dims=2)
        ids = F.pad(captions, (1, 0), value=self.start)
        logits, state = self.extend(ids, self.init_state(len(ids)))
        logits, codes = logits[:, -1], []
        for n in range(self.side**2):
            if n:
                logits, state = self.step(self.words + codes[-1], state)
            of_codes = logits[:, self.words : self.start]  # no word, no start
            codes.append(sample(of_codes.double(), u[:, n].double(), temperature))
        return torch.stack(codes, 1).view(-1, self.side, self.side)

    def rows_of(self, captions: Tensor, codes: Tensor) -> Tensor:
        """Rows to learn from: captions (B, text), codes (B, side, side) -> ids (B, length)."""
        check_shapes(captions=(captions, (None, self.text)))
        check_shapes(codes=(codes, (len(captions), self.side, self.side)))
        for ids, size in ((captions, self.words), (codes.flatten(1), self.codes)):
            check_ids(ids, size, dims=2)
        return torch.cat([F.pad(captions, (1, 0), value=self.start), self.words + ids], 1)


# -- best of many ----------------------------------------------------------------------------------


@twin(naive.contrastive_loss)
def contrastive_loss(scores: Tensor) -> Tensor:
    """Nats to find each picture's caption among the columns of scores (B, B), and the reverse."""
    n = max(len(scores), 1)  # no pair has no mean
    check_shapes(scores=(scores, (n, n)))
    pairs = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.t(), pairs)) / 2


@twin(naive.rerank, differentiable=False)
def rerank(scores: Tensor, k: int) -> Tensor:
    """The numbers of the k best in each row, best first, of equals the first: (B, N) -> (B, k)."""
    check_shapes(scores=(scores, (None, None)))
    if not 1 <= k <= scores.shape[1] or scores.isnan().any():
        raise ValueError(f"k must be 1 to {scores.shape[1]} and scores hold no nan, got k={k}")
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]


def _quarter(C):
    """Layers that make features of pictures, a quarter as high and wide."""
    return nn.Conv2d(1, C, 4, 2, 1), nn.ReLU(), nn.Conv2d(C, C, 4, 2, 1), nn.ReLU()


@twin(naive.scorer)
class Scorer(nn.Module):
    """Scores of pictures with captions: cosines of a picture's vector and the sum of its words'.

    words of all captions, channels of the net, dim of the vectors, pixels along an edge
    """

    def __init__(self, words: int, channels: int = 32, dim: int = 64, pixels: int = 16):
        super().__init__()
        check_sizes(words=words, channels=channels, dim=dim)
        if pixels < 4 or pixels % 4:
            raise ValueError(f"pixels must be a multiple of 4, got {pixels}")
        C, self.pixels = channels, pixels
        last = nn.Linear(C * pixels**2 // 16, dim)
        self.picture = nn.Sequential(*_quarter(C), nn.Flatten(), last)
        self.words = nn.Parameter(torch.randn(words, dim))
        self.ln_scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, images: Tensor, captions: Tensor) -> Tensor:
        """images (B, 1, pixels, pixels), captions (A, text) int64, 0 is no word -> (B, A)."""
        check_shapes(images=(images, (None, 1, self.pixels, self.pixels)))
        check_ids(captions, len(self.words), dims=2)
        x = F.normalize(self.picture(images), dim=1)
        said = F.embedding(captions, self.words) * (captions > 0)[..., None]
        return self.ln_scale.exp() * x @ F.normalize(said.sum(1), dim=1).t()


# -- the discrete autoencoder ----------------------------------------------------------------------


@twin(naive.discrete_vae, differentiable=False)  # not in the statistics: see the tests
class DiscreteVAE(nn.Module):
    """An autoencoder with a relaxed draw of a code in each place, one for 4 × 4 pixels.

    codes, dim  K, how many there are, and numbers of each; channels: of the feature maps
    sharpness   logits are normalised over the batch, times this: fresh ones drown in the noise
    """

    def __init__(self, codes: int = 64, dim: int = 16, channels: int = 32, sharpness: float = 3.0):
        super().__init__()
        check_sizes(codes=codes, dim=dim, channels=channels)
        C, self.sharpness = channels, sharpness
        self.encoder = nn.Sequential(*_quarter(C), nn.Conv2d(C, codes, 1))
        self.norm = nn.BatchNorm2d(codes, affine=False)
        self.codes = nn.Parameter(torch.randn(codes, dim))
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, C, 3, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(C, C, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(C, 1, 4, 2, 1),
        )  # fmt: skip

    def logits(self, images: Tensor) -> Tensor:
        """What the encoder says of each place: (B, 1, H, W) -> (B, H / 4, W / 4, K)."""
        check_shapes(images=(images, (None, 1, None, None)))
        H, W = images.shape[2:]
        if not images.numel() or H % 4 or W % 4:
            got = f"{len(images)} of {H} × {W}"
            raise ValueError(f"images must be some, their sides multiples of 4, got {got}")
        return self.sharpness * self.norm(self.encoder(images)).permute(0, 2, 3, 1)

    def forward(self, images: Tensor, u: Tensor, tau: float) -> tuple[Tensor, Tensor]:
        """(pictures, logits) by a relaxed draw, with uniforms u (B, H / 4, W / 4, K)."""
        logits = self.logits(images)
        return self.paint(gumbel_softmax(logits, u, tau)), logits

    def paint(self, y: Tensor) -> Tensor:
        """Shares of codes as pictures: (B, h, w, K) -> (B, 1, 4 h, 4 w)."""
        check_shapes(y=(y, (None, None, None, len(self.codes))))
        return self.decoder((y @ self.codes).permute(0, 3, 1, 2))

    def encode(self, images: Tensor) -> Tensor:
        """The likeliest code of each place, no noise: (B, 1, H, W) -> (B, H / 4, W / 4) int64."""
        return self.logits(images).argmax(-1)

    def decode(self, indices: Tensor) -> Tensor:
        """Codes as pictures: (B, h, w) int64 -> (B, 1, 4 h, 4 w)."""
        check_shapes(indices=(indices, (None, None, None)))
        check_ids(indices.flatten(1), len(self.codes), dims=2)
        return self.paint(F.one_hot(indices, len(self.codes)).to(self.codes))
