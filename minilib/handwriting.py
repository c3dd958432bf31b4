"""Handwriting prediction and synthesis: mixture densities, Graves' two nets, sampling.

Names and symbols are those of minilib/naive/handwriting.py. Not here: adaptive weight noise;
clipping inside the backward pass (`lab.fit` clips the whole gradient instead).
"""

import math

import torch
from torch import Tensor, nn

from minilib import twin
from minilib.autograd import once_differentiable
from minilib.lstm import lstm
from minilib.naive import handwriting as naive
from minilib.shapes import check_sizes
from minilib.soft_window import window, windowed_lstm

# ((h, c) of each layer), w, kappa
State = tuple[tuple[tuple[Tensor, Tensor], ...], Tensor, Tensor]

# -- the density -----------------------------------------------------------------------------------


def _split(y):
    """ê (...), then π̂, μ1, μ2, σ̂1, σ̂2, ρ̂, each (..., M)."""
    M = (y.shape[-1] - 1) // 6
    return y[..., 0], *y[..., 1:].unflatten(-1, (6, M)).unbind(-2)


class _LogDensity(torch.autograd.Function):
    """The log-density with the paper's closed-form gradient, of which no step cancels."""

    @staticmethod
    def forward(ctx, y, x):
        e_hat, pi_hat, mu1, mu2, s1, s2, rho_hat = _split(y)
        u, v = (x[..., :1] - mu1) * torch.exp(-s1), (x[..., 1:2] - mu2) * torch.exp(-s2)
        size, sign = rho_hat.abs(), torch.where(rho_hat >= 0, 1.0, -1.0)
        less = 2 * torch.sigmoid(-2 * size)  # 1 - |ρ|
        ur = u - sign * v + sign * less * v  # u - ρv
        vr = v - sign * u + sign * less * u  # v - ρu
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
        by_u, by_v = gamma * C * ur, gamma * C * vr
        d_e = torch.sigmoid(-e_hat) - x[..., 2]
        d_pi = gamma - log_pi.exp()
        d_mu1, d_mu2 = by_u * torch.exp(-s1), by_v * torch.exp(-s2)
        d_s1, d_s2 = by_u * u - gamma, by_v * v - gamma
        d_rho = by_u * vr + gamma * torch.tanh(rho_hat)
        mixture = torch.stack([d_pi, d_mu1, d_mu2, d_s1, d_s2, d_rho], -2)
        dy = torch.cat([d_e[..., None], mixture.flatten(-2)], -1) * d[..., None]
        if not ctx.needs_input_grad[1]:
            return dy, None
        dx = torch.stack([-d_mu1.sum(-1), -d_mu2.sum(-1), -e_hat], -1)
        return dy, dx * d[..., None]


@twin(naive.log_density)
def log_density(y: Tensor, x: Tensor) -> Tensor:
    """ln p(x), nats, of points under the mixtures that y describes (Graves 2013, eq. 18-25).

    y        (..., 1 + 6M): ê, π̂, μ1, μ2, σ̂1, σ̂2, ρ̂
    x        (..., 3): Δx, Δy, end of stroke
    returns  (...); a density, so it may be positive
    Raises ValueError if the shapes do not fit.
    """
    if y.shape[:-1] != x.shape[:-1] or x.shape[-1] != 3 or y.shape[-1] < 7 or y.shape[-1] % 6 != 1:
        raise ValueError(
            "y must have shape (..., 1 + 6M) and x (..., 3), "
            f"got {tuple(y.shape)} and {tuple(x.shape)}"
        )
    return _LogDensity.apply(y, x)


# -- the nets --------------------------------------------------------------------------------------


