"""A mixture of Transformers: groups, equality with the dense model, what crosses, its record."""

import pytest
import torch
from mutants import edited
from torch.utils.flop_counter import FlopCounterMode

from minilib import lab
from minilib.__main__ import main
from minilib.hourglass import multiply_adds as of_lesson_19
from minilib.mixture_of_transformers import (
    MixtureLayer,
    MixtureOfTransformers,
    group_by_modality,
    multiply_adds,
    parameters,
    scatter_back,
    steps_to_match,
)
from minilib.naive import mixture_of_transformers as naive
from minilib.transformer import Transformer

# -- answers that are wrong ------------------------------------------------------------------------

BEFORE = 'mine = own(params, f"experts.{modality[b, t]}.")\n        normed'
AFTER = 'mine = own(params, f"experts.{modality[b, t]}.")\n        y ='
WRONG = {
    naive.group_by_modality: edited(
        naive.group_by_modality,
        those_that_are_not=("groups[m].append(place)", "[g.append(place) for g in groups]"),
        backwards=("np.array(group, np.int64)", "np.array(group[::-1], np.int64)"),
        modalities_that_occur=("in groups]", "in groups if group]"),
    ),
    naive.scatter_back: edited(
        naive.scatter_back,
        one_after_another=(
            "        for row, place in zip(part, group, strict=True):",
            "        group = range(len(out) - len(part), len(out)) if m else range(len(part))\n"
            "        for row, place in zip(part, group, strict=True):",
            "for part, group in zip(parts, groups, strict=True):",
            "for m, (part, group) in enumerate(zip(parts, groups, strict=True)):",
        ),
        the_other_way_round=(
            "    for part, group in zip(parts, groups, strict=True):",
            "    order = np.concatenate(groups)\n"
            "    return np.concatenate(parts)[order]\n"
            "    for part, group in zip(parts, groups, strict=True):",
        ),
        last_group_alone=("out[place] = row", "out = out * 0; out[place] = row"),
    ),
    naive.mixture_layer: edited(
        naive.mixture_layer,
        feed_forward_shared=(AFTER, 'mine = own(params, "experts.0.")\n        y ='),
        attention_shared=(BEFORE, 'mine = own(params, "experts.0.")\n        normed'),
        each_kind_by_itself=(
            "visible, causal, window if causal else None)",
            "np.concatenate([np.ones((B, 1, T, k.shape[2] - T), bool), modality[:, None, :, None]"
            " == modality[:, None, None]], 3) if causal else visible, causal,"
            " window if causal else None)",
        ),
        looks_ahead=("causal = visible is None", "causal = False"),
        counts_from_the_cache=("rope(k, position)", "rope(k, past_k.shape[2])"),
    ),
    naive.mixture_of_transformers: edited(
        naive.mixture_of_transformers,
        border_one_off=("ids[b, t] >= sum(", "ids[b, t] > sum("),
        kind_of_the_next=(
            '    x = params["embed"][ids]',
            '    modality = np.roll(modality, -1, 1)\n    x = params["embed"][ids]',
        ),
        one_kind=(
            '    x = params["embed"][ids]',
            '    modality *= 0\n    x = params["embed"][ids]',
        ),
    ),
    naive.parameters: edited(
        naive.parameters,
        dense=("layers * len(sizes) * expert", "layers * expert"),
        no_norms=(" + 4 * C  # qkv", "  # qkv"),
    ),
    naive.multiply_adds: edited(
        naive.multiply_adds,
        each_looks_at_all=("2 * (t + 1) * C", "2 * T * C"),
        experts_multiply=("total += count * 12 * C * C", "total += T * 12 * C * C"),
    ),
    naive.steps_to_match: edited(
        naive.steps_to_match,
        no_line_between=("steps[k - 1] + part * (steps[k] - steps[k - 1])", "steps[k]"),
        the_other_way=("steps[n] ** 2", "(steps[n] * steps[k])"),
        last_values_not_lowest=("best = [min(loss[: n + 1])", "best = [min(loss[n : n + 1])"),
    ),
}


# -- by hand ---------------------------------------------------------------------------------------


def test_groups_by_hand_and_back():
    modality = torch.tensor([[1, 0, 1], [1, 1, 0]])
    groups = group_by_modality(modality, 2)
    assert [group.tolist() for group in groups] == [[1, 5], [0, 2, 3, 4]]
    x = torch.arange(6.0)[:, None]
    assert torch.equal(scatter_back([x[group] for group in groups], groups), x)


def test_half_the_steps_and_a_third():
    steps = torch.tensor([10.0, 20, 30, 40])
    rival = torch.tensor([8.0, 7.0, 6.0, 5.0])
    twice = torch.tensor([7.0, 5.0, 4.0, 3.0])  # at step s what the rival has at 2 s
    assert steps_to_match(steps, twice, rival) == pytest.approx(0.5)  # of 20, 30 and 40 ...
    assert steps_to_match(steps, rival, rival) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="loss must reach a loss of rival"):
        steps_to_match(steps, rival + 9, rival)


