import math

import numpy as np
import pytest
import torch

from minilib.lab import weights
from minilib.lab.measure import peak_bytes
from minilib.naive import s4 as naive
from minilib.s4 import (
    S4,
    S4D,
    S4DLayer,
    S4Layer,
    _powers,
    causal_conv,
    discretize,
    dplr,
    dplr_kernel,
    dplr_output,
    legs_memory,
    legs_rebuild,
    s4d,
    s4d_kernel,
    vandermonde,
)

double = lambda *values: torch.tensor(values, dtype=torch.float64)
noise = lambda *shape: torch.randn(*shape, dtype=torch.float64)
complex_noise = lambda *shape: torch.randn(*shape, dtype=torch.complex128)


def systems(H, M):
    """Random stable modes A, coefficients C, step sizes and skips."""
    return (
        torch.complex(-torch.rand(H, M).double() - 0.1, 5 * noise(H, M)),
        complex_noise(H, M),
        torch.rand(H).double() / 5 + 0.02,
        noise(H),
    )


# -- by hand ---------------------------------------------------------------------------------------


def test_hippo_by_hand():
    A, B = naive.hippo_legs(3)
    np.testing.assert_allclose(
        A, [[-1, 0, 0], [-math.sqrt(3), -2, 0], [-math.sqrt(5), -math.sqrt(15), -3]]
    )
    np.testing.assert_allclose(B, [1, math.sqrt(3), math.sqrt(5)])


def test_the_memory_of_a_constant_and_of_a_ramp():
    """u = 1 is √1 P_0; u(s) = s on [0, 1] is ½ P_0 + ½ P_1, and x_n √(2n+1) is the weight of P_n. Steps of 1/L leave errors of that order."""
    L = 4000
    x = legs_memory(torch.stack([torch.ones(L), (torch.arange(L) + 0.5) / L]).double(), 4)
    torch.testing.assert_close(x[0], double(1, 0, 0, 0), atol=5 / L, rtol=0)
    torch.testing.assert_close(
        x[1] * double(1, 3, 5, 7).sqrt(), double(0.5, 0.5, 0, 0), atol=5 / L, rtol=0
    )
    torch.testing.assert_close(
        legs_rebuild(x, 5)[1], double(0.1, 0.3, 0.5, 0.7, 0.9), atol=20 / L, rtol=0
    )


def test_one_decaying_number():
    A, B = double(-1.0)[None], double(1.0)
    torch.testing.assert_close(
        discretize(A, B, 2.0), (double(0.0)[None], double(1.0))
    )  # (1 - 1) / (1 + 1), 2 / (1 + 1)
    torch.testing.assert_close(
        discretize(A, B, 2.0, "zoh"), (double(math.exp(-2))[None], double(1 - math.exp(-2)))
    )


def test_an_oscillator_turns():
    """x'' = -x: exactly, a turn by Δ; by the bilinear rule, a turn by 2 atan(Δ/2). Neither shrinks nor grows."""
    A, B, dt = double([0, 1], [-1, 0]), double(0, 1), 0.7
    for method, angle in (("zoh", dt), ("bilinear", 2 * math.atan(dt / 2))):
        turn = double([math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)])
        torch.testing.assert_close(discretize(A, B, dt, method)[0], turn)


def test_powers_of_i():
    torch.testing.assert_close(
        vandermonde(torch.ones(1) + 0j, torch.tensor([0.5j * math.pi]), 5),
        torch.tensor([2.0, 0, -2, 0, 2]),
    )


def test_a_mode_that_halves():
    """A = -log 2, Δ = 1: Ā = ½, B̄ = ½ / log 2, and the pair counts twice."""
    K = s4d_kernel(torch.ones(1, 1) + 0j, torch.full((1, 1), -math.log(2)) + 0j, torch.ones(1), 4)
    torch.testing.assert_close(K * math.log(2), torch.tensor([[1, 0.5, 0.25, 0.125]]))


def test_a_convolution_by_hand_and_nothing_wraps_around():
    y = causal_conv(double([1, 2]), double([[1, 10, 100]]))
    torch.testing.assert_close(y, double([[1, 12, 120]]))
    late = causal_conv(noise(1, 64), torch.eye(64).double()[-1:][None])
    assert late[..., :-1].abs().max() < 1e-14 < late[..., -1].abs()


