"""Time and memory against amounts known by hand."""

import time

import torch

from minilib.lab.measure import peak_bytes, seconds


def test_peak_memory_by_hand(capfd):
    """Two live at once, one is released before the third: 5,000 bytes at the peak."""

    def work():
        a, b = torch.empty(2000, dtype=torch.uint8), torch.empty(3000, dtype=torch.uint8)
        del a
        return b[:0], torch.empty(1000, dtype=torch.uint8)

    assert [peak_bytes(work) for _ in range(3)] == [5000] * 3
    assert peak_bytes(lambda: None) == 0
    assert capfd.readouterr() == ("", "")  # the profiler's greeting is kept from notebooks


def test_seconds_are_of_the_quickest_call():
    naps = iter([0.2, 0.1, 0.01, 0.1])  # the first warms up
    assert 0.01 <= seconds(lambda: time.sleep(next(naps)), 3) < 0.1
