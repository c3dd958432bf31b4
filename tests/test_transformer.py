import numpy as np
import pytest
import torch

import minilib.attention
from minilib import lab
from minilib.naive import transformer as naive
from minilib.transformer import Block, Transformer


def shaken(module):
    """In float64, every parameter moved off its initial value, which may be 0 or 1."""
    for p in module.double().parameters():
        p.data += 0.1 * torch.randn_like(p)
    return module


def model_of(context, layers=2, vocab_size=11, width=12, heads=3):
    return shaken(Transformer(vocab_size, width, layers, heads, context))


# -- by hand ---------------------------------------------------------------------------------------


def test_a_block_by_hand():
    """Attention's output matrix 0: what is left is the feed-forward part. x = (3, 1, -1, -3) has norm x / √5."""
    block = Block(4, 1).double()
    state = {
        "qkv": torch.randn(12, 4),
        "out": torch.zeros(4, 4),
        "up": torch.zeros(16, 4),
        "down": torch.zeros(4, 16),
    }
    state |= {
        "norm1.weight": torch.ones(4),
        "norm1.bias": torch.zeros(4),
        "norm2.weight": torch.ones(4),
        "norm2.bias": torch.zeros(4),
    }
    state["up"][0, 0], state["up"][1, 3] = (
        2.0,
        1.0,
    )  # hidden 0 reads channel 0: 2 · 3/√5 squared = 36/5; hidden 1 reads -3/√5: relu gives 0
    state["down"][2, 0], state["down"][2, 1] = 0.5, 100.0
    block.load_state_dict(state)
    x = torch.tensor([[[3.0, 1, -1, -3]]]).double()
    y, k, v = block(x, *block.no_past(1))
    torch.testing.assert_close(
        y, torch.tensor([[[3.0, 1, -1 + 18 / 5, -3]]]).double(), rtol=1e-5, atol=1e-5
    )  # layer norm adds 1e-5
    assert k.shape == v.shape == (1, 1, 1, 4)


def test_attention_adds_to_what_is_there():
    """Feed-forward 0, one step: it sees itself alone, so x gains W_out W_v norm(x)."""
    block = shaken(Block(4, 2))
    block.down.data.zero_()
    x = torch.randn(1, 1, 4).double()
    y, _, _ = block(x, *block.no_past(1))
    torch.testing.assert_close(y, x + block.norm1(x) @ block.qkv[8:].t() @ block.out.t())


def test_layer_norm_by_hand():
    got = naive.layer_norm(
        np.array([[3.0, 1, -1, -3]]), np.array([1.0, 2, 1, 1]), np.array([0, 0, 0, 7.0])
    )
    np.testing.assert_allclose(
        got, [[3 / 5**0.5, 2 / 5**0.5, -1 / 5**0.5, 7 - 3 / 5**0.5]], rtol=1e-5
    )


def test_a_fresh_net_guesses_about_uniformly():
    loss = torch.nn.functional.cross_entropy(
        Transformer(100, 64)(torch.randint(100, (4, 20))).flatten(0, 1), torch.randint(100, (80,))
    )
    assert abs(loss.item() - np.log(100)) < 0.02 * np.log(100)


# -- the cache -------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [1, 2, 5, 24, 100])
@pytest.mark.parametrize("pieces", [[1] * 24, [24], [5, 1, 1, 9, 8], [23, 1], [1, 23]])
@torch.no_grad()
def test_pieces_equal_the_forward_past_the_context_too(context, pieces):
    model, ids = model_of(context), torch.randint(11, (2, 24))
    want, state, rows = model(ids), model.init_state(2), []
    for piece in ids.split(pieces, dim=1):
        logits, state = model.extend(piece, state)
        rows.append(logits)
    torch.testing.assert_close(torch.cat(rows, 1), want, rtol=1e-10, atol=1e-10)
    position, caches = state
    assert position == 24
    assert all(
        x.shape == (2, 3, min(24, context), 4) for cache in caches for x in cache
    )  # no more is kept than is seen


@torch.no_grad()
def test_each_layer_reaches_one_context_further_and_no_further():
    """With 2 layers and a context of 4 a symbol is felt 2 · 3 steps on."""
    model, ids = model_of(4), torch.randint(11, (1, 20))
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % 11
    moved = (model(changed) != model(ids)).any(-1)[0]
    assert moved.nonzero().flatten().tolist() == list(range(5, 12))


@torch.no_grad()
def test_positions_are_relative():
    """What left the window leaves no trace, not even in the positions: the same symbols later give the same logits."""
    model, ids = model_of(4, layers=1), torch.randint(11, (1, 30))
    torch.testing.assert_close(
        model(ids)[:, 20:], model(ids[:, 17:])[:, 3:], rtol=1e-10, atol=1e-10
    )


@torch.no_grad()
def test_a_state_fed_out_of_order_is_refused():
    model, ids = model_of(5), torch.randint(11, (2, 9))
    states = [model.init_state(2)]
    for t in range(9):
        states.append(model.step(ids[:, t], states[-1])[1])
    for position, caches in [
        (2, states[3][1]),
        (4, states[3][1]),
        (0, states[1][1]),
        (1, states[0][1]),
        (9, states[4][1]),
    ]:
        with pytest.raises(
            ValueError,
            match=f"past_k must have shape .* at position {position}: a cache holds the steps just before x",
        ):
            model.extend(ids[:, :1], (position, caches))
    with pytest.raises(
        ValueError, match=r"past_k must have shape \(1, 3, 5, 4\)"
    ):  # another number of rows
        model.extend(ids[:1], states[9])


