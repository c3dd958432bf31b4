import numpy as np
import pytest
import torch
from mutants import edited

import minilib.attention
from minilib import lab
from minilib.naive import transformer as naive
from minilib.transformer import Block, Transformer

# -- answers that are wrong ------------------------------------------------------------------------


def steps_counted_from_the_cache(params, x, past_k, past_v, position, *, heads, causal, window):
    position = past_k.shape[2]  # which slides
    return naive.block(params, x, past_k, past_v, position, heads, causal, window)


def block_not_causal(params, x, past_k, past_v, position, *, heads, causal, window):
    return naive.block(params, x, past_k, past_v, position, heads, False, window)


def weights_of_the_first_block_in_all(params, ids, *, layers, heads, context):
    first = naive.own(params, "blocks.0.")
    shared = {f"blocks.{n}.{name}": w for n in range(layers) for name, w in first.items()}
    return naive.transformer(params | shared, ids, layers=layers, heads=heads, context=context)


def output_tied_to_the_embedding(params, ids, *, layers, heads, context):
    tied = {**params, "output": params["embed"]}
    return naive.transformer(tied, ids, layers=layers, heads=heads, context=context)


def embedding_times_the_root_of_the_width(params, ids, *, layers, heads, context):
    scaled = {**params, "embed": params["embed"] * params["embed"].shape[1] ** 0.5}
    return naive.transformer(scaled, ids, layers=layers, heads=heads, context=context)


def one_context_for_the_whole_stack(params, ids, *, layers, heads, context):
    """Every prediction from the last `context` symbols alone: no layer reaches further."""
    sizes = {"layers": layers, "heads": heads, "context": context}
    ends = range(1, ids.shape[1] + 1)
    cut = [naive.transformer(params, ids[:, max(0, t - context) : t], **sizes) for t in ends]
    return np.stack([logits[:, -1] for logits in cut], axis=1)


WRONG = {
    naive.block: [
        *edited(
            naive.block,
            not_squared=('@ params["up"].T, 0) ** 2', '@ params["up"].T, 0)'),
            attention_not_added=("x = x + y", "x = y"),
            hidden_not_added=("return x + hidden", "return hidden"),
            attention_not_normed=("inputs = normed", "inputs = x"),
            both_parts_read_x=(
                'norm(x, params["norm2.weight"]',
                'norm(x - y, params["norm2.weight"]',
            ),
            normed_afterwards=(
                *("inputs = normed", "inputs = x"),
                *(
                    "x = x + y",
                    'x = layer_norm(x + y, params["norm1.weight"], params["norm1.bias"])',
                ),
            ),
            variance_over_n_minus_1=("(row**2).mean()", "row.var(ddof=1)"),
            no_epsilon=(" + 1e-5", ""),
            epsilon_outside_the_root=(".mean() + 1e-5)", ".mean()) + 1e-5"),
            norm_without_its_bias=(" * weight + bias", " * weight"),
        ),
        steps_counted_from_the_cache,
        block_not_causal,
    ],
    naive.transformer: [
        *edited(
            naive.transformer,
            not_causal=("heads, True, context)", "heads, False, None)"),
            context_forgotten=("heads, True, context)", "heads, True, None)"),
            context_of_one_too_many=("heads, True, context)", "heads, True, context + 1)"),
            one_head=(
                "0, heads, True",
                "0, 1, True",
                "len(ids), heads, 0, x.shape[-1] // heads",
                "len(ids), 1, 0, x.shape[-1]",
            ),
            one_layer_too_few=("range(layers)", "range(layers - 1)"),
            last_norm_forgotten=(
                'x = layer_norm(x, params["norm.weight"], params["norm.bias"])',
                "pass",
            ),
        ),
        weights_of_the_first_block_in_all,
        output_tied_to_the_embedding,
        embedding_times_the_root_of_the_width,
        one_context_for_the_whole_stack,
    ],
}


# -- helpers ---------------------------------------------------------------------------------------


def shaken(module):
    """In float64, every parameter moved off its initial value, which may be 0 or 1."""
    for p in module.double().parameters():
        p.data += 0.1 * torch.randn_like(p)
    return module


def model_of(context, layers=2, vocab_size=11, width=12, heads=3):
    return shaken(Transformer(vocab_size, width, layers, heads, context))


# -- by hand ---------------------------------------------------------------------------------------


def test_a_block_by_hand():
    """Attention's output matrix is 0, which leaves the feed-forward part.

    x = (3, 1, -1, -3) has norm x / √5. Hidden unit 0 reads channel 0: 2 · 3/√5 squared = 36/5;
    unit 1 reads channel 3, -3/√5: relu gives 0. Layer norm adds 1e-5.
    """
    block = Block(4, 1).double()  # its norms scale by 1 and shift by 0
    for matrix in (block.out, block.up, block.down):
        matrix.data.zero_()
    block.up.data[0, 0], block.up.data[1, 3] = 2.0, 1.0
    block.down.data[2, 0], block.down.data[2, 1] = 0.5, 100.0
    x = torch.tensor([[[3.0, 1, -1, -3]]]).double()
    y, k, v = block(x, *block.no_past(1, x))
    want = torch.tensor([[[3.0, 1, -1 + 18 / 5, -3]]]).double()
    torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-5)
    assert k.shape == v.shape == (1, 1, 1, 4)


def test_attention_adds_to_what_is_there():
    """Feed-forward 0, one step: it sees itself alone, so x gains W_out W_v norm(x)."""
    block = shaken(Block(4, 2))
    block.down.data.zero_()
    x = torch.randn(1, 1, 4).double()
    y, _, _ = block(x, *block.no_past(1, x))
    torch.testing.assert_close(y, x + block.norm1(x) @ block.qkv[8:].t() @ block.out.t())


