import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional as F

from minilib.naive import segmentation as naive
from minilib.segmentation import elastic, pixel_loss, weight_map

# -- answers that are wrong ------------------------------------------------------------------------

LOG_P = "a - a.max() - np.log(np.exp(a - a.max()).sum())"
FOLD = "    i = np.abs(i) % (2 * (n - 1)) if n > 1 else 0\n"
GRID = "i * (g - 1) / max(H - 1, 1), j * (g - 1) / max(W - 1, 1)"
REPEATED = "    i = (i + 0.5) % (2 * n)\n    return min(max(min(i, 2 * n - i) - 0.5, 0), n - 1)\n"
NEAREST = "np.sqrt(((rows - y) ** 2 + (columns - x) ** 2).min())"
WRONG = {
    naive.pixel_loss: edited(
        naive.pixel_loss,
        no_maximum=(LOG_P, "a - np.log(np.exp(a).sum())"),
        one_maximum=(LOG_P, LOG_P.replace("a.max()", "logits.max()")),
        sum_for_mean=("total / labels.size", "total"),
        divided_by_the_weights=("total / labels.size", "total / weights.sum()"),
        mean_over_pictures=("total / labels.size", "total / len(labels)"),
        unweighted=("weights[n, y, x] * log_p", "log_p"),
        probability_for_its_logarithm=("* log_p[", "* np.exp(log_p)["),
        bits_for_nats=("total / labels.size", "total / labels.size / np.log(2)"),
        gain_for_loss=("total -= ", "total += "),
        logit_for_log_p=("* log_p[", "* a["),
    ),
    naive.weight_map: edited(
        naive.weight_map,
        border_on_background_alone=(
            "if len(distances)",
            "if not instances[n, y, x] and len(distances)",
        ),
        border_without_a_second=("if len(distances) > 1:", "if distances := distances * 2:"),
        squares_added=("(d1 + d2) ** 2", "d1**2 + d2**2"),
        nearest_alone=("(d1 + d2)", "d1"),
        second_alone=("(d1 + d2)", "d2"),
        nearest_twice=("(d1 + d2)", "(2 * d1)"),
        first_two_and_not_nearest_two=("sorted(distances)", "distances"),
        sigma_not_squared=("sigma**2", "sigma"),
        factor_2_left_out=("(2 * sigma**2)", "sigma**2"),
        height_and_reach_built_in=("    w = np.z", "    w0, sigma = 10, 5\n    w = np.z"),
        city_blocks=(NEAREST, "(abs(rows - y) + abs(columns - x)).min()"),
        to_the_centre=(NEAREST, "np.hypot(rows.mean() - y, columns.mean() - x)"),
        to_the_farthest_pixel=(NEAREST, NEAREST.replace("min", "max")),
        class_weights_swapped=("[int(instances[n, y, x] != 0)]", "[int(instances[n, y, x] == 0)]"),
        border_in_place_of_the_class=("w[n, y, x] += w0", "w[n, y, x] = w0"),
    ),
    naive.elastic: edited(
        naive.elastic,
        pushed_not_fetched=("i + dy", "i - dy", "j + dx", "j - dx"),
        right_and_down=("cubic(v - q) * here", "cubic(v - q) * here[::-1]"),
        grid_beside_the_corners=(GRID, "i * g / H, j * g / W"),
        linear_between_grid_points=("    t, a = abs(t), -0.75", "    return max(0, 1 - abs(t))"),
        another_cubic=("-0.75", "-0.5"),
        grid_is_mirrored=("min(max(p, 0), g - 1)", "mirror(p, g)"),
        edge_goes_on=(FOLD, "    return min(max(i, 0), n - 1)\n"),
        edge_is_repeated=(FOLD, REPEATED),
        comes_in_again_on_the_other_side=(FOLD, "    return min(i % n, n - 1)\n"),
        labels_cut_off=("int(np.rint(y)), int(np.rint(x))", "int(y), int(x)"),
        labels_between_labels=("kind in", "kind not in"),
        nearest_for_all=('kind in "iu"', 'kind in "iuf"'),
    ),
}

ONES = torch.ones(2, dtype=torch.float64)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


# -- the loss and its weights ----------------------------------------------------------------------


