"""What the comparison of definition and twin cannot see: by hand, other sums, bad input."""

import bz2
import math
import random
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_start_here import answers, report_of

from minilib import lab
from minilib.compression import KneserNey, quantize
from minilib.naive import compression as naive

TEXT = b"the theory is that the thin thief thought of the other thing; o that the then"


# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def rounded_to_nearest(p, total):
    out = 1 + np.round(p * (total - p.shape[-1])).astype(np.int64)
    out[..., 0] += total - out.sum(-1)
    return out


def nothing_for_the_unlikely(p, total):
    return given_to_the_likeliest(np.floor(p * total).astype(np.int64), p, total)


def at_least_one(p, total):
    out = np.maximum(1, np.floor(p * total).astype(np.int64))
    return given_to_the_likeliest(out, p, total)


def given_to_the_likeliest(out, p, total):
    place = p.argmax(-1)[..., None]
    rest = total - out.sum(-1, keepdims=True)
    np.put_along_axis(out, place, np.take_along_axis(out, place, -1) + rest, -1)
    return out


def rest_left_over(p, total):
    return 1 + np.floor(p * (total - p.shape[-1])).astype(np.int64)


def rest_to_the_first(p, total):
    out = rest_left_over(p, total)
    out[..., 0] += total - out.sum(-1)
    return out


def rest_to_the_last_of_equals(p, total):
    return naive.quantize(p[..., ::-1].copy(), total)[..., ::-1].copy()


def occurrences_below(ids, *, text, order=5, modified=False):
    """The lower levels count how often a string occurs, not after how many bytes."""
    tops = [naive.kn_tables(text, n, modified)[-1] for n in range(1, order + 1)]
    with mock.patch.object(naive, "kn_tables", lambda *_: tops):
        return naive.kneser_ney(ids, text=text, order=order, modified=modified)


def one_discount(ids, *, text, order=5, modified=False):
    return naive.kneser_ney(ids, text=text, order=order, modified=False)


def one_byte_less(ids, *, text, order=5, modified=False):
    return naive.kneser_ney(ids, text=text, order=max(1, order - 1), modified=modified)


def one_step_late(ids, *, text, order=5, modified=False):
    log_p = naive.kneser_ney(ids, text=text, order=order, modified=modified)
    return np.roll(log_p, 1, axis=1) if log_p.shape[1] > 1 else log_p


def unseen_is_even(ids, *, text, order=5, modified=False):
    """Not the shorter context, but 1/256 for all, where the context was never seen."""
    right = naive.kn_prob

    def prob(tables, context, symbol):
        seen = bytes(context) in tables[len(context)].successors
        return right(tables, context, symbol) if seen else 1 / 256

    with mock.patch.object(naive, "kn_prob", prob):
        return naive.kneser_ney(ids, text=text, order=order, modified=modified)


def backs_off(ids, *, text, order=5, modified=False):
    """The share of the longest context that has met the symbol, nothing from those below."""

    def prob(tables, context, symbol):
        for n in range(len(context), -1, -1):
            counts = tables[n].successors.get(bytes(context[len(context) - n :]), {})
            if symbol in counts:
                return counts[symbol] / sum(counts.values())
        return 1 / 256

    with mock.patch.object(naive, "kn_prob", prob):
        return naive.kneser_ney(ids, text=text, order=order, modified=modified)


WRONG = {
    naive.quantize: [
        rounded_to_nearest, nothing_for_the_unlikely, at_least_one,
        rest_left_over, rest_to_the_first, rest_to_the_last_of_equals,
    ],
    naive.kneser_ney: [
        occurrences_below, one_discount, one_byte_less, one_step_late, unseen_is_even, backs_off,
    ],
}  # fmt: skip


