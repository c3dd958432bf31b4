"""Chameleon: the stream and its grammar, bounds, the z-loss, writing, weights, refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional as F

from minilib import chameleon, lab
from minilib.chameleon import (
    Chameleon,
    ChameleonBlock,
    head_norm,
    interleave,
    largest_logit,
    log_z,
    logit_bound,
    markers,
    modality_mask,
    qk_norm_attention,
    residual_bound,
    stream_loss,
    write,
    z_loss,
    z_loss_gradient,
)
from minilib.naive import chameleon as naive
from minilib.naive.language_model import sample

# -- answers that are wrong ------------------------------------------------------------------------

TURN = "q, k = rope(q, 0), rope(k, 0)"
NORM = "q, k = head_norm(q, q_gain, q_bias), head_norm(k, k_gain, k_bias)"
ALL = "(x[:, h] - x.mean((1, 3))[..., None]) / x.std((1, 3))[..., None] * gain[h] + bias[h]"
TOGETHER = """def all_heads_together(q, k, params):
    flat = lambda x: x.transpose(0, 2, 1, 3).reshape(len(x), x.shape[2], -1)
    apart = lambda x: x.reshape(*x.shape[:2], *params["q_gain"].shape).transpose(0, 2, 1, 3)
    norms = [params[name].ravel() for name in ("q_gain", "q_bias", "k_gain", "k_bias")]
    return apart(layer_norm(flat(q), *norms[:2])), apart(layer_norm(flat(k), *norms[2:]))


