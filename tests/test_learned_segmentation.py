"""OpTok: the losses by loops, the gradient identity, what reaches what, refusals."""

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.learned_segmentation import OpTok, weights
from minilib.naive import learned_segmentation as naive
from minilib.unigram import nbest, sample

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.weights: edited(
        naive.weights,
        lam_left_out=("lam * (row - row.max())", "row - row.max()"),
        lam_outside=("np.exp(lam * (row - row.max()))", "lam * np.exp(row - row.max())"),
        no_care_of_small_scores=("row - row.max()", "row"),
        not_normalised=("a[b] /= a[b].sum()", "pass"),
        over_all_lists=("a[b] /= a[b].sum()", "a[b] /= len(scores)"),
    ),
    naive.optok: edited(
        naive.optok,
        sum_of_vectors=("np.mean(", "np.sum("),
        without_bias=(' + params["b"]', ""),
        worst_instead_of_best=(
            "logp, 1)",
            "-logp, 1)",
        ),
        each_piece_once=("for w in ids]", "for w in set(ids)]"),
    ),
}

PIECES = [b"a", b"b", b"ab", b"ba", b"c", b"cab"]
TEXTS = [b"abcab", b"c", b"abab", b"bcaba"]
LABELS = torch.tensor([0, 1, 1, 0])


def model(seed=0, **how):
    torch.manual_seed(seed)
    net = OpTok(PIECES, 2, width=3, **how).double()
    net.unigram.data.copy_(torch.randn(len(PIECES)))
    return net


def uniforms(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(len(TEXTS), 5, generator=rng, dtype=torch.float64)


def cross_entropy(net, h, label):
    logits = net.W.detach().numpy() @ h + net.b.detach().numpy()
    return np.log(np.exp(logits).sum()) - logits[label]


def by_loops(net, version, u):
    """Both losses as the paper writes them."""
    logp, embed = net.logp().detach(), net.embed.detach().numpy()
    total = 0.0
    drawn = sample(TEXTS, PIECES, logp, u, net.lam)
    for b, found in enumerate(nbest(TEXTS, PIECES, logp, net.n)):
        scores = np.array([float(logp[ids].sum()) for ids in found])
        p = np.exp(scores * (net.lam if version == 1 else 1.0))
        a, label = p / p.sum(), int(LABELS[b])
        vectors = [embed[ids].mean(0) for ids in found]
        if version == 1:
            total += cross_entropy(net, a @ vectors, label)
        else:
            total += cross_entropy(net, embed[drawn[b]].mean(0), label)
            total += a @ [cross_entropy(net, h, label) for h in vectors]
        lengths = np.array([len(ids) for ids in found])
        total += net.mu * -(a @ (scores / lengths))
    return total / len(TEXTS)


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_both_losses_are_those_of_the_paper(n):
    net, u = model(n=n, mu=0.3), uniforms()
    assert net.mixed_loss(TEXTS, LABELS).item() == pytest.approx(by_loops(net, 1, u))
    assert net.expected_loss(TEXTS, LABELS, u).item() == pytest.approx(by_loops(net, 2, u))


def test_the_gradient_of_each_segmentation_is_a_times_its_loss_less_the_mean():
    """Version 2, no drift: by hand from a_n (l_n - mean) and the counts, and by finite difference.

    Both agree to 1e-8. The N best stay the same at such small steps.
    """
    net, u = model(mu=0.0), uniforms()
    (got,) = torch.autograd.grad(net.expected_loss(TEXTS, LABELS, u), net.unigram)
    logp, embed = net.logp().detach(), net.embed.detach().numpy()
    in_logp = torch.zeros(len(PIECES)).double()
    for b, found in enumerate(nbest(TEXTS, PIECES, logp, net.n)):
        a = torch.stack([logp[ids].sum() for ids in found]).softmax(0)
        losses = [cross_entropy(net, embed[ids].mean(0), int(LABELS[b])) for ids in found]
        losses = torch.tensor(losses)
        for weight, ids in zip(a * (losses - a @ losses), found, strict=True):
            for w in ids:
                in_logp[w] += weight / len(TEXTS)
    wanted = in_logp - in_logp.sum() * logp.exp()  # through the log-softmax
    assert (got - wanted).abs().max() < 1e-12
    for w in range(len(PIECES)):
        ends = []
        for step in (-1e-5, 1e-5):
            moved = model(mu=0.0)
            moved.unigram.data[w] += step
            ends.append(float(moved.expected_loss(TEXTS, LABELS, u).detach()))
        assert abs((ends[1] - ends[0]) / 2e-5 - float(got[w])) < 1e-8


def test_the_classifier_learns_from_the_drawn_segmentation_alone():
    net, u = model(), uniforms()
    net.expected_loss(TEXTS, LABELS, u).backward()
    drawn = sample(TEXTS, PIECES, net.logp(), u, net.lam)
    alone = model()
    h = torch.stack([alone.embed[ids].mean(0) for ids in drawn])
    torch.nn.functional.cross_entropy(alone.classify(h), LABELS).backward()
    for name in ("embed", "W", "b"):
        torch.testing.assert_close(getattr(net, name).grad, getattr(alone, name).grad)
    assert net.unigram.grad.abs().max() > 1e-3


def test_one_segmentation_teaches_the_unigram_model_nothing():
    net = model(n=1, mu=0.0)
    for loss in (net.mixed_loss(TEXTS, LABELS), net.expected_loss(TEXTS, LABELS, uniforms())):
        net.zero_grad()
        loss.backward()
        assert net.unigram.grad.abs().max() < 1e-15 and net.embed.grad.abs().max() > 1e-3


def test_a_shorter_list_weighs_nothing_in_its_empty_places():
    a = weights(torch.tensor([[-1.0, -2.0], [-1.0, -torch.inf]]), 0.5)
    assert a[1].tolist() == [1, 0] and float(a[0, 0]) == pytest.approx(1 / (1 + np.exp(-0.5)))


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: OpTok(PIECES, 2, n=0), "n must be at least 1, got 2, 8, 0"),
        (lambda: OpTok(PIECES, 0), "classes, width and n must be at least 1, got 0"),
        (lambda: OpTok(PIECES, 2, lam=0), "lam must be above 0, got 0"),
        (lambda: OpTok(PIECES, 2, logp=torch.zeros(3)), "one number for each of 6 pieces"),
        (lambda: OpTok(PIECES[2:], 2)([b"ab"]), "every single byte of the texts, b'a' is missing"),
        (lambda: OpTok([b"a", b"a"], 2)([b"a"]), "pieces must be some that differ"),
        (lambda: OpTok(PIECES, 2)([b""]), "texts must be some, none of them empty"),
        (lambda: OpTok(PIECES, 2).mixed_loss([b"ab"], LABELS), r"labels .* shape \(1,\), got \(4,"),
        (lambda: OpTok(PIECES, 2).mixed_loss([b"ab"], LABELS[:1] + 2), r"lie in \[0, 2\), got 2"),
        (lambda: weights(torch.zeros(1, 1), -1), "lam must be above 0, got -1"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
