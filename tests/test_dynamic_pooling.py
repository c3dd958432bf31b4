"""Segments that close, who closes them, what leaks, H-Net's parts, the model's stream; refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from minilib import lab
from minilib.dynamic_pooling import (
    SOURCES,
    DynamicPooling,
    binomial_loss,
    entropy_spikes,
    gumbel_sigmoid,
    insert_ends,
    pool,
    ratio_loss,
    route,
    smooth,
    space_ends,
    token_ends,
    unpool,
)
from minilib.hourglass import multiply_adds, run_blocks
from minilib.naive import dynamic_pooling as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def sum_of_the_segment(x, closes, weight):
    return naive.pool(x, closes, weight) * naive.pool(0 * x + 1, closes, weight * 0 + 1) * 2


def unweighted(x, closes, weight):
    return naive.pool(x, closes, 0 * weight + 1)


def last_of_the_segment(x, closes, weight):
    return naive.pool(x, closes, closes * 1.0)


def one_number_for_all_rows(x, closes, weight):
    return naive.pool(x, closes, weight)[:, : closes.sum(1).min()]


def ends_begin_the_next(x, closes, weight):  # the convention of a comment, not of the code
    later = np.concatenate([closes[:, 1:], closes[:, :1] & False], axis=1)
    return naive.pool(x, later, weight)


def draws_are_flipped(logits, u, tau=0.5):
    return naive.gumbel_sigmoid(-logits, u, tau)


def one_gumbel(logits, u, tau=0.5):
    return 1 / (1 + np.exp(-(logits - np.log(-np.log(u))) / tau))


def hard_already(logits, u, tau=0.5):
    return (naive.gumbel_sigmoid(logits, u, tau) > 0.5) * 1.0


def no_ways(b, alpha):  # as if it mattered where the ends are
    return -(np.log(alpha) * b + np.log(1 - alpha) * (1 - b)).mean()


def sum_over_steps(b, alpha):
    return naive.binomial_loss(b, alpha) * b.shape[1]


def compares_with_the_next(x, W_q, W_k):
    return naive.route(x[:, ::-1], W_q, W_k)[:, ::-1]


def matrices_swapped(x, W_q, W_k):
    return naive.route(x, W_k, W_q)


def starts_with_the_first(z, p):
    return naive.smooth(z, np.concatenate([0 * p[:, :1] + 1, p[:, 1:]], axis=1))


def smooths_backwards(z, p):
    return naive.smooth(z[:, ::-1], p[:, ::-1])[:, ::-1]


def the_word_waits_for_its_space(ids):  # closes before it, which only the next byte tells
    return np.concatenate([naive.space_ends(ids)[:, 1:], ids[:, :1] < 0], axis=1)


def blank_alone(ids):
    return ids == 32


def starts_of_tokens(tokens):
    return np.array([i == 0 for token in tokens for i in range(len(token))])


def letters_not_bytes(tokens):
    letters = [token.decode(errors="replace") for token in tokens]
    return np.array([i == len(token) - 1 for token in letters for i in range(len(token))])


MODEL, ROUTE, MIDDLE = (
    naive.dynamic_pooling,
    'if source == "route"',
    '"middle", s, middle, heads, True',
)
WRONG = {
    naive.pool: [
        sum_of_the_segment,
        unweighted,
        last_of_the_segment,
        one_number_for_all_rows,
        ends_begin_the_next,
        *edited(naive.pool, reaches_back=("start, segment = t + 1", "start, segment = t")),
    ],
    naive.unpool: edited(
        naive.unpool,
        the_closing_step_waits=(
            "[row, t] = s[row, segment]",
            "[row, t] = s[row, segment - closes[row, t]]",
        ),
        no_null_vector=("[row, t] = s[row, segment]", "[row, t] = s[row, max(segment - 1, 0)]"),
    ),
    naive.space_ends: [the_word_waits_for_its_space, blank_alone],
    naive.token_ends: [starts_of_tokens, letters_not_bytes],
    naive.entropy_spikes: edited(
        naive.entropy_spikes,
        of_any=("= all(H", "= any(H"),
        equal_too=("H[row, t] > before", "H[row, t] >= before"),
        of_the_last_alone=("max(0, t - k) : t", "max(0, t - 1) : t"),
        of_all_before=("max(0, t - k) : t", "0:t"),
    ),
    naive.gumbel_sigmoid: [draws_are_flipped, one_gumbel, hard_already],
    naive.binomial_loss: [no_ways, sum_over_steps],
    naive.route: [
        compares_with_the_next,
        matrices_swapped,
        *edited(
            naive.route,
            inner_product=(" / np.sqrt(q @ q) / np.sqrt(k @ k)", ""),
        ),
        *edited(
            naive.route, step_0_closes_nothing=("np.ones(x.shape[:2])", "np.zeros(x.shape[:2])")
        ),
    ],
    naive.smooth: [starts_with_the_first, smooths_backwards],
    naive.ratio_loss: edited(
        naive.ratio_loss,
        rate_is_one_minus=("F, G = closes.mean()", "F, G = 1 - closes.mean()"),
        no_factor=("return N / (N - 1) * (", "return 1 * ("),
    ),
    naive.insert_ends: edited(
        naive.insert_ends,
        before_the_step=("[symbol, end] if", "[end, symbol] if"),
        in_its_place=("[symbol, end] if", "[end] if"),
    ),
    MODEL: edited(
        MODEL,
        nothing_to_begin_with=('[params["null"]', '[0 * params["null"]'),
        no_skip=("(h + unpool(s, closes))[0]", "unpool(s, closes)[0]"),
        middle_sees_all=(f"{MIDDLE}, context", f"{MIDDLE}, None"),
        middle_sees_the_future=(f"{MIDDLE}, context", f"{MIDDLE[:-4]}False"),
        router_takes_means=(f"{ROUTE} else np.ones", "if False else np.ones"),
        router_is_not_smoothed=(f"{ROUTE}:\n            s", "if False:\n            s"),
        draws_nothing=('if source == "gumbel" else 0.5', "if False else 0.5"),
    ),
}

# -- segments --------------------------------------------------------------------------------------


def bits(text):
    return torch.tensor([[mark == "1" for mark in row] for row in text.split()])


def column(*values):
    """(1, T, 1) of the values."""
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


ones = lambda closes: torch.ones(closes.shape, dtype=torch.float64)


def test_segments_by_hand():
    x, closes = column(1, 2, 3, 4, 5), bits("01001")
    s = pool(x, closes, ones(closes))
    assert s.flatten().tolist() == [1.5, 4]  # of 1 2 and of 3 4 5
    up = unpool(torch.cat([column(9), s], 1), closes)
    assert up.flatten().tolist() == [9, 1.5, 1.5, 1.5, 4]
    closes = bits("01000")  # 3 4 5 are still open
    assert pool(x, closes, ones(closes)).flatten().tolist() == [1.5]
    weight = torch.tensor([[3.0, 1, 1, 1, 1]]).double()
    assert pool(x, closes, weight).flatten().tolist() == [1.25]  # (3 · 1 + 2) / 4


def test_an_end_at_each_step_is_the_identity_and_none_leaves_the_null_vector():
    x = torch.randn(2, 7, 3).double()
    null = torch.randn(1, 1, 3).double().expand(2, 1, 3)
    every = torch.ones(2, 7, dtype=torch.bool)
    down = pool(x, every, ones(every))
    assert torch.equal(unpool(torch.cat([null, down], 1), every), x)
    assert pool(x, ~every, ones(every)).shape == (2, 0, 3)
    assert torch.equal(unpool(null, ~every), null.expand(2, 7, 3))


def as_the_authors_do(x, closes):
    """Means by a matrix (batch, T, S), which is 1 where a step's number is the segment's."""
    b = closes.to(x)
    number, S = b.cumsum(1) - b, int(b.sum(1).max())
    match = (number[..., None] == torch.arange(S)).to(x)
    return (match / match.sum(1, keepdim=True).clamp(min=1e-9)).transpose(1, 2) @ x


def test_a_matrix_of_who_belongs_where_gives_the_same_means():
    torch.manual_seed(0)
    for rate in (0.1, 0.5, 0.9):
        closes, x = torch.rand(3, 40) < rate, torch.randn(3, 40, 2).double()
        closes[:, -1] = True  # the authors count an open rest where another row has segments
        s = pool(x, closes, ones(closes))
        there = torch.arange(s.shape[1]) < closes.sum(1, keepdim=True)
        torch.testing.assert_close(s[there], as_the_authors_do(x, closes)[there])
        assert (s[~there] == 0).all()


def test_what_a_later_end_would_do_goes_straight_through():
    """ds / dg of a step is (x - s) / n: as far as the mean moves if the step leaves its segment."""
    x, closes = column(1, 2, 6), bits("001")
    b = closes.double().requires_grad_()
    g = b.cumsum(1) - b
    pool(x, closes, 1 + g - g.detach()).sum().backward()
    # an end at step 0 raises g of steps 1 and 2, at step 1 of step 2; (1 2 6) has the mean 3
    assert b.grad[0].tolist() == pytest.approx([(2 - 3) / 3 + (6 - 3) / 3, (6 - 3) / 3, 0])


# -- who decides -----------------------------------------------------------------------------------


def test_ends_by_hand():
    text = b"to be,\tor\nnot"
    ids = torch.tensor([list(text)])
    assert bytes(ids[0, space_ends(ids)[0]].tolist()) == b" \t\n"
    assert token_ends([b"to", b" be", b","]).tolist() == bits("010011")[0].tolist()
    H = torch.tensor([[3.0, 2, 2.5, 4, 4, 5, 1]])
    assert entropy_spikes(H).tolist() == bits("1001010").tolist()  # 2.5 < 3; 4 = 4
    assert entropy_spikes(H, 1).tolist() == bits("1011010").tolist()


def leaks(f, text):
    """The steps whose output moves when a later byte is changed, and the ends with it."""
    ids, moved = torch.tensor([list(text)]), set()
    before = f(ids)
    for t in range(1, len(text)):
        for other in (32, 120):
            changed = ids.clone()
            changed[0, t] = other
            moved |= {i for i in range(t) if not torch.equal(f(changed)[0, i], before[0, i])}
    return moved


def down_and_up(ends):
    def f(ids):
        x, closes = ids[..., None].double(), ends(ids)
        return unpool(torch.cat([column(0), pool(x, closes, ones(closes))], 1), closes)

    return f


def test_the_probe_finds_an_end_that_is_known_too_late():
    text = b"ab cde f ghi"
    early = lambda ids: functional.pad(space_ends(ids)[:, 1:], (0, 1))
    assert leaks(down_and_up(space_ends), text) == set()
    found = leaks(down_and_up(early), text)
    assert found >= {1, 5, 7 - 1}  # the step before each space, and others, where one is put
    # the other convention: a step that opens a segment receives it, closing step and all
    opened = lambda ids: functional.pad(space_ends(ids)[:, :-1], (1, 0))

    def own_segment(ids):
        closes = space_ends(ids)
        s = pool(ids[..., None].double(), closes, ones(closes))
        return unpool(torch.cat([s, 0 * s[:, :1]], 1), opened(ids))

    assert leaks(own_segment, text) >= {0, 1, 3, 4, 5}


def test_gumbel_by_hand():
    half = torch.tensor([0.5])
    assert gumbel_sigmoid(torch.tensor([math.log(3)]), half, 1.0).item() == pytest.approx(0.75)
    # odds 3 times 1/3 are even; odds 3 twice, at temperature ½ squared: 81 to 1
    assert gumbel_sigmoid(torch.tensor([math.log(3)]), half / 2).item() == pytest.approx(0.5)
    assert gumbel_sigmoid(torch.tensor([math.log(3)]), half + 0.25).item() == pytest.approx(81 / 82)
    assert gumbel_sigmoid(torch.zeros(2), torch.tensor([0.0, 1 - 1e-7])).round().tolist() == [0, 1]


def test_the_coin_falls_as_often_as_it_says():
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    for p in (0.01, 0.2, 0.5, 0.9):
        logits = torch.full_like(u, math.log(p / (1 - p)))
        for tau in (0.1, 0.5, 2.0):
            assert (gumbel_sigmoid(logits, u, tau) > 0.5).double().mean() == pytest.approx(p)


def test_the_draws_of_a_test_spread_evenly():
    u = (torch.arange(1, 2001, dtype=torch.float64) * naive.GOLDEN) % 1
    for p in (0.1, 0.2, 0.37):
        above = (u > 1 - p).double()
        for n in (50, 200):
            counts = above.unfold(0, n, 1).sum(1)
            assert (counts - n * p).abs().max() <= 2


def test_the_prior_is_torchs():
    b = (torch.rand(4, 9) < 0.4).double()
    for alpha in (0.2, 0.37):
        prior = torch.distributions.Binomial(9, torch.tensor(alpha, dtype=torch.float64))
        assert binomial_loss(b, alpha).item() == pytest.approx(-prior.log_prob(b.sum(1)).mean() / 9)
    two_of_four = torch.tensor([[1.0, 0, 0, 1]])
    assert binomial_loss(two_of_four, 0.5).item() == pytest.approx(-math.log(6 / 16) / 4)


# -- H-Net -----------------------------------------------------------------------------------------


def test_routes_by_hand():
    x = torch.tensor([[[1.0, 0], [3, 0], [0, 2], [0, -1], [-1, -1]]])
    one = torch.eye(2)
    want = [[1, 0, 0.5, 1, (1 - 0.5**0.5) / 2]]  # first, alike, square, opposite, 45 degrees
    torch.testing.assert_close(route(x, one, one), torch.tensor(want))
    turned = torch.tensor([[0.0, -1], [1, 0]])  # by a quarter: what was square is opposite or alike
    want = [[1, 0.5, 1, 0.5]]
    torch.testing.assert_close(route(x[:, :4], turned, one), torch.tensor(want))
    assert route(0 * x, one, one).tolist() == [[1, 0.5, 0.5, 0.5, 0.5]]


def test_smoothing_by_hand_and_as_a_sum():
    p = torch.tensor([[1, 0.5, 0.5]]).double()
    assert smooth(column(1, 2, 4), p).flatten().tolist() == [1, 1.5, 2.75]
    torch.manual_seed(0)
    z, p = torch.randn(1, 37, 2).double(), torch.rand(1, 37).double()
    j = torch.arange(37)
    left = torch.stack([(1 - p[0, i + 1 :]).cumprod(0) for i in j[:-1]] and [
        torch.cat([torch.zeros(i), torch.ones(1), (1 - p[0, i + 1 :]).cumprod(0)]) for i in j
    ])  # fmt: skip
    torch.testing.assert_close(smooth(z, p)[0], (left * p[0, :, None]).t() @ z[0])


def test_a_sure_segment_forgets_and_an_unsure_one_repeats():
    z = torch.randn(2, 9, 3).double()
    assert torch.equal(smooth(z, torch.ones(2, 9).double()), z)
    p = torch.zeros(2, 9).double()
    p[:, 0] = 1
    assert torch.equal(smooth(z, p), z[:, :1].expand(2, 9, 3))


def test_the_ratio_loss_is_a_saddle_that_pushes_the_right_way():
    half = torch.full((2, 10), 0.2, dtype=torch.float64)
    assert ratio_loss(half, bits("1000010000 0100000001"), 5.0).item() == pytest.approx(1)
    sure = torch.ones(1, 4).double()
    assert ratio_loss(sure, sure == 0, 5.0).item() == 0  # below the 1 of what is wanted
    for closes, sign in (("1111", 1), ("1100", 1), ("1000", 1), ("0000", -1)):
        p = torch.full((1, 4), 0.4, dtype=torch.float64, requires_grad=True)
        ratio_loss(p, bits(closes), 5.0).backward()
        F = bits(closes).double().mean()
        torch.testing.assert_close(p.grad, (5 / 4 * (5 * F - 1) / 4).expand(1, 4))
        assert p.grad[0, 0].sign() == sign


# -- Toucan ----------------------------------------------------------------------------------------


def test_ends_of_tokens_are_put_in_and_taken_out():
    ids, closes = torch.tensor([3, 1, 4, 1, 5]), bits("01001")[0]
    assert insert_ends(ids, closes, 9).tolist() == [3, 1, 9, 4, 1, 5, 9]
    torch.manual_seed(0)
    for rate in (0.0, 0.3, 1.0):
        ids, closes = torch.randint(9, (50,)), torch.rand(50) < rate
        out = insert_ends(ids, closes, 9)
        assert len(out) == 50 + closes.sum()
        assert torch.equal(out[out != 9], ids)


# -- the language model ----------------------------------------------------------------------------

every_source = pytest.mark.parametrize("source", SOURCES)


def shaken(model):
    model = model.double().eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def small(source, **sizes):
    torch.manual_seed(0)
    sizes = dict(before=1, middle=2, after=1, heads=2, context=3) | sizes
    return shaken(DynamicPooling(33, 8, source=source, **sizes))


@every_source
@torch.no_grad()
def test_every_source_streams_causally(source):
    """Rows that close at different steps, caches that slide: pieces give the whole."""
    model, ids = small(source, context=4), torch.randint(28, 33, (3, 40))
    # for "space": no end at first, so that its cache has blanks; one at each step; none in the end
    ids[0, :4], ids[1], ids[2, 3:] = 7, 32, 7
    whole = model(ids)
    for size in (1, 2, 5, 13):
        state, rows = model.init_state(3), []
        for start in range(0, 40, size):
            logits, state = model.extend(ids[:, start : start + size], state)
            rows.append(logits)
        torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=1e-10, atol=1e-10)
    for t in range(40):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 33
        after = model(changed)
        torch.testing.assert_close(after[:, :t], whole[:, :t], rtol=0, atol=DynamicPooling.rounding)
        assert (after[:, t] != whole[:, t]).any(-1).all()


@torch.no_grad()
def test_what_lies_open_is_not_known_above():
    """Without fine layers a step moves itself, and from its segment's end on all that follow."""
    model = small("space", before=0, after=0, context=64)
    ids = torch.tensor([list(b"\x01\x02 \x03\x04\x05 \x06\x07\x08")])
    before = model(ids)
    for t in (3, 4, 5):
        changed = ids.clone()
        changed[0, t] = 9 - 8
        moved = (model(changed) - before).abs().amax(-1)[0] > 1e-9
        assert moved.tolist() == [s == t or s >= 6 for s in range(10)]
    changed = ids.clone()
    changed[0, 7] = 20  # its segment never closes
    assert ((model(changed) - before).abs().amax(-1)[0] > 1e-9).tolist() == [
        s == 7 for s in range(10)
    ]


