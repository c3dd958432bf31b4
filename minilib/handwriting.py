"""Handwriting prediction and synthesis: mixture densities, the soft window, Graves' two nets, sampling.

Names and symbols are those of minilib/naive/handwriting.py. Not here: adaptive weight noise, clipping of derivatives
inside the backward pass (`lab.fit` clips the whole gradient instead).
"""

import math

import torch
from torch import nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.lstm import lstm
from minilib.naive import handwriting as naive

# -- the density -----------------------------------------------------------------------------------


def _split(y):
    """ê (...), then π̂, μ1, μ2, σ̂1, σ̂2, ρ̂, each (..., M)."""
    M = (y.shape[-1] - 1) // 6
    return y[..., 0], *y[..., 1:].unflatten(-1, (6, M)).unbind(-2)


class _LogDensity(torch.autograd.Function):
    """The log-density with the paper's closed-form gradient: fewer steps than autograd's, and none that cancels."""

    @staticmethod
    def forward(ctx, y, x):
        e_hat, pi_hat, mu1, mu2, s1, s2, rho_hat = _split(y)
        u, v = (x[..., :1] - mu1) * torch.exp(-s1), (x[..., 1:2] - mu2) * torch.exp(-s2)
        size, sign = rho_hat.abs(), torch.where(rho_hat >= 0, 1.0, -1.0)
        less = 2 * torch.sigmoid(-2 * size)  # 1 - |ρ|
        ur, vr = u - sign * v + sign * less * v, v - sign * u + sign * less * u  # u - ρv and v - ρu
        q = size + torch.log1p(torch.exp(-2 * size)) - math.log(2)  # ln cosh ρ̂
        log_normal = q - s1 - s2 - 0.5 * (v * v + (ur * torch.exp(q)) ** 2) - math.log(2 * math.pi)
        log_pi = pi_hat.log_softmax(-1)
        total = (log_pi + log_normal).logsumexp(-1)
        gamma = torch.exp(log_pi + log_normal - total[..., None])
        C = torch.exp(2 * q)
        ctx.save_for_backward(y, x, u, v, ur, vr, gamma, C, log_pi)
        softplus = nn.functional.softplus
        return total - x[..., 2] * softplus(e_hat) - (1 - x[..., 2]) * softplus(-e_hat)

    @staticmethod
    @once_differentiable
    def backward(ctx, d):
        y, x, u, v, ur, vr, gamma, C, log_pi = ctx.saved_tensors
        e_hat, _, _, _, s1, s2, rho_hat = _split(y)
        d1, d2 = gamma * C * ur, gamma * C * vr
        rows = [
            gamma - log_pi.exp(),
            d1 * torch.exp(-s1),
            d2 * torch.exp(-s2),
            d1 * u - gamma,
            d2 * v - gamma,
            d1 * vr + gamma * torch.tanh(rho_hat),
        ]
        dy = torch.cat(
            [(torch.sigmoid(-e_hat) - x[..., 2])[..., None], torch.stack(rows, -2).flatten(-2)], -1
        )
        dx = (
            torch.stack([-rows[1].sum(-1), -rows[2].sum(-1), -e_hat], -1)
            if ctx.needs_input_grad[1]
            else None
        )
        return dy * d[..., None], dx if dx is None else dx * d[..., None]


@twin(naive.log_density)
def log_density(y, x):
    """ln p(x), nats, of points under the mixtures that y describes (Graves 2013, eq. 18-25).

    y        (..., 1 + 6M): ê, π̂, μ1, μ2, σ̂1, σ̂2, ρ̂
    x        (..., 3): Δx, Δy, end of stroke
    returns  (...); a density, so it may be positive
    Raises ValueError if the shapes do not fit.
    """
    if y.shape[:-1] != x.shape[:-1] or x.shape[-1] != 3 or y.shape[-1] < 7 or y.shape[-1] % 6 != 1:
        raise ValueError(
            f"y must have shape (..., 1 + 6M) and x (..., 3), got {tuple(y.shape)} and {tuple(x.shape)}"
        )
    return _LogDensity.apply(y, x)


# -- the window ------------------------------------------------------------------------------------


def _one_hot(text, alphabet, like):
    """(batch, letters, A), zero where there is no letter."""
    return (text[..., None] == torch.arange(alphabet, device=text.device)).to(like.dtype)


