import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional as F

from minilib.naive import unet as naive
from minilib.unet import UNet, conv2d, crop, max_pool, output_size, tile_predict, up_conv

# -- answers that are wrong ------------------------------------------------------------------------


def kernel_mirrored(x, w, b):
    return naive.conv2d(x, w[:, :, ::-1, ::-1], b)


def first_channel_alone(x, w, b):
    return naive.conv2d(x[:, :1], w[:, :1], b)


def largest_by_size(x):
    largest, least = naive.max_pool(x), -naive.max_pool(-x)
    return np.where(-least > largest, least, largest)


def windows_overlap(x):
    wide = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
    return np.maximum(naive.max_pool(x), wide[:, :, 2::2, 2::2])


def rows_for_columns(x, w, b):
    return naive.up_conv(x, w.swapaxes(2, 3), b)


def one_weight_for_all_four(x, w, b):
    return naive.up_conv(x, np.broadcast_to(w[:, :, :1, :1], w.shape), b)


def mirrored(x, w, b):
    return naive.up_conv(x, w[:, :, ::-1, ::-1], b)


MIRRORED = "images[:, :, mirror(y, H), mirror(x, W)]"
REPEAT = (
    "    inner = tile - margin\n",
    "    inner = tile - margin\n    repeat = lambda i, n: min(i % (2 * n), (-1 - i) % (2 * n))\n",
)
COPY, UP = "crop(copies[k], *x.shape[2:])", 'x = up_conv(x, *_kernel(params, f"up.{k}"))'
OUTPUT = 'return conv2d(x, *_kernel(params, "output"))'
BORDERS = "(x.shape[2] - height) // 2, (x.shape[3] - width) // 2"
TOP_LEFT = "top + i - margin // 2, left + j - margin // 2"
WRONG = {
    naive.conv2d: [
        *edited(
            naive.conv2d,
            no_bias=("sum((1, 2, 3)) + b", "sum((1, 2, 3))"),
            bias_for_each_channel=("sum((1, 2, 3)) + b", "sum((1, 2, 3)) + b * x.shape[1]"),
            mean_for_sum=(".sum((1, 2, 3))", ".mean((1, 2, 3))"),
            rows_alone=("x[n, :, i : i + K, j : j + L]", "x[n, :, i : i + K, j : j + 1]"),
        ),
        kernel_mirrored,
        first_channel_alone,
    ],
    naive.max_pool: [
        *edited(
            naive.max_pool,
            mean_for_maximum=(".max((1, 2))", ".mean((1, 2))"),
            minimum=(".max((1, 2))", ".min((1, 2))"),
            first_of_four=(".max((1, 2))", "[:, 0, 0]"),
            pairs_of_a_row=("2 * i : 2 * i + 2,", "2 * i : 2 * i + 1,"),
            halves_not_pairs=(
                "x[n, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]",
                "x[n, :, i :: H // 2, j :: W // 2]",
            ),
            never_below_zero=("2 * j + 2].max((1, 2))", "2 * j + 2].max((1, 2), initial=0)"),
        ),
        largest_by_size,
        windows_overlap,
    ],
    naive.up_conv: [
        *edited(
            naive.up_conv,
            no_bias=("j % 2] + b", "j % 2]"),
            bias_four_times=("j % 2] + b", "j % 2] + 4 * b"),
            four_pictures_side_by_side=(
                "i // 2, j // 2] @ w[:, :, i % 2, j % 2]",
                "i % H, j % W] @ w[:, :, i // H, j // W]",
            ),
            spread_with_holes=("j % 2] + b", "j % 2] * (i % 2 == j % 2 == 0) + b"),
        ),
        rows_for_columns,
        one_weight_for_all_four,
        mirrored,
    ],
    naive.crop: edited(
        naive.crop,
        from_the_corner=(BORDERS, "0, 0"),
        odd_remainder_at_the_top=(BORDERS, BORDERS.replace(")", " + 1)")),
        one_border_for_both=("(x.shape[3] - width) // 2", "(x.shape[2] - height) // 2"),
    ),
    naive.output_size: edited(
        naive.output_size,
        convolutions_of_the_way_up_forgotten=("depth - 1) - 4", "depth - 1)"),
        one_convolution_a_level=("size -= 4", "size -= 2", "depth - 1) - 4", "depth - 1) - 2"),
        the_papers_margin=("    size -= 4\n", "    return size - 184\n"),
        as_large_as_the_input=("    size -= 4\n", "    return size\n"),
    ),
    naive.unet: edited(
        naive.unet,
        copy_behind=("concatenate([copy, x]", "concatenate([x, copy]"),
        copy_from_the_corner=(COPY, "copies[k][:, :, : x.shape[2], : x.shape[3]]"),
        added_not_beside=("[copy, x], axis=1", "[copy + x, x], axis=1"),
        never_a_copy=("if not skips", "if True"),
        always_a_copy=("if not skips", "if False"),
        no_relu=("= np.maximum(conv2d(", "= (lambda y, _: y)(conv2d("),
        relu_after_the_second_alone=("), 0)\n", "), 0 if layer == 'second' else -np.inf)\n"),
        relu_after_the_output=(OUTPUT, f"{OUTPUT}.clip(0)"),
        relu_after_the_way_up=(UP, f"{UP}.clip(0)"),
        mean_pooling=("j + 2].max((1, 2))", "j + 2].mean((1, 2))"),
    ),
    naive.tile_predict: edited(
        naive.tile_predict,
        tiles_anywhere=("inner // step * step", "inner"),
        zeros_beyond_the_edge=(MIRRORED, MIRRORED + " * (0 <= y < H and 0 <= x < W)"),
        edge_goes_on=(MIRRORED, "images[:, :, min(max(y, 0), H - 1), min(max(x, 0), W - 1)]"),
        edge_is_repeated=(MIRRORED, MIRRORED.replace("mirror", "repeat"), *REPEAT),
        begins_at_the_edge=(TOP_LEFT, "top + i, left + j"),
        whole_margin_before=(TOP_LEFT, "top + i - margin, left + j - margin"),
        sums_where_tiles_overlap=(
            "left : left + inner] = logits",
            "left : left + inner] += logits",
        ),
    ),
}


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


