"""The one score: bits per byte."""

import math

import numpy as np
import torch
from torch import nn

from minilib.lab.ids import Bytes, as_bytes, check_vocabulary, encode

# numbers of a model's logits that are held at once, and in float64: 128 and 32 MB
_LOGITS, _DOUBLES = 1 << 25, 1 << 22


@torch.no_grad()
def bits_per_byte(
    model: nn.Module, text: str | bytes, tokenizer=None, context: int = 1024
) -> float:
    """Total −log2 p of a text under a language model, over its number of UTF-8 bytes.

    text       str or bytes
    tokenizer  encode(text) -> ids; default: bytes themselves. One of another library that takes str
               alone, such as tiktoken's, gets str
    context    symbols a window holds. Windows overlap by half, so that every symbol but the first
               ones of the text is predicted from at least context / 2 others. The first symbol of
               all has nothing before it and is charged log2 of the vocabulary
    returns    inf if the model gives a symbol of the text probability 0
    Memory is that of the logits of 2^25 / vocab_size symbols, or of one window if that is more.
    Logits are summed in float64, whatever the model's dtype.
    Raises ValueError for an empty text, a context below 2, a tokenizer whose vocab_size is not the
    model's, and logits with nan or +inf; TypeError for what is no text.
    """
    text = as_bytes(text)
    if not text:
        raise ValueError("text must have at least one byte, got an empty one")
    if context < 2:
        raise ValueError(f"context must be at least 2, got {context}")
    tokenizer = tokenizer or Bytes()
    check_vocabulary(model, tokenizer)
    ids = encode(tokenizer, text)
    device = next(iter([*model.parameters(), *model.buffers()]), torch.empty(0)).device
    nats = math.log(model.vocab_size)
    half = context // 2
    context = 2 * half
    on_device = lambda rows: torch.from_numpy(rows.astype(np.int64)).to(device)
    if len(ids) > 1:
        nats += _nats(model, on_device(ids[None, : context + 1]), 0)
    # a window at s predicts ids s + half + 1 … s + context
    starts = np.arange(half, len(ids) - 1 - half, half)
    full = starts[starts + context < len(ids)]
    at_once = max(1, min(32_768, _LOGITS // model.vocab_size) // context)
    for k in range(0, len(full), at_once):
        group = full[k : k + at_once, None] + np.arange(context + 1)
        nats += _nats(model, on_device(ids[group]), half)
    for start in starts[len(full) :]:
        nats += _nats(model, on_device(ids[None, start:]), half)
    return nats / math.log(2) / len(text)


def _nats(model, ids, skip):
    """Total nats of ids[:, skip + 1:], each predicted from everything before it in its row."""
    if ids.shape[1] < skip + 2:
        return 0.0
    logits = model(ids[:, :-1])[:, skip:].flatten(0, 1)
    targets = ids[:, skip + 1 :].flatten()
    if logits.device.type == "mps":  # which has no float64
        logits, targets = logits.cpu(), targets.cpu()
    rows, total = max(1, _DOUBLES // logits.shape[1]), 0.0
    for some, wanted in zip(logits.split(rows), targets.split(rows), strict=True):
        total += float(nn.functional.cross_entropy(some.double(), wanted, reduction="sum"))
    if math.isnan(total):
        raise ValueError("model must give logits without nan and +inf, its score is nan")
    return total
