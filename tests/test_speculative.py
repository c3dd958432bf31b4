"""Speculative decoding: exact by enumeration and chi-square, greedy to the byte, states go back."""

import copy
import itertools

import numpy as np
import pytest
import torch
from mutants import edited
from test_models import build, every_model

from minilib import acceptance
from minilib import speculative as module
from minilib.acceptance import verify, verify_tree
from minilib.language_model import LanguageModel, check_ids, probabilities, tree_mask
from minilib.lstm import LSTM
from minilib.naive import acceptance as naive_acceptance
from minilib.naive import language_model as naive_language_model
from minilib.naive import speculative as naive
from minilib.speculative import BONUS, CORRECTION, DRAFT, Staged, siblings, speculative
from minilib.transformer import Transformer

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------


def cut_once(logits, u, temperature=1.0, top_k=None, top_p=None):  # and never filled up again
    p = naive.probabilities(logits, temperature, top_k, top_p)
    return naive.siblings(np.log(p + 1e-300), u)


WRONG = {
    naive.siblings: [
        *edited(
            naive.siblings,
            with_replacement=("            left[ids[r, n]] = -1e30", "            pass"),
            always_the_first_distribution=(
                "probabilities(left[None]",
                "probabilities(logits[r][None]",
            ),
            one_uniform_for_all=("draw(q[r, n], u[r, n])", "draw(q[r, n], u[r, 0])"),
            the_likeliest=("draw(q[r, n], u[r, n])", "q[r, n].argmax()"),
            temperature_left_out=("(left[None], temperature, top", "(left[None], 1.0, top"),
            cuts_left_out=("temperature, top_k, top_p)[0]", "temperature, None, None)[0]"),
            sum_may_equal_u=("np.cumsum(p) <= u", "np.cumsum(p) < u"),
            rows_left_out_for_all=("left = logits[r].copy()", "left = logits[r]"),
        ),
        cut_once,
    ]
}


# -- models whose probabilities are known ----------------------------------------------------------


class Table(LanguageModel):
    """A Markov chain of order 2: logits[a, b] after the symbols a b. The first follows a 0."""

    def __init__(self, logits):
        super().__init__()
        self.vocab_size = logits.shape[-1]
        self.register_buffer("logits", torch.tensor(np.asarray(logits), dtype=torch.float64))

    def init_state(self, batch_size):
        return torch.zeros(batch_size, dtype=torch.int64)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        before = torch.cat([state[:, None], ids[:, :-1]], 1)
        return self.logits[before, ids], ids[:, -1]


def table(seed, V=3, order=2, flat=1.0):
    p = np.random.default_rng(seed).dirichlet(flat * np.ones(V), size=(V,) * order)
    return Table(np.log(np.broadcast_to(p, (V, V, V))))


def text_probability(model, prompt, text, **how):
    """Of a text after a prompt, by the definition of `probabilities`."""
    ids, total = [0, *prompt], 1.0
    for x in text:
        logits = model.logits[ids[-2], ids[-1]][None].numpy()
        total *= naive_language_model.probabilities(logits, *how.values())[0, x]
        ids.append(x)
    return total


# -- exact, by enumeration -------------------------------------------------------------------------


