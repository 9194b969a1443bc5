# SPDX-License-Identifier: Apache-2.0
"""Pictures with something to ask about: digits that people wrote and printed words, strewn over a large page.

Digits are scikit-learn's (UCI's optical recognition of handwritten digits), letters are of Matplotlib's DejaVu fonts.
Every third written digit, and the words of UNSEEN, are never trained on.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

SIDE = 1024                     # px
CELLS = 3                       # places a side
DIGIT_PX, LETTER_PX = (56, 104), (30, 46)       # height of a digit; size of a font
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
WORDS = tuple("""
    acid bird blue boat bone book cake card cave city clay coal coat cold cook corn cup dawn deer desk dish dog door
    duck dust earth east egg face farm fish flag foot fork game gate gold grass hand hat hill home horn ice iron jar
    jump key king kite lake lamp leaf lime lion map milk moon name nest night nose oak ocean oil page palm pear pig
    pine plum pond queen quiet rain red ring road rock roof rope rose sail salt sand sea ship sky snow soap sock star
    sun tail tea tent tiger top tree van vase wall wax west wind wolf wood yard year zebra zoo
""".split())
UNSEEN = tuple("arm bell bread chair cloud fox frog glass green horse juice mouse north paper river stone".split())
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")


@dataclass
class Thing:
    """A digit or a word: what it says, its place of PLACES, and (x0, y0, x1, y1) in px."""

    kind: str
    text: str
    place: int
    box: tuple[int, int, int, int]


@dataclass
class Scene:
    """(SIDE, SIDE, 3) uint8, what lies on it, and what can be asked: see `questions`."""

    pixels: np.ndarray
    things: list[Thing]
    asked: list[tuple] = field(default_factory=list)

    def by_kind(self):
        """{first word: what can be asked}"""
        kinds = {}
        for asked in self.asked:
            kinds.setdefault(asked[0].split()[0], []).append(asked)
        return kinds


@lru_cache(maxsize=1)
def _digits():
    """{seen: [(8, 8) arrays of each digit]}"""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    found = {True: [[] for _ in range(10)], False: [[] for _ in range(10)]}
    for index, (picture, digit) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        found[index % 3 != 0][digit].append((picture / 16).astype(np.float32))
    return found


@lru_cache(maxsize=256)
def _font(name, size):
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / name, size)


def _paper(rng):
    """A page that is not flat: a slope of light, blotches, and grain."""
    from PIL import Image

    coarse = rng.normal(0, 1, (5, 5)) * rng.uniform(2, 8) + rng.normal(0, 1, (5, 5))
    blotch = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    tile = rng.normal(0, rng.uniform(0.5, 3), (256, 256)).astype(np.float32)
    light = blotch + np.tile(tile, (SIDE // 256, SIDE // 256))
    return light + rng.uniform(190, 235)


def _strokes(light, rng):
    """Lines and boxes that say nothing: what draws the eye is not always what is asked for."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(mask)
    for _ in range(rng.integers(0, 5)):
        x, y = rng.integers(0, SIDE, 2)
        dx, dy = rng.integers(-200, 200, 2)
        shade, width = int(rng.integers(40, 160)), int(rng.integers(1, 5))
        box = [min(x, x + dx), min(y, y + dy), max(x, x + dx), max(y, y + dy)]
        if rng.random() < 0.5:
            draw.line([x, y, x + dx, y + dy], fill=shade, width=width)
        else:
            draw.ellipse(box, outline=shade, width=width)
    light -= np.asarray(mask, np.float32) * 0.5


def _stamp(light, ink, x, y, depth):
    height, width = ink.shape
    light[y:y + height, x:x + width] -= ink * depth


def _digit_ink(rng, digit, seen):
    from PIL import Image

    pictures = _digits()[seen][digit]
    picture = pictures[rng.integers(len(pictures))]
    size = int(rng.integers(*DIGIT_PX))
    large = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large) * 1.6 - 0.2, 0, 1)


def _word_ink(rng, word):
    from PIL import Image, ImageDraw

    font = _font(FONTS[rng.integers(len(FONTS))], int(rng.integers(*LETTER_PX)))
    left, top, right, bottom = font.getbbox(word)
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), word, fill=255, font=font)
    return np.asarray(mask, np.float32) / 255


def scene(rng: np.random.Generator, *, seen: bool = True, digits=(1, 6), words=(1, 2), drawn: float = 0.5) -> Scene:
    """A scene with every question that it answers.

    Args:
        rng: what is random.
        seen: digits and words of the training set, or of the other.
        digits, words: least and most of them.
        drawn: share of words that are drawn by lot, letter by letter, instead of taken from the list.
    """
    light = _paper(rng)
    _strokes(light, rng)
    counts = int(rng.integers(digits[0], digits[1] + 1)), int(rng.integers(words[0], words[1] + 1))
    places = rng.permutation(CELLS * CELLS)[:sum(counts)]
    things, cell = [], SIDE // CELLS
    for index, place in enumerate(places):
        if index < counts[0]:
            kind, text = "digit", str(rng.integers(10))
            ink = _digit_ink(rng, int(text), seen)
        else:
            kind, text = "word", _word(rng, seen, drawn)
            ink = _word_ink(rng, text)
        height, width = ink.shape
        row, column = divmod(int(place), CELLS)
        x = column * cell + int(rng.integers(12, max(13, cell - width - 12)))
        y = row * cell + int(rng.integers(12, max(13, cell - height - 12)))
        _stamp(light, ink, x, y, rng.uniform(110, 180))
        things.append(Thing(kind, text, int(place), (x, y, x + width, y + height)))
    tinted = np.arange(256)[:, None] * rng.uniform(0.92, 1.0, 3)
    pixels = np.take(tinted.astype(np.uint8), np.clip(light, 0, 255, out=light).astype(np.uint8), 0)
    return Scene(pixels, things, questions(things))


def _word(rng, seen, drawn):
    if rng.random() < drawn:
        return "".join(rng.choice(list(LETTERS), int(rng.integers(3, 6))))
    words = WORDS if seen else UNSEEN
    return words[rng.integers(len(words))]


def questions(things):
    """[(question, answer, box of what it is about or None)]: only such as have one answer."""
    asked = []
    digits, words = ([t for t in things if t.kind == kind] for kind in ("digit", "word"))
    asked.append(("how many digits", str(len(digits)), None))
    for thing in digits:
        asked.append((f"which digit is at the {PLACES[thing.place]}", thing.text, thing.box))
        if sum(other.text == thing.text for other in digits) == 1:
            asked.append((f"where is the {thing.text}", PLACES[thing.place], thing.box))
    for thing in words:
        asked.append((f"read the word at the {PLACES[thing.place]}", thing.text, thing.box))
    if len(words) == 1:
        asked.append(("read the word", words[0].text, words[0].box))
    return asked
