import math
import types
from unittest import mock

import numpy as np
import pytest
import torch

from minilib.lab import weights
from minilib.lab.measure import peak_bytes
from minilib.naive import s4d as naive
from minilib.s4d import S4D, S4DLayer, _powers, diagonal_kernel, diagonal_ssm, vandermonde

# -- typical wrong answers, each of which `check` must refuse --------------------------------------

BLOCK, LM = naive.block, naive.s4d_lm


def one_of_each_pair(w, log_z, L):
    return naive.vandermonde(w, log_z, L) / 2


def real_part_left_out(w, log_z, L):
    return 2 * (w[..., None] * np.exp(np.arange(L) * log_z[..., None])).sum(-2)


def real_parts_first(w, log_z, L):
    return naive.vandermonde(w.real + 0j, log_z, L)


def powers_from_one(w, log_z, L):
    return naive.vandermonde(w * np.exp(log_z), log_z, L)


def z_for_its_logarithm(w, log_z, L):
    return naive.vandermonde(w, np.exp(log_z), L)


def kernel_of_euler(C, A, dt, L):
    return naive.vandermonde(C * dt[:, None], dt[:, None] * A, L)


def kernel_without_B(C, A, dt, L):
    return naive.vandermonde(C, dt[:, None] * A, L)


def kernel_bilinear(C, A, dt, L):
    half = dt[:, None] * A / 2
    return naive.vandermonde(C * dt[:, None] / (1 - half), np.log((1 + half) / (1 - half)), L)


def divides_by_A_of_0(C, A, dt, L):
    z = dt[:, None] * A
    return naive.vandermonde(C * np.expm1(z) / A, z, L)


def from_nothing(u, A, C, dt, D, x):
    return naive.diagonal_ssm(u, A, C, dt, D, 0 * x)


def no_skip(u, A, C, dt, D, x):
    return naive.diagonal_ssm(u, A, C, dt, 0 * D, x)


def one_mode_of_each_pair(u, A, C, dt, D, x):
    return naive.diagonal_ssm(u, A, C / 2, dt, D, x)


def reads_before_the_sample_comes_in(u, A, C, dt, D, x):
    y, last = naive.diagonal_ssm(u, A, C, dt, D, x)
    Bb = np.vectorize(lambda A, dt: naive.zoh(A, dt)[1])(A, dt[:, None])
    return y - 2 * (C * Bb).real.sum(-1)[:, None] * u, last


def state_conjugated(u, A, C, dt, D, x):
    y, last = naive.diagonal_ssm(u, A, C, dt, D, x)
    return y, last.conj()


def layer_with(name, **changes):
    """The definition of the layer with other parameters: of each one a function of it."""

    def wrong(params, u):
        return naive.s4d_layer({**params, **{k: f(params[k]) for k, f in changes.items()}}, u)

    wrong.__name__ = name
    return wrong


def lm_with(name, block):
    """The definition of the language model with another block(params, x, layer)."""

    def wrong(params, ids, *, layers):
        with mock.patch.object(naive, "block", block):
            return LM(params, ids, layers=layers)

    wrong.__name__ = name
    return wrong


