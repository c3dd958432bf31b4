"""Encoding beside peers."""

from minilib.bench.bpe import peer, race, texts, train_sentencepiece, train_tokenizers
from minilib.naive.bpe import GPT2
from minilib.naive.pretokenizer import PATTERNS
from minilib.tokenizer import Tokenizer


def bench(device):
    """All plays with 8,192 tokens, against the peers that are installed; their ids are the same."""
    plays, others = texts(), dict.fromkeys(("tiktoken", "sentencepiece", "tokenizers"))
    trained = Tokenizer.train(plays, 8192, alphabet=GPT2)
    if peer("tiktoken"):
        ranks = {token: k for k, token in enumerate(trained.tokens)}
        how = {"pat_str": PATTERNS["gpt2"], "mergeable_ranks": ranks, "special_tokens": {}}
        tik = peer("tiktoken").Encoding("plays", **how)
        assert all(tik.encode_ordinary(play) == trained.encode(play) for play in plays)
        others["tiktoken"] = lambda: [tik.encode_ordinary(play) for play in plays]
    if peer("tokenizers"):
        hf = train_tokenizers(plays, 8192)
        assert hf.encode(plays[0]).ids == trained.encode(plays[0])
        others["tokenizers"] = lambda: [hf.encode(play) for play in plays]
    if peer("sentencepiece"):  # other pieces, so other ids
        sp = train_sentencepiece(plays, 8192)
        others["sentencepiece"] = lambda: [sp.encode(play) for play in plays]

    def first_time():
        tokenizer = Tokenizer(trained.tokens, trained.merges)
        return [tokenizer.encode(play) for play in plays]

    yield "encoding, nothing cached", race(first_time, others)
    yield "encoding again", race(lambda: [trained.encode(play) for play in plays], others)
