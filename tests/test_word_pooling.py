"""Pooling at word ends: by hand, append-stable, without a leak; refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutants import edited

from minilib.naive import word_pooling as naive
from minilib.word_pooling import expand, select, word_ends

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def on_the_last_letter(ids):  # it takes the next byte to know
    return np.roll(naive.word_ends(ids), -1, axis=1)


def rows_run_together(ids):
    return naive.word_ends(ids.reshape(1, -1)).reshape(ids.shape)


def in_place_and_not_in_order(x, ends):
    return np.where(ends[..., None], x, 0)[:, : max(1, ends.sum(1).max())]


def cut_to_the_shortest_row(x, ends):
    return naive.select(x, ends)[:, : ends.sum(1).min()]


def of_the_first_row_for_all(x, ends):
    return naive.select(x, np.broadcast_to(ends[:1], ends.shape))


def steps_before_the_end(x, ends):
    return naive.select(np.roll(x, 1, axis=1), ends)


def means_of_units(x, ends):  # what sec. 2.2 does not do
    B, T = ends.shape
    unit = np.cumsum(ends, 1) - ends
    weight = unit[:, None] == np.arange(ends.sum(1).max())[:, None]
    weight = weight * (np.arange(weight.shape[1])[:, None] < ends.sum(1)[:, None, None])
    return weight @ x / np.maximum(weight.sum(2, keepdims=True), 1)


WRONG = {
    naive.word_ends: [
        *edited(
            naive.word_ends,
            every_byte_between_words=("word_byte(ids[b, t - 1]) and not", "not"),
            beginnings_of_words=(
                "word_byte(ids[b, t - 1]) and not",
                "not word_byte(ids[b, t - 1]) and",
            ),
            apostrophe_left_out=(" or b == 39", ""),
            digits_left_out=("48 <= b <= 57 or ", ""),
            capitals_left_out=("65 <= b <= 90 or ", ""),
            characters_beyond_ASCII_left_out=(" or b >= 128", ""),
            underscore_is_a_letter=("b == 39", "b in (39, 95)"),
            blanks_alone_end_a_word=("and not word_byte(ids[b, t])", "and ids[b, t] in (10, 32)"),
        ),
        on_the_last_letter,
        rows_run_together,
    ],
    naive.select: [
        in_place_and_not_in_order,
        cut_to_the_shortest_row,
        of_the_first_row_for_all,
        steps_before_the_end,
        means_of_units,
    ],
    naive.expand: edited(
        naive.expand,
        one_step_late=("= unit + 1, t\n", "= unit + 1, t\n                continue\n"),
        next_unit=("@ y[b, unit]", "@ y[b, min(unit + 1, y.shape[1] - 1)]"),
        first_unit_before_the_first_end=("if unit >= 0", "if True"),
        stays_at_the_last_matrix=("(t - end) % len(own)", "min(t - end, len(own) - 1)"),
        counted_from_the_start=("(t - end) % len(own)", "t % len(own)"),
        counted_from_one=("(t - end) % len(own)", "(t - end + 1) % len(own)"),
        no_shared_matrix=("(shared + own[", "(own["),
        no_own_matrix=("(shared + own[(t - end) % len(own)])", "shared"),
        matrices_transposed=("len(own)]) @", "len(own)]).T @"),
    ),
}

# -- the rest --------------------------------------------------------------------------------------


def marked(text):
    ids = torch.tensor([list(text.encode())])
    return "".join(
        letter + "|" * end for letter, end in zip(text, word_ends(ids)[0].tolist(), strict=True)
    )


def test_word_ends_by_hand():
    assert marked("To be, or not") == "To |be,| or |not"
    assert marked("don't  stop\n\nnow ") == "don't | stop\n|\nnow |"


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=10))
def test_more_text_moves_no_end(text, more):
    ends = lambda data: word_ends(torch.tensor([list(data)]))[0].tolist()
    assert ends(text + more)[: len(text)] == ends(text)


@given(st.text(min_size=1, max_size=30))
def test_no_character_is_split(text):
    data = text.encode()
    for t, end in enumerate(word_ends(torch.tensor([list(data)]))[0].tolist()):
        if end:
            data[: t + 1].decode()


def test_select_then_expand_by_hand():
    ends = torch.tensor([[False, True, False, False, True], [False, False, False, True, False]])
    x = torch.arange(10.0).view(2, 5, 1)
    y = select(x, ends)
    assert y[..., 0].tolist() == [[1, 4], [8, 0]]
    # shared 1, own 0 at the end and 10 one step later, which comes round again after two
    out = expand(y, ends, torch.ones(1, 1), torch.tensor([0.0, 10.0]).view(2, 1, 1))
    assert out[..., 0].tolist() == [[0, 1, 11, 1, 4], [0, 0, 0, 8, 88]]


def test_words_pool_without_a_leak():
    """The ends are recomputed from the changed text: no unit may move what came before."""
    text = torch.tensor([list(b"To be, or not to be: that is")])
    table = torch.randn(256, 4).double()
    shared, own = torch.randn(4, 4).double(), torch.randn(3, 4, 4).double()

    def f(ids):
        ends = word_ends(ids)
        return expand(select(table[ids].cumsum(1), ends), ends, shared, own)

    before = f(text)
    for t in range(text.shape[1]):
        for byte in (32, 97, 200):
            changed = text.clone()
            changed[:, t] = byte
            torch.testing.assert_close(f(changed)[:, :t], before[:, :t], rtol=1e-12, atol=1e-12)


def test_bad_arguments_are_named():
    x, W = torch.zeros(2, 8, 4), torch.zeros(4, 4)
    with pytest.raises(ValueError, match="ends must have shape"):
        select(x, torch.zeros(2, 7, dtype=torch.bool))
    with pytest.raises(TypeError, match="ends must be a bool tensor"):
        select(x, torch.zeros(2, 8))
    with pytest.raises(ValueError, match="y must have a unit for each end, got 2 for 8"):
        expand(torch.zeros(2, 2, 4), torch.ones(2, 8, dtype=torch.bool), W, W[None])
    with pytest.raises(ValueError, match="ids must lie in"):
        word_ends(torch.tensor([[256]]))
