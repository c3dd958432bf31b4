"""Symbols for moving pictures on torch: causal convolutions, and a tokenizer that streams.

Names and symbols are those of minilib/naive/video_tokens.py. Not here, of VidTok: normalisation,
attention inside of a frame, a perceptual and an adversarial loss, losses on the codes' entropy.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import twin
from minilib.fsq import checked_levels, digits_of, first_bad, index_of, quantise
from minilib.naive import video_tokens as naive
from minilib.shapes import check_shapes, check_sizes

# -- space and time --------------------------------------------------------------------------------


def _checked(x, w, b, stride):
    check_shapes(x=(x, (None,) * 5))
    check_shapes(w=(w, (None, x.shape[1], None, None, None)))
    check_shapes(b=(b, (len(w),)))
    for axis, n, k, s in zip("THW", x.shape[2:], w.shape[2:], stride, strict=True):
        if n < 1 or n % s:
            raise ValueError(f"{axis} of x must be a multiple of its stride {s}, got {n}")
        if k < s:
            raise ValueError(f"w must be at least as wide as its stride {s} along {axis}, got {k}")


@twin(naive.conv3d)
def conv3d(
    x: Tensor, w: Tensor, b: Tensor, stride: tuple = (1, 1, 1), causal: bool = True
) -> Tensor:
    """Convolution over time, height and width; causal: no later frame is looked at.

    x (B, in, T, H, W), w (out, in, K, k, l), b (out,) -> (B, out, T / s, H / s, W / s)
    A kernel (K, 1, 1) runs as a 2-D convolution over a picture of T rows and H · W columns: no
    copy, and half the time of torch's conv3d forward and backward.
    """
    _checked(x, w, b, stride)
    zeros = w.shape[2] - stride[0]
    before = zeros if causal else zeros // 2
    if zeros:
        x = F.pad(x, (0, 0, 0, 0, before, zeros - before))
    return _conv(x, w, b, stride)


def _conv(x, w, b, stride):
    """The same, of frames that are already padded in time."""
    _, *kernel = w.shape[1:]
    margins = []
    for k, s in zip(reversed(kernel[1:]), reversed(stride[1:]), strict=True):
        margins += [(k - s) // 2, k - s - (k - s) // 2]
    if any(margins):
        x = F.pad(x, margins)
    if kernel[1:] == [1, 1] and tuple(stride[1:]) == (1, 1):
        rows = F.conv2d(x.flatten(3), w[..., 0], b, (stride[0], 1))
        return rows.unflatten(3, x.shape[3:])
    return F.conv3d(x, w, b, stride)


def _blended(w, b, m, fixed):
    """Kernel and bias of a blender. Both of its ways are convolutions, so their blend is one, too.

    fixed  (3,), what the fixed way does with the three frames of a channel
    """
    check_shapes(w=(w, (None, len(w), 3, 1, 1)), m=(m, (1,)))
    alpha = m.sigmoid()
    same = torch.eye(len(w), dtype=w.dtype, device=w.device)[:, :, None] * w.new_tensor(fixed)
    return alpha * same[..., None, None] + (1 - alpha) * w, (1 - alpha) * b


DOWN, UP, UP_CENTRED = [1 / 3] * 3, [0, 0, 1], [0, 1, 0]


@twin(naive.time_down)
def time_down(x: Tensor, w: Tensor, b: Tensor, m: Tensor, causal: bool = True) -> Tensor:
    """Half as many frames: the mean of three blended with a convolution, both at once.

    x (B, C, T, H, W), T even; w (C, C, 3, 1, 1), b (C,), m (1,)
    """
    return conv3d(x, *_blended(w, b, m, DOWN), (2, 1, 1), causal)


@twin(naive.time_up)
def time_up(x: Tensor, w: Tensor, b: Tensor, m: Tensor, causal: bool = True) -> Tensor:
    """Twice as many frames: each one twice, blended with a convolution of these, both at once.

    x (B, C, T, H, W); w (C, C, 3, 1, 1), b (C,), m (1,)
    """
    check_shapes(x=(x, (None,) * 5))
    kernel = _blended(w, b, m, UP if causal else UP_CENTRED)
    return conv3d(x.repeat_interleave(2, 2), *kernel, causal=causal)


@twin(naive.receptive_field, differentiable=False)
def receptive_field(layers, frames: Tensor, causal: bool = True) -> tuple[Tensor, Tensor]:
    """(first, last) of the input frames that each of these output frames reads.

    layers  from input to output, each (K, stride), a convolution; or (0, n): each frame n times
    frames  (n,) int64. What a frame reads has no gaps: two numbers go back through the layers.
    """
    for K, stride in layers:
        if stride < 1 or K < 0 or 0 < K < stride:
            raise ValueError(f"layers must be (K ≥ stride, stride ≥ 1) or (0, n), got {K, stride}")
    first = last = frames
    for K, stride in reversed(layers):
        if K == 0:
            first, last = first // stride, last // stride
            continue
        before = K - stride if causal else (K - stride) // 2
        first, last = first * stride - before, last * stride - before + K - 1
    return first, last


# -- the net ---------------------------------------------------------------------------------------


class Conv(nn.Conv3d):
    """A convolution that can go on from the frames that it has seen.

    past   None: a whole clip, padded. Else a list of tensors, the last frames that each layer has
           seen: this layer takes the first of them and appends its own new one
    """

    def __init__(self, inside, outside, kernel, stride=(1, 1, 1), causal=True):
        super().__init__(inside, outside, kernel, stride)
        self.causal = causal

    def kernel(self):
        return self.weight, self.bias

    def forward(self, x: Tensor, past: list | None = None) -> Tensor:
        w, b = self.kernel()
        keep = w.shape[2] - self.stride[0]
        if past is None or keep == 0:
            return conv3d(x, w, b, self.stride, self.causal)
        x = torch.cat([past.pop(0), x], 2)
        past.append(x[:, :, x.shape[2] - keep :].clone())  # no view of all the frames
        return _conv(x, w, b, self.stride)


class Blender(Conv):
    """The learned way of time_down (stride 2) or time_up (stride 1), and how much it counts."""

    def __init__(self, width, stride, causal):
        super().__init__(width, width, (3, 1, 1), (stride, 1, 1), causal)
        self.m = nn.Parameter(torch.tensor([2.0]))  # α = 0.88, as in VidTok

    def kernel(self):
        fixed = DOWN if self.stride[0] == 2 else UP if self.causal else UP_CENTRED
        return _blended(self.weight, self.bias, self.m, fixed)


class Block(nn.Module):
    """A 2-D convolution of each frame, then a 1-D one along time, each added to its input."""

    def __init__(self, width: int, causal: bool):
        super().__init__()
        self.space = Conv(width, width, (1, 3, 3), causal=causal)
        self.time = Conv(width, width, (3, 1, 1), causal=causal)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(self, x: Tensor, past: list | None = None) -> Tensor:
        x = x + self.space(F.silu(x), past)
        return x + self.time(F.silu(x), past)


# float32: a long chain of sums whose terms cancel, then compared with the mean output
@twin(naive.encoder, float32=1e-4)
class Encoder(nn.Module):
    """A clip -> one vector for each 4 frames × 4 × 4 pixels; the first frame has its own.

    channels   of the clip; width: of the maps inside; dim: d, channels of what comes out
    causal     False: the same net with each kernel in the middle of what it reads
    """

    LAYERS = ((3, 1), (3, 2), (3, 1), (3, 2), (3, 1))  # in time, for receptive_field

    def __init__(self, channels: int = 1, width: int = 32, dim: int = 4, causal: bool = True):
        super().__init__()
        check_sizes(channels=channels, width=width, dim=dim)
        self.channels, self.width, self.causal = channels, width, causal
        self.input = Conv(channels, width, (1, 4, 4), (1, 2, 2), causal)
        self.shrink = Conv(width, width, (1, 4, 4), (1, 2, 2), causal)
        self.blocks = nn.ModuleList(Block(width, causal) for _ in range(3))
        self.down = nn.ModuleList(Blender(width, 2, causal) for _ in range(2))
        self.output = Conv(width, dim, (1, 1, 1), causal=causal)

    def forward(self, clip: Tensor) -> Tensor:
        """(B, channels, 4 n + 1, H, W) -> (B, d, n + 1, H / 4, W / 4)

        Raises ValueError for another number of frames, sides that are no multiples of 4, and
        numbers that are not finite.
        """
        self._check("clip", clip)
        if clip.shape[2] % 4 != 1:
            raise ValueError(f"clip must have 4 n + 1 frames, got {clip.shape[2]}")
        return self._run(torch.cat([clip[:, :, :1]] * 3 + [clip], 2))

    def extend(self, frames: Tensor, state: tuple | None = None) -> tuple[Tensor, tuple]:
        """Go on with a clip: (frames, state) -> (vectors, state), as forward gives them.

        frames   (B, channels, any number, H, W); vectors come when their four frames are complete
        state    None at the start; then what the last call returned
        """
        _must_stream(self)
        self._check("frames", frames)
        if state is None:
            frames = torch.cat([frames[:, :, :1]] * 3 + [frames], 2)
            B, _, _, H, W = frames.shape
            keep = (2, 1, 2, 1, 2)  # K - stride of each of LAYERS
            past = [frames.new_zeros(B, self.width, n, H // 4, W // 4) for n in keep]
        else:
            waiting, past = state
            B, C, _, H, W = waiting.shape
            check_shapes(frames=(frames, (B, C, None, H, W)))
            frames = torch.cat([waiting, frames], 2)
        ready = frames.shape[2] // 4 * 4
        waiting = frames[:, :, ready:].clone()
        if ready == 0:
            B, _, _, H, W = frames.shape
            none = frames.new_zeros(B, self.output.out_channels, 0, H // 4, W // 4)
            return none, (waiting, past)
        past = list(past)
        return self._run(frames[:, :, :ready], past), (waiting, past)

    def _check(self, name, clip):
        check_shapes(**{name: (clip, (None, self.channels, None, None, None))})
        B, _, T, H, W = clip.shape
        if B < 1 or T < 1 or H < 4 or W < 4 or H % 4 or W % 4:
            wanted = "at least one clip and frame, of sides that are multiples of 4"
            raise ValueError(f"{name} must have {wanted}, got {tuple(clip.shape)}")
        if not clip.isfinite().all():
            raise ValueError(f"{name} must be finite, got {first_bad(clip)}")

    def _run(self, x, past=None):
        x = self.shrink(F.silu(self.input(x, past)), past)
        x = self.blocks[0](x, past)
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            x = block(down(x, past), past)
        return self.output(F.silu(x), past)


# float32: a long chain of sums whose terms cancel, then compared with the mean output
@twin(naive.decoder, float32=1e-4)
class Decoder(nn.Module):
    """Codes -> the clip: the way back, step for step. Arguments are those of Encoder."""

    LAYERS = ((3, 1), (0, 2), (3, 1), (3, 1), (0, 2), (3, 1), (3, 1))

    def __init__(self, channels: int = 1, width: int = 32, dim: int = 4, causal: bool = True):
        super().__init__()
        check_sizes(channels=channels, width=width, dim=dim)
        self.dim, self.width, self.causal = dim, width, causal
        self.input = Conv(dim, width, (1, 1, 1), causal=causal)
        self.blocks = nn.ModuleList(Block(width, causal) for _ in range(3))
        self.up = nn.ModuleList(Blender(width, 1, causal) for _ in range(2))
        self.grow = Conv(width, width, (1, 3, 3), causal=causal)
        self.output = Conv(width, 4 * channels, (1, 3, 3), causal=causal)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, d, n + 1, h, w) -> (B, channels, 4 n + 1, 4 h, 4 w)"""
        self._check(codes)
        return self._run(codes)[:, :, 3:]

    def extend(self, codes: Tensor, state: list | None = None) -> tuple[Tensor, list]:
        """Go on with a clip: (codes, state) -> (frames, state). State is None at the start."""
        _must_stream(self)
        self._check(codes)
        B, _, _, h, w = codes.shape
        past = list(state or [codes.new_zeros(B, self.width, 2, h, w) for _ in range(5)])
        B, _, _, h, w = past[0].shape
        check_shapes(codes=(codes, (B, self.dim, None, h, w)))
        frames = self._run(codes, past)
        return frames[:, :, 0 if state else 3 :], past

    def _check(self, codes):
        check_shapes(codes=(codes, (None, self.dim, None, None, None)))
        if codes.numel() == 0:
            raise ValueError(f"codes must not be empty, got shape {tuple(codes.shape)}")
        if not codes.isfinite().all():
            raise ValueError(f"codes must be finite, got {first_bad(codes)}")

    def _run(self, x, past=None):
        x = self.blocks[0](self.input(x, past), past)
        for up, block in zip(self.up, self.blocks[1:], strict=True):
            x = block(up(x.repeat_interleave(2, 2), past), past)
        x = F.silu(x).repeat_interleave(2, 3).repeat_interleave(2, 4)
        x = self.output(F.silu(self.grow(x, past)), past)
        return F.pixel_shuffle(x.transpose(1, 2), 2).transpose(1, 2)  # 4 channels -> 2 × 2 pixels


