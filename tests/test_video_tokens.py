"""Causal convolutions against torch's own; streams; who reads which frame; refusals."""

import itertools

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional as F

from minilib import lab
from minilib.naive import video_tokens as naive
from minilib.video_tokens import (
    Decoder,
    Encoder,
    VideoTokenizer,
    conv3d,
    psnr,
    receptive_field,
    time_down,
    time_up,
)

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def kernel_mirrored_in_time(x, w, b, stride=(1, 1, 1), causal=True):
    return naive.conv3d(x, w[:, :, ::-1], b, stride, causal)


def decibels_of_each_frame(clip, other):
    error = ((clip - other) ** 2).reshape(-1, clip[0, 0, 0].size if clip.ndim == 5 else 1).mean(1)
    return float((-10 * np.log10(error)).mean())


LOOK = "zeros if axis == 0 and causal else zeros // 2"
BLEND = "alpha * fixed + (1 - alpha) * learned"
SWAPPED = BLEND, "alpha * learned + (1 - alpha) * fixed"
FIRST = "np.concatenate([clip[:, :, :1]] * 3 + [clip], axis=2)"
SPACE = '_conv(params, f"{name}.space", silu(x), causal)'
TIME = '_conv(params, f"{name}.time", silu(x), causal)'
BLOCK = f"    x = x + {SPACE}\n    return x + {TIME}"
WRONG = {
    naive.conv3d: [
        *edited(
            naive.conv3d,
            one_frame_ahead=(LOOK, "max(zeros - 1, 0) if axis == 0 and causal else zeros // 2"),
            never_causal=(LOOK, "zeros // 2"),
            always_causal=(LOOK, "zeros if axis == 0 else zeros // 2"),
            causal_in_space_too=(LOOK, "zeros if causal else zeros // 2"),
            odd_zero_in_front=(LOOK, "zeros if axis == 0 and causal else (zeros + 1) // 2"),
            edge_repeated=("np.pad(x, margins)", 'np.pad(x, margins, mode="edge")'),
            no_bias=(".sum((1, 2, 3, 4)) + b", ".sum((1, 2, 3, 4))"),
        ),
        kernel_mirrored_in_time,
    ],
    naive.time_down: edited(
        naive.time_down,
        shares_swapped=SWAPPED,
        sum_for_mean=("= 1 / 3", "= 1"),
        mean_of_all_channels=("mean[c, c] = 1 / 3", "mean[:, c] = 1 / 3"),
        every_other_frame=("fixed = conv3d(x, mean,", "fixed = x[:, :, ::2] + 0 * conv3d(x, mean,"),
        mean_has_a_bias=("mean, np.zeros(len(w))", "mean, b"),
        m_is_alpha=("alpha = 1 / (1 + np.exp(-m))", "alpha = m"),
    ),
    naive.time_up: edited(
        naive.time_up,
        shares_swapped=SWAPPED,
        clip_twice=("np.repeat(x, 2, axis=2)", "np.concatenate([x, x], axis=2)"),
        never_causal=("causal=causal)", "causal=False)"),
    ),
    naive.receptive_field: edited(
        naive.receptive_field,
        from_the_input=("in reversed(layers)", "in layers"),
        one_too_many=("start + K)", "start + K + 1)"),
        always_causal=("if causal else (K - stride) // 2", "if True else 0"),
        stride_forgotten=("start = t * stride", "start = t"),
        kept_at_the_start=("start + K))", "start + K)) - {-1}"),
    ),
    naive.encoder: edited(
        naive.encoder,
        zeros_in_front=(FIRST, FIRST.replace("[clip[", "[0 * clip[")),
        repeated_behind=(FIRST, "np.concatenate([clip] + [clip[:, :, -1:]] * 3, axis=2)"),
        no_residual=(f"x = x + {SPACE}", f"x = {SPACE}"),
        time_before_space=(BLOCK, f"    x = x + {TIME}\n    return x + {SPACE}"),
        relu_for_silu=("return x / (1 + np.exp(-x))", "return np.maximum(x, 0)"),
    ),
    naive.decoder: edited(
        naive.decoder,
        last_three_dropped=("return x[:, :, 3:]", "return x[:, :, :-3]"),
        rows_and_columns_swapped=("x[:, c, :, p::2, q::2]", "x[:, c, :, q::2, p::2]"),
        pixels_before_channels=("4 * c + 2 * p + q", "(2 * p + q) * channels + c"),
    ),
    naive.psnr: [
        *edited(
            naive.psnr,
            natural_logarithm=("math.log10(", "math.log("),
            twenty=("-10 *", "-20 *"),
            absolute=("(clip - other) ** 2", "abs(clip - other)"),
        ),
        decibels_of_each_frame,
    ],
}


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved(net):
    """The net in float64, each weight moved off its first value, which may be 0."""
    torch.manual_seed(1)
    net = net.double()
    for p in net.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return net