def swiglu(params, x):"""
WRONG = {
    naive.interleave: edited(
        naive.interleave,
        caption_first=("if image_first[b] else text + picture", "if False else text + picture"),
        the_other_order=("if image_first[b]", "if not image_first[b]"),
        codes_from_0=("words + code for", "code for"),
        padding_inside=("for word in captions[b] if word]", "for word in captions[b]]"),
        no_finish=("for code in pictures[b]), finish]", "for code in pictures[b]), begin]"),
        no_stop=("*both, stop]", "*both]"),
    ),
    naive.modality_mask: edited(
        naive.modality_mask,
        one_code_less=("written < places", "written < places - 1"),
        one_code_more=("written < places", "written <= places"),
        never_finishes=("elif written < places:", "elif True:"),
        words_in_pictures=("may[b, t, words : words + codes] = True", "may[b, t, 1:] = True"),
        padding_is_a_word=("may[b, t, 1:words]", "may[b, t, 0:words]"),
        goes_on_after_stop=("if stopped:", "if False:"),
    ),
    naive.head_norm: edited(
        naive.head_norm,
        over_all_channels=("layer_norm(x[:, h], gain[h], bias[h])", ALL),
        one_gain_for_all=("gain[h], bias[h]", "gain[0], bias[0]"),
        rms=("layer_norm(x[:, h], gain[h], bias[h])", "rms_norm(x[:, h], gain[h]) + bias[h]"),
    ),
    naive.qk_norm_attention: edited(
        naive.qk_norm_attention,
        not_normalised=(NORM, "pass"),
        norm_after_turning=(NORM, TURN, f"    {TURN}\n    largest", f"    {NORM}\n    largest"),
        queries_alone=(NORM, "q = head_norm(q, q_gain, q_bias)"),
        keys_with_the_gain_of_queries=(NORM, NORM.replace("k_gain, k_bias", "q_gain, q_bias")),
        no_root=("k[b, h, s]) / np.sqrt(D)", "k[b, h, s])"),
        masked_logits_too=("for s in range(t + 1)", "for s in range(T)"),
        sign_counts=("logit = abs(q[b, h, t] @ k[b, h, s])", "logit = q[b, h, t] @ k[b, h, s]"),
        not_causal=("v, causal=True), largest", "v), largest"),
    ),
    naive.logit_bound: edited(
        naive.logit_bound,
        width_for_root=("longest_k / np.sqrt(D)", "longest_k"),
        sign_of_the_gain=("np.sqrt(D) * abs(q_gain[h]).max()", "np.sqrt(D) * q_gain[h].max()"),
        no_bias=(" + np.sqrt((q_bias[h] ** 2).sum())", ""),
        mean_gain=("abs(k_gain[h]).max()", "abs(k_gain[h]).mean()"),
    ),
    naive.residual_bound: edited(
        naive.residual_bound,
        no_root=("np.sqrt(len(gain)) * ", ""),
        last_branch=("longest = longest + np", "longest = start + np"),
        sign_of_the_gain=("abs(gain).max()", "gain.max()"),
    ),
    naive.block: edited(
        naive.block,
        post_norm=("x + rms_norm(branch(x), gain)", "rms_norm(x + branch(x), gain)"),
        orders_swapped=('if order == "pre":', 'if order != "pre":'),
        no_gain=("rms_norm(branch(x), gain)", "rms_norm(branch(x), 1)"),
        no_gate=("(z / (1 + np.exp(-z)) * (x @", "(z * (x @"),
        relu_gate=("z / (1 + np.exp(-z))", "np.maximum(z, 0)"),
        norm_over_all_heads=(
            'q = head_norm(q, params["q_gain"], params["q_bias"])',
            "q, k = all_heads_together(q, k, params)",
            'k = head_norm(k, params["k_gain"], params["k_bias"])',
            "pass",
            "def swiglu(params, x):",
            TOGETHER,
        ),
        no_norm_of_keys=('k = head_norm(k, params["k_gain"], params["k_bias"])', "pass"),
        no_positions=("attention(rope(q, 0), rope(k, 0), v", "attention(q, k, v"),
        sees_all=("causal=True, window=context", "causal=True"),
    ),
    naive.chameleon: edited(
        naive.chameleon,
        no_last_norm=('rms_norm(x, params["norm.weight"]) @ params', "x @ params"),
        one_layer=("range(layers)", "range(1)"),
    ),
    naive.log_z: edited(
        naive.log_z,
        overflows=("top = logits.max(-1)", "top = 0 * logits.max(-1)"),
        z_itself=("return top + np.log(", "return np.exp(top) * ("),
        mean=(".sum(-1))\n\n\ndef z_loss(", ".mean(-1))\n\n\ndef z_loss("),
    ),
    naive.z_loss: edited(
        naive.z_loss,
        square_of_the_mean=(
            "log_z(logits[b, t]) ** 2",
            "log_z(logits[b, t])",
            "weight * total / places",
            "weight * (total / places) ** 2",
        ),
        padding_too=(
            "        if counted[b, t]:\n            total",
            "        if True:\n            total",
        ),
        over_all_places=("weight * total / places", "weight * total / counted.size"),
        sum_for_mean=("weight * total / places", "weight * total"),
        not_squared=("log_z(logits[b, t]) ** 2", "abs(log_z(logits[b, t]))"),
    ),
    naive.z_loss_gradient: edited(
        naive.z_loss_gradient,
        no_two=("2 * weight * z", "weight * z"),
        no_softmax=(" * np.exp(logits[b, t] - z) / counted.sum()", " / counted.sum()"),
        over_all_places=("- z) / counted.sum()", "- z) / counted.size"),
        padding_too=(
            "        if counted[b, t]:\n            z =",
            "        if True:\n            z =",
        ),
    ),
    naive.stream_loss: edited(
        naive.stream_loss,
        padding_too=("counted = ids[:, 1:] != 0", "counted = ids[:, 1:] >= 0"),
        reads_padding=("counted = ids[:, 1:] != 0", "counted = ids[:, :-1] != 0"),
        z_loss_of_all=(", z_loss(logits, counted, w", ", z_loss(logits, counted >= 0, w"),
        predicts_itself=("ids[b, t + 1]]", "ids[b, t]]"),
        mean_over_all=("nats / counted.sum()", "nats / counted.size"),
    ),
}


# -- by hand ---------------------------------------------------------------------------------------

WORDS, CODES, PLACES = 4, 3, 2  # words 1 … 3, codes 4 … 6
START, BEGIN, FINISH, STOP = 7, 8, 9, 10


def tensors(*arrays):
    return [torch.tensor(a) for a in arrays]


def rows_of(captions, pictures, first):
    return interleave(*tensors(captions, pictures, first), WORDS, CODES)


def test_two_pairs_by_hand():
    assert markers(WORDS, CODES) == (START, BEGIN, FINISH, STOP)
    rows = rows_of([[3, 1], [2, 0]], [[0, 2], [1, 1]], [False, True])
    assert rows.tolist() == [
        [START, 3, 1, BEGIN, 4, 6, FINISH, STOP],
        [START, BEGIN, 5, 5, FINISH, 2, STOP, 0],
    ]


def test_what_may_follow_by_hand():
    may = modality_mask(torch.tensor([[START, 3, BEGIN, 4, 6, FINISH, STOP]]), WORDS, CODES, PLACES)
    text, picture = [1, 2, 3, BEGIN, STOP], [4, 5, 6]
    wanted = [text, text, picture, picture, [FINISH], text, [0]]
    assert [row.nonzero()[:, 0].tolist() for row in may[0]] == wanted


def test_log_z_and_its_loss_by_hand():
    # three logits of log 5 give Z = 15; two places count, the third has Z = e^7
    logits = torch.full((1, 3, 3), math.log(5)).double()
    logits[0, 1] = torch.tensor([0.0, -math.inf, -math.inf])  # log Z = 0
    logits[0, 2] = 7 - math.log(3)
    counted = torch.tensor([[True, True, False]])
    torch.testing.assert_close(log_z(logits[0]), torch.tensor([math.log(15), 0, 7]).double())
    assert z_loss(logits, counted, 0.5).item() == pytest.approx(0.25 * math.log(15) ** 2)
    gradient = z_loss_gradient(logits, counted, 0.5)[0]
    # 2 · 1/2 · log 15 · (1/3, 1/3, 1/3) / 2 places
    np.testing.assert_allclose(gradient[0], [math.log(15) / 6] * 3)
    assert (gradient[1:] == 0).all()


def test_four_numbers_normalised_by_hand():
    x = torch.tensor([1.0, 1, -1, -1]).double().view(1, 1, 1, 4)
    both = torch.cat([x, 100 * x], 1)  # two heads: each has mean 0 and variance 1 afterwards
    y = head_norm(both, *(size * torch.ones(2, 4).double() for size in (2, 0)))
    torch.testing.assert_close(y, torch.cat([2 * x, 2 * x], 1), rtol=1e-5, atol=0)
    one, none = torch.ones(1, 4), torch.zeros(1, 4)
    assert logit_bound(one, none, one, none).tolist() == [2.0]  # √4
    assert logit_bound(2 * one, none, -3 * one, none).tolist() == [12.0]
    assert logit_bound(one, one, one, none).tolist() == [4.0]  # (2 + 2) · 2 / 2
    gains = torch.tensor([[1.0, -2, 0, 0], [0.5, 0, 0, 0]])
    assert residual_bound(torch.tensor([3.0]), gains).tolist() == [3 + 2 * 2 + 2 * 0.5]


# -- the stream ------------------------------------------------------------------------------------


def random_pairs(count, draw):
    length = torch.randint(0, 5, (count, 1), generator=draw)
    captions = torch.randint(1, WORDS, (count, 5), generator=draw)
    pictures = torch.randint(CODES, (count, PLACES), generator=draw)
    first = torch.rand(count, generator=draw) < 0.5
    return captions * (torch.arange(5) < length), pictures, first


def test_every_row_of_the_stream_is_allowed_by_the_mask_and_can_be_read_back():
    captions, pictures, first = random_pairs(300, torch.Generator().manual_seed(0))
    rows = interleave(captions, pictures, first, WORDS, CODES)
    may = modality_mask(rows[:, :-1], WORDS, CODES, PLACES)
    assert may.gather(2, rows[:, 1:, None]).all()
    assert may.any(-1).all()  # something is allowed everywhere
    is_code = (rows >= WORDS) & (rows < WORDS + CODES)
    assert torch.equal(rows[is_code].view(300, PLACES) - WORDS, pictures)
    for row, caption in zip(rows, captions, strict=True):
        assert row[(row > 0) & (row < WORDS)].tolist() == caption[caption > 0].tolist()
    assert torch.equal(rows[:, 1] == BEGIN, first | (captions[:, 0] == 0))


def test_rows_do_not_depend_on_their_batch():
    captions, pictures, first = random_pairs(40, torch.Generator().manual_seed(1))
    rows = interleave(captions, pictures, first, WORDS, CODES)
    for k in range(40):
        one = slice(k, k + 1)
        alone = interleave(captions[one], pictures[one], first[one], WORDS, CODES)
        assert torch.equal(alone, rows[one])
    assert rows.untyped_storage().nbytes() == 8 * rows.numel()


# -- bounds ----------------------------------------------------------------------------------------


def attended(size, seed=0, H=3, D=8):
    draw = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, H, 9, D, generator=draw, dtype=torch.float64)
    norms = [torch.randn(H, D, generator=draw, dtype=torch.float64) for _ in range(4)]
    return size * q, k, v, norms


def test_scaling_the_queries_changes_nothing_and_the_bound_holds():
    for seed in range(3):
        q, k, v, norms = attended(1.0, seed)
        out, largest = qk_norm_attention(q, k, v, *norms)
        far, same = qk_norm_attention(50 * q, k, v, *norms)
        torch.testing.assert_close(far, out, rtol=1e-3, atol=1e-3)  # but for the 1e-5
        torch.testing.assert_close(same, largest, rtol=1e-3, atol=1e-3)
        bound = logit_bound(*norms)
        assert (largest <= bound).all() and (largest > 0.05 * bound).all()
        torch.testing.assert_close(50 * largest_logit(q, k), largest_logit(50 * q, k))


def test_the_bound_is_reached_by_a_step_that_matches_itself():
    x = torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1]).double().view(1, 1, 1, 8)
    one, none = torch.ones(1, 8).double(), torch.zeros(1, 8).double()
    _, largest = qk_norm_attention(5 * x, 7 * x, x, one, none, one, none)
    torch.testing.assert_close(largest[0], logit_bound(one, none, one, none), rtol=1e-6, atol=0)


def test_the_largest_logit_is_the_same_in_blocks():
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 2, chameleon.ROWS + 44, 4, generator=draw, dtype=torch.float64)
    logits = (q @ k.transpose(-1, -2) / 2).tril()
    torch.testing.assert_close(largest_logit(q, k), logits.abs().amax((-1, -2)))


def test_vital_logits_are_those_inside_of_the_context():
    torch.manual_seed(0)
    model = Chameleon(11, width=8, layers=1, heads=2, context=3).double()
    ids = torch.randint(11, (2, 30))
    block = model.blocks[0]
    q, k, _ = chameleon.split_heads(F.embedding(ids, model.embed), block.qkv, 2)
    q = chameleon.rope(head_norm(q, block.q_gain, block.q_bias))
    k = chameleon.rope(head_norm(k, block.k_gain, block.k_bias))
    logits = (q @ k.transpose(-1, -2) / 2).abs()
    seen = torch.ones(30, 30).tril().triu(-2).bool()
    assert model.vitals(ids)["logit"].item() == pytest.approx(logits[..., seen].max().item())
    assert logits.tril().max() > 1.001 * logits[..., seen].max()


def test_the_largest_logit_of_no_step_is_0():
    none = torch.zeros(1, 2, 0, 4)
    assert largest_logit(none, none).tolist() == [[0, 0]]


def test_swin_order_bounds_the_stream_whatever_the_weights():
    torch.manual_seed(0)
    ids = torch.randint(9, (2, 12))
    for size in (1.0, 1000.0):
        length = {}
        for order in ("pre", "swin"):
            model = Chameleon(9, width=16, layers=3, heads=2, order=order)
            for block in model.blocks:
                block.down.data *= size
                block.norm1.weight.data = torch.randn(16)
            gains = [w for b in model.blocks for w in (b.norm1.weight, b.norm2.weight)]
            x = F.embedding(ids, model.embed).detach()
            bound = residual_bound(x.norm(dim=-1).flatten(), torch.stack(gains).detach())
            for block in model.blocks:
                x = block(x).detach()
            length[order] = x.norm(dim=-1).flatten() / bound
        assert (length["swin"] <= 1).all()
    assert (length["pre"] > 10).all()  # at 1,000 times the weights


# -- the loss --------------------------------------------------------------------------------------


def test_the_loss_of_torch():
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 7, (4, 9), generator=draw)
    logits = torch.randn(4, 8, 7, generator=draw, dtype=torch.float64)
    nats, penalty = stream_loss(logits, ids, 0.1)
    wanted = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], ignore_index=0)
    torch.testing.assert_close(nats, wanted)
    z = logits.exp().sum(-1).log()[ids[:, 1:] != 0]
    torch.testing.assert_close(penalty, 0.1 * (z**2).mean())


def test_only_the_z_loss_feels_a_shift():
    """Over the vocabulary the gradient of the nats sums to 0, that of the z-loss to 2 c log Z."""
    logits = torch.randn(2, 5, 6).double().requires_grad_()
    ids = torch.randint(1, 6, (2, 6))
    nats, penalty = stream_loss(logits, ids, 0.3)
    (force,) = torch.autograd.grad(nats, logits, retain_graph=True)
    assert force.sum(-1).abs().max() < 1e-12 < force.abs().max()
    (force,) = torch.autograd.grad(penalty, logits)
    torch.testing.assert_close(force.sum(-1), 2 * 0.3 * log_z(logits) / 10)
    moved = stream_loss(logits + 100, ids, 0.3)
    torch.testing.assert_close(moved[0], nats)
    assert moved[1] > 100 * penalty


# -- the model -------------------------------------------------------------------------------------


def test_a_block_of_torch_functions():
    """The same block from torch's own layer norm, RMS norm and attention."""
    torch.manual_seed(0)
    block = ChameleonBlock(8, 2, 6, order="swin").double()
    for p in block.parameters():
        p.data += 0.3 * torch.randn_like(p)
    x = torch.randn(2, 5, 8).double()
    q, k, v = (z.unflatten(2, (2, 4)).transpose(1, 2) for z in (x @ block.qkv.t()).chunk(3, 2))
    norm = torch.nn.LayerNorm(4, elementwise_affine=False)
    q = norm(q) * block.q_gain.view(2, 1, 4) + block.q_bias.view(2, 1, 4)
    k = norm(k) * block.k_gain.view(2, 1, 4) + block.k_bias.view(2, 1, 4)
    turned = [chameleon.rope(z) for z in (q, k)]
    y = F.scaled_dot_product_attention(*turned, v, is_causal=True)
    y = y.transpose(1, 2).flatten(2) @ block.out.t()
    x1 = x + F.rms_norm(y, (8,), block.norm1.weight, 1e-5)
    y = (F.silu(x1 @ block.gate.t()) * (x1 @ block.up.t())) @ block.down.t()
    torch.testing.assert_close(block(x), x1 + F.rms_norm(y, (8,), block.norm2.weight, 1e-5))


