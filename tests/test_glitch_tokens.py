"""Categories, indicators and their area: by hand, third opinions, typical mistakes, refusals."""

import numpy as np
import pytest
import torch
from mutants import edited

from minilib import lab
from minilib.glitch_tokens import (
    auc,
    categories,
    cosine_distance,
    distance,
    first_component,
    max_probability,
    norms,
)
from minilib.naive import glitch_tokens as naive
from minilib.tokenizer import Tokenizer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

COSINE = "1 - row @ u / (np.linalg.norm(row) * np.linalg.norm(u))"
WRONG = {
    naive.categories: edited(
        naive.categories,
        replacement_character_is_undecodable=(
            "        try:\n            text = token.decode",
            '        try:\n            assert b"\\xef\\xbf\\xbd" not in token\n'
            "            text = token.decode",
            "except UnicodeDecodeError",
            "except (UnicodeDecodeError, AssertionError)",
        ),
        single_bytes_are_fine=('"undecodable"\n', '"undecodable" if len(token) > 1 else "ok"\n'),
        never_read_again=("tokenizer.encode(text, vocabulary) != [i]", "False"),
        one_other_id_is_fine=("!= [i]", '!= [i] and " " in text'),
        special_before_unreachable=(
            "if tokenizer.encode(text, vocabulary) != [i]",
            "if not looks_special(text) and tokenizer.encode(text, vocabulary) != [i]",
        ),
        brackets_alone=(" and any(map(str.isalpha, text))", ""),
        any_bracket=('text[0] + text[-1] in ("<>", "[]")', 'text[0] in "<[" and text[-1] in ">]"'),
        blanks_stripped=("text[0] + text[-1]", "text.strip()[:1] + text.strip()[-1:]"),
        latin_letters=("str.isalpha, text", "str.isalpha, ascii(text)[1:-1] * text.isascii()"),
        numbers_are_letters=(
            "map(str.isalpha, text)",
            "c.isalpha() or c.isnumeric() > c.isdecimal() for c in text",
        ),
        specials_left_out=('    found[i] = "special"\n', "    pass\n"),
        ids_are_ranks=('vocabulary.get("ids", range(len(tokens)))', "range(len(tokens))"),
    ),
    naive.cosine_distance: edited(
        naive.cosine_distance,
        similarity=(COSINE, COSINE[4:]),
        product_without_lengths=(COSINE, "1 - row @ u"),
        length_of_the_row_alone=(COSINE, "1 - row @ u / np.linalg.norm(row)"),
        mean_of_unit_rows=(
            "u = U[reference].mean(0)\n    if not",
            "u = np.mean([r / np.linalg.norm(r) for r in U[reference]], 0)\n    if not",
        ),
        first_reference_alone=("u = U[reference].mean(0)\n    if", "u = U[reference[0]]\n    if"),
        always_centred=("if centre:", "if True:"),
        component_of_rows_not_centred=(
            "v = first_component(U)",
            "v = np.linalg.svd(U)[2][0]",
        ),
        centred_where_the_component_goes=("U[i] -= (U[i] @ v)", "U[i] -= ((U[i] - U[0]) @ v)"),
        reference_not_prepared=(
            "u = U[reference].mean(0)\n    if",
            "u = raw.mean(0)\n    if",
            "    U = np.array(U, float)\n",
            "    U = np.array(U, float)\n    raw = U[reference]\n",
        ),
    ),
    naive.first_component: edited(
        naive.first_component,
        not_centred=("np.linalg.svd(U - U.mean(0), ", "np.linalg.svd(U, "),
        last_component=("directions[0]", "directions[-1]"),
        column_for_row=("directions[0]", "directions[:, 0]"),
        either_sign=("v * np.sign(v[np.abs(v).argmax()])", "v"),
        first_entry_positive=("v[np.abs(v).argmax()]", "v[0]"),
    ),
    naive.distance: edited(
        naive.distance,
        squared=("np.linalg.norm(row - u)", "np.linalg.norm(row - u) ** 2"),
        to_the_centre=(
            'reference):\n    """|U_i - u| of every row, where u is the mean of the reference rows.'
            '  (ids,)"""\n    u = U[reference].mean(0)',
            "reference):\n    u = U.mean(0)",
        ),
        nearest_reference=(
            "[np.linalg.norm(row - u) for row in U]",
            "[min(np.linalg.norm(row - r) for r in U[reference]) for row in U]",
        ),
    ),
    naive.norms: edited(
        naive.norms,
        squared=("[np.linalg.norm(row) for row in E]", "[row @ row for row in E]"),
        largest_entry=("[np.linalg.norm(row) for row in E]", "[abs(row).max() for row in E]"),
        columns=("[np.linalg.norm(row) for row in E]", "[np.linalg.norm(row) for row in E.T]"),
    ),
    naive.auc: edited(
        naive.auc,
        larger_is_suspicious=("a < b", "a > b"),
        ties_count_nothing=("0.5 if a == b", "0.0 if a == b"),
        ties_count_whole=("0.5 if a == b", "1.0 if a == b"),
        over_all_pairs=("(unseen.sum() * (~unseen).sum())", "len(unseen) ** 2 * 4"),
        never_below_half=(
            "return wins / (unseen.sum() * (~unseen).sum())",
            "wins /= unseen.sum() * (~unseen).sum()\n    return max(wins, 1 - wins)",
        ),
    ),
    naive.max_probability: edited(
        naive.max_probability,
        no_maximum=("np.exp(logits - logits.max())", "np.exp(logits)"),
        mean_for_maximum=("np.maximum(largest, p / p.sum())", "largest + p / p.sum() / len(h)"),
        last_context=("np.maximum(largest, p / p.sum())", "p / p.sum()"),
        winners_alone=(
            "np.maximum(largest, p / p.sum())",
            "np.maximum(largest, p / p.sum() * (p == p.max()))",
        ),
    ),
}