# -- convolutions ----------------------------------------------------------------------------------


def test_four_frames_by_hand():
    """Kernel (1, 10, 100) over the frames 1 2 3 4: the last tap is for the frame itself."""
    x, w = (
        torch.arange(1.0, 5).view(1, 1, 4, 1, 1),
        torch.tensor([1.0, 10, 100]).view(1, 1, 3, 1, 1),
    )
    b = torch.zeros(1)
    assert conv3d(x, w, b).flatten().tolist() == [100, 210, 321, 432]
    assert conv3d(x, w, b, causal=False).flatten().tolist() == [210, 321, 432, 43]
    assert conv3d(x, w, b, (2, 1, 1)).flatten().tolist() == [210, 432]
    assert conv3d(x, w, b, (2, 1, 1), causal=False).flatten().tolist() == [321, 43]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3), (3, 3, 3), (2, 1, 1), (4, 1, 3)], ids=str)
def test_torchs_own_convolution(kernel, causal):
    """Third opinion: torch's conv3d on a picture padded by hand, at each stride that fits."""
    x, w, b = random(2, 3, 4, 6, 6), random(5, 3, *kernel, seed=1), random(5, seed=2)
    for stride in itertools.product((1, 2), (1, 2), (1, 2)):
        if any(k < s for k, s in zip(kernel, stride, strict=True)):
            continue
        zeros = [k - s for k, s in zip(kernel, stride, strict=True)]
        before = [zeros[0] if causal else zeros[0] // 2, zeros[1] // 2, zeros[2] // 2]
        margins = [n for z, a in zip(zeros[::-1], before[::-1], strict=True) for n in (a, z - a)]
        want = F.conv3d(F.pad(x, margins), w, b, stride)
        torch.testing.assert_close(conv3d(x, w, b, stride, causal), want)


def test_a_frame_and_then_time_is_a_product_of_kernels():
    """2-D then 1-D is the 3-D convolution of the product of their kernels."""
    x, space, time = (
        random(1, 2, 4, 5, 5),
        random(3, 2, 1, 3, 3, seed=1),
        random(4, 3, 3, 1, 1, seed=2),
    )
    zero = lambda n: torch.zeros(n, dtype=torch.float64)
    both = torch.einsum("omt,miyx->oityx", time[..., 0, 0], space[:, :, 0])
    want = conv3d(x, both, zero(4))
    torch.testing.assert_close(conv3d(conv3d(x, space, zero(3)), time, zero(4)), want)


def test_the_first_mean_counts_a_frame_of_zeros():
    ones, w, b = torch.ones(1, 1, 4, 1, 1), torch.zeros(1, 1, 3, 1, 1), torch.zeros(1)
    down = time_down(ones, w, b, torch.tensor([50.0])).flatten()
    torch.testing.assert_close(down, torch.tensor([2 / 3, 1.0]))
    up = time_up(torch.tensor([1.0, 2]).view(1, 1, 2, 1, 1), w, b, torch.tensor([50.0]))
    assert up.flatten().tolist() == [1, 1, 2, 2]


def test_a_blender_is_torchs_pool_and_convolution():
    """Third opinion: avg_pool3d and conv3d of torch, mixed; gradients in m, too."""
    x, w, b = random(2, 3, 6, 2, 2), random(3, 3, 3, 1, 1, seed=1), random(3, seed=2)
    m = torch.tensor([0.3], dtype=torch.float64).requires_grad_()
    wide = F.pad(x, (0, 0, 0, 0, 1, 0))
    mean, learned = F.avg_pool3d(wide, (3, 1, 1), (2, 1, 1)), F.conv3d(wide, w, b, (2, 1, 1))
    want = m.sigmoid() * mean + (1 - m.sigmoid()) * learned
    got = time_down(x, w, b, m)
    torch.testing.assert_close(got, want)
    grads = [torch.autograd.grad(y.square().sum(), m)[0] for y in (got, want)]
    torch.testing.assert_close(*grads)


def test_psnr_by_hand():
    zero, tenth = torch.zeros(1, 1, 2, 4, 4), torch.full((1, 1, 2, 4, 4), 0.1)
    assert psnr(zero, tenth).item() == pytest.approx(20)
    tenth[:, :, 0] = 0  # one perfect frame: half the error, not half of infinity
    assert psnr(zero, tenth).item() == pytest.approx(20 + 10 * np.log10(2), abs=1e-4)


# -- who reads which frame -------------------------------------------------------------------------


def read(net, x):
    """reads[t, s]: does output t along time move if input s is changed?"""
    plain, rows = net(x), []
    for s in range(x.shape[2]):
        changed = x.clone()
        changed[:, :, s] += 1
        rows.append((net(changed) != plain).transpose(1, 2).flatten(2).any(2).any(0))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("part", [Encoder, Decoder])
def test_the_receptive_field_is_exact(part, causal):
    """Change each frame: those that move an output are those that receptive_field names."""
    net = moved(part(1, 3, 2, causal))
    if part is Encoder:
        x, outputs, front_in, front_out = random(1, 1, 45, 4, 4), 12, 3, 0
    else:
        x, outputs, front_in, front_out = random(1, 2, 9, 1, 1), 33, 0, 3
    with torch.no_grad():
        reads = read(net, x)
    first, last = receptive_field(part.LAYERS, torch.arange(outputs) + front_out, causal)
    s = torch.arange(x.shape[2])
    want = (s >= first[:, None] - front_in) & (s <= last[:, None] - front_in)
    want[:, 0] |= first <= front_in - 0 if front_in else first <= 0  # frame 0 stands in front, too
    assert torch.equal(reads, want)


def test_a_latent_reads_no_frame_after_its_own_four():
    first, last = receptive_field(Encoder.LAYERS, torch.arange(5))
    assert (last - 3).tolist() == [0, 4, 8, 12, 16]
    _, ahead = receptive_field(Encoder.LAYERS, torch.arange(5), causal=False)
    assert (ahead > last).all()
    first, last = receptive_field(Decoder.LAYERS, torch.arange(3, 20))
    assert last.tolist() == [t // 4 for t in range(3, 20)]


def test_what_comes_later_changes_nothing_to_the_bit():
    net = VideoTokenizer(width=8)
    clip = torch.rand(2, 1, 13, 8, 8)
    other = clip.clone()
    other[:, :, 5:] = torch.rand(2, 1, 8, 8, 8)
    assert torch.equal(net.encoder(clip)[:, :, :2], net.encoder(other)[:, :, :2])
    assert torch.equal(net(clip)[:, :, :5], net(other)[:, :, :5])
    ahead = VideoTokenizer(width=8, causal=False)
    assert not torch.equal(ahead.encoder(clip)[:, :, :2], ahead.encoder(other)[:, :, :2])


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 13])
def test_frames_as_they_come_equal_the_whole_clip(chunk):
    net, clip = moved(VideoTokenizer(width=4)), random(2, 1, 13, 8, 12)
    state, parts = None, []
    for start in range(0, 13, chunk):
        z, state = net.encoder.extend(clip[:, :, start : start + chunk], state)
        parts.append(z)
    z = net.encoder(clip)
    torch.testing.assert_close(torch.cat(parts, 2), z, rtol=1e-10, atol=1e-10)
    state, parts = None, []
    for codes in z.split(min(chunk, 2), 2):
        frames, state = net.decoder.extend(codes, state)
        parts.append(frames)
    torch.testing.assert_close(torch.cat(parts, 2), net.decoder(z), rtol=1e-10, atol=1e-10)


