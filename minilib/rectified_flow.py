"""Rectified flow: pictures from noise along straight lines, and words and pictures in one sequence.

Names and symbols are those of minilib/naive/rectified_flow.py, which lists the departures from the
papers. Not here: pictures that are read, an autoencoder around the flow.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.attention import sinusoid
from minilib.language_model import check_ids
from minilib.mixture_of_transformers import MixtureLayer
from minilib.naive import rectified_flow as naive
from minilib.shapes import check_shapes, check_size

KINDS = "text", "clean", "noised"


def _per_row(t, x):
    """A number for each row, to be multiplied with x (batch, ...)."""
    return t.view(-1, *[1] * (x.dim() - 1))


def _check_time(t, rows):
    check_shapes(t=(t, (rows,)))
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"t must lie in [0, 1], got {t.min():g} to {t.max():g}")


# -- the flow --------------------------------------------------------------------------------------


@twin(naive.rf_pair)
def rf_pair(x0: Tensor, n: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What the net is shown at time t, and what it should say: ((1 - t) x0 + t n, n - x0).

    x0, n (batch, ...); t (batch,). t = 1 is noise. Many libraries count the other way round.
    """
    check_shapes(n=(n, tuple(x0.shape)))
    _check_time(t, len(x0))
    return torch.lerp(x0, n, _per_row(t, x0).to(x0)), n - x0


@twin(naive.shift_t)
def shift_t(t, s: float):
    """Times, numbers or a tensor, moved towards the noise (s > 1): s t / (1 + (s - 1) t)."""
    if not s > 0:
        raise ValueError(f"s must be above 0, got {s}")
    return s * t / (1 + (s - 1) * t)


@twin(naive.euler)
def euler(v: Callable, x1: Tensor, steps: int, s: float = 1.0) -> Tensor:
    """From noise at t = 1 to data at t = 0 in equal steps, moved by `shift_t`: the whole path.

    v (x, t: float) -> velocity; x1 any shape -> (steps + 1, *shape). The grid has steps + 1 points.
    """
    check_size("steps", steps)
    t = [shift_t(1 - k / steps, s) for k in range(steps + 1)]
    path = [x1]
    for now, then in itertools.pairwise(t):
        velocity = v(path[-1], now)
        if velocity.shape != x1.shape:
            got = tuple(velocity.shape)
            raise ValueError(f"v must return the shape {tuple(x1.shape)} of x1, got {got}")
        path.append(path[-1] - (now - then) * velocity)
    return torch.stack(path)


@twin(naive.gaussian_velocity)
def gaussian_velocity(x: Tensor, t: float, mu: float, s: float) -> Tensor:
    """The best velocity, E[n - x0 | x_t = x], if each number of the data is from N(mu, s²)."""
    variance = (1 - t) ** 2 * s**2 + t**2
    if not 0 <= t <= 1 or not variance > 0:
        raise ValueError(f"t must lie in [0, 1], and not be 0 where s is, got t={t} and s={s}")
    return -mu + (t - (1 - t) * s**2) / variance * (x - (1 - t) * mu)


@twin(naive.guide)
def guide(
    conditional: Tensor,
    unconditional: Tensor | None,
    scale: float,
    renorm_min: float | None = None,
) -> Tensor:
    """Guidance: v_u + scale (v_c - v_u); scale 1 is none.

    conditional, unconditional  (batch, ...), velocities with and without the caption
    renorm_min  each row is made as short as the conditional one, at most by this factor
    Raises ValueError without an unconditional velocity for each row.
    """
    if unconditional is None or unconditional.shape != conditional.shape:
        got = None if unconditional is None else tuple(unconditional.shape)
        wanted = f"{tuple(conditional.shape)}, a row without caption for each with one"
        raise ValueError(f"unconditional must have shape {wanted}, got {got}")
    v = torch.lerp(unconditional, conditional, float(scale))
    if renorm_min is None:
        return v
    if not 0 <= renorm_min <= 1:
        raise ValueError(f"renorm_min must lie in [0, 1], or be None, got {renorm_min}")
    lengths = [x[:, None].flatten(1).norm(dim=1) for x in (conditional, v)]
    ratio = lengths[0] / lengths[1].clamp_min(torch.finfo(v.dtype).tiny)
    return v * _per_row(ratio.clamp(renorm_min, 1), v)


