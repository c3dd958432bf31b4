"""The deep character Transformer of Al-Rfou et al. 2018 with its three auxiliary losses.

Names and symbols are those of minilib/naive/char_transformer.py, which lists the departures from
the paper. Not here: dropout.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.attention import attention, join_heads, split_heads
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import char_transformer as naive
from minilib.shapes import check_sizes
from minilib.transformer import matrix


@twin(naive.post_norm_block)
class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + feed-forward(x)), four times as wide inside.

    width, heads  C, and how many parts of it attend on their own
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(f"heads must divide width, got heads={heads} and width={width}")
        self.width, self.heads = width, heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = matrix(3 * width, width), matrix(width, width)
        self.up, self.down = matrix(4 * width, width), matrix(width, 4 * width)

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, T, C) and all keys and values before it in its window -> the same after x."""
        q, k, v = split_heads(x, self.qkv, self.heads)
        k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
        x = self.norm1(x + join_heads(attention(q, k, v, None, True), self.out))
        return self.norm2(x + (x @ self.up.t()).relu() @ self.down.t()), k, v


@twin(naive.active_layers, differentiable=False)
def active_layers(n: int, progress: float) -> list[int]:
    """The layers, 1 … n, that pay a loss: the top one, and layer l while progress < l / (2n).

    They are always the last ones. Raises ValueError for n below 1 or progress outside [0, 1].
    """
    if n < 1 or not 0 <= progress <= 1:
        given = f"{n} and {progress}"
        raise ValueError(f"n must be 1 or more and progress lie in [0, 1], got {given}")
    first = n
    while first > 1 and progress < (first - 1) / (2 * n):
        first -= 1
    return list(range(first, n + 1))


@twin(naive.auxiliary_loss)
def auxiliary_loss(
    states: Tensor,
    classifiers: Tensor,
    ids: Tensor,
    progress: float,
    second: float = 0.5,
    places: int | None = None,
) -> Tensor:
    """Nats: the sum over active layers of the loss of the next symbol and of the one after it.

    The logits of a layer, for both symbols, come from one product; layers take turns, so that a
    processor's cache holds what it works on. Memory: 2 V numbers for each active layer and place.

    states       (n, batch, T, C), of all layers
    classifiers  (n, 2, V, C), of the next symbol and of the one after it
    ids          (batch, T + 1): place t reads ids[:, t], and predicts ids[:, t + 1], ids[:, t + 2]
    second       weight of the symbol after the next; the last place has none, and does not count
    places       how many places count, from the end; None: all of them
    Raises ValueError for shapes that do not fit, places outside [1, T], a negative second.
    """
    n, B, T, C = states.shape
    V = classifiers.shape[2]
    check_ids(ids, V, dims=2)
    if ids.shape != (B, T + 1) or classifiers.shape != (n, 2, V, C):
        given = f"{tuple(ids.shape)} and {tuple(classifiers.shape)}"
        wanted = f"({B}, {T + 1}) and ({n}, 2, V, {C}) beside states {tuple(states.shape)}"
        raise ValueError(f"ids and classifiers must have shape {wanted}, got {given}")
    kept = T if places is None else places
    if kept not in range(1, T + 1):
        raise ValueError(f"places must lie in [1, {T}] and be whole, got {places}")
    if not second >= 0:
        raise ValueError(f"second must be 0 or more, got {second}")
    one_only = second == 0 or kept == 1  # the last place has no second target
    targets = ids[:, 1:, None]
    if not one_only:
        after = torch.cat([ids[:, 2:], ids.new_full((B, 1), -100)], dim=1)  # -100: not counted
        targets = torch.stack([ids[:, 1:], after], dim=-1)
    targets, by_target = targets[:, T - kept :].flatten(), 0
    states, classifiers = states.unbind(), classifiers.unbind()  # one gradient for all layers
    for l in active_layers(n, progress):
        heads = classifiers[l - 1][: 1 if one_only else 2].flatten(0, 1)
        logits = states[l - 1][:, T - kept :].flatten(0, 1) @ heads.t()  # (batch · kept, V or 2 V)
        nats = nn.functional.cross_entropy(logits.view(-1, V), targets, reduction="none")
        by_target = by_target + nats.view(B * kept, -1).sum(0)
    if one_only:
        return by_target[0] / (B * kept)
    return by_target[0] / (B * kept) + second * by_target[1] / (B * (kept - 1))


@twin(naive.count_parameters, differentiable=False)
def count_parameters(vocab_size: int, width: int, layers: int, context: int) -> tuple[int, int]:
    """Numbers in the model: (those that predict, those of the training's other classifiers).

    Raises ValueError for a size below 1.
    """
    check_sizes(vocab_size=vocab_size, width=width, layers=layers, context=context)
    table = vocab_size * width
    predict = 2 * table + layers * width * (12 * width + 4 + context)
    return predict, (2 * layers - 1) * table