def test_symbols_as_they_come_equal_those_of_the_whole_clip():
    net, clip = moved(VideoTokenizer(width=4)), random(1, 1, 9, 8, 8)
    tokens, states, counts, got, films = net.tokens(clip), (None, None), [], [], []
    assert tokens.shape == (1, 3, 2, 2) and tokens.dtype == torch.int64
    for frame in clip.split(1, 2):
        new, one = net.extend_tokens(frame, states[0])
        counts.append(new.shape[1])
        other = states[1]
        if counts[-1]:
            film, other = net.extend_film(new, states[1])
            films.append(film)
        states = one, other
        got.append(new)
    assert counts == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert torch.equal(torch.cat(got, 1), tokens)
    assert [film.shape[2] for film in films] == [1, 4, 4]
    torch.testing.assert_close(torch.cat(films, 2), net.film(tokens))
    torch.testing.assert_close(net.film(tokens), net(clip).detach())


def test_a_state_is_used_twice_and_holds_no_more_than_it_needs():
    net, clip = moved(VideoTokenizer(width=4)).encoder, random(1, 1, 9, 8, 8)
    with torch.no_grad():
        _, state = net.extend(clip[:, :, :5])
        once, after = net.extend(clip[:, :, 5:], state)
        again, _ = net.extend(clip[:, :, 5:], state)
    assert torch.equal(once, again)
    for tensor in (after[0], *after[1]):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 8
    assert [tensor.shape[2] for tensor in after[1]] == [2, 1, 2, 1, 2]


