"""Unigram models: by hand, by counting every segmentation, sampling, sentencepiece, refusals."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import edited

from minilib import lab
from minilib.naive import unigram as naive
from minilib.unigram import UnigramTokenizer, em_step, forward_sums, nbest, sample, train

PIECES = [b"a", b"b", b"c", b"ab", b"ba", b"abc", b"cab", b"bb", b"abcab"]
RAW = [bytes([byte]) for byte in range(256)]

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.forward_sums: edited(
        naive.forward_sums,
        lam_left_out=("before + lam * logp[w])", "before + logp[w])"),
        lam_twice=("before + lam * logp[w])", "lam * (before + logp[w]))"),
        best_instead_of_sum=("np.logaddexp(A[b, end],", "np.maximum(A[b, end],"),
        nothing_is_0=("-np.inf)", "0.0)"),
    ),
    naive.sample: edited(
        naive.sample,
        best_piece_always=("if u[b, end - 1] < total:", "if total > 0.5:"),
        forwards_order=("ids = [w, *ids]", "ids = [*ids, w]"),
        not_normalised=("+ lam * logp[w] - A[b, end])", "+ lam * logp[w])"),
        without_the_sum_before=("np.exp(before + lam", "np.exp(0 * before + lam"),
        uniform_of_the_next_byte=("u[b, end - 1]", "u[b, end - 2]"),
        longest_piece_first=("key=lambda w: len(", "key=lambda w: -len("),
        lam_left_out=("before + lam * logp[w] - A", "before + logp[w] - A"),
    ),
    naive.nbest: edited(
        naive.nbest,
        one_more=("options[:n]", "options[: n + 1]"),
        worst_first=("-option[0]", "option[0]"),
        ties_by_id=("-option[0])", "(-option[0], option[1]))"),
        fewest_pieces=("-option[0])", "len(option[1]))"),
        the_best_before_only=(
            "for score, ids in before]",
            "for score, ids in before[:1]]",
        ),
        rounded_sums=("round(float(value) * 2**32)", "float(value)"),
    ),
    naive.em_step: edited(
        naive.em_step,
        texts_once=("times * np.exp(share)", "np.exp(share)"),
        not_normalised=(
            "1e-6)\n    return np.log(counts / counts.sum())",
            "1e-6)\n    return np.log(counts)",
        ),
        not_of_this_text=("+ rest[end] - A[-1]", "+ rest[end]"),
        without_what_follows=("+ rest[end] - A[-1]", "- A[end]"),
        zero_counts=("np.maximum(counts, 1e-6)", "np.maximum(counts, 1e-300)"),
    ),
    naive.train: edited(
        naive.train,
        one_step_of_em=("em_step(texts, pieces, logp))", "logp)"),
        rarest_stay=("(-helps[w], pieces[w])", "(helps[w], pieces[w])"),
        by_probability=("float(np.exp(logp[w]) * better)", "float(np.exp(logp[w]))"),
        by_score_alone=("float(np.exp(logp[w]) * better)", "float(better)"),
        all_at_once=("keep = max(size - 256, len(helps) * 3 // 4)", "keep = size - 256"),
        bytes_may_go=("stay = [*range(256), *sorted(most)]", "stay = sorted(most)"),
        strings_that_stand_once=("times[piece] >= 2]", "times[piece] >= 1]"),
    ),
}  # fmt: skip


# -- right -----------------------------------------------------------------------------------------


def every(text, pieces):
    """All segmentations of a text: each first piece, then all of the rest."""
    if not text:
        return [[]]
    return [
        [w, *rest]
        for w, piece in enumerate(pieces)
        if text.startswith(piece)
        for rest in every(text[len(piece) :], pieces)
    ]


def model(seed):
    return torch.randn(9, generator=torch.Generator().manual_seed(seed)).double().log_softmax(0)


def test_by_hand():
    # aab: a|a|b, aa|b, a|ab; p = 1/8, 1/4, 1/8
    pieces, p = [b"a", b"b", b"aa", b"ab"], torch.tensor([0.5, 0.5, 0.5, 0.25], dtype=torch.float64)
    A = forward_sums([b"aab"], pieces, p.log())
    torch.testing.assert_close(A[0].exp(), torch.tensor([1, 0.5, 0.75, 0.5]).double())
    assert nbest([b"aab"], pieces, p.log(), 5) == [[[2, 1], [0, 0, 1], [0, 3]]]  # b is shorter
    shares = [0.25, 0.5, 0.25]  # of a|a|b, aa|b, a|ab; ab is drawn at byte 3 if 0.75 <= u
    u = torch.tensor([[0.0, 0.2, 0.7], [0.0, 0.4, 0.7], [0.0, 0.9, 0.8]])
    drawn = sample(3 * [b"aab"], pieces, p.log(), u)
    assert drawn == [[0, 0, 1], [2, 1], [0, 3]] and sum(shares) == 1
    counts = torch.tensor([0.75, 0.75, 0.5, 0.25]).double()  # a: 2/4 + 1/4
    torch.testing.assert_close(em_step({b"aab": 4}, pieces, p.log()).exp(), counts / counts.sum())


@pytest.mark.parametrize("seed", range(4))
def test_sums_nbest_and_em_are_those_of_all_segmentations(seed):
    rng, logp = np.random.default_rng(seed), model(seed)
    texts = [rng.choice(list("abc"), size=size) for size in (1, 2, 5, 9, 12)]
    texts = ["".join(text).encode() for text in texts]
    for lam in (1.0, 0.3):
        A, expected = forward_sums(texts, PIECES, logp, lam), torch.zeros(len(PIECES)).double()
        for b, text in enumerate(texts):
            found = every(text, PIECES)
            scores = torch.stack([logp[ids].sum() for ids in found])
            assert float(A[b, len(text)]) == pytest.approx(float((lam * scores).logsumexp(0)))
            best = nbest([text], PIECES, logp, 7)[0]
            assert len(best) == min(7, len(found)) and all(ids in found for ids in best)
            assert len(set(map(tuple, best))) == len(best)
            top = scores.sort(descending=True).values[:7]
            torch.testing.assert_close(torch.stack([logp[ids].sum() for ids in best]), top)
            for share, ids in zip((lam * scores).softmax(0), found, strict=True):
                expected += share * torch.bincount(torch.tensor(ids), minlength=len(PIECES))
        if lam == 1:
            counted = em_step(dict.fromkeys(texts, 1), PIECES, logp)
            counts = expected.clamp(min=1e-6)
            torch.testing.assert_close(counted, (counts / counts.sum()).log())


def test_equal_scores_come_with_the_shorter_last_piece_first():
    logp = torch.tensor([-0.125, -0.25, -0.375]).double()  # every segmentation of a's scores alike
    found = nbest([b"aaaaaaaa"], [b"a", b"aa", b"aaa"], logp, 100)[0]
    lengths = [tuple(w + 1 for w in reversed(ids)) for ids in found]
    assert lengths == sorted(lengths) and len(lengths) == len(
        every(b"a" * 8, [b"a", b"aa", b"aaa"])
    )


@pytest.mark.parametrize("lam", [1.0, 0.2])
def test_samples_have_their_probabilities(lam):
    """Chi-square over all segmentations; the seed is fixed, by chance one in 1,000 seeds fails."""
    text, logp, N = b"abcab", model(5), 20_000
    found = every(text, PIECES)
    p = (lam * torch.stack([logp[ids].sum() for ids in found])).softmax(0)
    u = torch.rand(N, len(text), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = sample(N * [text], PIECES, logp, u, lam)
    times = torch.tensor([sum(ids == one for ids in drawn) for one in found])
    assert times.sum() == N and len(found) >= 8
    rare = N * p < 5  # together they are one cell
    cells = lambda x: torch.cat([x[~rare], x[rare].sum()[None]]) if rare.any() else x
    got, wanted = cells(times), cells(N * p)
    statistic, degrees = float(((got - wanted) ** 2 / wanted).sum()), len(wanted) - 1
    # Wilson and Hilferty's cube: 3.09 standard deviations are one in 1,000
    z = ((statistic / degrees) ** (1 / 3) - 1 + 2 / (9 * degrees)) / math.sqrt(2 / (9 * degrees))
    assert z < 3.09
    wrong = float(((times - N / len(found)) ** 2 / (N / len(found))).sum())
    assert wrong > 20 * degrees  # samples that are all alike would be seen


def test_the_gradient_of_the_sum_is_the_expected_count():
    logp = model(3).requires_grad_()
    (counts,) = torch.autograd.grad(forward_sums([b"abcab"], PIECES, logp)[0, -1], logp)
    assert float(counts @ torch.tensor([len(piece) for piece in PIECES]).double()) == pytest.approx(
        5
    )
    counts = counts.clamp(min=1e-6)
    after = em_step({b"abcab": 1}, PIECES, logp)
    torch.testing.assert_close(after, (counts / counts.sum()).log())


def test_em_never_makes_the_texts_less_likely():
    texts = {b"abcab": 3, b"bbab": 2, b"cabc": 9}
    logp, before = model(2), -math.inf
    for _ in range(20):
        A = forward_sums(list(texts), PIECES, logp)
        now = sum(times * float(A[b, len(text)]) for b, (text, times) in enumerate(texts.items()))
        assert now >= before - 1e-9
        logp, before = em_step(texts, PIECES, logp), now


# -- the tokenizer ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    return UnigramTokenizer.train(lab.data.plays()["macbeth"][:40_000], 600)


def test_training_finds_words(tokenizer):
    assert tokenizer.vocab_size == 600 and tokenizer.pieces[:256] == RAW
    assert {b" the", b" and", b"MACBETH"} <= set(tokenizer.pieces)
    assert float(tokenizer.logp.exp().sum()) == pytest.approx(1)
    said = b"Macbeth shall sleep no more."
    ids = tokenizer.encode(said)
    assert len(ids) < 14 and b"".join(tokenizer.pieces[i] for i in ids) == said


def test_a_thousand_random_unicode_strings_come_back(tokenizer):
    rng = np.random.default_rng(0)
    for _ in range(1000):
        points = rng.integers(
            1, [128, 0x800, 0xD800, 0x110000][rng.integers(4)], size=rng.integers(30)
        )
        text = "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
        assert tokenizer.decode(tokenizer.encode(text)).decode() == text


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=60))
def test_every_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_each_word_is_cut_in_the_best_way(tokenizer):
    assert tokenizer.encode(b"") == []
    word = b" traitor"
    ids = tokenizer.encode(word)
    best = max(float(tokenizer.logp[one].sum()) for one in every(word, tokenizer.pieces))
    assert float(tokenizer.logp[ids].sum()) == pytest.approx(best)


def test_save_and_load(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "pieces.json")
    again = UnigramTokenizer.load(tmp_path / "pieces.json")
    assert again.pieces == tokenizer.pieces and torch.equal(again.logp, tokenizer.logp)
    assert again.encode("Größe, the") == tokenizer.encode("Größe, the")
    for damaged in ("", "{}", "[]", '{"pieces": ["a"], "logp": [0]}', '{"pieces": 3, "logp": 3}'):
        (tmp_path / "pieces.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"pieces\.json' holds no pieces"):
            UnigramTokenizer.load(tmp_path / "pieces.json")
    with pytest.raises(ValueError, match="holds no pieces"):
        UnigramTokenizer.load(tmp_path / "nowhere.json")


def test_scores_are_those_of_sentencepiece():
    """Its own pieces and scores: the five best, and the sum of all."""
    sp = pytest.importorskip("sentencepiece")
    text, file = lab.data.plays()["macbeth"].decode(), io.BytesIO()
    lines = [line for line in text.splitlines() if 4 < len(line) < 60]
    sp.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=file, vocab_size=500, model_type="unigram",
        num_threads=1, minloglevel=2, normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False,
    )  # fmt: skip
    peer = sp.SentencePieceProcessor(model_proto=file.getvalue())
    size = range(peer.get_piece_size())
    known = [i for i in size if not peer.is_unknown(i) and not peer.is_control(i)]
    pieces = [peer.id_to_piece(i).encode() for i in known]
    number = {piece: i for i, piece in enumerate(pieces)}
    logp = torch.tensor([peer.get_score(i) for i in known], dtype=torch.float64)
    single = {piece.decode() for piece in pieces if len(piece.decode()) == 1}
    lines = [line for line in lines if set(line.replace(" ", "▁")) <= single][:60]
    texts = [line.replace(" ", "▁").encode() for line in lines]
    # in bytes: what is no piece by itself gets one that is never worth its price
    rest = [byte for byte in RAW if byte not in pieces]
    logp = torch.cat([logp, torch.full((len(rest),), -200.0).double()])
    ours = nbest(texts, pieces + rest, logp, 5)
    score = lambda ids: float(logp[ids].sum())
    ids_of = lambda words: [number[word.encode()] for word in words]
    for b, line in enumerate(lines):
        assert ours[b][0] == ids_of(peer.encode_as_pieces(line))
        theirs = [score(ids_of(words)) for words in peer.nbest_encode_as_pieces(line, 5)]
        assert [score(ids) for ids in ours[b]] == pytest.approx(theirs, abs=1e-4)
    word = "nothing"
    theirs = [score(ids_of(words)) for words in peer.nbest_encode_as_pieces(word, 500)]
    assert 4 < len(theirs) < 500  # all that there are
    total = forward_sums([word.encode()], pieces + rest, logp)[0, -1]
    assert float(torch.tensor(theirs).logsumexp(0)) == pytest.approx(float(total), abs=1e-4)


# -- refused ---------------------------------------------------------------------------------------

ONE = torch.zeros(1).double()
FLAT = UnigramTokenizer(RAW, [0.0] * 256)


@pytest.mark.parametrize(
    "call,error,words",
    [
        (lambda: forward_sums([b"a"], [b"a"], ONE, 0.0), ValueError, "lam must be above 0, got 0"),
        (lambda: forward_sums([b"a"], [b"a"], ONE, -1), ValueError, "lam must be above 0, got -1"),
        (lambda: forward_sums([b"ab"], [b"a"], ONE), ValueError, "single byte.* b'b' is missing"),
        (lambda: forward_sums([b"ab"], [b"ab"], ONE), ValueError, "b'a' is missing"),
        (lambda: forward_sums([b"a", b""], [b"a"], ONE), ValueError, "texts must be some, none of"),
        (lambda: forward_sums([], [b"a"], ONE), ValueError, "texts must be some"),
        (lambda: forward_sums(b"ab", [b"a"], ONE), ValueError, "texts must be some"),
        (lambda: forward_sums(["ab"], [b"a"], ONE), TypeError, "texts must be bytes"),
        (lambda: forward_sums([b"a"], [b"a", b"a"], ONE.expand(2)), ValueError, "that differ"),
        (lambda: forward_sums([b"a"], [b"a", b""], ONE.expand(2)), ValueError, "none of them"),
        (lambda: forward_sums([b"a"], [b"a"], ONE.expand(2)), ValueError, "each of 1 pieces"),
        (lambda: forward_sums([b"a"], [b"a"], ONE - math.inf), ValueError, "logp must be finite"),
        (lambda: nbest([b"a"], [b"a"], ONE, 0), ValueError, "n must be at least 1, got 0"),
        (lambda: sample([b"a"], [b"a"], ONE, ONE[None] + 1), ValueError, r"u must lie in \[0, 1\)"),
        (lambda: sample([b"aa"], [b"a"], ONE, ONE[None]), ValueError, r"shape \(1, 2\) or wider"),
        (lambda: sample([b"a"], [b"a"], ONE, ONE[None], 0), ValueError, "lam must be above 0"),
        (lambda: train({b"a": 1}, 255), ValueError, "size must be at least 256.* got 255"),
        (lambda: train({b"a": 1}, 256, 0), ValueError, "longest must be at least 1"),
        (lambda: train({b"a": 1}, 256, start=-1), ValueError, "start must be at least 0"),
        (lambda: UnigramTokenizer([b"a"], ONE), ValueError, "begin with the 256 single bytes"),
        (lambda: UnigramTokenizer(RAW, ONE), ValueError, "each of 256 pieces"),
        (lambda: FLAT.encode(3), TypeError, "str or bytes, got int"),
        (lambda: FLAT.decode([256]), ValueError, "got 256"),
        (lambda: FLAT.decode([-1]), ValueError, "got -1"),
        (lambda: FLAT.decode([97.5]), TypeError, r"ids must be integers, got \[97.5"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()
