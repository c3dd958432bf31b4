"""The deep character Transformer: losses and schedule by hand, windows, torch's own layer."""

import math

import numpy as np
import pytest
import torch
from mutants import edited

from minilib import lab
from minilib.char_transformer import (
    CharTransformer,
    PostNormBlock,
    active_layers,
    auxiliary_loss,
    count_parameters,
)
from minilib.lab.data import windows
from minilib.naive import char_transformer as naive

# -- answers that are wrong ------------------------------------------------------------------------


def places_go_on_past_the_window(params, ids, *, layers, heads, context):
    """One long window whose table of positions is repeated: older windows are seen."""
    times = -(-ids.shape[1] // context)
    longer = params | {"positions": np.tile(params["positions"], (1, times, 1))}
    return naive.layer_states(longer, ids, layers, heads)[-1] @ params["classifiers"][-1, 0].T


def positions_before_the_first_layer_alone(params, ids, *, layers, heads, context):
    none = params["positions"].copy()
    none[1:] = 0
    sizes = {"layers": layers, "heads": heads, "context": context}
    return naive.char_transformer(params | {"positions": none}, ids, **sizes)


def positions_shared_by_all_layers(params, ids, *, layers, heads, context):
    shared = np.repeat(params["positions"][:1], layers, axis=0)
    sizes = {"layers": layers, "heads": heads, "context": context}
    return naive.char_transformer(params | {"positions": shared}, ids, **sizes)


def last_place_wraps_around(states, classifiers, ids, progress, second=0.5, places=None):
    """The symbol two after the last one is taken from the start of the row."""
    total = naive.auxiliary_loss(states, classifiers, ids, progress, 0.0, places)
    n, B, T, _ = states.shape
    begin = 0 if places is None else T - places
    target = np.roll(ids, -2, axis=1)
    for l in naive.active_layers(n, progress):
        nats = []
        for b in range(B):
            for t in range(begin, T):
                z = classifiers[l - 1, 1] @ states[l - 1, b, t]
                nats.append(np.log(np.exp(z - z.max()).sum()) + z.max() - z[target[b, t]])
        total = total + second * np.mean(nats)
    return total


WRONG = {
    naive.post_norm_block: edited(
        naive.post_norm_block,
        not_causal=("v, None, True)", "v, None, False)"),
        the_past_forgotten=("[past_k, k]", "[0 * past_k, k]"),
        normed_before=(
            *('x @ params["up"].T', 'layer_norm(x, 1, 0) @ params["up"].T'),
            *('return layer_norm(x + y, params["norm2.weight"], params["norm2.bias"])',),
            "return x + y",
        ),
        squared_relu=('params["up"].T, 0)', 'params["up"].T, 0) ** 2'),
        attention_not_added=("layer_norm(x + joined", "layer_norm(joined"),
        hidden_not_added=("layer_norm(x + y", "layer_norm(y"),
        first_norm_forgotten=(
            'x = layer_norm(x + joined @ params["out"].T, '
            'params["norm1.weight"], params["norm1.bias"])',
            'x = x + joined @ params["out"].T',
        ),
    ),
    naive.char_transformer: [
        *edited(
            naive.char_transformer,
            second_classifier=('["classifiers"][-1, 0]', '["classifiers"][-1, 1]'),
            classifier_of_the_first_layer=('["classifiers"][-1, 0]', '["classifiers"][0, 0]'),
            the_first_state=("states[-1]", "states[0]"),
            one_layer_too_few=(
                "range(layers):\n        x =",
                "range(max(1, layers - 1)):\n        x =",
            ),
        ),
        places_go_on_past_the_window,
        positions_before_the_first_layer_alone,
        positions_shared_by_all_layers,
    ],
    naive.active_layers: edited(
        naive.active_layers,
        whole_division=("l / (2 * n)]", "l // (2 * n)]"),
        layers_from_zero=("or progress < l /", "or progress < (l - 1) /"),
        until_the_end=("l / (2 * n)]", "l / n]"),
        edge_still_pays=("or progress < l", "or progress <= l"),
        top_layer_stops_too=("l == n or ", ""),
        top_first=("or progress < l /", "or progress < (n - l) /"),
    ),
    naive.auxiliary_loss: [
        *edited(
            naive.auxiliary_loss,
            second_for_every_place=("np.mean(nats)", "np.sum(nats) / (B * (T - begin))"),
            sums_not_means=("np.mean(nats)", "np.sum(nats)"),
            both_targets_alike=("(1, second)", "(1, 1.0)"),
            one_classifier=("classifiers[l - 1, target]", "classifiers[l - 1, 0]"),
            top_classifier_for_all=("classifiers[l - 1, target]", "classifiers[-1, target]"),
            places_from_the_start=("range(begin, T - target)", "range(0, T - target - begin)"),
            schedule_forgotten=("in active_layers(n, progress)", "in range(1, n + 1)"),
            mean_over_layers=("total + weight *", "total + weight / n *"),
            same_symbol=("t + 1 + target", "t + target"),
        ),
        last_place_wraps_around,
    ],
    naive.count_parameters: edited(
        naive.count_parameters,
        no_positions=("        predict += context * width  # positions\n", ""),
        positions_once=("context * width", "context * width / layers"),
        one_classifier_a_layer=("(1 if l == layers else 2)", "1"),
        norms_without_bias=("2 * 2 * width", "2 * width"),
    ),
}


# -- helpers ---------------------------------------------------------------------------------------


def shaken(module):
    """In float64, every parameter moved off its initial value, which may be 0 or 1."""
    for p in module.double().parameters():
        p.data += 0.1 * torch.randn_like(p)
    return module


def model_of(context=4, layers=3, vocab_size=7, width=6, heads=2):
    return shaken(CharTransformer(vocab_size, width, layers, heads, context))


# -- the schedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "progress,layers",
    [(0, [1, 2, 3, 4]), (0.125, [2, 3, 4]), (0.25, [3, 4]), (0.374, [3, 4]), (0.5, [4]), (1, [4])],
)
def test_layers_that_pay(progress, layers):
    """Of four, layer l stops at l / 8: a division of whole numbers would leave only the top."""
    assert active_layers(4, progress) == naive.active_layers(4, progress) == layers


