import copy
import itertools
import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib import lab
from minilib.handwriting import (
    PredictionNet,
    SynthesisNet,
    log_density,
    nats_per_point,
    write,
)
from minilib.lab import strokes
from minilib.naive import handwriting as naive

# -- answers that are wrong ------------------------------------------------------------------------


def textbook_form(y, x):  # 1 - ρ² is 0 where the pen is sure, and exp(-Z / ...) far away
    e_hat, (pi, mu1, mu2, s1, s2, r) = y[..., 0], np.split(y[..., 1:], 6, axis=-1)
    u, v, rho = (x[..., :1] - mu1) / np.exp(s1), (x[..., 1:2] - mu2) / np.exp(s2), np.tanh(r)
    N = np.exp(-(u**2 + v**2 - 2 * rho * u * v) / 2 / (1 - rho**2)) / np.sqrt(1 - rho**2)
    N, pi, e = N / (2 * np.pi * np.exp(s1 + s2)), np.exp(pi), 1 / (1 + np.exp(e_hat))
    p = (pi / pi.sum(-1, keepdims=True) * N).sum(-1)
    return np.log(p * np.where(x[..., 2] == 1, e, 1 - e))


def components_side_by_side(y, x):  # (M, 6) in place of (6, M)
    parts = y[..., 1:].reshape(*y.shape[:-1], -1, 6).swapaxes(-1, -2)
    return naive.log_density(np.concatenate([y[..., :1], parts.reshape(y[..., 1:].shape)], -1), x)


def mean_over_points(y, x):
    return np.full(x.shape[:-1], naive.log_density(y, x).mean())


def sees_its_own_point(params, points, *, layers=1):
    longer = np.concatenate([points, points[:, -1:]], axis=1)
    return naive.prediction(params, longer, layers=layers)[:, 1:]


def one_line_after_the_other(params, points, *, layers=1):  # the state is carried on
    out = naive.prediction(params, points.reshape(1, -1, 3), layers=layers)
    return out.reshape(*points.shape[:2], -1)


def text_of_the_first_line_for_all(params, points, text, *, layers=1):
    return naive.synthesis(params, points, np.repeat(text[:1], len(text), 0), layers=layers)


def padding_is_the_last_letter(params, points, text, *, layers=1):
    alphabet = params["layers.0.W_x"].shape[1] - 3
    return naive.synthesis(params, points, np.where(text < 0, alphabet - 1, text), layers=layers)


