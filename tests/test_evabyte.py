import functools

import numpy as np
import pytest
import torch
from mutants import edited

from minilib.__main__ import main
from minilib.attention import attention, rope
from minilib.compare import leaves_of
from minilib.evabyte import (
    EvaBlock,
    EvaByte,
    Tree,
    accept_prefix,
    chunk_summaries,
    eva_attention,
    eva_cost,
    multibyte_loss,
    self_verified,
)
from minilib.language_model import LanguageModel, next_symbol_loss
from minilib.naive import evabyte as naive

# -- answers that are wrong ------------------------------------------------------------------------


def plain_means(k, v, mu, phi, chunk):
    return naive.chunk_summaries(k, v, 0 * mu, 0 * phi, chunk)


def all_equal_places(drafts, verified):  # those behind a difference too
    return (drafts == verified).sum(1)


def all_or_nothing(drafts, verified):
    return drafts.shape[1] * (drafts == verified).all(1)


def mean_over_all_targets(logits, ids):  # later heads have fewer, and count less
    B, T, ahead, _ = logits.shape
    one = lambda j: naive.multibyte_loss(logits[:, : T - j, j : j + 1], ids[:, j:])
    heads = range(min(ahead, T))
    return sum((T - j) * one(j) for j in heads) / sum(T - j for j in heads)


def dense_cost(T, window, chunk):
    return T * (T + 1) // 2, T


WRONG = {
    naive.chunk_summaries: [
        *edited(
            naive.chunk_summaries,
            mu_for_both=("keys @ phi[h]", "keys @ mu[h]"),
            length_of_keys_forgotten=("keys @ phi[h] - (keys**2).sum(1) / 2", "keys @ phi[h]"),
            length_not_halved=("(keys**2).sum(1) / 2", "(keys**2).sum(1)"),
            key_weights_scaled=("softmax(keys @ mu[h])", "softmax(keys @ mu[h] / np.sqrt(D))"),
            value_weights_not_scaled=("softmax(score / np.sqrt(D))", "softmax(score)"),
            value_in_place_of_key=(
                "softmax(keys @ mu[h]) @ keys",
                "softmax(keys @ mu[h]) @ values",
            ),
            no_maximum_taken_off=("np.exp(x - x.max())", "np.exp(x)"),
        ),
        plain_means,
    ],
    naive.eva_attention: edited(
        naive.eva_attention,
        chunks_of_its_own_window=(
            "far_k[b, h, : start // chunk], k",
            "far_k[b, h, : t // chunk], k",
            "far_v[b, h, : start // chunk], v",
            "far_v[b, h, : t // chunk], v",
        ),
        no_summaries=(
            "far_k[b, h, : start // chunk], k",
            "far_k[b, h, :0], k",
            "far_v[b, h, : start // chunk], v",
            "far_v[b, h, :0], v",
        ),
        last_earlier_window_forgotten=(
            "far_k[b, h, : start // chunk], k",
            "far_k[b, h, : max(0, start - window) // chunk], k",
            "far_v[b, h, : start // chunk], v",
            "far_v[b, h, : max(0, start - window) // chunk], v",
        ),
        window_a_step_late=(
            "        start = t // window * window  # of",
            "        start = max(0, t - 1) // window * window  # of",
        ),
        sees_the_whole_window=(
            "k[b, h, start : t + 1]]",
            "k[b, h, start : start + window]]",
            "v[b, h, start : t + 1]]",
            "v[b, h, start : start + window]]",
        ),
        not_itself=(
            "k[b, h, start : t + 1]]",
            "k[b, h, start : max(t, 1)]]",
            "v[b, h, start : t + 1]]",
            "v[b, h, start : max(t, 1)]]",
        ),
        scores_not_scaled=("softmax(keys @ q[b, h, t] / np.sqrt(D))", "softmax(keys @ q[b, h, t])"),
    ),
    naive.eva_cost: [
        *edited(
            naive.eva_cost,
            query_not_counted=("t - start + 1", "t - start"),
            far_steps_not_summarised=("start // chunk + t", "start + t"),
            last_row_alone=("scores += keys", "scores = keys"),
            a_full_window_is_summarised=(
                "    return scores, keys",
                "    return scores, T // window * window // chunk + T % window",
            ),
        ),
        dense_cost,
    ],
    naive.evabyte: edited(
        naive.evabyte,
        summarised_before_turning=(
            "rope(q, 0), rope(k, 0), v",
            "rope(q, 0), k, v",
        ),
        the_last_head=("**shape)[:, :, 0]", "**shape)[:, :, -1]"),
        mean_of_the_heads=("**shape)[:, :, 0]", "**shape).mean(2)"),
        window_as_chunk=(
            'own(params, f"blocks.{n}."), x, heads, window, chunk',
            'own(params, f"blocks.{n}."), x, heads, window, window',
        ),
        no_residual=("    x = x + np.concatenate", "    x = np.concatenate"),
        no_last_norm=(
            '    x = layer_norm(x, params["norm.weight"], params["norm.bias"])\n',
            "",
        ),
    ),
    naive.multibyte_loss: [
        *edited(
            naive.multibyte_loss,
            every_head_predicts_the_next=("ids[b, t + 1 + j]", "ids[b, t + 1]"),
            predicts_what_it_reads=("ids[b, t + 1 + j]", "ids[b, t + j]"),
            sum_of_the_heads=("np.mean(means)", "np.sum(means)"),
            divided_by_all_heads=("np.mean(means)", "np.sum(means) / ahead"),
            no_maximum_taken_off=(" - logits[b, t, j].max()", ""),
        ),
        mean_over_all_targets,
    ],
    naive.accept_prefix: [all_equal_places, all_or_nothing],
}


