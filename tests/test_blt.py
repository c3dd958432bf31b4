"""Cuts by hand and as released, hash vectors, both cross-attentions, every lag, two stages."""

import math

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn.functional import scaled_dot_product_attention

from minilib import lab
from minilib.blt import (
    BLT,
    decoder_attention,
    encoder_attention,
    entropies,
    find_threshold,
    hash_ngrams,
    patch_starts,
)
from minilib.naive import blt as naive
from minilib.tokenizer import Tokenizer
from minilib.transformer import Transformer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

LAG = "patch[:, 1:] - 1, decoder"
OWN = "np.minimum(patch[:, :-1], patch[0, -1] - 1), decoder"
WRONG = {
    naive.entropies: edited(
        naive.entropies,
        bits=("np.log(x)", "np.log2(x)"),
        overflows=(" - logits[place].max()", ""),
        nan_where_p_is_0=(" if x > 0", ""),
        of_one_byte=("-sum(x * np.log(x)", "-max(np.log(x)"),
    ),
    naive.patch_starts: edited(
        naive.patch_starts,
        after_the_byte=("H[row, i - 1] > threshold", "H[row, min(i, T - 1)] > threshold"),
        at_the_threshold=("H[row, i - 1] > threshold", "H[row, i - 1] >= threshold"),
        first_patch_not_forced=("i < 2 or", "i < 1 or"),
        steep_both_ways=("H[row, i - 1] - H[row, i - 2] >", "abs(H[row, i - 1] - H[row, i - 2]) >"),
        one_forced_start=("i < 3 or", "i < 2 or"),
        never_cut=("or i - last == longest", ""),
        cut_late=("i - last == longest", "i - last > longest"),
        cut_at_multiples=("i - last == longest", "i % longest == 0"),
    ),
    naive.find_threshold: edited(
        naive.find_threshold,
        wrong_way=("< size", "> size"),
        patches_a_byte=("starts.size / starts.sum()", "starts.sum() / starts.size"),
        of_falls_alone=("-H.max(), H.max()", "0, H.max()"),
        cap_forgotten=("middle, rule, longest)", "middle, rule)"),
        one_rule=("middle, rule, longest)", 'middle, "global", longest)'),
    ),
    naive.hash_ngrams: edited(
        naive.hash_ngrams,
        newest_first=("BASE**j", "BASE**(n - 1 - j)"),
        never_wraps=("total = (total + 2**63) % 2**64 - 2**63", "pass"),
        unsigned=("% 2**64 - 2**63", "% 2**64"),
        stops_before_the_byte=("place = t - n + 1 + j", "place = t - n + j"),
        last_bytes_before_the_text=(" if place >= 0 else 0", ""),
    ),
    naive.encoder_attention: edited(
        naive.encoder_attention,
        all_bytes=("x[row][patch[row] == j]", "x[row]"),
        up_to_the_patch=("patch[row] == j", "patch[row] <= j"),
        not_scaled=("split(q), split(k)", "split(q) * (C // heads) ** 0.5, split(k)"),
        one_head=("reshape(1, len(x), heads, C // heads)", "reshape(1, len(x), 1, C)"),
    ),
    naive.decoder_attention: edited(
        naive.decoder_attention,
        first_patch=("slots[row, patch[row, t]]", "slots[row, 0]"),
        first_slot=("slots[row, patch[row, t]]", "slots[row, patch[row, t]][:1]"),
    ),
    naive.blt: edited(
        naive.blt,
        no_lag=(LAG, OWN),
        lag_of_two=(LAG, "np.maximum(patch[:, 1:] - 2, 0), decoder"),
        mean_pool=(".max(axis=0)", ".mean(axis=0)"),
        no_residual_down=("z = z + look_in", "z = look_in"),
        no_residual_up=("x = x + look_in", "x = look_in"),
        no_ngrams=("x = x + params", "x = x + 0 * params"),
        all_but_the_longest=("range(3, ngram + 1)", "range(3, ngram)"),
        context_forgotten=("before, heads, True, context", "before, heads, True, None"),
        latent_sees_the_future=("middle, heads, True, context", "middle, heads, False, None"),
        global_always=(
            'patch_starts(H, params["threshold"], rule',
            'patch_starts(H, params["threshold"], "global"',
        ),
    ),
}

# -- where a patch starts --------------------------------------------------------------------------


def test_entropies_by_hand():
    logits = torch.log(torch.tensor([[1.0, 1, 1, 1], [2, 1, 1, 0], [0, 0, 1, 0]]) + 1e-30)
    want = [math.log(4), 1.5 * math.log(2), 0]
    torch.testing.assert_close(entropies(logits), torch.tensor(want))


