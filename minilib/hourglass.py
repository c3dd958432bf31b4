"""The hourglass: a causal language model whose deep middle runs on every k-th step; the Funnel encoder; AU-Net's pooling by words.

Names and symbols are those of minilib/naive/hourglass.py. Not here: nested factors in the model, padding of unequal sequences, dropout.
"""

import torch
from torch import nn

from minilib import twin
from minilib.attention import attention, rope
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import hourglass as naive
from minilib.transformer import Block


def _check(name, x, dims):
    if x.dim() != len(dims):
        raise ValueError(f"{name} must have shape ({', '.join(dims)}), got {tuple(x.shape)}")


def _check_look(C, W_q, W_kv, W_out, heads):
    if heads < 1 or C % (2 * heads):
        raise ValueError(f"heads must divide the {C} channels into even parts, got {heads}")
    for name, W, shape in (
        ("W_q", W_q, (C, C)),
        ("W_kv", W_kv, (2 * C, C)),
        ("W_out", W_out, (C, C)),
    ):
        if tuple(W.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(W.shape)}")


@twin(naive.group)
def group(x, k, shift):
    """Steps in groups of k after a shift to the right: (batch, T, C) -> (batch, ceil(T / k), k, C), a view of a padded copy.

    Group j holds steps jk - shift … jk - shift + k - 1, zeros where there are none (Nawrot et al. 2021, sec. 2.1). For a causal
    model shift = k - 1; for an encoder 0. Raises ValueError unless k ≥ 1 and 0 ≤ shift < k.
    """
    _check("x", x, ("batch", "T", "C"))
    if k < 1 or not 0 <= shift < k:
        raise ValueError(
            f"k must be 1 or more and shift lie in [0, k), got k={k} and shift={shift}"
        )
    B, T, C = x.shape
    G = -(-T // k)
    return nn.functional.pad(x, (0, 0, shift, max(0, G * k - T - shift)))[:, : G * k].reshape(
        B, G, k, C
    )


@twin(naive.shorten_average)
def shorten_average(groups):
    """The mean of each group: (batch, G, k, C) -> (batch, G, C)."""
    _check("groups", groups, ("batch", "G", "k", "C"))
    return groups.mean(2)


@twin(naive.shorten_linear)
def shorten_linear(groups, W):
    """One matrix W (C, kC) reads the whole group: (batch, G, k, C) -> (batch, G, C)."""
    _check("groups", groups, ("batch", "G", "k", "C"))
    B, G, k, C = groups.shape
    if tuple(W.shape) != (C, k * C):
        raise ValueError(
            f"W must have shape {(C, k * C)} beside groups {tuple(groups.shape)}, got {tuple(W.shape)}"
        )
    return groups.flatten(2) @ W.t()


@twin(naive.shorten_attention)
def shorten_attention(query, groups, W_q, W_kv, W_out, heads):
    """Each group's query (batch, G, C) looks at the k steps of its own group (batch, G, k, C): (batch, G, C).

    W_q, W_out (C, C); W_kv (2C, C), keys then values. All groups are rows of one batch of attentions with one query each.
    """
    _check("groups", groups, ("batch", "G", "k", "C"))
    B, G, k, C = groups.shape
    _check_look(C, W_q, W_kv, W_out, heads)
    if tuple(query.shape) != (B, G, C):
        raise ValueError(
            f"query must have shape {(B, G, C)} beside groups {tuple(groups.shape)}, got {tuple(query.shape)}"
        )
    q = (query @ W_q.t()).view(B * G, 1, heads, C // heads).transpose(1, 2)  # (BG, H, 1, D)
    key, value = (
        (groups @ W_kv.t()).view(B * G, k, 2, heads, C // heads).permute(2, 0, 3, 1, 4)
    )  # (BG, H, k, D)
    return attention(q, rope(key), value).reshape(B, G, C) @ W_out.t()


@twin(naive.up_repeat)
def up_repeat(y, k, T, phase=0):
    """Group j of y (batch, G, C) is heard at all its k steps: (batch, T, C); step t belongs to group (t + phase) // k."""
    _check_up(y, k, T, phase)
    return y.repeat_interleave(k, dim=1)[:, phase : phase + T]


@twin(naive.up_linear)
def up_linear(y, W, k, T, phase=0):
    """Each of a group's k steps hears its own linear function of the group: W (kC, C), the rest as in up_repeat."""
    _check_up(y, k, T, phase)
    B, G, C = y.shape
    if tuple(W.shape) != (k * C, C):
        raise ValueError(
            f"W must have shape {(k * C, C)} for k={k} and y {tuple(y.shape)}, got {tuple(W.shape)}"
        )
    return (y @ W.t()).view(B, G * k, C)[:, phase : phase + T]


def _check_up(y, k, T, phase):
    _check("y", y, ("batch", "G", "C"))
    if k < 1 or not 0 <= phase < k or T < 1 or -(-(T + phase) // k) > y.shape[1]:
        raise ValueError(
            f"y must have a group for each of T={T} steps from phase={phase} in [0, k={k}), got {y.shape[1]} groups"
        )


@twin(naive.up_attention)
def up_attention(x, y, W_q, W_kv, W_out, heads, k, past_k, past_v, position=0, window=None):
    """Steps look at groups: step t at groups ≤ t // k. The k steps of a group are k more heads of one causal attention over groups.

    x               (batch, T, C), steps position … position + T - 1; they ask
    y               (batch, G, C), the groups that begin at these steps; G may be 0
    W_q, W_out      (C, C); W_kv (2C, C), keys then values
    past_k, past_v  (batch, heads, S, C / heads), rotated keys and values of the S groups before y
    returns         (batch, T, C); keys and values to keep: of the last `window` groups, or of all
    Raises ValueError if y does not hold exactly the groups that begin, or the past not the last ones before them.
    """
    _check("x", x, ("batch", "T", "C"))
    _check_look(x.shape[2], W_q, W_kv, W_out, heads)
    (B, T, C), D = x.shape, x.shape[2] // heads
    first, phase, end = -(-position // k), position % k, -(-(position + T) // k)
    if y.shape != (B, end - first, C):
        raise ValueError(
            f"y must have shape {(B, end - first, C)}: the groups that begin at steps {position} to {position + T - 1}, got {tuple(y.shape)}"
        )
    past = (B, heads, min(first, window or first), D)
    if past_k.shape != past or past_v.shape != past:
        raise ValueError(
            f"past_k and past_v must have shape {past}: the last groups before y, got {tuple(past_k.shape)} and {tuple(past_v.shape)}"
        )
    key, value = (y @ W_kv.t()).view(B, end - first, 2, heads, D).permute(2, 0, 3, 1, 4)
    key, value = torch.cat([past_k, rope(key, first)], dim=2), torch.cat([past_v, value], dim=2)
    G = (
        end - position // k
    )  # groups that the steps belong to; rows are added to make these whole, and dropped again
    q = (
        nn.functional.pad(x @ W_q.t(), (0, 0, phase, G * k - phase - T))
        .view(B, G, k, heads, D)
        .permute(0, 2, 3, 1, 4)
    )
    q = rope(q.reshape(B, k * heads, G, D), position // k)
    heard = attention(q, key.repeat(1, k, 1, 1), value.repeat(1, k, 1, 1), None, True, window)
    heard = (
        heard.view(B, k, heads, G, D)
        .permute(0, 3, 1, 2, 4)
        .reshape(B, G * k, C)[:, phase : phase + T]
        @ W_out.t()
    )
    return (heard, key[:, :, -window:], value[:, :, -window:]) if window else (heard, key, value)


class _Look(nn.Module):
    """The weights of one attention between two lengths, and the norms of both sides."""

    def __init__(self, width, residual):
        super().__init__()
        matrix = lambda rows, size=1.0: nn.Parameter(size * width**-0.5 * torch.randn(rows, width))
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = matrix(width), matrix(2 * width), matrix(width, residual)


@twin(naive.hourglass)
class Hourglass(LanguageModel):
    """Fine layers, a middle on groups of k steps, fine layers; the middle's skip connection joins them (Nawrot et al. 2021).

    vocab_size             symbols
    width, heads           C, channels, of every layer; heads must divide it into even parts
    k                      steps that one step of the middle stands for
    before, middle, after  layers on steps, on groups, and on steps again
    context                steps that a step sees in a fine layer, and groups that a group sees in the middle
    shorten                "average", "linear" or "attention" turns a group into one vector
    up                     "repeat", "linear" or "attention" turns it back
    Departure: where the paper's attention is followed by a feed-forward, here the next block brings its own.
    """

    def __init__(
        self,
        vocab_size=256,
        width=128,
        k=3,
        before=1,
        middle=4,
        after=1,
        heads=4,
        context=64,
        shorten="average",
        up="repeat",
    ):
        super().__init__()
        if min(vocab_size, width, k, middle, context) < 1 or min(before, after) < 0:
            raise ValueError(
                f"vocab_size, width, k, middle and context must be 1 or more, got {vocab_size}, {width}, {k}, {middle}, {context}; before and after 0 or more, got {before}, {after}"
            )
        for name, value, known in (
            ("shorten", shorten, ("average", "linear", "attention")),
            ("up", up, ("repeat", "linear", "attention")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        self.vocab_size, self.k, self.heads, self.context = vocab_size, k, heads, context
        residual = (
            2 * (before + middle + after)
        ) ** -0.5  # as in Block: keeps the sum of all that is added near 1
        stack = lambda layers: nn.ModuleList(
            Block(width, heads, window=context, residual=residual) for _ in range(layers)
        )
        self.embed = nn.Parameter(torch.randn(vocab_size, width))
        self.before, self.middle, self.after = stack(before), stack(middle), stack(after)
        self.shorten = (
            nn.Parameter((k * width) ** -0.5 * torch.randn(width, k * width))
            if shorten == "linear"
            else None
        )
        self.gather = _Look(width, residual) if shorten == "attention" else None
        self.up = (
            nn.Parameter(width**-0.5 * torch.randn(k * width, width)) if up != "repeat" else None
        )
        self.spread = _Look(width, residual) if up == "attention" else None
        self.norm = nn.LayerNorm(width)
        self.output = nn.Parameter(
            0.1 * width**-0.5 * torch.randn(vocab_size, width)
        )  # small: the first bet is near uniform

    def init_state(self, batch_size):
        """(steps so far, steps of the group that is open, last group, caches before, middle, after, of the way up).

        The open group begins with k - 1 zeros: that is the shift. Group j then closes with step jk, the first that hears it.
        """
        zeros = lambda n: self.embed.new_zeros(batch_size, n, self.embed.shape[1])
        caches = [
            tuple(block.no_past(batch_size) for block in part)
            for part in (self.before, self.middle, self.after)
        ]
        width = self.embed.shape[1]
        return (
            0,
            zeros(self.k - 1),
            zeros(1),
            *caches,
            (self.embed.new_zeros(batch_size, self.heads, 0, width // self.heads),) * 2,
        )

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        position, open_group, last, before, middle, after, way_up = state
        B, T, phase = *ids.shape, position % self.k
        held = (B, self.k - 1 + position - self.k * -(-position // self.k), self.embed.shape[1])
        if open_group.shape != held:
            raise ValueError(
                f"state must be this model's after {position} symbols, its open group of shape {held}, got {tuple(open_group.shape)}"
            )
        x, before = _run(self.before, nn.functional.embedding(ids, self.embed), before, position)
        steps = torch.cat([open_group, x], dim=1)
        G = steps.shape[1] // self.k  # groups that these symbols close
        new = last[:, :0]
        if G:
            new = self._shortened(steps[:, : G * self.k].reshape(B, G, self.k, -1))
            new, middle = _run(self.middle, new, middle, -(-position // self.k))
        heard = torch.cat([last, new], dim=1)[
            :, 0 if phase else 1 :
        ]  # in the middle of a group, the last one is still heard
        x, way_up = self._joined(x, heard, new, way_up, position)
        x, after = _run(self.after, x, after, position)
        state = position + T, steps[:, G * self.k :], heard[:, -1:], before, middle, after, way_up
        return self.norm(x) @ self.output.t(), state

    def _shortened(self, groups):
        y = (
            shorten_average(groups)
            if self.shorten is None
            else shorten_linear(groups, self.shorten)
        )
        if self.gather is None:
            return y
        look = self.gather
        return y + shorten_attention(
            look.norm_q(y), look.norm_kv(groups), look.q, look.kv, look.out, self.heads
        )

    def _joined(self, x, heard, new, way_up, position):
        """Steps x plus what they hear of the groups; `new` are those of `heard` whose keys are not cached yet."""
        T, phase = x.shape[1], position % self.k
        x = x + (
            up_repeat(heard, self.k, T, phase)
            if self.up is None
            else up_linear(heard, self.up, self.k, T, phase)
        )
        if self.spread is None:
            return x, way_up
        look = self.spread
        y, *way_up = up_attention(
            look.norm_q(x),
            look.norm_kv(new),
            look.q,
            look.kv,
            look.out,
            self.heads,
            self.k,
            *way_up,
            position,
            self.context,
        )
        return x + y, tuple(way_up)


def _run(blocks, x, caches, position):
    """A stack of blocks over new steps: (x, caches) after them."""
    kept = []
    for block, (k, v) in zip(blocks, caches, strict=True):
        x, k, v = block(x, k, v, position)
        kept.append((k, v))
    return x, tuple(kept)


@twin(naive.multiply_adds)
def multiply_adds(T, C, V, k, before, middle, after, context):
    """Products of one forward pass of Hourglass over T symbols, with averages and repeats; a Transformer is k = 1, before = after = 0.

    C channels, V symbols; layers and context as in Hourglass. Counted are matrices, scores and weighted sums.
    """
    if min(T, C, V, k, context) < 1 or min(before, middle, after) < 0:
        raise ValueError(
            f"T, C, V, k and context must be 1 or more, got {T}, {C}, {V}, {k}, {context}; layers 0 or more, got {before}, {middle}, {after}"
        )

    def layer(steps):
        full = min(steps, context)
        return steps * 12 * C * C + 2 * C * (full * (full + 1) // 2 + (steps - full) * context)

    return (before + after) * layer(T) + middle * layer(-(-T // k)) + T * C * V


@twin(naive.funnel)
class Funnel(nn.Module):
    """Encoder: ids (batch, T) -> one vector per sequence (batch, width); blocks see both ways and get shorter (Dai et al. 2020).

    layers, levels  blocks of a level, and levels; from level to level the sequence is halved, its first step, [CLS], kept apart
    Sequences of one batch have one length.
    """

    def __init__(self, vocab_size=256, width=128, layers=1, levels=3, heads=4):
        super().__init__()
        if min(vocab_size, width, layers, levels) < 1:
            raise ValueError(
                f"vocab_size, width, layers and levels must be 1 or more, got {vocab_size}, {width}, {layers}, {levels}"
            )
        self.vocab_size, self.heads = vocab_size, heads
        residual = (2 * levels * layers) ** -0.5
        self.embed, self.cls = (
            nn.Parameter(torch.randn(vocab_size, width)),
            nn.Parameter(torch.randn(width)),
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(
                Block(width, heads, causal=False, residual=residual) for _ in range(layers)
            )
            for _ in range(levels)
        )
        self.pools = nn.ModuleList(_Look(width, residual) for _ in range(levels - 1))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids):
        check_ids(ids, self.vocab_size, dims=2)
        x = torch.cat(
            [self.cls.expand(len(ids), 1, -1), nn.functional.embedding(ids, self.embed)], dim=1
        )
        for level, blocks in enumerate(self.levels):
            if level:
                x = self._pooled(x, self.pools[level - 1])
            x, _ = _run(blocks, x, [block.no_past(len(x)) for block in blocks], 0)
        return self.norm(x[:, 0])

    def _pooled(self, x, look):
        """Half as many steps, which look at all: x (batch, 1 + n, C) -> (batch, 1 + ceil(n / 2), C)."""
        B, S, C = x.shape
        even = (
            torch.cat([x, x[:, -1:]], dim=1) if S % 2 == 0 and S > 1 else x
        )  # a last step without a partner is its own mean
        pooled = (
            torch.cat([x[:, :1], shorten_average(group(even[:, 1:], 2, 0))], dim=1) if S > 1 else x
        )
        first = (2 * torch.arange(pooled.shape[1], device=x.device) - 1).clamp(min=0)
        heads = lambda z: z.view(B, -1, self.heads, C // self.heads).transpose(1, 2)
        key, value = (look.norm_kv(x) @ look.kv.t()).chunk(2, dim=-1)
        heard = attention(
            rope(heads(look.norm_q(pooled) @ look.q.t()), first), rope(heads(key)), heads(value)
        )
        return pooled + heard.transpose(1, 2).reshape(B, -1, C) @ look.out.t()


# -- AU-Net: pool at the ends of words -------------------------------------------------------------


@twin(naive.word_ends)
def word_ends(ids):
    """(batch, T) bytes -> (batch, T) bool: True at the first byte after a word. Known from bytes ≤ t, so more text moves no end."""
    check_ids(ids, 256, dims=2)
    lower = ids | 32  # of an ASCII letter
    word = (
        ((lower >= 97) & (lower <= 122)) | ((ids >= 48) & (ids <= 57)) | (ids == 39) | (ids >= 128)
    )
    return nn.functional.pad(word[:, :-1] & ~word[:, 1:], (1, 0))


@twin(naive.select)
def select(x, ends):
    """The steps of x (batch, T, C) where ends (batch, T) is True, in order: (batch, S, C), S of the row with most, zeros behind."""
    _check_ends(ends, x.shape[:2])
    row, step = ends.nonzero(as_tuple=True)
    unit = (ends.cumsum(1) - 1)[row, step]
    S = int(ends.sum(1).max())
    return x.new_zeros(len(x), S, x.shape[2]).index_put((row, unit), x[row, step])


@twin(naive.expand)
def expand(y, ends, shared, own):
    """Each step hears the last unit that is closed, its own end included, until the next one closes (AU-Net).

    y       (batch, S, C), one vector per unit; ends (batch, T) bool
    shared  (C, C); own (N, C, C), added to it n steps after the end, n modulo N. Costs S N C² products
    returns (batch, T, C), 0 before the first end. Raises ValueError if there are more ends than units.
    """
    _check_ends(ends, (len(y), ends.shape[-1]))
    if int(ends.sum(1).max()) > y.shape[1]:
        raise ValueError(
            f"y must have a unit for each end, got {y.shape[1]} for {int(ends.sum(1).max())}"
        )
    (B, T), N, C = ends.shape, len(own), y.shape[2]
    unit, step = ends.cumsum(1), torch.arange(T, device=y.device)
    since = step - (step * ends).cummax(1).values
    heard = torch.einsum("bsc,ndc->bsnd", y, shared + own).flatten(1, 2)
    heard = torch.cat([y.new_zeros(B, N, C), heard], dim=1)  # before the first end
    return heard.gather(1, (unit * N + since % N)[..., None].expand(B, T, C))


def _check_ends(ends, shape):
    if ends.dtype != torch.bool:
        raise TypeError(f"ends must be a bool tensor, got {ends.dtype}")
    if tuple(ends.shape) != tuple(shape):
        raise ValueError(f"ends must have shape {tuple(shape)}, got {tuple(ends.shape)}")
