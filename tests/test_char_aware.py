"""Words by their letters: by hand, beside conv1d and nn.LSTM, laws of legal text, refusals."""

import numpy as np
import pytest
import torch
from mutants import edited
from torch.nn import functional

from minilib.char_aware import CharAware, char_cnn, highway, highway_carry, pad_words
from minilib.language_model import next_symbol_loss
from minilib.naive import char_aware as naive
from minilib.word_tokenizer import WordTokenizer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def relu_and_tanh_swapped(rows, C, filters, biases, squash="tanh"):
    return naive.char_cnn(rows, C, filters, biases, "relu" if squash == "tanh" else "tanh")


def always_tanh(rows, C, filters, biases, squash="tanh"):
    return naive.char_cnn(rows, C, filters, biases)


WRONG = {
    naive.pad_words: [
        *edited(
            naive.pad_words,
            zeros_behind=("longest), -1)", "longest), 0)"),
            last_letter_lost=(
                "rows[n, k] = letter",
                "rows[n, k] = letter if k == 0 or k + 1 < len(word) else -1",
            ),
            to_the_right=("rows[n, k]", "rows[n, longest - len(word) + k]"),
        )
    ],
    naive.char_cnn: [
        relu_and_tanh_swapped,
        always_tanh,
        *edited(
            naive.char_cnn,
            no_mark_at_the_beginning=("word = [begin] + ", "word = "),
            no_mark_at_the_end=(" + [end]\n", "\n"),
            marks_swapped=("begin, end, d =", "end, begin, d ="),
            padding_is_seen=("* (w - len(word))", "* (w - 1)"),
            padding_takes_part=("(w - len(word))", "(len(row) + 2 - len(word) + w)"),
            mean_over_the_word=(
                'max(found) if squash == "tanh"',
                'np.mean(found) if squash == "tanh"',
            ),
            filters_turned_round=("columns[i + j]", "columns[i + w - 1 - j]"),
            last_window_forgotten=("len(columns) - w + 1)", "max(1, len(columns) - w))"),
            bias_forgotten=("a = b[k]", "a = 0 * b[k]"),
            no_relu=("max(max(found), 0.0)", "max(found)"),
        ),
    ],
    naive.highway: [
        *edited(
            naive.highway,
            gates_swapped=(
                "t * np.maximum(W_H @ y[n] + b_H, 0) + (1 - t)",
                "(1 - t) * np.maximum(W_H @ y[n] + b_H, 0) + t",
            ),
            no_relu=("np.maximum(W_H @ y[n] + b_H, 0) + (1 - t)", "(W_H @ y[n] + b_H) + (1 - t)"),
            nothing_is_carried=(" + (1 - t) * y[n]", ""),
            gate_without_a_bias=("sigmoid(W_T @ y[n] + b_T)", "sigmoid(W_T @ y[n])"),
        ),
        naive.highway_carry,
    ],
    naive.highway_carry: [naive.highway],
    naive.char_aware_lm: [
        *edited(
            naive.char_aware_lm,
            a_letter_is_always_a_word=("elif i < A and spelling:", "elif False:"),
            unknown_words_have_no_letters=("word, row = letters, A\n", "word, row = [], A\n"),
            unknown_words_are_the_last_letter=(
                "word, row = letters, A\n",
                "word, row = letters[-1:], A\n",
            ),
            last_letters_are_read=("[:longest]", "[-longest:]"),
            begin_does_not_forget=("spelling, letters = True, []", "spelling = True"),
            known_words_do_not_end_a_spelling=(
                "spelling, letters = False, []\n                x",
                "spelling = spelling and i != A + 1\n                x",
            ),
            row_of_the_word_before=("i - 1\n", "max(i - 2, 0)\n"),
            speller_does_not_see_words=(
                "np.concatenate([symbol, h])",
                "np.concatenate([symbol, 0 * h])",
            ),
            speller_starts_anew=(
                "spelling, letters = True, []",
                "spelling, letters, s, s_c = True, [], 0 * s, 0 * s_c",
            ),
            words_are_told_apart=("min(i, A + 2)", "i % (A + 3)"),
            everything_may_follow=("= BARRED", "= 0"),
            the_end_is_a_letter=(
                "logits[b, t, A + 1] = spelled[A]",
                "logits[b, t, A] = spelled[A]",
            ),
            state_runs_on=(
                '        h = c = np.zeros(params["W_h"].shape[1])\n',
                '        h = c = np.zeros(params["W_h"].shape[1]) if b == 0 else h\n',
            ),
            word_model_moves_at_each_id=(
                "spelling, letters = True, []",
                "spelling, letters = True, []\n                h = 0.5 * h",
            ),
        )
    ],
}


# -- the convolution and its highway ---------------------------------------------------------------