class Script:
    """Runs a program once for every way its random choices can fall, and knows how likely each is.

    A draw is a choice among the symbols. Whether a drafted symbol is kept is a choice between a
    uniform just below and one just above min(1, wanted(x) / q(x)), where the rule must change its
    mind: with any other threshold the outcomes would carry wrong weights.
    """

    def __init__(self, monkeypatch):
        self.real = {"verify": verify, "verify_tree": verify_tree}
        for name in ("sample", "verify", "verify_tree"):
            monkeypatch.setattr(module, name, getattr(self, name))

    def outcomes(self, program):
        """(weight, result) of every way."""
        path = []
        while path is not None:
            self.path, self.at, self.weight = path, 0, 1.0
            result = program()
            yield self.weight, result
            path = self.path
            while path and path[-1][0] == len(path[-1][1]) - 1:
                path.pop()
            if path:
                path[-1] = (path[-1][0] + 1, path[-1][1])
            else:
                path = None

    def choose(self, weights):
        if self.at == len(self.path):
            self.path.append((0, [i for i, weight in enumerate(weights) if weight > 0]))
        number, options = self.path[self.at]
        self.at += 1
        self.weight *= weights[options[number]]
        return options[number]

    def sample(self, logits, u, **how):
        return torch.tensor([self.choose(row) for row in probabilities(logits, **how).tolist()])

    def keep(self, wanted, q):
        t = min(1.0, wanted / q)
        kept = self.choose([1 - t, t])
        return kept, t * (1 - 1e-12) if kept else t + (1 - t) * 1e-12

    def verify(self, p, q, ids, u):
        u = torch.full_like(u, 0.5)
        for b, row in enumerate(ids.tolist()):
            for i, x in enumerate(row):
                kept, u[b, i] = self.keep(p[b, i, x].item(), q[b, i, x].item())
                if not kept:
                    break
        return self.real["verify"](p, q, ids, u)

    def verify_tree(self, p, q, ids, parents, u):
        u = torch.full_like(u, 0.5)
        for b in range(len(ids)):
            node, wanted = 0, p[b, 0].numpy()
            for i in range(1, len(parents)):
                if parents[i] == node:
                    kept, u[b, i] = self.keep(wanted[ids[b, i]], q[b, i, ids[b, i]].item())
                    if kept:
                        node, wanted = i, p[b, i].numpy()
                    else:
                        wanted = naive_acceptance.residual(wanted, q[b, i].numpy())
        return self.real["verify_tree"](p, q, ids, parents, u)


HOWS = [
    (1.0, None, None),
    (0.6, None, None),
    (1.7, None, None),
    (1.0, 2, None),
    (1.0, None, 0.7),
    (1.4, 2, 0.8),
    (0, None, None),
]
PROMPT = [1, 2]


def how_of(temperature, top_k, top_p):
    return {"temperature": temperature, "top_k": top_k, "top_p": top_p}


def shape_of(shape):
    """A number is gamma, a tuple the widths of a tree, None leaves the choice: as keywords."""
    return {"widths": shape} if isinstance(shape, tuple) else {"gamma": shape}


class Fickle(acceptance.Pace):
    """A choice of 0, 1 or 2 that hangs on all that both models expected so far."""

    rounds = 0

    def gamma(self, behind=0.0):
        self.rounds += 1
        return (self.rounds + int(1e6 * self.alpha)) % 3


def staged(model, draft, shape):
    return Staged(model, draft, **shape_of(shape))


def one_round(script, target, draft, shape, how, prompt=PROMPT):
    """{text: probability} of a text that one round begins and the target ends: the target's own."""
    widths = shape if isinstance(shape, tuple) else (1,) * shape
    longest = len(widths) + 1

    def program():
        decoder = module._Decoder(target, draft, widths, how, torch.Generator())
        decoder.start(torch.tensor([prompt]))
        return tuple(decoder.round()[0][0].tolist())

    total = dict.fromkeys(itertools.product(range(target.vocab_size), repeat=longest), 0.0)
    for weight, new in script.outcomes(program):
        for rest in itertools.product(range(target.vocab_size), repeat=longest - len(new)):
            total[new + rest] += weight * text_probability(target, prompt + list(new), rest, **how)
    return total


@pytest.mark.parametrize(
    "shape,how",
    [
        *itertools.product([1, 2, (2,), (3,)], HOWS),
        ((2, 1), HOWS[0]),
        ((2, 1), HOWS[3]),
        ((2, 2), HOWS[5]),
    ],
    ids=str,
)
def test_one_round_has_the_targets_distribution(shape, how, monkeypatch):
    target, how = table(0), how_of(*how)
    found = one_round(Script(monkeypatch), target, table(1), shape, how)
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    for text, p in found.items():
        assert p == pytest.approx(text_probability(target, PROMPT, text, **how), abs=1e-12)


