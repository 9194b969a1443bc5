# SPDX-License-Identifier: Apache-2.0
"""A line alphabet for pictures, so that a legend needs no font file.

A letter is strokes on a grid: capitals reach from y = 0 to the baseline at 6, small letters from 2, tails to 8.
`L` is a line through points, `A cx,cy,rx,ry,from,to` an arc in degrees, clockwise from the right.
"""

from functools import lru_cache

import numpy as np

from .picture import strokes

_SMALL = {
    "a": (4, "A2,4,2,2,0,360 L4,2 4,6"), "b": (4, "A2,4,2,2,0,360 L0,0 0,6"), "c": (3.5, "A2,4,2,2,50,310"),
    "d": (4, "A2,4,2,2,0,360 L4,0 4,6"), "e": (4, "L0,4 4,4 A2,4,2,2,45,360"),
    "f": (2.4, "A2.4,1.5,1.5,1.5,180,280 L0.9,1.5 0.9,6 L0,2.4 2.2,2.4"),
    "g": (4, "A2,4,2,2,0,360 L4,2 4,6 A2,6,2,2,0,150"),
    "h": (3.6, "L0,0 0,6 A1.8,3.8,1.8,1.8,180,360 L3.6,3.8 3.6,6"), "i": (0, "L0,2 0,6 L0,0.3 0,0.35"),
    "j": (1, "L1,2 1,6.6 A-0.4,6.6,1.4,1.4,0,90 L1,0.3 1,0.35"), "k": (3.2, "L0,0 0,6 L3,2 0,4.4 L1.2,3.6 3.2,6"),
    "l": (0, "L0,0 0,6"),
    "m": (5.6, "L0,2 0,6 A1.4,3.6,1.4,1.6,180,360 L2.8,3.6 2.8,6 A4.2,3.6,1.4,1.6,180,360 L5.6,3.6 5.6,6"),
    "n": (3.6, "L0,2 0,6 A1.8,3.8,1.8,1.8,180,360 L3.6,3.8 3.6,6"), "o": (4, "A2,4,2,2,0,360"),
    "p": (4, "A2,4,2,2,0,360 L0,2 0,8"), "q": (4, "A2,4,2,2,0,360 L4,2 4,8"),
    "r": (2.2, "L0,2 0,6 A1.8,3.8,1.8,1.8,180,285"), "s": (2.8, "A1.4,3,1.4,1,90,330 A1.4,5,1.4,1,-90,150"),
    "t": (2.2, "L0.9,0.6 0.9,4.8 A2.1,4.8,1.2,1.2,90,180 L0,2.2 2.2,2.2"),
    "u": (3.6, "L0,2 0,4.2 A1.8,4.2,1.8,1.8,0,180 L3.6,2 3.6,6"), "v": (3.4, "L0,2 1.7,6 3.4,2"),
    "w": (5, "L0,2 1.3,6 2.5,2.4 3.7,6 5,2"), "x": (3.2, "L0,2 3.2,6 L3.2,2 0,6"),
    "y": (3.4, "L0,2 1.75,6 L3.4,2 1.2,7.4 0.3,7.9"), "z": (3, "L0,2 3,2 0,6 3,6"),
}
_CAPITAL = {
    "A": (4.6, "L0,6 2.3,0 4.6,6 L0.9,4 3.7,4"),
    "B": (3.6, "L0,0 0,6 2,6 L0,0 2,0 L0,2.9 2,2.9 A2,1.45,1.45,1.45,-90,90 A2,4.45,1.6,1.55,-90,90"),
    "C": (4.8, "A3,3,3,3,50,310"), "D": (4.6, "L1.6,6 0,6 0,0 1.6,0 A1.6,3,3,3,-90,90"),
    "E": (3.2, "L3.2,0 0,0 0,6 3.2,6 L0,3 2.8,3"), "F": (3.2, "L3.2,0 0,0 0,6 L0,3 2.8,3"),
    "G": (5.4, "A3,3,3,3,0,310 L3.4,3 6,3"), "H": (4, "L0,0 0,6 L4,0 4,6 L0,3 4,3"), "I": (0, "L0,0 0,6"),
    "J": (2.4, "L2.4,0 2.4,4.4 A0.9,4.4,1.5,1.6,0,130"), "K": (3.8, "L0,0 0,6 L3.6,0 0,3.6 L1.4,2.4 3.8,6"),
    "L": (3, "L0,0 0,6 3,6"), "M": (5, "L0,6 0,0 2.5,4 5,0 5,6"), "N": (4.2, "L0,6 0,0 4.2,6 4.2,0"),
    "O": (6, "A3,3,3,3,0,360"), "P": (3.6, "L0,6 0,0 1.9,0 A1.9,1.7,1.7,1.7,-90,90 L0,3.4 1.9,3.4"),
    "Q": (6, "A3,3,3,3,0,360 L3.8,4 5.8,6.2"),
    "R": (3.8, "L0,6 0,0 1.9,0 A1.9,1.7,1.7,1.7,-90,90 L0,3.4 1.9,3.4 3.8,6"),
    "S": (3.4, "A1.7,1.5,1.6,1.5,90,330 A1.7,4.5,1.7,1.5,-90,150"), "T": (4, "L0,0 4,0 L2,0 2,6"),
    "U": (4, "L0,0 0,4 A2,4,2,2,0,180 L4,0 4,4"), "V": (4.4, "L0,0 2.2,6 4.4,0"),
    "W": (6.4, "L0,0 1.6,6 3.2,0.6 4.8,6 6.4,0"), "X": (4, "L0,0 4,6 L4,0 0,6"), "Y": (4, "L0,0 2,3 4,0 L2,3 2,6"),
    "Z": (3.8, "L0,0 3.8,0 0,6 3.8,6"),
}
_OTHER = {
    "0": (3.8, "A1.9,3,1.9,3,0,360"), "1": (3.8, "L0.9,1.1 2.2,0 2.2,6"),
    "2": (3.8, "A1.9,1.8,1.8,1.8,180,395 L3.37,2.83 0.1,6 3.8,6"),
    "3": (3.8, "A1.8,1.5,1.55,1.5,195,450 A1.8,4.45,1.85,1.55,-90,160"), "4": (3.8, "L2.9,6 2.9,0 0,4.3 3.9,4.3"),
    "5": (3.8, "L3.4,0 0.7,0 0.35,2.7 A1.8,4.1,1.95,1.9,-140,150"),
    "6": (3.8, "A1.9,4.1,1.9,1.9,0,360 L0.15,3.4 2.7,0"), "7": (3.8, "L0.1,0 3.7,0 1.3,6"),
    "8": (3.8, "A1.9,1.5,1.5,1.5,0,360 A1.9,4.5,1.9,1.5,0,360"), "9": (3.8, "A1.9,1.9,1.9,1.9,0,360 L3.65,2.6 1.1,6"),
    ".": (0, "L0,5.9 0,5.95"), ",": (0.4, "L0.4,5.8 0,7"), ":": (0, "L0,2.7 0,2.75 L0,5.9 0,5.95"),
    "-": (2.2, "L0,4 2.2,4"), "+": (3, "L0,4 3,4 L1.5,2.5 1.5,5.5"), "/": (2.4, "L0,7 2.4,-0.4"),
    "(": (1.2, "A3,3.2,3,4.4,130,230"), ")": (1.2, "A-1.8,3.2,3,4.4,-50,50"),
    "%": (5, "A1.1,1.2,1.1,1.2,0,360 A3.9,4.8,1.1,1.2,0,360 L4.2,0 0.8,6"), "=": (3, "L0,3.2 3,3.2 L0,4.8 3,4.8"),
    "<": (2.6, "L2.6,2.2 0,4 2.6,5.8"), ">": (2.6, "L0,2.2 2.6,4 0,5.8"), "_": (3, "L0,6.6 3,6.6"),
    "'": (0, "L0,0 0,1.4"), "·": (0, "L0,3.9 0,3.95"), "°": (1.8, "A0.9,0.9,0.9,0.9,0,360"),
    "×": (2.6, "L0,2.6 2.6,5.2 L2.6,2.6 0,5.2"), " ": (1.4, ""),
}
_GLYPHS = _SMALL | _CAPITAL | _OTHER
_UNKNOWN = (3, "L0,0 3,0 3,6 0,6 0,0")
_GAP = 1.5      # between letters, of their grid
UNITS = 8.6     # of the grid in a line's size


