"""Mamba: by hand, as a gate, against the published implementation, in constant memory, refusals."""

import math
from unittest import mock

import numpy as np
import pytest
import torch

from minilib.mamba import Mamba, causal_conv1d, selective_scan
from minilib.naive import mamba as naive
from minilib.naive.scan import ssd

# -- typical wrong answers, each of which `check` must refuse --------------------------------------

SCAN, CONV, MIXER, MAMBA = naive.selective_scan, naive.causal_conv1d, naive.mixer, naive.mamba


def from_nothing(x, dt, A, B, C, D, h):
    return SCAN(x, dt, A, B, C, D, 0 * h)


def no_skip(x, dt, A, B, C, D, h):
    return SCAN(x, dt, A, B, C, 0 * D, h)


def A_grows(x, dt, A, B, C, D, h):
    return SCAN(x, dt, -A, B, C, D, h)


def B_and_C_swapped(x, dt, A, B, C, D, h):
    return SCAN(x, dt, A, C, B, D, h)


def step_size_only_in_the_decay(x, dt, A, B, C, D, h):
    y, h = SCAN(x / dt, dt, A, B, C, 0 * D, h)
    return y + D * x, h


def zero_order_hold_for_B(x, dt, A, B, C, D, h):
    rows = []
    for t in range(x.shape[1]):
        decay = np.exp(dt[:, t, :, None] * A)
        h = decay * h + (decay - 1) / A * B[:, t, None] * x[:, t, :, None]
        rows.append((h * C[:, t, None]).sum(-1) + D * x[:, t])
    return np.stack(rows, axis=1), h


def reads_before_it_writes(x, dt, A, B, C, D, h):
    rows = []
    for t in range(x.shape[1]):
        rows.append((h * C[:, t, None]).sum(-1) + D * x[:, t])
        _, h = SCAN(*(v[:, t : t + 1] for v in (x, dt)), A, B[:, t:], C[:, t:], D, h)
    return np.stack(rows, axis=1), h


def no_bias(x, weight, bias, before):
    return CONV(x, weight, 0 * bias, before)


def nothing_before(x, weight, bias, before):
    return CONV(x, weight, bias, 0 * before)


def taps_reversed(x, weight, bias, before):
    return CONV(x, weight[..., ::-1], bias, before)


def one_step_ahead(x, weight, bias, before):
    before = np.concatenate([before, x[:, :1]], axis=1)[:, 1:]
    return CONV(np.roll(x, -1, axis=1), weight, bias, before)


def the_same_taps_for_all(x, weight, bias, before):
    return CONV(x, np.broadcast_to(weight[:1], weight.shape), bias, before)


def mamba_with(name, **parts):
    """The definition of Mamba with other parts."""

    def wrong(params, ids, *, layers, heads=None):
        with mock.patch.multiple(naive, **parts):
            return MAMBA(params, ids, layers=layers, heads=heads)

    wrong.__name__ = name
    return wrong


def layer_norm(x, weight):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight


def bias_behind_softplus(params, u):
    name = "dt_proj.bias"
    late = lambda x, dt, *rest: SCAN(x, dt + params[name], *rest)
    with mock.patch.object(naive, "selective_scan", late):
        return MIXER({**params, name: 0 * params[name]}, u)


def one_decay_for_all_heads(x, log_a, B, C, S):
    return ssd(x, np.broadcast_to(log_a[..., :1], log_a.shape), B, C, S)


WRONG = {
    naive.selective_scan: [
        from_nothing,
        no_skip,
        A_grows,
        B_and_C_swapped,
        step_size_only_in_the_decay,
        zero_order_hold_for_B,
        reads_before_it_writes,
    ],
    naive.causal_conv1d: [
        no_bias,
        nothing_before,
        taps_reversed,
        one_step_ahead,
        the_same_taps_for_all,
    ],
    naive.mamba: [
        mamba_with("step_sizes_of_both_signs", softplus=lambda x: x),
        mamba_with("bias_behind_softplus", mixer=bias_behind_softplus),
        mamba_with("no_SiLU", sigmoid=lambda x: 1.0),
        mamba_with("layer_norm", rms_norm=layer_norm),
        mamba_with("no_norm", rms_norm=lambda x, weight: x),
        mamba_with("no_residual", mixer=lambda params, u: MIXER(params, u) - u),
        mamba_with("no_skip", selective_scan=no_skip),
        mamba_with("B_and_C_swapped", selective_scan=B_and_C_swapped),
        mamba_with("taps_reversed", causal_conv1d=taps_reversed),
        mamba_with("looks_ahead", causal_conv1d=one_step_ahead),
        mamba_with("one_decay_for_all_heads", ssd=one_decay_for_all_heads),
    ],
}


# -- tests -----------------------------------------------------------------------------------------


IDS = torch.tensor([[1, 5, 0, 10, 3, 3, 7]])
MODELS = {"Mamba": {"state": 3}, "Mamba-2": {"state": 4, "heads": 3}}


def scan_inputs(L, D=2, N=3, batch=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    noise = lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)
    x, dt, A = noise(batch, L, D), noise(batch, L, D).abs(), -noise(D, N).abs()
    return x, dt, A, noise(batch, L, N), noise(batch, L, N), noise(D), noise(batch, D, N)


