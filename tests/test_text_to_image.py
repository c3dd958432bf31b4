"""Text to image: relaxed draws, the density, masks, the loss, drawing, weights, refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch import distributions
from torch.nn import functional as F

from minilib import lab
from minilib.language_model import sample
from minilib.naive import text_to_image as naive
from minilib.text_to_image import (
    DiscreteVAE,
    Scorer,
    TextToImage,
    anneal,
    caption,
    column_mask,
    contrastive_loss,
    conv_mask,
    drawing_loss,
    drawing_mask,
    gumbel_softmax,
    kl_to_uniform,
    logit_laplace,
    map_pixels,
    mask_kinds,
    rerank,
    row_mask,
    unmap_pixels,
    vae_loss,
)

# -- answers that are wrong ------------------------------------------------------------------------

UP_TO_I = "for j in range(i + 1):\n            mask[i, j] = "
BEFORE_I = "for j in range(i):\n            mask[i, j] = "
WRONG = {
    naive.gumbel_softmax: edited(
        naive.gumbel_softmax,
        noise_upside_down=("g = -np.log(-np.log(u[index]))", "g = np.log(-np.log(u[index]))"),
        one_logarithm=("g = -np.log(-np.log(u[index]))", "g = -np.log(u[index])"),
        noise_not_divided=("(logits[index] + g) / tau", "logits[index] / tau + g"),
        hot_is_cold=("(logits[index] + g) / tau", "(logits[index] + g) * tau"),
        no_noise=("(logits[index] + g) / tau", "logits[index] / tau"),
    ),
    naive.kl_to_uniform: edited(
        naive.kl_to_uniform,
        entropy=("(ln_q + np.log(K))", "-ln_q"),
        the_other_way=("np.exp(ln_q) * (ln_q + np.log(K))", "-(ln_q + np.log(K)) / K"),
    ),
    naive.anneal: edited(
        naive.anneal,
        straight=("(1 + np.cos(np.pi * t)) / 2", "(1 - t)"),
        goes_on=("min(step / total, 1)", "step / total"),
        backwards=("1 + np.cos", "1 - np.cos"),
    ),
    naive.vae_loss: edited(
        naive.vae_loss,
        mean_of_pixels=("((picture - image) ** 2).sum()", "((picture - image) ** 2).mean()"),
        absolute=("((picture - image) ** 2).sum()", "abs(picture - image).sum()"),
        mean_of_places=("kl_to_uniform(places).sum()", "kl_to_uniform(places).mean()"),
        sum_of_batch=("return loss / len(images)", "return loss"),
    ),
    naive.map_pixels: edited(naive.map_pixels, one_margin=("(1 - 2 * eps) * x", "(1 - eps) * x")),
    naive.unmap_pixels: edited(
        naive.unmap_pixels,
        not_cut=("np.clip((y - eps) / (1 - 2 * eps), 0, 1)", "(y - eps) / (1 - 2 * eps)"),
    ),
    naive.logit_laplace: edited(
        naive.logit_laplace,
        laplace_alone=("np.log(2 * x * (1 - x)) - ln_b", "np.log(2) - ln_b"),
        normal=("abs(np.log(x / (1 - x)) - mu)", "(np.log(x / (1 - x)) - mu) ** 2"),
        b_for_its_logarithm=("/ np.exp(ln_b) -", "/ ln_b -"),
        no_two=("np.log(2 * x * (1 - x))", "np.log(x * (1 - x))"),
    ),
    naive.row_mask: edited(
        naive.row_mask,
        pixel_above_lost=("i - W <= j <= i", "i - W < j <= i"),
        line_alone=("i - W <= j <= i", "i - i % W <= j <= i"),
        not_itself=("i - W <= j <= i", "i - W <= j < i"),
    ),
    naive.column_mask: edited(
        naive.column_mask,
        rows=("i % W == j % W", "i // W == j // W"),
        not_itself=(f"{UP_TO_I}i % W", f"{BEFORE_I}i % W"),
    ),
    naive.conv_mask: edited(
        naive.conv_mask,
        future=("if 0 <= j <= i:", "if 0 <= j < W * W:"),
        no_wrap=("if 0 <= j <= i:", "if 0 <= j <= i and 0 <= i % W + dc < W:"),
        too_wide=("half = kernel // 2", "half = kernel"),
    ),
    naive.mask_kinds: edited(
        naive.mask_kinds,
        from_zero=("range(1, layers + 1)", "range(layers)"),
        no_conv=('[*kinds[:-1], "conv"]', "kinds"),
        every_second=("(i - 2) % 4", "(i - 2) % 2"),
    ),
    naive.drawing_mask: edited(
        naive.drawing_mask,
        not_itself=(f"{UP_TO_I}j <", f"{BEFORE_I}j <"),
        one_off=("before = 1 + text\n    mask", "before = text\n    mask"),
    ),
    naive.caption: edited(
        naive.caption,
        from_behind=("numbers[k] =", "numbers[-1 - k] ="),
        one_less=("words.index(word, 1)", "words.index(word, 1) - 1"),
    ),
    naive.drawing_loss: edited(
        naive.drawing_loss,
        averaged_over_all=(
            "share * of_text + (1 - share) * of_picture,",
            "np.mean(parts[0] + parts[1]),",
        ),
        shares_swapped=(
            "share * of_text + (1 - share) * of_picture,",
            "share * of_picture + (1 - share) * of_text,",
        ),
        one_off=("parts[t >= text]", "parts[t > text]"),
        same_symbol=("[ids[b, t + 1]]", "[ids[b, t]]"),
    ),
    naive.text_to_image: edited(
        naive.text_to_image,
        padding_shared=('params["pads"][t - 1]', 'params["pads"][0]'),
        padding_of_words=('params["pads"][t - 1]', 'params["embed"][0]'),
        rows_and_columns_swapped=("row, column = divmod", "column, row = divmod"),
        no_rows=('params["rows"][row] + ', ""),
        first_layer_everywhere=("masks[kind])[: len(x)", 'masks["row"])[: len(x)'),
        no_scale_of_heads=("D = C // heads", "D = C // heads // 1 + 0 * heads\n    z = z * 2"),
    ),
    naive.contrastive_loss: edited(
        naive.contrastive_loss,
        captions_alone=(" + _log_softmax(scores[:, i])[i]", ""),
        sum_of_pairs=("loss / (2 * len(scores))", "loss / 2"),
    ),
    naive.rerank: edited(
        naive.rerank,
        worst_first=("-row[n]", "row[n]"),
        last_of_equals=("-row[n]", "(-row[n], -n)"),
    ),
    naive.scorer: edited(
        naive.scorer,
        no_word_counts=('for word in captions[j] if word)', "for word in captions[j])"),
        no_cosine=("/ np.sqrt((x[i] @ x[i]) * (c @ c))", ""),
        scale_itself=('np.exp(params["ln_scale"][0])', 'params["ln_scale"][0]'),
    ),
    naive.discrete_vae: edited(
        naive.discrete_vae,
        hard=("y = gumbel_softmax(logits, u, tau)", "y = gumbel_softmax(logits, u, tau / 99)"),
        noise_in_the_logits=('"decoder.4", x), logits', '"decoder.4", x), logits + u'),
        not_normalised=("(x - mean) / np.sqrt(variance + 1e-5)", "x"),
    ),
}  # fmt: skip


# -- by hand ---------------------------------------------------------------------------------------


def numbers(*x):
    return torch.tensor(x, dtype=torch.float64)


def noise(*g):
    """The uniforms whose Gumbel noise is g."""
    return (-(-numbers(*g)).exp()).exp()


def test_relaxed_draws_by_hand():
    u = noise(math.log(2), 0)
    torch.testing.assert_close(gumbel_softmax(numbers(0, 0), u, 1.0), numbers(2 / 3, 1 / 3))
    torch.testing.assert_close(gumbel_softmax(numbers(0, 0), u, 0.5), numbers(4 / 5, 1 / 5))
    torch.testing.assert_close(gumbel_softmax(numbers(0, 9), u, 0.01), numbers(0, 1))


def test_kl_to_uniform_by_hand():
    assert float(kl_to_uniform(torch.zeros(7).double())) == pytest.approx(0, abs=1e-15)
    assert float(kl_to_uniform(numbers(500, 0, 0, 0))) == pytest.approx(math.log(4))
    # (3/4, 1/4): 3/4 ln 3/2 + 1/4 ln 1/2
    wanted = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    assert float(kl_to_uniform(numbers(math.log(3), 0))) == pytest.approx(wanted)


def test_annealing_by_hand():
    assert [anneal(step, 4, 1.0, 0.0) for step in (0, 2, 4, 9)] == pytest.approx([1, 0.5, 0, 0])
    assert anneal(1, 3, 1.0, 0.0) == pytest.approx(0.75)  # cos 60° = 1/2


@pytest.mark.parametrize(
    "mu,b,x,wanted", [(0, 1, 0.5, 0.693147), (1, 0.5, 0.9, 0.013496), (-2, 2, 0.1, 0.923039)]
)
def test_logit_laplace_is_what_others_compute(mu, b, x, wanted):
    args = numbers(x), numbers(mu), numbers(math.log(b))
    assert float(logit_laplace(*args)) == pytest.approx(wanted, abs=1e-6)
    laplace = distributions.Laplace(numbers(mu), numbers(b))
    both = distributions.TransformedDistribution(laplace, distributions.SigmoidTransform())
    torch.testing.assert_close(logit_laplace(*args), both.log_prob(numbers(x)))


@pytest.mark.parametrize("mu,ln_b", [(0.0, 0.0), (1.5, -1.0), (-3.0, 0.5)])
def test_logit_laplace_integrates_to_one(mu, ln_b):
    z = torch.linspace(-60, 60, 240_001, dtype=torch.float64)  # x = sigmoid(z), dx = x (1 - x) dz
    x = z.sigmoid().clamp(1e-15, 1 - 1e-15)
    f = logit_laplace(x, torch.full_like(x, mu), torch.full_like(x, ln_b)).exp() * x * (1 - x)
    inside = abs(z) < 30
    assert float(f[inside].sum() * (z[1] - z[0])) == pytest.approx(1, abs=1e-4)


def test_pixels_are_mapped_into_the_open_interval_and_back():
    x = torch.linspace(0, 1, 11).double()
    y = map_pixels(x)
    assert y[0] == pytest.approx(0.1) and y[-1] == pytest.approx(0.9)
    torch.testing.assert_close(unmap_pixels(y), x)
    assert unmap_pixels(numbers(0.0, 1.0)).tolist() == [0, 1]


def test_the_loss_of_the_autoencoder_by_hand():
    images, pictures = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5)
    logits = torch.zeros(2, 1, 1, 4)
    logits[0, 0, 0, 0] = 500  # a KL of ln 4 in one of two pictures
    # 16 pixels of 1/4, and half of 0.3 ln 4
    wanted = 4 + 0.15 * math.log(4)
    assert float(vae_loss(pictures, images, logits, 0.3)) == pytest.approx(wanted)


# -- draws -----------------------------------------------------------------------------------------


def test_the_largest_entry_is_a_draw_and_the_mean_of_relaxed_draws_is_not_the_chances():
    """Chi-square, 3 degrees of freedom: a fair one exceeds 21.1 once in 10,000."""
    p = numbers(0.1, 0.2, 0.3, 0.4)
    u = torch.rand(100_000, 4, generator=torch.Generator().manual_seed(0)).double()
    y = gumbel_softmax(p.log().expand(100_000, 4), u.clamp(1e-9, 1 - 1e-9), 1.0)
    counts = torch.bincount(y.argmax(1), minlength=4)
    assert float(((counts - 1e5 * p).square() / (1e5 * p)).sum()) < 21.1
    assert float(abs(y.mean(0) - p).max()) > 0.02  # 20 times the error of a mean of 100,000


def test_relaxed_draws_are_those_of_torch_with_the_same_noise():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)).double()
    torch.manual_seed(3)
    wanted = F.gumbel_softmax(logits, tau=0.7)
    torch.manual_seed(3)
    g = -torch.empty_like(logits).exponential_().log()  # as torch draws it
    u = (-(-g).exp()).exp()
    torch.testing.assert_close(gumbel_softmax(logits, u, 0.7), wanted, rtol=1e-10, atol=1e-12)


def test_kl_is_that_of_torch():
    logits = torch.randn(3, 6).double()
    uniform = distributions.Categorical(logits=torch.zeros(3, 6).double())
    wanted = distributions.kl_divergence(distributions.Categorical(logits=logits), uniform)
    torch.testing.assert_close(kl_to_uniform(logits), wanted)


def test_a_code_of_chance_0_adds_nothing_to_the_kl():
    logits = torch.tensor([0, -math.inf, 0, -math.inf], requires_grad=True)
    kl = kl_to_uniform(logits)
    assert kl.item() == pytest.approx(math.log(2))
    assert torch.autograd.grad(kl, logits)[0].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-7)


def test_the_autoencoders_gradient_is_that_of_the_definition():
    """In every parameter and the pictures, along a random direction, with central differences."""
    torch.manual_seed(0)
    net = DiscreteVAE(5, 3, 2).double().eval()
    images, u = torch.randn(2, 1, 8, 4).double(), 0.02 + 0.96 * torch.rand(2, 2, 1, 5).double()
    leaves = dict(net.named_parameters())
    pictures, logits = net(images, u, 0.6)
    weight = torch.randn_like(pictures)
    loss = (pictures * weight).sum() + logits.sin().sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    fixed = {name: value.detach().numpy() for name, value in net.state_dict().items()}

    def value(params):
        pictures, logits = naive.discrete_vae(params, images.numpy(), u.numpy(), 0.6)
        return (pictures * weight.numpy()).sum() + np.sin(logits).sum()

    rng = np.random.default_rng(0)
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        way = rng.normal(size=tuple(leaf.shape))
        ends = [value(fixed | {name: fixed[name] + step * way}) for step in (1e-5, -1e-5)]
        slope = float((gradient * torch.tensor(way)).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7), name


def test_logits_are_normalised_over_the_batch_in_training():
    torch.manual_seed(0)
    net = DiscreteVAE(6, 2, 3).train()
    logits = net.logits(torch.randn(9, 1, 8, 8))
    assert logits.mean((0, 1, 2)).abs().max() < 1e-4
    assert (logits.std((0, 1, 2)) - 3).abs().max() < 0.4


# -- masks -----------------------------------------------------------------------------------------


def seen(mask, i):
    return mask[i].nonzero()[:, 0].tolist()


def test_masks_by_hand():
    assert seen(row_mask(3), 0) == [0] and seen(row_mask(3), 4) == [1, 2, 3, 4]
    assert seen(row_mask(3), 8) == [5, 6, 7, 8]  # 5 is the code above it
    assert seen(column_mask(3), 7) == [1, 4, 7] and seen(column_mask(3), 2) == [2]
    assert seen(conv_mask(4, 3), 9) == [4, 5, 6, 8, 9]
    assert seen(conv_mask(4, 3), 8) == [3, 4, 5, 7, 8]  # at the left edge: 3 and 7 end lines above
    assert seen(conv_mask(4, 1), 9) == [9]


def test_the_masks_of_layers_are_those_of_the_paper():
    assert mask_kinds(7) == ["row", "column", "row", "row", "row", "column", "conv"]
    kinds = mask_kinds(64)
    assert kinds.count("conv") == 1 and kinds[-1] == "conv" and kinds.count("column") == 16


@pytest.mark.parametrize("W", [2, 3, 4, 6])
def test_rows_and_columns_together_reach_every_earlier_code(W):
    def reach(*masks):
        product = torch.eye(W * W)
        for mask in masks:
            product = mask.float() @ product
        return product > 0

    row, column, all_before = row_mask(W), column_mask(W), torch.ones(W * W, W * W).tril() > 0
    assert torch.equal(reach(row, column), all_before)
    assert torch.equal(reach(column, row), all_before)
    assert not torch.equal(reach(column, column), all_before)
    assert W == 2 or not torch.equal(reach(row, row), all_before)


def test_a_drawing_sees_its_text_and_its_mask():
    mask = drawing_mask(2, row_mask(2))
    assert seen(mask, 0) == [0] and seen(mask, 2) == [0, 1, 2]
    assert seen(mask, 3) == [0, 1, 2, 3] and seen(mask, 6) == [0, 1, 2, 4, 5, 6]


# -- the model of captions and pictures ------------------------------------------------------------

SMALL = {"words": 5, "codes": 4, "text": 3, "side": 3, "width": 8, "layers": 3, "heads": 2}


def small(seed=0, **changes):
    torch.manual_seed(seed)
    model = TextToImage(**(SMALL | changes)).double().eval()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    captions = torch.tensor([[1, 2, 0], [3, 0, 0], [4, 4, 1]])
    return model, model.rows_of(captions, torch.randint(4, (3, 3, 3)))


def test_rows_are_start_caption_codes():
    model, ids = small()
    assert ids.shape == (3, model.length) == (3, 13) and ids[:, 0].tolist() == [9, 9, 9]
    assert ids[0, 1:4].tolist() == [1, 2, 0] and ids[:, 4:].min() >= 5 and ids.max() < 10


@torch.no_grad()
def test_padding_has_a_vector_for_each_place():
    model, ids = small()
    before = model(ids)
    model.pads[1] += 1.0  # of the second word, which only the second caption lacks
    after = model(ids)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert torch.equal(after[1, :2], before[1, :2])
    assert (after[1, 2:] != before[1, 2:]).any(1).all()


@torch.no_grad()
def test_a_code_sees_by_its_layers_masks_alone():
    model, ids = small(layers=1)  # conv: code 8 does not see code 0
    changed = ids.clone()
    changed[:, 4] = 5 + (ids[:, 4] - 4) % 4
    moved = (model(changed) != model(ids)).any(2).any(0)[4:]
    assert moved.tolist() == [bool(conv_mask(3, 3)[i, 0]) for i in range(9)]


@torch.no_grad()
def test_drawings_do_not_see_those_before():
    model, ids = small()
    row = torch.cat([ids, ids.flip(0), ids[:, :5]], 1)
    logits = model(row)
    torch.testing.assert_close(logits[:, 13:26], model(ids.flip(0)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logits[:, 26:], model(ids[:, :5]), rtol=1e-12, atol=1e-12)
    _, state = model.extend(row[:, :26], model.init_state(3))
    assert state[0] == 0 and state[1][0][0].shape[2] == 0


@torch.no_grad()
def test_drawing_with_a_cache_is_drawing_without_one():
    model, ids = small()
    u = torch.rand(3, 9, generator=torch.Generator().manual_seed(0))
    found = model.draw(ids[:, 1:4], u, temperature=0.8)
    rows = ids[:, :4]
    for n in range(9):
        logits = model(rows)[:, -1, 5:9]  # codes alone: neither words nor the start
        rows = torch.cat([rows, 5 + sample(logits, u[:, n].double(), 0.8)[:, None]], 1)
    assert torch.equal(found, (rows[:, 4:] - 5).view(3, 3, 3))
    assert not torch.equal(found, model.draw(ids.flip(0)[:, 1:4], u, 0.8))


def test_the_weighted_loss_by_hand():
    logits, ids = torch.zeros(1, 5, 4).double(), torch.tensor([[3, 0, 1, 1, 1]])
    logits[0, 1:4, 1] = math.log(3)  # half for symbol 1
    loss, of_text, of_picture = drawing_loss(logits, ids, text=1)
    assert float(of_text) == pytest.approx(math.log(4))
    assert float(of_picture) == pytest.approx(math.log(2))
    assert float(loss) == pytest.approx(math.log(4) / 8 + 7 / 8 * math.log(2))
    # the mean over all four symbols would weigh the text with 1/4
    assert float(loss) != pytest.approx((math.log(4) + 3 * math.log(2)) / 4)


def test_a_caption_in_numbers():
    words = ["", "SMALL", "LETTER", "E"]
    assert caption("SMALL LETTER E", words, 5).tolist() == [1, 2, 3, 0, 0]


# -- best of many ----------------------------------------------------------------------------------


def test_contrastive_loss_by_hand():
    assert float(contrastive_loss(torch.zeros(4, 4))) == pytest.approx(math.log(4))
    assert float(contrastive_loss(100 * torch.eye(3))) == pytest.approx(0, abs=1e-6)


def test_rerank_is_what_numpy_sorts():
    scores = torch.randn(6, 9)
    assert rerank(scores, 9).tolist() == np.argsort(-scores.numpy(), 1, kind="stable").tolist()


# -- the trained nets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    """data/weights/text_to_image.py, which belongs to no package."""
    return lab.data.script("text_to_image")


def test_the_trained_nets_score_what_their_records_say(script):
    folder = lab.fetch.HOME / "weights"
    net, of_net = lab.load(DiscreteVAE, folder / "text_to_image_vae.safetensors")
    model, of_model = lab.load(TextToImage)
    scorer, of_scorer = lab.load(Scorer, folder / "text_to_image_scorer.safetensors")
    for record, found in (
        (of_net, script.score_vae(net)),
        (of_model, script.score_model(model, net)),
        (of_scorer, script.score_scorer(scorer)),
    ):
        for name, value in found.items():
            assert record[name] == pytest.approx(value, rel=1e-3), name
    assert sum(p.stat().st_size for p in folder.glob("text_to_image*.safetensors")) < 2_000_000


def test_captions_of_the_scripts_letters(script):
    images, captions, words = script.letters("test")
    assert captions.shape == (len(images), 8) and words[captions[0, 0]] == "SANS"
    assert len(words) == 68 and words[captions[0, 1]] == "LATIN"


# -- refused ---------------------------------------------------------------------------------------

ONES, IDS = torch.ones(2, 3), torch.tensor([[1, 2, 0]])
HALF, SQUARE, LOGITS = ONES / 2, torch.ones(2, 1, 4, 4), torch.ones(2, 1, 1, 3)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: gumbel_softmax(ONES, ONES, 1.0), r"u must lie in \(0, 1\), without 0 and 1"),
        (lambda: gumbel_softmax(ONES, HALF[:1], 1.0), r"u must have shape \(2, 3\)"),
        (lambda: gumbel_softmax(ONES, HALF, 0.0), r"tau must be positive, got 0\.0"),
        (lambda: anneal(-1, 2, 1.0, 0.0), "step must be 0 or more, total positive, got -1 of 2"),
        (lambda: vae_loss(ONES, ONES, ONES, -1), "beta 0 or more, got 2 and -1"),
        (lambda: vae_loss(ONES, ONES[:1], ONES, 1), r"pictures must have shape \(1, 3\)"),
        (lambda: vae_loss(SQUARE, SQUARE, LOGITS[:1], 1), r"logits must have shape \(2, any, any"),
        (lambda: map_pixels(ONES, 0.5), r"eps must lie in \(0, 0\.5\), got 0\.5"),
        (lambda: logit_laplace(ONES, ONES, ONES), r"x must lie in \(0, 1\), without 0 and 1"),
        (lambda: logit_laplace(HALF, ONES[:1], ONES), r"mu must have shape \(2, 3\)"),
        (lambda: vae_loss(SQUARE[:0], SQUARE[:0], LOGITS[:0], 1), "images must be some"),
        (lambda: naive.vae_loss(*[np.ones((0, 1, 4, 4))] * 3, 1), "images must be some"),
        (lambda: kl_to_uniform(ONES / 0), "logits must be numbers or -inf"),
        (lambda: kl_to_uniform(-ONES / 0), "and one in each row finite"),
        (lambda: kl_to_uniform(ONES[:, :0]), "logits must be numbers or -inf"),
        (lambda: naive.kl_to_uniform(np.full((1, 2), np.nan)), "logits must be numbers or -inf"),
        (lambda: naive.kl_to_uniform(np.full((1, 2), -np.inf)), "and one in each row finite"),
        (lambda: naive.kl_to_uniform(np.ones((2, 0))), "logits must be numbers or -inf"),
        (lambda: row_mask(0), "W must be 1 or more, got 0"),
        (lambda: row_mask(2.0), r"W must be a whole number, got 2\.0"),
        (lambda: conv_mask(4, 2), "kernel must be odd and positive, got 2"),
        (lambda: mask_kinds(0), "layers must be 1 or more"),
        (lambda: drawing_mask(2, ONES > 0), r"picture must have shape \(2, 2\), got \(2, 3\)"),
        (lambda: caption("SMALL X", ["", "SMALL"], 3), "caption holds 'X', which is not one of"),
        (lambda: caption("A A", ["", "A"], 1), "caption must have 1 to 1 words, got 2: 'A A'"),
        (lambda: caption(" ", ["", "A"], 1), "caption must have 1 to 1 words, got 0"),
        (lambda: drawing_loss(torch.ones(1, 3, 4), IDS, 2), "text must be 1 to 1 of these ids"),
        (lambda: drawing_loss(torch.ones(1, 3, 4), IDS, 1, 2.0), r"share lie in \[0, 1\], got 1"),
        (lambda: drawing_loss(torch.ones(1, 3, 4), IDS - 101, 1), r"ids must lie in \[0, 4\), got"),
        (lambda: rerank(ONES, 4), "k must be 1 to 3"),
        (lambda: rerank(ONES / 0 * 0, 1), "scores hold no nan"),
        (lambda: contrastive_loss(ONES), r"scores must have shape \(2, 2\)"),
        (lambda: contrastive_loss(ONES[:0, :0]), r"scores must have shape \(1, 1\), got \(0, 0\)"),
        (lambda: naive.contrastive_loss(np.ones((0, 0))), "scores must not be empty"),
        (lambda: TextToImage(5, 0), "codes must be 1 or more, got 0"),
        (lambda: TextToImage(5, True), "codes must be a whole number, got True"),
        (lambda: small()[0].draw(IDS + 4, torch.rand(1, 9)), r"ids must lie in \[0, 5\), got 4"),
        (lambda: small()[0].draw(IDS, torch.rand(1, 8)), r"u must have shape \(1, 9\)"),
        (lambda: small()[0].draw(IDS, torch.ones(1, 9)), r"u must lie in \[0, 1\), got a number"),
        (lambda: small()[0].draw(IDS, -torch.ones(1, 9)), r"u must lie in \[0, 1\), got a number"),
        (lambda: small()[0].draw(IDS, torch.ones(1, 9) / 0 * 0), r"u must lie in \[0, 1\)"),
        (lambda: small()[0].draw(IDS[:, :2], torch.rand(1, 9)), "captions must have shape"),
        (lambda: small()[0].rows_of(IDS, torch.full((1, 3, 3), 4)), r"ids must lie in \[0, 4\)"),
        (lambda: Scorer(5, pixels=6), "pixels must be a multiple of 4, got 6"),
        (lambda: Scorer(5)(torch.ones(1, 1, 16, 16), IDS + 3), r"ids must lie in \[0, 5\)"),
        (lambda: Scorer(5)(torch.ones(1, 1, 8, 32), IDS), r"images must have shape \(any, 1, 16"),
        (lambda: DiscreteVAE(codes=0), "codes must be 1 or more, got 0"),
        (lambda: DiscreteVAE(4)(torch.ones(1, 1, 6, 8), HALF, 1.0), "of 4, got 1 of 6 × 8"),
        (lambda: DiscreteVAE(4).logits(torch.ones(1, 1, 0, 8)), "of 4, got 1 of 0 × 8"),
        (lambda: DiscreteVAE(4).logits(SQUARE[:0]), "images must be some, .* got 0 of 4 × 4"),
        (
            lambda: DiscreteVAE(4).paint(torch.ones(1, 2, 2, 3)),
            r"y must have shape \(any, any, any, 4",
        ),
        (lambda: DiscreteVAE(4).decode(torch.full((1, 2, 2), 4)), r"ids must lie in \[0, 4\)"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
