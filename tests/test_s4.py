import math
from unittest import mock

import numpy as np
import pytest
import torch

from minilib.lab import weights
from minilib.lab.measure import peak_bytes
from minilib.naive import hippo
from minilib.naive import s4 as naive
from minilib.naive.convolution import causal_conv
from minilib.s4 import S4, S4Layer, _lengthen, dplr_kernel, dplr_output, dplr_ssm
from minilib.s4d import vandermonde

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def C_for_Ct(Lam, P, B, Ct, dt, L):
    impulse, nothing = np.eye(L)[:1, None].repeat(len(dt), 1), np.zeros((1, *P.shape), complex)
    return naive.dplr_ssm(impulse, Lam, P, B, Ct, dt, 0 * dt, nothing)[0][0]


def without_rank_one(Lam, P, B, Ct, dt, L):
    return naive.dplr_kernel(Lam, 0 * P, B, Ct, dt, L)


def one_of_each_pair(Lam, P, B, Ct, dt, L):
    return naive.dplr_kernel(Lam, P, B, Ct, dt, L) / 2


def not_yet_transformed_back(Lam, P, B, Ct, dt, L):
    return np.fft.fft(naive.dplr_kernel(Lam, P, B, Ct, dt, L)).real


def roots_of_unity_backwards(Lam, P, B, Ct, dt, L):
    return np.roll(naive.dplr_kernel(Lam, P, B, Ct, dt, L)[:, ::-1], 1, axis=1)


def minus_one_left_out(Lam, P, B, Ct, dt, L):
    there = dt * (Ct * B).real.sum(-1) * (L % 2 == 0) / L
    return naive.dplr_kernel(Lam, P, B, Ct, dt, L) - there[:, None] * (-1.0) ** np.arange(L)


def Ct_itself(Lam, P, Ct, dt, L):
    return Ct.copy()


def one_power_more(Lam, P, Ct, dt, L):
    return naive.dplr_output(Lam, P, Ct, dt, L + 1)


def output_without_rank_one(Lam, P, Ct, dt, L):
    return naive.dplr_output(Lam, 0 * P, Ct, dt, L)


def row_for_column(Lam, P, Ct, dt, L):
    C = np.zeros_like(Ct)
    for h in range(len(dt)):
        Ab, _ = naive.dplr_discretize(Lam[h], P[h], P[h], dt[h])
        whole = np.eye(len(Ab)) - np.linalg.matrix_power(Ab, L)
        C[h] = np.linalg.solve(whole, hippo.with_conjugates(Ct[h]))[: Ct.shape[1]]
    return C


def from_nothing(u, Lam, P, B, C, dt, D, x):
    return naive.dplr_ssm(u, Lam, P, B, C, dt, D, 0 * x)


def no_skip(u, Lam, P, B, C, dt, D, x):
    return naive.dplr_ssm(u, Lam, P, B, C, dt, 0 * D, x)


def ssm_without_rank_one(u, Lam, P, B, C, dt, D, x):
    return naive.dplr_ssm(u, Lam, 0 * P, B, C, dt, D, x)


def C_conjugated(u, Lam, P, B, C, dt, D, x):
    return naive.dplr_ssm(u, Lam, P, B, C.conj(), dt, D, x)


def reads_before_the_sample_comes_in(u, Lam, P, B, C, dt, D, x):
    y, last = naive.dplr_ssm(u, Lam, P, B, C, dt, D, x)
    return y - C_for_Ct(Lam, P, B, C, dt, 1) * u, last


def layer_without_skip(params, u, *, length):
    return naive.s4_layer({**params, "D": 0 * params["D"]}, u, length=length)


def layer_without_rank_one(params, u, *, length):
    return naive.s4_layer({**params, "P": 0 * params["P"]}, u, length=length)


def length_of_the_input(params, u, *, length):
    return naive.s4_layer(params, u, length=u.shape[2])


def Ct_as_C(params, u, *, length):
    with mock.patch.object(naive, "dplr_output", Ct_itself):
        return naive.s4_layer(params, u, length=length)


def lm_with_Ct_as_C(params, ids, *, layers, length):
    with mock.patch.object(naive, "dplr_output", Ct_itself):
        return naive.s4_lm(params, ids, layers=layers, length=length)


def lm_with_the_length_of_the_text(params, ids, *, layers, length):
    return naive.s4_lm(params, ids, layers=layers, length=ids.shape[1])


def one_layer_twice(params, ids, *, layers, length):
    twice = lambda name: name.replace("blocks.1", "blocks.0")
    params = {name: params[twice(name)] for name in params}
    return naive.s4_lm(params, ids, layers=layers, length=length)


