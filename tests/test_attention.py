import math

import numpy as np
import pytest
import torch
from mutants import edited

import minilib.attention
from minilib import check
from minilib.attention import attention, multi_head, rope, sinusoid
from minilib.naive import attention as naive

# -- answers that are wrong ------------------------------------------------------------------------


def dense(q, k, v, visible=None, causal=False, window=None, *, offset=None, peak="row"):
    """A right answer by a dense mask, with places for the usual mistakes."""
    T, S = q.shape[2], k.shape[2]
    now = np.arange(T)[:, None] + (S - T if offset is None else offset)
    seen = np.broadcast_to(True if visible is None else visible, (*q.shape[:3], S))
    if causal:
        seen = seen & (np.arange(S) <= now) & (np.arange(S) > now - (window or S + T))
    score = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3])
    if S and peak:
        counted = score if peak == "hidden too" else np.where(seen, score, -1e30)
        score = score - counted.max(axis=None if peak == "all" else -1, keepdims=True)
    weight = np.where(seen, np.exp(score), 0)
    return weight @ v / np.where(seen.any(-1), weight.sum(-1), 1)[..., None]


def no_root(q, k, v, *sight):
    return naive.attention(q * np.sqrt(q.shape[3]), k, v, *sight)


def no_maximum(*inputs):  # exp overflows
    return dense(*inputs, peak=None)


def one_maximum(*inputs):  # rows far below it are 0 / 0
    return dense(*inputs, peak="all")


def maximum_of_hidden_scores_too(*inputs):
    return dense(*inputs, peak="hidden too")


def weights_of(q, k, *sight):
    one_hot = np.broadcast_to(np.eye(k.shape[2]), (*k.shape[:3], k.shape[2]))
    return naive.attention(q, k, one_hot, *sight)


def mask_after_the_softmax(q, k, v, *sight):
    return (weights_of(q, k) * (weights_of(0 * q, k, *sight) > 0)) @ v


def mean_where_nothing_is_seen(q, k, v, *sight):  # what a mask of -1e9 gives
    seen = weights_of(0 * q, k, *sight).any(-1, keepdims=True)
    return np.where(seen, naive.attention(q, k, v, *sight), v.mean(2, keepdims=True))


def not_causal(q, k, v, visible, causal, window):
    return naive.attention(q, k, v, visible)


def triangle_aligned_top_left(*inputs):
    return dense(*inputs, offset=0)


def window_of_one_too_many(q, k, v, visible, causal, window):
    return naive.attention(q, k, v, visible, causal, window and window + 1)


def mask_upside_down(q, k, v, visible, *sight):  # True where a key is hidden
    return naive.attention(q, k, v, None if visible is None else ~visible, *sight)


def mask_of_the_first_text_for_all(q, k, v, visible, *sight):
    first = visible[:1] if np.ndim(visible) == 4 else visible
    return naive.attention(q, k, v, first, *sight)


def mask_of_the_first_head_for_all(q, k, v, visible, *sight):
    first = visible[:, :1] if np.ndim(visible) == 4 else visible
    return naive.attention(q, k, v, first, *sight)


def all_sines_then_all_cosines(position, C):
    PE = naive.sinusoid(position, C)
    return np.concatenate([PE[:, ::2], PE[:, 1::2]], axis=1)


def cosine_first(position, C):
    return naive.sinusoid(position, C).reshape(len(position), -1, 2)[:, :, ::-1].reshape(-1, C)


def whole_positions(position, C):
    return naive.sinusoid(np.arange(len(position)), C)


def neighbours(x, *where):  # (x_2i, x_2i+1), as in the paper, not (x_i, x_{i + D/2})
    turned = naive.rope(np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1), *where)
    return np.stack(np.split(turned, 2, axis=-1), axis=-1).reshape(x.shape)


def from_step_0(x, position, *base):
    return naive.rope(x, position - np.min(position), *base)


def counts_on_from_the_first(x, position, *base):
    return naive.rope(x, np.ravel(position)[0], *base)


def base_built_in(x, position, base=10000.0):
    return naive.rope(x, position)


