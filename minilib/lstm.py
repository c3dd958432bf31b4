"""The LSTM with peepholes, Graves' stack of them as a language model, and dynamic evaluation.

Names and symbols are those of minilib/naive/lstm.py. Not here: weight noise, dropout.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import lstm as naive


class _Lstm(torch.autograd.Function):
    """The loop over time with its backward written out: one matmul a step, all else in place.

    Kept for backward: gates, cells and outputs, 6 n numbers a step. What backward needs of them
    that does not depend on the incoming gradient is computed for all steps at once, before its
    loop.
    """

    @staticmethod
    def forward(ctx, x, h, c, W_h, peep):
        B, T, n = len(x), x.shape[1], h.shape[1]
        # (T, B, 4n), time first: each step is one block of memory
        gates = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        cells, outputs = x.new_empty(T + 1, B, n), x.new_empty(T + 1, B, n)
        cells[0], outputs[0] = c, h
        squashed, W = x.new_empty(B, n), W_h.t()
        old, new = (cells[:-1], outputs[:-1]), (cells[1:], outputs[1:])
        steps = zip(*(rows.unbind() for rows in (gates, *old, *new)), strict=True)
        for a, c_old, h_old, c_new, h_new in steps:
            a.addmm_(h_old, W)
            i, f, g, o = a.view(B, 4, n).unbind(1)
            a.view(B, 4, n)[:, :2].addcmul_(peep[:2], c_old[:, None])
            a[:, : 2 * n].sigmoid_()
            g.tanh_()
            torch.mul(f, c_old, out=c_new).addcmul_(i, g)
            o.addcmul_(peep[2], c_new).sigmoid_()
            torch.mul(o, torch.tanh(c_new, out=squashed), out=h_new)
        ctx.save_for_backward(gates, cells, outputs, W_h, peep)
        return outputs[1:].transpose(0, 1), outputs[-1].clone(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, dh, dc):
        gates, cells, outputs, W_h, peep = ctx.saved_tensors
        T, B, n = len(gates), gates.shape[1], cells.shape[2]
        i, f, g, o = gates.view(T, B, 4, n).unbind(2)
        squashed = cells[1:].tanh()
        K_c = o * (1 - squashed * squashed)  # dc per dh
        # d(pre-activation) per dc for i, f, g and per dh for o
        K_i, K_f = g * i * (1 - i), cells[:-1] * f * (1 - f)
        K_g, K_o = i * (1 - g * g), squashed * o * (1 - o)
        K = torch.stack([K_i, K_f, K_g, K_o], dim=2)
        d_out, dh, dc = d_out.transpose(0, 1), dh.clone(), dc.clone()
        peep_if = peep[:2]
        steps = list(zip(d_out.unbind(), K.unbind(), K_c.unbind(), f.unbind(), strict=True))
        for d, k, k_c, forget in reversed(steps):
            dh += d
            da_o = k[:, 3].mul_(dh)
            dc.addcmul_(dh, k_c).addcmul_(da_o, peep[2])
            k[:, :3].mul_(dc[:, None])  # k now holds da
            dc.mul_(forget).add_((k[:, :2] * peep_if).sum(1))
            torch.mm(k.view(B, 4 * n), W_h, out=dh)
        da_i, da_f, _, da_o = K.view(T, B, 4, n).unbind(2)
        peeped = (da_i * cells[:-1], da_f * cells[:-1], da_o * cells[1:])
        d_peep = torch.stack([d.sum((0, 1)) for d in peeped])
        d_W_h = K.view(T * B, 4 * n).t() @ outputs[:-1].reshape(T * B, n)
        return K.view(T, B, 4 * n).transpose(0, 1), dh, dc, d_W_h, d_peep


@twin(naive.lstm)
def lstm(x: Tensor, h: Tensor, c: Tensor, W_h: Tensor, peep: Tensor) -> tuple:
    """One layer over time, from inputs that are already projected (Graves 2013, eq. 7-11).

    x        (batch, time, 4n), W_x x_t + b, in the order i f g o
    h, c     (batch, n) state before the first step; W_h (4n, n); peep (3, n), peepholes of i f o
    returns  outputs (batch, time, n), then h and c after the last step
    Raises ValueError if the shapes do not fit.
    """
    B, n = len(h), h.shape[-1]
    T = x.shape[1] if x.dim() == 3 else "time"
    wanted = {
        "x": (x, (B, T, 4 * n)),
        "h": (h, (B, n)),
        "c": (c, (B, n)),
        "W_h": (W_h, (4 * n, n)),
        "peep": (peep, (3, n)),
    }
    for name, (value, shape) in wanted.items():
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
    return _Lstm.apply(x, h, c, W_h, peep)


class _Layer(nn.Module):
    """One layer of the stack: reads the symbol, the layer below and its own past."""

    def __init__(self, vocab_size, below, n, forget_bias):
        super().__init__()
        uniform = lambda *shape: nn.Parameter(torch.empty(shape).uniform_(-(n**-0.5), n**-0.5))
        # W_x of a one-hot symbol is one row of a table. Large rows tell the symbols apart from the
        # first step on: after 500 steps on the plays 2.9 bits per byte, and 3.4 with rows as small
        # as the recurrent weights
        self.symbol = nn.Parameter(2 * torch.randn(vocab_size, 4 * n))
        self.below = uniform(4 * n, below)
        self.recurrent = uniform(4 * n, n)
        self.peep = nn.Parameter(torch.zeros(3, n))
        open_gates = torch.full((n,), float(forget_bias))
        self.bias = nn.Parameter(torch.cat([torch.zeros(n), open_gates, torch.zeros(2 * n)]))

    def forward(self, ids, below, h, c):
        """ids (batch, time), below (batch, time, n) or None, h and c (batch, n): as `lstm`."""
        x = nn.functional.embedding(ids, self.symbol + self.bias)
        if below is not None:
            x = x + below @ self.below.t()
        return lstm(x, h, c, self.recurrent, self.peep)


@twin(naive.lstm_lm)
class LSTM(LanguageModel):
    """Graves' stack: a layer reads the symbol and the layer below, the output reads all layers.

    vocab_size   symbols
    width        n, cells of a layer
    layers       number of layers
    forget_bias  initial bias of the forget gates. 1 opens them a little; the paper does not say
    """

    def __init__(
        self, vocab_size: int = 256, width: int = 128, layers: int = 1, forget_bias: float = 1.0
    ):
        super().__init__()
        if min(vocab_size, width, layers) < 1:
            got = f"{vocab_size}, {width}, {layers}"
            raise ValueError(f"vocab_size, width and layers must be 1 or more, got {got}")
        self.vocab_size, self.width = vocab_size, width
        self.layers = nn.ModuleList(
            _Layer(vocab_size, width * (k > 0), width, forget_bias) for k in range(layers)
        )
        bound = (layers * width) ** -0.5
        self.output = nn.Parameter(torch.empty(vocab_size, layers * width).uniform_(-bound, bound))
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))

    def init_state(self, batch_size: int) -> tuple:
        """((h, c) of each layer), all zero, each (batch, n)."""
        shape, like = (batch_size, self.width), self.output
        zero = torch.zeros(shape, device=like.device, dtype=like.dtype)
        return tuple((zero, zero) for _ in self.layers)

    def extend(self, ids, state):
        check_ids(ids, self.vocab_size, dims=2)
        below, outputs, after = None, [], []
        for layer, (h, c) in zip(self.layers, state, strict=True):
            below, h, c = layer(ids, below, h, c)
            outputs.append(below)
            after.append((h, c))
        return torch.cat(outputs, -1) @ self.output.t() + self.output_bias, tuple(after)


@twin(naive.dynamic_evaluation, differentiable=False)
def dynamic_evaluation(params: dict, ids: Tensor, chunk: int = 64, lr: float = 0.1) -> Tensor:
    """Total nats of a text under an LSTM that goes on learning while it reads.

    params   state_dict of an LSTM; stays as it is
    ids      (time ≥ 2,) int64; the first symbol is given, the others are scored, then learned
    chunk    symbols between SGD steps of size lr on the chunk's mean loss; the state is carried on
    returns  nats, a scalar in the dtype of params. Source: Graves 2013, sec. 3.2
    """
    if ids.dim() != 1 or len(ids) < 2 or chunk < 1:
        got = f"{tuple(ids.shape)} and {chunk}"
        raise ValueError(f"ids must have shape (time ≥ 2,) and chunk be 1 or more, got {got}")
    V, n = len(params["output"]), params["layers.0.recurrent"].shape[1]
    layers = sum(name.endswith(".recurrent") for name in params)
    model = LSTM(V, n, layers).to(params["output"])  # a copy of its own to learn with
    model.load_state_dict(params)
    weights, state = list(model.parameters()), model.init_state(1)
    total = params["output"].new_zeros(())
    with torch.enable_grad():
        for start in range(0, len(ids) - 1, chunk):
            piece = ids[start : start + chunk + 1]
            logits, state = model.extend(piece[None, :-1], state)
            state = tuple((h.detach(), c.detach()) for h, c in state)
            loss = nn.functional.cross_entropy(logits[0], piece[1:])
            # layer 0 has nothing below, so that one gradient is None
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            total += loss.detach() * (len(piece) - 1)
            with torch.no_grad():
                for w, g in zip(weights, gradients, strict=True):
                    w.sub_(lr * g if g is not None else 0)
    return total