@pytest.mark.parametrize("how", HOWS[:2] + HOWS[3:5], ids=str)
@pytest.mark.parametrize("shape,inner", [(1, 1), (1, (2,)), (2, 1)], ids=str)
def test_one_staged_round_has_the_targets_distribution(shape, inner, how, monkeypatch):
    target, how = table(0), how_of(*how)
    found = one_round(Script(monkeypatch), target, staged(table(1), table(2), inner), shape, how)
    for text, p in found.items():
        assert p == pytest.approx(text_probability(target, PROMPT, text, **how), abs=1e-12)


@pytest.mark.parametrize(
    "shape,inner",
    [
        ((2,), 1),
        ((2, 1), 1),
        ((1, 2), 1),
        ((2, 2), (2,)),
        ((2, 1), Staged(table(2, V=2), table(3, V=2), 1)),
    ],
    ids=str,
)
def test_one_round_of_a_staged_tree_has_the_targets_distribution(shape, inner, monkeypatch):
    """Two symbols, as every branch multiplies what can happen; last, three drafts in a row."""
    target, how = table(0, V=2), how_of(1.0, None, None)
    if isinstance(inner, Staged):
        draft = Staged(table(1, V=2), inner, 1)
    else:
        draft = staged(table(1, V=2), table(2, V=2), inner)
    found = one_round(Script(monkeypatch), target, draft, shape, how, prompt=[1, 0])
    for text, p in found.items():
        assert p == pytest.approx(text_probability(target, [1, 0], text, **how), abs=1e-12)


@pytest.mark.parametrize(
    "draft,shape,length",
    [
        (table(1), 1, 3),
        (table(1), (2,), 2),
        (Staged(table(1), table(2), 1), 1, 2),
        (table(1, V=2), None, 4),
        (Staged(table(1, V=2), table(2, V=2), 1), None, 3),
    ],
    ids=["chain", "tree", "staged", "chosen", "staged-chosen"],
)
def test_several_rounds_have_the_targets_distribution(draft, shape, length, monkeypatch):
    """With what lies between rounds: states go back, a round begins where the last one ended."""
    monkeypatch.setattr(module, "Pace", Fickle)
    V, prompt = (3, PROMPT) if shape else (2, [1, 0])
    target, total = table(0, V), {}

    def program():
        got = speculative(target, draft, torch.tensor([prompt]), length, **shape_of(shape))
        return tuple(got.ids[0, 2:].tolist())

    for weight, text in Script(monkeypatch).outcomes(program):
        total[text] = total.get(text, 0.0) + weight
    for text in itertools.product(range(V), repeat=length):
        want = text_probability(target, prompt, text, **how_of(1.0, None, None))
        assert total[text] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("gamma", [1, None])
def test_rows_of_a_batch_are_exact_together(gamma, monkeypatch):
    """All advance by the least, yet no row's luck shows in another's text: rows are independent."""
    monkeypatch.setattr(module, "Pace", Fickle)
    target, draft, prompts, total = table(0, V=2), table(1, V=2), [[0, 1], [1, 0]], {}

    def program():
        got = speculative(target, draft, torch.tensor(prompts), 2, gamma=gamma)
        return tuple(got.ids[:, 2:].flatten().tolist())

    for weight, ids in Script(monkeypatch).outcomes(program):
        total[ids] = total.get(ids, 0.0) + weight
    for text in itertools.product(range(2), repeat=4):
        want = [
            text_probability(target, prompt, part, **how_of(1.0, None, None))
            for prompt, part in zip(prompts, (text[:2], text[2:]), strict=True)
        ]
        assert total[text] == pytest.approx(want[0] * want[1], abs=1e-12)


def p_itself(p, q):
    return p


