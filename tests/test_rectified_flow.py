"""Rectified flow: closed forms, who sees whom, what is read once, guidance, the trained net."""

import itertools

import pytest
import torch
from mutants import edited

from minilib import lab
from minilib.naive import rectified_flow as naive
from minilib.rectified_flow import (
    FlowNet,
    euler,
    gaussian_velocity,
    generalised_causal_mask,
    guide,
    rf_pair,
    shift_t,
)

# -- answers that are wrong ------------------------------------------------------------------------

WRONG = {
    naive.rf_pair: edited(
        naive.rf_pair,
        the_other_sign=("return x_t, n - x0", "return x_t, x0 - n"),
        time_the_other_way=("(1 - t[b]) * x0[b] + t[b] * n[b]", "t[b] * x0[b] + (1 - t[b]) * n[b]"),
        root_of_the_variance=("+ t[b] * n[b]", "+ np.sqrt(t[b]) * n[b]"),
    ),
    naive.shift_t: edited(
        naive.shift_t,
        the_other_way=("return s * t / (1 + (s - 1) * t)", "return t / (s - (s - 1) * t)"),
        scaled=("return s * t / (1 + (s - 1) * t)", "return s * t"),
    ),
    naive.euler: edited(
        naive.euler,
        away_from_the_data=("path[k] - (t[k]", "path[k] + (t[k]"),
        points_for_steps=(
            "shift_t(1 - k / steps, s)",
            "shift_t(max(0, 1 - k / max(1, steps - 1)), s)",
        ),
        no_shift=("shift_t(1 - k / steps, s)", "1 - k / steps"),
        velocity_at_the_end=("v(path[k], t[k])", "v(path[k], t[k + 1])"),
    ),
    naive.gaussian_velocity: edited(
        naive.gaussian_velocity,
        the_other_sign=("return -mu + covariance", "return mu - covariance"),
        spread_for_variance=("(1 - t) * s**2", "(1 - t) * s"),
        not_centred=("(x - (1 - t) * mu)", "x"),
    ),
    naive.guide: edited(
        naive.guide,
        from_the_caption=("v = unconditional + scale", "v = conditional + scale"),
        never_shorter=("min(max(ratio, renorm_min), 1.0)", "max(ratio, renorm_min)"),
        one_length_for_all=("(v[b] ** 2).sum()", "(v**2).sum()"),
    ),
    naive.generalised_causal_mask: edited(
        naive.generalised_causal_mask,
        one_off=("j <= i", "j < i"),
        text_sees_ahead=("(same and picture)", "same"),
        noised_is_seen=(") and not hidden", ")"),
        clean_is_hidden=('== "noised" and not same', '!= "text" and not same'),
        pictures_are_causal=("(j <= i or (same and picture))", "(j <= i)"),
    ),
    naive.flow_net: edited(
        naive.flow_net,
        causal_patches=('["text", "noised"]', '["text", "text"]'),
        one_expert=("kind[:, W:] = experts - 1", "pass"),
        positions_of_their_own=("*[W] * N]", "*range(W, W + N)]"),
        time_not_scaled=("1000 * t[b", "t[b"),
        columns_first=(
            "p // side * patch, p % side * patch",
            "p % side * patch, p // side * patch",
        ),
    ),
}


# -- closed forms ----------------------------------------------------------------------------------


def test_a_single_datum_is_reached_exactly_in_any_number_of_steps():
    x0 = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    noise = torch.randn(3, generator=torch.Generator().manual_seed(0)).double()
    for steps, s in ((1, 1.0), (2, 1.0), (7, 4.0)):
        path = euler(lambda x, t: (x - x0) / t, noise, steps, s)
        assert len(path) == steps + 1 and torch.equal(path[0], noise)
        torch.testing.assert_close(path[-1], x0, rtol=0, atol=1e-14)
        x, v = rf_pair(x0, noise, torch.full((3,), 0.3, dtype=torch.float64))
        torch.testing.assert_close((x - x0) / 0.3, v, rtol=1e-12, atol=1e-12)


def test_a_gaussian_and_the_error_that_halves():
    mu, s = 1.5, 0.4
    x1 = torch.linspace(-2, 2, 41, dtype=torch.float64)
    wanted = mu + s * x1  # the exact solution
    errors = []
    for steps in (5, 10, 20, 40, 80):
        end = euler(lambda x, t: gaussian_velocity(x, t, mu, s), x1, steps)[-1]
        errors.append((end - wanted).abs().max().item())
    assert [round(error, 3) for error in errors] == [0.230, 0.122, 0.063, 0.032, 0.016]
    for before, after in itertools.pairwise(errors):
        assert 1.8 < before / after < 2.1
    once = euler(lambda x, t: gaussian_velocity(x, t, mu, s), x1, 1)[-1]
    torch.testing.assert_close(once, torch.full_like(once, mu))  # one step: the mean


