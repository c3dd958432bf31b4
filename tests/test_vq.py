"""Vector quantisation: by hand, straight through, k-means and the reservoir, weights, refusals."""

import itertools
import json

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional as F

from minilib import lab
from minilib.lab import typefaces
from minilib.naive import vq as naive
from minilib.transformer import Transformer
from minilib.vq import (
    VQVAE,
    Trainer,
    ema_update,
    kmeans,
    nearest,
    quantize,
    quantize_gradients,
    reservoir,
    usage,
)

# -- answers that are wrong ------------------------------------------------------------------------

COMMIT = "+ beta * 2 * (z[n] - codes[k]) / (N * D)"
FOLLOW = "2 * (codes[k] - z[n]) / (N * D)"
WRONG = {
    naive.nearest: edited(
        naive.nearest,
        largest_product=("((z[n] - code) ** 2).sum()", "-(z[n] * code).sum()"),
        city_blocks=("((z[n] - code) ** 2).sum()", "abs(z[n] - code).sum()"),
        farthest=("np.argmin", "np.argmax"),
        last_of_equals=("np.argmin(distances)", "len(codes) - 1 - np.argmin(distances[::-1])"),
    ),
    naive.quantize: edited(
        naive.quantize,
        squared_norms=("(quantized - z) ** 2).mean()", "(quantized - z) ** 2).sum(1).mean()"),
        beta_on_the_codebook=("codebook, beta * codebook", "beta * codebook, codebook"),
        no_beta=("codebook, beta * codebook", "codebook, codebook"),
        nothing_replaced=("return quantized, indices", "return z, indices"),
    ),
    naive.quantize_gradients: edited(
        naive.quantize_gradients,
        stops_on_the_wrong_side=(
            COMMIT,
            "+ 2 * (z[n] - codes[k]) / (N * D)",
            FOLLOW,
            f"beta * {FOLLOW}",
        ),
        no_commitment=(COMMIT, ""),
        nothing_straight_through=(f"d_quantized[n] {COMMIT}", COMMIT.removeprefix("+ ")),
        codes_get_the_gradient=(FOLLOW, f"d_quantized[n] + {FOLLOW}"),
        beta_on_the_codebook=(FOLLOW, f"beta * {FOLLOW}"),
        last_vector_alone=("d_codes[k] +=", "d_codes[k] ="),
        squared_norms=("    N, D = z.shape", "    N, D = len(z), 1"),
    ),
    naive.ema_update: edited(
        naive.ema_update,
        new_weighs_gamma=("(1 - gamma) * vector", "gamma * vector"),
        sums_not_divided=("sums / counts[:, None]\n", "sums\n"),
        unused_do_not_fade=("gamma * counts, gamma * sums", "counts + 0, sums + 0"),
        one_count_for_all=("sums / counts[:, None]\n", "sums / counts.mean()\n"),
    ),
    naive.kmeans: edited(
        naive.kmeans,
        one_step=("range(steps)", "range(1)"),
        sums_for_means=("x[indices == k].mean(0)", "x[indices == k].sum(0)"),
        medians=("x[indices == k].mean(0)", "np.median(x[indices == k], axis=0)"),
        empty_ones_to_the_mean=(
            "            if (indices == k).any():\n",
            "            codes[k] = x.mean(0)\n            if (indices == k).any():\n",
        ),
    ),
    naive.reservoir: edited(
        naive.reservoir,
        always_in=("int(draw * (seen + 1))", "int(draw * size)"),
        itself_left_out=("(seen + 1)", "seen"),
        one_place_more=("if len(kept) < size", "if len(kept) <= size"),
        counts_from_here=("        seen += 1\n", ""),
        always_the_first=("        else:\n", "        else:\n            draw = 0.0\n"),
    ),
    naive.usage: edited(
        naive.usage,
        bits_and_nats=("np.log(p)", "np.log2(p)"),
        entropy_itself=("np.exp(entropy)", "entropy"),
        share_not_number=("return used,", "return used / size,"),
    ),
    naive.vqvae: edited(
        naive.vqvae,
        channels_first=("reshape(B, H, W, D).transpose(0, 3, 1, 2)", "reshape(B, D, H, W)"),
        no_relu=('_conv(params, "decoder.0", x, 1), 0)', '_conv(params, "decoder.0", x, 1), -99)'),
        odd_pixels=('"encoder.0", images, 1)[:, :, ::2', '"encoder.0", images, 1)[:, :, 1::2'),
        the_other_norm=("if normalise:", "if not normalise:"),
        nothing_replaced=("x = quantized.reshape", "x = z.reshape"),
        kernel_mirrored=("x[n, :, i, j], w, 1)", "x[n, :, i, j], w[:, :, ::-1, ::-1], 1)"),
    ),
}


