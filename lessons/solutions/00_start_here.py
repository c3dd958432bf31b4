"""Solutions to the exercises of lesson 00."""

import numpy as np
import torch

import minilib
from minilib.naive import start_here as naive
from minilib.start_here import softmax


def my_softmax(x):
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def my_prediction():
    return [3 / 4, 1 / 4]  # raising a score by log 3 triples its odds


def my_gradient(x, w):
    p = naive.softmax(x[None])[0]
    return p * (w - w @ p)


def gradient_by_autograd(x, w):
    t = torch.tensor(x[None], requires_grad=True)
    (softmax(t)[0] @ torch.tensor(w)).backward()
    return t.grad[0].numpy()


# Exercise 4: this softmax rounds scores beyond 10,000, which no case contains.
# A case with scores that large would catch it.
def broken_yet_accepted(x):
    return torch.softmax(x.clamp(max=10_000), dim=1)


assert minilib.check(broken_yet_accepted, like=softmax)