@lru_cache(maxsize=512)
def _letter(character):
    """(width, segments (n, 4) of x0 y0 x1 y1), in units of the grid."""
    width, text = _GLYPHS.get(character, _UNKNOWN)
    found = []
    for kind, numbers in _parts(text):
        if kind == "L":
            points = np.reshape(numbers, (-1, 2))
        else:
            cx, cy, rx, ry, start, end = numbers
            angle = np.radians(np.linspace(start, end, max(3, int(abs(end - start) / 15) + 1)))
            points = np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], 1)
        found.append(np.concatenate([points[:-1], points[1:]], axis=1))
    return width, np.concatenate(found) if found else np.zeros((0, 4))


def _parts(text):
    """("L" or "A", [numbers]) of every stroke."""
    kind, numbers = "", []
    for word in text.split():
        if word[0] in "LA":
            if kind:
                yield kind, numbers
            kind, word, numbers = word[0], word[1:], []
        numbers += [float(number) for number in word.split(",")]
    if kind:
        yield kind, numbers


def text_width(text, size):
    """px that a line takes at a size, which is the height of a line of letters with tails."""
    return sum(_letter(c)[0] + _GAP for c in text) * size / UNITS - _GAP * size / UNITS


def draw_text(canvas, x, y, text, size, ink, weight=1.25):
    """Draws a line of text into (H, W, 3) float32 with its capitals' top at (x, y); returns where it ends."""
    unit = size / UNITS
    for character in text:
        width, segments = _letter(character)
        strokes(canvas, segments * unit + np.array([x, y, x, y]), weight * size / 15, ink)
        x += (width + _GAP) * unit
    return x - _GAP * unit