READS = "np.concatenate([x, below, w])"
STACK = {
    "upper_layers_without_the_point": (READS, "np.concatenate([x * (k == 0), below, w])"),
    "below_before_the_point": (READS, "np.concatenate([below, x, w])"),
    "top_layer_alone_speaks": ("h for h, _ in after", "h * (h is below) for h, _ in after"),
    "top_layer_first": ("for h, _ in after]", "for h, _ in after[::-1]]"),
    "cells_for_outputs": ("[h for h, _ in after]", "[c for _, c in after]"),
    "first_input_is_the_first_point": ("layers), np.zeros(3)  #", "layers), points[b, 0]  #"),
    "starts_at_one": ("(np.zeros(n), np.zeros(n))", "(np.ones(n), np.zeros(n))"),
    "gates_i_o_g_f": (
        "h, c, _ = lstm_step(",
        "W_x, W_h, b = (np.concatenate(np.split(v, 4)[::-1]) for v in (W_x, W_h, b))\n"
        "        h, c, _ = lstm_step(",
    ),
    "no_peepholes": ("peep, b)\n        after", "0 * peep, b)\n        after"),
}
WRONG = {
    naive.log_density: [
        *edited(
            naive.log_density,
            pen_the_wrong_way_round=("end = x[at][2]", "end = 1 - x[at][2]"),
            weights_not_normalised=("pi_hat - _logsumexp(pi_hat)  #", "pi_hat  #"),
            nearest_component_alone=("_logsumexp(np.array(terms))", "max(terms)"),
            two_pi_left_out=("-np.log(2 * np.pi) - s1", "-s1"),
            deviations_left_out_of_the_area=("(2 * np.pi) - s1 - s2", "(2 * np.pi)"),
            no_correlation=("q = abs(rho_hat) +", "rho_hat = 0\n    q = abs(rho_hat) +"),
            variances_for_deviations=("u, v = (x[0]", "s1, s2 = s1 / 2, s2 / 2\n    u, v = (x[0]"),
        ),
        textbook_form,
        components_side_by_side,
        mean_over_points,
    ],
    naive.prediction: [
        *edited(naive.prediction, **STACK),
        sees_its_own_point,
        one_line_after_the_other,
    ],
    naive.synthesis: [
        *edited(
            naive.synthesis,
            **STACK,
            window_from_the_top=("if k == 0 and", "if k == layers - 1 and"),
            upper_layers_read_the_window_before=(READS, "np.concatenate([x, below, state[1]])"),
            window_starts_anew_at_each_point=("kappa, text, len(w))", "0 * kappa, text, len(w))"),
            window_forgotten=("return y, (after, w, kappa)", "return y, (after, 0 * w, kappa)"),
            no_bias_of_the_window=('@ h + params["b_p"]', "@ h"),
        ),
        text_of_the_first_line_for_all,
        padding_is_the_last_letter,
    ],
    naive.write: edited(
        naive.write,
        never_stops=("if not led and phi", "if False and phi"),
        stops_a_point_late=("lengths[b] = t\n", "lengths[b] = t + 1\n"),
        stops_while_it_is_led=("if not led and phi", "if phi"),
        looks_at_the_last_letter_alone=("phi[:-1].max()", "phi[-2]"),
        stops_where_equal=("phi[-1] > phi", "phi[-1] >= phi"),
        padding_belongs_to_the_text=("text[b][text[b] >= 0]", "text[b]"),
        all_are_led_equally_long=("t < prime[1][b]", "t < prime[1].max()"),
        never_led=("if led else draw", "if False else draw"),
        bias_sharpens_no_weights=("(pi_hat - pi_hat.max()) * (1 + bias)", "pi_hat - pi_hat.max()"),
        bias_narrows_nothing=("s1[j] - bias", "s1[j]", "s2[j] - bias", "s2[j]"),
        likeliest_component=("    # noise of variance 1", "    j = pi.argmax()  #"),
        no_correlation=("np.tanh(rho_hat[j]) * noise[1]", "0 * noise[1]"),
        pen_the_wrong_way_round=("noise[3] < 1", "noise[3] >= 1"),
        pen_rounded=("noise[3] < 1", "0.5 < 1"),
        weights_overflow=("pi_hat - pi_hat.max()", "pi_hat"),
        draws_what_weighs_nothing=("<= noise[0]", "< noise[0]"),
    ),
}