def test_the_papers_model_drops_a_layer_every_31250_steps():
    steps, n = 4_000_000, 64
    for k in range(1, n):
        assert len(active_layers(n, (31_250 * k - 1) / steps)) == n - k + 1
        assert len(active_layers(n, 31_250 * k / steps)) == n - k
    assert active_layers(n, 1.0) == [n]


# -- the loss by hand ------------------------------------------------------------------------------


def test_a_loss_by_hand():
    """Two layers, three places. Layer 2 is sure of symbol 1 by odds of 3 : 1; layer 1 has no idea.

    ids 0 | 1 1 0: the next symbols 1, 1, 0 cost log 4/3, log 4/3 and log 4. The classifiers of the
    symbol after it are 0: log 2 at two places, half of it.
    """
    states, classifiers = torch.ones(2, 1, 3, 1), torch.zeros(2, 2, 2, 1)
    classifiers[1, 0, 1] = math.log(3)
    ids, log2 = torch.tensor([[0, 1, 1, 0]]), math.log(2)
    top = (2 * math.log(4 / 3) + math.log(4)) / 3
    for progress, second, places, want in [
        (1, 0.5, None, top + 0.5 * log2),
        (0, 0.5, None, top + 0.5 * log2 + log2 + 0.5 * log2),
        (0.25, 0.5, None, top + 0.5 * log2),
        (0, 0, None, top + log2),
        (1, 0.5, 1, math.log(4)),
        (1, 1.0, 2, (math.log(4 / 3) + math.log(4)) / 2 + log2),
    ]:
        got = auxiliary_loss(states, classifiers, ids, progress, second, places)
        assert got.item() == pytest.approx(want, rel=1e-6)