def marks(starts):
    return ["".join("|" if start else "." for start in row) for row in starts.tolist()]


def test_cuts_by_hand():
    H = torch.tensor([[9.0, 1, 2, 3, 3.5, 1, 4]])  # of bytes 1 … 7
    assert marks(patch_starts(H, 1.9)) == ["||.|||.|"]
    assert marks(patch_starts(H, 0.9, "monotonic")) == ["|||||..|"]
    assert marks(patch_starts(H, 9.0)) == ["||......"]  # a threshold that never fires
    assert marks(patch_starts(H, 9.0, "monotonic")) == ["|||....."]
    assert marks(patch_starts(H, math.inf, longest=3)) == ["||..|..|"]
    assert marks(patch_starts(H, -1.0)) == ["||||||||"]


def as_released(H, threshold, monotonic):
    """The steps of facebookresearch/blt, bytelatent/data/patcher.py, in our own words.

    The first two starts are given, the first entropy is dropped, what is left is compared.
    """
    rest = H[:, 1:]
    fires = rest > threshold
    if monotonic:
        fires = torch.zeros_like(fires)
        fires[:, :1] = True
        fires[:, 1:] = rest[:, 1:] - rest[:, :-1] > threshold
    return torch.cat([torch.ones(len(H), 2, dtype=torch.bool), fires], dim=1)


@pytest.mark.parametrize("T", [1, 2, 3, 50])
def test_cuts_are_those_of_the_released_code(T):
    H = torch.rand(3, T, generator=torch.Generator().manual_seed(T)) * 4
    for rule, threshold in [("global", 2.0), ("monotonic", 0.5)]:
        want = as_released(H, threshold, rule == "monotonic")
        assert torch.equal(patch_starts(H, threshold, rule, longest=1000), want)


def test_the_threshold_gives_the_wanted_size_and_grows_with_it():
    H = torch.rand(4, 2000, generator=torch.Generator().manual_seed(0)) * 4
    for rule in ("global", "monotonic"):
        found = [find_threshold(H, size, rule) for size in (1.5, 3, 4.5, 6, 8)]
        assert found == sorted(found)
        starts = patch_starts(H, found[2], rule)
        assert abs(starts.numel() / starts.sum() - 4.5) < 0.1


@pytest.mark.parametrize("rule", ["global", "monotonic"])
def test_before_any_byte_the_first_starts_a_patch(rule):
    H = torch.zeros(2, 0)
    assert patch_starts(H, 1.0, rule).tolist() == [[True], [True]]
    assert naive.patch_starts(H.numpy(), 1.0, rule).tolist() == [[True], [True]]
    assert hash_ngrams(H.long(), 3, 5).shape == (2, 0)


def test_a_byte_that_cannot_come_adds_no_entropy():
    logits = torch.tensor([0, 0, -math.inf], requires_grad=True)
    assert entropies(logits).item() == pytest.approx(math.log(2))
    assert torch.autograd.grad(entropies(logits), logits)[0].tolist() == pytest.approx([0, 0, 0])


# -- what a byte is --------------------------------------------------------------------------------


def test_hash_vectors():
    """By the published formula, in whole numbers without end: 1 + 2 a + 3 a², and so on."""
    bucket = lambda text, m: hash_ngrams(torch.tensor([list(text)]), len(text), m)[0, -1].item()
    assert bucket([1, 2, 3], 2**62) == 3000000044000000162
    assert bucket([1, 2, 3], 30000) == 20162
    assert bucket([0, 0, 7], 500000) == 343
    assert bucket(b"To be", 500000) == 478960
    assert bucket(b"To be, o", 500000) == 8925
    assert bucket(b"the ", 30000) == -2191078467510088319 % 30000 == 1681  # wrapped, below 0


def test_zeros_stand_before_the_text():
    ids = torch.tensor([[5, 6, 7, 8]])
    padded = hash_ngrams(torch.tensor([[0, 0, 5, 6, 7, 8]]), 3, 9973)
    assert torch.equal(hash_ngrams(ids, 3, 9973), padded[:, 2:])


# -- bytes to patches and back ---------------------------------------------------------------------


def weights(C):
    draw = torch.Generator().manual_seed(1)
    sizes = (C, C), (2 * C, C), (C, C)
    return [torch.randn(size, generator=draw, dtype=torch.float64) for size in sizes]


