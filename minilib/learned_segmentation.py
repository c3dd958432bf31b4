"""OpTok: a unigram model cuts texts, and the loss of a task moves it.

Words are those of minilib/naive/unigram.py and minilib/naive/learned_segmentation.py.
Not here: the restricted vocabulary of the authors' code, which draws a part of the pieces for each
training step, so that a large vocabulary is affordable. All pieces take part in every step.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilib import twin
from minilib.naive import learned_segmentation as naive
from minilib.unigram import check_lam, check_model, nbest, sample


@twin(naive.weights)
def weights(scores: Tensor, lam: float = 1.0) -> Tensor:
    """a_n (B, N): a softmax of lam log p(s_n) over each list of the N best segmentations."""
    check_lam(lam)
    return (lam * scores).softmax(1)


@twin(naive.optok)
class OpTok(nn.Module):
    """A classifier of texts whose loss also learns how to cut them (Hiraoka et al. 2020, 2021).

    pieces   what a text may be cut into; `unigram` holds one number for each, and log p is its
             log-softmax (the paper computes it from a copy of the piece's vector)
    classes  number of labels
    width    of the vector of a piece; a text is the mean of these (in the paper an LSTM)
    n, lam   segmentations in the list; p(s)^lam is what `mixed_loss` weighs them by, and what
             `expected_loss` draws from
    mu       how much of the loss holds the unigram model to what it finds likely (the authors'
             code also divides this term by n)
    logp     where log p(w) starts; default: all pieces alike
    Counts of pieces are dense, (B, n, V): for vocabularies of some thousand pieces at most.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        classes: int,
        width: int = 8,
        n: int = 5,
        lam: float = 0.2,
        mu: float = 0.01,
        logp: Tensor | None = None,
    ):
        super().__init__()
        check_lam(lam)
        if min(classes, width, n) < 1:
            found = f"{classes}, {width}, {n}"
            raise ValueError(f"classes, width and n must be at least 1, got {found}")
        self.pieces, self.n, self.lam, self.mu = list(pieces), n, lam, mu
        V = len(self.pieces)
        start = torch.zeros(V) if logp is None else torch.as_tensor(logp).detach().float()
        check_model(self.pieces, start)
        self.unigram = nn.Parameter(start.clone())
        self.embed = nn.Parameter(torch.randn(V, width))
        self.W = nn.Parameter(torch.randn(classes, width) / width**0.5)
        self.b = nn.Parameter(torch.zeros(classes))

    def logp(self) -> Tensor:
        """(V,) log p(w)."""
        return self.unigram.log_softmax(0)

    def classify(self, vectors: Tensor) -> Tensor:
        """Vectors of texts (..., width) -> logits (..., classes)."""
        return functional.linear(vectors, self.W, self.b)

    def forward(self, texts: list[bytes]) -> Tensor:
        """Logits (B, classes) by the best segmentation of each text."""
        counts, _ = self._counts(nbest(texts, self.pieces, self.logp(), 1))
        return self.classify(self._vectors(counts))[:, 0]

    def mixed_loss(self, texts: list[bytes], labels: Tensor) -> Tensor:
        """Version 1: the loss of the mean of the vectors of the N best, weighted by a_n."""
        self._check(texts, labels)
        counts, scores = self._counts(nbest(texts, self.pieces, self.logp(), self.n))
        a = weights(scores, self.lam)  # (B, N)
        h = (a[:, :, None] * self._vectors(counts)).sum(1)  # (B, width)
        loss = functional.cross_entropy(self.classify(h), labels)
        return loss + self.mu * self._drift(counts, scores, a)

    def expected_loss(self, texts: list[bytes], labels: Tensor, u: Tensor) -> Tensor:
        """Version 2: the classifier learns from a drawn segmentation, the unigram model from a_n.

        u (B, T) uniforms of `sample`. The losses of the N best are constants: no gradient of theirs
        reaches the classifier.
        """
        self._check(texts, labels)
        drawn = sample(texts, self.pieces, self.logp(), u, self.lam)
        counts, _ = self._counts([[ids] for ids in drawn])
        loss = functional.cross_entropy(self.classify(self._vectors(counts))[:, 0], labels)

        counts, scores = self._counts(nbest(texts, self.pieces, self.logp(), self.n))
        with torch.no_grad():
            logits = self.classify(self._vectors(counts)).transpose(1, 2)  # (B, classes, N)
            every = labels[:, None].expand(scores.shape)
            losses = functional.cross_entropy(logits, every, reduction="none")  # (B, N)
        a = weights(scores)
        expected = (a * losses).sum(1).mean()
        return loss + expected + self.mu * self._drift(counts, scores, a)

    def _check(self, texts, labels):
        if labels.shape != (len(texts),):
            found = f"shape ({len(texts)},), got {tuple(labels.shape)}"
            raise ValueError(f"labels must be one for each text, {found}")
        outside = labels[(labels < 0) | (labels >= len(self.b))]
        if len(outside):
            raise ValueError(f"labels must lie in [0, {len(self.b)}), got {int(outside[0])}")

    def _counts(self, lists):
        """(B, N, V) how often each piece is in a segmentation, and (B, N) log p(s)."""
        B, N, V = len(lists), max(map(len, lists)), len(self.pieces)
        places = [
            (b * N + k) * V + w
            for b, found in enumerate(lists)
            for k, ids in enumerate(found)
            for w in ids
        ]
        places = torch.tensor(places, device=self.embed.device)
        counts = torch.bincount(places, minlength=B * N * V)
        counts = counts.view(B, N, V).to(self.embed.dtype)
        there = counts.sum(2) > 0
        return counts, torch.where(there, counts @ self.logp(), -math.inf)

    def _vectors(self, counts):
        """The mean vector of the pieces, (B, N, width); 0 where a list is shorter."""
        return counts @ self.embed / counts.sum(2, keepdim=True).clamp(min=1)

    def _drift(self, counts, scores, a):
        """-log p(s_n) a piece, weighted by a_n as it stands, mean over the lists."""
        length = counts.sum(2)
        each = torch.where(length > 0, scores / length.clamp(min=1), 0.0)
        return -(a.detach() * each).sum(1).mean()
