"""The range coder: by hand, against fractions, sizes against the entropy, round trips, refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import edited

from minilib.naive import compression
from minilib.naive import range_coder as naive
from minilib.range_coder import ModelCoder, Reader, Writer, cuts_of, decode, encode
from minilib.transformer import Transformer

UNCHECKED = (  # a learner's own decoder would not notice
    "    if len(data) != length:",
    "    if False:",
    "        if symbol == len(row) - 1:",
    "        symbol = min(symbol, len(row) - 2)\n        if False:",
)
WRONG = {
    naive.cuts_of: edited(
        naive.cuts_of,
        no_floor=("math.floor(p[row][k] / grid) * grid", "p[row][k]"),
        no_least=("* rounded) + least", "* rounded)"),
        all_shared_out=("(total - least * K) * rounded", "total * rounded"),
        rounded_to_nearest=(
            "math.floor((total - least * K) * rounded)",
            "round((total - least * K) * rounded)",
        ),
        sums_to_the_total=(
            "    return out\n\n\ndef encode",
            "    out[..., -1] = total\n    return out\n\n\ndef encode",
        ),
    ),
    naive.encode: edited(
        naive.encode,
        all_of_low=(
            "written += _last(low)",
            "written += [low >> k & 1 for k in range(open_ - 1, -1, -1)]",
        ),
        low_alone=("    written += _last(low)\n", ""),
        filled_in_front=(
            "written += [0] * (-len(written) % 8)",
            "written = [0] * (-len(written) % 8) + written",
        ),
        lowest_bit_first=(
            '"".join(map(str, written[i : i + 8]))',
            '"".join(map(str, written[i : i + 8][::-1]))',
        ),
    ),
    naive.decode: edited(
        naive.decode,
        lowest_bit_first=("range(7, -1, -1)]", "range(8)]", *UNCHECKED),
        last_symbol_first=("np.array(symbols, np.int64)", "np.array(symbols[::-1], np.int64)"),
    ),
}


# -- by hand ---------------------------------------------------------------------------------------


def test_four_symbols_by_hand():
    """Parts 1/2, 1/4, 1/4 of 2^4: codes 0, 10 and 11, as in a prefix code."""
    cuts = torch.tensor([[0, 8, 12, 16]] * 4)
    assert encode(torch.tensor([0, 1, 2, 0]), cuts, 4) == bytes([0b01011000])
    assert encode(torch.tensor([2, 2, 2, 2]), cuts, 4) == bytes([0b11111111])
    assert encode(torch.tensor([2, 1, 0, 0]), cuts, 4) == bytes([0b11100000])
    assert naive.encode([0, 1, 2, 0], cuts.numpy(), 4) == bytes([0b01011000])
    assert encode(torch.tensor([], dtype=torch.int64), cuts[:0], 4) == b""


def test_cuts_by_hand():
    # 2 each and 10 to share, of which 1/2, 3/10, 1/5 get 5, 3 and 2
    p = torch.tensor([[0.5, 0.3, 0.2]]).double()
    assert cuts_of(p, 4, 2, 1e-3).tolist() == [[0, 7, 12, 16]]
    # rounded down to quarters: 1/2, 1/4, 0
    assert cuts_of(p, 4, 2, 0.25).tolist() == [[0, 7, 11, 13]]


def test_where_all_probabilities_are_powers_of_two_it_is_a_prefix_code():
    """Nothing is rounded: the bits are the codes 0, 10, 110, 111 of the symbols, one by one."""
    symbols = np.random.default_rng(0).integers(4, size=200)
    cuts = torch.tensor([[0, 2**23, 2**23 + 2**22, 2**24 - 2**21, 2**24]] * 200)
    text = "".join(["0", "10", "110", "111"][k] for k in symbols)
    text = text.rstrip("0")  # zeros at the end need not be written
    text += "0" * (-len(text) % 8)
    wanted = int(text, 2).to_bytes(len(text) // 8, "big")
    assert encode(torch.tensor(symbols), cuts) == wanted


# -- sizes -----------------------------------------------------------------------------------------


def some(seed, N=500, K=64, sharp=0.3):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([sharp] * K, size=N)
    symbols = np.array([rng.choice(K, p=row) for row in p])
    return torch.tensor(symbols), torch.tensor(p)


@pytest.mark.parametrize("sharp", [0.02, 0.3, 100.0])
def test_the_length_is_the_cross_entropy_of_the_cuts(sharp):
    """Within a byte, and a hundredth of a bit for each symbol that roundings cost.

    Shorter by k bits once in 2^k times: zeros at the end need not be written.
    """
    for seed in range(3):
        symbols, p = some(seed, sharp=sharp)
        cuts = cuts_of(p)
        width = cuts.diff(dim=1).gather(1, symbols[:, None]).double()
        bits = float((24 - width.log2()).sum())
        data = encode(symbols, cuts)
        assert bits - 20 <= 8 * len(data) <= bits + 9 + 0.01 * 500
        entropy = float(-p.gather(1, symbols[:, None]).log2().sum())
        assert 8 * len(data) < 1.01 * entropy + 64
        assert torch.equal(decode(data, cuts), symbols)


def test_the_other_coder_of_the_course_needs_as_many_bytes():
    symbols, p = some(0)
    cuts = cuts_of(p)
    rows = cuts.diff(dim=1).tolist()
    other = compression.encode(symbols.tolist(), lambda past: rows[len(past)])
    assert abs(len(other) - len(encode(symbols, cuts))) <= 2


# -- round trips -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 2**32), st.integers(6, 24))
def test_any_symbols_come_back_and_both_rooms_write_the_same_bytes(symbols, seed, bits):
    rng = np.random.default_rng(seed)
    cuts = naive.cuts_of(rng.dirichlet([rng.choice([0.01, 1.0])] * 10, size=len(symbols)), bits)
    data = naive.encode(symbols, cuts, bits)
    assert encode(torch.tensor(symbols, dtype=torch.int64), torch.tensor(cuts), bits) == data
    assert decode(data, torch.tensor(cuts), bits).tolist() == symbols
    assert naive.decode(data, cuts, bits).tolist() == symbols


def test_symbol_by_symbol_and_a_writer_that_goes_on():
    symbols, p = some(1, N=200)
    rows, writer = cuts_of(p).tolist(), Writer()
    for n, (symbol, row) in enumerate(zip(symbols.tolist(), rows, strict=True)):
        writer.push(symbol, row)
        if n == 99:
            assert writer.finish() == encode(symbols[:100], cuts_of(p[:100]))
    data = writer.finish()
    assert data == encode(symbols, cuts_of(p))
    reader = Reader(data)
    assert [reader.pull(row) for row in rows] == symbols.tolist()
    reader.check_end()


def test_an_interval_around_the_middle_may_stay_open_for_long():
    """[1/3, 2/3) again and again never agrees on a bit, and is exact all the same."""
    cuts = torch.tensor([[0, 5, 11, 16]] * 2000)
    symbols = torch.ones(2000, dtype=torch.int64)
    data = encode(symbols, cuts, 4)
    assert torch.equal(decode(data, cuts, 4), symbols)
    assert 8 * len(data) < 1.12 * 2000 * math.log2(16 / 6) + 16


def test_probabilities_that_differ_in_the_last_digit_give_the_same_cuts():
    _, p = some(2, N=50)
    nudged = p * (1 + 1e-15)
    assert (cuts_of(p) != cuts_of(nudged)).sum() == 0
    assert (cuts_of(p, grid=1e-30) != cuts_of(p * (1 + 1e-6), grid=1e-30)).any()


# -- a model in front ------------------------------------------------------------------------------


def test_a_language_model_in_front_gives_every_symbol_back_and_the_length_that_it_says():
    torch.manual_seed(0)
    model = Transformer(9, 16, 1, 2, 8).eval()
    coder = ModelCoder(model, start=8, ranges=[(0, 5), (5, 8)])
    ids = torch.tensor([k + 5 * (t % 2) for t, k in enumerate([0, 1, 4, 2, 3, 0, 1, 1, 2, 0, 3])])
    data = coder.pack(ids)
    assert torch.equal(coder.unpack(data), ids)
    logits = model(torch.cat([torch.tensor([8]), ids[:-1]])[None])[0].double()
    nats = 0.0
    for t, symbol in enumerate(ids):
        first, after = [(0, 5), (5, 8)][t % 2]
        nats -= logits[t, first:after].log_softmax(0)[symbol - first].item()
    assert abs(8 * (len(data) - 8) - nats / math.log(2)) < 12
    assert torch.equal(coder.unpack(coder.pack(ids[:0])), ids[:0])
    for bad, words in [
        (data[:5], "data must begin with 8 bytes"),
        (data[:-1], "data"),
        (data[:8] + bytes([data[8] ^ 16]) + data[9:], "data"),
    ]:
        with pytest.raises(ValueError, match=words):
            coder.unpack(bad)
    with pytest.raises(ValueError, match=r"ids must lie in \[5, 8\) at step 1, got 1"):
        coder.pack(torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="ids must be an int64 tensor"):
        coder.pack(torch.ones(3))
    for start, ranges in [(9, [(0, 5)]), (8, []), (8, [(0, 10)]), (8, [(5, 5)])]:
        with pytest.raises(ValueError, match="start and ranges must lie in"):
            ModelCoder(model, start, ranges)


def test_a_damaged_count_is_refused_at_once():
    """It asked the model for as many symbols as the count said: two billion, from eleven."""
    torch.manual_seed(0)
    model, asked = Transformer(9, 16, 1, 2, 8).eval(), []
    step = model.step
    model.step = lambda *state: asked.append(1) or step(*state)
    coder = ModelCoder(model, start=8, ranges=[(0, 5), (5, 8)])
    data = coder.pack(torch.tensor([k + 5 * (t % 2) for t, k in enumerate([0, 1, 4, 2, 3, 0, 1])]))
    asked.clear()
    with pytest.raises(ValueError, match="data must hold as many symbols"):
        coder.unpack(b"\x80" + data[1:])
    assert len(asked) < 1000


# -- refused ---------------------------------------------------------------------------------------

CUTS = torch.tensor([[0, 2**22, 2**24]] * 40)
DATA = encode(torch.arange(40) % 2, CUTS)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: decode(DATA + b"\0", CUTS), f"data must be the {len(DATA)} bytes"),
        (lambda: decode(DATA, CUTS[:8]), "data must be the"),
        (lambda: decode(b"\xff" * 9, CUTS // 2), "bits of no symbol"),
        (lambda: decode(b"", CUTS.flip(1)), r"cuts must rise from 0 to at most 2\^24"),
        (lambda: decode(b"", CUTS * 2), r"cuts must rise from 0 to at most 2\^24"),
        (lambda: decode(b"", CUTS.double()), "cuts must be int64"),
        (lambda: encode(torch.tensor([2]), CUTS[:1]), r"symbol must lie in \[0, 2\), got 2"),
        (lambda: encode(torch.tensor([-1]), CUTS[:1]), r"symbol must lie in \[0, 2\), got -1"),
        (lambda: encode(torch.tensor([1]), CUTS), r"symbols must have shape \(40\)"),
        (lambda: cuts_of(torch.tensor([[0.5, 0.4]])), "p must have rows"),
        (lambda: cuts_of(torch.tensor([[1.5, -0.5]])), "p must have rows"),
        (lambda: cuts_of(torch.tensor([[math.nan, 1.0]])), "p must have rows"),
        (lambda: cuts_of(torch.zeros(0, 2)), "p must have rows"),
        (lambda: cuts_of(torch.ones(1, 9) / 9, bits=4), "hold least · K numbers"),
        (lambda: naive.decode(DATA + b"\0", CUTS.numpy()), "data must be the"),
        (lambda: naive.decode(b"\xff" * 9, CUTS.numpy() // 2), "bits of no symbol"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