def test_layer_norm_by_hand():
    weight, bias = np.array([1.0, 2, 1, 1]), np.array([0, 0, 0, 7.0])
    got = naive.layer_norm(np.array([[3.0, 1, -1, -3]]), weight, bias)
    want = [[3 / 5**0.5, 2 / 5**0.5, -1 / 5**0.5, 7 - 3 / 5**0.5]]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_fresh_net_guesses_about_uniformly():
    logits = Transformer(100, 64)(torch.randint(100, (4, 20)))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(100, (80,)))
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
    for x in (x for cache in caches for x in cache):
        assert x.shape == (2, 3, min(24, context), 4)  # no more is kept than is seen


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
    """What left the window leaves no trace: the same symbols later give the same logits."""
    model, ids = model_of(4, layers=1), torch.randint(11, (1, 30))
    late, early = model(ids)[:, 20:], model(ids[:, 17:])[:, 3:]
    torch.testing.assert_close(late, early, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_state_fed_out_of_order_is_refused():
    model, ids = model_of(5), torch.randint(11, (2, 9))
    states = [model.init_state(2)]
    for t in range(9):
        states.append(model.step(ids[:, t], states[-1])[1])
    for position, after in [(2, 3), (4, 3), (0, 1), (1, 0), (9, 4)]:
        words = "a cache holds the steps just before x"
        where = f"past_k must have shape .* at position {position}: {words}"
        with pytest.raises(ValueError, match=where):
            model.extend(ids[:, :1], (position, states[after][1]))
    other_rows = r"past_k must have shape \(1, 3, 5, 4\)"
    with pytest.raises(ValueError, match=other_rows):
        model.extend(ids[:1], states[9])


# -- third opinions --------------------------------------------------------------------------------


def torchs_block(block):
    """nn.TransformerEncoderLayer with a block's weights; squared ReLU, biases of matrices 0."""
    width, heads, activation = block.width, block.heads, lambda x: x.relu().square()
    kind = {"batch_first": True, "norm_first": True, "activation": activation}
    peer = torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, **kind).double()
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
        torch.testing.assert_close(block(x, *block.no_past(2, x))[0], want)


def test_without_positions_the_model_is_a_stack_of_torchs_own(monkeypatch):
    monkeypatch.setattr(minilib.attention, "rope", lambda x, position=0: x)
    model, ids = model_of(context=3), torch.randint(11, (2, 10))
    every = torch.ones(10, 10, dtype=torch.bool)
    unseen = every.triu(1) | every.tril(-3)
    x = torch.nn.functional.embedding(ids, model.embed)
    for block in model.blocks:
        x = torchs_block(block)(x, src_mask=unseen)
    x = torch.nn.functional.layer_norm(x, (12,), model.norm.weight, model.norm.bias)
    torch.testing.assert_close(model(ids), x @ model.output.t())


# -- maps ------------------------------------------------------------------------------------------


@torch.no_grad()
def test_maps_are_the_weights_that_the_model_uses():
    model, ids = model_of(context=4), torch.randint(11, (2, 9))
    maps = model.maps(ids)
    assert maps.shape == (2, 2, 3, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 3, 9).double())
    every = torch.ones(9, 9, dtype=torch.bool)
    outside = every.triu(1) | every.tril(-4)
    assert (maps[..., outside] == 0).all() and (maps[..., ~outside] > 0).all()
    x = torch.nn.functional.embedding(ids, model.embed)
    for block, weights in zip(model.blocks, maps, strict=True):
        v = (block.norm1(x) @ block.qkv[24:].t()).view(2, 9, 3, 4).transpose(1, 2)
        after = x + (weights @ v).transpose(1, 2).reshape(2, 9, 12) @ block.out.t()
        after = after + (block.norm2(after) @ block.up.t()).relu().square() @ block.down.t()
        x, _, _ = block(x, *block.no_past(2, x))
        torch.testing.assert_close(x, after)


# -- refusals and weights --------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [0, 3, 8, -2])
def test_heads_that_do_not_divide_the_width_are_refused(heads):
    words = f"heads must divide width into even parts, got heads={heads} and width=8"
    with pytest.raises(ValueError, match=words):
        Transformer(5, 8, 1, heads)


@pytest.mark.parametrize("name", ["vocab_size", "width", "layers", "context"])
def test_sizes_below_one_are_refused(name):
    sizes = {"vocab_size": 5, "width": 8, "layers": 1, "heads": 2, "context": 4}
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0"):
        Transformer(**sizes | {name: 0})


def test_a_block_of_no_channels_is_refused():
    with pytest.raises(ValueError, match="even parts, got heads=1 and width=0"):
        Block(0, 1)


def test_shapes_of_a_block_are_refused():
    block = Block(8, 2)
    with pytest.raises(ValueError, match="x must have shape"):
        block(torch.zeros(3, 8), *block.no_past(3, torch.zeros(0)))
    with pytest.raises(ValueError, match="past_k must have shape"):
        block(torch.zeros(3, 1, 8), *block.no_past(2, torch.zeros(0)))


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="ids must have shape"):
        model_of(4)(torch.zeros(1, 0, dtype=torch.int64))


def test_it_learns_a_text_by_heart():
    """Sixty steps on one line: from uniform guesses to near certainty."""
    model = Transformer(256, 32, 2, 2, 16)
    line = torch.tensor(list(b"to be, or not to be, that is the question"))[None]
    history = lab.fit(model, lambda step: line, steps=60, lr=1e-2, progress=False)
    assert abs(history.loss[0] - np.log(256)) < 0.2 and history.loss[-1] < 0.1
