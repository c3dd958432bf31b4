"""One net for every skill, fast: a whole population walks from all starts in one batched product.

Names and symbols are those of minilib/naive/one_big_net.py.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.naive import one_big_net as naive
from minilib.naive.one_big_net import CORNERS, MOVES, POLICY, SHAPES, SIZE, WIDTH

WEIGHTS = sum(torch.Size(shape).numel() for shape in SHAPES.values())  # 750


@twin(naive.move, differentiable=False)
def move(places: Tensor, actions: Tensor) -> Tensor:
    """One step of each walker; walls stop it. places (..., 2), actions (...) int64 -> (..., 2).

    Raises ValueError for actions that are none of 0 to 3 or do not fit places.
    """
    if places.shape != (*actions.shape, 2):
        got = f"{tuple(places.shape)} and {tuple(actions.shape)}"
        raise ValueError(f"places and actions must have shapes (..., 2) and (...), got {got}")
    if actions.numel() and not 0 <= actions.min() <= actions.max() < len(MOVES):
        low, high = actions.aminmax()
        raise ValueError(f"actions must lie in [0, 4), got {int(low)} to {int(high)}")
    return (places + torch.as_tensor(MOVES, device=places.device)[actions]).clamp(0, SIZE - 1)


def _observe(places, goal, dtype):
    """places (..., 2) -> row, column and goal as one-hots, and a 1: (..., 15)."""
    seen = torch.zeros(*places.shape[:-1], 15, dtype=dtype, device=places.device)
    seen[..., 2 * SIZE + goal] = seen[..., 14] = 1
    return seen.scatter_(-1, places + torch.tensor([0, SIZE], device=places.device), 1)


def _check_goal(goal):
    if not isinstance(goal, int) or goal not in range(len(CORNERS)):
        raise ValueError(f"goal must be one of 0 to {len(CORNERS) - 1}, got {goal!r}")


def _check_theta(theta, dims):
    if theta.dim() not in dims or theta.shape[-1] != WEIGHTS or 0 in theta.shape:
        raise ValueError(
            f"theta must have shape ({WEIGHTS},) or (members >= 1, {WEIGHTS}), "
            f"got {tuple(theta.shape)}"
        )


def unpack(theta: Tensor) -> dict[str, Tensor]:
    """theta (..., 750) -> {name: weights}, each with the leading axes of theta."""
    parts = theta.split([torch.Size(shape).numel() for shape in SHAPES.values()], -1)
    return {
        name: part.unflatten(-1, shape)
        for (name, shape), part in zip(SHAPES.items(), parts, strict=True)
    }


def _affine(x, P, weight, bias):
    """x Wᵀ + b for weights with the same leading axes."""
    return x @ P[weight].mT + P[bias][..., None, :]


def _step(P, x, h):
    h = torch.tanh(_affine(x, P, "W_x", "b") + h @ P["W_h"].mT)
    return h, _affine(h, P, "W_out", "b_out")


@twin(naive.rollout, differentiable=False)
def rollout(
    theta: Tensor, goal: int, starts: Tensor, shown: int | None = None, steps: int = 10
) -> tuple[Tensor, Tensor, Tensor]:
    """Walk from each start; the likeliest action is taken, the first of equals.

    theta    (750,), or a population (members, 750), which walks in one batched product
    starts   (n, 2) int64; shown: another goal to show to the net than the one that it has
    returns  traces, with the leading axis of theta: observations (n, steps, 15), actions (n, steps)
             and places (n, steps + 1, 2)
    Raises ValueError for a goal that does not exist, no start, no step or no member.
    """
    _check_theta(theta, (1, 2))
    _check_goal(goal)
    shown = goal if shown is None else shown
    _check_goal(shown)
    if starts.dim() != 2 or starts.shape[1] != 2 or not len(starts) or steps < 1:
        got = f"{tuple(starts.shape)} and {steps}"
        raise ValueError(f"starts must have shape (n >= 1, 2) and steps be 1 or more, got {got}")
    P = unpack(theta)
    places = starts.expand(*theta.shape[:-1], *starts.shape)
    h = theta.new_zeros(*places.shape[:-1], WIDTH)
    observations, actions, visited = [], [], [places]
    for _ in range(steps):
        x = _observe(places, shown, theta.dtype)
        h, logits = _step(P, x, h)
        action = logits.argmax(-1)
        places = move(places, action)
        observations.append(x)
        actions.append(action)
        visited.append(places)
    return torch.stack(observations, -2), torch.stack(actions, -1), torch.stack(visited, -2)


# -- search ----------------------------------------------------------------------------------------


@twin(naive.scores, differentiable=False)
def scores(population: Tensor, goal: int, starts: Tensor) -> Tensor:
    """Minus the mean distance from the corner at the end, for each member: (n, 750) -> (n,)."""
    _check_theta(population, (2,))
    places = rollout(population, goal, starts)[2]
    corner = torch.as_tensor(CORNERS[goal], device=places.device)
    return -(places[..., -1, :] - corner).abs().sum(-1).to(population.dtype).mean(-1)


@twin(naive.evolve, differentiable=False)
def evolve(
    theta: Tensor, noise: Tensor, goal: int, starts: Tensor, sigma: float = 0.5, lr: float = 1.0
) -> Tensor:
    """One generation of an evolution strategy with mirrored samples (arXiv:1703.03864, sec. 2).

    theta    (750,); noise (pairs, 580), standard normal: directions for the policy
    sigma    size of a trial, in units of the policy's root mean square; lr scales the step taken
    returns  theta (750,)
    """
    _check_theta(theta, (1,))
    if noise.dim() != 2 or noise.shape[1] != POLICY or not len(noise):
        got = tuple(noise.shape)
        raise ValueError(f"noise must have shape (pairs >= 1, {POLICY}), got {got}")
    size = sigma * theta[:POLICY].square().mean().sqrt()
    steps = nn.functional.pad(size * noise, (0, len(theta) - POLICY))
    both = scores(torch.cat([theta + steps, theta - steps]), goal, starts)
    gain = both[: len(noise)] - both[len(noise) :]
    spread = gain.std(correction=0)
    if spread == 0:  # no direction is better than another
        return theta
    return theta + lr * (gain / spread) @ steps / len(noise)


@twin(naive.search, differentiable=False)
def search(
    theta: Tensor, noise: Tensor, goal: int, starts: Tensor, sigma: float = 0.5, lr: float = 1.0
) -> tuple[Tensor, int]:
    """Generations until every start ends in the corner, or until the noise is used up.

    noise    (generations, pairs, 580); the rest as in `evolve`
    returns  theta (750,), and the number of generations it took
    """
    for generation, directions in enumerate(noise):
        if scores(theta[None], goal, starts) == 0:
            return theta, generation
        theta = evolve(theta, directions, goal, starts, sigma, lr)
    return theta, len(noise)


# -- consolidation ---------------------------------------------------------------------------------


@twin(naive.losses)
def losses(
    theta: Tensor, observations: Tensor, actions: Tensor, places: Tensor, solved: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the net led along traces, in nats a step: (imitation, prediction).

    imitation   of the actions, in the traces that solved their task: solved (n,) bools. 0 if none
                did
    prediction  of the next row and column, in all traces, failed ones included
    The rest as `rollout` returns it for one net.
    """
    _check_theta(theta, (1,))
    P, h, states = unpack(theta), theta.new_zeros(len(actions), WIDTH), []
    for x in (observations.to(theta.dtype) @ P["W_x"].mT + P["b"]).unbind(1):
        h = torch.tanh(x + h @ P["W_h"].mT)
        states.append(h)
    h = torch.stack(states, 1)
    imitation = theta.new_zeros(())
    if solved.any():
        imitation = _nats(_affine(h[solved], P, "W_out", "b_out"), actions[solved])
    rows, columns = _affine(h, P, "W_pred", "b_pred").split(SIZE, -1)
    prediction = _nats(rows, places[:, 1:, 0]) + _nats(columns, places[:, 1:, 1])
    return imitation, prediction