def test_the_gaussian_velocity_is_the_regression_optimum():
    """Least squares of n - x0 on x_t, from two million draws: slope and mean within 5 σ."""
    draw = torch.Generator().manual_seed(0)
    mu, s, t = 1.5, 0.4, 0.3
    x0, n = (torch.randn(2_000_000, generator=draw).double() for _ in range(2))
    x, v = rf_pair(mu + s * x0, n, torch.full((len(n),), t).double())
    slope = ((x - x.mean()) * v).mean() / x.var()
    at = torch.tensor([0.0, 1.0]).double()
    wanted = gaussian_velocity(at, t, mu, s)
    assert abs(slope - (wanted[1] - wanted[0])) < 0.01
    assert abs(v.mean() - slope * x.mean() - wanted[0]) < 0.01


def test_the_shift_is_a_change_of_clock():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert shift_t(0.5, 4.0) == 0.8  # 2 / 2.5
    torch.testing.assert_close(shift_t(shift_t(t, 4.0), 0.25), t)
    assert torch.equal(shift_t(t, 1.0), t)


# -- who sees whom ---------------------------------------------------------------------------------

ROWS = "1000000 1100000 1111000 1111000 1100110 1100110 1100111"


@pytest.mark.parametrize("room", [naive.generalised_causal_mask, generalised_causal_mask])
def test_the_example_of_four_splits(room):
    seen = room([2, 2, 2, 1], ["text", "noised", "clean", "text"])
    assert " ".join("".join(str(int(x)) for x in row) for row in seen) == ROWS


def net_and_inputs(experts=2):
    torch.manual_seed(0)
    net = FlowNet(5, side=8, patch=4, width=8, layers=2, heads=2, experts=experts).double()
    torch.nn.init.normal_(net.paint_out)
    return net, torch.randn(3, 8, 8).double(), torch.rand(3).double(), torch.randint(5, (3, 4))


def test_no_word_sees_a_patch_and_every_patch_sees_all():
    net, x, t, captions = net_and_inputs()
    velocity, logits = net(x, t, captions)
    other = x.clone()
    other[:, 7, 7] += 1  # the last patch
    moved, still = net(other, t, captions)
    assert torch.equal(still, logits)  # to the bit
    assert ((moved - velocity).abs().amax((0,)) > 1e-9).all()
    captions = captions.clone()
    captions[:, 3] = (captions[:, 3] + 1) % 5
    moved, logits_after = net(x, t, captions)
    assert torch.equal(logits_after[:, :3], logits[:, :3])  # words are causal
    assert ((moved - velocity).abs().amax((0,)) > 1e-9).all()


@pytest.mark.parametrize("experts", [1, 2])
def test_what_is_read_once_serves_every_step(experts):
    net, x, t, captions = net_and_inputs(experts)
    torch.manual_seed(1)
    noise = torch.randn_like(x)
    path = net.draw(captions, noise, steps=3)
    wanted = euler(
        lambda x, t: net(x, torch.full((3,), t, dtype=torch.float64), captions)[0], noise, 3
    )
    torch.testing.assert_close(path, wanted.detach(), rtol=1e-10, atol=1e-12)
    none = torch.zeros_like(captions)

    def guided(x, t):
        time = torch.full((3,), t, dtype=torch.float64)
        return guide(net(x, time, captions)[0], net(x, time, none)[0], 3.0, 0.2)

    path = net.draw(captions, noise, 3, 3.0, 2.0, 0.2)
    torch.testing.assert_close(path, euler(guided, noise, 3, 2.0).detach(), rtol=1e-9, atol=1e-9)


def test_words_and_patches_learn_apart():
    net, x, t, captions = net_and_inputs()
    net(x, t, captions)[1].sum().backward()
    grads = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert not any("experts.1" in name and g.any() for name, g in grads.items())
    assert any("experts.0" in name and g.any() for name, g in grads.items())


def test_the_first_loss_is_that_of_saying_nothing():
    torch.manual_seed(0)
    net = FlowNet(5, side=8, width=8)
    x0, noise = torch.randn(2, 6, 8, 8)
    captions = torch.tensor([[3, 1, 2, 0]] * 6)
    dropped = torch.tensor([False, True] * 3)
    error, nats = net.loss(x0, captions, noise, torch.rand(6), dropped)
    torch.testing.assert_close(error, (noise - x0).square().mean())
    logits = net.read(captions)[0].log_softmax(-1)
    wanted = -torch.stack([logits[0, w, captions[0, w + 1]] for w in range(3)]).mean()
    torch.testing.assert_close(nats, wanted)  # two words and the end, of the rows with a caption
    assert net.loss(x0, captions, noise, torch.rand(6), torch.ones(6).bool())[1] == 0


