"""The bound, the features and the linear form: by hand, beside other forms, refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.attention import attention
from minilib.naive import quadratic_cost as naive
from minilib.quadratic_cost import (
    has_orthogonal_pair,
    linear_attention,
    multiplications,
    online_attention,
    taylor_features,
)

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.multiplications: edited(
        naive.multiplications,
        not_causal=("first, t + 1):", "first, T):"),
        window_of_one_too_many=("t + 1 - window", "t - window"),
        state_only_read=("M * E + M * E + M", "M * E + M"),
    ),
    naive.online_attention: edited(
        naive.online_attention,
        sum_never_rescaled=("l * shrink", "l"),
        output_never_rescaled=("o * shrink", "o"),
        maximum_of_the_block=("max(m, score.max())", "score.max()"),
        rest_lost=("max(end, 0)", "end // block * block"),
        last_block_not_causal=("min(start + block, end)", "start + block"),
        not_divided=("= o / l,", "= o,"),
        log_of_the_sum_alone=("m + np.log(l)", "np.log(l)"),
    ),
    naive.has_orthogonal_pair: edited(
        naive.has_orthogonal_pair,
        all_rows=("if not any", "if any"),
        either_has_a_1=("one * other", "one + other"),
    ),
    naive.taylor_features: edited(
        naive.taylor_features,
        no_factorials=("product / math.sqrt(repeats)", "product"),
        no_root=("math.sqrt(repeats)", "repeats"),
        one_degree_less=("range(degree + 1)", "range(max(1, degree))"),
    ),
    naive.linear_attention: edited(
        naive.linear_attention,
        not_divided=(" / (q[b, h, t] @ z[b, h])", ""),
        keys_not_counted=("z[b, h] += k[b, h, t]", "z[b, h] += 1"),
        state_forgotten=("else A.copy()", "else 0 * A"),
        sum_forgotten=("else z.copy()", "else 0 * z"),
        writes_too_late=(
            "np.outer(k[b, h, t], v[b, h, t])",
            "np.outer(k[b, h, t], v[b, h, t - 1])",
        ),
    ),
}


def rows(T=40, M=5, E=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.rand(size, generator=random, dtype=torch.float64)
    return 0.1 + draw(2, 3, T, M), 0.1 + draw(2, 3, T, M), draw(2, 3, T, E) - 0.5


def column(*x):
    """(batch, heads, T, D) = (1, 1, len(x), 1)"""
    return torch.tensor(x, dtype=torch.float64).view(1, 1, -1, 1)


def qkv(T, S, B=2, H=3, D=4, E=4):
    shapes = (T, D), (S, D), (S, E)
    return tuple(torch.randn(B, H, *shape, dtype=torch.float64) for shape in shapes)


def test_online_by_hand():
    # scores log 2, log 6, 0: weights 2/9, 6/9, 1/9 of 9, 3, 0
    q, k, v = column(1), column(math.log(2), math.log(6), 0), column(9, 3, 0)
    for block in (1, 2, 3):
        out, lse = online_attention(q, k, v, block)
        torch.testing.assert_close((out.item(), lse.item()), (4.0, math.log(9)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_online_is_plain_for_every_block(causal, scale):
    for T, S in [(1, 1), (6, 6), (3, 7), (1, 7), (7, 4)]:
        q, k, v = (x.requires_grad_() for x in qkv(T, S, E=3))
        want = attention(scale * q, scale * k, v, causal=causal)
        noise = torch.randn_like(want)
        gradients = torch.autograd.grad((want * noise).sum(), (q, k, v))
        for block in range(1, S + 2):
            out, _ = online_attention(scale * q, scale * k, v, block, causal)
            torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-12)
            got = torch.autograd.grad((out * noise).sum(), (q, k, v))
            torch.testing.assert_close(got, gradients, rtol=1e-9, atol=1e-9 * scale**2)


def test_online_gradcheck_with_both_outputs():
    q, k, v = (x.requires_grad_() for x in qkv(3, 5, B=1, H=2, D=2, E=3))
    assert torch.autograd.gradcheck(lambda *x: online_attention(*x, 2, True), (q, k, v))
    assert torch.autograd.gradcheck(lambda *x: online_attention(*x, 3, False), (q, k, v))


@pytest.mark.parametrize("scalar", [torch.sum, lambda y: y.square().sum()])
def test_a_second_derivative_of_online_is_refused(scalar):
    q, k, v = (x.requires_grad_() for x in qkv(3, 5))
    loss = scalar(online_attention(q, k, v, 2, True)[0])
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, (q, k, v), create_graph=True)


def test_two_halves_of_the_keys_are_joined_by_their_lse():
    q, k, v = qkv(4, 9)
    a, m = online_attention(q, k[..., :5, :], v[..., :5, :])
    b, n = online_attention(q, k[..., 5:, :], v[..., 5:, :])
    share = (m - torch.logaddexp(m, n)).exp()[..., None]
    torch.testing.assert_close(share * a + (1 - share) * b, attention(q, k, v))


def test_lse_is_torchs():
    q, k, v = qkv(3, 6)
    torch.testing.assert_close(online_attention(q, k, v, 4)[1], (q @ k.mT / 2).logsumexp(-1))


def test_online_is_torchs_with_more_keys_than_queries():
    for T, S in [(4, 4), (3, 7), (1, 7), (9, 9)]:
        q, k, v = qkv(T, S)
        seen = torch.arange(S) <= torch.arange(S - T, S)[:, None]
        want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        torch.testing.assert_close(online_attention(q, k, v, 2, True)[0], want)


def test_online_with_no_query_and_no_key():
    for causal in (False, True):
        out, lse = online_attention(*qkv(3, 0), causal=causal)
        assert torch.equal(out, torch.zeros(2, 3, 3, 4).double()) and (lse == -math.inf).all()
        assert online_attention(*qkv(0, 3), causal=causal)[1].shape == (2, 3, 0)


def test_an_online_row_that_sees_nothing_gives_zero_and_a_finite_gradient():
    q, k, v = (x.requires_grad_() for x in qkv(4, 3))  # causal: query 0 comes before any key
    out = online_attention(q, k, v, 2, True)[0]
    assert (out[..., 0, :] == 0).all() and (out[..., 1:, :] != 0).all()
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(torch.isfinite(g).all() for g in gradients)
    assert (gradients[0][..., 0, :] == 0).all()


def test_counts_by_hand():
    assert multiplications("dense", 3, 2, 5) == 6 * 7
    assert multiplications("window", 3, 2, 5, window=2) == 5 * 7
    assert multiplications("linear", 3, 2, 5, M=4) == 3 * (20 + 20 + 4)


def test_two_steps_by_hand():
    # weights 1, then 2 · 1 and 2 · 3: step 1 is (2 · 4 + 6 · 8) / 8 = 7
    out, A, z = linear_attention(column(1, 2), column(1, 3), column(4, 8))
    assert out.flatten().tolist() == [4, 7] and (A.item(), z.item()) == (28, 4)


@pytest.mark.parametrize("chunk", [*range(1, 12), 39, 40, 64])
def test_all_chunks_are_one_function(chunk):
    q, k, v = (x.requires_grad_() for x in rows())
    weight = (q @ k.mT).tril()
    want = weight @ v / weight.sum(-1, keepdim=True)
    out, A, z = linear_attention(q, k, v, chunk=chunk)
    torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((A, z), (k.mT @ v, k.sum(-2)), rtol=1e-12, atol=1e-12)
    noise = torch.randn_like(want)
    got, right = (torch.autograd.grad((y * noise).sum(), (q, k, v)) for y in (out, want))
    torch.testing.assert_close(got, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pieces", [[1] * 40, [7, 0, 33], [39, 1]])
def test_in_pieces_the_state_is_all_that_is_needed(pieces):
    q, k, v = rows()
    A = z = None
    found = []
    for part in zip(*(x.split(pieces, dim=2) for x in (q, k, v)), strict=True):
        out, A, z = linear_attention(*part, A, z, chunk=4)
        found.append(out)
    torch.testing.assert_close(torch.cat(found, 2), linear_attention(q, k, v)[0])


def test_the_future_cannot_leak_not_by_a_bit():
    q, k, v = rows()
    before = linear_attention(q, k, v, chunk=8)[0]
    k[..., 20:, :] += 1
    v[..., 20:, :] += 1
    after = linear_attention(q, k, v, chunk=8)[0]
    assert torch.equal(after[..., :20, :], before[..., :20, :])
    assert not torch.isclose(after[..., 20:, :], before[..., 20:, :]).all(-1).any()


@pytest.mark.parametrize("D,degree,M", [(16, 2, 153), (16, 4, 4845), (3, 4, 35), (2, 0, 1)])
def test_features_multiply_to_the_taylor_sum(D, degree, M):
    x, y = torch.randn(2, 7, D, dtype=torch.float64) / D**0.5
    got = taylor_features(x, degree) @ taylor_features(y, degree).T
    want = sum((x @ y.T) ** t / math.factorial(t) for t in range(degree + 1))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    assert taylor_features(x, degree).shape == (7, M) and M == math.comb(D + degree, degree)


@pytest.mark.parametrize("reach", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("degree", [2, 4, 6, 8])
def test_an_error_of_the_weights_bounds_the_error_of_the_output(reach, degree):
    """If each weight is off by at most eps < 1 of itself, the output is by 2 eps / (1 - eps)."""
    q, k = torch.randn(2, 1, 1, 50, 3, dtype=torch.float64)
    q, k = (reach**0.5 * x / x.norm(dim=-1, keepdim=True) for x in (q, k))  # |q · k| <= reach
    v = torch.randn(1, 1, 50, 2, dtype=torch.float64)
    a, b = taylor_features(q, degree), taylor_features(k, degree)
    eps = ((a @ b.mT) / (q @ k.mT).exp() - 1).abs().max()
    exact = attention(3**0.5 * q, k, v, causal=True)
    off = (linear_attention(a, b, v)[0] - exact).norm(dim=-1).max()
    assert eps > 1 or 0 < off <= 2 * eps / (1 - eps) * v.norm(dim=-1).max()
    edge = 1 - sum((-reach) ** t / math.factorial(t) for t in range(degree + 1)) * math.exp(reach)
    assert eps <= abs(edge) + 1e-12  # the worst score is -reach


def test_enough_degrees_are_softmax():
    q, k, v = torch.randn(3, 1, 1, 9, 3, dtype=torch.float64)
    q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    features = [taylor_features(x / 3**0.25, 12) for x in (q, k)]
    torch.testing.assert_close(linear_attention(*features, v)[0], attention(q, k, v, causal=True))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("planted", [False, True])
def test_orthogonal_pairs_are_found(seed, planted):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(2, size=(2, 64, 24))
    a[:, 0] = b[:, 0] = 1  # no pair is orthogonal
    if planted:
        i, j = rng.integers(64, size=2)
        b[j] = 1 - a[i]
    assert has_orthogonal_pair(*map(torch.tensor, (a, b))) == planted
    assert (a @ b.T == 0).any() == planted


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: taylor_features(torch.ones(3), 3), "degree must be even .* got 3"),
        (lambda: taylor_features(torch.ones(3), -2), "degree must be even .* got -2"),
        (lambda: taylor_features(torch.tensor(1.0), 2), r"x must have shape \(..., D\)"),
        (lambda: multiplications("cubic", 3, 2, 2), "kind must be dense, window or linear"),
        (lambda: multiplications("window", 3, 2, 2), "window must be 1 or more, got 0"),
        (lambda: multiplications("dense", -1, 2, 2), "T must be 0 or more, got -1"),
        (lambda: online_attention(*rows(), 0), "block must be 1 or more, got 0"),
        (lambda: linear_attention(*rows(), chunk=0), "chunk must be 1 or more, got 0"),
        (lambda: linear_attention(*rows(), z=torch.ones(1)), "z must have shape"),
        (lambda: has_orthogonal_pair(torch.ones(2, 3), torch.ones(2, 4)), "b must have shape"),
        (lambda: has_orthogonal_pair(torch.ones(2, 3), 2 * torch.ones(2, 3)), "b must hold 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


RIGHT = {"q": (1, 2, 3, 4), "k": (1, 2, 6, 4), "v": (1, 2, 6, 5)}
SHAPES = [("q", (2, 3, 4)), ("k", (1, 2, 6, 5)), ("k", (1, 1, 6, 4)), ("k", (3,))]
SHAPES += [("v", (1, 2, 5, 5)), ("v", ())]


@pytest.mark.parametrize("name,shape", SHAPES)
def test_shapes_of_online_are_refused_by_name(name, shape):
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        online_attention(*(torch.zeros(size) for size in (RIGHT | {name: shape}).values()))


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="x must be floating"):
        taylor_features(torch.ones(3, dtype=torch.int64), 2)
    for function in (online_attention, linear_attention):
        with pytest.raises(TypeError, match=r"q must be floating, got torch\.int64"):
            function(*(x.long() for x in qkv(3, 3)))
