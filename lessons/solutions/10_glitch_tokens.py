"""Solutions to the exercises of lesson 10."""

import numpy as np
import torch
from torch import nn

import minilib
from minilib.naive import glitch_tokens as naive
from minilib.tokenizer import Tokenizer


def my_categories(vocabulary):
    """GPT-2's 50,256 tokens: 344 undecodable, 49,912 ok."""
    known = Tokenizer(**vocabulary)
    found = {}
    for i in known.ids:
        try:
            text = known.decode([i]).decode()
        except UnicodeDecodeError:
            found[i] = "undecodable"
            continue
        brackets = text[0] + text[-1]
        if known.encode(text) != [i]:
            found[i] = "unreachable"
        elif brackets in ("<>", "[]") and any(letter.isalpha() for letter in text):
            found[i] = "special-looking"
        else:
            found[i] = "ok"
    for i in known.specials.values():
        found[i] = "special"
    return found


def my_auc(indicator, unseen):
    area, found, alarms = 0.0, 0.0, 0.0
    for threshold in np.unique(indicator):
        at = indicator <= threshold
        now_found, now_alarms = at[unseen].mean(), at[~unseen].mean()
        area += (now_alarms - alarms) * (found + now_found) / 2
        found, alarms = now_found, now_alarms
    return area


def my_lengths():
    """Only in the second case does a row that is never read differ from its start.

    Without decay, or with the embedding excluded from it, unseen rows keep the length
    that chance gave them, and (e) compares chance with training.
    """
    return [8.0, 8 * (1 - 0.004) ** 500, 8.0]  # 8, 1.08, 8


def measured(seed=0):
    lengths = []
    for decay in (0.0, 1.0, 0.0):
        E = nn.Parameter(torch.full((2, 16), 2.0))  # two rows of length 8
        optimiser = torch.optim.AdamW([E], lr=0.004, weight_decay=decay)
        for _ in range(500):
            optimiser.zero_grad()
            E[0].square().sum().backward()  # row 1 is never read
            optimiser.step()
        lengths.append(round(E[1].norm().item(), 1))
    return lengths


def lengths():
    return [round(length, 1) for length in my_lengths()]


assert minilib.check(my_auc, like=naive.auc)

# Exercise 4. AUC of (a) for 16 tokens of which k words stay, against the other seen
# ids; untied net, no decay, three seeds (chosen tokens, weights and batches differ):
#
#     k        0      1      2      4      8      16     32     64     128
#     seed 0   0.998  0.996  0.995  0.994  0.990  0.980  0.969  0.906  0.669
#     seed 1   0.998  0.994  0.996  0.991  0.988  0.981  0.973  0.884  0.678
#     seed 2   0.998  0.994  0.991  0.992  0.987  0.979  0.958  0.841  0.649
#
# It falls below 0.8 between 64 and 128. That is not because 64 words are too few to
# learn from: asking gives these tokens 0.002 to 0.004 already at k = 64 (median of
# the largest probability), and 0.000001 to 0.000003 at k = 0. Most seen ids come 100
# times or more, so a token that comes 64 times is still one of the rarest, and (a)
# follows the count. The AUC says who is rarer; it does not say who is broken. For
# that, ask.
#
#     left = dict.fromkeys(chosen, k)
#     keep = np.ones(len(words), bool)
#     for j in np.random.default_rng(50).permutation(len(words)):
#         has = [i for i in words[j] if i in left]
#         if all(left[i] >= has.count(i) for i in has):
#             for i in has:
#                 left[i] -= 1
#         else:
#             keep[j] = False

# Exercise 5. One pass over 50 windows for each of 32 planted tokens (49 steps of
# 32), learning rate 0.001, three seeds:
#
#     largest probability when asked, median of the 32   3e-6 … 8e-6 → 0.010 … 0.013
#     AUC of (a), planted against seen ids               0.998 … 0.999 → 0.997 … 0.998
#     median rank by (a) among 813 ids                   15 … 17 → 15 … 18
#     loss on the old stream, nats per token             3.9 … 4.0 → 5.5 … 6.5
#
# The symptom is gone: the net says these tokens about as easily as those seen 100 to
# 400 times (0.014 … 0.016). But (a) still finds them: their rows have hardly turned.
# And the loss on the old stream rises, since the net now expects these tokens there,
# too. With as many old windows as new ones in each batch it is 4.9 … 5.2.
