"""Bytes, hashes, blocks: by hand, what collides and why, who sees whom, peers, refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import edited
from torch.nn import functional

from minilib.byte_encoders import (
    CODES,
    Encoder,
    Layer,
    byt5_decode,
    byt5_encode,
    canine_buckets,
    conv,
    gbst,
    span_corrupt,
    t5_buckets,
    upsample,
)
from minilib.lab.strings import by_language, with_typos
from minilib.naive import byte_encoders as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.byt5_encode: edited(
        naive.byt5_encode,
        code_points=(
            "in text.encode():\n        ids.append(byte + FIRST_BYTE)",
            "in text:\n        ids.append(ord(byte) + FIRST_BYTE)",
        ),
        not_shifted=("ids.append(byte + FIRST_BYTE)", "ids.append(byte)"),
        no_end=("return [*ids, END]", "return ids"),
    ),
    naive.byt5_decode: edited(
        naive.byt5_decode,
        marks_what_is_broken=('errors="ignore"', 'errors="replace"'),
        stops_at_the_end=(
            "        if FIRST_BYTE <= i <= LAST:\n",
            "        if i == END:\n            break\n        if FIRST_BYTE <= i <= LAST:\n",
        ),
        latin_1=('decode(errors="ignore")', 'decode("latin-1")'),
    ),
    naive.span_corrupt: edited(
        naive.span_corrupt,
        sentinels_count_up=(
            "[*ids[last:start], LAST - n]",
            "[*ids[last:start], LAST + n]",
            "target += [LAST - n,",
            "target += [LAST + n,",
        ),
        one_sentinel=("[*ids[last:start], LAST - n]", "[*ids[last:start], LAST]"),
        last_sentinel_too=("[*target, END]", "[*target, LAST - len(starts), END]"),
        no_ends=("[*inputs, *ids[last:], END], [*target, END]", "[*inputs, *ids[last:]], target"),
        rest_left_out=("[*inputs, *ids[last:], END]", "[*inputs, END]"),
        lengths_are_ends=("start + lengths[n]", "lengths[n]"),
    ),
    naive.canine_buckets: edited(
        naive.canine_buckets,
        no_plus_one=("(int(codes[place]) + 1) * prime", "int(codes[place]) * prime"),
        modulo_the_prime=("* prime % size", "% prime"),
        one_table=("PRIMES = 31, 43, 59, 61, 73, 97, 103, 113", "PRIMES = 8 * (31,)"),
    ),
    naive.conv: edited(
        naive.conv,
        causal=("(K - stride) // 2 + k", "(K - stride) + k"),
        valid=("stride * j - (K - stride) // 2 + k", "stride * j + k"),
        kernel_mirrored=("W[:, :, k].T", "W[:, :, K - 1 - k].T"),
        rest_dropped=("math.ceil(T / stride), E", "max(1, T // stride), E"),
        no_bias=("+ b\n    for j", "+ 0 * b\n    for j"),
    ),
    naive.upsample: edited(
        naive.upsample,
        molecules_first=(
            "[characters[:, t], molecules[:, t // repeats]]",
            "[molecules[:, t // repeats], characters[:, t]]",
        ),
        one_behind=("molecules[:, t // repeats]", "molecules[:, max(0, t - 1) // repeats]"),
        tiled=("molecules[:, t // repeats]", "molecules[:, t % molecules.shape[1]]"),
        no_gelu=(
            "return gelu(conv(np.stack(both, axis=1), W, b))",
            "return conv(np.stack(both, axis=1), W, b)",
        ),
    ),
    naive.gbst: edited(
        naive.gbst,
        padding_counts=("np.maximum(weight.sum(1), 1)", "(stop - start)"),
        sliding_blocks=("start = t // m * m", "start = t"),
        softmax_over_steps=("P / P.sum(2, keepdims=True)", "P / P.sum(1, keepdims=True)"),
        maximum_of_all=("score.max(2, keepdims=True)", "score.max()"),
        hard=("mixed += P[:, :, m, None]", "mixed += (P.argmax(2) == m)[..., None]"),
        consensus_of_raw_scores=("np.exp(P[b] @ P[b].T)", "np.exp(score[b] @ score[b].T)"),
        consensus_sees_padding=("P[b].T) * present[b]", "P[b].T)"),
        consensus_always=("if consensus:", "if True:"),
        never_shortened=("range(0, T, shorten)", "range(T)"),
    ),
    naive.t5_buckets: edited(
        naive.t5_buckets,
        one_way=("if distance[place] > 0 else 0", "if False else 0"),
        other_way=("if distance[place] > 0", "if distance[place] < 0"),
        no_limit=(
            "min(exact + int(share * (half - exact) + 1e-9), half - 1)",
            "exact + int(share * (half - exact) + 1e-9)",
        ),
        powers_fall_short=("+ 1e-9)", "- 1e-9)"),
        equal_steps=(
            "math.log(far / exact) / math.log(furthest / exact)",
            "(far - exact) / (furthest - exact)",
        ),
    ),
    naive.layer: edited(
        naive.layer,
        causal=("if present[b, s]]", "if present[b, s] and s <= t]"),
        sliding_window=(
            "range(t // block * block, T)[:block]",
            "range(max(0, t - block + 1), t + 1)",
        ),
        padding_seen=("[s for s in same if present[b, s]]", "list(same)"),
        distance_turned_round=("np.array(seen) - t", "t - np.array(seen)"),
        one_bias_for_all_heads=('P["bias"][h, t5', 'P["bias"][0, t5'),
        layer_norm=(
            "return x / np.sqrt((x**2)",
            "x = x - x.mean(-1, keepdims=True)\n    return x / np.sqrt((x**2)",
        ),
        not_gated=('(gelu(z @ P["gate"].T) * (z @ P["up"].T))', 'gelu(z @ P["up"].T)'),
        unscaled=("/ math.sqrt(D)\n            score", "\n            score"),
        padding_kept=("return x * present[..., None]", "return x"),
    ),
    naive.encoder: edited(
        naive.encoder,
        mean_over_padding=("present_mean(x, present, 0, x.shape[1])", "x.mean(1)"),
        first_state=("present_mean(x, present, 0, x.shape[1])", "x[:, 0]"),
        normed_before_the_mean=(
            'present_mean(x, present, 0, x.shape[1])\n    return rms_norm(mean, P["norm"])',
            'present_mean(rms_norm(x, P["norm"]), present, 0, x.shape[1])\n    return mean',
        ),
        local_sees_all=("heads=heads, block=block)", "heads=heads)"),
        no_convolution_before_blocks=(
            'gbst(conv(x, P["W"], P["b"]), P["score"]',
            'gbst(x, P["score"]',
        ),
        first_layer_twice=('f"layers.{n}."', '"layers.0."'),
    ),
}

# -- ByT5 ------------------------------------------------------------------------------------------


def test_ids_by_hand():
    assert byt5_encode("Aé") == [68, 198, 172, 1]  # 0x41, 0xC3 0xA9, and 3 more each
    assert byt5_encode("") == [1]
    assert byt5_decode([68, 198, 172, 1, 0, 0]) == "Aé"
    assert byt5_decode([68, 198]) == "A" and byt5_decode([172, 68]) == "A"


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_comes_back(text):
    ids = byt5_encode(text)
    assert byt5_decode(ids) == text and all(3 <= i <= 258 for i in ids[:-1])
    assert max(ids) <= 247  # UTF-8 never uses the bytes 0xF5 ... 0xFF: room for 11 sentinels
    for cut in range(len(ids)):
        assert text.startswith(byt5_decode(ids[:cut]))


def test_ids_are_those_of_the_public_tokenizer():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.ByT5Tokenizer()
    for text in ("", "Aé日🙂", "two words"):
        assert theirs(text).input_ids == byt5_encode(text)


def joined(inputs, target):
    """What span_corrupt was given: each sentinel of the input stands for its part of the target."""
    parts, out = {}, []
    for i in target[:-1]:
        if i > 247:
            parts[i] = []
            last = i
        else:
            parts[last].append(i)
    for i in inputs[:-1]:
        out += parts[i] if i > 247 else [i]
    return out


def test_spans_by_hand():
    ids = byt5_encode("abcdefgh")[:-1]
    inputs, target = span_corrupt(ids, [1, 5], [2, 1])
    a, b, c, d, e, f, g, h = ids
    assert inputs == [a, 258, d, e, 257, g, h, 1]
    assert target == [258, b, c, 257, f, 1]


def test_nothing_is_lost_by_cutting():
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = np.sort(rng.choice(40, size=8, replace=False))
        starts, ends = places[::2].tolist(), places[1::2].tolist()
        lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        ids = rng.integers(3, 248, size=40).tolist()
        inputs, target = span_corrupt(ids, starts, lengths)
        assert joined(inputs, target) == ids
        assert len(inputs) + len(target) == 40 + 2 * 4 + 2


# -- CANINE ----------------------------------------------------------------------------------------


def test_all_eight_collide_exactly_where_code_points_are_equal_modulo_the_size():
    """An odd multiplier is one to one modulo a power of two: one table tells as much as eight."""
    rows = canine_buckets(torch.arange(16384))
    for k in range(8):
        assert rows[:, k].unique().numel() == 16384
    codes = torch.randint(CODES, (200_000,), generator=torch.Generator().manual_seed(0))
    for m in (1, 2, 50):
        assert torch.equal(canine_buckets(codes), canine_buckets(codes + 16384 * m))
    one, other = canine_buckets(codes), canine_buckets(codes.flip(0))
    same = codes % 16384 == codes.flip(0) % 16384
    assert torch.equal((one == other).all(1), same) and torch.equal((one == other).any(1), same)
    assert same.any() and not same.all()
    even = codes * 30 % 16384  # an even multiplier is not
    assert even.unique().numel() < 8193


def test_buckets_by_hand_and_in_ideographs():
    assert canine_buckets(torch.tensor([0])).tolist() == [list(naive.PRIMES)]
    assert torch.equal(canine_buckets(torch.tensor(0x41)), canine_buckets(torch.tensor(0x4041)))
    ideographs = torch.arange(0x4E00, 0xA000)
    _, counts = canine_buckets(ideographs).unique(dim=0, return_counts=True)
    assert len(ideographs) == 20992 and counts[counts > 1].sum() == 2 * 4608


@pytest.mark.parametrize("T,K,stride", [(8, 4, 4), (7, 4, 1), (7, 5, 1), (5, 1, 1)])
def test_conv_is_torchs_with_the_padding_of_the_paper(T, K, stride):
    torch.manual_seed(0)
    x, W, b = torch.randn(2, T, 3), torch.randn(2, 3, K), torch.randn(2)
    left, right = {(4, 4): (0, 0), (4, 1): (1, 2), (5, 1): (2, 2), (1, 1): (0, 0)}[K, stride]
    want = functional.conv1d(functional.pad(x.mT, (left, right)), W, b, stride).mT
    torch.testing.assert_close(conv(x, W, b, stride), want)


def test_a_molecule_holds_its_own_four_characters_and_gives_itself_back_to_them():
    x = torch.arange(8.0).view(1, 8, 1)
    W = torch.ones(1, 1, 4)
    molecules = conv(x, W, torch.zeros(1), 4)
    assert molecules.flatten().tolist() == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7]
    only_molecule = torch.tensor([0.0, 1.0]).view(1, 2, 1)
    up = upsample(molecules, x, only_molecule, torch.zeros(1))
    assert up.flatten().tolist() == 4 * [6.0] + 4 * [22.0]


# -- Charformer ------------------------------------------------------------------------------------


def test_blocks_by_hand():
    """Scores of 0: the plain mean of all sizes. A large score: one size alone."""
    x = torch.tensor([1.0, 3, 5, 7]).double().view(1, 4, 1)
    here = torch.ones(1, 4, dtype=torch.bool)
    out, P = gbst(x, torch.zeros(1).double(), here, 2, 1)
    assert P.unique().tolist() == [0.5]
    assert out.flatten().tolist() == [1.5, 2.5, 5.5, 6.5]  # 1 3 5 7 and 2 2 6 6
    out, P = gbst(x, torch.full((1,), 1e3).double(), here, 2, 2)
    assert P[0, :, 1].tolist() == [1, 0, 1, 0]  # the larger of both means at each step
    assert out.flatten().tolist() == [2.5, 6.5]


def test_what_is_padding_changes_nothing():
    torch.manual_seed(0)
    x, w = torch.randn(2, 7, 4).double(), torch.randn(4).double()
    here = torch.ones(2, 7, dtype=torch.bool)
    for consensus in (False, True):
        alone, P = gbst(x, w, here, 4, 2, consensus)
        more = torch.cat([x, torch.randn(2, 5, 4).double()], 1)
        present = torch.cat([here, torch.zeros(2, 5, dtype=torch.bool)], 1)
        padded, Q = gbst(more, w, present, 4, 2, consensus)
        torch.testing.assert_close(padded[:, :4], alone)
        torch.testing.assert_close(Q[:, :7], P)
        assert not padded[:, 4:].any() and not Q[:, 7:].any()


def test_consensus_sees_everywhere_and_blocks_see_their_own():
    torch.manual_seed(0)
    x, w = torch.randn(1, 24, 4).double(), torch.randn(4).double()
    here = torch.ones(1, 24, dtype=torch.bool)
    changed = x.clone()
    changed[0, 20] += 1
    for consensus in (False, True):
        moved = gbst(x, w, here, 4, 1, consensus)[0] != gbst(changed, w, here, 4, 1, consensus)[0]
        found = moved.any(2)[0].nonzero().flatten().tolist()
        assert found == (list(range(24)) if consensus else [18, 19, 20, 21, 22, 23])


# -- T5 --------------------------------------------------------------------------------------------


def test_buckets_of_distances():
    one_each = t5_buckets(torch.arange(-7, 8)).tolist()
    assert one_each == [7, 6, 5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23]
    far = torch.tensor([8, 11, 12, 16, 23, 32, 64, 90, 91, 127, 128, 10_000])
    assert t5_buckets(-far).tolist() == [8, 8, 9, 10, 11, 12, 14, 14, 15, 15, 15, 15]
    assert torch.equal(t5_buckets(far), t5_buckets(-far) + 16)


def test_buckets_are_those_of_the_public_library():
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distance = torch.arange(-300, 301)
    theirs = t5.T5Attention._relative_position_bucket(distance)
    assert torch.equal(t5_buckets(distance), theirs)


def shaken(module):
    torch.manual_seed(1)
    for p in module.double().parameters():
        p.data += 0.2 * torch.randn_like(p)
    return module.eval()


@torch.no_grad()
def test_a_local_layer_sees_its_block_only():
    layer, here = shaken(Layer(4, 2, 3)), torch.ones(1, 8, dtype=torch.bool)
    x = torch.randn(1, 8, 4).double()
    for t in range(8):
        changed = x.clone()
        changed[0, t] += 1
        moved = (layer(x, here) - layer(changed, here)).abs().amax(2)[0] > 1e-12
        assert moved.nonzero().flatten().tolist() == [s for s in range(8) if s // 3 == t // 3]
    whole = Layer(4, 2, 8).double()
    whole.load_state_dict(layer.state_dict())
    layer.block = None
    torch.testing.assert_close(layer(x, here), whole(x, here))


@torch.no_grad()
@pytest.mark.parametrize("reader", ["bytes", "canine", "gbst"])
def test_scores_of_a_string_do_not_depend_on_padding_or_neighbours(reader):
    model = shaken(Encoder(5, reader, 16, 2, 2, 3, 4, 64))
    ids = torch.randint(3, 250, (3, 11))
    ids[1, 7:] = 0
    alone = torch.cat([model(ids[:1]), model(ids[1:2, :7]), model(ids[2:])])
    padded = torch.cat([ids, torch.zeros(3, 6, dtype=torch.long)], 1)
    torch.testing.assert_close(model(ids), alone)
    torch.testing.assert_close(model(padded), alone)
    nothing = model(torch.zeros(1, 4, dtype=torch.long))
    assert nothing.shape == (1, 5) and not nothing.any()  # an empty string: no class is preferred


@pytest.mark.parametrize("reader", ["bytes", "canine", "gbst"])
def test_strings_as_ids(reader):
    ids = Encoder(2, reader, 8, heads=2, size=4).encode(["aé", "", "日本"], longest=4)
    if reader == "canine":  # 日 has three bytes, and 本 does not fit
        assert ids.tolist() == [[97, 233], [0, 0], [0x65E5, 0]]
    else:
        assert ids.tolist() == [[100, 198, 172, 1], [1, 0, 0, 0], [233, 154, 168, 1]]
    with pytest.raises(ValueError, match="lone surrogate"):
        Encoder(2, reader, 8, heads=2, size=4).encode(["\ud800"])


# -- strings ---------------------------------------------------------------------------------------


def test_strings_by_language():
    names, parts = by_language(fewest=296)
    assert len(names) == len(set(names)) == 26 and "sr_Latn" in names and "pt_BR" not in names
    for texts, labels in parts.values():
        assert len(texts) == len(labels) and set(labels) == set(range(26))
    assert len(parts["train"][0]) > 4 * len(parts["test"][0])
    assert by_language(fewest=10_000) == ([], {part: ([], []) for part in parts})


def test_typos():
    text = "".join(chr(97 + i % 26) for i in range(3000))
    assert with_typos(text, 0) == text and with_typos("", 0.5) == ""
    noisy = with_typos(text, 0.3)
    assert noisy == with_typos(text, 0.3) != with_typos(text, 0.3, seed=1)
    assert abs(len(noisy) - 3000) < 100  # 300 fewer, 300 more: a spread of 25
    assert set(with_typos("aaaa", 1)) <= {"a"}
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\], got 2"):
        with_typos("a", 2)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: byt5_encode("a\ud800"), "lone surrogate"),
        (lambda: span_corrupt([5, 6, 7], [1], [3]), "inside 3 ids"),
        (lambda: span_corrupt([5, 6, 7, 8], [0, 1], [1, 1]), "must be apart"),
        (lambda: span_corrupt([5, 6, 7], [1], [0]), "lengths must be 1 or more"),
        (lambda: canine_buckets(torch.tensor([1]), 0), "size must be 1 or more"),
        (
            lambda: conv(torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.ones(1)),
            "x must have shape",
        ),
        (lambda: conv(torch.ones(1, 2, 3), torch.ones(1, 3, 3), torch.ones(1), 0), "stride"),
        (
            lambda: upsample(
                *torch.ones(2, 1, 3, 4)[:, [0, 0]], torch.ones(4, 8, 1), torch.ones(3)
            ),
            "b must have shape",
        ),
        (lambda: gbst(torch.ones(1, 2, 3), torch.ones(2), torch.ones(1, 2)), "w must have shape"),
        (lambda: gbst(torch.ones(1, 2, 3), torch.ones(3), torch.ones(1, 2), 0), "sizes must be 1"),
        (lambda: gbst(torch.ones(1, 2, 3), torch.ones(3), torch.ones(1, 2), 1, 0), "shorten must"),
        (lambda: t5_buckets(torch.tensor([1]), 6), "buckets must be 4, 8, 12"),
        (lambda: t5_buckets(torch.tensor([1]), 32, 8), "furthest above a quarter"),
        (lambda: Layer(6, 4), "heads must divide width"),
        (lambda: Layer(6, 2, 0), "block must be 1 or more"),
        (lambda: Layer(2, 1)(torch.ones(1, 2, 2), torch.ones(1, 3)), "present must have shape"),
        (lambda: Encoder(3, "words"), "reader must be bytes, canine or gbst"),
        (lambda: Encoder(3, "canine", 12), "multiple of 8"),
        (lambda: Encoder(0), "classes must be 1 or more"),
        (lambda: Encoder(2)(torch.tensor([[259]])), r"ids must lie in \[0, 259\)"),
        (lambda: Encoder(2)(torch.zeros(1, 0, dtype=torch.long)), "not be empty"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_deep_layers_cost_a_third_or_less():
    from torch.utils.flop_counter import FlopCounterMode

    found = {}
    for reader, shorten in (("bytes", 1), ("canine", 4), ("gbst", 3)):
        model = Encoder(2, reader, 64, 2, 4, shorten, 16, 64)
        x, present = model.read(torch.ones(1, 96, dtype=torch.long))
        with FlopCounterMode(display=False) as count:
            for layer in model.layers:
                x = layer(x, present)
        found[reader] = count.get_total_flops()
    assert found["canine"] < 0.25 * found["bytes"] and found["gbst"] < 0.35 * found["bytes"]
    assert math.isclose(found["canine"] / found["bytes"], 0.25, abs_tol=0.06)
