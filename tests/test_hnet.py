"""Cuts within cuts: where each stage begins, what the loss asks, the model's stream; refusals."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from minilib.dynamic_pooling import DynamicPooling, ratio_loss
from minilib.hnet import HNet, multiply_adds, spread
from minilib.naive import hnet as naive
from minilib.naive import hourglass

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def put_at_the_ends(values, begins):
    return naive.spread(values[:, ::-1], begins[:, ::-1])[:, ::-1]


def each_row_the_whole_chunk(values, begins):
    values = np.append(values, np.zeros((len(values), 1)), axis=1)  # for rows without a chunk
    return np.take_along_axis(values, (begins.cumsum(1) - 1).clip(0), 1)


def main_alone(rows, C, V, layers, middle, context):
    return hourglass.multiply_adds(rows[-1], C, V, 1, 0, middle, 0, context)


def every_stage_on_bytes(rows, C, V, layers, middle, context):
    return naive.multiply_adds([rows[0]] * len(rows), C, V, layers, middle, context)


WRONG = {
    naive.spread: [put_at_the_ends, each_row_the_whole_chunk],
    naive.multiply_adds: [
        main_alone,
        every_stage_on_bytes,
        *edited(naive.multiply_adds, no_router_and_no_skip=(" + router_and_skip", "")),
    ],
    naive.hnet: edited(
        naive.hnet,
        not_smoothed=("z = smooth(z, p[:, begins])", "z = 1.0 * z"),
        no_skip=('x = x @ params["W_skip"][s].T + z[', "x = z["),
        skip_of_stage_0=('params["W_skip"][s]', 'params["W_skip"][0]'),
        router_of_stage_0=('params["W_q"][s]', 'params["W_q"][0]'),
        one_stage_alone=("z, s + 1,", "z, stages,"),
        last_row_of_the_chunk=("z = x[:, begins]", "z = x[:, np.append(begins[1:], True)]"),
        the_chunk_before=("np.cumsum(begins) - 1", "np.maximum(np.cumsum(begins) - 2, 0)"),
        inside_sees_all=("x, middle, *options)", "x, middle, heads)"),
        inside_sees_the_future=("x, middle, *options)", "x, middle, heads, False, context)"),
    ),
}

# -- cuts within cuts ------------------------------------------------------------------------------


def bits(text):
    return torch.tensor([[mark == "1" for mark in row] for row in text.split()])


def test_what_belongs_to_chunks_is_put_where_they_begin():
    values = torch.tensor([[0.5, 0.7, 0.9], [0.1, 0.0, 0.0]])
    want = [[0.5, 0, 0.7, 0.9], [0, 0, 0.1, 0]]
    torch.testing.assert_close(spread(values, bits("1011 0010")), torch.tensor(want))
    assert spread(values[:, :0], bits("000 000")).tolist() == [[0, 0, 0]] * 2
    torch.manual_seed(0)
    begins = torch.rand(3, 30) < 0.4  # the same by a mask that is written in order
    values = torch.randn(3, 30)
    want = torch.zeros(3, 30)
    for row in range(3):
        want[row].masked_scatter_(begins[row], values[row])
    assert torch.equal(spread(values, begins), want)


def shaken(**sizes):
    torch.manual_seed(0)
    sizes = dict(layers=1, middle=2, heads=2, context=3) | sizes
    model = HNet(19, 8, **sizes).double().eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


@torch.no_grad()
def test_an_inner_stage_begins_where_the_stage_around_it_does():
    begins, p = shaken(stages=3).boundaries(torch.randint(19, (4, 60)))
    assert begins.shape == p.shape == (3, 4, 60)
    assert begins[:, :, 0].all() and (p[:, :, 0] == 1).all()
    counts = begins.sum(2)
    assert (begins[1:] <= begins[:-1]).all() and (counts[1:] <= counts[:-1]).all()
    assert (p[1:][~begins[:-1]] == 0).all() and (p[1:][begins[:-1]] > 0).all()
    assert torch.equal(begins, p >= 0.5)


def test_one_stage_is_the_router_of_dynamic_pooling():
    """Its null vector, first in its middle, is what the two differ in: a middle of no blocks."""
    torch.manual_seed(0)
    sizes = dict(before=1, middle=1, after=1, heads=2, context=64, source="route")
    one = HNet(19, 8, stages=1, layers=1, middle=1, heads=2).double()
    other = DynamicPooling(19, 8, **sizes).double()
    names = {"before.0.0": "before.0", "after.0.0": "after.0", "main.0": "middle.0"}
    weights = {"null": other.null.data}
    for name, value in one.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        weights[name] = value[0] if name in ("W_q", "W_k") else value
    del weights["W_skip"]  # the identity, as there
    for block in (one.main[0],):
        block.out.data.zero_()  # no chunk looks at another, nor at the null vector
    weights["middle.0.out"] = one.main[0].out.data
    other.load_state_dict(weights)
    ids = torch.randint(19, (3, 40))
    with torch.no_grad():
        torch.testing.assert_close(one(ids), other(ids), rtol=1e-9, atol=1e-9)
        assert torch.equal(one.boundaries(ids)[0][0], other.boundaries(ids)[0])
    torch.testing.assert_close(other.shorten, 5.0)
    one.shorten = other.shorten
    torch.testing.assert_close(one.loss(ids), other.loss(ids))


# -- the language model ----------------------------------------------------------------------------

every_depth = pytest.mark.parametrize("stages", [1, 2, 3])


@every_depth
@torch.no_grad()
def test_it_streams_causally(stages):
    """Rows that begin chunks at different steps, caches that slide: pieces give the whole."""
    model, ids = shaken(stages=stages, context=4), torch.randint(19, (3, 40))
    ids[1, 5:30] = 7  # where nothing changes nothing begins, at any stage
    whole = model(ids)
    for size in (1, 2, 5, 13):
        state, rows = model.init_state(3), []
        for start in range(0, 40, size):
            logits, state = model.extend(ids[:, start : start + size], state)
            rows.append(logits)
        torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=1e-10, atol=1e-10)
    for t in range(40):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 19
        after = model(changed)
        torch.testing.assert_close(after[:, :t], whole[:, :t], rtol=0, atol=HNet.rounding)
        assert (after[:, t] != whole[:, t]).any(-1).all()


@every_depth
@torch.no_grad()
def test_the_state_stays_bounded_and_what_lies_inside_sleeps(stages):
    def size(state):
        if isinstance(state, tuple):
            return sum(map(size, state))
        return state.numel() if isinstance(state, Tensor) else 0

    model, runs = shaken(stages=stages), [0]
    model.main[0].register_forward_hook(lambda *_: runs.append(runs.pop() + 1))
    state, sizes, ids = model.init_state(1), [], torch.randint(19, (1, 60))
    for t in range(60):
        _, state = model.step(ids[:, t], state)
        sizes.append(size(state))
    assert max(sizes) == sizes[0] == sizes[-1]
    begins = model.boundaries(ids)[0]
    assert runs == [begins[-1].sum() + 1] and begins[-1].sum() < 60  # and once for the whole
    assert [int(level.seen[0]) for level in state.levels] == [60, *begins.sum(2)[:, 0].tolist()]


def test_the_loss_holds_every_stage_to_its_rate():
    model, ids = shaken(stages=2, shorten=2.5), torch.randint(19, (4, 31))
    logits, targets = model(ids[:, :-1]), ids[:, 1:]
    want = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).double()
    begins, p = model.boundaries(ids[:, :-1])
    outer = begins[0]
    want = want + 0.03 * ratio_loss(p[0], outer, 2.5)  # straight through: the value is the same
    want = want + 0.03 * ratio_loss(p[1][outer][None], begins[1][outer][None], 2.5)
    torch.testing.assert_close(model.loss(ids), want)


def test_each_router_is_rewarded_for_being_sure(monkeypatch):
    """What goes up counts as if times p where a chunk begins and 1 - p elsewhere."""
    model, ids = shaken(stages=1, layers=0), torch.randint(19, (2, 9))
    model.W_skip.data.zero_()
    ones = lambda s, begins: torch.ones(*begins.shape, 8).double()
    monkeypatch.setattr("minilib.hnet.unpool", ones)
    model.norm = torch.nn.Identity()
    model.output.data.copy_(torch.eye(19, 8))
    logits, _, ((begins, p, there),) = model._run(ids, model.init_state(2), learn=True)
    (got,) = torch.autograd.grad(logits.sum(), model.W_q, retain_graph=True)
    (want,) = torch.autograd.grad(8 * torch.where(begins, p, 1 - p).sum(), model.W_q)
    assert begins.any() and not begins.all() and there.all()
    torch.testing.assert_close(got, want)
    assert (logits.sum(2) - 8).abs().max() < 1e-12


def test_routers_of_both_stages_learn():
    """Every weight has a gradient, and fifty steps bring rates far from 1 / N near to it."""
    torch.manual_seed(0)
    model = HNet(19, 16, layers=1, middle=1, heads=2, shorten=2.0)
    model.loss(torch.randint(19, (4, 33))).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name
        for stage, grad in enumerate(p.grad if name.startswith("W_") else []):
            assert grad.abs().max() > 0, (name, stage)


def test_a_fresh_model_guesses_about_uniformly():
    logits = HNet(100, 64)(torch.randint(100, (4, 40)))
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.randint(100, (160,)))
    assert abs(loss.item() - math.log(100)) < 0.05 * math.log(100)


# -- cost ------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("stages", [1, 2])
def test_products_are_counted(stages):
    """Third opinion: torch's counter of matrix products; attention, a full square to it, apart."""
    V, C, T, layers, middle = 19, 8, 24, 1, 2
    model, ids = shaken(stages=stages, context=64), torch.randint(V, (1, T))
    with FlopCounterMode(display=False) as counter:
        model(ids)
    counts = counter.get_flop_counts()["Global"].items()
    matrices = sum(n for name, n in counts if "attention" not in str(name)) / 2
    rows = [T, *model.boundaries(ids)[0].sum(2)[:, 0].tolist()]
    blocks = [2 * layers] * stages + [middle]
    scores = sum(C * b * n * (n + 1) for b, n in zip(blocks, rows, strict=True))
    assert matrices + scores == multiply_adds(rows, C, V, layers, middle, 64)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words,arguments",
    [
        ("width", {"width": 0}),
        ("stages must be 1 or more, got 0", {"stages": 0}),
        ("middle", {"middle": 0}),
        ("context", {"context": 0}),
        ("layers must be 0 or more", {"layers": -1}),
        ("shorten above 1, got 1 and 1", {"shorten": 1}),
        ("heads", {"heads": 3}),
    ],
)
def test_bad_sizes_are_named(words, arguments):
    with pytest.raises(ValueError, match=words):
        HNet(**arguments)


def test_bad_input_is_named():
    values, begins = torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool)
    for error, words, call in [
        (TypeError, "begins must be a bool tensor", lambda: spread(values, values)),
        (ValueError, r"values must have shape \(2, 4\) or wider", lambda: spread(values, begins)),
        (ValueError, r"values must have shape \(1, 3\)", lambda: spread(values, begins[:1, :3])),
        (ValueError, "rows must be of a stage", lambda: multiply_adds([4], 2, 3, 1, 1, 4)),
        (ValueError, "rows must be of a stage", lambda: multiply_adds([4, 0], 2, 3, 1, 1, 4)),
    ]:
        with pytest.raises(error, match=words):
            call()