@every_source
@torch.no_grad()
def test_the_state_stays_bounded(source):
    model = small(source)

    def size(state):
        if isinstance(state, tuple):
            return sum(map(size, state))
        return state.numel() if isinstance(state, Tensor) else 0

    state, sizes = model.init_state(2), []
    for _ in range(60):
        _, state = model.step(torch.randint(28, 33, (2,)), state)
        sizes.append(size(state))
    assert max(sizes) == sizes[10] == sizes[-1]


@every_source
@torch.no_grad()
def test_one_row_of_any_length_equals_the_definition(source):
    model = small(source)
    params = {name: p.numpy() for name, p in model.state_dict().items()}
    sizes = dict(before=1, middle=2, after=1, heads=2, context=3)
    for T in (1, 2, 9, 20):
        ids = torch.randint(28, 33, (1, T))
        want = naive.dynamic_pooling(params, ids.numpy(), source=source, **sizes)
        torch.testing.assert_close(model(ids), torch.tensor(want), rtol=1e-10, atol=1e-10)
        closes, p = model.boundaries(ids)
        assert closes.dtype == torch.bool and torch.equal(closes, p >= 0.5)


@every_source
def test_every_weight_learns(source):
    torch.manual_seed(0)
    model = DynamicPooling(33, 8, heads=2, source=source)
    ids = torch.randint(28, 33, (4, 30))
    model.loss(ids, ids == 30 if source == "supervised" else None).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@torch.no_grad()