def by_torch(query, source, sees, W_q, W_kv, W_out, heads):
    """torch's own attention with a mask (N, S): query (N, C), source (S, C)."""
    split = lambda x: x.unflatten(1, (heads, -1)).transpose(0, 1)[None]
    k, v = (source @ W_kv.T).chunk(2, dim=1)
    y = scaled_dot_product_attention(split(query @ W_q.T), split(k), split(v), attn_mask=sees)
    return y[0].transpose(0, 1).flatten(1) @ W_out.T


def test_both_directions_equal_torchs_attention_with_a_mask():
    draw = torch.Generator().manual_seed(0)
    slots = torch.randn(1, 3, 2, 4, generator=draw, dtype=torch.float64)
    x = torch.randn(1, 6, 4, generator=draw, dtype=torch.float64)
    patch, W = torch.tensor([[0, 1, 1, 1, 2, 2]]), weights(4)
    of_slot = torch.arange(3).repeat_interleave(2)
    sees = patch[0] == of_slot[:, None]
    want = by_torch(slots[0].flatten(0, 1), x[0], sees, *W, 2)
    got = encoder_attention(slots, x, patch, *W, 2)
    torch.testing.assert_close(got[0].flatten(0, 1), want)
    want = by_torch(x[0], slots[0].flatten(0, 1), sees.T, *W, 2)
    torch.testing.assert_close(decoder_attention(x, slots, patch, *W, 2)[0], want)


def test_a_patch_of_one_byte_is_that_byte():
    W, x = weights(4), torch.randn(1, 1, 4, dtype=torch.float64)
    slots = torch.randn(1, 1, 3, 4, dtype=torch.float64)
    got = encoder_attention(slots, x, torch.zeros(1, 1, dtype=torch.int64), *W, 2)
    torch.testing.assert_close(got[0, 0], (x[0] @ W[1][4:].T @ W[2].T).expand(3, 4))


# -- the model -------------------------------------------------------------------------------------

SHAPE = dict(slots=2, before=1, middle=1, after=1, heads=1, context=64, ngram=4, buckets=5)
SHAPE |= dict(entropy_layers=1)


def small(threshold=1.7, **more):
    torch.manual_seed(3)
    sizes = dict(vocab_size=11, width=8, entropy_width=128)
    model = BLT(**sizes, **SHAPE, threshold=threshold, **more).double()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model


def leaks(definition, model, ids):
    """Pairs (t, byte changed): outputs before it that move, by the definition."""
    params = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    before = definition(params, ids, **SHAPE)
    found = []
    for s in range(1, ids.shape[1]):
        changed = ids.copy()
        changed[:, s] = (ids[:, s] + 5) % 11
        after = definition(params, changed, **SHAPE)
        moved = np.abs(after - before)[0, :s].max(axis=1) > 1e-9
        found += [(int(t), s) for t in moved.nonzero()[0]]
    return found


def test_each_lag_that_is_broken_leaks():
    model = small(patch=2.5)
    ids = np.random.default_rng(0).integers(11, size=(1, 12))
    model.set_threshold(torch.tensor(ids))
    broken = edited(
        naive.blt,
        reads_its_own_patch=(LAG, OWN),
        patch_holds_a_byte_more=("patch[0, :-1] == j]", "patch[0, :-1] <= j + 1]"),
        looks_at_a_byte_more=(
            'look_in("gather", z, x, patch[:, :-1]',
            'look_in("gather", z, x, np.maximum(patch[:, :-1] - 1, 0)',
        ),
        entropy_after_the_byte=(
            "patch_starts(H, params",
            "patch_starts(np.roll(H, -1, 1), params",
        ),
    )
    assert leaks(naive.blt, model, ids) == []
    for definition in broken:
        assert leaks(definition, model, ids), f"{definition.__name__} does not leak"


@torch.no_grad()
def test_a_prefix_is_cut_the_same_whatever_follows_and_bpe_cuts_otherwise():
    text = b"the thing that they think, then the other"
    model = BLT(entropy_width=128, context=16)
    ids = torch.tensor([list(text)])
    model.set_threshold(ids)
    whole, _ = model.boundaries(ids)
    for t in range(1, len(text)):
        assert torch.equal(model.boundaries(ids[:, :t])[0][0], whole[0, : t + 1])
    bpe = Tokenizer.train(text * 3, 270)

    def cuts(text):
        return set(np.cumsum([len(bpe.id_to_token(i)) for i in bpe.encode(text)]).tolist())

    moved = [t for t in range(1, len(text)) if cuts(text[:t]) - {t} - cuts(text)]
    assert moved


