"""One net for every skill, the definition: a small world, search, traces, consolidation.

Source: Schmidhuber 2018, One Big Net For Everything (arXiv:1802.08864); the acceptance test is that
of PowerPlay (Schmidhuber 2011, arXiv:1112.5309). The report names no world, no net, no search and
no weights of its losses. All of these are choices made here; what is the report's is marked with *.

    code          meaning                                                     shape
    theta         all weights in one row: the policy's, then the prediction's (750,)
    goal          which corner to end in, 0 to 3: * a pattern that is an input
    places        row and column, 0 to 4                                      (..., 2)
    observations  row, column and goal as one-hots, and a 1                   (..., 15)
    actions       0 up, 1 down, 2 left, 3 right
    a trace       * what was seen, done and reached in a trial:
                  observations (steps, 15), actions (steps,), places (steps + 1, 2)
"""

import numpy as np

from minilib.naive import autograd
from minilib.naive.autograd import Var

SIZE = 5  # of the world, a square
CORNERS = np.array([[0, 0], [0, 4], [4, 0], [4, 4]])
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
WIDTH = 16
SHAPES = {  # an Elman net, h_t = tanh(W_x x_t + W_h h_{t-1} + b), with two outputs
    "W_x": (WIDTH, 15),
    "W_h": (WIDTH, WIDTH),
    "b": (WIDTH,),
    "W_out": (4, WIDTH),
    "b_out": (4,),
    "W_pred": (2 * SIZE, WIDTH),  # * predicts what comes next: here the next row and column
    "b_pred": (2 * SIZE,),
}
POLICY = 580  # weights of the first five

# -- the world -------------------------------------------------------------------------------------


def move(places, actions):
    """One step of each walker; walls stop it. places (n, 2), actions (n,) -> (n, 2)."""
    after = []
    for place, action in zip(places, actions, strict=True):
        after.append([min(max(int(x), 0), SIZE - 1) for x in place + MOVES[action]])
    return np.array(after)


def observe(places, goal):
    """places (n, 2) -> what a walker with this goal sees, (n, 15)."""
    seen = np.zeros((len(places), 15))
    for x, (row, column) in zip(seen, places, strict=True):
        x[row] = x[SIZE + column] = x[2 * SIZE + goal] = x[14] = 1
    return seen


# -- the net ---------------------------------------------------------------------------------------


def unpack(theta):
    """theta (750,), a Var -> {name: weights}, Vars."""
    weights, start = {}, 0
    for name, shape in SHAPES.items():
        end = start + int(np.prod(shape))
        weights[name] = autograd.reshape(theta[start:end], shape)
        start = end
    return weights


def step(P, x, h):
    """One step of the net: x (n, 15), h (n, 16) -> h, logits of the actions (n, 4)."""
    h = autograd.tanh(x @ P["W_x"].T + h @ P["W_h"].T + P["b"])
    return h, h @ P["W_out"].T + P["b_out"]


def rollout(theta, goal, starts, shown=None, steps=10):
    """Walk from each start; the likeliest action is taken, the first of equals.

    theta    (750,); goal decides nothing here but what is shown
    shown    another goal to show to the net
    returns  traces: observations (n, steps, 15), actions (n, steps), places (n, steps + 1, 2)
    """
    P = unpack(Var(theta))
    places = np.array(starts)
    h = Var(np.zeros((len(places), WIDTH)))
    observations, actions, visited = [], [], [places]
    for _ in range(steps):
        x = observe(places, goal if shown is None else shown)
        h, logits = step(P, x, h)
        action = np.argmax(logits.data, axis=1)
        places = move(places, action)
        observations.append(x)
        actions.append(action)
        visited.append(places)
    return np.stack(observations, 1), np.stack(actions, 1), np.stack(visited, 1)


# -- search: * expensive, by trial and error, in a copy --------------------------------------------


def scores(population, goal, starts):
    """Minus the mean distance from the corner at the end, for each member: (n, 750) -> (n,)."""
    found = []
    for theta in population:
        _, _, places = rollout(theta, goal, starts)
        distance = np.abs(places[:, -1] - CORNERS[goal]).sum(1)
        found.append(-distance.mean())
    return np.array(found)


