"""The laws of every language model, found automatically: a model that the package has cannot escape them."""

import inspect

import numpy as np
import pytest
import torch

from minilib import language_model, twins
from minilib.language_model import LanguageModel, probabilities, sample

PAIRS = twins.load()


def subclasses(cls):
    return {cls} | {deeper for child in cls.__subclasses__() for deeper in subclasses(child)}


MODELS = sorted(
    (
        m
        for m in subclasses(LanguageModel)
        if m.__module__.startswith("minilib.") and m is not LanguageModel
    ),
    key=lambda m: m.__qualname__,
)
DECLARED = {pair.fast: pair for pair in PAIRS if inspect.isclass(pair.fast)}
BUILT = [
    (model, number)
    for model in MODELS
    for number, _ in enumerate(
        DECLARED[model].cases(np.random.default_rng(0)) if model in DECLARED else [0]
    )
]


def build(model, number):
    """A float64 model with the constructor arguments of one of its cases, and random ids."""
    assert model in DECLARED, f"{model.__name__} is a language model without @twin"
    constructor = list(DECLARED[model].cases(np.random.default_rng(0)))[number][0]
    torch.manual_seed(0)
    made = model(**constructor).double().eval()
    for p in made.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return made, torch.randint(made.vocab_size, (3, 33))


every_model = pytest.mark.parametrize(
    "model,number", BUILT, ids=lambda value: getattr(value, "__name__", value)
)


def test_there_are_models():
    assert len(MODELS) >= 2


@every_model
@torch.no_grad()
def test_causality(model, number):
    """Changing the symbol at t moves no output before t, to the bit; and it does move a later one.

    A model whose FFT mixes positions states its rounding in float64 as a class attribute, `rounding`.
    """
    rounding = getattr(model, "rounding", 0.0)
    assert rounding <= 1e-10
    model, ids = build(model, number)
    before = model(ids)
    assert before.shape == (*ids.shape, model.vocab_size)
    assert torch.isfinite(before.logsumexp(-1)).all()
    moved = False
    for t in (0, 1, 16, 31, 32):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % model.vocab_size
        after = model(changed)
        still = torch.isclose(after, before, rtol=0, atol=rounding)
        assert still[:, :t].all(), f"the symbol at {t} leaks into the past"
        moved |= not still[:, t:].all()
    assert moved or model.vocab_size == 1


@every_model
@torch.no_grad()
def test_step_equals_forward(model, number):
    model, ids = build(model, number)
    forward, state, rows = model(ids), model.init_state(len(ids)), []
    for t in range(ids.shape[1]):
        logits, state = model.step(ids[:, t], state)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), forward, rtol=1e-10, atol=1e-10)


@every_model
@torch.no_grad()
def test_extending_in_pieces_equals_forward_and_keeps_old_states(model, number):
    model, ids = build(model, number)
    forward, state = model(ids), model.init_state(len(ids))
    kept, pieces = None, []
    for start, end in ((0, 1), (1, 8), (8, 33)):
        logits, state = model.extend(ids[:, start:end], state)
        pieces.append(logits)
        kept = state if end == 8 else kept
    torch.testing.assert_close(torch.cat(pieces, 1), forward, rtol=1e-10, atol=1e-10)
    again, _ = model.extend(
        ids[:, 8:], kept
    )  # going back to an old state is allowed: nothing changed it
    assert torch.equal(again, pieces[-1])


@every_model
@pytest.mark.parametrize(
    "parents", [[-1], [-1, 0, 1, 2, 3, 4], [-1, 0, 0, 1, 1, 2, 5, 5], [-1, -1, 0]], ids=str
)
@torch.no_grad()
def test_a_tree_is_its_paths(model, number, parents):
    """After each node of a tree: the logits, and the way on, of having read the path to it and nothing else."""
    model, ids = build(model, number)
    _, before = model.extend(ids[:, :11], model.init_state(3))
    tree = ids[:, 11 : 11 + len(parents)]
    logits, after = model.extend_tree(tree, parents, before)
    paths = language_model.tree_paths(parents, len(parents))
    for node, path in enumerate(paths):
        alone, state = model.extend(tree[:, path], before)
        torch.testing.assert_close(logits[:, node], alone[:, -1], rtol=1e-10, atol=1e-10)
        followed = model.follow(tree, torch.tensor([path] * 3), before, after)
        torch.testing.assert_close(
            model.extend(ids[:, :3], followed)[0],
            model.extend(ids[:, :3], state)[0],
            rtol=1e-10,
            atol=1e-10,
        )
    same_length = [path for path in paths if len(path) == 2][:3]
    if len(same_length) > 1:  # every row may go its own way
        rows = torch.tensor((same_length * 3)[:3])
        _, state = model.extend(tree.gather(1, rows), before)
        followed = model.follow(tree, rows, before, after)
        torch.testing.assert_close(
            model.extend(ids[:, :3], followed)[0],
            model.extend(ids[:, :3], state)[0],
            rtol=1e-10,
            atol=1e-10,
        )


