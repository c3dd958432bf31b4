"""Translation: by hand, beside brute force and torch's layers, causality, steps, refusals."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import edited

from minilib import lab
from minilib.char_translation import (
    END,
    PAD,
    START,
    Translator,
    beam_search,
    causal_pool,
    lee_pool,
    noise,
    shift,
    translate,
    translation_loss,
)
from minilib.lab import data
from minilib.lab.pairs import Letters, Tokens, batches, padded, split
from minilib.naive import char_translation as naive
from minilib.tokenizer import Tokenizer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.shift: edited(
        naive.shift,
        by_one_only=("shifted[:, t] = y[:, t - s]", "shifted[:, t] = y[:, t - 1]"),
        to_the_left=(
            "for t in range(s, T):\n        shifted[:, t] = y[:, t - s]",
            "for t in range(T - s):\n        shifted[:, t] = y[:, t + s]",
        ),
        not_at_all=("for t in range(s, T):\n        shifted[:, t] = y[:, t - s]", "shifted = y"),
        padding_before=("np.full((B, T), START)", "np.full((B, T), PAD)"),
        round_the_end=("for t in range(s, T):", "for t in range(T):"),
    ),
    naive.causal_pool: edited(
        naive.causal_pool,
        sees_later_steps=("step = t - (k - 1) + tap", "step = min(t + tap, T - 1)"),
        centred=("step = t - (k - 1) + tap", "step = min(t - k // 2 + tap, T - 1)"),
        taps_in_reverse=("F[:, :, tap] @ x[n, step]", "F[:, :, k - 1 - tap] @ x[n, step]"),
        last_of_the_group=("np.maximum(pooled[n, t // s], found)", "np.maximum(0, found)"),
        sum_of_the_group=(
            "np.maximum(pooled[n, t // s], found)",
            "pooled[n, t // s] + np.maximum(found, 0)",
        ),
        no_relu=(
            "pooled = np.zeros((B, -(-T // s), C))  # ReLU",
            "pooled = np.full((B, -(-T // s), C), -np.inf)  # ReLU",
        ),
        last_group_cut=("(B, -(-T // s), C)", "(B, T // s + 1, C)"),
    ),
    naive.lee_pool: edited(
        naive.lee_pool,
        padding_is_read=("if 0 <= step < lengths[n]:", "if 0 <= step < S:"),
        padding_is_pooled=("for t in range(lengths[n]):", "for t in range(S):"),
        causal=("step = t - F.shape[2] // 2 + j", "step = t - F.shape[2] + 1 + j"),
        widths_in_reverse=("np.concatenate(found)", "np.concatenate(found[::-1])"),
        first_width_alone=("np.concatenate(found)", "np.concatenate([found[0]] * len(found))"),
        bias_lost=("total = b.copy()", "total = 0 * b"),
    ),
    naive.translator: edited(
        naive.translator,
        source_padding_is_seen=("source[b][source[b] != PAD]", "source[b]"),
        shifted_by_one=("shift(written, s)", "shift(written, s + 1)"),
        lstm_without_shift=("shift(written, 1)", "written"),
        decoder_sees_the_future=(
            "nothing, nothing, 0, heads)\n            look",
            "nothing, nothing, 0, heads, causal=False)\n            look",
        ),
        encoder_is_causal=("0, heads, causal=False)", "0, heads)"),
        no_lookup=("y = y + cross_attention(", "y = y + 0 * cross_attention("),
        logits=("z - np.log(np.exp(z).sum())", "z"),
        soft_blocks_without_a_filter=('x = conv(x, params["F_5"], params["b_5"])', "x = x + 0"),
        soft_blocks_of_two=("True), 4, pool)", "True), 2, pool)"),
        written_without_c=(
            'fed = fed + c @ params["W_c"].T + params["bias"]',
            'fed = fed + params["bias"]',
        ),
    ),
    naive.translation_loss: edited(
        naive.translation_loss,
        padding_counts=("if target[b, t] != PAD:", "if True:"),
        end_is_left_out=("if target[b, t] != PAD:", "if target[b, t] > END:"),
        summed=("return total / count", "return total"),
        of_rows=("return total / count", "return total / len(target)"),
        of_all_places=("return total / count", "return total / target.size"),
        shifted_again=("log_p[b, t, target[b, t]]", "log_p[b, t - 1, target[b, t]]"),
        bits=("return total / count", "return total / count / np.log(2)"),
    ),
    naive.beam_search: edited(
        naive.beam_search,
        last_of_equals=(
            "sorted(found, key=lambda one: -one[0])[:width]",
            "sorted(found[::-1], key=lambda one: -one[0])[:width]",
        ),
        greedy=(
            "sorted(found, key=lambda one: -one[0])[:width]",
            "sorted(found, key=lambda one: -one[0])[:1]",
        ),
        ended_ones_leave=(
            "found.append((total, symbols, before))\n                    continue",
            "continue",
        ),
        ended_ones_go_on=("if symbols and symbols[-1] == END:", "if False:"),
        last_step_counts_alone=("(total + log_p[0][symbol],", "(log_p[0][symbol],"),
        by_the_mean=("key=lambda one: -one[0]", "key=lambda one: -one[0] / len(one[1])"),
        states_are_not_carried=("[*symbols, symbol], after)", "[*symbols, symbol], before)"),
        impossible_ones_stay=("if one[0] > -np.inf]", "]"),
        start_is_forgotten=("else start[b]", "else START"),
    ),
    naive.noise: edited(
        naive.noise,
        swapped_twice=("i += 2", "i += 1"),
        anything_swaps=(" and pair.isalpha()", ""),
        rate_itself=("if u[i] < rate", "if u[i] <= rate"),
        all_but_these=("if u[i] < rate", "if u[i] >= rate"),
        doubled=("pair[1] + pair[0]", "pair[1] + pair[1]"),
        never_the_first=("if u[i] < rate", "if i and u[i] < rate"),
    ),
}


# -- by hand ---------------------------------------------------------------------------------------


def test_shift_by_hand():
    y = torch.tensor([[5, 6, 7, 8, 9]])
    assert shift(y, 1).tolist() == [[START, 5, 6, 7, 8]]
    assert shift(y, 3).tolist() == [[START, START, START, 5, 6]]
    assert shift(y, 9).tolist() == [[START] * 5]


def test_causal_pool_by_hand():
    """Each step is twice itself and its predecessor: 2·1, 2·5+1, 2·2+5, 2·0+2 and -6+0."""
    x = torch.tensor([1.0, 5, 2, 0, -3]).view(1, 5, 1)
    F = torch.tensor([[[1.0, 2.0]]])
    assert causal_pool(x, F, torch.zeros(1), 2).flatten().tolist() == [11, 9, 0]
    assert causal_pool(x, F, torch.zeros(1), 1).flatten().tolist() == [2, 11, 9, 2, 0]
    assert causal_pool(x, F, torch.ones(1), 4).flatten().tolist() == [12, 0]


def test_lee_pool_by_hand():
    """Sums of three neighbours: 3, 6, 5 in the row of three steps, 3 in the row of two."""
    x = torch.tensor([[1.0, 2, 3], [1.0, 2, 99]]).view(2, 3, 1)
    pooled = lee_pool(x, torch.tensor([3, 2]), [torch.ones(1, 1, 3)], [torch.zeros(1)], 2)
    assert pooled.flatten(1).tolist() == [[6, 5], [3, 0]]


def test_noise_by_hand():
    assert noise("abcd", 0.5, [0, 0, 0, 0]) == "badc"
    assert noise("abcd", 0.5, [0.9, 0, 0, 0]) == "acbd"
    assert noise("a bc", 0.5, [0, 0, 0, 0]) == "a cb"
    assert noise("", 0.5, []) == ""


@given(st.text(max_size=30), st.data())
@settings(max_examples=50, deadline=None)
def test_noise_only_swaps_letters(text, draws):
    u = draws.draw(st.lists(st.floats(0, 1), min_size=len(text), max_size=len(text)))
    noisy = noise(text, 0.5, u)
    assert sorted(noisy) == sorted(text)
    for a, b in zip(noisy, text, strict=True):
        assert a == b or (a.isalpha() and b.isalpha())
    assert noise(text, 0.0, u) == text


# -- the beam --------------------------------------------------------------------------------------


def chain(log_p):
    """A step that knows the last symbol only: log_p (V, V)."""
    return lambda ids, state: (log_p[ids], state)


def test_a_beam_of_two_finds_what_greedy_misses():
    """Symbols 3 and 4: 3 is likelier at first, 0.6, but then 0.5 at most; 4 ends surely."""
    p = torch.full((5, 5), 1e-9, dtype=torch.float64)
    p[START, 3], p[START, 4] = 0.6, 0.4
    p[3, END], p[3, 3] = 0.5, 0.5
    p[4, END] = 1.0
    found = {}
    for width in (1, 2):
        ids, totals = beam_search(chain(p.log()), (), torch.tensor([START]), width, 4)
        found[width] = ids[0, 0].tolist(), math.exp(totals[0, 0])
    assert found[1][0] == [3, END, END, END] and abs(found[1][1] - 0.3) < 1e-6
    assert found[2][0] == [4, END, END, END] and abs(found[2][1] - 0.4) < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_is_exhaustive_search(seed):
    """V^3 beginnings fit into the beam: the best is that of all sequences."""
    draw = torch.Generator().manual_seed(seed)
    log_p = torch.randn(4, 4, dtype=torch.float64, generator=draw).log_softmax(-1)
    ids, totals = beam_search(chain(log_p), (), torch.tensor([START]), 64, 3)
    scores = {}
    for word in itertools.product(range(4), repeat=3):
        total, last = 0.0, START
        for i, symbol in enumerate(word):
            total += log_p[last, symbol].item()
            last = symbol
            if symbol == END:
                word = (*word[:i], *[END] * (3 - i))
                break
        scores[word] = total
    best = sorted(scores.items(), key=lambda one: -one[1])[:5]
    assert [tuple(row) for row in ids[0, :5].tolist()] == [word for word, _ in best]
    torch.testing.assert_close(totals[0, :5].tolist(), [total for _, total in best])


@pytest.fixture(
    scope="module", params=[(1, 1), (3, 1), (1, 3), (2, 2), (1, 5), (3, 2, True)], ids=str
)
def model(request):
    pool, s, *soft = request.param
    torch.manual_seed(0)
    return Translator(9, 8, width=16, heads=2, pool=pool, s=s, soft=bool(soft)).double().eval()


SOURCE = torch.tensor([[4, 5, 6, 7, 4, 8, END], [4, 5, END, PAD, PAD, PAD, PAD]])


def test_the_beam_adds_up_what_the_model_says(model):
    """Totals are those of the written ids, scored again in one pass; a beam of 1 is greedy."""
    ids, totals = beam_search(model.step, model.init_state(SOURCE), torch.tensor([1, 1]), 3, 7)
    for n in range(3):
        log_p = model(SOURCE, ids[:, n]).gather(2, ids[:, n, :, None])[..., 0]
        before_end = ((ids[:, n] == END).cumsum(1) - (ids[:, n] == END).int()) == 0
        torch.testing.assert_close((log_p * before_end).sum(1), totals[:, n])
    assert (totals[:, :-1] >= totals[:, 1:]).all()
    (greedy, _) = beam_search(model.step, model.init_state(SOURCE), torch.tensor([1, 1]), 1, 7)
    best = model(SOURCE, greedy[:, 0]).argmax(-1)
    ended = (greedy[:, 0] == END).cumsum(1) > 1
    assert torch.equal(torch.where(ended, END, best), greedy[:, 0])


# -- the model -------------------------------------------------------------------------------------


def test_one_symbol_at_a_time_is_the_whole_pass(model):
    target = torch.randint(3, 8, (2, 11), generator=torch.Generator().manual_seed(1))
    whole, state, last = model(SOURCE, target), model.init_state(SOURCE), torch.tensor([1, 1])
    for t in range(11):
        log_p, state = model.step(last, state)
        torch.testing.assert_close(log_p, whole[:, t], rtol=1e-9, atol=1e-9)
        last = target[:, t]


def test_the_future_cannot_leak(model):
    """At every place, also where a group of s symbols begins and ends."""
    target = torch.randint(3, 8, (1, 11), generator=torch.Generator().manual_seed(2))
    before = model(SOURCE[:1], target)
    for t in range(11):
        other = target.clone()
        other[0, t] = 3 + (other[0, t] - 2) % 5
        after = model(SOURCE[:1], other)
        assert torch.equal(before[:, : t + 1], after[:, : t + 1])
        if t < 10:
            assert not torch.allclose(before[:, t + 1], after[:, t + 1])


def test_padding_changes_nothing(model):
    target = torch.randint(3, 8, (2, 6), generator=torch.Generator().manual_seed(3))
    both = model(SOURCE, target)
    alone = model(SOURCE[1:, :3], target[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-9, atol=1e-9)
    longer = torch.nn.functional.pad(SOURCE, (0, 4))
    torch.testing.assert_close(model(longer, target), both, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(SOURCE, target[:, :4]), both[:, :4], rtol=1e-9, atol=1e-9)


def test_alignment_is_a_share_of_the_source(model):
    seen = model.alignment(SOURCE, torch.randint(3, 8, (2, 6)))
    steps = math.ceil(6 / model.s)
    assert seen.shape == (2, steps, math.ceil(7 / model.pool)) and (seen >= 0).all()
    torch.testing.assert_close(seen.sum(2), torch.ones(2, steps, dtype=torch.float64))
    assert (seen[1, :, math.ceil(3 / model.pool) :] == 0).all()


def test_lee_pool_beside_torchs_pooling():
    draw = torch.Generator().manual_seed(4)
    x = torch.randn(2, 9, 3, generator=draw)
    filters = [torch.randn(4, 3, w, generator=draw) for w in (1, 3, 5)]
    biases = [torch.randn(4, generator=draw) for _ in filters]
    found = [
        torch.nn.functional.conv1d(x.transpose(1, 2), F, b, padding="same").relu()
        for F, b in zip(filters, biases, strict=True)
    ]
    pooled = torch.nn.functional.max_pool1d(torch.cat(found, 1), 4, ceil_mode=True)
    torch.testing.assert_close(
        lee_pool(x, torch.tensor([9, 9]), filters, biases, 4), pooled.transpose(1, 2)
    )


def test_it_learns_to_write_backwards():
    """The end first: attention must look where the next symbol stands, not where it is itself."""
    words = ["".join(w) for w in itertools.product("abc", repeat=3)]
    sides = Letters(words), Letters(words)
    pairs = [(sides[0].encode(word), sides[1].encode(word[::-1])) for word in words]
    torch.manual_seed(0)
    model = Translator(7, 7, width=16, heads=2, layers=1)
    lab.fit(
        model, batches(pairs, 16), steps=200, lr=1e-2, loss=loss, progress=False
    )  # fmt: skip
    written = translate(model, [source for source, _ in pairs], longest=6)
    right = sum(
        sides[1].decode(row) == word[::-1] for row, word in zip(written, words, strict=True)
    )
    assert right >= 25


def test_what_does_not_fit_is_refused_by_name():
    model = Translator(9, 8, width=16, heads=2)
    start = torch.tensor([START])
    step = chain(torch.zeros(5, 5))
    x, F, b = torch.zeros(1, 4, 2), torch.zeros(3, 2, 2), torch.zeros(3)
    refused = {
        r"s must be at least 1, got 0": [
            lambda: shift(torch.ones(1, 3).long(), 0),
            lambda: causal_pool(x, F, b, 0),
        ],
        r"y must have shape \(any, any\), got \(3,\)": [lambda: shift(torch.ones(3).long(), 1)],
        r"F must have shape": [lambda: causal_pool(x, F[:, :1], b, 2)],
        r"lengths must lie in 1 to 4": [
            lambda: lee_pool(x, torch.tensor([0]), [F[:, :, :1]], [b], 2),
            lambda: lee_pool(x, torch.tensor([5]), [F[:, :, :1]], [b], 2),
        ],
        r"odd widths, got 2": [lambda: lee_pool(x, torch.tensor([4]), [F], [b], 2)],
        r"s must be at least 1, and each filter have its bias": [
            lambda: lee_pool(x, torch.tensor([4]), [F[:, :, :1]], [b], 0)
        ],
        r"each filter have its bias": [lambda: lee_pool(x, torch.tensor([4]), [], [], 2)],
        r"width and longest must be at least 1": [
            lambda: beam_search(step, (), start, 0, 3),
            lambda: beam_search(step, (), start, 1, 0),
        ],
        r"target must have shape": [lambda: translation_loss(torch.zeros(1, 2, 5), start[None])],
        r"rate must lie in \[0, 1\], got 2": [lambda: noise("ab", 2, [0, 0])],
        r"u must have shape \(2\)": [lambda: noise("ab", 0.1, [0])],
        r"source must be \(batch, S\) ids": [
            lambda: model(torch.tensor([[PAD, PAD]]), torch.tensor([[3]])),
            lambda: model(torch.zeros(1, 0).long(), torch.tensor([[3]])),
        ],
        r"ids must lie in \[0, 9\)|ids": [lambda: model(torch.tensor([[9]]), torch.tensor([[3]]))],
        r"ids must lie in \[0, 8\)|ids": [lambda: model(torch.tensor([[3]]), torch.tensor([[8]]))],
        r"sizes must be at least 4": [lambda: Translator(3, 8), lambda: Translator(9, 8, s=0)],
    }
    for message, calls in refused.items():
        for call in calls:
            with pytest.raises(ValueError, match=message):
                call()


# -- pairs of texts --------------------------------------------------------------------------------


def test_no_near_copy_crosses_the_split():
    strings = data.interface_strings()
    parts = split(strings["sr"], strings["sr_Latn"])
    assert {name: len(pairs) for name, pairs in parts.items()} == {
        "train": 563, "validation": 73, "test": 71,
    }  # fmt: skip
    source = {"Enter a date": "a", "Enter a time": "b", "Same": "c", "Long": "d" * 61, "x": "e"}
    target = {"Enter a date": "A", "Enter a time": "B", "Same": "c", "Long": "D", "y": "E"}
    parts = split(source, target)
    assert sorted(map(len, parts.values())) == [0, 0, 2]  # together, wherever they are


@pytest.mark.parametrize("text", ["", "ab ba", "ж и ж"])
def test_texts_come_back(text):
    for side in (Letters([text]), Tokens(Tokenizer.train([text], 260))):
        ids = side.encode(text)
        assert ids[-1] == END and min(ids) >= END and max(ids) < side.vocab_size
        assert side.decode(ids) == text and side.decode([*ids, 5, 5]) == text
    assert Letters(["ab"]).decode(Letters(["ab"]).encode("axb")) == "a�b"


def test_batches_depend_on_the_step_alone():
    pairs = [([5] * n + [END], [6] * n + [END]) for n in range(1, 30)]
    one, two = batches(pairs, 4, seed=1), batches(pairs, 4, seed=1)
    for step in (9, 3, 9):
        for a, b in zip(one(step), two(step), strict=True):
            assert torch.equal(a, b) and len(a) == 4
    assert not torch.equal(one(0)[0], one(1)[0])
    lengths = (one(0)[0] != PAD).sum(1)
    assert lengths.max() - lengths.min() <= 12  # neighbours of 32 sorted ones
    assert padded([[3], [4, 5]]).tolist() == [[3, PAD], [4, 5]]


def loss(model, batch):
    source, target = batch
    return translation_loss(model(source, target), target)


def test_loss_leaves_padding_out():
    model = Translator(9, 8, width=16, heads=2)
    source, target = SOURCE[:1], torch.tensor([[3, 4, END]])
    longer = torch.nn.functional.pad(target, (0, 3))
    torch.testing.assert_close(loss(model, (source, target)), loss(model, (source, longer)))


def test_loss_by_hand():
    """Probabilities 1/2, 1/4 and 1/8 are 1, 2 and 3 bits: 2 bits a symbol in the mean."""
    log_p = torch.full((2, 2, 5), -99.0)
    log_p[0, 0, 3], log_p[0, 1, END], log_p[1, 0, END] = torch.tensor([0.5, 0.25, 0.125]).log()
    target = torch.tensor([[3, END], [END, PAD]])
    assert abs(translation_loss(log_p, target) / math.log(2) - 2) < 1e-6
