"""Numbers as tokens: by hand, beside school arithmetic and brute force, a model asked, refusals."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutants import edited

from minilib import lab
from minilib.arithmetic_tokens import (
    COMMA,
    END,
    EQUALS,
    PLUS,
    answer_loss,
    answers,
    carries,
    chunk_left,
    chunk_right,
    crossing_digits,
    error_positions,
    operands,
    sum_ids,
    vocabulary,
    wilson,
)
from minilib.lab import data
from minilib.naive import arithmetic_tokens as naive
from minilib.transformer import Transformer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.chunk_left: edited(
        naive.chunk_left,
        rest_lost=("range(0, len(digits), k)", "range(0, len(digits) - k + 1, k)"),
        overlapping=("range(0, len(digits), k)", "range(0, len(digits))"),
        from_the_right=(
            "digits[i : i + k] for i in",
            "digits[max(0, len(digits) - i - k) : len(digits) - i] for i in",
        ),
    ),
    naive.chunk_right: edited(
        naive.chunk_right,
        pieces_in_reverse_order=("pieces.insert(0, digits[-k:])", "pieces.append(digits[-k:])"),
        zeros_dropped=(
            "pieces.insert(0, digits[-k:])",
            "pieces.insert(0, str(int(digits[-k:])))",
        ),
        short_piece_last=(
            "pieces.insert(0, digits[-k:])\n        digits = digits[:-k]",
            "pieces.append(digits[:k])\n        digits = digits[k:]",
        ),
    ),
    naive.crossing_digits: edited(
        naive.crossing_digits,
        first_operand_alone=("for operand in (a, b):", "for operand in (a,):"),
        counted_from_the_right=("crossing.add(length - place)", "crossing.add(place + 1)"),
        counted_from_0=("crossing.add(length - place)", "crossing.add(length - place - 1)"),
        any_other_token=("holder[place] != holder[last]", "holder[place] != 0"),
        all_of_the_token=("crossing.add(length - place)", "crossing.update({length - place, 1})"),
    ),
    naive.carries: edited(
        naive.carries,
        carry_from_before_lost=(" + carry\n", "\n"),
        never_reset=("carry = 0\n        for", "carry = sent[i - 1, -1]\n        for"),
        ten_is_no_carry=("carry = column // 10", "carry = int(column > 10)"),
        first_column_first=("sent[i, j] = carry", "sent[i, places - 1 - j] = carry"),
    ),
    naive.sum_ids: edited(
        naive.sum_ids,
        zeros_dropped=("_token_id(piece)", "_token_id(str(int(piece)))"),
        right_alone=('if cut == "left" else', 'if cut == "top" else'),
        operands_reversed=("written[2].reverse()", "written[0].reverse()"),
        comma_at_the_start=("if tokens and commas:", "if commas:"),
        no_end=("[*written[2], END]", "written[2]"),
        prompt_learned=(
            "learned[i, len(prompt) : len(prompt) + len(answer)]",
            "learned[i, : len(prompt) + len(answer)]",
        ),
        filling_learned=(
            "learned[i, len(prompt) : len(prompt) + len(answer)]",
            "learned[i, len(prompt) :]",
        ),
        filled_with_plus=("np.full((len(rows), T), END)", "np.full((len(rows), T), PLUS)"),
    ),
    naive.error_positions: edited(
        naive.error_positions,
        from_0=("wrong.append(i + 1)", "wrong.append(i)"),
        common_length_alone=("max(len(predicted), len(true))", "min(len(predicted), len(true))"),
        length_of_the_true=("range(max(len(predicted), len(true)))", "range(len(true))"),
        from_the_right=(
            "predicted[i : i + 1] != true[i : i + 1]",
            "predicted[::-1][i : i + 1] != true[::-1][i : i + 1]",
        ),
    ),
    naive.wilson: edited(
        naive.wilson,
        around_the_share=(
            "return middle - half, middle + half",
            "return share - half, share + half",
        ),
        one_sided=("return middle - half, middle + half", "return middle - half, 1.0"),
        normal_approximation=(
            "share * (1 - share) / n + z * z / (4 * n * n)",
            "share * (1 - share) / n",
        ),
    ),
}

# -- pieces ----------------------------------------------------------------------------------------

numbers = st.text("0123456789", min_size=1, max_size=20)


def test_pieces_by_hand():
    assert chunk_left("12345", 2) == ["12", "34", "5"]
    assert chunk_right("12345", 2) == ["1", "23", "45"]
    assert chunk_left("1000", 3) == ["100", "0"] and chunk_right("1000", 3) == ["1", "000"]


@given(numbers, st.integers(1, 6))
def test_pieces_join_to_the_number_and_one_cut_mirrors_the_other(digits, k):
    assert "".join(chunk_left(digits, k)) == "".join(chunk_right(digits, k)) == digits
    assert chunk_right(digits, k) == [p[::-1] for p in chunk_left(digits[::-1], k)][::-1]


@given(st.integers(0, 10**12), st.integers(1, 4))
def test_separators_turn_a_greedy_tokenizer_around(number, k):
    """With commas every k digits from the right, cutting from the left gives the right pieces."""
    digits = str(number)
    spaced = ",".join(chunk_right(digits, k))
    assert re.findall(rf"\d{{1,{k}}}", spaced) == chunk_right(digits, k)
    if k == 3:
        assert spaced == f"{number:,}"


def test_only_pieces_from_the_right_mean_powers():
    for digits in ("7", "1234", "98765"):
        pieces = chunk_right(digits, 2)
        assert sum(int(p) * 100**i for i, p in enumerate(reversed(pieces))) == int(digits)


# -- digits that cross -----------------------------------------------------------------------------


def test_digit_4_of_seven_digits_and_seven_digits():
    """Singh and Strouse's models fail there: the answer has eight digits, cut 3, 3, 2."""
    operand, answer = chunk_left("1234567", 3), chunk_left("12345678", 3)
    assert crossing_digits(operand, operand, answer) == [4, 7]
    operand, answer = chunk_right("1234567", 3), chunk_right("12345678", 3)
    assert crossing_digits(operand, operand, answer) == []


