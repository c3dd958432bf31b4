"""The twins of scan beside definitions and peers."""

import torch

from minilib.scan import scan, ssd


def bench(device):
    """The scan of Mamba's states, forward and backward, beside loops that people write and a peer where it is installed; batch 2, D 256, N 16. Then SSD's matmuls."""
    from minilib.lab.measure import peak_bytes, seconds

    def loop(a, b, h, index=False):
        rows = []
        for decay, put in zip(
            *([t[:, k] for k in range(t.shape[1])] if index else t.unbind(1) for t in (a, b)),
            strict=True,
        ):
            h = decay * h + put
            rows.append(h)
        return torch.stack(rows, 1)

    def by_scan(x, log_a, B, C, S):
        decay = log_a.exp()[..., None, None].expand(*log_a.shape, *S.shape[2:])
        return torch.einsum(
            "bln,blhnp->blhp", C, scan(decay, torch.einsum("bln,blhp->blhnp", B, x), S)
        )

    try:
        from mambapy.pscan import pscan
    except ImportError:
        pscan = None
    for L in (256, 1024, 4096):
        inputs = [
            t.requires_grad_()
            for t in (
                torch.rand(2, L, 256, 16, device=device),
                torch.randn(2, L, 256, 16, device=device),
                torch.zeros(2, 256, 16, device=device),
            )
        ]
        ways = {
            "ours": scan,
            "loop over unbind": loop,
            "mambapy's pscan": pscan and (lambda a, b, h: pscan(a, b)),
        }
        if L == 256:  # quadratic in L: 1,024 steps take half a minute
            ways["loop that indexes"] = lambda *inputs: loop(*inputs, index=True)
        runs = {
            name: way
            and (lambda way=way, inputs=inputs: torch.autograd.grad(way(*inputs).sum(), inputs[:2]))
            for name, way in ways.items()
        }
        yield (
            f"scan, time, {L:,} steps",
            {
                name: run and seconds(run, 3 if L < 4096 else 1, device)
                for name, run in runs.items()
            },
        )
        yield (
            f"scan, peak memory, {L:,} steps",
            {name: run and peak_bytes(run, device) for name, run in runs.items()},
        )
    x, log_a, B, C, S = (
        torch.randn(*shape, device=device)
        for shape in [(2, 1024, 4, 64), (2, 1024, 4), (2, 1024, 64), (2, 1024, 64), (2, 4, 64, 64)]
    )
    inputs = [t.requires_grad_() for t in (x, -log_a.abs() / 10, B, C, S)]
    ways = {
        "ours": lambda *i: ssd(*i)[0],
        "one matrix, no chunks": lambda *i: ssd(*i, chunk=1024)[0],
        "scan of all states": by_scan,
    }
    runs = {
        name: (lambda way=way: torch.autograd.grad(way(*inputs).sum(), inputs[:4]))
        for name, way in ways.items()
    }
    yield "SSD, time, 1,024 steps", {name: seconds(run, 3, device) for name, run in runs.items()}
    yield (
        "SSD, peak memory, 1,024 steps",
        {name: peak_bytes(run, device) for name, run in runs.items()},
    )