def p_without_what_was_refused(p, q):
    """Right for a draft that always offers one and the same symbol; here: where q is largest."""
    left = p.clone().scatter(-1, q.argmax(-1, keepdim=True), 0)
    return torch.where(left.sum(-1, keepdim=True) > 0, left / left.sum(-1, keepdim=True), p)


@pytest.mark.parametrize("wrong", [p_itself, p_without_what_was_refused])
@pytest.mark.parametrize("shape", [1, (2,)], ids=str)
def test_enumeration_sees_a_wrong_rule(shape, wrong, monkeypatch):
    target, how = table(0), how_of(1.0, None, None)
    monkeypatch.setattr(acceptance, "residual", wrong)
    found = one_round(Script(monkeypatch), target, table(1), shape, how)
    off = [abs(p - text_probability(target, PROMPT, text, **how)) for text, p in found.items()]
    assert max(off) > 1e-2


# -- exact, by counting ----------------------------------------------------------------------------


V = 3


def bigrams(text):
    """Counts of pairs in a text, one added to each, as a draft."""
    counts = np.ones((V, V))
    np.add.at(counts, (text[:-1], text[1:]), 1)
    return Table(np.log(np.broadcast_to(counts / counts.sum(1, keepdims=True), (V, V, V))))


def drafts_for(target):
    torch.manual_seed(0)
    plain = speculative(target, target, torch.tensor([[0]]), 400, seed=9).ids[0].numpy()
    nets = {"lstm": LSTM(V, 8).double(), "transformer": Transformer(V, 8, 1, 2, 16).double()}
    for net in nets.values():  # a fresh net bets near uniform; these have opinions
        net.output.data *= 1.5 / net(torch.randint(V, (1, 200))).std()
    return {"counts": bigrams(plain), **nets}


TARGET = table(7, flat=2.0)
DRAFTS = drafts_for(TARGET)
WAYS = {"chain": (3, 1), "tree": ((2, 1), 1), "batched": (3, 8), "chosen": (None, 1)}  # and rows


def chi_square(ids, temperature):
    """How far ids (rows, time) stray from the target after each pair; of 18 degrees of freedom."""
    counts = np.zeros((V, V, V))
    for row in ids.numpy():
        np.add.at(counts, (row[:-2], row[1:-1], row[2:]), 1)
    want = (TARGET.logits / temperature).softmax(-1).numpy() * counts.sum(-1, keepdims=True)
    assert (counts.sum(-1) > 0).all()
    return ((counts - want) ** 2 / want).sum()


def counted(draft, way, temperature):
    shape, rows = WAYS[way]
    prompt, length = torch.zeros(rows, 2, dtype=torch.int64), 800 if rows == 1 else 200
    how = {"temperature": temperature, "seed": 1, **shape_of(shape)}
    got = speculative(TARGET, DRAFTS[draft], prompt, length, **how)
    return chi_square(got.ids[:, 2:], temperature)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("way", WAYS)
def test_frequencies_are_the_targets(way, draft, temperature, monkeypatch):
    monkeypatch.setattr(module, "Pace", Fickle)
    # a right decoder exceeds 42.3 once in 1000 seeds; the seed is fixed
    assert counted(draft, way, temperature) < 42.3


@pytest.mark.parametrize("wrong", [p_itself, p_without_what_was_refused])
@pytest.mark.parametrize("way", ["chain", "batched"])
def test_frequencies_give_a_wrong_rule_away(way, wrong, monkeypatch):
    monkeypatch.setattr(acceptance, "residual", wrong)
    assert counted("transformer", way, 0.6) > 80


# -- the same as the definition, and as greedy decoding --------------------------------------------


def test_the_text_is_the_definitions_to_the_byte():
    """From the same uniforms: each round the draft's, the acceptance's and the last draw's."""
    target, draft, prompts, gamma = table(0, 4), table(1, 4), [[1, 2], [3, 0], [2, 2]], 3
    ours = speculative(target, draft, torch.tensor(prompts), 40, gamma=gamma, seed=4)
    noise = {"generator": torch.Generator().manual_seed(4), "dtype": torch.float64}
    uniforms = np.array([torch.rand(3, 2 * gamma + 1, **noise).numpy() for _ in range(60)])
    after = lambda model: lambda text: np.exp(model.logits[text[-2], text[-1]].numpy())
    want = naive.speculative(after(target), after(draft), prompts, 40, gamma, uniforms)
    assert ours.ids[:, 2:].tolist() == want.tolist()


