"""The laws of every language model. Models are found automatically: none can escape them."""

import inspect

import numpy as np
import pytest
import torch

from minilib import language_model, laws, twins
from minilib.language_model import LanguageModel, next_symbol_loss

PAIRS = twins.load()


def subclasses(cls):
    return {cls} | {deeper for child in cls.__subclasses__() for deeper in subclasses(child)}


DECLARED = {pair.fast: pair for pair in PAIRS if inspect.isclass(pair.fast)}
MODELS = sorted(  # a class that others are made of, like s4d.Stack, is tested in each of them
    (
        m
        for m in subclasses(LanguageModel)
        if m.__module__.startswith("minilib.") and (m in DECLARED or not m.__subclasses__())
    ),
    key=lambda m: m.__qualname__,
)
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
@pytest.mark.parametrize(
    "law", [laws.causality, laws.step_is_forward, laws.pieces_are_forward, laws.rows_are_alone]
)
@torch.no_grad()
def test_the_laws(model, number, law):
    law(*build(model, number))


@every_model
@torch.no_grad()
def test_a_state_holds_no_more_memory_than_its_numbers_need(model, number):
    """A view of a long buffer would keep the activations of a whole text alive."""
    laws.lean_state(*build(model, number))


@every_model
@pytest.mark.parametrize(
    "parents", [[-1], [-1, 0, 1, 2, 3, 4], [-1, 0, 0, 1, 1, 2, 5, 5], [-1, -1, 0]], ids=str
)
@torch.no_grad()
def test_a_tree_is_its_paths(model, number, parents):
    """After each node: the logits, and the way on, of having read the path to it alone."""
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


def hide_parameters(model):
    """Take every submodule's own parameters away, but for its forward; as sharding does."""
    for module in model.modules():
        own = dict(module._parameters)
        if module is model or not own:
            continue
        depth = [0]

        def enter(module, _, own=own, depth=depth):
            module._parameters.update(own)
            depth[0] += 1

        def leave(module, *_, depth=depth):
            depth[0] -= 1
            if not depth[0]:
                module._parameters.clear()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
        module._parameters.clear()


@every_model
@torch.no_grad()
def test_parameters_are_touched_only_inside_their_module(model, number):
    """So that sharding and checkpointing work; the root's own are there in all its methods."""
    model, ids = build(model, number)
    ways = (
        lambda: model(ids),
        lambda: model.extend(ids, model.extend(ids[:, :7], model.init_state(3))[1])[0],
        lambda: model.step(ids[:, 0], model.init_state(3))[0],
        lambda: model.extend_tree(ids[:, :4], [-1, 0, 0, 1], model.init_state(3))[0],
    )
    before = [way() for way in ways]
    hide_parameters(model)
    for way, value in zip(ways, before, strict=True):
        assert torch.equal(way(), value)


@every_model
@pytest.mark.parametrize("scalar", [lambda y, ids: next_symbol_loss(y, ids), lambda y, _: y.sum()])
def test_a_second_derivative_is_right_or_refused(model, number, scalar):
    """The derivative of g · v along w, against a central difference of the gradient g."""
    model, ids = build(model, number)
    ids, p = ids[:2, :9], list(model.parameters())
    noise = torch.Generator().manual_seed(0)
    v, w = ([torch.randn(x.shape, generator=noise, dtype=x.dtype) for x in p] for _ in "vw")
    dot = lambda a, b: sum((x * y).sum() for x, y in zip(a, b, strict=True) if x is not None)
    if not p:
        return
    try:
        g = torch.autograd.grad(scalar(model(ids), ids), p, create_graph=True)
        got = dot(torch.autograd.grad(dot(g, v), p, allow_unused=True), w)
    except RuntimeError:
        return  # refused
    slopes = []
    for step in (1e-5, -2e-5):
        for x, move in zip(p, w, strict=True):
            x.data += step * move
        slopes.append(dot(torch.autograd.grad(scalar(model(ids), ids), p), v))
    torch.testing.assert_close(got, (slopes[0] - slopes[1]) / 2e-5, rtol=1e-4, atol=1e-6)


@every_model
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_half_precision_works_or_is_refused_by_name(model, number, dtype):
    model, ids = build(model, number)
    model = model.to(dtype)
    for way in (lambda: model(ids), lambda: model.step(ids[:, 0], model.init_state(3))[0]):
        try:
            logits = way()
        except TypeError as refusal:
            assert str(dtype).split(".")[1] in str(refusal)
        else:
            assert logits.dtype in (dtype, torch.float32, torch.float64)
            assert torch.isfinite(logits.float()).all()


@every_model
@torch.no_grad()
def test_the_check_of_ids_stops_neither_compile_nor_export(model, number):
    model, ids = build(model, number)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):  # torch 2.6 asks for it
        torch.testing.assert_close(compiled(ids), model(ids), rtol=1e-12, atol=1e-12)
    exported = torch.export.export(model, (ids,)).module()
    torch.testing.assert_close(exported(ids), model(ids), rtol=1e-12, atol=1e-12)
