"""Lookahead: greedy to the byte for every model, exact when it samples, the fixed point."""

import itertools

import numpy as np
import pytest
import torch
from mutants import edited
from test_models import build, every_model
from test_speculative import (
    HOWS,
    PROMPT,
    TARGET,
    Script,
    Table,
    chi_square,
    greedy,
    how_of,
    p_itself,
    table,
    text_probability,
)

from minilib import acceptance
from minilib import lookahead as module
from minilib.acceptance import expected_symbols, verify_tree
from minilib.compression import KneserNey
from minilib.language_model import tree_paths
from minilib.lookahead import compression, jacobi, lookahead, slide
from minilib.naive import lookahead as naive
from minilib.transformer import Transformer

# -- answers that are wrong ------------------------------------------------------------------------

WRONG = {
    naive.slide: edited(
        naive.slide,
        key_of_the_column_before=("window[0].copy()", "np.roll(window[0], 1)"),
        key_from_the_second_row=("window[0].copy()", "after[0].copy()"),
        gram_with_its_key=("grams[i] = column[1:]", "grams[i] = column[:-1]"),
        rows_stay=("after[:, i] = column[1:]", "after[:, i] = column[:-1]"),
        root_forgotten=("    after[0, 0] = root", "    pass"),
        window_moves_sideways=("    after[0, 0] = root", "    after = np.roll(after, 1, 1)"),
    ),
    naive.compression: edited(
        naive.compression,
        one_symbol_short=("gamma + 1.0", "gamma + 0.0"),
        guesses_as_a_chain=("(1 - alpha**i) ** b", "(1 - alpha ** (i * b))"),
        one_guess=("(1 - alpha**i) ** b", "(1 - alpha**i)"),
        gain_in_every_step=("return (f - 1 + E) / f", "return E"),
        last_length_forgotten=("range(1, gamma + 1)", "range(1, gamma)"),
    ),
}

# -- by hand ---------------------------------------------------------------------------------------


def counting(text):
    """Scores of the next symbol: the one after the last, of seven."""
    return np.eye(7)[(text[-1] + 1) % 7]


def test_jacobi_by_hand():
    """Right symbols spread from the left, one an iteration, if each hangs on its neighbour."""
    assert naive.jacobi(counting, [0], [5, 5, 5]) == [[5, 5, 5], [1, 6, 6], [1, 2, 0], [1, 2, 3]]
    assert naive.jacobi(counting, [0], [1, 2, 3]) == [[1, 2, 3]]  # it is the fixed point
    # behind a wrong first symbol all are right: one iteration is enough
    assert naive.jacobi(lambda text: np.eye(7)[3], [0], [5, 3, 3]) == [[5, 3, 3], [3, 3, 3]]


def test_a_window_is_a_tree():
    assert naive.window_parents(3, 2) == [-1, 0, 0, 1, 2, 3]
    assert naive.window_parents(1, 3) == [-1, 0, 1]
    # the context of the last symbol of column 1: row 0 up to it, then down
    assert tree_paths(naive.window_parents(3, 3), 9)[7] == [0, 1, 4, 7]
    assert naive.window_parents(4, 0) == []


def test_the_ngrams_of_a_window_by_hand():
    """Right guesses: column i counts on from i, so that every n-gram does."""
    window = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    keys, grams, after = slide(window, torch.tensor([3, 4, 5]), 1)
    assert keys.tolist() == [0, 1, 2] and grams.tolist() == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert after.tolist() == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert slide(window, torch.tensor([3, 4, 5]), 6)[2].tolist()[0] == [6, 2, 3]


def test_what_is_remembered_is_what_came_up_last():
    grams = []
    for gram in ([1, 1], [2, 2], [1, 1], [3, 3]):
        grams = naive.remember(grams, gram, 2)
    assert grams == [[1, 1], [3, 3]]
    assert naive.remember([[1], [2]], [3], 1) == [[3]]


