"""The character RNN: one tanh layer that reads a symbol at a time, in a fast loop over time.

Names and symbols are those of minilib/naive/char_rnn.py. Not here: several layers, dropout.
Departure from min-char-rnn: initial weights, there 0.01 · N(0, 1) everywhere, which trains several
times more slowly.
"""

import torch
from torch import nn

from minilib import language_model, twin
from minilib.autograd import once_differentiable
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import char_rnn as naive
from minilib.shapes import check_sizes


class _Recurrence(torch.autograd.Function):
    """h_t = tanh(x_t + W_hh h_{t-1}), x (time, batch, n): two operations a step, each way.

    Only the states are kept, n numbers a step. In backward everything that needs no later gradient
    (1 - h²) and the gradient of W_hh are computed for all steps at once, outside the loop.
    """

    @staticmethod
    def forward(ctx, x, h, Whh):
        states = torch.cat([h[None], torch.empty_like(x)])
        W = Whh.t()
        for a, old, new in zip(x.unbind(), states[:-1].unbind(), states[1:].unbind(), strict=True):
            torch.addmm(a, old, W, out=new).tanh_()
        ctx.save_for_backward(states, Whh)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, d_states):
        states, Whh = ctx.saved_tensors
        da = 1 - states[1:] ** 2
        dh = d_states[-1].clone()
        earlier = (torch.zeros_like(dh), *d_states[:-1].unbind())  # nothing was read before step 0
        for d, a in zip(reversed(earlier), reversed(da.unbind()), strict=True):
            torch.addmm(d, a.mul_(dh), Whh, out=dh)
        return da, dh, da.flatten(0, 1).t() @ states[:-1].flatten(0, 1)


def _states(ids, h, Wxh, Whh, bh):
    """All states for ids (batch, time) from h (batch, H): (batch, time, H).

    W_xh x_t + b_h is one row of a table. Inside, time comes first: each step is one block of
    memory.
    """
    x = nn.functional.embedding(ids.t(), Wxh.t() + bh)  # (T, B, H)
    return _Recurrence.apply(x, h, Whh).transpose(0, 1)


@twin(naive.char_rnn)
class CharRNN(LanguageModel):
    """h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h), logits W_hy h_t + b_y.

    vocab_size  V, symbols; width H, hidden units. Parameters: VH + H² + HV + H + V
    The state is (h,), h (batch, H). Raises ValueError for sizes below 1.
    """

    def __init__(self, vocab_size: int = 256, width: int = 256):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width)
        self.vocab_size, self.width = vocab_size, width
        # a one-hot input meets one column: no sum to keep small
        self.Wxh = nn.Parameter(torch.randn(width, vocab_size))
        # a rotation: lengths stay, forward and backward
        self.Whh = nn.Parameter(nn.init.orthogonal_(torch.empty(width, width)))
        bound = width**-0.5
        self.Why = nn.Parameter(torch.empty(vocab_size, width).uniform_(-bound, bound))
        self.bh, self.by = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(vocab_size))

    def init_state(self, batch_size: int) -> tuple:
        shape, like = (batch_size, self.width), self.bh
        return (torch.zeros(shape, device=like.device, dtype=like.dtype),)

    def states(self, ids: torch.Tensor, state: tuple) -> torch.Tensor:
        """The hidden units while the net reads: (batch, time) int64, state -> (batch, time, H)."""
        check_ids(ids, self.vocab_size, dims=2)
        wanted, got = (len(ids), self.width), tuple(state[0].shape)
        if got != wanted:
            raise ValueError(f"state must be (h,) with h of shape {wanted}, got {got}")
        return _states(ids, state[0], self.Wxh, self.Whh, self.bh)

    def extend(self, ids, state):
        states = self.states(ids, state)
        last = states[:, -1].clone()  # a view would keep all states in memory
        return nn.functional.linear(states, self.Why, self.by), (last,)