def mixture(M, *shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    y, x = (torch.randn(*shape, n, generator=generator, dtype=dtype) for n in (1 + 6 * M, 3))
    return y, x


def noise(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    parts = [(torch.rand, 1), (torch.randn, 2), (torch.rand, 1)]
    return torch.cat([f(*shape, n, generator=generator, dtype=dtype) for f, n in parts], -1)


def small(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"alphabet": 5, "width": 6, "layers": 2, "mixtures": 3, "gaussians": 2}
    return SynthesisNet(**(sizes | changes))


# -- the density -----------------------------------------------------------------------------------


def test_density_by_hand():
    # a standard normal at its centre, and a fair coin for the pen: 1 / 2π · 1 / 2
    y, x = torch.zeros(7, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    assert abs(log_density(y, x).item() + math.log(4 * math.pi)) < 1e-12
    # e = 1 / (1 + exp ê): ê = ln 3 ends a stroke one time in four
    y[0] = math.log(3)
    ends, goes = log_density(y, torch.tensor([0.0, 0, 1]).double()), log_density(y, x)
    assert abs((ends - goes).item() + math.log(3)) < 1e-12
    # twice as wide in x, one standard deviation off: ln 2 and one half less
    y[3 + 1] = math.log(2)
    off = log_density(y, torch.tensor([2.0, 0, 0]).double())
    assert abs((off - goes).item() + math.log(2) + 0.5) < 1e-12


def test_density_is_that_of_torch_distributions():
    y, x = mixture(4, 6)
    x[:, 2] = torch.tensor([0, 1, 0, 1, 1, 0])
    e_hat, (pi, mu1, mu2, s1, s2, rho_hat) = y[:, 0], y[:, 1:].view(6, 6, 4).unbind(1)
    cross = torch.tanh(rho_hat) * torch.exp(s1 + s2)
    covariance = torch.stack([torch.exp(2 * s1), cross, cross, torch.exp(2 * s2)], -1)
    covariance = covariance.unflatten(-1, (2, 2))
    normal = torch.distributions.MultivariateNormal(torch.stack([mu1, mu2], -1), covariance)
    peer = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=pi), normal)
    want = peer.log_prob(x[:, :2]) + torch.distributions.Bernoulli(logits=-e_hat).log_prob(x[:, 2])
    torch.testing.assert_close(log_density(y, x), want)


def test_density_integrates_to_one():
    y = 0.3 * mixture(3, 1)[0]
    axis = torch.linspace(-15, 15, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, torch.tensor([0.0, 1.0]).double())
    assert abs(log_density(y.expand(len(grid), -1), grid).exp().sum().item() * 0.05**2 - 1) < 1e-4


def textbook(y, x):
    """Graves 2013, eq. 24-25 as printed, one component."""
    mu1, mu2, s1, s2, rho_hat = y[..., 2:].unbind(-1)
    s1, s2, rho = torch.exp(s1), torch.exp(s2), torch.tanh(rho_hat)
    u, v = (x[..., 0] - mu1) / s1, (x[..., 1] - mu2) / s2
    Z = u**2 + v**2 - 2 * rho * u * v
    area = 2 * math.pi * s1 * s2 * torch.sqrt(1 - rho**2)
    return torch.log(torch.exp(-Z / (2 * (1 - rho**2))) / area) + math.log(0.5)


def test_the_stable_form_is_the_textbook_one_and_goes_further():
    y, x = mixture(1, 50)
    y[:, 0] = 0
    printed = textbook(y, x)
    finite = torch.isfinite(printed)  # far away the exponential underflows even in float64
    assert finite.sum() > 40
    torch.testing.assert_close(log_density(y, x)[finite], printed[finite])
    y, x = torch.zeros(7), torch.tensor([0.3, 0.3, 0.0])
    y[6] = 30.0
    assert not torch.isfinite(textbook(y, x))
    want = log_density(y.double(), x.double())
    torch.testing.assert_close(log_density(y, x).double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_float32_stays_finite_where_pens_are_sure(sign):
    y, x = torch.zeros(2, 13), torch.tensor([[1e-5, sign * 2e-5, 1.0], [1.0, -sign, 0.0]])
    y[:, 7:11], y[:, 11:] = -12.0, sign * 30.0
    y.requires_grad_()
    total = log_density(y, x)
    total.sum().backward()
    assert torch.isfinite(total).all() and torch.isfinite(y.grad).all()
    far = torch.tensor([1e4, -1e4, 0.0])  # from every component
    assert torch.isfinite(log_density(torch.zeros(7), far))


def test_hand_derived_gradient_is_autograds():
    y, x = mixture(4, 7)
    y[0, 21:], y[1, 21:] = 12.0, -12.0
    y.requires_grad_()
    log_density(y, x).sum().backward()
    by_hand = naive.log_density_gradient(y.detach().numpy(), x.numpy())
    np.testing.assert_allclose(y.grad, by_hand, rtol=1e-9, atol=1e-12)
    assert torch.autograd.gradcheck(log_density, [v.requires_grad_() for v in mixture(3, 2)])


def test_doubling_every_offset_costs_ln_4():
    y, x = mixture(3, 5)
    moved = y.clone()
    moved[:, 4:10] *= 2  # the means
    moved[:, 10:16] += math.log(2)
    got = log_density(moved, x * torch.tensor([2, 2, 1]))
    torch.testing.assert_close(got, log_density(y, x) - math.log(4))


# -- the nets --------------------------------------------------------------------------------------


def test_prediction_net_is_torch_lstm_and_a_linear_layer():
    net = PredictionNet(width=5, mixtures=2).double()
    peer, layer = torch.nn.LSTM(3, 5, batch_first=True).double(), net.layers[0]
    weights = {"weight_ih_l0": layer.W_x, "weight_hh_l0": layer.W_h}
    biases = {"bias_ih_l0": layer.b, "bias_hh_l0": 0 * layer.b}
    peer.load_state_dict(weights | biases)
    points = torch.randn(2, 6, 3, dtype=torch.float64)
    zero = torch.zeros(2, 1, 3).double()  # the first input
    before = torch.cat([zero, points[:, :-1]], 1)
    torch.testing.assert_close(net(points), peer(before)[0] @ net.W_y.t() + net.b_y)


@pytest.mark.parametrize(
    "net", [PredictionNet(width=6, layers=2, mixtures=3), small()], ids=["prediction", "synthesis"]
)
def test_no_point_reaches_the_density_of_itself_or_earlier_ones(net):
    text = [torch.tensor([[1, 2, 3]])] if isinstance(net, SynthesisNet) else []
    points = torch.randn(1, 8, 3)
    moved = points.clone()
    moved[:, 4] += 1
    before, after = net(points, *text), net(moved, *text)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_a_padded_batch_is_its_lines_one_by_one():
    net, lines = small(alphabet=len(strokes.ALPHABET)), strokes.lines("validation", 3)
    batch = strokes.pad(lines)
    together = nats_per_point(net, batch)
    alone = [strokes.pad([line]) for line in lines]
    nats = torch.stack([nats_per_point(net, one) for one in alone])
    torch.testing.assert_close(together, nats.mean())
    y = net(*batch[:2])
    for row, (points, text, lengths) in enumerate(alone):
        torch.testing.assert_close(y[row, : lengths[0]], net(points, text)[0])
    batch[0][0, batch[2][0] :] = 1e3  # what stands after a line's end is no matter
    torch.testing.assert_close(nats_per_point(net, batch), together)


def test_points_read_one_by_one_are_points_read_at_once():
    net, points, text = small(), torch.randn(2, 6, 3), torch.tensor([[1, 2, 3], [4, 0, -1]])
    state, steps = net.init_state(2), []
    for x in points.unbind(1):
        y, state, _ = net.extend(x[:, None], text, state)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, 1), net.extend(points, text, net.init_state(2))[0])


