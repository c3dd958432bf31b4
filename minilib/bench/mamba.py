"""The twins of mamba beside definitions and peers."""

import torch

from minilib.mamba import Mixer, selective_scan


def _bench_block(device):
    """The whole block with the same weights, forward and backward, beside the loop that transformers falls back to without its CUDA kernels."""
    from minilib.lab.measure import seconds

    blocks = {"ours": Mixer(128, 16, layers=1).to(device), "transformers' loop": None}
    try:
        from transformers import MambaConfig
        from transformers.models.mamba.modeling_mamba import MambaMixer

        peer = MambaMixer(
            MambaConfig(hidden_size=128, state_size=16, conv_kernel=4, expand=2), layer_idx=0
        ).to(device)
        peer.load_state_dict(blocks["ours"].state_dict())
        blocks["transformers' loop"] = peer
    except ImportError:
        pass
    u = torch.randn(
        2, 256, 128, device=device
    )  # quadratic in the length: 1,024 steps take a minute
    run = {
        "ours": lambda: blocks["ours"](u, blocks["ours"].init_state(2))[0].sum().backward(),
        "transformers' loop": lambda: blocks["transformers' loop"](u).sum().backward(),
    }
    yield (
        "block of width 128, time, 256 steps",
        {name: blocks[name] and seconds(run[name], 3, device) for name in blocks},
    )


def _bench_against_a_copy(device):
    """Batch 8, 4,096 steps, D 1,024, N 16: no scan can take less time than reading its inputs and writing its outputs once."""
    from minilib.lab.measure import peak_bytes, seconds

    def inputs(dtype):
        x, dt, B, C = (
            (torch.rand(8, 4096, size, device=device) / 10).to(dtype)
            for size in (1024, 1024, 16, 16)
        )
        return [
            t.requires_grad_()
            for t in (
                x,
                dt,
                -torch.rand(1024, 16, device=device),
                B,
                C,
                torch.ones(1024, device=device),
            )
        ]

    h = torch.zeros(8, 1024, 16, device=device)
    for dtype in (torch.float32, torch.bfloat16):
        args = inputs(dtype)
        forward = torch.no_grad()(lambda args=args: selective_scan(*args, h))
        both = lambda args=args: torch.autograd.grad(selective_scan(*args, h)[0].sum(), args)
        x, _, _, B, _, _ = args
        rate = (
            2 * x.nbytes / seconds(x.detach().clone, 20, device)
        )  # bytes read and written per second
        least = 3 * x.nbytes + 2 * B.nbytes  # x, dt, B, C and y
        name = str(dtype)[6:]
        yield (
            f"{name}, 4,096 steps of 8 × 1,024, forward",
            {"ours": seconds(forward, 20, device), "moving inputs and outputs once": least / rate},
        )
        yield (
            f"{name}, the same with backward",
            {
                "ours": seconds(both, 20, device),
                "moving them, and all gradients, once": (least + 4 * x.nbytes + 4 * B.nbytes)
                / rate,
            },
        )
        yield (
            f"{name}, peak memory of both",
            {"ours": peak_bytes(both, device), "one state for every step": 16 * 4 * x.numel()},
        )


def bench(device):
    """The selective scan, forward and backward, beside loops that people write, and peers where they are installed; batch 2, D 256, N 16."""
    from minilib.lab.measure import peak_bytes, seconds

    def plain(x, dt, A, B, C, D, h, index):
        """One step after another under autograd. Indexing x[:, t] makes backward fill a tensor as long as x for each step."""
        steps = zip(
            *(
                [t[:, k] for k in range(x.shape[1])] if index else t.unbind(1)
                for t in (x, dt, B, C)
            ),
            strict=True,
        )
        rows = []
        for x_t, dt_t, B_t, C_t in steps:
            h = (dt_t[..., None] * A).exp() * h + (dt_t * x_t)[..., None] * B_t[:, None]
            rows.append((h * C_t[:, None]).sum(-1) + D * x_t)
        return torch.stack(rows, 1)

    def mambapy(x, dt, A, B, C, D, h):
        states = pscan((dt[..., None] * A).exp(), (dt * x)[..., None] * B[:, :, None])
        return (states @ C[..., None]).squeeze(-1) + D * x

    ways = {
        "ours": lambda *inputs: selective_scan(*inputs)[0],
        "loop over unbind": lambda *inputs: plain(*inputs, index=False),
        "loop that indexes": lambda *inputs: plain(*inputs, index=True),
    }
    try:
        from mambapy.pscan import pscan

        ways["mambapy's pscan"] = mambapy
    except ImportError:
        ways["mambapy's pscan"] = None
    for L in (256, 1024, 4096):
        shapes = [(2, L, 256), (2, L, 256), (256, 16), (2, L, 16), (2, L, 16), (256,), (2, 256, 16)]
        x, dt, A, B, C, D, h = (torch.randn(shape, device=device) for shape in shapes)
        inputs = [t.requires_grad_() for t in (x, dt.abs() / 10, -A.abs(), B, C, D, h)]
        runs = {}
        for name, way in ways.items():
            if (
                L <= 256 or name != "loop that indexes"
            ):  # quadratic in L: 1,024 steps take half a minute
                runs[name] = way and (
                    lambda way=way, x=inputs: torch.autograd.grad(way(*x).sum(), x[:6])
                )
        yield (
            f"time, {L:,} steps",
            {
                name: run and seconds(run, 8 if L < 4096 else 3, device)
                for name, run in runs.items()
            },
        )
        yield (
            f"peak memory, {L:,} steps",
            {name: run and peak_bytes(run, device) for name, run in runs.items()},
        )
    yield from _bench_block(device)
    if device.type == "cuda":
        del x, dt, A, B, C, D, h, inputs, runs
        yield from _bench_against_a_copy(device)
