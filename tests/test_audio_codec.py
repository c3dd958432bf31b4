"""Sound as symbols: convolutions by hand and by torch, streaming, training, weights, refusals."""

import base64
import io
import json
import math
import wave

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional as F

from minilib import lab
from minilib.audio_codec import (
    AudioCodec,
    Decoder,
    Encoder,
    Trainer,
    causal_conv1d,
    causal_conv_transpose1d,
    dct,
    kbps,
    si_snr,
    stages_for,
)
from minilib.lab import sounds
from minilib.naive import audio_codec as naive
from minilib.transformer import Transformer

# -- answers that are wrong ------------------------------------------------------------------------

ZEROS = "np.pad(x, ((0, 0), (0, 0), (zeros, 0)))"
WRONG = {
    naive.causal_conv1d: edited(
        naive.causal_conv1d,
        one_frame_of_look_ahead=(ZEROS, ZEROS.replace("(zeros, 0)", "(max(zeros - 1, 0), 1)")),
        centred=(ZEROS, ZEROS.replace("(zeros, 0)", "(zeros // 2, zeros - zeros // 2)")),
        stride_not_counted=("(K - 1) * dilation + 1 - stride\n    wide", "K * dilation\n    wide"),
        kernel_mirrored=("w[:, :, k].T\n    return y", "w[:, :, K - 1 - k].T\n    return y"),
        not_dilated=("j * stride + k * dilation", "j * stride + k"),
        no_bias=("y[:, :, j] = b", "y[:, :, j] = 0"),
    ),
    naive.causal_conv_transpose1d: edited(
        naive.causal_conv_transpose1d,
        first_ones_dropped=("x[:, :, : frames * stride]", "x[:, :, -frames * stride :]"),
        no_overlap=("+= y[:, :, j] @ w", "= y[:, :, j] @ w"),
        kernel_mirrored=("y[:, :, j] @ w[:, :, k]", "y[:, :, j] @ w[:, :, K - 1 - k]"),
        no_bias=("frames * stride] + b[:, None]", "frames * stride]"),
    ),
    naive.encoder: edited(
        naive.encoder,
        no_skip=("x = x + causal_conv1d(elu(inner)", "x = causal_conv1d(elu(inner)"),
        same_dilation=("dilation=2**k", "dilation=1"),
        no_elu=("causal_conv1d(elu(inner)", "causal_conv1d(inner"),
        channels_first=(
            '"input"), hop)\n    return _units(params, x).transpose(0, 2, 1)',
            '"input"), hop)\n    return _units(params, x)',
        ),
    ),
    naive.decoder: edited(
        naive.decoder,
        no_units=("x = _units(params, z.transpose(0, 2, 1))", "x = z.transpose(0, 2, 1)"),
        squashed=('"output"), hop)[:, 0]', '"output"), hop)[:, 0].clip(-1, 1)'),
    ),
    naive.audio_codec: edited(
        naive.audio_codec,
        all_books=('["books"][:used]', '["books"]', "z.shape[:2], used)", "z.shape[:2], -1)"),
        last_books=('["books"][:used]', '["books"][-used:]'),
        nothing_replaced=("quantized.reshape(z.shape))", "z)"),
    ),
    naive.kbps: edited(
        naive.kbps,
        bits=(" / 1000", ""),
        nats=("math.log2(size)", "math.log(size)"),
    ),
    naive.stages_for: edited(
        naive.stages_for,
        one_too_many=("return stages\n\n\ndef si_snr", "return stages + 1\n\n\ndef si_snr"),
        never_full=("size) <= rate", "size) < rate"),
    ),
    naive.si_snr: edited(
        naive.si_snr,
        not_scaled=("(a @ b) / (a @ a) * a", "a"),
        means_left=("x[n] - x[n].mean(), y[n] - y[n].mean()", "x[n], y[n]"),
        amplitudes=("10 * math.log10", "20 * math.log10"),
        upside_down=("(signal @ signal) / (noise @ noise)", "(noise @ noise) / (signal @ signal)"),
    ),
}