@pytest.mark.parametrize("order,qk_norm", [("pre", False), ("swin", True)])
def test_vital_numbers_are_those_of_the_definition(order, qk_norm):
    torch.manual_seed(0)
    shape = {"layers": 2, "heads": 2, "qk_norm": qk_norm, "order": order}
    model = Chameleon(9, width=8, hidden=6, **shape).double()
    ids = torch.randint(9, (2, 7))
    found = model.vitals(ids)
    params = {name: p.detach().numpy() for name, p in model.state_dict().items()}
    logits = naive.chameleon(params, ids.numpy(), **shape)
    np.testing.assert_allclose(found["log_z"], naive.log_z(logits))
    x = params["embed"][ids]
    for n in range(3):
        length = np.sqrt((x**2).sum(-1)).mean()
        np.testing.assert_allclose(found["residual"][n], length)
        if n == 2:
            break
        own = naive.own(params, f"blocks.{n}.")
        z = x if order == "swin" else naive.rms_norm(x, own["norm1.weight"])
        q, k, _ = (z @ own["qkv"].T).reshape(2, 7, 3, 2, 4).transpose(2, 0, 3, 1, 4)
        if qk_norm:
            q = naive.head_norm(q, own["q_gain"], own["q_bias"])
            k = naive.head_norm(k, own["k_gain"], own["k_bias"])
        scores = naive.rope(q, 0) @ naive.rope(k, 0).swapaxes(2, 3) / 2
        np.testing.assert_allclose(found["logit"][n], abs(np.tril(scores)).max())
        x = naive.block(own, x, 2, qk_norm, order)