def test_a_filter_by_hand():
    """Letters a, b as the numbers 1, 2, both marks 0; the filter looks for 'ab': 1·x + 2·x'."""
    C = torch.tensor([[1.0], [2.0], [0.0], [0.0]])
    F, b = torch.tensor([[[1.0, 2.0]]]), torch.tensor([-4.5])
    rows = pad_words([[0, 1], [1, 0], [0]], 4)
    # ^a 2, ab 5, b$ 2 | ^b 4, ba 4, a$ 1 | ^a 2, a$ 1, each minus 4.5
    wanted = torch.tensor([[0.5], [-0.5], [-2.5]])
    torch.testing.assert_close(char_cnn(rows, C, [F], [b]), wanted.tanh())
    torch.testing.assert_close(char_cnn(rows, C, [F], [b], "relu"), wanted.relu())


@pytest.mark.parametrize("word", [[0], [2, 1], [0, 1, 2, 0, 1, 2, 2]])
def test_one_word_beside_conv1d(word):
    """Third opinion: the word alone, nothing padded but what the widest filter needs."""
    torch.manual_seed(0)
    C = torch.randn(5, 4, dtype=torch.float64)
    filters = [torch.randn(3, 4, w, dtype=torch.float64) for w in (1, 2, 5)]
    biases = [torch.randn(3, dtype=torch.float64) for _ in filters]
    columns = C[[3, *word, 4]].t()[None]
    wanted = []
    for F, b in zip(filters, biases, strict=True):
        wide = functional.pad(columns, (0, max(0, F.shape[2] - columns.shape[2])))
        wanted.append(functional.conv1d(wide, F, b).tanh().amax(2))
    got = char_cnn(pad_words([word], 12), C, filters, biases)
    torch.testing.assert_close(got, torch.cat(wanted, 1), rtol=1e-10, atol=1e-10)


def test_padding_never_wins():
    """All responses of the word are -0.99; a padded place would give tanh of the bias, more."""
    C, F = torch.full((3, 1), -10.0), torch.ones(1, 1, 1)
    y = char_cnn(pad_words([[0]], 9), C, [F], [torch.tensor([5.0])])
    torch.testing.assert_close(y, torch.tensor([[-5.0]]).tanh())


def test_the_order_of_maximum_and_relu_does_not_matter():
    torch.manual_seed(0)
    rows, C = pad_words([[0, 1, 1], [1]], 4), torch.randn(4, 3)
    F, b = torch.randn(6, 3, 2), torch.randn(6)
    after = char_cnn(rows, C, [F], [b], "relu")
    word = functional.conv1d(C[[2, 0, 1, 1, 3]].t()[None], F, b)
    torch.testing.assert_close(after[:1], word.relu().amax(2))


def test_the_two_gates_mirror_each_other():
    y, W_H, W_T = torch.randn(4, 3), torch.randn(3, 3), torch.randn(3, 3)
    b_H, b_T = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(
        highway(y, W_H, b_H, W_T, b_T), highway_carry(y, W_H, b_H, -W_T, -b_T)
    )
    for z in (
        highway(y, W_H, b_H, 0 * W_T, b_T - 100),
        highway_carry(y, W_H, b_H, 0 * W_T, b_T + 100),
    ):
        torch.testing.assert_close(z, y)  # shut: all is carried


# -- the model on legal text -----------------------------------------------------------------------

TEXT = b"The cat, the catamaran and the cat's unspeakable catalogue.\nThe mat; the rat the hat " * 4
TOKENIZER = WordTokenizer.train(TEXT, 4)
SMALL = {"width": 7, "vector": 5, "letter": 3, "filters": 2, "speller": 6}


def model_of(inputs="letters", **changes):
    torch.manual_seed(0)
    model = CharAware(TOKENIZER.words, inputs, **{**SMALL, **changes}).double()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model


def ids_of(text=TEXT):
    return torch.tensor([TOKENIZER.encode(text)])


@pytest.mark.parametrize("inputs", ["letters", "table"])
@torch.no_grad()
def test_legal_text_in_pieces_of_every_length(inputs):
    """Spellings are cut at every place."""
    model, ids = model_of(inputs), ids_of()
    whole = model(ids)
    assert (ids == 256).sum() > 10
    for size in (1, 2, 3, 5, 11):
        state, parts = model.init_state(1), []
        for part in ids.split(size, 1):
            logits, state = model.extend(part, state)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("inputs", ["letters", "table"])
@torch.no_grad()
def test_no_legal_change_moves_the_past(inputs):
    """To the bit, though a change moves words from one block of the CNN to another."""
    model, ids = model_of(inputs), ids_of()
    ids = torch.cat([ids, ids.roll(5, 1)])
    before = model(ids)
    for t in range(0, ids.shape[1], 7):
        for new in (0, 97, 256, 257, 258):
            changed = ids.clone()
            changed[:, t] = new
            assert torch.equal(model(changed)[:, :t], before[:, :t])


