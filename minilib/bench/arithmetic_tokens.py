"""Sums as ids beside the definition; answers with the cache beside a pass a token."""

import numpy as np
import torch

from minilib.arithmetic_tokens import END, answers, operands, sum_ids
from minilib.lab.measure import seconds_in_turn
from minilib.naive import arithmetic_tokens as naive
from minilib.transformer import Transformer


def bench(device):
    """A batch of 1,000 sums of up to nine digits; then 200 answers of a small Transformer."""
    a, b = (x.to(device) for x in operands(1000, (3, 6, 9)))
    as_arrays = [x.cpu().numpy() for x in (a, b)]
    assert np.array_equal(
        sum_ids(a, b, 3, "right")[0].cpu(), naive.sum_ids(*as_arrays, 3, "right")[0]
    )
    runs = {
        "ours": lambda: sum_ids(a, b, 3, "right"),
        "naive": lambda: naive.sum_ids(*as_arrays, 3, "right"),
    }
    yield "1,000 sums as ids", seconds_in_turn(runs, 5, device)
    torch.manual_seed(0)
    model = Transformer(14, 64, 2, 4, 64).to(device)
    model.output.data[END] -= 9  # it never ends, so both ways write as many tokens
    ids, learned = sum_ids(a[:200], b[:200], 1)
    start, most = learned.int().argmax(1), int(learned.sum(1).max()) + 1

    @torch.no_grad()
    def a_pass_a_token():
        written = torch.full((200, most), END, device=device)
        for length in start.unique().tolist():
            rows = (start == length).nonzero()[:, 0]
            text = ids[rows, :length]
            for t in range(most):
                written[rows, t] = model(text)[:, -1].argmax(-1)
                text = torch.cat([text, written[rows, t, None]], dim=1)
        return written

    assert torch.equal(answers(model, ids, learned), a_pass_a_token())
    runs = {"ours": lambda: answers(model, ids, learned), "without the cache": a_pass_a_token}
    yield "200 answers", seconds_in_turn(runs, 1, device)