def test_the_last_place_has_no_second_target():
    """The second classifier of the last place gets no gradient, and its state none from it."""
    states = torch.randn(1, 1, 4, 3, requires_grad=True)
    classifiers = torch.randn(1, 2, 5, 3)
    classifiers[:, 0] = 0
    auxiliary_loss(states, classifiers, torch.randint(5, (1, 5)), 1.0).backward()
    assert (states.grad[0, 0, :3] != 0).all() and (states.grad[0, 0, 3] == 0).all()


def test_at_the_end_only_the_top_layer_learns_its_classifiers():
    model = model_of()
    for progress, paying in [(0.0, [0, 1, 2]), (0.2, [1, 2]), (0.9, [2])]:
        model.zero_grad()
        model.progress = progress
        model.loss(torch.randint(7, (2, 5))).backward()
        used = model.classifiers.grad.abs().sum((1, 2, 3)).nonzero().flatten().tolist()
        assert used == paying


def test_a_model_of_one_layer_without_second_target_has_the_usual_loss():
    model, ids = model_of(layers=1), torch.randint(7, (3, 5))
    model.second = 0.0
    want = lab.train.language_loss(model, ids)
    torch.testing.assert_close(model.loss(ids).float(), want.float())


def test_the_batches_tell_the_model_how_far_the_training_is():
    model, seen = CharTransformer(256, 8, 2, 2, 8), []

    def loss(model, ids):
        seen.append(model.progress)
        return model.loss(ids)

    batches = windows(b"to be or not to be" * 9, batch=2, length=8)
    scheduled = model.scheduled(batches, 4)
    lab.fit(model, scheduled, steps=4, lr=1e-3, loss=loss, progress=False)
    assert seen == [0, 0.25, 0.5, 0.75]
    assert torch.equal(scheduled(3), batches(3))


# -- windows ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_start_at_the_frequencies():
    torch.manual_seed(0)
    model = CharTransformer(8, 64, 6, 2, 16)
    ids = torch.tensor([[0, 0, 0, 0, 1, 1, 2, 0, 0, 1, 0, 0, 3, 0, 0, 0]])
    with torch.no_grad():
        model.classifiers.zero_()  # what remains is what the start adds
    model.start_at_frequencies(ids)
    counts = torch.tensor([12, 4, 2, 2, 1, 1, 1, 1])  # one more than they occur
    states, classifiers = model.states(ids).detach(), model.classifiers.detach()
    for logits in torch.einsum("nbtc,nkvc->nkbtv", states, classifiers):
        expected = (counts / 24).log().expand_as(logits)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"ids must lie in \[0, 8\)"):
        model.start_at_frequencies(ids + 8)
    with pytest.raises(ValueError, match="the model must be fresh, got one"):
        model.start_at_frequencies(ids)


def test_windows_are_independent():
    model, ids = model_of(context=4), torch.randint(7, (2, 11))
    logits = model(ids)
    for start in (0, 4, 8):
        alone = model(ids[:, start : start + 4])
        torch.testing.assert_close(logits[:, start : start + 4], alone)


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[1] * 13, [3, 1, 9], [4, 4, 5], [2, 11], [12, 1]])
def test_pieces_equal_the_forward_and_the_cache_is_of_one_window(pieces):
    model, ids = model_of(context=4), torch.randint(7, (2, 13))
    state, rows = model.init_state(2), []
    for piece in ids.split(pieces, dim=1):
        logits, state = model.extend(piece, state)
        rows.append(logits)
    torch.testing.assert_close(torch.cat(rows, 1), model(ids))
    place, caches = state
    assert place == 1 and all(k.shape[2] == v.shape[2] == 1 for k, v in caches)
    _, (place, caches) = model.extend(ids[:, :3], state)
    assert place == 0 and all(k.shape[2] == 0 for k, _ in caches)


