"""Hyena: its filter, its matrix, its state, and what it may cost."""

import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.convolution import causal_conv
from minilib.hyena import Hyena, HyenaOperator, ImplicitFilter, gated_conv
from minilib.lab.measure import peak_bytes
from minilib.naive import hyena as naive

# -- answers that are wrong ------------------------------------------------------------------------


def features_of_the_text_not_of_the_context(params, L, *, context, bands):
    return naive.implicit_filter(params, L, context=L, bands=bands)


def frequency_outside_the_sine(params, L, *, context, bands):
    once = params | {"frequency": np.ones_like(params["frequency"])}
    return naive.implicit_filter(once, L, context=context, bands=bands)


def no_first_gate(x0, x1, v, h, skip):
    return naive.gated_conv(x0, np.ones_like(x1), v, h, skip)


def no_second_gate(x0, x1, v, h, skip):
    return naive.gated_conv(np.ones_like(x0), x1, v, h, skip)


def gates_exchanged(x0, x1, v, h, skip):
    return naive.gated_conv(x1, x0, v, h, skip)


def no_skip(x0, x1, v, h, skip):
    return naive.gated_conv(x0, x1, v, h, 0 * skip)


def skip_of_the_value_alone(x0, x1, v, h, skip):
    return naive.gated_conv(x0, x1, v, h, 0 * skip) + x0 * skip[:, None] * v


def on_a_circle(x0, x1, v, h, skip):
    L, gated = v.shape[-1], x1 * v
    circle = np.fft.ifft(np.fft.fft(h[:, :L], L) * np.fft.fft(gated)).real
    return x0 * (circle + skip[:, None] * gated)


def filter_reversed(x0, x1, v, h, skip):
    return naive.gated_conv(x0, x1, v, h[:, ::-1], skip)


def no_short_filter(params, u, *, context, bands):
    one = np.zeros_like(params["short"])
    one[:, 2] = 1
    return naive.hyena_operator(params | {"short": one}, u, context=context, bands=bands)


def value_first(params, u, *, context, bands):
    D = u.shape[2]
    rows = np.r_[2 * D : 3 * D, :D, D : 2 * D]  # v, x0, x1
    names = ("into.weight", "into.bias", "short", "short_bias")
    turned = params | {name: params[name][rows] for name in names}
    return naive.hyena_operator(turned, u, context=context, bands=bands)


WRONG = {
    naive.implicit_filter: [
        features_of_the_text_not_of_the_context,
        frequency_outside_the_sine,
        *edited(
            naive.implicit_filter,
            plus_sine=("-math.sin(f * w)", "math.sin(f * w)"),
            bands_one_too_far=("(bands - 1 - 1e-4)", "(bands - 1e-4)"),
            cosine_and_sine_in_turn=(
                "out[k, 1 + b], out[k, 1 + bands + b]",
                "out[k, 1 + 2 * b], out[k, 2 + 2 * b]",
            ),
            no_window=(" * np.exp(-rates * features[0])", ""),
            a_window_of_lags_not_of_shares=("features[0])", "features[0] * context)"),
            fastest_channel_first=("np.linspace(math.log(100) / 1.5, math.log(100) / 0.3, D)",
                                   "np.linspace(math.log(100) / 0.3, math.log(100) / 1.5, D)"),
            one_sine_fewer=("for n in range(2):", "for n in range(1):"),
        ),
    ],
    naive.gated_conv: [
        no_first_gate,
        no_second_gate,
        gates_exchanged,
        no_skip,
        skip_of_the_value_alone,
        on_a_circle,
        filter_reversed,
    ],
    naive.hyena_operator: [
        no_short_filter,
        value_first,
        *edited(
            naive.hyena_operator,
            newest_symbol_first=('params["short"][:, ::-1]', 'params["short"]'),
            looks_past_the_context=("min(u.shape[1], context)", "u.shape[1]"),
        ),
    ],
    naive.hyena_lm: edited(
        naive.hyena_lm,
        no_residual_around_the_operator=("x = x + hyena_operator", "x = hyena_operator"),
        norm_after_the_operator=(
            'u = layer_norm(x, p["norm1.weight"], p["norm1.bias"])\n        x = x + ',
            'u = x\n        x = ',
        ),
        no_feed_forward=("x = x + (z", "x = x + 0 * (z"),
        no_last_norm=(
            "return layer_norm(x, params[\"norm.weight\"], params[\"norm.bias\"])", "return x"
        ),
    ),
}  # fmt: skip