def test_the_loss_by_hand():
    # p = 3/4 and 1/2 of the labels, weighted 2 and 1, mean over two pixels
    logits = torch.tensor([[[[np.log(3.0), 0.0]], [[0.0, 0.0]]]])
    loss = pixel_loss(logits, torch.tensor([[[0, 1]]]), torch.tensor([[[2.0, 1.0]]]))
    torch.testing.assert_close(loss.item(), (2 * np.log(4 / 3) + np.log(2)) / 2)


@pytest.mark.parametrize("distance,want", [(1, 9.23), (2, 7.26), (3, 4.87), (5, 1.35), (8, 0.06)])
def test_border_weight_half_way_between_two(distance, want):
    line = torch.zeros(1, 1, 2 * distance + 1, dtype=torch.int64)
    line[..., 0], line[..., -1] = 1, 2
    weight = weight_map(line, 0 * ONES)[0, 0, distance].item()  # d1 = d2 = distance
    assert round(weight, 2) == want
    assert abs(naive.weight_map(line.numpy(), np.zeros(2))[0, 0, distance] - weight) < 1e-12


def test_weights_on_a_grid_by_hand():
    # instances at (0, 0) and (3, 4): at (0, 4) the distances are 4 and 3; at (0, 0) 0 and 5
    picture = torch.zeros(1, 4, 5, dtype=torch.int64)
    picture[0, 0, 0], picture[0, 3, 4] = 1, 2
    w = weight_map(picture, torch.tensor([1.0, 2.0], dtype=torch.float64), w0=10.0, sigma=7.0)[0]
    torch.testing.assert_close(w[0, 4].item(), 1 + 10 * np.exp(-49 / 98))
    torch.testing.assert_close(w[0, 0].item(), 2 + 10 * np.exp(-25 / 98))


def test_instances_count_and_not_classes_or_pieces():
    """Two pieces of one instance have no border between them, two instances have, of any name."""
    border = lambda *row: weight_map(torch.tensor([[row]]), 0 * ONES)[0, 0, 2].item()
    assert border(1, 0, 0, 0, 1) == 0
    assert border(1, 0, 0, 0, 2) == border(7, 0, 0, 0, -3) > 5
    assert border(1, 0, 0, 0, 0) == 0


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (9, 13)])
@pytest.mark.parametrize("ink", [0.05, 0.3, 1.0])
def test_distances_are_exact_however_instances_lie(size, ink):
    """Random pictures against the loops, with a weight that falls slowly; names may be negative."""
    rng = np.random.default_rng(0)
    for most in (2, 3, 30):
        drawn = rng.random((4, *size)) < ink
        instances = drawn * rng.choice([-most, 1, 2, most], size=drawn.shape)
        want = naive.weight_map(instances, np.zeros(2), 10.0, 20.0)
        got = weight_map(torch.tensor(instances), 0 * ONES, 10.0, 20.0)
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_two_equal_discs_have_a_symmetric_map():
    y, x = np.mgrid[:15, :25]
    left, right = ((y - 7) ** 2 + (x - centre) ** 2 < 20 for centre in (6, 18))
    w = weight_map(torch.tensor(left + 2 * right)[None], ONES)
    torch.testing.assert_close(w, w.flip(2))
    torch.testing.assert_close(w, w.flip(1))
    assert w[0, 7, 12] == w[0, :, 12].max()


# -- elastic deformation ---------------------------------------------------------------------------


def test_no_displacement_is_the_identity_and_a_constant_one_a_shift():
    image, still = normal(2, 6, 7), torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(elastic(image, still), image)
    shift = still.clone()
    shift[:, 0], shift[:, 1] = 1, 2
    torch.testing.assert_close(elastic(image, shift)[:, :-1, :-2], image[:, 1:, 2:])
    # one beyond the edge is one before it
    torch.testing.assert_close(elastic(image, shift)[:, -1, :-2], image[:, -2, 2:])
    half = elastic(image, shift / 2)[:, :-1, :-1]  # half a pixel down, one to the right
    torch.testing.assert_close(half, (image[:, :-1, 1:] + image[:, 1:, 1:]) / 2)