# -- right -----------------------------------------------------------------------------------------


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_categories_by_hand():
    known = [bytes([byte]) for byte in range(256)]
    known += [b"\xc3\xa9", b"a b", b"<", b"<s>"]
    tokens = dict.fromkeys(known)  # "<" stands there already
    found = categories({"tokens": list(tokens), "pattern": "gpt2", "specials": {"<end>": 300}})
    assert found[ord("a")] == found[256] == "ok"
    assert found[0xC3] == found[0xFF] == "undecodable"
    assert found[257] == found[258] == "unreachable"  # the pattern cuts: a| b, <|s|>
    assert found[300] == "special" and len(found) == 260
    one_piece = categories({"tokens": list(tokens), "pattern": r"\S+| +"})
    assert one_piece[258] == "special-looking"


def test_the_pinned_vocabularies():
    """Land & Bartolo's "undecodable" of two vocabularies; nothing in them is unreachable."""
    specials = {"<|endoftext|>": 50256}
    gpt2 = Tokenizer.load(lab.data.vocabulary("gpt2"), pattern="gpt2", specials=specials)
    for known, undecodable, fine in (
        (gpt2, 344, 49_912),
        (Tokenizer.load(lab.data.vocabulary("tekken")), 1435, 128_637),
    ):
        kinds = list(categories(known).values())
        assert kinds.count("undecodable") == undecodable and kinds.count("ok") == fine
        assert len(kinds) == undecodable + fine + len(known.specials)


def test_a_tokenizer_and_its_arguments_are_the_same():
    known = Tokenizer.train("the theory of the thing " * 9, 280, specials=["<s>"])
    assert categories(known) == categories({"tokens": known.tokens, "merges": known.merges} | {
        "pattern": known.pattern, "specials": known.specials
    })  # fmt: skip


def test_indicators_by_hand():
    U = tensor([3, 4], [-3, -4], [4, -3], [6, 8])
    torch.testing.assert_close(cosine_distance(U, [0]), vector(0, 2, 1, 0))
    torch.testing.assert_close(cosine_distance(U, [0, 3]), vector(0, 2, 1, 0))
    torch.testing.assert_close(distance(U, [0]), vector(0, 10, 50**0.5, 5))
    torch.testing.assert_close(norms(U), vector(5, 5, 5, 10))
    around = tensor([1, 1], [3, 1], [1, 2], [3, 2])  # the mean is (2, 3/2)
    found = cosine_distance(around, [0], centre=True)
    torch.testing.assert_close(found, vector(0, 2 - 0.4, 0.4, 2))
    torch.testing.assert_close(first_component(around), vector(1, 0))
    found = cosine_distance(around, [0], drop_first=True)  # what is left is (0, y)
    torch.testing.assert_close(found, vector(0, 0, 0, 0))


def test_area_by_hand():
    """Unseen 1 and 2 against seen 2 and 3: three and a half of four pairs."""
    assert auc(torch.tensor([1, 2, 2, 3.0]), torch.tensor([True, True, False, False])) == 0.875
    assert auc([1, 2, 2, 3.0], [False, False, True, True]) == 0.125