# -- the tokenizer ---------------------------------------------------------------------------------


def test_shapes_and_gradients():
    net = VideoTokenizer((8, 5, 5), width=4, channels=3)
    clip = torch.rand(2, 3, 5, 8, 4)
    y = net(clip)
    assert y.shape == clip.shape and net.tokens(clip).shape == (2, 2, 2, 1)
    y.square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and (p.grad != 0).any(), name


def test_a_still_picture_is_a_clip_of_one_frame():
    net, clip = VideoTokenizer(width=4), torch.rand(1, 1, 9, 8, 8)
    assert torch.equal(net.tokens(clip)[:, :1], net.tokens(clip[:, :, :1]))


def test_the_batch_changes_nothing():
    net, clip = moved(VideoTokenizer(width=4)), random(3, 1, 5, 8, 8)
    torch.testing.assert_close(net.encoder(clip)[1:2], net.encoder(clip[1:2]))
    assert torch.equal(net.tokens(clip)[1:2], net.tokens(clip[1:2]))


def test_blocks_begin_as_2d_blocks_and_blenders_as_means():
    net = Encoder(width=4)
    assert not net.blocks[1].time.weight.any() and net.down[0].m.sigmoid().item() > 0.88


NET, LOOKS_AHEAD = VideoTokenizer(width=2), VideoTokenizer(width=2, causal=False)
CLIP = torch.zeros(1, 1, 5, 8, 8)
STATE = NET.encoder.extend(CLIP)[1]
CODES = torch.zeros(1, 4, 1, 2, 2)
PAST = NET.decoder.extend(CODES)[1]
KERNEL, BIAS = torch.zeros(2, 1, 3, 1, 1), torch.zeros(2)
REFUSED = [
    (lambda: NET(CLIP[:, :, :4]), r"clip must have 4 n \+ 1 frames, got 4"),
    (lambda: NET(CLIP[:, :, :0]), r"clip must have at least one clip and frame, .* got \(1, 1, 0"),
    (lambda: NET(CLIP[:0]), "clip must have at least one clip and frame"),
    (lambda: NET(CLIP[..., :6]), r"multiples of 4, got \(1, 1, 5, 8, 6\)"),
    (lambda: NET(CLIP[..., :2, :]), r"multiples of 4, got \(1, 1, 5, 2, 8\)"),
    (lambda: NET(CLIP[0]), r"clip must have shape \(any, 1, any, any, any\), got \(1, 5, 8, 8\)"),
    (lambda: NET(CLIP.expand(1, 3, 5, 8, 8)), r"clip must have shape \(any, 1, any"),
    (lambda: NET(CLIP + torch.nan), "clip must be finite, got nan"),
    (lambda: NET(CLIP + torch.inf), "clip must be finite, got inf"),
    (lambda: NET.encoder.extend(CLIP * torch.nan), "frames must be finite, got nan"),
    (
        lambda: NET.encoder.extend(CLIP[..., :4], STATE),
        r"frames must have shape \(1, 1, any, 8, 8\)",
    ),
    (lambda: NET.encoder.extend(CLIP.expand(2, 1, 5, 8, 8), STATE), "frames must have shape"),
    (
        lambda: NET.decoder.extend(CODES[..., :1], PAST),
        r"codes must have shape \(1, 4, any, 2, 2\)",
    ),
    (lambda: NET.decoder(CODES[:, :, :0]), "codes must not be empty"),
    (lambda: NET.decoder(CODES[:, :3]), r"codes must have shape \(any, 4, any, any, any\)"),
    (lambda: NET.decoder(CODES * torch.nan), "codes must be finite, got nan"),
    (lambda: NET.film(torch.full((1, 1, 2, 2), 1000)), r"index must lie in \[0, 1000\), got 1000"),
    (lambda: NET.film(torch.full((1, 1, 2, 2), -1)), r"index must lie in \[0, 1000\), got -1"),
    (lambda: NET.film(torch.zeros(1, 2, 2, dtype=torch.int64)), "tokens must have shape"),
    (lambda: NET.film(torch.zeros(1, 1, 2, 2)), "index must be of torch.int64"),
    (lambda: LOOKS_AHEAD.encoder.extend(CLIP), "extend needs causal=True"),
    (lambda: LOOKS_AHEAD.decoder.extend(CODES), "extend needs causal=True"),
    (lambda: VideoTokenizer((8, 1)), "levels must be"),
    (lambda: VideoTokenizer(width=0), "width must be 1 or more, got 0"),
    (lambda: Encoder(dim=0), "dim must be 1 or more, got 0"),
    (lambda: conv3d(CLIP[0], KERNEL, BIAS), "x must have shape"),
    (lambda: conv3d(CLIP, KERNEL.expand(2, 3, 3, 1, 1), BIAS), r"w must have shape \(any, 1,"),
    (lambda: conv3d(CLIP, KERNEL, BIAS[:1]), r"b must have shape \(2\), got \(1,\)"),
    (
        lambda: conv3d(CLIP, KERNEL, BIAS, (2, 1, 1)),
        "T of x must be a multiple of its stride 2, got 5",
    ),
    (
        lambda: conv3d(CLIP, KERNEL, BIAS, (1, 1, 2)),
        "at least as wide as its stride 2 along W, got 1",
    ),
    (
        lambda: conv3d(CLIP[:, :, :0], KERNEL, BIAS),
        "T of x must be a multiple of its stride 1, got 0",
    ),
    (
        lambda: time_down(CLIP, KERNEL, BIAS, torch.zeros(1)),
        r"w must have shape \(any, 2, 3, 1, 1\)",
    ),
    (lambda: time_up(CLIP, KERNEL[:1], BIAS[:1], torch.zeros(2)), r"m must have shape \(1\)"),
    (lambda: time_up(CLIP[0], KERNEL[:1], BIAS[:1], torch.zeros(1)), "x must have shape"),
    (lambda: receptive_field([(2, 3)], torch.arange(2)), r"layers must be .* got \(2, 3\)"),
    (lambda: receptive_field([(0, 0)], torch.arange(2)), r"layers must be .* got \(0, 0\)"),
    (lambda: psnr(CLIP, CLIP[:, :, :1]), "clip and other must have one shape"),
    (lambda: psnr(CLIP[:0], CLIP[:0]), "not empty"),
    (lambda: lab.data.bouncing("dev"), "part must be one of train"),
    (lambda: lab.data.bouncing(size=10), "size must be a divisor of 48, got 10"),
    (lambda: lab.data.bouncing(count=0), "count and frames must be 1 or more, got 0 and 9"),
]


