"""Let a language model write."""

import torch

from minilib.lab.data import Bytes
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
    """
    tokenizer = tokenizer or Bytes()
    ids = list(tokenizer.encode(prompt))
    if not ids:
        raise ValueError("prompt must have at least one symbol, got an empty one")
    if length < 0:
        raise ValueError(f"length must be 0 or more, got {length}")
    device = next(iter([*model.parameters(), *model.buffers()]), torch.empty(0)).device
    noise = torch.rand(length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits, state = model.extend(torch.tensor([ids], device=device), model.init_state(1))
    logits = logits[:, -1]
    for u in noise:
        symbol = sample(logits.double(), u.to(device)[None], temperature, top_k, top_p)
        ids.append(int(symbol))
        logits, state = model.step(symbol, state)
    return tokenizer.decode(ids)
