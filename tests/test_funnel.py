"""Funnel: what is pooled, what is seen; refusals."""

import pytest
import torch

from minilib.funnel import Funnel, Pool


def shaken(model):
    """In float64, off the initial values, which may be 0 or 1."""
    torch.manual_seed(1)
    for p in model.double().parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("T", [1, 2, 3, 6, 7])
def test_funnel_pools_all_but_the_first(T):
    """Third opinion: if attention adds nothing, [CLS] stays and the rest is torch's pooling."""
    pool = shaken(Pool(8, 2))
    pool.out.zero_()
    x = torch.randn(3, 1 + T, 8).double()
    pooled = pool(x)
    assert torch.equal(pooled[:, 0], x[:, 0])
    want = torch.nn.functional.avg_pool1d(x[:, 1:].transpose(1, 2), 2, ceil_mode=True)
    torch.testing.assert_close(pooled[:, 1:], want.transpose(1, 2))


@torch.no_grad()
def test_funnel_sees_every_symbol_and_their_order():
    model = shaken(Funnel(5, 8, 1, 3, 2))
    ids = torch.randint(5, (1, 9))
    vector = model(ids)
    assert vector.shape == (1, 8)
    for t in range(9):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % 5
        assert not torch.allclose(model(changed), vector)
    assert not torch.allclose(model(ids.flip(1)), vector) or torch.equal(ids, ids.flip(1))


def test_funnel_rows_do_not_mix():
    model, ids = shaken(Funnel(5, 8, 1, 2, 2)), torch.randint(5, (4, 6))
    torch.testing.assert_close(model(ids)[2:3], model(ids[2:3]))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="levels must be 1 or more, got 0"):
        Funnel(levels=0)
    with pytest.raises(ValueError, match="ids must have shape"):
        Funnel(5, 8, heads=2)(torch.zeros(2, 0, dtype=torch.int64))