def _check_net(h, P, **ids):
    """Raise unless h, P and each array of ids fit together."""
    (V, H) = P["Why"].shape
    wanted = {"Wxh": (H, V), "Whh": (H, H), "Why": (V, H), "bh": (H,), "by": (V,)}
    for name, shape in wanted.items():
        got = tuple(P[name].shape)
        if got != shape:
            raise ValueError(f"P[{name!r}] must have shape {shape} beside Why {(V, H)}, got {got}")
    if tuple(h.shape) != (H,):
        raise ValueError(f"h must have shape {(H,)}, got {tuple(h.shape)}")
    for name, values in ids.items():
        if values.dtype != torch.int64:
            raise TypeError(f"{name} must be int64, got {values.dtype}")
        if values.dim() != 1 or not len(values):
            got = tuple(values.shape)
            raise ValueError(f"{name} must have shape (time ≥ 1,), got {got}")
        if values.min() < 0 or values.max() >= V:
            got = f"{int(values.min())} to {int(values.max())}"
            raise ValueError(f"{name} must lie in [0, {V}), got {got}")


@twin(naive.rnn_loss, differentiable=False)
def rnn_loss(
    inputs: torch.Tensor, targets: torch.Tensor, h: torch.Tensor, P: dict, dh_next=0.0
) -> tuple:
    """Loss (sum of nats) of one stretch of text, its gradients by autograd, and the state after it.

    inputs, targets (time,) int64; h (H,); P dict Wxh Whh Why bh by; dh_next (H,) or 0 is the
    gradient from later steps into the last state. The gradients are a dict with the names of P and
    "h" for the state before.
    Raises ValueError or TypeError for shapes, ids and dtypes that do not fit.
    """
    _check_net(h, P, inputs=inputs, targets=targets)
    if len(inputs) != len(targets):
        raise ValueError(f"targets must be as long as inputs, {len(inputs)}, got {len(targets)}")
    with torch.enable_grad():
        leaf = {name: value.detach().requires_grad_() for name, value in {**P, "h": h}.items()}
        states = _states(inputs[None], leaf["h"][None], leaf["Wxh"], leaf["Whh"], leaf["bh"])[0]
        logits = nn.functional.linear(states, leaf["Why"], leaf["by"])
        loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
        grads = torch.autograd.grad(loss + (dh_next * states[-1]).sum(), list(leaf.values()))
    return loss.detach(), dict(zip(leaf, grads, strict=True)), states[-1].detach()


@twin(naive.sample)
@torch.no_grad()
def sample(
    h: torch.Tensor, seed: int, u: torch.Tensor, P: dict, temperature: float = 1.0
) -> torch.Tensor:
    """Write len(u) symbols after `seed`: (n,) int64.

    h (H,) is the state before the seed, u (n,) uniforms in [0, 1).
    Raises ValueError for a net, seed or temperature that cannot be.
    """
    _check_net(h, P, seed=torch.tensor([seed]))
    table, W = P["Wxh"].t() + P["bh"], P["Whh"]
    x, written = torch.tensor([seed], device=h.device), []
    for r in u:
        h = torch.tanh(table[x[0]] + W @ h)
        x = language_model.sample((P["Why"] @ h + P["by"])[None], r[None], temperature)
        written.append(x)
    return torch.cat(written) if written else x[:0]


@twin(naive.adagrad)
def adagrad(P: dict, grads: dict, cache: dict, lr: float) -> tuple[dict, dict]:
    """One step of Adagrad on dicts of tensors: new parameters, new cache. grads may hold more."""
    for name, value in P.items():
        same_shape = all(
            name in given and given[name].shape == value.shape for given in (grads, cache)
        )
        if not same_shape:
            shape = tuple(value.shape)
            raise ValueError(f"grads and cache must hold {name!r} with shape {shape}")
    cache = {name: torch.addcmul(cache[name], grads[name], grads[name]) for name in P}
    root = {name: (cache[name] + 1e-8).sqrt() for name in P}
    return {name: torch.addcdiv(P[name], grads[name], root[name], value=-lr) for name in P}, cache


@twin(naive.sign_accuracy, differentiable=False)
def sign_accuracy(states: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Balanced accuracy (H,) of the sign of each unit in states (time, H) for inside (time,) bool.

    Raises ValueError if `inside` does not hold both values or has another length.
    """
    fits = inside.dtype == torch.bool and inside.shape == states.shape[:1]
    if not fits or inside.all() or not inside.any():
        wanted = f"{len(states)} booleans, some True and some False"
        raise ValueError(f"inside must be {wanted}, got {inside.dtype} {tuple(inside.shape)}")
    positive = (states > 0).to(states.dtype)
    a = (positive[inside].mean(0) + 1 - positive[~inside].mean(0)) / 2
    return torch.maximum(a, 1 - a)
