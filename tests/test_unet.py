import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minilib import lab
from minilib.lab import glyphs as letters
from minilib.naive import unet as naive
from minilib.unet import (
    UNet,
    conv2d,
    crop,
    elastic,
    max_pool,
    output_size,
    pixel_loss,
    tile_predict,
    up_conv,
    weight_map,
)

ONES = torch.ones(2, dtype=torch.float64)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


# -- the layers ------------------------------------------------------------------------------------


def test_a_convolution_by_hand():
    # the kernel is not mirrored: [1 2 3] under [1 10 100] is 321, then [2 3 4] is 432; the bias adds 1000
    x, w = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), torch.tensor([[[[1.0, 10.0, 100.0]]]])
    assert conv2d(x, w, torch.tensor([1000.0])).flatten().tolist() == [1321, 1432]


def test_an_up_convolution_by_hand():
    x, w = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert up_conv(x, w, torch.tensor([0.5]))[0, 0].tolist() == [
        [1.5, 2.5, 2.5, 4.5],
        [3.5, 4.5, 6.5, 8.5],
    ]


def test_the_layers_are_torchs():
    """Third opinion on definitions and twins alike, with random weights and sides that differ."""
    x, w, b = normal(2, 3, 6, 8), normal(4, 3, 3, 3), normal(4)
    up = normal(3, 4, 2, 2)
    for ours, definition, theirs in [
        (conv2d(x, w, b), naive.conv2d(x.numpy(), w.numpy(), b.numpy()), F.conv2d(x, w, b)),
        (
            up_conv(x, up, b),
            naive.up_conv(x.numpy(), up.numpy(), b.numpy()),
            F.conv_transpose2d(x, up, b, stride=2),
        ),
        (max_pool(x), naive.max_pool(x.numpy()), F.max_pool2d(x, 2, 2)),
    ]:
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(torch.tensor(definition), theirs)


def test_the_first_of_equals_gets_the_gradient():
    x = torch.tensor([[[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 5.0]]]], requires_grad=True)
    max_pool(x).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_gradcheck():
    grad = lambda *shape: normal(*shape).requires_grad_()
    assert torch.autograd.gradcheck(conv2d, (grad(1, 2, 4, 5), grad(3, 2, 3, 3), grad(3)))
    assert torch.autograd.gradcheck(up_conv, (grad(1, 2, 2, 3), grad(2, 3, 2, 2), grad(3)))
    assert torch.autograd.gradcheck(lambda a, d: elastic(a, d), (grad(1, 4, 5), grad(1, 2, 3, 3)))


def test_the_middle_is_cut_out_alike_on_both_axes():
    x = torch.arange(30.0).view(1, 1, 5, 6)
    assert crop(x, 3, 2)[0, 0].tolist() == [[8, 9], [14, 15], [20, 21]]
    assert crop(x, 2, 6)[0, 0, :, 0].tolist() == [6, 12]  # 3 rows too many: 1 above, 2 below


# -- the net ---------------------------------------------------------------------------------------


def test_the_papers_sizes_and_parameters():
    assert output_size(572, 4) == naive.output_size(572, 4) == 388
    with torch.device("meta"):  # shapes without numbers
        net = UNet(1, 2, 64, 4)
    assert sum(p.numel() for p in net.parameters()) == 31_030_658
    convolutions = [
        m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
    ]
    assert len(convolutions) == 23
    assert net.margin == 184


