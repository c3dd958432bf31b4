import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minilib.__main__ import main
from minilib.attention import attention, rope
from minilib.compare import leaves_of
from minilib.megabyte import (
    MegaByte,
    PatchBlock,
    attention_cost,
    merge_strides,
    multiply_adds,
    strided_logits,
)
from minilib.naive import megabyte as naive
from minilib.transformer import Block

# -- answers that are wrong ------------------------------------------------------------------------


def ordinary_block(params, x, past_k, past_v, position, *, heads, patch, reach):
    return naive.block(params, x, past_k, past_v, position, heads)


def second_run_alone(first, second, patch):
    return np.concatenate([first[:, : (patch + 1) // 2], second], axis=1)


def mean_of_both_runs(first, second, patch):
    h = (patch + 1) // 2
    return np.concatenate([first[:, :h], (first[:, h:] + second) / 2], axis=1)


def places_exchanged(T, patch, reach=0):
    return naive.attention_cost(T, patch, reach)[::-1]


def pairs_that_are_seen(T, patch, reach=0):  # but what is masked is computed all the same
    K, sizes = -(-T // patch), [min(patch, T - start) for start in range(0, T, patch)]
    seen = sum(n * (n + 1) // 2 for n in sizes) + reach * sum(sizes[1:])
    return K * (K + 1) // 2, seen


WRONG = {
    naive.patch_block: [
        *edited(
            naive.patch_block,
            patches_cut_from_x=("- (position + t) % patch", "- t % patch"),
            steps_restart_in_every_patch=(
                "past_v, position + t, heads",
                "past_v, (position + t) % patch, heads",
            ),
            keeps_all_if_reach_is_0=("past.shape[2] - reach :", "-reach :"),
            reach_forgotten=("past.shape[2] - reach :", "past.shape[2] :"),
            reach_of_one_too_many=(
                "past.shape[2] - reach :",
                "max(0, past.shape[2] - reach - 1) :",
            ),
            cache_cut_a_patch_late=(
                "        if (position + end)",
                "        if end < x.shape[1] and (position + end)",
            ),
        ),
        ordinary_block,
    ],
    naive.megabyte: edited(
        naive.megabyte,
        planner_not_shifted=("(B, 1, G)), patches]", "(B, 1, G)), patches][::-1]"),
        speller_not_shifted=("ids[:, n - 1]", "ids[:, min(n, T - 1)]"),
        pad_in_the_first_patch_only=("if p == 0 else", "if n == 0 else"),
        one_plan_for_the_whole_patch=("g[:, k, p] @", "g[:, k, 0] @"),
        plan_not_normed=(
            '    x = layer_norm(x, params["global_norm.weight"], params["global_norm.bias"])\n',
            "",
        ),
        predicts_the_byte_itself=("layer_norm(x[:, 1:]", "layer_norm(x[:, :-1]"),
        context_forgotten=("heads, True, context)", "heads, True, None)"),
        context_in_bytes=("heads, True, context)", "heads, True, max(1, context // patch))"),
        reach_forgotten=(
            '"local_layers": local_layers, "reach": reach',
            '"local_layers": local_layers',
        ),
        convolutions_forgotten=("patch=patch, conv=conv)", "patch=patch)"),
        convolution_not_added=("x[:, t] + np.maximum", "np.maximum"),
        convolution_without_relu=("np.maximum(mixed, 0)", "mixed"),
        taps_back_to_front=("s - t + width - 1]", "t - s]"),
        embeddings_summed=(
            "np.concatenate([x[:, k * patch + p] for p in range(patch)], axis=1)",
            "np.tile(sum(x[:, k * patch + p] for p in range(patch)), patch)",
        ),
    ),
    naive.merge_strides: [
        *edited(
            naive.merge_strides,
            half_rounded_down=("n % patch >= h", "n % patch >= patch // 2"),
            halves_exchanged=("n % patch >= h", "n % patch < h"),
            off_by_one=("if n % patch", "if (n - 1) % patch"),
            second_run_not_moved=(
                "second[:, n - 1 - h]",
                "second[:, min(n - 1, second.shape[1] - 1)]",
            ),
        ),
        second_run_alone,
        mean_of_both_runs,
    ],
    naive.attention_cost: [
        *edited(
            naive.attention_cost,
            whole_patches_only=("-(-T // patch)", "T // patch"),
            last_patch_not_padded=(
                "for _ in range(K) for _ in range(patch) for _ in range(reach",
                "for _ in range(T) for _ in range(reach",
            ),
            reach_forgotten=("range(reach + patch)", "range(patch)"),
            a_reach_of_patches=("range(reach + patch)", "range((reach + 1) * patch)"),
        ),
        places_exchanged,
        pairs_that_are_seen,
    ],
    naive.multiply_adds: edited(
        naive.multiply_adds,
        no_output_of_attention=("(3 + 1 + 4 + 4)", "(3 + 4 + 4)"),
        scores_but_no_mean=("scores * width + scores * width", "scores * width"),
        the_first_byte_predicted_too=("(T - 1) * local_width", "T * local_width"),
        the_whole_plan_to_every_byte=("(global_width // patch)", "global_width"),
        planner_at_every_byte=("blocks(T // patch,", "blocks(T,"),
        layers_forgotten=("return layers * (steps", "return (steps"),
        adds_counted_apart=("width * width * (3", "2 * width * width * (3"),
    ),
}


# -- helpers ---------------------------------------------------------------------------------------

SMALL = {"vocab_size": 11, "patch": 4, "global_width": 8, "global_layers": 1}
SMALL |= {"local_width": 8, "local_layers": 1, "heads": 2}


def made(**settings):
    """A small float64 model, every parameter off its initial value."""
    model = MegaByte(**SMALL | settings).double()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model


def params(model):
    return {name: p.numpy() for name, p in model.state_dict().items()}


@torch.no_grad()
def sight(model, T):
    """(T, T) bool: does the prediction of byte n + 1 move if byte s changes? Rows n, columns s."""
    ids = torch.randint(model.vocab_size, (1, T))
    before, seen = model(ids)[0], np.zeros((T, T), bool)
    for s in range(T):
        changed = ids.clone()
        changed[:, s] = (ids[:, s] + 1) % model.vocab_size
        seen[:, s] = ((model(changed)[0] - before).abs() > 1e-14).any(-1).numpy()
    return seen


# -- who sees what ---------------------------------------------------------------------------------


def test_a_prediction_sees_every_byte_before_it_and_no_other():
    assert np.array_equal(sight(made(), 13), np.tri(13, dtype=bool))


def test_without_a_plan_the_speller_sees_its_own_patch_only():
    model = made()
    model.to_local.data.zero_()
    own_patch = lambda n, s: s <= n and s // 4 == (n + 1) // 4  # row n predicts byte n + 1
    want = [[own_patch(n, s) for s in range(13)] for n in range(13)]
    assert np.array_equal(sight(model, 13), want)


@pytest.mark.parametrize("reach", [1, 3, 4])
def test_reach_adds_what_the_last_steps_of_the_patch_before_have_read(reach):
    """One layer: the steps at bytes kP - r … kP - 1 have read the bytes kP - r - 1 … kP - 2.

    But the first step of a patch has read its pad only.
    """
    model = made(reach=reach)
    model.to_local.data.zero_()
    want = np.zeros((13, 13), bool)
    for n in range(13):
        start = (n + 1) // 4 * 4
        steps = range(max(start - reach, 0), n + 2)
        want[n, [step - 1 for step in steps if step % 4 != 0]] = True
    assert np.array_equal(sight(model, 13), want)


def test_without_the_speller_bytes_come_from_finished_patches_only():
    model = made()
    model.embed_local.data.zero_()
    want = [[s < (n + 1) // 4 * 4 for s in range(13)] for n in range(13)]
    assert np.array_equal(sight(model, 13), want)


@pytest.mark.parametrize("context,layers,patches", [(1, 1, 1), (2, 1, 2), (2, 2, 3)])
def test_the_planner_looks_back_as_far_as_its_context(context, layers, patches):
    model = made(context=context, global_layers=layers)
    seen = sight(model, 25)[24]  # predicts byte 25, of patch 6
    assert seen.tolist() == [s // 4 >= 6 - patches for s in range(25)]


def test_convolutions_do_not_know_where_patches_start():
    """Cut elsewhere, bytes keep their vectors, up to the 12 bytes that the filters reach back."""
    P = params(made(conv=True))
    ids = np.random.default_rng(0).integers(11, size=(2, 33))
    vectors = lambda text: naive.patch_embed(P, text, patch=4, conv=True).reshape(2, -1, 2)
    whole, later = vectors(ids[:, :32]), vectors(ids[:, 1:])
    np.testing.assert_allclose(later[:, 12:31], whole[:, 13:32], rtol=1e-12)
    assert np.abs(later[:, 11] - whole[:, 12]).max() > 1e-6


# -- pieces ----------------------------------------------------------------------------------------


def test_a_patch_is_its_bytes_side_by_side():
    P = {"embed_global": np.array([[0.0, 1], [2, 3], [4, 5]])}
    got = naive.patch_embed(P, np.array([[2, 0, 1, 1]]), patch=2)
    assert got.tolist() == [[[4, 5, 0, 1], [2, 3, 2, 3]]]


def test_a_convolution_by_hand():
    # width 3 adds relu(x_{t-2}); then widths 5 and 7 with weight 0 and bias -1 add nothing
    P = {"embed_global": np.array([[1.0], [10], [-100]])}
    for n, width in enumerate(naive.WIDTHS):
        P[f"convs.{n}.weight"] = np.zeros((1, 1, width))
        P[f"convs.{n}.bias"] = np.full(1, -1.0 * (n > 0))
    P["convs.0.weight"][0, 0, 0] = 1
    got = naive.patch_embed(P, np.array([[0, 1, 2, 1, 0, 0]]), patch=3, conv=True)
    assert got.ravel().tolist() == [1, 10, -99, 20, 1, 11]


def past(block, B, S=0):
    return torch.randn(2, B, block.heads, S, 4, dtype=torch.float64)


def test_a_patch_longer_than_the_text_makes_an_ordinary_block():
    block, x = PatchBlock(8, 2, patch=20, reach=3).double(), torch.randn(2, 9, 8).double()
    ordinary = Block(8, 2).double()
    ordinary.load_state_dict(block.state_dict())
    got, want = (b(x, *past(block, 2)) for b in (block, ordinary))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_patches_of_one_that_reach_one_back_make_a_window_of_two():
    block, x = PatchBlock(8, 2, patch=1, reach=1).double(), torch.randn(2, 9, 8).double()
    window = Block(8, 2, window=2).double()
    window.load_state_dict(block.state_dict())
    got, want = (b(x, *past(block, 2))[0] for b in (block, window))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("T,patch,reach", [(12, 4, 0), (11, 3, 2), (10, 5, 5)])
def test_patch_block_is_a_mask_over_the_whole_text(T, patch, reach):
    """Third opinion: one T × T attention of the same weights, with the mask as it is said."""
    block, x = PatchBlock(8, 2, patch, reach).double(), torch.randn(2, T, 8).double()
    sees = lambda t, s: t // patch * patch - reach <= s <= t
    visible = torch.tensor([[sees(t, s) for s in range(T)] for t in range(T)])
    q, k, v = (block.norm1(x) @ block.qkv.t()).view(2, T, 3, 2, 4).permute(2, 0, 3, 1, 4)
    y = x + attention(rope(q), rope(k), v, visible).transpose(1, 2).reshape(2, T, 8) @ block.out.t()
    y = y + (block.norm2(y) @ block.up.t()).relu().square() @ block.down.t()
    torch.testing.assert_close(block(x, *past(block, 2))[0], y, rtol=1e-12, atol=1e-12)


# -- decoding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"reach": 2, "local_layers": 2}, {"conv": True, "context": 2}, {"patch": 1, "reach": 1}],
)
@torch.no_grad()
def test_any_two_cuts_of_a_text_give_the_forward(settings):
    model, ids = made(**settings), torch.randint(11, (2, 14))
    forward = model(ids)
    for a in range(1, 13):
        for b in range(a + 1, 14):
            state, rows = model.init_state(2), []
            for piece in (ids[:, :a], ids[:, a:b], ids[:, b:]):
                logits, state = model.extend(piece, state)
                rows.append(logits)
            torch.testing.assert_close(torch.cat(rows, 1), forward, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_state_stops_growing():
    model = made(context=3, reach=2, conv=True)
    state, sizes = model.init_state(1), []
    for _ in range(40):
        _, state = model.step(torch.tensor([3]), state)
        tensors = (leaf for _, leaf in leaves_of(state) if isinstance(leaf, torch.Tensor))
        sizes.append(sum(leaf.numel() for leaf in tensors))
    assert sizes[20:24] == sizes[24:28] == sizes[36:40] and max(sizes) == max(sizes[20:24])


@torch.no_grad()
def test_the_planner_runs_once_per_patch():
    model, runs = made(global_layers=3, local_layers=2), []
    for block in (*model.global_blocks, *model.local_blocks):
        block.register_forward_hook(lambda module, *_: runs.append(type(module)))
    state = model.init_state(1)
    for _ in range(4 * 5):
        _, state = model.step(torch.tensor([3]), state)
    assert runs.count(Block) == 3 * (1 + 5)  # the pad is a step too
    assert runs.count(PatchBlock) == 2 * 20


@torch.no_grad()
def test_the_state_says_where_it_stands():
    """P = 4, six bytes: place 0 is read with the first; the plan has one more place to speak to."""
    model, ids = made(), torch.randint(11, (2, 6))
    state = model.extend(ids, model.init_state(2))[1]
    assert (state.places, state.plan.shape) == (7, (2, 1, 8))
    assert torch.equal(state.partial, ids[:, 4:])
    assert [k.shape[2] for k, _ in (*state.planner, *state.speller)] == [2, 3]


@pytest.mark.parametrize("patch,T", [(4, 13), (5, 12), (2, 2), (1, 3)])
@torch.no_grad()
def test_strided_logits_equal_the_definition(patch, T):
    settings = SMALL | {"patch": patch, "global_width": 4 * patch, "heads": 1, "context": 8}
    model, ids = made(**settings), torch.randint(11, (2, T))
    names = "patch", "global_layers", "local_layers", "heads", "context"
    shape = {name: settings[name] for name in names}
    want = naive.strided_logits(params(model), ids.numpy(), **shape)
    np.testing.assert_allclose(strided_logits(model, ids), want, rtol=1e-10)


def test_strides_by_hand():
    # P = 4, h = 2: bytes 1, 2, 4, 5, 8 from the first run (2 begins the second), 3, 6, 7 from it
    first = torch.arange(8.0).view(1, 8, 1)  # rows predict bytes 1 … 8
    second = 100 + torch.arange(6.0).view(1, 6, 1)  # 3 … 8
    assert merge_strides(first, second, 4).ravel().tolist() == [0, 1, 100, 3, 4, 103, 104, 7]


def test_a_fresh_net_guesses_about_uniformly():
    ids = torch.randint(256, (4, 33))
    logits, targets = MegaByte()(ids[:, :-1]), ids[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert abs(loss.item() - np.log(256)) < 0.05


# -- cost ------------------------------------------------------------------------------------------


def test_attention_cost_by_hand():
    assert attention_cost(8192, 8) == (1024**2, 8 * 8192)
    assert attention_cost(12, 4, 2) == (9, 12 * 6)


@pytest.mark.parametrize("T,patch,reach", [(24, 4, 0), (24, 8, 0), (40, 2, 2), (16, 1, 0)])
@torch.no_grad()
def test_multiply_adds_are_those_that_torch_counts(T, patch, reach):
    shape = {"patch": patch, "global_width": 16, "global_layers": 2, "local_width": 8}
    shape |= {"local_layers": 3, "vocab_size": 11, "reach": reach}
    model, counter = MegaByte(**shape, heads=2), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # the one kernel that the counter sees into
        model(torch.zeros(1, T - 1, dtype=torch.int64))
    assert counter.get_total_flops() == 2 * sum(multiply_adds(T, **shape))


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"patch": 3}, "patch must divide global_width"),
        ({"patch": 0}, "patch"),
        ({"local_layers": 0}, "local_layers"),
        ({"context": 0}, "context"),
        ({"heads": 3}, "heads must divide width"),
        ({"reach": 5}, r"reach lie in \[0, patch\]"),
        ({"reach": -1}, r"reach lie in \[0, patch\]"),
        ({"global_width": 0}, "global_width"),
    ],
)
def test_impossible_models_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MegaByte(**SMALL | settings)


def test_other_refusals():
    block = PatchBlock(8, 2, patch=4, reach=2)
    with pytest.raises(ValueError, match="must hold 3 steps before step 5"):
        block(torch.zeros(1, 1, 8), *torch.zeros(2, 1, 2, 1, 4), 5)
    with pytest.raises(ValueError, match="second must have shape"):
        merge_strides(torch.zeros(1, 6, 3), torch.zeros(1, 6, 3), 4)
    with pytest.raises(ValueError, match="ids must be longer than half a patch"):
        strided_logits(MegaByte(**SMALL), torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="T must be a multiple of patch"):
        multiply_adds(10, 4, 8, 1, 8, 1)
    with pytest.raises(ValueError, match="reach"):
        attention_cost(12, 4, 5)


def test_the_command_line_trains_one(tmp_path, capsys):
    text, out = tmp_path / "text.txt", tmp_path / "weights.safetensors"
    text.write_text("to be or not to be, that is the question\n" * 50)
    settings = "patch=3 global_width=12 global_layers=1 local_width=8 heads=1"
    options = "conv=true reach=1 context=5 --steps 2 --batch 2 --length 10 --device cpu"
    words = ["train", "megabyte", *settings.split(), *options.split()]
    assert main([*words, "--text", str(text), "--out", str(out)]) == 0
    assert "bits per byte" in capsys.readouterr().out and out.exists()