# -- helpers ---------------------------------------------------------------------------------------

SMALL = {"vocab_size": 11, "width": 8, "layers": 2, "heads": 2, "window": 6, "chunk": 3, "ahead": 4}


def made(seed=0, **settings):
    """A small float64 model, every parameter off its initial value."""
    torch.manual_seed(seed)
    model = EvaByte(**SMALL | settings).double()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model


def params(model):
    return {name: p.numpy() for name, p in model.state_dict().items()}


def shape_of(**settings):
    return {k: (SMALL | settings)[k] for k in ("layers", "heads", "window", "chunk")}


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def numbers_in(state):
    leaves = (leaf for _, leaf in leaves_of(state))
    return sum(leaf.numel() for leaf in leaves if isinstance(leaf, torch.Tensor))


# -- summaries -------------------------------------------------------------------------------------


def test_a_summary_by_hand():
    # keys 0 and log 3, D = 1. By mu = 1: weights 1/4, 3/4. For values phi = log(3) / 2 makes the
    # scores 0 and phi log 3 - (log 3)² / 2 = 0: weights 1/2, 1/2
    k = torch.tensor([0, np.log(3)]).view(1, 1, 2, 1)
    v = torch.tensor([4.0, 8]).double().view(1, 1, 2, 1)
    mu, phi = torch.ones(1, 1).double(), torch.full((1, 1), np.log(3) / 2).double()
    summary_k, summary_v = chunk_summaries(k, v, mu, phi, 2)
    torch.testing.assert_close(summary_k.item(), 3 / 4 * np.log(3))
    torch.testing.assert_close(summary_v.item(), 6.0)


def test_eva_attention_by_hand():
    # w = 2, c = 2, scores 0 throughout: step 2 sees the summary of steps 0 and 1, and itself
    zero, v = torch.zeros(1, 1, 4, 1), torch.tensor([1.0, 3, 10, 40]).view(1, 1, 4, 1)
    out = eva_attention(zero, zero, v, torch.zeros(1, 1), torch.zeros(1, 1), 2, 2)
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 2, 6, 52 / 3]))


def test_a_chunk_of_one_is_its_own_summary():
    k, v = draw(2, 2, 3, 5, 4)
    got = chunk_summaries(k, v, draw(3, 4), draw(3, 4, seed=1), 1)
    torch.testing.assert_close(got, (k, v), rtol=1e-14, atol=0)