@twin(naive.window)
def window(p, kappa, text, alphabet):
    """The soft window at every step, all steps at once: kappa is a cumulative sum (Graves 2013, eq. 46-51).

    p        (batch, time, 3K): α̂, β̂, κ̂
    kappa    (batch, K), where the window was before
    text     (batch, letters) int64, -1 where there is none; alphabet: A
    returns  w (batch, time, A), kappa (batch, time, K), phi (batch, time, letters + 1)
    """
    alpha, beta, move = p.exp().chunk(3, -1)
    kappa = kappa[:, None] + move.cumsum(1)
    u = torch.arange(1, text.shape[1] + 2, device=p.device, dtype=p.dtype)
    phi = (alpha[..., None] * torch.exp(-beta[..., None] * (kappa[..., None] - u) ** 2)).sum(2)
    return phi[..., :-1] @ _one_hot(text, alphabet, p), kappa, phi


class _WindowedLstm(torch.autograd.Function):
    """The loop over time with its backward written out, as in minilib.lstm, with the window in it.

    h and w lie side by side in `state`, so that the next step needs one matrix product. What backward needs of the
    window without knowing the incoming gradient, dw per α̂, κ, β̂, is computed for all steps at once before its loop.
    """

    @staticmethod
    def forward(ctx, x, onehot, h, c, w, kappa, W, peep, W_p, b_p):
        B, T, n = len(x), x.shape[1], h.shape[1]
        K, U = kappa.shape[1], onehot.shape[1]
        gates = x.transpose(0, 1).clone(memory_format=torch.contiguous_format)  # (T, B, 4n)
        cells, states = x.new_empty(T + 1, B, n), x.new_empty(T + 1, B, W.shape[1])
        kappas, params, E = (
            x.new_empty(T + 1, B, K),
            x.new_empty(T, B, 3 * K),
            x.new_empty(T, B, K, U),
        )
        cells[0], states[0, :, :n], states[0, :, n:], kappas[0] = c, h, w, kappa
        squashed, W_t, W_pt, u = (
            x.new_empty(B, n),
            W.t(),
            W_p.t(),
            torch.arange(1, U + 1, device=x.device, dtype=x.dtype),
        )
        olds, news = (cells[:-1], states[:-1], kappas[:-1]), (cells[1:], states[1:], kappas[1:])
        steps = zip(*[part.unbind() for part in (gates, params, E, *olds, *news)], strict=True)
        for a, p, e, c_old, s_old, k_old, c_new, s_new, k_new in steps:
            a.addmm_(s_old, W_t)
            i, f, g, o = a.view(B, 4, n).unbind(1)
            a.view(B, 4, n)[:, :2].addcmul_(peep[:2], c_old[:, None])
            a[:, : 2 * n].sigmoid_()
            g.tanh_()
            torch.mul(f, c_old, out=c_new).addcmul_(i, g)
            o.addcmul_(peep[2], c_new).sigmoid_()
            h = s_new[:, :n].copy_(torch.tanh(c_new, out=squashed).mul_(o))
            torch.addmm(b_p, h, W_pt, out=p).exp_()
            torch.add(k_old, p[:, 2 * K :], out=k_new)
            torch.sub(k_new[:, :, None], u, out=e).square_().mul_(
                p[:, K : 2 * K, None]
            ).neg_().exp_()
            s_new[:, n:] = (p[:, None, :K] @ e @ onehot)[:, 0]
        ctx.save_for_backward(gates, cells, states, kappas, params, E, onehot, W, peep, W_p)
        out = states[1:].transpose(0, 1)
        return (
            out[..., :n].contiguous(),
            out[..., n:].contiguous(),
            cells[-1].clone(),
            kappas[-1].clone(),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, d_h, d_w, dc, dkappa):
        gates, cells, states, kappas, params, E, onehot, W, peep, W_p = ctx.saved_tensors
        T, B, n, K = len(gates), gates.shape[1], cells.shape[2], kappas.shape[2]
        i, f, g, o = gates.view(T, B, 4, n).unbind(2)
        squashed = cells[1:].tanh()
        K_c = o * (1 - squashed * squashed)
        cell = torch.stack(
            [g * i * (1 - i), cells[:-1] * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)],
            dim=2,
        )
        alpha, beta, move = params.chunk(3, -1)
        away = kappas[1:, :, :, None] - torch.arange(
            1, E.shape[3] + 1, device=E.device, dtype=E.dtype
        )
        E = E * alpha[..., None]
        by_beta = -beta[..., None] * away * E
        per_phi = torch.cat(
            [E, by_beta * away, 2 * by_beta], dim=2
        )  # (T, B, 3K, U): dφ -> dα̂, dβ̂, dκ
        d_state, dc, dkappa = W.new_zeros(B, W.shape[1]), dc.clone(), dkappa.clone()
        dp = torch.empty_like(params)
        above = torch.cat([d_h, d_w], -1).transpose(0, 1)
        peep_if = peep[:2]
        steps = zip(
            *[part.unbind() for part in (above, cell, K_c, f, per_phi, move, dp)], strict=True
        )
        for d, k, k_c, forget, per, moved, d_p in reversed(list(steps)):
            d_state += d
            torch.bmm(per, onehot @ d_state[:, n:, None], out=d_p[..., None])
            dkappa += d_p[:, 2 * K :]
            torch.mul(dkappa, moved, out=d_p[:, 2 * K :])
            dh = torch.addmm(d_state[:, :n], d_p, W_p)
            da_o = k[:, 3].mul_(dh)
            dc.addcmul_(dh, k_c).addcmul_(da_o, peep[2])
            k[:, :3].mul_(dc[:, None])  # k now holds da
            dc.mul_(forget).add_((k[:, :2] * peep_if).sum(1))
            torch.mm(k.view(B, 4 * n), W, out=d_state)
        da = cell.view(T, B, 4, n)
        d_peep = torch.stack(
            [
                (da[:, :, 0] * cells[:-1]).sum((0, 1)),
                (da[:, :, 1] * cells[:-1]).sum((0, 1)),
                (da[:, :, 3] * cells[1:]).sum((0, 1)),
            ]
        )
        da, dp = da.view(T * B, 4 * n), dp.view(T * B, -1)
        dW, dW_p = (
            da.t() @ states[:-1].reshape(T * B, -1),
            dp.t() @ states[1:, :, :n].reshape(T * B, n),
        )
        return (
            da.view(T, B, 4 * n).transpose(0, 1),
            None,
            d_state[:, :n],
            dc,
            d_state[:, n:],
            dkappa,
            dW,
            d_peep,
            dW_p,
            dp.sum(0),
        )