# -- the filter ------------------------------------------------------------------------------------


def test_features_by_hand():
    got = naive.filter_features(3, context=4, bands=2)
    w = 2 * math.pi / 4  # of lag 1; the two bands are 1e-4 and 1
    expected = [
        [0, 1, 1, 0, 0],
        [0.25, math.cos(1e-4 * w), 0, -math.sin(1e-4 * w), -1],
        [0.5, math.cos(2e-4 * w), -1, -math.sin(2e-4 * w), 0],
    ]
    np.testing.assert_allclose(got, expected, atol=1e-15)


def test_a_filter_by_hand():
    # one unit whose sines see 0 + π/2 at every layer, ω = 1: all are 1, and the window is left
    module = ImplicitFilter(width=2, context=10, hidden=1, bands=1).double()
    with torch.no_grad():
        for layer in (module.first, *module.middle):
            layer.weight.zero_()
            layer.bias.fill_(math.pi / 2)
        module.frequency.fill_(1.0)
        module.last.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        h = module(11)
    t = torch.arange(11, dtype=torch.float64) / 10  # the window is 0.01 at 1.5 and at 0.3 contexts
    expected = torch.stack([0.01 ** (t / 1.5), -2 * 0.01 ** (t / 0.3)])
    torch.testing.assert_close(h, expected, rtol=1e-12, atol=0)


def test_a_lag_has_the_same_tap_in_a_short_text_and_in_a_long_one():
    torch.manual_seed(0)
    module = ImplicitFilter(3, context=64).double()
    torch.testing.assert_close(module(64)[:, :9], module(9), rtol=0, atol=1e-12)


def test_weights_do_not_grow_with_the_context():
    sizes = [sum(p.numel() for p in Hyena(context=n).parameters()) for n in (64, 65_536)]
    assert sizes[0] == sizes[1]


# -- the operator ----------------------------------------------------------------------------------


def test_two_gates_by_hand():
    row = lambda *values: torch.tensor([[values]], dtype=torch.float64)
    x0, x1, v = row(1, 0, 2), row(2, 1, 0.5), row(1, 3, 4)
    # x1 ⊙ v is 2 3 2; with h = 1 10 the sums are 2, 3 + 20, 2 + 30, and a skip of 100 adds
    got = gated_conv(x0, x1, v, row(1, 10)[0], row(100)[0, 0])
    assert got.tolist() == row(202, 0, 464).tolist()


def test_it_is_a_matrix_that_the_data_choose():
    """D_x0 T_h D_x1 + skip on the diagonal, written out: HyenaDNA's form."""
    torch.manual_seed(0)
    x0, x1, v = torch.randn(3, 2, 3, 9, dtype=torch.float64)
    h, skip = torch.randn(3, 9, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    for b in range(2):
        for c in range(3):
            T = torch.zeros(9, 9, dtype=torch.float64)
            for i in range(9):
                for j in range(i + 1):
                    T[i, j] = h[c, i - j]
            M = (
                torch.diag(x0[b, c])
                @ (T + skip[c] * torch.eye(9, dtype=torch.float64))
                @ torch.diag(x1[b, c])
            )
            got = gated_conv(x0, x1, v, h, skip)[b, c]
            torch.testing.assert_close(got, M @ v[b, c], rtol=0, atol=1e-13)


def test_a_filter_that_is_an_impulse_leaves_the_product():
    torch.manual_seed(0)
    x0, x1, v = torch.randn(3, 1, 4, 8, dtype=torch.float64)
    impulse = torch.zeros(4, 8, dtype=torch.float64)
    impulse[:, 0] = 1
    got = gated_conv(x0, x1, v, impulse, torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(got, x0 * x1 * v, rtol=0, atol=1e-14)


def test_gradients_are_those_of_autograd():
    torch.manual_seed(0)
    x0, x1, v = (torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True) for _ in range(3))
    h = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(3, dtype=torch.float64, requires_grad=True)
    dy, inputs = torch.randn(2, 3, 7, dtype=torch.float64), (x0, x1, v, h, skip)
    plain = x0 * (causal_conv(h, x1 * v) + skip[:, None] * x1 * v)
    expected = torch.autograd.grad(plain, inputs, dy)
    got = torch.autograd.grad(gated_conv(*inputs), inputs, dy)
    for mine, want in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, want, rtol=0, atol=1e-12)