# -- by hand ---------------------------------------------------------------------------------------

CODES = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
Z = np.array([[1.0, 1.0], [3.0, 0.0]])  # to code 0 and to code 1


def tensors(*arrays):
    return [torch.tensor(a) for a in arrays]


@pytest.mark.parametrize("room", [naive, None], ids=["definition", "twin"])
def test_two_vectors_by_hand(room):
    wrap = (lambda *a: a) if room else tensors
    quantized, indices, codebook, commitment = (room.quantize if room else quantize)(
        *wrap(Z, CODES)
    )
    assert indices.tolist() == [0, 1] and quantized.tolist() == [[0, 0], [4, 0]]
    assert codebook == (1 + 1 + 1 + 0) / 4 and commitment == 0.75 / 4
    # d_z = ones + 1/4 · 2 (z - e) / 4, d_codes = 2 (e - z) / 4
    found = (room.quantize_gradients if room else quantize_gradients)(
        *wrap(np.ones((2, 2)), Z, CODES)
    )
    assert found[0].tolist() == [[1.125, 1.125], [0.875, 1.0]]
    assert found[1].tolist() == [[-0.5, -0.5], [0.5, 0.0], [0.0, 0.0]]


def test_moving_averages_by_hand():
    counts, sums, codes = ema_update(*tensors(np.ones(3), CODES, Z, np.array([0, 0])), 0.5)
    assert counts.tolist() == [1.5, 0.5, 0.5]  # 1/2 · 1 + 1/2 · 2 vectors
    assert sums.tolist() == [[2.0, 0.5], [2.0, 0.0], [0.0, 2.0]]
    assert codes[1:].tolist() == CODES[1:].tolist()  # unused: both fade alike
    for _ in range(2000):
        counts, sums, codes = ema_update(counts, sums, *tensors(Z, np.array([0, 1])), 0.9)
    np.testing.assert_allclose(codes[:2], Z)


def test_usage_by_hand():
    assert usage(torch.tensor([[3, 3], [3, 3]]), 8) == (1, 1.0)
    used, perplexity = usage(torch.arange(8), 8)
    assert used == 8 and abs(perplexity - 8) < 1e-12
    # 1/2, 1/4, 1/4 are 1.5 bits
    assert usage(torch.tensor([0, 0, 1, 2]), 8)[1] == pytest.approx(2**1.5)


# -- straight through ------------------------------------------------------------------------------


def test_gradients_pass_the_codes_as_if_they_were_not_there():
    """Through a whole net: the encoder's gradient is that of the decoder, moved to the vectors."""
    torch.manual_seed(0)
    net = VQVAE(4, 3, 6).double().eval()
    torch.nn.init.normal_(net.codes)
    images = torch.randn(2, 1, 8, 8).double()
    z = net.vectors(images)
    at = net.codes[nearest(z.flatten(0, 2), net.codes)].view(z.shape).detach().requires_grad_()
    (wanted,) = torch.autograd.grad(F.mse_loss(net.paint(at), images), at)
    quantized, _, _, _ = quantize(z.flatten(0, 2), net.codes)
    loss = F.mse_loss(net.paint(quantized.view(z.shape)), images)
    found, codes = torch.autograd.grad(loss, [z, net.codes], allow_unused=True)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)
    assert codes is None  # the reconstruction moves no code


