import numpy as np
import pytest
import torch

from minilib.convolution import causal_conv, fast_length
from minilib.naive import convolution as naive

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def wraps_around(K, u):
    L = u.shape[-1]
    K = np.pad(K, ((0, 0), (0, max(0, L - K.shape[1]))))[:, :L]
    return np.fft.irfft(np.fft.rfft(K) * np.fft.rfft(u), L)


def kernel_reversed(K, u):
    return naive.causal_conv(K[:, ::-1], u)


def looks_ahead(K, u):
    return naive.causal_conv(K, u[..., ::-1])[..., ::-1]


def one_sample_late(K, u):
    return naive.causal_conv(np.pad(K, ((0, 0), (1, 0))), u)


def the_same_kernel_for_all(K, u):
    return naive.causal_conv(np.broadcast_to(K[:1], K.shape), u)


def last_tap_left_out(K, u):
    return naive.causal_conv(K[:, :-1], u)


WRONG = {
    naive.causal_conv: [
        wraps_around,
        kernel_reversed,
        looks_ahead,
        one_sample_late,
        the_same_kernel_for_all,
        last_tap_left_out,
    ]
}


# -- tests -----------------------------------------------------------------------------------------


double = lambda *values: torch.tensor(values, dtype=torch.float64)
noise = lambda *shape: torch.randn(*shape, dtype=torch.float64)


def test_a_convolution_by_hand_and_nothing_wraps_around():
    y = causal_conv(double([1, 2]), double([[1, 10, 100]]))
    torch.testing.assert_close(y, double([[1, 12, 120]]))
    late = causal_conv(noise(1, 64), torch.eye(64).double()[-1:][None])
    assert late[..., :-1].abs().max() < 1e-14 < late[..., -1].abs()


def test_convolution_equals_torch():
    K, u = noise(3, 9), noise(2, 3, 20)
    padded = torch.nn.functional.pad(u, (8, 0))
    want = torch.nn.functional.conv1d(padded, K.flip(-1)[:, None], groups=3)
    torch.testing.assert_close(causal_conv(K, u), want)


def test_gradcheck():
    K, u = noise(3, 4).requires_grad_(), noise(2, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(causal_conv, (K, u))


def test_lengths_that_an_fft_likes():
    liked = {odd << n for odd in (1, 3, 5, 9, 15) for n in range(12)}
    for least in range(1, 2000):
        assert fast_length(least) == min(size for size in liked if size >= least)


def test_every_fft_is_given_whole_arrays(monkeypatch):
    """The MKL of torch 2.6 refuses an FFT along a stride of 0, which the gradient of a sum has."""
    rfft = torch.fft.rfft

    def strict(x, *rest):
        assert x.is_contiguous()
        return rfft(x, *rest)

    monkeypatch.setattr(torch.fft, "rfft", strict)
    K, u = noise(3, 1).requires_grad_(), noise(1, 1, 1).expand(2, 3, 8).requires_grad_()
    torch.autograd.grad(causal_conv(K, u).sum(), (K, u))  # size 8: not even a padding copies


@pytest.mark.parametrize(
    "K,u,words",
    [
        (torch.ones(3, 2), torch.ones(1, 2, 5), r"K must have shape \(2, any\)"),
        (torch.ones(3), torch.ones(1, 3, 5), r"K must have shape \(3, any\)"),
        (torch.ones(3, 2), torch.ones(3, 5), r"u must have shape \(any, any, any\)"),
    ],
)
def test_shapes_are_refused_by_name(K, u, words):
    with pytest.raises(ValueError, match=words):
        causal_conv(K, u)