def decoder(part_of=None, narrow=1 << 24, once=False):
    """The lesson's decoder with something wrong."""

    def wrong(code, rows):
        below, width, symbols = int.from_bytes(code[:4].ljust(4, b"\0")), 1 << 32, []
        rest = [*code[4:], *[0] * 99]
        for row in rows.tolist():
            cuts = [sum(row[:w]) for w in range(len(row) + 1)]
            starts = [width * cut // cuts[-1] for cut in cuts]
            symbol = part_of(below, width, cuts, starts) if part_of else _last(below, starts)
            below, width = below - starts[symbol], starts[symbol + 1] - starts[symbol]
            while width <= narrow:
                below, width = below << 8 | rest.pop(0), width << 8
                if once or not rest:
                    break
            symbols.append(symbol)
        return symbols

    return wrong


def _last(below, starts):
    return max(w for w, start in enumerate(starts[:-1]) if start <= below or w == 0)


def strictly_below(code, rows):
    part = lambda below, width, cuts, starts: _last(below - 1, starts)
    return decoder(part)(code, rows)


def in_proportion(code, rows):
    """Forgets that the starts are rounded down."""

    def part(below, width, cuts, starts):
        return max(0, min(len(cuts) - 2, _last(below * cuts[-1] // width, cuts)))

    return decoder(part)(code, rows)


def a_byte_too_late(code, rows):
    return decoder(narrow=(1 << 24) - 1)(code, rows)


def one_byte_a_symbol(code, rows):
    return decoder(once=True)(code, rows)


def never_reads_on(code, rows):
    return decoder(narrow=0)(code, rows)


def the_other_way(p, q):
    return float(np.sum(q * np.log2(q / np.maximum(p, 1e-300))))


def in_nats(p, q):
    return naive.divergence(p, q) * math.log(2)


def zero_times_infinity(p, q):
    return float(np.sum(p * np.log2(p / q)))


def cross_entropy(p, q):
    return float(-np.sum(p * np.log2(q)))


def lower_perplexity(nats_per_token, bytes_per_token):
    return int(np.argmin(nats_per_token))


def more_bits(nats_per_token, bytes_per_token):
    return int(np.argmax(nats_per_token / bytes_per_token))


def longer_tokens(nats_per_token, bytes_per_token):
    return int(np.argmax(bytes_per_token))


def product(nats_per_token, bytes_per_token):
    return int(np.argmin(nats_per_token * bytes_per_token))


ASKED = {  # by the lesson
    "my_decode": [
        strictly_below,
        in_proportion,
        a_byte_too_late,
        one_byte_a_symbol,
        never_reads_on,
    ],
    "my_divergence": [the_other_way, in_nats, zero_times_infinity, cross_entropy],
    "my_better_model": [lower_perplexity, more_bits, longer_tokens, product],
}


@pytest.mark.parametrize("name,answer", answers(ASKED))
def test_the_lesson_refuses(name, answer):
    report = report_of("compression", name, answer)
    assert not report and "raises" not in report.text


# -- golden ----------------------------------------------------------------------------------------


def test_bigrams_by_hand():
    # abab: bigrams ab 2, ba 1. Order 2: n1 = 1, n2 = 1, so D = 1/3.
    # Continuation: b follows only a, a only b: n1 = 2, D = 1.
    tables = naive.kn_tables(b"abab", 2)
    # order 1: a and b have one left neighbour each, wholly discounted: 2/2 of the uniform remains
    assert naive.kn_prob(tables, b"", ord("a")) == pytest.approx(1 / 256)
    # after a: (2 - 1/3)/2 for b, and 1/3 / 2 of the order below
    assert naive.kn_prob(tables, b"a", ord("b")) == pytest.approx(5 / 6 + 1 / 6 / 256)
    assert naive.kn_prob(tables, b"a", ord("z")) == pytest.approx(1 / 6 / 256)
    assert naive.kn_prob(tables, b"z", ord("a")) == pytest.approx(1 / 256)


def test_lower_orders_count_contexts_not_occurrences():
    # x is the most frequent byte, but stands after q alone; a, b and c stand after two bytes each
    tables = naive.kn_tables(b"qxqxqxqxqx" + b"acbabcac", 2)
    assert len(tables[0].successors[b""]) == 5 and tables[0].successors[b""][ord("x")] == 1
    assert naive.kn_prob(tables, b"", ord("c")) > naive.kn_prob(tables, b"", ord("x"))


def test_discounts_by_hand():
    n = [0, 6, 3, 2, 1]  # Y = 6/12; 1 - 2 Y 3/6, 2 - 3 Y 2/3, 3 - 4 Y 1/2
    assert naive.discounts(n) == (0.5, 0.5, 0.5)
    assert naive.discounts(n, modified=True) == pytest.approx((0.5, 1.0, 2.0))
    assert naive.discounts([0, 0, 0, 0, 0], modified=True) == (0.5, 0.5, 0.5)
    few_twos = naive.discounts([0, 1, 1, 9, 9], modified=True)
    assert few_twos[1] == pytest.approx(1 / 3)  # 2 - 9 is no discount
    assert all(0 < d <= i for i, d in enumerate(naive.discounts([9, 5, 0, 0, 3], modified=True), 1))


def test_quantize_by_hand():
    # 10 in all, 1 for each of three, 7 shared: floor of 3.5, 2.1, 1.4; 1 left over to the first
    assert quantize(torch.tensor([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]
    assert naive.quantize(np.array([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]


def test_code_by_hand():
    # two equal halves: a symbol is a bit; 8 of them are one byte, and a last one marks the place
    assert naive.encode([0, 1, 0, 0, 0, 0, 0, 1], lambda past: [1, 1]) == b"\x41\x00"
    assert naive.encode([], lambda past: [1, 1]) == b"\x00"


# -- properties ------------------------------------------------------------------------------------


@pytest.mark.parametrize("modified", [False, True])
@pytest.mark.parametrize("order", [1, 3, 5, 7])
def test_probabilities_sum_to_one(order, modified):
    rng = np.random.default_rng(0)
    model = KneserNey(TEXT, order, modified)
    seen = [list(TEXT[i : i + order - 1]) for i in range(40)]
    unseen = rng.integers(256, size=(160, order - 1)).tolist()
    context = torch.tensor(seen + unseen, dtype=torch.int64).view(200, order - 1)
    p = model.predict(context)
    assert p.shape == (200, 256) and p.min() > 0
    assert (p.sum(-1) - 1).abs().max() < 1e-12


def test_one_row_at_a_time_is_bit_equal():
    model = KneserNey(TEXT, 4)
    context = torch.tensor([list(TEXT[i : i + 3]) for i in range(50)])
    for row, p in zip(context, model.predict(context), strict=True):
        assert torch.equal(model.predict(row[None])[0], p)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_log_prob_is_the_definition_and_forward(order):
    model, read = KneserNey(TEXT, order), b"the other thought, thus\xff"
    ids = torch.tensor([list(read)])
    got = model.log_prob(ids)[0]
    want = naive.log_prob(naive.kn_tables(TEXT, order), read)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)  # ln p near 0 keeps few digits
    forward = model(ids[:, :-1])[0].gather(1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(got[1:], forward, rtol=1e-12, atol=0)
    # the score of lab is the same total, but for the first byte, which it charges 8 bits
    bits = 8 / len(read) + naive.bits_per_byte(-got[1:].sum(), len(read))
    assert lab.bits_per_byte(model, read) == pytest.approx(float(bits), rel=1e-12)


@pytest.mark.parametrize(
    "text, order",
    [
        (b"a", 1),
        (b"a", 3),
        (b"ab", 3),
        (b"\x00\xff\x00", 3),
        (b"aaaaaaaaa", 4),
        (b"abc", 7),
        (TEXT, 1),
        (TEXT[:7], 7),
    ],
)
@pytest.mark.parametrize("modified", [False, True])
def test_tiny_texts(text, order, modified):
    """One byte, shorter than the order, one that never varies: discounts and levels are missing."""
    ids = np.array([[97, 97, 98, 0, 255, 0, 1, 116, 104, 101]])
    got = KneserNey(text, order, modified)(torch.tensor(ids))
    want = naive.kneser_ney(ids, text=text, order=order, modified=modified)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.exp(want).sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("V", [257, 4096, 8192])
def test_tokens_are_counted_as_bytes_are(V):
    """Bytes under other names: p is linear in p_0, which falls from 1/256 to 1/V."""
    name = torch.arange(255) * (V // 255)  # ids above 255 too, in the same order
    read = b"the other thought, thus\xfe"
    for order in range(1, 5):
        model = KneserNey(name[list(TEXT)], order, True, vocab_size=V)
        got = model.log_prob(name[list(read)][None])[0].exp()
        tables, want = naive.kn_tables(TEXT, order, True), []
        for t in range(len(read)):
            context = read[max(0, t - order + 1) : t]
            p = naive.kn_prob(tables, context, read[t])
            of_p0 = naive.kn_prob(tables, context, 255) * 256  # a byte that the text lacks
            want.append(p + of_p0 * (1 / V - 1 / 256))
        np.testing.assert_allclose(got, want, rtol=1e-12)
        rows = model.predict(name[list(read)][None, : order - 1])
        assert rows.shape == (1, V)
        np.testing.assert_allclose(rows.sum(), 1, rtol=1e-12)
        forward = model(name[list(read)][None])[0, :-1]
        picked = forward.gather(1, name[list(read)][1:, None])[:, 0].exp()
        np.testing.assert_allclose(picked, got[1:], rtol=1e-12)


def test_float32_is_near():
    ids = torch.tensor([list(TEXT)])
    single = KneserNey(b"that thing", 4).float()(ids)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), KneserNey(b"that thing", 4)(ids), rtol=1e-5, atol=0)


def frequencies_of(rows):
    return lambda past: rows[len(past)]


FREQUENCY = st.one_of(st.just(1), st.integers(1, 1 << 12))
ROWS = st.lists(st.lists(FREQUENCY, min_size=1, max_size=20), max_size=60)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_symbols_come_back(data):
    rows = data.draw(ROWS)
    symbols = [data.draw(st.integers(0, len(row) - 1)) for row in rows]
    code = naive.encode(symbols, frequencies_of(rows))
    assert naive.decode(code, len(symbols), frequencies_of(rows)) == symbols
    bits = -sum(math.log2(row[s] / sum(row)) for row, s in zip(rows, symbols, strict=True))
    assert 8 * len(code) <= bits + 8 + 0.01 * len(rows)


def round_trip(rows, symbols):
    code = naive.encode(symbols, frequencies_of(rows))
    return naive.decode(code, len(symbols), frequencies_of(rows))


def test_carries_run_through_written_bytes():
    # the last of 2^16 symbols again and again writes ff ff …; the interval's end lies above
    symbols = [1] * 40 + [0] * 3
    assert round_trip([[65535, 1]] * 40 + [[1, 65535]] * 3, symbols) == symbols
    # low climbs to the very top of the number before it is closed
    for last in (0, 1):
        symbols = [1] * 399 + [last]
        assert round_trip([[1, (1 << 24) - 1]] * 400, symbols) == symbols


def test_twenty_thousand_random_intervals():
    # long random codes meet runs of ff bytes and carries by themselves
    random.seed(0)
    up_to = lambda n: random.randint(1, n)
    rows = [[up_to(50), 1, up_to(200), up_to(1 << 20)] for _ in range(20_000)]
    symbols = [random.choices(range(4), row)[0] for row in rows]
    code = naive.encode(symbols, frequencies_of(rows))
    assert naive.decode(code, len(symbols), frequencies_of(rows)) == symbols
    bits = -sum(math.log2(row[s] / sum(row)) for row, s in zip(rows, symbols, strict=True))
    assert bits <= 8 * len(code) <= 1.001 * bits + 8


@given(st.binary(max_size=40))
@settings(deadline=None, max_examples=50)
def test_the_mixer_restores_any_bytes(data):
    code = naive.encode(naive.bits_of(data), naive.Mixer())
    assert naive.bytes_of(naive.decode(code, 8 * len(data), naive.Mixer())) == data


def test_the_mixer_learns():
    data = (TEXT + b"\n") * 20
    code = naive.encode(naive.bits_of(data), naive.Mixer())
    assert naive.bytes_of(naive.decode(code, 8 * len(data), naive.Mixer())) == data
    assert len(code) < len(bz2.compress(data))


def test_mixer_weights_by_hand():
    # the first bit: all guesses 1/2, log-odds 0, so p = 1/2 and no weight moves;
    # each guess goes to 1/2 + (0.9999 - 1/2) / 1.6
    mixer = naive.Mixer(orders=(1, 2))
    assert mixer([]) == [32768, 32768]
    mixer([1])
    assert mixer.tables[0][b""][1] == [pytest.approx(0.5 + 0.4999 / 1.6), 1]
    assert mixer.weights[1] == [0.3, 0.3] and mixer.node == 3


def test_a_mixer_of_order_0_sees_nothing_and_comes_near_the_entropy():
    data = TEXT * 10
    code = naive.encode(naive.bits_of(data), naive.Mixer((0,)))
    assert naive.bytes_of(naive.decode(code, 8 * len(data), naive.Mixer((0,)))) == data
    share = np.bincount(list(data)) / len(data)
    entropy = -sum(p * math.log2(p) for p in share if p)
    # learning the frequencies of 15 letters costs something; the whole history as context, 6.4 bits
    assert entropy < 8 * len(code) / len(data) < entropy + 0.6


def test_order_0_among_other_orders_is_a_context_that_is_always_the_same():
    mixer, bits = naive.Mixer((0, 2)), naive.bits_of(b"abcab")
    for n in range(len(bits) + 1):
        mixer(bits[:n])
    assert list(mixer.tables[0]) == [b""]
    assert list(mixer.tables[1]) == [b"", b"a", b"ab", b"bc", b"ca"]


@pytest.mark.parametrize("orders", [(), (-1,), (2, -3)])
def test_a_mixer_refuses_orders_that_are_none(orders):
    with pytest.raises(ValueError, match="orders must be one or more context lengths"):
        naive.Mixer(orders)


def test_bits_and_bytes():
    assert naive.bits_of(b"\x05\xff") == [0, 0, 0, 0, 0, 1, 0, 1] + [1] * 8
    assert naive.bytes_of(naive.bits_of(bytes(range(256)))) == bytes(range(256))


# -- a third opinion -------------------------------------------------------------------------------


def test_coded_length_is_the_cross_entropy_plus_the_divergence():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([0.05] * 256)
    f = naive.quantize(p)
    symbols = rng.choice(256, size=4000, p=p).tolist()
    code = naive.encode(symbols, lambda past: f.tolist())
    ideal = -sum(math.log2(f[s] / naive.TOTAL) for s in symbols)
    assert ideal <= 8 * len(code) <= ideal + 12
    # averaged over p, the frequencies cost the divergence; 4000 draws are within 5 standard errors
    extra = np.array([math.log2(p[s] / (f[s] / naive.TOTAL)) for s in symbols])
    error = extra.std() / math.sqrt(4000)
    assert extra.mean() == pytest.approx(naive.divergence(p, f / naive.TOTAL), abs=5 * error)


def test_divergence_and_bits_per_byte():
    assert naive.divergence([0.5, 0.5, 0.0], [0.25, 0.5, 0.25]) == 0.5
    assert naive.bits_per_byte(3 * math.log(2), 2) == pytest.approx(1.5)


def test_the_better_model_is_the_one_with_fewer_nats_per_byte():
    assert naive.better_model([2.0, 2.2], [1.0, 1.0]) == 0
    assert naive.better_model([1.4, 4.8], [1.0, 4.1]) == 1  # 1.40 against 1.17, though 4.8 > 1.4


# -- refusal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ((b"",), ValueError, "text must have at least one byte"),
        (([1, 2],), TypeError, "text must be bytes or str, got list"),
        ((b"abc", 0), ValueError, r"order must lie in \[1, 7\], got 0"),
        ((torch.tensor([3]), 5, False, 8192), ValueError, r"order must lie in \[1, 4\], got 5"),
        ((torch.tensor([300]),), ValueError, r"ids must lie in \[0, 256\), got 300"),
        ((b"abc", 8), ValueError, "got 8"),
    ],
)
def test_model_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        KneserNey(*arguments)


def test_predict_refuses():
    model = KneserNey("abc", 3)
    with pytest.raises(ValueError, match=r"context must be int64 of shape \(batch, 2\)"):
        model.predict(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="ids must lie in"):
        model.log_prob(torch.tensor([[256]]))


@pytest.mark.parametrize(
    "make",
    [lambda p, *a: quantize(torch.tensor(p), *a), lambda p, *a: naive.quantize(np.array(p), *a)],
)
def test_quantize_refuses(make):
    with pytest.raises(ValueError, match="total must be at least the number of symbols, 3, got 2"):
        make([0.5, 0.25, 0.25], 2)
    for bad in ([0.5, 0.25, 0.2], [1.5, -0.5, 0.0], [math.nan, 0.5, 0.5]):
        with pytest.raises(ValueError, match="p must have rows"):
            make(bad)


def test_coder_refuses():
    good = lambda past: [3, 5, 8]
    code = naive.encode([0, 1, 2] * 20, good)
    with pytest.raises(ValueError, match="frequencies must be ints"):
        naive.encode([0], lambda past: [0, 1])
    with pytest.raises(ValueError, match="frequencies must be ints"):
        naive.encode([0], lambda past: [1 << 24, 1])
    for cut in range(len(code)):
        with pytest.raises(ValueError, match="code must be"):
            naive.decode(code[:cut], 60, good)
    with pytest.raises(ValueError, match="code must be"):
        naive.decode(code + b"\0", 60, good)
    with pytest.raises(ValueError, match="code must be"):
        naive.decode(code, 40, good)