# -- writing ---------------------------------------------------------------------------------------


def small():
    torch.manual_seed(0)
    model = Chameleon(WORDS + CODES + 4, width=8, layers=1, heads=2).double().eval()
    model.output.data *= 3
    return model


def test_writing_is_sampling_from_what_is_allowed_one_symbol_at_a_time():
    model, draw = small(), torch.Generator().manual_seed(0)
    u = torch.rand(3, 9, generator=draw).double()
    ids = torch.tensor([[START, 1], [START, BEGIN], [START, 3]])
    found = write(model, ids, u, WORDS, CODES, PLACES, 0.8)
    rows = ids.numpy()
    for n in range(9):
        logits = model(torch.tensor(rows))[:, -1].detach().numpy()
        may = naive.modality_mask(rows, WORDS, CODES, PLACES)[:, -1]
        symbol = sample(np.where(may, logits, -np.inf), u[:, n].numpy(), 0.8, None, None)
        rows = np.concatenate([rows, symbol[:, None]], 1)
    assert found.tolist() == rows.tolist()


def test_a_picture_that_is_begun_has_exactly_its_codes():
    draw = torch.Generator().manual_seed(0)
    rows = write(
        small(), torch.full((200, 1), START), torch.rand(200, 30, generator=draw), 4, 3, PLACES
    )
    began = 0
    for row in rows.tolist():
        for t, symbol in enumerate(row[: -PLACES - 1]):
            if symbol == BEGIN:
                began += 1
                assert all(WORDS <= code < WORDS + CODES for code in row[t + 1 : t + 1 + PLACES])
                assert row[t + 1 + PLACES] == FINISH
        stop = row.index(STOP) if STOP in row else len(row)
        assert set(row[stop + 1 :]) <= {0} and 0 not in row[:stop] and START not in row[1:]
    assert began > 50


