"""Attention between two lengths: averages where nothing scores, order in a group; refusals."""

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.cross_attention import (
    cross_attention,
    keys_and_values,
    shorten_attention,
    up_attention,
)
from minilib.hourglass import group, shorten_average
from minilib.naive import cross_attention as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def values_first(source, W_kv, *rest):
    return naive.keys_and_values(source, np.roll(W_kv, len(W_kv) // 2, axis=0), *rest)


def heads_interleaved(source, W_kv, heads, *position):  # channel d of head h in row d H + h
    C = source.shape[2]
    rows = W_kv.reshape(2, C // heads, heads, C).swapaxes(1, 2).reshape(2 * C, C)
    return naive.keys_and_values(source, rows, heads, *position)


def keys_and_values_of_a_head_together(source, W_kv, heads, *position):  # k of head 0, its v, …
    C = source.shape[2]
    rows = W_kv.reshape(heads, 2, C // heads, C).swapaxes(0, 1).reshape(2 * C, C)
    return naive.keys_and_values(source, rows, heads, *position)


def turned_before_the_heads_part(source, W_kv, heads, position):
    keys, values = naive.keys_and_values(source, W_kv, 1, position)
    split = lambda x: np.stack(np.split(x[:, 0], heads, axis=2), axis=1)
    return split(keys), split(values)


def no_output_matrix(query, keys, values, W_q, W_out, position):
    return naive.cross_attention(query, keys, values, W_q, np.eye(len(W_out)), position)


def output_matrix_transposed(query, keys, values, W_q, W_out, position):
    return naive.cross_attention(query, keys, values, W_q, W_out.T, position)


def no_root(query, keys, values, W_q, W_out, position):
    return naive.cross_attention(query, keys * keys.shape[3] ** 0.5, values, W_q, W_out, position)


def no_maximum(query, keys, values, W_q, W_out, position, peak=lambda score: 0):  # exp overflows
    H, D = keys.shape[1], keys.shape[3]
    q = np.stack([naive.rope(query @ W.T, position) for W in np.split(W_q, H)], axis=1)
    score = q @ keys.swapaxes(2, 3) / np.sqrt(D)
    weight = np.exp(score - peak(score))
    out = weight / weight.sum(3, keepdims=True) @ values
    return np.concatenate([*out.swapaxes(0, 1)], axis=2) @ W_out.T


def one_maximum(*inputs):  # rows far below it are 0 / 0
    return no_maximum(*inputs, peak=np.max)


def all_groups_seen(query, groups, *rest):  # the paper's; the definition departs from it
    B, G, k, C = groups.shape
    everything = np.broadcast_to(groups.reshape(B, 1, G * k, C), (B, G, G * k, C))
    return naive.shorten_attention(query, everything, *rest)


def first_group_for_all(query, groups, *rest):
    return naive.shorten_attention(query, 0 * groups + groups[:, :1], *rest)


def steps_backwards(query, groups, *rest):
    return naive.shorten_attention(query, groups[:, :, ::-1], *rest)


WRONG = {
    naive.keys_and_values: [
        *edited(
            naive.keys_and_values,
            keys_not_turned=(
                "[rope(source @ W_kv[:C][part].T, position)",
                "[source @ W_kv[:C][part].T",
            ),
            values_turned_too=(
                "[source @ W_kv[C:][part].T for",
                "[rope(source @ W_kv[C:][part].T, position) for",
            ),
            position_left_out=("W_kv[:C][part].T, position)", "W_kv[:C][part].T, 0)"),
        ),
        values_first,
        heads_interleaved,
        keys_and_values_of_a_head_together,
        turned_before_the_heads_part,
    ],
    naive.cross_attention: [
        *edited(
            naive.cross_attention,
            query_not_turned=("q = rope(query @ W_q[part].T, position)", "q = query @ W_q[part].T"),
            first_head_for_all=("keys[:, h : h + 1]", "keys[:, :1]"),
            causal=(
                "h : h + 1])[:, 0]",
                "h : h + 1], None, query.shape[1] <= keys.shape[2])[:, 0]",
            ),
        ),
        no_output_matrix,
        output_matrix_transposed,
        no_root,
        no_maximum,
        one_maximum,
    ],
    naive.shorten_attention: [
        *edited(
            naive.shorten_attention,
            positions_in_the_text=("W_kv, heads)\n", "W_kv, heads, j * groups.shape[2])\n"),
            query_at_the_last_place=(
                "keys, values, W_q, W_out)\n",
                "keys, values, W_q, W_out, groups.shape[2] - 1)\n",
            ),
        ),
        all_groups_seen,
        first_group_for_all,
        steps_backwards,
    ],
    naive.up_attention: edited(
        naive.up_attention,
        own_group_not_seen=("end = j + 1 - oldest", "end = j - oldest"),
        next_group_seen=("end = j + 1 - oldest", "end = j + 2 - oldest"),
        all_groups_seen=("else 0, end)", "else 0, None)"),
        window_forgotten=("max(0, end - window) if window else 0, end", "0, end"),
        window_of_one_too_many=("max(0, end - window) if", "max(0, end - window - 1) if"),
        query_at_its_own_step=("W_out, j\n", "W_out, position + t\n"),
        groups_counted_from_the_piece=("heads, first)", "heads)"),
        position_left_out=("j = (position + t) // k", "j = first + t // k"),
        first_group_rounded_down=("first = math.ceil(position / k)", "first = position // k"),
        past_dropped=("concatenate([past_v, values]", "concatenate([0 * past_v, values]"),
        cache_never_cut=("slice(-window, None) if window else slice(None)", "slice(None)"),
        cut_before_the_attention=(
            "    out = np.zeros(x.shape)",
            "    gone = max(0, keys.shape[2] - window) if window else 0\n"
            "    keys, values, oldest = keys[:, :, gone:], values[:, :, gone:], oldest + gone\n"
            "    out = np.zeros(x.shape)",
        ),
    ),
}

EYE = torch.eye(4).double()
VALUES = torch.cat([0 * EYE, EYE])  # W_kv: keys of zero, and the source itself as values


def test_attention_that_scores_nothing_averages():
    """With keys of zero all steps weigh the same: what comes out is the mean of the values."""
    x = torch.randn(2, 3, 5, 4).double()
    out = shorten_attention(x[:, :, 0], x, EYE, VALUES, EYE, heads=2)
    torch.testing.assert_close(out, shorten_average(x))
    keys, values = keys_and_values(x[:, 0], VALUES, heads=2)
    out = cross_attention(torch.randn(2, 6, 4).double(), keys, values, EYE, EYE)
    torch.testing.assert_close(out, x[:, 0].mean(1, keepdim=True).expand(2, 6, 4))


def test_steps_look_at_groups_up_to_their_own():
    x, y = torch.randn(1, 9, 4).double(), torch.randn(1, 3, 4).double()
    past = (y.new_zeros(1, 2, 0, 2),) * 2
    up, _, _ = up_attention(x, y, EYE, VALUES, EYE, 2, 3, *past)
    for t in range(9):
        torch.testing.assert_close(up[0, t], y[0, : t // 3 + 1].mean(0))
    up, keys, values = up_attention(x, y, EYE, VALUES, EYE, 2, 3, *past, window=2)
    torch.testing.assert_close(up[0, 8], y[0, 1:].mean(0))
    for kept in (keys, values):
        assert kept.shape == (1, 2, 2, 2)
        assert kept.untyped_storage().nbytes() == kept.numel() * 8  # no view of a longer one


def test_attention_in_a_group_knows_the_order():
    torch.manual_seed(0)
    x, W_q, W_kv, W_out = (
        torch.randn(shape).double() for shape in [(1, 1, 4, 4), (4, 4), (8, 4), (4, 4)]
    )
    look = lambda groups: shorten_attention(shorten_average(x), groups, W_q, W_kv, W_out, 1)
    assert not torch.allclose(look(x), look(x.flip(2)))


def test_bad_shapes_are_named():
    x, y, W, W_kv = (torch.zeros(s) for s in [(2, 8, 4), (2, 2, 4), (4, 4), (8, 4)])
    past, groups = (torch.zeros(2, 1, 0, 4),) * 2, group(x, 4, 3)
    for match, call in [
        ("source must have shape", lambda: keys_and_values(x[0], W_kv, 1)),
        ("keys must have shape", lambda: cross_attention(x, x, x, W, W)),
        ("query must have shape", lambda: cross_attention(x[0], *past, W, W)),
        ("query must have shape", lambda: shorten_attention(x, groups, W, W_kv, W, 1)),
        ("groups must have shape", lambda: shorten_attention(y, y, W, W_kv, W, 1)),
        ("heads must divide the 4", lambda: shorten_attention(y, groups, W, W_kv, W, 3)),
        ("W_kv must have shape", lambda: shorten_attention(y, groups, W, W, W, 1)),
        ("x must have shape", lambda: up_attention(x[0], y, W, W_kv, W, 1, 4, *past)),
        ("heads must divide the 4", lambda: up_attention(x, y, W, W_kv, W, 0, 4, *past)),
        ("W_out must have", lambda: up_attention(x, y, W, W_kv, W[:3], 1, 4, *past)),
        ("y must have shape", lambda: up_attention(x, y[:, 1:], W, W_kv, W, 1, 4, *past)),
        (
            "past_k and past_v must have shape",
            lambda: up_attention(x, y, W, W_kv, W, 1, 4, *past, position=4),
        ),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