def test_where_the_modes_start():
    np.testing.assert_allclose(
        naive.s4d_init("lin", 6), [-0.5, -0.5 + math.pi * 1j, -0.5 + 2j * math.pi]
    )
    np.testing.assert_allclose(
        naive.s4d_init("inv", 4), [-0.5 + 12j / math.pi, -0.5 + 4j / (3 * math.pi)]
    )
    np.testing.assert_allclose(naive.s4d_init("real", 4), [-1, -2])
    np.testing.assert_allclose(
        naive.s4d_init("legs", 2), [-0.5 + 0.5j * math.sqrt(3)]
    )  # of [[-1/2, √3/2], [-√3/2, -1/2]]


# -- equalities ------------------------------------------------------------------------------------


def test_convolution_equals_torch():
    K, u = noise(3, 9), noise(2, 3, 20)
    want = torch.nn.functional.conv1d(
        torch.nn.functional.pad(u, (8, 0)), K.flip(-1)[:, None], groups=3
    )
    torch.testing.assert_close(causal_conv(K, u), want)


@pytest.mark.parametrize("N", [2, 64])
def test_hippo_is_diagonal_plus_rank_one(N):
    Lam, P, B, V = naive.nplr(N)
    V = np.concatenate([V, V.conj()], axis=1)
    assert np.abs(V.conj().T @ V - np.eye(N)).max() < 1e-12
    A_want, B_want = naive.hippo_legs(N)
    np.testing.assert_allclose(
        V @ (np.diag(naive.both(Lam)) - np.outer(naive.both(P), naive.both(P).conj())) @ V.conj().T,
        A_want,
        atol=1e-11,
    )
    np.testing.assert_allclose(V @ naive.both(B), B_want, atol=1e-12)


@pytest.mark.parametrize("L", [1, 2, 255, 1024])
def test_the_kernel_without_powers_equals_the_one_with(L):
    """Third opinion on S4's algebra: the N × N system itself, N = 64, through its powers."""
    N, dt, C = 64, 1 / L, noise(64).numpy()
    A, B = naive.hippo_legs(N)
    Ab, Bb = naive.discretize(A, B, dt)
    Lam, P, Bt, V = naive.nplr(N)
    row = C @ (np.eye(N) - np.linalg.matrix_power(Ab, L)) @ V
    arrays = [torch.tensor(v)[None] for v in (Lam, P, Bt, row)]
    K = dplr_kernel(*arrays, double(dt), L)[0]
    want = naive.kernel_by_powers(Ab, Bb, C, L)
    assert np.abs(K.numpy() - want).max() < 1e-10 * np.abs(want).max()
    torch.testing.assert_close(
        dplr_output(arrays[0], arrays[1], arrays[3], double(dt), L)[0].numpy(),
        C @ V,
        rtol=1e-8,
        atol=1e-8,
    )
    forgot = dplr_kernel(*arrays[:3], torch.tensor(C @ V)[None], double(dt), L)[
        0
    ]  # C in place of C (I - Ā^L)
    assert np.abs(forgot.numpy() - want).max() > 1e-3 * np.abs(want).max()


def test_without_rank_one_s4_is_a_bilinear_s4d():
    A, C, dt, _ = systems(2, 3)
    half = dt[:, None] * A / 2
    want = vandermonde(C * dt[:, None] / (1 - half), ((1 + half) / (1 - half)).log(), 12)
    Ct = C * (1 - ((1 + half) / (1 - half)) ** 12)
    torch.testing.assert_close(dplr_kernel(A, 0 * C, torch.ones_like(C), Ct, dt, 12), want)


def test_recurrence_equals_convolution():
    u = noise(17).numpy()
    Ab, Bb = naive.discretize(*naive.hippo_legs(6), 0.1)
    C = noise(6).numpy()
    K = naive.kernel_by_powers(Ab, Bb, C, 17)
    np.testing.assert_allclose(
        naive.ssm(u, Ab, Bb, C, 0.5),
        naive.causal_conv(K[None], u[None, None])[0, 0] + 0.5 * u,
        rtol=1e-12,
    )


@pytest.mark.parametrize("pieces", [(1, 1, 35), (17, 20), (36, 1), (2, 3, 32)])
def test_a_state_carried_between_calls_equals_one_call(pieces):
    A, C, dt, D = systems(3, 4)
    P, B, u, x = complex_noise(3, 4), complex_noise(3, 4), noise(2, 3, 37), complex_noise(2, 3, 4)
    for run in (lambda u, x: s4d(u, A, C, dt, D, x), lambda u, x: dplr(u, A, P, B, C, dt, D, x)):
        want, rows, state = run(u, x), [], x
        for piece in u.split(pieces, -1):
            y, state = run(piece, state)
            rows.append(y)
        torch.testing.assert_close((torch.cat(rows, -1), state), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "model",
    [
        lambda: S4D(9, 6, 8, 2),
        lambda: S4D(9, 6, 8, 2, "legs"),
        lambda: S4(9, 6, 8, 2, length=64),
        lambda: S4(9, 6, 8, 2, length=512),
    ],
)
@torch.no_grad()
def test_step_equals_forward_over_300_symbols(model):
    model, ids = model().double(), torch.randint(9, (2, 300))
    state, rows = model.init_state(2), []
    size = lambda state: sum(
        leaf.numel()
        for layer in state
        for leaf in (layer if isinstance(layer, tuple) else (layer,))
    )
    start = size(state)
    for t in range(300):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), model(ids), rtol=1e-10, atol=1e-10)
    assert size(state) == start  # however long the text