# -- the dense model -------------------------------------------------------------------------------


def tied(model):
    """All experts of a layer get the first one's numbers."""
    for layer in model.layers:
        for expert in layer.experts[1:]:
            expert.load_state_dict(layer.experts[0].state_dict())
    return model


def as_lesson_13(model):
    """The Transformer with the numbers of the first experts."""
    state = {
        name.replace("layers.", "blocks.").replace("experts.0.", ""): value
        for name, value in model.state_dict().items()
        if "experts." not in name or "experts.0." in name
    }
    size = {"width": model.embed.shape[1], "layers": len(model.layers), "heads": model.heads}
    dense = Transformer(model.vocab_size, **size, context=model.layers[0].window)
    dense.load_state_dict(state)
    return dense.double()


def test_with_equal_experts_it_is_the_transformer_of_lesson_13():
    torch.manual_seed(0)
    model = MixtureOfTransformers((5, 4, 7), 8, 2, 2, context=6).double()
    ids = torch.randint(16, (3, 20))
    assert (model(ids) - as_lesson_13(model)(ids)).abs().max() > 1e-3  # experts differ
    dense = as_lesson_13(tied(model))
    torch.testing.assert_close(model(ids), dense(ids), rtol=1e-12, atol=1e-12)
    state = model.extend(ids[:, :9], model.init_state(3))[1]
    wanted = dense.extend(ids[:, :9], dense.init_state(3))[1]
    for ours, theirs in zip(state[1], wanted[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def layer_and_inputs(seed=0):
    torch.manual_seed(seed)
    layer = MixtureLayer(8, 2, 3).double()
    x, modality = torch.randn(2, 7, 8).double(), torch.randint(3, (2, 7))
    none = torch.zeros(2, 2, 0, 4).double()
    return layer, x, modality, (none, none)


def test_names_of_modalities_do_not_matter_but_who_is_who_does():
    layer, x, modality, none = layer_and_inputs()
    before = layer(x, modality, *none)[0]
    swapped = torch.tensor([2, 0, 1])[modality]
    assert (layer(x, swapped, *none)[0] - before).abs().max() > 1e-3  # the wrong experts
    layer.experts = torch.nn.ModuleList([layer.experts[k] for k in (1, 2, 0)])
    torch.testing.assert_close(layer(x, swapped, *none)[0], before, rtol=1e-12, atol=1e-14)


def test_each_expert_learns_from_its_own_tokens():
    layer, x, modality, none = layer_and_inputs()
    modality[:] = torch.tensor([0, 2, 0, 2, 2, 0, 0])  # nothing of modality 1
    layer(x, modality, *none)[0].sum().backward()
    grads = [[p.grad for p in expert.parameters()] for expert in layer.experts]
    assert all(g is None or not g.any() for g in grads[1])
    assert all(g.abs().max() > 0 for g in grads[0] + grads[2])
    layer.zero_grad()
    y = layer(x, modality, *none)[0]
    y[:, 0].sum().backward()  # the first token sees itself alone: expert 0
    assert not any(p.grad is not None and p.grad.any() for p in layer.experts[2].parameters())


def test_only_attention_crosses_from_one_modality_to_the_other():
    layer, x, modality, none = layer_and_inputs()
    same = (modality[:, :, None] == modality[:, None])[:, None] & torch.ones(7, 7).bool().tril()
    before, apart = (layer(x, modality, *none, 0, seen)[0] for seen in (None, same))
    x = torch.where((modality == 1)[..., None], x.flip(2), x)  # a shift would not pass the norm
    after, apart_after = (layer(x, modality, *none, 0, seen)[0] for seen in (None, same))
    others = modality != 1
    assert torch.equal(apart_after[others], apart[others])  # to the bit
    assert (after[others] - before[others]).abs().max() > 1e-3


def test_the_modality_is_that_of_the_symbol_read():
    model = MixtureOfTransformers((2, 3, 1), 8, 1, 2)
    assert model.modality(torch.arange(6)).tolist() == [0, 0, 1, 1, 1, 2]
    ids = torch.tensor([[0, 2, 4, 1, 5, 0]])
    groups = [[0, 3, 5], [1, 2], [4]]
    found = group_by_modality(model.modality(ids), 3)
    assert [group.tolist() for group in found] == groups


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(9,), (4, 5), (2, 3, 4)])
def test_weights_are_counted_and_products_do_not_depend_on_who_is_who(sizes):
    model = MixtureOfTransformers(sizes, 8, 2, 2)
    assert parameters(sizes, 8, 2) == sum(p.numel() for p in model.parameters())
    assert multiply_adds([10], 9, 8, 2) == multiply_adds([3, 7], 9, 8, 2)
    assert multiply_adds([4, 6], 9, 8, 2) == of_lesson_19(10, 8, 9, 1, 0, 2, 0, 10)