def test_the_loss_is_that_of_the_next_symbol_and_of_the_source():
    ids = torch.randint(28, 33, (4, 30))
    for source in SOURCES:
        model = small(source, shorten=3.0)
        logits, targets = model(ids[:, :-1]), ids[:, 1:]
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        closes, p = model.boundaries(ids[:, :-1])
        if source == "supervised":
            ends = ids == 30
            likely = torch.where(ends[:, :-1], p, 1 - p)
            torch.testing.assert_close(model.loss(ids, ends), loss.double() - likely.log().mean())
        elif source == "route":  # straight through: the value is the same
            torch.testing.assert_close(
                model.loss(ids), loss.double() + 0.03 * ratio_loss(p, closes, 3.0)
            )
        elif source == "space":
            torch.testing.assert_close(model.loss(ids), loss)


def test_each_end_hands_on_the_gradient_of_all_later_numbers(monkeypatch):
    """An end at step t raises the number of each later step; dp / dlogit is 2 p (1 - p) at ½."""
    model, ids, seen = small("gumbel"), torch.randint(28, 33, (2, 9)), []

    def watched(x, closes, weight):
        seen.append(weight)
        return pool(x, closes, weight)

    monkeypatch.setattr("minilib.dynamic_pooling.pool", watched)
    _, _, (_, p, _) = model._run(ids, model.init_state(2), learn=True)
    bias = model.predictor[2].bias
    (got,) = torch.autograd.grad(seen[0].sum(), bias)
    later = torch.arange(8, -1, -1)
    torch.testing.assert_close(got[0], (later * 2 * p * (1 - p)).sum().detach())


