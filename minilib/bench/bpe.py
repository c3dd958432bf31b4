"""The twins of bpe beside definitions and peers."""

import json
import os
import time

from minilib.bpe import Tokenizer
from minilib.naive import bpe as naive
from minilib.naive.bpe import GPT2, PATTERNS


def bench(device):
    """All plays: training at three sizes and encoding with 8,192 tokens, against those peers that are installed; equal merges and ids are asserted first."""
    import importlib.util
    import io

    from minilib.lab import data

    os.environ["RAYON_NUM_THREADS"] = "1"  # tokenizers, rustbpe
    plays = [play.decode() for play in data.plays().values()]
    peer = {
        name: importlib.import_module(name) if importlib.util.find_spec(name) else None
        for name in ("tokenizers", "rustbpe", "tiktoken", "sentencepiece")
    }

    def hf(size):
        model = peer["tokenizers"].Tokenizer(peer["tokenizers"].models.BPE())
        level = peer["tokenizers"].pre_tokenizers.ByteLevel
        model.pre_tokenizer = level(add_prefix_space=False)
        model.train_from_iterator(
            plays,
            peer["tokenizers"].trainers.BpeTrainer(
                vocab_size=size, initial_alphabet=level.alphabet(), show_progress=False
            ),
        )
        return model

    def rust(size):
        model = peer["rustbpe"].Tokenizer()
        model.train_from_iterator(iter(plays), size, pattern=PATTERNS["gpt2"])
        return model

    def pieces(size):
        file, lines = io.BytesIO(), (line for play in plays for line in play.splitlines())
        peer["sentencepiece"].SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=file,
            vocab_size=size,
            model_type="bpe",
            num_threads=1,
            minloglevel=2,
            hard_vocab_limit=False,
        )
        return peer["sentencepiece"].SentencePieceProcessor(model_proto=file.getvalue())

    def race(ours, others):
        """CPU seconds of each (one thread, whatever else the machine does), the best of three rounds in which they take turns; None for a missing peer."""
        runners = {"ours": (ours, True)} | {name: (run, peer[name]) for name, run in others.items()}
        taken = {name: [] for name in runners}
        for _ in range(3):
            for name, (run, there) in runners.items():
                start = time.process_time()
                if there:
                    run()
                    taken[name].append(time.process_time() - start)
        return {name: min(times, default=None) for name, times in taken.items()}

    for size in (512, 8192, 32768):
        if peer["rustbpe"]:
            assert [
                bytes(token) for token, _ in rust(size).get_mergeable_ranks()
            ] == Tokenizer.train(plays, size).tokens
        if peer["tokenizers"]:
            merges = json.loads(hf(size).to_str())["model"]["merges"]
            assert [tuple(map(naive.from_letters, pair)) for pair in merges] == Tokenizer.train(
                plays, size, alphabet=GPT2
            ).merges
        learn = lambda size=size: Tokenizer.train(plays, size)
        others = {
            "tokenizers": lambda size=size: hf(size),
            "rustbpe": lambda size=size: rust(size),
            "sentencepiece": lambda size=size: pieces(size),
        }
        yield (
            f"training on {sum(map(len, plays)) / 1e6:.1f} MB, {size:,} tokens",
            race(learn, others),
        )

    trained = Tokenizer.train(plays, 8192, alphabet=GPT2)
    if peer["tiktoken"]:
        tik = peer["tiktoken"].Encoding(
            "plays",
            pat_str=PATTERNS["gpt2"],
            mergeable_ranks={token: k for k, token in enumerate(trained.tokens)},
            special_tokens={},
        )
        assert all(tik.encode_ordinary(play) == trained.encode(play) for play in plays)
    if peer["tokenizers"]:
        model = hf(8192)
        assert model.encode(plays[0]).ids == trained.encode(plays[0])
    sp = pieces(8192) if peer["sentencepiece"] else None
    others = {
        "tiktoken": lambda: [tik.encode_ordinary(play) for play in plays],
        "sentencepiece": lambda: [sp.encode(play) for play in plays],
        "tokenizers": lambda: [model.encode(play) for play in plays],
    }

    def first_time():
        tokenizer = Tokenizer(trained.tokens, trained.merges)
        return [tokenizer.encode(play) for play in plays]

    yield "encoding, nothing cached", race(first_time, others)
    yield "encoding again", race(lambda: [trained.encode(play) for play in plays], others)
