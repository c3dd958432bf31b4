"""A unigram model of pieces: a text can be cut into them in many ways, and it scores them all.

    text          bytes, at least one
    pieces        list of different byte strings, every single byte of the texts among them
    logp          (V,) log p(w) of each piece w, in nats
    segmentation  a list of ids, places in pieces, whose pieces give the text when joined
    score         of a segmentation s: the sum of logp over its ids, which is log p(s)
    lam           lambda: segmentations are weighted by p(s)^lam; below 1 they come closer together

Source: Kudo 2018 (arXiv:1804.10959) for the model, its training and sampling from it.
"""

import numpy as np


def ending(text, end, pieces):
    """Ids of the pieces that end at byte `end` of the text, the shortest first."""
    found = [w for w, piece in enumerate(pieces) if text[:end].endswith(piece)]
    return sorted(found, key=lambda w: len(pieces[w]))


def forward_sums(texts, pieces, logp, lam=1.0):
    """For each beginning of each text the log of the sum of p(s)^lam over all its segmentations.

    texts    list of B texts, the longest of T bytes
    returns  A (B, T + 1): A[b, e] is that of the first e bytes of text b, so A[b, 0] = 0;
             -inf behind the text's end
    """
    A = np.full((len(texts), max(map(len, texts)) + 1), -np.inf)
    for b, text in enumerate(texts):
        A[b, 0] = 0.0
        for end in range(1, len(text) + 1):
            for w in ending(text, end, pieces):
                before = A[b, end - len(pieces[w])]
                A[b, end] = np.logaddexp(A[b, end], before + lam * logp[w])
    return A


def sample(texts, pieces, logp, u, lam=1.0):
    """One segmentation of each text, drawn with its probability, p(s)^lam over the sum of all.

    Forward filtering, backward sampling: the last piece is drawn first, then the one before it.
    u        (B, T) uniforms in [0, 1): u[b, e - 1] decides which piece ends at byte e
    returns  list of B segmentations
    """
    A = forward_sums(texts, pieces, logp, lam)
    drawn = []
    for b, text in enumerate(texts):
        ids, end = [], len(text)
        while end > 0:
            total = 0.0
            for w in ending(text, end, pieces):
                before = A[b, end - len(pieces[w])]
                total += np.exp(before + lam * logp[w] - A[b, end])
                if u[b, end - 1] < total:
                    break
            ids = [w, *ids]
            end -= len(pieces[w])
        drawn.append(ids)
    return drawn


def nbest(texts, pieces, logp, n):
    """The n segmentations of each text with the highest scores, best first (k-best Viterbi).

    Scores are compared in whole units of 2^-32 nats, so that equal ones are equal, whatever the
    order of their terms. Of equals the one with the shorter last piece comes first; if these are
    the same, the one with the shorter piece before it, and so on.
    returns  list of B lists of segmentations; shorter ones where a text has fewer than n
    """
    units = [round(float(value) * 2**32) for value in logp]
    found = []
    for text in texts:
        best = [[(0, [])]]  # best[e]: (score, segmentation) of the first e bytes
        for end in range(1, len(text) + 1):
            options = []
            for w in ending(text, end, pieces):
                before = best[end - len(pieces[w])]
                options += [(score + units[w], [*ids, w]) for score, ids in before]
            options.sort(key=lambda option: -option[0])  # equals stay as they are
            best.append(options[:n])
        found.append([ids for _, ids in best[-1]])
    return found


def em_step(texts, pieces, logp):
    """log p(w) after one step of EM: the share of each piece in the expected counts.

    The expected count of a piece is the sum over its places of the probability that a segmentation
    drawn from p(s) has it there. One below 1e-6 counts as 1e-6, so that its log is finite.
    texts    {text: how often}
    returns  (V,)
    """
    backwards = [piece[::-1] for piece in pieces]
    counts = np.zeros(len(pieces))
    for text, times in texts.items():
        A = forward_sums([text], pieces, logp)[0]
        rest = forward_sums([text[::-1]], backwards, logp)[0][::-1]  # rest[e]: of what follows e
        for end in range(1, len(text) + 1):
            for w in ending(text, end, pieces):
                share = A[end - len(pieces[w])] + logp[w] + rest[end] - A[-1]
                counts[w] += times * np.exp(share)
    counts = np.maximum(counts, 1e-6)
    return np.log(counts / counts.sum())


def train(texts, size, longest=8, start=10_000):
    """A unigram model of `size` pieces: start with too many, and drop those that help least.

    The start: all 256 bytes, and of the strings of 2 to `longest` bytes that stand in the texts
    twice or more the `start` with the most bytes in all. Two steps of EM, then a quarter of the
    longer pieces goes, or as many as are too many; again, until `size` are left.
    What a piece helps is what would be lost without it: p(w) times how much better the piece is
    than its best segmentation into others. (Rounded to 1e-12; of equals the larger goes first.)
    texts    {text: how often}
    returns  pieces, the 256 bytes first, and a list of their logp; fewer if there are no more
    """
    times = {bytes([byte]): 0 for byte in range(256)}
    for text, number in texts.items():
        for i in range(len(text)):
            for j in range(i + 1, min(i + longest, len(text)) + 1):
                piece = text[i:j]
                times[piece] = times.get(piece, 0) + number
    longer = [piece for piece in times if len(piece) >= 2 and times[piece] >= 2]
    longer.sort(key=lambda piece: (-times[piece] * len(piece), piece))
    pieces = [bytes([byte]) for byte in range(256)] + longer[:start]
    counts = np.array([max(times[piece], 1e-6) for piece in pieces])
    logp = np.log(counts / counts.sum())
    while True:
        logp = em_step(texts, pieces, em_step(texts, pieces, logp))
        if len(pieces) <= size:
            return pieces, logp.tolist()
        helps = {}
        for w in range(256, len(pieces)):
            one, other = nbest([pieces[w]], pieces, logp, 2)[0]
            if one == [w]:
                one = other
            better = logp[w] - sum(logp[v] for v in one)
            helps[w] = round(float(np.exp(logp[w]) * better), 12)
        keep = max(size - 256, len(helps) * 3 // 4)
        most = sorted(helps, key=lambda w: (-helps[w], pieces[w]))[:keep]
        stay = [*range(256), *sorted(most)]
        pieces, logp = [pieces[w] for w in stay], logp[stay]