def test_one_step_by_hand():
    full = lambda number, dims: torch.full((1,) * dims, number, dtype=torch.float64)
    x, dt, A, D, h = full(1, 3), full(math.log(2), 3), full(-1, 2), full(10, 1), full(4, 3)
    # h = exp(log 2 · -1) · 4 + log 2 · 3 · 1 = 2 + 3 log 2;  y = 5 h + 10 · 1
    y, h = selective_scan(x, dt, A, full(3, 3), full(5, 3), D, h)
    assert h.item() == pytest.approx(2 + 3 * math.log(2), abs=1e-12)
    assert y.item() == pytest.approx(5 * (2 + 3 * math.log(2)) + 10, abs=1e-12)


def test_a_convolution_by_hand():
    x, taps = torch.tensor([[[1.0], [10.0], [100.0]]]), torch.tensor([[[2.0, 3.0]]])
    out = causal_conv1d(x, taps, bias=torch.tensor([0.5]), before=torch.tensor([[[7.0]]]))
    assert out[0, 0] == 2 * 7 + 3 * 1 + 0.5
    assert out[0, 1] == 2 * 1 + 3 * 10 + 0.5
    assert out[0, 2] == 2 * 10 + 3 * 100 + 0.5


def test_convolution_is_torchs_own():
    x, weight, bias = torch.randn(2, 9, 5), torch.randn(5, 1, 4), torch.randn(5)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    theirs = torch.nn.functional.conv1d(padded, weight, bias, groups=5).transpose(1, 2)
    ours = causal_conv1d(x, weight, bias, torch.zeros(2, 3, 5))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_with_zero_order_hold_one_channel_is_a_gate_and_with_euler_it_is_not():
    # Gu & Dao 2023, theorem 1: N = 1, A = -1, B = 1, dt = softplus(z) gives h = (1 - g) h + g x
    # with g = sigmoid(z)
    z, x = torch.randn(2, 1, 30, 1, dtype=torch.float64)
    dt, g = torch.nn.functional.softplus(z), torch.sigmoid(z)
    one = torch.ones(1, 30, 1, dtype=torch.float64)
    no_skip, no_past = torch.zeros(1).double(), torch.zeros(1, 1, 1).double()
    run = lambda x: selective_scan(x, dt, -one[0, :1], one, one, no_skip, no_past)[0]
    h, gated = torch.zeros(1, 1, dtype=torch.float64), []
    for t in range(30):
        h = (1 - g[:, t]) * h + g[:, t] * x[:, t]
        gated.append(h)
    gated = torch.stack(gated, 1)
    # dt · (g / dt) = g, which is 1 - exp(-dt)
    torch.testing.assert_close(run(x * g / dt), gated, rtol=1e-12, atol=1e-12)
    assert (run(x) - gated).abs().max() > 0.1


def test_gradients_by_torchs_own_check_and_across_blocks():
    short = tuple(t.requires_grad_() for t in scan_inputs(5))
    assert torch.autograd.gradcheck(selective_scan, short)
    inputs = tuple(t.requires_grad_() for t in scan_inputs(150))  # more than two blocks of 64
    x, dt, A, B, C, D, h = inputs
    rows = []
    steps = zip(x.unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True)
    for x_t, dt_t, B_t, C_t in steps:
        h = (dt_t[..., None] * A).exp() * h + (dt_t * x_t)[..., None] * B_t[:, None]
        rows.append((h * C_t[:, None]).sum(-1) + D * x_t)
    looped, (y, last) = torch.stack(rows, 1), selective_scan(*inputs)
    torch.testing.assert_close(y, looped, rtol=1e-12, atol=1e-12)
    weight = torch.randn(looped.shape, dtype=torch.float64)
    wanted = torch.autograd.grad((looped * weight).sum() + h.sum(), inputs)
    found = torch.autograd.grad((y * weight).sum() + last.sum(), inputs)
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_nothing_as_long_as_all_states_is_kept():
    x, dt, A, B, C, D, h = (t.requires_grad_() for t in scan_inputs(1000, D=16, N=32))
    kept = []
    count = lambda t: kept.append(t.numel()) or t
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        selective_scan(x, dt, A, B, C, D, h)
    assert sum(kept) < 0.25 * 1000 * 16 * 32  # a plain loop keeps several times 1000 · 16 · 32


def test_a_hundred_thousand_steps_in_float32():
    inputs = scan_inputs(100_000, D=1, N=2)
    exact, single = selective_scan(*inputs)[0], selective_scan(*(t.float() for t in inputs))[0]
    assert torch.isfinite(single).all()
    assert (single - exact).abs().max() < 1e-5 * exact.abs().max()


# What transformers 5.24, which shares nothing with ours, answers with the weights of `sines`; it
# computes in float32 inside
PUBLISHED = {
    "Mamba": "0.173356 -0.138824 0.024958 0.103171 -0.172340 0.143023 "
    "-0.031972 -0.097350 0.171039 -0.146985 0.038934",
    "Mamba-2": "-0.219689 0.085524 0.097516 -0.224828 0.223658 -0.094674 "
    "-0.088413 0.220975 -0.227257 0.103668 0.079163",
}