@given(numbers, numbers, st.integers(1, 4), st.booleans())
def test_pieces_from_the_right_never_cross_nor_do_single_digits(a, b, k, longer):
    c = "1" * (max(len(a), len(b)) + longer)
    assert crossing_digits(*(chunk_right(x, k) for x in (a, b, c))) == []
    assert crossing_digits(*(chunk_left(x, 1) for x in (a, b, c))) == []


@given(st.integers(1, 9), st.integers(1, 4))
def test_equal_lengths_do_not_cross_from_the_left(n, k):
    same = chunk_left("1" * n, k)
    assert crossing_digits(same, same, same) == []
    if k > 1:  # an answer of one digit more: the operand's first token ends inside its second one
        longer = chunk_left("1" * (n + 1), k)
        assert bool(crossing_digits(same, same, longer)) == (n > k)


# -- carries ---------------------------------------------------------------------------------------


def test_carries_are_what_turns_digit_sums_into_the_sum():
    a, b = (
        torch.randint(10**8, (500,), generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    sent = carries(a, b, 9).long()
    power = 10 ** torch.arange(9)
    columns = a[:, None] // power % 10 + b[:, None] // power % 10
    came = torch.cat([torch.zeros(500, 1, dtype=torch.long), sent[:, :-1]], 1)
    assert torch.equal(((columns + came - 10 * sent) * power).sum(1), a + b)
    assert sent.float().mean() > 0.3


def test_how_often_the_answer_is_longer():
    """Of all pairs of three-digit numbers 0.6044 carry out of the third column."""
    x = torch.arange(100, 1000)
    a, b = x.repeat_interleave(900), x.repeat(900)
    share = carries(a, b, 3)[:, 2].double().mean().item()
    assert share == pytest.approx(0.6044, abs=1e-4)
    assert share == ((a + b) >= 1000).double().mean().item()


# -- sums as ids -----------------------------------------------------------------------------------


def text_of(ids, k):
    names = vocabulary(k)
    return "".join(names[i] for i in ids.tolist())


def test_a_sum_by_hand():
    a, b = torch.tensor([95]), torch.tensor([1907])
    ids, learned = sum_ids(a, b, 2, "right")
    names = vocabulary(2)
    assert [names[i] for i in ids[0]] == ["95", "+", "19", "07", "=", "20", "02", "\n"]
    assert learned[0].tolist() == [False] * 5 + [True] * 3
    reverse = sum_ids(a, b, 2, "right", reverse=True)[0][0]
    assert [names[i] for i in reverse][-3:] == ["02", "20", "\n"]
    spaced = sum_ids(torch.tensor([12345]), b, 2, "right", commas=True)[0]
    assert text_of(spaced[0], 2) == "1,23,45+19,07=1,42,52\n"
    assert (PLUS, EQUALS, COMMA, END) == (0, 1, 2, 3) and names[:4] == ["+", "=", ",", "\n"]


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("cut", ["left", "right"])
@pytest.mark.parametrize("commas", [False, True])
def test_ids_read_as_text_are_the_sums(k, cut, commas):
    a, b = operands(200, (1, 2, 3, 4, 5), seed=3)
    ids, learned = sum_ids(a, b, k, cut, commas=commas)
    assert ids.max() < len(vocabulary(k)) == 4 + sum(10**j for j in range(1, k + 1))
    for row, mask, x, y in zip(ids, learned, a.tolist(), b.tolist(), strict=True):
        text = text_of(row, k)
        assert text.replace(",", "").rstrip("\n") == f"{x}+{y}={x + y}"
        assert text_of(row[mask], k).replace(",", "") == f"{x + y}\n"


# -- counting what is right ------------------------------------------------------------------------


def test_error_positions_by_hand():
    assert error_positions("1294", "1234") == [3]
    assert error_positions("123", "1234") == [4] and error_positions("12345", "1234") == [5]
    assert error_positions("", "12") == [1, 2] and error_positions("12", "12") == []


@pytest.mark.parametrize("right,n", [(0, 20), (1, 20), (10, 20), (370, 3000), (3000, 3000)])
def test_the_ends_of_wilsons_interval_lie_z_deviations_away(right, n):
    for z in (1.0, 1.96):
        for p in wilson(right, n, z):
            if 1e-9 < p < 1 - 1e-9:
                assert abs(right / n - p) == pytest.approx(z * math.sqrt(p * (1 - p) / n))
    low, high = wilson(right, n)
    assert -1e-12 <= low <= right / n <= high + 1e-12 and high <= 1 + 1e-12


def test_wilsons_interval_covers():
    """Of all outcomes at p = 0.1 and n = 100, 95 in 100 give an interval that holds p."""
    covered = 0
    for right in range(101):
        low, high = wilson(right, 100)
        chance = math.comb(100, right) * 0.1**right * 0.9 ** (100 - right)
        covered += chance * (low <= 0.1 <= high)
    assert 0.92 < covered < 0.97


# -- operands and answers --------------------------------------------------------------------------


def test_held_out_pairs_never_train():
    a, b = operands(20_000, (3, 4), seed=0)
    x, y = operands(500, (3, 4), seed=0, held_out=True)
    assert len(a) == 20_000 and len(x) == 500
    of = lambda a, b: set(zip(a.tolist(), b.tolist(), strict=True))
    assert not of(a, b) & of(x, y)
    lengths = [len(str(n)) for n in a.tolist()]
    assert set(lengths) == {3, 4} and abs(lengths.count(3) / 20_000 - 0.5) < 0.02
    assert torch.equal(operands(20_000, (3, 4), seed=0)[0], a)
    assert not torch.equal(operands(20_000, (3, 4), seed=1)[0], a)


def test_answers_are_those_of_a_pass_without_cache():
    torch.manual_seed(0)
    model = Transformer(114, 16, 2, 2, 32)
    model.output.data *= 20
    ids, learned = sum_ids(*operands(40, (1, 2, 3, 4), seed=5), 2, "left")
    written = answers(model, ids, learned)
    for row, mask, got in zip(ids, learned, written, strict=True):
        text = row[: int(mask.int().argmax())].tolist()
        for wanted in got.tolist():
            token = model(torch.tensor([text]))[0, -1].argmax().item()
            assert token == wanted
            text.append(token)
            if token == END:
                break
    after = (written == END).int().cummax(1).values.bool()
    assert (written[after] == END).all()


def test_the_loss_is_that_of_the_answers_alone():
    torch.manual_seed(0)
    model = Transformer(114, 16, 1, 2, 32)
    ids, learned = sum_ids(*operands(10, (1, 3), seed=5), 2)
    p = model(ids).softmax(-1)
    terms = [
        -p[i, t - 1, ids[i, t]].log()
        for i in range(10)
        for t in range(ids.shape[1])
        if learned[i, t]
    ]
    assert answer_loss(model, (ids, learned)).item() == pytest.approx(
        torch.stack(terms).mean().item(), rel=1e-5
    )


@pytest.mark.parametrize("cut", ["left", "right"])
def test_shipped_models_answer_as_their_record_says(cut):
    """1,000 held-out sums of three and four digits; half precision may change a few answers."""
    model, record = lab.load(
        Transformer, data.HOME / "weights" / f"arithmetic_tokens_{cut}.safetensors"
    )
    a, b = operands(1000, (3, 4), seed=1007, held_out=True)
    assert ((7 * a + 11 * b) % 61 == 0).all()
    written = answers(model, *sum_ids(a, b, 2, cut))
    right = [text_of(row, 2).rstrip("\n") for row in written]
    right = sum(text == str(s) for text, s in zip(right, (a + b).tolist(), strict=True))
    assert abs(right - record["right_of_1000"]) <= 10
    (run,) = [
        r for r in data.runs("arithmetic_tokens")["runs"] if (r["way"], r["seed"]) == (cut, 0)
    ]
    assert run["all"] == [record["right_of_1000"], 1000]


# -- refused ---------------------------------------------------------------------------------------

one = torch.tensor([1])


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: chunk_left("", 3), "digits must be a string of the digits 0 to 9, got ''"),
        (lambda: chunk_right("1a", 3), "digits must be a string of the digits 0 to 9, got '1a'"),
        (lambda: chunk_right("²", 3), "digits must be a string of the digits 0 to 9"),
        (lambda: chunk_left(123, 3), "digits must be a string of the digits 0 to 9, got 123"),
        (lambda: chunk_left("123", 0), "k must be at least 1, got 0"),
        (lambda: crossing_digits(["1", ""], ["1"], ["2"]), "digits must be"),
        (lambda: carries(one, one, 0), "places must lie in 1 to 18, got 0"),
        (lambda: carries(one, -one, 3), r"b must lie in \[0, 10\^17\), got -1 to -1"),
        (lambda: carries(one, torch.tensor([1.5]), 3), "b is .1,. torch.float32"),
        (lambda: sum_ids(one, torch.tensor([1, 2]), 2), r"integers of one shape \(n,\), n >= 1; b"),
        (lambda: sum_ids(one, one, 0), "k must lie in 1 to 9, got 0"),
        (lambda: sum_ids(one, one, 2, "middle"), "cut must be 'left' or 'right', got 'middle'"),
        (lambda: wilson(5, 4), r"right must lie in \[0, n\], n >= 1 and z > 0, got 5, 4, 1.96"),
        (lambda: wilson(0, 0), "n >= 1"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
