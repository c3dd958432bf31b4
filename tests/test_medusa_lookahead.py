"""Medusa: heads and labels, best trees by brute force, greedy to the byte, exact."""

import functools
import itertools

import numpy as np
import pytest
import torch
from mutants import edited
from test_lookahead import worst_error
from test_models import build, every_model
from test_speculative import (
    HOWS,
    PROMPT,
    TARGET,
    chi_square,
    greedy,
    how_of,
    p_itself,
    table,
)

from minilib import acceptance, lab
from minilib.compression import KneserNey
from minilib.language_model import tree_mask, tree_paths
from minilib.medusa_lookahead import (
    Heads,
    best_tree,
    choice_parents,
    heads_on,
    medusa,
    medusa_loss,
    rank_accuracy,
    tree_symbols,
    typical_accept,
)
from minilib.naive import medusa_lookahead as naive
from minilib.transformer import Transformer

# -- answers that are wrong ------------------------------------------------------------------------

LOSS = "total += decay**k * np.mean(nats)"
TARGETS = "nats.append(np.log(np.exp(z).sum()) - z[ids[b, t + 1 + k]])"
ORDER = 'np.argsort(-logits[b, t, k - 1], kind="stable")'
RIGHT = "right[k - 1, r] += order[r] == ids[b, t + 1 + k]"

WRONG = {
    naive.medusa_heads: edited(
        naive.medusa_heads,
        no_residual=("(h + inner / (1", "(inner / (1"),
        relu=("inner / (1 + np.exp(-inner))", "np.maximum(inner, 0)"),
        sigmoid=("inner / (1 + np.exp(-inner))", "1 / (1 + np.exp(-inner))"),
        bias_forgotten=(' + params["b"][k]', ""),
        one_block_for_all=('params["W1"][k]', 'params["W1"][0]'),
        logits_are_the_state=('params["R"] @ z[n]', 'params["R"] @ np.roll(z[n], 1)'),
    ),
    naive.medusa_loss: edited(
        naive.medusa_loss,
        label_of_the_head_before=(TARGETS, TARGETS.replace("t + 1 + k", "t + k")),
        label_one_too_far=(
            TARGETS,
            TARGETS.replace("t + 1 + k", "min(t + 2 + k, T - 1)"),
        ),
        heads_count_alike=(LOSS, "total += np.mean(nats)"),
        sums_in_place_of_means=(LOSS, "total += decay**k * np.sum(nats)"),
        first_head_weighs_one=(LOSS, "total += decay ** (k - 1) * np.mean(nats)"),
        mean_over_heads=("    return total\n\n\ndef rank", "    return total / K\n\n\ndef rank"),
    ),
    naive.rank_accuracy: edited(
        naive.rank_accuracy,
        label_of_the_head_before=(RIGHT, RIGHT.replace("t + 1 + k", "t + k")),
        among_the_first_r=(RIGHT, "right[k - 1, r] += ids[b, t + 1 + k] in order[: r + 1]"),
        share_of_all_places=("B * (T - 1 - k)", "B * T"),
        larger_id_first=(ORDER, ORDER.replace("(-", "(") + "[::-1]"),
    ),
    naive.best_tree: edited(
        naive.best_tree,
        rows_mixed_up=("accuracy[len(path), r]", "accuracy[0, r]"),
        sums=("value[path] * accuracy[len(path)", "value[path] + accuracy[len(path)"),
        deep_first=("len(longer), longer)", "-len(longer), longer)"),
        root_counts_as_a_node=("while len(tree) < nodes", "while len(tree) < nodes - 1"),
        parent_forgotten=("value[path] * accuracy[len(path)", "accuracy[len(path)"),
    ),
    naive.choice_parents: edited(
        naive.choice_parents,
        root_forgotten=("1 + choices.index(path[:-1])", "choices.index(path[:-1])"),
        chain=("1 + choices.index(path[:-1])", "len(parents) - 1"),
        no_root=("parents = [-1]", "parents = []"),
    ),
    naive.tree_symbols: edited(
        naive.tree_symbols,
        root_forgotten=("    total = 1.0\n", "    total = 0.0\n"),
        last_entry_only=("product *= accuracy[k, r]", "product = accuracy[k, r]"),
        first_head_only=("product *= accuracy[k, r]", "product *= accuracy[0, r]"),
    ),
    naive.typical_accept: edited(
        naive.typical_accept,
        larger_limit=("] > min(", "] > max("),
        sign_of_the_entropy=("np.exp(-entropy)", "np.exp(entropy)"),
        swapped=("min(epsilon, delta *", "min(delta, epsilon *"),
        bits=("x * np.log(x)", "x * np.log2(x)"),
        delta_only=("min(epsilon, delta * np.exp(-entropy))", "delta * np.exp(-entropy)"),
        epsilon_only=("min(epsilon, delta * np.exp(-entropy))", "epsilon"),
        as_likely_as_allowed=("] > min(", "] >= min("),
    ),
}  # fmt: skip