def test_guesses_that_begin_alike_share_nodes():
    assert naive.trie([[4, 5], [4, 6], [3, 5]]) == ([4, 5, 6, 3, 5], [0, 1, 1, 0, 4])
    assert naive.trie([[4, 5], [4, 5]]) == ([4, 5], [0, 1])
    assert naive.trie([]) == ([], [])


def test_compression_by_hand():
    one = lambda x: torch.tensor([x]).double()
    # two guesses of two symbols, each right by 1/2: 3 - (1/2)^2 - (3/4)^2
    assert compression(one(0.5), 2, 2).item() == pytest.approx(3 - 1 / 4 - 9 / 16)
    assert compression(one(0.5), 2, 2, 4.0).item() == pytest.approx(1 + (2 - 13 / 16) / 4)
    alpha = torch.rand(5).double()
    torch.testing.assert_close(compression(alpha, 4, 1), expected_symbols(alpha, 4))
    assert compression(alpha, 3, 2, 9.0).min() >= 1


def test_the_formula_is_the_mean_of_the_best_of_several_guesses():
    """4 standard errors, which a right formula passes 9,999 times in 10,000; the seed is fixed."""
    right = np.random.default_rng(0).random((20_000, 5, 4)) < 0.6  # (steps, guesses, symbols)
    taken = 1 + right.cumprod(2).sum(2).max(1)
    want = compression(torch.tensor([0.6]), 4, 5).item()
    assert abs(taken.mean() - want) < 4 * taken.std() / 20_000**0.5


# -- the fixed point -------------------------------------------------------------------------------


@every_model
@torch.no_grad()
def test_jacobi_ends_at_the_greedy_text(model, number):
    """Symbol i is right after i + 1 iterations at the latest, whatever the guess was."""
    model, ids = build(model, number)
    want = greedy(model, ids[:1, :5], 4)
    for guess in (ids[1:2, :4], want):
        guesses = jacobi(model, ids[:1, :5], guess)
        assert len(guesses) <= (5 if guess is not want else 1)
        assert torch.equal(guesses[-1:], want)
        for n, y in enumerate(guesses):
            assert torch.equal(y[:n], want[0, :n])


def test_jacobi_is_the_definition():
    predict = lambda text: TARGET.logits[([0, *text])[-2], text[-1]].numpy()
    for prompt in ([1], [2, 0, 1]):
        want = naive.jacobi(predict, prompt, [0, 1, 2, 0, 1, 2])
        got = jacobi(TARGET, torch.tensor([prompt]), torch.tensor([[0, 1, 2, 0, 1, 2]]))
        assert got.tolist() == want


# -- the same as greedy decoding -------------------------------------------------------------------


@every_model
@torch.no_grad()
def test_greedy_text_is_greedy_text(model, number):
    model, ids = build(model, number)
    want = torch.cat([ids[:1, :5], greedy(model, ids[:1, :5], 6)], 1)
    how = {"ngram": 3, "columns": 2, "guesses": 2, "copy": True, "temperature": 0}
    got = lookahead(model, ids[:1, :5], 6, **how)
    assert torch.equal(got.ids, want)
    assert sum(got.taken) >= 6 and max(got.taken) <= 3


def random_target(seed, V=4):
    """Greedy text of a Markov chain of order 2 that ends in a circle soon: guesses come true."""
    return Table(np.random.default_rng(seed).normal(size=(V, V, V)))