# -- the layers ------------------------------------------------------------------------------------


def test_a_convolution_by_hand():
    # not mirrored: [1 2 3] under [1 10 100] is 321, then [2 3 4] is 432; the bias adds 1000
    x, w = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), torch.tensor([[[[1.0, 10.0, 100.0]]]])
    assert conv2d(x, w, torch.tensor([1000.0])).flatten().tolist() == [1321, 1432]


def test_an_up_convolution_by_hand():
    x, w = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    y = up_conv(x, w, torch.tensor([0.5]))
    assert y[0, 0].tolist() == [[1.5, 2.5, 2.5, 4.5], [3.5, 4.5, 6.5, 8.5]]


def test_the_layers_are_torchs():
    """Third opinion on definitions and twins alike, with random weights and sides that differ."""
    x, w, b = normal(2, 3, 6, 8), normal(4, 3, 3, 3), normal(4)
    up = normal(3, 4, 2, 2)
    for ours, definition, inputs, theirs in [
        (conv2d, naive.conv2d, (x, w, b), F.conv2d(x, w, b)),
        (up_conv, naive.up_conv, (x, up, b), F.conv_transpose2d(x, up, b, stride=2)),
        (max_pool, naive.max_pool, (x,), F.max_pool2d(x, 2, 2)),
    ]:
        torch.testing.assert_close(ours(*inputs), theirs)
        defined = definition(*[value.numpy() for value in inputs])
        torch.testing.assert_close(torch.tensor(defined), theirs)


def test_the_first_of_equals_gets_the_gradient():
    x = torch.tensor([[[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 5.0]]]], requires_grad=True)
    max_pool(x).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_gradcheck():
    grad = lambda *shape: normal(*shape).requires_grad_()
    assert torch.autograd.gradcheck(conv2d, (grad(1, 2, 4, 5), grad(3, 2, 3, 3), grad(3)))
    assert torch.autograd.gradcheck(up_conv, (grad(1, 2, 2, 3), grad(2, 3, 2, 2), grad(3)))


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
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d
    assert sum(isinstance(module, kinds) for module in net.modules()) == 23
    assert net.margin == 184


