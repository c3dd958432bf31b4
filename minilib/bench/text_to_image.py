"""Drawing with a cache beside computing the whole row again for each code."""

import torch
from torch.nn import functional as F

from minilib.lab.measure import seconds_in_turn
from minilib.language_model import sample
from minilib.text_to_image import TextToImage

SIZES = {"words": 64, "codes": 64, "width": 96, "layers": 3}


def _again(model, captions, u):
    """No cache: every code from all symbols before it."""
    ids = F.pad(captions, (1, 0), value=model.start)
    for n in range(u.shape[1]):
        logits = model(ids)[:, -1, model.words : model.start]
        code = sample(logits.double(), u[:, n].double())
        ids = torch.cat([ids, model.words + code[:, None]], 1)
    return (ids[:, 1 + model.text :] - model.words).view(-1, model.side, model.side)


@torch.no_grad()
def bench(device):
    """32 drawings of 4 × 4 codes, as in lesson 34, and 2 of 12 × 12."""
    for count, side in ((32, 4), (2, 12)):
        torch.manual_seed(0)
        model = TextToImage(side=side, **SIZES).to(device).eval()
        captions = torch.randint(1, 64, (count, 8), device=device)
        u = torch.rand(count, side * side, device=device)
        ways = {
            "cached": lambda m=model, c=captions, u=u: m.draw(c, u),
            "computed again": lambda m=model, c=captions, u=u: _again(m, c, u),
        }
        same = (ways["cached"]() == ways["computed again"]()).float().mean()
        assert same > 0.8  # rounding may turn a draw on an edge, and then all codes after it
        yield f"time, {count} drawings of {side} × {side} codes", seconds_in_turn(ways, 1, device)