def test_twice_as_fast_a_clock_every_second_sample():
    """The kernel belongs to continuous time: half the samples with 2Δ give nearly the same output at the times kept."""
    A, C, _, D = systems(4, 8)
    time = torch.linspace(0, 6 * math.pi, 800).double()
    u, x = time.sin().expand(1, 4, -1), torch.zeros(1, 4, 8, dtype=torch.complex128)
    dt = torch.full((4,), 0.01).double()
    fine, coarse = s4d(u, A, C, dt, D, x)[0][..., ::2], s4d(u[..., ::2], A, C, 2 * dt, D, x)[0]
    unchanged = s4d(u[..., ::2], A, C, dt, D, x)[0]
    assert (fine - coarse).norm() < 0.05 * fine.norm() < 0.05 * 5 * (fine - unchanged).norm()


# -- gradients and digits --------------------------------------------------------------------------


def test_gradcheck():
    A, C, dt, D = (v.requires_grad_() for v in systems(2, 3))
    B, u, x = (
        complex_noise(2, 3).requires_grad_(),
        noise(2, 2, 5).requires_grad_(),
        complex_noise(2, 2, 3).requires_grad_(),
    )
    assert torch.autograd.gradcheck(s4d, (u, A, C, dt, D, x))
    assert torch.autograd.gradcheck(lambda *args: dplr_kernel(*args, 6), (A, B, B, C, dt))
    assert torch.autograd.gradcheck(
        lambda A, P, C, dt: dplr_output(A, P, C, dt, 4, back=7), (A, B, C, dt)
    )


def test_100_000_steps_in_float32():
    """Finite, and as exact as float32 input allows, with modes that forget nothing in that time (measured: 3e-6 and less)."""
    A = torch.tensor([[-1e-7 + 1j, -1e-3 + 3j, -0.5 + 0j]], dtype=torch.complex64)
    C, dt, D, u = (
        torch.randn(1, 3, dtype=torch.complex64),
        torch.tensor([0.9]),
        torch.ones(1),
        torch.randn(1, 1, 100_000),
    )
    x = torch.zeros(1, 1, 3, dtype=torch.complex64)
    wide = [
        v.to(torch.complex128 if v.is_complex() else torch.float64) for v in (u, A, C, dt, D, x)
    ]
    for got, want in zip(s4d(u, A, C, dt, D, x), s4d(*wide), strict=True):
        assert (got - want).abs().max() < 2e-5 * want.abs().max()
    K, want = s4d_kernel(C, A, dt, 100_000), s4d_kernel(wide[2], wide[1], wide[3], 100_000)
    assert (K - want).abs().max() < 2e-6 * want.abs().max()


def test_a_tiny_product_keeps_its_digits():
    """(e^z - 1) / z: at z = 1e-9 the difference as written has 7 digits, and at 0 none."""
    A = torch.tensor([[-1e-9 + 1e-9j, 0j, -1e-4 + 0j]], dtype=torch.complex128, requires_grad=True)
    K = s4d_kernel(
        torch.eye(3).cdouble()[:, None].reshape(3, 3), A.expand(3, 3), torch.ones(3).double(), 1
    )
    torch.testing.assert_close(
        K[:, 0], double(2 - 1e-9, 2, 2 * -math.expm1(-1e-4) / 1e-4), rtol=1e-14, atol=0
    )
    torch.testing.assert_close(
        torch.autograd.grad(K.sum(), A)[0].real, double([1, 1, 1]), rtol=1e-4, atol=0
    )  # 2 · d/dz (1 + z/2)