def test_area_is_that_of_the_curve():
    """Third opinion: the ROC curve itself, and its trapezoids."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        indicator, unseen = rng.integers(9, size=50), rng.random(50) < 0.3
        at = np.arange(-1, 9)[:, None] >= indicator
        found, alarms = at[:, unseen].mean(1), at[:, ~unseen].mean(1)
        area = np.trapezoid(found, alarms)
        assert auc(torch.tensor(indicator), torch.tensor(unseen)) == pytest.approx(area)


def test_cosines_are_torchs():
    torch.manual_seed(0)
    U, ids = torch.randn(50, 8, dtype=torch.float64), torch.tensor([3, 9, 30])
    for centre in (False, True):
        rows = U - U.mean(0) * centre
        want = 1 - torch.cosine_similarity(rows, rows[ids].mean(0)[None])
        torch.testing.assert_close(cosine_distance(U, ids, centre), want)
    _, _, v = torch.pca_lowrank(U, 8)  # third opinion of the first component
    assert abs(first_component(U) @ v[:, 0]).item() == pytest.approx(1, abs=1e-9)
    rows = U - U @ v[:, :1] @ v[:, :1].T
    want = 1 - torch.cosine_similarity(rows, rows[ids].mean(0)[None])
    torch.testing.assert_close(cosine_distance(U, ids, drop_first=True), want)


def test_one_direction_and_any_scale():
    """Cosines do not feel lengths; rows that share a direction are found, wherever it points."""
    torch.manual_seed(1)
    U = torch.randn(200, 16)
    U[50:90] = torch.randn(16) * torch.rand(40, 1) + 0.05 * torch.randn(40, 16)
    unseen = (torch.arange(200) >= 50) & (torch.arange(200) < 90)
    rest = torch.ones(200, dtype=torch.bool)
    rest[50:54] = False
    found = cosine_distance(U, [50, 51, 52, 53])
    assert auc(found[rest], unseen[rest]) > 0.95
    torch.testing.assert_close(cosine_distance(3 * U, [50, 51, 52, 53]), found)


def test_probabilities_in_blocks(monkeypatch):
    torch.manual_seed(2)
    h, U = torch.randn(23, 4, dtype=torch.float64), torch.randn(11, 4, dtype=torch.float64)
    whole = (h @ U.T).softmax(1).amax(0)
    for room in (1, 22, 60, 1 << 22):
        monkeypatch.setattr("minilib.glitch_tokens._BLOCK", room)
        torch.testing.assert_close(max_probability(h, U), whole)


# -- refused ---------------------------------------------------------------------------------------

SIX = torch.arange(6.0).view(3, 2)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: cosine_distance(torch.zeros(3, 2), [0]), r"rows \[0, 1, 2\] are zero"),
        (lambda: cosine_distance(torch.eye(2)[[0, 0]], [0], True), r"rows \[0, 1\] are zero"),
        (lambda: cosine_distance(tensor([1, 1], [-1, -1]), [0, 1]), "mean of the reference is"),
        (lambda: cosine_distance(SIX, [3]), r"ids in \[0, 3\), got 3 … 3"),
        (lambda: cosine_distance(SIX, [-1]), "got -1 … -1"),
        (lambda: cosine_distance(SIX, []), "list of ids, got"),
        (lambda: distance(SIX, [0.5]), "list of ids, got torch.float32"),
        (lambda: distance(SIX, torch.tensor([True, False, True])), "got torch.bool"),
        (lambda: distance(SIX[0], [0]), r"U must be a matrix of floats with rows, got torch.float"),
        (lambda: norms(SIX.long()), r"E must be a matrix .* got torch.int64 \(3, 2\)"),
        (lambda: norms([[1.0]]), "E must be a matrix .* got list"),
        (lambda: first_component(SIX[:0]), r"got torch.float32 \(0, 2\)"),
        (lambda: max_probability(SIX, SIX.T), "h and U must have one dim, got 2 and 3"),
        (lambda: auc([1.0, 2], [True, True]), "unseen and seen ids and no nan, got 2, 0, 0 nan"),
        (lambda: auc([1.0, float("nan")], [True, False]), "got 1, 1, 1 nan"),
        (lambda: auc([1.0, 2], [1, 0]), "unseen of bool, got"),
        (lambda: auc([1.0, 2, 3], [True, False]), r"\(3,\) and \(2,\)"),
        (lambda: categories({"tokens": [b"a"]}), "tokens must hold every single byte"),
    ],
)
def test_bad_input_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
    with pytest.raises(ValueError, match="no row of zeros"):
        naive.cosine_distance(np.zeros((2, 2)), np.array([0]))