def test_the_router_is_rewarded_for_being_sure(monkeypatch):
    """What goes up counts as if times p where a segment closes and 1 - p elsewhere."""
    model, ids, seen = small("route", before=0), torch.randint(28, 33, (2, 9)), []

    def watched(blocks, x, *rest):
        seen.append(x)
        return run_blocks(blocks, x, *rest)

    monkeypatch.setattr("minilib.dynamic_pooling.run_blocks", watched)
    monkeypatch.setattr("minilib.dynamic_pooling.unpool", lambda s, c: torch.ones(2, 9, 8).double())
    _, _, (closes, p, _) = model._run(ids, model.init_state(2), learn=True)
    (got,) = torch.autograd.grad(seen[-1].sum(), model.W_q, retain_graph=True)
    (want,) = torch.autograd.grad(8 * torch.where(closes, p, 1 - p).sum(), model.W_q)
    assert closes.any() and not closes.all()
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(seen[-1], functional.embedding(ids, model.embed) + 1)


@torch.no_grad()
def test_gumbel_draws_anew_in_its_loss_alone():
    model, ids = small("gumbel"), torch.randint(28, 33, (4, 30))
    assert model.loss(ids) != model.loss(ids)
    assert torch.equal(model(ids), model(ids))


def test_a_predictor_learns_the_ends_that_it_is_shown():
    """White space is known as it comes; a tokenizer's ends are guessed."""
    torch.manual_seed(0)
    model = DynamicPooling(33, 16, before=1, middle=1, after=0, heads=2, source="supervised")
    batches = lambda step: torch.randint(28, 33, (8, 33))
    loss = lambda model, ids: model.loss(ids, space_ends(ids))
    lab.fit(model, batches, steps=60, lr=1e-2, loss=loss, progress=False)
    ids = torch.randint(28, 33, (4, 60))
    assert (model.boundaries(ids)[0] == space_ends(ids)).double().mean() > 0.99