# -- third opinions --------------------------------------------------------------------------------


def torchs_block(block):
    """nn.TransformerEncoderLayer with a block's weights: normalisation first, squared ReLU, biases of matrices 0."""
    width, heads = block.out.shape[0], block.heads
    peer = torch.nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, lambda x: x.relu().square(), batch_first=True, norm_first=True
    ).double()
    mine = {
        "self_attn.in_proj_weight": block.qkv,
        "self_attn.out_proj.weight": block.out,
        "linear1.weight": block.up,
        "linear2.weight": block.down,
    }
    mine |= {name: value for name, value in block.state_dict().items() if name.startswith("norm")}
    state = {
        name: mine[name].detach() if name in mine else torch.zeros_like(value)
        for name, value in peer.state_dict().items()
    }
    peer.load_state_dict(state)
    return peer


def test_without_positions_a_block_is_torchs_own(monkeypatch):
    monkeypatch.setattr(minilib.attention, "rope", lambda x, position=0: x)
    future = torch.ones(7, 7, dtype=torch.bool).triu(1)
    for causal in (False, True):
        block, x = shaken(Block(12, 3, causal=causal)), torch.randn(2, 7, 12).double()
        want = torchs_block(block)(x, src_mask=future if causal else None)
        torch.testing.assert_close(block(x, *block.no_past(2))[0], want)


def test_without_positions_the_model_is_a_stack_of_torchs_own(monkeypatch):
    monkeypatch.setattr(minilib.attention, "rope", lambda x, position=0: x)
    model, ids = model_of(context=3), torch.randint(11, (2, 10))
    unseen = torch.ones(10, 10, dtype=torch.bool).triu(1) | torch.ones(
        10, 10, dtype=torch.bool
    ).tril(-3)
    x = torch.nn.functional.embedding(ids, model.embed)
    for block in model.blocks:
        x = torchs_block(block)(x, src_mask=unseen)
    want = torch.nn.functional.linear(
        torch.nn.functional.layer_norm(x, (12,), model.norm.weight, model.norm.bias), model.output
    )
    torch.testing.assert_close(model(ids), want)


# -- maps ------------------------------------------------------------------------------------------


@torch.no_grad()
def test_maps_are_the_weights_that_the_model_uses():
    model, ids = model_of(context=4), torch.randint(11, (2, 9))
    maps = model.maps(ids)
    assert maps.shape == (2, 2, 3, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 3, 9).double())
    outside = torch.ones(9, 9, dtype=torch.bool).triu(1) | torch.ones(9, 9, dtype=torch.bool).tril(
        -4
    )
    assert (maps[..., outside] == 0).all() and (maps[..., ~outside] > 0).all()
    x = torch.nn.functional.embedding(ids, model.embed)
    for block, weights in zip(model.blocks, maps, strict=True):
        v = (block.norm1(x) @ block.qkv[24:].t()).view(2, 9, 3, 4).transpose(1, 2)
        heard = (weights @ v).transpose(1, 2).reshape(2, 9, 12) @ block.out.t()
        after = x + heard
        after = after + (block.norm2(after) @ block.up.t()).relu().square() @ block.down.t()
        x, _, _ = block(x, *block.no_past(2))
        torch.testing.assert_close(x, after)


# -- refusals and weights --------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [0, 3, 8, -2])
def test_heads_that_do_not_divide_the_width_are_refused(heads):
    with pytest.raises(
        ValueError, match=f"heads must divide width into even parts, got heads={heads} and width=8"
    ):
        Transformer(5, 8, 1, heads)


@pytest.mark.parametrize("name", ["vocab_size", "width", "layers", "context"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=name):
        Transformer(
            **{"vocab_size": 5, "width": 8, "layers": 1, "heads": 2, "context": 4} | {name: 0}
        )


def test_a_block_of_no_channels_is_refused():
    with pytest.raises(
        ValueError, match="heads must divide width into even parts, got heads=1 and width=0"
    ):
        Block(0, 1)


def test_shapes_of_a_block_are_refused():
    block = Block(8, 2)
    with pytest.raises(ValueError, match="x must have shape"):
        block(torch.zeros(3, 8), *block.no_past(3))
    with pytest.raises(ValueError, match="past_k must have shape"):
        block(torch.zeros(3, 1, 8), *block.no_past(2))


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="ids must have shape"):
        model_of(4)(torch.zeros(1, 0, dtype=torch.int64))


def test_it_learns_a_text_by_heart():
    """Sixty steps on one line: from uniform guesses to near certainty."""
    model = Transformer(256, 32, 2, 2, 16)
    line = torch.tensor(list(b"to be, or not to be, that is the question"))[None]
    history = lab.fit(model, lambda step: line, steps=60, lr=1e-2, progress=False)
    assert abs(history.loss[0] - np.log(256)) < 0.2 and history.loss[-1] < 0.1
