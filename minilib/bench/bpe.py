"""Training of BPE beside peers."""

import importlib
import importlib.util
import io
import json
import os
import time

from minilib.lab import data
from minilib.naive.bpe import GPT2
from minilib.naive.pretokenizer import PATTERNS
from minilib.spelling import from_letters
from minilib.tokenizer import Tokenizer


def peer(name):
    """The module of a peer, None if it is not installed; tokenizers and rustbpe get one thread."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def texts():
    return [play.decode() for play in data.plays().values()]


def race(ours, others):
    """CPU seconds of each, one thread, whatever else the machine does; None for a missing peer.

    others   {name of the peer: function}
    returns  the best of three rounds in which they take turns
    """
    runners = {"ours": ours} | {name: run for name, run in others.items() if peer(name)}
    taken = {"ours": []} | {name: [] for name in others}
    for _ in range(3):
        for name, run in runners.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: min(times, default=None) for name, times in taken.items()}


def train_tokenizers(plays, size):
    hf = peer("tokenizers")
    model, level = hf.Tokenizer(hf.models.BPE()), hf.pre_tokenizers.ByteLevel
    model.pre_tokenizer = level(add_prefix_space=False)
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=level.alphabet(), show_progress=False
    )
    model.train_from_iterator(plays, trainer)
    return model


def train_rustbpe(plays, size):
    model = peer("rustbpe").Tokenizer()
    model.train_from_iterator(iter(plays), size, pattern=PATTERNS["gpt2"])
    return model


def train_sentencepiece(plays, size):
    sp, file = peer("sentencepiece"), io.BytesIO()
    how = {"model_type": "bpe", "num_threads": 1, "minloglevel": 2, "hard_vocab_limit": False}
    lines = (line for play in plays for line in play.splitlines())
    sp.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=file, vocab_size=size, **how
    )
    return sp.SentencePieceProcessor(model_proto=file.getvalue())


def _assert_same_merges(plays, size):
    if peer("rustbpe"):
        tokens = [bytes(token) for token, _ in train_rustbpe(plays, size).get_mergeable_ranks()]
        assert tokens == Tokenizer.train(plays, size).tokens
    if peer("tokenizers"):
        merges = json.loads(train_tokenizers(plays, size).to_str())["model"]["merges"]
        merges = [tuple(map(from_letters, pair)) for pair in merges]
        assert merges == Tokenizer.train(plays, size, alphabet=GPT2).merges


def bench(device):
    """All plays, three sizes, against the peers that are installed; their merges are the same."""
    plays = texts()
    for size in (512, 8192, 32768):
        _assert_same_merges(plays, size)
        others = {
            "tokenizers": lambda size=size: train_tokenizers(plays, size),
            "rustbpe": lambda size=size: train_rustbpe(plays, size),
            "sentencepiece": lambda size=size: train_sentencepiece(plays, size),
        }
        what = f"training on {sum(map(len, plays)) / 1e6:.1f} MB, {size:,} tokens"
        yield what, race(lambda size=size: Tokenizer.train(plays, size), others)
