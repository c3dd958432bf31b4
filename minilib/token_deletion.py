"""MrT5's gate: steps deleted softly while it learns; attention that may see nothing; a controller.

Names and symbols are those of minilib/naive/token_deletion.py. Not here: the encoder around them.
A test deletes truly: it drops the steps below kappa / 2, and the others keep their positions.
"""

from torch import Tensor
from torch.nn import functional

from minilib import twin
from minilib.naive import token_deletion as naive


@twin(naive.gate)
def gate(x: Tensor, w: Tensor, bias: Tensor, kappa: float = -30.0) -> Tensor:
    """MrT5: how much of each step is deleted, from 0, kept, to kappa: (batch, T, C) -> (batch, T).

    w (C,) and bias (1,) read the normalised step. At a test, steps below kappa / 2 are dropped.
    """
    return kappa * (-(functional.layer_norm(x, x.shape[2:]) @ w + bias)).sigmoid()


@twin(naive.gated_attention)
def gated_attention(q: Tensor, k: Tensor, v: Tensor, gates: Tensor) -> Tensor:
    """Attention in which a gate near -30 hides a key, and a query may look at nothing.

    q, k, v  (batch, heads, T or S, D); gates (batch, S), added to the scores of each key
    The 1 in the denominator is e^0 of one more key, all 0, with a value of 0: the kernel stays.
    """
    wanted = k.shape[0], k.shape[2]
    if tuple(gates.shape) != wanted:
        raise ValueError(f"gates must have shape {wanted}, got {tuple(gates.shape)}")
    k, v = (functional.pad(x, (0, 0, 0, 1)) for x in (k, v))
    mask = functional.pad(gates, (0, 1))[:, None, None].expand(-1, 1, q.shape[2], -1)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@twin(naive.controller)
def controller(
    deleted: float, target: float, state: tuple = (0.0, 0.0), kp: float = 0.5, ki: float = 1e-5
) -> tuple[float, tuple]:
    """MrT5: the weight of the mean gate in the loss, 0 or more, and the next state, (P, I).

    deleted, target  share of steps that are deleted, and that shall be
    """
    P, I = state
    error = target - deleted
    P, I = 0.9 * P + 0.1 * kp * error, I + ki * error
    return max(0.0, P + I), (P, I)