def _must_stream(net):
    if not net.causal:
        raise ValueError("extend needs causal=True: this net looks at frames that are yet to come")


class VideoTokenizer(nn.Module):
    """Encoder, FSQ and decoder: a clip as whole numbers, one for each 4 frames × 4 × 4 pixels.

    levels     of FSQ; (8, 5, 5, 5) are 1,000 symbols
    others     those of Encoder
    """

    def __init__(
        self,
        levels: tuple[int, ...] = (8, 5, 5, 5),
        width: int = 32,
        channels: int = 1,
        causal: bool = True,
    ):
        super().__init__()
        self.levels = checked_levels(levels)
        self.encoder = Encoder(channels, width, len(self.levels), causal)
        self.decoder = Decoder(channels, width, len(self.levels), causal)

    def forward(self, clip: Tensor) -> Tensor:
        """The clip after coding and decoding, of the same shape; gradients pass the rounding."""
        z = self.encoder(clip).movedim(1, -1)
        return self.decoder(quantise(z, self.levels).movedim(-1, 1))

    @torch.no_grad()
    def tokens(self, clip: Tensor) -> Tensor:
        """(B, channels, 4 n + 1, H, W) -> int64 (B, n + 1, H / 4, W / 4)"""
        return self._index(self.encoder(clip))

    @torch.no_grad()
    def film(self, tokens: Tensor) -> Tensor:
        """Undoes `tokens`, up to what they do not hold. Raises ValueError for unknown symbols."""
        return self.decoder(self._codes(tokens))

    @torch.no_grad()
    def extend_tokens(self, frames: Tensor, state: tuple | None = None) -> tuple[Tensor, tuple]:
        """Any number of frames, state -> the symbols that they complete, state. None to begin."""
        z, state = self.encoder.extend(frames, state)
        return self._index(z), state

    @torch.no_grad()
    def extend_film(self, tokens: Tensor, state: list | None = None) -> tuple[Tensor, list]:
        """Symbols of one or more time steps, state -> their frames, state. None to begin."""
        return self.decoder.extend(self._codes(tokens), state)

    def _index(self, z):
        return index_of(quantise(z.movedim(1, -1), self.levels), self.levels)

    def _codes(self, tokens):
        check_shapes(tokens=(tokens, (None,) * 4))
        half = self.decoder.input.bias.new_tensor([L // 2 for L in self.levels])
        return ((digits_of(tokens, self.levels) - half) / half).movedim(-1, 1)


@twin(naive.psnr)
def psnr(clip: Tensor, other: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels of all pixels together, for values in [0, 1]."""
    if clip.shape != other.shape or not clip.numel():
        raise ValueError(
            f"clip and other must have one shape, not empty, got {tuple(clip.shape)} and "
            f"{tuple(other.shape)}"
        )
    return -10 * (clip - other).square().mean().log10()
