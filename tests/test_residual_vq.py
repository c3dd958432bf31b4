"""Residual codes: by hand, straight through once, k-means, dropped stages, refusals."""

import itertools

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.naive import residual_vq as naive
from minilib.residual_vq import ResidualVQ, decode, encode, follow, quantize, start
from minilib.residual_vq import quantize_gradients as gradients

# -- answers that are wrong ------------------------------------------------------------------------

STEP = "        d_z = d_z + 2 * residual / z.size\n"
WRONG = {
    naive.encode: edited(
        naive.encode,
        no_residual=(
            "        residual = residual - books[q][codes[:, q]]\n    return codes",
            "    return codes",
        ),
        added=(
            "residual = residual - books[q][codes[:, q]]\n    return codes",
            "residual = residual + books[q][codes[:, q]]\n    return codes",
        ),
        always_the_first_book=("nearest(residual, books[q])", "nearest(residual, books[0])"),
    ),
    naive.decode: edited(
        naive.decode,
        last_stage_alone=("z[n] += books", "z[n] = books"),
        first_book=("books[q][codes[n, q]]", "books[0][codes[n, q]]"),
        mean_of_stages=(
            "    return z\n\n\ndef quantize(",
            "    return z / codes.shape[1]\n\n\ndef quantize(",
        ),
    ),
    naive.quantize: edited(
        naive.quantize,
        last_commitment_alone=("commitment += (", "commitment = ("),
        squared_norms=("(residual**2).mean()", "(residual**2).sum()"),
        nothing_replaced=("return decode(codes, books), codes", "return z, codes"),
    ),
    naive.quantize_gradients: edited(
        naive.quantize_gradients,
        no_commitment=(STEP, ""),
        once_a_stage=("d_z + 2 * residual", "d_z + d_quantized + 2 * residual"),
        first_stage_alone=(
            "d_z = d_z + 2 * residual / z.size",
            "d_z = d_z + (q == 0) * 2 * residual / z.size",
        ),
        nothing_straight_through=(
            "d_z, residual = d_quantized.copy(), z",
            "d_z, residual = 0 * z, z",
        ),
    ),
    naive.start: edited(
        naive.start,
        no_steps=("book = kmeans(residual, residual[begin], steps)", "book = residual[begin]"),
        every_stage_on_z=("        residual = residual - book[nearest(residual, book)]\n", ""),
    ),
    naive.follow: edited(
        naive.follow,
        every_stage_on_z=("        residual = left\n", ""),
        never_replaced=("if counts[q, k] < least", "if False"),
        count_is_kept=(
            "counts[q, k], sums[q, k] = 1.0, residual",
            "counts[q, k], sums[q, k] = counts[q, k], residual",
        ),
        moved_before_left=(
            "        left = residual - books[q][codes[:, q]]\n        for k",
            "        for k",
            "        residual = left\n",
            "        residual = residual - books[q][codes[:, q]]\n",
        ),
    ),
}

# -- by hand ---------------------------------------------------------------------------------------

BOOKS = torch.tensor(
    [[[0.0, 0.0], [4.0, 4.0]], [[1.0, 0.0], [-1.0, 1.0]], [[0.0, 0.0], [0.0, 0.5]]]
)
Z = torch.tensor([[3.0, 5.5], [1.0, 0.5]])


def test_two_vectors_by_hand():
    # (3, 5.5) - (4, 4) = (-1, 1.5), - (-1, 1) = (0, 0.5), - (0, 0.5) = 0
    codes = encode(Z, BOOKS)
    assert codes.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert torch.equal(decode(codes, BOOKS), Z)
    assert decode(codes[:, :1], BOOKS).tolist() == [[4, 4], [0, 0]]
    assert decode(codes[:, :2], BOOKS).tolist() == [[3, 5], [1, 0]]
    quantized, _, commitment = quantize(Z, BOOKS)
    assert torch.equal(quantized, Z)
    # what is left: (1 + 2.25 + 1 + 0.25) / 4, (0.25 + 0.25) / 4, 0
    assert commitment == 4.5 / 4 + 0.5 / 4
    found = gradients(torch.ones(2, 2), Z, BOOKS)
    assert found.tolist() == [[1 - 0.5, 1 + 0.75 + 0.25], [1 + 0.5, 1 + 0.25 + 0.25]]


def test_the_sum_is_straight_through_once():
    """The derivative of the sum in z is the identity, whatever the number of stages."""
    draw = torch.Generator().manual_seed(0)
    books = torch.randn(5, 7, 3, generator=draw).double()
    z = torch.randn(4, 3, generator=draw).double().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda z: quantize(z, books)[0], z)
    assert torch.equal(jacobian.view(12, 12), torch.eye(12).double())


def test_every_stage_of_the_commitment_moves_z():
    books = BOOKS.double()
    for stages in (1, 2, 3):
        z = (Z.double() + 0.1).requires_grad_()
        (found,) = torch.autograd.grad(quantize(z, books[:stages])[2], z)
        left = z.detach()
        wanted = torch.zeros_like(left)
        for book, k in zip(books[:stages], encode(z, books).t(), strict=False):
            left = left - book[k]
            wanted += 2 * left / left.numel()
        torch.testing.assert_close(found, wanted)