def evolve(theta, noise, goal, starts, sigma=0.5, lr=1.0):
    """One generation of an evolution strategy with mirrored samples.

    Source: arXiv:1703.03864, sec. 2. Each direction is tried forwards and backwards;
    theta moves along each by what it gained.
    noise    (pairs, 580), standard normal: directions for the policy
    sigma    size of a trial, in units of the policy's root mean square
    returns  theta (750,)
    """
    size = sigma * np.sqrt((theta[:POLICY] ** 2).mean())
    steps = np.zeros((len(noise), len(theta)))
    steps[:, :POLICY] = size * noise
    gain = scores(theta + steps, goal, starts) - scores(theta - steps, goal, starts)
    if gain.std() == 0:  # no direction is better than another
        return theta
    return theta + lr * (gain[:, None] / gain.std() * steps).mean(0)


def search(theta, noise, goal, starts, sigma=0.5, lr=1.0):
    """Generations until every start ends in the corner, or until the noise is used up.

    noise    (generations, pairs, 580)
    returns  theta (750,), and the number of generations it took
    """
    for generation, directions in enumerate(noise):
        if scores([theta], goal, starts)[0] == 0:
            return theta, generation
        theta = evolve(theta, directions, goal, starts, sigma, lr)
    return theta, len(noise)


# -- consolidation: * cheap, from traces alone; there is no world in these functions ---------------


def losses(theta, observations, actions, places, solved):
    """Of the net led along traces, in nats a step: (imitation, prediction).

    imitation   * of the actions, in the traces that solved their task: solved (n,) bools. 0 if none
                did
    prediction  * of the next row and column, in all traces, failed ones included
    The rest as `rollout` returns it.
    """
    imitation, prediction = _losses(Var(theta), observations, actions, places, solved)
    return imitation.data, prediction.data


def _losses(theta, observations, actions, places, solved):
    """The same of a Var, as Vars."""
    P = unpack(theta)
    h, imitation, prediction = Var(np.zeros((len(actions), WIDTH))), Var(0.0), Var(0.0)
    good, steps = np.flatnonzero(solved), actions.shape[1]
    for t in range(steps):
        h, logits = step(P, observations[:, t], h)
        if len(good):
            imitated = autograd.take_rows(logits, good)
            loss = autograd.softmax_xent(imitated, actions[good, t])
            imitation = imitation + loss / steps
        predicted = h @ P["W_pred"].T + P["b_pred"]
        loss = autograd.softmax_xent(predicted[:, :SIZE], places[:, t + 1, 0])
        prediction = prediction + loss / steps
        loss = autograd.softmax_xent(predicted[:, SIZE:], places[:, t + 1, 1])
        prediction = prediction + loss / steps
    return imitation, prediction


def consolidate(theta, traces, steps=150, lr=0.02, weight=0.1):
    """Gradient descent by Adam (arXiv:1412.6980, alg. 1) on all traces at once.

    traces   list of (observations, actions, places, solved), one for each task
    weight   of the prediction loss beside imitation
    returns  theta (750,)
    """

    def total(p):
        value = Var(0.0)
        for trace in traces:
            imitation, prediction = _losses(p["theta"], *trace)
            value = value + (imitation + weight * prediction) / len(traces)
        return value

    m = v = np.zeros(len(theta))
    for k in range(1, steps + 1):
        _, gradient = autograd.gradients(total, {"theta": theta})
        m = 0.9 * m + 0.1 * gradient["theta"]
        v = 0.999 * v + 0.001 * gradient["theta"] ** 2
        theta = theta - lr * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return theta


def accepts(before, after, new, enough=0.9):
    """PowerPlay's test: is the new skill new, is it there now, and is no old one lost?

    before, after  (tasks,) shares of the starts that end in the corner, of the old net and the new
    enough         the share from which on a task counts as solved
    """
    is_new = before[new] < enough <= after[new]
    kept = all(a >= enough for b, a in zip(before, after, strict=True) if b >= enough)
    return bool(is_new and kept)
