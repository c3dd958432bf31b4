"""What a step costs beside its counted FLOPs; the fit beside its definition."""

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minilib.lab.measure import seconds
from minilib.lab.train import language_loss
from minilib.naive import scaling_laws as naive
from minilib.scaling_laws import fit_parametric, flops
from minilib.transformer import Transformer


def bench(device):
    """FLOPs a second where models are small; then a fit of 240 runs from 4 starts."""
    of_width = {}
    for width in (256, 64, 16, 4):
        model = Transformer(78, width, 1, max(1, width // 8), 32).to(device)
        ids = torch.randint(78, (32, 33), device=device)
        counted = 32 * flops(78, width, 1, 32)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            language_loss(model, ids).backward()
        assert counter.get_total_flops() == counted

        def step(model=model, ids=ids):
            language_loss(model, ids).backward()

        name = "ours" if width == 256 else f"width {width}"
        of_width[name] = seconds(step, 5, device) / counted
    yield "seconds for a counted FLOP, width 256 first", of_width
    rng = np.random.default_rng(0)
    N, D = rng.permutation(np.geomspace(4e7, 2e10, 240)), np.geomspace(1e9, 5e11, 240)
    theta = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
    loss = naive.loss_hat(N, D, theta) * np.exp(5e-4 * rng.normal(size=240))
    starts = np.array([[0.5, a, a, 0.4, 0.4] for a in (5.0, 6.0, 7.0, 8.0)])
    tensors = [torch.from_numpy(x) for x in (N, D, loss, starts)]
    taken = {"ours": seconds(lambda: fit_parametric(*tensors), 1, torch.device("cpu"))}
    taken["naive"] = seconds(
        lambda: naive.fit_parametric(N, D, loss, starts), 1, torch.device("cpu")
    )
    ours, by_definition = fit_parametric(*tensors), naive.fit_parametric(N, D, loss, starts)
    assert np.allclose(ours.numpy(), by_definition, rtol=1e-6)
    yield "a fit of 240 runs, 4 starts", taken