def test_products_are_what_torch_counts():
    """Matrices alone: what attention costs depends on the kernel."""
    found = []
    for sizes in ((9,), (4, 5)):
        model = MixtureOfTransformers(sizes, 8, 2, 2)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.arange(9)[None])
        counts = counter.get_flop_counts()["Global"]
        found.append(sum(n for op, n in counts.items() if "mm" in str(op)))
    attention = 2 * 8 * 9 * 10  # of two layers
    assert found[0] == found[1] == 2 * (multiply_adds([9], 9, 8, 2) - attention)


# -- the recorded runs -----------------------------------------------------------------------------


def test_the_runs_are_complete_and_count_what_they_say():
    runs = lab.data.runs("mixture_of_transformers")["runs"]
    by = {(run["model"], run["seed"]): run for run in runs}
    names = {name for name, _ in by}
    assert {(name, seed) for name in names for seed in range(3)} == set(by)
    sizes = (57, 257)
    for seed in range(3):
        assert by["dense", seed]["weights"] == parameters((314,), 24, 2)
        assert by["mixture", seed]["weights"] == parameters(sizes, 24, 2)
        as_many = by["dense, as many weights", seed]["weights"]
        assert abs(as_many / by["mixture", seed]["weights"] - 1) < 0.05


# -- refused ---------------------------------------------------------------------------------------

TWO = torch.tensor([[0, 1]])
STEPS = torch.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: group_by_modality(TWO, 1), r"modality must lie in \[0, 1\), got 0 to 1"),
        (lambda: group_by_modality(TWO - 1, 2), r"modality must lie in \[0, 2\), got -1 to 0"),
        (lambda: group_by_modality(TWO, 0), "M must be 1 or more, got 0"),
        (lambda: scatter_back([TWO], []), "parts must be one for each of 0 groups, got 1"),
        (lambda: scatter_back([TWO], [TWO[0]]), r"parts\[0\] must have shape \(2, C\)"),
        (
            lambda: scatter_back([TWO.t()], [torch.tensor([0, 5])]),
            "groups must name each of 2 places once",
        ),
        (
            lambda: scatter_back([TWO.t()], [torch.tensor([0, 0])]),
            "groups must name each of 2 places once",
        ),
        (lambda: MixtureLayer(8, 2, 0), "experts must be 1 or more"),
        (lambda: MixtureLayer(8, 3, 2), "heads must divide width"),
        (lambda: MixtureOfTransformers(()), "sizes must name one modality or more"),
        (lambda: MixtureOfTransformers((3, 0)), r"sizes\[1\] must be 1 or more, got 0"),
        (lambda: parameters((3, 0), 8, 1), "sizes must be 1 or more, got 0"),
        (lambda: multiply_adds([3, -1], 5, 8, 1), "counts must be 0 or more"),
        (
            lambda: steps_to_match(torch.tensor([2.0, 1.0]), torch.ones(2), torch.ones(2)),
            "steps must ascend from above 0",
        ),
        (lambda: steps_to_match(*torch.ones(3, 0)), "loss must be finite numbers, one or more"),
        (
            lambda: steps_to_match(STEPS, STEPS.flip(0), torch.tensor([5.0, 1.5, float("nan")])),
            r"rival must be finite numbers, one or more, got \[5.0, 1.5, nan\]",
        ),
        (
            lambda: steps_to_match(STEPS, torch.tensor([float("inf"), 2, 1]), STEPS.flip(0)),
            r"loss must be finite numbers, one or more, got \[inf, 2.0, 1.0\]",
        ),
        (
            lambda: steps_to_match(torch.ones(2), torch.ones(3), torch.ones(2)),
            r"loss must have shape \(2\)",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_model_of_bytes():
    """Without sizes there is no model, so `python -m minilib train` does not offer it."""
    with pytest.raises(TypeError, match="required positional argument: 'sizes'"):
        MixtureOfTransformers()
    assert main(["train", "mixture_of_transformers"]) == 2


def test_a_layer_refuses_what_does_not_fit():
    layer, x, modality, none = layer_and_inputs()
    with pytest.raises(ValueError, match=r"modality must lie in \[0, 3\), got 0 to 3"):
        layer(x, torch.full_like(modality, 3).index_fill(1, torch.tensor([0]), 0), *none)
    with pytest.raises(ValueError, match=r"modality must have shape \(2, 7\)"):
        layer(x, modality[:, :3], *none)
    with pytest.raises(TypeError, match="modality must be int64"):
        layer(x, modality.float(), *none)