# -- the trained model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    """data/weights/chameleon.py, which belongs to no package."""
    return lab.data.script("chameleon")


def test_more_letters_are_of_known_words_and_of_the_training_part(script):
    more, own = script.letters("train", more=True), script.letters("train")
    assert len(more.images) == 2376 and set(own.names) < set(more.names)
    for part in ("validation", "test"):
        assert not set(more.names) & set(script.letters(part).names)
    for caption, name in zip(more.captions, more.names, strict=True):
        assert " ".join(own.words[k] for k in caption if k) == name


def test_the_trained_model_scores_what_its_record_says(script):
    model, record = lab.load(Chameleon)
    for name, value in script.score(model).items():
        assert record[name] == pytest.approx(value, rel=1e-3), name
    path = lab.fetch.HOME / "weights" / "chameleon.safetensors"
    assert path.stat().st_size < 2_000_000
    steps, values = zip(*record["validation"], strict=True)
    assert record["kept_after"] == steps[values.index(min(values))]
    found = script.score(model, "validation")
    both = found["validation_nats_caption"] + script.PLACES * found["validation_nats_code"]
    assert both == pytest.approx(min(values), rel=1e-3)


# -- refused ---------------------------------------------------------------------------------------

ONE = torch.ones(2, 4)
IDS = torch.tensor([[START, 1], [START, 2]])


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: rows_of([[4]], [[0]], [True]), r"captions must lie in \[0, 4\), got 4 to 4"),
        (lambda: rows_of([[1]], [[3]], [True]), r"pictures must lie in \[0, 3\), got 3 to 3"),
        (lambda: rows_of([[0, 1]], [[0]], [True]), "captions must have 0 behind the last word"),
        (lambda: rows_of([[1]], [[0]], [True, False]), r"image_first must have shape \(1\), got"),
        (lambda: rows_of([[1]], [[0], [0]], [True]), r"pictures must have shape \(1, any\)"),
        (lambda: markers(0, 3), "words must be 1 or more, got 0"),
        (lambda: modality_mask(IDS + 9, 4, 3, 2), r"ids must lie in \[0, 11\), got 10 to 16"),
        (lambda: modality_mask(IDS, 4, 3, 0), "places must be 1 or more, got 0"),
        (lambda: head_norm(torch.ones(1, 2, 3, 4), ONE, ONE[:1]), r"bias must have shape \(2, 4\)"),
        (lambda: logit_bound(ONE, ONE, ONE[:, :3], ONE), r"k_gain must have shape \(2, 4\)"),
        (lambda: residual_bound(ONE, ONE), r"start must have shape \(any\), got \(2, 4\)"),
        (lambda: z_loss(ONE[None], torch.zeros(1, 2).bool(), 1.0), "must have a place that counts"),
        (lambda: z_loss(ONE[None], torch.ones(1, 2).bool(), -1.0), "weight must be 0 or more"),
        (lambda: stream_loss(ONE[None], torch.zeros(1, 3).long()), "must have a place that counts"),
        (lambda: stream_loss(ONE[None], torch.ones(1, 2).long()), r"ids must have shape \(1, 3\)"),
        (lambda: ChameleonBlock(8, 2, 4, order="post"), "order must be one of pre, swin, got 'pos"),
        (lambda: ChameleonBlock(8, 2, 0), "hidden must be 1 or more, got 0"),
        (lambda: Chameleon(9, width=8, heads=2, hidden=0), "hidden must be 1 or more, got 0"),
        (lambda: largest_logit(ONE[None, None], ONE[None, None, :1]), "k must have shape"),
        (lambda: Chameleon(9, width=6, heads=2), "heads must divide width into even parts"),
        (lambda: write(small(), IDS, torch.rand(2, 3), 5, 3, 2), "vocabulary of 5 words . 3 codes"),
        (lambda: write(small(), IDS, torch.rand(3, 3), 4, 3, 2), r"u must have shape \(2, any\)"),
        (lambda: write(small(), IDS, torch.rand(2, 3) - 2, 4, 3, 2), "u must lie in"),
        (lambda: write(small(), IDS, ONE[:, :3] * math.nan, 4, 3, 2), "u must lie in"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_kinds_are_refused_by_name():
    with pytest.raises(TypeError, match=r"image_first must be bool, got torch\.int64"):
        rows_of([[1]], [[0]], [1])
    with pytest.raises(TypeError, match=r"captions must be int64, got torch\.float32"):
        rows_of([[1.0]], [[0]], [True])
    with pytest.raises(TypeError, match=r"counted must be bool, got torch\.int64"):
        z_loss(ONE[None], torch.ones(1, 2).long(), 1.0)
