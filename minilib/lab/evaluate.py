"""The one score: bits per byte."""

import math

import torch
from torch import nn

from minilib.lab.data import Bytes


@torch.no_grad()
def bits_per_byte(
    model: nn.Module, text: str | bytes, tokenizer=None, context: int = 1024
) -> float:
    """Total −log2 p of a text under a language model, over its number of UTF-8 bytes.

    text       str or bytes
    tokenizer  encode(text) -> ids; default: bytes themselves
    context    symbols a window holds. Windows overlap by half, so that every symbol but the first
               ones of the text is predicted from at least context / 2 others. The first symbol of
               all has nothing before it and is charged log2 of the vocabulary
    Raises ValueError for an empty text or a context below 2.
    """
    text = text.encode() if isinstance(text, str) else bytes(text)
    if not text:
        raise ValueError("text must have at least one byte, got an empty one")
    if context < 2:
        raise ValueError(f"context must be at least 2, got {context}")
    ids = torch.tensor((tokenizer or Bytes()).encode(text), dtype=torch.int64)
    device = next(iter([*model.parameters(), *model.buffers()]), ids).device
    nats = math.log(model.vocab_size)
    half = context // 2
    context = 2 * half
    if len(ids) > 1:
        nats += _nats(model, ids[None, : context + 1].to(device), 0)
    # a window at s predicts ids s + half + 1 … s + context
    starts = torch.tensor(range(half, len(ids) - 1 - half, half), dtype=torch.int64)
    full = starts[starts + context < len(ids)]
    for group in full.split(max(1, 32_768 // context)) if len(full) else ():
        nats += _nats(model, ids[group[:, None] + torch.arange(context + 1)].to(device), half)
    for start in starts[len(full) :]:
        nats += _nats(model, ids[None, start:].to(device), half)
    return nats / math.log(2) / len(text)


def _nats(model, ids, skip):
    """Total nats of ids[:, skip + 1:], each predicted from everything before it in its row."""
    if ids.shape[1] < skip + 2:
        return 0.0
    logits = model(ids[:, :-1])[:, skip:].double().flatten(0, 1)
    targets = ids[:, skip + 1 :].flatten()
    return float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