def test_the_field_is_torchs_bicubic_one():
    """Third opinion: torch's bicubic interpolation, and grid_sample, which mirrors alike."""
    image, d = normal(2, 9, 12), 2 * normal(2, 2, 3, 3)
    field = F.interpolate(d, (9, 12), mode="bicubic", align_corners=True)
    y = 2 * (torch.arange(9)[:, None] + field[:, 0]) / 8 - 1
    x = 2 * (torch.arange(12) + field[:, 1]) / 11 - 1
    places = torch.stack([x, y], -1)
    settings = {"padding_mode": "reflection", "align_corners": True}
    want = F.grid_sample(image[:, None], places, **settings)
    torch.testing.assert_close(elastic(image, d), want[:, 0])


def test_the_gradient_of_pictures_and_displacements():
    picture, d = normal(1, 4, 5).requires_grad_(), normal(1, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(elastic, (picture, d))


def test_autocast_changes_no_position():
    """In bfloat16 a position beyond 256 would be off by a pixel."""
    image, d = torch.randn(1, 300, 300), 10 * torch.randn(1, 2, 3, 3)
    want = elastic(image, d)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(elastic(image, d), want)
    half = elastic(image.bfloat16(), d)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), want, rtol=0, atol=0.1)


def test_labels_stay_labels():
    labels, d = torch.randint(5, (2, 30, 40)) * 10, 10 * normal(2, 2, 3, 3)
    moved = elastic(labels, d)
    assert moved.dtype == torch.int64 and set(moved.unique().tolist()) <= {0, 10, 20, 30, 40}
    assert not torch.equal(moved, labels)


# -- refusals --------------------------------------------------------------------------------------

REFUSED = [
    (
        lambda: pixel_loss(
            torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 4, dtype=torch.int64), torch.zeros(1, 3, 3)
        ),
        r"labels must have shape \(1, 3, 3\), as logits have, got \(1, 3, 4\)",
    ),
    (
        lambda: pixel_loss(
            torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64), torch.zeros(3, 3)
        ),
        r"weights must have shape \(1, 3, 3\)",
    ),
    (
        lambda: pixel_loss(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1), 2), torch.ones(1, 1, 1)),
        "labels must be int64 from 0 to 1, got torch.int64 from 2 to 2",
    ),
    (
        lambda: pixel_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)),
        "labels must be int64 from 0 to 1, got torch.float32",
    ),
    (
        lambda: pixel_loss(
            torch.zeros(0, 2, 1, 1), torch.zeros(0, 1, 1, dtype=torch.int64), torch.ones(0, 1, 1)
        ),
        "logits must have at least one pixel",
    ),
    (
        lambda: weight_map(torch.zeros(1, 3, 3), torch.ones(2)),
        "instances must be integers of shape",
    ),
    (lambda: weight_map(torch.zeros(0, 3, 3, dtype=torch.int64), torch.ones(2)), "batch 1 or more"),
    (
        lambda: weight_map(
            torch.zeros(1, 3, 3, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
        ),
        "a float dtype",
    ),
    (
        lambda: weight_map(torch.zeros(1, 3, 3, dtype=torch.int64), torch.ones(3)),
        r"class_weight must have shape \(2,\)",
    ),
    (
        lambda: weight_map(torch.zeros(1, 3, 3, dtype=torch.int64), torch.ones(2), sigma=0),
        "sigma be positive, got .* and 0",
    ),
    (
        lambda: elastic(torch.zeros(1, 1, 3, 3), torch.zeros(1, 2, 3, 3)),
        r"images must have shape \(batch, height, width\)",
    ),
    (
        lambda: elastic(torch.zeros(2, 3, 3), torch.zeros(1, 2, 3, 3)),
        r"must be floats of shape \(2, 2, g, g\), g 1 or more, got torch.float32 of shape \(1, 2,",
    ),
    (lambda: elastic(torch.zeros(2, 3, 3), torch.zeros(2, 2, 0, 0)), "g 1 or more"),
    (
        lambda: elastic(torch.zeros(1, 3, 3), torch.zeros(1, 2, 3, 3, dtype=torch.int64)),
        "displacement must be floats",
    ),
]


@pytest.mark.parametrize("call,words", REFUSED, ids=range(len(REFUSED)))
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
