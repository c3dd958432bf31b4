"""What a call costs: seconds and peak memory, of any function without arguments."""

import os
import time

import torch


def seconds(function, repeats=5, device=None):
    """The shortest of `repeats` calls after one that warms up: other programs can only make a call longer."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device is not None and torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def peak_bytes(function, device=None):
    """How far the memory held by tensors rises above its start while `function()` runs, its result included.

    On a CPU every allocation and release is read from torch's profiler, those inside fused kernels too, so the number is exact
    and repeats; on a GPU it is the allocator's own peak.
    """
    if device is not None and torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    noise = os.dup(2)  # the profiler greets on stderr, below Python's reach
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            function()
    finally:
        os.dup2(noise, 2)
        os.close(noise)
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest
