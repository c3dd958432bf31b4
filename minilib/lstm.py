"""The LSTM with peepholes, Graves' stack of them as a language model, and dynamic evaluation.

Names and symbols are those of minilib/naive/lstm.py. Not here: weight noise, dropout.
"""

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.language_model import LanguageModel, check_ids
from minilib.naive import lstm as naive
from minilib.shapes import check_sizes


class _Lstm(torch.autograd.Function):
    """The loop over time with its backward written out: one product a step, all else in place.

    Kept for backward: gates, cells and outputs, 6 n numbers a step. Time comes first in memory, so
    that a step is one block of it.
    """

    @staticmethod
    def forward(ctx, x, h, c, W_h, peep):
        B, T, n = len(x), x.shape[1], h.shape[1]
        gates = x.new_empty(T, B, 4 * n)
        cells, outputs = x.new_empty(T + 1, B, n), x.new_empty(T + 1, B, n)
        cells[0], outputs[0] = c, h
        # written out, the transpose makes a product faster by a third; one step does not repay it
        W, squashed = W_h.t().contiguous() if T > 8 else W_h.t(), x.new_empty(B, n)
        i_f, (i, f, g, o) = gates.view(T, B, 4, n)[:, :, :2], gates.view(T, B, 4, n).unbind(2)
        peep_if, peep_o = peep[:2], peep[2]
        x, rows, i_f, i, f, g, o = x.unbind(1), *(t.unbind() for t in (gates, i_f, i, f, g, o))
        cell, output, cell_beside = cells.unbind(), outputs.unbind(), cells[:, :, None].unbind()
        for t in range(T):
            torch.addmm(x[t], output[t], W, out=rows[t])
            i_f[t].addcmul_(peep_if, cell_beside[t]).sigmoid_()
            new = torch.mul(f[t], cell[t], out=cell[t + 1]).addcmul_(i[t], g[t].tanh_())
            o[t].addcmul_(peep_o, new).sigmoid_()
            torch.mul(o[t], torch.tanh(new, out=squashed), out=output[t + 1])
        ctx.save_for_backward(gates, cells, outputs, W_h, peep)
        return outputs[1:].transpose(0, 1), outputs[-1].clone(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, dh, dc):
        gates, cells, outputs, W_h, peep = ctx.saved_tensors
        T, B, n = len(gates), gates.shape[1], cells.shape[2]
        da, d_peep = torch.empty_like(gates), torch.zeros_like(peep)  # of pre-activations
        dh, dc = dh + d_out[:, -1], dc.clone()
        d_before = (torch.zeros_like(dh), *d_out.unbind(1)[:-1])
        # a few steps whose factors stay in a CPU's cache; all of them where a launch costs more
        Q = max(1, 2**16 // (B * n)) if gates.device.type == "cpu" else T
        for start in reversed(range(0, T, Q)):
            block = slice(start, start + Q)
            old, new, K = cells[:-1][block], cells[1:][block], da[block].view(-1, B, 4, n)
            to_cell, kept = _factors(gates[block].view_as(K), old, new, peep, out=K)
            steps = da[block], K[:, :, 3], K[:, :, :3], to_cell, kept
            steps = zip(*(t.unbind() for t in steps), d_before[block], strict=True)
            for da_t, da_o, da_ifg, to_cell_t, kept_t, d in reversed([*steps]):
                da_o.mul_(dh)
                da_ifg.mul_(dc.addcmul_(dh, to_cell_t)[:, None])
                dc.mul_(kept_t)
                torch.addmm(d, da_t, W_h, out=dh)
            d_peep[:2] += (K[:, :, :2] * old[:, :, None]).sum((0, 1))
            d_peep[2] += (K[:, :, 3] * new).sum((0, 1))
        # this way round the product is faster than da.t() @ outputs
        d_W_h = (outputs[:-1].view(T * B, n).t() @ da.view(T * B, 4 * n)).t()
        return da.transpose(0, 1), dh, dc, d_W_h, d_peep


def _factors(gates, old, new, peep, out):
    """What the loop backwards multiplies with, for all steps of a block at once.

    out       (steps, B, 4, n): d(pre-activation) of i, f, g per dc and of o per dh, written here
    to_cell   dc per dh: by tanh(c), and by o, which peeps at c
    kept      dc of the step before per dc: by f c, and by i and f, which peep at c
    """
    i, f, g, o = gates.unbind(2)
    squashed, written, kept = new.tanh(), i * g, f * old
    shown = o * squashed
    # s' = s - s s for the sigmoid s, tanh' = 1 - tanh tanh
    K_i = torch.addcmul(written, written, i, value=-1)
    K_f = torch.addcmul(kept, kept, f, value=-1)
    K_g = torch.addcmul(i, written, g, value=-1)
    K_o = torch.addcmul(shown, shown, o, value=-1)
    torch.stack([K_i, K_f, K_g, K_o], dim=2, out=out)
    to_cell = torch.addcmul(o, shown, squashed, value=-1).addcmul_(K_o, peep[2])
    return to_cell, torch.addcmul(f, K_i, peep[0]).addcmul_(K_f, peep[1])


@twin(naive.lstm)
def lstm(x: Tensor, h: Tensor, c: Tensor, W_h: Tensor, peep: Tensor) -> tuple:
    """One layer over time, from inputs that are already projected (Graves 2013, eq. 7-11).

    x        (batch, time, 4n), W_x x_t + b, in the order i f g o
    h, c     (batch, n) state before the first step; W_h (4n, n); peep (3, n), peepholes of i f o
    returns  outputs (batch, time, n), then h and c after the last step
    Raises ValueError if the shapes do not fit and TypeError if dtypes differ.
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
    if len({value.dtype for value, _ in wanted.values()}) > 1:
        got = ", ".join(str(value.dtype) for value, _ in wanted.values())
        raise TypeError(f"x, h, c, W_h and peep must have one dtype, got {got}")
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
        # time first, as `lstm` keeps it: no copy is needed to and fro
        x = nn.functional.embedding(ids.t(), self.symbol + self.bias)
        if below is not None:
            x.add_(below.transpose(0, 1) @ self.below.t())
        return lstm(x.transpose(0, 1), h, c, self.recurrent, self.peep)


@twin(naive.lstm_lm)
class LSTM(LanguageModel):
    """Graves' stack: a layer reads the symbol and the layer below, the output reads all layers.

    vocab_size   symbols
    width        n, cells of a layer
    layers       number of layers
    forget_bias  initial bias of the forget gates; the paper does not say. 1, the usual choice, is
                 enough for text. To learn a gap of 60 steps (lesson 04) takes 6: open gates
    """

    def __init__(
        self, vocab_size: int = 256, width: int = 128, layers: int = 1, forget_bias: float = 1.0
    ):
        super().__init__()
        check_sizes(vocab_size=vocab_size, width=width, layers=layers)
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