def turned_back(x, position, *base):
    steps = position if np.ndim(position) else position + np.arange(x.shape[-2])
    return naive.rope(x, -steps, *base)


def heads_interleaved(x, W_qkv, W_out, heads, *rest):  # channel d of head h in row d H + h
    C = x.shape[2]
    rows = W_qkv.reshape(3, C // heads, heads, C).swapaxes(1, 2).reshape(3 * C, C)
    return naive.multi_head(x, rows, W_out, heads, *rest)


def no_output_matrix(x, W_qkv, W_out, *rest):
    return naive.multi_head(x, W_qkv, np.eye(len(W_out)), *rest)


def heads_not_side_by_side(x, W_qkv, W_out, heads, *rest):  # no swap of axes before the reshape
    (B, T, C), one = x.shape, np.eye(len(W_out))
    y, *cache = naive.multi_head(x, W_qkv, one, heads, *rest)
    y = y.reshape(B, T, heads, C // heads).swapaxes(1, 2).reshape(B, T, C)
    return y @ W_out.T, *cache


def counts_steps_from_the_cache(x, W_qkv, W_out, heads, past_k, past_v, position, *rest):
    position = past_k.shape[2]  # which slides
    return naive.multi_head(x, W_qkv, W_out, heads, past_k, past_v, position, *rest)


def cache_dropped(x, W_qkv, W_out, heads, past_k, past_v, *rest):
    return naive.multi_head(x, W_qkv, W_out, heads, past_k[:, :, :0], past_v[:, :, :0], *rest)


def cut_before_the_attention(x, W_qkv, W_out, heads, past_k, past_v, position, causal, window):
    drop = max(0, past_k.shape[2] + x.shape[1] - window) if window else 0
    past = past_k[:, :, drop:], past_v[:, :, drop:]
    return naive.multi_head(x, W_qkv, W_out, heads, *past, position, causal, window)


def cache_never_cut(x, W_qkv, W_out, heads, past_k, past_v, position, causal, window):
    inputs = x, W_qkv, W_out, heads, past_k, past_v, position, causal
    y, _, _ = naive.multi_head(*inputs, window)
    return y, *naive.multi_head(*inputs, None)[1:]


WRONG = {
    naive.attention: [
        no_root,
        no_maximum,
        one_maximum,
        maximum_of_hidden_scores_too,
        mask_after_the_softmax,
        mean_where_nothing_is_seen,
        not_causal,
        triangle_aligned_top_left,
        window_of_one_too_many,
        mask_upside_down,
        mask_of_the_first_text_for_all,
        mask_of_the_first_head_for_all,
    ],
    naive.sinusoid: [
        *edited(naive.sinusoid, exponent_of_i_not_2i=("(2 * i / C)", "(i / C)")),
        all_sines_then_all_cosines,
        cosine_first,
        whole_positions,
    ],
    naive.rope: [
        *edited(naive.rope, exponent_of_i_not_2i=("(-2 * i / D)", "(-i / D)")),
        neighbours,
        from_step_0,
        counts_on_from_the_first,
        base_built_in,
        turned_back,
    ],
    naive.multi_head: [
        *edited(
            naive.multi_head,
            queries_not_turned=("rope(q, position)", "q"),
            keys_turned_again=(
                "[past_k, rope(k, position)]",
                "[rope(past_k, 1), rope(k, position)]",
            ),
            values_turned_too=("[past_v, v]", "[past_v, rope(v, position)]"),
            past_after_the_new=("[past_v, v]", "[v, past_v]"),
        ),
        heads_interleaved,
        heads_not_side_by_side,
        no_output_matrix,
        counts_steps_from_the_cache,
        cache_dropped,
        cut_before_the_attention,
        cache_never_cut,
    ],
}


def test_the_right_answer_beside_the_wrong_ones():
    assert check(dense, attention)


# -- helpers ---------------------------------------------------------------------------------------


def column(*x):
    """(batch, heads, T, D) = (1, 1, len(x), 1)"""
    return torch.tensor(x, dtype=torch.float64).view(1, 1, -1, 1)


def qkv(T, S, B=2, H=3, D=4, E=4, dtype=torch.float64):
    return tuple(torch.randn(B, H, *size, dtype=dtype) for size in ((T, D), (S, D), (S, E)))


# -- by hand ---------------------------------------------------------------------------------------


def test_two_steps_by_hand():
    # scores 0, log 3 give weights 1/4 and 3/4: step 1 is 4/4 + 3·8/4 = 7; step 0 sees only itself
    steps = column(1, 1), column(0, math.log(3)), column(4, 8)
    torch.testing.assert_close(attention(*steps, causal=True), column(4, 7))
    torch.testing.assert_close(attention(*steps), column(7, 7))


def test_scores_are_divided_by_the_root_of_the_width():
    # weights 1/4 and 3/4 need a score of log 3 = q · k / √4: each of the four entries is log(3) / 2
    k = torch.stack([torch.zeros(4), torch.full((4,), math.log(3) / 2)]).double()[None, None]
    q = torch.ones(1, 1, 1, 4).double()
    torch.testing.assert_close(attention(q, k, column(4, 8)), column(7))


def test_the_queries_are_the_last_steps():
    # equal scores: the mean of what is seen. Two queries at steps 2 and 3 of four
    steps = column(0, 0), column(0, 0, 0, 0), column(1, 2, 6, 11)
    torch.testing.assert_close(attention(*steps, causal=True), column(3, 5))
    torch.testing.assert_close(attention(*steps, causal=True, window=2), column(4, 8.5))


def test_a_mask_by_hand():
    # step 0 may see keys 0 and 2, step 1 none, step 2 all; with causal step 0 is left with key 0
    visible = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    zero, v = column(0, 0, 0), column(1, 2, 6)
    assert attention(zero, zero, v, visible).flatten().tolist() == [3.5, 0, 3]
    assert attention(zero, zero, v, visible, causal=True).flatten().tolist() == [1, 0, 3]


def test_sinusoid_by_hand():
    # channel pairs turn by 1 and by 1 / 10000^(2/4) = 0.01 a step
    want = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]]
    got = sinusoid(torch.arange(2.0).double(), 4)
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64))


