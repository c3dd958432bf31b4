"""Numbers as tokens, the definition: pieces from the left, pieces from the right, and their sums.

Source: Singh & Strouse 2024 (arXiv:2402.14903), sections 2 and 4.

    word     meaning
    digits   a number as it is written, str: "1234". Digit 1 is the first from the left
    place    of a digit: the power of ten that it counts. The last digit has place 0
    k        how many digits a token holds at most
    cut      "left": pieces of k digits, from the first digit on; "right": back from the last one
    ids      of tokens: + = , and the end are 0 to 3, then "0" to "9", then "00" to "99", ...
"""

import math

import numpy as np

PLUS, EQUALS, COMMA, END = range(4)


def chunk_left(digits, k):
    """Cut a number into pieces of k digits, from the left: the last may be shorter."""
    return [digits[i : i + k] for i in range(0, len(digits), k)]


def chunk_right(digits, k):
    """Cut a number into pieces of k digits, from the right: the first may be shorter."""
    pieces = []
    while digits:
        pieces.insert(0, digits[-k:])
        digits = digits[:-k]
    return pieces


def _last_places(tokens):
    """The place of the last digit of each token: ["12", "345"] -> [3, 0]."""
    places = []
    for i in range(len(tokens)):
        places.append(sum(len(token) for token in tokens[i + 1 :]))
    return places


def crossing_digits(a, b, answer):
    """Digits of the answer whose digits in a or b lie in another token than their neighbours'.

    A token of the answer is made of the digits at its places. All of those in a should lie in one
    token of a: in the token that holds the place of the answer token's last digit. A digit crosses
    if this is not so, in a or in b. Where a number has no digit, nothing crosses.
    a, b, answer  lists of tokens
    returns       numbers of digits of the answer; its first digit is 1
    """
    crossing = set()
    for operand in (a, b):
        holder = {}  # place -> number of the token of the operand
        last_places = _last_places(operand)
        for number, token in enumerate(operand):
            for j in range(len(token)):
                holder[last_places[number] + j] = number
        length = sum(len(token) for token in answer)
        for token, last in zip(answer, _last_places(answer), strict=True):
            for j in range(len(token)):
                place = last + j
                if place in holder and holder[place] != holder[last]:
                    crossing.add(length - place)
    return sorted(crossing)


def carries(a, b, places):
    """Which columns of the sum a + b send a carry to the next one, by the school method.

    a, b     (n,) int, not negative
    returns  (n, places) bool; column 0 is that of the last digits
    """
    sent = np.zeros((len(a), places), bool)
    for i in range(len(a)):
        carry = 0
        for j in range(places):
            column = a[i] // 10**j % 10 + b[i] // 10**j % 10 + carry
            carry = column // 10
            sent[i, j] = carry
    return sent


def _token_id(token):
    """The id of a piece: after the four signs come 10 pieces of one digit, 100 of two, ..."""
    return 4 + sum(10**j for j in range(1, len(token))) + int(token)


def sum_ids(a, b, k, cut="left", reverse=False, commas=False):
    """The sums a + b = as rows of ids, each with its answer.

    a, b     (n,) int, not negative
    reverse  write the tokens of the answer in reverse order, its last digits first
    commas   put a comma between the pieces of a number
    returns  ids (n, T) int64, and which of them are to be learned, (n, T) bool: the tokens of the
             answer and the end after it. Shorter rows are filled with END
    """
    rows = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        written = []
        for number in (x, y, x + y):
            cut_it = chunk_left if cut == "left" else chunk_right
            tokens = []
            for piece in cut_it(str(number), k):
                if tokens and commas:
                    tokens.append(COMMA)
                tokens.append(_token_id(piece))
            written.append(tokens)
        if reverse:
            written[2].reverse()
        prompt = [*written[0], PLUS, *written[1], EQUALS]
        rows.append((prompt, [*written[2], END]))
    T = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = np.full((len(rows), T), END)
    learned = np.zeros((len(rows), T), bool)
    for i, (prompt, answer) in enumerate(rows):
        ids[i, : len(prompt) + len(answer)] = prompt + answer
        learned[i, len(prompt) : len(prompt) + len(answer)] = True
    return ids, learned


def error_positions(predicted, true):
    """Numbers of the digits, from the left, at which two answers differ; the first is 1.

    A digit that only one of the two has counts as different.
    """
    wrong = []
    for i in range(max(len(predicted), len(true))):
        if predicted[i : i + 1] != true[i : i + 1]:
            wrong.append(i + 1)
    return wrong


def wilson(right, n, z=1.96):
    """Wilson's interval for a share, after `right` of n answers were right: (low, high).

    All shares p from which right / n lies at most z standard deviations, sqrt(p (1 - p) / n),
    away: the two ends solve a quadratic equation. z = 1.96 for 95 of 100 samples.
    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    root = math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    half = z * root / (1 + z * z / n)
    return middle - half, middle + half
