"""Linear recurrences: by hand, by five roads, where careless tricks overflow, and refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.naive import scan as naive
from minilib.scan import _Scan, scan, segsum, ssd

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def from_nothing(a, b, h):
    return naive.scan(a, b, 0 * h)


def states_before_each_step(a, b, h):
    return np.concatenate([h[:, None], naive.scan(a, b, h)[:, :-1]], axis=1)


def decays_what_has_just_come(a, b, h):
    return naive.scan(a, a * b, h)


def decay_of_the_step_before(a, b, h):
    return naive.scan(np.roll(a, 1, axis=1), b, h)


def by_dividing(a, b, h):
    left = a.cumprod(1)
    return left * (h[:, None] + (b / left).cumsum(1))


def carry_lost_between_chunks(a, b, h):
    chunks = [slice(start, start + 4) for start in range(0, b.shape[1], 4)]
    return np.concatenate([naive.scan(a[:, c], b[:, c], h) for c in chunks], axis=1)


def state_detached(a, b, h):
    rows = []
    for t in range(b.shape[1]):
        rows.append(a[:, t] * h + b[:, t])
        h = rows[-1].detach()
    return torch.stack(rows, 1)


class _Real(_Scan):
    """The backward pass of real numbers: conjugates nowhere."""

    @staticmethod
    def backward(ctx, d):
        return tuple(g.conj_physical() for g in _Scan.backward(ctx, d.conj()))


def gradient_without_conjugates(a, b, h):
    return _Real.apply(*map(torch.as_tensor, (a, b, h)))


def the_step_of_the_column_too(log_a):
    return naive.segsum(log_a) + log_a


def zeros_above_the_diagonal(log_a):
    return np.tril(np.where(np.tri(len(log_a)) > 0, naive.segsum(log_a), 0))


def rows_for_columns(log_a):
    return naive.segsum(log_a).T


def difference_of_running_sums(log_a):
    total = log_a.cumsum()
    return np.where(np.tri(len(log_a)) > 0, total[:, None] - total, -np.inf)


def ssd_from_nothing(x, log_a, B, C, S):
    return naive.ssd(x, log_a, B, C, 0 * S)


def last_state_without_the_first(x, log_a, B, C, S):
    return naive.ssd(x, log_a, B, C, S)[0], naive.ssd(x, log_a, B, C, 0 * S)[1]


def reads_with_B_and_writes_with_C(x, log_a, B, C, S):
    return naive.ssd(x, log_a, C, B, S)


def reads_before_it_writes(x, log_a, B, C, S):
    y, S = naive.ssd(x, log_a, B, C, S)
    return y - (B * C).sum(-1)[..., None, None] * x, S


def decays_what_it_has_just_written(x, log_a, B, C, S):
    return naive.ssd(x * np.exp(log_a)[..., None], log_a, B, C, S)


def one_decay_for_all_heads(x, log_a, B, C, S):
    return naive.ssd(x, np.broadcast_to(log_a[..., :1], log_a.shape), B, C, S)


def ssd_carry_lost_between_chunks(x, log_a, B, C, S):
    chunks = [slice(start, start + 64) for start in range(0, x.shape[1], 64)]
    done = [naive.ssd(x[:, c], log_a[:, c], B[:, c], C[:, c], S) for c in chunks]
    return np.concatenate([y for y, _ in done], axis=1), done[-1][1]


WRONG = {
    naive.scan: [
        from_nothing,
        states_before_each_step,
        decays_what_has_just_come,
        decay_of_the_step_before,
        by_dividing,
        carry_lost_between_chunks,
        state_detached,
        gradient_without_conjugates,
    ],
    naive.segsum: [
        the_step_of_the_column_too,
        zeros_above_the_diagonal,
        rows_for_columns,
        difference_of_running_sums,
    ],
    naive.ssd: [
        ssd_from_nothing,
        last_state_without_the_first,
        reads_with_B_and_writes_with_C,
        reads_before_it_writes,
        decays_what_it_has_just_written,
        one_decay_for_all_heads,
        ssd_carry_lost_between_chunks,
    ],
}


# -- tests -----------------------------------------------------------------------------------------


ROADS = {
    "sequential": naive.scan_sequential,
    "Hillis-Steele": naive.scan_hillis_steele,
    "Blelloch": naive.scan_blelloch,
    "chunked, 1": lambda a, b: naive.scan_chunked(a, b, 1),
    "chunked, 4": lambda a, b: naive.scan_chunked(a, b, 4),
    "chunked, longer than the text": lambda a, b: naive.scan_chunked(a, b, 10_000),
}


def column(*x):
    return torch.tensor(x, dtype=torch.float64)[None]


def test_three_steps_by_hand():
    # 1 -> 2·1 + 1 = 3 -> 0·3 + 5 = 5 -> 0.5·5 + 1 = 3.5
    out = scan(column(2, 0, 0.5), column(1, 5, 1), torch.ones(1, dtype=torch.float64))
    assert out.tolist() == [[3, 5, 3.5]]


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("L", [1, 2, 3, 7, 64, 100, 257])
def test_every_road_leads_to_the_same_states(road, L):
    rng = np.random.default_rng(L)
    a, b = rng.uniform(0, 1.1, size=L), rng.normal(size=L)
    h, _, _ = ROADS[road](a, b)
    wanted = naive.scan(a[None], b[None], np.zeros(1))[0]
    np.testing.assert_allclose(h, wanted, rtol=1e-12, atol=1e-12)


def test_combination_is_associative_and_order_matters():
    f, g, h = (2.0, 1.0), (3.0, -1.0), (0.5, 4.0)
    assert (
        naive.combine(naive.combine(f, g), h) == naive.combine(f, naive.combine(g, h)) == (3.0, 5.0)
    )
    assert naive.combine(f, g) != naive.combine(g, f)


@pytest.mark.parametrize("m", [1, 3, 6])
def test_work_and_depth_are_those_of_the_formulas(m):
    L = 2**m
    a, b = np.full(L, 0.5), np.ones(L)
    count = lambda road: road(a, b)[1:]
    assert count(naive.scan_sequential) == (L - 1, L - 1)
    assert count(naive.scan_hillis_steele) == (sum(L - 2**k for k in range(m)), m)
    assert count(naive.scan_blelloch) == (2 * (L - 1) + L, 2 * m + 1)


class Span:
    """The steps first … last in one. Stands for a decay: combines with its neighbour, in order."""

    def __init__(self, first, last, depth=0):
        self.first, self.last, self.depth = first, last, depth

    def __mul__(self, earlier):
        assert earlier.last + 1 == self.first
        return Span(earlier.first, self.last, 1 + max(earlier.depth, self.depth))


CHUNKED = [lambda a, b, Q=Q: naive.scan_chunked(a, b, Q) for Q in (1, 2, 3, 4, 16, 99)]


@pytest.mark.parametrize("road", [naive.scan_sequential, naive.scan_hillis_steele, *CHUNKED])
@pytest.mark.parametrize("L", [1, 2, 5, 16, 23])
def test_work_and_depth_are_those_of_who_waits_for_whom(road, L, monkeypatch):
    made = []

    def combine(first, second):
        made.append(second[0] * first[0])
        return made[-1], 0.0

    monkeypatch.setattr(naive, "combine", combine)
    _, work, depth = road([Span(t, t) for t in range(L)], [0.0] * L)
    assert (work, depth) == (len(made), max((span.depth for span in made), default=0))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_state_carried_between_two_calls_equals_one_call(L, width, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, size=(2, L, width)), rng.normal(size=(2, L, width))
    a, b, h = (torch.tensor(x) for x in (a, b, rng.normal(size=(2, width))))
    cut = int(rng.integers(0, L))
    whole = scan(a, b, h)
    if cut:
        first = scan(a[:, :cut], b[:, :cut], h)
        second = scan(a[:, cut:], b[:, cut:], first[:, -1])
        torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_by_torchs_own_check(dtype):
    shapes = [(2, 5, 3), (2, 5, 3), (2, 3)]
    a, b, h = (0.5 * torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    assert torch.autograd.gradcheck(scan, (a, b, h))


def scan_inputs(L, *channels, dtype=torch.float64):
    shapes = [(2, L, *channels), (2, L, *channels), (2, *channels)]
    return [0.7 * torch.rand(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("L", [1, 2, 3, 40, 49])  # no, some and many chunks; a rest, and none
@pytest.mark.parametrize("channels", [(3,), (2, 300)])  # side by side, and step by step
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradient_equals_that_of_a_plain_loop(L, channels, dtype):
    a, b, h = scan_inputs(L, *channels, dtype=dtype)
    rows, state = [], h
    for decay, put in zip(a.unbind(1), b.unbind(1), strict=True):
        state = decay * state + put
        rows.append(state)
    weight = torch.randn(b.shape, dtype=dtype)
    wanted = torch.autograd.grad((torch.stack(rows, 1) * weight).sum().abs(), (a, b, h))
    found = torch.autograd.grad((scan(a, b, h) * weight).sum().abs(), (a, b, h))
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [(4,), (2, 300)])  # small and large
def test_compiles_in_one_graph_with_its_backward(channels):
    inputs = scan_inputs(20, *channels)
    torch._dynamo.reset()
    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    wanted = torch.autograd.grad(scan(*inputs).square().sum(), inputs)
    found = torch.autograd.grad(compiled(*inputs).square().sum(), inputs)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_stays_finite_where_the_cumulative_product_trick_does_not():
    a, b = torch.full((1, 3000), 0.95), torch.ones(1, 3000)
    trick = a.cumprod(1) * (b / a.cumprod(1)).cumsum(1)
    h = scan(a, b, torch.zeros(1))
    assert not torch.isfinite(trick).all()
    assert torch.isfinite(h).all() and abs(h[0, -1] - 20) < 1e-4  # 1 / (1 - 0.95)


def test_a_hundred_thousand_steps_in_float32():
    generator = torch.Generator().manual_seed(0)
    a = 1 - 1e-3 * torch.rand(1, 100_000, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(1, 100_000, 4, generator=generator, dtype=torch.float64)
    exact, single = scan(a, b, b[:, 0]), scan(a.float(), b.float(), b[:, 0].float())
    assert torch.isfinite(single).all()
    # rounding of a itself costs 6e-8 a step over a memory of 2,000
    assert (single - exact).abs().max() < 1e-4 * exact.abs().max()


def test_segsum_does_not_cancel():
    log_a = torch.tensor([-1e4, -1.0, -2.0])
    assert segsum(log_a)[2].tolist() == [-3.0, -2.0, 0.0]
    assert segsum(log_a)[0].tolist() == [0.0, -math.inf, -math.inf]
    far = torch.tensor([-1e8, -1.0])
    assert segsum(far)[1, 0] == -1
    assert far.cumsum(0).diff() != -1  # the difference of running sums has lost it


@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 8, 64])
@pytest.mark.parametrize("L", [7, 8])  # with a rest, without one, and shorter than the chunk
def test_ssd_in_any_chunks_is_the_definition(chunk, L):
    rng = np.random.default_rng(L)
    noise = lambda *shape: rng.normal(size=shape)
    arrays = [noise(2, L, 3, 4), -rng.random((2, L, 3)), noise(2, L, 5), noise(2, L, 5)]
    arrays.append(noise(2, 3, 5, 4))
    inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
    outputs = ssd(*inputs, chunk)
    for got, want in zip(outputs, naive.ssd(*arrays), strict=True):
        np.testing.assert_allclose(got.detach(), want, rtol=1e-12, atol=1e-12)

    # gradients of a random projection, along random directions, by central differences
    weights = [noise(*out.shape) for out in outputs]
    project = lambda w, outs: sum((x * y).sum() for x, y in zip(w, outs, strict=True))
    total = project([torch.tensor(w) for w in weights], outputs)
    gradients = torch.autograd.grad(total, inputs)
    for i, gradient in enumerate(gradients):
        direction, step = noise(*arrays[i].shape), 1e-6
        moved = [[*arrays[:i], arrays[i] + s * direction, *arrays[i + 1 :]] for s in (step, -step)]
        high, low = (project(weights, naive.ssd(*case)) for case in moved)
        want = (high - low) / (2 * step)
        assert (gradient.numpy() * direction).sum() == pytest.approx(want, rel=1e-6, abs=1e-6)


def test_the_state_after_ssd_holds_its_own_numbers_only():
    x, log_a, B, C = (torch.zeros(1, 500, *shape) for shape in [(2, 3), (2,), (4,), (4,)])
    _, S = ssd(x, log_a, B, C, torch.zeros(1, 2, 4, 3))
    assert S.untyped_storage().nbytes() == S.nbytes


def test_bad_input_is_named():
    one = torch.ones(2, 3)
    with pytest.raises(ValueError, match="a and b must have one shape"):
        scan(one, torch.ones(2, 4), torch.ones(2))
    with pytest.raises(ValueError, match="time ≥ 1"):
        scan(one[:, :0], one[:, :0], torch.ones(2))
    with pytest.raises(ValueError, match="h that shape without time"):
        scan(one, one, torch.ones(3))
    with pytest.raises(TypeError, match="one dtype"):
        scan(one, one.double(), torch.ones(2))
    shapes = lambda L: [(2, L, 1, 1), (2, L, 1), (2, L, 2), (2, L, 2), (2, 1, 2, 1)]
    arguments = lambda L: [torch.zeros(shape) for shape in shapes(L)]
    x, _, B, C, S = of_three = arguments(3)
    with pytest.raises(ValueError, match=r"log_a must have shape \(2, 3, 1\)"):
        ssd(x, one, B, C, S)
    for bad in [(*arguments(0), 4), (*of_three, 0), (*of_three, -1), (one, *of_three[1:])]:
        with pytest.raises(ValueError, match="L ≥ 1"):
            ssd(*bad)