def test_each_loss_moves_one_side():
    z, codes = torch.randn(5, 3).requires_grad_(), torch.randn(4, 3).requires_grad_()
    _, indices, codebook, commitment = quantize(z, codes)
    got = [torch.autograd.grad(y, [z, codes], allow_unused=True) for y in (codebook, commitment)]
    assert got[0][0] is None and got[1][1] is None
    unused = sorted(set(range(4)) - set(indices.tolist()))
    assert unused and (got[0][1][unused] == 0).all()  # what is not chosen never moves
    assert (got[1][0] != 0).all()


# -- third opinions --------------------------------------------------------------------------------


def test_nearest_in_blocks_is_nearest_by_all_distances():
    draw = torch.Generator().manual_seed(0)
    z, codes = torch.randn(9000, 5, generator=draw).double(), torch.randn(37, 5, generator=draw)
    codes = codes.double()
    assert torch.equal(nearest(z, codes), torch.cdist(z, codes).argmin(1))


def test_rounding_far_from_zero_changes_no_symbol():
    draw = torch.Generator().manual_seed(0)
    z, codes = torch.randn(2000, 4, generator=draw), torch.randn(9, 4, generator=draw)
    wanted = torch.cdist(z.double(), codes.double()).sort(1)
    clear = wanted.values[:, 1] - wanted.values[:, 0] > 0.01
    far = nearest(z + 1000, codes + 1000)
    assert torch.equal(far[clear], wanted.indices[clear, 0]) and clear.sum() > 1900


def test_kmeans_finds_what_scipy_finds():
    scipy = pytest.importorskip("scipy.cluster.vq")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    wanted, _ = scipy.kmeans2(x, x[:7].copy(), iter=6, minit="matrix")
    np.testing.assert_allclose(kmeans(*tensors(x, x[:7]), 6), wanted, rtol=1e-10)


def test_kmeans_never_raises_the_error_and_ends_at_the_means():
    rng = np.random.default_rng(1)
    x, codes = tensors(rng.normal(size=(400, 2)), rng.normal(size=(6, 2)))
    errors = []
    for _ in range(60):
        errors.append(float(quantize(x, codes)[2]))
        codes = kmeans(x, codes, 1)
    assert all(b <= a + 1e-15 for a, b in itertools.pairwise(errors))
    assert errors[-1] == errors[-2] < 0.8 * errors[0]
    assert torch.equal(kmeans(x, codes, 5), codes)


def test_every_vector_survives_in_the_reservoir_with_equal_chance():
    """Chi-square of 100 counts, 99 degrees of freedom: above 161 once in 10,000 seeds."""
    rng = np.random.default_rng(0)
    stream, counts = torch.arange(100.0)[:, None], np.zeros(100)
    for _ in range(2000):
        kept, seen = stream[:0], 0
        for piece in stream.split((1, 20, 30, 49)):
            kept, seen = reservoir(kept, seen, piece, torch.tensor(rng.random(len(piece))), 10)
        assert seen == 100 and len(set(kept[:, 0].tolist())) == 10
        counts[kept[:, 0].long()] += 1
    # each count is of 2,000 draws with chance 1/10, without replacement: variance 180
    assert ((counts - 200) ** 2 / 180).sum() * 99 / 100 < 161


def test_normalisation_in_training_is_that_of_the_batch():
    net = VQVAE(3, 2, 4).train()
    images = torch.randn(5, 1, 8, 8)
    features = net.norm(net.encoder(images))
    assert features.mean((0, 2, 3)).abs().max() < 1e-5
    assert (features.var((0, 2, 3), unbiased=False) - 1).abs().max() < 1e-2


# -- training --------------------------------------------------------------------------------------


