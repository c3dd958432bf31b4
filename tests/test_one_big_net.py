"""One net for every skill: the world by hand, the net by torch's, search and consolidation."""

import numpy as np
import pytest
import torch
from torch import nn

from minilib import one_big_net
from minilib.naive import one_big_net as naive
from minilib.one_big_net import (
    accepts,
    consolidate,
    evolve,
    losses,
    move,
    rollout,
    scores,
    search,
    unpack,
)

STARTS = torch.tensor([[row, column] for row in range(5) for column in range(5)])


def random_theta(seed):
    return 0.5 * torch.randn(750, generator=torch.Generator().manual_seed(seed)).double()


def noise(*shape, seed=0):
    return torch.randn(*shape, 580, generator=torch.Generator().manual_seed(seed)).double()


# -- typical wrong answers -------------------------------------------------------------------------


def walls_wrap_around(places, actions):
    return (places + naive.MOVES[actions]) % 5


def rows_and_columns_swapped(places, actions):
    return np.clip(places + naive.MOVES[actions][:, ::-1], 0, 4)


def arrived_once(population, goal, starts):
    """The best distance on the way in place of the one at the end."""
    found = []
    for theta in population:
        places = naive.rollout(theta, goal, starts)[2]
        found.append(-np.abs(places - naive.CORNERS[goal]).sum(2).min(1).mean())
    return np.array(found)


def straight_distance(population, goal, starts):
    found = []
    for theta in population:
        places = naive.rollout(theta, goal, starts)[2]
        found.append(-np.hypot(*(places[:, -1] - naive.CORNERS[goal]).T).mean())
    return np.array(found)


def downhill(theta, noise, goal, starts, sigma=0.5, lr=1.0):
    return naive.evolve(theta, noise, goal, starts, sigma, -lr)


def one_sided(theta, noise, goal, starts, sigma=0.5, lr=1.0):
    size = sigma * np.sqrt((theta[:580] ** 2).mean())
    steps = np.pad(size * noise, ((0, 0), (0, 170)))
    gain = naive.scores(theta + steps, goal, starts)
    gain = gain - gain.mean()
    if gain.std() == 0:
        return theta
    return theta + lr * (gain[:, None] / gain.std() * steps).mean(0)


def failures_imitated(theta, observations, actions, places, solved):
    return naive.losses(theta, observations, actions, places, np.ones(len(solved), bool))


def successes_alone_predicted(theta, observations, actions, places, solved):
    imitation, _ = naive.losses(theta, observations, actions, places, solved)
    if not solved.any():
        return imitation, 0.0
    good = [part[solved] for part in (observations, actions, places, solved)]
    return imitation, naive.losses(theta, *good)[1]


def present_predicted(theta, observations, actions, places, solved):
    before = np.concatenate([places[:, :1], places[:, :-1]], 1)
    return naive.losses(theta, observations, actions, before, solved)


def last_task_alone(theta, traces, steps=150, lr=0.02, weight=0.1):
    return naive.consolidate(theta, traces[-1:], steps, lr, weight)


def old_skills_forgotten(before, after, new, enough=0.9):
    return bool(before[new] < enough <= after[new])


def known_skill_accepted(before, after, new, enough=0.9):
    return bool(all(after >= np.where(before >= enough, enough, 0)) and after[new] >= enough)


WRONG = {
    naive.move: [walls_wrap_around, rows_and_columns_swapped],
    naive.scores: [arrived_once, straight_distance],
    naive.evolve: [downhill, one_sided],
    naive.losses: [failures_imitated, successes_alone_predicted, present_predicted],
    naive.consolidate: [last_task_alone],
    naive.accepts: [old_skills_forgotten, known_skill_accepted],
}


# -- oracles ---------------------------------------------------------------------------------------


def test_a_walk_by_hand():
    """Always right: (2, 3) reaches the wall in one step and stays."""
    theta = torch.zeros(750, dtype=torch.float64)
    unpack(theta)["b_out"][3] = 1.0
    observations, actions, places = rollout(theta, 1, torch.tensor([[2, 3]]), steps=3)
    assert places.tolist() == [[[2, 3], [2, 4], [2, 4], [2, 4]]]
    assert actions.tolist() == [[3, 3, 3]]
    seen = [k for k, one in enumerate(observations[0, 1].tolist()) if one]
    assert seen == [2, 5 + 4, 10 + 1, 14]  # row 2, column 4, goal 1, the constant
    assert scores(theta[None], 1, torch.tensor([[2, 3]])).item() == -2


def test_the_weights_are_all_there_once():
    weights = unpack(torch.arange(750))
    assert sum(w.numel() for w in weights.values()) == 750
    assert sum(w.numel() for name, w in weights.items() if "pred" not in name) == one_big_net.POLICY


