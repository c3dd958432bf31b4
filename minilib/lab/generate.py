"""Let a language model write."""

import operator

import torch

from minilib.lab.ids import Bytes, check_vocabulary, encode
from minilib.language_model import LanguageModel, sample


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompt: str | bytes,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    tokenizer=None,
) -> bytes:
    """Continue a prompt by `length` symbols; returns prompt and continuation as bytes.

    prompt       str or bytes, at least one symbol
    temperature  1 samples from the model, below 1 plays safe, 0 always takes the likeliest symbol
    top_k, top_p sample from the k likeliest symbols, from the likeliest ones of mass p
    seed         the same seed writes the same text
    tokenizer    encode(text) -> ids and decode(ids) -> bytes or str; default: bytes themselves
    Symbols are drawn in float64 on the CPU, whatever the model's device.
    Raises ValueError for an empty prompt, a tokenizer whose vocab_size is not the model's, settings
    out of range, and logits with nan or +inf; TypeError for a prompt that is no text.
    """
    tokenizer = tokenizer or Bytes()
    ids = encode(tokenizer, prompt, "prompt").tolist()
    if not ids:
        raise ValueError("prompt must have at least one symbol, got an empty one")
    if length < 0:
        raise ValueError(f"length must be 0 or more, got {length}")
    check_vocabulary(model, tokenizer)
    device = next(iter([*model.parameters(), *model.buffers()]), torch.empty(0)).device
    noise = torch.rand(length, generator=_generator(seed), dtype=torch.float64)
    logits, state = model.extend(torch.tensor([ids], device=device), model.init_state(1))
    logits = logits[:, -1]
    for u in noise:
        symbol = sample(logits.cpu().double(), u[None], temperature, top_k, top_p)
        ids.append(int(symbol))
        logits, state = model.step(symbol.to(device), state)
    written = getattr(tokenizer, "decode_bytes", tokenizer.decode)(ids)  # tiktoken's name
    return written.encode() if isinstance(written, str) else written


def _generator(seed):
    try:
        return torch.Generator().manual_seed(operator.index(seed))
    except (TypeError, ValueError, RuntimeError):  # the last two are torch's, by its version
        raise ValueError(f"seed must be an integer in [-2^63, 2^64), got {seed!r}") from None
