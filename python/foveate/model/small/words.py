# SPDX-License-Identifier: Apache-2.0
"""What the small model can be asked, and what it can say."""

from .scenes import LETTERS, PLACES

PAD, END, SAY = "<pad>", "<end>", "<say>"      # SAY: the question is over
WORDS = sorted({word for place in PLACES for word in place.split()}
               | set("how many digits which digit is at the where read word".split()))
VOCABULARY = (PAD, END, SAY, *"0123456789", *LETTERS, *WORDS)
INDEX = {word: index for index, word in enumerate(VOCABULARY)}
KINDS = {"how": "count", "which": "digit", "where": "place", "read": "word"}     # of questions, by their first word
CLASSES = "0123456789" + LETTERS                # what a token can show a part of


def encode_text(text):
    """Indices of a question's words."""
    return [INDEX[word] for word in text.split()]


def encode_answer(text):
    """Indices of an answer: a place in words, anything else letter by letter."""
    return [INDEX[word] for word in (text.split() if text in PLACES else text)] + [INDEX[END]]


def decode_answer(indices):
    """The answer up to its end."""
    words = [VOCABULARY[index] for index in indices]
    words = words[:words.index(END)] if END in words else words
    return (" " if any(len(word) > 1 for word in words) else "").join(words)