@twin(naive.windowed_lstm)
def windowed_lstm(x, text, h, c, w, kappa, W_h, W_w, peep, W_p, b_p):
    """The synthesis net's first layer over time: an LSTM that reads the letters in a window, which it moves itself.

    x        (batch, time, 4n), W_x x_t + b, in the order i f g o
    text     (batch, letters) int64, -1 where there is none
    h, c     (batch, n), w (batch, A), kappa (batch, K): the state before the first step
    W_h      (4n, n), W_w (4n, A), peep (3, n), W_p (3K, n), b_p (3K,)
    returns  h (batch, time, n), w (batch, time, A), then c and kappa after the last step
    """
    return _WindowedLstm.apply(
        x, _one_hot(text, w.shape[1], x), h, c, w, kappa, torch.cat([W_h, W_w], 1), peep, W_p, b_p
    )


# -- the nets --------------------------------------------------------------------------------------


class _Layer(nn.Module):
    """W_x reads the point, the layer below and the letters in the window, in this order."""

    def __init__(self, below, letters, n):
        super().__init__()
        uniform = lambda *shape: torch.empty(shape).uniform_(-(n**-0.5), n**-0.5)
        # points and letters are few numbers that must be told apart from the first step on, as in minilib.lstm
        self.W_x = nn.Parameter(
            torch.cat(
                [torch.randn(4 * n, 3), uniform(4 * n, below), torch.randn(4 * n, letters)], 1
            )
        )
        self.W_h = nn.Parameter(uniform(4 * n, n))
        self.peep = nn.Parameter(torch.zeros(3, n))
        self.b = nn.Parameter(torch.cat([torch.zeros(n), torch.ones(n), torch.zeros(2 * n)]))


