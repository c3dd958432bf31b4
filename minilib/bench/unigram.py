"""The n best segmentations of many strings, beside the definition and sentencepiece."""

import io
import itertools
import time

from minilib.bench.bpe import peer, race, texts
from minilib.naive import unigram as naive
from minilib.unigram import UnigramTokenizer, nbest


def lines(count):
    """Different lines of the plays, of 10 to 60 bytes."""
    found = dict.fromkeys(line for play in texts() for line in play.splitlines())
    return list(itertools.islice((x for x in found if 10 <= len(x.encode()) <= 60), count))


def train_sentencepiece(strings, size):
    sp, file = peer("sentencepiece"), io.BytesIO()
    how = {"num_threads": 1, "minloglevel": 2, "hard_vocab_limit": False}
    strings = iter(strings)
    sp.SentencePieceTrainer.train(
        sentence_iterator=strings, model_writer=file, vocab_size=size, **how
    )
    return sp.SentencePieceProcessor(model_proto=file.getvalue())


def nbest_with_a_dictionary(strings, pieces, logp, n):
    """As the definition, but with pieces looked up: what plain Python reaches."""
    number, longest = {piece: w for w, piece in enumerate(pieces)}, max(map(len, pieces))
    units = [round(value * 2**32) for value in logp.tolist()]
    found = []
    for text in strings:
        best = [[(0, [])]]
        for end in range(1, len(text) + 1):
            options = []
            for size in range(1, min(end, longest) + 1):
                w = number.get(text[end - size : end])
                if w is not None:
                    before = best[end - size]
                    options += [(score + units[w], [*ids, w]) for score, ids in before]
            options.sort(key=lambda option: -option[0])
            best.append(options[:n])
        found.append([ids for _, ids in best[-1]])
    return found


def scaled(run, strings, part):
    """Seconds of processor time for all strings, from those of every part-th."""
    start = time.process_time()
    run(strings[::part])
    return (time.process_time() - start) * len(strings) / len(strings[::part])


def bench(device):
    """10,000 lines, 2,000 pieces. The definition does 20 of the lines, plain Python 500."""
    strings = lines(10_000)
    tokenizer = UnigramTokenizer.train("\n".join(strings), 2000)
    raw, model = [line.encode() for line in strings], (tokenizer.pieces, tokenizer.logp)
    slow = tokenizer.pieces, tokenizer.logp.numpy()
    for n in (1, 5):
        ours = nbest(raw[::500], *model, n)
        assert naive.nbest(raw[::500], *slow, n) == ours
        assert nbest_with_a_dictionary(raw[::500], *slow, n) == ours
        others = {}
        if peer("sentencepiece"):  # other pieces, so other segmentations
            sp = train_sentencepiece(strings, 2000)
            others["sentencepiece"] = lambda n=n, sp=sp: sp.nbest_encode_as_ids(strings, n)
        found = race(lambda n=n: nbest(raw, *model, n), others)
        found["definition"] = scaled(lambda some, n=n: naive.nbest(some, *slow, n), raw, 500)
        loop = lambda some, n=n: nbest_with_a_dictionary(some, *slow, n)
        found["plain Python with a dictionary"] = scaled(loop, raw, 20)
        yield f"{n} best of 10,000 lines, 2,000 pieces", found