# -- by hand ---------------------------------------------------------------------------------------


def row(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, 1, -1)


NOTHING = torch.zeros(1, dtype=torch.float64)


def test_convolutions_by_hand():
    # 10 · the one before + 1 · now
    assert causal_conv1d(row(1, 2, 3), row(10, 1), NOTHING).flatten().tolist() == [1, 12, 23]
    # every second one, with four taps: two zeros in front
    found = causal_conv1d(row(1, 2, 3, 4), row(1000, 100, 10, 1), NOTHING, stride=2)
    assert found.flatten().tolist() == [12, 1234]
    found = causal_conv1d(row(1, 2, 3, 4), row(10, 1), NOTHING, dilation=2)
    assert found.flatten().tolist() == [1, 2, 13, 24]
    # frames 2 and 3 add (1, 1, 5, 5) times themselves, two samples apart; the last two are dropped
    found = causal_conv_transpose1d(row(2, 3), row(1, 1, 5, 5), NOTHING + 0.5, stride=2)
    assert found.flatten().tolist() == [2.5, 2.5, 13.5, 13.5]


def test_numbers_by_hand():
    assert [kbps(75, q, 1024) for q in (2, 4, 8, 16, 32)] == [1.5, 3, 6, 12, 24]
    assert [stages_for(rate, 75, 1024) for rate in (1.5, 6, 5.9, 0.5)] == [2, 8, 7, 0]
    assert kbps(250, 1, 64) == 1.5
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    noise = torch.tensor([[0.1, 0.1, -0.1, -0.1]])
    assert si_snr(x, x + noise).item() == pytest.approx(20, abs=1e-4)
    assert si_snr(x, 7 * (x + noise) + 3).item() == pytest.approx(20, abs=1e-4)


@pytest.mark.parametrize("frame_rate,size", [(75, 1024), (250, 64), (44100 / 512, 1000), (0.1, 3)])
def test_a_rate_has_room_for_the_stages_that_it_was_computed_from(frame_rate, size):
    """A quotient that is rounded down once lost a stage: 3 of the 39 at 44,100 / 512 frames."""
    for stages in range(1, 40):
        assert stages_for(kbps(frame_rate, stages, size), frame_rate, size) == stages


# -- third opinions --------------------------------------------------------------------------------


def test_convolutions_are_torchs_with_the_future_cut_off():
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 3, 24, generator=draw), torch.randn(4, 3, 6, generator=draw)
    wanted = F.conv1d(x, w, stride=3, padding=6 - 3)[:, :, : 24 // 3]
    torch.testing.assert_close(causal_conv1d(x, w, torch.zeros(4), 3), wanted)
    y, w = torch.randn(2, 3, 5, generator=draw), torch.randn(3, 4, 6, generator=draw)
    wanted = F.conv_transpose1d(y, w, stride=3)[:, :, :15]
    torch.testing.assert_close(causal_conv_transpose1d(y, w, torch.zeros(4), 3), wanted)


def test_the_transposed_convolution_is_the_transpose():
    """<conv(x), y> = <x, transposed(y)>: the same kernel turned round, up to where zeros stand."""
    draw = torch.Generator().manual_seed(0)
    x, w = (
        torch.randn(1, 1, 40, generator=draw).double(),
        torch.randn(5, 1, 8, generator=draw).double(),
    )
    x[..., :8] = x[..., -8:] = 0  # away from the ends
    y = torch.randn(1, 5, 10, generator=draw).double()
    there = causal_conv1d(x, w, torch.zeros(5).double(), 4)
    back = causal_conv_transpose1d(y, w, NOTHING, 4)
    # frame j ends at sample 4 j + 3 there and begins at 4 j back: 4 samples apart
    assert torch.allclose((there[..., 1:] * y[..., 1:]).sum(), (x[..., :-4] * back[..., 4:]).sum())


def test_dct_is_scipys_and_orthonormal():
    fft = pytest.importorskip("scipy.fft")
    wanted = fft.dct(np.eye(32), type=2, norm="ortho", axis=0)
    np.testing.assert_allclose(dct(32), wanted, atol=1e-6)
    torch.testing.assert_close(dct(32) @ dct(32).t(), torch.eye(32), atol=1e-5, rtol=0)


# -- the net ---------------------------------------------------------------------------------------


def moved(net, seed=0):
    """The net in float64 with every parameter off its start."""
    net = net.double()
    draw = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=draw)
    return net.eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_untrained_it_copies_every_sample():
    net = AudioCodec()
    x = noise(2, 320).float()
    torch.testing.assert_close(net.decoder(net.encoder(x)), x, atol=1e-5, rtol=1e-5)