# -- guidance --------------------------------------------------------------------------------------


def test_guidance_by_hand():
    c, u = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]])
    assert guide(c, u, 1.0).tolist() == [[3, 4]] and guide(c, u, 0.0).tolist() == [[3, 0]]
    assert guide(c, u, 3.0).tolist() == [[3, 12]]
    short = guide(c, u, 3.0, 0.0)
    torch.testing.assert_close(short.norm(), torch.tensor(5.0))  # as long as the conditional one
    torch.testing.assert_close(guide(c, u, 3.0, 0.9), 0.9 * guide(c, u, 3.0))
    assert guide(c, u, 0.5, 0.0).tolist() == [[3, 2]]  # never longer
    torch.testing.assert_close(guide(c[0], u[0], 3.0, 0.0), c[0])  # rows of one number each


# -- the trained net -------------------------------------------------------------------------------


def test_the_trained_net_scores_what_its_record_says():
    script = lab.data.script("rectified_flow")
    net, record = lab.load(FlowNet)
    for name, value in script.errors(net).items():
        assert record[f"test_{name}"] == pytest.approx(value, rel=1e-3), name
    path = lab.fetch.HOME / "weights" / "rectified_flow.safetensors"
    assert path.stat().st_size < 2_000_000


# -- refused ---------------------------------------------------------------------------------------

ONE = torch.ones(2, 3)
NET = FlowNet(5, side=8, width=8)
WORDS = torch.zeros(2, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: rf_pair(ONE, ONE[:1], ONE[:, 0]), r"n must have shape \(2, 3\), got \(1, 3\)"),
        (lambda: rf_pair(ONE, ONE, ONE[:, 0] + 1), r"t must lie in \[0, 1\], got 2 to 2"),
        (lambda: rf_pair(ONE, ONE, ONE), r"t must have shape \(2\)"),
        (lambda: shift_t(0.5, 0), "s must be above 0, got 0"),
        (lambda: euler(lambda x, t: x, ONE, 0), "steps must be 1 or more, got 0"),
        (lambda: euler(lambda x, t: x[0], ONE, 1), r"v must return the shape \(2, 3\) of x1"),
        (lambda: gaussian_velocity(ONE, 0, 1.0, 0), "and not be 0 where s is, got t=0 and s=0"),
        (lambda: gaussian_velocity(ONE, 1.5, 1.0, 1), r"t must lie in \[0, 1\]"),
        (lambda: guide(ONE, None, 3.0), "unconditional must have shape .* a row without caption"),
        (lambda: guide(ONE, ONE[:1], 3.0), r"unconditional must have shape .* got \(1, 3\)"),
        (lambda: guide(ONE, ONE, 3.0, 2), r"renorm_min must lie in \[0, 1\], or be None, got 2"),
        (lambda: generalised_causal_mask([2], []), "kinds must be one for each of 1 splits, got 0"),
        (lambda: generalised_causal_mask([0], ["text"]), r"splits\[0\] must be 1 or more, got 0"),
        (
            lambda: generalised_causal_mask([1.5], ["text"]),
            r"splits\[0\] must be a whole number, got 1",
        ),
        (
            lambda: naive.generalised_causal_mask([1, 0], ["text"] * 2),
            r"splits\[1\] must be a whole",
        ),
        (
            lambda: naive.generalised_causal_mask([1.5], ["text"]),
            r"splits\[0\] must be a whole number",
        ),
        (
            lambda: generalised_causal_mask([1, 2], ["text", "image"]),
            r"kinds\[1\] must be one of text, clean, noised, got 'image'",
        ),
        (lambda: FlowNet(5, side=10), "side must be a multiple of patch=4, got 10"),
        (lambda: FlowNet(5, experts=3), "experts must be 1 or 2, got 3"),
        (lambda: FlowNet(0), "words must be 1 or more, got 0"),
        (lambda: NET(ONE, ONE[:, 0], WORDS), r"x must have shape \(2, 8, 8\), got \(2, 3\)"),
        (lambda: NET(torch.ones(2, 8, 8), ONE[:, 0], WORDS + 5), r"ids must lie in \[0, 5\)"),
        (lambda: NET(torch.ones(2, 8, 8), ONE[:, 0], WORDS[:1]), "captions must have shape"),
        (lambda: NET.draw(WORDS, torch.ones(2, 8, 8), steps=0), "steps must be 1 or more, got 0"),
        (lambda: NET.draw(WORDS, ONE), r"noise must have shape \(2, 8, 8\)"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
