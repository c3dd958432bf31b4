"""What belongs to the caller and `fit` changes while it trains: gradients, randomness, Ctrl-C."""

import contextlib
import random
import signal
import threading

import numpy as np
import torch


@contextlib.contextmanager
def own_torch(device: torch.device):
    """Gradients on, and what is drawn inside unseen outside.

    Afterwards gradients are as the caller had set them, and the generators of torch (the CPU's and
    the device's), NumPy and Python draw what they would have drawn without.
    """
    gpu = _random_of(device)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext(),
    ):
        before = torch.get_rng_state(), gpu and gpu.get_rng_state()
        others = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            torch.set_rng_state(before[0])
            if gpu:
                gpu.set_rng_state(before[1])
            random.setstate(others[0])
            np.random.set_state(others[1])


def seed_all(device: torch.device, *key) -> None:
    """What is drawn from here on depends on the key alone."""
    number = random.Random(repr(key)).getrandbits(63)
    torch.default_generator.manual_seed(number)
    if gpu := _random_of(device):
        gpu.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def _random_of(device):
    """The module that holds the device's generator, such as torch.cuda; None for the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)


class Interrupt:
    """Ctrl-C asks for an end; a second one is a KeyboardInterrupt at once.

    asked    whether there was one
    later()  while it lasts no KeyboardInterrupt comes: for what must not be left half done
    """

    def __init__(self):
        self.asked, self.busy, self.before = False, False, None

    def __enter__(self):
        mine = threading.current_thread() is threading.main_thread()  # others never see Ctrl-C
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *error):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _ask(self, number, frame):
        if self.asked and not self.busy:
            raise KeyboardInterrupt
        self.asked = True

    @contextlib.contextmanager
    def later(self):
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