both = pytest.mark.parametrize(
    "net", [PredictionNet(6, 2, 3).double(), small().double()], ids=["prediction", "synthesis"]
)


def leaves(state):
    cells, w, kappa = state
    return [leaf for leaf in (*itertools.chain(*cells), w, kappa) if leaf.numel()]


@both
def test_a_state_holds_no_more_memory_than_its_numbers_need(net):
    text, state = torch.tensor([[1, 2, 3]]), net.init_state(1)
    for time in (500, 1, 50):
        _, state, _ = net.extend(torch.randn(1, time, 3, dtype=torch.float64), text, state)
        for leaf in leaves(state):
            assert leaf.untyped_storage().nbytes() == leaf.numel() * leaf.element_size()


@both
def test_a_row_alone_equals_the_row_in_a_batch(net):
    points = torch.randn(3, 8, 3, dtype=torch.float64)
    text = torch.tensor([[1, 2], [3, -1], [0, 4]])
    y, state, _ = net.extend(points, text, net.init_state(3))
    for k in range(3):
        row = slice(k, k + 1)
        alone, after, _ = net.extend(points[row], text[row], net.init_state(1))
        for got, want in zip([alone, *leaves(after)], [y, *leaves(state)], strict=True):
            torch.testing.assert_close(got, want[row], rtol=1e-12, atol=1e-12)


@both
def test_parameters_are_touched_only_inside_their_module(net):
    """So that sharding and checkpointing work: outside of its forward a layer has none."""
    net, text = copy.deepcopy(net), torch.tensor([[1, 2, 3]])
    points = torch.randn(1, 8, 3, dtype=torch.float64)
    want = net.extend(points, text, net.init_state(1))[0]
    for layer in net.layers:
        show = lambda layer, inputs, own=dict(layer._parameters): layer._parameters.update(own)
        layer.register_forward_pre_hook(show)
        layer.register_forward_hook(lambda layer, *_: layer._parameters.clear())
        layer._parameters.clear()
    assert torch.equal(net.extend(points, text, net.init_state(1))[0], want)


@both
def test_a_second_derivative_is_refused(net):
    text = [torch.tensor([[1, 2, 3]])] if isinstance(net, SynthesisNet) else []
    y = net(torch.randn(1, 8, 3, dtype=torch.float64), *text)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(y.sum(), list(net.parameters()), create_graph=True)


@both
def test_the_check_of_the_text_does_not_stop_compilation(net):
    text = [torch.tensor([[1, 2, 3]])] if isinstance(net, SynthesisNet) else []
    points = torch.randn(1, 4, 3, dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(points, *text), net(points, *text), rtol=1e-12, atol=1e-12)


