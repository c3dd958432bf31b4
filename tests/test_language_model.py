"""The interface of language models on small ones made here; loss and sampling."""

import numpy as np
import pytest
import torch

from minilib import language_model
from minilib.language_model import LanguageModel, probabilities, sample
from minilib.naive import language_model as naive

# -- typical wrong answers, each of which `check` must refuse --------------------------------------


def predicts_what_it_reads(logits, ids):
    losses = -log_softmax(logits)[np.arange(len(ids))[:, None], np.arange(ids.shape[1]), ids]
    return losses.mean()


def log_softmax(logits):
    z = logits - logits.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def total(logits, ids):
    return naive.next_symbol_loss(logits, ids) * len(ids) * (ids.shape[1] - 1)


def over_all_steps(logits, ids):
    return total(logits, ids) / ids.size


def mean_of_sums(logits, ids):
    return total(logits, ids) / len(ids)


def in_bits(logits, ids):
    return naive.next_symbol_loss(logits, ids) / np.log(2)


def overflowing(logits, ids):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with_next = np.take_along_axis(p[:, :-1], ids[:, 1:, None], -1)
    return -np.log(with_next).mean()


def one_maximum(logits, ids):
    return overflowing(logits - logits.max(), ids)


def logarithm_of_zero(logits, ids):
    return overflowing(logits - logits.max(-1, keepdims=True), ids)


def times_temperature(logits, temperature, top_k, top_p):
    return naive.probabilities(logits, 1 / temperature if temperature else 0, top_k, top_p)


def powers_of_the_cut(logits, temperature, top_k, top_p):
    """Cut first, at temperature 1: the list of top_p is another."""
    p = naive.probabilities(logits, min(temperature, 1.0), top_k, top_p)
    warm = naive.probabilities(logits, temperature, None, None) * (p > 0)
    return warm / warm.sum(-1, keepdims=True)


def does_not_sum_to_one(logits, temperature, top_k, top_p):
    cut = naive.probabilities(logits, temperature, top_k, top_p)
    return naive.probabilities(logits, temperature, None, None) * (cut > 0)


def mass_of_the_whole_alphabet(logits, temperature, top_k, top_p):
    """top_p of all, not of what top_k has left: fewer are cut."""
    if top_p is None or top_k is None:
        return naive.probabilities(logits, temperature, top_k, top_p)
    kept = naive.probabilities(logits, temperature, None, top_p) > 0
    p = naive.probabilities(logits, temperature, top_k, None) * kept
    return p / p.sum(-1, keepdims=True)


def the_one_that_crosses_is_cut(logits, temperature, top_k, top_p):
    p = naive.probabilities(logits, temperature, top_k, None)
    if top_p is None or temperature == 0:
        return p
    for row in p:
        order = np.argsort(-row)
        kept = np.cumsum(row[order]) <= top_p
        kept[0] = True
        row[order[~kept]] = 0
    return p / p.sum(-1, keepdims=True)


def top_p_forgotten(logits, temperature, top_k, top_p):
    return naive.probabilities(logits, temperature, top_k, None)


def top_k_forgotten(logits, temperature, top_k, top_p):
    return naive.probabilities(logits, temperature, None, top_p)


def from_the_likeliest_down(logits, u, temperature, top_k, top_p):
    """The cumulative sum runs over the sorted symbols."""
    p = naive.probabilities(logits, temperature, top_k, top_p)
    order = np.argsort(-p, axis=-1, kind="stable")
    below = np.cumsum(np.take_along_axis(p, order, -1), -1) <= u[:, None]
    place = np.minimum(below.sum(-1), p.shape[1] - 1)
    return np.take_along_axis(order, place[:, None], -1)[:, 0]


def likeliest(logits, u, temperature, top_k, top_p):
    return naive.sample(logits, u, 0, None, None)


def first_not_below(logits, u, temperature, top_k, top_p):
    p = naive.probabilities(logits, temperature, top_k, top_p)
    return np.minimum((np.cumsum(p, -1) < u[:, None]).sum(-1), p.shape[1] - 1)


def one_too_many(logits, u, temperature, top_k, top_p):
    p = naive.probabilities(logits, temperature, top_k, top_p)
    return np.minimum((np.cumsum(p, -1) <= u[:, None]).sum(-1) + 1, p.shape[1] - 1)


def last_of_all_where_the_sum_stays_below(logits, u, temperature, top_k, top_p):
    p = naive.probabilities(logits, temperature, top_k, top_p)
    return np.minimum((np.cumsum(p, -1) <= u[:, None]).sum(-1), p.shape[1] - 1)


def one_uniform_for_all(logits, u, temperature, top_k, top_p):
    return naive.sample(logits, 0 * u + u[0], temperature, top_k, top_p)


def all_ties_kept(logits, u, temperature, top_k, top_p):
    if top_k is not None and top_k < logits.shape[1]:
        least = -np.sort(-logits, -1)[:, top_k - 1, None]
        logits, top_k = np.where(logits >= least, logits, -np.inf), None
    return naive.sample(logits, u, temperature, top_k, top_p)


def parents_alone(parents):
    mask = np.eye(len(parents), dtype=bool)
    for i, parent in enumerate(parents):
        if parent >= 0:
            mask[i, parent] = True
    return mask


def not_itself(parents):
    return naive.tree_mask(parents) & ~np.eye(len(parents), dtype=bool)


def seen_for_sees(parents):
    return naive.tree_mask(parents).T


def all_before(parents):
    return np.tri(len(parents), dtype=bool)


def one_root_for_all(parents):
    mask = naive.tree_mask(parents)
    mask[:, 0] = True
    return mask


WRONG = {
    naive.next_symbol_loss: [
        predicts_what_it_reads, total, over_all_steps, mean_of_sums, in_bits, overflowing,
        one_maximum, logarithm_of_zero,
    ],
    naive.probabilities: [
        times_temperature, powers_of_the_cut, does_not_sum_to_one, mass_of_the_whole_alphabet,
        the_one_that_crosses_is_cut, top_p_forgotten, top_k_forgotten,
    ],
    naive.sample: [
        from_the_likeliest_down, likeliest, first_not_below, one_too_many,
        last_of_all_where_the_sum_stays_below, one_uniform_for_all, all_ties_kept,
    ],
    naive.tree_mask: [parents_alone, not_itself, seen_for_sees, all_before, one_root_for_all],
}  # fmt: skip

# -- the interface ---------------------------------------------------------------------------------


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
    # 20,000 draws: a frequency strays by 5 standard deviations once in about a million seeds
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


@pytest.mark.parametrize("row", [[0.0, float("nan")], [float("inf"), 0.0], [-float("inf")] * 2])
def test_logits_without_a_finite_maximum_are_refused(row):
    logits = torch.tensor([[0.0, 1.0], row])
    with pytest.raises(ValueError, match=r"logits must have a finite maximum, got .* in row 1"):
        probabilities(logits)
    with pytest.raises(ValueError, match="logits must have a finite maximum"):
        sample(logits, torch.zeros(2), temperature=0)
    with pytest.raises(ValueError, match="logits must have a finite maximum"):
        naive.probabilities(logits.numpy(), 1.0, None, None)
    never = probabilities(
        torch.tensor([[0.0, -float("inf")]])
    )  # a symbol that never comes may be there
    assert never.tolist() == [[1, 0]]


def test_uniform_loss_is_the_log_of_the_vocabulary():
    loss = language_model.next_symbol_loss(
        torch.zeros(2, 3, 7), torch.zeros(2, 3, dtype=torch.int64)
    )
    torch.testing.assert_close(loss, torch.tensor(7.0).log())
