"""MEGABYTE: a large Transformer plans patches, a small one spells their bytes; a language model.

Names and symbols are those of minilib/naive/megabyte.py, which lists the departures from the paper.
Not here: dropout, tied output.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.attention import attention, join_heads, kept, rope, split_heads
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import megabyte as naive
from minilib.shapes import check_sizes
from minilib.transformer import Block


@twin(naive.patch_block)
class PatchBlock(Block):
    """A Block that starts anew with every patch, but sees the last `reach` steps before it.

    Patches become rows of one batch, so that the scores cost T (patch + reach) and not T².
    `residual` as in Block.
    """

    def __init__(self, width: int, heads: int, patch: int, reach: int = 0, residual: float = 1.0):
        super().__init__(width, heads, residual=residual)
        if patch < 1 or not 0 <= reach <= patch:
            given = f"patch={patch} and reach={reach}"
            raise ValueError(f"patch must be 1 or more and reach lie in [0, patch], got {given}")
        self.patch, self.reach = patch, reach

    def forward(
        self, x: Tensor, past_k: Tensor, past_v: Tensor, position: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, T, C), its first step at `position` of the text, and the cache -> both after x.

        past_k, past_v  (batch, heads, S, C / heads): of the steps of this patch before x, and of
                        the last `reach` before it
        Raises ValueError for a past of another length.
        """
        S = self._cached(position)
        if past_k.shape != past_v.shape or past_k.shape[2] != S:
            given = f"{tuple(past_k.shape)} and {tuple(past_v.shape)}"
            raise ValueError(
                f"past_k and past_v must hold {S} steps before step {position}, got {given}"
            )
        q, k, v = split_heads(self.norm1(x), self.qkv, self.heads)
        k = torch.cat([past_k, rope(k, position)], dim=2)
        v = torch.cat([past_v, v], dim=2)
        x = x + join_heads(self._attention(rope(q, position), k, v, position), self.out)
        S = self._cached(position + q.shape[2])
        return self.feed_forward(x), kept(k, S), kept(v, S)

    def _cached(self, position):
        """How many steps before this one it may see, which are those in the cache."""
        return position % self.patch + (self.reach if position >= self.patch else 0)

    def _attention(self, q, k, v, position):
        """Each patch, and the `reach` keys before it, as a row of the batch.

        With P = 3 and reach = 1, five queries that begin at place 2 of a patch (. is padding):

            cached keys  y 0 1                queries  . . 2    keys  y 0 1 2
            new          2 | 3 4 5 | 6                 3 4 5          2 3 4 5
                                                       6 . .          5 6 . .
        """
        B, H, T, D = q.shape
        P, p = self.patch, position % self.patch
        if p + T <= P:  # all in one patch
            return attention(q, k, v, None, True)
        K = -(-(p + T) // P)
        end = K * P - p - T
        lacking = self.reach if position < P else 0  # what the first row lacks: text starts there

        def rows(x, start, length):
            """(B, H, steps, D) -> (B K, H, length, D); row k starts with step k P - start."""
            x = nn.functional.pad(x, (0, 0, start, end)).unfold(2, length, P)
            return x.permute(0, 2, 1, 4, 3).flatten(0, 1)

        visible = None
        if lacking:
            visible = torch.ones(B, K, 1, P, lacking + P, dtype=torch.bool, device=q.device)
            visible[:, 0, :, :, :lacking] = False
            visible = visible.flatten(0, 1)
        k, v = (rows(x, lacking, self.reach + P) for x in (k, v))
        y = attention(rows(q, p, P), k, v, visible, True)
        return y.view(B, K, H, P, D).transpose(1, 2).reshape(B, H, K * P, D)[:, :, p : p + T]


class MegaByteState(NamedTuple):
    """What a MegaByte keeps between calls. A place is a step of the speller: it predicts a byte."""

    places: int  # so far: one more than bytes, once there are any, since place 0 reads a pad
    partial: Tensor  # (batch, < patch): ids of the patch that is not whole yet
    tails: tuple  # the last inputs of each convolution
    planner: tuple  # (keys, values) of each layer, of at most `context` patches
    plan: Tensor  # (batch, < patch, d): what the plan says to the places to come of its patch
    speller: tuple  # (keys, values) of each layer: of this patch and the reach before it


@twin(naive.megabyte)
class MegaByte(LanguageModel):
    """MEGABYTE, Yu et al. 2023 (arXiv:2305.07185), sec. 2: plan patches, spell bytes.

    Patches start at ids[:, 0]. The paper's model predicts byte n at place n, byte 0 from pads
    alone; here logits[:, t] predicts ids[:, t + 1], so that first prediction is dropped and none
    has to be padded. Positions are relative: a text may be of any length.

    vocab_size     symbols
    patch          P, bytes of a patch
    global_width   P D, channels of the planner; patch must divide it. global_layers: its blocks
    local_width    d, channels of the speller. local_layers: its blocks
    heads          of both; must divide both widths into even parts
    context        patches that the planner sees in each layer
    conv           mix bytes by causal convolutions before cutting
    reach          r ≤ patch, bytes of the patch before that the speller sees in each layer
    """

    def __init__(
        self,
        vocab_size: int = 256,
        patch: int = 4,
        global_width: int = 128,
        global_layers: int = 2,
        local_width: int = 64,
        local_layers: int = 1,
        heads: int = 4,
        context: int = 128,
        conv: bool = False,
        reach: int = 0,
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, patch=patch, local_width=local_width)
        check_sizes(local_layers=local_layers, context=context)
        if global_layers < 0:
            raise ValueError(f"global_layers must be 0 or more, got {global_layers}")
        if global_width < 1 or global_width % patch:
            given = f"patch={patch} and global_width={global_width}"
            raise ValueError(f"patch must divide global_width, got {given}")
        self.vocab_size, self.patch = vocab_size, patch
        D, d = global_width // patch, local_width
        normal = lambda *shape: nn.Parameter(torch.randn(shape))
        self.embed_global, self.pad_global = normal(vocab_size, D), normal(global_width)
        self.embed_local, self.pad_local = normal(vocab_size, d), normal(d)
        self.convs = nn.ModuleList(nn.Conv1d(D, D, width) for width in naive.WIDTHS if conv)
        self.global_blocks = nn.ModuleList(
            Block(global_width, heads, window=context, residual=(2 * global_layers) ** -0.5)
            for _ in range(global_layers)
        )
        self.global_norm, self.norm = nn.LayerNorm(global_width), nn.LayerNorm(d)
        self.to_local = nn.Parameter(D**-0.5 * torch.randn(d, D))
        self.local_blocks = nn.ModuleList(
            PatchBlock(d, heads, patch, reach, residual=(2 * local_layers) ** -0.5)
            for _ in range(local_layers)
        )
        # small: the first bet is near uniform
        self.output = nn.Parameter(0.1 * d**-0.5 * torch.randn(vocab_size, d))

    def init_state(self, batch_size: int) -> MegaByteState:
        like = {"dtype": self.embed_local.dtype, "device": self.embed_local.device}
        no_past = lambda blocks: tuple(b.no_past(batch_size, self.embed_local) for b in blocks)
        return MegaByteState(
            places=0,
            partial=torch.zeros(batch_size, 0, dtype=torch.int64, device=like["device"]),
            tails=tuple(
                torch.zeros(batch_size, conv.in_channels, conv.kernel_size[0] - 1, **like)
                for conv in self.convs
            ),
            planner=no_past(self.global_blocks),
            plan=torch.zeros(batch_size, 0, self.embed_local.shape[1], **like),
            speller=no_past(self.local_blocks),
        )

    def extend(self, ids: Tensor, state: MegaByteState) -> tuple[Tensor, MegaByteState]:
        check_ids(ids, self.vocab_size, dims=2)
        B, T = ids.shape
        read = torch.cat([state.partial, ids], dim=1)
        whole = read.shape[1] // self.patch * self.patch
        patches, tails = self._patch_embed(read[:, :whole], state.tails)
        if state.places == 0:  # both models read a pad first, and the speller any byte under it
            patches = torch.cat([self.pad_global.expand(B, 1, -1), patches], dim=1)
            ids = nn.functional.pad(ids, (1, 0))
        plan, planner = state.plan, state.planner
        if patches.shape[1]:
            plans_so_far = -(-state.places // self.patch)
            g, planner = self.plan(patches, planner, plans_so_far)
            plan = torch.cat([plan, g @ self.to_local.t()], dim=1)
        x, speller = self._spell(ids, plan, state)
        places = state.places + ids.shape[1]
        # each is cut from something longer, which a view would keep alive
        partial, plan = read[:, whole:].clone(), plan[:, ids.shape[1] :].clone()
        logits = self.norm(x[:, -T:]) @ self.output.t()  # without the bet on byte 0
        return logits, MegaByteState(places, partial, tails, planner, plan, speller)

    def _patch_embed(self, ids, tails):
        """ids (batch, K P) of whole patches -> (batch, K, P D), and the convolutions' tails."""
        B, T = ids.shape
        if T == 0:
            return self.pad_global.new_zeros(B, 0, len(self.pad_global)), tails
        x = nn.functional.embedding(ids, self.embed_global).transpose(1, 2)
        after = []
        for conv, tail in zip(self.convs, tails, strict=True):
            y = torch.cat([tail, x], dim=2)
            after.append(y[:, :, T:].clone())
            x = x + conv(y).relu()
        return x.transpose(1, 2).reshape(B, T // self.patch, -1), tuple(after)

    def plan(self, patches: Tensor, caches: tuple, position: int) -> tuple[Tensor, tuple]:
        """The planner's next steps: patches (batch, K, P D), of which `position` came before.

        returns  what they say about the bytes of the next ones (batch, K P, D), and caches
        """
        x, caches = _run(self.global_blocks, patches, caches, position)
        return self.global_norm(x).reshape(len(x), -1, self.to_local.shape[1]), caches

    def _spell(self, ids, plan, state):
        """The speller's next places, each of which reads the byte before it and its plan."""
        x = nn.functional.embedding(ids, self.embed_local)
        place = state.places + torch.arange(ids.shape[1], device=ids.device)
        begins = (place % self.patch == 0)[:, None]
        x = torch.where(begins, self.pad_local, x) + plan[:, : ids.shape[1]]
        return _run(self.local_blocks, x, state.speller, state.places)


def _run(blocks, x, caches, position):
    """A stack of blocks over new steps: x and the caches after them."""
    after = []
    for block, (k, v) in zip(blocks, caches, strict=True):
        x, k, v = block(x, k, v, position)
        after.append((k, v))
    return x, tuple(after)


@twin(naive.merge_strides)
def merge_strides(first: Tensor, second: Tensor, patch: int) -> Tensor:
    """Strided inference (sec. 2.3.3): of two runs keep what was predicted in a patch's first half.

    first    (batch, T, V) logits of ids; second: (batch, T - h, V) of ids[:, h:], h = ⌈patch / 2⌉
    returns  (batch, T, V). Raises ValueError if the shapes do not fit
    """
    (B, T, V), h = first.shape, (patch + 1) // 2
    if second.shape != (B, T - h, V):
        given = f"beside first {tuple(first.shape)}, got {tuple(second.shape)}"
        raise ValueError(f"second must have shape {(B, T - h, V)} {given}")
    n = torch.arange(h + 1, T + 1, device=first.device)  # byte h begins the second run: not in it
    later = torch.where((n % patch >= h)[:, None], second, first[:, h:])
    return torch.cat([first[:, :h], later], dim=1)


def strided_logits(model: MegaByte, ids: Tensor) -> Tensor:
    """Logits of a MegaByte at twice the cost, each byte predicted in the first half of a patch.

    ids (batch, T), T > ⌈P / 2⌉; returns (batch, T, V)
    """
    h = (model.patch + 1) // 2
    check_ids(ids, model.vocab_size, dims=2)
    if ids.shape[1] <= h:
        raise ValueError(f"ids must be longer than half a patch, {h}, got {tuple(ids.shape)}")
    return merge_strides(model(ids), model(ids[:, h:]), model.patch)


@twin(naive.attention_cost)
def attention_cost(T: int, patch: int, reach: int = 0) -> tuple[int, int]:
    """Scores per head and layer of T bytes where a kernel masks: (planner's, speller's).

    K² and K P (reach + P), K = ⌈T / P⌉.
    """
    if T < 1 or patch < 1 or not 0 <= reach <= patch:
        given = f"T={T}, patch={patch} and reach={reach}"
        raise ValueError(f"T and patch must be 1 or more and reach lie in [0, patch], got {given}")
    K = -(-T // patch)
    return K * K, K * patch * (reach + patch)


@twin(naive.multiply_adds)
def multiply_adds(
    T: int,
    patch: int,
    global_width: int,
    global_layers: int,
    local_width: int,
    local_layers: int,
    vocab_size: int = 256,
    reach: int = 0,
) -> tuple[int, int, int]:
    """Multiply-adds of scoring T bytes: (planner's, speller's, those between and of the output).

    T is a multiple of patch, and the first byte is given. K m_g and T m_l for blocks of m_g and
    m_l weights, which dominate, and 2 width scores of every layer. Arguments of MegaByte.
    """
    if T % patch:
        raise ValueError(f"T must be a multiple of patch={patch}, got {T}")
    planner, speller = attention_cost(T, patch, reach)
    planner = global_layers * (T // patch * 12 * global_width**2 + 2 * planner * global_width)
    speller = local_layers * (T * 12 * local_width**2 + 2 * speller * local_width)
    between = T * (global_width // patch) * local_width
    return planner, speller, between + (T - 1) * local_width * vocab_size
