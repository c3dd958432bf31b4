"""The soft window over a text, and an LSTM over time that moves it.

Names and symbols are those of minilib/naive/soft_window.py.
"""

import torch
from torch import Tensor

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.naive import soft_window as naive


def _one_hot(text, alphabet, dtype):
    """(batch, letters, A), zero where there is no letter."""
    return (text[..., None] == torch.arange(alphabet, device=text.device)).to(dtype)


def _places(count, like):
    """1, 2, ..., count: letters are counted from 1."""
    return torch.arange(1, count + 1, device=like.device, dtype=like.dtype)


@twin(naive.window)
def window(p: Tensor, kappa: Tensor, text: Tensor, alphabet: int) -> tuple[Tensor, Tensor, Tensor]:
    """The soft window at every step, all steps at once: kappa is a cumulative sum (eq. 46-51).

    p        (batch, time, 3K): α̂, β̂, κ̂
    kappa    (batch, K), where the window was before
    text     (batch, letters) int64, -1 where there is none
    alphabet  A, the number of letters there are
    returns  w (batch, time, A), kappa (batch, time, K), phi (batch, time, letters + 1)
    """
    alpha, beta, move = p.exp().chunk(3, -1)
    kappa = kappa[:, None] + move.cumsum(1)
    away = kappa[..., None] - _places(text.shape[1] + 1, p)
    phi = (alpha[..., None] * torch.exp(-beta[..., None] * away**2)).sum(2)
    return phi[..., :-1] @ _one_hot(text, alphabet, p.dtype), kappa, phi