def test_nothing_looks_ahead():
    """Change all from sample 96 on: no frame of samples before 96 moves, to the bit."""
    net = moved(AudioCodec(8, 6, 3, stages=3, size=5))
    x = noise(2, 160)
    other = x.clone()
    other[:, 96:] += 1
    before, after = net.encoder(x), net.encoder(other)
    assert torch.equal(before[:, :12], after[:, :12]) and not torch.equal(
        before[:, 12], after[:, 12]
    )
    z = noise(2, 20, 8)
    y = z.clone()
    y[:, 12:] += 1
    assert torch.equal(net.decoder(z)[:, :96], net.decoder(y)[:, :96])
    assert not torch.equal(net.decoder(z)[:, 96:104], net.decoder(y)[:, 96:104])


@pytest.mark.parametrize("chunk", [8, 24, 200])
@pytest.mark.parametrize("units", [0, 3])
def test_streamed_is_offline(chunk, units):
    net = moved(AudioCodec(8, 6, units, stages=3, size=5))
    x = noise(2, 600)
    z, codes = net.encoder(x), net.encode(x)
    past, pieces, state, found = net.encoder.init_state(2), [], None, []
    for piece in x.split(chunk, 1):
        pieces.append(net.encoder(piece, past))
        new, state = net.extend_codes(piece, state)
        found.append(new)
    torch.testing.assert_close(torch.cat(pieces, 1), z, atol=1e-12, rtol=1e-12)
    assert torch.equal(torch.cat(found, 1), codes)
    assert all(t.untyped_storage().nbytes() == t.numel() * 8 for t in state)
    state, heard = None, []
    for piece in codes.split(chunk // 8, 1):
        new, state = net.extend_wave(piece, state)
        heard.append(new)
    torch.testing.assert_close(torch.cat(heard, 1), net.decode(codes), atol=1e-12, rtol=1e-12)


def test_a_state_can_be_used_twice():
    net = moved(AudioCodec(8, 6, 2, stages=3, size=5))
    x = noise(1, 64)
    _, state = net.extend_codes(x)
    one, two = (net.extend_codes(x, state)[0] for _ in range(2))
    assert torch.equal(one, two)
    _, state = net.extend_wave(one)
    assert torch.equal(net.extend_wave(one, state)[0], net.extend_wave(one, state)[0])


def test_forward_encode_and_decode_agree_and_stages_can_be_dropped():
    net = moved(AudioCodec(8, 6, 2, stages=3, size=5))
    x = noise(2, 80)
    for used in (1, 3):
        heard, codes, _ = net(x, used)
        assert codes.shape == (2, 10, used) and torch.equal(net.encode(x, used), codes)
        torch.testing.assert_close(net.decode(codes), heard)
        assert torch.equal(net.encode(x, rate=8000)[..., :used], codes)


def test_a_row_alone_is_the_row_in_a_batch():
    net = moved(AudioCodec(8, 6, 2, stages=3, size=5))
    x = noise(3, 80)
    torch.testing.assert_close(net(x)[0][1:2], net(x[1:2])[0], atol=1e-12, rtol=1e-12)


def test_training_lowers_the_spectral_distance():
    waves = torch.tensor(sounds.notes("train", 12, samples=1600).waves)
    torch.manual_seed(0)
    net = AudioCodec(stages=2, size=32)
    trainer = Trainer(net, choices=(2,))
    trainer.start(waves)
    losses = [trainer.step(waves)["spectrum"] for _ in range(12)]
    assert losses[-1] < 0.98 * losses[0]
    assert net.encoder.units[0].narrow.weight.abs().max() > 0


# -- sounds ----------------------------------------------------------------------------------------


def test_sounds_are_synthesised_the_same_every_time_and_parts_share_no_pitch():
    parts = {part: sounds.notes(part, 30, 800) for part in sounds.PARTS}
    pitches = [set(sounds.pitches(part)) for part in sounds.PARTS]
    assert sum(map(len, pitches)) == len(set.union(*pitches)) == 32
    for part, these in parts.items():
        assert these.waves.shape == (30, 800) and these.waves.dtype == np.float32
        assert np.isfinite(these.waves).all() and 0.4 <= abs(these.waves).max(1).min()
        assert abs(these.waves).max() <= 0.9 and set(these.pitches) <= set(sounds.pitches(part))
        assert set(these.kinds) == set(sounds.KINDS)
        again = sounds.notes(part, 12, 800)
        assert np.array_equal(again.waves, these.waves[:12])


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_sound_has_its_pitch(kind):
    """The strongest repetition of a note is one period long, or several."""
    these = sounds.notes("train", 12)
    for k in range(kind, 12, 3):
        hertz = 440 * 2 ** ((these.pitches[k] - 69) / 12)
        if kind == 2 and hertz > 300:
            hertz /= 2
        x = these.waves[k, 400:2400] - these.waves[k, 400:2400].mean()
        period = 8000 / hertz
        near = np.arange(int(0.93 * period), math.ceil(1.07 * period) + 1)
        match = [(x[:-lag] @ x[lag:]) / (x[:-lag] @ x[:-lag]) for lag in near]
        assert max(match) > 0.75, (kind, k)


def test_players_hold_what_they_are_given():
    x = np.array([0.0, 0.5, -1.0, 2.0])
    with wave.open(io.BytesIO(sounds.wav(x))) as file:
        assert file.getframerate() == 8000 and file.getnchannels() == 1
        found = np.frombuffer(file.readframes(4), "<i2")
    assert found.tolist() == [0, 16384, -32767, 32767]
    page = sounds.players({"a & b": x, "c": torch.tensor(x)})
    assert page.count("<audio controls") == 2 and "a &amp; b" in page
    assert base64.b64encode(sounds.wav(x)).decode() in page and page._repr_html_() == page
    assert repr(page) == "<2 players>"


# -- the trained nets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    """data/weights/audio_codec.py, which belongs to no package."""
    return lab.data.script("audio_codec")


def test_the_trained_nets_score_what_their_records_say(script):
    net, record = lab.load(AudioCodec)
    for name, value in script.score(net).items():
        assert record[name] == pytest.approx(value, rel=2e-3), name
    folder, size = lab.fetch.HOME / "weights", 0
    for path in sorted(folder.glob("audio_codec*.safetensors")):
        size += path.stat().st_size
        assert json.loads(path.with_suffix(".json").read_text())["minutes"] < 6
    assert size < 2_000_000
    prior, record = lab.load(Transformer, folder / "audio_codec_prior.safetensors")
    for name, value in script.score_prior(prior, net).items():
        assert record[name] == pytest.approx(value, rel=2e-3), name


# -- refused ---------------------------------------------------------------------------------------

NET = AudioCodec(4, 2, 1, stages=2, size=3)
X, CODES = torch.ones(2, 8), torch.zeros(2, 3, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: NET(X / 0), "wave must be finite, got nan or infinity"),
        (lambda: NET(X * math.nan), "wave must be finite"),
        (lambda: NET(X[:0]), "wave must be floats and not empty"),
        (lambda: NET(X[:, :0]), "wave must be floats and not empty"),
        (lambda: NET(X[:, :7]), "wave must be a multiple of 4 samples long, got 7"),
        (lambda: NET(X[0]), r"wave must have shape \(any, any\), got \(8,\)"),
        (lambda: NET.encode(X, rate=44100), "rate must be 8000 samples a second, got 44100"),
        (lambda: NET.encode(X, 3), r"stages must lie in \[1, 2\], got 3"),
        (lambda: NET.extend_codes(X[:, :6]), "wave must be a multiple of 4 samples long, got 6"),
        (lambda: NET.decode(CODES + 3), r"codes must lie in \[0, 3\), got 3 to 3"),
        (lambda: NET.decode(CODES - 1), r"codes must lie in \[0, 3\), got -1 to -1"),
        (lambda: NET.decode(CODES[:, :0]), "codes must not be empty"),
        (lambda: NET.decode(torch.zeros(2, 3, 5).long()), "1 to 2 stages"),
        (lambda: NET.decode(CODES[0]), r"codes must have shape \(any, any, any\)"),
        (lambda: NET.extend_wave(CODES + 3), r"codes must lie in \[0, 3\)"),
        (lambda: AudioCodec(hop=0), "hop must be 1 or more, got 0"),
        (lambda: AudioCodec(rate=0), "rate must be 1 or more, got 0"),
        (lambda: Encoder(4, 0), "hidden must be 1 or more, got 0"),
        (lambda: Decoder(4, 2)(torch.ones(1, 2, 3)), r"z must have shape \(any, any, 4\)"),
        (lambda: si_snr(X, X[:1]), r"y must have shape \(2, 8\), got \(1, 8\)"),
        (lambda: si_snr(X, X), "x must not be silent"),
        (lambda: si_snr(X + torch.arange(8), 0 * X), "y must not be silent"),
        (lambda: kbps(75, 0, 1024), "stages must be positive, got 0"),
        (lambda: stages_for(-3, 75, 4), "rate must be 0 or more and size 2 or more, got -3 and 4"),
        (lambda: stages_for(math.nan, 75, 4), "rate must be 0 or more"),
        (lambda: stages_for(3, 75, 1), "size 2 or more, got 3 and 1"),
        (lambda: NET.extend_codes(X, NET.encoder.init_state(3)), "state must be one of 2 sounds"),
        (lambda: NET.extend_wave(CODES, NET.decoder.init_state(1)), "sounds, got one of 1"),
        (
            lambda: causal_conv1d(row(1, 2, 3), row(1, 1), NOTHING, 2),
            "of its stride 2, got 3",
        ),
        (lambda: causal_conv1d(row(1, 2), row(1), NOTHING, 2), "w must reach over a stride of 2"),
        (lambda: causal_conv1d(row(1, 2), row(1), NOTHING, 0), "stride must be 1 or more, got 0"),
        (lambda: Trainer(NET, lr=0), "lr and choices must be positive"),
        (lambda: Trainer(NET, choices=(1, 3)), "choices must be at most 2 stages, got 3"),
        (lambda: sounds.notes("dev"), "part must be one of train, validation, test, got 'dev'"),
        (lambda: sounds.notes(count=0), "count must be 1 and samples 2 or more, got 0"),
        (lambda: sounds.notes(samples=1), "count must be 1 and samples 2 or more, got 256 and 1"),
        (lambda: sounds.wav(np.ones((2, 2))), "samples must be one row of finite numbers"),
        (lambda: sounds.wav([math.nan]), "samples must be one row of finite numbers"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