@pytest.mark.parametrize("rule", ["global", "monotonic"])
@torch.no_grad()
def test_a_threshold_that_never_fires_leaves_the_cap(rule):
    model = small(math.inf, rule=rule, longest=5)
    ids = torch.randint(11, (2, 23))
    starts, _ = model.boundaries(ids)
    forced = 2 if rule == "global" else 3
    assert starts[0].nonzero().flatten().tolist() == [*range(forced), *range(forced + 4, 24, 5)]
    whole, state, rows = model(ids), model.init_state(2), []
    for t in range(23):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), whole, rtol=1e-10, atol=1e-10)
    assert state.seen.tolist() == [int(starts[0].sum()) - 1] * 2


@torch.no_grad()
def test_short_texts_and_any_bytes():
    model = BLT()
    for text in (b"a", b"ab", b"\xff\xfe\x80\x00", "é€".encode()[:-1]):
        assert model(torch.tensor([list(text)])).shape == (1, len(text), 256)
    with pytest.raises(ValueError, match="ids must have shape"):
        model(torch.zeros(1, 0, dtype=torch.int64))


def test_two_stages_in_one_run():
    torch.manual_seed(0)
    model = BLT(entropy_width=16, width=16, buckets=50)
    batches = lab.data.windows(
        b"to be or not to be, that is the question: " * 50, batch=4, length=64
    )
    rest = [p for name, p in model.named_parameters() if not name.startswith("patcher")]
    before = [p.clone() for p in rest], [p.clone() for p in model.patcher.parameters()]
    taken, change = (
        [],
        lambda now, old: any(not torch.equal(a, b) for a, b in zip(now, old, strict=True)),
    )

    def loss(model, batch):
        taken.append(int(batch[1][0]))
        moved = change(model.patcher.parameters(), before[1])
        taken[-1] = (taken[-1], moved, change(rest, before[0]), float(model.threshold))
        return model.loss(batch)

    lab.fit(model, model.scheduled(batches, 40), steps=40, lr=1e-2, loss=loss, progress=False)
    assert [stage for stage, *_ in taken] == [0] * 10 + [1] + [2] * 29
    assert not taken[10][2] and taken[39][2]  # the rest waits for the entropy model
    assert taken[9][1] and taken[10][3] == pytest.approx(1.3354)
    starts, _ = model.boundaries(batches(10)[:, :-1])
    assert abs(starts.numel() / starts.sum() - 4.5) < 0.3
    fixed = [p.clone() for p in model.patcher.parameters()]
    lab.fit(model, batches, steps=2, lr=1e-2, progress=False)
    assert not change(model.patcher.parameters(), fixed)
    alone = Transformer(width=16, layers=1, heads=4, context=128)
    model.patcher.load_state_dict(alone.state_dict())
    ids = batches(0)
    torch.testing.assert_close(model.judge(ids), alone(ids))


def test_bad_input_is_named():
    H = torch.rand(2, 5)
    for call, words in [
        (lambda: patch_starts(H[0], 1.0), "H must have shape"),
        (
            lambda: patch_starts(H, 1.0, "local"),
            "rule must be one of global, monotonic, got 'local'",
        ),
        (lambda: patch_starts(H, 1.0, longest=0), "longest must be 1 or more, got 0"),
        (lambda: find_threshold(H, 0.5), r"size must lie in \[1, "),
        (lambda: find_threshold(H, 50), r"size must lie in \[1, 3\] for these entropies, got 50"),
        (lambda: patch_starts(H, 1.0, longest=2.5), "longest must be a whole number, got 2.5"),
        (lambda: find_threshold(H * torch.nan, 2), r"H must be finite and not empty, got \(2, 5\)"),
        (lambda: find_threshold(H[:, :0], 2), r"H must be finite and not empty, got \(2, 0\)"),
        (lambda: naive.find_threshold(H.numpy() * np.inf, 2), r"H must be finite .* \(2, 5\)"),
        (lambda: naive.find_threshold(H.numpy()[:0], 2), r"H must be finite .* \(0, 5\)"),
        (lambda: hash_ngrams(torch.zeros(1, 3).long(), 0, 5), "n must be 1 or more"),
        (lambda: hash_ngrams(torch.zeros(1, 3).long(), 3, 0), "buckets must be 1 or more"),
        (lambda: BLT(ngram=1), "ngram must be 2 or more, got 1"),
        (lambda: BLT(rule="bpe"), "rule must be one of"),
        (lambda: BLT(longest=0), "longest must be 1 or more"),
        (lambda: BLT(patch=0.5), "patch must be 1 or more"),
        (lambda: BLT(middle=2.0), "middle must be a whole number, got 2.0"),
        (lambda: BLT(before=-1), "before must be 0 or more, got -1"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
