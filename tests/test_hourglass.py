"""The hourglass: groups, the shift that leaks nothing, streaming in every way, cost; refusals."""

import itertools
import math

import numpy as np
import pytest
import test_models
import torch
from mutants import edited
from torch.utils.flop_counter import FlopCounterMode

import minilib
from minilib import laws
from minilib.hourglass import (
    WAYS,
    Hourglass,
    group,
    multiply_adds,
    shorten_average,
    shorten_linear,
    up_linear,
    up_repeat,
)
from minilib.naive import hourglass as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def to_the_left(x, k, shift):
    return naive.group(np.concatenate([x, 0 * x[:, :shift]], 1)[:, shift:], k, 0)


def cropped(x, k, shift):  # shift, crop to T, pad: the last steps of some texts are lost
    return naive.group(np.concatenate([0 * x[:, :1]] * shift + [x], 1)[:, : x.shape[1]], k, 0)


def no_partial_group(x, k, shift):
    return naive.group(x, k, shift)[:, : x.shape[1] // k]


def axes_swapped(x, k, shift):  # neighbours in different groups
    groups = naive.group(x, k, shift)
    return groups.swapaxes(1, 2).reshape(groups.shape)


def mean_of_channels(groups):
    return groups.mean(3)


def mean_of_what_is_there(groups):  # padding takes part in the definition's
    there = (groups != 0).any(3, keepdims=True)
    return groups.sum(2) / np.maximum(there.sum(2), 1)


def sum_of_the_group(groups):
    return groups.sum(2)


def last_of_the_group(groups):
    return groups[:, :, -1]


def W_transposed(groups, W):
    return groups.reshape(*groups.shape[:2], -1) @ W.reshape(W.shape[::-1])


def channel_by_channel(groups, W):  # x_1 of all places first, then x_2
    return groups.swapaxes(2, 3).reshape(*groups.shape[:2], -1) @ W.T


def places_backwards(groups, W):
    return naive.shorten_linear(groups[:, :, ::-1], W)


def one_matrix_for_all_places(groups, W):
    return naive.shorten_average(groups) @ W[:, : len(W)].T


WRONG = {
    naive.group: [
        *edited(naive.group, first_step_left_out=("if 0 <= j * k", "if 0 < j * k")),
        to_the_left,
        cropped,
        no_partial_group,
        axes_swapped,
    ],
    naive.shorten_average: [
        mean_of_channels,
        mean_of_what_is_there,
        sum_of_the_group,
        last_of_the_group,
    ],
    naive.shorten_linear: [
        W_transposed,
        channel_by_channel,
        places_backwards,
        one_matrix_for_all_places,
    ],
    naive.up_repeat: edited(
        naive.up_repeat,
        all_groups_in_turn=("y[:, (t + phase) // k]", "y[:, (t + phase) % y.shape[1]]"),
        phase_left_out=("y[:, (t + phase) // k]", "y[:, t // k]"),
        phase_subtracted=("y[:, (t + phase) // k]", "y[:, max(t - phase, 0) // k]"),
        one_group_late=("y[:, (t + phase) // k]", "y[:, max((t + phase) // k - 1, 0)]"),
    ),
    naive.up_linear: edited(
        naive.up_linear,
        phase_left_out=("divmod(t + phase, k)", "divmod(t, k)"),
        place_without_phase=("divmod(t + phase, k)", "(t + phase) // k, t % k"),
        places_backwards=("divmod(t + phase, k)", "(t + phase) // k, k - 1 - (t + phase) % k"),
        rows_of_a_place_apart=("y[:, j] @ W[i * C : (i + 1) * C]", "y[:, j] @ W[i::k]"),
        W_transposed=("j] @ W[i * C : (i + 1) * C].T", "j] @ W[i * C : (i + 1) * C]"),
    ),
    naive.hourglass: edited(
        naive.hourglass,
        shift_left_out=("group(x, k, k - 1)", "group(x, k, 0)"),
        shift_one_short=("group(x, k, k - 1)", "group(x, k, max(k - 2, 0))"),
        no_skip=("x = x + (up_repeat", "x = (up_repeat"),
        middle_sees_all_groups=("y, middle, heads, True, context", "y, middle, heads, True"),
        middle_not_causal=("y, middle, heads, True", "y, middle, heads, False"),
        context_in_steps_for_groups=(
            "y, middle, heads, True, context",
            "y, middle, heads, True, max(context // k, 1)",
        ),
        attention_without_the_average=("y = y + shorten_attention", "y = shorten_attention"),
        groups_not_normed=('normed(G, "norm_kv", groups)', "groups"),
        no_last_norm=('normed(P, "norm", x) @', "x @"),
    ),
    naive.multiply_adds: edited(
        naive.multiply_adds,
        groups_rounded_down=("(middle, math.ceil(T / k))", "(middle, T // k)"),
        context_forgotten=("min(t + 1, context)", "(t + 1)"),
        own_step_not_seen=("min(t + 1, context)", "min(t, context)"),
        scores_without_the_sum=("2 * C * min", "C * min"),
        middle_on_every_step=("(middle, math.ceil(T / k))", "(middle, T)"),
        no_logits=("total + T * C * V", "total"),
        no_projection=("12 * C * C", "11 * C * C"),
    ),
}

every_way = pytest.mark.parametrize(
    "shorten,up", list(itertools.product(WAYS["shorten"], WAYS["up"]))
)


def steps(T):
    """1, 2, … T as (1, T, 1), so that 0 is nobody's."""
    return torch.arange(1, T + 1, dtype=torch.float64).view(1, T, 1)


def shaken(model):
    """In float64, off the initial values, which may be 0 or 1."""
    torch.manual_seed(1)
    for p in model.double().parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model.eval()


# -- groups ----------------------------------------------------------------------------------------


def test_groups_by_hand():
    rows = lambda *arguments: group(*arguments)[0, :, :, 0].tolist()
    # k = 4, shift 3: group j ends with step 4j, the first that gets its vector
    assert rows(steps(9), 4, 3) == [[0, 0, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
    # steps 6, 7, 8 wait for the last one of their group
    assert rows(steps(8), 4, 3) == [[0, 0, 0, 1], [2, 3, 4, 5]]
    assert rows(steps(6), 4, 0) == [[1, 2, 3, 4], [5, 6, 0, 0]]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_more_text_changes_no_group(k):
    """Regression of a tempting version, shift, crop to T, pad: its last group lacks steps."""
    whole = group(steps(20), k, k - 1)
    for T in range(1, 20):
        part = group(steps(T), k, k - 1)
        assert torch.equal(part, whole[:, : part.shape[1]])


def test_shortening_and_up_sampling_are_torchs_pooling_and_convolutions():
    """Third opinion: average pooling, strided convolution and its transpose, nearest neighbours."""
    F, k, C = torch.nn.functional, 3, 4
    shapes = (2, 12, C), (2, 4, C), (C, k * C), (k * C, C)
    x, y, W, U = (torch.randn(shape).double() for shape in shapes)
    groups, down, up = group(x, k, 0), x.transpose(1, 2), y.transpose(1, 2)  # channels first
    same = lambda ours, theirs: torch.testing.assert_close(ours, theirs.transpose(1, 2))
    same(shorten_average(groups), F.avg_pool1d(down, k))
    kernel = W.view(C, k, C).transpose(1, 2)  # (out, in, taps)
    same(shorten_linear(groups, W), F.conv1d(down, kernel, stride=k))
    same(up_repeat(y, k, 12), F.interpolate(up, scale_factor=k))
    kernel = U.view(k, C, C).permute(2, 1, 0)  # (in, out, taps)
    same(up_linear(y, U, k, 12), F.conv_transpose1d(up, kernel, stride=k))


# -- the shift -------------------------------------------------------------------------------------


def leaks(f, T):
    """The steps whose change moves an earlier output of f: (1, T, 1) -> (1, T, C)."""
    x, before = steps(T), f(steps(T))
    found = set()
    for t in range(T):
        changed = x.clone()
        changed[:, t] += 1
        if not torch.equal(f(changed)[:, :t], before[:, :t]):
            found.add(t)
    return found


@pytest.mark.parametrize("shift,residues", [(3, set()), (2, {1}), (1, {1, 2}), (0, {1, 2, 3})])
def test_the_leak_is_exactly_where_the_shift_is_too_small(shift, residues):
    down_and_up = lambda x: up_repeat(shorten_average(group(x, 4, shift)), 4, x.shape[1])
    for T in (12, 13, 15):
        found = leaks(down_and_up, T)
        assert {t % 4 for t in found} == residues
        # a step leaks if its group is used before it, unless that group is not there yet
        assert found == {t for t in range(T) if t % 4 in residues and (t + shift) // 4 * 4 < t}


class Leaky(Hourglass):
    """Hourglass with any shift: groups take their steps from further right.

    More text is read than is asked for, so that there are such steps.
    """

    shift = 0

    def forward(self, ids):
        T = ids.shape[1]
        return super().forward(torch.nn.functional.pad(ids, (0, self.k + -T % self.k)))[:, :T]

    def shortened(self, groups):
        early = self.k - 1 - self.shift
        steps = torch.nn.functional.pad(groups.flatten(1, 2)[:, early:], (0, 0, 0, early))
        return super().shortened(steps.view_as(groups))


# cases of the model with all ways down and up
@pytest.mark.parametrize("number,k", [(1, 4), (2, 3), (3, 2), (4, 4)])
@torch.no_grad()
def test_the_law_of_causality_catches_every_smaller_shift(monkeypatch, number, k):
    monkeypatch.setitem(test_models.DECLARED, Leaky, test_models.DECLARED[Hourglass])
    for shift in range(k - 1):
        monkeypatch.setattr(Leaky, "shift", shift)
        with pytest.raises(ValueError, match="the symbol at 1 changes logits before it"):
            laws.causality(*test_models.build(Leaky, number))
        with pytest.raises(ValueError, match="step by step, logits are not those of forward"):
            laws.step_is_forward(*test_models.build(Leaky, number))
        assert not minilib.check(Leaky, like=Hourglass)
    monkeypatch.setattr(Leaky, "shift", k - 1)
    laws.causality(*test_models.build(Leaky, number))


# -- the language model ----------------------------------------------------------------------------


@every_way
@torch.no_grad()
def test_every_way_streams_causally(shorten, up):
    """Laws for all nine ways, with caches that slide: pieces give the whole, the past stays."""
    k, T = 3, 20
    model = shaken(Hourglass(7, 8, k, 1, 2, 1, 2, context=3, shorten=shorten, up=up))
    ids = torch.randint(7, (2, T))
    whole = model(ids)
    for size in (1, 2, 4, 7):
        state, rows = model.init_state(2), []
        for start in range(0, T, size):
            logits, state = model.extend(ids[:, start : start + size], state)
            rows.append(logits)
        torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=1e-10, atol=1e-10)
    for t in range(1, 3 * k + 2):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 7
        after = model(changed)
        assert torch.equal(after[:, :t], whole[:, :t])
        assert not torch.equal(after[:, t], whole[:, t])


def test_lengths_around_a_group_equal_the_definition():
    model = shaken(Hourglass(5, 4, 4, 1, 1, 1, 1, context=8))
    params = {name: p.numpy() for name, p in model.state_dict().items()}
    sizes = dict(k=4, before=1, middle=1, after=1, heads=1, context=8)
    for T in (1, 3, 4, 5):
        ids = torch.randint(5, (1, T))
        want = naive.hourglass(params, ids.numpy(), shorten="average", up="repeat", **sizes)
        torch.testing.assert_close(model(ids).detach(), torch.tensor(want), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_step_reaches_the_future_through_the_middle_only_as_groups_close():
    """Without fine layers, step t reaches itself, and all from the next multiple of k = 4 on."""
    model = shaken(Hourglass(7, 8, 4, 0, 1, 0, 1, context=8))
    ids = torch.randint(7, (1, 16))
    before = model(ids)
    for t in (4, 5, 6, 7):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 7
        moved = (model(changed) != before).any(-1)[0]
        closed = math.ceil(t / 4) * 4
        assert moved.tolist() == [s == t or s >= closed for s in range(16)]


@torch.no_grad()
def test_a_state_of_another_place_is_refused():
    model = Hourglass(7, 8, 3, 1, 1, 1, 2, context=4)
    _, state = model.extend(torch.zeros(2, 5, dtype=torch.int64), model.init_state(2))
    for position, rows in [(4, 2), (6, 2), (5, 1)]:
        with pytest.raises(
            ValueError, match=f"state must be this model's after {position} symbols"
        ):
            state = state._replace(position=position)
            model.extend(torch.zeros(rows, 2, dtype=torch.int64), state)


@torch.no_grad()
def test_the_state_stays_bounded():
    """Caches hold `context` steps or groups, the open group at most k - 1 and its past."""
    model = Hourglass(7, 8, 3, 1, 2, 1, 2, context=5, up="attention")
    size = lambda state: sum(
        size(s) if isinstance(s, tuple) else s.numel() if isinstance(s, torch.Tensor) else 0
        for s in state
    )
    state, sizes = model.init_state(1), []
    for _ in range(60):
        _, state = model.step(torch.zeros(1, dtype=torch.int64), state)
        sizes.append(size(state))
    assert max(sizes) == max(sizes[15:18]) == max(sizes[-3:])


@every_way
def test_every_weight_learns(shorten, up):
    model = Hourglass(7, 8, 3, 1, 1, 1, 2, shorten=shorten, up=up)
    model(torch.randint(7, (2, 9))).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_a_fresh_model_guesses_about_uniformly():
    logits = Hourglass(100, 64)(torch.randint(100, (4, 40)))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(100, (160,)))
    assert abs(loss.item() - math.log(100)) < 0.05 * math.log(100)


# -- cost ------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("T,k", [(12, 3), (13, 3), (7, 4)])
def test_multiply_adds_are_what_torch_counts(T, k):
    """Third opinion: torch's counter of matrix products; attention, a full square to it, apart."""
    V, C, before, middle, after = 11, 8, 1, 2, 1
    model = Hourglass(V, C, k, before, middle, after, 2, context=64)
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(V, (1, T)))
    counts = counter.get_flop_counts()["Global"].items()
    matrices = sum(n for name, n in counts if "attention" not in str(name)) / 2
    G = math.ceil(T / k)
    scores = C * ((before + after) * T * (T + 1) + middle * G * (G + 1))
    assert matrices + scores == multiply_adds(T, C, V, k, before, middle, after, 64)


def test_multiply_adds_by_hand():
    # one layer, two steps, C = 1: 12 each for the matrices, 2 and 4 for one and two keys, V = 3
    assert multiply_adds(2, 1, 3, 1, 0, 1, 0, 9) == 2 * 12 + 2 + 4 + 2 * 3
    assert multiply_adds(2, 1, 3, 1, 0, 1, 0, 1) == 2 * 12 + 2 + 2 + 2 * 3


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,arguments",
    [
        ("width", {"width": 0}),
        ("k", {"k": 0}),
        ("middle", {"middle": 0}),
        ("before", {"before": -1}),
        ("context", {"context": 0}),
        ("heads", {"heads": 3}),
        ("heads", {"heads": 0}),
    ],
)
def test_bad_sizes_are_named(name, arguments):
    with pytest.raises(ValueError, match=name):
        Hourglass(**arguments)


def test_bad_ways_are_named():
    words = "shorten must be one of average, linear, attention, got 'mean'"
    with pytest.raises(ValueError, match=words):
        Hourglass(shorten="mean")
    words = "up must be one of repeat, linear, attention, got 'average'"
    with pytest.raises(ValueError, match=words):
        Hourglass(up="average")


def test_bad_shapes_are_named():
    x, y, W = torch.zeros(2, 8, 4), torch.zeros(2, 2, 4), torch.zeros(4, 4)
    for match, call in [
        ("x must have shape", lambda: group(x[0], 2, 0)),
        ("shift lie in", lambda: group(x, 4, 4)),
        ("k must be 1 or more", lambda: group(x, 0, 0)),
        ("groups must have shape", lambda: shorten_average(x)),
        ("W must have shape", lambda: shorten_linear(group(x, 4, 3), W)),
        ("y must have a group for each", lambda: up_repeat(y, 4, 9)),
        ("y must have a group for each", lambda: up_repeat(y, 4, 6, phase=4)),
        ("W must have shape", lambda: up_linear(y, W, 4, 8)),
        ("T must be 1 or more, got 0", lambda: multiply_adds(0, 4, 4, 1, 0, 1, 0, 4)),
        ("context must be 1 or more", lambda: multiply_adds(1, 4, 4, 1, 0, 1, 0, 0)),
        ("before must be 0 or more", lambda: multiply_adds(1, 4, 4, 1, -1, 1, 0, 4)),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
