"""A tokenizer, the definition: whole texts to ids and back.

A vocabulary is a dictionary, the arguments of minilib.tokenizer.Tokenizer:

    tokens    all tokens as bytes in the order of their ranks, the 256 single bytes among them
    merges    [(left token, right token)], applied in this order; None: encode by rank
    pattern   what cuts the text into pieces: a name in PATTERNS or a regular expression
    specials  {text: id}: special tokens
    ids       the id of each token; default: its rank
    whole     take a piece that is a token as it is, without merging
"""

from minilib.naive import bpe
from minilib.naive.bpe import RAW
from minilib.naive.pretokenizer import pattern_of, pretokenize


def train(text, vocab_size, pattern="gpt2", tie="smallest", alphabet=RAW, specials=()):
    """Learn a vocabulary: 256 bytes, then merges, then the special tokens.

    text      str or bytes, or a list of them: no piece crosses from one to the next
    specials  where they stand in the text they end a piece, and are no piece themselves
    returns   {"tokens", "merges", "pattern", "specials"}
    """
    pieces = []
    for document in [text] if isinstance(text, (str, bytes)) else text:
        for part in _parts(_text(document), specials):
            if part not in specials:
                pieces += _pieces(part, pattern)
    merges = bpe.train(pieces, vocab_size - 256 - len(specials), tie, alphabet)
    tokens = bpe.vocabulary(merges, alphabet)
    return {
        "tokens": tokens,
        "merges": [(tokens[left], tokens[right]) for left, right in merges],
        "pattern": pattern_of(pattern),
        "specials": {mark: len(tokens) + k for k, mark in enumerate(specials)},
    }


def encode(text, vocabulary, allowed=()):
    """str or bytes -> list of ids.

    allowed  the special tokens to look for, or "all"; elsewhere their text is ordinary text
    """
    tokens, merges = vocabulary["tokens"], vocabulary.get("merges")
    pattern, specials = vocabulary.get("pattern", "gpt2"), vocabulary.get("specials", {})
    number = dict(zip(tokens, vocabulary.get("ids", range(len(tokens))), strict=True))
    allowed = specials if allowed == "all" else allowed
    ids = []
    for part in _parts(_text(text), allowed):
        if part in allowed:
            ids.append(specials[part])
            continue
        for piece in _pieces(part, pattern):
            if merges is None:
                found = bpe.encode_by_rank(piece, tokens)
            elif vocabulary.get("whole") and piece in number:
                found = [piece]
            else:
                found = bpe.encode_by_merges(piece, merges)
            ids += [number[token] for token in found]
    return ids


def decode(ids, vocabulary):
    """ids -> bytes."""
    tokens = vocabulary["tokens"]
    text = dict(zip(vocabulary.get("ids", range(len(tokens))), tokens, strict=True))
    for mark, i in vocabulary.get("specials", {}).items():
        text.setdefault(i, mark.encode())  # of two with one id, the first
    return b"".join(text[i] for i in ids)


def _text(text):
    """Bytes as str: those that are no UTF-8 become lone surrogates, no pattern's letters."""
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def _pieces(text, pattern):
    pieces = pretokenize(text, pattern_of(pattern))
    return [piece.encode("utf-8", "surrogateescape") for piece in pieces]


def _parts(text, marks):
    """The text cut before and after each of these marks; of two at one place the longer counts."""
    parts, end, i = [], 0, 0
    while i < len(text):
        found = max((mark for mark in marks if text.startswith(mark, i)), key=len, default="")
        if found:
            parts += [text[end:i], found]
            end = i + len(found)
        i += len(found) or 1
    return [*parts, text[end:]]