@torch.no_grad()
@pytest.mark.parametrize("before", range(9))
def test_every_split_equals_single_steps(before):
    """A piece may end the open window, fill some and begin another: all states and all pieces."""
    model, ids = shaken(CharTransformer(11, 8, 2, 2, 4)), torch.randint(11, (2, 19))
    state, rows, states = model.init_state(2), [], []
    for symbol in ids.unbind(1):
        states.append(state)
        row, state = model.step(symbol, state)
        rows.append(row)
    rows, states = torch.stack(rows, 1), [*states, state]
    _, begun = model.extend(ids[:, :before], model.init_state(2)) if before else (None, states[0])
    for T in range(1, 12):
        logits, (place, caches) = model.extend(ids[:, before : before + T], begun)
        torch.testing.assert_close(logits, rows[:, before : before + T])
        want_place, want = states[before + T]
        assert place == want_place
        for mine, single in zip(caches, want, strict=True):
            torch.testing.assert_close(mine, single)


# -- third opinions --------------------------------------------------------------------------------


def test_a_block_is_torchs_own():
    block, x = shaken(PostNormBlock(6, 2)), torch.randn(2, 5, 6).double()
    peer = torch.nn.TransformerEncoderLayer(6, 2, 24, 0.0, batch_first=True).double()
    mine = {
        "self_attn.in_proj_weight": block.qkv,
        "self_attn.out_proj.weight": block.out,
        "linear1.weight": block.up,
        "linear2.weight": block.down,
    } | {name: value for name, value in block.state_dict().items() if name.startswith("norm")}
    state = peer.state_dict().items()
    peer.load_state_dict({k: mine[k].detach() if k in mine else 0 * v for k, v in state})
    want = peer(x, src_mask=torch.ones(5, 5, dtype=torch.bool).triu(1))
    none = x.new_zeros(2, 2, 0, 3)
    torch.testing.assert_close(block(x, none, none)[0], want)


def test_the_papers_models_have_44_and_235_million_parameters():
    """Al-Rfou et al. 2018: T12 and T64; counted by torch, without memory for them."""
    for layers, millions in [(12, 44), (64, 235)]:
        with torch.device("meta"):
            model = CharTransformer(256, 512, layers, 2, 512)
        count = sum(p.numel() for p in model.parameters())
        assert count == sum(count_parameters(256, 512, layers, 512))
        assert round(count / 1e6) == millions


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vocab_size", "width", "layers", "context"])
def test_sizes_below_one_are_refused(name):
    sizes = {"vocab_size": 5, "width": 8, "layers": 1, "context": 4}
    for make in (CharTransformer, count_parameters):
        with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0"):
            make(**sizes | {name: 0})


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="heads must divide width, got heads=3 and width=8"):
        CharTransformer(5, 8, 1, 3)
    with pytest.raises(ValueError, match="ids must fit a window of 4 symbols, got 5"):
        model_of(context=4).loss(torch.zeros(1, 6, dtype=torch.int64))
    for n, progress in [(0, 0.5), (3, -0.1), (3, 1.1), (3, math.nan)]:
        with pytest.raises(ValueError, match="progress lie in"):
            active_layers(n, progress)
    states, heads, ids = torch.zeros(2, 1, 3, 4), torch.zeros(2, 2, 5, 4), torch.ones(1, 4).long()
    for places in (0, 4, 2.5, math.nan):
        with pytest.raises(ValueError, match=r"places must lie in \[1, 3\] and be whole"):
            auxiliary_loss(states, heads, ids, 0.0, places=places)
    with pytest.raises(ValueError, match="steps must be 1 or more, got 0"):
        model_of().scheduled(lambda step: ids, 0)
    with pytest.raises(ValueError, match="second must be 0 or more, got -1"):
        auxiliary_loss(states, heads, ids, 0.0, second=-1)
    with pytest.raises(ValueError, match="ids and classifiers must have shape"):
        auxiliary_loss(states, heads, ids[:, 1:], 0.0)
    with pytest.raises(ValueError, match="ids must lie in"):
        auxiliary_loss(states, heads, 9 * ids, 0.0)