class _Layer(nn.Module):
    """An LSTM that reads the point, the layer below and the window's letters, in this order."""

    def __init__(self, below, letters, n):
        super().__init__()
        bound = n**-0.5
        # points and letters are few numbers that must be told apart from the first step on, so that
        # their weights are large, as in minilib.lstm
        point, lower = torch.randn(4 * n, 3), torch.empty(4 * n, below).uniform_(-bound, bound)
        self.W_x = nn.Parameter(torch.cat([point, lower, torch.randn(4 * n, letters)], 1))
        self.W_h = nn.Parameter(torch.empty(4 * n, n).uniform_(-bound, bound))
        self.peep = nn.Parameter(torch.zeros(3, n))
        self.b = nn.Parameter(torch.cat([torch.zeros(n), torch.ones(n), torch.zeros(2 * n)]))

    def forward(self, inputs, h, c):
        """inputs (batch, time, columns of W_x) -> h of all steps, then h and c after the last."""
        return lstm(inputs @ self.W_x.t() + self.b, h, c, self.W_h, self.peep)


class _WindowLayer(_Layer):
    """The first layer of a synthesis net: it moves the window and reads what it last held."""

    def forward(self, x, text, h, c, w, kappa, W_p, b_p):
        """x (batch, time, 3) -> h and w of all steps, then h, c, w and kappa after the last."""
        read, W_w = x @ self.W_x[:, :3].t() + self.b, self.W_x[:, 3:]
        outputs, windows, c, kappa = windowed_lstm(
            read, text, h, c, w, kappa, self.W_h, W_w, self.peep, W_p, b_p
        )
        # a view would keep all steps in memory
        return outputs, windows, outputs[:, -1].clone(), c, windows[:, -1].clone(), kappa


class _Net(nn.Module):
    """What both nets share: the stack of LSTMs, and an output that reads all of them."""

    def __init__(self, letters, width, layers, mixtures, gaussians=0):
        super().__init__()
        check_sizes(width=width, layers=layers, mixtures=mixtures)
        self.width, self.letters, self.gaussians = width, letters, gaussians
        first = _WindowLayer if letters else _Layer
        self.layers = nn.ModuleList(
            (_Layer if k else first)(width * (k > 0), letters, width) for k in range(layers)
        )
        bound, M = (layers * width) ** -0.5, mixtures
        self.W_y = nn.Parameter(torch.empty(1 + 6 * M, layers * width).uniform_(-bound, bound))
        b_y = torch.zeros(1 + 6 * M)
        b_y[1 + M : 1 + 3 * M].normal_()  # means that start at one place would stay together
        self.b_y = nn.Parameter(b_y)

    def init_state(self, batch_size: int) -> State:
        """((h, c) of each layer), w, kappa; all zero. kappa 0 is before the first letter."""
        zeros = lambda size: self.b_y.new_zeros(batch_size, size)
        cells = tuple((zeros(self.width), zeros(self.width)) for _ in self.layers)
        return cells, zeros(self.letters), zeros(self.gaussians)

    def extend(self, x: Tensor, text: Tensor | None, state: State) -> tuple[Tensor, State, Tensor]:
        """Read points x (batch, time, 3) from a state.

        returns  y (batch, time, 1 + 6M), the state after, h (batch, time, n) of the first layer
        """
        cells, w, kappa = state
        outputs, after, windows = [], [], []
        for layer, (h, c) in zip(self.layers, cells, strict=True):
            if isinstance(layer, _WindowLayer):
                below, window_of_step, h, c, w, kappa = layer(
                    x, text, h, c, w, kappa, self.W_p, self.b_p
                )
                windows = [window_of_step]
            else:
                below, h, c = layer(torch.cat([x, *outputs[-1:], *windows], -1), h, c)
            outputs.append(below)
            after.append((h, c))
        y = torch.cat(outputs, -1) @ self.W_y.t() + self.b_y
        return y, (tuple(after), w, kappa), outputs[0]


def _before(points):
    """What the net has read when it predicts a point: the one before it, first the zero vector."""
    if points.dim() != 3 or points.shape[-1] != 3 or not points.shape[1]:
        raise ValueError(f"points must have shape (batch, time ≥ 1, 3), got {tuple(points.shape)}")
    return nn.functional.pad(points[:, :-1], (0, 0, 1, 0))