def test_rope_by_hand():
    # base 100, D = 4: the pair (x_0, x_2) turns by 1 a step, (x_1, x_3) by 0.1; step 0 stays
    x = torch.tensor([[1.0, 1, 0, 0]] * 2).double()
    want = [[1, 1, 0, 0], [math.cos(1), math.cos(0.1), math.sin(1), math.sin(0.1)]]
    torch.testing.assert_close(rope(x, base=100.0), torch.tensor(want, dtype=torch.float64))


# -- properties ------------------------------------------------------------------------------------


@pytest.mark.parametrize("T,window", [(20, None), (20, 3), (20, 1), (9, 4), (21, 7), (40, 13)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_future_cannot_leak_not_by_a_bit(T, window, dtype):
    q, k, v = qkv(T, T, dtype=dtype)
    before = attention(q, k, v, causal=True, window=window)
    for t in (1, T // 2, T - 1):
        k_new, v_new = k.clone(), v.clone()
        k_new[..., t:, :] += 1
        v_new[..., t:, :] += 1
        after = attention(q, k_new, v_new, causal=True, window=window)
        assert torch.equal(after[..., :t, :], before[..., :t, :])
        same = torch.isclose(after[..., t:, :], before[..., t:, :]).all(-1)
        assert not same.any()  # it does arrive, at every step


@pytest.mark.parametrize("T,window", [(9, 4), (21, 7), (30, 1)])
def test_what_a_window_has_left_is_forgotten(T, window):
    q, k, v = qkv(T, T)
    before = attention(q, k, v, causal=True, window=window)
    v[..., 0, :] += 1
    after = attention(q, k, v, causal=True, window=window)
    assert torch.equal(after[..., window:, :], before[..., window:, :])
    assert not torch.isclose(after[..., :window, :], before[..., :window, :]).any()


def test_weights_are_a_mean():
    q, k, v = qkv(5, 7)
    torch.testing.assert_close(attention(q, k, torch.ones_like(v)), torch.ones(2, 3, 5, 4).double())
    order = torch.randperm(7)  # without positions there is none
    shuffled = attention(q, k[..., order, :], v[..., order, :])
    torch.testing.assert_close(shuffled, attention(q, k, v))


def test_rope_makes_scores_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 8, dtype=torch.float64)
    score = lambda m, n: (rope(q, m) @ rope(k, n).t()).item()
    for m, n in [(0, 0), (3, 1), (1, 3), (100, 7)]:
        for shift in (1, 50, 10**6):
            assert abs(score(m + shift, n + shift) - score(m, n)) < 1e-8
    assert abs(score(3, 1) - score(1, 3)) > 1e-3 < abs(score(3, 1) - score(4, 1))
    torch.testing.assert_close(rope(k, 12345).norm(), k.norm())


def test_rope_is_exact_far_out_in_float32():
    # a float32 angle of 10 million is off by half a radian
    x = torch.randn(3, 16)
    want = rope(x.double(), 10**7).float()
    torch.testing.assert_close(rope(x, 10**7), want, rtol=1e-6, atol=1e-6)


def test_a_sinusoid_k_steps_on_is_a_fixed_turn():
    PE = sinusoid(torch.arange(40).double(), 6)
    turn = torch.linalg.lstsq(PE[:20], PE[5:25]).solution
    torch.testing.assert_close(PE[15:35] @ turn, PE[20:40], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [None, 1, 3, 50])
@pytest.mark.parametrize("pieces", [[1] * 17, [17], [2, 1, 7, 4, 3], [0, 16, 1], [9, 0, 8]])
def test_many_heads_in_pieces_equal_one_go(window, pieces):
    x, W_qkv, W_out = (torch.randn(size).double() for size in [(2, 17, 12), (36, 12), (12, 12)])
    nothing = x.new_zeros(2, 3, 0, 4)
    want, k_want, v_want = multi_head(x, W_qkv, W_out, 3, nothing, nothing, 0, True, window)
    k, v, position, rows = nothing, nothing, 0, []
    for piece in x.split(pieces, dim=1):
        y, k, v = multi_head(piece, W_qkv, W_out, 3, k, v, position, True, window)
        position += piece.shape[1]
        rows.append(y)
    got = torch.cat(rows, 1), k, v
    torch.testing.assert_close(got, (want, k_want, v_want), rtol=1e-10, atol=1e-10)
    assert k.shape[2] == min(17, window or 17)
    assert k.untyped_storage().nbytes() == k.numel() * 8  # what was cut off is not kept alive


# -- third opinions --------------------------------------------------------------------------------


def test_it_is_torchs_own_with_a_mask_of_offsets():
    for T, S, window in [(4, 4, None), (3, 7, None), (1, 7, None), (2, 9, 3), (9, 9, 2)]:
        q, k, v = qkv(T, S)
        now = torch.arange(S - T, S)[:, None]
        seen = (torch.arange(S) <= now) & (torch.arange(S) > now - (window or S))
        offsets = torch.zeros(T, S).double().masked_fill(~seen, -math.inf)
        want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=offsets)
        torch.testing.assert_close(attention(q, k, v, causal=True, window=window), want)
        torch.testing.assert_close(attention(q, k, v, seen), want)


def test_torchs_own_triangle_is_aligned_elsewhere():
    """Regression: is_causal with one query and a cache of five sees the first key only."""
    q, k, v = qkv(1, 5)
    torchs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.equal(torchs, v[..., :1, :])
    torch.testing.assert_close(attention(q, k, v, causal=True), attention(q, k, v))


def test_rope_is_a_product_of_complex_numbers():
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    turn = torch.exp(1j * torch.arange(3, 10).double()[:, None] * 10000.0 ** -(torch.arange(3) / 3))
    want = torch.complex(x[..., :3], x[..., 3:]) * turn
    torch.testing.assert_close(rope(x, 3), torch.cat([want.real, want.imag], -1))


def test_without_positions_it_is_torchs_multihead_attention(monkeypatch):
    monkeypatch.setattr(minilib.attention, "rope", lambda x, position=0: x)
    peer = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    x, nothing = torch.randn(2, 5, 12, dtype=torch.float64), torch.zeros(2, 3, 0, 4).double()
    W_qkv, W_out = peer.in_proj_weight, peer.out_proj.weight
    for causal in (False, True):
        got, _, _ = multi_head(x, W_qkv, W_out, 3, nothing, nothing, 0, causal)
        mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
        want, _ = peer(x, x, x, attn_mask=mask, need_weights=False)
        torch.testing.assert_close(got, want)
        grads = [
            torch.autograd.grad(y.square().sum(), list(peer.parameters()), retain_graph=True)
            for y in (got, want)
        ]
        torch.testing.assert_close(*grads)


def test_with_positions_it_is_torchs_on_turned_queries_and_keys():
    x, W_qkv, W_out = (torch.randn(size).double() for size in [(2, 5, 12), (36, 12), (12, 12)])
    nothing = x.new_zeros(2, 3, 0, 4)
    got, k, _ = multi_head(x, W_qkv, W_out, 3, nothing, nothing, 0, False)
    turned = [rope((x @ W.t()).view(2, 5, 3, 4).transpose(1, 2)) for W in W_qkv.chunk(3)[:2]]
    assert torch.equal(k, turned[1])  # the cache holds turned keys
    q, k = (y.transpose(1, 2).reshape(2, 5, 12) for y in turned)
    peer = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    W_in = torch.cat([torch.eye(12), torch.eye(12), W_qkv[24:]])
    peer.load_state_dict({"in_proj_weight": W_in, "out_proj.weight": W_out})
    torch.testing.assert_close(got, peer(q, k, x, need_weights=False)[0].detach())


# -- edges and refusals ----------------------------------------------------------------------------


def test_no_query_and_no_key():
    for causal in (False, True):
        assert attention(*qkv(0, 3), causal=causal).shape == (2, 3, 0, 4)
        for T, S in [(3, 0), (0, 0), (1, 0)]:
            out = attention(*qkv(T, S), causal=causal)
            assert torch.equal(out, torch.zeros(2, 3, T, 4).double())


def test_a_row_that_sees_nothing_gives_zero_and_a_finite_gradient():
    q, k, v = (x.requires_grad_() for x in qkv(4, 3))  # causal: query 0 comes before any key
    seen = torch.ones(4, 3, dtype=torch.bool).tril(-1)
    out = attention(q, k, v, seen)
    assert (out[..., 0, :] == 0).all() and (out[..., 1:, :] != 0).all()
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(torch.isfinite(g).all() for g in gradients)
    assert (gradients[0][..., 0, :] == 0).all()


def test_infinite_garbage_behind_a_mask_of_scores_does_not_count():
    q, k, v = qkv(2, 4)
    want = attention(q, k[..., :3, :], v[..., :3, :])
    k[..., 3, :] = 1e150  # a score of 1e150 that must not be seen
    seen = torch.tensor([True, True, True, False]).expand(2, 4)
    torch.testing.assert_close(attention(q, k, v, seen), want)


RIGHT = {"q": (1, 2, 3, 4), "k": (1, 2, 6, 4), "v": (1, 2, 6, 5)}
SHAPES = [("q", (2, 3, 4)), ("k", (1, 2, 6, 5)), ("k", (1, 1, 6, 4)), ("k", (3,))]
SHAPES += [("v", (1, 2, 5, 5)), ("v", ())]


@pytest.mark.parametrize("name,shape", SHAPES)
def test_shapes_are_refused_by_name(name, shape):
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        attention(*(torch.zeros(size) for size in (RIGHT | {name: shape}).values()))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (4, 3), (2, 3, 5), (3, 1, 3, 5), (1, 2, 3, 5)])
def test_masks_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"visible must have shape \(3, 5\) or \(2, 3, 3, 5\)"):
        attention(*qkv(3, 5), torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_masks_of_a_wrong_dtype_are_refused(dtype):
    with pytest.raises(TypeError, match="visible must be a bool tensor"):
        attention(*qkv(3, 5), torch.ones(3, 5, dtype=dtype))


def test_refusals():
    for bad in ({"window": 3}, {"window": 0, "causal": True}, {"window": -1, "causal": True}):
        with pytest.raises(ValueError, match="window must be 1 or more and needs causal=True"):
            attention(*qkv(3, 3), **bad)
    with pytest.raises(ValueError, match="x must have an even last axis"):
        rope(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="C must be even, got 5"):
        sinusoid(torch.zeros(3), 5)


def test_whole_numbers_are_refused_where_they_would_be_cut():
    """Regression: an int position stopped all waves but one, an int x was turned by 0s and 1s."""
    with pytest.raises(TypeError, match=r"position must be floating, got torch\.int64"):
        sinusoid(torch.arange(3), 4)
    with pytest.raises(TypeError, match=r"x must be floating, got torch\.int64"):
        rope(torch.ones(2, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"q must be floating, got torch\.int64"):
        attention(*(x.long() for x in qkv(3, 3)))


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_positions_that_are_not_one_for_each_step_are_refused(steps):
    """Regression: a single position in a tensor was given to every step."""
    words = rf"position must be an int or have shape \(5,\), got \({steps},\)"
    with pytest.raises(ValueError, match=words):
        rope(torch.ones(2, 5, 4), torch.arange(steps))
    with pytest.raises(ValueError, match=r"position must have shape \(T,\)"):
        sinusoid(torch.zeros(2, steps), 4)
    with pytest.raises(ValueError, match="x must have shape"):
        rope(torch.ones(4))


def heads(C=12, heads=3, S=0, position=0, window=None, **changed):
    shapes = {"x": (2, 4, C), "W_qkv": (3 * C, C), "W_out": (C, C)}
    shapes |= {"past_k": (2, 3, S, 4), "past_v": (2, 3, S, 4)}
    given = {name: torch.zeros(shape) for name, shape in shapes.items()}
    given |= {"heads": heads, "position": position, "window": window}
    return multi_head(**given | changed)


@pytest.mark.parametrize("count", [0, -1, 5, 4, 12])
def test_heads_that_do_not_divide_are_refused(count):
    """4 and 12 give parts of 3 and 1, which no rotation can pair."""
    words = f"heads must divide the 12 channels into even parts, got {count}"
    with pytest.raises(ValueError, match=words):
        heads(heads=count)


SHAPES_OF_HEADS = [("x", (4, 12)), ("W_qkv", (12, 36)), ("W_out", (12, 11))]
SHAPES_OF_HEADS += [("past_k", (1, 3, 0, 4)), ("past_k", (2, 2, 0, 4))]
SHAPES_OF_HEADS += [("past_v", (2, 3, 0, 5)), ("past_v", (2, 3, 1, 4))]


@pytest.mark.parametrize("name,shape", SHAPES_OF_HEADS)
def test_shapes_of_many_heads_are_refused_by_name(name, shape):
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        heads(**{name: torch.zeros(shape)})


CACHES = [(0, 3, None), (3, 0, None), (3, 4, None), (3, 2, 8), (3, 4, 8), (4, 9, 3), (2, 9, 3)]


@pytest.mark.parametrize("S,position,window", [*CACHES, (1, -1, None)])
def test_a_cache_fed_out_of_order_is_refused(S, position, window):
    words = "a cache holds the steps just before x, each once and in order"
    where = f"past_k must have shape .* at position {position}: {words}"
    with pytest.raises(ValueError, match=where):
        heads(S=S, position=position, window=window)
    right = min(max(position, 0), window or max(position, 0))
    heads(S=right, position=max(position, 0), window=window)


def test_the_definition_agrees_on_what_is_seen_by_counting():
    """The number of keys that each query sees, counted by equal scores and one-hot values."""
    for T, S, window in [(4, 4, None), (2, 5, None), (6, 6, 2), (1, 9, 4), (5, 2, None)]:
        zeros = torch.zeros(1, 1, T, 2), torch.zeros(1, 1, S, 2)
        out = attention(*zeros, torch.eye(S)[None, None], causal=True, window=window)[0, 0]
        for t in range(T):
            now = t + S - T
            first = max(0, now - (window or S) + 1)
            want = np.zeros(S)
            want[first : max(now + 1, 0)] = 1 / max(now + 1 - first, 1)
            np.testing.assert_allclose(out[t].numpy(), want, rtol=1e-6)
