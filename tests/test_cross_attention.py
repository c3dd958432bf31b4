"""Attention between two lengths: averages where nothing scores, order in a group; refusals."""

import pytest
import torch

from minilib.cross_attention import (
    cross_attention,
    keys_and_values,
    shorten_attention,
    up_attention,
)
from minilib.hourglass import group, shorten_average

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