@torch.no_grad()
def greedy(model, ids, length):
    logits, state = model.extend(ids, model.init_state(len(ids)))
    symbol, written = logits[:, -1].argmax(-1), []
    for _ in range(length):
        written.append(symbol)
        logits, state = model.step(symbol, state)
        symbol = logits.argmax(-1)
    return torch.stack(written, 1)


def cousin(model):
    """A draft like the model, its weights a little off. Counts have none: the model itself."""
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return other


@every_model
@torch.no_grad()
def test_greedy_text_is_greedy_text(model, number):
    model, ids = build(model, number)
    want = greedy(model, ids[:, :7], 9)
    random = Table(torch.randn(model.vocab_size, model.vocab_size, model.vocab_size))
    for draft in (cousin(model), random, Staged(cousin(model), random, 2)):
        for shape in [3, None] if model.vocab_size < 2 else [1, 3, (2, 1), None]:
            how = {"temperature": 0, **shape_of(shape)}
            got = speculative(model, draft, ids[:3, :7], 9, **how)
            assert torch.equal(got.ids, torch.cat([ids[:3, :7], want[:3]], 1))
    got = speculative(model, draft, ids[:1, :7], 9, gamma=3, temperature=0)  # a row alone
    assert torch.equal(got.ids, torch.cat([ids[:1, :7], want[:1]], 1))


@every_model
@pytest.mark.parametrize("widths", [(1, 1, 1), (2, 1), None], ids=str)
@torch.no_grad()
def test_states_go_back_to_what_was_kept(model, number, widths, monkeypatch):
    """After each round target and draft stand where reading the text so far would put them."""
    model, ids = build(model, number)
    monkeypatch.setattr(module, "Pace", Fickle)
    kind = module._Decoder if widths else module._Paced
    widths = widths if widths and model.vocab_size > 1 else (1, 1)
    random = Table(torch.randn(model.vocab_size, model.vocab_size, model.vocab_size))
    for draft in (
        cousin(model),
        random,
        Staged(cousin(model), random, 2),
        Staged(random, Staged(cousin(model), random, 1), 2),
    ):
        decoder = kind(model, draft, widths, {}, torch.Generator().manual_seed(2))
        decoder.start(ids[:2, :5])
        text = ids[:2, :5]
        for _ in range(4):
            text = torch.cat([text, decoder.round()[0]], 1)
            readers = [decoder]
            while hasattr(readers[-1], "drafter"):
                readers.append(readers[-1].drafter)
            for reader in readers:
                logits, _ = reader.model.extend(reader.pending, reader.state)
                want = reader.model(text)[:, -1]
                torch.testing.assert_close(logits[:, -1], want, rtol=1e-9, atol=1e-9)


# -- trees -----------------------------------------------------------------------------------------


def test_a_tree_sees_ancestors_only():
    mask = tree_mask([-1, 0, 0, 1])
    assert mask.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    with pytest.raises(ValueError, match="parents must hold"):
        tree_mask([0])


def test_the_nodes_of_a_tree_by_hand():
    assert naive.tree_parents((1, 1)) == [-1, 0, 1]
    assert naive.tree_parents((2, 1, 2)) == [-1, 0, 0, 1, 2, 3, 3, 4, 4]
    assert module._level_sizes((2, 1, 2)) == [2, 2, 4]


def test_siblings_by_hand():
    p = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    ids, q = siblings(p.log(), torch.tensor([[0.6, 0.7, 0.0]], dtype=torch.float64))
    assert ids.tolist() == [[1, 0, 2]]  # b holds 0.6; a, 5 of 7 of what is left, holds 0.7
    torch.testing.assert_close(q[0, 1], torch.tensor([5 / 7, 0, 2 / 7]).double())


