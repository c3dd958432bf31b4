"""Funnel: what is pooled, what is seen; refusals."""

import pytest
import torch
from mutants import edited

from minilib.funnel import Funnel, Pool
from minilib.naive import funnel as naive

# -- typical wrong answers: test_grade.py sees that the cases refuse each --------------------------

WRONG = {
    naive.pool: edited(
        naive.pool,
        CLS_in_a_pair=(
            "np.stack([x[:, 0], *(x[:, t : t + 2].mean(1) for t in pairs)]",
            "np.stack([x[:, max(0, t - 1) : t + 1].mean(1) for t in [0, *pairs]]",
        ),
        last_one_halved=("x[:, t : t + 2].mean(1)", "x[:, t : t + 2].sum(1) / 2"),
        last_one_dropped=("range(1, x.shape[1], 2)", "range(1, x.shape[1] - 1, 2)"),
        sums=("x[:, t : t + 2].mean(1)", "x[:, t : t + 2].sum(1)"),
        first_of_each_pair=("x[:, t : t + 2].mean(1)", "x[:, t]"),
        keys_pooled_too=('normed(P, "norm_kv", x)', 'normed(P, "norm_kv", pooled)'),
        positions_halved=("np.array([0, *pairs])", "np.arange(1 + len(pairs))"),
        position_of_the_second=("np.array([0, *pairs])", "np.array([0, *(t + 1 for t in pairs)])"),
        no_skip=("return pooled + cross", "return cross"),
        skip_of_what_is_normed=("return pooled + cross", "return query + cross"),
    ),
    naive.funnel: edited(
        naive.funnel,
        CLS_at_the_end=(
            '[P["cls"], *(P["embed"][i] for i in row)]',
            '[*(P["embed"][i] for i in row), P["cls"]]',
        ),
        mean_of_all_steps=('normed(P, "norm", x[:, 0])', 'normed(P, "norm", x.mean(1))'),
        last_step=('normed(P, "norm", x[:, 0])', 'normed(P, "norm", x[:, -1])'),
        causal=("causal=False", "causal=True"),
        never_shortened=("if level:", "if False:"),
        first_pool_for_all=('f"pools.{level - 1}"', '"pools.0"'),
        no_last_norm=('normed(P, "norm", x[:, 0])', "x[:, 0]"),
    ),
}


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
