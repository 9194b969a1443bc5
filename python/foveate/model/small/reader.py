# SPDX-License-Identifier: Apache-2.0
"""The small model, trained: asked with tokens and a question, it answers and tells where it looked."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from ...error import InputError, require
from ...tensor import Tokens
from ..look import Answer
from . import infer
from .shape import Shape
from .words import CLASSES, END, INDEX, SAY, VOCABULARY, WORDS, decode_answer

WEIGHTS = Path(__file__).parent / "weights.safetensors"
LONGEST = 8         # an answer's words or letters, with its end
LIKELY = 5          # answers that `scores` tell of


class Reader:
    """What `foveate.model.look` asks.

    Args:
        path: a file of `foveate.model.small.train`; None: the one that comes with foveate.

    Raises:
        InputError: a file of something else.
    """

    def __init__(self, path: Path | str | None = None):
        self.weights = _load(Path(WEIGHTS if path is None else path))

    def __call__(self, tokens: Tokens, question: str) -> Answer:
        """Answers about one image.

        Args:
            tokens: of model="vit16", from any layout.
            question: in the words of `WORDS` and digits: "which digit is at the top left", "where is the 7", "how
                many digits", "read the word", "read the word at the bottom".

        Raises:
            InputError: other words, tokens cut for another model, or of more images than one.
        """
        return self.answer(self.encode(tokens), question)

    def encode(self, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """(K, width) and (K,): what there is to look at, and which of it is valid; for several questions."""
        require(tokens.valid.shape[0] == 1, "model: Reader", f"{tokens.valid.shape[0]} images", "one; call it for each")
        preset = tokens.preset
        fits = (preset.patch, preset.merge, preset.frames, len(preset.mean)) == (self.weights.shape.patch, 1, 1, 3)
        require(fits and preset.channels == "first", "model: Reader: preset", preset.name, 'model="vit16"')
        patches = tokens.numpy().astype(np.float32, copy=False).reshape(tokens.valid.shape[1], -1)
        return infer.encode(self.weights, patches, tokens.center_px[0], tokens.size_px[0], tokens.valid[0]), \
            tokens.valid[0]

    def answer(self, encoded: tuple[np.ndarray, np.ndarray], question: str) -> Answer:
        """The answer to a question about what `encode` gave."""
        seen, valid = encoded
        text = self._text(question)
        start, sure, looks, first = len(text), [], [], None
        while len(text) - start < LONGEST:
            scores, looked = infer.decode(self.weights, text, seen, valid)
            chances = infer.softmax(scores[-1])
            first = chances if first is None else first
            word = int(chances.argmax())
            sure.append(float(chances[word]))
            if word == INDEX[END]:
                break
            looks.append(looked[-1])
            text.append(word)
        said, confidence = decode_answer(text[start:]), float(np.prod(sure))
        attention = np.mean(looks, 0) if looks else np.zeros(len(seen), np.float32)
        return Answer(said, confidence, attention, self._doubt(seen) * valid, _scores(first, said, confidence))

    def shows(self, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(K,) 0..1 whether a token shows a part of a digit or a letter, and (K, len(CLASSES)), which it would be."""
        scores = self.weights.linear("shows", seen)
        return 1 / (1 + np.exp(-infer.logsumexp(scores))), infer.softmax(scores)

    def _doubt(self, seen):
        there, which = self.shows(seen)
        return there * -(which * np.log(np.maximum(which, 1e-9))).sum(-1)

    def _text(self, question):
        words = question.split()
        unknown = [word for word in words if word not in WORDS and not (len(word) == 1 and word in CLASSES)]
        if unknown or not words:
            raise InputError(f"model: question: got {' '.join(unknown) or 'no word'}, expected words of "
                             f"{', '.join(WORDS)} and digits.")
        require(len(words) + 1 + LONGEST <= self.weights.shape.text, "model: question", f"{len(words)} words",
                f"at most {self.weights.shape.text - LONGEST - 1}")
        return [*(INDEX[word] for word in words), INDEX[SAY]]


def _scores(first, said, confidence):
    """Of answers of one letter the likeliest; a longer one is alone with what it leaves."""
    if len(said) > 1:
        return {said: confidence}
    return {decode_answer([index]): float(first[index]) for index in np.argsort(-first, kind="stable")[:LIKELY]}


@lru_cache(maxsize=4)
def _load(path):
    try:
        named = infer.load(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"model: weights: got {path}: {error}, expected a file of foveate.model.small.train."
                         ) from None
    shape, wanted = getattr(named.get("words.weight"), "shape", "no words"), (len(VOCABULARY), Shape.width)
    require(shape == wanted, "model: weights", shape, f"words of {wanted}, as foveate.model.small.train writes them")
    return infer.Weights(named, Shape())