def gate_and_value_swapped(params, x, layer):
    half = {k: np.roll(v, len(v) // 2, axis=0) for k, v in params.items() if "mix" in k}
    return BLOCK({**params, **half}, x, layer)


def gelu_by_tanh(params, x, layer):
    erf = lambda v: math.tanh(2 / math.sqrt(math.pi) * (v + 0.08943 * v**3))
    with mock.patch.object(naive, "math", types.SimpleNamespace(erf=erf, sqrt=math.sqrt)):
        return BLOCK(params, x, layer)


def no_norm(params, x, layer):
    with mock.patch.object(naive, "layer_norm", lambda x, weight, bias: x):
        return BLOCK(params, x, layer)


WRONG = {
    naive.vandermonde: [
        one_of_each_pair,
        real_part_left_out,
        real_parts_first,
        powers_from_one,
        z_for_its_logarithm,
    ],
    naive.diagonal_kernel: [kernel_of_euler, kernel_without_B, kernel_bilinear, divides_by_A_of_0],
    naive.diagonal_ssm: [
        from_nothing,
        no_skip,
        one_mode_of_each_pair,
        reads_before_the_sample_comes_in,
        state_conjugated,
    ],
    naive.s4d_layer: [
        layer_with("no_skip", D=np.zeros_like),
        layer_with("the_same_step_for_all", log_dt=lambda v: 0 * v + v[0]),
        layer_with("waves_backwards", frequency=np.negative),
        layer_with("decay_upside_down", log_decay=np.negative),
        layer_with("C_real", C=lambda v: v * [1, 0]),
    ],
    naive.s4d_lm: [
        lm_with("no_residual", lambda params, x, layer: BLOCK(params, x, layer) - x),
        lm_with("gate_and_value_swapped", gate_and_value_swapped),
        lm_with("gelu_by_tanh", gelu_by_tanh),
        lm_with("no_norm", no_norm),
        lm_with("systems_left_out", lambda params, x, layer: BLOCK(params, x, lambda _, u: u)),
    ],
}


# -- tests -----------------------------------------------------------------------------------------


double = lambda *values: torch.tensor(values, dtype=torch.float64)
noise = lambda *shape: torch.randn(*shape, dtype=torch.float64)
complex_noise = lambda *shape: torch.randn(*shape, dtype=torch.complex128)


def systems(H, M):
    """Random stable modes A, coefficients C, step sizes and skips."""
    A = torch.complex(-torch.rand(H, M).double() - 0.1, 5 * noise(H, M))
    return A, complex_noise(H, M), torch.rand(H).double() / 5 + 0.02, noise(H)


# -- by hand ---------------------------------------------------------------------------------------


def test_powers_of_i():
    K = vandermonde(torch.ones(1) + 0j, torch.tensor([0.5j * math.pi]), 5)
    torch.testing.assert_close(K, torch.tensor([2.0, 0, -2, 0, 2]))


def test_a_mode_that_halves():
    """A = -log 2, Δ = 1: Ā = ½, B̄ = ½ / log 2, and the pair counts twice."""
    A = torch.full((1, 1), -math.log(2)) + 0j
    K = diagonal_kernel(torch.ones(1, 1) + 0j, A, torch.ones(1), 4)
    torch.testing.assert_close(K * math.log(2), torch.tensor([[1, 0.5, 0.25, 0.125]]))


def test_where_the_modes_start():
    """`legs` of two numbers: the eigenvalues of [[-1/2, √3/2], [-√3/2, -1/2]]."""
    for init, N, want in [
        ("lin", 6, [-0.5, -0.5 + math.pi * 1j, -0.5 + 2j * math.pi]),
        ("inv", 4, [-0.5 + 12j / math.pi, -0.5 + 4j / (3 * math.pi)]),
        ("real", 4, [-1, -2]),
        ("legs", 2, [-0.5 + 0.5j * math.sqrt(3)]),
    ]:
        np.testing.assert_allclose(naive.s4d_init(init, N), want)


# -- equalities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [(1, 1, 35), (17, 20), (36, 1), (2, 3, 32)])
def test_a_state_carried_between_calls_equals_one_call(pieces):
    A, C, dt, D = systems(3, 4)
    u, x = noise(2, 3, 37), complex_noise(2, 3, 4)
    want, rows, state = diagonal_ssm(u, A, C, dt, D, x), [], x
    for piece in u.split(pieces, -1):
        y, state = diagonal_ssm(piece, A, C, dt, D, state)
        rows.append(y)
    torch.testing.assert_close((torch.cat(rows, -1), state), want, rtol=1e-11, atol=1e-11)


def test_twice_as_fast_a_clock_every_second_sample():
    """The kernel belongs to continuous time: half the samples with 2Δ give nearly the same."""
    A, C, _, D = systems(4, 8)
    time = torch.linspace(0, 6 * math.pi, 800).double()
    u, x = time.sin().expand(1, 4, -1), torch.zeros(1, 4, 8, dtype=torch.complex128)
    dt = torch.full((4,), 0.01).double()
    fine = diagonal_ssm(u, A, C, dt, D, x)[0][..., ::2]
    coarse, _ = diagonal_ssm(u[..., ::2], A, C, 2 * dt, D, x)
    unchanged, _ = diagonal_ssm(u[..., ::2], A, C, dt, D, x)
    assert (fine - coarse).norm() < 0.05 * fine.norm() < 0.05 * 5 * (fine - unchanged).norm()


# -- gradients and digits --------------------------------------------------------------------------


def test_gradcheck():
    A, C, dt, D = (v.requires_grad_() for v in systems(2, 3))
    u, x = noise(2, 2, 5).requires_grad_(), complex_noise(2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(diagonal_ssm, (u, A, C, dt, D, x))


def test_100_000_steps_in_float32():
    """Finite, and as exact as float32 input allows, with modes that forget nothing in that time.

    Measured: 3e-6 and less.
    """
    A = torch.tensor([[-1e-7 + 1j, -1e-3 + 3j, -0.5 + 0j]], dtype=torch.complex64)
    C, dt, D = torch.randn(1, 3, dtype=torch.complex64), torch.tensor([0.9]), torch.ones(1)
    u, x = torch.randn(1, 1, 100_000), torch.zeros(1, 1, 3, dtype=torch.complex64)
    wide = [v.to(torch.promote_types(v.dtype, torch.float64)) for v in (u, A, C, dt, D, x)]
    for got, want in zip(diagonal_ssm(u, A, C, dt, D, x), diagonal_ssm(*wide), strict=True):
        assert (got - want).abs().max() < 2e-5 * want.abs().max()
    _, A64, C64, dt64, _, _ = wide
    K, want = diagonal_kernel(C, A, dt, 100_000), diagonal_kernel(C64, A64, dt64, 100_000)
    assert (K - want).abs().max() < 2e-6 * want.abs().max()


def test_a_tiny_product_keeps_its_digits():
    """(e^z - 1) / z: at z = 1e-9 the difference as written has 7 digits, and at 0 none."""
    A = torch.tensor([[-1e-9 + 1e-9j, 0j, -1e-4 + 0j]], dtype=torch.complex128, requires_grad=True)
    K = diagonal_kernel(torch.eye(3).cdouble(), A.expand(3, 3), torch.ones(3).double(), 1)
    want = double(2 - 1e-9, 2, 2 * -math.expm1(-1e-4) / 1e-4)
    torch.testing.assert_close(K[:, 0], want, rtol=1e-14, atol=0)
    (slope,) = torch.autograd.grad(K.sum(), A)  # 2 · d/dz (1 + z/2)
    torch.testing.assert_close(slope[0].real, double(1, 1, 1), rtol=1e-4, atol=0)


def test_powers_too_small_for_a_float_are_zero_not_denormal():
    """A CPU takes a hundred times longer over denormal numbers: fast modes were slowest of all."""
    steps = torch.arange(40)
    for dtype, decay, rtol in ((torch.complex64, 3.0, 1e-6), (torch.complex128, 25.0, 1e-12)):
        log_z = torch.tensor([-decay + 1j], dtype=torch.complex128)
        z, want = _powers(log_z, steps, dtype)[:, 0], torch.exp(steps * log_z).to(dtype)
        smallest = torch.finfo(dtype).tiny
        assert (want.abs() < smallest).any() and not ((z != 0) & (z.abs() < smallest)).any()
        torch.testing.assert_close(z, want, rtol=rtol, atol=1e10 * smallest)


def test_nothing_of_modes_times_taps_is_ever_held():
    H, M, L = 2, 64, 5_000
    A, C, dt, _ = (v.requires_grad_() for v in systems(H, M))
    run = lambda: torch.autograd.grad(diagonal_kernel(C, A, dt, L).sum(), [A, C, dt])
    assert peak_bytes(run) < 16 * H * M * L / 2  # half of one complex number for each


# -- layer and model -------------------------------------------------------------------------------


def test_no_kernel_grows_whatever_is_learned():
    layer = S4DLayer(3, 8).double()
    for p in layer.parameters():
        p.data += 3 * torch.randn_like(p)
    y = layer(torch.eye(2000).double()[:1].expand(1, 3, -1))
    assert torch.isfinite(y).all()
    assert y[..., 1000:].abs().max() <= y.abs().max()


@pytest.mark.parametrize("init", ["lin", "legs"])
@torch.no_grad()
def test_step_equals_forward_over_300_symbols(init):
    model, ids = S4D(9, 6, 8, 2, init).double(), torch.randint(9, (2, 300))
    state, rows = model.init_state(2), []
    size = lambda state: sum(leaf.numel() for leaf in state)
    start = size(state)
    for t in range(300):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), model(ids), rtol=1e-10, atol=1e-10)
    assert size(state) == start  # however long the text


def test_autocast_leaves_the_systems_in_float32():
    torch.manual_seed(0)
    model, ids = S4D(20, 16, 8, 2), torch.randint(20, (2, 100))
    layer, u = model.blocks[0].systems, torch.randn(2, 16, 100)
    with torch.autocast("cpu", torch.bfloat16):
        logits, inside, unguarded = model(ids), layer(u), layer.convolve(u)
    assert torch.equal(inside, layer(u)) and not torch.equal(unguarded, inside)
    assert (logits - model(ids)).abs().max() < 0.05 * logits.abs().max()
    logits.float().logsumexp(-1).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_half_precision_stores_numbers_and_computes_in_float32(dtype):
    """Only weights and activations between layers are rounded, to 3 digits and 4."""
    torch.manual_seed(0)
    model, ids = S4D(20, 16, 8, 2), torch.randint(20, (2, 50))
    half = S4D(20, 16, 8, 2)
    half.load_state_dict(model.state_dict())
    half = half.to(dtype)
    want, got = model(ids), half(ids)
    stepped, state = [], half.init_state(2)
    for t in range(50):
        logits, state = half.step(ids[:, t], state)
        stepped.append(logits)
    assert got.dtype == dtype and state[0].dtype == torch.complex64
    for logits in (got, torch.stack(stepped, 1)):
        assert (logits - want).abs().max() < 0.1 * want.abs().max()


def test_one_dtype_under_another_default():
    torch.set_default_dtype(torch.float64)
    try:
        model = S4D(5, 3, 4)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.ones(1, 3, dtype=torch.int64)).dtype == torch.float64