# -- heads -----------------------------------------------------------------------------------------


def test_heads_start_as_copies_of_the_output_layer():
    torch.manual_seed(0)
    trunk = Transformer(7, 4, 1, 2).double()
    heads = heads_on(trunk.output.detach(), 3)
    z = trunk(torch.randint(7, (2, 9)))
    out = heads(z)
    assert out.shape == (2, 9, 3, 7)
    # R is rounded to half: h is right to about 1e-3, and so is U h
    torch.testing.assert_close(out, z[:, :, None].expand(-1, -1, 3, -1), rtol=0.01, atol=0.01)
    assert all(W.data_ptr() != V.data_ptr() for W, V in itertools.combinations(heads.W1, 2))
    plain = Heads(7, 2)
    assert torch.equal(plain(z.float())[:, :, 1], z.float())  # the identity


def test_head_k_learns_the_symbol_k_behind_the_next():
    """A text that counts: after t comes t + 1, and head k must say t + 1 + k, not t + k."""
    torch.manual_seed(0)
    V = 9
    heads, rows = Heads(V, 3), torch.arange(12).repeat(4, 1) + torch.arange(4)[:, None]
    ids = rows % V
    z = torch.nn.functional.one_hot((ids + 1) % V, V).float()  # a trunk that knows
    optimizer = torch.optim.Adam(heads.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        medusa_loss(heads(z), ids).backward()
        optimizer.step()
    said = heads(z).argmax(-1)
    for k in (1, 2, 3):
        assert torch.equal(said[:, :, k - 1], (ids + 1 + k) % V)
    assert torch.equal(rank_accuracy(heads(z), ids, 2), torch.tensor([[1.0, 0.0]] * 3))


def test_loss_by_hand():
    """Even odds of four symbols: ln 4 for each head, weighed 1/2 and 1/4."""
    got = medusa_loss(torch.zeros(2, 5, 2, 4), torch.zeros(2, 5, dtype=torch.int64), 0.5)
    assert got.item() == pytest.approx(0.75 * np.log(4))


# -- trees -----------------------------------------------------------------------------------------


def test_a_tree_of_five_paths_by_hand():
    """Positions, who sees how many, and the paths from the root to the leaves."""
    choices = [(0,), (1,), (0, 0), (0, 1), (1, 0)]
    parents = choice_parents(choices)
    mask = tree_mask(parents)
    assert (mask.sum(1) - 1).tolist() == [0, 1, 1, 2, 2, 2]
    assert mask.sum(1).tolist() == [1, 2, 2, 3, 3, 3]
    leaves = set(range(6)) - set(parents)
    paths = tree_paths(parents, 6)
    assert sorted(paths[leaf] for leaf in leaves) == [[0, 1, 3], [0, 1, 4], [0, 2, 5]]


def all_trees(K, ranks, nodes):
    """Every set of paths that holds the beginnings of its paths."""
    paths = [p for n in range(1, K + 1) for p in itertools.product(range(ranks), repeat=n)]
    for tree in itertools.combinations(paths, nodes):
        if all(len(path) == 1 or path[:-1] in tree for path in tree):
            yield list(tree)


@pytest.mark.parametrize("seed", range(4))
def test_no_tree_is_better_than_the_best(seed):
    """All trees of 1 to 5 nodes of three heads and two ranks; what is asked for is a beginning."""
    rng = np.random.default_rng(seed)
    accuracy = rng.dirichlet(np.ones(3), size=3)[:, :2] ** (seed % 2 + 1)
    largest = best_tree(torch.tensor(accuracy), 5)
    for nodes in range(1, 6):
        tree = best_tree(torch.tensor(accuracy), nodes)
        assert tree == largest[:nodes]
        best = max(naive.tree_symbols(accuracy, t) for t in all_trees(3, 2, nodes))
        assert naive.tree_symbols(accuracy, tree) == pytest.approx(best, abs=1e-12)


def test_symbols_of_a_tree_by_hand():
    accuracy = torch.tensor([[0.5, 0.25], [0.4, 0.1]])
    assert tree_symbols(accuracy, [(0,), (1,), (0, 0), (1, 1)]) == pytest.approx(
        1 + 0.5 + 0.25 + 0.2 + 0.025
    )
    assert tree_symbols(accuracy, []) == 1


class Wishes(torch.nn.Module):
    """Heads whose rank r is right as often as a table says, whatever the trunk says: by chance."""

    vocab_size, ahead = 3, 2

    def __init__(self, seed):
        super().__init__()
        self.draw = torch.Generator().manual_seed(seed)

    def forward(self, z):
        return torch.rand(len(z), 2, 3, generator=self.draw)


@pytest.mark.parametrize("nodes", [1, 2, 6])
def test_expected_symbols_are_measured(nodes):
    """Heads that guess at random are right once in three, at each rank: the product rule holds.

    Within 4 standard errors, which a right decoder passes 9,999 times in 10,000; a seed is fixed.
    """
    accuracy = torch.full((2, 3), 1 / 3)
    choices = best_tree(accuracy, nodes)
    got = medusa(TARGET, Wishes(1), torch.tensor([[1]]), 400, choices=choices, seed=nodes)
    want = tree_symbols(accuracy, choices).item()
    spread = np.std(got.taken) / len(got.taken) ** 0.5
    assert abs(got.symbols_per_call - want) < 4 * spread
    assert set(got.scored) == {1 + nodes}


# -- greedy ----------------------------------------------------------------------------------------


def opinions(vocab_size, ahead, seed=0):
    """Heads with opinions of their own, right or wrong."""
    torch.manual_seed(seed)
    heads = Heads(vocab_size, ahead).double()
    for p in heads.parameters():
        p.data += 0.5 * torch.randn_like(p)
    return heads


@every_model
@torch.no_grad()
def test_greedy_text_is_greedy_text(model, number):
    model, ids = build(model, number)
    choices = [(0,), (0, 0)] if model.vocab_size < 2 else [(0,), (1,), (0, 0), (1, 0), (0, 0, 1)]
    want = torch.cat([ids[:1, :5], greedy(model, ids[:1, :5], 6)], 1)
    heads = opinions(model.vocab_size, 3)
    got = medusa(model, heads, ids[:1, :5], 6, choices=choices, temperature=0)
    assert torch.equal(got.ids, want)


@torch.no_grad()
def test_heads_of_float32_fit_a_model_of_float64():
    model, prompt = KneserNey(b"to be or not to be", order=3), torch.tensor([[116, 111]])
    got = medusa(model, Heads(256, 2), prompt, 8, temperature=0)
    assert torch.equal(got.ids[:, 2:], greedy(model, prompt, 8))


@pytest.mark.parametrize("choices", [None, [(1,)], [(0,), (2,), (0, 1), (2, 0)], []], ids=str)
def test_calls_are_those_of_the_definition(choices):
    heads = opinions(3, 3)

    def predict(text):
        z = TARGET.logits[([0, *text])[-2], text[-1]]
        return torch.cat([z[None], heads(z[None])[0]]).detach().numpy()

    got = medusa(TARGET, heads, torch.tensor([[2, 0]]), 25, choices=choices, temperature=0)
    paths = [(0,), (0, 0), (0, 0, 0)] if choices is None else choices
    text, taken = naive.medusa(predict, [2, 0], 25, paths)
    assert got.taken == tuple(taken) and got.ids[0].tolist() == text[:27]
    assert set(got.scored) == {1 + len(paths)}


# -- exact when it samples, and when not -----------------------------------------------------------

CHOICES = [(0,), (1,), (0, 0)]


def program_of(target, length, **how):
    heads = opinions(target.vocab_size, 2)

    def program():
        got = medusa(target, heads, torch.tensor([PROMPT]), length, choices=CHOICES, **how)
        return tuple(got.ids[0, len(PROMPT) :].tolist())

    return program


@pytest.mark.parametrize("how", [HOWS[0], HOWS[1], HOWS[4], HOWS[5], HOWS[6]], ids=str)
def test_the_distribution_is_the_models(how, monkeypatch):
    target, how = table(0), how_of(*how)
    program = program_of(target, 3, **how)
    assert worst_error(monkeypatch, program, target, PROMPT, 3, how) < 1e-12


def test_enumeration_sees_a_wrong_rule(monkeypatch):
    target = table(0)
    monkeypatch.setattr(acceptance, "residual", p_itself)
    program = program_of(target, 2)
    assert worst_error(monkeypatch, program, target, PROMPT, 2, how_of(*HOWS[0])) > 1e-2


@pytest.mark.parametrize("typical,off", [((0.09, 0.3), True), ((2.0, 99.0), False)])
def test_typical_acceptance_is_not_exact(typical, off, monkeypatch):
    """Unless it accepts nothing at all, as the second does: then the model writes alone."""
    target = table(0)
    program = program_of(target, 3, typical=typical)
    error = worst_error(monkeypatch, program, target, PROMPT, 3, how_of(*HOWS[0]))
    assert (error > 1e-2) == off and (off or error < 1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_frequencies_are_the_models_and_typical_ones_are_not(temperature):
    # a right decoder exceeds 42.3 once in 1000 seeds; the seed is fixed
    how = {"choices": CHOICES, "temperature": temperature, "seed": 1}
    prompt = torch.zeros(1, 2, dtype=torch.int64)
    run = functools.partial(medusa, TARGET, opinions(3, 2), prompt, 800, **how)
    got, typical = run(), run(typical=(0.09, 0.3))
    assert chi_square(got.ids[:, 2:], temperature) < 42.3
    share = lambda ids: torch.bincount(ids[0], minlength=3) / ids.numel()
    assert (share(typical.ids) - share(got.ids)).abs().max() > 0.1
    assert 1.2 < got.symbols_per_call < typical.symbols_per_call


def test_typical_takes_the_longest_path_and_of_equal_ones_the_likeliest():
    from minilib.medusa_lookahead import _longest_typical

    p = torch.tensor([[0.3, 0.5, 0.2]] * 6).double()
    ids, parents = torch.tensor([[0, 0, 1, 0, 1, 2]]), [-1, 0, 0, 1, 1, 2]
    rule = functools.partial(_longest_typical, (0.25, 9.0))  # 2 is never typical
    end, rest = rule(p, ids, parents)
    assert end == 4 and torch.equal(rest, p[4:5])  # 0 then 1: .15, above 0 then 0
    assert rule(p[:1], ids[:, :1], parents[:1])[0] == 0
    assert rule(p[:3], ids[:, :3], parents[:3])[0] == 2


def test_with_equal_distributions_typical_acceptance_refuses_and_the_exact_rule_never():
    p = torch.tensor([[0.9, 0.05, 0.05]])
    assert acceptance.acceptance_rate(p, p) == pytest.approx(1)
    assert typical_accept(p.expand(3, 3), torch.arange(3), 0.09, 0.3).tolist() == [1, 0, 0]


# -- the trained heads -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    """data/weights/medusa_lookahead.py, which belongs to no package."""
    return lab.data.script("medusa_lookahead")


def test_the_trained_heads_score_what_their_record_says(script):
    heads, record = lab.load(Heads)
    trunk, _ = lab.load(Transformer)
    assert script.score(trunk, heads).items() <= record.items()
    path = lab.fetch.HOME / "weights" / "medusa_lookahead.safetensors"
    assert path.stat().st_size < 2_000_000


# -- refused ---------------------------------------------------------------------------------------

ONE, TWO_HEADS = torch.tensor([[1]]), Heads(3, 2)


@pytest.mark.parametrize(
    "bad,words",
    [
        ({"ids": ONE[:, :0]}, "ids must have shape"),
        ({"ids": ONE.expand(2, 1)}, "ids must be one row and length 0 or more, got 2 rows"),
        ({"length": -1}, "length 0 or more, got 1 rows and length=-1"),
        ({"heads": Heads(4, 2)}, "heads must have the alphabet of the model, 3 symbols, got 4"),
        ({"choices": [(0, 0)]}, r"each once and after its beginning, got \(0, 0\) out of turn"),
        ({"choices": [(0,), (0,)]}, r"each once and after its beginning, got \(0,\) out of turn"),
        ({"choices": [()]}, r"got \(\) out of turn"),
        ({"choices": [(3,)]}, r"choices must be paths of 1 to 2 ranks below 3, got \(3,\)"),
        ({"choices": [(-1,)]}, r"paths of 1 to 2 ranks below 3, got \(-1,\)"),
        ({"choices": [(0,), (0, 0), (0, 0, 0)]}, "paths of 1 to 2 ranks below 3"),
        ({"typical": (0.0, 0.3)}, r"typical must be None or \(epsilon, delta\), both positive"),
        ({"typical": (0.1,)}, r"typical must be None or \(epsilon, delta\), both positive"),
        ({"typical": (0.1, np.nan)}, r"typical must be None or \(epsilon, delta\), both positive"),
        ({"typical": 0.3}, r"typical must be None or \(epsilon, delta\), both positive, got 0.3"),
        ({"choices": [(0.5,)]}, r"paths of 1 to 2 ranks below 3, got \(0.5,\)"),
        ({"temperature": -1}, "temperature must be 0 or more"),
        ({"top_p": 2.0}, "top_p must lie in"),
    ],
)
def test_bad_input_is_refused_by_name(bad, words):
    with pytest.raises(ValueError, match=words):
        medusa(TARGET, **{"heads": TWO_HEADS, "ids": ONE, "length": 3} | bad)


def test_bad_shapes_are_refused_by_name():
    logits, ids = torch.zeros(1, 4, 2, 3), torch.zeros(1, 4, dtype=torch.int64)
    table = torch.tensor([[0.5, 0.5]])
    for call, words in [
        (lambda: Heads(0), "vocab_size must be 1 or more, got 0"),
        (lambda: Heads(3, 0), "ahead must be 1 or more, got 0"),
        (lambda: Heads(3, 1, -2), "width must be 1 or more, got -2"),
        (lambda: Heads(3)(torch.zeros(2, 4)), r"z must have shape \(…, 3\), got \(2, 4\)"),
        (lambda: heads_on(torch.zeros(3)), r"output must have shape \(any, any\), got \(3,\)"),
        (lambda: heads_on(torch.eye(3) / 1e6), "output must hold numbers whose pseudo-inverse"),
        (lambda: heads_on(torch.eye(3) * np.nan), "output must hold numbers .* got up to nan"),
        (lambda: medusa_loss(logits[0], ids), "logits must have shape"),
        (lambda: medusa_loss(logits, ids[:, :3]), "ids must have shape"),
        (lambda: medusa_loss(logits, ids + 3), r"ids must lie in \[0, 3\)"),
        (lambda: medusa_loss(logits[:, :3], ids[:, :3]), "4 symbols or more for 2 heads, got 3"),
        (lambda: rank_accuracy(logits, ids, 0), "ranks must be 1 or more, got 0"),
        (lambda: rank_accuracy(logits * np.nan, ids, 1), "logits must be numbers, got NaN"),
        (lambda: best_tree(table, 0), "nodes must be 1 or more, got 0"),
        (lambda: best_tree(table[0], 1), "accuracy must have shape"),
        (lambda: best_tree(table + 1, 1), r"accuracy must lie in \[0, 1\]"),
        (lambda: typical_accept(table, ids[0], 0.1, 0.3), r"ids must have shape \(1\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="ids must be an int64 tensor"):
        medusa(TARGET, TWO_HEADS, ONE.float(), 3)