def test_a_fresh_model_guesses_about_uniformly():
    logits = DynamicPooling(100, 64)(torch.randint(100, (4, 40)))
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.randint(100, (160,)))
    assert abs(loss.item() - math.log(100)) < 0.05 * math.log(100)


# -- cost ------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("k", [2, 4])
def test_the_middle_costs_what_its_segments_cost(k):
    """Third opinion: torch's counter of matrix products; attention, a full square to it, apart."""
    V, C, T, before, middle, after = 33, 8, 24, 1, 2, 1
    model = DynamicPooling(V, C, before, middle, after, 2, context=64)
    ids = torch.full((1, T), 7)
    ids[0, k - 1 :: k] = 32  # T / k segments, and null
    with FlopCounterMode(display=False) as counter:
        model(ids)
    counts = counter.get_flop_counts()["Global"].items()
    matrices = sum(n for name, n in counts if "attention" not in str(name)) / 2
    S = T // k + 1
    scores = C * ((before + after) * T * (T + 1) + middle * S * (S + 1))
    fine = multiply_adds(T, C, V, 1, before, 0, after, 64)
    pooled = multiply_adds(S, C, V, 1, 0, middle, 0, 64) - S * C * V
    rest = (T + 1) * C  # the mean of what is open
    assert matrices + scores == fine + pooled + rest


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words,arguments",
    [
        ("width", {"width": 0}),
        ("middle", {"middle": 0}),
        ("context", {"context": 0}),
        ("before and after must be 0 or more", {"before": -1}),
        ("shorten above 1, got 1, 1 and 1", {"shorten": 1}),
        ("heads", {"heads": 3}),
        ("one of space, gumbel, supervised, route, got 'words'", {"source": "words"}),
    ],
)
def test_bad_sizes_are_named(words, arguments):
    with pytest.raises(ValueError, match=words):
        DynamicPooling(**arguments)