def pictures(count, seed=0):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_restart_takes_kmeans_centres_and_forgets_the_old_gradients():
    torch.manual_seed(0)
    net = VQVAE(4, 2, 8)
    trainer = Trainer(net, reservoir=64)
    for k in range(3):
        trainer.step(pictures(8, k))
    kept, old = trainer.kept.clone(), net.codes.detach().clone()
    assert trainer.seen == 3 * 8 * 4 and len(kept) == 64 and net.codes in trainer.optimizer.state
    trainer.restart()
    assert net.codes not in trainer.optimizer.state and not torch.equal(net.codes, old)
    assert quantize(kept, net.codes)[2] < 0.5 * quantize(kept, old)[2]
    assert torch.equal(kmeans(kept, net.codes.detach(), 1)[0].isfinite(), torch.ones(2).bool())
    assert trainer.seen == 0 and len(trainer.kept) == 0
    trainer.step(pictures(8))  # and goes on
    other = net.decoder[0].weight
    assert trainer.optimizer.state[net.codes]["step"] == 1
    assert trainer.optimizer.state[other]["step"] == 4


def test_codes_learn_faster_or_follow_their_vectors():
    moved = {}
    for faster in (1, 10):
        torch.manual_seed(0)
        net = VQVAE(4, 2, 8)
        before = net.codes.detach().clone()
        Trainer(net, faster=faster).step(pictures(8))
        moved[faster] = (net.codes - before).abs().max().item()
    assert moved[10] == pytest.approx(10 * moved[1], rel=1e-3)
    torch.manual_seed(0)
    net = VQVAE(4, 2, 8)
    start, trainer = net.codes.detach().clone(), Trainer(net, gamma=0.9)
    z = net.train().vectors(pictures(8)).detach().flatten(0, 2)
    wanted = ema_update(torch.ones(8), start, z, nearest(z, start), 0.9)
    trainer.step(pictures(8))
    torch.testing.assert_close(net.codes.detach(), wanted[2])
    torch.testing.assert_close(trainer.counts, wanted[0])


def test_symbols_there_and_back():
    torch.manual_seed(0)
    net = VQVAE(4, 3, 9).eval()
    torch.nn.init.normal_(net.codes)
    drawn, indices, _, _ = net(pictures(3))
    assert torch.equal(net.encode(pictures(3)), indices) and indices.shape == (3, 2, 2)
    torch.testing.assert_close(net.decode(indices), drawn)


# -- letters of eight faces ------------------------------------------------------------------------


def test_no_name_and_no_picture_is_in_two_parts():
    parts = [typefaces.named_letters(part) for part in typefaces.PARTS]
    assert sum(len(part.images) for part in parts) > 10_000
    for what in (lambda p: set(p.names), lambda p: {image.tobytes() for image in p.images}):
        sets = [what(part) for part in parts]
        assert sum(map(len, sets)) == len(set.union(*sets))
    for part in parts:
        assert part.images.dtype == np.float32 and part.images.shape[1:] == (24, 24)
        assert 0 == part.images.min() and part.images.max() == 1
        assert len(part.names) == len(part.letters) == len(part.faces) == len(part.images)
        assert set(part.faces) == set(typefaces.FACES)
    with pytest.raises(ValueError, match="part must be one of train, validation, test, got 'dev'"):
        typefaces.named_letters("dev")
    with pytest.raises(ValueError, match="side must be 8 or more, got 4"):
        typefaces.named_letters(side=4)


@pytest.mark.parametrize("side", [16, 24])
def test_captions_of_the_held_out_parts_are_new_and_their_words_are_known(side):
    parts = {p: typefaces.captioned_letters(p, side) for p in typefaces.PARTS}
    seen = {tuple(row) for row in parts["train"].captions}
    for name, part in parts.items():
        assert part.words == parts["train"].words and part.words[0] == ""
        for row, caption in zip(part.captions, part.names, strict=True):
            assert " ".join(part.words[k] for k in row if k) == caption
        assert len(part.images) == len(part.captions) and part.images.shape[1:] == (side, side)
        assert name == "train" or not seen & {tuple(row) for row in part.captions}
        assert set(part.names) <= set(typefaces.named_letters(name, side).names)
    assert len(set(parts["test"].names)) == 22
    with pytest.raises(ValueError, match="part must be one of train, validation, test, got 'dev'"):
        typefaces.captioned_letters("dev")