def test_the_window_starts_at_its_pace():
    phi = small(pace=0.1).look(torch.randn(1, 40, 3), torch.tensor([[0, 1, 2, 3, 4]]))
    # after 35 points of a tenth of a letter
    assert abs(phi[0].argmax(-1)[34].item() + 1 - 3.5) <= 1


# -- writing ---------------------------------------------------------------------------------------


def test_first_points_have_the_mixtures_mean_and_spread():
    """5,000 first points; a false alarm of a mean takes five standard errors, of a spread seven."""
    net, B = small(), 5_000
    text = torch.ones(B, 2, dtype=torch.int64)
    with torch.no_grad():
        y = net(torch.zeros(1, 1, 3), text[:1])[0, 0].double()
    e_hat, (pi, mu1, mu2, s1, s2, rho_hat) = y[0], y[1:].view(6, 3)
    pi, s1, s2, rho = pi.softmax(0), s1.exp(), s2.exp(), torch.tanh(rho_hat)
    drawn, _ = write(net.state_dict(), text, noise(B, 1))
    mean = torch.stack([(pi * mu1).sum(), (pi * mu2).sum()])
    squares = mu1**2 + s1**2, mu2**2 + s2**2, mu1 * mu2 + rho * s1 * s2
    second = torch.stack([(pi * square).sum() for square in squares])
    spread = second - torch.stack([mean[0] ** 2, mean[1] ** 2, mean[0] * mean[1]])
    dx, dy, end = drawn[:, 0].double().unbind(-1)
    assert abs(dx.mean() - mean[0]) < 5 * math.sqrt(spread[0] / B)
    assert abs(dy.mean() - mean[1]) < 5 * math.sqrt(spread[1] / B)
    found = torch.stack([dx.var(), dy.var(), ((dx - dx.mean()) * (dy - dy.mean())).mean()])
    assert ((found - spread).abs() < 0.1 * spread[:2].mean()).all()
    assert abs(end.mean() - torch.sigmoid(-e_hat)) < 0.04


def test_bias_makes_points_less_varied():
    text = torch.ones(2_000, 2, dtype=torch.int64)
    spreads = []
    for b in (0.0, 0.5, 1.0, 2.0):
        points, _ = write(small().state_dict(), text, noise(2_000, 1), bias=b)
        spreads.append(points[:, 0, :2].var(0).sum().item())
    assert all(a > b for a, b in itertools.pairwise(spreads))


def test_lines_written_together_are_lines_written_alone():
    params, text = small(pace=0.3).state_dict(), torch.tensor([[1, 2, 3], [4, -1, -1]])
    z = noise(2, 30)
    points, lengths = write(params, text, z)
    assert lengths[1] < lengths[0] < 30
    for row in range(2):
        alone, length = write(params, text[row : row + 1, : 3 - 2 * row], z[row : row + 1])
        assert length[0] == lengths[row]
        torch.testing.assert_close(points[row, : lengths[row]], alone[0, : lengths[row]])
        assert not points[row, lengths[row] :].any()


def test_the_prime_is_written_as_it_was():
    net, text = small(pace=0.3), torch.tensor([[1, 2, 3], [4, 0, -1]])
    led = torch.randn(2, 4, 3)
    points, _ = write(net.state_dict(), text, noise(2, 20), prime=(led, torch.tensor([4, 2])))
    assert torch.equal(points[0, :4], led[0]) and torch.equal(points[1, :2], led[1, :2])
    assert not torch.equal(points[1, 2:4], led[1, 2:])


def test_writing_leaves_weights_and_random_numbers_alone():
    params = small().state_dict()
    before, state = {name: value.clone() for name, value in params.items()}, torch.get_rng_state()
    write(params, torch.tensor([[1]]), noise(1, 5))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in params.items())


# -- what is refused -------------------------------------------------------------------------------


