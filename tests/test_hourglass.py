import math

import pytest
import test_language_models as laws
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import minilib
from minilib.hourglass import (
    Funnel,
    Hourglass,
    expand,
    group,
    multiply_adds,
    select,
    shorten_attention,
    shorten_average,
    shorten_linear,
    up_attention,
    up_linear,
    up_repeat,
    word_ends,
)
from minilib.naive import hourglass as naive

WAYS = [
    (shorten, up)
    for shorten in ("average", "linear", "attention")
    for up in ("repeat", "linear", "attention")
]


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
    # k = 4, shift 3: group j ends with step 4j, the first that hears it
    assert group(steps(9), 4, 3)[0, :, :, 0].tolist() == [[0, 0, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert group(steps(8), 4, 3)[0, :, :, 0].tolist() == [
        [0, 0, 0, 1],
        [2, 3, 4, 5],
    ]  # steps 6, 7, 8 wait for their group's last
    assert group(steps(6), 4, 0)[0, :, :, 0].tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_more_text_changes_no_group(k):
    """Regression of a tempting version, shift, crop to T, pad: its last group lacks steps that a longer text has."""
    whole = group(steps(20), k, k - 1)
    for T in range(1, 20):
        part = group(steps(T), k, k - 1)
        assert torch.equal(part, whole[:, : part.shape[1]])


def test_shortening_and_up_sampling_are_torchs_pooling_and_convolutions():
    """Third opinion: average pooling, a convolution and its transpose with stride k, nearest-neighbour up-sampling."""
    k, C = 3, 4
    x, W, U = (
        torch.randn(2, 12, C).double(),
        torch.randn(C, k * C).double(),
        torch.randn(k * C, C).double(),
    )
    F = torch.nn.functional
    channels_first = x.transpose(1, 2)
    groups = group(x, k, 0)
    torch.testing.assert_close(
        shorten_average(groups), F.avg_pool1d(channels_first, k).transpose(1, 2)
    )
    kernel = W.view(C, k, C).transpose(1, 2)  # (out, in, taps)
    torch.testing.assert_close(
        shorten_linear(groups, W), F.conv1d(channels_first, kernel, stride=k).transpose(1, 2)
    )
    y = torch.randn(2, 4, C).double()
    torch.testing.assert_close(
        up_repeat(y, k, 12), F.interpolate(y.transpose(1, 2), scale_factor=k).transpose(1, 2)
    )
    kernel = U.view(k, C, C).permute(2, 1, 0)  # (in, out, taps)
    torch.testing.assert_close(
        up_linear(y, U, k, 12),
        F.conv_transpose1d(y.transpose(1, 2), kernel, stride=k).transpose(1, 2),
    )


def test_attention_that_scores_nothing_averages():
    """With keys of zero every step of the group weighs the same: attention is the average of the values."""
    C, eye = 4, torch.eye(4).double()
    x = torch.randn(2, 3, 5, C).double()
    out = shorten_attention(x[:, :, 0], x, eye, torch.cat([0 * eye, eye]), eye, heads=2)
    torch.testing.assert_close(out, shorten_average(x))
    y = torch.randn(1, 3, C).double()
    past = (y.new_zeros(1, 2, 0, 2),) * 2
    up, _, _ = up_attention(
        torch.randn(1, 9, C).double(), y, eye, torch.cat([0 * eye, eye]), eye, 2, 3, *past
    )
    for t in range(9):
        torch.testing.assert_close(up[0, t], y[0, : t // 3 + 1].mean(0))  # groups up to its own
    up, key, _ = up_attention(
        torch.randn(1, 9, C).double(), y, eye, torch.cat([0 * eye, eye]), eye, 2, 3, *past, 0, 2
    )
    torch.testing.assert_close(up[0, 8], y[0, 1:].mean(0))
    assert key.shape == (1, 2, 2, 2)


def test_attention_in_a_group_knows_the_order():
    torch.manual_seed(0)
    x, W_q, W_kv, W_out = (
        torch.randn(shape).double() for shape in [(1, 1, 4, 4), (4, 4), (8, 4), (4, 4)]
    )
    query = shorten_average(x)
    assert not torch.allclose(
        shorten_attention(query, x, W_q, W_kv, W_out, 1),
        shorten_attention(query, x.flip(2), W_q, W_kv, W_out, 1),
    )


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
    for T in (12, 13, 15):
        found = leaks(lambda x: up_repeat(shorten_average(group(x, 4, shift)), 4, x.shape[1]), T)
        # the steps that a group shares with its first listener's future; those of a last group that is not there yet tell nobody
        assert {t % 4 for t in found} == residues
        assert found == {t for t in range(T) if t % 4 in residues and (t + shift) // 4 * 4 < t}


class Leaky(Hourglass):
    """Hourglass with any shift: groups take their steps from further right; more text is read than is asked for, so that there are some."""

    shift = 0

    def forward(self, ids):
        T = ids.shape[1]
        return super().forward(torch.nn.functional.pad(ids, (0, self.k + -T % self.k)))[:, :T]

    def _shortened(self, groups):
        steps = groups.flatten(1, 2)[:, self.k - 1 - self.shift :]
        return super()._shortened(
            torch.nn.functional.pad(steps, (0, 0, 0, self.k - 1 - self.shift)).view_as(groups)
        )


@pytest.mark.parametrize(
    "number,k", [(1, 4), (2, 3), (3, 2), (4, 4)]
)  # of the model's cases: all ways down and up
def test_the_law_of_causality_catches_every_smaller_shift(monkeypatch, number, k):
    monkeypatch.setitem(laws.DECLARED, Leaky, laws.DECLARED[Hourglass])
    for shift in range(k - 1):
        monkeypatch.setattr(Leaky, "shift", shift)
        with pytest.raises(AssertionError, match="the symbol at 1 leaks into the past"):
            laws.test_causality(Leaky, number)
        with pytest.raises(AssertionError):
            laws.test_step_equals_forward(Leaky, number)
        assert not minilib.check(Leaky, like=Hourglass)
    monkeypatch.setattr(Leaky, "shift", k - 1)
    laws.test_causality(Leaky, number)


# -- the language model ----------------------------------------------------------------------------


@pytest.mark.parametrize("shorten,up", WAYS)
@torch.no_grad()
def test_every_way_streams_causally(shorten, up):
    """Laws for all nine combinations, with caches that slide: pieces of any size give the whole, the past does not move."""
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
    for T in (1, 3, 4, 5):
        ids = torch.randint(5, (1, T))
        want = naive.hourglass(
            params,
            ids.numpy(),
            k=4,
            before=1,
            middle=1,
            after=1,
            heads=1,
            context=8,
            shorten="average",
            up="repeat",
        )
        torch.testing.assert_close(model(ids).detach(), torch.tensor(want), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_step_reaches_the_future_through_the_middle_only_as_groups_close():
    """Without fine layers, step t is heard by itself and by groups that hold it: k = 4, so from the next multiple of 4 on."""
    model = shaken(Hourglass(7, 8, 4, 0, 1, 0, 1, context=8))
    ids = torch.randint(7, (1, 16))
    before = model(ids)
    for t in (4, 5, 6, 7):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 7
        moved = (model(changed) != before).any(-1)[0]
        heard_from = -(-t // 4) * 4
        assert moved.tolist() == [s == t or s >= heard_from for s in range(16)]


@torch.no_grad()
def test_a_state_of_another_place_is_refused():
    model = Hourglass(7, 8, 3, 1, 1, 1, 2, context=4)
    _, (position, *rest) = model.extend(torch.zeros(2, 5, dtype=torch.int64), model.init_state(2))
    for state, rows in [((4, *rest), 2), ((6, *rest), 2), ((position, *rest), 1)]:
        with pytest.raises(
            ValueError, match=r"state must be this model's after|past_k must have shape"
        ):
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


@pytest.mark.parametrize("shorten,up", WAYS)
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
    """Third opinion: torch's counter of matrix products. Attention it counts as a full square, so that is set apart."""
    V, C, before, middle, after = 11, 8, 1, 2, 1
    model = Hourglass(V, C, k, before, middle, after, 2, context=64)
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(V, (1, T)))
    matrices = (
        sum(
            n
            for name, n in counter.get_flop_counts()["Global"].items()
            if "attention" not in str(name)
        )
        / 2
    )
    G = -(-T // k)
    scores = C * ((before + after) * T * (T + 1) + middle * G * (G + 1))
    assert matrices + scores == multiply_adds(T, C, V, k, before, middle, after, 64)


def test_multiply_adds_by_hand():
    # one layer, two steps, C = 1: 12 each for the matrices, 2 and 4 for one and two seen keys, V = 3 for each output
    assert multiply_adds(2, 1, 3, 1, 0, 1, 0, 9) == 2 * 12 + 2 + 4 + 2 * 3
    assert multiply_adds(2, 1, 3, 1, 0, 1, 0, 1) == 2 * 12 + 2 + 2 + 2 * 3


# -- Funnel ----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("T", [1, 2, 3, 6, 7])
def test_funnel_pools_all_but_the_first(T):
    """Third opinion: with nothing heard and blocks that add nothing, [CLS] stays and the rest is torch's average pooling."""
    model = shaken(Funnel(5, 8, 1, 2, 2))
    model.pools[0].out.zero_()
    x = torch.randn(3, 1 + T, 8).double()
    pooled = model._pooled(x, model.pools[0])
    assert torch.equal(pooled[:, 0], x[:, 0])
    want = torch.nn.functional.avg_pool1d(x[:, 1:].transpose(1, 2), 2, ceil_mode=True)
    torch.testing.assert_close(pooled[:, 1:], want.transpose(1, 2))


@torch.no_grad()
def test_funnel_sees_every_symbol_and_their_order():
    model = shaken(Funnel(5, 8, 1, 3, 2))
    ids = torch.randint(5, (1, 9))
    vector = model(ids)
    assert vector.shape == (1, 8)
    for t in range(9):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % 5
        assert not torch.allclose(model(changed), vector)
    assert not torch.allclose(model(ids.flip(1)), vector) or torch.equal(ids, ids.flip(1))


def test_funnel_rows_do_not_mix():
    model, ids = shaken(Funnel(5, 8, 1, 2, 2)), torch.randint(5, (4, 6))
    torch.testing.assert_close(model(ids)[2:3], model(ids[2:3]))


# -- AU-Net ----------------------------------------------------------------------------------------


def marked(text):
    ids = torch.tensor([list(text.encode())])
    return "".join(
        letter + "|" * end for letter, end in zip(text, word_ends(ids)[0].tolist(), strict=True)
    )


def test_word_ends_by_hand():
    assert marked("To be, or not") == "To |be,| or |not"
    assert marked("don't  stop\n\nnow ") == "don't | stop\n|\nnow |"


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=10))
def test_more_text_moves_no_end(text, more):
    ends = lambda data: word_ends(torch.tensor([list(data)]))[0].tolist()
    assert ends(text + more)[: len(text)] == ends(text)


@given(st.text(min_size=1, max_size=30))
def test_no_character_is_split(text):
    data = text.encode()
    for t, end in enumerate(word_ends(torch.tensor([list(data)]))[0].tolist()):
        if end:
            data[: t + 1].decode()


def test_select_then_expand_by_hand():
    ends = torch.tensor([[False, True, False, False, True], [False, False, False, True, False]])
    x = torch.arange(10.0).view(2, 5, 1)
    y = select(x, ends)
    assert y[..., 0].tolist() == [[1, 4], [8, 0]]
    # shared 1, own 0 at the end and 10 one step later, which comes round again after two
    out = expand(y, ends, torch.ones(1, 1), torch.tensor([0.0, 10.0]).view(2, 1, 1))
    assert out[..., 0].tolist() == [[0, 1, 11, 1, 4], [0, 0, 0, 8, 88]]


def test_words_pool_without_a_leak():
    """The ends are recomputed from the changed text: no unit may move what came before."""
    text = torch.tensor([list(b"To be, or not to be: that is")])
    table = torch.randn(256, 4).double()
    shared, own = torch.randn(4, 4).double(), torch.randn(3, 4, 4).double()

    def f(ids):
        ends = word_ends(ids)
        return expand(select(table[ids].cumsum(1), ends), ends, shared, own)

    before = f(text)
    for t in range(text.shape[1]):
        for byte in (32, 97, 200):
            changed = text.clone()
            changed[:, t] = byte
            torch.testing.assert_close(f(changed)[:, :t], before[:, :t], rtol=1e-12, atol=1e-12)


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
    with pytest.raises(
        ValueError, match="shorten must be one of average, linear, attention, got 'mean'"
    ):
        Hourglass(shorten="mean")
    with pytest.raises(
        ValueError, match="up must be one of repeat, linear, attention, got 'average'"
    ):
        Hourglass(up="average")
    with pytest.raises(ValueError, match="levels"):
        Funnel(levels=0)


def test_bad_shapes_are_named():
    x, y, W = torch.zeros(2, 8, 4), torch.zeros(2, 2, 4), torch.zeros(4, 4)
    past = (torch.zeros(2, 1, 0, 4),) * 2
    for match, call in [
        ("x must have shape", lambda: group(x[0], 2, 0)),
        ("shift lie in", lambda: group(x, 4, 4)),
        ("k must be 1 or more", lambda: group(x, 0, 0)),
        ("groups must have shape", lambda: shorten_average(x)),
        ("W must have shape", lambda: shorten_linear(group(x, 4, 3), W)),
        (
            "query must have shape",
            lambda: shorten_attention(x, group(x, 4, 3), W, torch.zeros(8, 4), W, 1),
        ),
        ("y must have a group for each", lambda: up_repeat(y, 4, 9)),
        ("y must have a group for each", lambda: up_repeat(y, 4, 6, phase=4)),
        ("W must have shape", lambda: up_linear(y, W, 4, 8)),
        (
            "y must have shape",
            lambda: up_attention(x, y[:, 1:], W, torch.zeros(8, 4), W, 1, 4, *past),
        ),
        (
            "past_k and past_v must have shape",
            lambda: up_attention(x, y, W, torch.zeros(8, 4), W, 1, 4, *past, position=4),
        ),
        ("groups must have shape", lambda: shorten_attention(y, y, W, torch.zeros(8, 4), W, 1)),
        (
            "heads must divide the 4 channels",
            lambda: shorten_attention(y, group(x, 4, 3), W, torch.zeros(8, 4), W, 3),
        ),
        ("W_kv must have shape", lambda: shorten_attention(y, group(x, 4, 3), W, W, W, 1)),
        ("x must have shape", lambda: up_attention(x[0], y, W, torch.zeros(8, 4), W, 1, 4, *past)),
        (
            "heads must divide the 4 channels",
            lambda: up_attention(x, y, W, torch.zeros(8, 4), W, 0, 4, *past),
        ),
        (
            "W_out must have shape",
            lambda: up_attention(x, y, W, torch.zeros(8, 4), torch.zeros(4, 5), 1, 4, *past),
        ),
        ("context must be 1 or more", lambda: multiply_adds(0, 4, 4, 1, 0, 1, 0, 4)),
        ("ends must have shape", lambda: select(x, torch.zeros(2, 7, dtype=torch.bool))),
        (
            "y must have a unit for each end",
            lambda: expand(y, torch.ones(2, 8, dtype=torch.bool), W, W[None]),
        ),
        ("ids must lie in", lambda: word_ends(torch.tensor([[256]]))),
        (
            "ids must have shape",
            lambda: Funnel(5, 8, heads=2)(torch.zeros(2, 0, dtype=torch.int64)),
        ),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match="ends must be a bool tensor"):
        select(x, torch.zeros(2, 8))