def _check_text(text, alphabet, rows):
    if text.dim() != 2 or len(text) != rows or text.is_floating_point():
        got = f"{text.dtype} of {tuple(text.shape)}"
        raise ValueError(f"text must be integers of shape ({rows}, letters), got {got}")
    if not text.shape[1]:
        raise ValueError("text must have at least one letter in every row")
    if torch.compiler.is_compiling():  # a graph cannot depend on values
        return
    if (text[:, 0] < 0).any():
        raise ValueError("text must have at least one letter in every row")
    goes_on = (text[:, 1:] >= 0) & (text[:, :-1] < 0)
    if goes_on.any() or (text < -1).any() or (text >= alphabet).any():
        wanted = f"letters below {alphabet}, then only -1"
        raise ValueError(f"text must hold {wanted}, got {text.tolist()}")


@twin(naive.prediction)
class PredictionNet(_Net):
    """Graves 2013, section 4: the density of the next point, from the points so far.

    width, layers, mixtures   n cells in each layer, number of layers, M components
    """

    def __init__(self, width: int = 128, layers: int = 1, mixtures: int = 10):
        super().__init__(0, width, layers, mixtures)

    def forward(self, points: Tensor) -> Tensor:
        """points (batch, time, 3) -> y (batch, time, 1 + 6M), the density of points[:, t] at t."""
        return self.extend(_before(points), None, self.init_state(len(points)))[0]


@twin(naive.synthesis)
class SynthesisNet(_Net):
    """Graves 2013, section 5: the density of the next point, from the points so far and the text.

    alphabet   A, letters there are
    width, layers, mixtures   n cells in each layer, number of layers, M components
    gaussians  K, those of the window
    pace       letters per point in a fresh net: a window that leaps over its text learns nothing
    """

    def __init__(
        self,
        alphabet: int = 61,
        width: int = 128,
        layers: int = 2,
        mixtures: int = 10,
        gaussians: int = 6,
        pace: float = 0.08,
    ):
        super().__init__(alphabet, width, layers, mixtures, gaussians)
        check_sizes(alphabet=alphabet, gaussians=gaussians)
        if not pace > 0:
            raise ValueError(f"pace must be positive, got {pace}")
        bound, start = width**-0.5, (-math.log(gaussians), 0.0, math.log(pace))  # α̂, β̂, κ̂
        W_p = torch.empty(3 * gaussians, width).uniform_(-bound, bound)
        self.W_p = nn.Parameter(0.1 * W_p)
        self.b_p = nn.Parameter(torch.tensor(start).repeat_interleave(gaussians))

    def forward(self, points: Tensor, text: Tensor) -> Tensor:
        """points (batch, time, 3), text (batch, letters) -> y (batch, time, 1 + 6M), as above.

        What stands after a row's end in points, or as -1 in text, changes nothing before it.
        """
        _check_text(text, self.letters, len(points))
        return self.extend(_before(points), text, self.init_state(len(points)))[0]

    def look(self, points: Tensor, text: Tensor) -> Tensor:
        """Where the window is while each point is predicted: phi (batch, time, letters + 1)."""
        _check_text(text, self.letters, len(points))
        state = self.init_state(len(points))
        _, _, h = self.extend(_before(points), text, state)
        return self.phi(h, state[2], text)

    def phi(self, h: Tensor, kappa: Tensor, text: Tensor) -> Tensor:
        """The window after h of the first layer, from kappa before: (batch, time, letters + 1)."""
        return window(h @ self.W_p.t() + self.b_p, kappa, text, self.letters)[2]


def nats_per_point(net: PredictionNet | SynthesisNet, batch: tuple[Tensor, ...]) -> Tensor:
    """The loss: mean over lines of the mean -ln p of their points.

    batch    points, text, lengths; as lab.strokes.pad makes them
    """
    points, text, lengths = batch
    y = net(points) if isinstance(net, PredictionNet) else net(points, text)
    is_point = torch.arange(points.shape[1], device=points.device) < lengths[:, None]
    return -(torch.where(is_point, log_density(y, points), 0.0).sum(1) / lengths).mean()