def sines(model):
    """Weights that two programs can agree on: 0.5 sin(1.7 k + i), number k of the i-th by name."""
    for i, (_, p) in enumerate(sorted(model.named_parameters())):
        k = torch.arange(p.numel(), dtype=torch.float64)
        p.data = (0.5 * torch.sin(1.7 * k + i)).view(p.shape)
    return model.eval()


@pytest.mark.parametrize("kind", MODELS)
def test_the_published_implementation_agrees(kind):
    model = sines(Mamba(11, width=6, layers=2, **MODELS[kind]).double())
    theirs = torch.tensor([float(x) for x in PUBLISHED[kind].split()], dtype=torch.float64)
    torch.testing.assert_close(model(IDS)[0, -1], theirs, rtol=0, atol=2e-6)


def test_names_and_shapes_are_those_of_published_checkpoints():
    weights = Mamba(11, width=6, layers=1, state=3).state_dict()
    shapes = {name: tuple(p.shape) for name, p in weights.items()}
    layer = "backbone.layers.0."
    assert shapes == {
        "backbone.embeddings.weight": (11, 6),
        f"{layer}norm.weight": (6,),
        f"{layer}mixer.A_log": (12, 3),
        f"{layer}mixer.D": (12,),
        f"{layer}mixer.in_proj.weight": (24, 6),
        f"{layer}mixer.conv1d.weight": (12, 1, 4),
        f"{layer}mixer.conv1d.bias": (12,),
        f"{layer}mixer.x_proj.weight": (7, 12),
        f"{layer}mixer.dt_proj.weight": (12, 1),
        f"{layer}mixer.dt_proj.bias": (12,),
        f"{layer}mixer.out_proj.weight": (6, 12),
        "backbone.norm_f.weight": (6,),
    }


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_step_equals_forward_over_300_symbols_and_the_state_stays_small(kind):
    model = Mamba(11, width=6, layers=2, **MODELS[kind]).double()
    ids = torch.randint(11, (2, 300), generator=torch.Generator().manual_seed(0))
    state, rows = model.init_state(2), []
    size = lambda state: sum(part.numel() for layer in state for part in layer)
    before = size(state)
    for t in range(300):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), model(ids), rtol=1e-10, atol=1e-10)
    assert size(state) == before


def test_fresh_step_sizes_lie_where_the_paper_starts_them():
    for model in (Mamba(width=64, layers=1), Mamba(width=64, layers=1, heads=128)):
        mixer = model.backbone.layers[0]["mixer"]
        bias = mixer.dt_proj.bias if hasattr(mixer, "dt_proj") else mixer.dt_bias
        dt = torch.nn.functional.softplus(bias)
        assert 0.00099 < dt.min() < 0.005 and 0.04 < dt.max() < 0.1001
        # uniform in the logarithm; 128 draws stray by more once in 40,000 seeds
        assert abs(dt.log().mean() - math.log(0.01)) < 0.5


def test_trains_in_bfloat16():
    for kind in MODELS.values():
        model = Mamba(11, width=6, layers=1, **kind)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(IDS).float().logsumexp(-1).mean()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("kind", MODELS)
def test_trains_compiled_in_one_graph(kind):
    # aot_eager once failed in the backward of softplus: a gradient was not contiguous
    model = Mamba(11, width=6, layers=1, **MODELS[kind]).double()
    ids = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))
    gradients = lambda run: torch.autograd.grad(run(ids).logsumexp(-1).sum(), model.parameters())
    torch._dynamo.reset()
    found = gradients(torch.compile(model, fullgraph=True, backend="aot_eager"))
    for got, want in zip(found, gradients(model), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_bad_input_is_named():
    x, dt, A, B, C, D, h = scan_inputs(4)
    with pytest.raises(ValueError, match=r"all at least 1, got \(0, 4, 2\)"):
        selective_scan(x[:0], dt[:0], A, B[:0], C[:0], D, h[:0])  # was a ZeroDivisionError
    with pytest.raises(ValueError, match=r"all at least 1, got \(1, 0, 2\)"):
        selective_scan(x[:, :0], dt[:, :0], A, B[:, :0], C[:, :0], D, h)
    for position in range(7):
        mixed = [x, dt, A, B, C, D, h]
        mixed[position] = mixed[position].float()
        with pytest.raises(TypeError, match=r"must have one dtype, got .*torch\.float32"):
            selective_scan(*mixed)
    with pytest.raises(ValueError, match=r"A must have shape \(2, 3\)"):
        selective_scan(x, dt, A[:1], B, C, D, h)
    with pytest.raises(ValueError, match=r"h must have shape \(1, 2, 3\)"):
        selective_scan(x, dt, A, B, C, D, h.transpose(1, 2))
    with pytest.raises(ValueError, match="heads must divide the 12 channels, got 5"):
        Mamba(11, width=6, heads=5)
    with pytest.raises(ValueError, match="state must be 1 or more, got 0"):
        Mamba(11, state=0)
