"""Words read letter by letter: a convolution over a word's letters, and a language model of words.

Sources: Kim et al. 2015, "Character-Aware Neural Language Models" (arXiv:1508.06615), for the
convolution, the highway layer and the LSTM above them; El Boukkouri et al. 2020, "CharacterBERT"
(arXiv:2010.10392), for the other order of maximum and activation and for the other gate. That a
word outside the vocabulary is spelled, so that a text costs something at every byte, is ours.

    code             paper          shape
    C                columns of C   (A + 2, d)   a vector for each letter and for the two marks
    F                filter H       (h, d, w)    h filters of width w
    y                y              (sum of h,)  the maximum over the word of each filter
    z                z              the same     after the highway layer
    t                t              the same     transform gate; 1 - t is the carry gate
    A                               alphabet: letters are 0 … A - 1; A begins a word, A + 1 ends it
    A, A + 1         <unk>          among ids: a spelling begins, and ends; A + 2 + k is word k
"""

import numpy as np

from minilib.naive.lstm import lstm_step, sigmoid

# -- one word --------------------------------------------------------------------------------------


def pad_words(words, longest):
    """Words, each a list of letters, as rows of one array: (N, longest), -1 behind the last letter.

    Raises ValueError for an empty word and for one of more than `longest` letters.
    """
    rows = np.full((len(words), longest), -1)
    for n, word in enumerate(words):
        if not 1 <= len(word) <= longest:
            raise ValueError(f"words must have 1 to {longest} letters, got one of {len(word)}")
        for k, letter in enumerate(word):
            rows[n, k] = letter
    return rows


def char_cnn(rows, C, filters, biases, squash="tanh"):
    """What each filter finds in each word, where it finds most (Kim et al., eq. 5, 6).

    rows     (N, longest), as pad_words makes them
    filters  arrays F (h, d, w), one for each width; biases (h,) each
    squash   "tanh", then the maximum; "relu": the maximum, then ReLU (CharacterBERT)
    returns  (N, sum of h)

    A word is seen between its two marks. Zeros follow if a filter is wider than that.
    """
    begin, end, d = len(C) - 2, len(C) - 1, C.shape[1]
    y = []
    for row in rows:
        word = [begin] + [letter for letter in row if letter >= 0] + [end]
        for F, b in zip(filters, biases, strict=True):
            h, _, w = F.shape
            columns = [C[letter] for letter in word] + [np.zeros(d)] * (w - len(word))
            for k in range(h):
                found = []
                for i in range(len(columns) - w + 1):
                    a = b[k]
                    for j in range(w):
                        a = a + F[k, :, j] @ columns[i + j]
                    found.append(np.tanh(a) if squash == "tanh" else a)
                y.append(max(found) if squash == "tanh" else max(max(found), 0.0))
    return np.array(y).reshape(len(rows), -1)


def highway(y, W_H, b_H, W_T, b_T):
    """z = t relu(W_H y + b_H) + (1 - t) y: gate t, how much is transformed (eq. 8).

    y (N, F). With b_T = -2 a new layer passes most of y on.
    """
    z = np.zeros(y.shape)
    for n in range(len(y)):
        t = sigmoid(W_T @ y[n] + b_T)
        z[n] = t * np.maximum(W_H @ y[n] + b_H, 0) + (1 - t) * y[n]
    return z


def highway_carry(y, W_H, b_H, W_G, b_G):
    """z = g y + (1 - g) relu(W_H y + b_H): the gate g says how much is carried (CharacterBERT).

    y (N, F). With b_G = 1 a new layer passes most of y on.
    """
    z = np.zeros(y.shape)
    for n in range(len(y)):
        g = sigmoid(W_G @ y[n] + b_G)
        z[n] = g * y[n] + (1 - g) * np.maximum(W_H @ y[n] + b_H, 0)
    return z


# -- the language model ----------------------------------------------------------------------------

BARRED = -100.0  # the logit of what cannot come: e^-100 is nothing beside the others


def word_vector(params, word, row, longest):
    """What the LSTM over words gets for a word: from its letters, or from row `row` of a table.

    A letter that is a word by itself, such as a comma, has a vector of its own in any case.
    """
    if "table" in params:
        return params["table"][row]
    if row < len(params["single"]):
        return params["single"][row]
    letters = np.array([word + [-1] * (longest - len(word))])
    banks = sum(name.startswith("reader.F_") for name in params)
    filters = [params[f"reader.F_{k}"] for k in range(banks)]
    biases = [params[f"reader.b_{k}"] for k in range(banks)]
    y = char_cnn(letters, params["reader.C"], filters, biases)
    if "reader.W_H" in params:
        y = highway(y, *(params[f"reader.{name}"] for name in ("W_H", "b_H", "W_T", "b_T")))
    return params["reader.W_e"] @ y[0]


def char_aware_lm(params, ids, *, words, alphabet=256, longest=20):
    """Logits of the model of words that spells the words that it does not know.

    params   the state_dict of minilib.char_aware.CharAware
    ids      (batch, time) int: letters, alphabet (a spelling begins), alphabet + 1 (it ends), words
    words    the known words, each a sequence of letters
    returns  (batch, time, vocab)

    An LSTM over words moves on when a word is complete: at a letter outside a spelling, a known
    word, the end of a spelling. From its output come the logits of what follows a word. A second
    LSTM, the speller, reads every id, all known words as one and the same, and the output of the
    first. From its output come the logits inside a spelling. Only the first `longest` letters of a
    spelled word are read; <unk> inside a spelling begins a new one, and a known word ends it.
    """
    A, (B, T) = alphabet, ids.shape
    V = A + 2 + len(words)
    logits = np.zeros((B, T, V))
    for b in range(B):
        h = c = np.zeros(params["W_h"].shape[1])
        s = s_c = np.zeros(params["S_h"].shape[1])
        spelling, letters = False, []
        for t in range(T):
            i = ids[b, t]
            if i == A:
                spelling, letters = True, []
            elif i < A and spelling:
                letters = [*letters, i][:longest]
            else:
                if i < A:
                    word, row = [i], i
                elif i == A + 1:
                    word, row = letters, A
                else:
                    word, row = list(words[i - A - 2]), i - 1
                spelling, letters = False, []
                x = word_vector(params, word, row, longest)
                weights = (params[name] for name in ("W_x", "W_h", "peep", "bias"))
                h, c, _ = lstm_step(x, h, c, *weights)
            symbol = np.eye(A + 3)[min(i, A + 2)]
            W_S = np.concatenate([params["S_x"].T, params["S_word"]], axis=1)
            recurrent = (params[name] for name in ("S_h", "S_peep", "S_bias"))
            s, s_c, _ = lstm_step(np.concatenate([symbol, h]), s, s_c, W_S, *recurrent)
            if spelling:
                spelled = params["S_y"] @ s + params["S_b"]  # the letters, then the end
                logits[b, t] = BARRED
                logits[b, t, :A] = spelled[:A]
                logits[b, t, A + 1] = spelled[A]
            else:
                logits[b, t] = params["W_y"] @ h + params["b_y"]
    return logits
