"""The CNN over the distinct words of a batch beside one over all of its words."""

from minilib.char_aware import CharAware
from minilib.lab import data, ids
from minilib.lab.measure import seconds_in_turn
from minilib.word_tokenizer import WordTokenizer


def bench(device):
    """Vectors of all known words in 64 rows of 128 ids of the plays, and their gradient."""
    text = data.shakespeare("play").validation[:400_000]
    tokenizer = WordTokenizer.train(text, 2000)
    model = CharAware(tokenizer.words).to(device)
    batch = ids.windows(text, batch=64, length=128, tokenizer=tokenizer)(0).to(device)
    known = batch[batch > 257] - 258
    reader = model.reader

    def distinct():
        words, where = known.unique(return_inverse=True)
        reader.read(reader.rows[words])[where].sum().backward()

    ways = {
        "ours: distinct words, then gather": distinct,
        "all words": lambda: reader.read(reader.rows[known]).sum().backward(),
    }
    yield "vectors and gradient, time", seconds_in_turn(ways, 3, device)