WRONG = {
    naive.dplr_kernel: [
        C_for_Ct,
        without_rank_one,
        one_of_each_pair,
        not_yet_transformed_back,
        roots_of_unity_backwards,
        minus_one_left_out,
    ],
    naive.dplr_output: [Ct_itself, one_power_more, output_without_rank_one, row_for_column],
    naive.dplr_ssm: [
        from_nothing,
        no_skip,
        ssm_without_rank_one,
        C_conjugated,
        reads_before_the_sample_comes_in,
    ],
    naive.s4_layer: [
        layer_without_skip,
        layer_without_rank_one,
        length_of_the_input,
        Ct_as_C,
    ],
    naive.s4_lm: [lm_with_Ct_as_C, lm_with_the_length_of_the_text, one_layer_twice],
}


# -- tests -----------------------------------------------------------------------------------------


double = lambda *values: torch.tensor(values, dtype=torch.float64)
noise = lambda *shape: torch.randn(*shape, dtype=torch.float64)
complex_noise = lambda *shape: torch.randn(*shape, dtype=torch.complex128)


def systems(H, M):
    """Random stable modes Λ, coefficients C, step sizes and skips."""
    Lam = torch.complex(-torch.rand(H, M).double() - 0.1, 5 * noise(H, M))
    return Lam, complex_noise(H, M), torch.rand(H).double() / 5 + 0.02, noise(H)


# -- equalities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("L", [1, 2, 255, 1024])
def test_the_kernel_without_powers_equals_the_one_with(L):
    """Third opinion on S4's algebra: the N × N system itself, N = 64, through its powers."""
    N, dt, C = 64, 1 / L, noise(64).numpy()
    Ab, Bb = hippo.discretize(*hippo.hippo_legs(N), dt)
    want = naive.kernel_by_powers(Ab, Bb, C, L)
    half, p, b, V = hippo.nplr(N)
    truncated = C @ (np.eye(N) - np.linalg.matrix_power(Ab, L)) @ V
    Lam, P, B, Ct, C_modes = (torch.tensor(v)[None] for v in (half, p, b, truncated, C @ V))
    error = lambda K: np.abs(K[0].numpy() - want).max() / np.abs(want).max()
    assert error(dplr_kernel(Lam, P, B, Ct, double(dt), L)) < 1e-10
    assert error(dplr_kernel(Lam, P, B, C_modes, double(dt), L)) > 1e-3  # C in place of C (I - Āᴸ)
    recovered = dplr_output(Lam, P, Ct, double(dt), L)
    torch.testing.assert_close(recovered, C_modes, rtol=1e-8, atol=1e-8)


def test_without_rank_one_s4_is_a_bilinear_s4d():
    Lam, C, dt, _ = systems(2, 3)
    half = dt[:, None] * Lam / 2
    z = (1 + half) / (1 - half)
    want = vandermonde(C * dt[:, None] / (1 - half), z.log(), 12)
    K = dplr_kernel(Lam, 0 * C, torch.ones_like(C), C * (1 - z**12), dt, 12)
    torch.testing.assert_close(K, want)


def test_recurrence_equals_convolution():
    u, C = noise(17).numpy(), noise(6).numpy()
    Ab, Bb = hippo.discretize(*hippo.hippo_legs(6), 0.1)
    K = naive.kernel_by_powers(Ab, Bb, C, 17)
    want = causal_conv(K[None], u[None, None])[0, 0] + 0.5 * u
    np.testing.assert_allclose(naive.ssm(u, Ab, Bb, C, 0.5), want, rtol=1e-12)


@pytest.mark.parametrize("pieces", [(1, 1, 35), (17, 20), (36, 1), (2, 3, 32)])
def test_a_state_carried_between_calls_equals_one_call(pieces):
    Lam, C, dt, D = systems(3, 4)
    P, B, u, x = complex_noise(3, 4), complex_noise(3, 4), noise(2, 3, 37), complex_noise(2, 3, 4)
    want, rows, state = dplr_ssm(u, Lam, P, B, C, dt, D, x), [], x
    for piece in u.split(pieces, -1):
        y, state = dplr_ssm(piece, Lam, P, B, C, dt, D, state)
        rows.append(y)
    torch.testing.assert_close((torch.cat(rows, -1), state), want, rtol=1e-11, atol=1e-11)


# -- gradients and memory --------------------------------------------------------------------------


def test_gradcheck():
    Lam, C, dt, _ = (v.requires_grad_() for v in systems(2, 3))
    B = complex_noise(2, 3).requires_grad_()
    kernel = lambda *args: dplr_kernel(*args, 6)
    assert torch.autograd.gradcheck(kernel, (Lam, B, B, C, dt))
    longer = lambda *args: _lengthen(*args, 4, longer=7)
    assert torch.autograd.gradcheck(longer, (Lam, B, C, dt))


def test_nothing_of_modes_times_taps_is_ever_held():
    H, M, L = 2, 64, 5_000
    Lam, C, dt, _ = (v.requires_grad_() for v in systems(H, M))
    run = lambda: torch.autograd.grad(dplr_kernel(Lam, C, C, C, dt, L).sum(), [Lam, C, dt])
    assert peak_bytes(run) < 16 * H * M * L / 2  # half of one complex number for each