def _nats(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@twin(naive.consolidate, differentiable=False)
def consolidate(
    theta: Tensor, traces: list[tuple], steps: int = 150, lr: float = 0.02, weight: float = 0.1
) -> Tensor:
    """Gradient descent by Adam on all traces at once; there is no world in it.

    traces   list of (observations, actions, places, solved), one for each task; 1 or more
    weight   of the prediction loss beside imitation
    returns  theta (750,)
    """
    if not traces:
        raise ValueError("traces must hold those of one task or more, got none")
    theta = theta.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=lr)
    with torch.enable_grad():
        for _ in range(steps):
            pairs = [losses(theta, *trace) for trace in traces]
            total = sum(imitation + weight * prediction for imitation, prediction in pairs)
            optimizer.zero_grad()
            (total / len(traces)).backward()
            optimizer.step()
    return theta.detach()


@twin(naive.accepts, differentiable=False)
def accepts(before: Tensor, after: Tensor, new: int, enough: float = 0.9) -> bool:
    """PowerPlay's test: is the new skill new, is it there now, and is no old one lost?

    before, after  (tasks,) shares of the starts that end in the corner, of the old net and the new
    enough         the share from which on a task counts as solved
    """
    if before.shape != after.shape or before.dim() != 1 or new not in range(len(before)):
        got = f"{tuple(before.shape)}, {tuple(after.shape)} and {new}"
        raise ValueError(f"before and after must have shape (tasks,), new be a task, got {got}")
    was, now = before >= enough, after >= enough
    return bool(~was[new] & now[new] & (now | ~was).all())