def test_the_net_is_torchs_elman_net():
    theta = random_theta(0)
    observations, actions, _ = rollout(theta, 2, STARTS)
    P, net = unpack(theta), nn.RNN(15, 16, batch_first=True).double()
    with torch.no_grad():
        for name, value in {
            "weight_ih_l0": "W_x",
            "weight_hh_l0": "W_h",
            "bias_ih_l0": "b",
        }.items():
            getattr(net, name).copy_(P[value])
        net.bias_hh_l0.zero_()
        h, _ = net(observations)
    torch.testing.assert_close((h @ P["W_out"].t() + P["b_out"]).argmax(-1), actions)


def test_a_population_walks_as_its_members_do():
    population = torch.stack([random_theta(seed) for seed in range(4)])
    together = rollout(population, 3, STARTS)
    for k, theta in enumerate(population):
        for many, one in zip(together, rollout(theta, 3, STARTS), strict=True):
            assert torch.equal(many[k], one)


def test_another_goal_may_be_shown():
    theta = random_theta(1)
    shown = rollout(theta, 0, STARTS, shown=2)
    for a, b in zip(shown, rollout(theta, 2, STARTS), strict=True):
        assert torch.equal(a, b)


def test_search_finds_a_skill_and_leaves_the_prediction_alone():
    theta = random_theta(0)
    found, generations = search(theta, noise(60, 32), 3, STARTS)
    assert 0 < generations < 60 and scores(found[None], 3, STARTS) == 0
    assert torch.equal(found[580:], theta[580:])
    again, none = search(found, noise(60, 32), 3, STARTS)
    assert none == 0 and torch.equal(again, found)


def test_noise_seen_backwards_is_the_same_search():
    theta, directions = random_theta(0), noise(8)
    torch.testing.assert_close(
        evolve(theta, directions, 1, STARTS), evolve(theta, -directions, 1, STARTS)
    )


def test_consolidation_teaches_two_skills_and_needs_no_world(monkeypatch):
    """The net that a task was searched with last forgets the first; the one led along both traces
    does not. No step is made in the world meanwhile."""
    one, traces = random_theta(0), []
    copy = one
    for goal in (0, 3):
        copy, _ = search(copy, noise(60, 32, seed=goal), goal, STARTS)
        observations, actions, places = rollout(copy, goal, STARTS)
        traces.append((observations, actions, places, torch.ones(25, dtype=torch.bool)))
    before = [float(sum(losses(one, *trace))) for trace in traces]
    with monkeypatch.context() as patch:
        patch.setattr(one_big_net, "move", None)
        one = consolidate(one, traces)
    assert all(sum(losses(one, *t)) < 0.5 * b for t, b in zip(traces, before, strict=True))
    ends = lambda theta, goal: rollout(theta, goal, STARTS)[2][:, -1].tolist()
    reached = lambda theta, goal: sum(
        end == naive.CORNERS[goal].tolist() for end in ends(theta, goal)
    )
    assert min(reached(one, 0), reached(one, 3)) >= 23
    assert reached(copy, 3) == 25 and reached(copy, 0) <= 5


# -- bad input -------------------------------------------------------------------------------------


def test_bad_input_is_named():
    theta, one = random_theta(0), torch.tensor([[0, 0]])
    for goal in (4, -1, 1.0, "left"):
        with pytest.raises(ValueError, match="goal must be one of 0 to 3, got"):
            rollout(theta, goal, one)
    with pytest.raises(ValueError, match="goal must be one of 0 to 3, got 7"):
        rollout(theta, 0, one, shown=7)
    with pytest.raises(ValueError, match=r"theta must have shape .* got \(0, 750\)"):
        scores(theta[None][:0], 0, one)
    with pytest.raises(ValueError, match=r"theta must have shape .* got \(700,\)"):
        rollout(theta[:700], 0, one)
    with pytest.raises(
        ValueError, match=r"noise must have shape \(pairs >= 1, 580\), got \(0, 580"
    ):
        evolve(theta, noise(0), 0, one)
    with pytest.raises(ValueError, match=r"starts must have shape \(n >= 1, 2\)"):
        rollout(theta, 0, one[:0])
    with pytest.raises(ValueError, match=r"actions must lie in \[0, 4\), got 0 to 4"):
        move(torch.zeros(2, 2, dtype=torch.int64), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="traces must hold those of one task or more"):
        consolidate(theta, [])
    with pytest.raises(ValueError, match=r"before and after must have shape \(tasks,\)"):
        accepts(torch.ones(2), torch.ones(3), 0)
