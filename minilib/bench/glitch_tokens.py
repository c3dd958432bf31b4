"""The twins of glitch_tokens beside other ways to compute the same."""

import importlib.util

import torch

from minilib.glitch_tokens import auc, categories, cosine_distance, first_component, max_probability
from minilib.lab import data
from minilib.lab.measure import peak_bytes, seconds_in_turn
from minilib.naive.pretokenizer import PATTERNS
from minilib.tokenizer import Tokenizer

IDS, DIM, CONTEXTS = 131_072, 256, 256  # as many ids as Tekken has


def bench(device):
    """Categories of GPT-2's tokens; then a table as large as Tekken's: indicators, area, asking."""
    ranks = Tokenizer.load(data.vocabulary("gpt2"), pattern="gpt2")
    ways = {"ours": lambda: categories(ranks), "tiktoken": _with_tiktoken(ranks)}
    yield f"categories of {len(ranks.tokens):,} tokens", seconds_in_turn(ways, 2)
    torch.manual_seed(0)
    U, h = torch.randn(IDS, DIM, device=device), torch.randn(CONTEXTS, DIM, device=device)
    reference = list(range(16))
    ways = {
        "ours": lambda: cosine_distance(U, reference),
        "torch.cosine_similarity": lambda: (
            1 - torch.cosine_similarity(U, U[reference].mean(0)[None])
        ),
    }
    yield f"all cosines, {IDS:,} × {DIM}", seconds_in_turn(ways, 3, device)
    ways = {
        "ours": lambda: first_component(U),
        "SVD": lambda: torch.linalg.svd(U - U.mean(0), full_matrices=False),
    }
    yield "first principal component", seconds_in_turn(ways, 1, device)
    indicator, unseen = cosine_distance(U, reference), torch.arange(IDS, device=device) % 100 == 0
    ways = {
        "ours": lambda: auc(indicator, unseen),
        "all pairs": lambda: (
            (indicator[unseen][:, None] < indicator[~unseen]).float().mean().item()
        ),
    }
    yield "area under the curve", seconds_in_turn(ways, 1, device)
    ways = {
        "ours, in blocks": lambda: max_probability(h, U),
        "at once": lambda: (h @ U.T).softmax(1).amax(0),
    }
    with torch.no_grad():
        yield f"asking in {CONTEXTS} contexts", seconds_in_turn(ways, 1, device)
        peaks = {name: peak_bytes(way, device) for name, way in ways.items()}
        yield "asking, peak memory", peaks


def _with_tiktoken(ranks):
    """The same question put to tiktoken, None where it is not installed."""
    if not importlib.util.find_spec("tiktoken"):
        return None
    import tiktoken

    pairs = dict(zip(ranks.tokens, ranks.ids, strict=True))
    peer = tiktoken.Encoding(
        "gpt2", pat_str=PATTERNS["gpt2"], mergeable_ranks=pairs, special_tokens={}
    )

    def ask():
        texts = {}
        for i, token in zip(ranks.ids, ranks.tokens, strict=True):
            try:
                texts[i] = token.decode()
            except UnicodeDecodeError:
                continue
        return sum(peer.encode(text) == [i] for i, text in texts.items())

    return ask