@twin(naive.windowed_lstm)
def windowed_lstm(
    x: Tensor,
    text: Tensor,
    h: Tensor,
    c: Tensor,
    w: Tensor,
    kappa: Tensor,
    W_h: Tensor,
    W_w: Tensor,
    peep: Tensor,
    W_p: Tensor,
    b_p: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An LSTM over time that reads the letters in the window it moved at the step before.

    x        (batch, time, 4n), W_x x_t + b, in the order i f g o
    text     (batch, letters) int64, -1 where there is none
    h, c     (batch, n), w (batch, A), kappa (batch, K): the state before the first step
    W_h      (4n, n), W_w (4n, A), peep (3, n), W_p (3K, n), b_p (3K,)
    returns  h (batch, time, n), w (batch, time, A), then c and kappa after the last step
    """
    onehot = _one_hot(text, w.shape[1], x.dtype)
    return _WindowedLstm.apply(x, onehot, h, c, w, kappa, torch.cat([W_h, W_w], 1), peep, W_p, b_p)


class _WindowedLstm(torch.autograd.Function):
    """The loop over time with its backward written out, as in minilib.lstm, with the window in it.

    h and w lie side by side in `states`, so that the next step needs one matrix product. What
    backward needs of the window without knowing dw is computed for all steps before its loop.
    """

    @staticmethod
    def forward(ctx, x, onehot, h, c, w, kappa, W, peep, W_p, b_p):
        B, T, n, K = len(x), x.shape[1], h.shape[1], kappa.shape[1]
        gates = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)  # (T, B, 4n)
        params = x.new_empty(T, B, 3 * K)  # α, β and the step of κ
        E = x.new_empty(T, B, K, onehot.shape[1])  # exp(-β (κ - u)²)
        # before the first step, then after every step
        cells = x.new_empty(T + 1, B, n)
        states = x.new_empty(T + 1, B, W.shape[1])
        kappas = x.new_empty(T + 1, B, K)
        cells[0], states[0], kappas[0] = c, torch.cat([h, w], 1), kappa
        W_t, W_pt, u, squashed = W.t(), W_p.t(), _places(E.shape[3], x), x.new_empty(B, n)
        olds, news = (cells[:-1], states[:-1], kappas[:-1]), (cells[1:], states[1:], kappas[1:])
        steps = zip(*[part.unbind() for part in (gates, params, E, *olds, *news)], strict=True)
        for a, p, e, c_old, s_old, k_old, c_new, s_new, k_new in steps:
            a.addmm_(s_old, W_t)
            o = _move_cell(a.view(B, 4, n), c_old, c_new, peep)
            h = s_new[:, :n].copy_(torch.tanh(c_new, out=squashed).mul_(o))
            torch.addmm(b_p, h, W_pt, out=p).exp_()
            torch.add(k_old, p[:, 2 * K :], out=k_new)
            torch.sub(k_new[:, :, None], u, out=e).square_()
            e.mul_(p[:, K : 2 * K, None]).neg_().exp_()
            s_new[:, n:] = (p[:, None, :K] @ e @ onehot)[:, 0]
        ctx.save_for_backward(gates, cells, states, kappas, params, E, onehot, W, peep, W_p)
        out = states[1:].transpose(0, 1)
        h, w = out[..., :n].contiguous(), out[..., n:].contiguous()
        return h, w, cells[-1].clone(), kappas[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_h, d_w, dc, dkappa):
        gates, cells, states, kappas, params, E, onehot, W, peep, W_p = ctx.saved_tensors
        T, B, n, K = len(gates), gates.shape[1], cells.shape[2], kappas.shape[2]
        forget = gates.view(T, B, 4, n)[:, :, 1]
        da, dc_per_dh = _cell_slopes(gates.view(T, B, 4, n), cells)
        per_phi = _window_slopes(params, kappas[1:], E)
        above = torch.cat([d_h, d_w], -1).transpose(0, 1)
        d_state, dc, dkappa = W.new_zeros(B, W.shape[1]), dc.clone(), dkappa.clone()
        dp, move, peep_if = torch.empty_like(params), params[..., 2 * K :], peep[:2]
        parts = (above, da, dc_per_dh, forget, per_phi, move, dp)
        steps = list(zip(*[part.unbind() for part in parts], strict=True))
        for d, k, k_c, f, per, moved, d_p in reversed(steps):
            d_state += d
            torch.bmm(per, onehot @ d_state[:, n:, None], out=d_p[..., None])
            dkappa += d_p[:, 2 * K :]
            torch.mul(dkappa, moved, out=d_p[:, 2 * K :])
            dh = torch.addmm(d_state[:, :n], d_p, W_p)
            da_o = k[:, 3].mul_(dh)
            dc.addcmul_(dh, k_c).addcmul_(da_o, peep[2])
            k[:, :3].mul_(dc[:, None])  # k, a row of da, now holds what its name says
            dc.mul_(f).add_((k[:, :2] * peep_if).sum(1))
            torch.mm(k.view(B, 4 * n), W, out=d_state)
        old, new = cells[:-1], cells[1:]
        d_peep = [(da[:, :, gate] * c).sum((0, 1)) for gate, c in ((0, old), (1, old), (3, new))]
        da, dp = da.view(T * B, 4 * n), dp.view(T * B, 3 * K)
        dW = da.t() @ states[:-1].reshape(T * B, -1)
        dW_p = dp.t() @ states[1:, :, :n].reshape(T * B, n)
        dx = da.view(T, B, 4 * n).transpose(0, 1)
        d_start = d_state[:, :n], dc, d_state[:, n:], dkappa
        return dx, None, *d_start, dW, torch.stack(d_peep), dW_p, dp.sum(0)


def _move_cell(a, c_old, c_new, peep):
    """Turn pre-activations a (batch, 4, n) into gates, and write the new cell; returns gate o."""
    i, f, g, o = a.unbind(1)
    a[:, :2].addcmul_(peep[:2], c_old[:, None]).sigmoid_()
    g.tanh_()
    torch.mul(f, c_old, out=c_new).addcmul_(i, g)
    return o.addcmul_(peep[2], c_new).sigmoid_()


def _cell_slopes(gates, cells):
    """Of all steps: d(pre-activation) per dc for i, f, g and per dh for o; then dc per dh."""
    i, f, g, o = gates.unbind(2)
    squashed = cells[1:].tanh()
    slopes = [g * i * (1 - i), cells[:-1] * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)]
    return torch.stack(slopes, dim=2), o * (1 - squashed * squashed)


def _window_slopes(params, kappa, E):
    """(time, batch, 3K, letters): the rows that turn dφ into dα̂, dβ̂ and dκ."""
    alpha, beta, _ = params.chunk(3, -1)
    away = kappa[..., None] - _places(E.shape[3], E)
    by_alpha = alpha[..., None] * E
    by_beta = -beta[..., None] * away * by_alpha
    return torch.cat([by_alpha, by_beta * away, 2 * by_beta], dim=2)