# -- writing ---------------------------------------------------------------------------------------


@twin(naive.write, differentiable=False)
@torch.no_grad()
def write(
    params: dict[str, Tensor],
    text: Tensor,
    noise: Tensor,
    bias: float = 0.0,
    prime: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Let a synthesis net write, all lines of a batch together (Graves 2013, section 5.3 to 5.5).

    params   state_dict of a SynthesisNet
    text     (batch, letters) int64, -1 after the end
    noise    (batch, time, 4): per point a uniform, two normals, a uniform; at most `time` points
    bias     b ≥ 0: σ becomes exp(σ̂ - b), π softmax(π̂ (1 + b)); neater, and less varied
    prime    None, or points (batch, time', 3) and their lengths (batch,): the pen is led through
             these first, and the text starts with what they say
    returns  points (batch, time, 3), zero from a line's end on, and the lines' lengths (batch,). A
             line ends before the first point at which phi(U + 1) > phi(u) for all letters u ≤ U
    """
    net, (B, T, _) = _net_of(params), noise.shape
    _check_text(text, net.letters, B)
    if noise.shape[2] != 4 or not bias >= 0:
        raise ValueError(
            "noise must have shape (batch, time, 4) and bias be 0 or more, "
            f"got {tuple(noise.shape)} and {bias}"
        )
    path, led_until = prime or (noise.new_zeros(B, 0, 3), text.new_zeros(B))
    state, x, points = net.init_state(B), noise.new_zeros(B, 3), noise.new_zeros(B, T, 3)
    lengths, letters = torch.full((B,), T, device=text.device), (text >= 0).sum(1, keepdim=True)
    is_letter = torch.arange(text.shape[1] + 1, device=text.device) < letters
    for t in range(T):
        kappa = state[2]
        y, state, h = net.extend(x[:, None], text, state)
        phi, led = net.phi(h, kappa, text)[:, 0], t < led_until
        past = phi.gather(1, letters)[:, 0] > phi.masked_fill(~is_letter, -math.inf).amax(1)
        lengths = torch.where((lengths == T) & past & ~led, t, lengths)
        going = lengths > t
        if not going.any():
            break
        x = _draw(y[:, 0], noise[:, t], bias)
        if t < path.shape[1]:
            x = torch.where(led[:, None], path[:, t], x)
        points[:, t] = torch.where(going[:, None], x, 0.0)
    return points, lengths


def _net_of(params):
    """The net that has this state_dict; no fresh weights are drawn."""
    layers = sum(name.endswith("W_h") for name in params)
    n, alphabet = params["layers.0.W_h"].shape[1], params["layers.0.W_x"].shape[1] - 3
    mixtures, gaussians = (len(params["b_y"]) - 1) // 6, len(params["b_p"]) // 3
    with torch.device("meta"):
        net = SynthesisNet(alphabet, n, layers, mixtures, gaussians)
    net.load_state_dict(params, assign=True)
    return net


def _draw(y, noise, bias):
    """A point from each mixture: y (batch, 1 + 6M), noise (batch, 4) -> (batch, 3)."""
    e_hat, pi_hat, *components = _split(y)
    pi = (pi_hat * (1 + bias)).softmax(-1)
    j = (pi.cumsum(-1) <= noise[:, :1]).sum(-1, keepdim=True).clamp(max=pi.shape[-1] - 1)
    mu1, mu2, s1, s2, rho_hat = (value.gather(-1, j)[:, 0] for value in components)
    correlated = torch.tanh(rho_hat) * noise[:, 1] + noise[:, 2] / torch.cosh(rho_hat)
    dx = mu1 + torch.exp(s1 - bias) * noise[:, 1]
    dy = mu2 + torch.exp(s2 - bias) * correlated
    return torch.stack([dx, dy, (noise[:, 3] < torch.sigmoid(-e_hat)).to(y.dtype)], -1)
