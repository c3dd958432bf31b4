"""Rows of one stream by one scatter beside a loop; QK-norm on a fused kernel beside all logits."""

import math

import torch

from minilib.attention import attention, rope
from minilib.chameleon import head_norm, interleave, markers, qk_norm_attention
from minilib.lab.measure import peak_bytes, seconds_in_turn

PAIRS, WORDS, CODES, PLACES = 4_000, 57, 256, 36


def _row_by_row(captions, pictures, image_first, words, codes):
    mark = markers(words, codes)
    rows = captions.new_zeros(len(captions), captions.shape[1] + pictures.shape[1] + 4)
    for row, caption, picture, first in zip(rows, captions, pictures, image_first, strict=True):
        text = caption[caption > 0]
        start, begin, finish, stop = text.new_tensor(mark)[:, None]
        drawn = [begin, picture + words, finish]
        both = [*drawn, text] if first else [text, *drawn]
        whole = torch.cat([start, *both, stop])
        row[: len(whole)] = whole
    return rows


def _all_logits(q, k, v, q_gain, q_bias, k_gain, k_bias):
    """Attention whose T² logits are in memory, so that the largest can be read off."""
    q, k = rope(head_norm(q, q_gain, q_bias)), rope(head_norm(k, k_gain, k_bias))
    T, D = q.shape[2:]
    logits = q @ k.transpose(-1, -2) / math.sqrt(D)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    weight = logits.masked_fill(future, -math.inf).softmax(-1)
    return weight @ v, logits.abs().masked_fill(future, 0).amax((-1, -2))


def _unwatched(q, k, v, q_gain, q_bias, k_gain, k_bias):
    q, k = rope(head_norm(q, q_gain, q_bias)), rope(head_norm(k, k_gain, k_bias))
    return attention(q, k, v, causal=True)


def bench(device):
    """4,000 pairs of 36 codes; attention over 2,048 steps, four heads of 64."""
    draw = torch.Generator().manual_seed(0)
    length = torch.randint(1, 8, (PAIRS, 1), generator=draw)
    captions = torch.randint(1, WORDS, (PAIRS, 7), generator=draw) * (torch.arange(7) < length)
    pictures = torch.randint(CODES, (PAIRS, PLACES), generator=draw)
    pairs = captions, pictures, torch.rand(PAIRS, generator=draw) < 0.5
    pairs = [part.to(device) for part in pairs]
    assert torch.equal(interleave(*pairs, WORDS, CODES), _row_by_row(*pairs, WORDS, CODES))
    ways = {"ours": interleave, "row by row": _row_by_row}
    runs = {name: lambda way=way: way(*pairs, WORDS, CODES) for name, way in ways.items()}
    yield "time, 4,000 pairs as rows of one stream", seconds_in_turn(runs, 2, device)

    inputs = [torch.randn(1, 4, 2048, 64, generator=draw).to(device) for _ in "qkv"]
    inputs += [torch.randn(4, 64, generator=draw).to(device) for _ in range(4)]
    ours, wanted = qk_norm_attention(*inputs), _all_logits(*inputs)
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    ways = {"ours": qk_norm_attention, "all logits": _all_logits, "not watched": _unwatched}
    runs = {name: lambda way=way: way(*inputs) for name, way in ways.items()}
    yield "time, QK-norm attention and its largest logit", seconds_in_turn(runs, 2, device)
    yield "peak memory", {name: peak_bytes(run, device) for name, run in runs.items()}