# -- laws ------------------------------------------------------------------------------------------


def some(seed=0, N=400, D=4):
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed)).double()


def test_each_stage_lowers_the_error_and_the_order_of_stages_matters():
    z = some()
    rows = torch.stack(
        [torch.randperm(400, generator=torch.Generator().manual_seed(q))[:8] for q in range(4)]
    )
    books = start(z, rows, 10)
    codes = encode(z, books)
    errors = [(decode(codes[:, :q], books) - z).square().mean() for q in (1, 2, 3, 4)]
    assert all(b < 0.8 * a for a, b in itertools.pairwise(errors))
    turned = books.flip(0)
    assert (decode(encode(z, turned), turned) - z).square().mean() > 1.2 * errors[-1]


def test_the_first_stages_of_many_are_the_stages_of_few():
    z, books = some(), some(1, 24, 4).view(3, 8, 4)
    assert torch.equal(encode(z, books)[:, :2], encode(z, books[:2]))


def test_kmeans_is_scipys_stage_after_stage():
    scipy = pytest.importorskip("scipy.cluster.vq")
    z, rows = some().numpy(), np.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11]])
    residual, wanted = z, []
    for begin in rows:
        book, index = scipy.kmeans2(residual, residual[begin], iter=5, minit="matrix")
        index = scipy.vq(residual, book)[0]
        wanted.append(book)
        residual = residual - book[index]
    found = start(torch.tensor(z), torch.tensor(rows), 5)
    np.testing.assert_allclose(found, np.array(wanted), rtol=1e-9)


def test_codes_that_follow_come_to_the_means_and_idle_ones_come_back():
    z = some(N=300)
    books = torch.stack([z[:6], z[6:12]])
    books[0, 5] = 99.0  # nothing is near it
    counts, sums = torch.ones(2, 6).double(), books.clone()
    rows = torch.arange(12).view(2, 6)
    for _ in range(200):
        codes = encode(z, books)
        counts, sums, books = follow(counts, sums, z, codes, books, rows, 0.9, 0.1)
    codes = encode(z, books)
    assert len(codes[:, 0].unique()) == 6
    means = torch.stack([z[codes[:, 0] == k].mean(0) for k in range(6)])
    assert (means - books[0]).abs().max() < 0.05


def test_the_module_is_its_functions():
    torch.manual_seed(0)
    net = ResidualVQ(3, 8, 4).double()
    z = some(N=40).view(2, 20, 4)
    net.start(z.flatten(0, 1), torch.Generator().manual_seed(0))
    quantized, codes, _ = net(z, 2)
    assert codes.shape == (2, 20, 2) and torch.equal(codes, net(z)[1][..., :2])
    torch.testing.assert_close(net.decode(codes), quantized)
    before = net.books.clone()
    net.follow(z.flatten(0, 1), codes.flatten(0, 1), torch.Generator().manual_seed(0))
    assert not torch.equal(net.books[:2], before[:2]) and torch.equal(net.books[2], before[2])


# -- refused ---------------------------------------------------------------------------------------

CODES = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: encode(Z / 0, BOOKS), "z must be finite and not empty"),
        (lambda: encode(Z[:0], BOOKS), r"z must be finite and not empty, got \(0, 2\)"),
        (lambda: encode(Z, BOOKS[:, :, :1]), r"z must have shape \(any, 1\), got \(2, 2\)"),
        (lambda: decode(CODES[:0], BOOKS), "codes must not be empty"),
        (lambda: decode(CODES - 1, BOOKS), r"codes must lie in \[0, 2\), got -1 to -1"),
        (lambda: decode(CODES + 2, BOOKS), r"codes must lie in \[0, 2\), got 2 to 2"),
        (lambda: decode(torch.zeros(2, 4).long(), BOOKS), "have 1 to 3 stages, got shape"),
        (lambda: start(Z, torch.tensor([[2]]), 1), r"rows must be int64 in \[0, 2\)"),
        (lambda: start(Z, torch.tensor([[0]]), 0), "steps must be 1 or more, got 0"),
        (lambda: ResidualVQ(0), "stages must be 1 or more, got 0"),
        (lambda: ResidualVQ(2, 3, 2)(Z, 3), r"stages must lie in \[1, 2\], got 3"),
        (lambda: gradients(Z[:1], Z, BOOKS), r"d_quantized must have shape \(2, 2\)"),
        (
            lambda: follow(torch.ones(3, 2), BOOKS, Z, CODES, BOOKS, torch.zeros(3, 2).long(), 2.0),
            r"gamma must lie in \[0, 1\], got 2.0",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_codes_are_integers():
    with pytest.raises(TypeError, match=r"codes must be int64, got torch\.float32"):
        decode(CODES.float(), BOOKS)