def test_bad_input_is_named():
    x, closes, p = torch.zeros(2, 8, 4), torch.zeros(2, 8, dtype=torch.bool), torch.rand(2, 8)
    ids, model = torch.zeros(2, 8, dtype=torch.int64), DynamicPooling(33, 8, heads=2)
    copies = DynamicPooling(33, 8, heads=2, source="supervised")
    for error, words, call in [
        (TypeError, "closes must be a bool tensor", lambda: pool(x, p, p)),
        (ValueError, "closes must have shape", lambda: pool(x, closes[:, 1:], p)),
        (ValueError, "s must hold a vector for null and each of 8", lambda: unpool(x, ~closes)),
        (ValueError, "closes must have shape", lambda: unpool(x, closes[:1])),
        (ValueError, "tokens must be some", lambda: token_ends([])),
        (ValueError, "tokens must be some", lambda: token_ends([b"a", b""])),
        (ValueError, "H must be", lambda: entropy_spikes(p, 0)),
        (ValueError, "H must be", lambda: entropy_spikes(p[0])),
        (ValueError, "tau must be positive", lambda: gumbel_sigmoid(p, p, 0.0)),
        (ValueError, "u shaped like logits", lambda: gumbel_sigmoid(p, p[:1])),
        (ValueError, "alpha must lie", lambda: binomial_loss(p, 1.0)),
        (ValueError, "p must have shape", lambda: smooth(x, p[:1])),
        (ValueError, "N must be above 1, got 1", lambda: ratio_loss(p, closes, 1)),
        (ValueError, "closes must have shape", lambda: ratio_loss(p, closes[0], 3)),
        (ValueError, "closes must have shape", lambda: insert_ends(ids[0], closes, 3)),
        (ValueError, "ends must be given for supervised", lambda: model.loss(ids, closes)),
        (ValueError, "ends must be given for supervised", lambda: copies.loss(ids)),
    ]:
        with pytest.raises(error, match=words):
            call()