def test_more_siblings_than_symbols_are_refused():
    with pytest.raises(ValueError, match=r"u must have shape \(1, 1 to 3\), got \(1, 4\)"):
        siblings(torch.zeros(1, 3), torch.zeros(1, 4))


# -- how many, how fast ----------------------------------------------------------------------------


def test_a_draft_equal_to_the_target_is_always_kept():
    target = table(0)
    got = speculative(target, table(0), torch.tensor([[1]]), 12, gamma=3)
    assert got.calls == 3 and got.alpha == 1
    assert got.writer[0].tolist() == 3 * [DRAFT, DRAFT, DRAFT, BONUS]


@pytest.mark.parametrize("widths", [(1, 2, 1), (2, 1, 1), (1, 1, 2)], ids=str)
def test_a_staged_tree_that_overshoots_a_fork_goes_back(widths):
    """The inner pair writes four symbols where there is room for one or two: all must be kept."""
    first, second = np.indices((7, 7))
    sums = Table(5 * np.eye(7)[(first + second + 1) % 7])  # a symbol depends on both before it
    draft, prompt = Staged(sums, sums, 3), torch.tensor([[1]])
    got = speculative(sums, draft, prompt, 16, widths=widths, temperature=0)
    assert got.calls == 4 and got.alpha == 1


def test_a_draft_that_is_never_right_costs_a_call_a_symbol():
    one = Table(np.broadcast_to([0.0, -1e9, -1e9], (3, 3, 3)))
    other = Table(np.broadcast_to([-1e9, 0.0, -1e9], (3, 3, 3)))
    got = speculative(one, other, torch.tensor([[0]]), 7, gamma=4)
    assert got.calls == 7 and got.alpha == 0
    assert (got.writer == CORRECTION).all() and (got.ids == 0).all()
    # of three different symbols one is right
    assert speculative(one, other, torch.tensor([[0]]), 7, widths=(3,)).calls < 7


@pytest.mark.parametrize("gamma", [1, 3, 5])
def test_symbols_for_each_call_follow_the_formula(gamma):
    """Where each symbol is kept independently: models without memory.

    Within 4 standard errors, which a right decoder passes 9,999 times in 10,000.
    """
    rng = np.random.default_rng(3)
    p, q = (rng.dirichlet(np.ones(8)) for _ in range(2))
    target, draft = (Table(np.log(np.broadcast_to(row, (8, 8, 8)))) for row in (p, q))
    alpha = np.minimum(p, q).sum()
    got = speculative(target, draft, torch.tensor([[0]]), 1200, gamma=gamma)
    chance = np.array([alpha**k * (1 - alpha) for k in range(gamma)] + [alpha**gamma])
    want = naive_acceptance.expected_symbols(np.array([alpha]), gamma)[0]
    spread = np.sqrt((chance * np.arange(1, gamma + 2) ** 2).sum() - want**2)
    off = abs(got.ids.shape[1] / got.calls - want)
    assert off < 4 * spread / got.calls**0.5 + 2 * gamma / got.calls
    assert abs(got.alpha - alpha) < 4 * (alpha * (1 - alpha) / got.calls) ** 0.5


# -- as many as pays -------------------------------------------------------------------------------


class Timed(Table):
    """A table whose calls take so many seconds, and more for each symbol but the first."""

    def __init__(self, logits, clock, call, symbol):
        super().__init__(logits)
        self.clock, self.call, self.symbol, self.reads = clock, call, symbol, []

    def extend(self, ids, state):
        self.clock[0] += self.call + self.symbol * (ids.shape[1] - 1)
        self.reads.append(ids.shape[1])
        return super().extend(ids, state)


@pytest.fixture
def timed(monkeypatch):
    """timed(logits, call, symbol); timed.clock[0] is what time it is."""
    clock = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    make = lambda logits, call, symbol: Timed(logits, clock, call, symbol)
    make.clock = clock
    return make


