"""The interface of language models on small ones made here; loss and sampling."""

import pytest
import torch

from minilib import language_model
from minilib.language_model import LanguageModel, probabilities, sample
from minilib.naive import language_model as naive


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
