"""A linear recurrence h_t = a_t h_{t-1} + b_t, by five roads: the definition.

A pair (a, b) stands for the step h -> a h + b. Two steps in a row are again such a step, so pairs
combine, and any algorithm for running sums computes h. Each scan takes lists (or arrays, time
first) and returns h, the number of combinations it took, and its depth: how many combinations
must wait for each other when all others run side by side.
"""

import numpy as np


def combine(first, second):
    """One step after another: (a1, b1) then (a2, b2) is (a2 a1, a2 b1 + b2).

    Not commutative; the identity is (1, 0).
    """
    (a1, b1), (a2, b2) = first, second
    return a2 * a1, a2 * b1 + b2


def scan(a, b, h):
    """h_t = a_t h_{t-1} + b_t along axis 1.

    a, b     (batch, time, ...) real or complex
    h        (batch, ...), the state before the first step
    returns  (batch, time, ...), the state after each step
    """
    out = np.zeros(b.shape, dtype=np.result_type(a, b, h))
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        out[:, t] = h
    return out


def scan_sequential(a, b):
    """One after another: L - 1 combinations, all of which wait for each other."""
    pairs = [(a[0], b[0])]
    for t in range(1, len(a)):
        pairs.append(combine(pairs[-1], (a[t], b[t])))
    return np.array([h for _, h in pairs]), len(a) - 1, len(a) - 1


def scan_hillis_steele(a, b):
    """After round k each place holds the last 2^k steps (Hillis & Steele 1986).

    log L rounds, L log L combinations.
    """
    pairs = list(zip(a, b, strict=True))
    count, depth, stride = 0, 0, 1
    while stride < len(a):
        later = [combine(pairs[t - stride], pairs[t]) for t in range(stride, len(a))]
        pairs = pairs[:stride] + later
        count, depth, stride = count + len(later), depth + 1, 2 * stride
    return np.array([h for _, h in pairs]), count, depth


def scan_blelloch(a, b):
    """Up a tree and down again (Blelloch 1990, fig. 1.4).

    2 log L rounds, 2 (L - 1) combinations, and L more for each step itself.
    """
    L = 1 << (len(a) - 1).bit_length()  # the next power of two, filled with identities
    one, zero = np.ones_like(a[0]), np.zeros_like(b[0])
    steps = [*zip(a, b, strict=True), *[(one, zero)] * (L - len(a))]
    pairs = list(steps)
    count, depth, stride = 0, 0, 1
    while stride < L:
        for t in range(2 * stride - 1, L, 2 * stride):
            pairs[t] = combine(pairs[t - stride], pairs[t])
            count += 1
        stride, depth = 2 * stride, depth + 1
    pairs[L - 1] = one, zero
    while stride > 1:
        stride = stride // 2
        for t in range(2 * stride - 1, L, 2 * stride):
            prefix, left = pairs[t], pairs[t - stride]
            pairs[t - stride], pairs[t] = prefix, combine(prefix, left)
            count += 1
        depth += 1
    h = [combine(before, step)[1] for before, step in zip(pairs, steps, strict=True)]
    return np.array(h[: len(a)]), count + L, depth + 1


def scan_chunked(a, b, Q):
    """Each chunk of Q steps on its own, then from chunk to chunk, the total before it."""
    chunks, count = [], 0
    for start in range(0, len(a), Q):
        pairs = [(a[start], b[start])]
        for t in range(start + 1, min(start + Q, len(a))):
            pairs.append(combine(pairs[-1], (a[t], b[t])))
            count += 1
        chunks.append(pairs)
    whole = chunks[0]
    for pairs in chunks[1:]:
        before = whole[-1]
        whole = whole + [combine(before, pair) for pair in pairs]
        count += len(pairs)
    depth = min(Q, len(a)) - 1 + len(chunks) - 1  # a chunk's steps get it at once
    return np.array([h for _, h in whole]), count, depth


def segsum(log_a):
    """(L,) -> (L, L): entry i, j is the sum of log_a[j + 1 .. i], and -inf for j > i.

    It is the log of what is left at step i of a state at step j.
    """
    L = len(log_a)
    out = np.full((L, L), -np.inf)
    for i in range(L):
        for j in range(i + 1):
            out[i, j] = sum(log_a[j + 1 : i + 1])
    return out


def ssd(x, log_a, B, C, S):
    """S_t = a_t S_{t-1} + B_t x_tᵀ, y_t = C_tᵀ S_t, one decay per head, as one triangular matrix.

    Source: Dao & Gu 2024 (arXiv:2405.21060), sec. 3: y = (M ∘ C Bᵀ) x with M_ij = a_{j+1} … a_i.

    x        (batch, L, heads, P); log_a (batch, L, heads), ≤ 0; B, C (batch, L, N) for all heads
    S        (batch, heads, N, P), the state before the first step
    returns  y (batch, L, heads, P) and the state after the last step
    """
    y, last = np.zeros(x.shape), np.zeros(S.shape)
    for b in range(len(x)):
        for h in range(x.shape[2]):
            M = np.exp(segsum(log_a[b, :, h]))
            kept = np.exp(np.cumsum(log_a[b, :, h]))  # what is left of S
            y[b, :, h] = (M * (C[b] @ B[b].T)) @ x[b, :, h] + kept[:, None] * (C[b] @ S[b, h])
            last[b, h] = kept[-1] * S[b, h] + (B[b] * M[-1][:, None]).T @ x[b, :, h]
    return y, last