def test_weights_come_back_from_disk(tmp_path):
    made = {"width": 4, "state": 6}
    trained, ids = S4D(**made), torch.randint(256, (1, 20))
    weights.save(tmp_path / "s4d.safetensors", trained, {"model": made})
    loaded, _ = weights.load(S4D, tmp_path / "s4d.safetensors")
    torch.testing.assert_close(loaded(ids), trained(ids), rtol=0.02, atol=0.02)  # float16 on disk


def test_a_fresh_net_guesses_about_uniformly():
    logits, next_ids = S4D(100, 64)(torch.randint(100, (4, 20))), torch.randint(100, (80,))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), next_ids)
    assert abs(loss.item() - math.log(100)) < 0.05 * math.log(100)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "position,shape,words",
    [
        (0, (2, 3), "u must"),
        (1, (4, 4), "A must"),
        (2, (3, 5), "C must"),
        (3, (4,), "dt must"),
        (4, (1,), "D must"),
        (5, (1, 3, 4), "x must"),
    ],
)
def test_shapes_are_refused_by_name(position, shape, words):
    pair = complex_noise(3, 4)
    arguments = [noise(2, 3, 5), pair, pair, noise(3), noise(3), complex_noise(2, 3, 4)]
    arguments[position] = torch.zeros(shape, dtype=arguments[position].dtype)
    with pytest.raises(ValueError, match=words):
        diagonal_ssm(*arguments)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: S4D(5, 0), "width"),
        (lambda: S4D(0, 5), "vocab_size"),
        (lambda: S4D(5, 3, state=5), "N must be even"),
        (lambda: S4D(5, 3, init="hippo"), "init must be"),
        (lambda: S4DLayer(0), "width must be"),
        (lambda: S4DLayer(3)(torch.zeros(1, 4, 5)), r"u must have shape \(any, 3, any\)"),
        (lambda: S4DLayer(3)(torch.zeros(1, 3, 0)), "L must be 1 or more"),
        (lambda: vandermonde(torch.ones(3), torch.ones(3) + 0j, 4), "w must be complex"),
        (
            lambda: vandermonde(torch.ones(3) + 0j, torch.ones(2) + 0j, 4),
            "log_z must be complex with 3 modes",
        ),
        (lambda: naive.s4d_init("hippo", 4), "init must be"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