def test_fifty_targets_write_their_own_text_in_no_more_calls():
    for seed in range(50):
        target, prompt = random_target(seed), torch.tensor([[seed % 4, seed // 4 % 4]])
        want = torch.cat([prompt, greedy(target, prompt, 20)], 1)
        taken = []
        for window in (1, 2):  # another first window: other steps, the same text
            got = lookahead(target, prompt, 20, ngram=4, columns=3, temperature=0, seed=window)
            assert torch.equal(got.ids, want)
            taken.append(got.taken)
            assert got.symbols_per_call >= 1 and len(got.taken) <= 20
        assert min(map(len, taken)) < 17


@pytest.mark.parametrize("ngram,columns,guesses", [(2, 3, 2), (3, 1, 1), (5, 4, 3)])
def test_calls_are_those_of_the_definition(ngram, columns, guesses):
    for seed in range(6):
        target, prompt = random_target(seed), [1, 2, 0]
        predict = lambda text, target=target: target.logits[text[-2], text[-1]].numpy()
        how = {"ngram": ngram, "columns": columns, "guesses": guesses}
        got = lookahead(target, torch.tensor([prompt]), 25, temperature=0, seed=seed, **how)
        generator = torch.Generator().manual_seed(seed)
        torch.rand(1, 1, generator=generator, dtype=torch.float64)  # of the first symbol
        window = torch.randint(3, (ngram - 1, columns), generator=generator)
        window = np.array(prompt)[window.numpy()]
        text, taken = naive.lookahead(predict, prompt, 25, window, guesses)
        assert got.taken == tuple(taken)
        assert got.ids[0].tolist() == text[: 3 + 25]


# -- exact when it samples -------------------------------------------------------------------------


class Choices(Script):
    """`Script` of lesson 37's tests for the decoders here."""

    def __init__(self, monkeypatch):
        self.real = {"verify_tree": verify_tree}
        for name in ("sample", "verify_tree"):
            monkeypatch.setattr(module, name, getattr(self, name))


WAYS = [
    {"ngram": 3, "columns": 2, "guesses": 2},
    {"ngram": 2, "columns": 2, "guesses": 3},
    {"ngram": 3, "columns": 0, "guesses": 2, "copy": True},
]


def worst_error(monkeypatch, program, target, prompt, length, how):
    """In the probability of a text of `length` symbols, all ways listed."""
    total = dict.fromkeys(itertools.product(range(target.vocab_size), repeat=length), 0.0)
    for weight, text in Choices(monkeypatch).outcomes(program):
        total[text] += weight
    assert sum(total.values()) == pytest.approx(1, abs=1e-12)
    return max(abs(p - text_probability(target, prompt, x, **how)) for x, p in total.items())


@pytest.mark.parametrize("how", [HOWS[0], HOWS[1], HOWS[4], HOWS[6]], ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_distribution_is_the_models(way, how, monkeypatch):
    """The prompt holds all pairs, so that guesses are there from the first call on."""
    target, how, prompt = table(0), how_of(*how), [0, 1, 2, 0, 1, *PROMPT]

    def program():
        got = lookahead(target, torch.tensor([prompt]), 3, seed=3, **way, **how)
        return tuple(got.ids[0, len(prompt) :].tolist())

    assert worst_error(monkeypatch, program, target, prompt, 3, how) < 1e-12


def test_enumeration_sees_a_wrong_rule(monkeypatch):
    monkeypatch.setattr(acceptance, "residual", p_itself)
    target, prompt = table(0), [0, 1, 2, 0, 1, *PROMPT]

    def program():
        got = lookahead(target, torch.tensor([prompt]), 2, seed=3, **WAYS[2])
        return tuple(got.ids[0, len(prompt) :].tolist())

    assert worst_error(monkeypatch, program, target, prompt, 2, how_of(*HOWS[0])) > 1e-2


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_frequencies_are_the_models(way, temperature):
    # a right decoder exceeds 42.3 once in 1000 seeds; the seed is fixed
    prompt = torch.zeros(1, 2, dtype=torch.int64)
    got = lookahead(TARGET, prompt, 800, temperature=temperature, seed=1, **way)
    assert chi_square(got.ids[:, 2:], temperature) < 42.3
    assert got.symbols_per_call > 1.2  # guesses were accepted


# -- what a call costs -----------------------------------------------------------------------------


def test_a_step_is_one_call_with_a_mask(monkeypatch):
    """Window, guesses and verification in one forward pass of one row; no other call but one."""
    torch.manual_seed(0)
    model, calls = Transformer(5, 8, 1, 2), []
    run = model._run
    monkeypatch.setattr(
        model, "_run", lambda ids, *more: calls.append(ids.shape) or run(ids, *more)
    )
    ids = torch.randint(5, (1, 9))
    got = lookahead(model, ids, 40, ngram=4, columns=3, guesses=2, temperature=0)
    assert calls == [(1, 9), *((1, n) for n in got.scored)]
    assert max(got.scored) <= 1 + (3 + 2) * 3 and min(got.scored) == 3 * 3  # at first no guesses
    assert got.scored_per_symbol == sum(got.scored) / sum(got.taken)


def test_a_text_that_repeats_is_copied():
    text = b"to be or not to be or not to be or not to be"
    model = KneserNey(text, order=7)
    prompt = torch.tensor([list(text)])
    got = lookahead(model, prompt, 40, ngram=6, columns=0, guesses=1, copy=True, temperature=0)
    assert torch.equal(got.ids[:, len(text) :], greedy(model, prompt, 40))
    assert got.symbols_per_call >= 4 and got.scored_per_symbol < 2


def test_no_symbols_are_no_work():
    got = lookahead(TARGET, torch.tensor([[1]]), 0)
    assert got.ids.tolist() == [[1]] and got.taken == () and got.symbols_per_call == 0


# -- refused ---------------------------------------------------------------------------------------

ONE = torch.tensor([[1]])


@pytest.mark.parametrize(
    "bad,error,words",
    [
        ({"ids": ONE[:, :0]}, ValueError, "ids must have shape"),
        ({"ids": ONE + 2}, ValueError, "ids must lie in"),
        ({"ids": ONE.float()}, TypeError, "ids must be an int64 tensor"),
        ({"ids": ONE.expand(2, 1)}, ValueError, "ids must be one row and length 0 or more, got 2"),
        ({"length": -1}, ValueError, "length 0 or more, got 1 rows and length=-1"),
        ({"ngram": 1}, ValueError, "ngram must be 2 or more, got 1"),
        ({"columns": -1}, ValueError, "columns must be 0 or more, got -1"),
        ({"guesses": 0}, ValueError, "guesses must be 1 or more, got 0"),
        ({"columns": 0}, ValueError, "columns must be 1 or more where nothing is copied, got 0"),
        ({"temperature": -1}, ValueError, "temperature must be 0 or more"),
        ({"top_k": 0}, ValueError, "top_k must be 1 or more"),
        ({"top_p": 0.0}, ValueError, "top_p must lie in"),
    ],
)
def test_bad_input_is_refused_by_name(bad, error, words):
    with pytest.raises(error, match=words):
        lookahead(TARGET, **{"ids": ONE, "length": 3} | bad)


def test_bad_guesses_windows_and_rates_are_refused():
    with pytest.raises(ValueError, match=r"ids must have shape \(1, any\), got \(2, 1\)"):
        jacobi(TARGET, ONE.expand(2, 1), ONE)
    with pytest.raises(ValueError, match=r"guess must have shape \(1, any\), got \(2, 1\)"):
        jacobi(TARGET, ONE, ONE.expand(2, 1))
    with pytest.raises(TypeError, match=r"guess must be an int64 tensor, got torch\.float32"):
        jacobi(TARGET, ONE, ONE.float())
    for wrong in (3, -1):  # the last one of a guess is never read
        with pytest.raises(ValueError, match=rf"guess must lie in \[0, 3\), got .*{wrong}\]"):
            jacobi(TARGET, ONE, torch.tensor([[1, wrong]]))
    with pytest.raises(ValueError, match=r"new must have shape \(2\), got \(3,\)"):
        slide(torch.zeros(3, 2), torch.zeros(3), 0)
    half = torch.tensor([0.5])
    for bad, words in [
        ((half, 0, 1), "gamma must be 1 or more, got 0"),
        ((half, 1, 0), "b must be 1 or more, got 0"),
        ((half, 1, 1, 0.5), "f must be 1 or more and alpha lie in"),
        ((half + 1, 1, 1), "f must be 1 or more and alpha lie in"),
        ((half[0], 1, 1), r"alpha must have shape \(any\), got \(\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            compression(*bad)
