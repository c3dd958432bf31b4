"""Residual vector quantisation, the definition: each codebook names what the last one left over.

Source: Zeghidour et al. 2021, "SoundStream" (arXiv:2107.03312), sec. III-C, and Défossez et al.
2022, "High Fidelity Neural Audio Compression" (arXiv:2210.13438), sec. 3.2.

    code        paper                                       shape
    z           z, what the encoder says                    (N, D)
    books       one codebook for each stage                 (Q, K, D)
    codes       k_1 … k_Q, the symbols                      (N, Q), or (N, q) with q < Q
    quantized   ẑ, the sum of the chosen codes              (N, D)

Departure: the commitment is a mean over all N · D numbers, summed over the stages; the paper sums
squared norms.
"""

import numpy as np

from minilib.naive.vq import kmeans, nearest


def encode(z, books):
    """Stage by stage: the nearest code, and what it leaves goes to the next stage.

    z (N, D), books (Q, K, D) -> (N, Q) int64
    """
    codes = np.zeros((len(z), len(books)), np.int64)
    residual = z.copy()
    for q in range(len(books)):
        codes[:, q] = nearest(residual, books[q])
        residual = residual - books[q][codes[:, q]]
    return codes


def decode(codes, books):
    """The sum of the chosen codes. With fewer columns than books the last stages are dropped.

    codes (N, q), books (Q, K, D) with q <= Q -> (N, D)
    """
    z = np.zeros((len(codes), books.shape[2]))
    for n in range(len(codes)):
        for q in range(codes.shape[1]):
            z[n] += books[q][codes[n, q]]
    return z


def quantize(z, books):
    """(quantized, codes, commitment): Σ_q mean (r_q - e_q)², r_1 = z, r_(q+1) = r_q - e_q."""
    codes = encode(z, books)
    commitment, residual = 0.0, z
    for q in range(len(books)):
        residual = residual - books[q][codes[:, q]]
        commitment += (residual**2).mean()
    return decode(codes, books), codes, commitment


def quantize_gradients(d_quantized, z, books):
    """The gradient of loss(quantized) + commitment in z.

    d_quantized  (N, D), the gradient of loss in quantized
    Straight through, once around the sum: it reaches z unchanged, whatever the number of stages.
    In the commitment all codes are held fixed, so every r_q moves with z as z itself.
    """
    codes = encode(z, books)
    d_z, residual = d_quantized.copy(), z
    for q in range(len(books)):
        residual = residual - books[q][codes[:, q]]
        d_z = d_z + 2 * residual / z.size
    return d_z


def start(z, rows, steps):
    """Codebooks by k-means, stage after stage: each on what the stages before it leave over.

    rows     (Q, K) int, which of the vectors each book begins with
    returns  (Q, K, D)
    """
    books, residual = [], z
    for begin in rows:
        book = kmeans(residual, residual[begin], steps)
        residual = residual - book[nearest(residual, book)]
        books.append(book)
    return np.array(books)


def follow(counts, sums, z, codes, books, rows, gamma=0.99, least=0.0):
    """Codes as moving averages of the residuals that they were given; idle ones are replaced.

    counts   (Q, K), how many vectors each code was given, averaged
    sums     (Q, K, D), their sums, averaged
    codes    (N, q), of the first q stages; the other books stay
    rows     (Q, K) int: a code with a count below `least` becomes residual rows[q, k], count 1
    returns  (counts, sums, books)
    """
    counts, sums, books = counts.copy(), sums.copy(), books.copy()
    residual = z
    for q in range(codes.shape[1]):
        left = residual - books[q][codes[:, q]]
        for k in range(books.shape[1]):
            given = residual[codes[:, q] == k]
            counts[q, k] = gamma * counts[q, k] + (1 - gamma) * len(given)
            sums[q, k] = gamma * sums[q, k] + (1 - gamma) * given.sum(0)
            if counts[q, k] < least:
                counts[q, k], sums[q, k] = 1.0, residual[rows[q, k]]
            books[q, k] = sums[q, k] / counts[q, k]
        residual = left
    return counts, sums, books