@pytest.mark.parametrize("call,words", REFUSED, ids=range(len(REFUSED)))
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# -- clips -----------------------------------------------------------------------------------------


def test_clips_are_repeatable_and_the_same_at_each_size():
    few, more = lab.data.bouncing("test", 2, seed=3), lab.data.bouncing("test", 4, seed=3)
    assert few.dtype == np.float32 and few.shape == (2, 9, 16, 16) and (few == more[:2]).all()
    assert not (few == lab.data.bouncing("test", 2, seed=4)).all()
    large = lab.data.bouncing("test", 2, size=48, seed=3)
    assert set(np.unique(large)) == {0, 1}
    np.testing.assert_allclose(large.reshape(2, 9, 16, 3, 16, 3).mean((3, 5)), few, atol=1e-6)


def test_letters_keep_their_shape_stay_inside_and_turn_back():
    """All pixels of a letter are there in every frame, and its path is straight between edges."""
    clips = lab.data.bouncing("train", 20, frames=40, size=48)
    ink = clips.sum((2, 3))
    assert (ink == ink[:, :1]).all() and ink.min() > 100
    top = clips.any(3).argmax(2)
    steps = np.diff(top, axis=1)
    assert abs(steps).max() <= 4 and (abs(np.diff(steps, axis=1)) > 1).any()


# -- weights ---------------------------------------------------------------------------------------


def test_the_shipped_weights_score_what_their_record_says():
    net, record = lab.load(VideoTokenizer)
    some = torch.tensor(lab.data.bouncing("test", 120))[:, None]
    tokens = net.tokens(some)
    assert abs(psnr(net.film(tokens), some).item() - record["test_psnr"]) < 1e-2
    assert abs(len(tokens.unique()) - record["test_codes_used"]) <= 2  # ties of rounding
    still = psnr(some.mean(2, keepdim=True).expand_as(some), some).item()
    assert record["test_psnr"] > still + 4