class _Net(nn.Module):
    """What both nets share: the stack of LSTMs, and an output that reads all of them."""

    def __init__(self, letters, width, layers, mixtures):
        super().__init__()
        if min(width, layers, mixtures) < 1:
            raise ValueError(
                f"width, layers and mixtures must be 1 or more, got {width}, {layers}, {mixtures}"
            )
        self.width, self.letters = width, letters
        self.layers = nn.ModuleList(_Layer(width * (k > 0), letters, width) for k in range(layers))
        bound = (layers * width) ** -0.5
        self.W_y = nn.Parameter(
            torch.empty(1 + 6 * mixtures, layers * width).uniform_(-bound, bound)
        )
        b_y = torch.zeros(1 + 6 * mixtures)
        b_y[
            1 + mixtures : 1 + 3 * mixtures
        ].normal_()  # components that start at one place would stay there together
        self.b_y = nn.Parameter(b_y)

    def init_state(self, batch_size):
        """((h, c) of each layer), w, kappa; all zero. kappa 0 is before the first letter."""
        zeros = lambda *shape: self.b_y.new_zeros(batch_size, *shape)
        return (
            tuple((zeros(self.width), zeros(self.width)) for _ in self.layers),
            zeros(self.letters),
            zeros(len(getattr(self, "b_p", ())) // 3),
        )

    def extend(self, x, text, state):
        """Read points x (batch, time, 3) from a state: y (batch, time, 1 + 6M), the state after, h of layer 1."""
        cells, w, kappa = state
        outputs, after, windows, below = [], [], None, None
        for k, (layer, (h, c)) in enumerate(zip(self.layers, cells, strict=True)):
            parts = [part for part in (x, below, windows) if part is not None]
            read = (
                torch.cat(parts, -1) @ layer.W_x[:, : sum(part.shape[-1] for part in parts)].t()
                + layer.b
            )
            if k == 0 and text is not None:
                below, windows, c, kappa = windowed_lstm(
                    read,
                    text,
                    h,
                    c,
                    w,
                    kappa,
                    layer.W_h,
                    layer.W_x[:, 3:],
                    layer.peep,
                    self.W_p,
                    self.b_p,
                )
                w = windows[:, -1]
            else:
                below, _, c = lstm(read, h, c, layer.W_h, layer.peep)
            outputs.append(below)
            after.append((below[:, -1], c))
        return (
            torch.cat(outputs, -1) @ self.W_y.t() + self.b_y,
            (tuple(after), w, kappa),
            outputs[0],
        )


def _before(points):
    """What the net has read when it predicts each point: the point before it, first the zero vector."""
    if points.dim() != 3 or points.shape[-1] != 3 or not points.shape[1]:
        raise ValueError(f"points must have shape (batch, time ≥ 1, 3), got {tuple(points.shape)}")
    return nn.functional.pad(points[:, :-1], (0, 0, 1, 0))


def _check_text(text, alphabet, rows):
    if text.dim() != 2 or len(text) != rows or text.is_floating_point():
        raise ValueError(
            f"text must be integers of shape ({rows}, letters), got {text.dtype} of {tuple(text.shape)}"
        )
    if not text.shape[1] or (text[:, 0] < 0).any():
        raise ValueError("text must have at least one letter in every row")
    if (
        (text < -1).any()
        or (text >= alphabet).any()
        or ((text[:, 1:] >= 0) & (text[:, :-1] < 0)).any()
    ):
        raise ValueError(
            f"text must hold letters below {alphabet}, then only -1, got {text.tolist()}"
        )


@twin(naive.prediction)
class PredictionNet(_Net):
    """Graves 2013, section 4: the density of the next point, from the points so far.

    width, layers, mixtures   n cells in each layer, number of layers, M components
    """

    def __init__(self, width=128, layers=1, mixtures=10):
        super().__init__(0, width, layers, mixtures)

    def forward(self, points):
        """points (batch, time, 3) -> y (batch, time, 1 + 6M); y[:, t] is the density of points[:, t]."""
        return self.extend(_before(points), None, self.init_state(len(points)))[0]


@twin(naive.synthesis)
class SynthesisNet(_Net):
    """Graves 2013, section 5: the density of the next point, from the points so far and the text to be written.

    alphabet   A, letters there are
    width, layers, mixtures, gaussians   n cells in each layer, number of layers, M components, K window Gaussians
    pace       letters per point at the start of training: a window that leaps over its text learns nothing
    """

    def __init__(self, alphabet=61, width=128, layers=2, mixtures=10, gaussians=6, pace=0.08):
        super().__init__(alphabet, width, layers, mixtures)
        if min(alphabet, gaussians) < 1 or not pace > 0:
            raise ValueError(
                f"alphabet and gaussians must be 1 or more and pace positive, got {alphabet}, {gaussians}, {pace}"
            )
        self.W_p = nn.Parameter(
            0.1 * torch.empty(3 * gaussians, width).uniform_(-(width**-0.5), width**-0.5)
        )
        self.b_p = nn.Parameter(
            torch.cat(
                [
                    torch.full((gaussians,), value)
                    for value in (-math.log(gaussians), 0.0, math.log(pace))
                ]
            )
        )

    def forward(self, points, text):
        """points (batch, time, 3), text (batch, letters) -> y (batch, time, 1 + 6M) of points[:, t], as above.

        What stands after a row's end in points, or as -1 in text, changes nothing before it.
        """
        _check_text(text, self.letters, len(points))
        return self.extend(_before(points), text, self.init_state(len(points)))[0]

    def look(self, points, text):
        """Where the window is while each point is predicted: phi (batch, time, letters + 1)."""
        _check_text(text, self.letters, len(points))
        state = self.init_state(len(points))
        _, _, h = self.extend(_before(points), text, state)
        return window(h @ self.W_p.t() + self.b_p, state[2], text, self.letters)[2]


def nats_per_point(net, batch):
    """The loss: mean over lines of the mean -ln p of their points. batch: points, text, lengths; as lab.strokes.pad."""
    points, text, lengths = batch
    y = net(points) if isinstance(net, PredictionNet) else net(points, text)
    is_point = torch.arange(points.shape[1], device=points.device) < lengths[:, None]
    return -(torch.where(is_point, log_density(y, points), 0.0).sum(1) / lengths).mean()


# -- writing ---------------------------------------------------------------------------------------


def _draw(y, noise, bias):
    e_hat, pi_hat, mu1, mu2, s1, s2, rho_hat = _split(y)
    pi = (pi_hat * (1 + bias)).softmax(-1)
    j = (pi.cumsum(-1) <= noise[:, :1]).sum(-1, keepdim=True).clamp(max=pi.shape[-1] - 1)
    mu1, mu2, s1, s2, rho_hat = (value.gather(-1, j)[:, 0] for value in (mu1, mu2, s1, s2, rho_hat))
    dx = mu1 + torch.exp(s1 - bias) * noise[:, 1]
    dy = mu2 + torch.exp(s2 - bias) * (
        torch.tanh(rho_hat) * noise[:, 1] + noise[:, 2] / torch.cosh(rho_hat)
    )
    return torch.stack([dx, dy, (noise[:, 3] < torch.sigmoid(-e_hat)).to(y.dtype)], -1)


@twin(naive.write, differentiable=False)
@torch.no_grad()
def write(params, text, noise, bias=0.0, prime=None):
    """Let a synthesis net write, all lines of a batch together (Graves 2013, section 5.3 to 5.5).

    params   state_dict of a SynthesisNet
    text     (batch, letters) int64, -1 after the end
    noise    (batch, time, 4): per point a uniform, two normals, a uniform; time is the longest line allowed
    bias     b ≥ 0: σ becomes exp(σ̂ - b), π becomes softmax(π̂ (1 + b)); neater, and less varied
    prime    None, or points (batch, time', 3) and their lengths (batch,): the pen is led through these points
             first, and the text starts with what they say
    returns  points (batch, time, 3), zero from a line's end on, and the lines' lengths (batch,). A line ends before
             the first point at which phi(U + 1) > phi(u) for all letters u ≤ U, or where the noise ends
    """
    (B, T, _), layers = noise.shape, sum(name.endswith("W_h") for name in params)
    n, A = params["layers.0.W_h"].shape[1], params["layers.0.W_x"].shape[1] - 3
    _check_text(text, A, B)
    if noise.shape[2] != 4 or not bias >= 0:
        raise ValueError(
            f"noise must have shape (batch, time, 4) and bias be 0 or more, got {tuple(noise.shape)} and {bias}"
        )
    with torch.device("meta"):  # no fresh weights are drawn
        net = SynthesisNet(A, n, layers, (len(params["b_y"]) - 1) // 6, len(params["b_p"]) // 3)
    net.load_state_dict(params, assign=True)
    state, x, points = net.init_state(B), noise.new_zeros(B, 3), noise.new_zeros(B, T, 3)
    lengths, letters = torch.full((B,), T, device=text.device), (text >= 0).sum(1, keepdim=True)
    is_letter = torch.arange(text.shape[1] + 1, device=text.device) < letters
    for t in range(T):
        kappa = state[2]
        y, state, h = net.extend(x[:, None], text, state)
        phi = window(h @ net.W_p.t() + net.b_p, kappa, text, A)[2][:, 0]
        led = (
            torch.full_like(lengths, prime is not None, dtype=torch.bool)
            if prime is None
            else t < prime[1]
        )
        past = phi.gather(1, letters)[:, 0] > phi.masked_fill(~is_letter, -math.inf).amax(1)
        lengths = torch.where((lengths == T) & past & ~led, t, lengths)
        going = lengths > t
        if not going.any():
            break
        x = _draw(y[:, 0], noise[:, t], bias)
        if prime is not None and t < prime[0].shape[1]:
            x = torch.where(led[:, None], prime[0][:, t], x)
        points[:, t] = torch.where(going[:, None], x, 0.0)
    return points, lengths