def seconds(clock, target, draft, length, gamma=None):
    before = clock[0]
    speculative(target, draft, torch.tensor([[1, 2]]), length, gamma=gamma)
    return clock[0] - before


LIKE, UNLIKE = table(7, flat=2.0).logits, table(9, flat=0.3).logits  # the same as TARGET's, or not


@pytest.mark.parametrize("logits", [LIKE, UNLIKE], ids=["like", "unlike"])
@pytest.mark.parametrize("step,check", [(0.02, 0.02), (0.3, 0.4), (1.0, 0.1)])
def test_it_is_as_fast_as_the_best_gamma_and_as_plain_decoding(logits, step, check, timed):
    """A call of the target takes a second, and `check` for each symbol more than one."""
    target, draft = timed(TARGET.logits, 1.0, check), timed(logits, step, step / 10)
    chosen = seconds(timed.clock, target, draft, 300)
    assert chosen < 1.05 * 300
    best = min(seconds(timed.clock, target, draft, 300, gamma) for gamma in (1, 2, 4, 8))
    assert chosen < best / 0.9


def test_a_draft_that_gets_good_is_found_out(timed):
    """After a 2 it is sure of another 2, and right; until there is one it is wrong, and rests."""
    p = np.array([[0.5, 0.49, 0.01], [0.49, 0.5, 0.01], [1e-9, 1e-9, 1.0]])
    q = np.array([[0.01, 0.01, 0.98], [0.01, 0.01, 0.98], [1e-9, 1e-9, 1.0]])
    target, draft = (np.log(np.broadcast_to(rows, (3, 3, 3))) for rows in (p, q))
    target, draft = timed(target, 1.0, 0.05), timed(draft, 0.1, 0.005)
    got = speculative(target, draft, torch.tensor([[0] * 50]), 1500, seed=3)
    wrong = (got.ids[0, 50:] < 2).sum().item()  # how many before the first 2
    assert 50 < wrong < 150
    assert timed.clock[0] < 0.8 * 1500
    assert draft.reads[0] > 50 and max(draft.reads[1:]) == module.REST  # the prompt; after a rest


def test_the_pace_is_told_what_both_expected_of_the_text(monkeypatch):
    """Where the draft rested, from the prompt's first symbol on, and in each drafted round."""
    plan, told = [0, 0, 0, 2, 0, 0, 1, 0, 1], []
    gammas = iter(plan)
    monkeypatch.setattr(module.Pace, "gamma", lambda pace, behind: next(gammas))
    monkeypatch.setattr(module.Pace, "compared", lambda pace, p, q: told.append((p, q)))
    target, draft, text = table(0), table(1), torch.tensor([[0, 1, 2, 2], [2, 0, 1, 0]])
    generator = torch.Generator().manual_seed(2)
    decoder = module._Paced(target, draft, (1,), {"temperature": 0.6}, generator)
    decoder.start(text)
    rested = iter([4 + 2, 2, 1])  # the prompt's last logits are those of the first plain symbol
    for gamma in plan:
        end = text.shape[1] - 1  # the logits there are those of the next symbol
        new, writer, _ = decoder.round()
        text = torch.cat([text, new], 1)
        if gamma == 0:
            assert (writer == BONUS).all() and new.shape == (2, 1)
            continue
        examined = min(new.shape[1], gamma)
        places = [slice(end - next(rested), end), slice(end, end + examined)]
        for place, found in zip(places, told, strict=True):
            for model, rows in zip((target, draft), found, strict=True):
                torch.testing.assert_close(rows, (model(text)[:, place] / 0.6).softmax(-1))
        told.clear()