@pytest.mark.parametrize("window,chunk", [(4, 1), (1, 1), (13, 1), (16, 4), (39, 13), (26, 2)])
def test_both_limits_are_full_attention(window, chunk):
    """Chunks of one, or a window that covers all: torch's own attention, in value and gradient."""
    q, k, v = draw(3, 2, 3, 13, 4).requires_grad_()
    got = eva_attention(q, k, v, draw(3, 4), draw(3, 4, seed=1), window, chunk)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    g = draw(*got.shape, seed=2)
    for x in (q, k, v):
        a, b = (torch.autograd.grad((y * g).sum(), x, retain_graph=True)[0] for y in (got, want))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("T,window,chunk", [(13, 4, 2), (12, 6, 3), (7, 3, 3), (24, 8, 2)])
def test_third_opinion_one_mask_over_steps_and_summaries(T, window, chunk):
    q, k, v = draw(3, 1, 2, T, 4)
    mu, phi = draw(2, 2, 4, seed=1)
    ended = T // window * window
    far_k, far_v = chunk_summaries(k[:, :, :ended], v[:, :, :ended], mu, phi, chunk)
    t, s = torch.arange(T)[:, None], torch.arange(T)
    near = (s <= t) & (s // window == t // window)
    far = torch.arange(ended // chunk) * chunk // window < t // window
    visible = torch.cat([near, far], dim=1)
    keys, values = torch.cat([k, far_k], 2), torch.cat([v, far_v], 2)
    want = attention(q, keys, values, visible)
    torch.testing.assert_close(eva_attention(q, k, v, mu, phi, window, chunk), want)
    assert eva_cost(T, window, chunk)[0] == visible.sum()


@torch.no_grad()
def test_who_sees_whom():
    """One layer: a value moves its own window from there on, and all of the windows after it."""
    q, k, v = draw(3, 1, 1, 14, 4)
    mu, phi = draw(2, 1, 4, seed=1)
    before, seen = eva_attention(q, k, v, mu, phi, 4, 2), np.zeros((14, 14), bool)
    for s in range(14):
        changed = v.clone()
        changed[:, :, s] += 1
        moved = eva_attention(q, k, changed, mu, phi, 4, 2) != before
        seen[:, s] = moved.any(-1).flatten()
    assert np.array_equal(seen, np.tri(14, dtype=bool))


@pytest.mark.parametrize("window,chunk", [(4, 2), (6, 3), (5, 1), (8, 8)])
def test_the_cost_is_counted_and_the_cache_is_what_is_held(window, chunk):
    model = made(window=window, chunk=chunk, layers=1)
    state = model.init_state(1)
    for T in range(1, 20):
        _, state = model.step(torch.tensor([3]), state)
        assert numbers_in(state) == 2 * 8 * eva_cost(T, window, chunk)[1]
        assert eva_cost(T, window, chunk) == naive.eva_cost(T, window, chunk)
        assert eva_cost(T, window, chunk)[1] <= window + T // chunk


def test_the_cost_by_hand():
    assert eva_cost(8, 4, 2) == (10 + 4 * 2 + 10, 2 + 4)
    assert eva_cost(9, 4, 2)[1] == 4 + 1
    assert eva_cost(0, 4, 2) == (0, 0)


# -- the model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"window": 5, "chunk": 1}, {"window": 4, "chunk": 4}])
@torch.no_grad()
def test_any_two_cuts_of_a_text_give_the_forward(settings):
    model, ids = made(**settings), torch.randint(11, (2, 14))
    forward = model(ids)
    for a in range(1, 13):
        for b in range(a + 1, 14):
            state, rows = model.init_state(2), []
            for piece in (ids[:, :a], ids[:, a:b], ids[:, b:]):
                logits, state = model.extend(piece, state)
                rows.append(logits)
            torch.testing.assert_close(torch.cat(rows, 1), forward, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_all_heads_equal_the_definition():
    model, ids = made(), torch.randint(11, (2, 15))
    x, _ = model.hidden(ids, model.init_state(2))
    want = naive.multibyte_logits(params(model), ids.numpy(), **shape_of())
    np.testing.assert_allclose(model.multibyte(x), want, rtol=1e-10)
    torch.testing.assert_close(model.multibyte(x)[:, :, 0], model(ids), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_with_chunks_of_one_the_window_does_not_matter():
    one, other = made(window=3, chunk=1), made(window=20, chunk=1)
    other.load_state_dict(one.state_dict())
    ids = torch.randint(11, (2, 17))
    torch.testing.assert_close(one(ids), other(ids), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_keys_are_turned_before_they_are_summarised():
    """Positions are relative: the same steps later in the text give the same block outputs."""
    block, x = EvaBlock(8, 2, window=4, chunk=2).double(), draw(1, 10, 8)
    early, _ = block(x, block.empty(1, x))
    z = block.norm1(x) @ block.qkv.t()
    q, k, v = z.view(1, 10, 3, 2, 4).permute(2, 0, 3, 1, 4)
    y = eva_attention(rope(q), rope(k), v, block.mu, block.phi, 4, 2)
    want = block.feed_forward(x + y.transpose(1, 2).flatten(2) @ block.out.t())
    torch.testing.assert_close(early, want, rtol=1e-12, atol=1e-12)


def test_a_fresh_net_guesses_about_uniformly():
    ids = torch.randint(256, (4, 33))
    assert abs(EvaByte(width=32, layers=1).loss(ids).item() - np.log(256)) < 0.05


# -- the loss --------------------------------------------------------------------------------------


def test_one_head_is_the_loss_of_the_next_symbol():
    logits, ids = draw(2, 6, 1, 5), torch.randint(5, (2, 7))
    padded = torch.cat([logits[:, :, 0], draw(2, 1, 5)], dim=1)
    torch.testing.assert_close(multibyte_loss(logits, ids), next_symbol_loss(padded, ids))


def test_the_loss_of_three_bytes_by_hand():
    # the text a b a: place 0 reads a, place 1 reads b. Head 0 gives b, then a, the odds 3 : 1, head
    # 1 at place 0 gives a even odds; its second place has no target
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 0, 0, 1] = logits[0, 1, 0, 0] = np.log(3)
    logits[0, 1, 1] = torch.tensor([50.0, -50])
    got = multibyte_loss(logits, torch.tensor([[0, 1, 0]]))
    assert got.item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_every_head_learns():
    model, ids = made(), torch.randint(11, (3, 12))
    model.loss(ids).backward()
    assert (model.output.grad.flatten(1).norm(dim=1) > 0).all()


# -- decoding that verifies itself -----------------------------------------------------------------


@torch.no_grad()
def greedy(model, ids, length):
    logits, state = model.extend(ids, model.init_state(1))
    logits = logits[:, -1]
    for _ in range(length):
        best = logits.argmax(-1)
        ids = torch.cat([ids, best[:, None]], 1)
        logits, state = model.step(best, state)
    return ids


def agreeable(seed, **settings):
    """A model that counts, 0 1 2 …, in all of its heads: most of what they draft is right."""
    model = made(seed, width=32, **settings)
    for block in model.blocks:
        block.out.data *= 0.2
        block.down.data *= 0.02
    for j, head in enumerate(model.output.data):
        head += 3 * model.embed.data.roll(j + 1, 0)
    return model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("widths", [None, (), (3, 2), (2, 1, 2)])
@pytest.mark.parametrize("settings", [{}, {"window": 5, "chunk": 1}])
def test_the_text_is_that_of_greedy_decoding(seed, widths, settings):
    prompt = torch.randint(11, (1, 1 + seed), generator=torch.Generator().manual_seed(seed))
    for model in (made(seed, **settings), agreeable(seed, **settings)):
        got = self_verified(model, prompt, 21, widths)
        assert torch.equal(got.ids, greedy(model, prompt, 21))
        assert sum(got.taken) == 21 and len(got.taken) <= 21
        assert max(got.taken) <= 1 + len((1, 1, 1) if widths is None else widths)


@pytest.mark.parametrize("widths", [(1, 1, 1), (3, 2, 1)])
def test_each_call_brings_what_the_definition_says(widths):
    """But for the drafts that end with a window: here one window holds all."""
    model = agreeable(1, window=60, chunk=3)
    P, shape = params(model), shape_of(window=60, chunk=3)
    known = functools.cache(
        lambda text: naive.multibyte_logits(P, np.array([text]), **shape)[0, -1]
    )
    text, taken = naive.self_verified(lambda text: known(tuple(text)), [3, 1], 9, widths)
    got = self_verified(model, torch.tensor([[3, 1]]), 9, widths)
    assert got.ids[0].tolist() == text[:11]
    assert len(got.taken) == len(taken) and got.taken[:-1] == tuple(taken[:-1])
    assert max(taken) > 1


@torch.no_grad()
def test_a_call_is_a_pass_over_the_tree_and_no_more():
    model, passes = agreeable(1), []
    model.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    got = self_verified(model, torch.tensor([[3, 1]]), 30, (2, 1))
    assert len(passes) == 1 + len(got.taken) < 31  # one for the prompt


@torch.no_grad()
def test_a_tree_is_one_pass_where_it_fits_and_right_where_it_does_not():
    model, parents = made(), [-1, 0, 0, 1, 3]  # four levels
    for S in (1, 2, 3, 6, 8, 9):
        ids = torch.randint(11, (2, S))
        state, tree = model.extend(ids, model.init_state(2))[1], torch.randint(11, (2, 5))
        logits, after = model.extend_tree(tree, parents, state)
        assert isinstance(after, Tree) == (model.room(state) >= 4)
        want, _ = LanguageModel.extend_tree(model, tree, parents, state)
        torch.testing.assert_close(logits, want, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_speculative_sampling_takes_it_for_target_and_draft():
    from minilib.speculative import speculative

    target, draft = made(0), made(1)
    ids = torch.tensor([[3, 1, 4]])
    got = speculative(target, draft, ids, 20, widths=(2, 1), temperature=0).ids
    assert torch.equal(got, greedy(target, ids, 20))


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"chunk": 4}, "chunk must divide window"),
        ({"chunk": 0}, "chunk must be 1 or more"),
        ({"window": 0}, "window"),
        ({"layers": 0}, "layers"),
        ({"ahead": 0}, "ahead"),
        ({"heads": 3}, "heads must divide width"),
        ({"vocab_size": 0}, "vocab_size"),
    ],
)
def test_impossible_models_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        EvaByte(**SMALL | settings)


def test_other_refusals():
    q, mu = torch.zeros(1, 2, 6, 4), torch.zeros(2, 4)
    with pytest.raises(ValueError, match="chunk must divide window"):
        eva_attention(q, q, q, mu, mu, 4, 3)
    with pytest.raises(ValueError, match="chunk must divide window"):
        eva_cost(10, 4, 3)
    with pytest.raises(ValueError, match="k must have shape"):
        eva_attention(q, q[:, :, :5], q, mu, mu, 4, 2)
    with pytest.raises(ValueError, match="k must hold whole chunks of 4 steps, got 6"):
        chunk_summaries(q, q, mu, mu, 4)
    with pytest.raises(ValueError, match="phi must have shape"):
        chunk_summaries(q, q, mu, mu[:1], 2)
    with pytest.raises(ValueError, match="ids must have shape"):
        multibyte_loss(torch.zeros(1, 4, 2, 3), torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="verified must have shape"):
        accept_prefix(torch.zeros(2, 3), torch.zeros(2, 4))
    model, one = EvaByte(**SMALL), torch.zeros(1, 1, dtype=torch.int64)
    for ids, length, widths, words in [
        (one.expand(2, 1), 3, None, "ids must be one row"),
        (one[:, :0], 3, None, "not be empty"),
        (one, -1, None, "length 0 or more"),
        (one, 3, (1, 1, 1, 1), "widths must be at most 3 numbers"),
        (one, 3, (0,), "from 1 to 11"),
        (one, 3, (12,), "from 1 to 11"),
    ]:
        with pytest.raises(ValueError, match=words):
            self_verified(model, ids, length, widths)
    assert self_verified(model, one, 0).taken == ()


def test_the_command_line_trains_one(tmp_path, capsys):
    text, out = tmp_path / "text.txt", tmp_path / "weights.safetensors"
    text.write_text("to be or not to be, that is the question\n" * 50)
    settings = "width=8 layers=1 heads=1 window=4 chunk=2 ahead=3"
    options = "--steps 2 --batch 2 --length 10 --device cpu"
    words = ["train", "evabyte", *settings.split(), *options.split()]
    assert main([*words, "--text", str(text), "--out", str(out)]) == 0
    assert "bits per byte" in capsys.readouterr().out and out.exists()