@every_model
def test_bad_ids_are_named(model, number):
    model, ids = build(model, number)
    state = model.init_state(3)
    for call in (model, lambda x: model.extend(x, state)):
        with pytest.raises(ValueError, match="ids must lie in"):
            call(torch.full((3, 2), model.vocab_size))
        with pytest.raises(ValueError, match="ids must lie in"):
            call(torch.full((3, 2), -1))
        with pytest.raises(TypeError, match="ids must be an int64 tensor"):
            call(torch.zeros(3, 2))
        with pytest.raises(ValueError, match="ids must have shape"):
            call(ids[:, :0])
    with pytest.raises(ValueError, match=r"ids must have shape \(batch,\)"):
        model.step(ids, state)


class Counting(LanguageModel):
    """Defines step alone: bets on the number of symbols so far."""

    vocab_size = 40

    def init_state(self, batch_size):
        return 0

    def step(self, ids, state):
        return torch.nn.functional.one_hot(torch.full_like(ids, state + 1), 40).double(), state + 1


def test_step_alone_gives_extend_and_forward():
    logits, state = Counting().extend(torch.zeros(2, 5, dtype=torch.int64), 3)
    assert logits.argmax(-1).tolist() == [[4, 5, 6, 7, 8]] * 2 and state == 8
    assert Counting()(torch.zeros(1, 3, dtype=torch.int64)).argmax(-1).tolist() == [[1, 2, 3]]


def test_a_model_without_step_and_extend_is_told():
    class Nothing(Counting):
        step = LanguageModel.step

    with pytest.raises(NotImplementedError, match="Nothing must define extend or step"):
        Nothing()(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(NotImplementedError, match="LanguageModel must define init_state"):
        LanguageModel().init_state(1)


# -- sampling --------------------------------------------------------------------------------------


def logits_of(*p):
    return torch.tensor([p], dtype=torch.float64).log()


def test_probabilities_by_hand():
    p = logits_of(0.5, 0.3, 0.2)
    torch.testing.assert_close(
        probabilities(p, top_k=2), torch.tensor([[5 / 8, 3 / 8, 0]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        probabilities(p, top_p=0.6), torch.tensor([[5 / 8, 3 / 8, 0]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        probabilities(p, top_p=0.5), torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        probabilities(p, temperature=0.5),
        torch.tensor([[25 / 38, 9 / 38, 4 / 38]], dtype=torch.float64),
    )
    assert probabilities(p, temperature=0).tolist() == [[1, 0, 0]]


def test_sample_inverts_the_cumulative_distribution():
    p = logits_of(0.5, 0.3, 0.2).expand(4, 3)
    assert sample(p, torch.tensor([0.0, 0.49, 0.5, 0.99], dtype=torch.float64)).tolist() == [
        0,
        0,
        1,
        2,
    ]


def test_samples_have_the_frequencies_of_the_distribution():
    # 20,000 draws: a frequency strays by more than 5 standard deviations once in about a million seeds
    p = logits_of(0.5, 0.3, 0.2, 1e-9).expand(20_000, 4)
    u = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = sample(p, u, temperature=2.0, top_k=3).bincount(minlength=4) / 20_000
    expected = torch.tensor([0.5, 0.3, 0.2, 0]).sqrt()
    assert ((counts - expected / expected.sum()).abs() < 5 * 0.5 / 20_000**0.5).all()
    assert counts[3] == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
    ],
)
def test_sampling_refuses(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        sample(torch.zeros(1, 3), torch.zeros(1), **bad)


def test_shapes_are_refused():
    with pytest.raises(ValueError, match="logits must have shape"):
        probabilities(torch.zeros(3))
    with pytest.raises(ValueError, match="u must have shape"):
        sample(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="ids must have the shape"):
        language_model.next_symbol_loss(torch.zeros(1, 3, 5), torch.zeros(1, 2, dtype=torch.int64))


def test_uniform_loss_is_the_log_of_the_vocabulary():
    loss = language_model.next_symbol_loss(
        torch.zeros(2, 3, 7), torch.zeros(2, 3, dtype=torch.int64)
    )
    torch.testing.assert_close(loss, torch.tensor(7.0).log())