@pytest.mark.parametrize("prompt,costs", [(1, [1.0, 1.0]), (50, [1.0])])
def test_a_clock_that_runs_and_a_prompt_are_not_what_a_symbol_takes(prompt, costs, timed):
    timed.clock[0] = 1e9
    target, draft = timed(TARGET.logits, 1.0, 0.1), timed(LIKE, 0.1, 0.1)
    decoder = module._Paced(target, draft, (1,), {}, torch.Generator().manual_seed(0))
    decoder.start(torch.ones(1, prompt, dtype=torch.int64))
    for _ in range(2):
        decoder.round()
    assert list(decoder.pace.calls[0]) == pytest.approx(costs)


# -- bad input -------------------------------------------------------------------------------------


PLAIN, ONE = table(0), torch.tensor([[1]])


@pytest.mark.parametrize("gamma", [0, -1, 2.5, "3", (2,)], ids=str)
def test_a_gamma_that_drafts_nothing_is_refused(gamma):
    for draft, how in [(table(1), {"gamma": gamma}), (Staged(table(1), table(2), gamma), {})]:
        with pytest.raises(ValueError, match="gamma must be a whole number from 1 on, got"):
            speculative(PLAIN, draft, ONE, 5, **how)


@pytest.mark.parametrize("widths", [(), (0,), (2, 0), (4,), 3, (1.5,)], ids=str)
def test_widths_that_make_no_tree_are_refused(widths):
    inner = Staged(table(1), table(2), widths=widths)
    for draft, how in [(table(1), {"widths": widths}), (inner, {})]:
        with pytest.raises(ValueError, match="widths must be a tuple of numbers from 1 to 3, got"):
            speculative(PLAIN, draft, ONE, 5, **how)


def test_gamma_and_widths_together_are_refused():
    both = {"gamma": 2, "widths": (2,)}
    for draft, how in [(PLAIN, both), (Staged(PLAIN, PLAIN, **both), {})]:
        with pytest.raises(ValueError, match="gamma or widths must be given, not both"):
            speculative(PLAIN, draft, ONE, 5, **how)


def test_a_draft_with_another_alphabet_is_refused():
    for draft in (table(1, V=4), Staged(table(1, V=4), table(2)), Staged(table(1), table(2, V=4))):
        words = "draft must have the target's alphabet of 3 symbols, got one of 4"
        with pytest.raises(ValueError, match=words):
            speculative(PLAIN, draft, ONE, 5)


@pytest.mark.parametrize(
    "bad,error,words",
    [
        ({"ids": ONE[:, :0]}, ValueError, "ids must have shape"),
        ({"ids": ONE + 2}, ValueError, "ids must lie in"),
        ({"ids": ONE.float()}, TypeError, "int64"),
    ],
)
def test_bad_prompts_are_refused(bad, error, words):
    with pytest.raises(error, match=words):
        speculative(PLAIN, table(1), length=5, **bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"length": -1},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must"):
        speculative(PLAIN, table(1), ONE, **({"length": 5} | bad))


def test_no_symbols_are_no_work():
    got = speculative(PLAIN, table(1), ONE, 0)
    assert torch.equal(got.ids, ONE) and got.calls == 0 and got.alpha == 0


@pytest.mark.parametrize("shape", [3, (2, 1)], ids=str)
def test_a_model_that_gives_no_distribution_is_refused(shape):
    broken = Table(torch.full((3, 3, 3), torch.nan))
    for pair in [(broken, PLAIN), (PLAIN, broken)]:
        with pytest.raises(ValueError, match="logits must have a finite maximum, got nan"):
            speculative(*pair, ONE, 5, **shape_of(shape))


@pytest.mark.parametrize("shape", [3, (2, 1, 1)], ids=str)
def test_a_prompt_longer_than_the_context_slides(shape):
    """No refusal is needed: positions are relative, a step sees the last `context` of a layer."""
    torch.manual_seed(1)
    model = Transformer(7, 8, 2, 2, context=4).double()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    ids = torch.randint(7, (1, 30))
    got = speculative(model, cousin(model), ids, 20, temperature=0, **shape_of(shape))
    assert torch.equal(got.ids[:, 30:], greedy(model, ids, 20))