def test_the_maps_have_the_sizes_of_figure_1():
    with torch.device("meta"):  # shapes without arithmetic
        net, sizes = UNet(1, 2, 64, 4), []
        for layers in net.down:
            layers.second.register_forward_hook(
                lambda module, inputs, out: sizes.append(tuple(out.shape[1:3]))
            )
        assert net(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert sizes == [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]


@pytest.mark.parametrize("depth", range(5))
def test_allowed_sizes_are_those_that_the_loops_accept(depth):
    for size in range(1, 300):
        try:
            want = naive.output_size(size, depth)
        except ValueError:
            with pytest.raises(
                ValueError, match=f"size must be a size that depth {depth} allows, the nearest "
            ):
                output_size(size, depth)
        else:
            assert output_size(size, depth) == want


@pytest.mark.parametrize(
    "size,near",
    [
        (571, "556 and 572"),
        (187, "188, the smallest"),
        (1, "188, the smallest"),
        (189, "188 and 204"),
        (-20, "188, the smallest"),
    ],
)
def test_a_refused_size_names_its_neighbours(size, near):
    with pytest.raises(ValueError, match=f"nearest {near}, got {size}"):
        output_size(size, 4)


def test_images_of_other_sizes_are_refused():
    net = UNet(1, 2, 1, 2)
    assert net(torch.zeros(1, 1, 44, 48)).shape == (1, 2, 4, 8)
    with pytest.raises(
        ValueError,
        match="height of images must be a size that depth 2 allows, the nearest 88 and 92, got 90",
    ):
        net(torch.zeros(1, 1, 90, 92))
    with pytest.raises(
        ValueError,
        match="width of images must be a size that depth 2 allows, the nearest 44, the smallest, got 40",
    ):
        net(torch.zeros(1, 1, 44, 40))
    with pytest.raises(ValueError, match="images must have 1 channels, got 3"):
        net(torch.zeros(1, 3, 44, 44))
    for bad in (torch.zeros(44, 44), torch.zeros(1, 1, 44, 44, dtype=torch.int64)):
        with pytest.raises(ValueError, match="images must be floats of shape"):
            net(bad)


def test_no_pictures_give_no_pictures():
    net = UNet(1, 2, 1, 1)
    assert net(torch.zeros(0, 1, 18, 20)).shape == (0, 2, 2, 4)
    assert net.predict(torch.zeros(0, 1, 5, 6)).shape == (0, 2, 5, 6)


def test_the_net_from_torchs_layers():
    """Third opinion: figure 1 written down once more with torch's functions, at three levels."""
    net = UNet(2, 3, 4, 2).double()
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x = normal(2, 2, 48, 44)
    block = lambda m, x: F.relu(
        F.conv2d(F.relu(F.conv2d(x, m.first.weight, m.first.bias)), m.second.weight, m.second.bias)
    )
    a = block(net.down[0], x)  # 44 × 40
    b = block(net.down[1], F.max_pool2d(a, 2))  # 18 × 16
    c = block(net.down[2], F.max_pool2d(b, 2))  # 5 × 4
    y = F.conv_transpose2d(c, net.up[1].weight, net.up[1].bias, stride=2)  # 10 × 8
    y = block(net.merge[1], torch.cat([b[:, :, 4:14, 4:12], y], 1))  # 6 × 4
    y = F.conv_transpose2d(y, net.up[0].weight, net.up[0].bias, stride=2)  # 12 × 8
    y = block(net.merge[0], torch.cat([a[:, :, 16:28, 16:24], y], 1))  # 8 × 4
    torch.testing.assert_close(net(x), F.conv2d(y, net.output.weight, net.output.bias))


def test_without_skips_the_copies_do_not_count():
    """Same parameters; those that would read the copies get no gradient, all others do."""
    with_skips, without = UNet(1, 2, 3, 1), UNet(1, 2, 3, 1, skips=False)
    without.load_state_dict(with_skips.state_dict())
    x = torch.randn(1, 1, 20, 20)
    assert not torch.allclose(with_skips(x), without(x))
    without(x).square().sum().backward()
    grad = without.merge[0].first.weight.grad
    assert (grad[:, :3] == 0).all() and (grad[:, 3:] != 0).any()


def test_weights_start_with_the_papers_spread():
    """Every unit's output has the variance of its inputs before the ReLU doubled it; 5 % is six standard errors of the least tensor's spread."""
    net = UNet(1, 2, 64, 2)
    for layer, inputs in [
        (net.down[1].first, 9 * 64),
        (net.down[2].second, 9 * 256),
        (net.merge[0].first, 9 * 128),
        (net.up[1], 256),
    ]:
        assert abs(layer.weight.std().item() / (2 / inputs) ** 0.5 - 1) < 0.05
        assert not layer.bias.any()


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
    # instance 1 at (0, 0), instance 2 at (3, 4): at (0, 4) the distances are 4 and 3; inside 1 they are 0 and 5
    picture = torch.zeros(1, 4, 5, dtype=torch.int64)
    picture[0, 0, 0], picture[0, 3, 4] = 1, 2
    w = weight_map(picture, torch.tensor([1.0, 2.0], dtype=torch.float64), w0=10.0, sigma=7.0)[0]
    torch.testing.assert_close(w[0, 4].item(), 1 + 10 * np.exp(-49 / 98))
    torch.testing.assert_close(w[0, 0].item(), 2 + 10 * np.exp(-25 / 98))


def test_instances_count_and_not_classes_or_pieces():
    """Two pieces of one instance have no border between them; two instances have; the names do not matter."""
    border = lambda *row: weight_map(torch.tensor([[row]]), 0 * ONES)[0, 0, 2].item()
    assert border(1, 0, 0, 0, 1) == 0
    assert border(1, 0, 0, 0, 2) == border(7, 0, 0, 0, -3) > 5
    assert border(1, 0, 0, 0, 0) == 0


def test_two_equal_discs_have_a_symmetric_map():
    y, x = np.mgrid[:15, :25]
    discs = torch.tensor(
        ((y - 7) ** 2 + (x - 6) ** 2 < 20) + 2 * ((y - 7) ** 2 + (x - 18) ** 2 < 20)
    )[None]
    w = weight_map(discs, ONES)
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
    torch.testing.assert_close(
        elastic(image, shift)[:, -1, :-2], image[:, -2, 2:]
    )  # one beyond the edge is one before it
    half = elastic(image, shift / 2)[:, :-1, :-1]  # half a pixel down, one to the right
    torch.testing.assert_close(half, (image[:, :-1, 1:] + image[:, 1:, 1:]) / 2)


def test_the_field_is_torchs_bicubic_one():
    """Third opinion: torch's bicubic interpolation and grid_sample, which mirror and interpolate alike."""
    image, d = normal(2, 9, 12), 2 * normal(2, 2, 3, 3)
    field = F.interpolate(d, (9, 12), mode="bicubic", align_corners=True)
    y = 2 * (torch.arange(9)[:, None] + field[:, 0]) / 8 - 1
    x = 2 * (torch.arange(12) + field[:, 1]) / 11 - 1
    want = F.grid_sample(
        image[:, None], torch.stack([x, y], -1), padding_mode="reflection", align_corners=True
    )
    torch.testing.assert_close(elastic(image, d), want[:, 0])


def test_labels_stay_labels():
    labels, d = torch.randint(5, (2, 30, 40)) * 10, 10 * normal(2, 2, 3, 3)
    moved = elastic(labels, d)
    assert moved.dtype == torch.int64 and set(moved.unique().tolist()) <= {0, 10, 20, 30, 40}
    assert not torch.equal(moved, labels)


# -- tiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "depth,tiles", [(1, (18, 20, 30)), (2, (44, 48, 60)), (3, (100, 108, 124))]
)
def test_tiles_of_any_size_give_the_whole_picture(depth, tiles):
    net = UNet(1, 2, 2, depth).double()
    for height, width in [(37, 50), (1, 3)]:
        image = normal(2, 1, height, width)
        whole = net.predict(image)
        assert whole.shape == (2, 2, height, width)
        for tile in tiles:
            torch.testing.assert_close(net.predict(image, tile), whole, rtol=1e-10, atol=1e-10)


