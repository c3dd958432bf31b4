"""MrT5's gate, attention that may see nothing, soft = hard where gates are sure; the controller."""

import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.attention import attention
from minilib.naive import token_deletion as naive
from minilib.token_deletion import controller, gate, gated_attention

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def ordinary_softmax(q, k, v, gates):
    s = q @ np.swapaxes(k, 2, 3) / math.sqrt(q.shape[3]) + gates[:, None, None]
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def scales_the_gate_too(q, k, v, gates):
    return naive.gated_attention(q, k, v, gates / math.sqrt(q.shape[3]))


def gate_multiplies(q, k, v, gates):
    return naive.gated_attention(q, k, v * np.exp(gates)[:, None, :, None], 0 * gates)


WRONG = {
    naive.gate: edited(
        naive.gate,
        steps_are_not_normalised=("layer_norm(x, 1, 0)", "x"),
        keeps_what_it_should_delete=("np.exp(z)", "np.exp(-z)"),
        bias_left_out=(" + bias[0]", ""),
        from_0_to_1=("return kappa /", "return 1 /"),
    ),
    naive.gated_attention: [ordinary_softmax, scales_the_gate_too, gate_multiplies],
    naive.controller: edited(
        naive.controller,
        weight_may_be_negative=("max(0.0, P + I)", "P + I"),
        no_memory=("0.9 * P + ", ""),
        wrong_way=("ki * (target - deleted)", "ki * (deleted - target)"),
        integral_at_a_tenth=("I = I + ki", "I = 0.9 * I + 0.1 * ki"),
    ),
}

# -- the gate --------------------------------------------------------------------------------------


def test_gates_by_hand():
    x = torch.tensor([[[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]]]).double()  # norms -1 1, 1 -1, 0 0
    w = torch.tensor([0.0, math.log(3)]).double()
    want = [-30 / 4, -30 * 3 / 4, -15]  # 30 times sigmoid(-log 3), of log 3, of 0
    got = gate(x, w, torch.zeros(1).double())
    torch.testing.assert_close(got, torch.tensor([want]).double(), rtol=1e-4, atol=0)
    sure = torch.tensor([1e3]).double()
    assert gate(x, w, sure).abs().max() == 0 and (gate(x, w, -sure) == -30).all()


def test_a_query_may_look_at_nothing():
    one = torch.ones(1, 1, 1, 1).double()
    for g in (0.0, -1.0, -30.0):  # one key of score 1 + g, beside an e^0 that stands for nothing
        got = gated_attention(one, one, one, torch.tensor([[g]]).double()).item()
        assert got == pytest.approx(1 / (1 + math.exp(-1 - g)))
    assert got < 1e-12


def test_soft_and_hard_deletion_agree_where_gates_are_sure():
    """Hard: the keys that are kept, by themselves; the positions are in them, and stay."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 12, 4).double() for _ in "qkv")
    shut = torch.rand(12) < 0.4
    for unsure in (0.0, 1e-3):
        gates = torch.where(shut, -30.0 + unsure, -unsure)[None].double()
        kept = (gates > -15)[0]
        hard = gated_attention(q, k[:, :, kept], v[:, :, kept], 0 * gates[:, kept])
        soft = gated_attention(q, k, v, gates)
        torch.testing.assert_close(soft, hard, rtol=0, atol=1e-9 + 2 * unsure)
    half = torch.full((1, 12), -2.0).double()
    assert (gated_attention(q, k, v, half) - gated_attention(q, k, v, 0 * half)).abs().max() > 0.1


def test_without_gates_only_the_one_in_the_denominator_is_new():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 5, 4).double() for _ in "qkv")
    with_nothing = (torch.cat([x, 0 * x[:, :, :1]], 2) for x in (k, v))
    got = gated_attention(q, k, v, torch.zeros(2, 5).double())
    torch.testing.assert_close(got, attention(q, *with_nothing))


def test_gates_that_do_not_fit_are_named():
    x = torch.zeros(2, 1, 5, 4)
    with pytest.raises(ValueError, match=r"gates must have shape \(2, 5\), got \(2, 4\)"):
        gated_attention(x, x, x, torch.zeros(2, 4))


# -- the controller --------------------------------------------------------------------------------


def test_the_controller_by_hand():
    weight, state = controller(0.1, 0.3, kp=0.5, ki=0.1)  # error 0.2
    assert state == pytest.approx((0.01, 0.02)) and weight == pytest.approx(0.03)
    weight, state = controller(0.8, 0.3, state, kp=0.5, ki=0.1)  # error -0.5
    assert state == pytest.approx((0.009 - 0.025, 0.02 - 0.05)) and weight == 0


@pytest.mark.parametrize("target", [0.3, 0.6])
def test_the_controller_settles_a_toy_at_its_target(target):
    """A toy that deletes more the more it gains by it, slowly: its share follows the weight."""
    share, state, weights = 0.0, (0.0, 0.0), []
    for _ in range(4000):
        weight, state = controller(share, target, state, kp=0.5, ki=1e-3)
        share += 0.05 * (min(1.0, 2 * weight) - share)
        weights.append(weight)
    assert min(weights) >= 0 and share == pytest.approx(target, abs=0.01)
