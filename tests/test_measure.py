"""Time and memory against amounts known by hand."""

import time

import pytest
import torch

from minilib.lab.measure import multiply_adds, peak_bytes, seconds, seconds_in_turn
from minilib.transformer import Transformer


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


def work_for(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_functions_are_called_in_turn_and_a_missing_one_stays_missing():
    order = []
    functions = {"a": lambda: order.append("a"), "missing": None, "b": lambda: order.append("b")}
    taken = seconds_in_turn(functions, 2)
    assert "".join(order) == "aabb" * 2  # the first of two calls warms up
    assert list(taken) == ["a", "missing", "b"] and taken["missing"] is None


def test_waiting_does_not_count_and_work_does():
    taken = seconds_in_turn({"waits": lambda: time.sleep(0.05), "works": lambda: work_for(0.02)}, 1)
    assert taken["waits"] < 0.02 <= taken["works"]


def test_the_least_counts_and_warming_up_does_not():
    lengths = iter([0, 0.03, 0, 0.01, 0, 0.03])
    taken = seconds_in_turn({"one": lambda: work_for(next(lengths))}, 3)
    assert taken["one"] == pytest.approx(0.01, abs=0.009) and taken["one"] >= 0.01


def test_multiply_adds_by_hand():
    a, b, w = torch.randn(3, 5), torch.randn(5, 7), torch.randn(2, 3, 4)
    assert multiply_adds(lambda: a @ b) == 3 * 5 * 7
    assert multiply_adds(lambda: torch.conv1d(torch.ones(1, 3, 9), w)) == 6 * 2 * 3 * 4
    for product in (lambda: a * 2, lambda: torch.addcmul(a, a, a), lambda: a.lerp(a, 0.5)):
        assert multiply_adds(product) == 15
    assert multiply_adds(lambda: a + a) == 0
    x = torch.randn(2, 64)
    assert multiply_adds(lambda: torch.fft.fft(x + 0j)) == 2 * 2 * 64 * 6
    assert multiply_adds(lambda: torch.fft.irfft(torch.fft.rfft(x))) == 2 * 2 * 64 * 6
    p = a.clone().requires_grad_()
    assert multiply_adds(lambda: (p @ b).sum().backward()) >= 2 * 3 * 5 * 7


@torch.no_grad()
def test_multiply_adds_of_a_transformer_are_its_products_and_few_more():
    model, ids = Transformer(32, 32, 2, 4, 64), torch.randint(32, (2, 64))
    counted = multiply_adds(lambda: model(ids)) / 2
    layers = 2 * (12 * 32**2 + 2 * 32 * 64)  # for each symbol: matrices, whole rows of scores
    products = 64 * (layers + 32 * 32)
    assert products < counted < 1.02 * products