def test_inside_the_prediction_is_the_valid_output():
    net = UNet(1, 2, 2, 2).double()
    image = normal(1, 1, 60, 64)
    torch.testing.assert_close(net.predict(image)[:, :, 20:40, 20:44], net(image))


def test_the_edge_is_a_mirror():
    net = lambda x: (
        x
    )  # loses nothing of a tile that is 4 larger than it should be: shows what it read
    image = torch.arange(1.0, 7.0).view(1, 1, 1, 6)
    seen = []
    tile_predict(lambda x: seen.append(x[0, 0, 0].tolist()) or x[:, :, 2:-2, 2:-2], image, 10, 4, 2)
    assert seen == [[3, 2, 1, 2, 3, 4, 5, 6, 5, 4]]
    assert torch.equal(tile_predict(net, image, 2, 0, 1), image)


def test_tiles_are_refused():
    net = UNet(1, 2, 1, 3)
    with pytest.raises(
        ValueError, match="tile must be a size that depth 3 allows, the nearest 92 and 100, got 96"
    ):
        net.predict(torch.zeros(1, 1, 50, 50), 96)
    with pytest.raises(
        ValueError, match="tile must be at least step = 8 larger"
    ):  # 92 gives 4 pixels: less than a pooling window
        net.predict(torch.zeros(1, 1, 50, 50), 92)


# -- refusals --------------------------------------------------------------------------------------