def test_nothing_is_as_large_as_length_times_length():
    B, D, L = 1, 4, 8192
    inputs = [torch.randn(B, D, L, requires_grad=True) for _ in range(3)]
    h, skip = torch.randn(D, L), torch.randn(D)
    used = peak_bytes(lambda: gated_conv(*inputs, h, skip).sum().backward())
    assert used < 40 * B * D * L * 4  # one row of L × L alone is 64 times as large as an input


# -- the model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [(1, 1, 1, 17), (3, 9, 8), (19, 1), (5, 15)])
def test_pieces_equal_the_whole_also_past_the_context(pieces):
    torch.manual_seed(0)
    model = Hyena(11, width=6, layers=2, context=7, hidden=5).double()
    ids = torch.randint(11, (2, 20))
    state, rows = model.init_state(2), []
    for piece in ids.split(pieces, dim=1):
        logits, state = model.extend(piece, state)
        rows.append(logits)
    torch.testing.assert_close(torch.cat(rows, 1), model(ids), rtol=0, atol=1e-11)
    for short, past in state:
        assert short.shape == (2, 18, 2) and past.shape == (2, 6, 6)  # context - 1 numbers


def test_a_context_of_one_symbol_keeps_no_past():
    torch.manual_seed(0)
    model = Hyena(5, width=4, layers=1, context=1, hidden=3).double()
    ids, state, rows = torch.randint(5, (1, 6)), model.init_state(1), []
    for t in range(6):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), model(ids), rtol=0, atol=1e-12)
    assert state[0][1].shape == (1, 4, 0)


def test_what_is_out_of_reach_changes_nothing():
    torch.manual_seed(0)
    model = Hyena(7, width=4, layers=1, context=5, hidden=3).double()
    ids = torch.randint(7, (1, 12))
    other = ids.clone()
    other[0, 0] = (ids[0, 0] + 1) % 7
    change = (model(ids) - model(other)).abs().amax(-1)[0]
    # a long filter of 5 taps behind a short one of 3 sees 6 symbols back
    assert (change[:7] > 1e-8).all() and (change[7:] < 1e-12).all()


def test_bfloat16_under_autocast():
    torch.manual_seed(0)
    operator, u = HyenaOperator(8, context=32), torch.randn(2, 20, 8)
    with torch.autocast("cpu", torch.bfloat16):
        got = operator(u)
    assert got.dtype == torch.bfloat16
    assert (got.float() - operator(u)).abs().max() < 0.05 * operator(u).abs().max()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"width": 0}, "width must be"),
        ({"context": 0}, "context must be"),
        ({"hidden": -1}, "hidden must be"),
        ({"bands": 0}, "bands must be"),
        ({"layers": 0}, "layers must be"),
        ({"vocab_size": 0}, "vocab_size must be"),
    ],
)
def test_sizes_below_one_are_refused(made, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Hyena(**({"vocab_size": 5, "width": 4} | made))


def test_what_does_not_fit_is_refused():
    x = torch.zeros(2, 3, 5)
    for name, change in [
        ("x0", {"x0": x[0]}),
        ("x1", {"x1": x[:, :, :4]}),
        ("v", {"v": x[:1]}),
        ("h", {"h": torch.zeros(2, 5)}),
        ("skip", {"skip": torch.zeros(1)}),
    ]:
        inputs = {"x0": x, "x1": x, "v": x, "h": torch.zeros(3, 5), "skip": torch.zeros(3)}
        with pytest.raises(ValueError, match=f"^{name} must have shape"):
            gated_conv(**(inputs | change))
    with pytest.raises(ValueError, match="u must have shape"):
        HyenaOperator(4, context=8)(torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match="L must be"):
        ImplicitFilter(4, context=8)(0)
