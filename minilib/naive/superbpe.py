r"""SuperBPE, the definition: tokens that do not stop at a space.

Source: Liu, Hayase, Hofmann, Oh, Smith & Choi 2025 (arXiv:2503.13423), and the patterns and limits
of the authors' training scripts.

    word        meaning
    stage 1     byte-pair encoding inside pieces that stop at a space: the first t tokens
    stage 2     the same merging goes on inside much longer pieces, up to V tokens
    transition  t, the size of the vocabulary at which stage 2 begins
    superword   a token that goes on across white space; only stage 2 makes them
"""

import itertools
from collections import Counter

from minilib.naive import bpe
from minilib.naive.pretokenizer import pattern_of, pretokenize

# What still is a piece of its own in stage 2: three digits, two or more symbols, and blanks that no
# text follows. All between is one piece, with its blanks, newlines and single symbols.
STAGE2 = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]{2,}[\r\n/]*| +(?!\S)"


def allowed(token, words=4):
    """May stage 2 make this token? Not with more words than four, nor with ": " inside.

    Words are what white space separates, whole or not. A prompt that ends in ":" would otherwise
    become one token with the beginning of its answer.
    """
    return len(token.split()) <= words and b": " not in token


def train_stage2(pieces, merges, more, allow=allowed):
    """Go on learning merges, now inside longer pieces.

    pieces   list of byte strings as STAGE2 cuts them, or {piece: how often}
    merges   of stage 1, [(left id, right id)]; merge k makes id 256 + k
    more     how many to learn; fewer come back if no pair is left
    allow    function bytes -> bool. A pair that would make a token that it refuses, or one that is
             there already, is never merged
    returns  all merges, those of stage 1 first; of equally frequent pairs the smallest goes first
    """
    words = [(list(piece), times) for piece, times in Counter(pieces).items()]
    for k, pair in enumerate(merges):  # cut the pieces into the tokens of stage 1
        words = [(bpe.merge(symbols, pair, 256 + k), times) for symbols, times in words]
    learned = list(merges)
    while len(learned) < len(merges) + more:
        counts = {}
        for symbols, times in words:
            for pair in itertools.pairwise(symbols):
                counts[pair] = counts.get(pair, 0) + times
        tokens = bpe.vocabulary(learned)
        pair = None
        for left, right in sorted(counts, key=lambda pair: (-counts[pair], pair)):
            token = tokens[left] + tokens[right]
            if token not in tokens and allow(token):
                pair = left, right
                break
        if pair is None:
            break
        new = 256 + len(learned)
        words = [(bpe.merge(symbols, pair, new), times) for symbols, times in words]
        learned.append(pair)
    return learned


def train(text, vocab_size, transition, pattern="o200k", words=4):
    """Learn a vocabulary in two stages: the first `transition` tokens are those of BPE.

    text     str, or a list of str: no piece crosses from one to the next
    pattern  what cuts the text in stage 1
    words    how many a token of stage 2 may hold
    returns  {"tokens", "merges", "pattern"}, arguments of minilib.tokenizer.Tokenizer. Texts are
             encoded with all merges, in pieces of STAGE2
    """
    texts = [text] if isinstance(text, str) else text
    pieces = {}
    for stage, cut in (1, pattern_of(pattern)), (2, STAGE2):
        found = [piece for one in texts for piece in pretokenize(one, cut)]
        pieces[stage] = [piece.encode() for piece in found]
    merges = bpe.train(pieces[1], transition - 256)
    allow = lambda token: allowed(token, words)
    merges = train_stage2(pieces[2], merges, vocab_size - transition, allow)
    tokens = bpe.vocabulary(merges)
    pairs = [(tokens[left], tokens[right]) for left, right in merges]
    return {"tokens": tokens, "merges": pairs, "pattern": STAGE2}


def crossings(ids, tokens):
    """Tokens that would cross the end of a prompt, if the text went on.

    ids      of the prompt, as it is encoded by itself
    tokens   all tokens as bytes, in the order of their ids
    returns  [(k, i)]: token i begins with the last k tokens of the prompt, and goes on. In the
             text as a whole it may stand in their place. In order of k, then of i
    """
    found = []
    for k in range(1, len(ids) + 1):
        end = b"".join(tokens[i] for i in ids[len(ids) - k :])
        for i, token in enumerate(tokens):
            if token.startswith(end) and token != end:
                found.append((k, i))
    return found