@torch.no_grad()
def test_letters_tell_unknown_words_apart_and_a_table_does_not():
    one, other = ids_of(b" zebra"), ids_of(b" yacht")
    for inputs, differ in (("letters", True), ("table", False)):
        model = model_of(inputs)
        a, b = (model.read(ids, model.init_state(1))[0][0, -1] for ids in (one, other))
        assert (not torch.equal(a, b)) == differ


@torch.no_grad()
def test_a_spelled_word_is_the_known_word_of_the_same_letters():
    model = model_of()
    word = TOKENIZER.words[0]
    spelled = torch.tensor([[256, *word, 257]])
    h = [model.read(ids, model.init_state(1))[0][0, -1] for ids in (ids_of(word), spelled)]
    torch.testing.assert_close(*h, rtol=1e-10, atol=1e-10)


def test_gradients_do_not_know_of_the_table_that_is_kept():
    """No gradients, a step, no gradients again: the table is of the new parameters."""
    model, ids = model_of(), ids_of()
    with torch.no_grad():
        model(ids)
    first = next_symbol_loss(model(ids), ids)
    first.backward()
    for p in model.parameters():
        p.data -= 0.1 * p.grad
    with torch.no_grad():
        kept = next_symbol_loss(model(ids), ids)
    fresh = next_symbol_loss(model(ids), ids)
    torch.testing.assert_close(kept, fresh.detach(), rtol=1e-10, atol=1e-10)
    assert fresh < first
    fresh.backward()


def test_the_loss_is_the_cross_entropy_of_the_logits():
    model, ids = model_of(), ids_of()
    torch.testing.assert_close(model.loss(ids), next_symbol_loss(model(ids), ids))
    want = torch.autograd.grad(next_symbol_loss(model(ids), ids), model.W_y)
    torch.testing.assert_close(torch.autograd.grad(model.loss(ids), model.W_y), want)


def test_a_row_that_begins_inside_a_spelling_counts_from_its_end_on():
    model = model_of()
    text = ids_of(b" the zebra, the cat")[0]
    cut = text[3:]  # inside ' zebra'
    end = int((cut == 257).nonzero()[0])
    logits = model(cut[None, :-1])[0]
    wanted = functional.cross_entropy(logits[end:], cut[end + 1 :])
    torch.testing.assert_close(model.loss(cut[None]), wanted)
    assert model.loss(torch.tensor([[97, 97, 257]])) == 0  # nothing counts


def test_every_parameter_has_a_gradient():
    for inputs in ("letters", "table"):
        model = model_of(inputs)
        model.loss(ids_of()).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_one_batch_can_be_learned():
    for inputs in ("letters", "table"):
        torch.manual_seed(0)
        model, ids = CharAware(TOKENIZER.words, inputs, width=32, speller=32), ids_of()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            loss = model.loss(ids)
            loss.backward()
            optimizer.step()
        assert loss < 0.5


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: pad_words([[]], 3), "1 to 3 letters, got one of 0"),
        (lambda: pad_words([[0], [1] * 4], 3), "1 to 3 letters, got one of 4"),
        (lambda: CharAware([b""]), "1 to 20 letters, got one of 0"),
        (lambda: CharAware(["unspeakably" * 2]), "1 to 20 letters, got one of 22"),
        (lambda: CharAware([[0, 5]], alphabet=5), r"letters of words must lie in \[0, 5\)"),
        (lambda: CharAware([[-1]], alphabet=5), r"letters of words must lie in \[0, 5\)"),
        (lambda: CharAware(inputs="both"), "inputs must be 'letters' or 'table', got 'both'"),
        (lambda: CharAware(widths=()), "widths must not be empty"),
        (lambda: CharAware(widths=(1, 2.0)), r"widths\[1\] must be a whole number, got 2.0"),
        (lambda: CharAware(width=0), "must be 1 or more"),
        (lambda: CharAware().loss(torch.tensor([[256, 97, 256]])), "word in a spelling"),
        (
            lambda: char_cnn(pad_words([[0]], 1), torch.ones(3, 1), [], [], "sigmoid"),
            "squash must be 'tanh' or 'relu', got 'sigmoid'",
        ),
        (lambda: char_cnn(torch.zeros(2, 2), torch.ones(3, 1), [], []), "rows must be int64"),
        (
            lambda: char_cnn(
                pad_words([[0]], 1), torch.ones(3, 1), [torch.ones(1, 2, 1)], [torch.ones(1)]
            ),
            "filters and biases must be",
        ),
        (
            lambda: highway(torch.ones(2, 3), *[torch.ones(2, 2), torch.ones(2)] * 2),
            r"y must be \(N, F\) and the layer \(F, F\)",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_naive_refuses_the_same_words():
    for words in ([[]], [[1] * 4]):
        with pytest.raises(ValueError, match="words must have 1 to 3 letters"):
            naive.pad_words(words, 3)
    assert np.array_equal(naive.pad_words([[2]], 2), [[2, -1]])