def test_powers_too_small_for_a_float_are_zero_not_denormal():
    """A CPU takes a hundred times longer over denormal numbers: the kernel of fast modes took four times as long as that of slow ones."""
    for dtype, decay in ((torch.complex64, 3.0), (torch.complex128, 25.0)):
        z = _powers(torch.tensor([-decay + 1j], dtype=torch.complex128), torch.arange(40), dtype)[
            :, 0
        ]
        want = torch.exp(torch.arange(40) * torch.tensor(-decay + 1j, dtype=torch.complex128)).to(
            dtype
        )
        smallest = torch.finfo(dtype).tiny
        assert (want.abs() < smallest).any() and not ((z != 0) & (z.abs() < smallest)).any()
        torch.testing.assert_close(
            z, want, rtol=1e-6 if dtype == torch.complex64 else 1e-12, atol=1e10 * smallest
        )


def test_nothing_of_modes_times_taps_is_ever_held():
    H, M, L = 2, 64, 5_000
    A, C, dt, _ = (v.requires_grad_() for v in systems(H, M))
    whole = 16 * H * M * L  # bytes
    for kernel in (lambda: s4d_kernel(C, A, dt, L), lambda: dplr_kernel(A, C, C, C, dt, L)):
        assert (
            peak_bytes(lambda kernel=kernel: torch.autograd.grad(kernel().sum(), [A, C, dt]))
            < whole / 2
        )


@pytest.mark.parametrize("layer", [lambda: S4DLayer(3, 8), lambda: S4Layer(3, 8, 2000)])
def test_no_kernel_grows_whatever_is_learned(layer):
    layer = layer().double()
    for p in layer.parameters():
        p.data += 3 * torch.randn_like(p)
    y = layer(torch.eye(2000).double()[:1].expand(1, 3, -1))
    assert torch.isfinite(y).all()
    assert y[..., 1000:].abs().max() <= y.abs().max()


def test_autocast_leaves_the_systems_in_float32():
    torch.manual_seed(0)
    model, ids = S4D(20, 16, 8, 2), torch.randint(20, (2, 100))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids)
    assert (logits - model(ids)).abs().max() < 0.05 * logits.abs().max()
    logits.float().logsumexp(-1).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_weights_come_back_from_disk(tmp_path):
    for model, made in (
        (S4D, {"width": 4, "state": 6}),
        (S4, {"width": 4, "state": 6, "length": 16}),
    ):
        trained, ids = model(**made), torch.randint(256, (1, 20))
        weights.save(tmp_path / "s4.safetensors", trained, {"model": made})
        loaded, _ = weights.load(model, tmp_path / "s4.safetensors")
        torch.testing.assert_close(
            loaded(ids), trained(ids), rtol=0.02, atol=0.02
        )  # float16 on disk


def test_a_fresh_net_guesses_about_uniformly():
    for model in (S4D(100, 64), S4(100, 64)):
        loss = torch.nn.functional.cross_entropy(
            model(torch.randint(100, (4, 20))).flatten(0, 1), torch.randint(100, (80,))
        )
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
    arguments = [
        noise(2, 3, 5),
        complex_noise(3, 4),
        complex_noise(3, 4),
        noise(3),
        noise(3),
        complex_noise(2, 3, 4),
    ]
    arguments[position] = torch.zeros(shape, dtype=arguments[position].dtype)
    with pytest.raises(ValueError, match=words):
        s4d(*arguments)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: S4D(5, 0), "width"),
        (lambda: S4D(5, 3, state=5), "N must be even"),
        (lambda: S4(5, 3, state=1), "N must be even"),
        (lambda: S4D(5, 3, init="hippo"), "init must be"),
        (lambda: S4(5, 3, length=0), "L must be 1 or more"),
        (lambda: S4DLayer(0), "width must be"),
        (lambda: S4DLayer(3)(torch.zeros(1, 4, 5)), r"u must have shape \(any, 3, any\)"),
        (lambda: S4DLayer(3)(torch.zeros(1, 3, 0)), "L must be 1 or more"),
        (lambda: discretize(torch.eye(2), torch.ones(2), 0.1, "euler"), "method must be"),
        (lambda: discretize(torch.eye(2), torch.ones(3), 0.1), "B must have shape"),
        (lambda: vandermonde(torch.ones(3), torch.ones(3) + 0j, 4), "w must be complex"),
        (
            lambda: vandermonde(torch.ones(3) + 0j, torch.ones(2) + 0j, 4),
            "log_z must be complex with 3 modes",
        ),
        (
            lambda: causal_conv(torch.ones(3, 2), torch.ones(1, 2, 5)),
            r"K must have shape \(2, any\)",
        ),
        (lambda: legs_memory(torch.ones(3), 2), "u must have shape"),
        (lambda: naive.discretize(np.eye(2), np.ones(2), 0.1, "euler"), "method must be"),
        (lambda: naive.nplr(3), "N must be even"),
        (lambda: naive.s4d_init("hippo", 4), "init must be"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