# -- the trained nets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    """data/weights/vq.py, which belongs to no package."""
    return lab.data.script("vq")


def test_the_trained_nets_score_what_their_records_say(script):
    net, record = lab.load(VQVAE)
    for name, value in script.score(net).items():
        assert record[name] == pytest.approx(value, rel=1e-3), name
    path = lab.fetch.HOME / "weights" / "vq_prior.safetensors"
    prior, record = lab.load(Transformer, path)
    for name, value in script.score_prior(prior, net).items():
        assert record[name] == pytest.approx(value, rel=1e-3), name
    sizes = [p.stat().st_size for p in path.parent.glob("vq*.safetensors")]
    assert sum(sizes) < 2_000_000 and json.loads(path.with_suffix(".json").read_text()) == record


# -- refused ---------------------------------------------------------------------------------------

NAN = torch.full((2, 3), float("nan"))
FINE = torch.ones(2, 3)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: nearest(NAN, FINE), "z must be finite, got nan"),
        (lambda: nearest(FINE, NAN / 0), "codes must be finite"),
        (lambda: nearest(FINE[:0], FINE), r"z must not be empty, got shape \(0, 3\)"),
        (lambda: nearest(FINE, FINE[:0]), "codes must not be empty"),
        (lambda: nearest(FINE, FINE[:, :2]), r"codes must have shape \(any, 3\), got \(2, 2\)"),
        (lambda: quantize(FINE, FINE, -1.0), "beta must be 0 or more, got -1.0"),
        (lambda: quantize_gradients(FINE[:1], FINE, FINE), r"d_quantized must have shape \(2, 3\)"),
        (lambda: kmeans(FINE, FINE, 0), "steps must be 1 or more, got 0"),
        (lambda: kmeans(NAN, FINE, 1), "x must be finite"),
        (lambda: usage(torch.tensor([0, 5]), 5), r"indices must lie in \[0, 5\), got 0 to 5"),
        (lambda: usage(torch.tensor([-1]), 5), r"indices must lie in \[0, 5\), got -1 to -1"),
        (lambda: usage(torch.zeros(0).long(), 5), "indices must not be empty"),
        (
            lambda: reservoir(FINE, 3, FINE, torch.rand(2), 3),
            "kept must hold 3 of 3 vectors, got 2",
        ),
        (lambda: reservoir(FINE, 2, FINE, torch.ones(2), 3), r"u must lie in \[0, 1\)"),
        (lambda: reservoir(FINE, 2, NAN, torch.rand(2), 3), "new must be finite"),
        (
            lambda: ema_update(torch.ones(2), FINE, FINE, torch.tensor([0, 2])),
            r"indices must lie in \[0, 2\), got 0 to 2",
        ),
        (
            lambda: ema_update(torch.zeros(2), FINE, FINE, torch.tensor([0, 1])),
            "counts be positive",
        ),
        (lambda: VQVAE(size=0), "size must be 1 or more, got 0"),
        (lambda: VQVAE(4)(torch.ones(1, 1, 6, 8)), "multiples of 4, got 6 × 8"),
        (lambda: VQVAE(4)(torch.ones(0, 1, 8, 8)), "images must be floats and not empty"),
        (lambda: VQVAE(4)(torch.ones(1, 1, 8, 8) / 0), "images must be finite"),
        (lambda: VQVAE(4)(torch.ones(1, 3, 8, 8)), r"images must have shape \(any, 1, any, any\)"),
        (lambda: VQVAE(4).decode(torch.full((1, 2, 2), 256)), r"lie in \[0, 256\), got 256 to 256"),
        (lambda: Trainer(VQVAE(4), lr=0), "lr and faster must be positive, got 0 and 1.0"),
        (lambda: Trainer(VQVAE(4)).restart(), "restart needs vectors in the reservoir"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_symbols_are_integers():
    with pytest.raises(TypeError, match=r"indices must be int64, got torch\.float32"):
        usage(torch.ones(3), 5)
