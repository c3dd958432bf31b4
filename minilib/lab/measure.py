"""What a call costs: seconds, multiply-adds and peak memory, of a function without arguments."""

import contextlib
import math
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def seconds(
    function: Callable[[], Any], repeats: int = 5, device: str | torch.device | None = None
) -> float:
    """The shortest of `repeats` calls after one that warms up.

    The shortest, since other programs can only make a call longer.
    """
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device is not None and torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def seconds_in_turn(
    functions: dict[str, Callable[[], Any] | None],
    repeats: int = 5,
    device: str | torch.device | None = None,
) -> dict[str, float | None]:
    """For each function the least of `repeats` calls, each right after one that warms up.

    They take turns (first, second, first, second, …), so that what slows the machine down for a
    while slows all of them. The call that warms up finds caches and memory as another function left
    them, the one that counts as this one did. None, for a function that is missing, stays None.
    On a CPU it is processor time of this process, all its threads together: waiting while another
    program has the processor does not count. On a GPU it is time on the clock until the GPU is
    done.
    """
    on_gpu = device is not None and torch.device(device).type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    taken = {name: [] for name, function in functions.items() if function}
    for _ in range(repeats):
        for name, calls in taken.items():
            functions[name]()
            if on_gpu:
                torch.cuda.synchronize()
            start = clock()
            functions[name]()
            if on_gpu:
                torch.cuda.synchronize()
            calls.append(clock() - start)
    return {name: min(taken[name]) if name in taken else None for name in functions}


def multiply_adds(function: Callable[[], Any]) -> int:
    """The multiply-adds of `function()`, backward passes inside it included.

    Matrix products and convolutions are counted as torch.utils.flop_counter does. What it leaves
    out is what recurrences and long filters consist of, so it is added: each number that an
    elementwise product makes is one, and an FFT of n numbers is 2 n log2 n (half of that for real
    ones). Attention is run, and counted, as its two products.
    """
    aten = torch.ops.aten
    products = (aten.mul, aten.mul_, aten.addcmul, aten.addcmul_, aten.lerp, aten.lerp_)
    counts = {op: _of_product for op in products}
    counts |= {aten._fft_c2c: _of_fft, aten._fft_r2c: _of_real_fft, aten._fft_c2r: _of_real_fft}
    counter = FlopCounterMode(display=False, custom_mapping=counts)
    with sdpa_kernel(SDPBackend.MATH), counter:
        function()
    return counter.get_total_flops() // 2


def _of_product(*shapes, out_shape=None, **_):
    """Two operations for each number that comes out."""
    return 2 * math.prod(out_shape)


def _of_fft(x_shape, axes, *_, out_shape=None, **__):
    """4 n log2 n operations for each stretch of n complex numbers."""
    shape = max(x_shape, out_shape, key=math.prod)  # real numbers are one end of a real FFT
    n = math.prod(shape[axis] for axis in axes)
    return round(4 * math.prod(shape) * math.log2(n))


def _of_real_fft(*shapes, **out):
    return _of_fft(*shapes, **out) // 2


def peak_bytes(function: Callable[[], Any], device: str | torch.device | None = None) -> int:
    """How far the memory held by tensors rises while `function()` runs, its result included.

    On a CPU every allocation and release is read from torch's profiler, those inside fused kernels
    too, so the number is exact and repeats; on a GPU it is the allocator's own peak.
    """
    if device is not None and torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _silent_stderr(), torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        function()
    events = profile.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    held = highest = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest


@contextlib.contextmanager
def _silent_stderr():
    """The profiler greets on stderr, below Python's reach."""
    noise = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(noise, 2)
        os.close(noise)
