"""MEGABYTE: a large Transformer plans patches, a small one spells them; as a language model whose state holds the partial patch.

Names and symbols are those of minilib/naive/megabyte.py, which lists the departures from the paper. Not here: dropout, tied output.
"""

import torch
from torch import nn

from minilib import twin
from minilib.attention import attention, rope
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import megabyte as naive
from minilib.transformer import Block


@twin(naive.patch_block)
class PatchBlock(Block):
    """A Block whose attention starts anew with every patch, except that it sees the last `reach` steps of the patch before.

    Patches become rows of one batch, so that the scores cost T (patch + reach) and not T². `residual` as in Block.
    """

    def __init__(self, width, heads, patch, reach=0, residual=1.0):
        super().__init__(width, heads, residual=residual)
        if patch < 1 or not 0 <= reach <= patch:
            raise ValueError(
                f"patch must be 1 or more and reach lie in [0, patch], got patch={patch} and reach={reach}"
            )
        self.patch, self.reach = patch, reach

    def forward(self, x, past_k, past_v, position=0):
        """x (batch, T, C), its first step at `position` of the text -> the same, and keys and values as the step after x needs them.

        past_k, past_v  (batch, heads, S, C / heads): of the steps of this patch before x, and of the last `reach` before it
        Raises ValueError for a past of another length.
        """
        (B, T, C), P = x.shape, self.patch
        p, begun = position % P, position >= P
        if past_k.shape != past_v.shape or past_k.shape[2] != p + self.reach * begun:
            raise ValueError(
                f"past_k and past_v must hold {p + self.reach * begun} steps before step {position}, got {tuple(past_k.shape)} and {tuple(past_v.shape)}"
            )
        q, k, v = (
            (self.norm1(x) @ self.qkv.t()).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        k, v = torch.cat([past_k, rope(k, position)], dim=2), torch.cat([past_v, v], dim=2)
        heard = self._heard(rope(q, position), k, v, p, 0 if begun else self.reach)
        x = x + heard.transpose(1, 2).reshape(B, T, C) @ self.out.t()
        after = position + T
        kept = after % P + self.reach * (after >= P)
        x = x + (self.norm2(x) @ self.up.t()).relu().square() @ self.down.t()
        return x, k[:, :, k.shape[2] - kept :], v[:, :, v.shape[2] - kept :]

    def _heard(self, q, k, v, p, missing):
        """Attention of queries that begin at place p of a patch; `missing` steps of its reach lie before the text."""
        (B, H, T, D), P = q.shape, self.patch
        if p + T <= P:
            return attention(q, k, v, None, True)
        K = -(-(p + T) // P)
        end = K * P - p - T
        rows = lambda y: y.permute(0, 2, 1, 4, 3).flatten(
            0, 1
        )  # (B, H, K, D, steps) -> (B K, H, steps, D)
        q = rows(nn.functional.pad(q, (0, 0, p, end)).unfold(2, P, P))
        k, v = (
            rows(nn.functional.pad(y, (0, 0, missing, end)).unfold(2, self.reach + P, P))
            for y in (k, v)
        )
        visible = None
        if missing:
            visible = torch.ones(B, K, 1, P, self.reach + P, dtype=torch.bool, device=q.device)
            visible[:, 0, :, :, :missing] = False
            visible = visible.flatten(0, 1)
        heard = attention(q, k, v, visible, True)
        return heard.view(B, K, H, P, D).transpose(1, 2).reshape(B, H, K * P, D)[:, :, p : p + T]


@twin(naive.megabyte)
class MegaByte(LanguageModel):
    """MEGABYTE, Yu et al. 2023 (arXiv:2305.07185), sec. 2: plan patches, spell bytes.

    Patches start at ids[:, 0]. The paper's model predicts byte n at place n, byte 0 from pads alone; here logits[:, t] predicts
    ids[:, t + 1], so that first prediction is dropped and none has to be padded. Positions are relative: a text may be of any length.

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
        vocab_size=256,
        patch=4,
        global_width=128,
        global_layers=2,
        local_width=64,
        local_layers=1,
        heads=4,
        context=128,
        conv=False,
        reach=0,
    ):
        super().__init__()
        if min(vocab_size, patch, local_width, local_layers, context) < 1 or global_layers < 0:
            raise ValueError(
                f"vocab_size, patch, local_width, local_layers and context must be 1 or more and global_layers 0 or more, got {vocab_size}, {patch}, {local_width}, {local_layers}, {context} and {global_layers}"
            )
        if global_width < 1 or global_width % patch:
            raise ValueError(
                f"patch must divide global_width, got patch={patch} and global_width={global_width}"
            )
        self.vocab_size, self.patch = vocab_size, patch
        D, d, normal = (
            global_width // patch,
            local_width,
            lambda *shape: nn.Parameter(torch.randn(shape)),
        )
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
        self.output = nn.Parameter(
            0.1 * d**-0.5 * torch.randn(vocab_size, d)
        )  # small: the first bet is near uniform

    def init_state(self, batch_size):
        """Bytes so far; ids of the partial patch; tails of the convolutions; (keys, values) of the planner's layers, at most
        `context` patches; what the current plan says to each place (batch, patch, d); (keys, values) of the speller's layers,
        of the current patch and the reach before it.
        """
        tails = tuple(
            self.embed_global.new_zeros(batch_size, conv.in_channels, conv.kernel_size[0] - 1)
            for conv in self.convs
        )
        past = lambda blocks: tuple(block.no_past(batch_size) for block in blocks)
        said = self.pad_local.new_zeros(batch_size, 0, len(self.pad_local))
        partial = torch.zeros(batch_size, 0, dtype=torch.int64, device=said.device)
        return 0, partial, tails, past(self.global_blocks), said, past(self.local_blocks)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        n, partial, tails, planned, said, spelled = state
        first, last, P = (
            (n + 1 if n else 0),
            n + ids.shape[1],
            self.patch,
        )  # places whose bytes are to be predicted
        done = torch.cat([partial, ids], dim=1)
        whole = done.shape[1] // P * P
        patches, tails = self._patch_embed(done[:, :whole], tails)
        if n == 0:
            patches = torch.cat([self.pad_global.expand(len(ids), 1, -1), patches], dim=1)
        if patches.shape[1]:
            g, planned = self.plan(
                patches, planned, n // P + (n > 0)
            )  # the planner's step 0 is the pad
            said = torch.cat([said, g @ self.to_local.t()], dim=1)
        start = n // P * P
        x = nn.functional.embedding(ids, self.embed_local)
        if n == 0:
            x = torch.cat([x[:, :1], x], dim=1)  # any row will do where the pad goes
        begins = (torch.arange(first, last + 1, device=ids.device) % P == 0)[:, None]
        x = torch.where(begins, self.pad_local, x) + said[:, first - start : last + 1 - start]
        after = []
        for block, (k, v) in zip(self.local_blocks, spelled, strict=True):
            x, k, v = block(x, k, v, first)
            after.append((k, v))
        logits = self.norm(x[:, 1:] if n == 0 else x) @ self.output.t()
        return logits, (
            last,
            done[:, whole:],
            tails,
            planned,
            said[:, last // P * P - start :],
            tuple(after),
        )

    def _patch_embed(self, ids, tails):
        """ids (batch, K P) of whole patches, the last inputs of the convolutions -> (batch, K, P D), tails."""
        x = nn.functional.embedding(ids, self.embed_global)
        after = []
        if ids.shape[1] and self.convs:
            x = x.transpose(1, 2)
            for conv, tail in zip(self.convs, tails, strict=True):
                y = torch.cat([tail, x], dim=2)
                after.append(y[:, :, ids.shape[1] :])
                x = x + conv(y).relu()
            x = x.transpose(1, 2)
        return x.reshape(len(ids), ids.shape[1] // self.patch, -1) if ids.shape[1] else x.new_zeros(
            len(ids), 0, len(self.pad_global)
        ), tuple(after) or tails

    def plan(self, patches, planned, position):
        """The planner's next steps: patches (batch, K, P D) -> what they say about the bytes of the next ones (batch, K P, D), caches."""
        x, after = patches, []
        for block, (k, v) in zip(self.global_blocks, planned, strict=True):
            x, k, v = block(x, k, v, position)
            after.append((k, v))
        return self.global_norm(x).reshape(len(x), -1, self.to_local.shape[1]), tuple(after)


@twin(naive.merge_strides)
def merge_strides(first, second, patch):
    """Strided inference: of two runs keep the predictions that fall into the first half of a patch (sec. 2.3.3).

    first    (batch, T, V) logits of ids; second: (batch, T - h, V) logits of ids[:, h:], h = ⌈patch / 2⌉
    returns  (batch, T, V). Raises ValueError if the shapes do not fit
    """
    (B, T, V), h = first.shape, (patch + 1) // 2
    if second.shape != (B, T - h, V):
        raise ValueError(
            f"second must have shape {(B, T - h, V)} beside first {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    n = torch.arange(
        h + 1, T + 1, device=first.device
    )  # byte h itself is in no second run, which begins with it
    return torch.cat(
        [first[:, :h], torch.where((n % patch >= h)[:, None], second, first[:, h:])], dim=1
    )


def strided_logits(model, ids):
    """Logits of a MegaByte at twice the cost, every byte predicted in the first half of a patch: (batch, T) -> (batch, T, V), T > ⌈P / 2⌉."""
    h = (model.patch + 1) // 2
    check_ids(ids, model.vocab_size, dims=2)
    if ids.shape[1] <= h:
        raise ValueError(f"ids must be longer than half a patch, {h}, got {tuple(ids.shape)}")
    return merge_strides(model(ids), model(ids[:, h:]), model.patch)


@twin(naive.attention_cost)
def attention_cost(T, patch, reach=0):
    """Scores per head and layer for T bytes, as a kernel that masks computes them: (planner's K², speller's K P (r + P)), K = ⌈T / P⌉."""
    if T < 1 or patch < 1 or not 0 <= reach <= patch:
        raise ValueError(
            f"T and patch must be 1 or more and reach lie in [0, patch], got T={T}, patch={patch} and reach={reach}"
        )
    K = -(-T // patch)
    return K * K, K * patch * (reach + patch)


@twin(naive.multiply_adds)
def multiply_adds(
    T, patch, global_width, global_layers, local_width, local_layers, vocab_size=256, reach=0
):
    """Multiply-adds of scoring T bytes, T a multiple of patch, of which the first is given: (planner, speller, between and output).

    K m_g and T m_l for blocks of m_g and m_l weights, which dominate, and 2 width scores of every layer. Arguments of MegaByte.
    """
    if T % patch:
        raise ValueError(f"T must be a multiple of patch={patch}, got {T}")
    planner, speller = attention_cost(T, patch, reach)
    planner = global_layers * (T // patch * 12 * global_width**2 + 2 * planner * global_width)
    speller = local_layers * (T * 12 * local_width**2 + 2 * speller * local_width)
    return (
        planner,
        speller,
        T * (global_width // patch) * local_width + (T - 1) * local_width * vocab_size,
    )