@twin(naive.generalised_causal_mask, differentiable=False)
def generalised_causal_mask(splits: Sequence[int], kinds: Sequence[str]) -> Tensor:
    """Who sees whom among tokens that come in splits of one kind each: (N, N) bool.

    splits  tokens of each split; kinds "text", "clean" or "noised" for each
    Text is causal, a picture sees all of itself, and nothing but itself sees what is noised.
    """
    if len(splits) != len(kinds) or not len(splits):
        raise ValueError(f"kinds must be one for each of {len(splits)} splits, got {len(kinds)}")
    for k, (length, kind) in enumerate(zip(splits, kinds, strict=True)):
        check_size(f"splits[{k}]", length)
        if kind not in KINDS:
            raise ValueError(f"kinds[{k}] must be one of {', '.join(KINDS)}, got {kind!r}")
    of_split = lambda values: torch.tensor(values).repeat_interleave(torch.tensor(splits))
    split, picture = of_split(range(len(splits))), of_split([kind != "text" for kind in kinds])
    noised = of_split([kind == "noised" for kind in kinds])
    same = split[:, None] == split
    causal = torch.ones_like(same).tril()
    return (causal | (same & picture)) & (same | ~noised)


# -- the net ---------------------------------------------------------------------------------------


@twin(naive.flow_net)
class FlowNet(nn.Module):
    """Reads a caption and says where a noised picture should go: the velocity at each pixel.

    words    how many there are; number 0 is "no word", and a caption of them is no caption
    side     of the pictures, in pixels; they come in patches of `patch` × `patch`
    width, layers, heads  C and the rest as in a Transformer
    experts  2: words and patches have weights of their own; 1: one set of weights for both

    Words see the words before them, patches see all words and all patches, no word sees a patch. So
    the words' keys and values do not depend on the picture: they are read once, and each step of
    the flow runs the patches alone. The output begins at 0, so that the first loss is E‖n - x0‖².
    """

    def __init__(
        self,
        words: int,
        side: int = 16,
        patch: int = 4,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        experts: int = 2,
    ):
        super().__init__()
        for name, size in {"words": words, "patch": patch, "side": side, "layers": layers}.items():
            check_size(name, size)
        if side % patch:
            raise ValueError(f"side must be a multiple of patch={patch}, got {side}")
        if experts not in (1, 2):
            raise ValueError(f"experts must be 1 or 2, got {experts}")
        self.side, self.patch, self.experts = side, patch, experts
        C, pixels, places = width, patch**2, (side // patch) ** 2
        self.layers = nn.ModuleList(
            MixtureLayer(C, heads, experts, residual=(2 * layers) ** -0.5) for _ in range(layers)
        )
        self.words = nn.Parameter(torch.randn(words, C))
        self.paint_in = nn.Parameter(pixels**-0.5 * torch.randn(C, pixels))
        self.places = nn.Parameter(torch.randn(places, C))
        self.time1, self.time2 = nn.Linear(C, C), nn.Linear(C, C)
        self.norm_words, self.norm_patches = nn.LayerNorm(C), nn.LayerNorm(C)
        self.next_word = nn.Parameter(0.1 * C**-0.5 * torch.randn(words, C))
        self.paint_out = nn.Parameter(torch.zeros(pixels, C))

    def forward(self, x: Tensor, t: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, S, S), t (batch,), captions (batch, W) -> velocity, logits of the next words.

        velocity (batch, S, S); logits (batch, W, words): [:, w] is of word w + 1
        """
        check_shapes(captions=(captions, (len(x), None)))
        logits, read = self.read(captions)
        return self.velocity(x, t, read), logits

    def read(self, captions: Tensor) -> tuple[Tensor, list]:
        """Captions (batch, W) int64 -> (logits, what `velocity` needs: keys and values)."""
        check_ids(captions, len(self.words), dims=2)
        x = F.embedding(captions, self.words)
        heads = self.layers[0].heads
        empty = x.new_zeros(len(x), heads, 0, x.shape[2] // heads)
        read = []
        for layer in self.layers:
            x, *cache = layer(x, torch.zeros_like(captions), empty, empty)
            read.append(tuple(cache))
        return self.norm_words(x) @ self.next_word.t(), read

    def velocity(self, x: Tensor, t: Tensor, read: list) -> Tensor:
        """x (batch, S, S), t (batch,), captions as `read` -> (batch, S, S)."""
        check_shapes(x=(x, (len(read[0][0]), self.side, self.side)))
        _check_time(t, len(x))
        tokens = self._tokens(x, t)
        (B, N), W = tokens.shape[:2], read[0][0].shape[2]
        kind = torch.full((B, N), self.experts - 1, device=x.device)
        position = torch.full((N,), W, device=x.device)
        visible = torch.ones(N, W + N, dtype=torch.bool, device=x.device)
        for layer, cache in zip(self.layers, read, strict=True):
            tokens, _, _ = layer(tokens, kind, *cache, position, visible)
        patches = self.norm_patches(tokens) @ self.paint_out.t()
        h, P = self.side // self.patch, self.patch
        return patches.view(B, h, h, P, P).transpose(2, 3).reshape(B, self.side, self.side)

    def _tokens(self, x, t):
        h, P = self.side // self.patch, self.patch
        patches = x.reshape(-1, h, P, h, P).transpose(2, 3).reshape(-1, h * h, P * P)
        # times in [0, 1] would hardly turn the slow waves; the angles, up to 1,000, in float64
        wave = sinusoid(1000 * t.double(), self.places.shape[1]).to(x)
        time = self.time2(F.silu(self.time1(wave)))
        return patches @ self.paint_in.t() + self.places + time[:, None]

    def loss(
        self, x0: Tensor, captions: Tensor, noise: Tensor, t: Tensor, dropped: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(mean squared error of the velocity, nats a word), to be trained on.

        x0 (batch, S, S) in [-1, 1], noise like it, t (batch,); captions (batch, W)
        dropped  (batch,) bool: rows that learn to paint without their caption; their words and
                 those after the end of a caption do not count
        """
        check_shapes(dropped=(dropped, (len(x0),)))
        x_t, wanted = rf_pair(x0, noise, t)
        velocity, logits = self(x_t, t, captions.masked_fill(dropped[:, None], 0))
        counts = (captions[:, :-1] > 0) & ~dropped[:, None]
        nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), captions[:, 1:], reduction="none")
        return F.mse_loss(velocity, wanted), (nats * counts).sum() / counts.sum().clamp_min(1)

    @torch.no_grad()
    def draw(
        self,
        captions: Tensor,
        noise: Tensor,
        steps: int = 20,
        scale: float = 1.0,
        s: float = 1.0,
        renorm_min: float | None = None,
    ) -> Tensor:
        """The path from noise (batch, S, S) to pictures: (steps + 1, batch, S, S).

        scale  of the guidance; but for 1, each picture has a second row in the batch, no caption
        s, renorm_min  as in `shift_t` and `guide`
        """
        B = len(captions)
        check_shapes(noise=(noise, (B, self.side, self.side)))
        guided = scale != 1
        rows = torch.cat([captions, torch.zeros_like(captions)]) if guided else captions
        _, read = self.read(rows)

        def v(x, t):
            time = x.new_full((len(rows),), t)
            both = self.velocity(x.repeat(2, 1, 1) if guided else x, time, read)
            return guide(*both.split(B), scale, renorm_min) if guided else both

        return euler(v, noise, steps, s)
