"""For tests and notebooks: one thread each, as two workers share two cores; one seed a test."""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded; notebook kernels inherit it

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` makes it ignored


@pytest.fixture(autouse=True)
def seed(request):
    if "ipynb" not in str(request.node.path):
        import torch

        torch.manual_seed(0)
        torch.backends.cudnn.allow_tf32 = False  # as in `python -m minilib check`
