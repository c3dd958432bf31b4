"""Words and spellings: by hand, byte for byte, refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutants import edited

from minilib import lab
from minilib.char_aware import CharAware
from minilib.naive import word_tokenizer as naive
from minilib.word_tokenizer import WordTokenizer, decode, encode, frequent, pieces

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.pieces: [
        *edited(
            naive.pieces,
            apostrophe_is_no_letter=(""" or byte == ord("'")""", ""),
            other_scripts_are_no_letters=("byte >= 128 or chr(byte)", "byte < 128 and chr(byte)"),
            digits_are_letters=(".isalpha()", ".isalnum()"),
            blanks_apart=("inside = blank or", "inside ="),
            several_blanks_in_one=(
                'blank = text[start] == ord(" ")',
                "blank = False",
                'or byte == ord("\'")',
                'or byte in b" \'"',
            ),
            no_limit=("end - start < longest and", ""),
            limit_without_the_blank=("< longest", "< longest + blank"),
        ),
    ],
    naive.frequent: [
        *edited(
            naive.frequent,
            single_bytes_too=("len(piece) >= 2", "piece"),
            rarest_first=("-times[piece], piece", "times[piece], piece"),
            ties_by_first_seen=("(-times[piece], piece)", "-times[piece]"),
            limit_ignored=(
                "pieces(text, longest):\n        if len(piece) >= 2",
                "pieces(text):\n        if len(piece) >= 2",
            ),
        ),
    ],
    naive.encode: [
        *edited(
            naive.encode,
            words_from_256=("258 + words", "256 + words"),
            end_left_out=("*piece, 257", "*piece"),
            begin_left_out=("[256, *piece", "[*piece"),
            single_bytes_are_spelled=("len(piece) == 1", "len(piece) == 0"),
            all_unknown_alike=("[256, *piece, 257]", "[256]"),
        ),
    ],
    naive.decode: [
        *edited(
            naive.decode,
            words_from_259=("words[i - 258]", "words[i - 259]"),
            marks_are_written=("i < 256", "i < 258", "bytes([i])", "bytes([i % 256])"),
            words_left_out=("i >= 258", "i >= 999"),
        ),
    ],
}


# -- right -----------------------------------------------------------------------------------------


def test_by_hand():
    assert pieces(b"I'll go.\n 2 caf\xc3\xa9s") == [
        b"I'll", b" go", b".", b"\n", b" ", b"2", b" caf\xc3\xa9s",
    ]  # fmt: skip
    assert pieces(b"abcde fghi", 3) == [b"abc", b"de", b" fg", b"hi"]
    assert frequent(b"to be or not to be to", 2) == [b" be", b" to"]
    assert encode(b" be bop.", [b" be"]) == [258, 256, *b" bop", 257, 46]
    assert decode([258, 256, 33, 257], [b" be"]) == b" be!"


@given(st.binary(max_size=200), st.integers(2, 9))
def test_every_text_comes_back(text, longest):
    tokenizer = WordTokenizer.train(text + b" the the", 5, longest)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert all(len(piece) <= longest for piece in pieces(text, longest))
    assert pieces(text, longest) == naive.pieces(text, longest)


def test_known_words_are_one_id_each():
    tokenizer = WordTokenizer([b" the", "Größe", b" cat"])
    assert tokenizer.encode("Größe the cat") == [259, 258, 260]
    assert tokenizer.vocab_size == 261


def test_bits_per_byte_counts_the_spelling():
    """A model that knows nothing pays log2 of the vocabulary for every id, spelled letters too."""
    tokenizer = WordTokenizer([b" the"])
    model = CharAware([b" the"], width=4, speller=4, vector=4, filters=1)
    for p in model.parameters():
        p.data.zero_()
    text = b"in the end"
    n_word, n_letter = 259, 257  # outside a spelling; inside, where words are barred
    ids = tokenizer.encode(text)
    assert len(ids) == 2 + 2 + 1 + 2 + 4
    import math

    inside = 3 + 5  # ids that a spelling's beginning or letter is before
    bits = inside * math.log2(n_letter) + (len(ids) - inside) * math.log2(n_word)
    assert lab.bits_per_byte(model, text, tokenizer) == pytest.approx(bits / len(text), rel=1e-6)


def test_save_and_load(tmp_path):
    tokenizer = WordTokenizer([b" the", bytes(range(200, 220)), "Größe"], 20)
    tokenizer.save(tmp_path / "words.json")
    again = WordTokenizer.load(tmp_path / "words.json")
    assert again.words == tokenizer.words and again.longest == tokenizer.longest
    for damaged in (
        "",
        "{}",
        "[]",
        '{"words": [1], "longest": 3}',
        '{"words": "a", "longest": []}',
    ):
        (tmp_path / "words.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"words\.json' holds no words"):
            WordTokenizer.load(tmp_path / "words.json")
    with pytest.raises(ValueError, match="holds no words"):
        WordTokenizer.load(tmp_path / "nowhere.json")


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call,error,words",
    [
        (lambda: WordTokenizer([b""]), ValueError, "1 to 20 bytes, got b''"),
        (lambda: WordTokenizer([b"abc"], 2), ValueError, "1 to 2 bytes, got b'abc'"),
        (lambda: WordTokenizer([b"ab", "ab"]), ValueError, "words must differ"),
        (lambda: WordTokenizer([3]), TypeError, "must be str or bytes, got int"),
        (lambda: WordTokenizer([]).encode(3), TypeError, "must be str or bytes, got int"),
        (lambda: WordTokenizer([]).decode([258]), ValueError, r"lie in \[0, 258\), got 258"),
        (lambda: WordTokenizer([]).decode([-1]), ValueError, "got -1"),
        (lambda: WordTokenizer([]).decode([97.5]), TypeError, r"ids must be integers, got \[97.5"),
        (lambda: pieces(b"ab", 1), ValueError, "longest must be 2 or more, got 1"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()
