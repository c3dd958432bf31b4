"""What a tokenizer costs a language: the definition of every number that tokenizers are chosen by.

Sources: Petrov et al. 2023 (arXiv:2305.15425), premium and parity; Acs 2019 (a blog post) and
Rust et al. 2021 (arXiv:2012.15613), fertility; Efron 1979, the bootstrap; Spearman 1904, the
rank correlation.

    word        meaning
    encode      a tokenizer: function str -> list of ids
    texts       list of str; `english` are the same sentences in English, in the same order
    tokens      how many ids each text has
    score       a sum over texts divided by another one: bytes, words, tokens or bits
"""


def sizes(encode, texts):
    """How long each text is: a list of (bytes, characters, words, tokens).

    bytes       of its UTF-8: a character takes 1 below 128, 2 below 2,048, 3 below 65,536, else 4
    characters  code points: a letter with a mark may be one or two
    words       what white space separates
    """
    found = []
    for text in texts:
        n_bytes = 0
        words = 0
        before = " "
        for character in text:
            code = ord(character)
            n_bytes += 1 if code < 128 else 2 if code < 2048 else 3 if code < 65536 else 4
            words += before.isspace() and not character.isspace()
            before = character
        found.append((n_bytes, len(text), words, len(encode(text))))
    return found


def premium(encode, texts, english):
    """How many times the tokens of English a language needs for the same sentences.

    The ratio of the sums, not the mean of the ratios, in which short texts would weigh as much as
    long ones. 1 is parity. (Petrov et al., section 3)
    """
    tokens = 0
    english_tokens = 0
    for text, same_in_english in zip(texts, english, strict=True):
        tokens += len(encode(text))
        english_tokens += len(encode(same_in_english))
    return tokens / english_tokens


def fertility(encode, texts):
    """Tokens per word, where white space separates words. (Acs 2019)"""
    tokens = 0
    words = 0
    for text in texts:
        tokens += len(encode(text))
        words += len(text.split())
    return tokens / words


def interval(above, below, draws, level=0.95):
    """Where a score sum(above) / sum(below) would lie with other texts: (low, high).

    The bootstrap: draw as many texts as there are, with replacement, again and again,
    and take the score of each draw. The middle `level` of the scores lies between low
    and high; an end between two of them lies on the line that joins them.
    above, below  (texts,) two numbers of each text
    draws         (how often, texts) int: which texts are drawn
    """
    scores = []
    for draw in draws:
        a = sum(above[i] for i in draw)
        b = sum(below[i] for i in draw)
        scores.append(a / b)
    scores.sort()
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * (len(scores) - 1)
        k = int(place)
        ends.append(scores[k] + (place - k) * (scores[k + 1] - scores[k]))
    return tuple(ends)


def vocabulary_share(encode, texts, vocab_size):
    """The share of the vocabulary that ever stands in the texts."""
    used = set()
    for text in texts:
        used.update(encode(text))
    return len(used) / vocab_size


def reweight(weights, premiums, rate=1.0):
    """Weights of languages in the training mixture: more for those that pay more. They sum to 1.

    weights   (languages,) positive
    premiums  (languages,) of a tokenizer that was trained with them
    rate      0 changes nothing
    """
    raised = []
    for weight, paid in zip(weights, premiums, strict=True):
        raised.append(weight * paid**rate)
    return [weight / sum(raised) for weight in raised]


def rank_correlation(a, b):
    """Spearman's: the correlation of the ranks of a and b; equal numbers share their mean rank.

    a, b  (n,) numbers. 1 if both have one order, -1 if opposite ones
    """
    ranks = []
    for values in (a, b):
        below = [sum(other < value for other in values) for value in values]
        equal = [sum(other == value for other in values) for value in values]
        # as far as from the mean, (n - 1) / 2
        middle = (len(values) - 1) / 2
        ranks.append([n + (m - 1) / 2 - middle for n, m in zip(below, equal, strict=True)])
    together = sum(x * y for x, y in zip(*ranks, strict=True))
    alone = [sum(x * x for x in row) for row in ranks]
    return together / (alone[0] * alone[1]) ** 0.5


def permutation_p(a, b, orders):
    """How often chance alone gives a rank correlation of this size: a p-value of two sides.

    orders  (how many, n) int: each row puts b in another order
    The order that was found counts as one more draw, so that p is never 0.
    """
    found = abs(rank_correlation(a, b))
    as_large = 1
    for order in orders:
        shuffled = [b[i] for i in order]
        as_large += abs(rank_correlation(a, shuffled)) >= found - 1e-9
    return as_large / (1 + len(orders))
