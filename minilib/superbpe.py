"""SuperBPE, fast: the same tokens as the definition.

Words are those of minilib/naive/superbpe.py.
"""

import bisect
from collections.abc import Callable, Sequence

from minilib import bpe, twin
from minilib.naive import superbpe as naive
from minilib.naive.superbpe import STAGE2
from minilib.pretokenizer import pattern_of
from minilib.tokenizer import count_pieces


@twin(naive.allowed, differentiable=False)
def allowed(token: bytes, words: int = 4) -> bool:
    """May stage 2 make this token? Not with more words than four, nor with ": " inside."""
    return b": " not in token and len(token.split(None, words)) <= words


@twin(naive.train_stage2, differentiable=False)
def train_stage2(
    pieces, merges: Sequence[tuple], more: int, allow: Callable[[bytes], bool] = allowed
) -> list:
    """Go on learning merges, now inside longer pieces: all merges, those of stage 1 first.

    Pieces are long and seldom equal, so counting each distinct one once does not help. What does is
    the row of minilib.bpe: each pair knows its places, and a merge visits only these. Stage 1 is
    replayed on the row, merge by merge, then learning goes on. A refused pair is asked about once,
    when its turn comes. Time grows like the text, memory is about 100 bytes for each of its bytes.
    Raises ValueError for `more` below 0 and for merges that name an id before it is made.
    """
    if more < 0:
        raise ValueError(f"more must be at least 0, got {more}")
    trainer = bpe.Trainer(pieces)
    for k, (left, right) in enumerate(merges):
        if min(left, right) < 0 or max(left, right) >= 256 + k:
            found = f"got {left}, {right} as merge {k}"
            raise ValueError(f"merges must join ids below {256 + k}, {found}")
        trainer.merge(left, right)
    known = set(trainer.tokens)
    free = lambda token: token not in known and allow(token)
    while more and (pair := trainer.most_frequent(free)) is not None:
        trainer.merge(*pair)
        known.add(trainer.tokens[-1])
        more -= 1
    return trainer.merges


@twin(naive.train, differentiable=False)
def train(text, vocab_size: int, transition: int, pattern: str = "o200k", words: int = 4) -> dict:
    """Learn a vocabulary in two stages: the first `transition` tokens are those of BPE.

    text        str or bytes, a list of documents, or what else Tokenizer.train takes; no iterator,
                as it is read twice
    vocab_size  V, in all; fewer if no pair is left
    transition  t, where stage 2 begins, in [256, V]; V is plain BPE, 256 is BPE without pieces
    pattern     what cuts the text in stage 1
    words       how many a token of stage 2 may hold
    returns     the arguments of a Tokenizer: Tokenizer(**train(text, 8192, 4096))
    """
    if not 256 <= transition <= vocab_size:
        raise ValueError(f"transition must lie in [256, {vocab_size}], got {transition}")
    if words < 1:
        raise ValueError(f"words must be at least 1, got {words}")
    merges = bpe.train(count_pieces(text, pattern_of(pattern), ()), transition - 256)
    pieces = count_pieces(text, STAGE2, ())
    merges = train_stage2(pieces, merges, vocab_size - transition, lambda t: allowed(t, words))
    tokens = bpe.vocabulary(merges)
    pairs = [(tokens[left], tokens[right]) for left, right in merges]
    return {"tokens": tokens, "merges": pairs, "pattern": STAGE2}


@twin(naive.crossings, differentiable=False)
def crossings(ids: Sequence[int], tokens: Sequence[bytes]) -> list[tuple]:
    """Tokens that would cross the end of a prompt, if the text went on: [(k, i)].

    Token i begins with the last k tokens of the prompt, and goes on. Sorted, all tokens that begin
    alike stand side by side: two binary searches for each k. Raises ValueError for an unknown id.
    """
    for i in ids:
        if not 0 <= i < len(tokens):
            raise ValueError(f"ids must lie in [0, {len(tokens)}), got {i}")
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    spelled = [tokens[i] for i in order]
    longest = max(map(len, tokens), default=0)
    found, end = [], b""
    for k, last in enumerate(reversed(ids), 1):
        end = tokens[last] + end
        if len(end) >= longest:
            break
        first = bisect.bisect_right(spelled, end)
        stop = bisect.bisect_right(spelled, end, first, key=lambda token: token[: len(end)])
        found += [(k, i) for i in sorted(order[first:stop])]
    return found
