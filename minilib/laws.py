"""The laws of every language model, as functions that say which one is broken.

Each takes a model and ids (batch >= 2, time >= 4) and returns None or raises ValueError in words.
They hold in float64: `hold` makes a copy of a model in it. tests/test_models.py asks them of every
model here, and `python -m minilib contest` of a model of your own.
"""

import copy

import torch
from torch import Tensor

from minilib.compare import leaves_of
from minilib.language_model import LanguageModel


def hold(model: LanguageModel, ids: Tensor) -> None:
    """Raise ValueError unless a model keeps all laws of this module on these ids."""
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for law in (causality, step_is_forward, pieces_are_forward, rows_are_alone, lean_state):
            law(model, ids)


def causality(model: LanguageModel, ids: Tensor) -> None:
    """A symbol moves no logits before its own, to the bit, and does move some from there on.

    A model whose FFT mixes positions states its rounding in float64: a class attribute, `rounding`,
    of 1e-10 at most.
    """
    rounding = getattr(model, "rounding", 0.0)
    if not 0 <= rounding <= 1e-10:
        raise ValueError(f"rounding must be 1e-10 at most, got {rounding}")
    before = model(ids)
    if before.shape != (*ids.shape, model.vocab_size):
        wanted = (*ids.shape, model.vocab_size)
        raise ValueError(f"forward must return the shape {wanted}, got {tuple(before.shape)}")
    if not torch.isfinite(before.logsumexp(-1)).all():
        raise ValueError("forward must give each place a finite log-sum-exp, it does not")
    moved = model.vocab_size == 1
    last = ids.shape[1] - 1
    for t in sorted({0, 1, last // 2, last - 1, last}):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % model.vocab_size
        still = torch.isclose(model(changed), before, rtol=0, atol=rounding)
        if not still[:, :t].all():
            raise ValueError(f"causality is broken: the symbol at {t} changes logits before it")
        moved |= not still[:, t:].all()
    if not moved:
        raise ValueError("logits depend on no symbol")


def step_is_forward(model: LanguageModel, ids: Tensor) -> None:
    """Reading symbol by symbol gives the logits of forward."""
    state, rows = model.init_state(len(ids)), []
    for t in range(ids.shape[1]):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    _same(torch.stack(rows, 1), model(ids), 1e-10, "step by step, logits are not those of forward")


def pieces_are_forward(model: LanguageModel, ids: Tensor) -> None:
    """So does reading in pieces; and going back to an old state is allowed: no call changes it."""
    state, pieces = model.init_state(len(ids)), []
    a, b = max(1, ids.shape[1] // 32), max(2, ids.shape[1] // 4)
    for start, end in ((0, a), (a, b), (b, ids.shape[1])):
        kept = state
        logits, state = model.extend(ids[:, start:end], state)
        pieces.append(logits)
    _same(torch.cat(pieces, 1), model(ids), 1e-10, "in pieces, logits are not those of forward")
    again, _ = model.extend(ids[:, b:], kept)
    if not torch.equal(again, pieces[-1]):
        raise ValueError("extend changes the state that it is given")


def rows_are_alone(model: LanguageModel, ids: Tensor) -> None:
    """A row of a batch has the logits and the state that it has alone."""
    together, after = model.extend(ids, model.init_state(len(ids)))
    for row in range(len(ids)):
        one = ids[row : row + 1]
        alone, state = model.extend(one, model.init_state(1))
        words = f"row {row} of a batch differs from the row alone"
        _same(alone[0], together[row], 1e-12, words)
        for mine, all_rows in zip(tensors_of(state), tensors_of(after), strict=True):
            _same(mine[0], all_rows[row], 1e-12, words)
        _same(model(one)[0], model(ids)[row], 1e-12, words)


def lean_state(model: LanguageModel, ids: Tensor) -> None:
    """A state holds no more memory than its numbers need: no view of a long buffer."""
    draw = torch.Generator().manual_seed(0)
    long = torch.randint(model.vocab_size, (1, 20_000), generator=draw).to(ids.device)
    state = model.init_state(1)
    for some in (long, long[:, :1], long[:, :50]):
        _, state = model.extend(some, state)
        leaves = tensors_of(state)
        storages = [leaf.untyped_storage() for leaf in leaves]
        held = sum({s.data_ptr(): s.nbytes() for s in storages}.values())
        needed = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
        if held > 1.1 * needed:
            raise ValueError(f"a state holds {held} bytes, and its numbers need {needed}")


def tensors_of(state) -> list[Tensor]:
    """The tensors of a nested state."""
    return [leaf for _, leaf in leaves_of(state) if isinstance(leaf, Tensor)]


def _same(a, b, tolerance, words):
    try:
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    except AssertionError as error:
        raise ValueError(f"{words}: {' '.join(str(error).split())[:200]}") from None