@twin(naive.char_transformer)
class CharTransformer(LanguageModel):
    """Al-Rfou et al. 2018 (arXiv:1808.04444): post-norm layers, positions learned in each of them.

    Positions are places in a window of `context` symbols, so nothing is known past it. As in
    training, a text is read as independent windows: step t stands at place t mod context, and sees
    the steps of its own window. `lab.bits_per_byte(model, text, context=model.context)` scores
    windows that overlap instead, so that each symbol has half a window before it or more.

    vocab_size  symbols
    width       C, channels; heads must divide it
    layers      n
    context     L, symbols of a window

    progress, second and places are as in `auxiliary_loss`, and may be set at any time;
    `scheduled` sets progress in training.
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 128,
        layers: int = 8,
        heads: int = 2,
        context: int = 128,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, layers=layers, context=context)
        self.vocab_size, self.context = vocab_size, context
        self.progress, self.second, self.places = 0.0, 0.5, None
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.positions = nn.Parameter(0.1 * torch.randn(layers, context, width))
        self.blocks = nn.ModuleList(PostNormBlock(width, heads) for _ in range(layers))
        small = 0.1 * width**-0.5  # the first bet is near uniform
        self.classifiers = nn.Parameter(small * torch.randn(layers, 2, vocab_size, width))

    def init_state(self, batch_size: int) -> tuple:
        """(place of the next symbol, (keys, values) of each layer in the window that is open)."""
        D = self.embed.shape[1] // self.blocks[0].heads
        empty = self.embed.new_zeros(batch_size, self.blocks[0].heads, 0, D)
        return 0, ((empty, empty),) * len(self.blocks)

    def extend(self, ids: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        """The rest of the open window; whole windows, as rows of one batch; a last one begins.

        With L = 4, place = 3 and 10 symbols:  0 | 1 2 3 4 | 5 6 7 8 | 9
        """
        check_ids(ids, self.vocab_size, dims=2)
        (place, caches), rows, (B, T), L = state, [], ids.shape, self.context
        opened = min(T, -place % L)
        whole = (T - opened) // L * L
        if opened:
            states, caches = self._run(ids[:, :opened], place, caches)
            rows.append(states[-1])
        if whole:
            windows = ids[:, opened : opened + whole].reshape(-1, L)
            states, _ = self._run(windows, 0, self.init_state(len(windows))[1])
            rows.append(states[-1].reshape(B, whole, -1))
        if place + T >= L:  # a window has ended
            caches = self.init_state(B)[1]
        place = (place + T) % L
        if opened + whole < T:
            states, caches = self._run(ids[:, opened + whole :], 0, caches)
            rows.append(states[-1])
        return torch.cat(rows, dim=1) @ self.classifiers[-1, 0].t(), (place, caches)

    def _run(self, ids, place, caches):
        """States of all layers, a list of (batch, T, C), and caches; ids end within the window."""
        x, states, after = nn.functional.embedding(ids, self.embed), [], []
        here = self.positions[:, place : place + ids.shape[1]]
        for block, p, (k, v) in zip(self.blocks, here, caches, strict=True):
            x, k, v = block(x + p, k, v)
            states.append(x)
            after.append((k, v))
        return states, tuple(after)

    # -- training ----------------------------------------------------------------------------------

    def states(self, ids: Tensor) -> Tensor:
        """What each layer makes of a window: ids (batch, T), T <= context -> (n, batch, T, C)."""
        check_ids(ids, self.vocab_size, dims=2)
        if ids.shape[1] > self.context:
            given = f"{ids.shape[1]} symbols"
            raise ValueError(f"ids must fit a window of {self.context} symbols, got {given}")
        return torch.stack(self._run(ids, 0, self.init_state(len(ids))[1])[0])

    def loss(self, ids: Tensor) -> Tensor:
        """`auxiliary_loss` of rows of T + 1 symbols, T <= context, for `lab.fit(loss=...)`."""
        states = self.states(ids[:, :-1])
        settings = self.progress, self.second, self.places
        return auxiliary_loss(states, self.classifiers, ids, *settings)

    def start_at_frequencies(self, ids: Tensor) -> None:
        """Every place predicts the frequencies of ids (batch, T); blocks do little yet.

        Not in the paper. A plain start must learn the frequencies first, as one
        constant vector in all states, and deep post-norm layers then hand on nothing
        else. Here the bias of the last norm is that vector: the norm's own output has
        mean 0 over its channels, so a row of the classifiers that grows by
        log p / (0.3 C) adds log p to its logit. Every symbol counts once more than it
        occurs. Raises ValueError unless the model is fresh.
        """
        check_ids(ids, self.vocab_size, dims=2)
        if any(b.norm2.bias.any() for b in self.blocks):  # would count them twice
            raise ValueError("the model must be fresh, got one that has started")
        counts = torch.bincount(ids.flatten(), minlength=self.vocab_size) + 1.0
        log_p = (counts / counts.sum()).log().to(self.embed)
        with torch.no_grad():
            for block in self.blocks:
                block.out *= 0.1
                block.down *= 0.1
                block.norm2.bias.fill_(0.3)
            self.classifiers += log_p[:, None] / (0.3 * self.embed.shape[1])

    def scheduled(self, batches: Callable, steps: int) -> Callable:
        """The same batches for `lab.fit`; each one tells the model how far the training is.

        progress depends on the step alone, so that a run that is resumed goes on as it would have.
        Raises ValueError for steps below 1.
        """
        check_sizes(steps=steps)

        def with_progress(step):
            self.progress = step / steps
            return batches(step)

        return with_progress