def test_the_gradient_of_a_sum_reaches_no_fft_as_strides_of_0(monkeypatch):
    """The MKL of torch 2.6 refuses an FFT of those, and the backward of an irfft is one."""
    irfft, strides = torch.fft.irfft, []

    def watched(x, *rest):
        y = irfft(x, *rest)
        y.register_hook(lambda gradient: strides.append(gradient.stride()))
        return y

    monkeypatch.setattr(torch.fft, "irfft", watched)
    Lam, C, dt, _ = (v.requires_grad_() for v in systems(2, 3))
    torch.autograd.grad(dplr_kernel(Lam, C, C, C, dt, 8).sum(), Lam)
    assert strides == [(8, 1)]


# -- layer and model -------------------------------------------------------------------------------


def test_no_kernel_grows_whatever_is_learned():
    layer = S4Layer(3, 8, 2000).double()
    for p in layer.parameters():
        p.data += 3 * torch.randn_like(p)
    y = layer(torch.eye(2000).double()[:1].expand(1, 3, -1))
    assert torch.isfinite(y).all()
    assert y[..., 1000:].abs().max() <= y.abs().max()


@pytest.mark.parametrize("length", [64, 512])
@torch.no_grad()
def test_step_equals_forward_over_300_symbols(length):
    model, ids = S4(9, 6, 8, 2, length=length).double(), torch.randint(9, (2, 300))
    state, rows, sizes = model.init_state(2), [], []
    for t in range(300):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
        sizes.append(sum(leaf.numel() for layer in state for leaf in layer))
    torch.testing.assert_close(torch.stack(rows, 1), model(ids), rtol=1e-10, atol=1e-10)
    assert set(sizes) == {2 * 2 * 2 * 6 * 4}  # layers, state and C, batch, H, M; however long


@torch.no_grad()
def test_a_state_is_made_without_parameters_and_c_is_computed_once():
    layer = S4Layer(3, 8, 16)
    state, u = layer.init_state(2, like=torch.ones(1)), torch.randn(2, 3, 5)
    assert [leaf.shape for leaf in state] == [(2, 3, 4), (2, 3, 0)]
    _, first = layer(u, state)
    _, second = layer(u, first)
    assert first[1].shape == (2, 3, 4) and second[1] is first[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_half_precision_stores_numbers_and_computes_in_float32(dtype):
    """Only what comes in and goes out is rounded, to 3 digits and 4, and weights are."""
    torch.manual_seed(0)
    layer, u = S4Layer(4, 8, 64).to(dtype), torch.randn(2, 4, 50).to(dtype)
    wide = S4Layer(4, 8, 64)
    wide.load_state_dict(layer.state_dict())
    want, state, rows = wide(u.float()), layer.init_state(2, like=u), []
    for sample in u.split(1, -1):
        y, state = layer(sample, state)
        rows.append(y)
    for y in (layer(u), torch.cat(rows, -1)):
        assert y.dtype == dtype
        assert (y - want).abs().max() < 2 * torch.finfo(dtype).eps * want.abs().max()


def test_one_dtype_under_another_default():
    torch.set_default_dtype(torch.float64)
    try:
        model = S4(5, 3, 4, length=8)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.ones(1, 3, dtype=torch.int64)).dtype == torch.float64


def test_weights_come_back_from_disk(tmp_path):
    made = {"width": 4, "state": 6, "length": 16}
    trained, ids = S4(**made), torch.randint(256, (1, 20))
    weights.save(tmp_path / "s4.safetensors", trained, {"model": made})
    loaded, _ = weights.load(S4, tmp_path / "s4.safetensors")
    torch.testing.assert_close(loaded(ids), trained(ids), rtol=0.02, atol=0.02)  # float16 on disk


def test_a_fresh_net_guesses_about_uniformly():
    logits, next_ids = S4(100, 64)(torch.randint(100, (4, 20))), torch.randint(100, (80,))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), next_ids)
    assert abs(loss.item() - math.log(100)) < 0.05 * math.log(100)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,shape",
    [
        ("u", (2, 3)),
        ("Lam", (4, 4)),
        ("P", (3, 5)),
        ("B", (4, 4)),
        ("C", (3, 5)),
        ("dt", (4,)),
        ("D", (1,)),
    ],
)
def test_shapes_are_refused_by_name(name, shape):
    v, x = complex_noise(3, 4), complex_noise(2, 3, 4)
    good = {"u": noise(2, 3, 5), "Lam": v, "P": v, "B": v, "C": v, "dt": noise(3), "D": noise(3)}
    bad = torch.zeros(shape, dtype=good[name].dtype)
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        dplr_ssm(**{**good, name: bad}, x=x)
    with pytest.raises(ValueError, match="x must have shape"):
        dplr_ssm(**good, x=x[:1])


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: S4(5, 3, state=1), "N must be even"),
        (lambda: S4(5, 3, length=0), "length must be 1 or more"),
        (lambda: S4Layer(0), "width must be"),
        (lambda: S4Layer(3)(torch.zeros(1, 4, 5)), r"u must have shape \(any, 3, any\)"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