REFUSED = [
    (
        lambda: conv2d(torch.zeros(1, 2, 5, 5), torch.zeros(3, 1, 3, 3), torch.zeros(3)),
        "w must have 4 axes and 2 input channels on axis 1",
    ),
    (
        lambda: conv2d(torch.zeros(1, 1, 5, 5), torch.zeros(3, 1, 3, 3), torch.zeros(1)),
        r"b must have shape \(3,\)",
    ),
    (
        lambda: conv2d(torch.zeros(1, 1, 2, 5), torch.zeros(3, 1, 3, 3), torch.zeros(3)),
        r"x must be at least as large as the kernel \(3, 3\), got \(2, 5\)",
    ),
    (
        lambda: up_conv(torch.zeros(1, 2, 5, 5), torch.zeros(3, 2, 2, 2), torch.zeros(2)),
        "2 input channels on axis 0",
    ),
    (
        lambda: up_conv(torch.zeros(1, 2, 5, 5), torch.zeros(2, 1, 3, 3), torch.zeros(1)),
        r"w must have 2 × 2 kernels, got \(3, 3\)",
    ),
    (
        lambda: max_pool(torch.zeros(1, 1, 4, 5)),
        r"x must have even height and width, 2 or more, got \(4, 5\)",
    ),
    (
        lambda: max_pool(torch.zeros(1, 1, 0, 4)),
        r"x must have even height and width, 2 or more, got \(0, 4\)",
    ),
    (lambda: crop(torch.zeros(4, 4), 2, 2), "x must be floats of shape"),
    (lambda: max_pool(torch.zeros(4, 4)), "x must be floats of shape"),
    (lambda: naive.max_pool(np.zeros((1, 1, 3, 4))), "x must have even sides, got 3 × 4"),
    (
        lambda: crop(torch.zeros(1, 1, 4, 4), 5, 2),
        "height and width must lie in 1 to 4 and 1 to 4, got 5 and 2",
    ),
    (lambda: UNet(channels=0), "channels must be 1 or more"),
    (lambda: UNet(depth=-1), "depth 0 or more"),
    (lambda: output_size(10, -1), "depth must be 0 or more, got -1"),
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
        r"displacement must be floats of shape \(2, 2, g, g\), g 1 or more, got torch.float32 of shape \(1, 2, 3, 3\)",
    ),
    (lambda: elastic(torch.zeros(2, 3, 3), torch.zeros(2, 2, 0, 0)), "g 1 or more"),
    (
        lambda: elastic(torch.zeros(1, 3, 3), torch.zeros(1, 2, 3, 3, dtype=torch.int64)),
        "displacement must be floats",
    ),
    (
        lambda: UNet(1, 2, 1, 1).predict(torch.zeros(1, 1, 0, 5)),
        "images must have at least one pixel and step be 1 or more, got 0 × 5 and 2",
    ),
    (
        lambda: tile_predict(lambda x: x, torch.zeros(1, 1, 4, 4), 4, 0, 0),
        "step be 1 or more, got 4 × 4 and 0",
    ),
]


@pytest.mark.parametrize("call,words", REFUSED, ids=range(len(REFUSED)))
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# -- the data --------------------------------------------------------------------------------------


def test_every_part_has_letters_of_its_own():
    parts = [letters.letters(part) for part in letters.PARTS]
    assert sorted("".join(parts)) == sorted(letters.ALPHABET)
    assert all(not set(a) & set(b) for a, b in itertools.combinations(parts, 2))
    with pytest.raises(ValueError, match="part must be one of train, validation, test, got 'dev'"):
        lab.data.glyphs("dev")
    with pytest.raises(ValueError, match="count and size must be 1 or more, got 0 and 92"):
        lab.data.glyphs(count=0)


def test_a_picture_depends_on_seed_and_number_alone():
    few, more = lab.data.glyphs("test", 2, 60, seed=3), lab.data.glyphs("test", 4, 60, seed=3)
    assert few.images.dtype == np.float32 and few.instances.dtype == np.int64
    assert (few.images == more.images[:2]).all() and (few.instances == more.instances[:2]).all()
    assert not (few.instances[0] == few.instances[1]).all()
    assert not (few.instances == lab.data.glyphs("test", 2, 60, seed=4).instances).all()
    assert not (few.instances == lab.data.glyphs("train", 2, 60, seed=3).instances).all()


def test_letters_come_near_and_never_meet():
    """No pixel has another letter among its eight neighbours, and many have one two pixels away."""
    instances = lab.data.glyphs("train", 8, 92).instances
    close = 0
    for dy, dx in itertools.product(range(3), range(-2, 3)):
        a, b = (
            instances[:, dy:, max(dx, 0) : 92 + min(dx, 0)],
            instances[:, : 92 - dy, max(-dx, 0) : 92 + min(-dx, 0)],
        )
        meet = ((a != b) & (a > 0) & (b > 0)).sum()
        if max(dy, abs(dx)) == 1:
            assert meet == 0
        close += meet
    assert close > 8 * 20


def test_the_line_is_the_letters_edge():
    clean = lab.data.glyphs("train", 2, 40, noise=0.0)
    assert set(np.unique(clean.images)) == {0, 1}
    assert (clean.instances[clean.images == 1] > 0).all()
    inner = clean.instances[:, 1:-1, 1:-1] > 0
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner &= clean.instances[:, dy : 38 + dy, dx : 38 + dx] > 0
    assert (clean.images[:, 1:-1, 1:-1] == ((clean.instances[:, 1:-1, 1:-1] > 0) & ~inner)).all()


def test_pictures_of_every_size_and_seed_can_be_drawn():
    for seed in range(12):
        lab.data.glyphs(letters.PARTS[seed % 3], 1, 20 + 11 * seed, seed)
    assert lab.data.glyphs("train", 1, 1).images.shape == (1, 1, 1)