def test_the_maps_have_the_sizes_of_figure_1():
    with torch.device("meta"):  # shapes without arithmetic
        net, sizes = UNet(1, 2, 64, 4), []
        for pair in net.down:
            pair.register_forward_hook(lambda _, inputs, out: sizes.append(tuple(out.shape[1:3])))
        assert net(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert sizes == [(64, 568), (128, 280), (256, 136), (512, 64), (1024, 28)]


@pytest.mark.parametrize("depth", range(5))
def test_allowed_sizes_are_those_that_the_loops_accept(depth):
    for size in range(1, 300):
        try:
            want = naive.output_size(size, depth)
        except ValueError:
            refused = f"size must be a size that depth {depth} allows, the nearest "
            with pytest.raises(ValueError, match=refused):
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
    allowed = "of images must be a size that depth 2 allows, the nearest"
    with pytest.raises(ValueError, match=f"height {allowed} 88 and 92, got 90"):
        net(torch.zeros(1, 1, 90, 92))
    with pytest.raises(ValueError, match=f"width {allowed} 44, the smallest, got 40"):
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
    conv = lambda m, x: F.conv2d(x, m.weight, m.bias)
    block = lambda m, x: F.relu(conv(m.second, F.relu(conv(m.first, x))))
    a = block(net.down[0], x)  # 44 × 40
    b = block(net.down[1], F.max_pool2d(a, 2))  # 18 × 16
    c = block(net.down[2], F.max_pool2d(b, 2))  # 5 × 4
    y = F.conv_transpose2d(c, net.up[1].weight, net.up[1].bias, stride=2)  # 10 × 8
    y = block(net.merge[1], torch.cat([b[:, :, 4:14, 4:12], y], 1))  # 6 × 4
    y = F.conv_transpose2d(y, net.up[0].weight, net.up[0].bias, stride=2)  # 12 × 8
    y = block(net.merge[0], torch.cat([a[:, :, 16:28, 16:24], y], 1))  # 8 × 4
    torch.testing.assert_close(net(x), conv(net.output, y))


def test_without_skips_the_copies_do_not_count():
    """Same parameters; those that would read the copies get no gradient, all others do."""
    with_skips, without = UNet(1, 2, 3, 1), UNet(1, 2, 3, 1, skips=False)
    without.load_state_dict(with_skips.state_dict())
    x = torch.randn(1, 1, 20, 20)
    assert not torch.allclose(with_skips(x), without(x))
    without(x).square().sum().backward()
    grad = without.merge[0].first.weight.grad
    assert (grad[:, :3] == 0).all() and (grad[:, 3:] != 0).any()


def test_parameters_are_touched_only_inside_their_module():
    """So that sharding and checkpointing work: outside of its forward a layer has none."""
    net, images = UNet(1, 2, 2, 2), torch.randn(1, 1, 44, 48)
    want = net(images)
    for module in net.modules():
        if own := dict(module._parameters):
            show = lambda module, inputs, own=own: module._parameters.update(own)
            module.register_forward_pre_hook(show)
            module.register_forward_hook(lambda module, *_: module._parameters.clear())
            module._parameters.clear()
    assert torch.equal(net(images), want)


def test_weights_start_with_the_papers_spread():
    """N(0, 2 / inputs); 5 % is six standard errors of the spread of the smallest tensor."""
    net = UNet(1, 2, 64, 2)
    for layer, inputs in [
        (net.down[1].first, 9 * 64),
        (net.down[2].second, 9 * 256),
        (net.merge[0].first, 9 * 128),
        (net.up[1], 256),
    ]:
        assert abs(layer.weight.std().item() / (2 / inputs) ** 0.5 - 1) < 0.05
        assert not layer.bias.any()


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
    image, seen = torch.arange(1.0, 7.0).view(1, 1, 1, 6), []

    def net(x):
        seen.append(x[0, 0, 0].tolist())
        return x[:, :, 2:-2, 2:-2]

    tile_predict(net, image, 10, 4, 2)
    assert seen == [[3, 2, 1, 2, 3, 4, 5, 6, 5, 4]]
    assert torch.equal(tile_predict(lambda x: x, image, 2, 0, 1), image)


def test_tiles_are_refused():
    net = UNet(1, 2, 1, 3)
    allowed = "tile must be a size that depth 3 allows, the nearest 92 and 100, got 96"
    with pytest.raises(ValueError, match=allowed):
        net.predict(torch.zeros(1, 1, 50, 50), 96)
    with pytest.raises(ValueError, match="tile must be at least step = 8 larger"):
        net.predict(torch.zeros(1, 1, 50, 50), 92)  # gives 4 pixels: less than a pooling window


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
    (lambda: UNet(depth=-1), "depth must be 0 or more, got -1"),
    (lambda: output_size(10, -1), "depth must be 0 or more, got -1"),
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