def test_refusals():
    net = small()
    for y, x in [
        (torch.zeros(8), torch.zeros(3)),
        (torch.zeros(7), torch.zeros(2)),
        (torch.zeros(2, 7), torch.zeros(3, 3)),
        (torch.zeros(1), torch.zeros(3)),
    ]:
        with pytest.raises(ValueError, match=r"y must have shape \(\.\.\., 1 \+ 6M\)"):
            log_density(y, x)
    for points in (torch.zeros(1, 0, 3), torch.zeros(1, 4, 2), torch.zeros(4, 3)):
        with pytest.raises(ValueError, match=r"points must have shape \(batch, time ≥ 1, 3\)"):
            PredictionNet(4)(points)
    points = torch.zeros(1, 4, 3)
    for text, words in [
        (torch.zeros(1, 0, dtype=torch.int64), "text must have at least one letter"),
        (torch.tensor([[-1, 2]]), "text must have at least one letter"),
        (torch.tensor([[5]]), "text must hold letters below 5"),
        (torch.tensor([[1, -1, 2]]), "text must hold letters below 5, then only -1"),
        (torch.tensor([[1], [2]]), "text must be integers of shape"),
        (torch.tensor([[1.0]]), "text must be integers of shape"),
    ]:
        with pytest.raises(ValueError, match=words):
            net(points, text)
    with pytest.raises(ValueError, match="noise must have shape"):
        write(net.state_dict(), torch.tensor([[1]]), torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match="bias be 0 or more"):
        write(net.state_dict(), torch.tensor([[1]]), torch.zeros(1, 5, 4), bias=-1)
    with pytest.raises(ValueError, match="width"):
        PredictionNet(0)
    with pytest.raises(ValueError, match="gaussians"):
        SynthesisNet(gaussians=0)


# -- the shipped weights ---------------------------------------------------------------------------


def test_shipped_weights_score_what_their_record_says():
    net, record = lab.load(SynthesisNet)
    with torch.no_grad():
        score = nats_per_point(net, strokes.pad(strokes.lines("test", 40))).item()
    assert abs(score - record["test_nats_per_point_of_first_40"]) < 1e-3
    assert "test_nats_per_point" in record


def script():
    """data/weights/handwriting.py, which belongs to no package."""
    return lab.data.script("handwriting")


def test_warping_in_time_by_hand_and_by_one_loop():
    distances, rng = script().distances, np.random.default_rng(0)
    one, twice = np.array([[0.0], [1]]), np.array([[0.0], [0], [1], [1]])
    # 4 and 4: the way round by the 1 beside the 2 would pay one more
    assert distances(one, [one, twice, one + 2]) == [0, 0, 8]
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    slow = np.full((5, 6), np.inf)
    slow[0, 0] = 0
    for i, j in itertools.product(range(4), range(5)):
        before = min(slow[i, j + 1], slow[i + 1, j], slow[i, j])
        slow[i + 1, j + 1] = ((a[i] - b[j]) ** 2).sum() + before
    np.testing.assert_allclose(distances(a, [b[:3], b]), [slow[4, 3], slow[4, 5]])


def test_the_shipped_net_writes_an_x_that_is_read_as_meant():
    """The plays hold few x; without more of them the net wrote a poor one."""
    net, record = lab.load(SynthesisNet)
    recorded = record["read_as_meant"]
    assert set(recorded) == set("abcdefghijklmnopqrstuvwxyz")
    share = script().read_as_meant(net, "x")["x"]
    assert share >= 0.85 and abs(share - recorded["x"]) < 0.1  # one word in twelve
    assert record["start"]["read_as_meant"]["x"] < 0.85


def test_the_window_of_the_shipped_net_visits_every_letter_of_words_it_never_saw():
    net, _ = lab.load(SynthesisNet)
    plays = lab.data.shakespeare("play")
    seen, met = (set(part.decode().split()) for part in (plays.train, plays.test))
    plain = lambda word: word.isalpha() and word.islower() and word.isascii()
    words = [word for word in sorted(met - seen) if plain(word) and 3 <= len(word) <= 10]
    words = words[:: len(words) // 100][:100]
    # the space: something to wait on while the last letter is finished
    ids = [strokes.encode(f"{word} ") for word in words]
    text = torch.tensor([row + [-1] * (11 - len(row)) for row in ids])
    points, lengths = write(net.state_dict(), text, noise(100, 250), bias=1.0)
    phi = net.look(points, text)
    followed = 0
    for look, length, U in zip(phi, lengths, map(len, words), strict=True):
        peaks = look[:length].argmax(-1).tolist()
        first = [peaks.index(u) for u in range(U) if u in peaks]
        followed += len(first) == U and first == sorted(first) and length < 250
    assert followed >= 95
