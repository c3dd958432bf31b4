"""A text as words, and spelled where a word is not known: a tokenizer for models of words.

    id          stands for
    0 … 255     the byte, as a piece by itself or as a letter of a spelling
    256, 257    a spelling begins (the <unk> of models of words), and ends
    258 + k     word k of the vocabulary

So every byte of a text is in its ids, and a model of words is scored in bits per byte as any other.
"""


def pieces(text, longest=20):
    """A text cut into pieces that give it back when joined.

    text     bytes
    returns  a list of bytes. A piece is a run of letters with the one blank before it, if there is
             one, at most `longest` bytes in all; every other byte is a piece by itself. Letters are
             a-z, A-Z, the apostrophe, and all bytes from 128 on, which spell other scripts
    """
    is_letter = lambda byte: byte >= 128 or chr(byte).isalpha() or byte == ord("'")
    found, start = [], 0
    while start < len(text):
        end = start + 1
        blank = text[start] == ord(" ")
        inside = blank or is_letter(text[start])
        while inside and end < len(text) and end - start < longest and is_letter(text[end]):
            end += 1
        found.append(text[start:end])
        start = end
    return found


def frequent(text, count, longest=20):
    """The `count` most frequent pieces of two bytes or more; of equally frequent ones the smaller.

    One byte alone needs no place in a vocabulary: its id is the byte.
    """
    times = {}
    for piece in pieces(text, longest):
        if len(piece) >= 2:
            times[piece] = times.get(piece, 0) + 1
    return sorted(times, key=lambda piece: (-times[piece], piece))[:count]


def encode(text, words, longest=20):
    """bytes -> ids: a piece of one byte is that byte, word k is 258 + k.

    Any other piece is spelled: 256, its bytes, 257.
    """
    ids = []
    for piece in pieces(text, longest):
        if len(piece) == 1:
            ids += [piece[0]]
        elif piece in words:
            ids += [258 + words.index(piece)]
        else:
            ids += [256, *piece, 257]
    return ids


def decode(ids, words):
    """ids -> bytes."""
    text = b""
    for i in ids:
        if i < 256:
            text += bytes([i])
        elif i >= 258:
            text += words[i - 258]
    return text
